"""Dtypes: float64 stays, half precision is computed in float32, everything else becomes `floatx`."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors
from multiloss import backend as K
from multiloss.testing import TOLERANCES, assert_close
from tests.contract.facts import FUNCTIONS, HALVES, data, function, loss_class, spec


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_full_precision_dtype_is_kept(name, dtype, backend, tensor, float64):
    y_true, y_pred = data(name, dtype=dtype)
    for loss in (function(name), loss_class(name)()):
        assert backend.dtype(loss(tensor(y_true), tensor(y_pred))) == dtype


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_dtype_of_the_targets_does_not_matter(name, backend, tensor, float64):
    y_true, y_pred = data(name)
    if y_true.dtype.kind != "f":
        y_true = y_true.astype(np.uint8)
    else:
        y_true = y_true.astype(np.float64)
    assert backend.dtype(function(name)(tensor(y_true), tensor(y_pred))) == "float32"


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_half_precision_is_computed_in_float32(name, dtype, backend, tensor, host, float64):
    y_true, y_pred = data(name)
    half = backend.cast(tensor(y_pred), dtype)
    targets = tensor(y_true) if spec(name).target == "class index" else backend.cast(tensor(y_true), dtype)
    result = function(name)(targets, half)
    assert backend.dtype(result) == "float32"
    wide = [
        x if spec(name).target == "class index" and x is targets else backend.cast(x, "float64")
        for x in (targets, half)
    ]
    expected = host(function(name)(*wide))
    assert backend.dtype(loss_class(name)()(targets, half)) == "float32"
    np.testing.assert_allclose(host(result), expected, TOLERANCES[dtype].relative, TOLERANCES[dtype].absolute)


@pytest.mark.needs("float16")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "from_logits" in spec(name).defaults])
def test_far_logits_in_half_precision_do_not_overflow(name, backend, tensor, host):
    y_true, _ = data(name)
    far = backend.cast(tensor(np.where(np.arange(24).reshape(6, 4) % 3 == 0, 6e4, -6e4).astype(np.float32)), "float16")
    assert np.isfinite(host(function(name)(tensor(y_true), far, from_logits=True))).all()


@pytest.mark.parametrize("floatx", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if spec(name).target != "class index" and spec(name).event != "row"]
)
def test_integers_and_python_numbers_become_floatx(name, floatx, backend, tensor, host, float64):
    K.set_floatx(floatx)
    y_true, y_pred = np.array([[0, 1], [1, 0]]), np.array([[1, 0], [1, 0]])
    expected = host(function(name)(tensor(y_true.astype(floatx)), tensor(y_pred.astype(floatx))))
    for given in ((tensor(y_true), tensor(y_pred)), (y_true.tolist(), y_pred.tolist()), (y_true != 0, y_pred != 0)):
        result = function(name)(*given)
        assert backend.dtype(result) == floatx
        assert_close(host(result), expected, floatx)


@pytest.mark.parametrize("dtype", [HALVES[0], "float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_dtype_sets_that_of_the_result(name, dtype, backend, tensor, host, float64):
    y_true, y_pred = data(name)
    expected = host(loss_class(name)()(tensor(y_true), tensor(y_pred.astype("float64"))))
    result = loss_class(name)(dtype=dtype)(tensor(y_true), tensor(y_pred))
    assert backend.dtype(result) == dtype
    np.testing.assert_allclose(host(result), expected, TOLERANCES[dtype].relative, TOLERANCES[dtype].absolute)


@pytest.mark.backends("jax")
def test_float64_without_x64_is_refused_by_name(backend, tensor):
    with pytest.raises(_errors.DTypeError, match="jax_enable_x64"):
        loss_class("mean_squared_error")(dtype="float64")(tensor([1.0]), tensor([2.0]))


@pytest.mark.parametrize("what", ["text", "complex numbers", "objects"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_real_number_is_refused(name, what, backend):
    bad = {"text": np.array(["a", "b"]), "complex numbers": np.array([1j, 2.0]), "objects": np.array([None, 1.0])}[what]
    good = np.array([0.0, 1.0], np.float32)
    as_target = (lambda x: x[:1].reshape(())) if spec(name).target == "class index" else (lambda x: x)
    for given in ((as_target(good), bad), (as_target(bad), good), (as_target(bad), bad)):
        for loss in (function(name), loss_class(name)()):
            with pytest.raises(_errors.DTypeError, match="Expected real numbers"):
                loss(*given)


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_complex_tensors_are_refused(name, backend, tensor, xp):
    good, bad = tensor([0.0, 1.0]), xp.asarray([1j, 2j])
    as_target = (lambda x: x[:1].reshape(())) if spec(name).target == "class index" else (lambda x: x)
    for given in ((as_target(good), bad), (as_target(bad), good)):
        with pytest.raises(_errors.DTypeError, match="complex64"):
            function(name)(*given)
