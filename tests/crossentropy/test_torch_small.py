"""Losses of a few rows of logits on torch, which take torch's own loss and mend what it lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from multiloss._errors import LabelError, ShapeError, UnknownNameError
from multiloss.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    sparse_categorical_crossentropy,
)
from tests.crossentropy.reference import reference

pytestmark = pytest.mark.backends("torch")

REDUCTIONS = ["none", "sum", "sum_over_batch_size"]


SURE = [None, 4.0, 16.0, 40.0]
"""How far the label is above the other classes in a third of the rows. None: it is nowhere above."""


def example(sure: float | None) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(9, 7)).astype("float32"), rng.integers(0, 7, 9)
    if sure is None:
        logits[np.arange(9), labels] = logits.min(1)
    else:
        logits[np.arange(9), labels] += np.array([0.0, 3.0, sure] * 3, "float32")
    return torch.tensor(labels), torch.tensor(logits)


def reduced(values: Any, reduction: str) -> Any:
    return {"none": np.asarray, "sum": np.sum, "sum_over_batch_size": np.mean}[reduction](values)


@pytest.fixture(autouse=True)
def short_way(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return which calls were answered in the short way."""
    from multiloss_torch import _backend

    answered = []
    ask = _backend._crossentropy.checked_crossentropy

    def asked(*args: Any) -> Any:
        found = ask(*args)
        answered.append(found is not None)
        return found

    monkeypatch.setattr(_backend._crossentropy, "checked_crossentropy", asked)
    return answered


@pytest.mark.parametrize("gradient", [False, True], ids=["value", "gradient"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sure", SURE)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_values_and_gradients_keep_their_digits(
    reduction: str, sure: float | None, dtype: torch.dtype, gradient: bool, short_way: list[bool]
) -> None:
    labels, logits = example(sure)
    logits = logits.to(dtype)
    digits = 1e-6 if dtype == torch.float32 else 1e-14
    values, slopes = reference(labels.numpy(), logits.double().numpy())
    leaf = logits.clone().requires_grad_(gradient)
    found = SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)(labels, leaf)
    np.testing.assert_allclose(found.detach().numpy(), reduced(values, reduction), rtol=digits)
    assert found.dtype == dtype
    assert found.requires_grad == gradient
    if gradient:
        upstream = torch.linspace(0.5, 1.0, found.numel()).reshape(found.shape)
        (slope,) = torch.autograd.grad(found, leaf, upstream)
        share = 1 / 9 if reduction == "sum_over_batch_size" else 1.0
        np.testing.assert_allclose(slope.numpy(), slopes * share * upstream.unsqueeze(-1).numpy(), rtol=2 * digits)
    assert short_way == [True]


def test_the_function_form_takes_the_short_way(short_way: list[bool]) -> None:
    labels, logits = example(40.0)
    values, _ = reference(labels.numpy(), logits.double().numpy())
    found = sparse_categorical_crossentropy(labels, logits, from_logits=True)
    np.testing.assert_allclose(found.numpy(), values, rtol=1e-6)
    assert short_way == [True]


@pytest.mark.parametrize("sure", SURE)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_second_derivatives_are_those_of_the_formula(reduction: str, sure: float | None) -> None:
    labels, logits = example(sure)
    loss = SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)

    def curvature(x: Any) -> Any:
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(labels, leaf).sum(), leaf, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), leaf)[0]

    p = torch.softmax(logits.double(), 1)
    share = 1 / 9 if reduction == "sum_over_batch_size" else 1.0
    slope = 2.0 * (p - torch.nn.functional.one_hot(labels, 7)) * share
    expected = share * (p * slope - p * (p * slope).sum(1, keepdim=True))
    torch.testing.assert_close(curvature(logits).double(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("bad", [7, -1, -100, -(2**63), 2**62])
def test_labels_out_of_range_are_named(bad: int, reduction: str) -> None:
    labels, logits = example(None)
    labels[3] = bad
    with pytest.raises(LabelError, match=rf"y_true\[3\] is {bad}, and y_pred has 7 classes"):
        SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)(labels, logits)
    with pytest.raises(LabelError, match=rf"y_true\[3\] is {bad}"):
        sparse_categorical_crossentropy(labels, logits, from_logits=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])
@pytest.mark.parametrize("shape", [(9,), (9, 1), (3, 3)])
def test_other_labels_go_the_long_way(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    labels, logits = example(40.0)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    given = logits.reshape(3, 3, 7) if shape == (3, 3) else logits
    np.testing.assert_allclose(
        float(loss(labels.reshape(shape).to(dtype), given)), float(loss(labels, logits)), rtol=1e-6
    )


def test_labels_of_another_batch_are_refused() -> None:
    labels, logits = example(None)
    with pytest.raises(ShapeError):
        SparseCategoricalCrossentropy(from_logits=True)(labels[:5], logits)


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size"])
def test_a_row_of_nan_hides_no_other(reduction: str) -> None:
    labels, logits = example(40.0)
    logits[4] = float("nan")
    leaf = logits.requires_grad_()
    value = SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)(labels, leaf)
    value.backward()
    assert torch.isnan(value)
    _, slopes = reference(labels.numpy(), logits.detach().nan_to_num().double().numpy())
    share = 1 / 9 if reduction == "sum_over_batch_size" else 1.0
    others = np.arange(9) != 4
    np.testing.assert_allclose(leaf.grad.numpy()[others], slopes[others] * share, rtol=2e-6)


def test_nothing_costs_nothing() -> None:
    loss = SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 7))) == 0.0


def test_half_precision_and_autocast_go_the_long_way(short_way: list[bool]) -> None:
    labels, logits = example(40.0)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    exact = float(loss(labels, logits.bfloat16().float()))
    assert float(loss(labels, logits.bfloat16())) == pytest.approx(exact, rel=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(labels, logits.double()).dtype == torch.float64
    assert short_way == [True, False, False]


def test_saved_tensors_go_through_the_hooks_of_others() -> None:
    labels, logits = example(40.0)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    leaf = logits.clone().requires_grad_()
    torch.utils.checkpoint.checkpoint(lambda x: loss(labels, x), leaf, use_reentrant=False).backward()
    _, slopes = reference(labels.numpy(), logits.double().numpy())
    np.testing.assert_allclose(leaf.grad.numpy(), slopes / 9, rtol=2e-6)


def test_a_penalty_on_large_logits_has_the_gradient_of_the_formula() -> None:
    loss = SparseCategoricalCrossentropy(from_logits=True, reduction="sum", z_loss=1e-4)
    labels, leaf = torch.tensor([0]), torch.tensor([[1e30, 1e30, 3.0]], requires_grad=True)
    loss(labels, leaf).backward()
    np.testing.assert_allclose(leaf.grad.numpy(), [[1e26, 1e26, 0.0]], rtol=1e-6)


def test_a_reduction_may_be_changed_by_any_of_its_names(short_way: list[bool]) -> None:
    labels, logits = example(None)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    whole = loss(labels, logits)
    loss.reduction = "SUM"  # type: ignore[assignment]
    torch.testing.assert_close(loss(labels, logits), whole * 9)
    loss.reduction = None  # type: ignore[assignment]
    assert loss(labels, logits).shape == (9,)
    with pytest.raises(UnknownNameError, match="median"):
        loss.reduction = "median"
    assert short_way == [True, True, True]


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
def test_what_follows_shapes_alone_is_asked_for_no_value(options: dict[str, Any]) -> None:
    from torch._subclasses import FakeTensorMode

    labels, logits = example(None)
    soft = torch.softmax(logits, 1)
    with FakeTensorMode(allow_non_fake_inputs=True):
        found = [
            SparseCategoricalCrossentropy(from_logits=True, **options)(labels, logits),
            CategoricalCrossentropy(from_logits=True, **options)(soft, logits),
            BinaryCrossentropy(from_logits=True, **options)(soft, logits),
        ]
    assert [(type(each).__name__, tuple(each.shape)) for each in found] == [("FakeTensor", ())] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_yes_or_no_keeps_the_digits_of_all_derivatives(label: float, dtype: torch.dtype) -> None:
    points = [-80.0, -45.0, -30.0, -12.0, -1.0, 0.0, 1.0, 12.0, 30.0, 45.0, 80.0]
    leaf = torch.tensor(points, dtype=dtype, requires_grad=True)
    labels = torch.full_like(leaf, label)
    value = binary_crossentropy(labels[:, None], leaf[:, None], from_logits=True)
    (plain,) = torch.autograd.grad(value.sum(), leaf, retain_graph=True)
    (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), leaf)

    exact, y = [], mpf(labels[0].item())
    with mp.workdps(50):
        for x in map(mpf, points):
            yes, no = 1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))
            exact.append([-(1 - y) * mp.log(no) - y * mp.log(yes), (1 - y) * yes - y * no, yes * no])
    expected = np.array(exact, dtype="float64").T
    rtol = 16 * torch.finfo(dtype).eps
    for found, wanted in zip((value, plain, slope, bend), expected[[0, 1, 1, 2]], strict=True):
        np.testing.assert_allclose(found.detach().double().numpy(), wanted, rtol=rtol)
