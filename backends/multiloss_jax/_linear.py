"""Cross-entropy of hidden states on JAX: a chunk of rows has its logits, its gradient and its products, then the next.

The gradient of a sum is taken in the forward pass, where the logits are: three products of matrices. That of a value per
row has to wait for what each is multiplied by, and needs the logits once more. Where the budget holds only a few rows of
logits, chunks are columns: no weight is read twice, but all logits are computed twice.

Forward mode does not go through here (`jax.custom_vjp`): take `softmax_crossentropy` of the logits for it. Gradients of
gradients do.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from multiloss._errors import NotSupportedError
from multiloss._typing import Tensor
from multiloss.interface import Options

from multiloss_jax import _crossentropy
from multiloss_jax._chunks import Operands, Plan, in_rows, in_rows_with_slopes, logits_of, varying
from multiloss_jax._strips import in_columns, in_columns_with_slopes

psum: Any = jax.lax.psum  # whose types JAX leaves out

_ROWS = {"cpu": 512}
"""Rows that have their logits at a time. With fewer, reading the weights once more for each chunk is what takes the time."""

_ROWS_ELSEWHERE = 4096

_FEWEST_ROWS, _FEWEST_COLUMNS = 256, 512
"""What a chunk must have for its products to be worth it: with fewer rows chunks are columns, if there are so many."""


@partial(jax.jit, static_argnames=("total", "options", "memory_budget", "group"), inline=True)
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
    group: Any,
) -> Tensor:
    """Return what `Backend.linear_crossentropy` does."""
    lead, (columns, width) = hidden.shape[:-1], weight.shape
    rows, sparse = int(np.prod(lead)), target.ndim < hidden.ndim
    if not sparse and group is not None:
        raise NotSupportedError(
            "Labels that are a weight for each class cannot be split over devices. Expected class indices, or group=None."
        )
    target = _crossentropy.as_indices(target).reshape(rows) if sparse else target.reshape(rows, target.shape[-1])
    if row_weight is not None:
        row_weight = jnp.broadcast_to(jax.lax.stop_gradient(jnp.asarray(row_weight)).reshape(-1), (rows,))
    operands = Operands(hidden.reshape(rows, width), weight, bias, target, row_weight, class_weight)
    operands = _alike(operands, group)
    plan = Plan(options, group, total, *_chunk(rows, columns, operands, memory_budget, sparse))
    values = _values(plan, operands)
    if group is not None:  # each device has them: one gives them away, so that all have the same by their type
        values = psum(values, group)
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
        axes |= varying(each)

    def alike(x: Tensor) -> Tensor:
        missing = tuple(axes - varying(x))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return Operands(*jax.tree.map(alike, tuple(operands)))


# ── The derivative ──────────────────────────────────────────────────────────────────────────────────────────────


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _values(plan: Plan, operands: Operands) -> Tensor:
    """Return (N,), or their sum; in a group, on its first device, and 0 on the others."""
    values = in_columns(plan, operands) if plan.columns else in_rows(plan, operands)
    return _given(plan, values)


def _given(plan: Plan, values: Tensor) -> Tensor:
    values = jnp.sum(values) if plan.total else values
    group = plan.group
    return values if group is None else jnp.where(jax.lax.axis_index(group) == 0, values, 0.0)


def _forward(plan: Plan, operands: Any) -> tuple[Tensor, Any]:
    wanted = Operands(*(each is not None and each.perturbed for each in operands))
    given = Operands(*(None if each is None else each.value for each in operands))
    if plan.total and not plan.columns:
        values, slopes = in_rows_with_slopes(plan, given, None, wanted)
    else:
        values = in_columns(plan, given) if plan.columns else in_rows(plan, given)
        slopes = None
    marks = Operands(*map(_mark, wanted))
    if slopes is not None:
        slopes = tuple(_mark(False) if each is None else each for each in slopes)
    return _given(plan, values), (given, slopes, marks)


def _mark(wanted: bool) -> Tensor:
    """Return an array that holds nothing, and tells by its rank whether a gradient is wanted.

    Nothing that is saved may be there or not, depending on that: `jax.checkpoint` follows a function twice, with other
    gradients wanted, and JAX takes what was saved apart as it was the other time.
    """
    return jnp.zeros((0, 0) if wanted else (0,))


def _backward(plan: Plan, saved: Any, upstream: Any) -> tuple[Operands]:
    given, slopes, marks = saved
    wanted = Operands(*(each.ndim == 2 for each in marks))
    if not isinstance(upstream, jax.Array):  # a zero that is known to be one
        upstream = jnp.zeros(upstream.aval.shape, upstream.aval.dtype)
    each = jnp.broadcast_to(upstream, given.hidden.shape[:1])
    if slopes is None:
        with_slopes = in_columns_with_slopes if plan.columns else in_rows_with_slopes
        _, slopes = with_slopes(plan, given, each, wanted)
    else:
        slopes = tuple(slope * upstream if each else None for slope, each in zip(slopes, wanted[:3], strict=True))
    found = dict(zip(("hidden", "weight", "bias"), slopes, strict=True))
    if wanted.target or wanted.class_weight:
        found["target"], found["class_weight"] = _of_constants(plan, given, each)
    narrow = {name: slope.astype(getattr(given, name).dtype) for name, slope in found.items() if slope is not None}
    return (Operands(**{**dict.fromkeys(Operands._fields), **narrow}),)


_values.defvjp(_forward, _backward, symbolic_zeros=True)


def _of_constants(plan: Plan, given: Operands, upstream: Tensor) -> list[Any]:
    """Return the gradients for labels and weights of classes, rarely wanted, from all logits at once."""
    if plan.group is not None:
        raise NotSupportedError("Weights of classes have no gradient where classes are split over devices.")
    z = logits_of(given.hidden, given.weight, given.bias)
    soft = given.target if given.target.ndim == 2 else None

    def values(soft: Tensor, class_weight: Tensor) -> Tensor:
        target = given.target if soft is None else soft
        return _crossentropy.row_losses(target, z, given.row_weight, class_weight, plan.options)

    _, pull = jax.vjp(values, soft, given.class_weight)
    return list(pull(upstream.astype(z.dtype)))
