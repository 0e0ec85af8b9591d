"""`Backend`: the definition of K, declared once.

A backend adapts one framework. It implements the abstract methods (the *primitives*) and inherits every other
method (the *derived* operations) from formulas written here in terms of the primitives; it may override a derived
operation where the framework has something faster, and the conformance suite then compares the override with the
formula here. Instantiating a subclass is the completeness check.

Conventions, for every operation:

* tensors go in and come out as the framework's own type, on the device they were on;
* tensor parameters are positional-only, so that a backend can bind a native function in one line;
* `axis` and `keepdims` mean what they mean in NumPy; dtypes are names (`"float32"`);
* what Python operators already say (`+ - * / ** @`, comparisons, `&`, `|`, `~`, `.shape`, `.ndim`) is not repeated here;
  neither is indexing with numbers and slices, within bounds and with all axes or `...` written out;
* Python numbers may stand for tensors in binary operations and never change a tensor's dtype;
* nothing is changed in place;
* the derivative at a kink is the mean of the one-sided derivatives where they are finite (`abs` at 0: 0, `maximum`
  at a tie: 1/2 each), and 0 where one is infinite (`sqrt` at 0). No operation makes a nan gradient from finite input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from multiloss import _crossentropy
from multiloss._typing import Axis, DType, PerClass, Shape, Tensor, TensorLike

EPSILON = 1e-7
"""The default fuzz factor, as in Keras: probabilities are kept this far from 0 and 1."""

_INF = float("inf")

TINY = 1e-37
"""Just above the smallest normal float32."""


class Backend(ABC):
    """One framework, seen through the operations that losses and metrics need."""

    name: ClassVar[str]
    """How users select it: `"numpy"`, `"torch"`, `"jax"`, ..."""

    tensor_types: tuple[type, ...]
    """The types that this backend owns. Subclasses of them are owned too."""

    full_precision: frozenset[Any]
    """The native float dtypes that losses compute in as they are. Other floats are computed in float32."""

    is_host: ClassVar[bool] = False
    """Whether its tensors count as host data at the public boundary, where they join any other framework's."""

    differentiable: ClassVar[bool] = True
    """Whether `value_and_grad` works."""

    # ── Conversion and introspection ────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def version(self) -> str:
        """Return the framework's version."""

    @abstractmethod
    def devices(self) -> list[str]:
        """Return the names of the devices at hand, as `use_backend(..., device=)` accepts them."""

    @abstractmethod
    def asarray(
        self, x: TensorLike, /, *, dtype: DType | None = None, like: Tensor = None, device: str | None = None
    ) -> Tensor:
        """Return `x` as a tensor on the device of `like`, or on `device`, or on the framework's default device.

        Without `dtype` the dtype of a NumPy array is kept as far as the framework can hold it.
        A tensor of this framework is returned as it is, but for `dtype`.
        """

    @abstractmethod
    def to_numpy(self, x: Tensor, /) -> Any:
        """Return `x` as a NumPy array on the host, cut off from any gradient."""

    @abstractmethod
    def dtype(self, x: Tensor, /) -> DType:
        """Return the name of the dtype of `x`."""

    @abstractmethod
    def cast(self, x: Tensor, /, dtype: DType) -> Tensor:
        """Return `x` in another dtype; `x` itself if it already has it.

        Raises:
            DTypeError: if the framework, in its present settings, cannot hold the dtype.
        """

    @abstractmethod
    def has_values(self, x: Tensor, /) -> bool:
        """Whether the values of `x` can be looked at now: not inside a trace, and without waiting for a device."""

    def ends_with_trace(self, x: Tensor, /) -> bool:
        """Whether `x` belongs to a function that is being traced or transformed, and must not be kept beyond it."""
        return False

    def is_floating(self, x: Tensor, /) -> bool:
        """Whether `x` holds floating-point numbers."""
        return self.dtype(x).startswith(("float", "bfloat"))

    # ── Elementwise ─────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def abs(self, x: Tensor, /) -> Tensor:
        """Return the magnitude of `x`. Derivative at 0: 0."""

    @abstractmethod
    def sign(self, x: Tensor, /) -> Tensor:
        """Return -1, 0 or 1. Derivative: 0 everywhere."""

    @abstractmethod
    def square(self, x: Tensor, /) -> Tensor:
        """Return `x * x`."""

    @abstractmethod
    def sqrt(self, x: Tensor, /) -> Tensor:
        """Return the square root of `x >= 0`; nan below. Derivative at 0: 0."""

    @abstractmethod
    def exp(self, x: Tensor, /) -> Tensor:
        """Return e to the power `x`; 0 at -inf, inf where it overflows."""

    @abstractmethod
    def expm1(self, x: Tensor, /) -> Tensor:
        """Return `exp(x) - 1`, accurate for small `x`."""

    @abstractmethod
    def log(self, x: Tensor, /) -> Tensor:
        """Return the natural logarithm; -inf at 0, nan below."""

    @abstractmethod
    def log1p(self, x: Tensor, /) -> Tensor:
        """Return `log(1 + x)`, accurate for small `x`."""

    @abstractmethod
    def tanh(self, x: Tensor, /) -> Tensor:
        """Return the hyperbolic tangent."""

    @abstractmethod
    def isnan(self, x: Tensor, /) -> Tensor:
        """Return True where `x` is nan."""

    @abstractmethod
    def isfinite(self, x: Tensor, /) -> Tensor:
        """Return True where `x` is neither nan nor infinite."""

    @abstractmethod
    def maximum(self, x: Tensor, y: Tensor, /) -> Tensor:
        """Return the larger of the two, elementwise; nan if either is. At a tie each gets half of the gradient."""

    @abstractmethod
    def minimum(self, x: Tensor, y: Tensor, /) -> Tensor:
        """Return the smaller of the two, elementwise; nan if either is. At a tie each gets half of the gradient."""

    @abstractmethod
    def power(self, x: Tensor, /, exponent: Tensor) -> Tensor:
        """Return `x ** exponent` for `x >= 0`. Derivative with respect to `x` at 0: 0 where it would be infinite."""

    @abstractmethod
    def where(self, condition: Tensor, x: Tensor, y: Tensor, /) -> Tensor:
        """Return `x` where the boolean `condition` holds and `y` elsewhere. What is not chosen gets gradient 0."""

    @abstractmethod
    def stop_gradient(self, x: Tensor, /) -> Tensor:
        """Return `x`, treated as a constant by differentiation."""

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

    @abstractmethod
    def sum(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the sum over `axis` (None: all axes). The sum of nothing is 0. Integers and booleans sum to an integer."""

    @abstractmethod
    def mean(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the arithmetic mean over `axis` of a floating tensor."""

    @abstractmethod
    def max(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the largest element over `axis`; nan if any is. Ties share the gradient equally."""

    @abstractmethod
    def any(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether any element of a boolean tensor is True."""

    @abstractmethod
    def all(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether all elements of a boolean tensor are True."""

    @abstractmethod
    def argmax(self, x: Tensor, /, axis: int = -1) -> Tensor:
        """Return the index of the first largest element along `axis`."""

    @abstractmethod
    def cumsum(self, x: Tensor, /, axis: int = -1) -> Tensor:
        """Return the running sum along `axis`."""

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

    @abstractmethod
    def argsort(self, x: Tensor, /, axis: int = -1) -> Tensor:
        """Return the indices that sort `x` in ascending order; stable (equal elements keep their order)."""

    @abstractmethod
    def take_along_axis(self, x: Tensor, indices: Tensor, /, axis: int = -1) -> Tensor:
        """Return `x` at `indices`, which have the rank of `x`. Gradients of repeated indices add up."""

    @abstractmethod
    def searchsorted(self, sorted_values: Tensor, values: Tensor, /, side: str = "left") -> Tensor:
        """Return where `values` would go in the ascending 1-D `sorted_values`, left or right of equal elements."""

    @abstractmethod
    def segment_sum(self, x: Tensor, segments: Tensor, /, num_segments: int) -> Tensor:
        """Return, for each segment number below `num_segments`, the sum of the elements of the 1-D `x` in it."""

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

    # ── Shape ───────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def reshape(self, x: Tensor, /, shape: Shape) -> Tensor:
        """Return `x` with the same elements in another shape; one entry may be -1."""

    @abstractmethod
    def expand_dims(self, x: Tensor, /, axis: int) -> Tensor:
        """Return `x` with a new axis of size 1 at `axis`."""

    @abstractmethod
    def squeeze(self, x: Tensor, /, axis: Axis = None) -> Tensor:
        """Return `x` without the axes of size 1 named by `axis` (None: all of them)."""

    @abstractmethod
    def broadcast_to(self, x: Tensor, /, shape: Shape) -> Tensor:
        """Return `x` repeated to `shape` by NumPy's rules."""

    @abstractmethod
    def moveaxis(self, x: Tensor, /, source: int, destination: int) -> Tensor:
        """Return `x` with one axis moved, the others in their order."""

    @abstractmethod
    def concatenate(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        """Return the tensors joined along an existing axis."""

    @abstractmethod
    def stack(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        """Return the tensors joined along a new axis."""

    # ── Creation ────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def full(self, shape: Shape, /, value: float, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        """Return a tensor filled with `value`, with the device and (unless given) the dtype of `like`."""

    @abstractmethod
    def arange(self, n: int, /, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        """Return `0, 1, ..., n - 1` on the device of `like`, as the framework's index integers unless `dtype` is given."""

    def zeros_like(self, x: Tensor, /, dtype: DType | None = None) -> Tensor:
        """Return zeros in the shape, dtype (unless given) and device of `x`."""
        return self.full(x.shape, 0, dtype=dtype, like=x)

    def ones_like(self, x: Tensor, /, dtype: DType | None = None) -> Tensor:
        """Return ones in the shape, dtype (unless given) and device of `x`."""
        return self.full(x.shape, 1, dtype=dtype, like=x)

    def one_hot(self, indices: Tensor, /, num_classes: int, axis: int = -1, dtype: DType = "float32") -> Tensor:
        """Return 1 at each index along a new `axis` of size `num_classes`, 0 elsewhere. An index out of range gives zeros."""
        classes = self.arange(num_classes, dtype=self.dtype(indices), like=indices)
        hot = self.expand_dims(indices, -1) == self.reshape(classes, (1,) * len(indices.shape) + (num_classes,))
        return self.cast(hot if axis == -1 else self.moveaxis(hot, -1, axis), dtype)

    # ── What losses are made of ─────────────────────────────────────────────────────────────────────────────

    def log_softmax(self, x: Tensor, /, axis: int = -1) -> Tensor:
        """Return `x - logsumexp(x)`: log-probabilities from logits."""
        x = self._centred(x, axis)
        return x - self._log_total(x, axis)

    def _centred(self, x: Tensor, axis: Axis) -> Tensor:
        """Return `x` minus its largest element, so that log-probabilities keep their digits however large `x` is."""
        largest = self.stop_gradient(self.max(x, axis, True))
        return x - self.where(self.isfinite(largest), largest, 0.0)

    def _log_total(self, x: Tensor, axis: int) -> Tensor:
        """Return `log(sum(exp(x)))` of centred `x`, however close to 0 it is.

        The largest terms are 1. One of them is left out of the sum and comes back as the 1 of log1p: next to it the others
        would lose their digits, and a confident prediction its whole loss. expm1 leaves out the value and keeps the slope.
        """
        largest = x == 0
        others = self.sum(self.where(largest, self.expm1(x), self.exp(x)), axis, True)
        return self.log1p(others + (self.cast(self.sum(largest, axis, True), self.dtype(x)) - 1.0))

    def softmax(self, x: Tensor, /, axis: int = -1) -> Tensor:
        """Return probabilities from logits."""
        return self.exp(self.log_softmax(x, axis))

    def l2_normalize(self, x: Tensor, /, axis: Axis = -1) -> Tensor:
        """Return `x` divided by its Euclidean norm over `axis`. The zero vector stays zero, with gradient 0.

        Exact for any length that the dtype can hold: the largest magnitude is divided out before squaring.
        """
        largest = self.stop_gradient(self.max(self.abs(x), axis, True))
        x = x / self.where(largest == 0, 1.0, largest)
        squared = self.sum(self.square(x), axis, True)
        return x / self.sqrt(self.where(squared == 0, float("inf"), squared))

    def binary_crossentropy(self, target: Tensor, output: Tensor, /, from_logits: bool = False) -> Tensor:
        """Return `-target * log(p) - (1 - target) * log(1 - p)` for each element.

        `p` is `sigmoid(output)` with `from_logits`, computed without leaving log space; else `output` clipped to
        `[1e-7, 1 - 1e-7]`.
        """
        if from_logits:
            positive, negative, minus = self._halves(output)
            linear = self.multiply_no_nan(1.0 - target, positive) + self.multiply_no_nan(target, negative)
            return linear + self.log1p(self.exp(minus))
        output = self.clip(output, EPSILON, 1.0 - EPSILON)
        return -(target * self.log(output) + (1.0 - target) * self.log1p(-output))

    def categorical_crossentropy(
        self, target: Tensor, output: Tensor, /, from_logits: bool = False, axis: int = -1
    ) -> Tensor:
        """Return `-sum(target * log(q))` over the class `axis`.

        `q` is `softmax(output)` with `from_logits`, computed without leaving log space; else `output` divided by
        its sum and clipped to `[1e-7, 1 - 1e-7]`.
        """
        if from_logits:
            if axis not in (-1, output.ndim - 1):
                target, output = self.moveaxis(target, axis, -1), self.moveaxis(output, axis, -1)
            return self.softmax_crossentropy(target, output)
        return -self.sum(target * self.log(self.normalized_probabilities(output, axis)), axis)

    def sparse_categorical_crossentropy(
        self, target: Tensor, output: Tensor, /, from_logits: bool = False, axis: int = -1
    ) -> Tensor:
        """Return `-log(q[target])`: `categorical_crossentropy` of integer `target`, without a one-hot tensor."""
        if from_logits:
            last = axis in (-1, output.ndim - 1)
            return self.softmax_crossentropy(target, output if last else self.moveaxis(output, axis, -1))
        chosen = self.take_along_axis(output, self.expand_dims(target, axis), axis)
        return -self.squeeze(self.log(self._share(chosen, self.sum(output, axis, True))), axis)

    def softmax_crossentropy(
        self,
        target: Tensor,
        logits: Tensor,
        row_weight: Tensor = None,
        /,
        total: bool = False,
        label_smoothing: float = 0.0,
        class_weight: PerClass = None,
        z_loss: float = 0.0,
        softcap: float | None = None,
        overwrite: bool = False,
    ) -> Tensor:
        """Return the cross-entropy of each row of logits (..., V), or with `total` the sum over the rows.

        `target` holds class indices (...) or a weight for each class (..., V); see `multiloss._crossentropy` for the
        formula. What is returned is multiplied by `row_weight`, a number or a tensor (...) of which no gradient is taken: a
        row of weight 0 reaches neither the value nor a gradient, whatever it contains. `class_weight` is a tensor (V,).

        Logits of half precision are computed with in float32, which is the dtype of the result. With `overwrite` the
        gradient may be written where the logits are.
        """
        return _crossentropy.softmax_crossentropy(
            self, target, logits, row_weight, total, label_smoothing, class_weight, z_loss, softcap
        )

    def linear_crossentropy(
        self,
        target: Tensor,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor = None,
        row_weight: Tensor = None,
        /,
        total: bool = False,
        label_smoothing: float = 0.0,
        class_weight: PerClass = None,
        z_loss: float = 0.0,
        softcap: float | None = None,
        memory_budget: int | None = None,
        group: Any = None,
    ) -> Tensor:
        """Return `softmax_crossentropy` of the logits `hidden @ weight.T + bias`, of which not all need be there at once.

        `hidden` is (..., D), `weight` (V, D), `bias` (V,). `memory_budget` bounds the bytes of the logits that are held at a
        time. `group` is what the classes, which are the rows of `weight`, are split over: a torch process group, or the
        name of a mesh axis of JAX; `target` and `class_weight` are then about all classes.
        """
        return _crossentropy.linear_crossentropy(
            *(self, target, hidden, weight, bias, row_weight, total),
            *(label_smoothing, class_weight, z_loss, softcap, memory_budget, group),
        )

    def normalized_probabilities(self, output: Tensor, /, axis: int = -1) -> Tensor:
        """Return `output` divided by its sum over `axis` and clipped to `[1e-7, 1 - 1e-7]`."""
        return self._share(output, self.sum(output, axis, True))

    def _share(self, part: Tensor, total: Tensor) -> Tensor:
        total = self.clip(total, TINY)  # all zero: 0 / tiny, not 0 / 0
        # What is left to divide by is 1 but for rounding, so that no gradient squares a total that is tiny.
        part = part / self.stop_gradient(total)
        return self.clip(part / (total / self.stop_gradient(total)), EPSILON, 1.0 - EPSILON)

    def ctc_loss(
        self, labels: Tensor, logits: Tensor, label_length: Tensor, logit_length: Tensor, /, blank: int = 0
    ) -> Tensor:
        """Return `-log(p)` for each sequence, with `p` the probability of all alignments of its labels with its logits.

        An alignment names one class per step, of which repetitions are merged and then blanks left out. Where there is
        none, the result is inf with gradient 0.

        `labels` (N, L) are integers in [0, C), `logits` are (N, T, C), and the lengths (N,) are at most L and T. What
        lies beyond a sequence's lengths reaches nothing.
        """
        n, steps, _ = logits.shape
        length = labels.shape[1]
        time = self.arange(steps, dtype=self.dtype(logit_length), like=logits)
        in_time = self.reshape(time, (1, steps, 1)) < self.reshape(logit_length, (n, 1, 1))
        # Scores and their normalizers apart: they keep more digits than log-probabilities.
        scores = self._centred(self.where(in_time, logits, 0.0), -1)
        normalizer = self.where(in_time, self.log(self.sum(self.exp(scores), -1, True)), 0.0)
        # The states of an alignment: blank, first label, blank, second label, ..., blank.
        pause = scores[:, :, blank : blank + 1]
        chosen = self.broadcast_to(self.expand_dims(labels, 1), (n, steps, length))
        spoken = self.take_along_axis(scores, chosen, -1)
        pairs = self.stack([self.broadcast_to(pause, (n, steps, length)), spoken], -1)
        emitted = self.concatenate([self.reshape(pairs, (n, steps, 2 * length)), pause], -1)
        # From a label one may go on to the next one without a blank, unless it is the same.
        first = min(1, length)  # nothing reaches beyond an axis of size 0
        changes = labels[:, first:] != labels[:, : length - first]
        changes = self.concatenate([self.zeros_like(labels[:, :first], "bool"), changes], -1)
        skippable = self.reshape(self.stack([self.zeros_like(changes), changes], -1), (n, 2 * length))
        skippable = self.concatenate([skippable, self.full((n, 1), 0, dtype="bool", like=labels)], -1)
        nowhere = self.full((n, 2), -_INF, like=scores)

        # Scores of the states relative to the largest, which is added up in a last column: so they keep their digits
        # however long the sequence is.
        def step(state: Tensor, x: Tensor) -> Tensor:
            state, scale = state[:, :-1], state[:, -1:]
            shifted = self.concatenate([nowhere, state], -1)
            skipped = self.where(skippable, shifted[:, :-2], -_INF)
            state = self.logsumexp(self.stack([state, shifted[:, 1:-1], skipped]), 0) + x
            largest = self.stop_gradient(self.max(state, -1, True))
            largest = self.where(self.isfinite(largest), largest, 0.0)
            return self.concatenate([state - largest, scale + largest], -1)

        zero = self.full((n, 1), 0, like=scores)
        start = self.concatenate([zero, self.full((n, 2 * length), -_INF, like=scores), zero], -1)
        states = self.scan(step, start, self.moveaxis(emitted, 1, 0))
        states = self.concatenate([self.expand_dims(start, 0), states], 0)
        end = self.broadcast_to(self.reshape(logit_length, (1, n, 1)), (1, n, 2 * length + 2))
        final = self.squeeze(self.take_along_axis(states, end, 0), 0)
        # It ends in the last label or in the blank behind it.
        after = self.expand_dims(2 * label_length, -1)
        on = self.take_along_axis(final, self.where(after > 0, after - 1, 0), -1)
        ends = self.stack([self.take_along_axis(final, after, -1), self.where(after > 0, on, -_INF)])
        reached = self.squeeze(self.logsumexp(ends, 0), -1)
        loss = self.sum(normalizer, (1, 2)) - final[:, -1] - reached
        return self.where(reached == -_INF, _INF, loss)

    def in_top_k(self, targets: Tensor, predictions: Tensor, /, k: int) -> Tensor:
        """Whether, in each row of the 2-D `predictions`, fewer than `k` entries beat the one at `targets`. Ties count as hits."""
        chosen = self.take_along_axis(predictions, self.expand_dims(targets, -1), -1)
        return self.isfinite(self.squeeze(chosen, -1)) & (self.sum(predictions > chosen, -1) < k)

    # ── Transforms ──────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def value_and_grad(
        self, fn: Callable[[list[Tensor]], tuple[Tensor, list[Any]]], leaves: list[Tensor], /
    ) -> tuple[Tensor, list[Any], list[Tensor]]:
        """Return `value`, `aux` and the gradients of `value` for each of `leaves`, where `value, aux = fn(leaves)`.

        `value` is the scalar that is differentiated; a leaf that does not matter gets zeros. `aux` lists tensors
        and other objects; value and tensors come back cut off from the gradient.
        """

    def grad_and_hessian_products(
        self, fn: Callable[[Tensor], Tensor], x: Tensor, vectors: Sequence[Tensor], /
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradient of the scalar `fn(x)`, and for each of `vectors` the Hessian's product with it.

        They come back cut off from any gradient. Here each product is a gradient of its own, taken of the gradient;
        that needs a `value_and_grad` that can be nested.
        """
        if not vectors:
            return self.value_and_grad(lambda leaves: (fn(leaves[0]), []), [x])[2][0], []

        def slope(vector: Tensor) -> tuple[Tensor, Tensor]:
            def along(leaves: list[Tensor]) -> tuple[Tensor, list[Any]]:
                _, _, (gradient,) = self.value_and_grad(lambda inner: (fn(inner[0]), []), leaves)
                return self.sum(gradient * vector), [gradient]

            _, (gradient,), (product,) = self.value_and_grad(along, [x])
            return gradient, product

        pairs = [slope(vector) for vector in vectors]
        return pairs[0][0], [product for _, product in pairs]

    def jit(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Return `fn`, compiled by the framework if it has a compiler."""
        return fn

    def run(self, fn: Callable[..., Any], /, *tensors: Tensor, **static: Any) -> Any:
        """Return `fn(*tensors, **static)`, run in whatever way is fastest for this framework.

        `fn` is pure and lives as long as the process; `tensors` are tensors or None; `static` is hashable and may
        steer Python control flow.
        """
        return fn(*tensors, **static)

    def run_rows(self, fn: Callable[..., Tensor], /, *tensors: Tensor, **static: Any) -> Tensor:
        """Return what `run` does, for a formula that takes each row by itself, so that a backend may take some at a time.

        `fn` is pure. Each entry of its result depends on those entries of `tensors` alone that have its indices along
        all axes but the last of the predictions, which come second; that one `fn` reduces, or keeps as it is. A tensor
        of one axis is one row. `static` is what all rows share: hashable, or a tensor that no gradient is taken of.
        """
        return self.run(fn, *tensors, **static)

    def takes_rows(self, y_pred: Tensor, /) -> bool:
        """Whether predictions are so large that `run_rows` may take them some rows at a time; asked in every call."""
        return False
