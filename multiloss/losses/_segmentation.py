"""Losses on overlaps of regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multiloss._typing import Tensor
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._ratio import ratio_loss

__all__ = ["Dice", "Tversky", "dice", "tversky"]


@ratio_loss(y_true="probability", y_pred="probability")
def dice(y_true: Tensor, y_pred: Tensor, axis: int | Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """One minus the Dice coefficient, which is twice the overlap of two regions over the sum of their sizes.

    Formula: `1 - 2 * sum(y_true * y_pred) / sum(y_true + y_pred)` over `axis`. If both regions are empty: 0.

    Shapes: masks or probabilities `(..., D)` and `(..., D)` to their shape without `axis`.

    Args:
        axis: what belongs to one region; None: everything, so that the whole batch has one value.

    Source: L. R. Dice, Measures of the Amount of Ecologic Association Between Species, 1945; F. Milletari et al.,
    V-Net, 2016, https://arxiv.org/abs/1606.04797

    >>> round(float(dice([1.0, 1.0, 0.0], [1.0, 0.0, 0.0])), 4)
    0.3333
    """
    del axis  # acts at the boundary, which sums
    # Not `size - 2 * overlap`, whose digits cancel where the regions are almost one.
    return y_true * (1.0 - y_pred) + y_pred * (1.0 - y_true), y_true + y_pred


@ratio_loss(y_true="probability", y_pred="probability")
def tversky(
    y_true: Tensor, y_pred: Tensor, alpha: float = 0.5, beta: float = 0.5, axis: int | Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """One minus the Tversky index: a Dice loss that weighs the two kinds of error.

    Formula: `1 - TP / (TP + alpha * FP + beta * FN)` with `TP = sum(y_true * y_pred)`, `FP = sum((1 - y_true) * y_pred)`
    and `FN = sum(y_true * (1 - y_pred))` over `axis`. If there is nothing to find and nothing was found: 0.

    Shapes: as `dice`, which is the case `alpha = beta = 0.5`.

    Args:
        alpha: the weight of false positives, at least 0.
        beta: the weight of false negatives, at least 0; above `alpha` it favours recall.
        axis: as in `dice`.

    Source: S. S. M. Salehi et al., Tversky Loss Function for Image Segmentation, 2017, https://arxiv.org/abs/1706.05721

    >>> float(tversky([1.0, 1.0, 0.0], [1.0, 0.0, 0.0], alpha=0.5, beta=1.0))
    0.5
    """
    del axis  # acts at the boundary, which sums
    missed = alpha * (1.0 - y_true) * y_pred + beta * y_true * (1.0 - y_pred)
    return missed, y_true * y_pred + missed


class Dice(LossFunctionWrapper):
    """Class form of `dice`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "dice",
        axis: int | Sequence[int] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(dice, reduction, name, dtype, axis=axis)


class Tversky(LossFunctionWrapper):
    """Class form of `tversky`."""

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "tversky",
        axis: int | Sequence[int] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)
