"""Strips of columns of a cross-entropy of hidden states: logits of all rows for some classes at a time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from multiloss._typing import Tensor

from multiloss_jax._chunks import (
    Operands,
    Plan,
    alive,
    factors,
    full_dtype,
    logits_of,
    of_parts,
    placed,
    product,
    zeros_like,
)
from multiloss_jax._crossentropy import Part, capped, part_of, weigh_rows


def in_columns(plan: Plan, given: Operands) -> Tensor:
    parts, masses = _parts_of_columns(plan, given)
    return weigh_rows(of_parts(plan, given, parts, masses, given.target), given.row_weight)


def _parts_of_columns(plan: Plan, given: Operands) -> tuple[Part, Tensor]:
    """Return the parts (parts, N) of all columns, and the sums (parts,) of the weights of their classes."""
    count, _ = _strips(plan, given)

    def strip(carry: None, index: Tensor) -> tuple[None, tuple[Tensor, Tensor]]:
        part, mass = _part_of_strip(plan, given, index, _logits_of_strip(plan, given, index))
        return carry, (jnp.stack(part), mass)

    _, (stacked, masses) = jax.lax.scan(strip, None, jnp.arange(count))
    if plan.group is not None:
        stacked = jax.lax.all_gather(stacked, plan.group, tiled=True)
        masses = jax.lax.all_gather(masses, plan.group, tiled=True)
    return Part(*(stacked[:, each] for each in range(stacked.shape[1]))), masses


def _strips(plan: Plan, given: Operands) -> tuple[int, int]:
    """Return how many strips of columns there are, and how wide they are. The last one overlaps with the one before it."""
    columns = given.weight.shape[0]
    count = -(-columns // plan.columns)
    return count, -(-columns // count)


def _start(plan: Plan, given: Operands, index: Tensor) -> Tensor:
    _, width = _strips(plan, given)
    return jnp.minimum(index * width, given.weight.shape[0] - width)


def _strip_of(plan: Plan, given: Operands, index: Tensor, x: Tensor) -> Tensor:
    """Return what a strip has of an array (V, ...)."""
    _, width = _strips(plan, given)
    return jax.lax.dynamic_slice_in_dim(x, _start(plan, given, index), width)


def _logits_of_strip(plan: Plan, given: Operands, index: Tensor) -> Tensor:
    dead = None if given.row_weight is None else given.row_weight == 0
    bias = None if given.bias is None else _strip_of(plan, given, index, given.bias)
    return logits_of(alive(given.hidden, dead), _strip_of(plan, given, index, given.weight), bias)


def _part_of_strip(plan: Plan, given: Operands, index: Tensor, z: Tensor) -> tuple[Part, Tensor]:
    (count, width), options = _strips(plan, given), plan.options
    dead = None if given.row_weight is None else given.row_weight == 0
    z = capped(z, dead, options)
    start = _start(plan, given, index)
    twice = index * width - start  # columns that the strip before has too
    columns = given.weight.shape[0]
    first = 0 if plan.group is None else jax.lax.axis_index(plan.group) * columns
    label = given.target - (start + first).astype(given.target.dtype)
    weight = None
    if given.class_weight is not None:
        weight = jax.lax.dynamic_slice_in_dim(given.class_weight, start + first, width).astype(z.dtype)
    if count * width != columns:
        place = jnp.arange(width)
        weight = jnp.where(place < twice, 0.0, jnp.ones((width,), z.dtype) if weight is None else weight)
        z = jnp.where((place < twice)[None, :], -jnp.inf, z)
        label = jnp.where(label < twice.astype(label.dtype), -1, label)
    mass = jnp.full((), width, z.dtype) if weight is None else jnp.sum(weight)
    return part_of(z, label, dead, weight, options), mass


def in_columns_with_slopes(
    plan: Plan, given: Operands, upstream: Tensor, wanted: Operands
) -> tuple[Tensor, tuple[Any, ...]]:
    """Return what `in_rows_with_slopes` does."""
    dead = None if given.row_weight is None else given.row_weight == 0
    parts, masses = _parts_of_columns(plan, given)
    count, _ = _strips(plan, given)
    factor, scale = factors(given, upstream)
    factor = factor if dead is None else jnp.where(dead, 0.0, factor)
    hidden, full = alive(given.hidden, dead), full_dtype(given)
    ahead = 0 if plan.group is None else jax.lax.axis_index(plan.group) * count

    def strip(carry: Any, index: Tensor) -> tuple[Any, None]:
        def of_own(z: Tensor) -> Tensor:
            own, _ = _part_of_strip(plan, given, index, z)
            return of_parts(plan, given, placed(parts, own, index + ahead), masses, given.target)

        _, pull = jax.vjp(of_own, _logits_of_strip(plan, given, index))
        dz = pull(factor)[0]
        narrow = dz.astype(hidden.dtype)
        of_hidden, of_weight, of_bias = carry
        if wanted.hidden:
            of_hidden = of_hidden + product(narrow, _strip_of(plan, given, index, given.weight), 1, 0)
        if wanted.weight:
            of_weight = _added(plan, given, index, of_weight, product(narrow, hidden, 0, 0))
        if wanted.bias:
            of_bias = _added(plan, given, index, of_bias, jnp.sum(dz, 0))
        return (of_hidden, of_weight, of_bias), None

    shapes = (hidden.shape, given.weight.shape, given.weight.shape[:1])
    wants = (wanted.hidden, wanted.weight, wanted.bias)
    zeros = tuple(zeros_like(shape, full, hidden) if want else None for shape, want in zip(shapes, wants, strict=True))
    slopes, _ = jax.lax.scan(strip, zeros, jnp.arange(count))
    slopes = slopes if scale is None else tuple(None if each is None else each * scale for each in slopes)
    return weigh_rows(of_parts(plan, given, parts, masses, given.target), given.row_weight), slopes


def _added(plan: Plan, given: Operands, index: Tensor, whole: Tensor, part: Tensor) -> Tensor:
    """Return `whole` with a strip's part added."""
    part = part + _strip_of(plan, given, index, whole)
    return jax.lax.dynamic_update_slice_in_dim(whole, part, _start(plan, given, index), 0)
