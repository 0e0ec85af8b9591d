"""`from multiloss import backend as K`: every operation of the interface, and Keras 2's names for operators."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from multiloss import _errors
from multiloss import backend as K
from multiloss.interface import Backend
from multiloss.testing import assert_close

OPERATIONS = {name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_")}
NOT_OFFERED = {
    *("value_and_grad", "grad_and_hessian_products", "jit", "run", "takes_rows", "host_copies", "checked_crossentropy"),
    *("version", "devices", "has_values", "ends_with_trace"),
}
X, Y = np.array([[1.0, 2.0], [3.0, -4.0]]), np.array([[1.0, 0.0], [5.0, -4.0]])
OPERATORS = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "dot": np.matmul,
    "matmul": np.matmul,
}
UNARY = {
    "flatten": np.ravel,
    "batch_flatten": lambda x: x.reshape(len(x), -1),
    "std": np.std,
    "var": np.var,
    "reduce_sum": np.sum,
    "reduce_mean": np.mean,
    "reduce_max": np.max,
    "reduce_min": np.min,
}


@pytest.mark.parametrize("name", sorted(OPERATIONS - NOT_OFFERED))
def test_every_operation_of_the_interface_is_offered(name):
    assert callable(getattr(K, name))


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_by_name(name, backend, tensor, host):
    result = host(getattr(K, name)(tensor(X, "float32"), tensor(Y, "float32")))
    np.testing.assert_array_equal(result, OPERATORS[name](X, Y))


@pytest.mark.parametrize("name", UNARY)
def test_other_names(name, backend, tensor, host):
    assert_close(host(getattr(K, name)(tensor(X, "float32"))), UNARY[name](X), "float32")


def test_shapes_and_values(backend, tensor):
    x = tensor(X, "float32")
    assert K.ndim(x) == 2
    assert K.int_shape(x) == K.shape(x) == (2, 2)
    np.testing.assert_array_equal(K.eval(x), X)
    assert K.backend() == backend.name


def test_the_fuzz_factor_is_a_constant():
    assert K.epsilon() == 1e-7
    K.set_epsilon(1e-7)
    with pytest.raises(_errors.ArgumentError, match="epsilon"):
        K.set_epsilon(1e-3)


def test_floatx_is_what_numbers_become(backend):
    assert K.floatx() == "float32"
    assert K.dtype(K.constant([1.0, 2.0], dtype=K.floatx())) == "float32"
    with pytest.raises(_errors.ArgumentError, match="float31"):
        K.set_floatx("float31")
