"""Cross-entropy of logits that are a product of matrices, of which only some rows are there at a time.

A chunk of logits is computed, turned into its gradient where it lies, and multiplied with both factors before the next
one takes its place: three products of matrices for the loss and all gradients. Each chunk reads `weight` twice, and reads
and writes its gradient once, so the size of chunks is a constant of the machine, however many rows there are.

Losses of single rows, whose gradient waits for what multiplies it, compute their logits again on the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from multiloss._errors import NotSupportedError
from multiloss.interface import CrossentropyOptions, Options, split_options
from torch import Tensor

from multiloss_torch._operations import Shard, by_operations
from multiloss_torch._parallel import is_split, refuse_gradients, split, whole
from multiloss_torch._rows import HALVES, kernel_for, normalized, wide
from multiloss_torch._watching import has_forward_mode, is_fake, is_known, is_plain, wants_gradient

CPU_CHUNK = 768
OTHER_CHUNK = 4096
"""Rows of logits in a chunk: enough that reading and writing `weight` and its gradient is little beside the products."""

BLOCK = 8192
"""Classes for which the gradient of half-precision weights is added up in float32 at a time."""


LARGEST_SUM = 2.0**15
"""Half of the range of float16."""


class Plan(NamedTuple):
    """How a call is carried out."""

    chunk: int
    """Rows of logits that may be held at a time."""

    needs: tuple[bool, bool, bool]
    """Of what gradients are wanted: the hidden states, the weight, the bias."""

    options: Options

    formula: Callable[..., Tensor]
    """The same by the formula of the interface."""

    traced: bool
    """Whether a compiler follows, so that nothing may look at values or write in place."""

    shard: Shard | None = None
    """What `weight` and `bias` are of all classes."""


def losses_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    scale: Tensor | None,
    class_weight: Tensor | None,
    plan: Plan,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the losses (N,) times `scale`, and the gradients of their sum; empty ones where none are needed.

    The gradients of half-precision weights are float32 if they are sums over chunks, and those of float16 always: a sum
    over rows may be beyond its range where a mean is not.
    """
    rows, classes = len(hidden), len(weight)
    chunks = max(1, -(-rows // plan.chunk))
    size = -(-rows // chunks)
    summed = weight.dtype == torch.float16 or (weight.dtype in HALVES and chunks > 1)
    sums = torch.float32 if summed else weight.dtype
    for_hidden, for_weight, for_bias = plan.needs
    wanted = any(plan.needs)
    # The first chunk writes what the next ones add to; without any there is nothing but zeros.
    d_weight = _room(for_weight, weight.shape, sums, weight, rows)
    d_bias = _room(for_bias, (classes,), wide(weight.dtype), weight, 0)
    d_hidden: list[Tensor] = []
    losses: list[Tensor] = []
    room = None if plan.traced else torch.empty((size, classes), dtype=weight.dtype, device=weight.device)
    for start in range(0, rows, max(1, size)):
        x = hidden[start : start + size]
        logits = _linear(x, weight, bias, room)
        labels = target[start : start + size]
        factor = None if scale is None else scale[start : start + size]
        values, slopes = _rows_of(logits, labels, factor, class_weight, plan, wanted)
        losses.append(values)
        if slopes is None:
            continue
        if for_hidden:
            d_hidden.append(slopes @ weight)
        if for_weight:
            d_weight = _add_product(d_weight, slopes, x, start == 0, plan.traced)
        if for_bias:
            d_bias = d_bias + slopes.sum(0, dtype=d_bias.dtype)
    nothing = hidden.new_empty(0)
    joined = torch.cat(d_hidden) if d_hidden else hidden.new_zeros(hidden.shape) if for_hidden else nothing
    if plan.shard is not None and for_hidden:
        joined = plan.shard.add_up(joined)
    values = torch.cat(losses) if losses else hidden.new_zeros(0, dtype=wide(hidden.dtype))
    return values, joined, d_weight, d_bias


def _room(needed: bool, shape: Any, dtype: torch.dtype, like: Tensor, rows: int) -> Tensor:
    if not needed:
        return like.new_empty(0)
    return like.new_empty(shape, dtype=dtype) if rows else like.new_zeros(shape, dtype=dtype)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, room: Tensor | None) -> Tensor:
    if room is None:
        return torch.nn.functional.linear(x, weight, bias)
    room = room[: len(x)]
    if bias is None:
        return torch.mm(x, weight.t(), out=room)
    return torch.addmm(bias, x, weight.t(), out=room)


def _rows_of(
    logits: Tensor, target: Tensor, scale: Tensor | None, class_weight: Tensor | None, plan: Plan, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the losses of rows of logits, and their gradient, where the logits are if that may be."""
    kernel = None if plan.traced or plan.shard is not None else kernel_for(logits)
    if kernel is None:
        return by_operations(logits, target, scale, class_weight, plan.options, wanted, plan.shard)
    slopes = logits if wanted else None
    return kernel(logits, target, scale, class_weight, plan.options, slopes), slopes


def _add_product(total: Tensor, slopes: Tensor, x: Tensor, first: bool, traced: bool) -> Tensor:
    """Return `total + slopes.T @ x`, in the memory of `total` unless traced; the first product is written there."""
    turned = slopes.t()
    factor = None
    if x.dtype == torch.float16 and slopes.numel() and x.numel():
        factor = _excess(slopes, x)
        x = _times(x, 1.0 / factor, x.dtype)
    if traced:
        product = _times(turned @ x, factor, total.dtype)
        return product if first else total + product
    if total.dtype == slopes.dtype:
        return torch.mm(turned, x, out=total) if first else total.addmm_(turned, x)
    for start in range(0, len(total), BLOCK):  # in sums of float32, by a product that stays in the cache
        here = slice(start, start + BLOCK)
        product = turned[here] @ x
        product = product if factor is None else _times(product, factor, total.dtype)
        total[here] = product if first else total[here].add_(product)
    return total


def _excess(slopes: Tensor, x: Tensor) -> Tensor:
    """Return a power of 2, at least 1: divided by it, `x` makes no sums over rows that are beyond the range of float16."""
    largest = len(x) * torch.stack([torch.stack(each.aminmax()).abs().amax().float() for each in (slopes, x)]).prod()
    factor = torch.exp2(torch.log2(largest / LARGEST_SUM).ceil().clamp(min=0.0))
    return torch.where(torch.isfinite(largest), factor, 1.0)


def linear_crossentropy(
    formula: Callable[..., Tensor],
    target: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    row_weight: Tensor | float | None,
    total: bool,
    memory_budget: int | None,
    group: Any,
    options: CrossentropyOptions,
) -> Tensor | None:
    """Return the losses of the rows, or their sum; None where the formula of the interface should."""
    class_weight, numbers = split_options(options)
    scale = row_weight.detach() if isinstance(row_weight, Tensor) else None
    if scale is None and row_weight == 0:
        scale = hidden.new_zeros(hidden.shape[:-1])
    shard, most = None, len(weight)
    if group is not None or is_split(weight):
        refuse_gradients(target, class_weight)
        weight, bias, shard, most = split(weight, bias, group)
        hidden, target = whole(hidden), whole(target)
        scale = None if scale is None else whole(scale)
        class_weight = None if class_weight is None else whole(class_weight)
    tensors = [each for each in (hidden, weight, bias, target, scale, class_weight) if each is not None]
    if not all(map(is_known, tensors)) or has_forward_mode() or any(map(wants_gradient, (target, class_weight))):
        return None
    hidden, weight, bias = as_linear_takes_them(hidden, weight, bias)
    lead, device = hidden.shape[:-1], hidden.device.type
    dtype = wide(hidden.dtype)
    target = target.detach()
    target = target.reshape(-1).long() if target.ndim < hidden.ndim else target.reshape(-1, target.shape[-1])
    hidden = hidden.reshape(-1, hidden.shape[-1])
    class_weight = None if class_weight is None else class_weight.detach().to(dtype)
    rows, kept, factor = len(hidden), None, row_weight
    if scale is not None:
        scale = scale.reshape(-1).to(dtype)
        present = scale != 0
        if is_plain(hidden) and hidden.is_cpu:
            if not present.all():
                kept = present.nonzero().squeeze(1)
                hidden, target, scale = hidden[kept], target[kept], scale[kept]
        else:  # 0 * nan would reach the gradient of the weight
            hidden = torch.where(present.unsqueeze(1), hidden, 0.0)
        scale, factor = normalized(scale, hidden.dtype)
    chunk = CPU_CHUNK if hidden.is_cpu else OTHER_CHUNK
    if memory_budget is not None:
        chunk = max(1, memory_budget // max(1, most * hidden.dtype.itemsize))
    needs = wants_gradient(hidden), wants_gradient(weight), wants_gradient(bias)
    traced = torch.compiler.is_compiling() or any(map(is_fake, tensors))
    arguments = (hidden, weight, bias, target, scale, class_weight, Plan(chunk, needs, numbers, formula, traced, shard))
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        if not any(needs) and is_plain(hidden):
            losses = losses_and_gradients(*arguments)[0]
            losses = losses.sum() if total else losses
        else:
            run: Any = _Total.apply if total else _Values.apply
            losses = run(*arguments)[0]
    losses = losses if factor is None else losses * factor
    if total:
        return losses
    if kept is not None:
        losses = losses.new_zeros(rows).index_put((kept,), losses)
    return losses.reshape(lead)


def as_linear_takes_them(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the operands in one dtype: that of autocast, where it is on and would change them for a linear layer."""
    device = hidden.device.type
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    # Tensors of shapes alone have a device, too, which autocast does not know.
    if dtype != torch.float64 and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    return hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


class _Total(torch.autograd.Function):
    """The sum of the losses, and beside it the gradients, which the way back multiplies."""

    @staticmethod
    def forward(
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        scale: Tensor | None,
        class_weight: Tensor | None,
        plan: Plan,
    ) -> tuple[Tensor, ...]:
        losses, *gradients = losses_and_gradients(hidden, weight, bias, target, scale, class_weight, plan)
        return losses.sum(), *gradients

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.plan = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # or zeros as large as the gradients would arrive beside what is wanted
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if upstream is None:
            return (None,) * 7
        return _way_back(ctx.plan, upstream, *ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        return _one_by_one(_Total, info.batch_size, in_dims, args)


class _Values(torch.autograd.Function):
    """The loss of each row."""

    @staticmethod
    def forward(
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        scale: Tensor | None,
        class_weight: Tensor | None,
        plan: Plan,
    ) -> tuple[Tensor, ...]:
        plan = plan._replace(needs=(False, False, False))
        return losses_and_gradients(hidden, weight, bias, target, scale, class_weight, plan)[:1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.plan = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return _way_back(ctx.plan, upstream, *ctx.saved_tensors, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        return _one_by_one(_Values, info.batch_size, in_dims, args)


def _way_back(plan: Plan, upstream: Tensor, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    run: Any = _Gradients.apply
    found = run(plan, upstream, *tensors)
    return *(each if needed else None for each, needed in zip(found, plan.needs, strict=True)), None, None, None, None


class _Gradients(torch.autograd.Function):
    """What reaches hidden states, weight and bias. It is differentiated, once more, through the formula."""

    @staticmethod
    def forward(
        plan: Plan,
        upstream: Tensor,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        scale: Tensor | None,
        class_weight: Tensor | None,
        d_hidden: Tensor | None,
        d_weight: Tensor | None,
        d_bias: Tensor | None,
    ) -> tuple[Tensor, ...]:
        if d_hidden is None or d_weight is None or d_bias is None:
            # Without the nan of rows that do not count, which would be the largest.
            factors = upstream if scale is None else torch.where(scale == 0, 0.0, upstream * scale)
            factors, common = normalized(factors, hidden.dtype)
            _, d_hidden, d_weight, d_bias = losses_and_gradients(
                *(hidden, weight, bias, target, factors, class_weight, plan)
            )
        else:
            common = upstream
        dtypes = hidden.dtype, weight.dtype, weight.dtype if bias is None else bias.dtype
        gradients = zip((d_hidden, d_weight, d_bias), dtypes, strict=True)
        return tuple(_times(gradient, common, dtype) for gradient, dtype in gradients)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.plan = inputs[0]
        ctx.save_for_backward(*inputs[1:8])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        if plan.shard is not None:
            raise NotSupportedError(
                "Second derivatives are not taken across processes. Expected one backward pass, without create_graph."
            )
        first, hidden, weight, bias, target, scale, class_weight = ctx.saved_tensors
        given = [hidden, weight, bias]
        leaves = [each for each, needed in zip(given, plan.needs, strict=True) if needed]

        def losses(*leaves: Tensor) -> Tensor:
            found = iter(leaves)
            x, w, b = (next(found) if needed else same for same, needed in zip(given, plan.needs, strict=True))
            total = first.ndim == 0
            return plan.formula(target, x, w, b, scale, total, class_weight=class_weight, **plan.options._asdict())

        def gradients(first: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
            pull = torch.func.vjp(losses, *leaves)[1]
            return tuple(pull(first))

        pull = torch.func.vjp(gradients, first, *leaves)[1]
        found = iter(pull(tuple(each for each, needed in zip(upstream, plan.needs, strict=True) if needed)))
        return (
            *(None, next(found)),
            *(next(found) if needed else None for needed in plan.needs),
            *(None,) * 6,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        return _one_by_one(_Gradients, info.batch_size, in_dims, args)


def _times(gradient: Tensor, factor: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return `factor * gradient` as `dtype`, rounded once."""
    precise = wide(gradient.dtype)
    return (gradient if factor is None else gradient.to(precise) * factor.to(precise)).to(dtype)


def _one_by_one(
    function: Any, size: int, in_dims: tuple[Any, ...], args: tuple[Any, ...]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Return what `function` makes of each of the examples that `torch.func.vmap` maps over, stacked."""
    pairs = list(zip(args, in_dims, strict=True))
    found = [
        function.apply(*(x.select(dim, i) if isinstance(x, Tensor) and dim is not None else x for x, dim in pairs))
        for i in range(size)
    ]
    stacked = tuple(torch.stack(each) for each in zip(*found, strict=True))
    return stacked, (0,) * len(stacked)
