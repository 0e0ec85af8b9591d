"""Area under the curve, from counts per score bucket, or exactly, from all scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multiloss._boundary import arrive_batch
from multiloss._errors import ArgumentError, ShapeError, unknown_name
from multiloss._tree import leaves
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import EPSILON, Backend
from multiloss.metrics._arguments import flag, numbers, whole, whole_or_none
from multiloss.metrics._base import Metric
from multiloss.metrics._buckets import (
    BucketState,
    Reading,
    add_to_buckets,
    binary_checked,
    binary_queue,
    check_columns,
    confusion,
    init_buckets,
    merge_buckets,
)
from multiloss.metrics._scores import ScoreState, read_scores
from multiloss.metrics._sums import as_result, beside, run, sum_dtype, zeros
from multiloss.metrics._waiting import Queue

__all__ = ["AUC"]


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
    neighbouring thresholds are not told apart. With `num_thresholds=None` it is evaluated at every score and exact,
    ties and weights included: the area under ROC is scikit-learn's `roc_auc_score`, that under PR its
    `average_precision_score`. Labels are 0 and 1, or -1 and 1.

    The exact one keeps every score: its state grows with each batch, so that it cannot be carried through `lax.scan`,
    whose states keep their shapes, and `jax.jit` compiles again for each length. Take batches in outside a trace.

    Shapes: labels `(...)` and scores `(...)`, all alike; `(N, labels)` with `multi_label`. Weights and mask align on the
    leading axes.

    Args:
        num_thresholds: how many, evenly spaced from 0 to 1; at least 2. None: one for each score, exactly.
        curve: `"ROC"`, `"PR"` or `"PRGAIN"`.
        summation_method: `"interpolation"` (trapezoids; for PR true and false positives are interpolated and not the
            precision, and the exact area takes the precision at each score, as average precision does), `"minoring"`
            (the lower end of each step) or `"majoring"` (the higher end).
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
        num_thresholds: int | None = 200,
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
        self.num_thresholds = None if self._inner is None else len(self._inner) + 2
        self.multi_label = flag("multi_label", multi_label)
        self.label_weights = None if label_weights is None else tuple(numbers("label_weights", label_weights))
        if num_labels is not None and not multi_label:
            raise ArgumentError(f"num_labels={num_labels} cannot act without multi_label=True. Leave it out.")
        known = None if self.label_weights is None else len(self.label_weights)
        if multi_label and None not in (num_labels, known) and num_labels != known:
            raise ArgumentError(
                f"num_labels={num_labels}, and label_weights has {known} entries. Expected equal numbers."
            )
        self.num_labels = None if num_labels is None else whole("num_labels", num_labels, 1)
        self.from_logits = flag("from_logits", from_logits)

    @property
    def thresholds(self) -> list[float] | None:
        """The thresholds, ascending, with one below 0 and one above 1; None if every score is one."""
        return None if self._inner is None else [-EPSILON, *self._inner, 1.0 + EPSILON]

    @property
    def _reading(self) -> Reading:
        return Reading(self.from_logits, label_weights=None if self.multi_label else self.label_weights)

    # ── The pure core ───────────────────────────────────────────────────────────────────────────────────────

    def init(self, like: Tensor = None) -> BucketState | ScoreState:
        if self.thresholds is None:
            return ScoreState()
        return init_buckets(self.thresholds, like, self.dtype, (self._labels(like),) if self.multi_label else ())

    def _labels(self, like: Tensor) -> int:
        """Return the number of labels: as given, or that of a batch, or 1 before there is one."""
        if self.num_labels is not None:
            return self.num_labels
        if self.label_weights is not None:
            return len(self.label_weights)
        return int(like.shape[-1]) if like is not None and like.ndim == 2 else 1

    def update(
        self,
        state: BucketState | ScoreState,
        /,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
    ) -> BucketState | ScoreState:
        """Return the state after one more batch.

        Raises:
            ShapeError: if targets, predictions, weights or mask do not align, or the number of labels is another.
            ArgumentError: for a prediction outside [0, 1], unless `from_logits`, where values can be looked at.
            LabelError: for a label that is not 0 or 1 (nor -1 and 1), likewise.
            MixedBackendsError: for tensors of two frameworks.
        """
        held = leaves(state)
        backend, tensors = arrive_batch(held, y_true, y_pred, sample_weight, mask)
        batch = tensors[len(held) :]
        self._check_shape(state, tuple(batch[1].shape))
        reading = self._reading
        checked = binary_checked(backend, batch, reading)
        if isinstance(state, BucketState):
            counted: BucketState = backend.run(add_to_buckets, *tensors, checked=checked, reading=reading)
            return counted
        kept = backend.run(
            read_scores,
            *batch,
            checked=checked,
            reading=reading,
            dtype=sum_dtype(batch[1], self.dtype),
            by_column=self.multi_label,
        )
        return ScoreState(*((*before, new) for before, new in zip(state, kept, strict=True)))

    def _queue_like(self, backend: Backend, batch: list[Tensor]) -> Queue | None:
        if self._inner is None or type(self).update is not AUC.update:  # the exact area keeps batches apart anyway
            return None
        return binary_queue(backend, batch, self._reading, rank=2 if self.multi_label else 1)

    def _take_in(self, state: BucketState, backend: Backend, batch: list[Tensor]) -> BucketState:
        updated: BucketState = backend.run(
            add_to_buckets, *state, *batch, None, None, checked=True, reading=self._reading
        )
        return updated

    def _check_shape(self, state: BucketState | ScoreState, shape: tuple[int, ...]) -> None:
        if self.multi_label:
            seen = state.positives if isinstance(state, BucketState) else state.scores[0] if state.scores else None
            labels = int(seen.shape[-1]) if seen is not None else self.num_labels or len(self.label_weights or ())
            check_columns(shape, labels or (shape[-1] if shape else 1), "multi_label=True")
        elif self.label_weights is not None and (not shape or shape[-1] != len(self.label_weights)):
            raise ShapeError(
                f"y_pred has shape {shape}, and there are {len(self.label_weights)} label_weights. "
                "Expected one for each entry of the last axis."
            )

    def merge(self, a: BucketState | ScoreState, b: BucketState | ScoreState, /) -> BucketState | ScoreState:
        if isinstance(a, ScoreState):
            return ScoreState(*(of_a + of_b for of_a, of_b in zip(a, b, strict=True)))
        merged: BucketState = run(merge_buckets, *a, *b)
        return merged

    def _structure(self, values: list[Tensor]) -> Any:
        if self.thresholds is not None or len(values) % 4:
            return super()._structure(values)
        batches = len(values) // 4
        return ScoreState(*(tuple(values[at * batches : (at + 1) * batches]) for at in range(4)))

    def compute(self, state: BucketState | ScoreState, /) -> Tensor:
        if isinstance(state, ScoreState):
            if not state.scores:
                like = beside()
                return zeros(like, self.dtype or sum_dtype(like, None))
            tensors = leaves(state)
        else:
            tensors = list(state)
        return run(
            _area,
            *tensors,
            exact=isinstance(state, ScoreState),
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
        return config | {"thresholds": list(self._inner or ())} if self._given_thresholds else config


def _inner_thresholds(number: int | None, given: Sequence[float] | None) -> list[float] | None:
    """Return the thresholds strictly between the added ends, ascending; None if every score is to be one."""
    if number is None and given is None:
        return None
    whole_or_none("num_thresholds", number, 2)
    if given is None and number is not None:
        return [(i + 1) / (number - 1) for i in range(number - 2)]
    given = numbers("thresholds", given)
    inner = sorted(given)
    if not all(0 <= each <= 1 for each in inner):
        raise ArgumentError(f"thresholds={given} are not allowed. Expected numbers in [0, 1].")
    if number not in (200, len(inner) + 2):
        raise ArgumentError(f"num_thresholds={number} cannot act beside thresholds={given}. Leave one of them out.")
    return inner


# ── Curves ──────────────────────────────────────────────────────────────────────────────────────────────────────
# True and false positives as the threshold falls, from none to all of them.


def _exact_columns(*tensors: Tensor) -> list[list[Tensor]]:
    """Return scores, labels, counts and weights of all batches, for each label."""
    batches = len(tensors) // 4
    parts = [list(tensors[at * batches : (at + 1) * batches]) for at in range(4)]
    dtype = "float64" if any(K.dtype(each) == "float64" for each in parts[0]) else "float32"
    parts[0], parts[3] = ([K.cast(each, dtype) for each in parts[at]] for at in (0, 3))
    whole = [each[0] if batches == 1 else K.concatenate(each) for each in parts]
    if whole[0].ndim == 1:
        return [whole]
    return [[each[:, column] for each in whole] for column in range(whole[0].shape[1])]


def _exact_counts(columns: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
    """Return true and false positives at each score; a column for each label, if there are several."""
    counts = [K.ranked_counts(*column) for column in columns]
    whole = counts[0] if len(counts) == 1 else K.stack(counts, -1)
    return whole[0, ...], whole[1, ...]


def _area(
    *tensors: Tensor,
    exact: bool,
    curve: str,
    summation_method: str,
    multi_label: bool,
    label_weights: tuple[float, ...] | None,
    dtype: DType | None,
) -> Tensor:
    if exact and curve == "ROC" and summation_method == "interpolation":
        areas = [K.roc_area(*column) for column in _exact_columns(*tensors)]
        return _averaged(K.stack(areas) if multi_label else areas[0], multi_label, label_weights, dtype)
    tp, fp = _exact_counts(_exact_columns(*tensors)) if exact else confusion(BucketState(*tensors))[:2]
    if multi_label and tp.ndim == 1:
        tp, fp = K.expand_dims(tp, -1), K.expand_dims(fp, -1)
    if curve == "PR" and summation_method == "interpolation" and not exact:
        steps = _interpolated_precision(tp, fp)
    else:
        x, y = {"ROC": _roc, "PR": _precision_recall, "PRGAIN": _precision_recall_gain}[curve](tp, fp)
        average_precision = curve == "PR" and summation_method == "interpolation"
        heights = y[1:, ...] if average_precision else _heights(y[:-1, ...], y[1:, ...], summation_method)
        steps = (x[1:, ...] - x[:-1, ...]) * heights
    return _averaged(K.sum(steps, 0), multi_label, label_weights, dtype)


def _averaged(value: Tensor, multi_label: bool, label_weights: tuple[float, ...] | None, dtype: DType | None) -> Tensor:
    """Return the area, or the average of those of several labels."""
    if multi_label and label_weights is None:
        value = K.mean(value)
    elif multi_label:
        weights = K.asarray(list(label_weights or ()), dtype=K.dtype(value), like=value)
        value = K.divide_no_nan(K.sum(value * weights), K.sum(weights))
    return as_result(value, dtype)


def _totals(counts: Tensor) -> Tensor:
    """Return the counts at the lowest threshold, for each threshold."""
    return K.broadcast_to(counts[-1:, ...], tuple(counts.shape))


def _roc(tp: Tensor, fp: Tensor) -> tuple[Tensor, Tensor]:
    return K.divide_no_nan(fp, _totals(fp)), K.divide_no_nan(tp, _totals(tp))


def _precision_recall(tp: Tensor, fp: Tensor) -> tuple[Tensor, Tensor]:
    return K.divide_no_nan(tp, _totals(tp)), K.divide_no_nan(tp, tp + fp)


def _precision_recall_gain(tp: Tensor, fp: Tensor) -> tuple[Tensor, Tensor]:
    """Return recall gain and precision gain; without true positives they are 0 and 1, and recall gain is never below 0."""
    odds = K.divide_no_nan(tp[-1:, ...], fp[-1:, ...])
    missed = _totals(tp) - tp
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
    gained = tp[1:, ...] - tp[:-1, ...]
    slope = K.divide_no_nan(gained, predicted[1:, ...] - predicted[:-1, ...])
    intercept = tp[:-1, ...] - slope * predicted[:-1, ...]
    growing = predicted[:-1, ...] > 0
    ratio = K.where(growing, predicted[1:, ...] / K.where(growing, predicted[:-1, ...], 1.0), 1.0)
    return K.divide_no_nan(slope * (gained + intercept * K.log(ratio)), K.broadcast_to(tp[-1:, ...], slope.shape))
