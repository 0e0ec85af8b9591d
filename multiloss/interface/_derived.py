"""What every backend inherits: operations made of the primitives, for formulas of any kind."""

from __future__ import annotations

from collections.abc import Callable

from multiloss._typing import Axis, DType, Tensor
from multiloss.interface._primitives import Primitives

EPSILON = 1e-7
"""The default fuzz factor, as in Keras: probabilities are kept this far from 0 and 1."""

TINY = 1e-37
"""Just above the smallest normal float32."""


class Derived(Primitives):
    """Operations that a backend may override where its framework has something faster."""

    # ── Elementwise ─────────────────────────────────────────────────────────────────────────────────────────

    def clip(self, x: Tensor, /, min_value: float | None = None, max_value: float | None = None) -> Tensor:
        """Return `x` kept within `[min_value, max_value]`; None leaves one side open.

        Derivative: 1 inside and at the bounds, 0 outside. nan stays nan.
        """
        if min_value is not None:
            x = self.where(x < min_value, min_value, x)
        if max_value is not None:
            x = self.where(x > max_value, max_value, x)
        return x

    def sigmoid(self, x: Tensor, /) -> Tensor:
        """Return `1 / (1 + exp(-x))`, with full relative accuracy on both sides."""
        _, negative, minus = self._halves(x)
        return self.exp(-negative) / (1.0 + self.exp(minus))

    def softplus(self, x: Tensor, /) -> Tensor:
        """Return `log(1 + exp(x))`; never overflows."""
        positive, _, minus = self._halves(x)
        return positive + self.log1p(self.exp(minus))

    def _halves(self, x: Tensor, /) -> tuple[Tensor, Tensor, Tensor]:
        """Return `max(x, 0)`, `max(-x, 0)` and `-|x|`, of which functions are made that are smooth at 0.

        With the derivatives of one side at 0, not their mean, such a function has the right derivatives there of any
        order: 0 is where boosting starts.
        """
        below = x < 0
        return self.where(below, 0.0, x), self.where(below, -x, 0.0), self.where(below, x, -x)

    def log_sigmoid(self, x: Tensor, /) -> Tensor:
        """Return `log(sigmoid(x))`."""
        return -self.softplus(-x)

    def relu(self, x: Tensor, /) -> Tensor:
        """Return `max(x, 0)`."""
        return self.maximum(x, 0.0)

    def divide_no_nan(self, x: Tensor, y: Tensor, /) -> Tensor:
        """Return `x / y`, and 0 (with gradient 0) where `y` is 0."""
        zero = y == 0
        return self.where(zero, 0.0, x / self.where(zero, 1.0, y))

    def add_to_pair(self, high: Tensor, low: Tensor, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return the pair `high + low + x`, elementwise: the rounded sum, and what rounding took from it.

        The three have one floating dtype, of which the pair has twice the precision (T. J. Dekker, 1971, with D. Knuth's
        branchless error term). What is lost to an infinite or nan sum is 0.
        """
        total, lost = self._exact_sum(high, x)
        # Normalized again at once: a `low` that was left to grow would lose digits of its own.
        return self._exact_sum(total, lost + low)

    def _exact_sum(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return `a + b`, rounded, and what the rounding lost, exactly."""
        total = a + b
        rest = total - a
        lost = (a - (total - rest)) + (b - rest)
        return total, self.where(self.isfinite(total), lost, 0.0)  # inf - inf must not make nan of an infinite total

    def multiply_no_nan(self, weight: Tensor, x: Tensor, /) -> Tensor:
        """Return `weight * x`, and 0 (with gradient 0) where `weight` is 0, whatever `x` is: 0 times infinity is 0."""
        return weight * self.where((weight == 0) & ~self.isfinite(x), 0.0, x)

    # ── Reductions ──────────────────────────────────────────────────────────────────────────────────────────

    def min(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the smallest element over `axis`; nan if any is. Ties share the gradient equally."""
        return -self.max(-x, axis, keepdims)

    def logsumexp(self, x: Tensor, /, axis: Axis = -1, keepdims: bool = False) -> Tensor:
        """Return `log(sum(exp(x)))` over `axis`; never overflows. -inf where all of `x` is -inf, with gradient 0."""
        largest = self.stop_gradient(self.max(x, axis, True))
        shift = self.where(self.isfinite(largest), largest, 0.0)
        total = self.sum(self.exp(x - shift), axis, True)
        empty = total == 0
        result = self.where(empty, largest, self.log(self.where(empty, 1.0, total)) + shift)
        return result if keepdims else self.squeeze(result, axis)

    def scan(self, step: Callable[[Tensor, Tensor], Tensor], state: Tensor, xs: Tensor, /) -> Tensor:
        """Return the states after each step, stacked: `state = step(state, x)` for each `x` along the first axis of `xs`.

        `step` is pure; it keeps the shape and the dtype of the state.
        """
        states = []
        for index in range(xs.shape[0]):
            state = step(state, xs[index, ...])
            states.append(state)
        return self.stack(states) if states else self.full((0, *state.shape), 0, like=state)

    # ── Sorting and selecting ───────────────────────────────────────────────────────────────────────────────

    def bincount(self, x: Tensor, /, num_bins: int) -> Tensor:
        """Return how often each integer from 0 to `num_bins - 1` occurs in the 1-D `x`, which holds no others."""
        return self.segment_sum(self.ones_like(x, "int32"), x, num_bins)

    def ranked_counts(self, scores: Tensor, positive: Tensor, counts: Tensor, weights: Tensor, /) -> Tensor:
        """Return true and false positives as a threshold falls from score to score: shape (2, N + 1), 0 first.

        Of the N scores each stands for `counts + weights` samples (integers, and floats in whose dtype the result is),
        which are positives or not. Equal scores share a threshold, so each of them has the numbers of the last.
        """
        keys = -scores
        order = self.argsort(keys)
        keys = self.take_along_axis(keys, order)
        last = self.searchsorted(keys, keys, side="right")

        def running(chosen: Tensor) -> Tensor:
            whole = self.cumsum(self.take_along_axis(self.where(chosen, counts, 0), order))
            parts = self.cumsum(self.take_along_axis(self.where(chosen, weights, 0.0), order))
            total = self.cast(whole, self.dtype(weights)) + parts
            return self.concatenate([self.full((1,), 0, like=total), self.take_along_axis(total, last - 1)], 0)

        return self.stack([running(positive), running(~positive)])

    def roc_area(self, scores: Tensor, positive: Tensor, counts: Tensor, weights: Tensor, /) -> Tensor:
        """Return the area under the ROC curve: the share of pairs of a positive and a negative, by weight, in which the
        positive has the higher score, ties counting half; 0 if there are no pairs.

        Each score stands for `counts + weights` samples, as in `ranked_counts`. None for both: for one each; the result
        then has the dtype of the scores, else that of the weights.
        """
        counts = self.ones_like(scores, "int32") if counts is None else counts
        weights = self.zeros_like(scores) if weights is None else weights
        totals = self.ranked_counts(scores, positive, counts, weights)
        rates = self.divide_no_nan(totals, self.broadcast_to(totals[:, -1:], tuple(totals.shape)))
        hits, false_alarms = rates[0, :], rates[1, :]
        return self.sum((false_alarms[1:] - false_alarms[:-1]) * (hits[1:] + hits[:-1]) / 2.0)

    # ── Creation ────────────────────────────────────────────────────────────────────────────────────────────

    def zeros_like(self, x: Tensor, /, dtype: DType | None = None) -> Tensor:
        """Return zeros in the shape, dtype (unless given) and device of `x`."""
        return self.full(x.shape, 0, dtype=dtype, like=x)

    def ones_like(self, x: Tensor, /, dtype: DType | None = None) -> Tensor:
        """Return ones in the shape, dtype (unless given) and device of `x`."""
        return self.full(x.shape, 1, dtype=dtype, like=x)

    def one_hot(self, indices: Tensor, /, num_classes: int, axis: int = -1, dtype: DType = "float32") -> Tensor:
        """Return 1 at each index along a new `axis` of size `num_classes`, 0 elsewhere. An index out of range gives zeros."""
        if self.dtype(indices) in ("int8", "uint8", "int16", "uint16"):
            indices = self.cast(indices, "int32")  # they are compared with class numbers, which may not fit
        classes = self.arange(num_classes, dtype=self.dtype(indices), like=indices)
        hot = self.expand_dims(indices, -1) == self.reshape(classes, (1,) * len(indices.shape) + (num_classes,))
        return self.cast(hot if axis == -1 else self.moveaxis(hot, -1, axis), dtype)
