"""All names by which Keras 3 and its ancestors know metrics."""

from __future__ import annotations

import pytest
from multiloss import metrics
from multiloss._errors import ArgumentError
from multiloss._names import snake_case

KERAS_CLASSES = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
]
NEED_ARGUMENTS = {
    "IoU": "num_classes=..., target_class_ids=...",
    "MeanIoU": "num_classes=...",
    "OneHotIoU": "num_classes=..., target_class_ids=...",
    "OneHotMeanIoU": "num_classes=...",
    "MeanMetricWrapper": "fn=...",
    "PrecisionAtRecall": "recall=...",
    "RecallAtPrecision": "precision=...",
    "SensitivityAtSpecificity": "specificity=...",
    "SpecificityAtSensitivity": "sensitivity=...",
}
OTHERS = {
    "binary_iou": "BinaryIoU",
    "fbeta_score": "FBetaScore",
    "rmse": "RootMeanSquaredError",
    "pearson_correlation": "PearsonCorrelation",
    "concordance_correlation": "ConcordanceCorrelation",
}


@pytest.mark.parametrize("name", KERAS_CLASSES)
def test_every_class_of_keras_has_its_two_names(name: str) -> None:
    for spelling in (name, snake_case(name)):
        if name in NEED_ARGUMENTS:
            with pytest.raises(ArgumentError) as error:
                metrics.get(spelling)
            assert f"{name}({NEED_ARGUMENTS[name]})" in str(error.value)
        else:
            assert type(metrics.get(spelling)) is getattr(metrics, name)


@pytest.mark.parametrize(("alias", "name"), list(OTHERS.items()))
def test_other_names_give_instances_too(alias: str, name: str) -> None:
    assert type(metrics.get(alias)) is getattr(metrics, name)


@pytest.mark.parametrize("alias", ["iou", "mean_iou", "one_hot_iou", "one_hot_mean_iou"])
def test_other_names_of_classes_that_need_arguments_say_so(alias: str) -> None:
    with pytest.raises(ArgumentError, match=r"needs arguments.*num_classes"):
        metrics.get(alias)
