"""Cross-entropy of rows of logits by one Triton kernel: the way of CUDA, where Triton comes with torch.

One program takes one row. It reads it once for its statistics (the largest logit and the sum of the others are corrected
as larger ones turn up), and once more to write the gradient, which may lie where the logits do. Options that are off are
no part of what is compiled. Functions of the hardware are exact to so many digits of the result's size, not of the result,
where that is close to 0; so there log1p, expm1 and tanh are series.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from multiloss.interface import Options
from torch import Tensor

BLOCK = 4096
"""Logits that a program reads at a time."""


def sweep(
    logits: Tensor,
    target: Tensor,
    scale: Tensor | float | None,
    class_weight: Tensor | None,
    options: Options,
    out: Tensor | None = None,
) -> Tensor:
    """Do what `multiloss_torch._rows.sweep` does, for logits up to float32."""
    rows, classes = logits.shape
    values = torch.empty(rows, dtype=torch.float32, device=logits.device)
    if not rows:
        return values
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    target = target.contiguous()
    weights = scale.contiguous() if isinstance(scale, Tensor) else None
    block = min(BLOCK, max(16, triton.next_power_of_2(classes)))
    gradient = logits if out is None else out
    _row[(rows,)](
        *(logits, gradient, values, target),
        *(logits if weights is None else weights, logits if class_weight is None else class_weight.contiguous()),
        *(logits.stride(0), gradient.stride(0), target.stride(0), classes),
        1.0 if scale is None or weights is not None else float(scale),
        *(options.label_smoothing, options.label_smoothing / classes, options.z_loss, options.softcap or 1.0),
        SOFT=target.ndim == 2,
        ROW_WEIGHTS=weights is not None,
        CLASS_WEIGHTS=class_weight is not None,
        SMOOTHING=options.label_smoothing != 0,
        Z_LOSS=options.z_loss != 0,
        SOFTCAP=options.softcap is not None,
        GRADIENT=out is not None,
        BLOCK=block,
        num_warps=4 if block <= 1024 else 16,
    )
    return values


@triton.jit
def _log1p(x):
    """Return log(1 + x) of x >= 0."""
    s = x / (2.0 + x)  # log(1 + x) = 2 * atanh(s)
    t = s * s
    series = 1.0 / 13 + t * (1.0 / 15 + t / 17)
    series = 1.0 / 7 + t * (1.0 / 9 + t * (1.0 / 11 + t * series))
    series = 1.0 + t * (1.0 / 3 + t * (1.0 / 5 + t * series))
    return tl.where(x < 1.0, 2.0 * s * series, tl.log(1.0 + x))


@triton.jit
def _expm1(x):
    """Return exp(x) - 1 of x <= 0."""
    near = tl.where(x > -0.7, x, 0.0)
    series = 1.0 / 40320 + near * (1.0 / 362880 + near / 3628800)
    series = 1.0 / 120 + near * (1.0 / 720 + near * (1.0 / 5040 + near * series))
    series = 1.0 + near * (0.5 + near * (1.0 / 6 + near * (1.0 / 24 + near * series)))
    return tl.where(x > -0.7, near * series, tl.exp(x) - 1.0)


@triton.jit
def _ratio(low, high):
    """Return exp(low - high) of low <= high, with what the difference loses when it is rounded."""
    difference = low - high
    back = difference - low
    lost = (low - (difference - back)) - (high + back)
    lost = tl.where(lost == lost, lost, 0.0)
    return tl.where(low == -float("inf"), 0.0, tl.exp(difference) * (1.0 + lost))


@triton.jit
def _capped(z, softcap):
    """Return softcap * tanh(z / softcap)."""
    x = z / softcap
    m = _expm1(-2.0 * tl.abs(x))
    return softcap * tl.where(x < 0, m, -m) / (2.0 + m)


@triton.jit
def _row(
    logits,
    gradient,
    values,
    target,
    row_weights,
    class_weights,
    logits_stride,
    gradient_stride,
    target_stride,
    classes,
    number,
    smoothing,
    spread,
    z_loss,
    softcap,
    SOFT: tl.constexpr,
    ROW_WEIGHTS: tl.constexpr,
    CLASS_WEIGHTS: tl.constexpr,
    SMOOTHING: tl.constexpr,
    Z_LOSS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    GRADIENT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)  # a matrix of logits may have more than 2^31 entries
    logits += row * logits_stride
    gradient += row * gradient_stride
    target += row * target_stride
    offsets = tl.arange(0, BLOCK)
    scale = number
    if ROW_WEIGHTS:
        scale = tl.load(row_weights + row) * number
    if scale == 0:  # whatever the row contains
        tl.store(values + row, 0.0)
        if GRADIENT:
            for start in range(0, classes, BLOCK):
                column = start + offsets
                tl.store(gradient + column, tl.zeros((BLOCK,), tl.float32), mask=column < classes)
    else:
        largest = -float("inf")  # its class stays out of `others`
        others = 0.0
        best = 0
        distance = 0.0  # sum of shares * (largest - z)
        total = 0.0  # sum of shares
        for start in range(0, classes, BLOCK):
            column = start + offsets
            there = column < classes
            z = tl.load(logits + column, mask=there, other=-float("inf")).to(tl.float32)
            if SOFTCAP:
                z = tl.where(there, _capped(z, softcap), z)
            high, place = tl.max(z, axis=0, return_indices=True)
            base = tl.where(high == -float("inf"), 0.0, high)
            rest = tl.sum(tl.where(offsets == place, 0.0, tl.exp(z - base)), axis=0)
            top = tl.maximum(largest, high)
            before = _ratio(largest, top)
            now = _ratio(high, top)
            is_new = high > largest
            others = tl.where(is_new, (1.0 + others) * before + rest, others + (1.0 + rest) * now)
            best = tl.where(is_new, start + place, best)
            if SOFT or SMOOTHING:
                share = tl.zeros((BLOCK,), tl.float32) + spread
                if SOFT:
                    share += tl.load(target + column, mask=there, other=0.0).to(tl.float32) * (1.0 - smoothing)
                if CLASS_WEIGHTS:
                    share *= tl.load(class_weights + column, mask=there, other=0.0).to(tl.float32)
                share = tl.where(there, share, 0.0)
                distance += tl.where(total == 0, 0.0, total * (top - largest))
                distance += tl.sum(tl.where(share == 0, 0.0, share * (top - z)), axis=0)
                total += tl.sum(share, axis=0)
            largest = top
        log_total = _log1p(others)
        lse = largest + log_total
        at = best
        cost = log_total
        own = total
        value = 0.0
        slope = total
        if not SOFT:
            at = tl.load(target)
            chosen = tl.load(logits + at).to(tl.float32)
            if SOFTCAP:
                chosen = _capped(chosen, softcap)
            cost = (largest - chosen) + log_total
            own = 1.0 - smoothing
            if CLASS_WEIGHTS:
                own *= tl.load(class_weights + at).to(tl.float32)
            value = tl.where(own == 0, 0.0, own * cost)
            slope += own
        if SOFT or SMOOTHING:
            value += distance + tl.where(total == 0, 0.0, total * log_total)
        if Z_LOSS:
            value += z_loss * lse * lse
            slope += 2.0 * z_loss * lse
        tl.store(values + row, value * scale)
        if GRADIENT:
            norm = 1.0 / (1.0 + others)
            exact = own * _expm1(-cost)  # no difference of near numbers
            for start in range(0, classes, BLOCK):
                column = start + offsets
                there = column < classes
                z = tl.load(logits + column, mask=there, other=-float("inf")).to(tl.float32)
                if SOFTCAP:
                    z = tl.where(there, _capped(z, softcap), z)
                p = tl.exp(z - largest) * norm
                if SOFT or SMOOTHING:
                    share = tl.zeros((BLOCK,), tl.float32) + spread
                    if SOFT:
                        share += tl.load(target + column, mask=there, other=0.0).to(tl.float32) * (1.0 - smoothing)
                    if CLASS_WEIGHTS:
                        share *= tl.load(class_weights + column, mask=there, other=0.0).to(tl.float32)
                    label = exact + (slope - own) * p
                    if SOFT:
                        label += own - share  # 0 if there is no other class
                    else:
                        label -= share
                    slopes = tl.where(column == at, label, slope * p - share)
                else:
                    slopes = tl.where(column == at, exact + (slope - own) * p, slope * p)
                if SOFTCAP:
                    slopes *= 1.0 - (z / softcap) * (z / softcap)
                tl.store(gradient + column, slopes * scale, mask=there)
