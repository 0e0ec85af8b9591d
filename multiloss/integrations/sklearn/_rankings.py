"""scikit-learn's metrics of scores that rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from multiloss._arguments import is_whole
from multiloss._errors import ArgumentError, LabelError, NotSupportedError, ShapeError, unknown_name
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.integrations.sklearn._inputs import (
    Array,
    arrays,
    as_real,
    column,
    on_host,
    require_distributions,
    require_equal_lengths,
    require_finite,
    warn_undefined,
    weighted_mean,
    weights_of,
)
from multiloss.integrations.sklearn._labels import as_labels, classes_of, index_in, indicators

__all__ = ["average_precision_score", "roc_auc_score", "top_k_accuracy_score"]

Labels = Sequence[Any] | Array | None


def _read_scores(y_true: TensorLike, y_score: TensorLike, sample_weight: TensorLike) -> tuple[Any, Any, Any]:
    y_true, y_score, sample_weight = arrays(y_true, y_score, sample_weight)
    size = require_equal_lengths(("y_true", y_true), ("y_score", y_score))
    y_score = as_real(y_score, "y_score")
    if y_score.ndim == 2 and y_score.shape[1] == 1:
        y_score = K.reshape(y_score, (-1,))
    if y_score.ndim > 2:
        raise ShapeError(f"y_score has shape {tuple(y_score.shape)}. Expected (N,) or (N, classes).")
    if not np.isfinite(float(K.sum(y_score))):
        require_finite(y_score=y_score)
    weights = weights_of(sample_weight, size)
    return y_true, y_score, weights if weights is None else K.cast(weights, K.dtype(y_score))


def _area(positive: Tensor, scores: Any, weights: Any) -> float:
    """Return the area under ROC; nan, with a warning, if there is one kind of samples only."""
    counts = None if weights is None else K.zeros_like(positive, "int32")
    weights = weights if weights is not None or isinstance(scores, np.ndarray) else K.zeros_like(scores)
    if counts is None and weights is not None:
        counts = K.ones_like(positive, "int32")
    area = float(K.roc_area(scores, positive, counts, weights))
    if area in (0.0, 1.0) and (not bool(K.any(positive)) or bool(K.all(positive))):
        warn_undefined("Only one class is present in y_true. The area under ROC is not defined and set to nan.")
        return float("nan")
    return area


def _average_precision(positive: Tensor, scores: Any, weights: Any) -> float:
    counts = K.zeros_like(positive, "int32") if weights is not None else K.ones_like(positive, "int32")
    weights = K.zeros_like(scores) if weights is None else weights
    hits, false_alarms = on_host(K.ranked_counts(scores, positive, counts, weights))
    if not hits[-1]:
        warn_undefined("No positive class found in y_true. The average precision is set to 0.0.")
        return 0.0
    seen = hits + false_alarms
    with np.errstate(invalid="ignore"):
        precision = hits[1:] / seen[1:]
    gained = hits[1:] - hits[:-1]
    if not seen[1]:  # samples of weight 0
        precision[seen[1:] == 0] = 0.0
    return float(gained @ precision / hits[-1])


def _averaged(
    score: Callable[[Tensor, Any, Any], float], hot: Any, scores: Any, weights: Any, average: str | None
) -> Any:
    """Return the average of a binary score over columns, or one for each."""
    if average not in (None, "macro", "micro", "samples", "weighted"):
        raise unknown_name("average", average, ("macro", "micro", "samples", "weighted"))
    if average == "micro":
        repeated = None if weights is None else K.reshape(
            K.broadcast_to(K.expand_dims(weights, -1), tuple(hot.shape)), (-1,)
        )  # fmt: skip
        return score(K.reshape(hot, (-1,)), K.reshape(scores, (-1,)), repeated)
    if average == "samples":
        each = np.array([score(hot[row, :], scores[row, :], None) for row in range(hot.shape[0])])
        return float(np.average(each, weights=None if weights is None else on_host(weights)))
    each = np.array([score(hot[:, at], scores[:, at], weights) for at in range(hot.shape[1])])
    if average is None:
        return each
    sizes = None
    if average == "weighted":
        sizes = on_host(K.sum(hot if weights is None else K.where(hot, K.expand_dims(weights, -1), 0.0), 0))
        if not sizes.sum():
            return 0.0
    return float(np.average(each, weights=sizes))


def roc_auc_score(
    y_true: TensorLike,
    y_score: TensorLike,
    *,
    average: str | None = "macro",
    sample_weight: TensorLike = None,
    max_fpr: float | None = None,
    multi_class: str = "raise",
    labels: Labels = None,
) -> Any:
    """Area under the ROC curve, exact, ties counting half: scikit-learn's function.

    Args:
        y_true: labels, or (N, labels) of 0 and 1.
        y_score: scores: (N,) of the greater of two labels, or (N, classes), classes ascending.
        average: over classes or labels: `"macro"`, `"weighted"` (by how often they occur), `"micro"` (all together),
            `"samples"`, or None: one area for each.
        sample_weight: how much each sample counts.
        max_fpr: not taken, but for None and 1.
        multi_class: `"ovr"` (each class against the rest) or `"ovo"` (each pair of classes), for more than two classes.
        labels: all classes, for more than two. Default: those in `y_true`.

    Of samples of one kind it is nan, with a warning.

    >>> roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    if max_fpr not in (None, 1):
        raise NotSupportedError(f"max_fpr={max_fpr!r}: only the whole area is offered. Use scikit-learn for a part.")
    if multi_class not in ("raise", "ovr", "ovo"):
        raise unknown_name("multi_class", multi_class, ("ovr", "ovo"))
    y_true, y_score, weights = _read_scores(y_true, y_score, sample_weight)
    if y_true.ndim == 2 and y_true.shape[1] > 1:
        if tuple(y_true.shape) != tuple(y_score.shape):
            raise ShapeError(f"y_true has shape {tuple(y_true.shape)} and y_score has shape {tuple(y_score.shape)}.")
        return _averaged(_area, indicators(y_true, "y_true"), y_score, weights, average)
    y_true = as_labels(column(y_true, "y_true"), "y_true")
    if y_score.ndim == 2 and y_score.shape[1] > 2:
        return _several_classes(y_true, y_score, weights, average, multi_class, labels)
    if y_score.ndim == 2:
        raise ShapeError(
            f"y_score has shape {tuple(y_score.shape)}. Expected (N,): the scores of the greater label, y_score[:, 1]."
        )
    if average not in (None, "macro", "micro", "samples", "weighted"):
        raise unknown_name("average", average, ("macro", "micro", "samples", "weighted"))
    return _area(_is_greater(y_true), y_score, weights)


def _is_greater(y_true: Any) -> Tensor:
    """Return where labels are the greater of two."""
    if y_true.dtype == bool or K.dtype(y_true) == "bool":
        return y_true
    if not isinstance(y_true, np.ndarray) or y_true.dtype.kind in "iu":
        lowest, highest = int(K.min(y_true)), int(K.max(y_true))
        positive = y_true == highest
        if highest - lowest > 1 and not bool(K.all(positive | (y_true == lowest))):
            raise _too_many(y_true)
        return positive if highest > lowest else y_true != y_true
    classes = classes_of(y_true)
    if len(classes) > 2:
        raise _too_many(y_true)
    return np.asarray(y_true == classes[-1]) if len(classes) == 2 else np.zeros(len(y_true), bool)


def _require_label(pos_label: Any, y_true: Any) -> None:
    classes = classes_of(y_true).tolist()
    if len(classes) == 2 and pos_label not in classes:
        raise LabelError(f"pos_label={pos_label!r} is none of the labels {classes}.")


def _too_many(y_true: Any) -> LabelError:
    classes = classes_of(y_true)
    return LabelError(
        f"y_true has {len(classes)} classes, {classes.tolist()[:8]}, and y_score has shape (N,). "
        "Expected two classes, or a column of scores for each."
    )


def _several_classes(
    y_true: Any, y_score: Any, weights: Any, average: str | None, multi_class: str, labels: Labels
) -> Any:
    if multi_class == "raise":
        raise ArgumentError(
            f"y_score has shape {tuple(y_score.shape)}: choose multi_class='ovr' (each class against the rest) or 'ovo'."
        )
    require_distributions(y_score)
    classes = classes_of(y_true) if labels is None else np.asarray(labels)
    if labels is not None and not np.array_equal(np.unique(classes), classes):
        raise ArgumentError(f"labels={classes.tolist()} are not ascending and distinct. Sort them.")
    if len(classes) != y_score.shape[1]:
        raise LabelError(
            f"y_score has shape {tuple(y_score.shape)}, and there are {len(classes)} classes. Expected a column for each. "
            "Give classes that do not occur in y_true with labels=."
        )
    index = index_in(y_true, classes, "y_true")
    if multi_class == "ovr":
        if average == "samples":
            raise ArgumentError(
                "average='samples' takes several labels per sample. Choose 'macro', 'weighted' or 'micro'."
            )
        hot = K.one_hot(index, len(classes), dtype="bool")
        return _averaged(_area, hot, y_score, weights, average)
    if weights is not None:
        raise ArgumentError("sample_weight cannot act with multi_class='ovo'. Leave it out, or choose 'ovr'.")
    if average not in ("macro", "weighted"):
        raise ArgumentError(f"average={average!r} cannot act with multi_class='ovo'. Choose 'macro' or 'weighted'.")
    return _one_against_one(on_host(index), on_host(y_score), len(classes), average)


def _one_against_one(index: Array, scores: Array, classes: int, average: str) -> float:
    areas, sizes = [], []
    for first in range(classes):
        for second in range(first + 1, classes):
            both = (index == first) | (index == second)
            is_first = index[both] == first
            areas.append(
                (_area(is_first, scores[both, first], None) + _area(~is_first, scores[both, second], None)) / 2
            )
            sizes.append(float(np.mean(both)))
    return float(np.average(areas, weights=sizes if average == "weighted" else None))


def average_precision_score(
    y_true: TensorLike,
    y_score: TensorLike,
    *,
    average: str | None = "macro",
    pos_label: Any = 1,
    sample_weight: TensorLike = None,
) -> Any:
    """Average precision, `sum((R_n - R_{n-1}) P_n)` over falling thresholds: scikit-learn's function.

    Args:
        y_true: labels, or (N, labels) of 0 and 1.
        y_score: scores: (N,) of `pos_label`, or (N, classes), classes ascending.
        average: over classes or labels, as in `roc_auc_score`.
        pos_label: the label whose scores they are, where there are two.
        sample_weight: how much each sample counts.

    Without positives it is 0, with a warning.

    >>> round(average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    y_true, y_score, weights = _read_scores(y_true, y_score, sample_weight)
    if y_true.ndim == 2 and y_true.shape[1] > 1:
        hot = indicators(y_true, "y_true")
    else:
        y_true = as_labels(column(y_true, "y_true"), "y_true")
        if y_score.ndim == 1:
            greater = _is_greater(y_true)  # raises if there are more than two
            positive = y_true == pos_label
            if not bool(K.all(positive == greater)):
                _require_label(pos_label, y_true)
            return _average_precision(positive, y_score, weights)
        classes = classes_of(y_true)
        hot = K.one_hot(index_in(y_true, classes, "y_true"), len(classes), dtype="bool")
    if tuple(hot.shape) != tuple(y_score.shape):
        raise ShapeError(
            f"y_score has shape {tuple(y_score.shape)}. Expected {tuple(hot.shape)}: a column for each class."
        )
    if pos_label != 1:
        raise ArgumentError(f"pos_label={pos_label!r} cannot act where there are several columns. Leave it out.")
    return _averaged(_average_precision, hot, y_score, weights, average)


def top_k_accuracy_score(
    y_true: TensorLike,
    y_score: TensorLike,
    *,
    k: int = 2,
    normalize: bool = True,
    sample_weight: TensorLike = None,
    labels: Labels = None,
) -> float:
    """Share of the samples whose class is among the `k` highest scores: scikit-learn's function.

    Of equal scores that of the later class is taken for the higher one.

    Args:
        y_true: labels.
        y_score: scores (N, classes), classes ascending; or (N,) of the greater of two labels, which is predicted above
            0.5 if all scores are in [0, 1], else above 0.
        k: how many.
        normalize: whether to return the share and not the number.
        sample_weight: how much each sample counts.
        labels: all classes, ascending. Default: those in `y_true`.

    >>> top_k_accuracy_score([0, 1, 2, 2], [[0.5, 0.2, 0.2], [0.3, 0.4, 0.2], [0.2, 0.4, 0.3], [0.7, 0.2, 0.1]], k=2)
    0.75
    """
    if not is_whole(k) or k < 1:
        raise ArgumentError(f"k={k!r} is not allowed. Expected a whole number of at least 1.")
    y_true, y_score, weights = _read_scores(y_true, y_score, sample_weight)
    y_true = as_labels(column(y_true, "y_true"), "y_true")
    classes = classes_of(y_true) if labels is None else np.asarray(labels)
    if labels is not None and not np.array_equal(np.unique(classes), classes):
        raise ArgumentError(f"labels={classes.tolist()} are not ascending and distinct. Sort them.")
    columns = 2 if y_score.ndim == 1 else int(y_score.shape[1])
    if len(classes) != columns and not (columns == 2 and len(classes) < 2):
        raise LabelError(
            f"y_score has shape {tuple(y_score.shape)}, and there are {len(classes)} classes. Expected a column for each. "
            "Give classes that do not occur in y_true with labels=."
        )
    if k >= columns:
        warn_undefined(f"k={k} of {columns} classes are all of them, so that every sample is a hit.")
    index = index_in(y_true, classes, "y_true")
    if y_score.ndim == 1:
        threshold = 0.5 if float(K.min(y_score)) >= 0 and float(K.max(y_score)) <= 1 else 0.0
        hits = (y_score > threshold) == (index == 1) if k == 1 else K.ones_like(index, "bool")
    else:
        hits = _among_highest(index, y_score, k)
    values = K.cast(hits, "float64") if isinstance(hits, np.ndarray) else K.cast(hits, "float32")
    return weighted_mean(values, weights, normalize)


def _among_highest(index: Any, scores: Any, k: int) -> Tensor:
    if isinstance(scores, np.ndarray):  # a third of the time that take_along_axis takes for few
        own = scores[np.arange(len(scores)), index][:, None]
    else:
        own = K.take_along_axis(scores, K.expand_dims(index, -1), -1)
    index = index[:, None]
    better = K.sum(scores > own, -1)
    if int(K.sum(scores == own)) == len(scores):  # no ties
        return better < k
    classes = K.reshape(K.arange(scores.shape[1], dtype=K.dtype(index), like=index), (1, -1))
    return better + K.sum((scores == own) & (classes > index), -1) < k
