"""Cross-entropy of rows of logits that lie in the memory of the CPU, some rows at a time.

A tile of rows is read once, its softmax is left in the cache, and everything that a loss needs is a number per row taken
from there: so a matrix of logits costs one pass, its gradient one more, and no temporary of its size.

A loss is `(m - z_y) + log(s)` with m the largest logit of the row and `s = sum(exp(z - m))`. Where one class has more than
half of the probability, `log(s)` is `-log1p(-rest)` with `rest` the sum of the others: next to the 1 of that class they
would lose their digits. There too the gradient of that class is an expm1, not a difference of near numbers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import torch
from multiloss.interface import Options
from torch import Tensor

TILE = 1 << 20
"""Logits in a tile: enough for torch to use its threads, few enough for the cache."""


_BLOCK = 512
"""Columns of which torch finds the largest and the sum in vectors."""

HALVES = (torch.float16, torch.bfloat16)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the statistics of logits."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def kernel_for(logits: Tensor) -> Callable[..., Tensor] | None:
    """Return what does as `sweep` where the logits are, or None if nothing does."""
    if logits.is_cpu:
        return sweep
    if logits.is_cuda and logits.dtype != torch.float64 and _has_triton():
        from multiloss_torch import _triton

        return _triton.sweep
    return None


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def sweep(
    logits: Tensor,
    target: Tensor,
    scale: Tensor | float | None,
    class_weight: Tensor | None,
    options: Options,
    out: Tensor | None = None,
) -> Tensor:
    """Return the losses (N,) of logits (N, V) times `scale`, and write the gradient of their sum to `out`.

    `target` is (N,) or (N, V). `out` may be the memory of the logits. A row of scale 0 is 0 throughout.
    """
    rows, classes = logits.shape
    dtype = wide(logits.dtype)
    if not rows or (isinstance(scale, (int, float)) and scale == 0):
        if out is not None:
            out.zero_()
        return torch.zeros(rows, dtype=dtype)
    size = max(1, min(rows, TILE // max(1, classes)))
    each: type[_Classes] | type[_Shares] = _Classes if target.ndim == 1 else _Shares
    work = each(logits, target, class_weight, options, size, out)
    values = torch.empty(rows, dtype=dtype)
    factors = scale.unsqueeze(1) if isinstance(scale, Tensor) else scale
    for start in range(0, rows, size):
        here = slice(start, start + size)
        factor = factors[here] if isinstance(factors, Tensor) else factors
        values[here] = work.tile(logits[here], target[here], factor, None if out is None else out[here]).squeeze(1)
    if isinstance(scale, Tensor):
        values *= scale
        absent = scale == 0
        if absent.any():  # whatever they contain
            values[absent] = 0.0
            if out is not None:
                out[absent] = 0.0
    elif scale is not None:
        values *= scale
    return values


class _Tiles:
    """The scratch memory of one sweep, and what its two kinds have in common."""

    def __init__(
        self,
        logits: Tensor,
        target: Tensor,
        class_weight: Tensor | None,
        options: Options,
        size: int,
        out: Tensor | None,
    ) -> None:
        classes = logits.shape[1]
        dtype = wide(logits.dtype)
        shape = (size, classes)
        self.smoothing, self.z_loss, self.softcap = options
        self.spread = self.smoothing / classes
        self.direct = out is not None and out.dtype == dtype and out.is_contiguous()
        self.p = torch.empty((0,) if self.direct else shape, dtype=dtype)
        self.z = torch.empty(shape if logits.dtype != dtype or self.softcap is not None else (0,), dtype=dtype)
        self.w = class_weight
        self.w_total = float(classes) if class_weight is None else class_weight.sum()
        self.counts = None if class_weight is None or bool((class_weight != 0).all()) else class_weight != 0

    def open(self, logits: Tensor, out: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the logits of a tile in the dtype of the statistics, and memory for their probabilities."""
        rows = len(logits)
        p = out if self.direct and out is not None else self.p[:rows]
        if not self.z.numel():
            return logits, p
        z = self.z[:rows]
        z.copy_(logits)
        if self.softcap is not None:
            z.div_(self.softcap).tanh_().mul_(self.softcap)
        return z, p

    def close(self, z: Tensor, p: Tensor, scale: Tensor | float | None, out: Tensor) -> None:
        """Turn the gradient for `z`, in `p`, into that for the logits, in `out`."""
        if self.softcap is not None:
            slope = z.div_(self.softcap).square_().neg_().add_(1.0)
            p.mul_(slope)
        if scale is not None:
            p.mul_(scale)
        if not self.direct:
            out.copy_(p)

    def share(self, losses: Tensor, weights: Tensor | float) -> Tensor:
        """Return weights times losses, 0 where the weight is, also times inf."""
        products = losses * weights
        return torch.where(weights == 0, 0.0, products) if isinstance(weights, Tensor) else products


class _Classes(_Tiles):
    """Rows that are labelled with the index of a class."""

    def tile(self, logits: Tensor, target: Tensor, scale: Tensor | float | None, out: Tensor | None) -> Tensor:
        """Return the losses (rows, 1) of a tile."""
        z, p = self.open(logits, out)
        y = target.unsqueeze(1)
        chosen = z.gather(1, y)
        # Only where the label's probability underflows are the logits needed again, and they may be gone by then.
        again = self.smoothing or self.z_loss or p.data_ptr() == z.data_ptr()
        largest = z.amax(1, True) if again else None
        distance = None
        if self.smoothing and largest is not None:
            torch.sub(z, largest, out=p)
            distance = self.sum_distances(p)
            torch.softmax(p, 1, out=p)
        else:
            torch.softmax(z, 1, out=p)
        p_y = p.gather(1, y)
        if largest is None and not bool(p_y.amin() > torch.finfo(p.dtype).tiny):  # nor is nan
            largest = z.amax(1, True)
        top = p_y if largest is None else p.amax(1, True)
        p.scatter_(1, y, 0.0)
        log_total = torch.where(p_y > 0.5, -torch.log1p(-p.sum(1, True)), -torch.log(top))
        losses = log_total if largest is None else largest.sub(chosen).add_(log_total)
        own: Tensor | float = 1.0 - self.smoothing
        if self.w is not None:
            own = self.w[y] * own
        values = losses if isinstance(own, float) and own == 1.0 else self.share(losses, own)
        slope = own  # what multiplies the probabilities in the gradient
        if self.smoothing == 1:
            values = torch.zeros_like(losses)
        if distance is not None:
            values = values + (log_total * self.w_total + distance).mul_(self.spread)
            slope = slope + self.spread * self.w_total
        if self.z_loss and largest is not None:
            lse = largest + log_total
            values = values + self.z_loss * lse.square()
            slope = slope + 2.0 * self.z_loss * lse
        if out is not None:
            at_label = torch.expm1(-losses).mul_(own)
            if slope is not own:
                at_label += (slope - own) * p_y
            if not isinstance(slope, float) or slope != 1.0:
                p.mul_(slope)
            p.scatter_(1, y, at_label)
            if self.smoothing:
                p.sub_(self.spread if self.w is None else self.w * self.spread)
            self.close(z, p, scale, out)
        return values

    def sum_distances(self, relative: Tensor) -> Tensor:
        """Return `sum(w * (m - z))`."""
        if self.w is None:
            return -relative.sum(1, True)
        if self.counts is not None:  # 0 * inf is nan
            relative = torch.where(self.counts, relative, 0.0)
        with torch.autocast("cpu", enabled=False):
            return -torch.mv(relative, self.w).unsqueeze(1)


class _Shares(_Tiles):
    """Rows that are labelled with a share for each class."""

    def __init__(
        self,
        logits: Tensor,
        target: Tensor,
        class_weight: Tensor | None,
        options: Options,
        size: int,
        out: Tensor | None,
    ) -> None:
        super().__init__(logits, target, class_weight, options, size, out)
        dtype = wide(logits.dtype)
        self.as_given = target.dtype == dtype and class_weight is None and not self.smoothing
        self.t = torch.empty((0,) if self.as_given else (size, logits.shape[1]), dtype=dtype)
        self.product = torch.empty((size, logits.shape[1]), dtype=dtype)

    def shares(self, target: Tensor) -> Tensor:
        """Return `w * ((1 - a) * t + a / V)`."""
        if self.as_given:
            return target
        t = self.t[: len(target)]
        t.copy_(target)
        if self.smoothing:
            t.mul_(1.0 - self.smoothing).add_(self.spread)
        return t if self.w is None else t.mul_(self.w)

    def tile(self, logits: Tensor, target: Tensor, scale: Tensor | float | None, out: Tensor | None) -> Tensor:
        """Return the losses (rows, 1) of a tile."""
        z, p = self.open(logits, out)
        t = self.shares(target)
        largest = z.amax(1, True)
        torch.sub(z, largest, out=p)
        product = torch.mul(t, p, out=self.product[: len(logits)])
        distance = product.sum(1, True).neg_()
        if bool(distance.isnan().any()):  # perhaps 0 * inf
            distance = torch.where(t == 0, 0.0, product).sum(1, True).neg_()
        total = t.sum(1, True)
        torch.softmax(p, 1, out=p)
        best, top, others = _largest(p)
        confident = top > 0.5
        log_total = torch.where(confident, -torch.log1p(-others), -torch.log(top))
        values = self.share(log_total, total).add_(distance)
        slope = total
        if self.z_loss:
            lse = largest + log_total
            values += self.z_loss * lse.square()
            slope = slope + 2.0 * self.z_loss * lse
        if out is not None:
            at_best = torch.expm1(-log_total).mul_(total) + (slope - total) * top + (total - t.gather(1, best))
            p.mul_(slope).sub_(t)
            p.scatter_(1, best, torch.where(confident, at_best, p.gather(1, best)))
            self.close(z, p, scale, out)
        return values


def _largest(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the largest of each row is, the largest, and the sum of the others, however small: (rows, 1).

    Blocks of columns have their largest and their sum, and what is asked of single columns is asked of one block: torch's
    argmax takes ten times as long as its amax.
    """
    columns = p.shape[1]
    width, whole = _blocks_of(columns)
    blocks = p[:, :whole].view(len(p), -1, width)
    tops, sums = blocks.amax(2), blocks.sum(2)
    if whole < columns:
        rest = p[:, whole:]
        tops, sums = torch.cat([tops, rest.amax(1, True)], 1), torch.cat([sums, rest.sum(1, True)], 1)
    block = tops.argmax(1, True)
    start = block * width
    place = torch.clamp(start, max=columns - width) + torch.arange(width)
    near = p.gather(1, place)
    if whole < columns:
        near.masked_fill_(place < start, 0.0)  # columns of the block before the last one
    within = near.argmax(1, True)
    others = sums.scatter_(1, block, 0.0).sum(1, True) + near.scatter_(1, within, 0.0).sum(1, True)
    return place.gather(1, within), tops.gather(1, block), others


@cache
def _blocks_of(columns: int) -> tuple[int, int]:
    """Return how wide blocks of columns are, and how many columns they fill: all, if any width does that."""
    widths = range(min(_BLOCK, columns), _BLOCK // 2, -1)
    width = next((each for each in widths if columns % each == 0), min(_BLOCK, columns))
    return width, columns - columns % width


def normalized(scale: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return factors of rows, and one for all. In half precision the first are at most 1, so that gradients do not vanish."""
    if dtype not in HALVES or not len(scale):
        return scale, None
    largest = scale.abs().amax()
    largest = torch.where((largest > 0) & torch.isfinite(largest), largest, 1.0)
    return scale / largest, largest
