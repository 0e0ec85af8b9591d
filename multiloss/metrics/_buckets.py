"""Positives and negatives counted per score bucket: what every metric that looks at thresholds is made of.

`T` thresholds cut the scores into `T - 1` buckets, and the state counts positives and negatives in each: O(N log T)
time, no tensor of N by T, and states merge by addition. Buckets run from the highest scores to the lowest, so that
running sums are the numbers of true and false positives as the threshold falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from multiloss._boundary import align, as_floats, require_real
from multiloss._errors import ArgumentError, LabelError, ShapeError
from multiloss._typing import DType, Shape, Tensor
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses._reduction import Selection, select
from multiloss.metrics._sums import COUNT, add, add_pairs, beside, sum_dtype, zeros
from multiloss.metrics._waiting import Check, Queue, are_binary, are_probabilities, queue_like, side_by_side

_NAN = float("nan")
_INF = float("inf")


class BucketState(NamedTuple):
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


class Reading(NamedTuple):
    """How labels and scores are read off a batch."""

    from_logits: bool = False
    """Whether the scores become probabilities by a sigmoid."""
    probabilities: bool = True
    """Whether scores outside [0, 1] are refused; nan always is."""
    label_weights: tuple[float, ...] | None = None
    """How much each entry of the last axis weighs."""
    class_id: int | None = None
    """Which entry of the last axis alone is looked at."""
    top_k: int | None = None
    """Only so many entries of the last axis, the highest, can be predicted positive."""


def init_buckets(thresholds: Sequence[float], like: Tensor, dtype: DType | None, shape: Shape = ()) -> BucketState:
    """Return empty buckets between ascending thresholds, each of `shape`."""
    like = beside(like)
    dtype = sum_dtype(like, dtype)
    shape = (len(thresholds) - 1, *shape)
    counts = [zeros(like, COUNT, shape) for _ in range(2)]
    weights = [zeros(like, dtype, shape) for _ in range(4)]
    return BucketState(K.asarray(list(thresholds), dtype=dtype, like=like), *counts, *weights)


def unusable_labels(labels: Tensor) -> Tensor:
    """Return where labels are not binary."""
    minus, zero = labels == -1, labels == 0
    # Where 0 and -1 meet it cannot be known what -1 stands for.
    return ~(zero | (labels == 1) | minus) | (minus & K.any(zero))


def _unusable_scores(scores: Tensor, probabilities: bool) -> Tensor:
    return ~((scores >= 0) & (scores <= 1)) if probabilities else K.isnan(scores)


def read_binary(
    y_true: Tensor, y_pred: Tensor, sample_weight: Tensor, mask: Tensor, dtype: DType, reading: Reading
) -> tuple[Tensor, Tensor, Tensor, Selection]:
    """Return labels, scores, the rows that scores come from, and what of them counts.

    Raises:
        ShapeError: if they do not align.
        ArgumentError: if the last axis has no entry `class_id`, or fewer than `top_k`.
    """
    require_real(y_true)
    scores = as_floats(y_pred, dtype)
    labels, scores = align(y_true if K.is_floating(y_true) else K.cast(y_true, "int64"), scores)
    rows, width = scores, scores.shape[-1]
    if reading.top_k is not None and reading.top_k > width:
        raise ArgumentError(
            f"y_pred has shape {tuple(y_pred.shape)}, and top_k={reading.top_k} of its last axis are to be chosen. "
            "Lower top_k, or pass one score per class."
        )
    if reading.class_id is not None:
        if not -width <= reading.class_id < width or scores.ndim < 2:
            raise ArgumentError(
                f"y_pred has shape {tuple(y_pred.shape)}, and class_id={reading.class_id}. "
                "Expected one score per class on the last axis, that class among them."
            )
        labels, scores = labels[..., reading.class_id], scores[..., reading.class_id]
    selection = select(sample_weight, mask, tuple(scores.shape), dtype)
    computed = selection.computed
    if computed is not None:
        labels, scores = K.where(computed, labels, 1), K.where(computed, scores, 0.0)
        # A score that does not count must not push others out of the highest ones.
        rows = K.where(computed if computed.ndim == rows.ndim else K.expand_dims(computed, -1), rows, -_INF)
    return labels, scores, rows, selection


def unusable(labels: Tensor, scores: Tensor, rows: Tensor, reading: Reading) -> tuple[Tensor, Tensor]:
    """Return where labels and where predictions have no meaning."""
    bad_scores = _unusable_scores(scores, reading.probabilities and not reading.from_logits)
    if reading.top_k is not None and reading.class_id is not None:  # the other classes matter too
        bad_scores = bad_scores | K.any(K.isnan(rows), -1)
    return unusable_labels(labels), bad_scores


def binary_checked(backend: Backend, batch: list[Tensor], reading: Reading) -> bool:
    """Check labels and predictions that count, if their values are at hand, and tell whether they were.

    Raises:
        LabelError: for the first label that is not 0 or 1 (nor -1 and 1).
        ArgumentError: for the first prediction that is not what `reading` expects.
    """
    if not all(each is None or backend.has_values(each) for each in batch):
        return False
    y_true, y_pred, weights, mask = (None if each is None else backend.to_numpy(each) for each in batch)
    if (
        weights is None and mask is None and _usual(reading)(y_true, y_pred)
    ):  # most batches; the shapes are looked at later
        return True
    labels, scores, rows, _ = read_binary(y_true, y_pred, weights, mask, "float64", reading)
    bad_labels, bad_scores = unusable(labels, scores, rows, reading)
    if bad_labels.any():
        at = _first(bad_labels)
        raise LabelError(
            f"y_true{_index(at, reading.class_id)} is {labels[at]}. Expected labels that are all 0 or 1, or all -1 or 1. "
            "Re-encode them (one column per class for several classes), or leave entries out with mask=."
        )
    if bad_scores.any():
        at = _first(bad_scores)
        expected = "probabilities in [0, 1]. Pass sigmoid or softmax outputs, or from_logits=True where there is one."
        if reading.from_logits or not reading.probabilities:
            expected = "logits." if reading.from_logits else "scores that can be compared."
        raise ArgumentError(f"y_pred{_index(at, reading.class_id)} is {scores[at]}. Expected {expected}")
    return True


def binary_queue(backend: Backend, batch: list[Tensor], reading: Reading, rank: int = 1) -> Queue | None:
    """Return what batches of labels and scores like this one may wait in, if they may."""
    if len(batch) != 2 or batch[1].dtype not in backend.full_precision:
        return None
    by_column = reading.class_id is not None or reading.top_k is not None or reading.label_weights is not None
    if not side_by_side(batch[0], batch[1], max(rank, 2 if by_column else 1)):
        return None
    return queue_like(backend, batch, _usual(reading))


def _usual(reading: Reading) -> Check:
    """Return what tells of most batches that labels and scores can be taken in."""
    return are_probabilities if reading.probabilities and not reading.from_logits else are_binary


def _first(bad: Any) -> tuple[int, ...]:
    return tuple(int(axis[0]) for axis in bad.nonzero())


def _index(at: tuple[int, ...], class_id: int | None) -> str:
    return f"[{', '.join(map(str, at if class_id is None else (*at, class_id)))}]"


def _highest(rows: Tensor, k: int) -> Tensor:
    """Return where the `k` highest entries of each row are; at a tie the first; -inf is never among them."""
    ranks = K.argsort(K.argsort(-rows, -1), -1)
    return (ranks < k) & (rows != -_INF)


def add_to_buckets(*tensors: Tensor, checked: bool, reading: Reading) -> BucketState:
    """Return the state after one more batch; pure and traced."""
    state, batch = BucketState(*tensors[:-4]), tensors[-4:]
    dtype = K.dtype(state.thresholds)
    y_true, y_pred, sample_weight, mask = batch
    labels, scores, rows, selection = read_binary(y_true, y_pred, sample_weight, mask, dtype, reading)
    weights, counted = selection.weights, selection.counted
    poison = None
    if not checked:
        bad_labels, bad_scores = unusable(labels, scores, rows, reading)
        poison = K.where(K.any(bad_labels | bad_scores), _NAN, K.zeros_like(state.positive_weight))
    if reading.top_k is not None:
        chosen = _highest(rows, reading.top_k)
        chosen = chosen if reading.class_id is None else chosen[..., reading.class_id]
        scores = K.where(chosen, scores, -_INF)
    scores = K.cast(K.sigmoid(scores) if reading.from_logits else scores, dtype)
    weights = with_label_weights(weights, counted, scores, reading.label_weights)

    shape = tuple(state.positives.shape)
    size = buckets = shape[0]
    above = K.searchsorted(state.thresholds, K.reshape(scores, (-1,)), side="left")
    bucket = K.clip(buckets - above, 0, buckets - 1)
    if len(shape) == 2:
        columns = K.reshape(K.arange(shape[1], dtype=K.dtype(bucket), like=bucket), (1, shape[1]))
        bucket = K.reshape(K.reshape(bucket, (-1, shape[1])) * shape[1] + columns, (-1,))
        size = buckets * shape[1]
    positive = K.reshape(labels > 0, (-1,))

    def histogram(x: Tensor) -> Tensor:
        return K.reshape(K.segment_sum(x, bucket, size), shape)

    positives, negatives, *pairs = state[1:]
    if weights is None:
        # Positives, negatives and what does not count in one go, one behind the other.
        kind = bucket + size * (1 - K.cast(positive, K.dtype(bucket)))
        if counted is not None:
            kind = K.where(K.reshape(counted, (-1,)), kind, 2 * size)
        counts = K.cast(K.bincount(kind, 2 * size + 1), K.dtype(positives))
        positives = positives + K.reshape(counts[:size], shape)
        negatives = negatives + K.reshape(counts[size : 2 * size], shape)
    else:
        weights = K.reshape(weights, (-1,))
        pairs[:2] = add(pairs[0], pairs[1], histogram(K.where(positive, weights, 0.0)))
        pairs[2:] = add(pairs[2], pairs[3], histogram(K.where(positive, 0.0, weights)))
    if poison is not None:
        pairs[0], pairs[2] = pairs[0] + poison, pairs[2] + poison
    return BucketState(state.thresholds, positives, negatives, *pairs)


def with_label_weights(
    weights: Tensor, counted: Tensor, scores: Tensor, label_weights: tuple[float, ...] | None
) -> Tensor:
    if label_weights is None:
        return weights
    per_label = K.asarray(list(label_weights), dtype=K.dtype(scores), like=scores)
    per_label = K.broadcast_to(K.reshape(per_label, (1,) * (scores.ndim - 1) + (-1,)), tuple(scores.shape))
    weights = per_label if weights is None else weights * per_label
    return weights if counted is None else K.where(counted, weights, 0.0)


def check_columns(shape: Shape, columns: int, why: str) -> None:
    """Raise ShapeError unless predictions have `columns` entries per sample."""
    if len(shape) != 2 or shape[-1] != columns:
        raise ShapeError(f"y_pred has shape {tuple(shape)}. Expected (N, {columns}), as {why} asks for.")


def merge_buckets(*tensors: Tensor) -> BucketState:
    """Return two states as one."""
    half = len(tensors) // 2
    a, b = BucketState(*tensors[:half]), BucketState(*tensors[half:])
    return BucketState(
        a.thresholds,
        a.positives + b.positives,
        a.negatives + b.negatives,
        *add_pairs(a.positive_weight, a.positive_weight_low, b.positive_weight, b.positive_weight_low),
        *add_pairs(a.negative_weight, a.negative_weight_low, b.negative_weight, b.negative_weight_low),
    )


class Confusion(NamedTuple):
    """The four counts at each threshold, from the highest threshold to the lowest: shape (T,), or (T, labels)."""

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor


def confusion(state: BucketState) -> Confusion:
    """Return what is above and what is at or below each threshold."""
    positive = (state.positives, state.positive_weight + state.positive_weight_low)
    negative = (state.negatives, state.negative_weight + state.negative_weight_low)
    # The counts below are added up from below: a difference to the total would lose their digits.
    return Confusion(_above(*positive), _above(*negative), _below(*positive), _below(*negative))


def _above(counts: Tensor, weights: Tensor) -> Tensor:
    totals = K.cast(K.cumsum(counts, 0), K.dtype(weights)) + K.cumsum(weights, 0)
    return K.concatenate([K.zeros_like(totals[:1, ...]), totals], 0)


def _below(counts: Tensor, weights: Tensor) -> Tensor:
    return _reversed(_above(_reversed(counts), _reversed(weights)))


def _reversed(x: Tensor) -> Tensor:
    size = x.shape[0]
    backwards = K.reshape(size - 1 - K.arange(size, like=x), (size,) + (1,) * (x.ndim - 1))
    return K.take_along_axis(x, K.broadcast_to(backwards, tuple(x.shape)), 0)
