"""Every metric gives Keras' number after each of several batches, on each of our backends against each of Keras'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from multiloss import metrics
from multiloss.interface import Backend
from tests.parity import cases, metric_cases
from tests.parity.cases import Case
from tests.parity.certificates import KERAS, agree
from tests.parity.test_losses import assert_equal_to_keras, indexed


@indexed(cases.METRIC_CASES)
def test_a_metric_has_the_value_of_keras_after_each_batch(
    keras_numbers: dict[str, Any], backend: Backend, float64: None, index: int, case: Case
) -> None:
    metric = getattr(metrics, case.name)(**case.parameters)
    values = []
    for batch in case.batches:
        metric.update_state(*(backend.asarray(x) for x in batch))
        values.append(backend.to_numpy(metric.result()))
    # Gains are small differences of numbers of order 1, and Keras on torch computes them in float32 whatever floatx says.
    gains = case.parameters.get("curve") == "PRGAIN"
    for name, results in keras_numbers.items():
        atol = 1e-7 if gains and name == "torch" else 1e-9
        expected = results["float64"]["METRIC_CASES"][index]
        assert "error" not in expected, f"Keras on {name}: {expected['error']}"
        agree(metric, KERAS[name], values, expected["value"], rtol=1e-6, atol=atol)


@indexed(cases.METRIC_FUNCTION_CASES)
def test_a_metric_function_gives_the_values_of_keras(
    keras_numbers: dict[str, Any], backend: Backend, float64: None, index: int, case: Case
) -> None:
    function = getattr(metrics, case.name)
    values = function(backend.asarray(case.y_true), backend.asarray(case.y_pred), **case.parameters)
    assert_equal_to_keras(function, backend.to_numpy(values), keras_numbers, "METRIC_FUNCTION_CASES", index, dtype=None)


def test_the_mean_of_four_batches_of_unequal_length(backend: Backend) -> None:
    mean = metrics.Mean()
    for batch in ([1, 3, 5, 7], [1, 3, 5, 7], [1, 1, 1, 1], [2, 2]):
        value = mean(batch)
    assert float(value) == pytest.approx(2.857143, abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_roc_auc_at_every_score_is_the_exact_one_of_scikit_learn(
    backend: Backend, float64: None, weighted: bool
) -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, 200), rng.integers(1, 50, 200) / 50
    weights = rng.uniform(0.1, 3, 200) if weighted else None
    # A threshold between all neighbouring scores tells every score from the next.
    auc = metrics.AUC(thresholds=[(n + 0.5) / 50 for n in range(50)])
    auc.update_state(labels, scores, weights)
    assert float(auc.result()) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("MeanSquaredError", "mean_squared_error"), ("MeanAbsoluteError", "mean_absolute_error")],
)
def test_weighted_averages_are_those_of_scikit_learn(
    backend: Backend, float64: None, name: str, reference: str
) -> None:
    import sklearn.metrics

    rng = np.random.default_rng(4)
    y_true, y_pred, weights = rng.normal(size=(20, 3)), rng.normal(size=(20, 3)), rng.uniform(size=20)
    metric = getattr(metrics, name)()
    metric.update_state(y_true[:13], y_pred[:13], weights[:13])
    metric.update_state(y_true[13:], y_pred[13:], weights[13:])
    expected = getattr(sklearn.metrics, reference)(y_true, y_pred, sample_weight=weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_accuracy_is_that_of_scikit_learn(backend: Backend, k: int) -> None:
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(5)
    labels, scores, weights = rng.integers(0, 5, 40), rng.normal(size=(40, 5)), rng.uniform(size=40)
    metric = metrics.SparseTopKCategoricalAccuracy(k=k)
    metric.update_state(labels, scores, weights)
    expected = top_k_accuracy_score(labels, scores, k=k, labels=range(5), sample_weight=weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


def test_the_grid_reaches_every_metric_class_that_keras_has_too() -> None:
    import keras

    ours = {name for name in metrics.__all__ if isinstance(getattr(metrics, name), type)}
    theirs = {name for name in dir(keras.metrics) if name in ours}
    grids = [grid for name, grid in vars(metric_cases).items() if name.endswith("_CASES")]
    reached = {case.name for grid in (cases.METRIC_CASES, *grids) for case in grid}
    assert theirs - reached <= {"Metric", "MeanMetricWrapper"}
    assert len(theirs) == 46
