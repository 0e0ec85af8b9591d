"""Cross-entropies of a softmax over many classes: which way each call goes, and the way of logits that exist already.

Where torch's own machinery has to follow each operation (a compiler, torch.func, forward-mode differentiation, a subclass
of tensors), and where there is little to do, the formula of the interface is as good as anything. Logits in the memory of
the CPU are swept in tiles, and on CUDA by one kernel. The gradient of a sum of losses is taken in the same sweep.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from multiloss._errors import ArgumentError
from multiloss.interface import CrossentropyOptions, Options, split_options
from torch import Tensor

from multiloss_torch._rows import HALVES, kernel_for, normalized, sweep, wide
from multiloss_torch._small import (
    EACH,
    FEW,
    MEAN,
    REDUCTIONS,
    SUM,
    Swept,
    counted_losses,
    small_losses,
    weighted_losses,
)
from multiloss_torch._watching import is_followed_back, is_plain, wants_gradient

SMALL = 1 << 12
"""Up to how many logits the formula is as fast."""

NATIVE = 1 << 22
"""Up to how many logits torch's own loss is faster, which takes as much memory again."""

NARROW = 32
"""Below so many classes torch's softmax of rows is slow."""

NARROW_SMALL = 1 << 22
"""Up to how many logits of few classes the formula is as fast."""

NARROW_NATIVE = 1 << 17
"""Up to how many logits of few classes torch's own loss is."""

_FULL_PRECISION = (torch.float32, torch.float64)


class Call(NamedTuple):
    """How a call is carried out."""

    options: Options

    formula: Callable[..., Tensor]
    """The same by the formula of the interface."""

    kernel: Callable[..., Tensor]
    """What sweeps rows of logits where they are."""

    overwrite: bool
    """Whether the gradient takes the place of the logits."""


def softmax_crossentropy(
    formula: Callable[..., Tensor],
    target: Tensor,
    logits: Tensor,
    row_weight: Tensor | float | None,
    total: bool,
    overwrite: bool,
    options: CrossentropyOptions,
) -> Tensor | None:
    """Return the losses of the rows, or their sum; None where the formula of the interface should."""
    weight = None
    if isinstance(row_weight, Tensor):
        weight = row_weight
    elif not options and not overwrite and row_weight != 0 and is_plain(logits, target) and _is_native(target, logits):
        return _native_losses(formula, target, logits, row_weight, total)
    nothing = weight is None and row_weight == 0  # which no formula selects
    class_weight, numbers = split_options(options)
    size, classes = logits.numel(), logits.shape[-1]
    if not is_plain(logits, target, weight, class_weight):
        return None
    if wants_gradient(target) or wants_gradient(class_weight):
        return None
    if 0 < size <= FEW and logits.is_cpu and logits.dtype is not torch.float64 and not nothing:
        labels, rows, each = _as_few_rows(target, logits, row_weight if weight is None else weight.detach())
        found = weighted_losses(labels, rows, each, total, class_weight, numbers)
        if found is not None:
            return found if total or logits.ndim == 2 else found.reshape(logits.shape[:-1])
    kernel = kernel_for(logits)
    if kernel is None or (size <= (SMALL if classes >= NARROW else NARROW_SMALL) and not nothing):
        return None
    dtype = wide(logits.dtype)
    labels = target.detach().reshape(-1).long() if target.ndim < logits.ndim else target.detach().reshape(-1, classes)
    scale = row_weight if weight is None else weight.detach().expand(logits.shape[:-1]).reshape(-1).to(dtype)
    class_weight = None if class_weight is None else class_weight.detach().to(dtype)
    if not wants_gradient(logits):
        values = kernel(logits.detach().reshape(-1, classes), labels, scale, class_weight, numbers)
        return values.sum() if total else values.reshape(logits.shape[:-1])
    factor: Tensor | float | None = None
    if total and logits.dtype in HALVES:  # the gradient waits in half precision, for a factor that may be large
        if isinstance(scale, Tensor):
            scale, factor = normalized(scale, logits.dtype)
        else:
            scale, factor = None, scale
    overwrite = overwrite and not logits.is_leaf and logits.is_contiguous() and not _has_hooks()
    run: Any = _Total.apply if total else _Values.apply
    losses: Tensor = run(logits, labels, scale, class_weight, Call(numbers, formula, kernel, overwrite))
    return losses if factor is None else losses * factor


def _native_losses(
    formula: Callable[..., Tensor], target: Tensor, logits: Tensor, row_weight: float | None, total: bool
) -> Tensor:
    labels, rows, _ = _as_few_rows(target, logits, None)
    losses = small_losses(functools.partial(_swept, formula), labels, rows, SUM if total else EACH, row_weight)
    return losses if total or logits.ndim == 2 else losses.reshape(target.shape)


def _as_few_rows(
    target: Tensor, logits: Tensor, weight: Tensor | float | None
) -> tuple[Tensor, Tensor, Tensor | float | None]:
    """Return labels, logits and weights with their leading axes made one, and class indices as torch's loss takes them."""
    sparse = target.ndim < logits.ndim
    if logits.ndim != 2:  # even a reshape that changes nothing takes 2 microseconds
        target = target.reshape(-1) if sparse else target.reshape(-1, logits.shape[-1])
        logits = logits.reshape(-1, logits.shape[-1])
        weight = weight.reshape(-1) if isinstance(weight, Tensor) else weight
    return target.long() if sparse and target.dtype is not torch.int64 else target, logits, weight


def checked_crossentropy(
    formula: Callable[..., Tensor],
    target: Tensor,
    logits: Tensor,
    reduction: str,
    sample_weight: Tensor | None,
    mask: Tensor | None,
    options: Mapping[str, Any],
) -> Tensor | None:
    """Return the losses of a few rows, or their mean or sum, or None for anything else than class indices in range."""
    # Who traces comes first, as in what follows: to compare a size there is to compile for the sizes on this side alone.
    if not is_plain(target, logits, sample_weight, mask) or torch._C._is_any_autocast_enabled():
        return None
    if target is None or not _is_native(target, logits):
        return None
    swept = functools.partial(_swept, formula)
    try:
        if sample_weight is None and mask is None and not options and logits.ndim == 2 and target.dtype is torch.int64:
            return small_losses(swept, target, logits, REDUCTIONS[reduction])
        return _of_those_that_count(swept, target, logits, reduction, sample_weight, mask, **options)
    except (IndexError, RuntimeError, TypeError, ValueError):  # for other labels, which the general way looks into
        return None


def _of_those_that_count(
    swept: Swept,
    target: Tensor,
    logits: Tensor,
    reduction: str,
    sample_weight: Tensor | None,
    mask: Tensor | None,
    **options: Any,
) -> Tensor | None:
    shape = target.shape
    if shape != logits.shape[:-1] or target.dtype not in _INTEGERS:
        return None
    for each in (sample_weight, mask):
        if each is not None and (each.shape != shape or each.is_complex() or not each.is_cpu or wants_gradient(each)):
            return None
    if len(shape) != 1:
        sample_weight, mask = (x if x is None else x.reshape(-1) for x in (sample_weight, mask))
    labels, rows, _ = _as_few_rows(target, logits, None)
    losses = counted_losses(swept, labels, rows, reduction, sample_weight, mask, **options)
    return losses.reshape(shape) if losses is not None and reduction == "none" and len(shape) != 1 else losses


def _swept(
    formula: Callable[..., Tensor],
    target: Tensor,
    logits: Tensor,
    reduction: int,
    scale: Tensor | float | None,
) -> Tensor:
    """Return the losses of rows of logits (N, V), times `scale`, or their mean or sum, with all their digits."""
    if reduction == MEAN:
        scale = 1.0 / len(target)
    if not wants_gradient(logits):
        losses = sweep(logits, target, scale, None, Options())
        return losses if reduction == EACH else losses.sum()
    run: Any = _Values.apply if reduction == EACH else _Total.apply
    found: Tensor = run(logits, target, scale, None, Call(Options(), formula, sweep, False))
    return found


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _is_native(target: Tensor, logits: Tensor) -> bool:
    """Whether torch's own loss is the fastest, where there are no options."""
    most = NATIVE if logits.shape[-1] >= NARROW else NARROW_NATIVE
    if not 0 < logits.numel() <= most or logits.dtype not in _FULL_PRECISION:
        return False
    return logits.is_cpu and target.ndim < logits.ndim


class _Total(torch.autograd.Function):
    """The sum of the losses, and its gradient in the same sweep.

    The first way back takes the gradient away with it, so that memory is held once; another one computes it again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        scale: Tensor | float | None,
        class_weight: Tensor | None,
        call: Call,
    ) -> Tensor:
        _remember(ctx, None if call.overwrite else logits, target, scale, class_weight, call)
        rows = _as_rows(logits)
        # What the hooks of a checkpoint would drop must not stay here in another form.
        gradient = None if _has_hooks() else _room(logits, rows, call.overwrite)
        losses = call.kernel(rows, target, scale, class_weight, call.options, gradient)
        ctx.gradient = None if gradient is None else gradient.view(logits.shape)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradient, ctx.gradient = ctx.gradient, None
        if is_followed_back(upstream):
            return _by_formula(ctx, upstream, True)
        if gradient is None:
            return _again(ctx, upstream, False)
        factor = _number(upstream)
        return gradient if isinstance(factor, float) and factor == 1.0 else gradient.mul_(factor), *_NO_OTHERS


class _Values(torch.autograd.Function):
    """The loss of each row. Its gradient waits for what multiplies it, and to be computed, unless it is small."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        scale: Tensor | float | None,
        class_weight: Tensor | None,
        call: Call,
    ) -> Tensor:
        _remember(ctx, logits, target, scale, class_weight, call)
        rows = _as_rows(logits)
        # On a device, what follows of a row that is left out would have to be waited for.
        small = logits.is_cpu and logits.numel() <= NATIVE and logits.dtype in _FULL_PRECISION
        at_once = small and not (call.overwrite or _has_hooks())
        gradient = torch.empty_like(rows, memory_format=torch.contiguous_format) if at_once else None
        ctx.gradient = None if gradient is None else gradient.view(logits.shape)
        return call.kernel(rows, target, scale, class_weight, call.options, gradient).reshape(logits.shape[:-1])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradient, ctx.gradient = ctx.gradient, None
        if is_followed_back(upstream):
            return _by_formula(ctx, upstream, False)
        if gradient is not None:
            gradient.mul_(upstream.unsqueeze(-1))
            absent = upstream == 0
            if absent.any():  # where somebody left rows out whose losses are not finite
                gradient[absent] = 0.0
            return gradient, *_NO_OTHERS
        return _again(ctx, upstream, ctx.call.overwrite)


_NO_OTHERS = (None,) * 4


def _remember(
    ctx: Any,
    logits: Tensor | None,
    target: Tensor,
    scale: Tensor | float | None,
    class_weight: Tensor | None,
    call: Call,
) -> None:
    weights = scale if isinstance(scale, Tensor) else None
    ctx.save_for_backward(logits, target, weights, class_weight)
    ctx.number = None if weights is not None else scale
    ctx.call, ctx.spent = call, logits is None


def _recall(ctx: Any) -> tuple[Tensor, Tensor, Tensor | float | None, Tensor | None]:
    if ctx.spent:
        raise ArgumentError(
            "The logits are gone: with overwrite=True their gradient was written in their place. Expected one backward "
            "pass, and no create_graph; pass overwrite=False for more."
        )
    logits, target, weights, class_weight = ctx.saved_tensors
    return logits, target, ctx.number if weights is None else weights, class_weight


def _again(ctx: Any, upstream: Tensor, overwrite: bool) -> tuple[Tensor | None, ...]:
    logits, target, scale, class_weight = _recall(ctx)
    ctx.spent = overwrite
    factor = upstream.reshape(-1) if upstream.ndim else _number(upstream)
    factor = factor if scale is None else factor * scale
    rows = _as_rows(logits)
    if isinstance(factor, Tensor):
        factor = factor.expand(len(rows))
    gradient = _room(logits, rows, overwrite)
    ctx.call.kernel(rows, target, factor, class_weight, ctx.call.options, gradient)
    return gradient.view(logits.shape), *_NO_OTHERS


def _by_formula(ctx: Any, upstream: Tensor, total: bool) -> tuple[Tensor | None, ...]:
    """Return the gradient as something that can be differentiated again, and mapped over."""
    logits, target, scale, class_weight = _recall(ctx)
    again = torch.is_grad_enabled()
    lead = logits.shape[:-1]
    target = target.reshape(lead if target.ndim == 1 else logits.shape)
    scale = scale.reshape(lead) if isinstance(scale, Tensor) else scale
    with torch.enable_grad():
        logits = logits.view_as(logits) if again else logits.detach().requires_grad_()
        value = ctx.call.formula(target, logits, scale, total, class_weight=class_weight, **ctx.call.options._asdict())
        (gradient,) = torch.autograd.grad(value, logits, upstream, create_graph=again)
    return gradient, *_NO_OTHERS


def _as_rows(logits: Tensor) -> Tensor:
    return logits.detach().reshape(-1, logits.shape[-1])


def _room(logits: Tensor, rows: Tensor, overwrite: bool) -> Tensor:
    """Return memory for the gradient: that of the logits if it may be, or of the copy that made rows of them."""
    if overwrite or rows.data_ptr() != logits.data_ptr():
        return rows
    return torch.empty(rows.shape, dtype=rows.dtype, device=rows.device)


def _number(upstream: Tensor) -> Tensor | float:
    """Return the value of a scalar where that makes nobody wait."""
    return float(upstream) if upstream.is_cpu else upstream


def _has_hooks() -> bool:
    """Whether saved tensors are packed by somebody's hooks, such as those of a checkpoint."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
