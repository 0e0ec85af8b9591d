"""Large CPU tensors a few rows at a time.

A formula over whole tensors writes each intermediate result to fresh memory, whose page faults cost more than the
arithmetic, and autograd keeps most of them for the way back. A block of rows leaves its intermediate results in the
cache, and its gradient can be taken while they are there: that of the sum of the values, because each value depends on
its own row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

BLOCK = 1 << 17
"""Elements of the largest tensor in a block: enough for torch to use its threads, few enough for the cache."""

LARGE = 1 << 20
"""From how many elements on blocks pay."""


def in_blocks(fn: Callable[..., torch.Tensor], tensors: Sequence[torch.Tensor], static: dict[str, Any]) -> torch.Tensor:
    """Return `fn(*tensors, **static)`, one value per row, evaluated in blocks of rows."""
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        needed = [each.requires_grad for each in tensors]
        evaluate: Any = _Values.apply
        values: torch.Tensor = evaluate(fn, static, needed, *tensors)[0]
        return values
    with torch.no_grad():
        return _fill(lambda *rows: (fn(*rows, **static),), tensors)[0]


def _fill(fn: Callable[..., Sequence[torch.Tensor]], tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    rows = len(tensors[0])
    size = max(1, BLOCK * rows // max(each.numel() for each in tensors))
    results: list[torch.Tensor] = []
    for start in range(0, rows, size):
        here = slice(start, start + size)
        parts = fn(*(each[here] for each in tensors))
        if not results:
            results = [part.new_empty((rows, *part.shape[1:])) for part in parts]
        for result, part in zip(results, parts, strict=True):
            result[here] = part
    return results


class _Values(torch.autograd.Function):
    """The values, and beside them what the way back multiplies: the gradient of each value by its row."""

    @staticmethod
    def forward(
        ctx: Any, fn: Callable[..., torch.Tensor], static: dict[str, Any], needed: list[bool], *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        def block(*rows: torch.Tensor) -> list[torch.Tensor]:
            with torch.enable_grad():
                leaves = [each.detach().requires_grad_(wanted) for each, wanted in zip(rows, needed, strict=True)]
                values = fn(*leaves, **static)
                wanted_leaves = [each for each in leaves if each.requires_grad]
                if not values.requires_grad:
                    return [values, *map(torch.zeros_like, wanted_leaves)]
                slopes = torch.autograd.grad(values.sum(), wanted_leaves, materialize_grads=True)
            return [values.detach(), *slopes]

        values, *slopes = _fill(block, tensors)
        ctx.fn, ctx.static, ctx.needed = fn, static, needed
        ctx.save_for_backward(*tensors, *slopes)
        ctx.mark_non_differentiable(*slopes)
        ctx.set_materialize_grads(False)
        return values, *slopes

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        if upstream[0] is None:
            return (None,) * (3 + len(ctx.needed))
        multiply: Any = _Slopes.apply
        found = iter(multiply(ctx.fn, ctx.static, ctx.needed, upstream[0], *ctx.saved_tensors))
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
        *saved: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        tensors, slopes = saved[: len(needed)], saved[len(needed) :]
        ctx.fn, ctx.static, ctx.needed = fn, static, needed
        ctx.save_for_backward(upstream, *tensors)
        return tuple(_beside(upstream, slope) * slope for slope in slopes)

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
            *(None for _ in leaves),
        )


def _beside(upstream: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Return what reaches the values, shaped to meet the gradients: over the last axis if that was reduced."""
    return upstream if upstream.ndim == slope.ndim else upstream.unsqueeze(-1)
