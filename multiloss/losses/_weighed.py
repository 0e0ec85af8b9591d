"""Reducing a loss whose operation takes the weights of its rows, and may add the rows up itself.

Everything that a row counts for is known before the operation: its weight, whether it is there at all, whether its label is
one of the classes, and what a mean divides by. With all of that in one weight per row, the operation can leave rows out
without a copy, and write each gradient once, as it must be in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from multiloss._typing import DType, Shape, Tensor
from multiloss.dispatch import K
from multiloss.losses._reduction import Selection, divisor

_NAN = float("nan")


class Weighed(NamedTuple):
    """An operation with its operands, and what its rows count for."""

    operation: Callable[[Tensor, bool], Tensor]
    """Takes a weight for each row, or a number, or None, and whether to return their sum."""
    selection: Selection
    in_range: Tensor
    """Where labels are in range; None if that is known already."""
    shape: Shape
    """That of the values."""
    dtype: DType
    """That of the values."""
    like: Tensor
    """Where weights are made."""

    def values(self) -> Tensor:
        """Return one value per row, 0 where a row does not count."""
        return self.operation(self._weights(self.selection.computed), False)

    def reduce(self, reduction: str) -> Tensor:
        """Return the reduced value; see `multiloss.losses._reduction.reduce`."""
        weights = self.selection.weights if self.selection.weights is not None else self.selection.computed
        if reduction == "none":
            return self.operation(self._weights(weights), False)
        if reduction == "sum":
            return self.operation(self._weights(weights), True)
        count = divisor(self.selection, reduction, self.shape, self.dtype)
        if not isinstance(count, int):
            weights = K.ones_like(count, self.dtype) if weights is None else K.cast(weights, self.dtype)
            return self.operation(self._weights(K.divide_no_nan(weights, count)), True)
        share = 1.0 / max(count, 1)
        if weights is None and self.in_range is None:
            return self.operation(share, True)
        weights = self._weights(weights)
        return self.operation(weights * share, True)

    def partial(self, reduction: str) -> tuple[Tensor, Tensor]:
        """Return numerator and denominator of the reduced value."""
        count = divisor(self.selection, reduction, self.shape, self.dtype)
        if isinstance(count, int):
            count = K.full((), count, dtype=self.dtype, like=self.like)
        return self.reduce("sum"), count

    def _weights(self, weights: Tensor) -> Tensor:
        """Return weights in the dtype of the values, nan for rows that count and whose labels are out of range; None for 1."""
        weights = weights if weights is None else K.cast(weights, self.dtype)
        if self.in_range is None:
            return weights
        known = K.where(self.in_range, K.ones_like(self.in_range, self.dtype), _NAN)
        return known if weights is None else K.where(weights != 0, weights * known, 0.0)
