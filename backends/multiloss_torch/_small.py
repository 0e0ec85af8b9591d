"""Cross-entropy of few logits, where each call of an operation counts: torch's own, mended where rows are confident.

torch's loss of a row is a difference, of which little is left where the label has most of the probability. There it is
taken from what the other classes have; to look whether there is such a row costs less than to do it always.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

CONFIDENT = 0.5
"""Losses up to here are mended. Of larger ones torch's has all digits."""


def small_losses(
    formula: Callable[..., Tensor], target: Tensor, logits: Tensor, row_weight: float | None, total: bool
) -> Tensor:
    """Return the losses of logits in a full-precision dtype, of which there are some, or their sum.

    `target` holds the index of a class for each row, and `row_weight` is for all.
    """
    lead = target.shape
    if len(lead) != 1:
        logits, target = logits.reshape(-1, logits.shape[-1]), target.reshape(-1)
    target = target if target.dtype == torch.int64 else target.long()
    losses = cross_entropy(logits, target, reduction="none")
    if not float(losses.detach().min()) >= CONFIDENT:  # nor is a nan, beside which there may be others
        if losses.requires_grad:
            run: Any = _Mended.apply
            losses = run(logits, target, losses.detach(), formula)
        else:
            losses = _mended(losses, _others(logits, target.unsqueeze(1)))
    losses = losses.sum() if total else losses
    losses = losses if row_weight is None else losses * row_weight
    return losses if total or len(lead) == 1 else losses.reshape(lead)


def _others(logits: Tensor, target: Tensor) -> Tensor:
    """Return probabilities, 0 at the labels."""
    return torch.softmax(logits, 1).scatter_(1, target, 0.0)


def _mended(losses: Tensor, others: Tensor) -> Tensor:
    return torch.where(losses < CONFIDENT, others.sum(1).neg_().log1p_().neg_(), losses)


class _Mended(torch.autograd.Function):
    """The losses, given those of torch, and the gradient of each."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, losses: Tensor, formula: Callable[..., Tensor]) -> Tensor:
        at = target.unsqueeze(1)
        slopes = _others(logits, at)
        losses = _mended(losses, slopes)
        slopes.scatter_(1, at, losses.neg().expm1_().unsqueeze_(1))
        ctx.save_for_backward(logits, target, slopes)
        ctx.formula = formula
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        logits, target, slopes = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return slopes * upstream.unsqueeze(-1), None, None, None
        logits = logits.view_as(logits)
        losses = ctx.formula(target, logits)
        return torch.autograd.grad(losses, logits, upstream, create_graph=True)[0], None, None, None
