"""Every public loss is differentiated on NumPy by autograd, also inside autograd's own transforms."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import grad
from multiloss.testing import assert_close, public_loss_classes
from tests.contract.facts import CLASSES, FUNCTIONS, data, function, loss_class

pytestmark = pytest.mark.backends("numpy")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_autograd_differentiates_a_function(name, backend):
    import autograd

    y_true, y_pred = data(name, dtype="float64")
    gradient = autograd.grad(lambda y_pred: function(name)(y_true, y_pred).sum())(y_pred)
    assert_close(gradient, grad(loss_class(name)(reduction="sum"))(y_true, y_pred), "float64")


@pytest.mark.parametrize("name", CLASSES)
def test_autograd_differentiates_a_class_with_weights_and_mask(name, backend):
    import autograd

    loss = public_loss_classes()[name]()
    y_true, y_pred = data(name, dtype="float64")
    weight, mask = np.arange(6.0), np.arange(6) % 3 > 0
    gradient = autograd.grad(loss, argnum=1)(y_true, y_pred, weight, mask)
    assert_close(gradient, grad(loss)(y_true, y_pred, weight, mask), "float64")
    assert gradient.any()
