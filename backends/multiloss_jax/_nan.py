"""Maxima and minima in which nan stays nan.

XLA drops it on a CPU (jaxlib 0.10): where a maximum of elements is followed by a sum, in one loop, and where a sum's place is
taken by the largest or the smallest, from 4096 numbers on. A prediction of nan then costs a plausible number. The sign of nan is
nan, and zero times the sign of anything else is 0: added, it restores what is lost in the same loop.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

_FEW = 1 << 10
"""Numbers of which XLA drops none for certain."""


def is_many(x: Any) -> bool:
    """Whether these are floats, and so many that nan might get lost."""
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating) and has_at_least(_FEW, x)


def has_at_least(count: int, x: jax.Array) -> bool:
    """Whether there are so many, or may be: a program that is exported may leave sizes open."""
    return not isinstance(x.size, int) or x.size >= count


def marked(found: jax.Array, *given: Any) -> jax.Array:
    """Return what was found for each element, with nan where one of the tensors given has it."""
    for x in given:
        if isinstance(x, jax.core.Tracer) and is_many(x):  # operations on arrays are loops of their own
            found = found + 0.0 * jnp.sign(x)
    return found


def maximum(x: Any, y: Any, /) -> jax.Array:
    """Return the larger of each two elements."""
    return marked(jnp.maximum(x, y), x, y)


def minimum(x: Any, y: Any, /) -> jax.Array:
    """Return the smaller of each two elements."""
    return marked(jnp.minimum(x, y), x, y)
