"""float16 and bfloat16 wherever a float can stand: beside other dtypes, as weights, under gradients, compilers and autocast.

What the inputs alone do is in `test_dtypes.py` and `test_metric_inputs.py`.
"""

from __future__ import annotations

import inspect
import subprocess
import sys

import multiloss
import numpy as np
import pytest
from multiloss import Objective, constraints, metrics, regularizers
from multiloss import backend as K
from multiloss._errors import LabelError
from multiloss._registry import owner_of, use_backend
from multiloss.losses import Loss
from multiloss.testing import public_loss_classes
from multiloss.utils import to_categorical
from tests.contract import metric_facts
from tests.contract.facts import CLASSES, HALF_DTYPES, HALVES, INTERACTING, data, spec

ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
"""How far a result may be from the exact one for being returned in that dtype."""
BOUND = 1e-3
"""How far one in float32 may be, for inputs in half precision."""
FLOATS = [name for name in CLASSES if spec(name).prediction != "label"]
REGULARIZERS = {
    regularizers.L1: {},
    regularizers.L2: {},
    regularizers.L1L2: {"l1": 0.5, "l2": 0.25},
    regularizers.OrthogonalRegularizer: {},
}
CONSTRAINTS = [constraints.MaxNorm, constraints.MinMaxNorm, constraints.NonNeg, constraints.UnitNorm]
LOGITS = [name for name in CLASSES if "from_logits" in spec(name).defaults]
UNBOUNDED = [
    name for name in CLASSES if spec(name).prediction in ("real", "margin") and spec(name).target != "positive"
]


def make(name, **parameters):
    return public_loss_classes()[name](**parameters)


def batch(name, backend, tensor, dtype):
    """Return targets and predictions of which the predictions are in half precision."""
    y_true, y_pred = map(tensor, data(name))
    return y_true, backend.cast(y_pred, dtype)


def weights(backend, tensor, dtype):
    return backend.cast(tensor(np.linspace(0.25, 2.0, 6).astype(np.float32)), dtype)


def widened(*tensors):
    """Return the same values as NumPy arrays, floats in float64."""
    arrays = [np.asarray(owner_of(x).to_numpy(x)) for x in tensors]
    return [x if x.dtype.kind in "biu" else x.astype(np.float64) for x in arrays]


def exactly(fn, *tensors):
    """Return what a function gives on NumPy for the same values in float64."""
    with use_backend("numpy"):
        return fn(*widened(*tensors))


def close(actual, expected, relative, absolute=None):
    """Assert that a tensor is what NumPy gave."""
    actual = owner_of(actual).to_numpy(actual).astype(np.float64)
    np.testing.assert_allclose(actual, expected, relative, relative if absolute is None else absolute)


# ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FLOATS)
def test_targets_weights_and_mask_may_be_of_another_precision(name, dtype, backend, tensor):
    y_true, y_pred = batch(name, backend, tensor, dtype)
    weight, mask = weights(backend, tensor, dtype), backend.cast(tensor([1, 0, 1, 1, 0, 1]), dtype)
    integers = backend.cast(y_true, "uint8" if spec(name).target == "class index" else "int32")
    for targets, predictions in (
        (integers, y_pred),
        (backend.cast(y_true, dtype), backend.cast(y_pred, "float32")),
    ):
        result = make(name)(targets, predictions, weight, mask)
        assert backend.dtype(result) == "float32"
        close(result, exactly(make(name), targets, predictions, weight, mask), BOUND)


@pytest.mark.needs("float16")
@pytest.mark.parametrize("name", FLOATS)
def test_full_precision_beside_half_precision_is_kept(name, backend, tensor, float64):
    given = (*map(tensor, data(name, dtype="float64")), weights(backend, tensor, "float16"))
    result = make(name)(*given)
    assert backend.dtype(result) == "float64"
    close(result, exactly(make(name), *given), 1e-10)


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FLOATS)
def test_gradients_come_back_in_half_precision(name, dtype, backend, tensor):
    y_true, y_pred = batch(name, backend, tensor, dtype)
    given = (y_true, y_pred, weights(backend, tensor, dtype))
    value, gradient = multiloss.value_and_grad(make(name))(*given)
    expected, exact = exactly(multiloss.value_and_grad(make(name)), *given)
    assert (backend.dtype(value), backend.dtype(gradient)) == ("float32", dtype)
    close(value, expected, BOUND)
    close(gradient, exact, ROUNDING[dtype] + BOUND / 10, BOUND * float(np.abs(exact).max()))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", CLASSES)
def test_the_result_may_be_asked_for_in_half_precision(name, dtype, backend, tensor):
    y_true, y_pred = map(tensor, data(name))
    result = make(name, dtype=dtype)(y_true, y_pred)
    assert backend.dtype(result) == dtype
    close(result, exactly(make(name), y_true, y_pred), ROUNDING[dtype] + 1e-5)
    assert backend.dtype(make(name, dtype=dtype, reduction="none")(y_true, y_pred)) == dtype


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", [name for name in FLOATS if name not in INTERACTING])
def test_parts_of_a_batch_add_up_in_float32(name, dtype, backend, tensor):
    given = (*batch(name, backend, tensor, dtype), weights(backend, tensor, dtype))
    total, divisor = make(name).partial(*given)
    assert (backend.dtype(total), backend.dtype(divisor)) == ("float32", "float32")
    close(total / divisor, exactly(make(name), *given), BOUND)


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", [*LOGITS, *UNBOUNDED])
def test_nothing_overflows_far_from_zero(name, dtype, backend, tensor, host):
    y_true, y_pred = data(name)
    far = np.where(np.arange(y_pred.size).reshape(y_pred.shape) % 3 == 0, 6e4, -6e4).astype(np.float32)
    given = (tensor(y_true), backend.cast(tensor(far), dtype), weights(backend, tensor, dtype))
    loss = make(name, **({"from_logits": True} if name in LOGITS else {}))
    value, gradient = multiloss.value_and_grad(loss)(*given)
    expected, exact = exactly(multiloss.value_and_grad(loss), *given)
    assert np.isfinite(host(value))
    close(value, expected, 1e-5)
    # The gradient itself may be more than float16 holds: that of a square is twice the error.
    bound = 65504.0 if dtype == "float16" else np.inf
    gradient = host(backend.cast(gradient, "float32"))
    held = np.abs(exact) < bound
    np.testing.assert_allclose(gradient[held], exact[held], 2 * ROUNDING[dtype], 1e-6)
    np.testing.assert_array_equal(gradient[~held], np.inf * np.sign(exact[~held]))


@pytest.mark.parametrize("dtype", HALVES)
def test_the_largest_of_more_numbers_than_float16_counts_is_found(dtype, backend, tensor, host):
    many = backend.cast(tensor(np.full(70_000, 2.0, np.float32)), dtype)
    for found in (K.max(many), K.min(many)):
        assert host(backend.cast(found, "float32")) == 2.0


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["BinaryCrossentropy", "SparseCategoricalCrossentropy", "Huber", "CosineSimilarity"])
def test_compiled_half_precision_equals_eager(name, dtype, backend, tensor, host, compiled):
    y_true, y_pred = batch(name, backend, tensor, dtype)
    weight = weights(backend, tensor, dtype)
    loss = make(name)
    result = compiled(lambda *given: loss(*given))(y_true, y_pred, weight)
    assert backend.dtype(result) == "float32"
    assert host(result) == pytest.approx(float(host(loss(y_true, y_pred, weight))), rel=1e-6)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_fraction_in_half_precision_is_no_class(dtype, backend, tensor):
    labels = backend.cast(tensor([0.0, 1.5]), dtype)
    with pytest.raises(LabelError, match=r"y_true\[1\] is 1\.5"):
        make("SparseCategoricalCrossentropy")(labels, tensor([[0.5, 0.5], [0.5, 0.5]]))
    with pytest.raises(LabelError, match=r"x\[1\] is 1\.5"):
        to_categorical(labels)


# ── Metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", metric_facts.CLASSES)
def test_metrics_take_weights_in_half_precision(name, dtype, backend, tensor):
    metric = metric_facts.make(name)
    given = list(map(tensor, metric_facts.data(metric)))
    given = [backend.cast(x, dtype) if backend.is_floating(x) else x for x in given]
    weight = backend.cast(tensor(np.linspace(0.25, 2.0, metric_facts.samples(metric)[0]).astype("float32")), dtype)
    result = metric(*given, sample_weight=weight)
    assert not any(variable.dtype in HALF_DTYPES for variable in metric.variables)
    assert backend.dtype(result) == "float32"
    close(
        result,
        exactly(lambda *batch: metric_facts.make(name)(*batch[:-1], sample_weight=batch[-1]), *given, weight),
        BOUND,
    )


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", metric_facts.CLASSES)
def test_the_result_of_a_metric_may_be_asked_for_in_half_precision(name, dtype, backend, tensor):
    metric = metric_facts.make(name, dtype=dtype)
    given = list(map(tensor, metric_facts.data(metric)))
    result = metric(*given)
    assert backend.dtype(result) == dtype
    close(result, exactly(metric_facts.make(name), *given), ROUNDING[dtype] + 1e-5)


WHOLE = [name for name in metric_facts.OPERANDS if not (metric_facts.data(metric_facts.make(name))[0] % 1).any()]
"""The metrics whose targets are whole numbers."""


@pytest.mark.needs(HALF_DTYPES[-1])
@pytest.mark.parametrize("name", WHOLE)
def test_metrics_take_integers_beside_half_precision(name, backend, tensor):
    y_true, y_pred = map(tensor, metric_facts.data(metric_facts.make(name)))
    y_pred = backend.cast(y_pred, HALF_DTYPES[-1])
    for targets in (backend.cast(y_true, "int32"), backend.cast(y_true, "float32")):
        result = metric_facts.make(name)(targets, y_pred)
        assert backend.dtype(result) == "float32"
        close(result, exactly(metric_facts.make(name), targets, y_pred), BOUND)


class Energy(metrics.Metric):
    """A metric of a user, in Keras' style."""

    def __init__(self, name="energy"):
        super().__init__(name=name)
        self.total = self.add_weight(name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(K.sum(K.square(y_pred - y_true) * K.expand_dims(sample_weight, -1)))

    def result(self):
        return self.total.value


class Squares(Loss):
    """A loss of a user."""

    def call(self, y_true, y_pred):
        return K.sum(K.square(y_pred - y_true), axis=-1)


@pytest.mark.parametrize("dtype", HALVES)
def test_custom_losses_and_metrics_see_float32(dtype, backend, tensor, host):
    y_pred = backend.cast(tensor(np.full((100, 10), 300.0, "float32")), dtype)
    y_true, weight = y_pred * 0, backend.cast(tensor(np.full(100, 0.5, "float32")), dtype)
    assert host(Energy()(y_true, y_pred, weight)) == 9e4 * 1000 / 2
    assert host(Squares()(y_true, y_pred, weight)) == 9e5 / 2
    assert host(Objective(Squares(), weighted_metrics=[Energy()])(y_true, y_pred, weight)) == 9e5 / 2
    assert host(metrics.MeanMetricWrapper(Squares().call)(y_true, y_pred, weight)) == 9e5


@pytest.mark.parametrize("dtype", HALVES)
def test_batches_of_different_precision_accumulate_in_one_metric(dtype, backend, tensor, host):
    metric = metrics.MeanSquaredError()
    for each in (dtype, "float32", dtype):
        metric.update_state(backend.cast(tensor([[0.0], [2.0]]), each), backend.cast(tensor([[1.0], [0.5]]), each))
    assert backend.dtype(metric.result()) == "float32"
    assert host(metric.result()) == pytest.approx((1.0 + 2.25) / 2)


# ── Objectives, regularizers, constraints, labels ───────────────────────────────────────────────────────────────


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("dtype", HALVES)
def test_objectives_take_half_precision(dtype, backend, tensor):
    rng = np.random.default_rng(0)
    w = backend.cast(tensor(rng.normal(size=(3, 2)).astype("float32")), dtype)
    x, y = (backend.cast(tensor(rng.normal(size=shape).astype("float32")), dtype) for shape in ((8, 3), (8, 2)))
    weight = backend.cast(tensor(np.linspace(0.5, 1.5, 8).astype("float32")), dtype)

    def made():
        return Objective(
            {"a": "mse", "b": "huber"},
            metrics={"a": ["mae", "cosine_similarity"]},
            loss_weights={"a": 0.5},
            weighted_metrics={"b": "mse"},
            regularizers={"w": "l2"},
            constraints={"w": "unit_norm"},
        )

    def training_loss(objective, y, weight, parameters, x):
        prediction = x @ parameters["w"]
        outputs = {"a": prediction, "b": prediction}
        return objective({"a": y, "b": y}, outputs, weight, parameters=parameters), outputs

    def run(x, y, weight, w):
        objective, parameters = made(), {"w": w}
        step = multiloss.value_and_grad(lambda p: training_loss(objective, y, weight, p, x), has_aux=True)
        (value, outputs), gradients = step(parameters)
        objective.update_metrics({"a": y, "b": y}, outputs, weight, parameters=parameters)
        return value, gradients["w"], objective.results(), objective.constrain(parameters)["w"]

    value, gradient, results, projected = run(x, y, weight, w)
    exact = exactly(run, x, y, weight, w)
    assert backend.dtype(value) == "float32"
    assert backend.dtype(gradient) == backend.dtype(projected) == dtype
    assert {backend.dtype(each) for each in results.values()} == {"float32"}
    # The product of the matrices is rounded to half precision before the objective sees it.
    close(value, exact[0], 8 * ROUNDING[dtype])
    close(gradient, exact[1], 16 * ROUNDING[dtype])
    close(projected, exact[3], 2 * ROUNDING[dtype])
    for name, each in results.items():
        close(each, exact[2][name], 8 * ROUNDING[dtype])


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("cls", REGULARIZERS)
def test_regularizers_give_float32_and_a_gradient_in_half_precision(cls, dtype, backend, tensor, host):
    w = backend.cast(tensor(np.random.default_rng(0).normal(size=(3, 4)).astype("float32")), dtype)
    value, gradient = multiloss.value_and_grad(cls(**REGULARIZERS[cls]))(w)
    expected, exact = exactly(multiloss.value_and_grad(cls(**REGULARIZERS[cls])), w)
    assert (backend.dtype(value), backend.dtype(gradient)) == ("float32", dtype)
    close(value, expected, BOUND)
    close(gradient, exact, ROUNDING[dtype] + BOUND / 10)
    far = backend.cast(tensor(np.full((3, 4), 6e4, "float32")), dtype)
    assert np.isfinite(host(cls(**REGULARIZERS[cls])(far)))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("cls", CONSTRAINTS)
def test_constraints_give_the_precision_of_the_parameter(cls, dtype, backend, tensor):
    for scale in (1.0, 1e-3, 2e4):
        w = (scale * np.random.default_rng(0).normal(size=(3, 4))).astype("float32")
        w = backend.cast(tensor(w), dtype)
        projected = cls()(w)
        assert backend.dtype(projected) == dtype
        close(projected, exactly(cls(), w), ROUNDING[dtype] + 1e-6, 1e-6)


def test_every_regularizer_and_constraint_is_tested():
    for module, tested in ((regularizers, REGULARIZERS), (constraints, CONSTRAINTS)):
        base = next(cls for cls in next(iter(tested)).__mro__ if cls.__name__ in ("Regularizer", "Constraint"))
        public = {each for each in vars(module).values() if inspect.isclass(each) and issubclass(each, base)}
        assert public - {base} == set(tested)


@pytest.mark.parametrize("dtype", HALVES)
def test_labels_become_one_hot_in_half_precision(dtype, backend, tensor, host):
    for labels in (tensor([0, 2, 1]), backend.cast(tensor([0.0, 2.0, 1.0]), dtype)):
        hot = to_categorical(labels, dtype=dtype)
        assert backend.dtype(hot) == dtype
        np.testing.assert_array_equal(host(backend.cast(hot, "float32")), np.eye(3)[[0, 2, 1]])


@pytest.mark.parametrize("floatx", HALVES)
def test_a_floatx_of_half_precision_is_computed_in_float32(floatx, backend, host):
    K.set_floatx(floatx)
    result = make("MeanSquaredError")([[0, 1]], [[0.5, 0.0]])
    assert backend.dtype(result) == "float32"
    assert host(result) == 0.625


# ── Frameworks ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.backends("torch")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("autocast", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CLASSES)
def test_autocast_does_not_touch_a_loss(name, autocast, dtype, backend, tensor, host, xp):
    y_true, y_pred = map(tensor, data(name))
    y_pred = backend.cast(y_pred, dtype) if name in FLOATS else y_pred
    expected, exact = (
        multiloss.value_and_grad(make(name))(y_true, y_pred) if name in FLOATS else (make(name)(y_true, y_pred), None)
    )
    with xp.autocast("cpu", dtype=getattr(xp, autocast)):
        assert (xp.eye(2) @ xp.eye(2)).dtype == getattr(xp, autocast)  # it is on
        value = make(name)(y_true, y_pred)
        gradient = multiloss.grad(make(name))(y_true, y_pred) if name in FLOATS else None
    assert backend.dtype(value) == "float32"
    np.testing.assert_allclose(host(value), host(expected), rtol=1e-6)
    if gradient is not None:
        assert backend.dtype(gradient) == dtype
        np.testing.assert_allclose(host(gradient.float()), host(exact.float()), 1e-6, 1e-6)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("name", metric_facts.CLASSES)
def test_autocast_does_not_touch_a_metric(name, backend, tensor, host, xp):
    given = list(map(tensor, metric_facts.data(metric_facts.make(name))))
    expected = metric_facts.make(name)(*given)
    with xp.autocast("cpu", dtype=xp.bfloat16):
        result = metric_facts.make(name)(*given)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(host(result), host(expected))


@pytest.mark.backends("torch")
def test_a_network_under_autocast_trains_with_a_full_precision_loss(backend, xp):
    xp.manual_seed(0)
    model, x = xp.nn.Linear(4, 3), xp.randn(64, 4)
    y = xp.argmax(x[:, :3], dim=1)
    objective = Objective(
        public_loss_classes()["SparseCategoricalCrossentropy"](from_logits=True),
        ["accuracy"],
        regularizers={"weight": regularizers.OrthogonalRegularizer()},
    )
    optimizer, seen = xp.optim.SGD(model.parameters(), lr=1.0), []
    for _ in range(30):
        optimizer.zero_grad()
        with xp.autocast("cpu", dtype=xp.bfloat16):
            y_pred = model(x)
            assert y_pred.dtype == xp.bfloat16
            loss = objective(y, y_pred, parameters=dict(model.named_parameters()))
            objective.reset()
            objective.update_metrics(y, y_pred, parameters=dict(model.named_parameters()))
        assert loss.dtype == xp.float32
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < 0.5 * seen[0]
    assert objective.results()["accuracy"].dtype == xp.float32


@pytest.mark.backends("torch")
def test_autocast_is_left_alone_in_a_compiled_graph(backend, tensor, host, compiled, xp):
    loss = make("Circle")
    y_true, y_pred = map(tensor, data("Circle"))
    with xp.autocast("cpu", dtype=xp.bfloat16):
        value = compiled(lambda *given: loss(*given))(y_true, y_pred)
    np.testing.assert_allclose(host(value), host(loss(y_true, y_pred)), rtol=1e-6)


WITHOUT_ML_DTYPES = """
import sys
sys.modules["ml_dtypes"] = None
import numpy as np
import multiloss
from multiloss import losses, metrics, regularizers, utils
from multiloss._errors import DTypeError

half = np.array([[0.5, 1.0]], "float16")
value, gradient = multiloss.value_and_grad(losses.MeanSquaredError())(half, 2 * half)
assert (value, value.dtype, gradient.dtype) == (0.625, "float32", "float16")
assert losses.MeanSquaredError(dtype="float16")(half, 2 * half).dtype == "float16"
assert metrics.MeanSquaredError(dtype="float16")(half, 2 * half).dtype == "float16"
assert regularizers.L2(1.0)(half) == 1.25
for ask in (
    lambda: losses.MeanSquaredError(dtype="bfloat16")(half, half),
    lambda: metrics.MeanSquaredError(dtype="bfloat16")(half, half),
    lambda: utils.to_categorical([0, 1], dtype="bfloat16"),
    lambda: multiloss.dispatch.K.cast(half, "bfloat16"),
):
    try:
        print("nothing raised", ask())
    except DTypeError as error:
        assert "NumPy has no bfloat16" in str(error) and "install ml_dtypes" in str(error), error
print("done")
"""


@pytest.mark.backends("numpy")
def test_numpy_without_ml_dtypes_has_float16_and_says_how_to_get_bfloat16(backend):
    run = subprocess.run([sys.executable, "-c", WITHOUT_ML_DTYPES], capture_output=True, text=True, check=False)
    assert run.stdout == "done\n", run.stderr + run.stdout
