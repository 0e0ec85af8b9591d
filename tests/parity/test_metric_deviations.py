"""Where metrics that keep counts and moments differ from Keras on purpose: each test asserts both sides, and is a row of
`docs/deviations.md`. When Keras changes, its half of the test fails, and the row goes.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
import torchmetrics
from multiloss import metrics
from multiloss._errors import ArgumentError, LabelError
from multiloss.interface import Backend


def theirs(name: str, *batches: tuple[Any, ...], **parameters: Any) -> Any:
    """Return Keras' value after the batches."""
    metric = getattr(keras.metrics, name)(**parameters)
    with np.errstate(all="ignore"):
        for batch in batches:
            metric.update_state(*(np.asarray(each) for each in batch))
        return np.asarray(metric.result())


def ours(backend: Backend, name: str, *batches: tuple[Any, ...], **parameters: Any) -> Any:
    """Return our value after the batches."""
    metric = getattr(metrics, name)(**parameters)
    for batch in batches:
        metric.update_state(*(backend.asarray(np.array(each)) for each in batch))
    return backend.to_numpy(metric.result())


@pytest.mark.filterwarnings("ignore:You are passing weight as `float`")
def test_fractions_of_a_weight_count_in_iou(backend: Backend) -> None:
    batch = ([0, 0, 1, 1], [0, 1, 0, 1], np.array([0.3, 0.3, 0.3, 0.1], "float32"))
    assert theirs("MeanIoU", batch, num_classes=2) == 0.0
    assert ours(backend, "MeanIoU", batch, num_classes=2) == pytest.approx(0.2380952)


def test_a_class_that_iou_does_not_have_is_refused(backend: Backend) -> None:
    batch = ([0, 1, 5], [0, 1, 1])
    assert theirs("MeanIoU", batch, num_classes=2) == pytest.approx(1.0)
    with pytest.raises(LabelError, match=r"y_true\[2\] is 5"):
        ours(backend, "MeanIoU", batch, num_classes=2)


def _far_from_zero() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    true = (1e4 + rng.normal(size=(1000, 1))).astype("float32")
    return true, (true + 0.3 * rng.normal(size=true.shape)).astype("float32")


def test_r2_is_right_far_from_zero(backend: Backend) -> None:
    true, pred = _far_from_zero()
    exact = theirs("R2Score", (true.astype("float64") - 1e4, pred.astype("float64") - 1e4))
    assert abs(theirs("R2Score", (true, pred)) - exact) > 1e-2
    assert ours(backend, "R2Score", (true, pred)) == pytest.approx(exact, abs=1e-5)


def test_adjusted_r2_counts_each_sample_once(backend: Backend) -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(size=(10, 3)).astype("float32")
    pred = (true + rng.normal(size=true.shape)).astype("float32")
    plain = float(theirs("R2Score", (true, pred)))
    assert theirs("R2Score", (true, pred), num_regressors=2) == pytest.approx(1 - (1 - plain) * 29 / 27, rel=1e-4)
    assert ours(backend, "R2Score", (true, pred), num_regressors=2) == pytest.approx(1 - (1 - plain) * 9 / 7, rel=1e-4)


def test_r2_of_equal_targets_that_are_met_is_1(backend: Backend) -> None:
    ones = np.ones((4, 1), "float32")
    assert np.isnan(theirs("R2Score", (ones, ones)))
    assert ours(backend, "R2Score", (ones, ones)) == 1.0


@pytest.mark.parametrize("name", ["PearsonCorrelation", "ConcordanceCorrelation"])
def test_a_correlation_over_samples_does_not_depend_on_batches(backend: Backend, name: str) -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=(32, 1)).astype("float32")
    pred = (true + rng.normal(size=true.shape)).astype("float32")
    parts = [(true[at : at + 8], pred[at : at + 8]) for at in range(0, 32, 8)]
    whole = theirs(name, (true, pred), axis=0)
    assert abs(theirs(name, *parts, axis=0) - whole) > 1e-3
    assert ours(backend, name, *parts, axis=0) == pytest.approx(whole, abs=1e-5)


def test_columns_correlate_over_samples(backend: Backend) -> None:
    true, pred = np.array([[1.0], [2.0], [3.0]], "float32"), np.array([[1.0], [3.0], [2.0]], "float32")
    assert np.isnan(theirs("PearsonCorrelation", (true, pred)))
    assert ours(backend, "PearsonCorrelation", (true, pred)) == pytest.approx(0.5)


def test_a_constant_has_correlation_0(backend: Backend) -> None:
    batch = np.array([[1.0, 2.0, 3.0]], "float32"), np.ones((1, 3), "float32")
    assert np.isnan(theirs("PearsonCorrelation", batch))
    assert ours(backend, "PearsonCorrelation", batch) == 0.0


def test_concordance_divides_by_the_number_of_samples(backend: Backend) -> None:
    true, pred = np.array([[1.0], [2.0], [3.0]], "float32"), np.array([[1.0], [3.0], [2.5]], "float32")
    spread, covariance = np.var(true) + np.var(pred), np.mean((true - true.mean()) * (pred - pred.mean()))
    apart = np.square(true.mean() - pred.mean())
    value = pytest.approx(2 * covariance / (spread + apart))
    assert ours(backend, "ConcordanceCorrelation", (true, pred), axis=0) == value
    assert theirs("ConcordanceCorrelation", (true, pred), axis=0) == value
    unbiased = torchmetrics.ConcordanceCorrCoef()(torch.tensor(pred[:, 0]), torch.tensor(true[:, 0]))
    assert float(unbiased) == pytest.approx(2 * covariance * 3 / 2 / (spread * 3 / 2 + apart))


def test_scores_of_a_hinge_are_never_taken_for_logits(backend: Backend) -> None:
    labels, scores = np.array([[1.0], [0.0]], "float32"), np.array([[0.5], [2.0]], "float32")
    assert ours(backend, "Hinge", (labels, scores)) == theirs("Hinge", (labels, scores)) == pytest.approx(1.75)
    sigmoids = 1 / (1 + np.exp(-scores))
    guessed = torchmetrics.classification.BinaryHingeLoss()(torch.tensor(scores[:, 0]), torch.tensor([1, 0]))
    assert float(guessed) == pytest.approx(((1 - sigmoids[0, 0]) + (1 + sigmoids[1, 0])) / 2)


def test_the_logarithm_of_a_large_hyperbolic_cosine_is_finite(backend: Backend) -> None:
    zero, hundred = np.zeros((1, 1), "float32"), np.full((1, 1), 100.0, "float32")
    assert ours(backend, "LogCoshError", (zero, hundred)) == pytest.approx(100 - np.log(2))
    assert float(torchmetrics.LogCoshError()(torch.tensor(hundred[0]), torch.tensor(zero[0]))) == np.inf


def test_a_divergence_from_an_impossible_class_is_finite(backend: Backend) -> None:
    true, pred = np.array([[0.5, 0.5]], "float32"), np.array([[1.0, 0.0]], "float32")
    value = pytest.approx(0.5 * np.log(0.5) + 0.5 * np.log(0.5 / 1e-7), rel=1e-5)
    assert ours(backend, "KLDivergence", (true, pred)) == theirs("KLDivergence", (true, pred)) == value
    assert float(torchmetrics.KLDivergence()(torch.tensor(true), torch.tensor(pred))) == np.inf


def test_one_class_is_predicted_at_a_tie(backend: Backend) -> None:
    batch = np.array([[1.0, 0.0], [0.0, 1.0]], "float32"), np.array([[0.5, 0.5], [0.5, 0.5]], "float32")
    assert theirs("F1Score", batch, average="micro") == pytest.approx(2 / 3)
    assert ours(backend, "F1Score", batch, average="micro") == 0.5


def test_labels_and_scores_without_meaning_are_not_counted(backend: Backend) -> None:
    assert theirs("Precision", ([2, 0], np.array([0.9, 0.1], "float32"))) == 1.0
    with pytest.raises(LabelError, match=r"y_true\[0\] is 2"):
        ours(backend, "Precision", ([2, 0], np.array([0.9, 0.1], "float32")))
    assert theirs("Precision", ([1, 0], np.array([3.0, -2.0], "float32"))) == 1.0
    with pytest.raises(ArgumentError, match=r"y_pred\[0\] is 3"):
        ours(backend, "Precision", ([1, 0], np.array([3.0, -2.0], "float32")))


def test_counts_do_not_stop_growing(backend: Backend) -> None:
    state = keras.metrics.TruePositives()
    state.update_state(np.array([1]), np.array([0.9]))
    state.accumulator.assign(np.array([2.0**24], "float32"))
    for _ in range(4):
        state.update_state(np.array([1]), np.array([0.9]))
    assert float(state.result()) == 2**24
    metric = metrics.TruePositives()
    y_true, y_pred = backend.asarray(np.array([1])), backend.asarray(np.array([0.9], "float32"))
    metric.update_state(y_true, y_pred)
    metric.state = metric.state._replace(positives=metric.state.positives - 1 + 2**24)
    for _ in range(4):
        metric.update_state(y_true, y_pred)
    assert float(backend.to_numpy(metric.result())) == 2**24 + 4


def test_the_area_under_a_curve_can_be_exact(backend: Backend) -> None:
    batch = ([0, 0, 1, 1], np.array([0.001, 0.002, 0.003, 0.004], "float32"))
    assert theirs("AUC", batch) == 0.5
    assert ours(backend, "AUC", batch) == 0.5
    with pytest.raises(TypeError):
        keras.metrics.AUC(num_thresholds=None)
    assert ours(backend, "AUC", batch, num_thresholds=None) == 1.0


def test_names_of_metrics_that_need_arguments_say_which() -> None:
    for name in ("MeanIoU", "PrecisionAtRecall"):
        with pytest.raises(TypeError):
            keras.metrics.get(name)
        with pytest.raises(ArgumentError, match="needs arguments"):
            metrics.get(name)
    for name in ("fbeta_score", "rmse"):
        with pytest.raises(ValueError, match="Could not interpret"):
            keras.metrics.get(name)
        assert isinstance(metrics.get(name), metrics.Metric)
