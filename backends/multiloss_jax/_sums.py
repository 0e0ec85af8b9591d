"""Sums, means and norms, and what is often summed, in forms that XLA turns into one pass over the memory of a CPU.

XLA hands a sum to a library together with the elementwise operations before it, and then nothing that large is written:
`huber` takes 4 ms instead of 50. Four things prevent that, or make it slow, and are avoided here (measured with jaxlib 0.10):

* an operation after the sum, such as the division of a mean, which joins them and makes the whole slower. A
  `reduce_precision` to the precision that the sum has anyway keeps it out, and changes no value;
* operations that the library lacks, of which a clamp is one, and what `min(max(x, low), high)` becomes (`_extrema`);
* intermediate results that two sums share, which are written for both;
* axes of size 1 in the result of a sum, which is then added up term by term: a single row of 50000, or each pixel of images of
  one. It takes up to four times as long, and what is small beside one large term loses its digits.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from multiloss._typing import Axis

_finfo: Any = jnp.finfo  # whose types JAX leaves out; NumPy's knows no bfloat16

_MANY = 1 << 12
"""Numbers whose loop takes longer than calling it. Fewer are best left alone: what XLA takes for cheap it computes at once,
and hands the rest to another thread."""


def has_at_least(count: int, x: jax.Array) -> bool:
    """Whether there are so many numbers, or may be: a program that is exported may leave sizes open."""
    return not isinstance(x.size, int) or x.size >= count


def _is_long_loop(x: jax.Array) -> bool:
    """Whether there is much to compile: operations on arrays are compiled one by one."""
    floats = isinstance(x, jax.core.Tracer) and x.dtype in (jnp.float32, jnp.float64)
    return floats and has_at_least(_MANY, x)


def completed(total: jax.Array) -> jax.Array:
    """Return floats as they are, in an operation of their own."""
    held = np.finfo(total.dtype)
    return jax.lax.reduce_precision(total, held.nexp, held.nmant)


def sum_of(x: jax.Array, axis: Axis, keepdims: bool) -> jax.Array:
    """Return `sum(x)` over an axis or several."""
    if not _is_long_loop(x):
        return jnp.sum(x, axis, keepdims=keepdims)
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    summed = {each % x.ndim for each in axes}
    single = {each for each, size in enumerate(x.shape) if isinstance(size, int) and size == 1}
    if single <= summed:
        return completed(jnp.sum(x, axis, keepdims=keepdims))
    shape = jax.eval_shape(functools.partial(jnp.sum, axis=axis, keepdims=keepdims), x).shape  # raises for a wrong axis
    return completed(jnp.sum(x, tuple(summed | single)).reshape(shape))


def mean_of(x: jax.Array, axis: Axis, keepdims: bool) -> jax.Array:
    """Return `mean(x)` over an axis or several."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    count = math.prod(x.shape[each] for each in axes)
    if not count or not _is_long_loop(x):
        return jnp.mean(x, axis, keepdims=keepdims)
    return sum_of(x, axis, keepdims) / count


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def unit_vectors(x: jax.Array, axis: Axis) -> jax.Array:
    """Return `x` divided by its Euclidean norm over `axis`, as the interface describes it."""
    scale, norm = _norm(x, axis)
    return x * completed(scale) / norm  # another factor than that of the squares: their product is not written


@unit_vectors.defjvp
def _unit_vectors_jvp(axis: Axis, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    scale, norm = _norm(x, axis)
    unit = unit_vectors(x, axis)
    tangent = tangent * scale
    return unit, (tangent - unit * sum_of(unit * tangent, axis, True)) / norm


def _norm(x: jax.Array, axis: Axis) -> tuple[jax.Array, jax.Array]:
    """Return a factor that makes the largest magnitude over `axis` about 1, and the norm of that, infinite if it is 0.

    The factor is neither infinite nor so small that it counts as 0. It may be rounded: what is divided by has it, too.
    """
    tiny = float(_finfo(x.dtype).tiny)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis, keepdims=True))
    scale = jnp.where(largest == 0, 1.0, 1.0 / jnp.clip(largest, tiny, 1.0 / tiny))
    squared = sum_of(jnp.square(x * scale), axis, True)
    return scale, jnp.sqrt(jnp.where(squared == 0, jnp.inf, squared))
