"""How much each sample's derivative counts: its weight, its mask, and the denominator of the reduction."""

from __future__ import annotations

from multiloss._typing import Shape, Tensor
from multiloss.dispatch import K
from multiloss.losses._reduction import Selection, partial


def coefficients(selection: Selection, shape: Shape, like: Tensor, reduction: str) -> Tensor:
    """Return by what each of the values, of `shape`, is multiplied before all are summed into the reduced value.

    0 where nothing is computed; a plain number if all count alike and none is divided.
    """
    counts: Tensor = 1.0
    if selection.weights is not None:
        counts = selection.weights
    if selection.computed is not None:
        counts = K.where(selection.computed, K.full(shape, 1.0, like=like) * counts, 0.0)
    if reduction in ("none", "sum"):
        return counts
    _, denominator = partial(K.full(shape, 0.0, like=like), selection, reduction)
    return K.divide_no_nan(counts + K.zeros_like(denominator), denominator)


def spread(counts: Tensor, shape: Shape, axis: int | None) -> Tensor:
    """Return one coefficient for each entry of `y_pred`, of `shape`: that of its sample.

    `axis` is the one that `y_pred` has and samples have not.
    """
    if isinstance(counts, (int, float)) or not counts.ndim or axis is None:
        return counts
    return K.broadcast_to(K.expand_dims(counts, axis), tuple(shape))
