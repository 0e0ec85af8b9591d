"""From one value per sample to one number: weights, masks, denominators.

Loss and metric of the same name share this code, so they cannot disagree about a denominator.

| reduction | value |
|---|---|
| `"sum_over_batch_size"`, `"mean"` | sum of weighted values / number of values that the mask lets through |
| `"mean_with_sample_weight"` | sum of weighted values / sum of their weights, those of their classes included |
| `"sum"` | sum of weighted values |
| `"none"` (or None) | the weighted values, 0 where masked |
"""

from __future__ import annotations

import math
from typing import NamedTuple

from multiloss._boundary import align_weights
from multiloss._errors import ArgumentError, unknown_name
from multiloss._typing import DType, Shape, Tensor
from multiloss.dispatch import K

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none")


def standardize_reduction(reduction: object) -> str:
    """Return the name of a reduction: a string, None ("none"), or Keras 2's `Reduction.SUM`; "auto" is its default.

    Raises:
        UnknownNameError: for anything else.
    """
    name = "none" if reduction is None else getattr(reduction, "value", reduction)
    if isinstance(name, str) and name.lower() in (*REDUCTIONS, "auto"):
        return "sum_over_batch_size" if name.lower() == "auto" else name.lower()
    raise unknown_name("reduction", reduction, REDUCTIONS)


class Selection(NamedTuple):
    """Which samples count, and how much; each aligned with the per-sample values or None for all alike."""

    weights: Tensor = None
    """0 where nothing counts."""
    counted: Tensor = None
    """What the mask lets through: the number of values that a mean divides by."""
    computed: Tensor = None
    """What must be computed at all: counted, with a weight other than 0."""
    divisor: Tensor = None
    """What a weighted mean divides by, where that is not the weights: values that are weighted already, by their classes."""


class ByClass(NamedTuple):
    """What the labels of samples say about them; each of the shape of the samples, or None for all alike."""

    kept: Tensor = None
    """Which are not ignored: they narrow the mask."""
    weight: Tensor = None
    """How much they weigh by their classes, which their values hold already."""
    present: Tensor = None
    """Which must be computed, as far as their class weights go."""


ALIKE = ByClass()


def select(sample_weight: Tensor, mask: Tensor, shape: Shape, dtype: str, by_class: ByClass = ALIKE) -> Selection:
    """Align weights and mask with per-sample values of `shape`."""
    if mask is not None:
        mask = align_weights(mask, shape, "mask")
        mask = mask if K.dtype(mask) == "bool" else mask != 0
        mask = K.broadcast_to(mask, shape)
    if by_class.kept is not None:
        mask = by_class.kept if mask is None else mask & by_class.kept
    computed, weights, divisor = mask, None, by_class.weight
    if sample_weight is not None:
        weights = K.broadcast_to(K.cast(align_weights(sample_weight, shape), dtype), shape)
        computed = weights != 0 if mask is None else (weights != 0) & mask
        weights = K.where(computed, weights, 0.0)
    if divisor is not None:
        divisor = divisor if computed is None else K.where(computed, divisor, 0.0)
        divisor = divisor if weights is None else divisor * weights
    if by_class.present is not None:
        computed = by_class.present if computed is None else computed & by_class.present
        weights = weights if weights is None else K.where(by_class.present, weights, 0.0)
    return Selection(weights, mask, computed, divisor)


def keep(computed: Tensor, x: Tensor, fill: float, axis: int | None = None) -> Tensor:
    """Return `x` with `fill` where a sample is not computed, so that nothing of it reaches value or gradient.

    `axis` is the one that `x` has and `computed` has not; without it, axes are appended at the end.
    """
    if axis is not None and x.ndim == computed.ndim + 1:
        computed = K.expand_dims(computed, axis)
    elif x.ndim > computed.ndim:
        computed = K.reshape(computed, tuple(computed.shape) + (1,) * (x.ndim - computed.ndim))
    return K.where(computed, x, fill)


def partial(values: Tensor, selection: Selection, reduction: str) -> tuple[Tensor, Tensor]:
    """Return numerator and denominator of the reduced value; both add up over parts of a batch."""
    weighted = values if selection.weights is None else values * selection.weights
    count = divisor(selection, reduction, values.shape, K.dtype(values))
    return K.sum(weighted), K.full((), count, like=values) if isinstance(count, int) else count


def divisor(selection: Selection, reduction: str, shape: Shape, dtype: DType) -> Tensor | int:
    """Return what the sum of values of `shape` is divided by: a scalar tensor, or the number of all values."""
    if reduction == "mean_with_sample_weight":
        weights = selection.weights if selection.divisor is None else selection.divisor
        if weights is not None:
            return K.sum(weights)
    if selection.counted is not None:
        return K.cast(K.sum(selection.counted), dtype)
    return math.prod(shape)


def reduce(values: Tensor, selection: Selection, reduction: str) -> Tensor:
    """Return the reduced value. The mean of nothing is 0."""
    alike = selection.divisor is None or reduction != "mean_with_sample_weight"
    if selection.weights is None and selection.counted is None and alike:
        return reduce_alike(values, reduction)
    if reduction == "none":
        return values if selection.weights is None else values * selection.weights
    if reduction == "sum":
        return K.sum(values if selection.weights is None else values * selection.weights)
    total, weight = partial(values, selection, reduction)
    return K.divide_no_nan(total, weight)


def reduce_alike(values: Tensor, reduction: str) -> Tensor:
    """Return the reduced value of samples that all count, and alike. The mean of nothing is 0."""
    if reduction == "none" or not values.ndim:
        return values
    return K.sum(values) if reduction == "sum" or 0 in values.shape else K.mean(values)


def reject_batchwise_weights(sample_weight: Tensor, mask: Tensor, name: str) -> None:
    """Raise if weights or a mask per sample meet a loss that has one value for the whole batch."""
    for what, given in (("sample_weight", sample_weight), ("mask", mask)):
        if given is not None and given.ndim:
            raise ArgumentError(
                f"{name} returned one value for the whole batch, and {what} of shape {tuple(given.shape)} cannot act on "
                f"it. Return one value per sample from call(), or pass a scalar {what}."
            )
