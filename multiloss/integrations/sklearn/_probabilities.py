"""scikit-learn's losses of predicted probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from multiloss._errors import ArgumentError, LabelError, ShapeError
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.integrations.sklearn._inputs import (
    Array,
    arrays,
    as_real,
    column,
    epsilon,
    require_distributions,
    require_equal_lengths,
    require_numbers,
    weighted_mean,
    weights_of,
)
from multiloss.integrations.sklearn._labels import as_labels, classes_of, index_in, indicators

__all__ = ["brier_score_loss", "log_loss"]

Labels = Sequence[Any] | Array | None


def _read_probabilities(
    y_true: TensorLike, y_proba: TensorLike, sample_weight: TensorLike, labels: Labels
) -> tuple[Any, Any, Any, Array]:
    """Return class indices, probabilities (N,) of the second of two classes or (N, K), weights and the classes.

    Raises:
        ArgumentError: for a probability outside [0, 1].
        LabelError: if there are not as many classes as probabilities.
    """
    y_true, y_proba, sample_weight = arrays(y_true, y_proba, sample_weight)
    size = require_equal_lengths(("y_true", y_true), ("y_proba", y_proba))
    if y_proba.ndim == 2 and y_proba.shape[1] == 1:
        y_proba = K.reshape(y_proba, (-1,))
    if y_proba.ndim > 2:
        raise ShapeError(f"y_proba has shape {tuple(y_proba.shape)}. Expected (N,) or (N, classes).")
    require_numbers(y_proba, "y_proba")
    if not K.is_floating(y_proba):
        y_proba = as_real(y_proba, "y_proba")
    # Of several columns none is above 1 if none is below 0 and rows sum to 1, which is looked at later.
    lowest, highest = float(K.min(y_proba)), float(K.max(y_proba)) if y_proba.ndim == 1 else 1.0
    if not (lowest >= 0 and highest <= 1):
        raise ArgumentError(
            f"y_proba holds numbers from {lowest} to {float(K.max(y_proba))}. "
            "Expected probabilities in [0, 1], as predict_proba gives."
        )
    columns = 2 if y_proba.ndim == 1 else int(y_proba.shape[1])
    if y_true.ndim == 2 and y_true.shape[1] > 1:  # one column for each class
        hot = indicators(y_true, "y_true")
        if not bool(K.all(K.sum(hot, 1) == 1)):
            raise LabelError("y_true has a row without exactly one 1. Expected one-hot rows, or labels of shape (N,).")
        index = K.argmax(K.cast(hot, "int32"), 1)
        classes = np.arange(y_true.shape[1]) if labels is None else np.sort(np.asarray(labels))
    else:
        y_true = as_labels(column(y_true, "y_true"), "y_true")
        classes = classes_of(y_true) if labels is None else np.unique(np.asarray(labels))
        if len(classes) < 2:
            raise LabelError(
                f"There is one class, {classes.tolist()}, and there must be at least two. Give all with labels=."
            )
        index = index_in(y_true, classes, "y_true")
    if len(classes) != columns:
        raise LabelError(
            f"y_proba has shape {tuple(y_proba.shape)}, and there are {len(classes)} classes: {classes.tolist()[:8]}. "
            "Expected a column for each, ascending. Give classes that do not occur in y_true with labels=."
        )
    return index, y_proba, weights_of(sample_weight, size), classes


def _of_true_class(index: Any, y_proba: Any) -> Tensor:
    """Return the probability of each sample's class."""
    if y_proba.ndim == 2:
        return K.squeeze(K.take_along_axis(y_proba, K.expand_dims(index, -1), -1), -1)
    # 1 - p at 0 and p at 1, exactly, in a quarter of the time of a select.
    return K.abs(K.cast(1 - index, K.dtype(y_proba)) - y_proba)


def log_loss(
    y_true: TensorLike,
    y_proba: TensorLike,
    *,
    normalize: bool = True,
    sample_weight: TensorLike = None,
    labels: Labels = None,
) -> float:
    """Mean of `-log(p)`, with `p` the probability of each sample's class: scikit-learn's function.

    `p` is kept away from 0 and 1 by the precision of its dtype. Rows that do not sum to 1, of which scikit-learn warns,
    are an error.

    Args:
        y_true: labels.
        y_proba: probabilities: (N,) of the greater of two labels, or (N, classes), classes ascending.
        normalize: whether to return the mean and not the sum.
        sample_weight: how much each sample counts.
        labels: all classes. Default: those in `y_true`.

    >>> round(log_loss(["spam", "ham", "ham", "spam"], [[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]]), 4)
    0.2162
    """
    index, y_proba, weights, _ = _read_probabilities(y_true, y_proba, sample_weight, labels)
    require_distributions(y_proba)
    bound = epsilon(y_proba)
    p = K.clip(_of_true_class(index, y_proba), bound, 1.0 - bound)
    if isinstance(p, np.ndarray):
        p = p.astype(np.float64, copy=False)
    return -weighted_mean(K.log(p), weights, normalize)


def brier_score_loss(
    y_true: TensorLike,
    y_proba: TensorLike,
    *,
    sample_weight: TensorLike = None,
    pos_label: Any = None,
    labels: Labels = None,
    scale_by_half: bool | str = "auto",
) -> float:
    """Mean of `sum((one_hot - p)^2)` over classes: scikit-learn's function.

    Args:
        y_true: labels.
        y_proba: probabilities: (N,) of `pos_label`, or (N, classes), classes ascending.
        sample_weight: how much each sample counts.
        pos_label: which label probabilities (N,) are of. Default: the greater one.
        labels: all classes. Default: those in `y_true`.
        scale_by_half: whether to halve it; `"auto"`: for two classes.

    >>> round(brier_score_loss([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.3]), 4)
    0.0375
    """
    if scale_by_half not in ("auto", True, False):
        raise ArgumentError(f"scale_by_half={scale_by_half!r} is not allowed. Expected True, False or 'auto'.")
    if labels is None and pos_label is not None:
        labels = np.union1d(classes_of(as_labels(column(arrays(y_true)[0], "y_true"), "y_true")), [pos_label])
    index, y_proba, weights, classes = _read_probabilities(y_true, y_proba, sample_weight, labels)
    if y_proba.ndim == 1:
        if pos_label is not None and pos_label not in classes.tolist():
            raise LabelError(f"pos_label={pos_label!r} is none of the labels {classes.tolist()}.")
        index = index if pos_label is None or pos_label == classes[1] else 1 - index
        value = weighted_mean(K.square(1.0 - _of_true_class(index, y_proba)), weights)
        return value if scale_by_half else 2.0 * value
    if pos_label is not None:
        raise ArgumentError("pos_label says which label probabilities of shape (N,) are of. Leave it out.")
    require_distributions(y_proba)
    own = K.take_along_axis(y_proba, K.expand_dims(index, -1), -1)
    squares = K.sum(K.square(y_proba), 1) + K.squeeze(1.0 - 2.0 * own, -1)
    halved = len(classes) < 3 if scale_by_half == "auto" else scale_by_half
    return (0.5 if halved else 1.0) * weighted_mean(squares, weights)
