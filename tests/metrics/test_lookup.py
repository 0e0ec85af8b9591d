"""Names and configs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from multiloss import losses, metrics
from multiloss._errors import ArgumentError, UnknownNameError
from tests.metrics.batches import CLASSES, batch_for, make

Make = Callable[..., Any]

KERAS_NAMES = [
    "AUC",
    "auc",
    "Accuracy",
    "accuracy",
    "BinaryAccuracy",
    "binary_accuracy",
    "BinaryCrossentropy",
    "binary_crossentropy",
    "CategoricalAccuracy",
    "categorical_accuracy",
    "CategoricalCrossentropy",
    "categorical_crossentropy",
    "CategoricalHinge",
    "categorical_hinge",
    "CosineSimilarity",
    "cosine_similarity",
    "Hinge",
    "hinge",
    "KLDivergence",
    "kl_divergence",
    "LogCoshError",
    "log_cosh_error",
    "Mean",
    "mean",
    "MeanAbsoluteError",
    "mean_absolute_error",
    "MeanAbsolutePercentageError",
    "mean_absolute_percentage_error",
    "MeanSquaredError",
    "mean_squared_error",
    "MeanSquaredLogarithmicError",
    "mean_squared_logarithmic_error",
    "Metric",
    "metric",
    "Poisson",
    "poisson",
    "RootMeanSquaredError",
    "root_mean_squared_error",
    "SparseCategoricalAccuracy",
    "sparse_categorical_accuracy",
    "SparseCategoricalCrossentropy",
    "sparse_categorical_crossentropy",
    "SparseTopKCategoricalAccuracy",
    "sparse_top_k_categorical_accuracy",
    "SquaredHinge",
    "squared_hinge",
    "Sum",
    "sum",
    "TopKCategoricalAccuracy",
    "top_k_categorical_accuracy",
    "bce",
    "BCE",
    "mse",
    "MSE",
    "mae",
    "MAE",
    "mape",
    "MAPE",
    "msle",
    "MSLE",
]
OTHER_NAMES = {
    "acc": "Accuracy",
    "kld": "KLDivergence",
    "KLD": "KLDivergence",
    "kullback_leibler_divergence": "KLDivergence",
    "logcosh": "LogCoshError",
    "log_cosh": "LogCoshError",
    "huber": "MeanMetricWrapper",
    "cosine_proximity": "MeanMetricWrapper",
    "cosine": "MeanMetricWrapper",
    "binary_focal_crossentropy": "MeanMetricWrapper",
}
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in CLASSES),
    ("Mean", {"name": "average", "dtype": "float32"}),
    ("BinaryAccuracy", {"threshold": 0.25}),
    ("TopKCategoricalAccuracy", {"k": 1}),
    ("SparseTopKCategoricalAccuracy", {"k": 1}),
    ("CosineSimilarity", {"axis": 0}),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.25}),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.25}),
    ("CategoricalCrossentropy", {"axis": 0}),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 2}),
    ("AUC", {"num_thresholds": 7, "curve": "PR", "summation_method": "minoring"}),
    ("AUC", {"thresholds": [0.2, 0.4]}),
    ("AUC", {"multi_label": True, "num_labels": 4, "label_weights": [1.0, 2.0, 3.0, 4.0], "from_logits": True}),
]


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_every_name_of_keras_gives_an_instance(name: str) -> None:
    metric = metrics.get(name)
    assert isinstance(metric, metrics.Metric)
    assert metric is not metrics.get(name)


@pytest.mark.parametrize(("name", "expected"), OTHER_NAMES.items())
def test_other_names_give_an_instance_too(name: str, expected: str) -> None:
    assert type(metrics.get(name)).__name__ == expected


def test_the_cosine_has_one_sign_as_similarity_and_the_other_as_proximity(tensor: Make) -> None:
    y_true, y_pred = tensor([[1.0, 0.0]]), tensor([[2.0, 0.0]])
    assert float(metrics.get("cosine_similarity")(y_true, y_pred)) == 1.0
    assert float(metrics.get("cosine_proximity")(y_true, y_pred)) == -1.0
    as_loss = metrics.MeanMetricWrapper(losses.cosine_similarity)
    assert float(metrics.deserialize(metrics.serialize(as_loss))(y_true, y_pred)) == -1.0


def test_none_classes_callables_and_configs_are_understood() -> None:
    def mean_pred(y_true: Any, y_pred: Any) -> Any:
        return y_pred.mean()

    assert metrics.get(None) is None
    assert metrics.get(mean_pred) is mean_pred
    assert isinstance(metrics.get(metrics.AUC), metrics.AUC)
    assert metrics.get({"class_name": "AUC", "config": {"curve": "PR"}}).curve == "PR"
    assert metrics.get("mean_pred", custom_objects={"mean_pred": mean_pred}) is mean_pred
    with pytest.raises(UnknownNameError, match="binary_accuracy"):
        metrics.get("binary_acuracy")
    with pytest.raises(ArgumentError):
        metrics.get(3)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_config_makes_an_equal_metric(tensors: Make, name: str, options: dict[str, Any]) -> None:
    metric = make(name) if not options else getattr(metrics, name)(**options)
    config = json.loads(json.dumps(metrics.serialize(metric)))
    twins = [metrics.deserialize(config), type(metric).from_config(json.loads(json.dumps(metric.get_config())))]
    for twin in twins:
        assert type(twin) is type(metric)
        assert twin.get_config() == metric.get_config()
        assert twin.name == metric.name
        assert float(twin(*tensors(*batch_for(name, 9)))) == float(metric(*tensors(*batch_for(name, 9))))
        metric.reset_state()


@pytest.mark.parametrize(("name", "options"), [(name, options) for name, options in OPTIONS if options])
def test_every_option_is_in_the_config_and_acts(tensors: Make, name: str, options: dict[str, Any]) -> None:
    metric = getattr(metrics, name)(**options)
    assert {key: metric.get_config()[key] for key in options} == options
    if set(options) & {"name", "dtype"}:
        return
    batch = tensors(*batch_for(name, 9))
    assert float(metric(*batch)) != pytest.approx(float(getattr(metrics, name)()(*batch)), rel=1e-5)


def test_functions_and_wrapped_losses_come_back_from_their_configs() -> None:
    assert metrics.deserialize(metrics.serialize(metrics.mean_squared_error)) is losses.mean_squared_error
    wrapped = metrics.MeanMetricWrapper(losses.Huber(delta=2.0), name="h")
    twin = metrics.deserialize(json.loads(json.dumps(metrics.serialize(wrapped))))
    assert isinstance(twin.fn, losses.Huber)
    assert (twin.name, twin.fn.delta) == ("h", 2.0)
    function = metrics.deserialize(metrics.serialize(metrics.MeanMetricWrapper(losses.huber, delta=3.0)))
    assert function.fn is losses.huber
    assert function.parameters == {"delta": 3.0}


def test_configs_of_keras_are_read() -> None:
    config = {
        "module": "keras.metrics",
        "class_name": "BinaryAccuracy",
        "config": {"name": "binary_accuracy", "dtype": "float32", "threshold": 0.3},
        "registered_name": None,
    }
    metric = metrics.deserialize(config)
    assert (metric.threshold, metric.dtype) == (0.3, "float32")


def test_all_is_complete_and_names_every_metric_once() -> None:
    assert len(metrics.__all__) == len(set(metrics.__all__))
    assert all(hasattr(metrics, name) for name in metrics.__all__)
