"""Scores kept one by one: what the exact area under a curve is made of.

The state is exact by nature: it holds every score, so it grows with each batch. Batches stay apart until the value is
asked for, so that taking one in costs nothing but memory.
"""

from __future__ import annotations

from typing import NamedTuple

from multiloss._typing import DType, Tensor
from multiloss.dispatch import K
from multiloss.metrics._buckets import Reading, read_binary, unusable, with_label_weights

_NAN = float("nan")


class ScoreState(NamedTuple):
    """Everything that was seen: a tuple with one tensor for each batch, of shape (N,), or (N, labels)."""

    scores: tuple[Tensor, ...] = ()
    labels: tuple[Tensor, ...] = ()
    """Whether each is a positive."""
    counts: tuple[Tensor, ...] = ()
    """1 for what arrived without a weight, else 0."""
    weights: tuple[Tensor, ...] = ()
    """The weights of the others; 0 for what does not count."""


def read_scores(
    *batch: Tensor, checked: bool, reading: Reading, dtype: DType, by_column: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `ScoreState` keeps of one batch; pure and traced. Logits stay logits: their order is the same."""
    y_true, y_pred, sample_weight, mask = batch
    labels, scores, rows, selection = read_binary(y_true, y_pred, sample_weight, mask, dtype, reading)
    weights, counted = selection.weights, selection.counted
    scores = K.cast(scores, dtype)
    poison = None
    if not checked:
        bad_labels, bad_scores = unusable(labels, scores, rows, reading)
        poison = K.where(K.any(bad_labels | bad_scores), _NAN, K.zeros_like(scores))
    weights = with_label_weights(weights, counted, scores, reading.label_weights)
    if weights is not None:
        counts = K.zeros_like(scores, "int32")
    else:
        counts = K.ones_like(scores, "int32") if counted is None else K.cast(counted, "int32")
        weights = K.zeros_like(scores)
    weights = weights if poison is None else weights + poison
    kept = (scores, labels > 0, counts, weights)
    scores, positive, counts, weights = kept if by_column else (K.reshape(each, (-1,)) for each in kept)
    return scores, positive, counts, weights
