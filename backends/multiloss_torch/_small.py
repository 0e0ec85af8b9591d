"""Cross-entropy of logits that are no more than the cache holds, where each call of an operation counts: torch's own.

torch's loss of a row is a difference, of which little is left where the label has most of the probability, and so is the
gradient. To look whether there is such a row costs less than to do without differences. Of few logits, float64 has digits to
spare for most of them; others are swept, as larger ones are.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import torch
from multiloss.interface import Options
from torch import Tensor

CONFIDENT = 0.5
"""From here on, torch's losses have all digits."""

CERTAIN = 1e-9
"""From here on, torch's losses in float64 have all digits of float32."""

LARGE = 1e8
"""From here on, the gradient of torch's logsumexp in float64 lacks digits of float32."""

FEW = 1 << 15
"""Up to how many logits torch's operations in float64 take less time than a sweep, which needs none of it."""

EACH, MEAN, SUM = range(3)
"""Reductions, as torch numbers them."""

REDUCTIONS = {"none": EACH, "sum": SUM} | dict.fromkeys(
    ("sum_over_batch_size", "mean", "mean_with_sample_weight"), MEAN
)

_nll_loss: Any = torch._C._nn.nll_loss_nd
"""`torch.nn.functional.nll_loss`, without asking about subclasses of tensors."""

_NO_LABEL = -0x61C8864680B583EB
"""What torch leaves out in place of refusing it: a number that nobody takes for a class."""

Swept = Callable[..., Tensor]
"""What computes the losses of any rows, given class indices, logits, a reduction, and what each row counts for."""


def small_losses(
    swept: Swept, target: Tensor, logits: Tensor, reduction: int, scale: Tensor | float | None = None
) -> Tensor:
    """Return the losses of rows of logits (N, V) in a full-precision dtype, of which there are some, or their mean or sum.

    `target` (N,) holds class indices as int64, `scale` is what each row counts for, but for a mean, and `swept` does the same
    where torch's own loss lacks digits.

    Raises:
        IndexError, RuntimeError: for an index out of range.
    """
    few = logits.numel() <= FEW
    each = reduction == EACH or isinstance(scale, Tensor)
    if not few and (each or (logits.requires_grad and torch.is_grad_enabled())):
        return swept(target, logits, reduction, scale)  # where one row is confident, all would be computed twice
    if scale is not None:
        losses = small_losses(swept, target, logits, EACH if each else reduction) * scale
        return losses.sum() if each and reduction == SUM else losses
    found = _of_torch(target, logits, reduction, CONFIDENT)
    if found is None and few and logits.dtype is torch.float32:
        found = _of_torch(target, logits.double(), reduction, CERTAIN)
        found = found if found is None else found.float()
    return swept(target, logits, reduction, None) if found is None else found


def counted_losses(
    swept: Swept,
    target: Tensor,
    logits: Tensor,
    reduction: str,
    sample_weight: Tensor | None,
    mask: Tensor | None,
    ignore_class: int | None = None,
    class_weight: tuple[float, ...] | None = None,
) -> Tensor | None:
    """Return what `small_losses` does, of those rows that count and for what they count, or None if there is none.

    Rows that do not count are left out of all that follows, so that nothing of them comes into it.

    Raises:
        IndexError: for an index out of range in a row that counts.
    """
    total, at, weight = len(target), None, None
    kept = None if ignore_class is None else target != ignore_class
    if mask is not None:
        kept = mask != 0 if kept is None else kept & (mask != 0)
    if kept is not None:
        at = kept.nonzero().squeeze(1)
        target, logits = _rows_at(at, target, logits)
    count = len(target)
    if sample_weight is not None:
        (weight,) = _rows_at(at, sample_weight.to(logits.dtype))
    if class_weight is not None:
        if len(class_weight) != logits.shape[1]:
            return None
        by_class = torch.tensor(class_weight, dtype=logits.dtype).index_select(0, target)
        weight = by_class if weight is None else torch.where(by_class == 0, by_class, weight * by_class)  # of nan, too
    if weight is not None:
        present = weight.nonzero().squeeze(1)
        if len(present) < count:
            target, logits, weight = _rows_at(present, target, logits, weight)
            at = present if at is None else at[present]
    if not len(target):
        return None
    if reduction == "none":
        losses = small_losses(swept, target, logits, EACH, weight)
        return losses if at is None else losses.new_zeros(total).index_copy(0, at, losses)
    if weight is None:
        return small_losses(swept, target, logits, REDUCTIONS[reduction])
    divisor: float = 1
    if reduction != "sum":
        divisor = weight.sum().item() if reduction == "mean_with_sample_weight" else count
    if not divisor:
        return None
    return small_losses(swept, target, logits, SUM, weight / divisor)


def _rows_at(at: Tensor | None, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return some rows of tensors, or the tensors themselves if these are all."""
    if at is None or len(at) == len(tensors[0]):
        return tensors
    return tuple(each.index_select(0, at) for each in tensors)


def weighted_losses(
    target: Tensor,
    logits: Tensor,
    row_weight: Tensor | float | None,
    total: bool,
    class_weight: Tensor | None,
    options: Options,
) -> Tensor | None:
    """Return the losses of rows of logits (N, V), with all that may enter them, computed in float64, or their sum.

    None where even that lacks digits of float32, and where something is not finite: a row of weight 0 may not count.
    """
    z, smoothing, classes = logits.double(), options.label_smoothing, logits.shape[1]
    if options.softcap is not None:
        z = torch.tanh(z / options.softcap) * options.softcap
    log_p = torch.log_softmax(z, 1)
    class_weight = None if class_weight is None else class_weight.double()
    if target.ndim == 1:
        least: Tensor = _nll_loss(log_p, target, None, EACH, _NO_LABEL)
        losses = least
        if class_weight is not None:
            losses = _nll_loss(log_p, target, class_weight, EACH, _NO_LABEL)
        if smoothing:
            others = log_p if class_weight is None else log_p * class_weight
            losses = losses * (1.0 - smoothing) - others.sum(1) * (smoothing / classes)
    else:
        share = target.double()
        if smoothing:
            share = share * (1.0 - smoothing) + smoothing / classes
        share = share if class_weight is None else share * class_weight
        losses = -(share * log_p).sum(1)
        least = losses - CERTAIN * (share.sum(1) - 1.0)
    if options.z_loss:
        lse = torch.logsumexp(z, 1)
        if not lse.detach().abs().max().item() < LARGE:
            return None
        losses = losses + options.z_loss * lse.square()
    losses = losses if row_weight is None else losses * row_weight
    if isinstance(row_weight, Tensor) and not total:  # what comes back to a row of weight 0 may not be finite
        losses = torch.where(row_weight != 0, losses, 0.0)
    result = losses.sum() if total else losses
    if not (least.detach().min().item() >= CERTAIN and isfinite(result.detach().sum().item())):
        return None
    return result.float()


def _of_torch(target: Tensor, logits: Tensor, reduction: int, least: float) -> Tensor | None:
    """Return torch's losses if they and their gradients have all digits, which rows have whose loss is so large."""
    log_p = torch.log_softmax(logits, 1)
    losses: Tensor = _nll_loss(log_p, target, None, reduction, _NO_LABEL)
    if reduction == EACH:
        found = (losses.detach() if losses.requires_grad else losses).min().item()
    elif losses.requires_grad:
        found = _nll_loss(log_p.detach(), target, None, EACH, _NO_LABEL).min().item()
    else:  # the digits that single rows lack are none of a sum that is large
        found = losses.item() if reduction == MEAN else losses.item() / len(target)
    return losses if found >= least else None  # nor is it nan, which may hide others
