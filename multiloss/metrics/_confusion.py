"""True and false positives and negatives at thresholds; precision and recall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from multiloss._arguments import is_plain
from multiloss._boundary import arrive_batch
from multiloss._errors import ArgumentError
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.metrics._arguments import whole_or_none
from multiloss.metrics._base import Metric
from multiloss.metrics._buckets import (
    BucketState,
    Confusion,
    Reading,
    add_to_buckets,
    binary_checked,
    binary_queue,
    confusion,
    init_buckets,
    merge_buckets,
)
from multiloss.metrics._sums import as_result, run
from multiloss.metrics._waiting import Queue

__all__ = ["FalseNegatives", "FalsePositives", "Precision", "Recall", "TrueNegatives", "TruePositives"]

_INF = float("inf")


class Thresholded(Metric):
    """What all metrics of a confusion matrix per threshold share: the state and how it is updated and merged."""

    _reading: Reading = Reading()
    _at: tuple[float, ...]
    """The thresholds, in the user's order."""

    def init(self, like: Tensor = None) -> BucketState:
        return init_buckets([-_INF, *sorted(self._at), _INF], like, self.dtype)

    def update(
        self,
        state: BucketState,
        /,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
    ) -> BucketState:
        """Return the state after one more batch.

        Raises:
            ShapeError: if targets, predictions, weights or mask do not align.
            LabelError: for a label that is not 0 or 1 (nor -1 and 1), where values can be looked at; elsewhere the
                result is nan.
            ArgumentError: for a prediction outside [0, 1], likewise; with `top_k` alone only for nan.
            MixedBackendsError: for tensors of two frameworks.
        """
        backend, tensors = arrive_batch(state, y_true, y_pred, sample_weight, mask)
        checked = binary_checked(backend, tensors[len(state) :], self._reading)
        updated: BucketState = backend.run(add_to_buckets, *tensors, checked=checked, reading=self._reading)
        return updated

    def _queue_like(self, backend: Backend, batch: list[Tensor]) -> Queue | None:
        return binary_queue(backend, batch, self._reading) if type(self).update is Thresholded.update else None

    def _take_in(self, state: BucketState, backend: Backend, batch: list[Tensor]) -> BucketState:
        updated: BucketState = backend.run(
            add_to_buckets, *state, *batch, None, None, checked=True, reading=self._reading
        )
        return updated

    def merge(self, a: BucketState, b: BucketState, /) -> BucketState:
        merged: BucketState = run(merge_buckets, *a, *b)
        return merged


def _parsed_thresholds(thresholds: float | Sequence[float] | None, default: float) -> tuple[float, ...]:
    if thresholds is None:
        return (default,)
    given = list(thresholds) if isinstance(thresholds, Sequence) else [thresholds]
    if not given or not all(is_plain(each) and 0 <= each <= 1 for each in given):
        raise ArgumentError(f"thresholds={thresholds!r} are not allowed. Expected one number in [0, 1], or some.")
    return tuple(float(each) for each in given)


class AtThresholds(Thresholded):
    """A metric with one value for each threshold, or a single one for a single threshold."""

    _value: Callable[[Confusion], Tensor]

    def __init__(
        self,
        thresholds: float | Sequence[float] | None,
        top_k: int | None,
        class_id: int | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        super().__init__(dtype, name)
        self._given = thresholds
        self.top_k = whole_or_none("top_k", top_k, 1)
        self.class_id = whole_or_none("class_id", class_id)
        # Among the highest scores each is a positive, however low.
        self._at = _parsed_thresholds(thresholds, 0.5 if top_k is None else -_INF)
        probabilities = top_k is None or thresholds is not None
        self._reading = Reading(probabilities=probabilities, class_id=class_id, top_k=top_k)

    @property
    def thresholds(self) -> list[float]:
        """The thresholds, in the order of the values of the result."""
        return list(self._at)

    def compute(self, state: BucketState, /) -> Tensor:
        falling = sorted(self._at, reverse=True)
        order = tuple(falling.index(each) for each in self._at)
        return run(_at_thresholds, *state, value=type(self)._value, order=order, dtype=self.dtype)

    def get_config(self) -> dict[str, Any]:
        given = list(self._given) if isinstance(self._given, Sequence) else self._given
        return super().get_config() | {"thresholds": given}


def _at_thresholds(
    *tensors: Tensor, value: Callable[[Confusion], Tensor], order: tuple[int, ...], dtype: DType | None
) -> Tensor:
    # The first and the last entry are those of the added ends.
    values = value(Confusion(*(each[1:-1] for each in confusion(BucketState(*tensors)))))
    values = values[order[0]] if len(order) == 1 else K.stack([values[at] for at in order])
    return as_result(values, dtype)


# What backends compile: plain functions that live as long as the process.


def _tp(counts: Confusion) -> Tensor:
    return counts.tp


def _tn(counts: Confusion) -> Tensor:
    return counts.tn


def _fp(counts: Confusion) -> Tensor:
    return counts.fp


def _fn(counts: Confusion) -> Tensor:
    return counts.fn


def _precision(counts: Confusion) -> Tensor:
    return K.divide_no_nan(counts.tp, counts.tp + counts.fp)


def _recall(counts: Confusion) -> Tensor:
    return K.divide_no_nan(counts.tp, counts.tp + counts.fn)


class _Counted(AtThresholds):
    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(thresholds, None, None, name, dtype)


class TruePositives(_Counted):
    """How many positives are predicted to be positive: the sum of their weights.

    A prediction is positive if it is above the threshold; labels are 0 and 1, or -1 and 1.

    Shapes: labels `(...)` and probabilities `(...)`, all alike; weights and mask align on the leading axes.

    Args:
        thresholds: one or some in [0, 1]; with some, the result has one value for each. Default: 0.5.
        name: shown in logs. Default: `"true_positives"`.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.

    Raises:
        ArgumentError: for a threshold outside [0, 1]; and for a prediction outside it where values can be looked at.
        LabelError: for a label that is not binary, likewise.

    >>> float(TruePositives()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]))
    2.0
    """

    _value = staticmethod(_tp)


class TrueNegatives(_Counted):
    """How many negatives are not predicted to be positive; see `TruePositives`.

    >>> float(TrueNegatives()([0, 1, 0, 0], [1.0, 1.0, 0.0, 0.0]))
    2.0
    """

    _value = staticmethod(_tn)


class FalsePositives(_Counted):
    """How many negatives are predicted to be positive; see `TruePositives`.

    >>> float(FalsePositives()([0, 1, 0, 0], [0.0, 0.0, 1.0, 1.0]))
    2.0
    """

    _value = staticmethod(_fp)


class FalseNegatives(_Counted):
    """How many positives are not predicted to be positive; see `TruePositives`.

    >>> float(FalseNegatives()([0, 1, 1, 1], [0.0, 1.0, 0.0, 0.0]))
    2.0
    """

    _value = staticmethod(_fn)


class _Rate(AtThresholds):
    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"top_k": self.top_k, "class_id": self.class_id}


class Precision(_Rate):
    """Which share of the predicted positives is right.

    Formula: `TP / (TP + FP)`; 0 if nothing is predicted positive.

    Shapes: labels `(...)` and probabilities `(...)`, all alike, with the classes on the last axis for `top_k` and
    `class_id`; weights and mask align on the leading axes (of what is left after `class_id`).

    Args:
        thresholds: one or some in [0, 1], above which a prediction is positive; with some, the result has one value for
            each. Default: 0.5; with `top_k`: none.
        top_k: only so many classes per sample, those with the highest scores, are predicted positive: precision at k.
            Exactly so many, the first ones at a tie; a score of -inf is never among them.
        class_id: the class that alone is looked at. Default: all.
        name: shown in logs. Default: `"precision"`.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.

    Raises:
        ArgumentError: for arguments outside their domain; and for a prediction outside [0, 1] (with `top_k` and no
            thresholds: for nan alone) where values can be looked at. Elsewhere the result is nan.
        LabelError: for a label that is not binary, likewise.

    >>> round(float(Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])), 4)
    0.6667
    >>> float(Precision(top_k=2)([0, 0, 1, 1], [1.0, 1.0, 1.0, 1.0]))
    0.0
    """

    _value = staticmethod(_precision)


class Recall(_Rate):
    """Which share of the positives is predicted to be positive.

    Formula: `TP / (TP + FN)`; 0 if there is no positive. Shapes, arguments and errors: as `Precision`.

    >>> round(float(Recall()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])), 4)
    0.6667
    """

    _value = staticmethod(_recall)
