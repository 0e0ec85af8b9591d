"""`Backend`: the primitives, what is derived of them, what losses are made of, and the ways to run a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Unpack

from multiloss._typing import Axis, Tensor, TensorLike
from multiloss.interface import _crossentropy
from multiloss.interface._crossentropy import CrossentropyOptions
from multiloss.interface._derived import EPSILON, TINY, Derived

_INF = float("inf")

_FEW = 64
"""Rows that are looked at before all others."""


def first_rows(tensors: Sequence[Tensor]) -> list[Tensor] | None:
    """Return a few rows of many, in which often shows what does not hold of all; None if there are no more than that."""
    shape = tensors[1].shape
    if len(shape) < 2 or not isinstance(shape[0], int) or shape[0] <= _FEW:  # of an unknown size there may be no more
        return None
    return [x[:_FEW, ...] for x in tensors]


class HostCopies(Protocol):
    """Memory for tensors of one type, shape and dtype each, which are copied there again and again."""

    memory: Sequence[Any]
    """A NumPy array for each of them, whose first axis is that of the places."""

    def put(self, at: int, tensors: Sequence[Tensor], /) -> bool:
        """Copy tensors to a place, and tell whether it was done; asked in every update of a metric.

        Not if there is no such place, as two threads may ask for that fill the last one, if a tensor is of another type,
        shape or dtype, or elsewhere than in the memory of the host, or if somebody traces what is done with it.
        """
        ...


class Backend(Derived):
    """One framework, seen through the operations that losses and metrics need."""

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

    def cosine(self, x: Tensor, y: Tensor, /, axis: int = -1) -> Tensor:
        """Return the cosine of the angle between two vectors, along `axis`. If either is zero: 0, with gradient 0."""
        return self.sum(self.l2_normalize(x, axis) * self.l2_normalize(y, axis), axis)

    def huber(self, target: Tensor, output: Tensor, /, delta: TensorLike = 1.0) -> Tensor:
        """Return, for each element, `e^2 / 2` where `|e| <= delta`, else `delta * |e| - delta^2 / 2`; `e = output - target`.

        The gradient is `e` clipped to `[-delta, delta]`, to the last digit.
        """
        error = self.abs(output - target)
        quadratic = self.minimum(error, delta)
        # With q = min(|e|, delta) both branches are q * (|e| - q / 2): no select, one gradient at the joint, and that
        # gradient is q, because the derivative by q is |e| - q, exactly 0 wherever q moves.
        return quadratic * (error - 0.5 * quadratic)

    def log_cosh(self, x: Tensor, /) -> Tensor:
        """Return `log(cosh(x))` for each element, with its digits at any size."""
        size = self.abs(x)
        # The textbook form cancels for small x (1e-4 gives 0 in float32). With t = exp(|x|) - 1 it is
        # log1p(t^2 / (2 (1 + t))), which keeps its digits. Beyond 20 the rest is a line, to the last digit of float64.
        t = self.expm1(self.minimum(size, 20.0))
        return self.log1p(0.5 * self.square(t) / (1.0 + t)) + self.maximum(size - 20.0, 0.0)

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
        return (target - 1.0) * self.log1p(-output) - target * self.log(output)

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
        overwrite: bool = False,
        **options: Unpack[CrossentropyOptions],
    ) -> Tensor:
        """Return the cross-entropy of each row of logits (..., V), or with `total` the sum over the rows.

        `target` holds class indices (...) or a weight for each class (..., V); see `multiloss.interface._crossentropy` for
        the formula and `CrossentropyOptions` for what enters it. What is returned is multiplied by `row_weight`, a number or
        a tensor (...) of which no gradient is taken: a row of weight 0 reaches neither the value nor a gradient, whatever it
        contains.

        Logits of half precision are computed with in float32, which is the dtype of the result. With `overwrite` the
        gradient may be written where the logits are.
        """
        return _crossentropy.softmax_crossentropy(self, target, logits, row_weight, total, **options)

    def linear_crossentropy(
        self,
        target: Tensor,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor = None,
        row_weight: Tensor = None,
        /,
        total: bool = False,
        memory_budget: int | None = None,
        group: Any = None,
        **options: Unpack[CrossentropyOptions],
    ) -> Tensor:
        """Return `softmax_crossentropy` of the logits `hidden @ weight.T + bias`, of which not all need be there at once.

        `hidden` is (..., D), `weight` (V, D), `bias` (V,). `memory_budget` bounds the bytes of the logits that are held at a
        time. `group` is what the classes, which are the rows of `weight`, are split over: a torch process group, or the
        name of a mesh axis of JAX; `target` and `class_weight` are then about all classes.
        """
        return _crossentropy.linear_crossentropy(
            *(self, target, hidden, weight, bias, row_weight, total, memory_budget, group), **options
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

    def run_rows(self, fn: Callable[..., Any], /, *tensors: Tensor, **static: Any) -> Any:
        """Return what `run` does, for a formula that takes each row by itself, so that a backend may take some at a time.

        `fn` is pure. Each entry of its result depends on those entries of `tensors` alone that have its indices along
        all axes but the last of the predictions, which come second; that one `fn` reduces, or keeps as it is. A tensor
        of one axis is one row. `static` is what all rows share: hashable, or a tensor that no gradient is taken of.
        Where no gradient is taken, its result may be a tuple of several tensors.
        """
        return self.run(fn, *tensors, **static)

    def run_rows_knowing(self, holds: Callable[..., Tensor], fn: Callable[..., Tensor], /, *tensors: Tensor) -> Tensor:
        """Return `run_rows(fn, *tensors, known=...)`, where `known` says whether `holds(*tensors)` is true of all rows.

        Both are formulas as `run_rows` takes them, at the top level of a module. `known` is a bool, or a boolean tensor
        without axes where values cannot be looked at.
        """
        return self.run_rows(fn, *tensors, known=self._of_all_rows(holds, [self.stop_gradient(x) for x in tensors]))

    def _of_all_rows(self, holds: Callable[..., Tensor], tensors: Sequence[Tensor]) -> Tensor:
        """Return whether `holds(*tensors)` is true of all rows: as a bool if values can be looked at."""
        first = first_rows(tensors)
        if not all(self.has_values(x) for x in tensors):
            return self.all(self.run_rows(holds, *tensors))
        if first is not None and not self.to_numpy(self.all(holds(*first))):
            return False
        return bool(self.to_numpy(self.all(self.run_rows(holds, *tensors))))

    def host_copies(self, likes: Sequence[Tensor], length: int, /) -> HostCopies | None:
        """Return where tensors like these can be copied to, `length` of each, or None if they are not on the host."""
        return None

    def checked_crossentropy(
        self,
        target: Tensor,
        logits: Tensor,
        /,
        reduction: str,
        sample_weight: Tensor,
        mask: Tensor,
        options: Mapping[str, Any],
    ) -> Tensor | None:
        """Return the cross-entropies of a few rows of logits and their classes, reduced as losses are, or None.

        The short way for small batches, whose time is that of the calls around the arithmetic; asked in every call of a loss
        whose only options, if any, are `ignore_class` and the numbers of `class_weight`, and before anything is known of the
        tensors. None if there is no such way, and for whatever needs something done to it: other types, dtypes, shapes and
        backends, labels out of range, tensors that somebody traces.
        """
        return None

    def takes_rows(self, y_pred: Tensor, /) -> bool:
        """Whether predictions are so large that `run_rows` may take them some rows at a time; asked in every call."""
        return False
