"""Batches that every metric class can take."""

from __future__ import annotations

from typing import Any

import numpy as np
from multiloss import metrics
from multiloss.metrics import Metric

TAKES_VALUES = ("Mean", "Sum")
PER_SAMPLE_CLASSES = [
    name
    for name in metrics.__all__
    if isinstance(getattr(metrics, name), type) and name not in (*TAKES_VALUES, "Metric", "MeanMetricWrapper")
]
CLASSES = [*TAKES_VALUES, *PER_SAMPLE_CLASSES]
OPTIONS: dict[str, dict[str, Any]] = {
    "TopKCategoricalAccuracy": {"k": 2},
    "SparseTopKCategoricalAccuracy": {"k": 2},
    **{
        name: {"thresholds": 0.3}
        for name in ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives", "Precision", "Recall")
    },
    "SensitivityAtSpecificity": {"specificity": 0.4},
    "SpecificityAtSensitivity": {"sensitivity": 0.4},
    "PrecisionAtRecall": {"recall": 0.4},
    "RecallAtPrecision": {"precision": 0.3},
    "FBetaScore": {"average": "macro", "beta": 2.0},
    "PearsonCorrelation": {"axis": 0},
    "ConcordanceCorrelation": {"axis": 0},
    "F1Score": {"average": "weighted"},
    "IoU": {"num_classes": 4, "target_class_ids": [0, 2]},
    "MeanIoU": {"num_classes": 4},
    "BinaryIoU": {"threshold": 0.3},
    "OneHotIoU": {"num_classes": 4, "target_class_ids": [1, 2]},
    "OneHotMeanIoU": {"num_classes": 4},
}


def make(name: str, **options: Any) -> Metric:
    """Return a metric whose options let the data below tell its values apart."""
    metric: Metric = getattr(metrics, name)(**OPTIONS.get(name, {}), **options)
    return metric


def batch_for(name: str, rows: int, seed: int = 0, classes: int = 4) -> list[Any]:
    """Return targets and predictions (or values) as NumPy arrays."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 1.0, (rows, classes)).astype("float32")
    if name in TAKES_VALUES:
        return [scores]
    scores /= scores.sum(1, keepdims=True)
    labels = rng.integers(0, classes, rows)
    if name.startswith("Sparse"):
        return [labels, scores]
    one_hot = np.eye(classes, dtype="float32")[labels]
    if name in ("Accuracy", "IoU", "MeanIoU"):
        return [labels, rng.integers(0, classes, rows)]
    return [one_hot, scores]
