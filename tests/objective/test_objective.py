"""The number that is minimised: losses, weights, modes, gradients."""

import functools
import re

import multiloss
import numpy as np
import pytest
from multiloss import Objective, losses
from multiloss import backend as K
from multiloss._errors import ArgumentError, LabelError, ShapeError, UnknownNameError
from tests.objective.common import P, Y, mse

W = [[1.0, -2.0], [0.5, 0.0]]


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


# ── Sample weight modes ──


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


# ── Gradients and compilers ──


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
