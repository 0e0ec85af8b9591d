"""The public metric functions that are no losses too: one value per sample, for what they are made for and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors, metrics, use_backend
from multiloss.losses._spec import spec_of
from multiloss.metrics import MeanMetricWrapper
from multiloss.testing import METRIC_PARAMETER_VALUES, TOLERANCES, assert_close, public_metric_functions
from tests.contract.metric_facts import data, differ, outcome
from tests.contract.test_metric_arguments import OUTSIDE, OUTSIDE_OF_LOSSES
from tests.contract.test_shapes import ALIGNED, REFUSED

FUNCTIONS = sorted(public_metric_functions())
BY_INDEX = [name for name in FUNCTIONS if name.startswith("sparse")]
ELEMENTWISE = [name for name in FUNCTIONS if name not in BY_INDEX]
PARAMETERS = [(name, key) for name in FUNCTIONS for key in spec_of(public_metric_functions()[name]).defaults]


def function(name):
    return public_metric_functions()[name]


def batch(name, shape=(12, 8), dtype="float32", seed=0, **parameters):
    return data(MeanMetricWrapper(function(name), **parameters), shape, dtype, seed)


def test_functions_have_facts_and_are_exported():
    assert len(FUNCTIONS) >= 10
    assert all(getattr(metrics, name) is function(name) for name in FUNCTIONS)


@pytest.mark.parametrize("shapes", ALIGNED.values(), ids=ALIGNED.keys())
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_missing_axis_of_size_1_is_matched(name, shapes, backend, tensor, host):
    shape_true, shape_pred, shape = shapes
    y_true, y_pred = batch(name, shape)
    matched = function(name)(tensor(y_true.reshape(shape_true)), tensor(y_pred.reshape(shape_pred)))
    assert_close(host(matched), host(function(name)(tensor(y_true), tensor(y_pred))), "float32")


@pytest.mark.parametrize("shapes", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_samples_are_never_broadcast(name, shapes, backend, tensor):
    with pytest.raises(_errors.ShapeError) as caught:
        function(name)(*(tensor(np.ones(shape, np.float32)) for shape in shapes))
    assert all(str(shape) in str(caught.value) for shape in shapes)


@pytest.mark.parametrize("label", [-(2**31), -1, 8, 2**31 - 1])
@pytest.mark.parametrize("name", BY_INDEX)
def test_a_class_index_out_of_range_is_refused(name, label, backend, tensor):
    y_true, y_pred = batch(name)
    broken = y_true.copy()
    broken[3] = label
    with pytest.raises(_errors.LabelError, match=rf"y_true\[3\] is {label}"):
        function(name)(tensor(broken), tensor(y_pred))


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize("name", BY_INDEX)
def test_a_class_index_out_of_range_is_a_nan_inside_a_trace(name, backend, tensor, host, compiled):
    y_true, y_pred = batch(name)
    broken = y_true.copy()
    broken[3] = 8
    values = host(compiled(function(name))(tensor(broken), tensor(y_pred)))
    np.testing.assert_array_equal(np.isnan(values), np.arange(12) == 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_backend_gives_what_numpy_gives_in_float64(name, dtype, backend, tensor, host, float64):
    for shape in ((12, 8), (2, 3, 8)):
        y_true, y_pred = batch(name, shape, dtype)
        values = function(name)(tensor(y_true), tensor(y_pred))
        with use_backend("numpy"):
            wide = [x.astype("float64") if x.dtype.kind == "f" else x for x in (y_true, y_pred)]
            expected = function(name)(*wide)
        found = backend.dtype(values)
        assert found == (dtype if y_pred.dtype.kind == "f" else "float32")
        assert_close(host(values), expected, found)
        elementwise = spec_of(function(name)).event == "element"
        assert tuple(values.shape) == (shape if elementwise else shape[:-1])


@pytest.mark.needs("float16")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_half_precision_is_computed_in_float32(name, backend, tensor, host, float64):
    y_true, y_pred = batch(name)
    half = [backend.cast(tensor(x), "float16") if x.dtype.kind == "f" else tensor(x) for x in (y_true, y_pred)]
    wide = [backend.cast(x, "float64") if backend.is_floating(x) else x for x in half]
    values, tolerance = function(name)(*half), TOLERANCES["float16"]
    assert backend.dtype(values) == "float32"
    np.testing.assert_allclose(host(values), host(function(name)(*wide)), tolerance.relative, tolerance.absolute)


@pytest.mark.parametrize("what", ["text", "complex numbers", "objects"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_real_number_is_refused(name, what, backend):
    bad = {"text": np.array(["a"]), "complex numbers": np.array([1j]), "objects": np.array([None])}[what]
    y_true, y_pred = batch(name)
    for given in ((np.resize(bad, y_true.shape), y_pred), (y_true, np.resize(bad, y_pred.shape))):
        with pytest.raises(_errors.DTypeError, match="Expected real numbers"):
            function(name)(*given)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_in_place_of_a_tensor_is_refused(name, backend, tensor):
    y_true, y_pred = map(tensor, batch(name))
    with pytest.raises(_errors.ArgumentError, match=r"^y_true is None. Expected a tensor"):
        function(name)(None, y_pred)
    with pytest.raises(_errors.ArgumentError, match=r"^y_pred is None. Expected a tensor"):
        function(name)(y_true, None)


@pytest.mark.parametrize(("name", "key"), PARAMETERS)
def test_every_parameter_can_change_the_result(name, key, backend, tensor):
    default = spec_of(function(name)).defaults[key]
    values = [value for value in METRIC_PARAMETER_VALUES[key] if value != default]
    assert values
    for value in values:
        acts = False
        for seed in range(4):
            for parameters in ({key: value}, {}):
                given = list(map(tensor, batch(name, seed=seed, **parameters)))
                with_it, without = outcome(function(name), *given, **{key: value}), outcome(function(name), *given)
                acts = acts or differ(with_it, without)
        assert acts, value


@pytest.mark.parametrize(("name", "key"), PARAMETERS)
def test_a_value_outside_the_domain_is_refused(name, key):
    for value in (OUTSIDE | OUTSIDE_OF_LOSSES)[key]:
        with pytest.raises(_errors.ArgumentError, match=key):
            function(name)(*batch(name), **{key: value})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_is_never_right(name, backend, tensor, host):
    if "accuracy" not in name:
        return
    y_true, y_pred = batch(name)
    if y_pred.dtype.kind != "f":
        y_pred = y_pred.astype(np.float32)
    values = host(function(name)(tensor(y_true), tensor(np.full_like(y_pred, np.nan))))
    assert not values.any()
