"""The part of the grid for metrics that keep more than an average: counts, F-scores, IoU, R2, correlations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from tests.parity.cases import Case

_rng = np.random.default_rng(31)
_SIZES = (20, 20)  # of one size, since Keras on JAX compiles every operation for each
Batches = tuple[tuple[Any, ...], ...]


def _batches(target: Any, prediction: Any) -> Batches:
    return tuple((target(size), prediction(size), _rng.uniform(0.1, 4, size)) for size in _SIZES)


def _both(name: str, parameters: dict[str, Any], batches: Batches) -> Iterator[Case]:
    yield Case("metric", name, parameters=parameters, batches=tuple(batch[:2] for batch in batches))
    yield Case("metric", name, parameters=parameters, batches=batches, note="weights")


def _binary(size: int) -> Any:
    return _rng.integers(0, 2, size).astype(float)


def _multi_hot(size: int) -> Any:
    return _rng.integers(0, 2, (size, 4)).astype(float)


def _scores(size: int) -> Any:
    return _rng.uniform(0.01, 0.99, (size, 4))


def _labels(size: int) -> Any:
    return _rng.integers(0, 4, size).astype("int32")


def _one_hot(size: int) -> Any:
    return np.eye(4)[_labels(size)]


def _confusion_cases() -> Iterator[Case]:
    for name in ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives", "Precision", "Recall"):
        for thresholds in (None, 0.3, [0.7, 0.2, 0.5]):
            yield from _both(name, {"thresholds": thresholds}, _batches(_binary, lambda n: _rng.uniform(size=n)))
    for name in ("Precision", "Recall"):
        for parameters in ({"class_id": 1}, {"top_k": 2}, {"top_k": 2, "thresholds": 0.5}, {"top_k": 3, "class_id": 2}):
            yield Case(
                "metric", name, parameters=parameters, batches=tuple(b[:2] for b in _batches(_multi_hot, _scores))
            )
    for name, argument in (
        ("SensitivityAtSpecificity", "specificity"),
        ("SpecificityAtSensitivity", "sensitivity"),
        ("PrecisionAtRecall", "recall"),
        ("RecallAtPrecision", "precision"),
    ):
        for parameters in ({argument: 0.6}, {argument: 0.9, "num_thresholds": 7}, {argument: 0.4, "num_thresholds": 1}):
            yield from _both(name, parameters, _batches(_binary, lambda n: _rng.uniform(0.01, 0.99, size=n)))
        classes = {argument: 0.6, "class_id": 1}
        yield Case("metric", name, parameters=classes, batches=tuple(b[:2] for b in _batches(_multi_hot, _scores)))


def _f_score_cases() -> Iterator[Case]:
    for average in (None, "micro", "macro", "weighted"):
        yield from _both("F1Score", {"average": average}, _batches(_one_hot, _scores))
        for threshold in (None, 0.4):
            parameters = {"average": average, "beta": 2.0, "threshold": threshold}
            yield from _both("FBetaScore", parameters, _batches(_multi_hot, _scores))


def _iou_cases() -> Iterator[Case]:
    hot = {"sparse_y_true": False, "sparse_y_pred": False}
    floats = {"dtype": "float64"}  # with Keras' own dtype, weights are truncated
    for ignored in (None, 2):
        yield from _both("MeanIoU", {"num_classes": 4, "ignore_class": ignored} | floats, _batches(_labels, _labels))
        yield from _both(
            "OneHotMeanIoU", {"num_classes": 4, "ignore_class": ignored} | floats, _batches(_one_hot, _scores)
        )
    targets = {"num_classes": 4, "target_class_ids": [0, 3]} | floats
    yield from _both("IoU", targets, _batches(_labels, _labels))
    yield from _both("IoU", targets | hot, _batches(_one_hot, _scores))
    yield from _both("OneHotIoU", targets, _batches(_one_hot, _scores))
    for parameters in ({}, {"target_class_ids": [1], "threshold": 0.3}):
        yield from _both("BinaryIoU", parameters | floats, _batches(_binary, lambda n: _rng.uniform(size=n)))


def _regression_cases() -> Iterator[Case]:
    def real(size: int) -> Any:
        return _rng.normal(size=(size + 1, 3))

    for aggregation in (None, "uniform_average", "variance_weighted_average"):
        batches = tuple((*batch[:2], np.append(batch[2], 1.5)) for batch in _batches(real, real))
        yield from _both("R2Score", {"class_aggregation": aggregation}, batches)
    one = tuple((true[:, :1], pred[:, :1]) for true, pred, _ in _batches(real, real))
    yield Case("metric", "R2Score", parameters={"num_regressors": 1}, batches=one[:1], note="(N,1)")
    for name in ("PearsonCorrelation", "ConcordanceCorrelation"):
        rows = tuple((*batch[:2], np.append(batch[2], 1.5)) for batch in _batches(real, real))
        if name.startswith("Pearson"):
            yield from _both(name, {}, rows)
        yield Case("metric", name, parameters={"axis": 0}, batches=(rows[0][:2],), note="one batch")


CONFUSION_CASES = list(_confusion_cases())
F_SCORE_CASES = list(_f_score_cases())
IOU_CASES = list(_iou_cases())
REGRESSION_CASES = list(_regression_cases())
