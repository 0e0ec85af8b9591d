"""How much each sample's derivative counts: its weight, its mask, and the denominator of the reduction."""

from __future__ import annotations

from multiloss._boundary import normalize_axis
from multiloss._typing import Shape, Tensor
from multiloss.dispatch import K
from multiloss.losses._evaluation import Arranged
from multiloss.losses._reduction import Selection, partial

_NAN = float("nan")


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


def of_arranged(arranged: Arranged, axis: int, reduction: str) -> tuple[Tensor, int]:
    """Return the `coefficients` of one of our losses, nan for labels out of range, and `axis` counted from the front.

    `axis` is the one that `y_pred` has and samples have not.
    """
    y_pred = arranged.y_pred
    shape = tuple(y_pred.shape)
    at = normalize_axis(axis, len(shape))
    samples = shape[:at] + shape[at + 1 :]
    counts = coefficients(arranged.selection, samples, y_pred, reduction)
    if arranged.in_range is not None:
        counts = counts * K.where(arranged.in_range, K.full(samples, 1.0, like=y_pred), _NAN)
    return counts, at


def spread(counts: Tensor, shape: Shape, axis: int | None) -> Tensor:
    """Return one coefficient for each entry of `y_pred`, of `shape`: that of its sample.

    `axis` is the one that `y_pred` has and samples have not.
    """
    if isinstance(counts, (int, float)) or not counts.ndim or axis is None:
        return counts
    return K.broadcast_to(K.expand_dims(counts, axis), tuple(shape))
