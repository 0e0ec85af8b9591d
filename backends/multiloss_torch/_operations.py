"""Cross-entropy of rows of logits by whole-tensor operations: for compilers, for other devices, for classes that are split.

No value is looked at and nothing is written in place. What a process knows of its own classes is a few numbers per row,
which are combined into those of all classes; where nothing is split, there is one part to combine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from multiloss.interface import Options
from torch import Tensor

from multiloss_torch._rows import wide


class Shard(NamedTuple):
    """The classes that the logits of this process are about."""

    start: int
    """The first one."""

    classes: int
    """How many there are in all processes."""

    rank: int
    gather: Callable[[Tensor], Tensor]
    """Returns the tensors of all processes, stacked in the order of their ranks."""

    add_up: Callable[[Tensor], Tensor]
    """Returns the sum of the tensors of all processes."""


def by_operations(
    logits: Tensor,
    target: Tensor,
    scale: Tensor | None,
    class_weight: Tensor | None,
    options: Options,
    gradient: bool,
    shard: Shard | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the losses (N,) of logits (N, V) times `scale`, and with `gradient` that of their sum.

    `target` and `class_weight` are about all classes. A row of scale 0 is 0 throughout.
    """
    smoothing, z_loss, softcap = options
    own_classes = logits.shape[1]
    start, classes = (0, own_classes) if shard is None else (shard.start, shard.classes)
    here = slice(start, start + own_classes)
    z = logits.to(wide(logits.dtype))
    if not own_classes:
        z = z.new_full((len(z), 1), -torch.inf)
    factor = None if scale is None else scale.unsqueeze(1)
    if factor is not None:
        z = torch.where(factor == 0, 0.0 if own_classes else -torch.inf, z)
    if softcap is not None and own_classes:  # -inf would become a class with a probability
        z = torch.tanh(z / softcap) * softcap

    # What this process knows: of its classes, the largest stays out of the sum, where others would lose their digits.
    largest, best = z.max(1, True)
    base = torch.where(torch.isfinite(largest), largest, 0.0)
    relative = z - base
    powers = torch.exp(relative)
    known = [largest, powers.scatter(1, best, 0.0).sum(1, True)]
    sparse = target.ndim == 1
    minus: Tensor | None = None  # what the gradient has less than a multiple of the probabilities
    if sparse:
        at = target.unsqueeze(1) - start
        is_here = (at >= 0) & (at < own_classes)
        at = torch.where(is_here, at, 0)
        known.append(torch.where(is_here, z.gather(1, at), 0.0))
        own = (1.0 - smoothing) * (torch.ones_like(base) if class_weight is None else class_weight[target.unsqueeze(1)])
        if smoothing:
            minus = z.new_full((1, z.shape[1]), smoothing / classes)
    else:
        minus = target[:, here].to(z.dtype)
        if smoothing:
            minus = minus * (1.0 - smoothing) + smoothing / classes
    if minus is not None:
        if not own_classes:
            minus = z.new_zeros((1, 1))
        elif class_weight is not None:
            minus = minus * class_weight[here]
        distances = torch.where(minus == 0, 0.0, -minus * relative)
        known += [distances.sum(1, True), minus.sum(1, True).expand_as(base)]

    # What all know.
    parts = torch.stack(known)
    parts = parts.unsqueeze(0) if shard is None else shard.gather(parts)
    top, owner = parts[:, 0].max(0)
    top = torch.where(torch.isfinite(top), top, 0.0)
    shares = torch.exp(parts[:, 0] - top)
    ranks = torch.arange(len(parts), device=z.device).reshape(-1, 1, 1)
    others = (shares * (parts[:, 1] + (ranks != owner))).sum(0)
    log_total = torch.log1p(others)
    values = slope = torch.zeros_like(base)
    if sparse:
        losses = top - parts[:, 2].sum(0) + log_total
        values, slope = torch.where(own == 0, 0.0, own * losses), own
    if minus is not None:
        each, weight = parts[:, -2], parts[:, -1]
        total = weight.sum(0)
        distance = torch.where(weight == 0, 0.0, each + weight * (top - parts[:, 0])).sum(0)
        values = values + distance + torch.where(total == 0, 0.0, total * log_total)
        slope = slope + total
        if not sparse:
            own, losses, at = total, log_total, best
            is_here = owner == (0 if shard is None else shard.rank)
    if z_loss:
        lse = top + log_total
        values = values + z_loss * lse.square()
        slope = slope + 2.0 * z_loss * lse
    if factor is not None:
        values = torch.where(factor == 0, 0.0, values * factor)
    if not gradient:
        return values.squeeze(1), None

    p = powers * (shares[0 if shard is None else shard.rank] / (1.0 + others))
    dz = slope * p
    if minus is not None:
        dz = dz - minus
    at_label = own * torch.expm1(-losses) + (slope - own) * p.gather(1, at)  # no difference of near numbers
    if minus is not None:
        there = minus.expand_as(p).gather(1, at)
        at_label = at_label - there if sparse else at_label + (own - there)
    dz = dz.scatter(1, at, torch.where(is_here, at_label, dz.gather(1, at)))
    if softcap is not None:
        dz = dz * (1.0 - (z / softcap).square())
    if factor is not None:
        dz = torch.where(factor == 0, 0.0, dz * factor)
    return values.squeeze(1), dz[:, :own_classes].to(logits.dtype)
