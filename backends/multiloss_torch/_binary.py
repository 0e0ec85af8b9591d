"""Cross-entropy of yes or no labels from logits, by torch's softplus.

Between `softplus(x)`, what the label 0 costs, and `softplus(-x)`, what 1 costs, nothing cancels, and torch computes each in one
loop. A difference of `softplus(x)` and `y * x`, or torch's own loss, which has one, lacks the digits of confident predictions.
"""

from __future__ import annotations

from math import isfinite

import torch
from torch import Tensor
from torch.nn.functional import softplus

from multiloss_torch._watching import is_plain, wants_gradient

_LINEAR = 40.0
"""From here on `log(1 + exp(x))` is x, to the last digit of float64."""


def losses(target: Tensor, logits: Tensor) -> Tensor | None:
    """Return the loss of each element of tensors of a full-precision dtype on the CPU; None where the formula should.

    Labels that want a gradient would get a difference, and infinite logits that are right cost 0 * inf.
    """
    if not is_plain(target, logits) or wants_gradient(target):
        return None
    values = torch.lerp(softplus(logits, threshold=_LINEAR), softplus(-logits, threshold=_LINEAR), target)
    return values if isfinite(values.detach().sum().item()) else None
