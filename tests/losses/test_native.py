"""Huber's loss, which torch has a kernel for: the formula's numbers and derivatives, however many elements there are."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import losses

pytestmark = pytest.mark.backends("torch")

DELTA = 1.5
ERRORS = np.array([0.5, -0.5, DELTA, -DELTA, 4.0, -4.0, np.inf])
VALUES = np.array([0.125, 0.125, 1.125, 1.125, 4.875, 4.875, np.inf])
SLOPES = np.array([0.5, -0.5, DELTA, -DELTA, DELTA, -DELTA, DELTA])
CURVATURES = np.array([1.0, 1.0, np.nan, np.nan, 0.0, 0.0, 0.0])  # at the joint there is none


@pytest.fixture(params=[1, 1 << 14], ids=["few", "many"])
def copies(request):
    return request.param


@pytest.fixture
def y_pred(copies, tensor):
    return tensor(np.repeat(ERRORS, copies)[:, None]).requires_grad_()


@pytest.fixture
def y_true(copies, tensor):
    return tensor(np.zeros((copies * len(ERRORS), 1)))


def test_values_are_those_of_the_formula(copies, y_true, y_pred, host):
    for predictions in (y_pred, y_pred.detach()):
        np.testing.assert_array_equal(host(losses.huber(y_true, predictions, DELTA)), np.repeat(VALUES, copies))


def test_the_gradient_is_the_clipped_error(copies, y_true, y_pred, host):
    losses.huber(y_true.requires_grad_(), y_pred, DELTA).sum().backward()
    np.testing.assert_array_equal(host(y_pred.grad)[:, 0], np.repeat(SLOPES, copies))
    np.testing.assert_array_equal(host(y_true.grad), -host(y_pred.grad))


def test_the_second_derivative_is_1_before_the_joint_and_0_beyond_it(copies, y_true, y_pred, host):
    import torch

    (slope,) = torch.autograd.grad(losses.huber(y_true, y_pred, DELTA).sum(), y_pred, create_graph=True)
    slope.sum().backward()
    expected = np.repeat(CURVATURES, copies)
    found = np.where(np.isnan(expected), np.nan, host(y_pred.grad)[:, 0])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(host(slope)[:, 0], np.repeat(SLOPES, copies))


def test_nan_stays_nan(copies, y_true, y_pred, host):
    y_pred.data[-1] = np.nan
    values = losses.huber(y_true, y_pred, DELTA)
    values.sum().backward()
    assert np.isnan(host(values)[-1])
    assert np.isnan(host(y_pred.grad)[-1, 0])


def test_transforms_of_functions_see_the_formula(y_true, y_pred, host):
    import torch

    values = torch.func.vmap(lambda y, p: losses.huber(y, p, DELTA))(y_true, y_pred.detach())
    np.testing.assert_array_equal(host(values), host(losses.huber(y_true, y_pred, DELTA)))


def test_delta_may_be_learned(y_true, y_pred, host):
    import torch

    delta = torch.tensor(DELTA, dtype=y_pred.dtype, requires_grad=True)
    losses.huber(y_true[:6], y_pred.detach()[:6], delta).sum().backward()
    errors = np.abs(host(y_pred)[:6, 0])
    np.testing.assert_allclose(host(delta.grad), np.maximum(errors - DELTA, 0.0).sum())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own use, where forward mode begins
def test_forward_mode_goes_through_the_way_back(y_true, y_pred, host):
    import torch
    from torch.autograd import forward_ad

    with forward_ad.dual_level():
        dual = forward_ad.make_dual(y_pred, torch.ones_like(y_pred))
        (slope,) = torch.autograd.grad(losses.huber(y_true, dual, DELTA).sum(), y_pred)
        found = host(forward_ad.unpack_dual(slope).tangent)[:, 0]
    expected = np.where(np.abs(host(y_pred)[:, 0]) < DELTA, 1.0, 0.0)
    smooth = np.abs(host(y_pred)[:, 0]) != DELTA
    np.testing.assert_array_equal(found[smooth], expected[smooth])
