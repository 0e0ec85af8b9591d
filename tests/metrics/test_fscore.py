"""F-scores: examples, averages, ties, shapes that are learned from the first batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import metrics
from multiloss._errors import ArgumentError, LabelError, ShapeError, UnknownNameError

Make = Callable[..., Any]
NAN = float("nan")


def by_hand(labels: Any, predicted: Any, weights: Any, beta: float, average: str | None) -> Any:
    """Return the score from precision and recall."""
    weights = np.broadcast_to(weights.reshape(-1, 1), labels.shape)
    tp, fp, fn = (
        (weights * hit).sum(0 if average != "micro" else None)
        for hit in (labels & predicted, ~labels & predicted, labels & ~predicted)
    )
    with np.errstate(all="ignore"):
        precision, recall = np.nan_to_num(tp / (tp + fp)), np.nan_to_num(tp / (tp + fn))
        scores = np.nan_to_num((1 + beta**2) * precision * recall / (beta**2 * precision + recall))
    if average == "weighted":
        return np.average(scores, weights=tp + fn)
    return scores.mean() if average == "macro" else scores


@pytest.mark.parametrize("average", [None, "micro", "macro", "weighted"])
@pytest.mark.parametrize("threshold", [None, 0.4])
def test_scores_are_those_of_precision_and_recall(
    float64: None, tensor: Make, host: Make, average: str | None, threshold: float | None
) -> None:
    rng = np.random.default_rng(0)
    labels, scores, weights = rng.random((40, 5)) < 0.3, rng.random((40, 5)), rng.uniform(0.1, 2, 40)
    labels[:, 4] = False
    predicted = scores > threshold if threshold else np.eye(5, dtype=bool)[scores.argmax(1)]
    for beta, given in ((2.0, weights), (0.5, None)):
        metric = metrics.FBetaScore(average, beta, threshold)
        for cut in (slice(0, 15), slice(15, 40)):
            metric.update_state(
                tensor(labels[cut].astype(float)), tensor(scores[cut]), None if given is None else tensor(given[cut])
            )
        expected = by_hand(labels, predicted, weights if given is not None else np.ones(40), beta, average)
        np.testing.assert_allclose(host(metric.result()), expected, rtol=1e-12)


def test_the_examples_of_keras(tensor: Make, host: Make) -> None:
    batch = tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]]), tensor([[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]])
    value = host(metrics.FBetaScore(beta=2.0, threshold=0.5)(*batch))
    np.testing.assert_allclose(value, [0.3846154, 0.90909094, 0.8333334], rtol=1e-6)
    np.testing.assert_allclose(host(metrics.F1Score(threshold=0.5)(*batch)), [0.5, 0.8, 2 / 3], rtol=1e-6)


def test_the_micro_average_over_one_hot_labels_is_the_accuracy_also_at_ties(tensor: Make) -> None:
    rng = np.random.default_rng(1)
    labels, scores = np.eye(3)[rng.integers(0, 3, 30)], rng.integers(1, 4, (30, 3)) / 4
    micro = metrics.F1Score("micro")(tensor(labels), tensor(scores))
    assert float(micro) == pytest.approx(float(metrics.CategoricalAccuracy()(tensor(labels), tensor(scores))))


def test_a_row_of_zeros_predicts_nothing_and_negative_scores_do(tensor: Make, host: Make) -> None:
    y_true = tensor([[1, 0], [1, 0]])
    assert host(metrics.F1Score()(y_true, tensor([[0.0, 0.0], [0.5, 0.1]]))).tolist() == [pytest.approx(2 / 3), 0.0]
    assert host(metrics.F1Score()(y_true, tensor([[-1.0, -3.0], [0.0, -2.0]]))).tolist() == [1.0, 0.0]


def test_the_first_batch_decides_how_many_classes_there_are(tensor: Make) -> None:
    metric = metrics.F1Score()
    assert tuple(metric.init().count.shape) == (3, 0)
    assert tuple(metrics.F1Score().result().shape) == (0,)
    assert float(metrics.F1Score("macro").result()) == float(metrics.F1Score("weighted").result()) == 0.0
    metric.update_state(tensor([[1, 0]]), tensor([[0.9, 0.1]]))
    assert tuple(metric.result().shape) == (2,)
    with pytest.raises(ShapeError, match=r"3 classes, and 2.*reset_state"):
        metric.update_state(tensor([[1, 0, 0]]), tensor([[0.9, 0.1, 0.2]]))
    other = metric.init(tensor([[0.0, 0.0, 0.0]]))
    with pytest.raises(ShapeError, match="3 classes"):
        metric.merge(metric.state, other)


def test_sequences_and_single_entries_can_be_scored_weighted_and_masked(tensor: Make, host: Make) -> None:
    rng = np.random.default_rng(2)
    labels, scores = (rng.random((4, 3, 2)) < 0.5).astype(float), rng.random((4, 3, 2)).astype("float32")
    mask = rng.random((4, 3)) < 0.6
    value = metrics.F1Score(threshold=0.5)(tensor(labels), tensor(scores), mask=tensor(mask))
    np.testing.assert_allclose(
        host(value), host(metrics.F1Score(threshold=0.5)(tensor(labels[mask]), tensor(scores[mask])))
    )
    entry = tensor([[True, False]])
    assert host(metrics.F1Score()(tensor([[1, 0]]), tensor([[0.1, NAN]]), mask=entry)).tolist() == [1.0, 0.0]


def test_what_cannot_be_scored_is_refused(tensor: Make) -> None:
    with pytest.raises(ShapeError, match="to_categorical"):
        metrics.F1Score().update_state(tensor([0, 1]), tensor([[0.1, 0.9], [0.2, 0.8]]))
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        metrics.F1Score().update_state(tensor([0, 1]), tensor([0.1, 0.9]))
    with pytest.raises(ArgumentError, match=r"y_pred\[0, 1\]"):
        metrics.F1Score(threshold=0.5).update_state(tensor([[0, 1]]), tensor([[0.1, 1.9]]))
    with pytest.raises(ArgumentError, match=r"y_pred\[0, 0\]"):
        metrics.F1Score().update_state(tensor([[0, 1]]), tensor([[NAN, 1.9]]))
    with pytest.raises(LabelError, match=r"y_true\[0, 0\] is 0\.5"):
        metrics.F1Score().update_state(tensor([[0.5, 1]]), tensor([[0.1, 0.9]]))


def test_inside_a_trace_what_cannot_be_scored_is_nan(compiled: Make, tensor: Make, host: Make) -> None:
    metric = metrics.F1Score()

    def evaluate(y_true: Any, y_pred: Any) -> Any:
        return metric.compute(metric.update(metric.init(y_pred), y_true, y_pred))

    traced = compiled(evaluate)
    assert host(traced(tensor([[1, 0]]), tensor([[0.9, 0.1]]))).tolist() == [1.0, 0.0]
    if type(tensor([0.0])).__module__ != "numpy":
        assert np.isnan(host(traced(tensor([[1, 3]]), tensor([[0.9, 0.1]])))).all()


def test_arguments_outside_their_domain_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="micro"):
        metrics.F1Score(average="mikro")
    for arguments in ({"beta": 0.0}, {"beta": -1.0}, {"beta": "1"}, {"threshold": 0.0}, {"threshold": 1.1}):
        with pytest.raises(ArgumentError, match="Expected"):
            metrics.FBetaScore(**arguments)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.FBetaScore("weighted", 0.5, 0.3, name="mine", dtype="float64"),
        metrics.F1Score("macro", 0.3, name="mine"),
    ],
)
def test_configs_hold_every_argument(metric: Any) -> None:
    twin = metrics.deserialize(json.loads(json.dumps(metrics.serialize(metric))))
    assert type(twin) is type(metric)
    assert twin.get_config() == metric.get_config()
    assert (twin.average, twin.beta, twin.threshold) == (metric.average, metric.beta, metric.threshold)
