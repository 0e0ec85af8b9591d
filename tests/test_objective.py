"""The number that is minimised: losses, weights, outputs, regularizers and constraints."""

import functools
import re
from typing import Any, NamedTuple

import multiloss
import numpy as np
import pytest
from multiloss import Objective, losses
from multiloss import backend as K
from multiloss._errors import ArgumentError, LabelError, ShapeError, UnknownNameError

Y = [[0.0], [1.0], [1.0], [0.0]]
P = [[0.25], [0.75], [0.5], [0.125]]
W = [[1.0, -2.0], [0.5, 0.0]]


def mse(y_true, y_pred, weight=1.0):
    return float(np.mean(np.square(np.asarray(y_true) - np.asarray(y_pred)).mean(-1) * np.asarray(weight)))


def mae(y_true, y_pred):
    return float(np.mean(np.abs(np.asarray(y_true) - np.asarray(y_pred))))


def my_loss(y_true, y_pred):
    return K.mean(y_pred - y_true, axis=-1)


class FocalLoss(losses.Loss):
    def __init__(self, gamma=2.0, alpha=0.25):
        self.gamma = gamma
        self.alpha = alpha

    def call(self, y_true, y_pred):
        pt_1 = K.where(K.equal(y_true, 1), y_pred, K.ones_like(y_pred))
        pt_0 = K.where(K.equal(y_true, 0), y_pred, K.zeros_like(y_pred))
        return -K.sum(self.alpha * K.pow(1.0 - pt_1, self.gamma) * K.log(1e-07 + pt_1)) - K.sum(
            (1 - self.alpha) * K.pow(pt_0, self.gamma) * K.log(1.0 - pt_0 + 1e-07)
        )


# ── One loss ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "mean_squared_error",
        "MeanSquaredError",
        losses.mean_squared_error,
        losses.MeanSquaredError,
        losses.MeanSquaredError(),
        {"class_name": "MeanSquaredError", "config": {}},
        ["mse"],
        lambda y_true, y_pred: K.mean(K.square(y_true - y_pred), axis=-1),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),  # the workers of pytest-xdist must agree
)
def test_a_loss_is_given_by_name_function_class_instance_or_config(tensor, host, backend, loss):
    total = Objective(loss)(tensor(Y), tensor(P))
    assert isinstance(total, backend.tensor_types)
    assert tuple(total.shape) == ()
    assert host(total) == pytest.approx(mse(Y, P))


def test_custom_losses_of_the_seeds_run(tensor, host):
    assert host(Objective(my_loss)(tensor(Y), tensor(P))) == pytest.approx(np.mean(np.subtract(P, Y)))
    expected = float(host(FocalLoss()(tensor(Y), tensor(P))))
    assert host(Objective(FocalLoss())(tensor(Y), tensor(P))) == pytest.approx(expected)
    assert expected > 0


def test_parameters_in_a_partial_of_a_public_loss_act(tensor, host):
    bound = functools.partial(losses.binary_crossentropy, from_logits=True)
    expected = host(losses.BinaryCrossentropy(from_logits=True)(tensor(Y), tensor(P)))
    assert host(Objective(bound)(tensor(Y), tensor(P))) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", ["crossentropy", "ce", "CE"])
@pytest.mark.parametrize(
    ("y_true", "y_pred", "meant"),
    [
        ([0, 1], [[0.2], [0.7]], losses.BinaryCrossentropy()),
        ([0, 1], [0.2, 0.7], losses.BinaryCrossentropy()),
        ([[0], [1]], [[0.2], [0.7]], losses.BinaryCrossentropy()),
        ([0, 2], [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], losses.SparseCategoricalCrossentropy()),
        ([[0], [2]], [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], losses.SparseCategoricalCrossentropy()),
        ([[1, 0, 0], [0, 0, 1]], [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], losses.CategoricalCrossentropy()),
    ],
)
def test_crossentropy_is_the_one_that_fits_the_shapes(tensor, host, name, y_true, y_pred, meant):
    y_true, y_pred = tensor(y_true), tensor(y_pred)
    assert host(Objective(name)(y_true, y_pred)) == pytest.approx(float(host(meant(y_true, y_pred))))


def test_host_data_goes_to_the_active_backend(backend):
    assert isinstance(Objective("mse")(Y, P), backend.tensor_types)


def test_weights_and_mask_act(tensor, host):
    weight, mask = [1.0, 2.0, 0.0, 3.0], [True, True, True, False]
    objective = Objective("mse")
    weighted = objective(tensor(Y), tensor(P), sample_weight=tensor(weight))
    assert host(weighted) == pytest.approx(mse(Y, P, weight))
    masked = objective(tensor(Y), tensor(P), mask=tensor(mask))
    assert host(masked) == pytest.approx(mse(Y[:3], P[:3]))
    custom = Objective(my_loss)(tensor(Y), tensor(P), sample_weight=tensor(weight), mask=tensor(mask))
    assert host(custom) == pytest.approx(np.sum(np.subtract(P, Y)[:3, 0] * weight[:3]) / 3)


def test_bad_labels_are_named(tensor):
    with pytest.raises(LabelError, match="y_true"):
        Objective("sparse_categorical_crossentropy")(tensor([0, 9]), tensor([[0.5, 0.5], [0.5, 0.5]]))


def test_a_loss_without_a_reduction_is_refused():
    with pytest.raises(ArgumentError, match="an objective is one number"):
        Objective(losses.MeanSquaredError(reduction="none"))


def test_an_unknown_loss_is_told_at_once():
    with pytest.raises(UnknownNameError, match=r"'mean_squared_eror'. Did you mean 'mean_squared_error'"):
        Objective("mean_squared_eror")


@pytest.mark.parametrize("keyword", ["optimizer", "target_tensors", "run_eagerly"])
def test_arguments_of_compile_that_have_no_place_here_are_refused(keyword):
    with pytest.raises(TypeError, match=keyword):
        Objective("mse", **{keyword: None})


def test_nothing_to_minimise_is_an_error(tensor):
    with pytest.raises(ArgumentError, match="nothing to minimise"):
        Objective(None)(tensor(Y), tensor(P))


# ── Several outputs ─────────────────────────────────────────────────────────────────────────────────────────────


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


def test_a_list_of_losses_for_one_of_several_outputs_is_refused():
    with pytest.raises(ArgumentError, match=r"loss\['a'\] is"):
        Objective({"a": ["mse", "mae"]})


def test_nested_outputs_are_refused(tensor):
    with pytest.raises(ArgumentError, match="one level of outputs"):
        Objective("mse")({"a": tensor(Y)}, {"a": {"b": tensor(P)}})


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


# ── Sample weight modes ─────────────────────────────────────────────────────────────────────────────────────────


def test_temporal_weights_weigh_time_steps(tensor, host):
    rng = np.random.default_rng(0)
    y, p, weight = rng.random((4, 3, 2)), rng.random((4, 3, 2)), rng.random((4, 3))
    total = Objective("mse", sample_weight_mode="temporal")(
        *(tensor(each, "float32") for each in (y, p)), sample_weight=tensor(weight, "float32")
    )
    assert host(total) == pytest.approx(np.mean(np.square(y - p).mean(-1) * weight), rel=1e-5)


def test_weights_per_sample_weigh_all_time_steps(tensor, host):
    rng = np.random.default_rng(0)
    y, p, weight = rng.random((3, 3, 2)), rng.random((3, 3, 2)), rng.random(3)
    total = Objective("mse")(*(tensor(each, "float32") for each in (y, p)), sample_weight=tensor(weight, "float32"))
    assert host(total) == pytest.approx(np.mean(np.square(y - p).mean(-1) * weight[:, None]), rel=1e-5)


@pytest.mark.parametrize(
    ("mode", "shape", "expected"),
    [
        (None, (4, 3), r"\(4, 3\) and sample_weight_mode is None. Expected \(N,\)"),
        (None, (4, 1), r"\(4, 1\) and sample_weight_mode is None"),
        (None, (), r"\(\) and sample_weight_mode is None"),
        ("temporal", (4,), r"\(4,\) and sample_weight_mode is 'temporal'. Expected \(N, T\)"),
        ("temporal", (4, 3, 2), r"\(4, 3, 2\) and sample_weight_mode is 'temporal'"),
    ],
)
def test_weights_have_the_rank_of_their_mode(tensor, mode, shape, expected):
    values = tensor(np.zeros((4, 3, 2), "float32"))
    with pytest.raises(ShapeError, match=expected):
        Objective("mse", sample_weight_mode=mode)(values, values, sample_weight=tensor(np.ones(shape, "float32")))


def test_modes_are_given_per_output(tensor, host):
    zeros, ones = tensor(np.zeros((4, 3, 2), "float32")), tensor(np.ones((4, 3, 2), "float32"))
    per_step, per_sample = tensor(np.full((4, 3), 2.0, "float32")), tensor(np.full(4, 3.0, "float32"))
    for modes, y, p, weights in (
        ({"a": "temporal"}, {"a": zeros, "b": zeros}, {"a": ones, "b": ones}, {"a": per_step, "b": per_sample}),
        (["temporal", None], [zeros, zeros], [ones, ones], [per_step, per_sample]),
    ):
        assert host(Objective("mse", sample_weight_mode=modes)(y, p, sample_weight=weights)) == pytest.approx(5.0)


@pytest.mark.parametrize("mode", ["samplewise", "", 1, True])
def test_an_unknown_mode_is_refused(mode):
    with pytest.raises(ArgumentError, match="'temporal'"):
        Objective("mse", sample_weight_mode=mode)


# ── Regularizers and constraints ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("regularizer", "penalty"),
    [
        ("l1", 0.035),
        ({"class_name": "L2", "config": {"l2": 2.0}}, 10.5),
        (multiloss.regularizers.L2(2.0), 10.5),
        (lambda w: K.max(K.abs(w)), 2.0),
    ],
)
def test_penalties_are_added_to_the_loss(tensor, host, regularizer, penalty):
    objective = Objective("mse", regularizers={"kernel": regularizer})
    parts = objective.parts(tensor(Y), tensor(P), parameters={"kernel": tensor(W), "bias": tensor([1.0])})
    assert host(parts["output_loss"]) == pytest.approx(mse(Y, P))
    assert host(parts["loss"]) == pytest.approx(mse(Y, P) + penalty)
    assert host(parts["regularization"]) == pytest.approx(penalty)


def test_nested_parameters_are_named_by_their_path(tensor, host):
    objective = Objective("mse", regularizers={"0/kernel": "l1", "1/deep/kernel": "l2"})
    parameters = [{"kernel": tensor(W), "bias": tensor([9.0])}, {"deep": {"kernel": tensor(W)}, "bias": None}]
    assert host(objective.regularization(parameters)) == pytest.approx(0.035 + 0.0525)


def test_named_tuples_of_parameters_give_their_names(tensor, host):
    class Dense(NamedTuple):
        kernel: Any
        bias: Any

    objective = Objective("mse", regularizers={"first/kernel": "l1"}, constraints={"first/bias": "non_neg"})
    parameters = {"first": Dense(tensor(W), tensor([-1.0]))}
    assert host(objective.regularization(parameters)) == pytest.approx(0.035)
    assert host(objective.constrain(parameters)["first"].bias) == [0.0]


def test_regularization_alone_is_an_objective(tensor, host):
    total = Objective(None, regularizers={"w": "l2"})(None, tensor(P), parameters={"w": tensor(W)})
    assert host(total) == pytest.approx(0.0525)


@pytest.mark.parametrize("regularizers", [None, {}, {"w": None}])
def test_no_regularizers_add_nothing(tensor, host, regularizers):
    objective = Objective("mse", regularizers=regularizers)
    assert host(objective.regularization({"w": tensor(W)})) == 0.0
    assert "regularization" not in objective.parts(tensor(Y), tensor(P), parameters={"w": tensor(W)})


def test_parameters_on_the_host_join_the_predictions(tensor, backend):
    total = Objective("mse", regularizers={"w": "l2"})(tensor(Y), tensor(P), parameters={"w": np.array(W, "float32")})
    assert isinstance(total, backend.tensor_types)


def test_parameters_of_another_precision_are_added_in_the_wider_one(tensor, backend, float64):
    objective = Objective("mse", regularizers={"w": "l2"})
    total = objective(tensor(Y), tensor(P, "float32"), parameters={"w": tensor(W, "float64")})
    assert backend.dtype(total) == "float64"


def test_an_unknown_parameter_lists_near_matches(tensor):
    parameters = {"dense": {"kernel": tensor(W)}}
    with pytest.raises(UnknownNameError, match=r"regularizers: 'dense/kernl'. Did you mean 'dense/kernel'"):
        Objective("mse", regularizers={"dense/kernl": "l2"})(tensor(Y), tensor(P), parameters=parameters)
    with pytest.raises(UnknownNameError, match=r"constraints: 'kernel'. Did you mean 'dense/kernel'"):
        Objective("mse", constraints={"kernel": "non_neg"}).constrain(parameters)


def test_regularizers_without_parameters_are_not_forgotten(tensor):
    objective = Objective("mse", regularizers={"w": "l2"})
    for call in (objective, objective.parts, objective.update_metrics):
        with pytest.raises(ArgumentError, match="regularizers for 'w', and no parameters"):
            call(tensor(Y), tensor(P))


def test_parameters_have_names(tensor):
    objective = Objective("mse", regularizers={"w": "l2"})
    with pytest.raises(ArgumentError, match="Expected tensors by name"):
        objective.regularization(tensor(W))
    with pytest.raises(ArgumentError, match="Two parameters are called 'a/b'"):
        objective.regularization({"a": {"b": tensor(W)}, "a/b": tensor(W)})


@pytest.mark.parametrize("argument", ["regularizers", "constraints"])
def test_regularizers_and_constraints_are_given_by_name(argument):
    for bad in ("l2", ["l2"], {"class_name": "L2", "config": {}}, {1: "l2"}):
        with pytest.raises(ArgumentError, match="a dict by parameter name"):
            Objective("mse", **{argument: bad})
    with pytest.raises(UnknownNameError, match=f"Unknown {argument[:-1]}: 'l3'"):
        Objective("mse", **{argument: {"w": "l3"}})


def test_a_penalty_is_one_number(tensor):
    with pytest.raises(ShapeError, match=r"The regularizer of 'w' gave shape \(2, 2\)"):
        Objective("mse", regularizers={"w": K.abs})(tensor(Y), tensor(P), parameters={"w": tensor(W)})


def test_constrain_projects_the_named_parameters_and_keeps_the_structure(tensor, host):
    objective = Objective("mse", constraints={"0/kernel": "non_neg", "1": lambda w: w * 2.0})
    bias = tensor([-1.0])
    projected = objective.constrain([{"kernel": tensor(W), "bias": bias}, tensor([1.0]), None])
    np.testing.assert_array_equal(host(projected[0]["kernel"]), np.maximum(W, 0.0))
    np.testing.assert_array_equal(host(projected[1]), [2.0])
    assert projected[0]["bias"] is bias
    assert projected[2] is None
    assert list(projected[0]) == ["kernel", "bias"]


def test_constrain_without_constraints_changes_nothing(tensor):
    parameters = {"w": tensor(W)}
    assert Objective("mse").constrain(parameters) is parameters


# ── Gradients and compilers ─────────────────────────────────────────────────────────────────────────────────────


def full_objective():
    return Objective(
        {"a": "mse", "b": "sparse_categorical_crossentropy"},
        loss_weights={"a": 2.0, "b": 0.5},
        regularizers={"kernel": "l2"},
        constraints={"kernel": "max_norm"},
        metrics={"b": "accuracy"},
    )


def predictions(parameters):
    hidden = parameters["kernel"]
    return {"a": hidden, "b": K.softmax(hidden)}


def test_gradients_of_losses_and_penalties_add_up(tensor, host):
    objective = full_objective()
    y = {"a": tensor([[0.0, 1.0], [1.0, 0.0]]), "b": tensor([0, 1])}
    parameters = {"kernel": tensor([[0.5, -1.0], [2.0, 0.25]])}

    def training_loss(parameters):
        return objective(y, predictions(parameters), parameters=parameters)

    value, gradient = multiloss.value_and_grad(training_loss)(parameters)
    w = np.array([[0.5, -1.0], [2.0, 0.25]])
    q = np.exp(w) / np.exp(w).sum(-1, keepdims=True)
    expected = 2.0 * 2.0 * (w - [[0.0, 1.0], [1.0, 0.0]]) / 4 + 0.5 * (q - np.eye(2)) / 2 + 0.02 * w
    np.testing.assert_allclose(host(gradient["kernel"]), expected, rtol=1e-5)
    assert host(value) == pytest.approx(float(host(training_loss(parameters))))


def test_the_gradient_of_an_objective_is_that_of_its_predictions(tensor, host):
    value, gradient = multiloss.value_and_grad(Objective("mse"))(tensor(Y), tensor(P))
    np.testing.assert_allclose(host(gradient), 2 * np.subtract(P, Y) / 4, rtol=1e-6)
    assert host(value) == pytest.approx(mse(Y, P))
    y, p = {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}
    gradients = multiloss.grad(Objective({"a": "mse", "b": "mae"}))(y, p)
    np.testing.assert_allclose(host(gradients["a"]), 2 * np.subtract(P, Y) / 4, rtol=1e-6)
    np.testing.assert_allclose(host(gradients["b"]), np.sign(np.subtract(P, Y)) / 4, rtol=1e-6)


def test_parts_ride_along_as_auxiliary_values(tensor, host):
    objective = Objective("mse", regularizers={"w": "l2"})

    def training_loss(parameters):
        parts = objective.parts(tensor(Y), tensor(P) + K.sum(parameters["w"]), parameters=parameters)
        return parts["loss"], parts

    (value, parts), _ = multiloss.value_and_grad(training_loss, has_aux=True)({"w": tensor([0.0])})
    assert float(host(parts["loss"])) == float(host(value))
    assert set(parts) == {"loss", "output_loss", "regularization"}


def test_compiled_equals_eager(tensor, host, compiled):
    objective = full_objective()
    y = {"a": tensor([[0.0, 1.0], [1.0, 0.0]]), "b": tensor([0, 1])}
    parameters = {"kernel": tensor([[0.5, -1.0], [2.0, 0.25]])}
    weight = tensor([1.0, 2.0])

    def step(parameters, y, weight):
        total = objective(y, predictions(parameters), sample_weight=weight, parameters=parameters)
        return total, objective.constrain(parameters)

    total, projected = compiled(step)(parameters, y, weight)
    expected, expected_projected = step(parameters, y, weight)
    assert host(total) == pytest.approx(float(host(expected)), rel=1e-6)
    np.testing.assert_allclose(host(projected["kernel"]), host(expected_projected["kernel"]), rtol=1e-6)


def test_one_training_loop_serves_every_backend(tensor, host):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    y = (x @ [2.0, -1.0, 0.5] > 0).astype("float32")
    x, y = tensor(x, "float32"), tensor(y, "float32")
    objective = Objective(
        "binary_crossentropy", ["accuracy"], regularizers={"kernel": "l2"}, constraints={"kernel": "max_norm"}
    )
    parameters = {"kernel": tensor([[0.0], [0.0], [0.0]]), "bias": tensor([[0.0]])}
    losses_seen = []

    def training_loss(parameters):
        y_pred = K.sigmoid(x @ parameters["kernel"] + parameters["bias"])
        return objective(y, y_pred, parameters=parameters), y_pred

    for _ in range(60):
        (value, y_pred), gradients = multiloss.value_and_grad(training_loss, has_aux=True)(parameters)
        losses_seen.append(float(host(value)))
        objective.reset()
        objective.update_metrics(y, y_pred, parameters=parameters)
        parameters = {name: parameters[name] - 1.0 * gradients[name] for name in parameters}
        parameters = objective.constrain(parameters)
        assert np.linalg.norm(host(parameters["kernel"])) <= 2.0001
    assert losses_seen[0] == pytest.approx(np.log(2.0), rel=1e-5)
    assert losses_seen[-1] < 0.45
    assert float(host(objective.results()["accuracy"])) > 0.95
    assert float(host(objective.results()["loss"])) == pytest.approx(losses_seen[-1], rel=1e-5)


@pytest.mark.backends("torch")
def test_parameters_of_a_torch_module_are_named_as_torch_names_them(tensor, host, xp):
    model = xp.nn.Sequential(xp.nn.Linear(3, 2), xp.nn.Linear(2, 1))
    objective = Objective("mse", regularizers={"0.weight": "l2"}, constraints={"1.weight": "non_neg"})
    parameters = dict(model.named_parameters())
    objective(
        tensor(np.zeros((4, 1), "float32")), model(tensor(np.ones((4, 3), "float32"))), parameters=parameters
    ).backward()
    assert all(each.grad is not None for each in model.parameters())
    projected = objective.constrain(parameters)
    assert not projected["1.weight"].requires_grad
    assert (host(projected["1.weight"]) >= 0.0).all()
    assert projected["0.weight"] is parameters["0.weight"]


def test_repr_shows_what_was_given():
    shown = repr(Objective("mse", metrics=["mae"], regularizers={"w": "l2"}))
    assert "mean_squared_error" in shown
    assert "['mae']" in shown
    assert "L2(l2=0.01)" in shown
    assert "constraints" not in shown
