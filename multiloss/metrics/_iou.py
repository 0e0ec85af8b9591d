"""Intersection over union, from a confusion matrix of class indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from multiloss._boundary import align, align_labels, arrive_batch, as_floats, as_labels, normalize_axis, require_real
from multiloss._errors import ArgumentError, LabelError, ShapeError
from multiloss._names import dtype_name
from multiloss._registry import owner_of
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses._reduction import ByClass, Selection, select
from multiloss.metrics._arguments import flag, number, whole
from multiloss.metrics._base import Metric
from multiloss.metrics._sums import as_result, run
from multiloss.metrics._tally import TallyState, init_tally, merge_tallies, tally, totals

__all__ = ["BinaryIoU", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"]


class Labelling(NamedTuple):
    """How class indices are read off targets and predictions."""

    num_classes: int
    ignore_class: int | None
    sparse_y_true: bool
    sparse_y_pred: bool
    axis: int
    threshold: float | None = None
    """What makes a prediction class 1 of 2."""


class Overlap(Metric):
    """What all IoU metrics share: the confusion matrix, with a row for each true class and a column for each predicted."""

    def __init__(self, labelling: Labelling, target_class_ids: Sequence[int], name: str | None, dtype: Any) -> None:
        # Keras' dtype is that of the confusion matrix, an integer one by default; ours counts in integers anyway.
        super().__init__(None if str(dtype_name(dtype)).startswith(("int", "uint")) else dtype, name)
        classes = whole("num_classes", labelling.num_classes, 1)
        flag("sparse_y_true", labelling.sparse_y_true)
        flag("sparse_y_pred", labelling.sparse_y_pred)
        whole("axis", labelling.axis)
        if labelling.ignore_class is not None:
            whole("ignore_class", labelling.ignore_class)
        given = target_class_ids.tolist() if hasattr(target_class_ids, "tolist") else target_class_ids
        targets = tuple(given) if isinstance(given, Sequence) else ()
        if not targets or not all(isinstance(each, int) and 0 <= each < classes for each in targets):
            raise ArgumentError(
                f"target_class_ids={target_class_ids!r} are not allowed. Expected class indices from 0 to {classes - 1}."
            )
        self._labelling = labelling
        self.target_class_ids = list(targets)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return self._labelling.num_classes

    def init(self, like: Tensor = None) -> TallyState:
        return init_tally(like, self.dtype, (self.num_classes, self.num_classes))

    def update(
        self,
        state: TallyState,
        /,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
    ) -> TallyState:
        """Return the state after one more batch.

        Raises:
            ShapeError: if targets, predictions, weights or mask do not align, or there are other classes.
            LabelError: for a class index out of range that counts, where values can be looked at; elsewhere the result
                is nan.
            MixedBackendsError: for tensors of two frameworks.
        """
        backend, tensors = arrive_batch(state, y_true, y_pred, sample_weight, mask)
        checked = _labels_checked(backend, tensors[3:], self._labelling)
        updated: TallyState = backend.run(_add_labels, *tensors, checked=checked, labelling=self._labelling)
        return updated

    def merge(self, a: TallyState, b: TallyState, /) -> TallyState:
        merged: TallyState = run(merge_tallies, *a, *b)
        return merged

    def compute(self, state: TallyState, /) -> Tensor:
        return run(_mean_overlap, *state, targets=tuple(self.target_class_ids), dtype=self.dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | self._labelling._asdict() | {"target_class_ids": self.target_class_ids}
        del config["threshold"]
        return config


def _without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in names}


class IoU(Overlap):
    """Intersection over union of chosen classes: their mean.

    Formula, for each class: `TP / (TP + FP + FN)`; the mean is over the target classes that occur, as label or as
    prediction, and 0 if none does.

    Shapes: class indices `(...)`; or one-hot labels, probabilities or logits with the classes on `axis`. Weights and
    mask align with the class indices on the leading axes.

    Args:
        num_classes: how many classes there are.
        target_class_ids: the classes whose mean is the result.
        name: shown in logs. Default: the class name in snake_case.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.
        ignore_class: a label whose entries do not count.
        sparse_y_true: whether `y_true` holds class indices; else their `argmax` over `axis` is taken.
        sparse_y_pred: whether `y_pred` holds class indices; likewise.
        axis: of the classes, where there is one.

    Raises:
        ArgumentError: for arguments outside their domain.
        LabelError: for a class index outside [0, num_classes), label or prediction, where values can be looked at;
            elsewhere the result is nan.

    >>> metric = IoU(num_classes=2, target_class_ids=[0])
    >>> round(float(metric([0, 0, 1, 1], [0, 1, 0, 1])), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        labelling = Labelling(num_classes, ignore_class, sparse_y_true, sparse_y_pred, axis)
        super().__init__(labelling, target_class_ids, name, dtype)


class MeanIoU(Overlap):
    """Intersection over union, averaged over all classes that occur; shapes, arguments and errors: as `IoU`.

    >>> round(float(MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1])), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        labelling = Labelling(num_classes, ignore_class, sparse_y_true, sparse_y_pred, axis)
        super().__init__(labelling, _all_of(num_classes), name, dtype)

    def get_config(self) -> dict[str, Any]:
        return _without(super().get_config(), "target_class_ids")


class BinaryIoU(Overlap):
    """Intersection over union of class 0, class 1 or both, for scores: at or above the threshold is class 1.

    Shapes: labels 0 and 1 `(...)` and scores `(...)`; weights and mask align on the leading axes.

    Args:
        target_class_ids: the classes whose mean is the result: (0,), (1,) or (0, 1).
        threshold: of class 1; probabilities and logits have different ones.
        name: shown in logs. Default: `"binary_io_u"`.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.

    Raises:
        ArgumentError: for arguments outside their domain.
        LabelError: for a label other than 0 and 1, or a score that is nan, where values can be looked at; elsewhere
            the result is nan.

    >>> metric = BinaryIoU(target_class_ids=[0, 1], threshold=0.3)
    >>> round(float(metric([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7])), 4)
    0.3333
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.threshold = number("threshold", threshold)
        super().__init__(Labelling(2, None, True, True, -1, self.threshold), target_class_ids, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = _without(super().get_config(), "num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")
        return config | {"threshold": self.threshold}


class OneHotIoU(Overlap):
    """`IoU` of one-hot labels and, unless `sparse_y_pred`, of scores per class.

    >>> y_true = [[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]]
    >>> y_pred = [[0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.5, 0.3, 0.1], [0.1, 0.4, 0.5]]
    >>> round(float(OneHotIoU(num_classes=3, target_class_ids=[0, 2])(y_true, y_pred)), 4)
    0.1667
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        labelling = Labelling(num_classes, ignore_class, False, sparse_y_pred, axis)
        super().__init__(labelling, target_class_ids, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return _without(super().get_config(), "sparse_y_true")


class OneHotMeanIoU(Overlap):
    """`MeanIoU` of one-hot labels and, unless `sparse_y_pred`, of scores per class.

    >>> y_true = [[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]]
    >>> y_pred = [[0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.5, 0.3, 0.1], [0.1, 0.4, 0.5]]
    >>> round(float(OneHotMeanIoU(num_classes=3)(y_true, y_pred)), 4)
    0.1111
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        labelling = Labelling(num_classes, ignore_class, False, sparse_y_pred, axis)
        super().__init__(labelling, _all_of(num_classes), name, dtype)

    def get_config(self) -> dict[str, Any]:
        return _without(super().get_config(), "sparse_y_true", "target_class_ids")


def _all_of(num_classes: int) -> Sequence[int]:
    return range(num_classes) if isinstance(num_classes, int) else ()


# ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

_NO_CLASS = -(2**31)


def _from_scores(scores: Tensor, labelling: Labelling, what: str) -> Tensor:
    """Return the class with the highest score; no class where one is nan."""
    axis = normalize_axis(labelling.axis, scores.ndim)
    if scores.shape[axis] != labelling.num_classes:
        raise ShapeError(
            f"{what} has shape {tuple(scores.shape)} with classes on axis {labelling.axis}, and num_classes="
            f"{labelling.num_classes}. Expected equal numbers; for class indices pass sparse_{what}=True."
        )
    scores = as_floats(scores)
    return K.where(K.isnan(K.max(scores, axis)), _NO_CLASS, K.cast(K.argmax(scores, axis), "int64"))


def _read_labels(
    y_true: Tensor, y_pred: Tensor, sample_weight: Tensor, mask: Tensor, dtype: DType, labelling: Labelling
) -> tuple[Tensor, Tensor, Selection]:
    """Return the class indices of targets and predictions, 0 where they do not count, and what of them counts."""
    true, pred, axis = y_true, y_pred, labelling.axis
    for each in (true, pred):
        require_real(each)
    if labelling.sparse_y_true and not labelling.sparse_y_pred:
        true = align_labels(true, pred.shape, axis)
    elif labelling.sparse_y_pred and not labelling.sparse_y_true:
        pred = align_labels(pred, true.shape, axis)
    else:
        true, pred = align(true, pred)
    if labelling.threshold is not None:
        pred = as_floats(pred)
        above = K.cast(pred >= labelling.threshold, "int64")
        pred = K.where(K.isnan(pred), _NO_CLASS, above)
    elif labelling.sparse_y_pred:
        pred = K.cast(as_labels(pred), "int64")
    else:
        pred = _from_scores(pred, labelling, "y_pred")
    true = K.cast(as_labels(true), "int64") if labelling.sparse_y_true else _from_scores(true, labelling, "y_true")
    kept = None if labelling.ignore_class is None else true != labelling.ignore_class
    selection = select(sample_weight, mask, tuple(true.shape), dtype, ByClass(kept))
    if selection.computed is not None:
        true, pred = K.where(selection.computed, true, 0), K.where(selection.computed, pred, 0)
    return true, pred, selection


def _labels_checked(backend: Backend, batch: list[Tensor], labelling: Labelling) -> bool:
    """Check class indices that count, if their values are at hand, and tell whether they were."""
    if not all(each is None or backend.has_values(each) for each in batch):
        return False
    hosted = [None if each is None else backend.to_numpy(each) for each in batch]
    true, pred, _ = owner_of(*hosted).run(_read_labels, *hosted, dtype="float64", labelling=labelling)
    for what, given, indices in zip(("y_true", "y_pred"), hosted, (true, pred), strict=False):
        bad = (indices < 0) | (indices >= labelling.num_classes)
        if bad.any():
            at = tuple(int(axis[0]) for axis in bad.nonzero())
            counted = indices[at] != _NO_CLASS or not K.is_floating(given)
            found = str(indices[at]) if counted else "no whole number"
            raise LabelError(
                f"{what}[{', '.join(map(str, at))}] is {found}, and num_classes={labelling.num_classes}. Expected class "
                f"indices from 0 to {labelling.num_classes - 1}. Re-encode them, or leave entries out with mask= or "
                "ignore_class=."
            )
    return True


def _add_labels(*tensors: Tensor, checked: bool, labelling: Labelling) -> TallyState:
    """Return the state after one more batch; pure and traced."""
    state, (y_true, y_pred, sample_weight, mask) = TallyState(*tensors[:3]), tensors[3:]
    classes = labelling.num_classes
    dtype = K.dtype(state.weight)
    true, pred, selection = _read_labels(y_true, y_pred, sample_weight, mask, dtype, labelling)
    weights, counted = selection.weights, selection.counted
    poison = None
    if not checked:
        bad = (true < 0) | (true >= classes) | (pred < 0) | (pred >= classes)
        poison = K.where(K.any(bad), float("nan"), K.zeros_like(state.weight))
        true, pred = K.where(bad, 0, true), K.where(bad, 0, pred)
    cell = K.reshape(true * classes + pred, (-1,))

    def matrix(x: Tensor) -> Tensor:
        return K.reshape(K.segment_sum(K.reshape(x, (-1,)), cell, classes * classes), (classes, classes))

    if weights is not None:
        return tally(state, weight=matrix(weights), poison=poison)
    present = K.ones_like(true) if counted is None else K.cast(counted, K.dtype(true))
    return tally(state, matrix(present), poison=poison)


def _mean_overlap(*tensors: Tensor, targets: tuple[int, ...], dtype: DType | None) -> Tensor:
    matrix = totals(*tensors)
    classes = matrix.shape[0]
    hits = K.reshape(matrix, (-1,))[:: classes + 1]
    union = K.sum(matrix, 0) + K.sum(matrix, 1) - hits
    if targets != tuple(range(classes)):
        hits, union = (K.stack([each[target] for target in targets]) for each in (hits, union))
    occurs = K.cast(union != 0, K.dtype(union))
    return as_result(K.divide_no_nan(K.sum(K.divide_no_nan(hits, union)), K.sum(occurs)), dtype)
