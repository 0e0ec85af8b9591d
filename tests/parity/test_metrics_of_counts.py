"""Counts, F-scores, IoU, R2 and correlations give Keras' numbers after each of several batches, on every pair of backends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from multiloss import metrics
from multiloss.interface import Backend
from tests.parity import metric_cases
from tests.parity.cases import Case
from tests.parity.certificates import KERAS, agree

GRID = [
    (grid, index, case)
    for grid, found in vars(metric_cases).items()
    if grid.endswith("_CASES")
    for index, case in enumerate(found)
]


@pytest.mark.parametrize(("grid", "index", "case"), GRID, ids=[f"{index} {case.id}" for _, index, case in GRID])
def test_a_metric_has_the_value_of_keras_after_each_batch(
    keras_numbers: dict[str, Any], backend: Backend, float64: None, grid: str, index: int, case: Case
) -> None:
    metric = getattr(metrics, case.name)(**case.parameters)
    values = []
    for batch in case.batches:
        metric.update_state(*(backend.asarray(x) for x in batch))
        values.append(backend.to_numpy(metric.result()))
    for name, results in keras_numbers.items():
        expected = results["float64"][grid][index]
        assert "error" not in expected, f"Keras on {name}: {expected['error']}"
        # Keras adds 1e-7 to the divisors of F-scores and of the concordance correlation.
        agree(metric, KERAS[name], values, expected["value"], rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("curve", "reference"), [("ROC", "roc_auc_score"), ("PR", "average_precision_score")])
def test_the_exact_area_is_that_of_scikit_learn(
    backend: Backend, float64: None, curve: str, reference: str, weighted: bool
) -> None:
    import sklearn.metrics

    rng = np.random.default_rng(6)
    for values in (7, 10**6):  # many ties, none
        labels, scores = rng.integers(0, 2, 300), rng.integers(0, values, 300) / values
        weights = rng.uniform(0, 3, 300) if weighted else None
        auc = metrics.AUC(num_thresholds=None, curve=curve)
        for part in (slice(0, 11), slice(11, 300)):
            auc.update_state(labels[part], scores[part], None if weights is None else weights[part])
        expected = getattr(sklearn.metrics, reference)(labels, scores, sample_weight=weights)
        assert float(auc.result()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("multioutput", ["raw_values", "uniform_average", "variance_weighted"])
def test_r2_is_that_of_scikit_learn(backend: Backend, float64: None, multioutput: str) -> None:
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(7)
    true, weights = 1e4 + rng.normal(size=(50, 3)) * [1, 3, 0], rng.uniform(size=50)
    pred = true + rng.normal(size=(50, 3))
    name = {"raw_values": None, "variance_weighted": "variance_weighted_average"}.get(multioutput, multioutput)
    metric = metrics.R2Score(name)
    for part in (slice(0, 20), slice(20, 50)):
        metric.update_state(true[part], pred[part], weights[part])
    expected = r2_score(true, pred, sample_weight=weights, multioutput=multioutput)
    np.testing.assert_allclose(backend.to_numpy(metric.result()), expected, rtol=1e-9)
