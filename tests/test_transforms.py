"""`value_and_grad`, `grad` and `jit`: the same call on every backend."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from multiloss import _errors, grad, jit, losses, value_and_grad
from multiloss import backend as K
from multiloss._registry import owner_of
from multiloss.testing import assert_close


class Layer(NamedTuple):
    kernel: object
    bias: object


@pytest.fixture
def parameters(tensor):
    return {
        "dense": Layer(tensor([[1.0, -2.0], [0.5, 3.0]]), tensor([0.0, 1.0])),
        "scale": [tensor(2.0), (tensor([3.0]), None)],
    }


def total(parameters, x):
    layer, (scale, (shift, _)) = parameters["dense"], parameters["scale"]
    return K.sum(K.square(x @ layer.kernel + K.expand_dims(layer.bias, 0))) * scale + K.sum(shift)


def test_gradients_have_the_structure_of_the_parameters(parameters, backend, tensor, host):
    x = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]])
    value, gradient = value_and_grad(total)(parameters, tensor(x.astype(np.float32)))
    assert gradient.keys() == parameters.keys()
    assert type(gradient["dense"]) is Layer
    assert gradient["scale"][1][1] is None
    kernel, bias = np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([0.0, 1.0])
    out = x @ kernel + bias
    assert_close(host(value), np.float64((out**2).sum() * 2 + 3), "float32")
    assert_close(host(gradient["dense"].kernel), 4 * x.T @ out, "float32")
    assert_close(host(gradient["dense"].bias), 4 * out.sum(0), "float32")
    assert_close(host(gradient["scale"][0]), np.float64((out**2).sum()), "float32")
    assert_close(host(gradient["scale"][1][0]), np.ones(1), "float32")


def test_gradients_are_native_tensors_of_the_parameters_dtype(backend, tensor, float64):
    for dtype in ("float32", "float64"):
        gradient = grad(lambda w: K.sum(w * w))(tensor([1.0, 2.0], dtype))
        assert owner_of(gradient) is backend
        assert backend.dtype(gradient) == dtype


def test_auxiliary_values_pass_through(backend, tensor, host):
    (value, aux), gradient = value_and_grad(
        lambda w: (K.sum(w), {"double": w * 2.0, "text": "as it is"}), has_aux=True
    )(tensor([1.0, 2.0]))
    assert host(value) == 3.0
    assert host(aux["double"]).tolist() == [2.0, 4.0]
    assert aux["text"] == "as it is"
    assert host(gradient).tolist() == [1.0, 1.0]


def test_argnums_chooses_what_is_differentiated(backend, tensor, host):
    def product(x, y):
        return K.sum(x * y)

    x, y = tensor([1.0, 2.0]), tensor([3.0, 4.0])
    assert host(grad(product)(x, y)).tolist() == [3.0, 4.0]
    assert host(grad(product, argnums=1)(x, y)).tolist() == [1.0, 2.0]
    both = grad(product, argnums=(1, 0))(x, y)
    assert [host(each).tolist() for each in both] == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(_errors.ArgumentError, match="argnums=2"):
        grad(product, argnums=2)(x, y)


def test_a_loss_is_differentiated_for_its_predictions(backend, tensor, host):
    y_true, y_pred = tensor([[0.0, 0.0]]), tensor([[1.0, 2.0]])
    for loss in (losses.mean_squared_error, losses.MeanSquaredError(), losses.get("mse")):
        value, gradient = value_and_grad(loss)(y_true, y_pred)
        assert host(value).ravel().tolist() == [2.5]
        assert host(gradient).tolist() == [[1.0, 2.0]]


def test_each_sample_has_the_gradient_of_its_own_value(backend, tensor, host):
    values, gradient = value_and_grad(losses.MeanSquaredError(reduction="none"))(
        tensor([[0.0], [0.0]]), tensor([[1.0], [3.0]])
    )
    assert host(values).tolist() == [1.0, 9.0]
    assert host(gradient).tolist() == [[2.0], [6.0]]


def test_what_is_no_number_is_not_differentiated(backend, tensor):
    with pytest.raises(_errors.ShapeError, match=r"shape \(2,\)"):
        grad(lambda w: w * 2.0)(tensor([1.0, 2.0]))


def test_a_value_that_does_not_depend_on_a_parameter_has_gradient_0(backend, tensor, host):
    x = tensor([5.0])
    value, gradient = value_and_grad(lambda w: K.sum(x))(tensor([1.0, 2.0]))
    assert host(value) == 5.0
    assert host(gradient).tolist() == [0.0, 0.0]


@pytest.mark.backends("torch")
def test_torch_parameters_keep_their_own_grad(backend):
    import torch

    weight = torch.nn.Parameter(torch.ones(2))
    gradient = grad(lambda w: (w * w).sum())(weight)
    assert weight.grad is None
    assert gradient.tolist() == [2.0, 2.0]
    assert not gradient.requires_grad
    with torch.no_grad():
        assert grad(lambda w: (w * w).sum())(weight).tolist() == [2.0, 2.0]


@pytest.mark.backends("numpy", "jax")
def test_jit_changes_no_value(backend, tensor, host):
    step = jit(lambda w: K.sum(K.square(w)))
    assert host(step(tensor([1.0, 2.0]))) == 5.0
    assert host(step(tensor([3.0, 4.0]))) == 25.0
