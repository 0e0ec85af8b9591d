"""Blocks: the second derivatives of each sample's value in the classes of a softmax, kept as vectors.

A block of K classes has K^2 entries, and is made of a few vectors of K: its diagonal and its bound are computed without it.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from multiloss._typing import Tensor
from multiloss.derivatives._shapes import Form, on_diagonal
from multiloss.dispatch import K
from multiloss.losses._classes import along


class Softmax(NamedTuple):
    """`diag(scaled) - scaled p^T` for each sample: the block of a cross-entropy."""

    scaled: Tensor
    """`p` times a number per sample."""
    p: Tensor

    def shaped(self, axis: int, form: Form) -> Tensor:
        """Return the blocks in a form, given the axis of the classes."""
        if form != "block":
            # The rows sum to 0 with one positive entry each, so their magnitudes sum to twice that.
            scaled = 2.0 * self.scaled if form == "bound" else self.scaled
            return scaled * (1.0 - self.p)
        scaled, p = _column(self.scaled, axis), _column(self.p, axis)
        block = -(scaled * _as_row(p))
        return K.where(on_diagonal(tuple(block.shape), block), scaled + block, block)


class Pairs(NamedTuple):
    """`diagonal` on the diagonal and `-(left p^T + p left^T)` beside it, for each sample.

    The diagonal is apart because it is the difference of numbers that may be much larger.
    """

    diagonal: Tensor
    left: Tensor
    p: Tensor

    def shaped(self, axis: int, form: Form) -> Tensor:
        """Return the blocks in a form, given the axis of the classes."""
        if form == "diagonal":
            return self.diagonal
        if form == "block":
            diagonal, left, p = (_column(each, axis) for each in self)
            block = -(left * _as_row(p) + p * _as_row(left))
            return K.where(on_diagonal(tuple(block.shape), block), diagonal + K.zeros_like(block), block)
        diagonal, left, p = (K.moveaxis(each, axis, -1) for each in self)
        total, classes = K.abs(diagonal), along(K.arange(p.shape[-1], like=p), -1, p.ndim)
        for k in range(p.shape[-1]):
            beside = K.abs(left * p[..., k : k + 1] + p * left[..., k : k + 1])
            total = total + beside * K.cast(classes != k, K.dtype(beside))
        return K.moveaxis(total, -1, axis)


Blocks: TypeAlias = Softmax | Pairs


def _column(x: Tensor, axis: int) -> Tensor:
    """Return the vectors along `axis` as matrices of one column, on the last two axes."""
    return K.expand_dims(K.moveaxis(x, axis, -1), -1)


def _as_row(columns: Tensor) -> Tensor:
    return K.moveaxis(columns, -1, -2)
