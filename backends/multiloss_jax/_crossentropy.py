"""Cross-entropies of many classes on JAX: fused by XLA into two readings of the logits, and accurate where a row is confident.

The label of a row stays out of the sum of its exponentials, and comes back by log1p: next to it the others would lose
their digits. On CPUs a mask inside so large a reduction takes three times as long as the reduction does, so that there
blocks of columns are added without one, and the block with the label is added once more with it.

Derivatives are given by rules of forward mode, from which JAX makes all others, of any order.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from multiloss._typing import Tensor
from multiloss.interface import Options

_BLOCK = 128
"""Columns that are added at a time on CPUs. With 512 XLA no longer uses vector instructions."""

_MASKED = 1 << 12
"""Up to how many columns the mask costs nothing."""

_SLICE = 1 << 20
"""Logits that are copied at a time where their columns are no whole number of blocks."""

_TINY = 1e-25
"""Above this the exponential of a label has all its digits, and the others can be divided by it."""

_CONFIDENT = 0.6931
"""A class that costs less has more than half of the probability."""


class Part(NamedTuple):
    """What has to be known of some columns of the logits `z`: arrays (N,), or (parts, N)."""

    largest: Tensor
    """`max(z)`, a constant for derivatives: what is subtracted matters to no result."""
    rest: Tensor
    """`sum(exp(z - largest))` without the label"""
    logit: Tensor
    """The logit of the label, 0 if these columns have none."""
    spread: Tensor
    """`sum(class_weight * (z - largest))`, for smoothed labels"""


class Statistics(NamedTuple):
    """What the formulas take of all columns: arrays (N,)."""

    shift: Tensor
    nll: Tensor
    """`lse - z[label]`"""
    log_total: Tensor
    """`lse - shift`"""
    spread: Tensor
    """`sum(class_weight * (z - shift))`"""


@partial(jax.jit, static_argnames=("total", "options"), inline=True)
def softmax_crossentropy(
    target: Tensor, logits: Tensor, row_weight: Tensor, class_weight: Tensor, total: bool, options: Options
) -> Tensor:
    """Return what `Backend.softmax_crossentropy` does."""
    lead, classes = logits.shape[:-1], logits.shape[-1]
    rows = int(np.prod(lead))
    target = as_indices(target).reshape(rows) if target.ndim < logits.ndim else target.reshape(rows, classes)
    row_weight = row_weight.reshape(rows) if row_weight is not None and jnp.ndim(row_weight) else row_weight
    values = row_losses(target, logits.reshape(rows, classes), row_weight, class_weight, options)
    return jnp.sum(values) if total else values.reshape(lead)


def as_indices(label: Tensor) -> Tensor:
    """Return labels that can be compared with the numbers of all classes, which wrap around in a narrow dtype."""
    return label.astype(jnp.int32) if label.dtype.itemsize < 4 else label


def row_losses(target: Tensor, logits: Tensor, row_weight: Tensor, class_weight: Tensor, options: Options) -> Tensor:
    """Return (N,): what the rows of logits (N, V) cost, times their weights (N,), or one for all."""
    row_weight = None if row_weight is None else jax.lax.stop_gradient(row_weight)
    dead = row_weight == 0 if row_weight is not None and jnp.ndim(row_weight) else None
    z = capped(wide(logits), dead, options)
    return weigh_rows(losses(target, z, dead, class_weight, options), row_weight)


def weigh_rows(values: Tensor, row_weight: Tensor) -> Tensor:
    """Return values times the weights of their rows, 0 where those are."""
    if row_weight is None:
        return values
    weighted = values * jnp.asarray(row_weight).astype(values.dtype)
    return weighted if weighted.ndim > jnp.ndim(row_weight) else jnp.where(row_weight == 0, 0.0, weighted)


def losses(target: Tensor, z: Tensor, dead: Tensor, class_weight: Tensor, options: Options) -> Tensor:
    """Return (N,): what rows cost, given logits in full precision and below the cap."""
    weight = None if class_weight is None else class_weight.astype(z.dtype)
    if target.ndim == 2:
        return _losses_of_weights(target, z, dead, weight, options)
    found = whole(part_of(z, target, dead, weight, options))
    return losses_of(found, target, weight, z.shape[-1], options)


def losses_of(found: Statistics, label: Tensor, weight: Tensor, classes: int, options: Options) -> Tensor:
    """Return (N,): what rows cost, given their statistics."""
    hard, each = 1.0 - options.label_smoothing, options.label_smoothing / classes
    if weight is not None:
        values = no_nan(weight[label] * hard, found.nll)
    else:
        values = found.nll * hard if hard else jnp.zeros_like(found.nll)
    if each:
        mass = classes if weight is None else jnp.sum(weight)
        values = values + each * (mass * found.log_total - found.spread)
    if options.z_loss:
        values = values + options.z_loss * jnp.square(found.shift + found.log_total)
    return values


def _losses_of_weights(target: Tensor, z: Tensor, dead: Tensor, weight: Tensor, options: Options) -> Tensor:
    """Return (N,): what rows cost whose labels are a weight for each class."""
    asked = target.astype(z.dtype)
    if options.label_smoothing:
        asked = asked * (1.0 - options.label_smoothing) + options.label_smoothing / z.shape[-1]
    asked = asked if weight is None else asked * weight[None, :]
    if dead is not None:
        asked = jnp.where(dead[:, None], 0.0, asked)
    top = jnp.argmax(z, -1).astype(jnp.int32)
    found = whole(part_of(z, top, dead, None, options._replace(label_smoothing=0.0)))
    largest = z[jnp.arange(z.shape[0]), top]
    # In a confident row the largest logit takes the place of the label: what it costs keeps its digits, and the others cost
    # more. Above itself it is by selection, not by subtraction, whose derivatives of 1 and -1 would leave no digits of what is
    # between them. In other rows it is a constant, so that its derivative is no difference either.
    confident = found.nll < _CONFIDENT
    largest = jnp.where(confident, largest, jax.lax.stop_gradient(largest))
    above = jnp.where(confident[:, None] & at(top, z), 0.0, largest[:, None] - z)
    if dead is not None:
        above = jnp.where(dead[:, None], 0.0, above)
    cost = jnp.where(confident, found.nll, found.log_total)
    values = jnp.sum(asked, -1) * cost + jnp.sum(no_nan(asked, above), -1)
    return values + options.z_loss * jnp.square(found.shift + found.log_total) if options.z_loss else values


def wide(x: Tensor) -> Tensor:
    """Return `x` in the dtype that it is computed with."""
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x


def capped(z: Tensor, dead: Tensor, options: Options) -> Tensor:
    """Return the logits below the soft cap."""
    if options.softcap is None:
        return z
    z = z if dead is None else jnp.where(dead[:, None], 0.0, z)
    return jnp.tanh(z / options.softcap) * options.softcap


def no_nan(weight: Tensor, x: Tensor) -> Tensor:
    """Return `weight * x`, 0 where the weight is, whatever `x` is."""
    none = weight == 0
    return jnp.where(none, 0.0, weight * jnp.where(none, 0.0, x))


# ── Columns of logits ───────────────────────────────────────────────────────────────────────────────────────────


def part_of(z: Tensor, label: Tensor, dead: Tensor, weight: Tensor, options: Options) -> Part:
    """Return what has to be known of columns `z` (N, v), with the weights (v,) of their classes.

    A label outside [0, v) is in none of them. Rows that are dead have derivatives of 0, whatever they hold.
    """
    largest, rest, logit = _pieces(z, label, dead)
    if dead is not None:  # no nan of theirs comes back as a gradient: 0 * nan
        largest, rest, logit = (
            jnp.where(dead, instead, each) for each, instead in ((largest, 0.0), (rest, 1.0), (logit, 0.0))
        )
    if not options.label_smoothing:
        return Part(largest, rest, logit, jnp.zeros_like(rest))
    relative = z - _finite(largest)[:, None]
    if dead is not None:
        relative = jnp.where(dead[:, None], 0.0, relative)
    return Part(largest, rest, logit, jnp.sum(relative if weight is None else no_nan(weight[None, :], relative), -1))


def whole(part: Part) -> Statistics:
    """Return the statistics of rows of which one part has all columns."""
    shift = _finite(part.largest)
    return _finish(shift, part.rest, part.logit - shift, part.spread)


def together(parts: Part, masses: Tensor) -> Statistics:
    """Return the statistics of rows, given their parts (parts, N) and the sums (parts,) of their classes' weights."""
    shift = _finite(jnp.max(parts.largest, 0, keepdims=True))
    rest = jnp.sum(parts.rest * jnp.exp(parts.largest - shift), 0)
    spread = jnp.sum(parts.spread + masses[:, None] * (_finite(parts.largest) - shift), 0)
    return _finish(shift[0], rest, jnp.sum(parts.logit, 0) - shift[0], spread)


def _finish(shift: Tensor, rest: Tensor, logit: Tensor, spread: Tensor) -> Statistics:
    own = jnp.exp(logit)
    rest = rest * jnp.where(rest + own == jnp.inf, jnp.nan, 1.0)  # beside a logit of inf, what others cost is unknown
    total = rest + own
    confident = own > _TINY
    log_total = jnp.log(total)
    # Not rest / own, in whose derivative own is squared.
    others_to_own = rest * jnp.exp(-jnp.where(confident, logit, 0.0))
    nll = jnp.where(confident, jnp.log1p(others_to_own), log_total - logit)
    return Statistics(shift, nll, log_total, spread)


def _finite(x: Tensor) -> Tensor:
    return jnp.where(jnp.isfinite(x), x, 0.0)


@jax.custom_jvp
def _pieces(z: Tensor, label: Tensor, dead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the fields of a `Part` that are not about smoothed labels."""
    largest = jnp.max(z, -1)
    inside = (label >= 0) & (label < z.shape[-1])
    logit = jnp.take_along_axis(z, jnp.where(inside, label, 0)[:, None], -1)[:, 0]
    return largest, others(z, label, _finite(largest)), jnp.where(inside, logit, 0.0)


@_pieces.defjvp
def _pieces_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    z, label, dead = primals
    found = _pieces(z, label, dead)
    shift = _finite(found[0])[:, None]
    if dead is not None:
        z, shift = jnp.where(dead[:, None], -jnp.inf, z), jnp.where(dead[:, None], 0.0, shift)
    terms, along, own = jnp.exp(z - shift), tangents[0], at(label, z)
    of_rest = jnp.sum(jnp.where(own, 0.0, terms) * along, -1)
    of_logit = jnp.sum(jnp.where(own, along, 0.0), -1)
    return found, (jnp.zeros_like(found[0]), of_rest, of_logit)


def at(label: Tensor, z: Tensor) -> Tensor:
    """Return (N, V): where the labels are."""
    return jax.lax.broadcasted_iota(label.dtype, z.shape, 1) == label[:, None]


def others(z: Tensor, label: Tensor, shift: Tensor) -> Tensor:
    """Return (N,): the sums of `exp(z - shift)` over all classes but the label's, if that is one of them."""
    if z.shape[-1] < _MASKED:
        return _others_masked(z, label, shift)
    return jax.lax.platform_dependent(z, label, shift, cpu=_others_in_blocks, default=_others_masked)


def _others_masked(z: Tensor, label: Tensor, shift: Tensor) -> Tensor:
    return jnp.sum(jnp.where(at(label, z), 0.0, jnp.exp(z - shift[:, None])), -1)


def _others_in_blocks(z: Tensor, label: Tensor, shift: Tensor) -> Tensor:
    rows, columns = z.shape
    step = max(1, _SLICE // columns)
    if columns % _BLOCK == 0 or rows <= step:
        return _others_of_slice(z, label, shift)

    # XLA makes a copy of columns before it takes them for blocks: a few rows at a time, so that it stays small.
    def some(index: Tensor, rest: Tensor) -> Tensor:
        start = jnp.minimum(index * step, rows - step)  # the last ones overlap with those before them
        part = (jax.lax.dynamic_slice_in_dim(each, start, step) for each in (z, label, shift))
        return jax.lax.dynamic_update_slice_in_dim(rest, _others_of_slice(*part), start, 0)

    return jax.lax.fori_loop(0, -(-rows // step), some, jnp.zeros_like(shift))


def _others_of_slice(z: Tensor, label: Tensor, shift: Tensor) -> Tensor:
    rows, columns = z.shape
    count = columns // _BLOCK
    # In this order: with the blocks made of the exponentials XLA uses no vector instructions.
    blocks = z[:, : count * _BLOCK].reshape(rows, count, _BLOCK)
    blocks = jnp.sum(jnp.exp(blocks - shift[:, None, None]), -1)
    block = label // _BLOCK
    own = jnp.arange(count, dtype=label.dtype)[None, :] == block[:, None]
    rest = jnp.sum(jnp.where(own, 0.0, blocks), -1)
    # The block with the label once more, if there is one.
    inside = (label >= 0) & (block < count)
    near = jnp.where(inside, block, 0)[:, None] * _BLOCK + jnp.arange(_BLOCK, dtype=label.dtype)[None, :]
    terms = jnp.exp(jnp.take_along_axis(z, near, -1) - shift[:, None])
    rest = rest + jnp.sum(jnp.where(inside[:, None] & (near != label[:, None]), terms, 0.0), -1)
    if columns == count * _BLOCK:
        return rest
    behind = jnp.arange(count * _BLOCK, columns, dtype=label.dtype)[None, :]
    terms = jnp.exp(z[:, count * _BLOCK :] - shift[:, None])
    return rest + jnp.sum(jnp.where(behind != label[:, None], terms, 0.0), -1)
