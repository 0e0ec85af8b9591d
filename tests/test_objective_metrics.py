"""What an objective shows: averages over batches, names, and what "accuracy" stands for."""

import json
import re

import numpy as np
import pytest
from multiloss import Objective, losses, metrics, regularizers, use_backend
from multiloss import backend as K
from multiloss._errors import ArgumentError, ShapeError, UnknownNameError

Y = [[0.0], [1.0], [1.0], [0.0]]
P = [[0.25], [0.75], [0.5], [0.125]]
MSE, MAE = 0.0976562, 0.28125


@pytest.fixture
def shown(tensor, host):
    """The results of an objective for one batch, as Python floats."""

    def show(objective, y_true, y_pred, **given):
        objective.update_metrics(y_true, y_pred, **given)
        return {name: float(host(value)) for name, value in objective.results().items()}

    return show


def mean_pred(y_true, y_pred):
    return K.mean(y_pred)


# ── Accuracy ────────────────────────────────────────────────────────────────────────────────────────────────────

SPARSE = ([0, 2, 1], [[0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.2, 0.7, 0.1]], 2 / 3)
SPARSE_COLUMN = ([[0], [2], [1]], *SPARSE[1:])
ONE_HOT = ([[1, 0, 0], [0, 0, 1], [0, 1, 0]], *SPARSE[1:])
MULTI_LABEL = ([[1, 0, 1], [0, 0, 1]], [[0.9, 0.2, 0.3], [0.6, 0.1, 0.9]], 4 / 6)
BINARY = ([0, 1, 1, 0], [0.2, 0.7, 0.4, 0.1], 3 / 4)
BINARY_COLUMN = ([[0], [1], [1], [0]], [[0.2], [0.7], [0.4], [0.1]], 3 / 4)
BINARY_MIXED = ([0, 1, 1, 0], [[0.2], [0.7], [0.4], [0.1]], 3 / 4)
LOGITS = ([0, 1, 1, 0], [[-0.2], [0.4], [-0.3], [0.3]], 2 / 4)
SIGNS = ([-1, 1, 1, -1], [[-0.2], [0.4], [-0.3], [0.3]], 2 / 4)
STEPS = ([[0, 1, 1], [1, 0, 1]], [[[0.2], [0.7], [0.4]], [[0.9], [0.1], [0.6]]], 5 / 6)


@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy", "ACC"])
@pytest.mark.parametrize(
    ("loss", "case"),
    [
        ("binary_crossentropy", BINARY),
        ("binary_crossentropy", BINARY_COLUMN),
        ("binary_crossentropy", BINARY_MIXED),
        ("binary_crossentropy", MULTI_LABEL),
        ("binary_crossentropy", STEPS),
        ("binary_focal_crossentropy", MULTI_LABEL),
        (losses.BinaryCrossentropy(from_logits=True), LOGITS),
        ("hinge", SIGNS),
        ("squared_hinge", SIGNS),
        ("hinge", LOGITS),  # labels 0 and 1, which hinge maps to -1 and 1
        ("squared_hinge", LOGITS),
        ("sparse_categorical_crossentropy", SPARSE),
        ("sparse_categorical_crossentropy", SPARSE_COLUMN),
        ("categorical_crossentropy", ONE_HOT),
        ("kld", ONE_HOT),
        ("categorical_hinge", ONE_HOT),
        ("ce", SPARSE),
        ("ce", ONE_HOT),
        ("ce", BINARY),
        ("mse", BINARY),
        ("mse", BINARY_MIXED),
        ("mse", ONE_HOT),
        (mean_pred, BINARY),
        (mean_pred, ONE_HOT),
        (mean_pred, SPARSE),
    ],
)
def test_accuracy_fits_the_loss_and_the_shapes(tensor, shown, name, loss, case):
    y_true, y_pred, expected = case
    results = shown(Objective(loss, metrics=[name]), tensor(y_true), tensor(y_pred))
    assert list(results) == ["loss", name]
    assert results[name] == pytest.approx(expected)


def test_accuracy_finds_the_classes_where_the_loss_has_them(tensor, shown):
    y_true, y_pred, expected = SPARSE
    channels_first = np.moveaxis(np.array([y_pred], "float32"), -1, 1)
    objective = Objective(losses.SparseCategoricalCrossentropy(axis=1), metrics=["accuracy"])
    assert shown(objective, tensor([y_true]), tensor(channels_first))["accuracy"] == pytest.approx(expected)
    one_hot = np.moveaxis(np.array([ONE_HOT[0]], "float32"), -1, 1)
    objective = Objective(losses.CategoricalCrossentropy(axis=1), metrics=["accuracy"])
    assert shown(objective, tensor(one_hot), tensor(channels_first))["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("column", [False, True])
def test_accuracy_ignores_what_the_loss_ignores(tensor, shown, column):
    y_true, y_pred, expected = [0, 2, 1, -100], [*SPARSE[1], [1.0, 0.0, 0.0]], SPARSE[2]
    y_true = [[each] for each in y_true] if column else y_true
    objective = Objective(losses.SparseCategoricalCrossentropy(ignore_class=-100), metrics=["accuracy"])
    assert shown(objective, tensor(y_true), tensor(y_pred))["accuracy"] == pytest.approx(expected)
    mask = tensor([False, True, True, True])
    assert shown_again(objective, shown, tensor(y_true), tensor(y_pred), mask) == pytest.approx(1 / 2)


def shown_again(objective, shown, y_true, y_pred, mask):
    objective.reset()
    return shown(objective, y_true, y_pred, mask=mask)["accuracy"]


@pytest.mark.parametrize("name", ["crossentropy", "ce", "CE"])
@pytest.mark.parametrize(
    ("loss", "case"),
    [
        ("binary_crossentropy", MULTI_LABEL),
        ("categorical_crossentropy", ONE_HOT),
        ("sparse_categorical_crossentropy", SPARSE),
        (losses.BinaryCrossentropy(from_logits=True), LOGITS),
        (losses.SparseCategoricalCrossentropy(from_logits=True), SPARSE),
        (losses.CategoricalCrossentropy(from_logits=True), ONE_HOT),
    ],
)
def test_crossentropy_as_a_metric_is_that_of_the_loss(tensor, shown, name, loss, case):
    results = shown(Objective(loss, metrics=name), tensor(case[0]), tensor(case[1]))
    assert results[name] == pytest.approx(results["loss"], rel=1e-6)


def test_the_crossentropy_of_signed_scores_is_refused(tensor):
    with pytest.raises(ArgumentError, match="needs probabilities or logits"):
        Objective("hinge", metrics=["ce"]).update_metrics(tensor(SIGNS[0]), tensor(SIGNS[1]))


def test_auc_of_sparse_labels_and_several_outputs_is_one_clear_error(tensor):
    objective = Objective("sparse_categorical_crossentropy", metrics="AUC")
    with pytest.raises(ShapeError, match=r"y_true has shape \(3,\) and y_pred has shape \(3, 3\)") as caught:
        objective.update_metrics(tensor(SPARSE[0]), tensor(SPARSE[1]))
    assert "the metric 'AUC' of the objective" in caught.value.__notes__[0]


def test_a_bare_string_is_one_metric(tensor, shown):
    assert shown(Objective("bce", metrics="AUC"), tensor(BINARY[0]), tensor(BINARY[1]))["AUC"] == pytest.approx(1.0)


# ── Names ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Halved(metrics.MeanMetricWrapper):
    def __init__(self, name="halved"):
        super().__init__(lambda y_true, y_pred: K.mean(y_pred, axis=-1) / 2.0, name)


def test_metrics_keep_the_names_they_are_given(tensor, shown):
    given = ["mse", "mean_absolute_error", metrics.MeanSquaredError(name="mine"), losses.Huber(delta=10.0), mean_pred]
    given += [lambda y_true, y_pred: K.mean(y_pred, axis=-1), Halved, {"class_name": "MeanSquaredError", "config": {}}]
    results = shown(Objective("mse", metrics=given), tensor(Y), tensor(P))
    assert results == pytest.approx(
        {
            "loss": MSE,
            "mse": MSE,
            "mean_absolute_error": MAE,
            "mine": MSE,
            "huber_loss": MSE / 2,
            "mean_pred": 0.40625,
            "lambda": 0.40625,
            "halved": 0.203125,
            "mean_squared_error": MSE,
        },
        rel=1e-5,
    )


def test_names_that_occur_twice_are_numbered_and_weighted_ones_say_so(tensor, shown):
    objective = Objective("mse", metrics=["mse", "mse", "mse"], weighted_metrics=["mse", "mse", "mae"])
    results = shown(objective, tensor(Y), tensor(P), sample_weight=tensor([2.0, 0.0, 0.0, 0.0]))
    assert list(results) == ["loss", "mse", "mse_1", "mse_2", "weighted_mse", "weighted_mse_1", "mae"]
    assert results["mse"] == pytest.approx(MSE, rel=1e-5)
    assert results["weighted_mse"] == pytest.approx(0.0625)
    assert results["mae"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"a": "mse"}, ["a_mse"]),
        ({"a": ["mse", "mae"], "b": mean_pred}, ["a_mse", "a_mae", "b_mean_pred"]),
        ({"b": None}, []),
        ("mae", ["a_mae", "b_mae"]),
        ({"class_name": "MeanAbsoluteError", "config": {"name": "mae"}}, ["a_mae", "b_mae"]),
    ],
)
def test_metrics_of_several_outputs_carry_the_output(tensor, shown, given, names):
    results = shown(Objective("mse", metrics=given), {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)})
    assert list(results) == ["loss", "a_loss", "b_loss", *names]
    assert results["loss"] == pytest.approx(2 * MSE, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["mse", "mae"], ["output_1_mse", "output_2_mae"]),
        ([["mse", "mae"], None], ["output_1_mse", "output_1_mae"]),
        ([None, ["acc"]], ["output_2_acc"]),
    ],
)
def test_lists_of_metrics_hold_one_entry_for_each_output(tensor, shown, given, names):
    results = shown(Objective("mse", metrics=given), [tensor(Y), tensor(Y)], [tensor(P), tensor(P)])
    assert list(results) == ["loss", "output_1_loss", "output_2_loss", *names]


def test_weighted_names_of_several_outputs_follow_keras(tensor, shown):
    objective = Objective("mse", metrics={"a": "mse"}, weighted_metrics={"a": "mse", "b": "mse"})
    results = shown(objective, {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)})
    assert list(results)[3:] == ["a_mse", "a_weighted_mse", "b_mse"]


def test_one_output_has_no_prefix(tensor, shown):
    results = shown(Objective({"a": "mse"}, metrics={"a": ["mae"]}), {"a": tensor(Y)}, {"a": tensor(P)})
    assert list(results) == ["loss", "mae"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"metrics": ["msee"]}, UnknownNameError, "Unknown metric: 'msee'"),
        ({"weighted_metrics": {"a": ["msee"]}}, UnknownNameError, "Unknown metric: 'msee'"),
        ({"metrics": [metrics.Mean()]}, ArgumentError, "takes in values, sample_weight, mask"),
        ({"metrics": 3}, ArgumentError, "Could not interpret"),
    ],
)
def test_what_is_no_metric_is_told_at_once(settings, error, message):
    with pytest.raises(error, match=message):
        Objective("mse", **settings)


def test_metrics_and_outputs_that_do_not_fit_are_refused(tensor):
    y, p = {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}
    shared = metrics.MeanSquaredError()
    for given, message in (
        ({"metrics": ["mse"]}, "metrics is a list of 1, and y_pred has 2 outputs"),
        ({"metrics": ["mse", "mse"]}, "no reliable order"),
        ({"metrics": {"c": "mse"}}, "Unknown output in metrics: 'c'"),
        ({"metrics": shared}, "holds one state"),
        ({"metrics": {"a": shared, "b": shared}}, "is given twice"),
        ({"metrics": {"a": metrics.MeanSquaredError(name="loss")}}, "a_loss"),
    ):
        with pytest.raises((ArgumentError, UnknownNameError), match=message):
            Objective("mse", **given).update_metrics(y, p)


def test_a_metric_cannot_take_the_name_of_a_part(tensor):
    with pytest.raises(ArgumentError, match="'loss', which is the name of a part"):
        Objective("mse", metrics=[metrics.MeanSquaredError(name="loss")]).update_metrics(tensor(Y), tensor(P))


def test_metrics_of_an_output_without_targets_are_refused(tensor):
    with pytest.raises(ArgumentError, match="metrics and no y_true"):
        Objective({"a": "mse", "b": None}, metrics={"b": "mse"}).update_metrics(
            {"a": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}
        )


# ── Averages over batches ───────────────────────────────────────────────────────────────────────────────────────


def batches(sizes):
    rng = np.random.default_rng(0)
    y, p = rng.random((sum(sizes), 2)).astype("float32"), rng.random((sum(sizes), 2)).astype("float32")
    weight = rng.random(sum(sizes)).astype("float32")
    mask = rng.random(sum(sizes)) > 0.4
    return [np.split(each, np.cumsum(sizes)[:-1]) for each in (y, p, weight, mask)]


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight"])
@pytest.mark.parametrize("used", [(), ("sample_weight",), ("mask",), ("sample_weight", "mask")])
def test_the_average_over_unequal_batches_is_that_of_all_samples(tensor, host, reduction, used):
    objective = Objective(losses.MeanSquaredError(reduction=reduction), metrics=["mae"], weighted_metrics=["mse"])
    split, whole = batches([5, 1, 7, 3]), batches([16])
    for y, p, weight, mask in zip(*split, strict=True):
        given = {"sample_weight": tensor(weight), "mask": tensor(mask)}
        objective.update_metrics(tensor(y), tensor(p), **{key: given[key] for key in used})
    results = {name: float(host(value)) for name, value in objective.results().items()}
    y, p, weight, mask = (tensor(each[0]) for each in whole)
    given = {key: {"sample_weight": weight, "mask": mask}[key] for key in used}
    objective.reset()
    objective.update_metrics(y, p, **given)
    assert results == pytest.approx({name: float(host(value)) for name, value in objective.results().items()}, rel=1e-5)
    assert results["loss"] == pytest.approx(float(host(objective(y, p, **given))), rel=1e-5)


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("loss", "average"),
    [
        ("mse", (1.0 + 1.0 + 4.0) / 3),
        (losses.MeanSquaredError(reduction="sum"), None),
        (lambda y_true, y_pred: K.mean(K.square(y_true - y_pred)), (1.0 + 1.0 + 4.0) / 3),
    ],
)
def test_batches_count_by_their_rows(tensor, host, loss, average, column):
    objective = Objective(loss)
    totals = []
    for y_true, y_pred in (([0.0, 0.0], [1.0, 1.0]), ([0.0], [2.0])):
        y_true, y_pred = ([[each] for each in x] if column else x for x in (y_true, y_pred))
        totals.append(float(host(objective(tensor(y_true), tensor(y_pred)))))
        objective.update_metrics(tensor(y_true), tensor(y_pred))
    expected = (2 * totals[0] + totals[1]) / 3 if average is None else average
    assert float(host(objective.results()["loss"])) == pytest.approx(expected)


def test_total_is_the_weighted_sum_of_the_averages(tensor, host):
    objective = Objective(
        {"a": "mse", "b": "mae"}, loss_weights={"a": 2.0, "b": 0.5}, regularizers={"w": regularizers.L2(1.0)}
    )
    for w in (1.0, 3.0):
        objective.update_metrics(
            {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}, parameters={"w": tensor([w])}
        )
    results = {name: float(host(value)) for name, value in objective.results().items()}
    assert results == pytest.approx(
        {"loss": 2 * MSE + 0.5 * MAE + 5.0, "a_loss": MSE, "b_loss": MAE, "regularization": 5.0}, rel=1e-5
    )


def test_metrics_never_see_weights_and_weighted_metrics_do(tensor, shown):
    objective = Objective("mse", metrics=["acc"], weighted_metrics=["accuracy"])
    results = shown(objective, tensor(Y), tensor(P), sample_weight=tensor([1.0, 1.0, 2.0, 0.0]))
    assert results["acc"] == pytest.approx(0.75)
    assert results["accuracy"] == pytest.approx(0.5)


def test_a_mask_hides_samples_from_all_metrics(tensor, shown):
    objective = Objective("mse", metrics=["acc"], weighted_metrics=["accuracy"])
    results = shown(objective, tensor(Y), tensor(P), mask=tensor([True, False, True, False]))
    assert results["acc"] == results["accuracy"] == pytest.approx(0.5)
    assert results["loss"] == pytest.approx((0.0625 + 0.25) / 2)


def test_temporal_weights_reach_weighted_metrics(tensor, shown):
    y, p = np.zeros((2, 2, 1), "float32"), np.array([[[1.0], [2.0]], [[3.0], [4.0]]], "float32")
    objective = Objective("mse", weighted_metrics=["mae"], sample_weight_mode="temporal")
    weight = tensor([[1.0, 0.0], [0.0, 3.0]])
    assert shown(objective, tensor(y), tensor(p), sample_weight=weight)["mae"] == pytest.approx(13.0 / 4.0)


def test_reset_forgets_all_batches(tensor, shown):
    objective = Objective("mse", metrics=["mae"], regularizers={"w": "l2"})
    first = shown(objective, tensor(Y), tensor(P), parameters={"w": tensor([1.0])})
    shown(objective, tensor(Y), tensor(Y), parameters={"w": tensor([100.0])})
    for forget in (objective.reset, objective.reset_state):
        forget()
        assert shown(objective, tensor(Y), tensor(P), parameters={"w": tensor([1.0])}) == first


def test_metrics_alone_are_shown_without_a_loss(tensor, shown):
    assert shown(Objective(None, metrics=["mae"]), tensor(Y), tensor(P)) == pytest.approx({"mae": MAE})


def test_results_before_the_first_batch_are_an_error():
    with pytest.raises(ArgumentError, match="No batch has been seen yet"):
        Objective("mse").results()


def test_a_batch_with_other_outputs_is_refused(tensor):
    objective = Objective("mse")
    objective.update_metrics(tensor(Y), tensor(P))
    with pytest.raises(ArgumentError, match="has the outputs a, b, and earlier ones had output"):
        objective.update_metrics({"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)})


def test_metrics_show_what_accuracy_was_resolved_to(tensor):
    objective = Objective("hinge", metrics=["accuracy"])
    assert objective.metrics == {}
    objective.update_metrics(tensor(SIGNS[0]), tensor(SIGNS[1]))
    assert isinstance(objective.metrics["accuracy"], metrics.BinaryAccuracy)


@pytest.mark.backends("torch")
def test_averages_hold_no_graph(tensor, xp):
    p = tensor(P).requires_grad_()
    w = tensor([1.0]).requires_grad_()
    objective = Objective("mse", metrics=["mae"], weighted_metrics=["mse"], regularizers={"w": "l2"})
    objective.update_metrics(tensor(Y), p, parameters={"w": w})
    assert not any(value.requires_grad for value in objective.results().values())
    assert objective(tensor(Y), p, parameters={"w": w}).requires_grad


def test_host_data_joins_the_averages_of_a_framework(tensor, host, backend):
    objective = Objective("mse", metrics=["mae"], regularizers={"w": "l2"})
    objective.update_metrics(tensor(Y), tensor(P), parameters={"w": tensor([1.0])})
    before = objective.results()
    with use_backend("numpy"):
        objective.update_metrics(np.array(Y), np.array(P), parameters={"w": np.array([1.0])})
        after = objective.results()
    assert all(isinstance(value, backend.tensor_types) for value in after.values())
    for name, value in before.items():
        assert float(host(after[name])) == pytest.approx(float(host(value)))


# ── Configs ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "objective",
    [
        Objective("mse", "mae", 2.0, ["mse"], None, {"w": "l2"}, {"w": "max_norm"}),
        Objective(losses.Huber(delta=0.1), [metrics.MeanSquaredError(name="mine"), Halved, "acc", losses.Huber()]),
        Objective("ce", regularizers={"w": regularizers.L1(0.5)}),
        Objective(mean_pred, [mean_pred], 0.5),
        Objective(["mse"], [["mae"]], [2.0], None, ["temporal"]),
        Objective({"output": "mse"}, {"output": ["mae"]}, {"output": 2.0}, {"output": "mae"}, {"output": None}),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),  # the workers of pytest-xdist must agree
)
def test_config_round_trips_as_json(tensor, host, shown, objective):
    custom = {"mean_pred": mean_pred, "Halved": Halved}
    config = json.loads(json.dumps(objective.get_config()))
    again = Objective.from_config(config, custom_objects=custom)
    assert again.get_config() == objective.get_config()
    w = {"w": tensor([[3.0, 4.0]])}
    objective.reset()
    assert shown(again, tensor(Y), tensor(P), parameters=w) == shown(objective, tensor(Y), tensor(P), parameters=w)
    np.testing.assert_array_equal(host(again.constrain(w)["w"]), host(objective.constrain(w)["w"]))


def test_custom_names_in_a_config_need_custom_objects():
    with pytest.raises(UnknownNameError, match="mean_pred"):
        Objective.from_config(Objective(mean_pred).get_config())
