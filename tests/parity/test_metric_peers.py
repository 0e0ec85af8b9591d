"""Metrics of scikit-learn and torchmetrics, where they have the same: after two batches, in float64.

scikit-learn weighs samples; in torchmetrics only the mean and the sum do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
import torchmetrics as tm
from multiloss import metrics
from multiloss.interface import Backend
from tests.parity.certificates import agree
from torchmetrics import classification as tmc

RNG = np.random.default_rng(40)
N, C, FIRST = 40, 4, 20  # two batches of one size, since JAX compiles for each
REAL, OTHER = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 3))
COLUMN, OTHER_COLUMN = REAL[:, :1], REAL[:, :1] + OTHER[:, :1]
POSITIVE, OTHER_POSITIVE = RNG.uniform(0.1, 5, (N, 3)), RNG.uniform(0.1, 5, (N, 3))
BINARY, SCORES = RNG.integers(0, 2, N), RNG.uniform(0.01, 0.99, N)
GRID_SCORES = (RNG.integers(0, 20, N) + 0.5) / 20  # each between two of 21 thresholds
MULTI_HOT, MULTI_SCORES = RNG.integers(0, 2, (N, C)), RNG.uniform(0.01, 0.99, (N, C))
LABELS, GUESSES = RNG.integers(0, C, N), RNG.integers(0, C, N)
ONE_HOT = np.eye(C)[LABELS]
SOFT, DISTRIBUTION = RNG.dirichlet(np.ones(C), N), RNG.dirichlet(np.ones(C), N)
LOGITS = RNG.normal(size=(N, C)) * 3
WEIGHTS = RNG.uniform(0.1, 3, N)


def measured(backend: Backend, metric: Any, *given: Any) -> Any:
    """Return our result after two batches."""
    for part in (slice(0, FIRST), slice(FIRST, None)):
        metric.update_state(*(None if each is None else backend.asarray(each[part].copy()) for each in given))
    return backend.to_numpy(metric.result())


def labels_of(x: Any) -> Any:
    """Return class indices, also of scores and one-hot rows."""
    return x.argmax(-1) if x.ndim > 1 else x


# ── scikit-learn ────────────────────────────────────────────────────────────────────────────────────────────────


def hard(reference: Callable[..., Any], threshold: float = 0.5, **options: Any) -> Callable[..., Any]:
    """Return a reference for decisions that takes scores."""
    return lambda y, p, w: reference(y, p > threshold, sample_weight=w, **options)


def count(row: int, column: int) -> Callable[..., Any]:
    return lambda y, p, w: sk.confusion_matrix(y, p > 0.5, sample_weight=w)[row, column]


def jaccard(**options: Any) -> Callable[..., Any]:
    return lambda y, p, w: sk.jaccard_score(labels_of(y), labels_of(p), sample_weight=w, **options)


def best(curve: str, required: float) -> Callable[..., Any]:
    """Return the reference that maximises one rate of a curve where the other one is good enough."""

    def reference(y: Any, p: Any, w: Any) -> Any:
        if curve in ("precision", "recall"):
            rates = dict(
                zip(("precision", "recall"), sk.precision_recall_curve(y, p, sample_weight=w)[:2], strict=True)
            )
        else:
            false, true, _ = sk.roc_curve(y, p, sample_weight=w, drop_intermediate=False)
            rates = {"sensitivity": true, "specificity": 1 - false}
        wanted = rates.pop(curve)
        (constrained,) = rates.values()
        return wanted[constrained >= required].max()

    return reference


def multilabel(reference: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda y, p, w: reference(y, p > 0.4, sample_weight=w, zero_division=0, **options)


def log_loss(y: Any, p: Any, w: Any) -> Any:
    return sk.log_loss(labels_of(y), p, labels=range(C if p.ndim > 1 else 2), sample_weight=w)


def top_k(y: Any, p: Any, w: Any) -> Any:
    return sk.top_k_accuracy_score(labels_of(y), p, k=2, labels=range(C), sample_weight=w)


def accuracy(y: Any, p: Any, w: Any) -> Any:
    return sk.accuracy_score(labels_of(y), labels_of(p), sample_weight=w)


def plain(reference: Callable[..., Any], scale: float = 1.0) -> Callable[..., Any]:
    return lambda y, p, w: scale * reference(y, p, sample_weight=w)


def cosine(y: Any, p: Any, w: Any) -> Any:
    return np.average(1 - sk.pairwise.paired_cosine_distances(y, p), weights=w)


AVERAGES = (None, "micro", "macro", "weighted")
TARGETS = {"num_classes": C, "target_class_ids": [0, 3]}

SKLEARN: list[tuple[str, dict[str, Any], Any, Any, Callable[..., Any]]] = [
    ("MeanSquaredError", {}, REAL, OTHER, plain(sk.mean_squared_error)),
    ("RootMeanSquaredError", {}, COLUMN, OTHER_COLUMN, plain(sk.root_mean_squared_error)),
    ("MeanAbsoluteError", {}, REAL, OTHER, plain(sk.mean_absolute_error)),
    ("MeanAbsolutePercentageError", {}, REAL, OTHER, plain(sk.mean_absolute_percentage_error, 100)),
    ("MeanSquaredLogarithmicError", {}, POSITIVE, OTHER_POSITIVE, plain(sk.mean_squared_log_error)),
    ("CosineSimilarity", {}, REAL, OTHER, cosine),
    ("Hinge", {}, 2 * BINARY[:, None] - 1.0, COLUMN, lambda y, p, w: sk.hinge_loss(y[:, 0], p[:, 0], sample_weight=w)),
    # Of positive scores: of others, scikit-learn counts the score of a wrong class below 0, and Keras 0.
    (
        *("CategoricalHinge", {}, ONE_HOT, np.exp(LOGITS)),
        lambda y, p, w: sk.hinge_loss(labels_of(y), p, labels=range(C), sample_weight=w),
    ),
    ("BinaryCrossentropy", {}, BINARY, SCORES, log_loss),
    ("CategoricalCrossentropy", {}, ONE_HOT, DISTRIBUTION, log_loss),
    ("SparseCategoricalCrossentropy", {}, LABELS, DISTRIBUTION, log_loss),
    ("Accuracy", {}, LABELS, GUESSES, accuracy),
    ("BinaryAccuracy", {}, BINARY, SCORES, hard(sk.accuracy_score)),
    ("BinaryAccuracy", {"threshold": 0.3}, BINARY, SCORES, hard(sk.accuracy_score, 0.3)),
    ("CategoricalAccuracy", {}, ONE_HOT, LOGITS, accuracy),
    ("SparseCategoricalAccuracy", {}, LABELS, LOGITS, accuracy),
    ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT, LOGITS, top_k),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, LABELS, LOGITS, top_k),
    ("TrueNegatives", {}, BINARY, SCORES, count(0, 0)),
    ("FalsePositives", {}, BINARY, SCORES, count(0, 1)),
    ("FalseNegatives", {}, BINARY, SCORES, count(1, 0)),
    ("TruePositives", {}, BINARY, SCORES, count(1, 1)),
    ("Precision", {}, BINARY, SCORES, hard(sk.precision_score)),
    ("Precision", {"thresholds": 0.7}, BINARY, SCORES, hard(sk.precision_score, 0.7)),
    ("Recall", {}, BINARY, SCORES, hard(sk.recall_score)),
    ("Recall", {"thresholds": 0.7}, BINARY, SCORES, hard(sk.recall_score, 0.7)),
    ("AUC", {"num_thresholds": None}, BINARY, SCORES, plain(sk.roc_auc_score)),
    ("AUC", {"num_thresholds": 21}, BINARY, GRID_SCORES, plain(sk.roc_auc_score)),
    ("AUC", {"num_thresholds": None, "curve": "PR"}, BINARY, SCORES, plain(sk.average_precision_score)),
    *(
        (
            "F1Score",
            {"average": average, "threshold": 0.4},
            MULTI_HOT,
            MULTI_SCORES,
            multilabel(sk.f1_score, average=average),
        )
        for average in AVERAGES
    ),
    *(
        (
            *("FBetaScore", {"average": average, "threshold": 0.4, "beta": 2.0}, MULTI_HOT, MULTI_SCORES),
            multilabel(sk.fbeta_score, average=average, beta=2.0),
        )
        for average in AVERAGES
    ),
    (
        *("F1Score", {}, ONE_HOT, LOGITS),
        lambda y, p, w: sk.f1_score(y.argmax(-1), p.argmax(-1), sample_weight=w, average=None),
    ),
    ("MeanIoU", {"num_classes": C}, LABELS, GUESSES, jaccard(average="macro")),
    ("IoU", TARGETS, LABELS, GUESSES, jaccard(average="macro", labels=[0, 3])),
    ("OneHotIoU", TARGETS, ONE_HOT, LOGITS, jaccard(average="macro", labels=[0, 3])),
    ("OneHotMeanIoU", {"num_classes": C}, ONE_HOT, LOGITS, jaccard(average="macro")),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, BINARY, SCORES, hard(sk.jaccard_score, 0.3)),
    ("R2Score", {}, REAL, REAL + OTHER, plain(sk.r2_score)),
    ("PrecisionAtRecall", {"recall": 0.6, "num_thresholds": 21}, BINARY, GRID_SCORES, best("precision", 0.6)),
    ("RecallAtPrecision", {"precision": 0.5, "num_thresholds": 21}, BINARY, GRID_SCORES, best("recall", 0.5)),
    (
        *("SensitivityAtSpecificity", {"specificity": 0.6, "num_thresholds": 21}),
        *(BINARY, GRID_SCORES, best("sensitivity", 0.6)),
    ),
    (
        *("SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 21}),
        *(BINARY, GRID_SCORES, best("specificity", 0.6)),
    ),
]


def ids(table: list[Any]) -> list[str]:
    return [f"{name} {parameters}" for name, parameters, *_ in table]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", SKLEARN, ids=ids(SKLEARN))
def test_a_metric_has_the_value_of_scikit_learn(
    backend: Backend, float64: None, case: tuple[Any, ...], weighted: bool
) -> None:
    name, parameters, y_true, y_pred, reference = case
    metric, weights = getattr(metrics, name)(**parameters, dtype="float64"), WEIGHTS if weighted else None
    ours = measured(backend, metric, y_true, y_pred, weights)
    # F-scores have Keras' 1e-7 in their divisors.
    agree(metric, "scikit-learn", ours, reference(y_true, y_pred, weights), rtol=1e-10, atol=1e-7)


# ── torchmetrics ────────────────────────────────────────────────────────────────────────────────────────────────


def classes(metric: Any) -> Callable[..., Any]:
    """Return the reference for class indices and scores: torchmetrics takes no one-hot targets."""
    return lambda y, p: metric(p, labels_of(y))


def stat(index: int) -> Callable[..., Any]:
    return lambda y, p: tmc.BinaryStatScores()(p, y)[index]


def same(metric: Any, scale: float = 1.0) -> Callable[..., Any]:
    return lambda y, p: scale * metric.set_dtype(torch.float64)(p, y)


def vectors(metric: Any) -> Callable[..., Any]:
    """Return the reference for (N,), for which our metrics take (N, 1): a vector is one sample."""
    return lambda y, p: metric.set_dtype(torch.float64)(p[:, 0], y[:, 0])


def first(metric: Any) -> Callable[..., Any]:
    return lambda y, p: metric(p, y)[0]


def multiclass_jaccard(select: Any) -> Callable[..., Any]:
    return lambda y, p: tmc.MulticlassJaccardIndex(C, average=None)(labels_of(p), labels_of(y))[select].mean()


MULTICLASS = {"num_classes": C, "average": "micro"}
TORCHMETRICS: list[tuple[str, dict[str, Any], Any, Any, Callable[..., Any]]] = [
    ("MeanSquaredError", {}, REAL, OTHER, same(tm.MeanSquaredError())),
    ("RootMeanSquaredError", {}, REAL, OTHER, same(tm.MeanSquaredError(squared=False))),
    ("MeanAbsoluteError", {}, REAL, OTHER, same(tm.MeanAbsoluteError())),
    ("MeanAbsolutePercentageError", {}, REAL, OTHER, same(tm.MeanAbsolutePercentageError(), 100)),
    ("MeanSquaredLogarithmicError", {}, POSITIVE, OTHER_POSITIVE, same(tm.MeanSquaredLogError())),
    (
        "LogCoshError",
        {},
        COLUMN,
        OTHER_COLUMN,
        vectors(tm.LogCoshError()),
    ),
    ("CosineSimilarity", {}, REAL, OTHER, same(tm.CosineSimilarity(reduction="mean"))),
    ("KLDivergence", {}, SOFT, DISTRIBUTION, lambda y, p: tm.KLDivergence().set_dtype(torch.float64)(y, p)),
    # Of scores in [0, 1]: others torchmetrics takes for logits.
    ("Hinge", {}, BINARY[:, None], SCORES[:, None], vectors(tmc.BinaryHingeLoss())),
    (
        *("SquaredHinge", {}, BINARY[:, None], SCORES[:, None]),
        vectors(tmc.BinaryHingeLoss(squared=True)),
    ),
    ("CategoricalHinge", {}, ONE_HOT, DISTRIBUTION, classes(tmc.MulticlassHingeLoss(C))),
    (
        *("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS, LOGITS),
        lambda y, z: torch.log(tm.text.Perplexity()(z[None], y[None])),
    ),
    ("Accuracy", {}, LABELS, GUESSES, classes(tmc.MulticlassAccuracy(**MULTICLASS))),
    ("BinaryAccuracy", {"threshold": 0.3}, BINARY, SCORES, classes(tmc.BinaryAccuracy(threshold=0.3))),
    ("CategoricalAccuracy", {}, ONE_HOT, LOGITS, classes(tmc.MulticlassAccuracy(**MULTICLASS))),
    ("SparseCategoricalAccuracy", {}, LABELS, LOGITS, classes(tmc.MulticlassAccuracy(**MULTICLASS))),
    ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT, LOGITS, classes(tmc.MulticlassAccuracy(top_k=2, **MULTICLASS))),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, LABELS, LOGITS, classes(tmc.MulticlassAccuracy(top_k=2, **MULTICLASS))),
    ("TruePositives", {}, BINARY, SCORES, stat(0)),
    ("FalsePositives", {}, BINARY, SCORES, stat(1)),
    ("TrueNegatives", {}, BINARY, SCORES, stat(2)),
    ("FalseNegatives", {}, BINARY, SCORES, stat(3)),
    ("Precision", {"thresholds": 0.7}, BINARY, SCORES, classes(tmc.BinaryPrecision(threshold=0.7))),
    ("Recall", {"thresholds": 0.7}, BINARY, SCORES, classes(tmc.BinaryRecall(threshold=0.7))),
    ("AUC", {"num_thresholds": None}, BINARY, SCORES, classes(tmc.BinaryAUROC())),
    ("AUC", {"num_thresholds": 7}, BINARY, SCORES, classes(tmc.BinaryAUROC(thresholds=7))),
    ("AUC", {"num_thresholds": None, "curve": "PR"}, BINARY, SCORES, classes(tmc.BinaryAveragePrecision())),
    *(
        (
            *("F1Score", {"average": average, "threshold": 0.4}, MULTI_HOT, MULTI_SCORES),
            same(tmc.MultilabelF1Score(C, 0.4, average)),
        )
        for average in AVERAGES
    ),
    *(
        (
            *("FBetaScore", {"average": average, "threshold": 0.4, "beta": 2.0}, MULTI_HOT, MULTI_SCORES),
            same(tmc.MultilabelFBetaScore(2.0, C, 0.4, average)),
        )
        for average in AVERAGES
    ),
    ("MeanIoU", {"num_classes": C}, LABELS, GUESSES, multiclass_jaccard(slice(None))),
    ("IoU", TARGETS, LABELS, GUESSES, multiclass_jaccard([0, 3])),
    ("OneHotIoU", TARGETS, ONE_HOT, LOGITS, multiclass_jaccard([0, 3])),
    ("OneHotMeanIoU", {"num_classes": C}, ONE_HOT, LOGITS, multiclass_jaccard(slice(None))),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, BINARY, SCORES, classes(tmc.BinaryJaccardIndex(0.3))),
    ("R2Score", {}, REAL, REAL + OTHER, same(tm.R2Score())),
    (
        "R2Score",
        {"num_regressors": 2},
        COLUMN,
        OTHER_COLUMN,
        vectors(tm.R2Score(adjusted=2)),
    ),
    (
        "PearsonCorrelation",
        {"axis": 0},
        COLUMN,
        OTHER_COLUMN,
        vectors(tm.PearsonCorrCoef()),
    ),
    (
        "PrecisionAtRecall",
        {"recall": 0.6, "num_thresholds": 21},
        BINARY,
        SCORES,
        first(tmc.BinaryPrecisionAtFixedRecall(0.6, 21)),
    ),
    (
        "RecallAtPrecision",
        {"precision": 0.5, "num_thresholds": 21},
        BINARY,
        SCORES,
        first(tmc.BinaryRecallAtFixedPrecision(0.5, 21)),
    ),
    (
        *("SensitivityAtSpecificity", {"specificity": 0.6, "num_thresholds": 21}, BINARY, SCORES),
        first(tmc.BinarySensitivityAtSpecificity(0.6, 21)),
    ),
    (
        *("SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 21}, BINARY, SCORES),
        first(tmc.BinarySpecificityAtSensitivity(0.6, 21)),
    ),
]


@pytest.mark.parametrize("case", TORCHMETRICS, ids=ids(TORCHMETRICS))
def test_a_metric_has_the_value_of_torchmetrics(backend: Backend, float64: None, case: tuple[Any, ...]) -> None:
    name, parameters, y_true, y_pred, reference = case
    metric = getattr(metrics, name)(**parameters, dtype="float64")
    expected = reference(torch.tensor(y_true), torch.tensor(y_pred))
    # torchmetrics divides counts in float32.
    agree(metric, "torchmetrics", measured(backend, metric, y_true, y_pred), expected, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize(("name", "reference"), [("Mean", tm.MeanMetric), ("Sum", tm.SumMetric)])
def test_aggregates_have_the_value_of_torchmetrics(backend: Backend, float64: None, name: str, reference: Any) -> None:
    metric, theirs = getattr(metrics, name)(dtype="float64"), reference().set_dtype(torch.float64)
    weights = (WEIGHTS,) if name == "Mean" else ()  # their sum has none
    for part in (slice(0, FIRST), slice(FIRST, None)):
        theirs.update(*(torch.tensor(each[part]) for each in (SCORES, *weights)))
    agree(metric, "torchmetrics", measured(backend, metric, SCORES, *weights), theirs.compute(), rtol=1e-12)
