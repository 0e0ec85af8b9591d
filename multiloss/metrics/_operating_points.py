"""The best one rate can be while another is good enough, over thresholds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multiloss._typing import DType, Tensor
from multiloss.dispatch import K
from multiloss.metrics._arguments import fraction, whole, whole_or_none
from multiloss.metrics._buckets import BucketState, Confusion, Reading, confusion
from multiloss.metrics._confusion import Thresholded
from multiloss.metrics._sums import as_result, run

__all__ = ["PrecisionAtRecall", "RecallAtPrecision", "SensitivityAtSpecificity", "SpecificityAtSensitivity"]


def _sensitivity(counts: Confusion) -> Tensor:
    return K.divide_no_nan(counts.tp, counts.tp + counts.fn)


def _specificity(counts: Confusion) -> Tensor:
    return K.divide_no_nan(counts.tn, counts.tn + counts.fp)


def _precision(counts: Confusion) -> Tensor:
    return K.divide_no_nan(counts.tp, counts.tp + counts.fp)


Rate = Callable[[Confusion], Tensor]


def _best(*tensors: Tensor, value: float, wanted: Rate, constrained: Rate, dtype: DType | None) -> Tensor:
    counts = Confusion(*(each[1:-1] for each in confusion(BucketState(*tensors))))
    bound = constrained(counts)
    # nan, the mark of an unusable batch, fails every comparison and must not look like a rate of 0.
    good_enough = (bound >= value) | K.isnan(bound)
    return as_result(K.max(K.where(good_enough, wanted(counts), 0.0)), dtype)


class AtRate(Thresholded):
    """The highest `wanted` rate over the thresholds at which the `constrained` rate is at least `value`."""

    _wanted: Rate
    _constrained: Rate
    _constraint: str

    def __init__(self, value: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any) -> None:
        super().__init__(dtype, name)
        self.num_thresholds = whole("num_thresholds", num_thresholds, 1)
        self.class_id = whole_or_none("class_id", class_id)
        self._required = fraction(self._constraint, value)
        self._at = (0.5,) if num_thresholds == 1 else tuple(i / (num_thresholds - 1) for i in range(num_thresholds))
        self._reading = Reading(class_id=class_id)

    @property
    def thresholds(self) -> list[float]:
        """The thresholds, ascending."""
        return list(self._at)

    def compute(self, state: BucketState, /) -> Tensor:
        cls = type(self)
        return run(
            _best,
            *state,
            value=self._required,
            wanted=cls._wanted,
            constrained=cls._constrained,
            dtype=self.dtype,
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            self._constraint: self._required,
            "num_thresholds": self.num_thresholds,
            "class_id": self.class_id,
        }


class SensitivityAtSpecificity(AtRate):
    """The highest sensitivity, `TP / (TP + FN)`, where specificity, `TN / (TN + FP)`, is at least `specificity`.

    Both are looked at for `num_thresholds` thresholds; 0 if specificity is nowhere high enough.

    Shapes: labels `(...)` and probabilities `(...)`, all alike, with the classes on the last axis for `class_id`;
    weights and mask align on the leading axes (of what is left after `class_id`).

    Args:
        specificity: the least, in [0, 1].
        num_thresholds: how many, evenly spaced from 0 to 1; a single one is 0.5. A prediction is positive above them.
        class_id: the class that alone is looked at. Default: all.
        name: shown in logs. Default: the class name in snake_case.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.

    Raises:
        ArgumentError: for arguments outside their domain; and for a prediction outside [0, 1] where values can be
            looked at. Elsewhere the result is nan.
        LabelError: for a label that is not 0 or 1 (nor -1 and 1), likewise.

    >>> float(SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8]))
    0.5
    """

    _wanted = staticmethod(_sensitivity)
    _constrained = staticmethod(_specificity)
    _constraint = "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = self._required


class SpecificityAtSensitivity(AtRate):
    """The highest specificity, `TN / (TN + FP)`, where sensitivity, `TP / (TP + FN)`, is at least `sensitivity`.

    Shapes, arguments and errors: as `SensitivityAtSpecificity`.

    >>> round(float(SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])), 4)
    0.6667
    """

    _wanted = staticmethod(_specificity)
    _constrained = staticmethod(_sensitivity)
    _constraint = "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = self._required


class PrecisionAtRecall(AtRate):
    """The highest precision, `TP / (TP + FP)`, where recall, `TP / (TP + FN)`, is at least `recall`.

    Shapes, arguments and errors: as `SensitivityAtSpecificity`.

    >>> float(PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8]))
    0.5
    """

    _wanted = staticmethod(_precision)
    _constrained = staticmethod(_sensitivity)
    _constraint = "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = self._required


class RecallAtPrecision(AtRate):
    """The highest recall, `TP / (TP + FN)`, where precision, `TP / (TP + FP)`, is at least `precision`.

    Shapes, arguments and errors: as `SensitivityAtSpecificity`.

    >>> float(RecallAtPrecision(0.8)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9]))
    0.5
    """

    _wanted = staticmethod(_sensitivity)
    _constrained = staticmethod(_precision)
    _constraint = "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = self._required
