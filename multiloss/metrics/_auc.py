"""Area under the curve, from counts per score bucket.

Each score falls into one of `T - 1` buckets between `T` thresholds, and the state counts positives and negatives in
each: O(N log T) time, no tensor of N by T, and states merge by addition. Buckets run from the highest scores to the
lowest, so that running sums are the numbers of true and false positives as the threshold falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from multiloss._boundary import align, arrive, as_floats
from multiloss._errors import ArgumentError, LabelError, ShapeError, unknown_name
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import EPSILON, Backend
from multiloss.losses._reduction import select
from multiloss.metrics._base import Metric
from multiloss.metrics._sums import COUNT, add, add_pairs, as_result, beside, run, sum_dtype, zeros

__all__ = ["AUC"]

_NAN = float("nan")


class AUCState(NamedTuple):
    """What fell into each bucket, from the highest scores to the lowest: shape (T - 1,), or (T - 1, labels)."""

    thresholds: Tensor
    """The bucket borders, ascending: shape (T,). They never change."""
    positives: Tensor
    """How many positives arrived without a weight."""
    negatives: Tensor
    positive_weight: Tensor
    """The sum of the weights of the other positives."""
    positive_weight_low: Tensor
    negative_weight: Tensor
    negative_weight_low: Tensor


def _choice(given: Any, choices: tuple[str, ...], what: str) -> str:
    """Return the choice that was given by name, in any case, or as one of Keras' enums."""
    name = str(getattr(given, "value", given))
    for choice in choices:
        if name.lower() == choice.lower():
            return choice
    raise unknown_name(what, given, choices)


class AUC(Metric):
    """Area under the ROC curve, the precision-recall curve or the precision-recall-gain curve, for binary labels.

    The curve is evaluated at `num_thresholds` thresholds, so its area is an approximation: scores between two
    neighbouring thresholds are not told apart. Labels are 0 and 1, or -1 and 1.

    Shapes: labels `(...)` and scores `(...)`, all alike; `(N, labels)` with `multi_label`. Weights and mask align on the
    leading axes.

    Args:
        num_thresholds: how many, evenly spaced from 0 to 1; at least 2.
        curve: `"ROC"`, `"PR"` or `"PRGAIN"`.
        summation_method: `"interpolation"` (trapezoids; for PR true and false positives are interpolated and not the
            precision), `"minoring"` (the lower end of each step) or `"majoring"` (the higher end).
        name: shown in logs. Default: `"auc"`.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.
        thresholds: some in [0, 1], in place of evenly spaced ones; a first below 0 and a last above 1 are added.
        multi_label: whether each column is a problem of its own, whose areas are averaged; else all are one problem.
        num_labels: how many columns, with `multi_label`. Default: those of the first batch.
        label_weights: how much each column weighs: in the average with `multi_label`, else as a sample weight.
        from_logits: whether `y_pred` are logits, not probabilities.

    Raises:
        UnknownNameError: for an unknown curve or summation method.
        ArgumentError: for other arguments outside their domain; and for a prediction outside [0, 1] where values can be
            looked at. Elsewhere the result is nan.
        LabelError: for a label that is not 0 or 1 (nor -1 and 1), likewise.

    Source: for PR, J. Davis and M. Goadrich, The Relationship Between Precision-Recall and ROC Curves, 2006; for
    PRGAIN, P. Flach and M. Kull, Precision-Recall-Gain Curves, 2015.

    >>> float(AUC(num_thresholds=3)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9]))
    0.75
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(dtype, name)
        self.curve = _choice(curve, ("ROC", "PR", "PRGAIN"), "curve")
        self.summation_method = _choice(summation_method, ("interpolation", "minoring", "majoring"), "summation method")
        self._inner = _inner_thresholds(num_thresholds, thresholds)
        self._given_thresholds = thresholds is not None
        self.num_thresholds = len(self._inner) + 2
        self.multi_label = bool(multi_label)
        self.label_weights = None if label_weights is None else tuple(float(each) for each in label_weights)
        if num_labels is not None and not multi_label:
            raise ArgumentError(f"num_labels={num_labels} cannot act without multi_label=True. Leave it out.")
        known = None if self.label_weights is None else len(self.label_weights)
        if multi_label and None not in (num_labels, known) and num_labels != known:
            raise ArgumentError(
                f"num_labels={num_labels}, and label_weights has {known} entries. Expected equal numbers."
            )
        self.num_labels = num_labels
        self.from_logits = bool(from_logits)

    @property
    def thresholds(self) -> list[float]:
        """The thresholds, ascending, with one below 0 and one above 1."""
        return [-EPSILON, *self._inner, 1.0 + EPSILON]

    # ── The pure core ───────────────────────────────────────────────────────────────────────────────────────

    def init(self, like: Tensor = None) -> AUCState:
        shape: tuple[int, ...] = (self.num_thresholds - 1,)
        if self.multi_label:
            shape += (self._labels(like),)
        like = beside(like)
        dtype = sum_dtype(like, self.dtype)
        counts = [zeros(like, COUNT, shape) for _ in range(2)]
        weights = [zeros(like, dtype, shape) for _ in range(4)]
        return AUCState(K.asarray(self.thresholds, dtype=dtype, like=like), *counts, *weights)

    def _labels(self, like: Tensor) -> int:
        """Return the number of labels: as given, or that of a batch, or 1 before there is one."""
        if self.num_labels is not None:
            return self.num_labels
        if self.label_weights is not None:
            return len(self.label_weights)
        return int(like.shape[-1]) if like is not None and like.ndim == 2 else 1

    def update(
        self,
        state: AUCState,
        /,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
    ) -> AUCState:
        """Return the state after one more batch.

        Raises:
            ShapeError: if targets, predictions, weights or mask do not align, or the number of labels is another.
            ArgumentError: for a prediction outside [0, 1], unless `from_logits`, where values can be looked at.
            LabelError: for a label that is not 0 or 1 (nor -1 and 1), likewise.
            MixedBackendsError: for tensors of two frameworks.
        """
        backend, tensors = arrive(*state, y_true, y_pred, sample_weight, mask)
        batch = tensors[len(state) :]
        self._check_shape(state, tuple(batch[1].shape))
        updated: AUCState = backend.run(
            _add_to_buckets,
            *tensors,
            checked=_values_checked(backend, batch, self.from_logits),
            label_weights=None if self.multi_label else self.label_weights,
            from_logits=self.from_logits,
        )
        return updated

    def _check_shape(self, state: AUCState, shape: tuple[int, ...]) -> None:
        if self.multi_label:
            labels = int(state.positives.shape[-1])
            if len(shape) != 2 or shape[-1] != labels:
                raise ShapeError(f"y_pred has shape {shape}. Expected (N, {labels}), as multi_label=True asks for.")
        elif self.label_weights is not None and (not shape or shape[-1] != len(self.label_weights)):
            raise ShapeError(
                f"y_pred has shape {shape}, and there are {len(self.label_weights)} label_weights. "
                "Expected one for each entry of the last axis."
            )

    def merge(self, a: AUCState, b: AUCState, /) -> AUCState:
        merged: AUCState = run(_merge, *a, *b)
        return merged

    def compute(self, state: AUCState, /) -> Tensor:
        return run(
            _area,
            *state,
            curve=self.curve,
            summation_method=self.summation_method,
            multi_label=self.multi_label,
            label_weights=self.label_weights,
            dtype=self.dtype,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": None if self.label_weights is None else list(self.label_weights),
            "from_logits": self.from_logits,
        }
        return config | {"thresholds": list(self._inner)} if self._given_thresholds else config


def _inner_thresholds(number: int, given: Sequence[float] | None) -> list[float]:
    """Return the thresholds strictly between the added ends, ascending."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 2:
        raise ArgumentError(f"num_thresholds={number!r} is not allowed. Expected a whole number of at least 2.")
    if given is None:
        return [(i + 1) / (number - 1) for i in range(number - 2)]
    inner = sorted(float(each) for each in given)
    if not all(0 <= each <= 1 for each in inner):
        raise ArgumentError(f"thresholds={list(given)} are not allowed. Expected numbers in [0, 1].")
    if number not in (200, len(inner) + 2):
        raise ArgumentError(
            f"num_thresholds={number} cannot act beside thresholds={list(given)}. Leave one of them out."
        )
    return inner


# ── Counting ────────────────────────────────────────────────────────────────────────────────────────────────────


def _unusable(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Return where labels and where predictions have no meaning."""
    minus, zero = y_true == -1, y_true == 0
    # Where 0 and -1 meet it cannot be known what -1 stands for.
    return ~(zero | (y_true == 1) | minus) | (minus & K.any(zero)), ~((y_pred >= 0) & (y_pred <= 1))


def _values_checked(backend: Backend, batch: list[Tensor], from_logits: bool) -> bool:
    """Check labels and predictions that count, if their values are at hand, and tell whether they were."""
    if not all(each is None or backend.has_values(each) for each in batch):
        return False
    labels, scores, weights, counts = (None if each is None else backend.to_numpy(each) for each in batch)
    labels, scores = align(labels, scores)
    computed = select(weights, counts, tuple(scores.shape), "float32").computed
    if computed is not None:
        labels, scores = K.where(computed, labels, 1), K.where(computed, scores, 0)
    bad_labels, bad_scores = _unusable(labels, scores)
    bad_scores = K.isnan(as_floats(scores)) if from_logits else bad_scores
    if bad_labels.any():
        at = tuple(int(axis[0]) for axis in bad_labels.nonzero())
        raise LabelError(
            f"y_true[{', '.join(map(str, at))}] is {labels[at]}. Expected labels that are all 0 or 1, or all -1 or 1. "
            "Re-encode them (one column per class for several classes), or leave entries out with mask=."
        )
    if bad_scores.any():
        at = tuple(int(axis[0]) for axis in bad_scores.nonzero())
        raise ArgumentError(
            f"y_pred[{', '.join(map(str, at))}] is {scores[at]}. Expected "
            + ("logits." if from_logits else "probabilities in [0, 1]. Pass from_logits=True for logits.")
        )
    return True


def _add_to_buckets(
    *tensors: Tensor, checked: bool, label_weights: tuple[float, ...] | None, from_logits: bool
) -> AUCState:
    """Return the state after one more batch; pure and traced."""
    state, (y_true, y_pred, sample_weight, mask) = AUCState(*tensors[:-4]), tensors[-4:]
    dtype = K.dtype(state.thresholds)
    y_pred = as_floats(y_pred, dtype)
    y_true, y_pred = align(y_true if K.is_floating(y_true) else K.cast(y_true, "int64"), y_pred)
    y_pred = K.cast(K.sigmoid(y_pred) if from_logits else y_pred, dtype)
    weights, counted, computed = select(sample_weight, mask, tuple(y_pred.shape), dtype)
    if computed is not None:
        y_true, y_pred = K.where(computed, y_true, 1), K.where(computed, y_pred, 0.0)
    poison = None
    if not checked:
        bad_labels, bad_scores = _unusable(y_true, y_pred)
        poison = K.where(K.any(bad_labels | bad_scores), _NAN, K.zeros_like(y_pred, dtype))
        poison = K.sum(poison) if y_pred.shape[0] else None
    if label_weights is not None:
        per_label = K.reshape(
            K.asarray(list(label_weights), dtype=dtype, like=y_pred), (1,) * (y_pred.ndim - 1) + (-1,)
        )
        per_label = K.broadcast_to(per_label, tuple(y_pred.shape))
        weights = per_label if weights is None else weights * per_label
        weights = weights if counted is None else K.where(counted, weights, 0.0)

    shape = tuple(state.positives.shape)
    buckets = shape[0]
    above = K.searchsorted(state.thresholds, K.reshape(y_pred, (-1,)), side="left")
    bucket = K.clip(buckets - above, 0, buckets - 1)
    size = buckets
    if len(shape) == 2:
        labels = K.reshape(K.arange(shape[1], dtype=K.dtype(bucket), like=bucket), (1, shape[1]))
        bucket = K.reshape(K.reshape(bucket, (-1, shape[1])) * shape[1] + labels, (-1,))
        size = buckets * shape[1]
    positive = K.reshape(y_true > 0, (-1,))

    def histogram(x: Tensor) -> Tensor:
        return K.reshape(K.segment_sum(x, bucket, size), shape)

    positives, negatives, *pairs = state[1:]
    if weights is None:
        present = K.ones_like(positive, "bool") if counted is None else K.reshape(counted, (-1,))
        count = K.dtype(positives)
        positives = positives + K.cast(histogram(K.cast(positive & present, count)), count)
        negatives = negatives + K.cast(histogram(K.cast(~positive & present, count)), count)
    else:
        weights = K.reshape(weights, (-1,))
        pairs[:2] = add(pairs[0], pairs[1], histogram(K.where(positive, weights, 0.0)))
        pairs[2:] = add(pairs[2], pairs[3], histogram(K.where(positive, 0.0, weights)))
    if poison is not None:
        pairs[0] = pairs[0] + poison
    return AUCState(state.thresholds, positives, negatives, *pairs)


def _merge(*tensors: Tensor) -> AUCState:
    half = len(tensors) // 2
    a, b = AUCState(*tensors[:half]), AUCState(*tensors[half:])
    return AUCState(
        a.thresholds,
        a.positives + b.positives,
        a.negatives + b.negatives,
        *add_pairs(a.positive_weight, a.positive_weight_low, b.positive_weight, b.positive_weight_low),
        *add_pairs(a.negative_weight, a.negative_weight_low, b.negative_weight, b.negative_weight_low),
    )


# ── Curves ──────────────────────────────────────────────────────────────────────────────────────────────────────
# True and false positives as the threshold falls, from none to all of them.


def _running_total(counts: Tensor, weights: Tensor) -> Tensor:
    totals = K.cast(K.cumsum(counts, 0), K.dtype(weights)) + K.cumsum(weights, 0)
    return K.concatenate([K.zeros_like(totals[:1]), totals], 0)


def _area(
    *tensors: Tensor,
    curve: str,
    summation_method: str,
    multi_label: bool,
    label_weights: tuple[float, ...] | None,
    dtype: DType | None,
) -> Tensor:
    state = AUCState(*tensors)
    tp = _running_total(state.positives, state.positive_weight + state.positive_weight_low)
    fp = _running_total(state.negatives, state.negative_weight + state.negative_weight_low)
    if curve == "PR" and summation_method == "interpolation":
        steps = _interpolated_precision(tp, fp)
    else:
        x, y = {"ROC": _roc, "PR": _precision_recall, "PRGAIN": _precision_recall_gain}[curve](tp, fp)
        steps = (x[1:] - x[:-1]) * _heights(y[:-1], y[1:], summation_method)
    value = K.sum(steps, 0)
    if multi_label and label_weights is None:
        value = K.mean(value)
    elif multi_label:
        weights = K.asarray(list(label_weights or ()), dtype=K.dtype(value), like=value)
        value = K.divide_no_nan(K.sum(value * weights), K.sum(weights))
    return as_result(value, dtype)


def _roc(tp: Tensor, fp: Tensor) -> tuple[Tensor, Tensor]:
    return K.divide_no_nan(fp, K.broadcast_to(fp[-1:], fp.shape)), K.divide_no_nan(
        tp, K.broadcast_to(tp[-1:], tp.shape)
    )


def _precision_recall(tp: Tensor, fp: Tensor) -> tuple[Tensor, Tensor]:
    return K.divide_no_nan(tp, K.broadcast_to(tp[-1:], tp.shape)), K.divide_no_nan(tp, tp + fp)


def _precision_recall_gain(tp: Tensor, fp: Tensor) -> tuple[Tensor, Tensor]:
    """Return recall gain and precision gain; without true positives they are 0 and 1, and recall gain is never below 0."""
    odds = K.divide_no_nan(tp[-1:], fp[-1:])
    missed = K.broadcast_to(tp[-1:], tp.shape) - tp
    recall_gain = 1.0 - odds * K.divide_no_nan(missed, tp)
    precision_gain = 1.0 - odds * K.divide_no_nan(fp, tp)
    return K.maximum(K.where(tp == 0, 0.0, recall_gain), 0.0), K.where(tp == 0, 1.0, precision_gain)


def _heights(first: Tensor, second: Tensor, method: str) -> Tensor:
    if method == "interpolation":
        return (first + second) / 2.0
    return K.minimum(first, second) if method == "minoring" else K.maximum(first, second)


def _interpolated_precision(tp: Tensor, fp: Tensor) -> Tensor:
    """Return the area of each step under the PR curve, with true and false positives linear in between.

    With `p = tp + fp` growing from `p0` to `p1`, precision is `(slope * p + intercept) / p`; its integral over recall is
    `slope * (dtp + intercept * log(p1 / p0)) / positives`.
    """
    predicted = tp + fp
    gained = tp[1:] - tp[:-1]
    slope = K.divide_no_nan(gained, predicted[1:] - predicted[:-1])
    intercept = tp[:-1] - slope * predicted[:-1]
    growing = predicted[:-1] > 0
    ratio = K.where(growing, predicted[1:] / K.where(growing, predicted[:-1], 1.0), 1.0)
    return K.divide_no_nan(slope * (gained + intercept * K.log(ratio)), K.broadcast_to(tp[-1:], slope.shape))
