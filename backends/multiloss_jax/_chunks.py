"""Chunks of rows of a cross-entropy of hidden states: their logits, what they cost, and gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from multiloss._typing import Tensor
from multiloss.interface import Options

from multiloss_jax import _crossentropy
from multiloss_jax._crossentropy import Part, capped, part_of, together, weigh_rows


class Operands(NamedTuple):
    """The tensors of one cross-entropy of hidden states, with one axis of rows."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor
    target: Tensor
    row_weight: Tensor
    class_weight: Tensor


class Plan(NamedTuple):
    """How a cross-entropy is computed."""

    options: Options
    group: Any
    """The name of the mesh axis that the classes are split over, or None."""
    total: bool
    rows: int
    """Rows of a chunk."""
    columns: int
    """Columns of a chunk, 0 for all."""


def varying(x: Tensor) -> frozenset[Any]:
    """Return the mesh axes over which a tensor varies inside `shard_map`, as far as JAX keeps account of it."""
    if not hasattr(jax.lax, "pcast"):
        return frozenset()
    kind: Any = jax.typeof(x)
    return frozenset(kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying)


def zeros_like(shape: tuple[int, ...], dtype: Any, like: Tensor) -> Tensor:
    """Return zeros that vary over the mesh axes that `like` does."""
    zeros = jnp.zeros(shape, dtype)
    axes = tuple(varying(like))
    return jax.lax.pcast(zeros, axes, to="varying") if axes else zeros


def logits_of(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    z = product(hidden, weight, 1, 1)
    return z if bias is None else z + bias.astype(z.dtype)[None, :]


def product(x: Tensor, y: Tensor, of_x: int, of_y: int) -> Tensor:
    """Return the product of matrices over an axis of each, in full precision."""
    dtype = jnp.result_type(x, y) if x.dtype == y.dtype else jnp.promote_types(x.dtype, y.dtype)
    x, y = x.astype(dtype), y.astype(dtype)
    full = jnp.float32 if dtype.itemsize < 4 else dtype
    return jax.lax.dot_general(x, y, (((of_x,), (of_y,)), ((), ())), preferred_element_type=full)


def _chunks(rows: int, size: int, xs: Any) -> Any:
    """Return arrays (chunks, n, ...) of those of `rows` rows, with rows of zeros at the end.

    A chunk takes every so many-th row: of rows split over devices each device has its part of every chunk.
    """
    count = max(1, -(-rows // size))
    each = -(-rows // count)

    def chunked(x: Tensor) -> Tensor:
        x = jnp.pad(x, ((0, count * each - rows),) + ((0, 0),) * (x.ndim - 1))
        return x.reshape(each, count, *x.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(chunked, xs)


def _rows_of(chunked: Tensor, rows: int) -> Tensor:
    """Return (rows, ...) from chunks of them."""
    return chunked.swapaxes(0, 1).reshape(-1, *chunked.shape[2:])[:rows]


def in_rows(plan: Plan, given: Operands) -> Tensor:
    rows = given.hidden.shape[0]
    xs = (given.hidden, given.target, given.row_weight)
    if rows <= plan.rows:
        return _chunk_values(plan, given, *xs)
    _, values = jax.lax.scan(
        lambda carry, x: (carry, _chunk_values(plan, given, *x)), None, _chunks(rows, plan.rows, xs)
    )
    return _rows_of(values, rows)


def _chunk_values(plan: Plan, given: Operands, hidden: Tensor, target: Tensor, row_weight: Tensor) -> Tensor:
    dead = None if row_weight is None else row_weight == 0
    z = logits_of(alive(hidden, dead), given.weight, given.bias)
    return weigh_rows(_of_logits(plan, given, z, target, dead), row_weight)


def alive(hidden: Tensor, dead: Tensor) -> Tensor:
    """Return hidden states without those that reach nothing: 0 * nan would reach the gradient of the weights."""
    return hidden if dead is None else jnp.where(dead[:, None], 0.0, hidden)


def _of_logits(plan: Plan, given: Operands, z: Tensor, target: Tensor, dead: Tensor) -> Tensor:
    """Return (n,): what rows cost whose logits, or whose part of them in a group, are these."""
    options = plan.options
    if plan.group is None:
        return _crossentropy.losses(target, capped(z, dead, options), dead, given.class_weight, options)
    parts, masses = _gathered(plan, given, _own_part(plan, given, z, target, dead))
    return of_parts(plan, given, parts, masses, target)


def _gathered(plan: Plan, given: Operands, own: Part) -> tuple[Part, Tensor]:
    """Return the parts of all devices (devices, n), and the sums (devices,) of the weights of their classes."""
    gathered = jax.lax.all_gather(jnp.stack(own), plan.group)  # one message
    parts = Part(*(gathered[:, each] for each in range(len(own))))
    count, columns = gathered.shape[0], given.weight.shape[0]
    if given.class_weight is None:
        return parts, jnp.full((count,), columns, gathered.dtype)
    return parts, given.class_weight.astype(gathered.dtype).reshape(count, columns).sum(-1)


def _own_part(plan: Plan, given: Operands, z: Tensor, target: Tensor, dead: Tensor) -> Part:
    """Return what has to be known of the columns that this device has."""
    first = jax.lax.axis_index(plan.group) * z.shape[-1]
    weight = given.class_weight
    if weight is not None:
        weight = jax.lax.dynamic_slice_in_dim(weight, first, z.shape[-1]).astype(z.dtype)
    z = capped(z, dead, plan.options)
    return part_of(z, target - first.astype(target.dtype), dead, weight, plan.options)


def of_parts(plan: Plan, given: Operands, parts: Part, masses: Tensor, target: Tensor) -> Tensor:
    """Return (n,): what rows cost, given all parts (parts, n) and the sums of the weights of their classes."""
    devices = 1 if plan.group is None else jax.lax.axis_size(plan.group)
    weight = None if given.class_weight is None else given.class_weight.astype(parts.rest.dtype)
    found = together(parts, masses)
    return _crossentropy.losses_of(found, target, weight, given.weight.shape[0] * devices, plan.options)


def in_rows_with_slopes(
    plan: Plan, given: Operands, upstream: Tensor, wanted: Operands
) -> tuple[Tensor, tuple[Any, ...]]:
    """Return (N,), and the gradients of their sum for hidden states, weights and bias, as wanted, in full precision.

    `upstream` (N,), if any, is what the values are multiplied by before they are added.
    """
    rows = given.hidden.shape[0]
    factor, scale = factors(given, upstream)
    xs = (given.hidden, given.target, given.row_weight, factor)

    def chunk(carry: Any, x: Any) -> tuple[Any, Any]:
        values, of_hidden, added = _chunk_slopes(plan, given, wanted, *x)
        return jax.tree.map(jnp.add, carry, added), (values, of_hidden)

    if rows <= plan.rows:
        values, of_hidden, (of_weight, of_bias) = _chunk_slopes(plan, given, wanted, *xs)
    else:
        full = full_dtype(given)
        zeros = (
            zeros_like(given.weight.shape, full, given.hidden) if wanted.weight else None,
            zeros_like(given.weight.shape[:1], full, given.hidden) if wanted.bias else None,
        )
        (of_weight, of_bias), (values, of_hidden) = jax.lax.scan(chunk, zeros, _chunks(rows, plan.rows, xs))
        values = _rows_of(values, rows)
        of_hidden = None if of_hidden is None else _rows_of(of_hidden, rows)
    slopes = (of_hidden, of_weight, of_bias)
    return values, slopes if scale is None else tuple(None if each is None else each * scale for each in slopes)


def full_dtype(given: Operands) -> Any:
    """Return the dtype that products are added in."""
    dtype = jnp.promote_types(given.hidden.dtype, given.weight.dtype)
    return jnp.dtype(jnp.float32) if dtype.itemsize < 4 else dtype


def factors(given: Operands, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N,): what gradients are multiplied by before the products, and a number for after them.

    In half precision most of a gradient divided by the number of rows would be 0.
    """
    full, rows = full_dtype(given), given.hidden.shape[0]
    factor = None if given.row_weight is None else given.row_weight.astype(full)
    if upstream is not None:
        upstream = upstream.astype(full)
        factor = upstream if factor is None else jnp.where(factor == 0, 0.0, factor * upstream)
    if factor is None:
        return zeros_like((rows,), full, given.hidden) + 1.0, None
    if given.hidden.dtype.itemsize >= 4 or rows == 0:
        return factor, None
    scale = jnp.max(jnp.abs(factor))
    scale = jnp.where(jnp.isfinite(scale) & (scale > 0), scale, 1.0)
    return factor / scale, scale


def _chunk_slopes(
    plan: Plan, given: Operands, wanted: Operands, hidden: Tensor, target: Tensor, row_weight: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor, tuple[Any, Any]]:
    dead = None if row_weight is None else row_weight == 0
    hidden = alive(hidden, dead)
    z = logits_of(hidden, given.weight, given.bias)
    values, dz = _with_slope(plan, given, z, target, dead, factor)
    narrow = dz.astype(hidden.dtype)
    of_hidden = product(narrow, given.weight, 1, 0) if wanted.hidden else None
    of_weight = product(narrow, hidden, 0, 0) if wanted.weight else None
    return weigh_rows(values, row_weight), of_hidden, (of_weight, jnp.sum(dz, 0) if wanted.bias else None)


def _with_slope(
    plan: Plan, given: Operands, z: Tensor, target: Tensor, dead: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what rows cost, and the gradient for the logits of their costs times factors."""
    if plan.group is None:
        values, pull = jax.vjp(lambda z: _of_logits(plan, given, z, target, dead), z)
    else:
        group = plan.group
        parts, masses = _gathered(plan, given, _own_part(plan, given, z, target, dead))
        place = jax.lax.axis_index(group)

        def of_own(z: Tensor) -> Tensor:  # the gradient for the logits here needs nothing more from the other devices
            own = placed(parts, _own_part(plan, given, z, target, dead), place)
            return of_parts(plan, given, own, masses, target)

        values, pull = jax.vjp(of_own, z)
    return values, pull(factor if dead is None else jnp.where(dead, 0.0, factor))[0]


def placed(parts: Part, own: Part, place: Tensor) -> Part:
    return Part(
        *(jax.lax.dynamic_update_index_in_dim(all_, one, place, 0) for all_, one in zip(parts, own, strict=True))
    )
