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
from typing import NamedTuple

import torch
from multiloss.interface import Options
from torch import Tensor

TILE = 1 << 21
"""Numbers in a tile, those of its labels included: enough for torch to use its threads, few enough for the cache."""

TOGETHER = 1 << 12
"""Rows whose losses are found at once, where no gradient asks for them while the tile is there."""

_BLOCK = 512
"""Columns that torch adds up in vectors."""

_CLEAR = 0.6
"""The probability from which on a class is certain to be in the block of columns with the largest sum, however rounded."""

_PLAIN = Options()

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
    rows = len(logits)
    dtype = wide(logits.dtype)
    if not rows or (isinstance(scale, (int, float)) and scale == 0):
        if out is not None:
            out.zero_()
        return torch.zeros(rows, dtype=dtype)
    factors = scale.unsqueeze(1) if isinstance(scale, Tensor) else scale
    if target.ndim == 1 and class_weight is None and options == _PLAIN and _is_one_tile(logits, out):
        return _counted(_of_one_tile(logits, target, factors, out), scale, out)
    numbers = logits.numel() if target.ndim == 1 else logits.numel() + target.numel()
    size = max(1, min(rows, TILE * rows // max(1, numbers)))
    together = size if out is not None else size * max(1, min(TOGETHER, rows) // size)
    each: type[_Classes] | type[_Shares] = _Classes if target.ndim == 1 else _Shares
    work = each(logits, target, class_weight, options, (size, together), out)
    values = torch.empty(rows, dtype=dtype)
    for first in range(0, rows, together):
        last = min(first + together, rows)
        for start in range(first, last, size):
            here = slice(start, min(start + size, last))
            tile = logits[here], target[here], None if out is None else out[here]
            z, p = work.read(*tile, slice(here.start - first, here.stop - first))
        here = slice(first, last)
        found = work.losses(target[here])
        values[here] = found.values.squeeze(1)
        if out is not None:
            work.slopes(p, target[here], found)
            work.close(z, p, factors[here] if isinstance(factors, Tensor) else factors, out[here])
    return _counted(values, scale, out)


def _counted(values: Tensor, scale: Tensor | float | None, out: Tensor | None) -> Tensor:
    """Return losses times `scale`, and make 0 of rows whose scale is, in the gradient `out` as well."""
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


def _is_one_tile(logits: Tensor, out: Tensor | None) -> bool:
    """Whether the gradient, if there is to be one, has room for the probabilities beside the logits."""
    if logits.dtype in HALVES or logits.numel() > TILE:
        return False
    return out is None or (out.is_contiguous() and out.data_ptr() != logits.data_ptr())


def _of_one_tile(logits: Tensor, target: Tensor, scale: Tensor | float | None, out: Tensor | None) -> Tensor:
    """Return the losses of rows that are labelled with the index of a class, in few operations, and write the gradient."""
    y = target.unsqueeze(1)
    p = torch.softmax(logits, 1) if out is None else torch.softmax(logits, 1, out=out)
    own = p.gather(1, y)
    rest = p.scatter_(1, y, 0.0).sum(1, True)
    losses = torch.where(own > 0.5, -torch.log1p(-rest), -torch.log(own)).squeeze(1)
    if not own.amin().item() > torch.finfo(p.dtype).tiny:  # nor is nan
        losses = torch.where(own.squeeze(1) > 0.5, losses, -torch.log_softmax(logits, 1).gather(1, y).squeeze(1))
    if out is not None:
        out.scatter_(1, y, rest.neg_())
        if scale is not None:
            out.mul_(scale)
    return losses


class _Found(NamedTuple):
    """What is known of rows once their losses are: (rows, 1), or a number for all."""

    values: Tensor
    """What is returned for them."""

    losses: Tensor
    """`lse - z` of the label, or of the largest logit where each class has a share."""

    share: Tensor | float
    """How much the losses count for."""

    slope: Tensor | float
    """What multiplies the probabilities in the gradient."""


class _Tiles:
    """The scratch memory of one sweep, and what its two kinds have in common.

    `sizes` are how many rows are in a tile, and of how many the numbers wait until their losses are found.
    """

    def __init__(
        self,
        logits: Tensor,
        target: Tensor,
        class_weight: Tensor | None,
        options: Options,
        sizes: tuple[int, int],
        out: Tensor | None,
    ) -> None:
        classes = logits.shape[1]
        dtype = wide(logits.dtype)
        shape = (sizes[0], classes)
        self.smoothing, self.z_loss, self.softcap = options
        self.spread = self.smoothing / classes
        self.direct = out is not None and out.dtype == dtype and out.is_contiguous()
        self.p = torch.empty((0,) if self.direct else shape, dtype=dtype)
        self.z = torch.empty(shape if logits.dtype != dtype or self.softcap is not None else (0,), dtype=dtype)
        self.w = class_weight
        self.w_total = float(classes) if class_weight is None else class_weight.sum()
        self.counts = None if class_weight is None or bool((class_weight != 0).all()) else class_weight != 0
        columns = torch.empty((6, sizes[1], 1), dtype=dtype)
        # The largest logit, the largest probability, that of the label and the sum of the others, and sums over logits.
        self.largest, self.top, self.own, self.rest, self.start, self.distance = columns

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

    def weigh(self, losses: Tensor, weights: Tensor | float) -> Tensor:
        """Return weights times losses, 0 where the weight is, also times inf."""
        products = losses * weights
        return torch.where(weights == 0, 0.0, products) if isinstance(weights, Tensor) else products


class _Classes(_Tiles):
    """Rows that are labelled with the index of a class."""

    def read(self, logits: Tensor, target: Tensor, out: Tensor | None, at: slice) -> tuple[Tensor, Tensor]:
        """Take the numbers of the rows of a tile; return its logits, and its probabilities, 0 at the labels."""
        z, p = self.open(logits, out)
        y = target.unsqueeze(1)
        own, start, largest = self.own[at], self.start[at], self.largest[at]
        # Only where the label's probability underflows are the logits needed again, and they may be gone by then.
        again = bool(self.smoothing or self.z_loss or p.data_ptr() == z.data_ptr())
        if again:
            torch.sub(torch.amax(z, 1, True, out=largest), z.gather(1, y), out=start)
        if self.smoothing:
            torch.sub(z, largest, out=p)
            self.distance[at] = self.sum_distances(p)
            torch.softmax(p, 1, out=p)
        else:
            torch.softmax(z, 1, out=p)
        torch.gather(p, 1, y, out=own)
        if not again and not bool(own.amin() > torch.finfo(p.dtype).tiny):  # nor is nan
            again = True
            torch.sub(torch.amax(z, 1, True, out=largest), z.gather(1, y), out=start)
        if again:
            torch.amax(p, 1, True, out=self.top[at])
        else:
            start.zero_()
            self.top[at] = own
        p.scatter_(1, y, 0.0)
        torch.sum(p, 1, True, out=self.rest[at])
        return z, p

    def losses(self, target: Tensor) -> _Found:
        """Return what the rows cost whose numbers were taken."""
        here = slice(len(target))
        own = self.own[here]
        log_total = torch.where(own > 0.5, -torch.log1p(-self.rest[here]), -torch.log(self.top[here]))
        losses = self.start[here] + log_total
        share: Tensor | float = 1.0 - self.smoothing
        if self.w is not None:
            share = self.w[target].unsqueeze(1) * share
        values = losses if isinstance(share, float) and share == 1.0 else self.weigh(losses, share)
        slope = share
        if self.smoothing == 1:
            values = torch.zeros_like(losses)
        if self.smoothing:
            values = values + (log_total * self.w_total + self.distance[here]).mul_(self.spread)
            slope = slope + self.spread * self.w_total
        if self.z_loss:
            lse = self.largest[here] + log_total
            values = values + self.z_loss * lse.square()
            slope = slope + 2.0 * self.z_loss * lse
        return _Found(values, losses, share, slope)

    def slopes(self, p: Tensor, target: Tensor, found: _Found) -> None:
        """Turn probabilities into the gradient of the values."""
        _, losses, share, slope = found
        at_label = torch.expm1(-losses).mul_(share)
        if slope is not share:
            at_label += (slope - share) * self.own[: len(p)]
        if not isinstance(slope, float) or slope != 1.0:
            p.mul_(slope)
        p.scatter_(1, target.unsqueeze(1), at_label)
        if self.smoothing:
            p.sub_(self.spread if self.w is None else self.w * self.spread)

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
        sizes: tuple[int, int],
        out: Tensor | None,
    ) -> None:
        super().__init__(logits, target, class_weight, options, sizes, out)
        dtype, shape = wide(logits.dtype), (sizes[0], logits.shape[1])
        self.as_given = target.dtype == dtype and class_weight is None and not self.smoothing
        self.t = torch.empty((0,) if self.as_given else shape, dtype=dtype)
        self.product = torch.empty(shape, dtype=dtype)
        self.best = torch.zeros((sizes[1], 1), dtype=torch.int64)  # of rows without one, too, something is looked up

    def shares(self, target: Tensor) -> Tensor:
        """Return `w * ((1 - a) * t + a / V)`."""
        if self.as_given:
            return target
        t = self.t[: len(target)]
        t.copy_(target)
        if self.smoothing:
            t.mul_(1.0 - self.smoothing).add_(self.spread)
        return t if self.w is None else t.mul_(self.w)

    def read(self, logits: Tensor, target: Tensor, out: Tensor | None, at: slice) -> tuple[Tensor, Tensor]:
        """Take the numbers of the rows of a tile; return its logits and probabilities."""
        z, p = self.open(logits, out)
        t = self.shares(target)
        in_place = p.data_ptr() == z.data_ptr()
        if not in_place:  # what takes longest brings the logits into the cache
            torch.softmax(z, 1, out=p)
        largest = torch.amax(z, 1, True, out=self.largest[at])
        product = torch.sub(z, largest, out=self.product[: len(z)]).mul_(t)
        distance = torch.sum(product, 1, True, out=self.distance[at])
        if bool(distance.isnan().any()):  # perhaps 0 * inf
            torch.sum(torch.where(t == 0, 0.0, product), 1, True, out=distance)
        torch.sum(t, 1, True, out=self.own[at])
        if in_place:
            torch.softmax(z, 1, out=p)
        top = torch.amax(p, 1, True, out=self.top[at])
        sure = (top > _CLEAR).nonzero()[:, 0]
        if len(sure) == len(p):
            self.best[at], self.rest[at] = _others(p)
        elif len(sure):
            best, rest = _others(p.index_select(0, sure))
            self.best[at].index_copy_(0, sure, best)
            self.rest[at].index_copy_(0, sure, rest)
        return z, p

    def losses(self, target: Tensor) -> _Found:
        """Return what the rows cost whose numbers were taken."""
        here = slice(len(target))
        top, share = self.top[here], self.own[here]
        log_total = torch.where(top > _CLEAR, -torch.log1p(-self.rest[here]), -torch.log(top))
        values = self.weigh(log_total, share).sub_(self.distance[here])
        slope = share
        if self.z_loss:
            lse = self.largest[here] + log_total
            values += self.z_loss * lse.square()
            slope = slope + 2.0 * self.z_loss * lse
        return _Found(values, log_total, share, slope)

    def slopes(self, p: Tensor, target: Tensor, found: _Found) -> None:
        """Turn probabilities into the gradient of the values."""
        _, losses, share, slope = found
        t = target if self.as_given else self.t[: len(p)]
        top, best = self.top[: len(p)], self.best[: len(p)]
        at_best = torch.expm1(-losses).mul_(share) + (slope - share) * top + (share - t.gather(1, best))
        p.mul_(slope).sub_(t)
        p.scatter_(1, best, torch.where(top > _CLEAR, at_best, p.gather(1, best)))


def _others(p: Tensor) -> tuple[Tensor, Tensor]:
    """Return where a row has its `_CLEAR` majority, if any, and the sum of the others, however small: (rows, 1).

    The block of columns with the largest sum is the one that holds that entry, if there is any, and single columns are
    asked about in that block alone: torch's argmax takes ten times as long as its sum.
    """
    columns = p.shape[1]
    width, whole = _blocks_of(columns)
    sums = p[:, :whole].view(len(p), -1, width).sum(2)
    if whole < columns:
        sums = torch.cat([sums, p[:, whole:].sum(1, True)], 1)
    block = sums.argmax(1, True)
    start = block * width
    place = torch.clamp(start, max=columns - width) + torch.arange(width)
    near = p.gather(1, place)
    if whole < columns:
        near.masked_fill_(place < start, 0.0)  # columns of the block before the last one
    within = near.argmax(1, True)
    others = sums.scatter_(1, block, 0.0).sum(1, True) + near.scatter_(1, within, 0.0).sum(1, True)
    return place.gather(1, within), others


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
