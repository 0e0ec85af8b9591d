"""Losses of a few rows of logits on torch, which take torch's own loss and mend what it lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from multiloss._errors import ArgumentError, LabelError, ShapeError, UnknownNameError
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


@pytest.fixture(params=["few", "more"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take few logits for more of them, which are not computed in float64."""
    from multiloss_torch import _small

    if request.param == "more":
        monkeypatch.setattr(_small, "FEW", -1)


@pytest.mark.usefixtures("sizes")
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
    found = sparse_categorical_crossentropy(labels, logits, True, 3)
    np.testing.assert_allclose(found.numpy(), np.where(labels == 3, 0.0, values), rtol=1e-6)
    assert short_way == [True, True]


@pytest.mark.usefixtures("sizes")
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


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("bad", [7, -1, -100, -(2**63), 2**62])
def test_labels_out_of_range_are_named(bad: int, reduction: str) -> None:
    labels, logits = example(None)
    labels[3] = bad
    with pytest.raises(LabelError, match=rf"y_true\[3\] is {bad}, and y_pred has 7 classes"):
        SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)(labels, logits)
    with pytest.raises(LabelError, match=rf"y_true\[3\] is {bad}"):
        sparse_categorical_crossentropy(labels, logits, from_logits=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.float32])
@pytest.mark.parametrize("shape", [(9,), (9, 1), (3, 3)])
def test_labels_of_other_dtypes_and_shapes(shape: tuple[int, ...], dtype: torch.dtype, short_way: list[bool]) -> None:
    labels, logits = example(40.0)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    given = logits.reshape(3, 3, 7) if shape == (3, 3) else logits
    np.testing.assert_allclose(
        float(loss(labels.reshape(shape).to(dtype), given)), float(loss(labels, logits)), rtol=1e-6
    )
    assert short_way == [dtype is not torch.float32 and shape != (9, 1), True]


IGNORED = [None, 3, -100]
CLASS_WEIGHTS = [None, [0.5, 1.0, 2.0, 0.0, 1.0, 3.0, 1.0]]


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS, ids=["alike", "class_weight"])
@pytest.mark.parametrize("ignored", IGNORED)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "sample_weight"])
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "mask"])
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "mean_with_sample_weight"])
def test_rows_that_do_not_count_reach_nothing(
    reduction: str, masked: bool, weighted: bool, ignored: int | None, class_weight: Any, short_way: list[bool]
) -> None:
    labels, logits = example(16.0)
    counted, weights = np.ones(9, bool), np.ones(9)
    logits[7] = 8.0 * torch.arange(7)
    if masked:
        counted[1], labels[1], logits[1, 2] = False, 99, float("inf")
    if weighted:
        weights[:4] = [0.0, 2.0, 1.0, 0.5]
        logits[0] = float("nan")
    if ignored is not None:
        labels[[2, 5]] = ignored
        counted[[2, 5]] = False
        logits[5] = float("nan")
    mask, weight = torch.tensor(counted | (labels.numpy() == ignored)), torch.tensor(weights, dtype=torch.float32)

    alive = counted & (weights != 0)
    known = np.where(alive, labels.numpy(), 0)
    factors = weights * (1.0 if class_weight is None else np.array(class_weight)[known]) * counted
    values, slopes = reference(known, np.where(alive[:, None], logits.numpy(), 0.0), factors)
    divisor = {"sum_over_batch_size": counted.sum(), "mean_with_sample_weight": factors.sum()}.get(reduction, 1.0)

    loss = SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction, ignore_class=ignored, class_weight=class_weight
    )
    leaf = logits.clone().requires_grad_()
    found = loss(labels, leaf, weight if weighted else None, mask=mask if masked else None)
    expected = values if reduction == "none" else values.sum() / divisor
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6)
    found.sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), slopes / divisor, rtol=2e-6)
    assert short_way == [True]


def test_weights_of_rows_on_two_axes(short_way: list[bool]) -> None:
    labels, logits = example(4.0)
    weight, mask = torch.rand(9), torch.arange(9) % 4
    loss = SparseCategoricalCrossentropy(from_logits=True, reduction="none", ignore_class=2)
    shaped = loss(labels.reshape(3, 3), logits.reshape(3, 3, 7), weight.reshape(3, 3), mask=mask.reshape(3, 3))
    torch.testing.assert_close(shaped.reshape(-1), loss(labels, logits, weight, mask=mask))
    assert short_way == [True, True]


@pytest.mark.parametrize(
    "weight",
    [
        pytest.param(2.0, id="number"),
        pytest.param(torch.full((9, 1), 2.0), id="column"),
        pytest.param(torch.full((9,), 2.0, requires_grad=True), id="learned"),
        pytest.param([2.0] * 9, id="list"),
    ],
)
def test_other_weights_go_the_long_way(weight: Any, short_way: list[bool]) -> None:
    labels, logits = example(4.0)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(loss(labels, logits, weight).item(), 2.0 * loss(labels, logits).item(), rtol=1e-6)
    assert short_way == [False, True]


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
def test_weights_of_other_dtypes_are_those_of_the_logits(dtype: torch.dtype, short_way: list[bool]) -> None:
    labels, logits = example(4.0)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    found = loss(labels, logits, torch.ones(9, dtype=dtype))
    torch.testing.assert_close(found, loss(labels, logits))
    assert short_way == [True, True]


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_where_no_row_counts_all_is_zero(reduction: str) -> None:
    labels, logits = example(4.0)
    leaf = torch.full_like(logits, float("nan"), requires_grad=True)
    loss = SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    for given in ({"sample_weight": torch.zeros(9)}, {"mask": torch.zeros(9, dtype=torch.bool)}):
        value = loss(labels, leaf, **given).sum()
        (slope,) = torch.autograd.grad(value, leaf)
        assert (value.item(), slope.abs().sum().item()) == (0.0, 0.0)


@pytest.mark.parametrize("label", [-1, 7])
def test_class_weights_find_labels_out_of_range(label: int) -> None:
    labels, logits = example(4.0)
    labels[3] = label
    with pytest.raises(LabelError, match=rf"y_true\[3\] is {label}"):
        SparseCategoricalCrossentropy(from_logits=True, class_weight=[1.0] * 6 + [0.0])(labels, logits)
    with pytest.raises(ArgumentError, match="Expected 7"):
        SparseCategoricalCrossentropy(from_logits=True, class_weight=[1.0] * 6)(labels % 7, logits)


@pytest.mark.parametrize("reduction", [*REDUCTIONS, "mean_with_sample_weight"])
def test_a_class_of_weight_0_hides_any_weight_of_a_sample(reduction: str, short_way: list[bool]) -> None:
    labels, logits = example(4.0)
    given = torch.ones(9)
    loss = SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction, class_weight=[float(each != labels[0]) for each in range(7)]
    )
    expected = loss(labels, logits, given)
    for weight in (float("nan"), float("inf")):
        given[labels == labels[0]] = weight
        torch.testing.assert_close(loss(labels, logits, given), expected)
    assert short_way == [True] * 3


@pytest.mark.usefixtures("sizes")
def test_weighted_losses_have_second_derivatives() -> None:
    labels, logits = example(4.0)
    weight = torch.tensor([1.0, 0.0, 2.0] * 3)
    loss = SparseCategoricalCrossentropy(from_logits=True, reduction="sum", ignore_class=int(labels[0]))
    assert torch.autograd.gradgradcheck(lambda x: loss(labels, x, weight), logits.double().requires_grad_())


def test_labels_of_another_batch_are_refused() -> None:
    labels, logits = example(None)
    with pytest.raises(ShapeError):
        SparseCategoricalCrossentropy(from_logits=True)(labels[:5], logits)


@pytest.mark.usefixtures("sizes")
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


@pytest.mark.parametrize("label", [60.0, 200.0, -200.0])
def test_a_label_far_from_the_others_in_more_logits(label: float) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(70, 500)).astype("float32"), rng.integers(0, 500, 70)
    logits[np.arange(0, 70, 2), labels[::2]] = label
    leaf = torch.tensor(logits).requires_grad_()
    losses = sparse_categorical_crossentropy(torch.tensor(labels), leaf, from_logits=True)
    values, slopes = reference(labels, logits)
    np.testing.assert_allclose(losses.detach().numpy(), values, rtol=1e-6, atol=1e-37)
    losses.sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), slopes, rtol=1e-5, atol=1e-37)


def test_a_label_that_cannot_be_in_more_logits() -> None:
    logits, labels = torch.randn(70, 500), torch.arange(70)
    expected = sparse_categorical_crossentropy(labels, logits.double(), from_logits=True).float()
    logits[::2].scatter_(1, labels[::2, None], -float("inf"))
    expected[::2] = float("inf")
    torch.testing.assert_close(sparse_categorical_crossentropy(labels, logits, from_logits=True), expected)


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


@pytest.mark.usefixtures("sizes")
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
