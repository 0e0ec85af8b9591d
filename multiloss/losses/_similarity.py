"""Losses that compare directions."""

from __future__ import annotations

from typing import Any

from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._spec import loss

__all__ = ["CosineSimilarity", "cosine", "cosine_proximity", "cosine_similarity"]


@loss(y_true="real", y_pred="real", event="joint")
def cosine_similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Negative cosine of the angle between targets and predictions: -1 for the same direction, 1 for the opposite one.

    Formula: `-sum(y_true / |y_true| * y_pred / |y_pred|)` over `axis`. If either vector is zero: 0, with gradient 0.

    Shapes: `(..., D)` and `(..., D)` to `(...)`, or with D on another `axis`. As a metric the sign is positive.

    >>> round(float(cosine_similarity([1.0, 0.0], [1.0, 1.0])), 4)
    -0.7071
    """
    return -K.cosine(y_true, y_pred, axis)


cosine = cosine_proximity = cosine_similarity


class CosineSimilarity(LossFunctionWrapper):
    """Class form of `cosine_similarity`."""

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)
