"""Maxima, minima and bounds in which nan stays nan.

XLA drops it on a CPU (jaxlib 0.10): where a maximum of elements is followed by a sum, in one loop, and where a sum's place is
taken by the largest or the smallest, from 4096 numbers on. A prediction of nan then costs a plausible number. The sign of nan is
nan, and zero times the sign of anything else is 0: added, it restores what is lost in the same loop.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from multiloss._typing import Axis

from multiloss_jax import _sums

_FEW = 1 << 10
"""Numbers of which XLA drops none for certain."""


def _is_many(x: Any) -> bool:
    """Whether these are floats, and so many that nan might get lost."""
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating) and _sums.has_at_least(_FEW, x)


def _marked(found: jax.Array, *given: Any) -> jax.Array:
    """Return what was found for each element, with nan where one of the tensors given has it."""
    for x in given:
        if isinstance(x, jax.core.Tracer) and _is_many(x):  # operations on arrays are loops of their own
            found = found + 0.0 * jnp.sign(x)
    return found


def maximum(x: Any, y: Any, /) -> jax.Array:
    """Return the larger of each two elements."""
    return _marked(jnp.maximum(x, y), x, y)


def minimum(x: Any, y: Any, /) -> jax.Array:
    """Return the smaller of each two elements."""
    return _marked(jnp.minimum(x, y), x, y)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def clip(x: jax.Array, low: float | None, high: float | None) -> jax.Array:
    """Return `min(max(x, low), high)`, by the maximum twice: of selects, too, the compiler makes slower loops.

    The derivative of JAX's maximum at the bounds is a half, and the interface wants 1.
    """
    found = x if low is None else jnp.maximum(x, low)
    return _marked(found if high is None else -jnp.maximum(-found, -high), x)


@clip.defjvp
def _clip_jvp(
    low: float | None, high: float | None, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    if low is not None:
        tangent = jnp.where(x < low, 0.0, tangent)
    if high is not None:
        tangent = jnp.where(x > high, 0.0, tangent)
    return clip(x, low, high), tangent


@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def largest(x: jax.Array, axis: Axis, keepdims: bool) -> jax.Array:
    """Return the largest over an axis or several; nan if there is any."""
    return jnp.max(x, axis, keepdims=keepdims) + _mark(x, axis, keepdims)


@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def smallest(x: jax.Array, axis: Axis, keepdims: bool) -> jax.Array:
    """Return the smallest over an axis or several; nan if there is any."""
    return jnp.min(x, axis, keepdims=keepdims) + _mark(x, axis, keepdims)


def _mark(x: jax.Array, axis: Axis, keepdims: bool) -> jax.Array:
    """Return nan where there is any over `axis`, and 0 elsewhere."""
    if not _is_many(x):
        return jnp.zeros((), x.dtype)
    signs = jnp.sign(x) if x.dtype.itemsize >= 4 else jnp.sign(x).astype(jnp.float32)  # half precision ends at 65504
    return (0.0 * _sums.sum_of(signs, axis, keepdims)).astype(x.dtype)
