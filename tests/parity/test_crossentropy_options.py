"""Class weights, ignored labels, label smoothing and weights of positive labels: the values and gradients of torch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from multiloss import losses, value_and_grad
from multiloss.interface import Backend

RNG = np.random.default_rng(31)
N, T, C = 6, 3, 4
LOGITS = RNG.normal(size=(N, T, C)) * 3
LABELS = RNG.integers(0, C, size=(N, T))
IGNORED = np.where(RNG.random(size=(N, T)) < 0.3, -100, LABELS)
SOFT = RNG.dirichlet(np.ones(C), size=(N, T))
HARD = RNG.integers(0, 2, size=(N, C)).astype(float)
WEIGHTS = np.array([0.5, 1.0, 2.0, 4.0])

FLOAT64 = {"rtol": 1e-10, "atol": 1e-12}


def compare(backend: Backend, loss: Any, y_true: Any, y_pred: Any, reference: Any) -> None:
    """Assert that value and gradient are those of `reference`, a function of torch's `y_pred`."""
    value, gradient = value_and_grad(loss)(backend.asarray(y_true), backend.asarray(y_pred))
    leaf = torch.tensor(y_pred, requires_grad=True)
    expected = reference(leaf)
    expected.backward()
    np.testing.assert_allclose(backend.to_numpy(value), expected.item(), **FLOAT64)
    np.testing.assert_allclose(backend.to_numpy(gradient), leaf.grad.numpy(), **FLOAT64)


def cross_entropy(leaf: torch.Tensor, target: np.ndarray, **options: Any) -> torch.Tensor:
    """Return torch's cross-entropy of logits with the classes last."""
    target = torch.tensor(target)
    return F.cross_entropy(
        leaf.movedim(-1, 1), target.movedim(-1, 1) if target.is_floating_point() else target, **options
    )


@pytest.mark.parametrize(
    ("smoothing", "weighted", "y_true"), list(itertools.product((0.0, 0.2), (False, True), ("all", "some")))
)
def test_a_weighted_mean_over_class_indices_is_that_of_torch(
    backend: Backend, float64: None, smoothing: float, weighted: bool, y_true: str
) -> None:
    labels = LABELS if y_true == "all" else IGNORED
    loss = losses.SparseCategoricalCrossentropy(
        from_logits=True,
        reduction="mean_with_sample_weight",
        label_smoothing=smoothing,
        class_weight=WEIGHTS if weighted else None,
        ignore_class=-100,
    )
    weight = torch.tensor(WEIGHTS) if weighted else None
    compare(
        *(backend, loss, labels, LOGITS),
        lambda leaf: cross_entropy(leaf, labels, weight=weight, label_smoothing=smoothing, ignore_index=-100),
    )


def test_a_class_of_weight_0_is_that_of_torch(backend: Backend, float64: None) -> None:
    """With smoothed labels its samples have a share of the other classes, here as there."""
    weights = [0.5, 0.0, 2.0, 1.0]
    for smoothing in (0.0, 0.2):
        loss = losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight", label_smoothing=smoothing, class_weight=weights
        )
        weight = torch.tensor(weights, dtype=torch.float64)
        compare(
            *(backend, loss, LABELS, LOGITS),
            lambda leaf, weight=weight, smoothing=smoothing: cross_entropy(
                leaf, LABELS, weight=weight, label_smoothing=smoothing
            ),
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_mean_over_soft_labels_is_that_of_torch(backend: Backend, float64: None, smoothing: float) -> None:
    """There torch divides by the number of samples, as `sum_over_batch_size` does."""
    loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, class_weight=list(WEIGHTS))
    weight = torch.tensor(WEIGHTS)
    compare(
        *(backend, loss, SOFT, LOGITS),
        lambda leaf: cross_entropy(leaf, SOFT, weight=weight, label_smoothing=smoothing),
    )


def test_each_weighted_value_is_that_of_nll_loss(backend: Backend, float64: None) -> None:
    probabilities = SOFT[:, 0]
    loss = losses.SparseCategoricalCrossentropy(
        reduction="sum", class_weight=dict(enumerate(WEIGHTS)), ignore_class=-100
    )
    weight = torch.tensor(WEIGHTS)
    compare(
        *(backend, loss, IGNORED[:, 0], probabilities),
        lambda leaf: F.nll_loss(
            torch.log(leaf / leaf.sum(-1, keepdim=True)),
            torch.tensor(IGNORED[:, 0]),
            weight=weight,
            reduction="sum",
            ignore_index=-100,
        ),
    )


@pytest.mark.parametrize("pos_weight", [3.0, WEIGHTS, list(WEIGHTS), 0.01], ids=str)
@pytest.mark.parametrize("labels", [HARD, SOFT[:, 0]], ids=["hard", "soft"])
def test_positive_labels_are_weighted_as_in_torch(
    backend: Backend, float64: None, labels: np.ndarray, pos_weight: Any
) -> None:
    loss = losses.BinaryCrossentropy(from_logits=True, pos_weight=pos_weight)
    logits = LOGITS[:, 0] * 5
    compare(
        *(backend, loss, labels, logits),
        lambda leaf: F.binary_cross_entropy_with_logits(
            leaf, torch.tensor(labels), pos_weight=torch.tensor(pos_weight, dtype=torch.float64)
        ),
    )


@pytest.mark.parametrize("from_logits", [False, True])
def test_yes_and_no_are_weighted_as_by_the_weight_of_torch(backend: Backend, float64: None, from_logits: bool) -> None:
    """There a weight goes with each element, and the mean divides by their number."""
    loss = losses.BinaryCrossentropy(from_logits=from_logits, class_weight={0: 0.5, 1: 3.0})
    target, weight = torch.tensor(HARD), torch.tensor(np.where(HARD == 1, 3.0, 0.5))
    function = F.binary_cross_entropy_with_logits if from_logits else F.binary_cross_entropy
    y_pred = LOGITS[:, 0] if from_logits else SOFT[:, 0]
    compare(backend, loss, HARD, y_pred, lambda leaf: function(leaf, target, weight=weight))
