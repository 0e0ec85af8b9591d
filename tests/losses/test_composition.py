"""Sums of losses: by operators and by name, weighted by numbers, tensors and callables, with named inputs."""

from __future__ import annotations

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
from multiloss import _errors, grad, grad_and_hessian, losses, metrics, value_and_grad
from multiloss import backend as K
from multiloss.testing import assert_close

RNG = np.random.default_rng(0)
Y_TRUE = (RNG.random((8, 6)) > 0.5).astype(np.float32)
Y_PRED = RNG.uniform(0.1, 0.9, size=(8, 6)).astype(np.float32)
TEACHER = RNG.normal(size=(8, 6)).astype(np.float32)
LOGITS = RNG.normal(size=(8, 6)).astype(np.float32)
LABELS = RNG.integers(0, 6, size=8)
WEIGHTS = np.array([1.0, 0.0, 2.0, 1.0, 0.5, 1.0, 3.0, 1.0], np.float32)
MASK = np.array([True, True, True, False, True, True, True, False])


class Distillation(losses.Loss):
    """Cross-entropy with what a teacher says, softened by a temperature."""

    def __init__(self, temperature=2.0, **settings):
        super().__init__(**settings)
        self.temperature = temperature

    def call(self, y_true, y_pred, *, teacher):
        soft = K.softmax(teacher / self.temperature)
        return K.categorical_crossentropy(soft, y_pred / self.temperature, from_logits=True)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


def gaussian_nll(y_true, y_pred, variance):
    return K.mean(0.5 * (K.log(variance) + K.square(y_true - y_pred) / variance), axis=-1)


def ramp(step):
    return K.minimum(step / 10.0, 1.0)


MSE, MAE = losses.MeanSquaredError(), losses.MeanAbsoluteError()
ERROR = (Y_PRED - Y_TRUE).astype(float)
SUMS = {
    "operators": (0.5 * losses.MeanSquaredError() + losses.MeanAbsoluteError(), 0.5, 1.0),
    "by name": (losses.Sum({"a": ("mse", 0.5), "b": losses.mean_absolute_error}), 0.5, 1.0),
    "by config": (losses.Sum({"a": (losses.serialize(MSE), 3), "b": (losses.MeanAbsoluteError, 2)}), 3.0, 2.0),
    "differences": (MSE / 2 - MAE, 0.5, -1.0),
    "negated": (-(MSE - MAE), -1.0, 1.0),
    "distributed": (2.0 * (0.5 * MSE + MAE), 1.0, 2.0),
    "python's sum": (sum([MSE, MAE]), 1.0, 1.0),
    "callable": (losses.Sum({"a": (MSE, lambda: 0.5), "b": MAE}), 0.5, 1.0),
    "NumPy's number": (np.float32(0.5) * MSE + MAE * np.array(2.0), 0.5, 2.0),
    "nested": (losses.Sum({"inner": (MSE + 3.0 * MAE, 0.5), "b": MAE}), 0.5, 2.5),
}


def expected(a, b, error=ERROR):
    return a * np.mean(error**2) + b * np.mean(np.abs(error))


# ── Values ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_adds_its_weighted_parts(name, backend, tensor, host):
    loss, a, b = SUMS[name]
    given = tensor(Y_TRUE), tensor(Y_PRED)
    assert_close(host(loss(*given)), expected(a, b), "float32")
    gradient = (2 * a * ERROR + b * np.sign(ERROR)) / ERROR.size
    assert_close(host(grad(loss)(*given)), gradient, "float32")


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_weighs_and_masks_its_parts(name, backend, tensor, host):
    loss, a, b = SUMS[name]
    broken = np.where((MASK & (WEIGHTS > 0))[:, None], Y_PRED, np.float32(np.nan))
    value, gradient = value_and_grad(loss)(tensor(Y_TRUE), tensor(broken), tensor(WEIGHTS), tensor(MASK))
    rows = a * np.mean(ERROR**2, -1) + b * np.mean(np.abs(ERROR), -1)
    assert_close(host(value), (rows * WEIGHTS)[MASK].sum() / MASK.sum(), "float32")
    assert np.isfinite(host(gradient)).all()
    assert not host(gradient)[~MASK].any()


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight", "none"])
def test_a_reduction_is_that_of_all_parts(reduction, backend, tensor, host):
    loss = losses.Sum({"a": (MSE, 0.5), "b": MAE}, reduction=reduction)
    changed = 0.5 * MSE + MAE
    changed.reduction = reduction
    parts = [0.5 * losses.MeanSquaredError(reduction=reduction), losses.MeanAbsoluteError(reduction=reduction)]
    given = tensor(Y_TRUE), tensor(Y_PRED), tensor(WEIGHTS)
    by_hand = sum(host(part(*given)) for part in parts)
    for each in (loss, changed, parts[0] + parts[1]):
        assert each.reduction == reduction
        assert_close(host(each(*given)), by_hand, "float32")
    assert MSE.reduction == "sum_over_batch_size"  # what the parts were made from stays as it is


def test_parts_are_reported_before_their_weights(backend, tensor, host):
    loss = losses.Sum({"fit": (MSE, 0.5), "rest": (losses.Sum({"x": MAE, "y": (MSE, 2)}), 3.0)})
    shown = {name: float(host(each)) for name, each in loss.parts(tensor(Y_TRUE), tensor(Y_PRED)).items()}
    mse, mae = np.mean(ERROR**2), np.mean(np.abs(ERROR))
    wanted = {"loss": 0.5 * mse + 3 * (mae + 2 * mse), "fit": mse, "rest": mae + 2 * mse, "rest/x": mae, "rest/y": mse}
    assert shown == pytest.approx(wanted, rel=1e-5)
    assert next(iter(shown)) == "loss"


def test_a_sum_is_a_metric(backend, tensor, host):
    metric = metrics.MeanMetricWrapper(losses.Sum({"a": (MSE, 0.5), "b": (MSE + MAE, 1.0)}))
    for at in (slice(0, 3), slice(3, 8)):
        metric.update_state(tensor(Y_TRUE[at]), tensor(Y_PRED[at]), tensor(WEIGHTS[at]))
    rows = 1.5 * np.mean(ERROR**2, -1) + np.mean(np.abs(ERROR), -1)
    assert_close(host(metric.result()), np.average(rows, weights=WEIGHTS), "float32")


def test_a_sum_has_a_hessian(backend, tensor, host):
    gradient, hessian = grad_and_hessian(0.5 * MSE + 3.0 * MSE)(tensor(Y_TRUE), tensor(Y_PRED))
    assert_close(host(gradient), 7.0 * ERROR / ERROR.size, "float32")
    assert_close(host(hessian), np.full_like(ERROR, 7.0 / ERROR.size), "float32")


def test_equal_names_are_numbered():
    assert list((MSE + MSE + MAE + MSE).losses) == [
        *("mean_squared_error", "mean_squared_error_1", "mean_absolute_error", "mean_squared_error_2"),
    ]


def test_a_part_with_weight_0_reaches_neither_value_nor_gradient(backend, tensor, host):
    def broken(y_true, y_pred):
        return K.sum(y_pred, axis=-1) * float("nan")

    loss = losses.Sum({"broken": (broken, 0.0), "fit": MSE})
    value, gradient = value_and_grad(loss)(tensor(Y_TRUE), tensor(Y_PRED))
    assert_close(host(value), np.mean(ERROR**2), "float32")
    assert np.isfinite(host(gradient)).all()
    assert np.isnan(host(loss.parts(tensor(Y_TRUE), tensor(Y_PRED))["broken"]))
    total, weight = loss.partial(tensor(Y_TRUE), tensor(Y_PRED))
    assert_close(host(total) / host(weight), np.mean(ERROR**2), "float32")
    nothing = losses.Sum({"broken": (broken, 0.0), "fit": (MSE, 0)})
    assert float(host(nothing(tensor(Y_TRUE), tensor(Y_PRED)))) == 0.0


def test_parts_of_a_batch_add_up_to_the_whole(backend, tensor, host):
    loss = 0.5 * losses.MeanSquaredError() + losses.Sum({"x": (losses.BinaryFocalCrossentropy(), 3.0)})
    whole = host(loss(tensor(Y_TRUE), tensor(Y_PRED), tensor(WEIGHTS), tensor(MASK)))
    pieces = [
        loss.partial(tensor(Y_TRUE[at]), tensor(Y_PRED[at]), tensor(WEIGHTS[at]), tensor(MASK[at]))
        for at in (slice(0, 3), slice(3, 4), slice(4, 8))
    ]
    assert_close(sum(host(t) for t, _ in pieces) / sum(host(w) for _, w in pieces), whole, "float32")


def test_parts_with_several_values_per_sample_add_up_too(backend, tensor, host):
    y_true, y_pred = tensor(Y_TRUE.reshape(4, 4, 3)), tensor(Y_PRED.reshape(4, 4, 3))

    def per_sequence(y_true, y_pred):
        return K.mean(K.abs(y_true - y_pred), axis=(1, 2))

    loss = losses.Sum({"steps": MSE, "sequences": per_sequence})
    pieces = [loss.partial(y_true[at], y_pred[at]) for at in (slice(0, 1), slice(1, 4))]
    value = sum(host(t) for t, _ in pieces) / sum(host(w) for _, w in pieces)
    assert_close(value, host(loss(y_true, y_pred)), "float32")


def test_what_has_no_denominator_in_common_adds_up_part_by_part(backend, tensor, host):
    loss = losses.Sum({"dice": (losses.Dice(), 0.5), "rest": (MSE + MAE, 2.0)})
    with pytest.raises(_errors.ArgumentError, match=r"'dice' is divided by a sum of its own.*partials"):
        loss.partial(tensor(Y_TRUE), tensor(Y_PRED))
    pieces = [loss.partials(tensor(Y_TRUE[at]), tensor(Y_PRED[at])) for at in (slice(0, 3), slice(3, 8))]
    assert set(pieces[0]) == {"dice", "rest/mean_squared_error", "rest/mean_absolute_error"}
    value = sum(sum(host(p[k][0]) for p in pieces) / sum(host(p[k][1]) for p in pieces) for k in pieces[0])
    assert_close(value, host(loss(tensor(Y_TRUE), tensor(Y_PRED))), "float32")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (losses.SparseCategoricalCrossentropy(ignore_class=1, from_logits=True), "what its ignore_class lets count"),
        (
            losses.LossFunctionWrapper(lambda y_true, y_pred: K.sum(y_pred), name="whole"),
            "one value for the whole batch",
        ),
    ],
)
def test_partial_refuses_parts_that_count_differently(other, words, backend, tensor):
    labels, logits = tensor(LABELS), tensor(LOGITS)
    with pytest.raises(_errors.ArgumentError, match=words):
        (losses.SparseCategoricalCrossentropy(from_logits=True) + other).partial(labels, logits)


def test_parts_that_ignore_the_same_class_add_up(backend, tensor, host):
    first = losses.SparseCategoricalCrossentropy(ignore_class=1, from_logits=True)
    loss = first + 2.0 * losses.SparseCategoricalFocalCrossentropy(ignore_class=1, from_logits=True)
    pieces = [loss.partial(tensor(LABELS[at]), tensor(LOGITS[at])) for at in (slice(0, 3), slice(3, 8))]
    value = sum(host(t) for t, _ in pieces) / sum(host(w) for _, w in pieces)
    assert_close(value, host(loss(tensor(LABELS), tensor(LOGITS))), "float32")


# ── Weights that are tensors or callables ───────────────────────────────────────────────────────────────────────


def test_gradients_flow_to_a_tensor_weight(backend, tensor, host):
    given = tensor(Y_TRUE), tensor(Y_PRED)

    def objective(weight):
        return (MSE * weight + MAE)(*given)

    value, gradient = value_and_grad(objective)(tensor(np.float32(2.0)))
    assert_close(host(value), expected(2.0, 1.0), "float32")
    assert_close(host(gradient), np.mean(ERROR**2), "float32")


def test_gradients_flow_through_a_callable_weight(backend, tensor, host):
    loss = losses.Sum({"a": (MSE, lambda log_var: K.exp(-log_var)), "b": MAE})
    assert loss.named_inputs == ("log_var",)
    gradient = grad(lambda log_var: loss(tensor(Y_TRUE), tensor(Y_PRED), log_var=log_var))(tensor(np.float32(0.5)))
    assert_close(host(gradient), -np.exp(-0.5) * np.mean(ERROR**2), "float32")


def test_a_callable_weight_follows_the_step(backend, tensor, host, compiled):
    loss = losses.Sum({"a": (MSE, lambda step: step / 10.0), "b": MAE})
    given = tensor(Y_TRUE), tensor(Y_PRED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's compiler deprecates parts of itself
        for call in (loss, compiled(lambda y_true, y_pred, step: loss(y_true, y_pred, step=step))):
            for step in (2.0, 7.0):
                named = {"step": tensor(np.float32(step))}
                value = call(*given, **named)
                assert_close(host(value), expected(step / 10, 1.0), "float32")


def test_a_weight_keeps_the_dtype_of_the_predictions(backend, tensor, host):
    loss = np.array(0.5) * MSE + MAE  # a float64 weight
    assert host(loss(tensor(Y_TRUE), tensor(Y_PRED))).dtype == np.float32


def test_a_sum_runs_compiled(backend, tensor, host, compiled):
    loss = 0.5 * losses.Dice() + losses.BinaryFocalCrossentropy() + losses.Sum({"x": (MSE, 2.0)})
    given = tensor(Y_TRUE), tensor(Y_PRED), tensor(WEIGHTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert_close(host(compiled(loss)(*given)), host(loss(*given)), "float32")


# ── Configs and copies ──────────────────────────────────────────────────────────────────────────────────────────

CONFIGURABLE = {
    "operators": 0.5 * losses.Dice() + losses.BinaryFocalCrossentropy(gamma=3.0),
    "functions": losses.Sum({"a": ("mse", 0.5), "b": losses.Huber(delta=0.1)}, reduction="sum", name="mine"),
    "nested": losses.Sum({"x": (MSE + MAE, 0.1), "y": MAE}, dtype="float64"),
    "arrays": np.array(0.25) * MSE + MAE,
}


@pytest.mark.parametrize("name", CONFIGURABLE)
def test_a_sum_is_written_to_json_and_read_back(name, backend, host, float64):
    loss = CONFIGURABLE[name]
    for again in (
        losses.deserialize(json.loads(json.dumps(losses.serialize(loss)))),
        losses.Sum.from_config(json.loads(json.dumps(loss.get_config()))),
    ):
        assert (again.name, again.reduction, again.dtype) == (loss.name, loss.reduction, loss.dtype)
        assert list(again.losses) == list(loss.losses)
        assert_close(host(again(Y_TRUE, Y_PRED)), host(loss(Y_TRUE, Y_PRED)), "float32")


def test_functions_of_ones_own_are_written_by_name(backend, host):
    loss = losses.Sum({"nll": (gaussian_nll, ramp), "soft": (Distillation(temperature=3.0), 0.5)})
    custom = {each.__name__: each for each in (gaussian_nll, ramp, Distillation)}
    again = losses.deserialize(json.loads(json.dumps(losses.serialize(loss))), custom)
    assert again.losses["soft"].temperature == 3.0
    named = {"teacher": TEACHER, "variance": np.exp(TEACHER), "step": np.float32(4.0)}
    assert_close(host(again(Y_TRUE, Y_PRED, **named)), host(loss(Y_TRUE, Y_PRED, **named)), "float32")
    with pytest.raises(_errors.ArgumentError, match="no name to write down"):
        losses.Sum({"a": (MSE, lambda: 1.0)}).get_config()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_a_sum_is_copied_and_pickled(duplicate, backend, tensor, host):
    loss = losses.Sum({"a": (MSE, ramp), "b": (losses.Dice(), 0.5), "c": Distillation()})
    named = {"step": tensor(np.float32(3.0)), "teacher": tensor(TEACHER)}
    again = duplicate(loss)
    given = tensor(Y_TRUE), tensor(Y_PRED)
    assert_close(host(again(*given, **named)), host(loss(*given, **named)), "float32")


def test_parts_are_replaced_in_a_copy(backend, tensor, host):
    loss = losses.Sum({"a": (MSE, 0.5), "b": (MSE + MAE, 1.0)})
    given = tensor(Y_TRUE), tensor(Y_PRED)
    changed = loss.with_weights({"a": 2.0, "b": tensor(np.float32(3.0))}).with_losses({"a": MAE})
    assert_close(host(changed(*given)), expected(3.0, 5.0), "float32")
    assert_close(host(loss(*given)), expected(1.5, 1.0), "float32")
    with pytest.raises(_errors.ArgumentError, match="no part 'c'"):
        loss.with_weights({"c": 1.0})


def test_a_sum_tells_its_parts():
    shown = repr(losses.Sum({"a": (losses.Huber(), 0.5, ramp), "b": (MSE, np.array(2.0))}))
    assert "a=0.5 * ramp * Huber(" in shown
    assert "b=<ndarray> * MeanSquaredError(" in shown


# ── Bad input ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.Sum({}), "Expected a dict by name"),
        (lambda: losses.Sum([MSE, MAE]), "Expected a dict by name"),
        (lambda: losses.Sum({"loss": MSE}), "which is the sum"),
        (lambda: losses.Sum({"a/b": MSE}), "without '/'"),
        (lambda: losses.Sum({"a": (MSE, "b")}), "weight of the part 'a' is 'b'"),
        (lambda: losses.Sum({"a": (MSE, float("nan"))}), "Expected a finite number"),
        (lambda: True * MSE, "Expected a finite number"),
        (lambda: losses.Sum({"a": None}), "Expected a loss"),
        (lambda: MSE + 3, "Could not interpret loss"),
        (lambda: MSE * MAE, "two losses"),
        (lambda: MSE + losses.Huber(reduction="sum"), "different reductions"),
        (lambda: losses.Sum({"a": MSE}, reduction="avg"), "Unknown reduction"),
    ],
)
def test_what_is_no_sum_is_refused(make, words):
    with pytest.raises((_errors.ArgumentError, _errors.UnknownNameError), match=words):
        make()


def test_a_weight_is_one_number(backend, tensor):
    given = tensor(Y_TRUE), tensor(Y_PRED)
    with pytest.raises(_errors.ShapeError, match=r"weight of the part 'a' has shape \(8,\)"):
        losses.Sum({"a": (MSE, tensor(WEIGHTS))})(*given)
    with pytest.raises(_errors.ArgumentError, match="returned 'much'"):
        losses.Sum({"a": (MSE, lambda: "much")})(*given)


def test_values_per_sample_must_be_of_one_shape_to_add_up(backend, tensor):
    loss = losses.Sum({"a": MSE, "b": lambda y_true, y_pred: K.abs(y_true - y_pred)}, reduction="none")
    with pytest.raises(_errors.ShapeError, match="part 'b' gave values of shape"):
        loss(tensor(Y_TRUE), tensor(Y_PRED))
