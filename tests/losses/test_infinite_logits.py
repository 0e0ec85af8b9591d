"""A logit of -inf has the gradient of one that is far below: the limit, where the value is infinite."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import value_and_grad
from multiloss.testing import public_loss_classes

FAR = -1e4
BINARY = ["BinaryCrossentropy", "BinaryFocalCrossentropy"]
DENSE = ["CategoricalCrossentropy", "CategoricalFocalCrossentropy"]
SPARSE = ["SparseCategoricalCrossentropy", "SparseCategoricalFocalCrossentropy"]
LOGITS = [[-np.inf, 1.0, 0.5], [1.0, -np.inf, 0.5], [-np.inf, -np.inf, 0.5]]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", [*BINARY, *DENSE, *SPARSE])
def test_the_gradient_of_minus_infinity_is_that_of_far_below(name, smoothing, backend, tensor, host):
    loss = public_loss_classes()[name](from_logits=True, label_smoothing=smoothing, reduction="none")
    y_true = np.array([1, 1, 1]) if name in SPARSE else np.array([[0, 1, 0]] * 3, "float32")
    logits = np.array(LOGITS, "float32")
    values, gradient = map(host, value_and_grad(loss)(tensor(y_true), tensor(logits)))
    near = np.maximum(logits, np.float32(FAR))
    expected, slopes = map(host, value_and_grad(loss)(tensor(y_true), tensor(near)))
    np.testing.assert_allclose(gradient, slopes, 1e-5, 1e-7)
    np.testing.assert_array_equal(np.isinf(values), expected > 2.5)
    np.testing.assert_allclose(values[np.isfinite(values)], expected[np.isfinite(values)], 1e-6)
    assert np.isinf(values[1:]).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", BINARY)
def test_the_gradient_of_infinity_is_that_of_far_above(name, smoothing, backend, tensor, host):
    loss = public_loss_classes()[name](from_logits=True, label_smoothing=smoothing, reduction="none")
    y_true = tensor(np.zeros((1, 1), "float32"))
    values, gradient = map(host, value_and_grad(loss)(y_true, tensor(np.full((1, 1), np.inf, "float32"))))
    _, slopes = map(host, value_and_grad(loss)(y_true, tensor(np.full((1, 1), -FAR, "float32"))))
    assert np.isinf(values).all()
    np.testing.assert_allclose(gradient, slopes, 1e-6)
