"""Cross-entropy of hidden states and a weight: the values and gradients of torch's fused and unfused forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from multiloss import value_and_grad
from multiloss.interface import Backend
from multiloss.losses import LinearCrossentropy, linear_crossentropy
from tests.parity.certificates import agree

RNG = np.random.default_rng(5)
N, D, V = 40, 6, 11
HIDDEN, WEIGHT, BIAS = RNG.normal(size=(N, D)), RNG.normal(size=(V, D)), RNG.normal(size=V)
LABELS = np.where(RNG.random(N) < 0.2, -100, RNG.integers(0, V, N))
SOFT = RNG.dirichlet(np.ones(V), N)
CLASS_WEIGHT = RNG.uniform(0.5, 2.0, V)

FLOAT64: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def gradients_of(backend: Backend, loss: Any, y_true: Any) -> tuple[float, list[np.ndarray]]:
    operands = [backend.asarray(each) for each in (HIDDEN, WEIGHT, BIAS)]
    target = backend.asarray(y_true)
    value, found = value_and_grad(lambda x, w, b: loss(target, x, weight=w, bias=b), (0, 1, 2))(*operands)
    return float(backend.to_numpy(value)), [backend.to_numpy(each) for each in found]


@pytest.mark.parametrize("soft", [False, True], ids=["sparse", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_torchs_cross_entropy_of_a_linear_layer(
    backend: Backend, float64: None, soft: bool, smoothing: float, weighted: bool
) -> None:
    y_true = SOFT if soft else LABELS
    loss = LinearCrossentropy(
        "sum_over_batch_size" if soft else "mean_with_sample_weight",
        label_smoothing=smoothing,
        class_weight=CLASS_WEIGHT if weighted else None,
        ignore_class=None if soft else -100,
    )
    value, found = gradients_of(backend, loss, y_true)
    leaves = [torch.tensor(each, requires_grad=True) for each in (HIDDEN, WEIGHT, BIAS)]
    weight = torch.tensor(CLASS_WEIGHT) if weighted else None
    logits = F.linear(*leaves)
    expected = F.cross_entropy(logits, torch.tensor(y_true), weight=weight, label_smoothing=smoothing)
    expected.backward()
    agree(linear_crossentropy, "torch", value, expected.item(), **FLOAT64)
    for one, leaf in zip(found, leaves, strict=True):
        agree(linear_crossentropy, "torch", one, leaf.grad.numpy(), quantity="gradient", **FLOAT64)


def test_it_is_torchs_fused_form(backend: Backend) -> None:
    loss = LinearCrossentropy("mean_with_sample_weight", ignore_class=-100)
    value, _ = gradients_of(backend, loss, LABELS)
    fused = F.linear_cross_entropy(*map(torch.tensor, (HIDDEN, WEIGHT, LABELS)), linear_bias=torch.tensor(BIAS))
    np.testing.assert_allclose(value, fused.item(), rtol=1e-5)
