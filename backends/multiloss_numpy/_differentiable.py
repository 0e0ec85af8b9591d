"""Cross-entropies of many classes as functions that autograd differentiates.

The gradient of a sum is written while the exponentials are in the cache, in the forward pass; that of a value per row has
to wait for what each is multiplied by. Derivatives of the gradient are those of the plain formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from autograd.extend import defvjp_argnums, primitive
from autograd.numpy.numpy_boxes import ArrayBox
from multiloss._errors import NotSupportedError
from multiloss.interface import CrossentropyOptions

from multiloss_numpy._crossentropy import Rows, flat_rows, summed
from multiloss_numpy._derivatives import strip
from multiloss_numpy._linear import Linear

Array = Any


def once_boxed(variables: Sequence[Any], constants: Sequence[Any]) -> bool:
    """Whether gradients are taken once, and of no other tensors than `variables`."""
    boxes = [each for each in variables if isinstance(each, ArrayBox)]
    nested = len({each._trace for each in boxes}) > 1 or any(isinstance(each._value, ArrayBox) for each in boxes)
    return not nested and not any(isinstance(each, ArrayBox) for each in constants)


def softmax_crossentropy(
    target: Array, logits: ArrayBox, row_weight: Array, total: bool, overwrite: bool, options: CrossentropyOptions
) -> Any:
    """Return what `Backend.softmax_crossentropy` does."""
    rows, flat = flat_rows(target, logits._value, row_weight, options)
    call = _FromLogits(rows, flat, total, overwrite, logits.shape)
    return _apply(call, logits)


def linear_crossentropy(linear: Linear, total: bool, hidden: Array, weight: Array, bias: Array) -> Any:
    """Return what `Backend.linear_crossentropy` does."""
    wanted = tuple(isinstance(each, ArrayBox) for each in (hidden, weight, bias))
    return _apply(_FromHidden(linear, total, wanted), hidden, weight, bias)


class _FromLogits:
    """One call of `softmax_crossentropy`."""

    def __init__(self, rows: Rows, logits: Array, total: bool, overwrite: bool, shape: tuple[int, ...]) -> None:
        self.rows, self.logits, self.total, self.shape = rows, logits, total, shape
        self.overwrite = overwrite and logits.flags.writeable and total and logits.base is not None
        self.slopes: Array = None

    def forward(self, logits: Array) -> Array:
        values = np.empty(len(self.logits), self.rows.dtype)
        if not self.total:
            self.rows.run(self.logits, values)
            return values.reshape(self.shape[:-1])
        self.overwrite = self.overwrite and np.shares_memory(self.logits, logits)
        self.slopes = self.logits if self.overwrite else np.empty(self.logits.shape, self.logits.dtype)
        self.rows.run(self.logits, values, self.slopes)
        return summed(values)

    def pull(self, upstream: Any, argnums: Sequence[int]) -> tuple[Any, ...]:
        if isinstance(upstream, ArrayBox):  # somebody differentiates by what the loss is multiplied by
            ones = np.ones(np.shape(strip(upstream)), self.rows.dtype)
            (slope,) = self.pull(ones, argnums)
            return ((upstream if self.total else upstream[..., None]) * slope,)
        slopes, self.slopes = self.slopes, None  # handed out: it may be changed there
        if slopes is not None:
            if upstream != 1:
                np.multiply(slopes, upstream, out=slopes, casting="unsafe", dtype=self.rows.dtype)
        elif self.overwrite:
            raise NotSupportedError(
                "The gradient of this cross-entropy was asked for twice, and it was written over the logits. Ask for it "
                "once, or leave overwrite=True out."
            )
        else:
            slopes = np.empty(self.logits.shape, self.logits.dtype)
            upstream = upstream if self.total else upstream.reshape(-1)
            self.rows.weighted(upstream).run(self.logits, np.empty(len(slopes), self.rows.dtype), slopes)
        return (slopes.reshape(self.shape),)


class _FromHidden:
    """One call of `linear_crossentropy`."""

    def __init__(self, linear: Linear, total: bool, wanted: tuple[bool, ...]) -> None:
        self.linear, self.total, self.wanted = linear, total, wanted
        self.slopes: list[Array] | None = None

    def forward(self, *tensors: Array) -> Array:
        linear = self.linear
        if not self.total:
            return linear.values().reshape(linear.lead)
        values, self.slopes = linear.values_and_slopes(linear.rows, self.wanted)
        return summed(values)

    def pull(self, upstream: Any, argnums: Sequence[int]) -> tuple[Any, ...]:
        if isinstance(upstream, ArrayBox):
            raise NotSupportedError(
                "The gradient of linear_crossentropy is not differentiable by what the loss is multiplied by. Multiply "
                "`row_weight` instead."
            )
        linear = self.linear
        slopes, self.slopes = self.slopes, None
        if slopes is None:
            upstream = upstream if self.total else upstream.reshape(-1)
            _, slopes = linear.values_and_slopes(linear.rows.weighted(upstream), self.wanted)
        elif upstream != 1:
            for each in slopes:
                if each is not None:
                    each *= upstream
        return tuple(linear.narrow(slopes)[each] for each in argnums)


_apply: Callable[..., Any] = primitive(lambda call, *tensors: call.forward(*tensors))


def _pullback(argnums: Sequence[int], ans: Array, args: tuple[Any, ...], kwargs: Any) -> Callable[[Any], Any]:
    call = args[0]
    return lambda g: call.pull(g, [each - 1 for each in argnums])


defvjp_argnums(_apply, _pullback)
