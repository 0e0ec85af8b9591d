"""scikit-learn's metrics of predicted classes.

Labels are integers, booleans or text of shape (N,), or for several labels per sample (N, labels) of 0 and 1.
`sample_weight` has shape (N,).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from multiloss._errors import ArgumentError, LabelError, ShapeError, unknown_name
from multiloss._typing import TensorLike
from multiloss.dispatch import K
from multiloss.integrations.sklearn._inputs import Array, on_host, warn_undefined
from multiloss.integrations.sklearn._labels import (
    PairCounts,
    chosen,
    count_pairs,
    positions,
    read_labels,
)

__all__ = [
    "accuracy_score",
    "balanced_accuracy_score",
    "confusion_matrix",
    "f1_score",
    "fbeta_score",
    "matthews_corrcoef",
    "precision_recall_fscore_support",
    "precision_score",
    "recall_score",
    "zero_one_loss",
]

AVERAGES = ("binary", "macro", "micro", "samples", "weighted")


def accuracy_score(
    y_true: TensorLike, y_pred: TensorLike, *, normalize: bool = True, sample_weight: TensorLike = None
) -> float:
    """Share of the samples whose prediction equals the label; without `normalize` their number: scikit-learn's function.

    Of several labels per sample all must be right.

    >>> accuracy_score(["cat", "dog", "dog"], ["cat", "dog", "cat"], normalize=False)
    2.0
    """
    y_true, y_pred, weights, size = read_labels(y_true, y_pred, sample_weight)
    hits = y_true == y_pred
    if hits.ndim == 2:
        hits = K.all(hits, 1)
    if weights is None:
        count = int(np.count_nonzero(hits)) if isinstance(hits, np.ndarray) else int(K.sum(hits))
        return count / size if normalize else float(count)
    total = float(K.sum(K.where(hits, weights, 0)))
    return total / float(K.sum(weights)) if normalize else total


def zero_one_loss(
    y_true: TensorLike, y_pred: TensorLike, *, normalize: bool = True, sample_weight: TensorLike = None
) -> float:
    """Share of the samples whose prediction is wrong; without `normalize` their number: scikit-learn's function.

    >>> zero_one_loss([1, 2, 3, 4], [2, 2, 3, 4])
    0.25
    """
    score = accuracy_score(y_true, y_pred, normalize=normalize, sample_weight=sample_weight)
    if normalize:
        return 1.0 - score
    whole = accuracy_score(y_true, y_true, normalize=False, sample_weight=sample_weight)
    return whole - score


def _pairs(y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike, what: str) -> PairCounts:
    y_true, y_pred, weights, _ = read_labels(y_true, y_pred, sample_weight)
    if y_true.ndim != 1:
        raise ShapeError(
            f"{what} takes one label per sample, and y_true has shape {tuple(y_true.shape)}. Expected (N,)."
        )
    return count_pairs(y_true, y_pred, weights)


def confusion_matrix(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    labels: Sequence[Any] | Array | None = None,
    sample_weight: TensorLike = None,
    normalize: str | None = None,
) -> Array:
    """How often each class (column) was predicted for each (row): scikit-learn's function.

    Args:
        y_true: labels.
        y_pred: predicted labels.
        labels: the classes to show, in their order. Default: all that occur, ascending.
        sample_weight: how much each sample counts.
        normalize: `"true"` (rows sum to 1), `"pred"` (columns), `"all"`, or None.

    >>> confusion_matrix(["cat", "ant", "cat"], ["ant", "ant", "cat"], labels=["ant", "bird", "cat"]).tolist()
    [[1, 0, 0], [0, 0, 0], [1, 0, 1]]
    """
    if normalize not in (None, "true", "pred", "all"):
        raise unknown_name("normalize", normalize, ("true", "pred", "all"))
    pairs = _pairs(y_true, y_pred, sample_weight, "confusion_matrix")
    table = pairs.counts
    if labels is not None:
        labels = np.asarray(labels)
        if labels.ndim != 1 or not labels.size:
            raise ShapeError(f"labels has shape {labels.shape}. Expected a list of at least one label.")
        places = positions(labels, pairs.classes)
        known = places >= 0
        if not (table[places[known]].any() or known.any()):
            raise LabelError(f"None of labels={labels.tolist()} occurs. Expected at least one that does.")
        table = np.where(known[:, None] & known, table[places][:, places], 0)
    if normalize is None:
        return table
    with np.errstate(all="ignore"):
        sums = {"true": table.sum(1, keepdims=True), "pred": table.sum(0, keepdims=True), "all": table.sum()}
        shares: Array = np.nan_to_num(table / sums[normalize])
    return shares


class Scores(NamedTuple):
    precision: Any
    recall: Any
    fscore: Any
    support: Any


def _totals(
    y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike, labels: Any, pos_label: Any, average: str | None
) -> tuple[Array, Array | None]:
    """Return true positives, positives and predicted positives: (3, classes); and the weights of samples."""
    if average is not None and average not in AVERAGES:
        raise unknown_name("average", average, AVERAGES)
    y_true, y_pred, weights, _ = read_labels(y_true, y_pred, sample_weight)
    if average != "binary" and pos_label not in (None, 1):
        raise ArgumentError(
            f"pos_label={pos_label!r} cannot act with average={average!r}. Use labels=[{pos_label!r}], or average='binary'."
        )
    if y_true.ndim == 2:
        return _label_totals(y_true, y_pred, weights, labels, average)
    pairs = count_pairs(y_true, y_pred, weights)
    if average == "samples":
        raise ArgumentError("average='samples' takes several labels per sample. Expected y_true of shape (N, labels).")
    if average == "binary":
        if len(pairs.classes) > 2:
            raise ArgumentError(
                f"There are {len(pairs.classes)} classes, and average='binary'. "
                "Choose average='macro', 'micro', 'weighted' or None."
            )
        if len(pairs.classes) == 2 and pos_label not in pairs.classes.tolist():
            raise LabelError(f"pos_label={pos_label!r} is none of the labels {pairs.classes.tolist()}.")
        if labels is not None:
            raise ArgumentError(
                "labels cannot act with average='binary', which looks at pos_label alone. Leave it out."
            )
        labels = [pos_label]
    return chosen(pairs, labels)[0], None


def _label_totals(
    y_true: Any, y_pred: Any, weights: Any, labels: Any, average: str | None
) -> tuple[Array, Array | None]:
    if average == "binary":
        raise ArgumentError(
            f"y_true has shape {tuple(y_true.shape)}, and average='binary'. "
            "Choose average='macro', 'micro', 'weighted', 'samples' or None."
        )
    kinds = [y_true & y_pred, y_true, y_pred]
    if average == "samples":
        counts = [each if labels is None else on_host(each)[:, np.asarray(labels)] for each in kinds]
        return np.stack([on_host(K.sum(each, 1)) for each in counts]), None if weights is None else on_host(weights)
    if weights is None:
        totals = np.stack([on_host(K.sum(each, 0)) for each in kinds])
    else:
        by_sample = K.expand_dims(weights, -1)
        totals = np.stack([on_host(K.sum(K.where(each, by_sample, 0), 0)) for each in kinds])
    return (totals if labels is None else totals[:, np.asarray(labels)]), None


def _divided(numerator: Array, denominator: Array, zero_division: Any, what: str, warn: bool) -> Array:
    nothing = denominator == 0
    ratios = numerator / np.where(nothing, 1, denominator)
    if nothing.any():
        ratios = np.where(nothing, 0.0 if zero_division == "warn" else float(zero_division), ratios)
        if warn and zero_division == "warn":
            warn_undefined(
                f"{what} is ill-defined and set to 0.0 where nothing is to be divided by. "
                "Use zero_division= to control this behavior."
            )
    return ratios


def _averaged(values: Array, weights: Array | None) -> float:
    """Return the weighted mean of what is not nan."""
    there = ~np.isnan(values)
    if not there.any():
        return float("nan")
    values = values[there]
    if weights is None:
        return float(values.mean())
    weights = weights[there]
    return float(np.average(values, weights=weights)) if weights.sum() != 0 else float(values.mean())


def precision_recall_fscore_support(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    beta: float = 1.0,
    labels: Sequence[Any] | Array | None = None,
    pos_label: Any = 1,
    average: str | None = None,
    warn_for: Sequence[str] = ("precision", "recall", "f-score"),
    sample_weight: TensorLike = None,
    zero_division: Any = "warn",
) -> tuple[Any, Any, Any, Any]:
    """Precision, recall, F-score, and how often each class occurs (None with an average): scikit-learn's function.

    Formulas: `TP / (TP + FP)`, `TP / (TP + FN)`, `(1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP)`.

    Args:
        y_true: labels.
        y_pred: predicted labels.
        beta: how much more recall counts than precision.
        labels: the classes to look at. Default: all that occur, ascending.
        pos_label: the class that `average="binary"` looks at.
        average: `"binary"`, `"macro"` (mean over classes), `"micro"` (all classes together), `"weighted"` (by how often
            a class occurs), `"samples"` (mean over samples of several labels), or None: one value for each class.
        warn_for: of what is warned where it is not defined.
        sample_weight: how much each sample counts.
        zero_division: what a value without a denominator is: 0, 1, nan (averages leave it out), or `"warn"`: 0 and a
            warning.

    >>> precision_recall_fscore_support([0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1], average="micro")[:3]
    (0.3333333333333333, 0.3333333333333333, 0.3333333333333333)
    """
    if zero_division != "warn" and zero_division not in (0, 1) and zero_division == zero_division:
        raise ArgumentError(f"zero_division={zero_division!r} is not allowed. Expected 'warn', 0, 1 or nan.")
    if not beta >= 0:
        raise ArgumentError(f"beta={beta!r} is not allowed. Expected a number of at least 0.")
    totals, by_sample = _totals(y_true, y_pred, sample_weight, labels, pos_label, average)
    if sample_weight is not None:
        totals = totals.astype(np.float64, copy=False)
    hits, there, predicted = totals
    if average == "micro":
        hits, there, predicted = (each.sum(keepdims=True) for each in totals)
    precision = _divided(hits, predicted, zero_division, "Precision", "precision" in warn_for)
    recall = _divided(hits, there, zero_division, "Recall", "recall" in warn_for)
    if beta == float("inf"):
        fscore = recall
    elif beta == 0:
        fscore = precision
    else:
        squared = beta * beta
        fscore = _divided(
            (1 + squared) * hits, squared * there + predicted, zero_division, "F-score", "f-score" in warn_for
        )
    if average is None:
        return precision, recall, fscore, there
    weights = {"weighted": there, "samples": by_sample}.get(average)
    return _averaged(precision, weights), _averaged(recall, weights), _averaged(fscore, weights), None


def precision_score(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    labels: Sequence[Any] | Array | None = None,
    pos_label: Any = 1,
    average: str | None = "binary",
    sample_weight: TensorLike = None,
    zero_division: Any = "warn",
) -> Any:
    """`TP / (TP + FP)`: scikit-learn's function; arguments as in `precision_recall_fscore_support`.

    >>> precision_score([0, 1, 1, 0], [1, 1, 1, 0], zero_division=0)
    0.6666666666666666
    """
    return precision_recall_fscore_support(
        y_true, y_pred, labels=labels, pos_label=pos_label, average=average, warn_for=("precision",),
        sample_weight=sample_weight, zero_division=zero_division,
    )[0]  # fmt: skip


def recall_score(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    labels: Sequence[Any] | Array | None = None,
    pos_label: Any = 1,
    average: str | None = "binary",
    sample_weight: TensorLike = None,
    zero_division: Any = "warn",
) -> Any:
    """`TP / (TP + FN)`: scikit-learn's function; arguments as in `precision_recall_fscore_support`.

    >>> recall_score([0, 1, 1, 0], [1, 1, 0, 0])
    0.5
    """
    return precision_recall_fscore_support(
        y_true, y_pred, labels=labels, pos_label=pos_label, average=average, warn_for=("recall",),
        sample_weight=sample_weight, zero_division=zero_division,
    )[1]  # fmt: skip


def f1_score(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    labels: Sequence[Any] | Array | None = None,
    pos_label: Any = 1,
    average: str | None = "binary",
    sample_weight: TensorLike = None,
    zero_division: Any = "warn",
) -> Any:
    """`2 TP / (2 TP + FN + FP)`: scikit-learn's function; arguments as in `precision_recall_fscore_support`.

    >>> f1_score(["a", "b", "b"], ["a", "b", "a"], average="macro")
    0.6666666666666666
    """
    return fbeta_score(
        y_true, y_pred, beta=1.0, labels=labels, pos_label=pos_label, average=average, sample_weight=sample_weight,
        zero_division=zero_division,
    )  # fmt: skip


def fbeta_score(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    beta: float,
    labels: Sequence[Any] | Array | None = None,
    pos_label: Any = 1,
    average: str | None = "binary",
    sample_weight: TensorLike = None,
    zero_division: Any = "warn",
) -> Any:
    """F-score, in which recall counts `beta` times as much as precision: scikit-learn's function; arguments as in
    `precision_recall_fscore_support`.

    >>> round(fbeta_score([0, 1, 1, 0], [1, 1, 0, 0], beta=2.0), 4)
    0.5
    """
    return precision_recall_fscore_support(
        y_true, y_pred, beta=beta, labels=labels, pos_label=pos_label, average=average, warn_for=("f-score",),
        sample_weight=sample_weight, zero_division=zero_division,
    )[2]  # fmt: skip


def balanced_accuracy_score(
    y_true: TensorLike, y_pred: TensorLike, *, sample_weight: TensorLike = None, adjusted: bool = False
) -> float:
    """Mean over classes of the share of their samples that is predicted right: scikit-learn's function.

    With `adjusted`, guessing has 0 and perfection 1.

    >>> balanced_accuracy_score([0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1])
    0.625
    """
    table = _pairs(y_true, y_pred, sample_weight, "balanced_accuracy_score").counts
    there = table.sum(1)
    recall = np.diagonal(table)[there != 0] / there[there != 0]
    score = float(recall.mean())
    if adjusted:
        chance = 1 / len(recall)
        score = (score - chance) / (1 - chance)
    return score


def matthews_corrcoef(y_true: TensorLike, y_pred: TensorLike, *, sample_weight: TensorLike = None) -> float:
    """Correlation of labels and predictions, for any number of classes: scikit-learn's function; 0 where one is constant.

    >>> round(matthews_corrcoef([1, 1, 1, -1], [1, -1, 1, 1]), 4)
    -0.3333
    """
    table = _pairs(y_true, y_pred, sample_weight, "matthews_corrcoef").counts.astype(np.float64)
    there, predicted, total = table.sum(1), table.sum(0), table.sum()
    vary = (total**2 - predicted @ predicted) * (total**2 - there @ there)
    return 0.0 if vary == 0 else float((np.trace(table) * total - there @ predicted) / np.sqrt(vary))
