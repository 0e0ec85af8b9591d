"""F-scores: precision and recall of each class as one number."""

from __future__ import annotations

from typing import Any

from multiloss._arguments import is_plain
from multiloss._boundary import arrive_batch
from multiloss._errors import ArgumentError, ShapeError, unknown_name
from multiloss._registry import owner_of
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.metrics._base import Metric
from multiloss.metrics._buckets import Reading, binary_checked, binary_queue, read_binary, unusable
from multiloss.metrics._sums import as_result, run
from multiloss.metrics._tally import TallyState, init_tally, merge_tallies, tally, totals
from multiloss.metrics._waiting import Queue

__all__ = ["F1Score", "FBetaScore"]

AVERAGES = ("micro", "macro", "weighted")


class FBetaScore(Metric):
    """The weighted harmonic mean of precision and recall, for each class or as an average.

    Formula: `(1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP)`, which is
    `(1 + beta^2) precision * recall / (beta^2 precision + recall)`; 0 for a class that is neither there nor predicted.

    Without a threshold each sample is predicted to be of the class with the highest score, the first one at a tie, so
    that the micro average over one-hot labels is the accuracy; a row of nothing but zeros predicts none.

    Shapes: labels `(..., C)` and scores `(..., C)`; weights and mask align on the leading axes. The result has shape
    `(C,)` without an average. The first batch decides C; before it, the pure `init()` does not know C and its state has
    entries for none: give it a batch of predictions, `init(y_pred)`, where shapes must not change.

    Args:
        average: `"micro"` (counts of all classes together), `"macro"` (mean over classes), `"weighted"` (mean weighted
            by how many positives a class has), or None: one value for each class.
        beta: how much more recall counts than precision; above 0.
        threshold: scores above it are predictions; in (0, 1], and scores are then probabilities. None: the highest.
        name: shown in logs.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.

    Raises:
        UnknownNameError: for an unknown average.
        ArgumentError: for arguments outside their domain; and for a score that is nan, or outside [0, 1] with a
            threshold, where values can be looked at. Elsewhere the result is nan.
        LabelError: for a label that is not 0 or 1 (nor -1 and 1), likewise.

    >>> metric = FBetaScore(beta=2.0, threshold=0.5)
    >>> value = metric([[1, 1, 1], [1, 0, 0], [1, 1, 0]], [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]])
    >>> [round(float(each), 4) for each in value]
    [0.3846, 0.9091, 0.8333]
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        if average is not None and average not in AVERAGES:
            raise unknown_name("average", average, AVERAGES)
        if not is_plain(beta) or not 0 < beta < float("inf"):
            raise ArgumentError(f"beta={beta!r} is not allowed. Expected a finite number above 0.")
        if threshold is not None and (not is_plain(threshold) or not 0 < threshold <= 1):
            raise ArgumentError(f"threshold={threshold!r} is not allowed. Expected a number above 0 up to 1, or None.")
        self.average = average
        self.beta = float(beta)
        self.threshold = None if threshold is None else float(threshold)

    def init(self, like: Tensor = None) -> TallyState:
        classes = int(like.shape[-1]) if like is not None and like.ndim > 1 else 0
        return init_tally(like, self.dtype, (3, classes))

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
            ShapeError: if targets, predictions, weights or mask do not align, or the number of classes is another.
            ArgumentError: for a score that is nan, or outside [0, 1] with a threshold, where values can be looked at.
            LabelError: for a label that is not 0 or 1 (nor -1 and 1), likewise.
            MixedBackendsError: for tensors of two frameworks.
        """
        backend, (*held, y_true, y_pred, sample_weight, mask) = arrive_batch(state, y_true, y_pred, sample_weight, mask)
        shape = tuple(y_pred.shape)
        if len(shape) < 2 or tuple(y_true.shape) != shape:
            raise ShapeError(
                f"y_true has shape {tuple(y_true.shape)} and y_pred has shape {shape}. Expected (N, classes) for both: "
                "one-hot labels from to_categorical(y_true), and one score per class."
            )
        state = _of_classes(TallyState(*held), shape[-1]) or self.init(y_pred)
        batch = [y_true, y_pred, sample_weight, mask]
        reading = Reading(probabilities=self.threshold is not None)
        checked = binary_checked(backend, batch, reading)
        updated: TallyState = backend.run(
            _add_predictions, *state, *batch, checked=checked, reading=reading, threshold=self.threshold
        )
        return updated

    def _queue_like(self, backend: Backend, batch: list[Tensor]) -> Queue | None:
        if type(self).update is not FBetaScore.update:
            return None
        return binary_queue(backend, batch, Reading(probabilities=self.threshold is not None), rank=2)

    def _take_in(self, state: TallyState, backend: Backend, batch: list[Tensor]) -> TallyState:
        reading = Reading(probabilities=self.threshold is not None)
        updated: TallyState = backend.run(
            _add_predictions, *state, *batch, None, None, checked=True, reading=reading, threshold=self.threshold
        )
        return updated

    def merge(self, a: TallyState, b: TallyState, /) -> TallyState:
        if not a.count.shape[-1] or not b.count.shape[-1]:
            return a if a.count.shape[-1] else b
        _of_classes(a, b.count.shape[-1])
        merged: TallyState = run(merge_tallies, *a, *b)
        return merged

    def compute(self, state: TallyState, /) -> Tensor:
        return run(_score, *state, average=self.average, beta=self.beta, dtype=self.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"average": self.average, "beta": self.beta, "threshold": self.threshold}


class F1Score(FBetaScore):
    """The harmonic mean of precision and recall: `FBetaScore` with `beta=1`, whose arguments and errors it has.

    >>> metric = F1Score(threshold=0.5, average="micro")
    >>> round(float(metric([[1, 1, 1], [1, 0, 0], [1, 1, 0]], [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]])), 4)
    0.6667
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {key: value for key, value in super().get_config().items() if key != "beta"}


def _of_classes(state: TallyState, classes: int) -> TallyState | None:
    """Return the state if it counts that many classes, None if it has yet to learn how many there are."""
    known = int(state.count.shape[-1])
    if known not in (0, classes):
        raise ShapeError(f"There are {classes} classes, and {known} in the batches before. Call reset_state() between.")
    return state if known else None


def _add_predictions(*tensors: Tensor, checked: bool, reading: Reading, threshold: float | None) -> TallyState:
    """Return the state after one more batch, with rows of true positives, false positives, false negatives."""
    state, (y_true, y_pred, sample_weight, mask) = TallyState(*tensors[:3]), tensors[3:]
    dtype = K.dtype(state.weight)
    labels, scores, rows, selection = read_binary(y_true, y_pred, sample_weight, mask, dtype, reading)
    poison = None
    if not checked:
        bad_labels, bad_scores = unusable(labels, scores, rows, reading)
        poison = K.where(K.any(bad_labels | bad_scores), float("nan"), K.zeros_like(state.weight))
    classes = scores.shape[-1]
    if threshold is None and selection.weights is None and selection.counted is None:
        return tally(state, _hits_of_highest(labels, scores), poison=poison)
    if threshold is not None:
        predicted = scores > threshold
    else:
        highest = K.one_hot(K.argmax(rows, -1), classes, dtype="int32") > 0
        predicted = highest & K.any(scores != 0, -1, True)
    positive = labels > 0
    hits = K.stack([predicted & positive, predicted & ~positive, ~predicted & positive])
    hits = K.reshape(hits, (3, -1, classes))
    if selection.weights is not None:
        weights = K.reshape(selection.weights, (1, -1, classes))
        return tally(state, weight=K.sum(K.where(hits, weights, 0.0), 1), poison=poison)
    if selection.counted is not None:
        hits = hits & K.reshape(selection.counted, (1, -1, classes))
    return tally(state, K.sum(hits, 1), poison=poison)


def _hits_of_highest(labels: Tensor, scores: Tensor) -> Tensor:
    """Return how many true positives, false positives and false negatives each class has, if the highest scores predict."""
    classes = scores.shape[-1]
    labels, scores = K.reshape(labels, (-1, classes)), K.reshape(scores, (-1, classes))
    best = K.argmax(scores, -1)
    at = K.expand_dims(best, -1)
    highest = K.squeeze(K.take_along_axis(scores, at, -1), -1)
    predicts = highest != 0
    if not _are_all(predicts):
        # A row whose highest score is 0 has no others but 0 if they add up to 0.
        predicts = predicts | (K.sum(scores, -1) != 0)
    hit = predicts & (K.squeeze(K.take_along_axis(labels, at, -1), -1) > 0)
    # Hits, other predictions and rows without one in one go, one behind the other.
    other = best + classes * (2 - K.cast(predicts, K.dtype(best)))
    counts = K.reshape(K.bincount(K.where(hit, best, other), 3 * classes), (3, classes))
    tp, fp = counts[0, :], counts[1, :]
    return K.stack([tp, fp, _count(labels, K.dtype(counts)) - tp])


def _are_all(x: Tensor) -> bool:
    """Whether all of these are known to be True."""
    owner = owner_of(x)
    return owner.has_values(x) and bool(owner.to_numpy(x).all())


EXACT = 1 << 24
"""Up to where float32 counts."""


def _count(labels: Tensor, dtype: DType) -> Tensor:
    """Return how many labels above 0 each column has."""
    if labels.shape[0] < EXACT and K.is_floating(labels):  # booleans are added up more slowly
        return K.cast(K.sum(K.maximum(labels, 0.0), 0), dtype)
    return K.cast(K.sum(labels > 0, 0), dtype)


def _score(*tensors: Tensor, average: str | None, beta: float, dtype: DType | None) -> Tensor:
    counts = totals(*tensors)
    if average == "micro":
        counts = K.sum(counts, 1)
    tp, fp, fn = counts[0, ...], counts[1, ...], counts[2, ...]
    hits = (1.0 + beta * beta) * tp
    scores = K.divide_no_nan(hits, hits + beta * beta * fn + fp)
    if average == "macro":
        scores = K.sum(scores) / max(1, counts.shape[-1])
    elif average == "weighted":
        scores = K.divide_no_nan(K.sum(scores * (tp + fn)), K.sum(tp + fn))
    return as_result(scores, dtype)
