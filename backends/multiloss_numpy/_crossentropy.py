"""Cross-entropies of many classes on NumPy: a few rows at a time, whose exponentials never leave the cache.

A block of rows is read once. Its exponentials are taken without subtracting the largest logit, and taken again the safe
way if a sum shows that some of them over- or underflowed. Whatever the options ask of a row is then a sum over the block
that is in the cache, and the gradient is the block of exponentials times a number per row.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from multiloss._config import num_threads
from multiloss.interface import CrossentropyOptions

from multiloss_numpy import _blocks

Array = Any

_BLOCK = 1 << 20
"""Elements of a block: a loop over them outlasts handing the interpreter lock over, and few operations are on rows."""

_THREADED = 1 << 22
"""From how many logits on a second thread pays."""

_FEW = 512
"""How many columns `einsum` adds with enough digits; a ufunc that reduces so few is busy between the rows."""

# Within which bounds exponentials that nothing was subtracted from are as good as others. Above, the gradient's factor
# 1 / sum would lose digits; below, terms that are flushed to 0 would be missed.
_BOUNDS = {np.dtype(np.float32): (1e-25, 1e30), np.dtype(np.float64): (1e-250, 1e300)}


class Scratch:
    """Arrays of one thread that its blocks share."""

    def __init__(self, rows: int, columns: int, dtype: np.dtype[Any]) -> None:
        self._shape, self._dtype = (rows, columns), dtype
        self._arrays: dict[str, Array] = {}

    def __call__(self, name: str, rows: int) -> Array:
        """Return the array of that name, with so many rows and anything in them."""
        array = self._arrays.get(name)
        if array is None:
            array = self._arrays[name] = np.empty(self._shape, self._dtype)
        return array[:rows]


class Rows:
    """What the rows of one cross-entropy are computed with.

    `target` is (N,) integers or (N, V) weights of classes, `row_weight` None, a number or (N,). See
    `multiloss.interface._crossentropy` for the formula and the options.
    """

    def __init__(
        self,
        target: Array,
        row_weight: Array,
        classes: int,
        dtype: np.dtype[Any],
        label_smoothing: float = 0.0,
        class_weight: Array = None,
        z_loss: float = 0.0,
        softcap: float | None = None,
        bias: Array = None,
    ) -> None:
        self.dtype, self.classes = dtype, classes
        self.target, self.sparse = target, target.ndim == 1
        self.row_weight = None
        if row_weight is not None:
            self.row_weight = np.broadcast_to(np.asarray(row_weight, dtype), target.shape[:1])
        self.hard, self.each = 1.0 - label_smoothing, label_smoothing / classes
        self.class_weight, self.mass = None, float(classes)
        if class_weight is not None:
            self.class_weight = np.asarray(class_weight, dtype)
            self.mass = float(self.class_weight.sum(dtype=np.float64))
        self.z_loss, self.softcap, self.bias = z_loss, softcap, bias

    def weighted(self, upstream: Array) -> Rows:
        """Return these rows with their weights times a number for each of them, or one for all."""
        rows = copy.copy(self)
        upstream = np.asarray(upstream, self.dtype)
        weight = upstream if self.row_weight is None else np.where(self.row_weight == 0, 0, self.row_weight * upstream)
        rows.row_weight = np.broadcast_to(weight, self.target.shape[:1])
        return rows

    def at(self, index: Any) -> Rows:
        """Return some of these rows."""
        rows = copy.copy(self)
        rows.target = self.target[index]
        rows.row_weight = None if self.row_weight is None else self.row_weight[index]
        return rows

    def run(self, logits: Array, values: Array, slopes: Array = None) -> None:
        """Write into `values` (N,) what the rows cost, and into `slopes` the gradient of their sum for the logits (N, V).

        `slopes` may be the logits themselves. With a bias, it is added to the logits in place.
        """
        count = len(logits)
        size = max(1, _BLOCK // self.classes)

        def work(here: slice, scratch: Scratch) -> None:
            given = logits[here]
            out = None if slopes is None else slopes[here]
            weight = None if self.row_weight is None else self.row_weight[here]
            dead = None if weight is None or (weight != 0).all() else weight == 0
            if dead is not None and dead.all():
                values[here] = 0
                if out is not None:
                    out[...] = 0
                return
            if self.bias is not None:
                given += self.bias
            of_block = self._of_labels if self.sparse else self._of_weights
            found = of_block(given, self.target[here], weight, out, scratch)
            if weight is not None:
                found = found * weight
            if dead is not None:  # not by the product: they may hold nan
                found[dead] = 0
                if out is not None:
                    out[dead] = 0
            values[here] = found

        _in_blocks(work, count, size, self.classes, self.dtype)

    def _of_labels(self, given: Array, label: Array, weight: Array, out: Array, scratch: Scratch) -> Array:
        count = len(given)
        z, t = self._capped(given, scratch), self._room(given, out, scratch)
        own = np.arange(count), label
        shift, spread, logit = 0.0, 0.0, z[own]
        if self.each:
            spread = self._spread(z, t)
        rest, chosen = _exponentials(z, t, own)
        low, high = _BOUNDS[self.dtype]
        if not (rest.min() > low and (rest + chosen).max() < high):
            shift = _finite(_row_max(z))
            np.subtract(z, shift[:, None], out=t)
            logit = t[own]
            if self.each:
                centred = scratch("centred", count)
                np.copyto(centred, t)
                spread = self._spread(centred, t)
                rest, chosen = _exponentials(centred, t, own)
            else:
                rest, chosen = _exponentials(t, t, own)
            _spoil_infinite(rest, chosen)
        total = rest + chosen
        log_total = np.log(total)
        # A confident row loses its digits in lse - z: the label stays out of the sum.
        near = (chosen > low) & (rest < chosen * high)  # so that one can be divided by the other
        nll = np.where(near, np.log1p(rest / chosen), log_total - logit)
        hard = self.hard if self.class_weight is None else self.hard * self.class_weight[label]
        values = nll if isinstance(hard, float) and hard == 1.0 else np.where(hard == 0, 0, hard * nll)
        if self.each:
            values = values + self.each * (self.mass * log_total - spread)
        lse = shift + log_total if self.z_loss else 0.0
        if self.z_loss:
            values = values + self.z_loss * np.square(lse)
        if out is not None:
            soft = self.each * self.mass + 2.0 * self.z_loss * lse
            at_label = hard * np.expm1(-nll)
            if self.each or self.z_loss:
                w = 1.0 if self.class_weight is None else self.class_weight[label]
                at_label = at_label + soft * np.exp(-nll) - self.each * w
            self._slopes(z, t, (hard + soft) / total, own, at_label, None, weight, out, scratch)
        return values

    def _of_weights(self, given: Array, target: Array, weight: Array, out: Array, scratch: Scratch) -> Array:
        count = len(given)
        z, t = self._capped(given, scratch), scratch("exponentials", count)
        a, products = scratch("target", count), scratch("products", count)
        np.multiply(target, self.hard, out=a, dtype=self.dtype, casting="unsafe")
        if self.each:
            a += self.each
        if self.class_weight is not None:
            a *= self.class_weight
        top = np.arange(count), np.argmax(z, -1)
        shift = _finite(z[top])
        np.subtract(z, shift[:, None], out=t)
        np.multiply(a, t, out=products)
        costs = _row_sums(products)
        if not np.isfinite(costs).all():  # a class without weight costs nothing, whatever its logit
            costs = _row_sums(np.where(a == 0, 0, products))
        rest, chosen = _exponentials(t, t, top)
        _spoil_infinite(rest, chosen)
        log_total = np.where(chosen == 1, np.log1p(rest), np.log(rest + chosen))
        mass = _row_sums(a)
        values = mass * log_total - costs
        lse = shift + log_total if self.z_loss else 0.0
        if self.z_loss:
            values = values + self.z_loss * np.square(lse)
        if out is not None:
            soft = 2.0 * self.z_loss * lse
            p = np.exp(-log_total)
            # Of a large p_top the others hold the digits, of a small one it does itself.
            at_top = np.where(p > 0.5, mass * np.expm1(-log_total) + (mass - a[top]), mass * p - a[top])
            if self.z_loss:
                at_top = at_top + soft * p
            self._slopes(z, t, (mass + soft) / (rest + chosen), top, at_top, a, weight, out, scratch)
        return values

    def _slopes(
        self,
        z: Array,
        t: Array,
        factor: Array,
        own: Any,
        at_own: Array,
        a: Array,
        weight: Array,
        out: Array,
        scratch: Any,
    ) -> None:
        """Write the gradient: exponentials times factors, less what labels ask for, with one entry per row given."""
        column = self.dtype.type(1) if weight is None else weight[:, None]
        factor = factor if weight is None else factor * weight
        slope = out if out.dtype == self.dtype else scratch("slopes", len(t))
        np.multiply(t, factor[:, None], out=slope)
        if a is not None:
            slope -= np.multiply(a, column, out=t)
        elif self.each:
            w = self.class_weight
            each = column * self.dtype.type(self.each)
            slope -= each if w is None else np.multiply(w, each, out=t)
        slope[own] = at_own if weight is None else at_own * weight
        if self.softcap is not None:
            np.square(z, out=z)  # which the logits below the cap have to themselves
            z *= -1.0 / self.softcap**2
            z += 1.0
            slope *= z
        if slope is not out:
            out[...] = slope

    def _room(self, given: Array, out: Array, scratch: Scratch) -> Array:
        """Return where the exponentials of a block go: where its gradient will be, unless the logits are still there."""
        if out is None or out.dtype != self.dtype or self.each or np.may_share_memory(out, given):
            return scratch("exponentials", len(given))
        return out

    def _capped(self, given: Array, scratch: Scratch) -> Array:
        """Return the logits of a block in full precision and below the cap; not in the memory of `given` if changed."""
        if self.softcap is None:
            if given.dtype == self.dtype:
                return given
            z = scratch("logits", len(given))
            z[...] = given
            return z
        z = scratch("logits", len(given))
        z[...] = given
        z *= 1.0 / self.softcap
        np.tanh(z, out=z)
        z *= self.softcap
        return z

    def _spread(self, z: Array, t: Array) -> Array:
        """Return the sums over the classes of their logits times their weights; `t` is overwritten."""
        if self.class_weight is None:
            return _row_sums(z)
        sums = _row_sums(np.multiply(z, self.class_weight, out=t))
        if np.isfinite(sums).all():
            return sums
        return _row_sums(np.where(self.class_weight == 0, 0, t))


def softmax_crossentropy(
    target: Array, logits: Array, row_weight: Array, total: bool, options: CrossentropyOptions, out: Array = None
) -> Array:
    """Return what `Backend.softmax_crossentropy` does; with `out`, write the gradient of the sum there."""
    rows, logits = flat_rows(target, logits, row_weight, options)
    values = np.empty(len(logits), rows.dtype)
    rows.run(logits, values, out if out is None else out.reshape(logits.shape))
    return summed(values) if total else values.reshape(target.shape if rows.sparse else target.shape[:-1])


def flat_rows(target: Array, logits: Array, row_weight: Array, options: CrossentropyOptions) -> tuple[Rows, Array]:
    """Return the rows of a call, and its logits with their leading axes made one."""
    classes = logits.shape[-1]
    if target.ndim < logits.ndim:
        target = target.reshape(-1)
    else:
        target = target.reshape(-1, classes)
    if row_weight is not None and not isinstance(row_weight, (int, float)):
        row_weight = row_weight.reshape(-1)
    rows = Rows(target, row_weight, classes, statistics_dtype(logits.dtype), **options)
    return rows, logits.reshape(len(target), classes)


def statistics_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that rows of such logits are computed in."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def summed(values: Array) -> Array:
    """Return the sum of what the rows cost, rounded once."""
    return values.sum(dtype=np.float64).astype(values.dtype)


def _in_blocks(
    work: Callable[[slice, Scratch], None], count: int, size: int, columns: int, dtype: np.dtype[Any]
) -> None:
    """Call `work` for each block of so many rows, with arrays of its thread."""
    size = min(size, count)
    starts = itertools.count(0, max(size, 1))

    def run(_: int) -> None:
        scratch = Scratch(size, columns, dtype)
        with np.errstate(all="ignore"):  # as a decorator it would be made in each call, in 4 microseconds
            while (start := next(starts)) < count:
                work(slice(start, min(start + size, count)), scratch)

    if count * columns < _THREADED:
        run(0)
        return
    _blocks._keep_freed_memory()
    _blocks.in_threads(run, range(min(num_threads(), -(-count // size))))


def _exponentials(z: Array, t: Array, own: Any) -> tuple[Array, Array]:
    """Write exp(z) into `t` but for 0 in one entry of each row; return the sums of the rows, and those entries."""
    np.exp(z, out=t)
    chosen = t[own]
    t[own] = 0
    return _row_sums(t), chosen


def _spoil_infinite(rest: Array, chosen: Array) -> None:
    """Make nan of rows with a logit of inf: beside it, what others cost is unknown."""
    rest[rest + chosen == np.inf] = np.nan


def _row_sums(x: Array) -> Array:
    rows, columns = x.shape
    whole = columns // _FEW * _FEW
    if columns <= _FEW:
        return np.einsum("ij->i", x)
    sums = np.add.reduce(np.einsum("ijk->ij", x[:, :whole].reshape(rows, -1, _FEW)), -1)
    return sums if whole == columns else sums + np.einsum("ij->i", x[:, whole:])


def _row_max(z: Array) -> Array:
    if z.shape[1] <= _FEW:
        return np.take_along_axis(z, np.argmax(z, -1)[:, None], -1)[:, 0]
    return np.maximum.reduce(z, -1)


def _finite(x: Array) -> Array:
    return np.where(np.isfinite(x), x, 0)
