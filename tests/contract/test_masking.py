"""What is masked, ignored or of weight 0 reaches neither the value nor the gradient, whatever it contains."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors
from multiloss.testing import assert_close, public_loss_classes
from tests.contract.facts import CLASSES, data, spec, value_and_gradient

KEPT = np.array([True, False, True, True, False, True])
GARBAGE = {"nan": [np.nan], "anything": [np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, -1.0, 2.0]}
REDUCING = ["sum_over_batch_size", "sum", "mean_with_sample_weight"]


def spoilt(x, garbage):
    x = np.array(x)
    x[~KEPT] = np.resize(garbage, x[~KEPT].shape) if x.dtype.kind == "f" else np.resize([99, -1], x[~KEPT].shape)
    return x


def assert_no_other_gradient(gradient, expected, kept):
    """Assert that the gradient is the expected one where `kept`, and 0 elsewhere; None where a backend has none."""
    if expected is None:
        assert gradient is None
        return
    assert_close(gradient[kept], expected, "float32")
    assert not gradient[~kept].any()


@pytest.mark.parametrize("how", ["mask", "weight"])
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("name", CLASSES)
def test_what_does_not_count_reaches_nothing(name, garbage, how, backend, tensor):
    y_true, y_pred = data(name)
    # Without a weight for the others, "mean" divides by all samples when weights are 0; compare what is defined alike.
    loss = public_loss_classes()[name](reduction="sum_over_batch_size" if how == "mask" else "mean_with_sample_weight")
    arguments = (None, tensor(KEPT)) if how == "mask" else (tensor(KEPT.astype(np.float32)),)
    broken = tensor(spoilt(y_true, garbage)), tensor(spoilt(y_pred, garbage[::-1]))
    value, gradient = value_and_gradient(loss, *broken, *arguments)
    expected, expected_gradient = value_and_gradient(loss, tensor(y_true[KEPT]), tensor(y_pred[KEPT]))
    assert_close(value, expected, "float32")
    assert_no_other_gradient(gradient, expected_gradient, KEPT)


@pytest.mark.parametrize("name", [name for name in CLASSES if spec(name).event != "row"])
def test_steps_of_a_sequence_can_be_masked(name, backend, tensor):
    y_true, y_pred = data(name, (2, 3, 4))
    mask = np.array([[True, False, True], [False, True, True]])
    broken_true, broken_pred = np.array(y_true), np.array(y_pred)
    broken_pred[~mask] = np.nan
    broken_true[~mask] = -1 if y_true.dtype.kind == "i" else np.nan
    loss = public_loss_classes()[name]()
    value, gradient = value_and_gradient(loss, tensor(broken_true), tensor(broken_pred), None, tensor(mask))
    expected, expected_gradient = value_and_gradient(loss, tensor(y_true[mask]), tensor(y_pred[mask]))
    assert_close(value, expected, "float32")
    assert_no_other_gradient(gradient, expected_gradient, mask)


@pytest.mark.parametrize("reduction", REDUCING)
@pytest.mark.parametrize("name", CLASSES)
def test_an_empty_batch_is_0_with_gradient_0(name, reduction, backend, tensor):
    y_true, y_pred = data(name, (1, 4))
    loss = public_loss_classes()[name](reduction=reduction)
    for arguments in ((), (tensor(np.zeros(0, np.float32)),), (None, tensor(np.zeros(0, bool)))):
        value, gradient = value_and_gradient(loss, tensor(y_true[:0]), tensor(y_pred[:0]), *arguments)
        assert value == 0
        assert gradient is None or gradient.shape == y_pred[:0].shape


@pytest.mark.parametrize("reduction", REDUCING)
@pytest.mark.parametrize("name", CLASSES)
def test_all_masked_is_0_with_gradient_0(name, reduction, backend, tensor):
    y_true, y_pred = data(name)
    loss = public_loss_classes()[name](reduction=reduction)
    for arguments in ((tensor(np.zeros(6, np.float32)),), (None, tensor(np.zeros(6, bool)))):
        value, gradient = value_and_gradient(loss, tensor(y_true), tensor(np.full_like(y_pred, np.nan)), *arguments)
        assert value == 0
        assert gradient is None or not gradient.any()


@pytest.mark.parametrize("name", [name for name in CLASSES if "ignore_class" in spec(name).defaults])
@pytest.mark.parametrize("ignored", [255, -100, -1, 0])
def test_an_ignored_class_does_not_count(name, ignored, backend, tensor):
    y_true, y_pred = data(name)
    if spec(name).target == "class index":
        y_true = np.where(y_true == 0, 1, y_true)
        broken_true = np.where(KEPT, y_true, ignored)
    elif spec(name).target == "one-hot":
        if ignored not in range(4):
            with pytest.raises(_errors.ArgumentError, match=f"ignore_class={ignored} cannot act"):
                public_loss_classes()[name](ignore_class=ignored)(tensor(y_true), tensor(y_pred))
            return
        y_true = np.roll(np.eye(4, dtype=y_true.dtype)[[0, 1, 2, 0, 1, 2]], 1 + ignored, -1)
        broken_true = np.where(KEPT[:, None], y_true, np.eye(4, dtype=y_true.dtype)[ignored])
    else:
        y_true = np.where(y_true == ignored, 1 - y_true, y_true)
        broken_true = np.where(KEPT[:, None], y_true, y_true.dtype.type(ignored))
    broken_pred = np.where(KEPT[:, None], y_pred, np.float32(np.nan))
    cls = public_loss_classes()[name]
    value, gradient = value_and_gradient(cls(ignore_class=ignored), tensor(broken_true), tensor(broken_pred))
    expected, expected_gradient = value_and_gradient(cls(), tensor(y_true[KEPT]), tensor(y_pred[KEPT]))
    assert_close(value, expected, "float32")
    assert_no_other_gradient(gradient, expected_gradient, KEPT)
