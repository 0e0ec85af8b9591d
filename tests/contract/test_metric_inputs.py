"""What metrics accept and refuse: shapes, labels, dtypes; the messages say what arrived."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors
from multiloss import backend as K
from multiloss.losses._spec import LossSpec
from multiloss.metrics import MeanMetricWrapper
from multiloss.testing import (
    TOLERANCES,
    assert_close,
    metric_arguments,
    metric_variants,
    public_metric_classes,
    taken_by,
)
from tests.contract.facts import HALVES
from tests.contract.metric_facts import CLASSES, OPERANDS, VALUES, data, has_classes, make, outcome
from tests.contract.test_shapes import ALIGNED, REFUSED

ELEMENTWISE = [name for name in OPERANDS if not has_classes(name)]
INDICES = [
    name
    for name in OPERANDS
    if metric_arguments(public_metric_classes()[name]).get("sparse_y_true", False)
    or getattr(taken_by(make(name)), "target", "") == "class index"
]
"""Those whose targets are class indices."""
SPARSE = [name for name in INDICES if name.startswith("Sparse")]
"""Those of them whose predictions are scores."""
REFUSED_INDICES = [((5, 3), (5, 3)), ((4,), (5, 3)), ((1,), (5, 3)), ((5, 2), (5, 3)), ((5,), (5, 2, 3)), ((), (5, 3))]
BINARY = [name for name in OPERANDS if taken_by(make(name)) == "binary"]


def test_every_metric_has_a_case():
    for name in CLASSES:
        metric_variants(public_metric_classes()[name])  # raises LookupError for an argument without values
        data(make(name))  # and this one for a metric whose batches are unknown


# ── Shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shapes", ALIGNED.values(), ids=ALIGNED.keys())
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_missing_axis_of_size_1_is_matched(name, shapes, backend, tensor, host):
    shape_true, shape_pred, shape = shapes
    # Class indices have no axis of their own for the classes.
    y_true, y_pred = data(make(name), (*shape, 4) if name in INDICES else shape)
    matched = make(name)(tensor(y_true.reshape(shape_true)), tensor(y_pred.reshape(shape_pred)))
    assert_close(host(matched), host(make(name)(tensor(y_true), tensor(y_pred))), "float32")


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        *((name, shapes) for name in OPERANDS if name not in SPARSE for shapes in REFUSED.values()),
        *((name, shapes) for name in SPARSE for shapes in REFUSED_INDICES),
    ],
)
def test_samples_are_never_broadcast(name, shapes, backend, tensor):
    shape_true, shape_pred = shapes
    metric = make(name)
    with pytest.raises(_errors.ShapeError) as caught:
        metric.update_state(tensor(np.ones(shape_true, np.float32)), tensor(np.ones(shape_pred, np.float32)))
    assert str(shape_true) in str(caught.value)
    assert str(shape_pred) in str(caught.value)
    assert metric.state is None


@pytest.mark.parametrize("what", ["sample_weight", "mask"])
@pytest.mark.parametrize("shape", [(5,), (12, 7), (1, 12), (12, 1, 2), (8,)])
@pytest.mark.parametrize("name", CLASSES)
def test_weights_that_do_not_align_are_refused(name, shape, what, backend, tensor):
    metric = make(name)
    with pytest.raises(_errors.ShapeError, match=what) as caught:
        metric.update_state(*map(tensor, data(metric)), **{what: tensor(np.ones(shape, np.float32))})
    assert str(shape) in str(caught.value)
    assert metric.state is None


# ── Labels ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("label", [-(2**31), -100, -1, 8, 255, 2**31 - 1])
@pytest.mark.parametrize("name", INDICES)
def test_a_class_index_out_of_range_is_refused(name, label, backend, tensor):
    metric = make(name)
    y_true, y_pred = data(metric)
    y_true = y_true.copy()
    y_true[3] = label
    with pytest.raises(_errors.LabelError) as caught:
        metric.update_state(tensor(y_true.astype(np.int32)), tensor(y_pred))
    assert "y_true[3]" in str(caught.value)
    assert str(label) in str(caught.value)
    assert metric.state is None
    kept = np.arange(12) != 3
    assert np.isfinite(outcome(make(name), tensor(y_true.astype(np.int32)), tensor(y_pred), mask=tensor(kept))).all()


@pytest.mark.parametrize("label", [-2.0, 0.5, 2.0, np.nan, np.inf])
@pytest.mark.parametrize("name", BINARY)
def test_a_label_that_is_not_binary_is_refused(name, label, backend, tensor):
    metric = make(name)
    y_true, y_pred = data(metric)
    y_true = y_true.copy()
    y_true[3, 2] = label
    with pytest.raises(_errors.LabelError, match=r"y_true\[3, 2\]"):
        metric.update_state(tensor(y_true), tensor(y_pred))
    assert metric.state is None


@pytest.mark.backends("torch", "jax")  # where a compiler looks at shapes and dtypes alone
@pytest.mark.parametrize("name", sorted({*INDICES, *BINARY}))
def test_a_bad_label_makes_nan_where_values_cannot_be_looked_at(name, backend, tensor, compiled, host):
    metric = make(name)
    y_true, y_pred = data(metric)
    broken = y_true.copy()
    broken[(3,) + (0,) * (y_true.ndim - 1)] = 99
    like = tensor(y_pred)
    update = compiled(lambda y_true, y_pred: metric.update(metric.init(like), y_true, y_pred))
    assert np.isfinite(host(metric.compute(update(tensor(y_true), tensor(y_pred))))).all()
    state = update(tensor(broken), tensor(y_pred))
    assert np.isnan(host(metric.compute(state))).any()
    later = metric.update(state, tensor(y_true), tensor(y_pred))
    assert np.isnan(host(metric.compute(later))).any()  # and it stays so


# ── Dtypes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def in_dtype(batch, dtype, backend, tensor):
    return [backend.cast(tensor(x), dtype) if x.dtype.kind == "f" else tensor(x) for x in batch]


@pytest.mark.parametrize("name", CLASSES)
def test_float64_gives_float64(name, backend, tensor, float64):
    metric = make(name)
    batch = data(metric, dtype="float64")
    if batch[-1].dtype.kind == "f":
        assert backend.dtype(metric(*map(tensor, batch))) == "float64"
    assert backend.dtype(make(name)(*map(tensor, data(metric)))) == "float32"


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", CLASSES)
def test_half_precision_is_computed_in_float32(name, dtype, backend, tensor, host, float64):
    metric, exact = make(name), make(name)
    half = in_dtype(data(metric), dtype, backend, tensor)
    result = metric(*half)
    assert backend.dtype(result) == "float32"
    wide = [backend.cast(x, "float64") if backend.is_floating(x) else x for x in half]
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(host(result), host(exact(*wide)), tolerance.relative, tolerance.absolute)


@pytest.mark.parametrize("dtype", [HALVES[0], "float32", "float64"])
@pytest.mark.parametrize("name", CLASSES)
def test_dtype_sets_that_of_the_result(name, dtype, backend, tensor, host, float64):
    metric = make(name, dtype=dtype)
    batch = list(map(tensor, data(metric)))
    result = metric(*batch)
    assert backend.dtype(result) == dtype
    expected, tolerance = host(make(name)(*batch)), TOLERANCES[dtype if dtype == "float16" else "float32"]
    np.testing.assert_allclose(host(result), expected, tolerance.relative, tolerance.absolute)


@pytest.mark.parametrize("floatx", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name not in INDICES])
def test_integers_and_python_numbers_become_floatx(name, floatx, backend, tensor, host, float64):
    K.set_floatx(floatx)
    y_true, y_pred = np.array([[0, 1], [1, 0], [1, 1]]), np.array([[1, 0], [1, 0], [0, 1]])
    expected = make(name)(tensor(y_true.astype(floatx)), tensor(y_pred.astype(floatx)))
    for given in ((tensor(y_true), tensor(y_pred)), (y_true.tolist(), y_pred.tolist()), (y_true != 0, y_pred != 0)):
        result = make(name)(*given)
        assert backend.dtype(result) == floatx, given
        assert_close(host(result), host(expected).astype(host(result).dtype), "float32")


@pytest.mark.parametrize("what", ["text", "complex numbers", "objects"])
@pytest.mark.parametrize("name", CLASSES)
def test_what_is_no_real_number_is_refused(name, what, backend):
    bad = {"text": np.array(["a"]), "complex numbers": np.array([1j]), "objects": np.array([None])}[what]
    batch = data(make(name))
    for position in range(len(batch)):
        given = [np.resize(bad, x.shape) if at == position else x for at, x in enumerate(batch)]
        metric = make(name)
        with pytest.raises(_errors.DTypeError, match="Expected real numbers"):
            metric.update_state(*given)
        assert metric.state is None


@pytest.mark.parametrize("name", CLASSES)
def test_nothing_in_place_of_a_tensor_is_refused(name, backend, tensor):
    batch = list(map(tensor, data(make(name))))
    names = ["values"] if name in VALUES else ["y_true", "y_pred"]
    for position, missing in enumerate(names):
        given = [None if at == position else x for at, x in enumerate(batch)]
        metric, like = make(name), batch[-1]
        with pytest.raises(_errors.ArgumentError, match=f"^{missing} is None. Expected a tensor"):
            metric.update_state(*given)
        assert metric.state is None
        with pytest.raises(_errors.ArgumentError, match=f"^{missing} is None. Expected a tensor"):
            metric.update(metric.init(like), *given)
        for _ in range(3):  # after which batches may wait
            metric.update_state(*batch)
        with pytest.raises(_errors.ArgumentError, match=f"^{missing} is None. Expected a tensor"):
            metric.update_state(*given)


@pytest.mark.parametrize("missing", ["y_true", "y_pred"])
def test_nothing_in_place_of_a_tensor_is_refused_before_a_function_of_ones_own(missing, backend, tensor):
    metric = MeanMetricWrapper(lambda y_true, y_pred: K.mean(K.abs(y_true - y_pred), axis=-1))
    ones = tensor(np.ones((2, 3), np.float32))
    with pytest.raises(_errors.ArgumentError, match=f"^{missing} is None. Expected a tensor"):
        metric.update_state(**{"y_true": ones, "y_pred": ones, missing: None})


@pytest.mark.parametrize("name", CLASSES)
def test_a_dtype_that_does_not_exist_is_refused(name, backend, tensor):
    metric = make(name)
    with pytest.raises(_errors.DTypeError, match="float31"):
        make(name, dtype="float31")(*map(tensor, data(metric)))


# ── Host data ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", CLASSES)
def test_host_data_gives_what_tensors_give_and_inputs_are_left_alone(name, backend, tensor, host):
    arrays = data(make(name))
    tensors = list(map(tensor, arrays))
    expected = host(make(name)(*tensors))
    for given in (arrays, [x.tolist() for x in arrays], [*tensors[:-1], arrays[-1]], [arrays[0], *tensors[1:]]):
        assert_close(host(make(name)(*given)), expected, "float32")
    for before, after in zip(arrays, tensors, strict=True):
        np.testing.assert_array_equal(host(after), before)


def test_values_are_one_operand():
    assert VALUES == ["Mean", "Sum"]
    assert all(isinstance(taken_by(make(name)), str | LossSpec) for name in CLASSES)
