"""Functions with derivatives of our own: where autograd has none, breaks the rules of the interface, or is slow.

The derivative of a primitive is made of primitives, so it can be differentiated again. That of a cross-entropy is not: it
is one array, and stands only where nobody differentiates it (see `AutogradBackend`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vjps import unbroadcast_f
from autograd.tracer import getval
from multiloss._typing import Axis
from multiloss.interface import EPSILON, TINY

from multiloss_numpy._backend import NumpyBackend

Array = Any
Pullback = Callable[[Array], Array]
_numpy = NumpyBackend()


def strip(x: Any) -> Any:
    """Return the array inside a box, inside however many nested boxes."""
    while isinstance(x, ArrayBox):
        x = getval(x)
    return x


# ── Elementwise ─────────────────────────────────────────────────────────────────────────────────────────────────


@primitive
def sqrt(x: Array) -> Array:
    return np.sqrt(x)


def _sqrt_vjp(ans: Array, x: Array) -> Pullback:
    positive = x > 0
    return lambda g: where(positive, g * 0.5 / sqrt(where(positive, x, 1.0)), 0.0)


defvjp(sqrt, _sqrt_vjp)

absolute: Callable[..., Any] = primitive(np.abs)
defvjp(absolute, lambda ans, x: lambda g: g * anp.sign(x))

where: Callable[..., Any] = primitive(_numpy.where)
defvjp(
    where,
    lambda ans, condition, x, y: unbroadcast_f(x, lambda g: where(condition, g, 0.0)),
    lambda ans, condition, x, y: unbroadcast_f(y, lambda g: where(condition, 0.0, g)),
    argnums=(1, 2),
)

clip: Callable[..., Any] = primitive(_numpy.clip)


def _clip_vjp(ans: Array, x: Array, low: float | None, high: float | None) -> Pullback:
    x = strip(x)
    outside = x > np.inf  # nowhere
    if low is not None:
        outside |= x < low
    if high is not None:
        outside |= x > high
    return lambda g: where(outside, 0.0, g)


defvjp(clip, _clip_vjp, argnums=(0,))


def _share(x: Array, y: Array) -> Pullback:
    """Return the way back to `x` from the larger of `x` and `y`: half of it at a tie."""
    x, y = strip(x), strip(y)
    halves = np.add((x > y), (x >= y), dtype=np.int8)
    return lambda g: (0.5 * g) * halves


maximum: Callable[..., Any] = primitive(_numpy.maximum)
minimum: Callable[..., Any] = primitive(_numpy.minimum)
defvjp(
    maximum,
    lambda ans, x, y: unbroadcast_f(x, _share(x, y)),
    lambda ans, x, y: unbroadcast_f(y, _share(y, x)),
)
defvjp(
    minimum,
    lambda ans, x, y: unbroadcast_f(x, _share(-strip(x), -strip(y))),
    lambda ans, x, y: unbroadcast_f(y, _share(-strip(y), -strip(x))),
)


# ── Reductions and selections ───────────────────────────────────────────────────────────────────────────────────

total: Callable[..., Any] = primitive(_numpy.sum)


def _total_vjp(ans: Array, x: Array, axis: Axis, keepdims: bool) -> Pullback:
    shape = np.shape(strip(x))
    if axis is None:
        return lambda g: anp.reshape(g, (1,) * len(shape)) * np.ones(shape, np.result_type(strip(g)))
    reduced = {each % len(shape) for each in ((axis,) if isinstance(axis, int) else axis)}
    kept = tuple(1 if each in reduced else size for each, size in enumerate(shape))
    return lambda g: anp.broadcast_to(anp.reshape(g, kept), shape)  # a view: what comes next reads it from the cache


defvjp(total, _total_vjp, argnums=(0,))


@primitive
def take_along_axis(x: Array, indices: Array, axis: int) -> Array:
    return np.take_along_axis(x, indices, axis)


@primitive
def _add_along_axis(values: Array, indices: Array, axis: int, shape: tuple[int, ...]) -> Array:
    """Return zeros of `shape` with `values` added at `indices` along `axis`: the transpose of `take_along_axis`."""
    result = np.zeros(shape, values.dtype)
    if indices.shape[axis] == 1:  # nothing can repeat: a plain assignment does, and is many times faster
        np.put_along_axis(result, indices, values, axis)
        return result
    grid = list(np.ogrid[tuple(slice(size) for size in indices.shape)])
    grid[axis] = indices
    np.add.at(result, tuple(grid), values)
    return result


defvjp(
    take_along_axis,
    lambda ans, x, indices, axis: lambda g: _add_along_axis(g, indices, axis, x.shape),
    argnums=(0,),
)
defvjp(
    _add_along_axis,
    lambda ans, values, indices, axis, shape: lambda g: take_along_axis(g, indices, axis),
    argnums=(0,),
)

segment_sum: Callable[..., Any] = primitive(_numpy.segment_sum)
defvjp(segment_sum, lambda ans, x, segments, num_segments: lambda g: g[segments], argnums=(0,))


# ── Cross-entropies: value and slope of the formula, each in one go ─────────────────────────────────────────────

binary_crossentropy: Callable[..., Any] = primitive(_numpy.binary_crossentropy)


def _binary_vjp(ans: Array, target: Array, output: Array, from_logits: bool) -> Pullback:
    slope = _slope_by_logit(target, output) if from_logits else _slope_by_probability(target, output)
    return lambda g: g * slope


def _slope_by_probability(target: Array, output: Array) -> Array:
    p = np.clip(output, EPSILON, 1.0 - EPSILON)
    kept = p == output
    variance = 1.0 - p
    variance *= p
    slope = np.subtract(p, target, out=p)
    slope /= variance
    slope *= kept
    return slope


def _slope_by_logit(target: Array, output: Array) -> Array:
    # sigmoid(x) - target by the side on which nothing cancels, with s = sigmoid(-|x|).
    odds = np.exp(-np.abs(output))
    s = odds / (1.0 + odds)
    return _numpy.where(output < 0, s - target, (1.0 - target) - s)


defvjp(binary_crossentropy, _binary_vjp, argnums=(1,))

categorical_crossentropy: Callable[..., Any] = primitive(_numpy.categorical_crossentropy)


def _divisor(output: Array, axis: int) -> tuple[Array, Array]:
    """Return what probabilities are divided by, and the derivative of that by their sum."""
    found = _numpy.sum(output, axis, True)
    return np.maximum(found, TINY), found >= TINY


def _categorical_vjp(ans: Array, target: Array, output: Array, from_logits: bool, axis: int) -> Pullback:
    divisor, varies = _divisor(output, axis)
    q = output / divisor
    clipped = np.clip(q, EPSILON, 1.0 - EPSILON)
    kept = np.equal(clipped, q, out=q)  # 1 and 0
    kept *= target
    mass = _numpy.sum(kept, axis, True) * varies
    slope = np.divide(kept, clipped, out=kept)
    np.subtract(mass, slope, out=slope)
    slope /= divisor
    return lambda g: anp.expand_dims(g, axis) * slope


defvjp(categorical_crossentropy, _categorical_vjp, argnums=(1,))

sparse_categorical_crossentropy: Callable[..., Any] = primitive(_numpy.sparse_categorical_crossentropy)


def _sparse_vjp(ans: Array, target: Array, output: Array, from_logits: bool, axis: int) -> Pullback:
    index = np.expand_dims(target, axis)
    divisor, varies = _divisor(output, axis)
    q = np.take_along_axis(output, index, axis) / divisor
    clipped = np.clip(q, EPSILON, 1.0 - EPSILON)
    kept = (clipped == q).astype(q.dtype)
    spread = kept / divisor * varies
    chosen = spread - kept / clipped / divisor

    def pullback(g: Array) -> Array:
        g = anp.expand_dims(g, axis)
        return _fill_rows(g * spread, g * chosen, index, axis, output.shape)

    return pullback


@primitive
def _fill_rows(others: Array, chosen: Array, index: Array, axis: int, shape: tuple[int, ...]) -> Array:
    """Return `others` along `axis`, and `chosen` at `index`."""
    result = np.empty(shape, others.dtype)
    result[...] = others
    np.put_along_axis(result, index, chosen, axis)
    return result


defvjp(
    _fill_rows,
    lambda ans, others, chosen, index, axis, shape: lambda g: total(g, axis, True) - take_along_axis(g, index, axis),
    lambda ans, others, chosen, index, axis, shape: lambda g: take_along_axis(g, index, axis),
    argnums=(0, 1),
)
defvjp(sparse_categorical_crossentropy, _sparse_vjp, argnums=(1,))
