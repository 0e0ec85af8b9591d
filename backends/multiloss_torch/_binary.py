"""Cross-entropy of yes or no labels from logits, by torch's softplus.

Between `softplus(x)`, what the label 0 costs, and `softplus(-x)`, what 1 costs, nothing cancels, and torch computes each in one
loop. A difference of `softplus(x)` and `y * x`, or torch's own loss, which has one, lacks the digits of confident predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from multiloss_torch._watching import is_plain, wants_gradient

_LINEAR = 40.0
"""From here on `log(1 + exp(x))` is x, to the last digit of float64."""


def losses(formula: Callable[..., Tensor], target: Tensor, logits: Tensor) -> Tensor | None:
    """Return the loss of each element of tensors of a full-precision dtype on the CPU; None where the formula should.

    Labels that want a gradient would get a difference, and infinite logits that are right cost 0 * inf.
    """
    if target.shape != logits.shape or not is_plain(target, logits) or wants_gradient(target):
        return None
    if logits.requires_grad and torch.is_grad_enabled():
        run: Any = _Values.apply
        values = run(logits, target, formula)
    else:
        values = _values(target, logits)
    return values if isfinite(values.detach().sum().item()) else None


def _values(target: Tensor, logits: Tensor) -> Tensor:
    return torch.lerp(softplus(logits, threshold=_LINEAR), softplus(-logits, threshold=_LINEAR), target)


class _Values(torch.autograd.Function):
    """The losses, whose second derivative is that of the formula: torch's of softplus lacks digits from a few on."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, formula: Callable[..., Tensor]) -> Tensor:
        ctx.save_for_backward(logits, target)
        ctx.formula = formula
        return _values(target, logits)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        logits, target = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return upstream * torch.lerp(logits.sigmoid(), logits.neg().sigmoid_().neg_(), target), None, None
        logits = logits.view_as(logits)
        values = ctx.formula(target, logits, from_logits=True)
        return torch.autograd.grad(values, logits, upstream, create_graph=True)[0], None, None
