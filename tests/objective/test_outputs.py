"""Several outputs: losses, weights and targets for each, and names."""

import multiloss
import numpy as np
import pytest
from multiloss import Objective, losses
from multiloss._errors import ArgumentError, ShapeError, UnknownNameError
from tests.objective.common import P, Y, mae, mean_pred, mse


@pytest.mark.parametrize("loss_weights", [None, 0.5, {"a": 2.0}, {"a": 2.0, "b": 3.0}, {"a": None, "b": 3}])
def test_the_total_is_the_weighted_sum_of_the_losses(tensor, host, loss_weights):
    objective = Objective({"a": "mse", "b": "mae"}, loss_weights=loss_weights)
    y = {"a": tensor(Y), "b": tensor(P)}
    p = {"b": tensor(Y), "a": tensor(P)}
    weights = loss_weights if isinstance(loss_weights, dict) else {"a": loss_weights, "b": loss_weights}
    weights = {name: 1.0 if weights.get(name) is None else weights[name] for name in "ab"}
    parts = {name: float(host(value)) for name, value in objective.parts(y, p).items()}
    assert parts["a_loss"] == pytest.approx(mse(Y, P))
    assert parts["b_loss"] == pytest.approx(mae(Y, P))
    assert parts["loss"] == pytest.approx(weights["a"] * mse(Y, P) + weights["b"] * mae(Y, P))
    assert list(parts) == ["loss", *(f"{name}_loss" for name in p)]


def test_lists_go_by_order(tensor, host):
    objective = Objective(["mse", "mae"], loss_weights=[2, 3])
    parts = objective.parts([tensor(Y), tensor(Y)], (tensor(P), tensor(P)))
    assert list(parts) == ["loss", "output_1_loss", "output_2_loss"]
    assert host(parts["loss"]) == pytest.approx(2 * mse(Y, P) + 3 * mae(Y, P))


def test_one_loss_is_for_every_output(tensor, host):
    total = Objective("mse")([tensor(Y), tensor(Y)], [tensor(P), tensor(P)])
    assert host(total) == pytest.approx(2 * mse(Y, P))


def test_none_leaves_an_output_out(tensor, host):
    for loss, y_true, y_pred in (
        ({"a": "mse", "b": None}, {"a": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}),
        (["mse", None], [tensor(Y), None], [tensor(P), tensor(P)]),
    ):
        parts = Objective(loss).parts(y_true, y_pred)
        assert len(parts) == 2
        assert host(parts["loss"]) == pytest.approx(mse(Y, P))


def test_one_output_in_a_dict_or_list_is_one_output(tensor, host):
    for objective, y_true, y_pred in (
        (Objective({"a": "mse"}), tensor(Y), tensor(P)),
        (Objective({"a": "mse"}), {"a": tensor(Y)}, {"a": tensor(P)}),
        (Objective({"a": "mse"}), {"a": tensor(Y)}, tensor(P)),
        (Objective("mse"), [tensor(Y)], [tensor(P)]),
        (Objective("mse"), tensor(Y), [tensor(P)]),
    ):
        assert host(objective(y_true, y_pred)) == pytest.approx(mse(Y, P))


def test_nested_lists_of_numbers_are_one_output(backend, host):
    assert host(Objective("mse")([[0.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]])) == pytest.approx(0.75)


def test_weights_and_masks_are_shared_or_given_per_output(tensor, host):
    weight, mask = [1.0, 2.0, 0.0, 3.0], [True, True, True, False]
    objective = Objective("mse")
    y, p = {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}
    shared = objective(y, p, sample_weight=tensor(weight))
    assert host(shared) == pytest.approx(2 * mse(Y, P, weight))
    own = objective(y, p, sample_weight={"b": tensor(weight)}, mask={"a": tensor(mask)})
    assert host(own) == pytest.approx(mse(Y, P, weight) + mse(Y[:3], P[:3]))
    listed = objective([tensor(Y), tensor(Y)], [tensor(P), tensor(P)], sample_weight=[None, tensor(weight)])
    assert host(listed) == pytest.approx(mse(Y, P, weight) + mse(Y, P))


def test_outputs_of_two_dtypes_are_added_in_the_wider_one(tensor, host, backend, float64):
    total = Objective("mse")([tensor(Y), tensor(Y)], [tensor(P, "float32"), tensor(P, "float64")])
    assert backend.dtype(total) == "float64"
    assert host(total) == pytest.approx(2 * mse(Y, P))


@pytest.mark.parametrize(
    ("settings", "y_true", "y_pred", "message"),
    [
        ({"loss": ["mse", "mae"]}, Y, P, "loss is a list of 2, and y_pred has 1 output"),
        ({"loss": ["mse", "mae", "mae"]}, [Y, Y], "two", "a list of 3, and y_pred has 2 outputs"),
        ({"loss": ["mse", "mae"]}, {"a": Y, "b": Y}, "named", "no reliable order"),
        ({"loss": "mse", "loss_weights": [1.0, 2.0]}, {"a": Y, "b": Y}, "named", "loss_weights is a list"),
        ({"loss": {"a": "mse"}}, {"a": Y, "b": Y}, "named", "says nothing about the output 'b'"),
        ({"loss": {"a": "mse", "c": "mse"}}, {"a": Y, "b": Y}, "named", "Unknown output in loss: 'c'"),
        ({"loss": {"first": "mse", "b": "mse"}}, [Y, Y], "two", "outputs are called output_1, output_2"),
        ({"loss": {"a": "mse", "b": "mae"}}, Y, P, "y_pred is one tensor"),
        ({"loss": "mse"}, Y, "named", "y_true is one"),
        ({"loss": "mse"}, {"a": Y}, "named", "has the loss .* and no y_true"),
        ({"loss": "mse"}, {"a": Y, "b": Y, "c": Y}, "named", "Unknown output in y_true: 'c'"),
        ({"loss": {"a": "mse", "b": None}, "loss_weights": {"b": 1.0}}, {"a": Y}, "named", "'b', which has no loss"),
        ({"loss": "mse", "loss_weights": {"d": 1.0}}, {"a": Y, "b": Y}, "named", "Unknown output in loss_weights"),
    ],
)
def test_losses_and_outputs_that_do_not_fit_are_refused(tensor, settings, y_true, y_pred, message):
    y_pred = {"two": [tensor(P), tensor(P)], "named": {"a": tensor(P), "b": tensor(P)}}.get(
        y_pred if isinstance(y_pred, str) else "", y_pred
    )
    y_true = {name: tensor(each) for name, each in y_true.items()} if isinstance(y_true, dict) else y_true
    if isinstance(y_pred, list) and not isinstance(y_pred[0], list):
        y_true = [tensor(each) for each in y_true]
    else:
        y_true, y_pred = (tensor(each) if isinstance(each, list) else each for each in (y_true, y_pred))
    with pytest.raises((ArgumentError, UnknownNameError), match=message):
        Objective(**settings)(y_true, y_pred)


def test_no_outputs_are_refused():
    with pytest.raises(ArgumentError, match="at least one output"):
        Objective("mse")({}, {})


def test_a_loss_that_is_not_one_number_is_refused(tensor):
    class PerSample(losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight=None, mask=None):
            return y_true - y_pred

    with pytest.raises(ShapeError, match=r"gave shape \(4, 1\)"):
        Objective(PerSample())(tensor(Y), tensor(P))


@pytest.mark.parametrize("bad", ["1", float("nan"), float("inf"), True])
def test_loss_weights_are_finite_numbers(bad):
    with pytest.raises(ArgumentError, match="finite numbers"):
        Objective({"a": "mse"}, loss_weights={"a": bad})


# ── Nested outputs ──────────────────────────────────────────────────────────────────────────────────────────────

A, B, C = Y, [[1.0], [0.0], [1.0], [1.0]], [[0.5], [0.5], [0.0], [1.0]]


def dict_of_lists(tensor, values):
    first, second, third = map(tensor, values)
    return {"boxes": [first, second], "class": third}


def list_of_dicts(tensor, values):
    first, second, third = map(tensor, values)
    return [{"u": first, "v": second}, third]


@pytest.mark.parametrize(
    ("nest", "loss", "weights", "names"),
    [
        (
            dict_of_lists,
            {"boxes": ["mse", "mae"], "class": "mse"},
            {"boxes": (2.0, None), "class": 0.5},
            ("boxes/output_1", "boxes/output_2", "class"),
        ),
        (list_of_dicts, [{"v": "mae", "u": "mse"}, "mse"], [{"u": 2.0}, 0.5], ("0/u", "0/v", "output_2")),
    ],
)
def test_settings_and_targets_are_nested_as_the_predictions_are(tensor, host, nest, loss, weights, names):
    objective = Objective(loss, loss_weights=weights)
    y, p = nest(tensor, (A, B, C)), nest(tensor, (P, P, P))
    parts = {name: float(host(value)) for name, value in objective.parts(y, p).items()}
    assert list(parts) == ["loss", *(f"{name}_loss" for name in names)]
    assert list(parts.values())[1:] == pytest.approx([mse(A, P), mae(B, P), mse(C, P)])
    assert parts["loss"] == pytest.approx(2 * mse(A, P) + mae(B, P) + 0.5 * mse(C, P))


def test_one_loss_serves_nested_outputs_and_none_leaves_one_out(tensor, host):
    y, p = dict_of_lists(tensor, (A, B, C)), dict_of_lists(tensor, (P, P, P))
    assert host(Objective("mse")(y, p)) == pytest.approx(mse(A, P) + mse(B, P) + mse(C, P))
    for loss, y_true in (({"boxes": [None, "mse"], "class": None}, y), ({"boxes": None, "class": "mse"}, {"class": C})):
        parts = Objective(loss).parts(y_true, p)
        assert len(parts) == 2
        assert host(parts["loss"]) == pytest.approx(mse(C if loss["boxes"] is None else B, P))


def test_weights_and_masks_are_nested_too(tensor, host):
    weight, mask = [1.0, 2.0, 0.0, 3.0], [True, True, True, False]
    y, p = list_of_dicts(tensor, (A, B, C)), list_of_dicts(tensor, (P, P, P))
    total = Objective("mse")(
        y, p, sample_weight=[{"v": tensor(weight)}, None], mask=({"u": tensor(mask), "v": None}, None)
    )
    assert host(total) == pytest.approx(mse(A[:3], P[:3]) + mse(B, P, weight) + mse(C, P))
    shared = Objective("mse")(y, p, sample_weight=tensor(weight))
    assert host(shared) == pytest.approx(mse(A, P, weight) + mse(B, P, weight) + mse(C, P, weight))


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        (
            {"boxes": ["mse", ["mae", mean_pred]]},
            ["boxes/output_1_mse", "boxes/output_2_mae", "boxes/output_2_mean_pred"],
        ),
        ({"boxes": [None, "mse"], "class": ["mae"]}, ["boxes/output_2_mse", "class_mae"]),
        ("mse", ["boxes/output_1_mse", "boxes/output_2_mse", "class_mse"]),
    ],
)
def test_metrics_of_nested_outputs_carry_the_path(tensor, shown, metrics, names):
    y, p = dict_of_lists(tensor, (A, B, C)), dict_of_lists(tensor, (P, P, P))
    results = shown(Objective("mse", metrics=metrics), y, p)
    assert list(results) == ["loss", "boxes/output_1_loss", "boxes/output_2_loss", "class_loss", *names]


def test_outputs_of_a_list_can_be_set_by_name_wherever_they_are(tensor, host):
    y, p = list_of_dicts(tensor, (A, B, C)), list_of_dicts(tensor, (P, P, P))
    objective = Objective({"0/u": "mse", "0/v": None, "output_2": "mae"}, loss_weights={"output_2": 3.0})
    assert host(objective(y, p)) == pytest.approx(mse(A, P) + 3 * mae(C, P))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": {"boxes": "mse", "class": "mse"}}, r"loss\['boxes'\] is .*and y_pred\['boxes'\] has 2 outputs"),
        ({"loss": {"boxes": ["mse"], "class": "mse"}}, r"loss\['boxes'\] is a list of 1, and y_pred has 2 outputs"),
        ({"loss": {"boxes": {"x": "mse"}, "class": "mse"}}, r"loss\['boxes'\] is a dict, and .* is a list of 2"),
        ({"loss": {"boxes": ["mse", "mse"]}}, "says nothing about the output 'class'"),
        (
            {"loss": {"boxes": ["mse", ["mse"]], "class": "mse"}},
            r"\[1\] is a list of 1, and the output 'boxes/output_2' is",
        ),
        (
            {"loss": {"boxes": ["mse"] * 2, "class": {"x": "mse"}}},
            r"is a dict of 'x', and the output 'class' is one tensor",
        ),
        ({"loss": ["mse", "mse"]}, "loss is a list, and y_pred is a dict of 'boxes', 'class', which has no reliable"),
        ({"loss": "mse", "loss_weights": {"boxes": 2.0}}, r"loss_weights\['boxes'\] is 2.0"),
        ({"loss": "mse", "loss_weights": {"boxs": [1, 1]}}, "output in loss_weights: 'boxs'. Did you mean 'boxes'"),
        ({"loss": "mse", "metrics": {"boxes": "mse"}}, r"metrics\['boxes'\] is 'mse'"),
        ({"loss": "mse", "weighted_metrics": {"boxes": [["mse"], []], "x": "mse"}}, "output in weighted_metrics: 'x'"),
    ],
)
def test_settings_of_another_structure_than_the_predictions_are_refused(tensor, settings, message):
    y, p = dict_of_lists(tensor, (A, B, C)), dict_of_lists(tensor, (P, P, P))
    with pytest.raises((ArgumentError, UnknownNameError), match=message):
        Objective(**settings).update_metrics(y, p)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("y_true", r"y_true\['boxes'\] is one .*, and y_pred\['boxes'\] has 2 outputs"),
        ("sample_weight", r"sample_weight\['boxes'\] is one .*, or a single sample_weight for all outputs"),
        ("mask", r"mask\['boxes'\] is one"),
    ],
)
def test_tensors_of_another_structure_than_the_predictions_are_refused(tensor, argument, message):
    given = {"y_true": dict_of_lists(tensor, (A, B, C)), "y_pred": dict_of_lists(tensor, (P, P, P))}
    given[argument] = {"boxes": tensor([1.0, 1.0, 1.0, 1.0]), "class": tensor(C)}
    with pytest.raises(ArgumentError, match=message):
        Objective("mse")(**given)


@pytest.mark.parametrize(
    ("y_pred", "message"),
    [
        ({"a": {}}, r"y_pred\['a'\] is an empty dict"),
        ({"a": P, "b": None}, "The output 'b' of y_pred is None"),
        ({"a": {"b": P}, "a/b": P}, "Two outputs are called 'a/b'"),
    ],
)
def test_predictions_that_are_no_outputs_are_refused(tensor, y_pred, message):
    def made(tree):
        return {name: made(each) for name, each in tree.items()} if isinstance(tree, dict) else tree and tensor(tree)

    with pytest.raises(ArgumentError, match=message):
        Objective("mse")(made(y_pred), made(y_pred))


def test_nested_outputs_compile_and_differentiate(tensor, host, compiled):
    objective = Objective({"boxes": ["mse", "mae"], "class": None}, loss_weights={"boxes": [2.0, 1.0]})
    y, p = dict_of_lists(tensor, (A, B, C)), dict_of_lists(tensor, (P, P, P))
    assert host(compiled(objective)(y, p)) == pytest.approx(2 * mse(A, P) + mae(B, P))
    gradients = multiloss.grad(objective)(y, p)
    np.testing.assert_allclose(host(gradients["boxes"][0]), 4 * np.subtract(P, A) / 4, rtol=1e-6)
    np.testing.assert_allclose(host(gradients["boxes"][1]), np.sign(np.subtract(P, B)) / 4, rtol=1e-6)
    np.testing.assert_array_equal(host(gradients["class"]), np.zeros((4, 1)))


# ── Names of outputs ────────────────────────────────────────────────────────────────────────────────────────────


def test_outputs_of_a_list_can_be_named(tensor, shown):
    objective = Objective(
        {"b": "mae", "a": "mse"}, ["mse", {"class_name": "MeanAbsoluteError", "config": {}}], {"b": 2.0},
        output_names=["a", "b"],
    )  # fmt: skip
    results = shown(objective, [tensor(Y), tensor(Y)], [tensor(P), tensor(P)])
    assert list(results) == ["loss", "a_loss", "b_loss", "a_mse", "b_mean_absolute_error"]
    assert results["loss"] == pytest.approx(mse(Y, P) + 2 * mae(Y, P), rel=1e-5)
    by_name = objective.parts({"b": tensor(P), "a": tensor(Y)}, [tensor(P), tensor(P)])
    assert float(by_name["b_loss"]) == 0.0


def test_output_names_order_a_dict_and_name_one_output(tensor, shown):
    y, p = {"b": tensor(Y), "a": tensor(Y)}, {"b": tensor(P), "a": tensor(P)}
    assert list(shown(Objective("mse", "mse", output_names=("a", "b")), y, p))[1:] == [
        "a_loss",
        "b_loss",
        "a_mse",
        "b_mse",
    ]
    assert list(Objective("mse", output_names=["only"]).parts(tensor(Y), tensor(P))) == ["loss", "only_loss"]
    assert list(Objective("mse", output_names=["only"]).parts([tensor(Y)], [tensor(P)])) == ["loss", "only_loss"]


@pytest.mark.parametrize(
    ("output_names", "y_pred", "message"),
    [
        (["a"], [P, P], "output_names is 'a', and y_pred has 2 outputs"),
        (["a", "b"], P, "output_names is 'a', 'b', and y_pred has 1 output"),
        (["a", "c"], {"a": P, "b": P}, "y_pred is a dict of 'a', 'b'. Expected the same names"),
        (["a", "b"], [[P, P], [P]], "nested, so that its outputs are called by their paths"),
    ],
)
def test_output_names_that_do_not_fit_are_refused(tensor, output_names, y_pred, message):
    def made(tree):
        if isinstance(tree, dict):
            return {name: made(each) for name, each in tree.items()}
        return tensor(tree) if tree is P else [made(each) for each in tree]

    with pytest.raises(ArgumentError, match=message):
        Objective("mse", output_names=output_names)(made(y_pred), made(y_pred))


@pytest.mark.parametrize("bad", ["ab", [], ["a", ""], ["a", 1], ["a", "a"], {"a": "b"}])
def test_output_names_are_different_strings(bad):
    with pytest.raises(ArgumentError, match="output_names="):
        Objective("mse", output_names=bad)


def test_a_name_that_the_one_output_does_not_have_is_refused(tensor):
    for settings in (
        {"loss": "mse", "metrics": {"typo": ["mse"]}, "output_names": ["out"]},
        {"loss": {"out": "mse"}, "metrics": {"typo": ["mse"]}},
        {"loss": {"out": "mse"}, "loss_weights": {"typo": 2.0}},
    ):
        with pytest.raises(UnknownNameError, match=r"'typo'\. Expected one of: out"):
            Objective(**settings).update_metrics(tensor(Y), tensor(P))


def test_the_trackers_of_losses_are_shown_when_there_are_several_losses(tensor, shown):
    y, p = {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}
    assert list(shown(Objective({"a": "mse", "b": None}), y, p)) == ["loss"]
    assert list(shown(Objective("mse"), y, p)) == ["loss", "a_loss", "b_loss"]
