"""Cross-entropy of hidden states on JAX: a chunk of rows has its logits, its gradient and its products, then the next.

The gradient of a sum is taken in the forward pass, where the logits are: three products of matrices. That of a value per
row has to wait for what each is multiplied by, and needs the logits once more. Where the budget holds only a few rows of
logits, chunks are columns: no weight is read twice, but all logits are computed twice.

Forward mode does not go through here (`jax.custom_vjp`): take `softmax_crossentropy` of the logits for it. Gradients of
gradients do.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from multiloss._errors import NotSupportedError
from multiloss._typing import Tensor

from multiloss_jax import _crossentropy
from multiloss_jax._crossentropy import Options, Part, capped, part_of, together, weigh_rows

_ROWS = {"cpu": 512}
"""Rows that have their logits at a time. With fewer, reading the weights once more for each chunk is what takes the time."""

_ROWS_ELSEWHERE = 4096

_FEWEST_ROWS, _FEWEST_COLUMNS = 256, 512
"""What a chunk must have for its products to be worth it: with fewer rows chunks are columns, if there are so many."""


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
    total: bool
    rows: int
    """Rows of a chunk."""
    columns: int
    """Columns of a chunk, 0 for all."""


@partial(jax.jit, static_argnames=("total", "options", "memory_budget"), inline=True)
def linear_crossentropy(
    target: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    row_weight: Tensor,
    class_weight: Tensor,
    total: bool,
    options: Options,
    memory_budget: int | None,
) -> Tensor:
    """Return what `Backend.linear_crossentropy` does."""
    lead, (columns, width) = hidden.shape[:-1], weight.shape
    rows, sparse = int(np.prod(lead)), target.ndim < hidden.ndim
    if not sparse and options.group is not None:
        raise NotSupportedError(
            "Labels that are a weight for each class cannot be split over devices. Expected class indices, or group=None."
        )
    target = target.reshape((rows,) if sparse else (rows, target.shape[-1]))
    if row_weight is not None:
        row_weight = jnp.broadcast_to(jax.lax.stop_gradient(jnp.asarray(row_weight)).reshape(-1), (rows,))
    operands = Operands(hidden.reshape(rows, width), weight, bias, target, row_weight, class_weight)
    operands = _alike(operands, options.group)
    plan = Plan(options, total, *_chunk(rows, columns, operands, memory_budget, sparse))
    values = _values(plan, operands)
    if options.group is not None:  # each device has them: one gives them away, so that all have the same by their type
        values = jax.lax.psum(values, options.group)
    return values if total else values.reshape(lead)


def _chunk(rows: int, columns: int, operands: Operands, memory_budget: int | None, sparse: bool) -> tuple[int, int]:
    """Return how many rows and columns (0: all) of logits there are at a time."""
    size = 8 if operands.hidden.dtype == jnp.float64 else 4
    if memory_budget is None:
        return min(_ROWS.get(jax.default_backend(), _ROWS_ELSEWHERE), max(rows, 1)), 0
    held = max(1, memory_budget // (columns * size))
    strip = memory_budget // (max(rows, 1) * size)
    if held < min(rows, _FEWEST_ROWS) and sparse and strip >= _FEWEST_COLUMNS:
        return max(rows, 1), min(strip, columns)
    return min(held, max(rows, 1)), 0


def _alike(operands: Operands, group: Any) -> Operands:
    """Return operands that vary over the same mesh axes, as all that is computed of them will.

    Of what did not vary over an axis, JAX then adds up the gradients over it: once, after the last chunk.
    """
    if not hasattr(jax.lax, "pcast"):
        return operands
    axes: set[Any] = set() if group is None else set(group if isinstance(group, tuple) else (group,))
    for each in jax.tree.leaves(operands):
        axes |= _varying(each)

    def alike(x: Tensor) -> Tensor:
        missing = tuple(axes - _varying(x))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(alike, operands)


def _varying(x: Tensor) -> frozenset[Any]:
    """Return the mesh axes over which a tensor varies inside `shard_map`, as far as JAX keeps account of it."""
    if not hasattr(jax.lax, "pcast"):
        return frozenset()
    kind: Any = jax.typeof(x)
    return frozenset(kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying)


def _zeros(shape: tuple[int, ...], dtype: Any, like: Tensor) -> Tensor:
    """Return zeros that vary over the mesh axes that `like` does."""
    zeros = jnp.zeros(shape, dtype)
    axes = tuple(_varying(like))
    return jax.lax.pcast(zeros, axes, to="varying") if axes else zeros


# ── The derivative ──────────────────────────────────────────────────────────────────────────────────────────────


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _values(plan: Plan, operands: Operands) -> Tensor:
    """Return (N,), or their sum; in a group, on its first device, and 0 on the others."""
    values = _in_columns(plan, operands) if plan.columns else _in_rows(plan, operands)
    return _given(plan, values)


def _given(plan: Plan, values: Tensor) -> Tensor:
    values = jnp.sum(values) if plan.total else values
    group = plan.options.group
    return values if group is None else jnp.where(jax.lax.axis_index(group) == 0, values, 0.0)


def _forward(plan: Plan, operands: Any) -> tuple[Tensor, Any]:
    wanted = Operands(*(each is not None and each.perturbed for each in operands))
    given = Operands(*(None if each is None else each.value for each in operands))
    if plan.total and not plan.columns:
        values, slopes = _in_rows_with_slopes(plan, given, None, wanted)
    else:
        values = _in_columns(plan, given) if plan.columns else _in_rows(plan, given)
        slopes = None
    flags = Operands(*(() if each else None for each in wanted))  # None and () are of no leaves: known without values
    return _given(plan, values), (given, slopes, flags)


def _backward(plan: Plan, saved: Any, upstream: Any) -> tuple[Operands]:
    given, slopes, flags = saved
    wanted = Operands(*(each is not None for each in flags))
    if not isinstance(upstream, jax.Array):  # a zero that is known to be one
        upstream = jnp.zeros(upstream.aval.shape, upstream.aval.dtype)
    each = jnp.broadcast_to(upstream, given.hidden.shape[:1])
    if slopes is None:
        with_slopes = _in_columns_with_slopes if plan.columns else _in_rows_with_slopes
        _, slopes = with_slopes(plan, given, each, wanted)
    else:
        slopes = tuple(None if slope is None else slope * upstream for slope in slopes)
    narrow = [
        None if slope is None else slope.astype(x.dtype)
        for slope, x in zip(slopes, (given.hidden, given.weight, given.bias), strict=True)
    ]
    others = [None, None]
    if wanted.target or wanted.class_weight:
        others = _of_constants(plan, given, each)
    return (Operands(*narrow, others[0], None, others[1]),)


_values.defvjp(_forward, _backward, symbolic_zeros=True)


def _of_constants(plan: Plan, given: Operands, upstream: Tensor) -> list[Any]:
    """Return the gradients for labels and weights of classes, rarely wanted, from all logits at once."""
    if plan.options.group is not None:
        raise NotSupportedError("Weights of classes have no gradient where classes are split over devices.")
    z = _logits(given.hidden, given.weight, given.bias)
    soft = given.target if given.target.ndim == 2 else None

    def values(soft: Tensor, class_weight: Tensor) -> Tensor:
        target = given.target if soft is None else soft
        return _crossentropy.row_losses(target, z, given.row_weight, class_weight, plan.options)

    _, pull = jax.vjp(values, soft, given.class_weight)
    return list(pull(upstream.astype(z.dtype)))


# ── Chunks of rows ──────────────────────────────────────────────────────────────────────────────────────────────


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    z = _product(hidden, weight, 1, 1)
    return z if bias is None else z + bias.astype(z.dtype)[None, :]


def _product(x: Tensor, y: Tensor, of_x: int, of_y: int) -> Tensor:
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


def _in_rows(plan: Plan, given: Operands) -> Tensor:
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
    z = _logits(_alive(hidden, dead), given.weight, given.bias)
    return weigh_rows(_of_logits(plan, given, z, target, dead), row_weight)


def _alive(hidden: Tensor, dead: Tensor) -> Tensor:
    """Return hidden states without those that reach nothing: 0 * nan would reach the gradient of the weights."""
    return hidden if dead is None else jnp.where(dead[:, None], 0.0, hidden)


def _of_logits(plan: Plan, given: Operands, z: Tensor, target: Tensor, dead: Tensor) -> Tensor:
    """Return (n,): what rows cost whose logits, or whose part of them in a group, are these."""
    options = plan.options
    if options.group is None:
        return _crossentropy.losses(target, capped(z, dead, options), dead, given.class_weight, options)
    parts, masses = _gathered(plan, given, _own_part(plan, given, z, target, dead))
    return _of_parts(plan, given, parts, masses, target)


def _gathered(plan: Plan, given: Operands, own: Part) -> tuple[Part, Tensor]:
    """Return the parts of all devices (devices, n), and the sums (devices,) of the weights of their classes."""
    gathered = jax.lax.all_gather(jnp.stack(own), plan.options.group)  # one message
    parts = Part(*(gathered[:, each] for each in range(len(own))))
    count, columns = gathered.shape[0], given.weight.shape[0]
    if given.class_weight is None:
        return parts, jnp.full((count,), columns, gathered.dtype)
    return parts, given.class_weight.astype(gathered.dtype).reshape(count, columns).sum(-1)


def _own_part(plan: Plan, given: Operands, z: Tensor, target: Tensor, dead: Tensor) -> Part:
    """Return what has to be known of the columns that this device has."""
    first = jax.lax.axis_index(plan.options.group) * z.shape[-1]
    weight = given.class_weight
    if weight is not None:
        weight = jax.lax.dynamic_slice_in_dim(weight, first, z.shape[-1]).astype(z.dtype)
    z = capped(z, dead, plan.options)
    return part_of(z, target - first.astype(target.dtype), dead, weight, plan.options)


def _of_parts(plan: Plan, given: Operands, parts: Part, masses: Tensor, target: Tensor) -> Tensor:
    """Return (n,): what rows cost, given all parts (parts, n) and the sums of the weights of their classes."""
    devices = 1 if plan.options.group is None else jax.lax.axis_size(plan.options.group)
    weight = None if given.class_weight is None else given.class_weight.astype(parts.rest.dtype)
    found = together(parts, masses)
    return _crossentropy.losses_of(found, target, weight, given.weight.shape[0] * devices, plan.options)


def _in_rows_with_slopes(
    plan: Plan, given: Operands, upstream: Tensor, wanted: Operands
) -> tuple[Tensor, tuple[Any, ...]]:
    """Return (N,), and the gradients of their sum for hidden states, weights and bias, as wanted, in full precision.

    `upstream` (N,), if any, is what the values are multiplied by before they are added.
    """
    rows = given.hidden.shape[0]
    factor, scale = _factors(given, upstream)
    xs = (given.hidden, given.target, given.row_weight, factor)

    def chunk(carry: Any, x: Any) -> tuple[Any, Any]:
        values, of_hidden, added = _chunk_slopes(plan, given, wanted, *x)
        return jax.tree.map(jnp.add, carry, added), (values, of_hidden)

    if rows <= plan.rows:
        values, of_hidden, (of_weight, of_bias) = _chunk_slopes(plan, given, wanted, *xs)
    else:
        full = _full(given)
        zeros = (
            _zeros(given.weight.shape, full, given.hidden) if wanted.weight else None,
            _zeros(given.weight.shape[:1], full, given.hidden) if wanted.bias else None,
        )
        (of_weight, of_bias), (values, of_hidden) = jax.lax.scan(chunk, zeros, _chunks(rows, plan.rows, xs))
        values = _rows_of(values, rows)
        of_hidden = None if of_hidden is None else _rows_of(of_hidden, rows)
    slopes = (of_hidden, of_weight, of_bias)
    return values, slopes if scale is None else tuple(None if each is None else each * scale for each in slopes)


def _full(given: Operands) -> Any:
    dtype = jnp.promote_types(given.hidden.dtype, given.weight.dtype)
    return jnp.dtype(jnp.float32) if dtype.itemsize < 4 else dtype


def _factors(given: Operands, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N,): what gradients are multiplied by before the products, and a number for after them.

    In half precision most of a gradient divided by the number of rows would be 0.
    """
    full, rows = _full(given), given.hidden.shape[0]
    factor = None if given.row_weight is None else given.row_weight.astype(full)
    if upstream is not None:
        upstream = upstream.astype(full)
        factor = upstream if factor is None else jnp.where(factor == 0, 0.0, factor * upstream)
    if factor is None:
        return _zeros((rows,), full, given.hidden) + 1.0, None
    if given.hidden.dtype.itemsize >= 4 or rows == 0:
        return factor, None
    scale = jnp.max(jnp.abs(factor))
    scale = jnp.where(jnp.isfinite(scale) & (scale > 0), scale, 1.0)
    return factor / scale, scale


def _chunk_slopes(
    plan: Plan, given: Operands, wanted: Operands, hidden: Tensor, target: Tensor, row_weight: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor, tuple[Any, Any]]:
    dead = None if row_weight is None else row_weight == 0
    hidden = _alive(hidden, dead)
    z = _logits(hidden, given.weight, given.bias)
    values, dz = _with_slope(plan, given, z, target, dead, factor)
    narrow = dz.astype(hidden.dtype)
    of_hidden = _product(narrow, given.weight, 1, 0) if wanted.hidden else None
    of_weight = _product(narrow, hidden, 0, 0) if wanted.weight else None
    return weigh_rows(values, row_weight), of_hidden, (of_weight, jnp.sum(dz, 0) if wanted.bias else None)


def _with_slope(
    plan: Plan, given: Operands, z: Tensor, target: Tensor, dead: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what rows cost, and the gradient for the logits of their costs times factors."""
    if plan.options.group is None:
        values, pull = jax.vjp(lambda z: _of_logits(plan, given, z, target, dead), z)
    else:
        group = plan.options.group
        parts, masses = _gathered(plan, given, _own_part(plan, given, z, target, dead))
        place = jax.lax.axis_index(group)

        def of_own(z: Tensor) -> Tensor:  # the gradient for the logits here needs nothing more from the other devices
            own = _placed(parts, _own_part(plan, given, z, target, dead), place)
            return _of_parts(plan, given, own, masses, target)

        values, pull = jax.vjp(of_own, z)
    return values, pull(factor if dead is None else jnp.where(dead, 0.0, factor))[0]


def _placed(parts: Part, own: Part, place: Tensor) -> Part:
    return jax.tree.map(lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one, place, 0), parts, own)


# ── Chunks of columns ───────────────────────────────────────────────────────────────────────────────────────────


def _in_columns(plan: Plan, given: Operands) -> Tensor:
    parts, masses = _parts_of_columns(plan, given)
    return weigh_rows(_of_parts(plan, given, parts, masses, given.target), given.row_weight)


def _parts_of_columns(plan: Plan, given: Operands) -> tuple[Part, Tensor]:
    """Return the parts (parts, N) of all columns, and the sums (parts,) of the weights of their classes."""
    count, _ = _strips(plan, given)

    def strip(carry: None, index: Tensor) -> tuple[None, tuple[Tensor, Tensor]]:
        part, mass = _part_of_strip(plan, given, index, _logits_of_strip(plan, given, index))
        return carry, (jnp.stack(part), mass)

    _, (stacked, masses) = jax.lax.scan(strip, None, jnp.arange(count))
    if plan.options.group is not None:
        stacked = jax.lax.all_gather(stacked, plan.options.group, tiled=True)
        masses = jax.lax.all_gather(masses, plan.options.group, tiled=True)
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
    return _logits(_alive(given.hidden, dead), _strip_of(plan, given, index, given.weight), bias)


def _part_of_strip(plan: Plan, given: Operands, index: Tensor, z: Tensor) -> tuple[Part, Tensor]:
    (count, width), options = _strips(plan, given), plan.options
    dead = None if given.row_weight is None else given.row_weight == 0
    z = capped(z, dead, options)
    start = _start(plan, given, index)
    twice = index * width - start  # columns that the strip before has too
    columns = given.weight.shape[0]
    first = 0 if options.group is None else jax.lax.axis_index(options.group) * columns
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


def _in_columns_with_slopes(
    plan: Plan, given: Operands, upstream: Tensor, wanted: Operands
) -> tuple[Tensor, tuple[Any, ...]]:
    """Return what `_in_rows_with_slopes` does."""
    dead = None if given.row_weight is None else given.row_weight == 0
    parts, masses = _parts_of_columns(plan, given)
    count, _ = _strips(plan, given)
    factor, scale = _factors(given, upstream)
    factor = factor if dead is None else jnp.where(dead, 0.0, factor)
    hidden, full = _alive(given.hidden, dead), _full(given)
    ahead = 0 if plan.options.group is None else jax.lax.axis_index(plan.options.group) * count

    def strip(carry: Any, index: Tensor) -> tuple[Any, None]:
        def of_own(z: Tensor) -> Tensor:
            own, _ = _part_of_strip(plan, given, index, z)
            return _of_parts(plan, given, _placed(parts, own, index + ahead), masses, given.target)

        _, pull = jax.vjp(of_own, _logits_of_strip(plan, given, index))
        dz = pull(factor)[0]
        narrow = dz.astype(hidden.dtype)
        of_hidden, of_weight, of_bias = carry
        if wanted.hidden:
            of_hidden = of_hidden + _product(narrow, _strip_of(plan, given, index, given.weight), 1, 0)
        if wanted.weight:
            of_weight = _added(plan, given, index, of_weight, _product(narrow, hidden, 0, 0))
        if wanted.bias:
            of_bias = _added(plan, given, index, of_bias, jnp.sum(dz, 0))
        return (of_hidden, of_weight, of_bias), None

    shapes = (hidden.shape, given.weight.shape, given.weight.shape[:1])
    wants = (wanted.hidden, wanted.weight, wanted.bias)
    zeros = tuple(_zeros(shape, full, hidden) if want else None for shape, want in zip(shapes, wants, strict=True))
    slopes, _ = jax.lax.scan(strip, zeros, jnp.arange(count))
    slopes = slopes if scale is None else tuple(None if each is None else each * scale for each in slopes)
    return weigh_rows(_of_parts(plan, given, parts, masses, given.target), given.row_weight), slopes


def _added(plan: Plan, given: Operands, index: Tensor, whole: Tensor, part: Tensor) -> Tensor:
    """Return `whole` with a strip's part added."""
    part = part + _strip_of(plan, given, index, whole)
    return jax.lax.dynamic_update_slice_in_dim(whole, part, _start(plan, given, index), 0)
