"""Large CPU tensors a few rows at a time.

A formula over whole tensors writes each intermediate result to fresh memory, whose page faults cost more than the
arithmetic, and autograd keeps most of them for the way back. A block of rows leaves its intermediate results in the
cache, and its gradient can be taken while they are there: that of the sum of the values, because each value depends on
its own row alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

BLOCK = 1 << 18
"""Elements of the largest tensor in a block, at most: enough for torch to use its threads, few enough for the cache."""

LARGE = 1 << 20
"""From how many elements on blocks pay."""


def in_blocks(fn: Callable[..., Any], tensors: Sequence[torch.Tensor], static: dict[str, Any]) -> Any:
    """Return `fn(*tensors, **static)`, one value per row, or several where no gradient is taken, in blocks of rows."""
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        needed = [each.requires_grad for each in tensors]
        evaluate: Any = _Values.apply
        values: torch.Tensor = evaluate(fn, static, needed, *tensors)
        return values
    with torch.no_grad():
        found = _fill(lambda *rows: fn(*rows, **static), tensors)
        return tuple(found) if len(found) > 1 else found[0]


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep what a block frees for the next one, which would otherwise fault every page again.

    glibc gives large pieces back to the system until the first one of this size has been freed.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _fill(fn: Callable[..., Any], tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    _keep_freed_memory()
    rows = len(tensors[0])
    blocks = min(rows, -(-max(each.numel() for each in tensors) // BLOCK))
    edges = [rows * each // blocks for each in range(blocks + 1)]  # of sizes that differ by a row at most
    results: list[torch.Tensor] = []
    for start, stop in itertools.pairwise(edges):
        here = slice(start, stop)
        found = fn(*(each[here] for each in tensors))
        parts = found if isinstance(found, (tuple, list)) else (found,)
        if not results:
            results = [part.new_empty((rows, *part.shape[1:])) for part in parts]
        for result, part in zip(results, parts, strict=True):
            result[here] = part
    return results


def _with_slopes(
    fn: Callable[..., torch.Tensor],
    static: dict[str, Any],
    needed: list[bool],
    tensors: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    """Return the values of `fn`, and for each tensor that needs it the gradient of each value by its row."""

    def block(*rows: torch.Tensor) -> list[torch.Tensor]:
        with torch.enable_grad():
            leaves = [each.detach().requires_grad_(wanted) for each, wanted in zip(rows, needed, strict=True)]
            values = fn(*leaves, **static)
            wanted_leaves = [each for each in leaves if each.requires_grad]
            if not values.requires_grad:
                return [values, *map(torch.zeros_like, wanted_leaves)]
            slopes = torch.autograd.grad(values, wanted_leaves, torch.ones_like(values), materialize_grads=True)
        return [values.detach(), *slopes]

    return _fill(block, tensors)


class _Values(torch.autograd.Function):
    """The values, and beside them what the way back multiplies: the gradient of each value by its row."""

    @staticmethod
    def forward(
        ctx: Any, fn: Callable[..., torch.Tensor], static: dict[str, Any], needed: list[bool], *tensors: torch.Tensor
    ) -> torch.Tensor:
        values, *slopes = _with_slopes(fn, static, needed, tensors)
        ctx.fn, ctx.static, ctx.needed = fn, static, needed
        ctx.slopes = slopes  # neither arguments nor results, so that nothing else can see them overwritten
        ctx.save_for_backward(*tensors)
        return values

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tensors, slopes = ctx.saved_tensors, ctx.slopes
        if slopes is None or torch.is_grad_enabled():  # a second way back, or one that is differentiated itself
            multiply: Any = _Slopes.apply
            found = iter(multiply(ctx.fn, ctx.static, ctx.needed, upstream, *tensors))
        else:
            # Where they are: a second tensor of their size costs as much as all arithmetic. A second way back, which is
            # rare, computes them again.
            ctx.slopes = None
            found = iter([slope.mul_(_beside(upstream, slope)) for slope in slopes])
        return None, None, None, *(next(found) if wanted else None for wanted in ctx.needed)


class _Slopes(torch.autograd.Function):
    """What reaches the tensors, given what reaches the values. It is differentiated, once more, through the formula."""

    @staticmethod
    def forward(
        ctx: Any,
        fn: Callable[..., torch.Tensor],
        static: dict[str, Any],
        needed: list[bool],
        upstream: torch.Tensor,
        *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        _, *slopes = _with_slopes(fn, static, needed, tensors)
        ctx.fn, ctx.static, ctx.needed = fn, static, needed
        ctx.save_for_backward(upstream, *tensors)
        return tuple(slope.mul_(_beside(upstream, slope)) for slope in slopes)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            # Views, so that one that was made from another counts as a variable of its own.
            first, *tensors = (each.view_as(each) for each in ctx.saved_tensors)
            first = first if first.requires_grad else first.requires_grad_()
            leaves = [each for each, wanted in zip(tensors, ctx.needed, strict=True) if wanted]
            values = ctx.fn(*tensors, **ctx.static)
            slopes = torch.autograd.grad(values, leaves, first, create_graph=True, materialize_grads=True)
            total = torch.stack([(slope * each).sum() for slope, each in zip(slopes, upstream, strict=True)]).sum()
            found = torch.autograd.grad(total, [first, *leaves], create_graph=again, materialize_grads=True)
        onwards = iter(found[1:])
        return (
            *(None, None, None, found[0]),
            *(next(onwards) if wanted else None for wanted in ctx.needed),
        )


def _beside(upstream: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Return what reaches the values, shaped to meet the gradients: over the last axis if that was reduced."""
    return upstream if upstream.ndim == slope.ndim else upstream.unsqueeze(-1)
