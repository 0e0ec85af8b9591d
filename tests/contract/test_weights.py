"""Weights and masks: aligned on the leading axes, never ignored, and equal to leaving out and copying."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors
from multiloss.testing import assert_close, public_loss_classes
from tests.contract.facts import CLASSES, INTERACTING, SAMPLEWISE_CLASSES, data, spec

WEIGHT = np.array([1.0, 0.0, 2.0, 0.5, 0.0, 3.0], np.float32)
MASK = np.array([True, True, False, True, False, True])
REDUCING = ["sum_over_batch_size", "mean_with_sample_weight"]  # "mean" is the first of them, and "sum" part of both


@pytest.fixture
def call(tensor, host):
    def call(loss, *arrays, **named):
        named = {key: tensor(value) for key, value in named.items()}
        return host(loss(*(tensor(each) for each in arrays), **named))

    return call


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("name", CLASSES)
def test_zero_weight_removes_a_sample(name, reduction, call):
    y_true, y_pred = data(name)
    loss, kept = public_loss_classes()[name](reduction=reduction), WEIGHT != 0
    weighted = call(loss, y_true, y_pred, WEIGHT)
    assert_close(weighted, call(loss, y_true[kept], y_pred[kept], WEIGHT[kept]), "float32")


@pytest.mark.parametrize("reduction", REDUCING)
@pytest.mark.parametrize("name", CLASSES)
def test_a_mask_removes_a_sample(name, reduction, call):
    y_true, y_pred = data(name)
    loss = public_loss_classes()[name](reduction=reduction)
    assert_close(call(loss, y_true, y_pred, mask=MASK), call(loss, y_true[MASK], y_pred[MASK]), "float32")
    together = call(loss, y_true, y_pred, WEIGHT, mask=MASK)
    assert_close(together, call(loss, y_true[MASK], y_pred[MASK], WEIGHT[MASK]), "float32")


@pytest.mark.backends("numpy", "torch", "jax")
@pytest.mark.parametrize("what", ["sample_weight", "mask"])
@pytest.mark.parametrize("name", CLASSES)
def test_complex_weights_are_refused(name, what, tensor):
    loss, batch = public_loss_classes()[name](), [tensor(each) for each in data(name)]
    with pytest.raises(_errors.DTypeError, match="complex64"):
        loss(*batch, **{what: tensor(WEIGHT.astype(np.complex64))})


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("name", [name for name in CLASSES if name not in INTERACTING])
def test_a_weight_of_k_equals_k_copies(name, reduction, call):
    y_true, y_pred = data(name, (4, 3))
    copies = np.array([1, 3, 2, 1])
    loss = public_loss_classes()[name](reduction=reduction)
    weighted = call(loss, y_true, y_pred, copies.astype(np.float32))
    assert_close(weighted, call(loss, np.repeat(y_true, copies, 0), np.repeat(y_pred, copies, 0)), "float32")


@pytest.mark.parametrize("reduction", [*REDUCING, "none"])
@pytest.mark.parametrize("name", CLASSES)
def test_no_weight_and_no_mask_is_ignored(name, reduction, call):
    y_true, y_pred = data(name)
    loss = public_loss_classes()[name](reduction=reduction)
    plain = call(loss, y_true, y_pred)
    for changed in (
        call(loss, y_true, y_pred, WEIGHT),
        call(loss, y_true, y_pred, mask=MASK),
        call(loss, y_true, y_pred, WEIGHT[::-1].copy(), mask=MASK),
    ):
        assert not np.allclose(plain, changed, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SAMPLEWISE_CLASSES if spec(name).event != "row"])
def test_a_weight_per_sample_is_never_one_per_step(name, call):
    y_true, y_pred = data(name, (3, 3, 4))
    weight = np.array([1.0, 2.0, 4.0], np.float32)
    loss = public_loss_classes()[name](reduction="none")
    plain = call(loss, y_true, y_pred)
    assert_close(call(loss, y_true, y_pred, weight), plain * weight[:, None], "float32")
    by_step = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert_close(call(loss, y_true, y_pred, by_step), plain * by_step, "float32")
    assert_close(call(loss, y_true, y_pred, weight[:, None]), plain * weight[:, None], "float32")
    assert_close(call(loss, y_true, y_pred, mask=weight > 1), plain * (weight > 1)[:, None], "float32")


@pytest.mark.parametrize("name", CLASSES)
def test_a_scalar_weight_scales(name, call):
    y_true, y_pred = data(name)
    loss = public_loss_classes()[name]()
    plain = call(loss, y_true, y_pred)
    assert_close(call(loss, y_true, y_pred, np.float32(2.5)), 2.5 * plain, "float32")


@pytest.mark.parametrize("what", ["sample_weight", "mask"])
@pytest.mark.parametrize("shape", [(5,), (6, 3), (1, 6), (6, 1, 2)])
@pytest.mark.parametrize("name", CLASSES)
def test_weights_that_do_not_align_are_refused(name, shape, what, backend, tensor):
    y_true, y_pred = (tensor(each) for each in data(name))
    with pytest.raises(_errors.ShapeError, match=what) as caught:
        public_loss_classes()[name]()(y_true, y_pred, **{what: tensor(np.ones(shape, np.float32))})
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("name", [name for name in CLASSES if spec(name).event == "mean"])
def test_values_per_sample_can_each_have_a_weight(name, call):
    y_true, y_pred = data(name, (6, 1))
    loss = public_loss_classes()[name](reduction="sum")
    expected = call(loss, y_true, y_pred, WEIGHT)
    assert_close(call(loss, y_true[:, 0], y_pred[:, 0], WEIGHT), expected, "float32")


@pytest.mark.parametrize("name", [name for name in SAMPLEWISE_CLASSES if name not in INTERACTING])
def test_the_denominators_are_what_the_reductions_say(name, call):
    y_true, y_pred = data(name)
    cls = public_loss_classes()[name]
    values = call(cls(reduction="none"), y_true, y_pred).astype(np.float64)
    weighted = float((values * WEIGHT * MASK).sum())
    for reduction, expected in {
        "sum": weighted,
        "sum_over_batch_size": weighted / MASK.sum(),
        "mean": weighted / MASK.sum(),
        "mean_with_sample_weight": weighted / (WEIGHT * MASK).sum(),
    }.items():
        assert_close(call(cls(reduction=reduction), y_true, y_pred, WEIGHT, mask=MASK), expected, "float32")
