"""Intersection over union: examples, scores and class indices, weights, ignored and impossible classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import metrics
from multiloss._errors import ArgumentError, LabelError, ShapeError
from multiloss.interface import Backend

Make = Callable[..., Any]
NAN = float("nan")


def by_hand(true: Any, pred: Any, weights: Any, targets: Any) -> float:
    values = []
    for target in targets:
        union = weights[(true == target) | (pred == target)].sum()
        if union > 0:
            values.append(weights[(true == target) & (pred == target)].sum() / union)
    return float(np.mean(values)) if values else 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_is_over_the_target_classes_that_occur(float64: None, tensor: Make, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    true, pred, weights = rng.integers(0, 4, 50), rng.integers(0, 4, 50), rng.uniform(0.1, 0.9, 50)
    true, pred = np.where(true == 2, 3, true), np.where(pred == 2, 3, pred)  # class 2 never occurs
    for targets in ([0], [1, 2], [2], [3, 0], [0, 1, 2, 3]):
        metric = metrics.IoU(4, targets, dtype="float64")
        for cut in (slice(0, 20), slice(20, 50)):
            metric.update_state(tensor(true[cut]), tensor(pred[cut]), tensor(weights[cut]) if weighted else None)
        expected = by_hand(true, pred, weights if weighted else np.ones(50), targets)
        assert float(metric.result()) == pytest.approx(expected, rel=1e-12)
    assert float(metric.result()) == float(
        metrics.MeanIoU(4, dtype="float64")(tensor(true), tensor(pred), *([tensor(weights)] * weighted))
    )


def test_the_examples_of_keras(tensor: Make) -> None:
    true, pred, weights = tensor([0, 0, 1, 1]), tensor([0, 1, 0, 1]), tensor([0.3, 0.3, 0.3, 0.1])
    assert float(metrics.IoU(2, [0])(true, pred)) == pytest.approx(1 / 3)
    assert float(metrics.IoU(2, [0])(true, pred, weights)) == pytest.approx(1 / 3)  # not truncated to 0
    assert float(metrics.MeanIoU(2)(true, pred, weights)) == pytest.approx(0.23809525)
    binary = tensor([0, 1, 0, 1]), tensor([0.1, 0.2, 0.4, 0.7])
    assert float(metrics.BinaryIoU((0, 1), 0.3)(*binary)) == pytest.approx(1 / 3)
    assert float(metrics.BinaryIoU((0, 1), 0.3)(*binary, tensor([0.2, 0.3, 0.4, 0.1]))) == pytest.approx(
        0.17361, abs=1e-4
    )
    hot = tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]])
    scores = tensor([[0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.5, 0.3, 0.1], [0.1, 0.4, 0.5]])
    weights = tensor([0.1, 0.2, 0.3, 0.4])
    assert float(metrics.OneHotIoU(3, [0, 2])(hot, scores, weights)) == pytest.approx(0.07142855)
    assert float(metrics.OneHotMeanIoU(3)(hot, scores, weights)) == pytest.approx(0.047619034)


def test_a_score_at_the_threshold_is_class_one(tensor: Make) -> None:
    assert float(metrics.BinaryIoU([1], threshold=0.5)(tensor([1, 0]), tensor([0.5, 0.4]))) == 1.0
    assert float(metrics.BinaryIoU([1], threshold=0.0)(tensor([1, 0]), tensor([3.0, -2.0]))) == 1.0


def test_scores_and_class_indices_are_the_same_to_it(tensor: Make) -> None:
    rng = np.random.default_rng(1)
    true, scores = rng.integers(0, 3, (2, 5)), rng.random((2, 5, 3)).astype("float32")
    pred, hot, kept = scores.argmax(-1), np.eye(3)[true], rng.random((2, 5)) < 0.7
    mask = tensor(kept)
    expected = float(metrics.MeanIoU(3)(tensor(true), tensor(pred), mask=mask))
    for y_true, y_pred, arguments in (
        (true, scores, {"sparse_y_pred": False}),
        (true[..., None], pred, {}),
        (true.astype("float32"), pred.astype("float64"), {}),
        (true.astype("uint8"), pred.astype("uint8"), {}),
        (hot, pred, {"sparse_y_true": False}),
        (hot, scores, {"sparse_y_true": False, "sparse_y_pred": False}),
        (
            np.moveaxis(hot, -1, 1),
            np.moveaxis(scores, -1, 1),
            {"sparse_y_true": False, "sparse_y_pred": False, "axis": 1},
        ),
    ):
        assert float(metrics.MeanIoU(3, **arguments)(tensor(y_true), tensor(y_pred), mask=mask)) == pytest.approx(
            expected
        )
    assert float(metrics.OneHotMeanIoU(3, sparse_y_pred=True)(tensor(hot), tensor(pred), mask=mask)) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("ignored", [-1, 255, 2])
def test_an_ignored_class_does_not_count(tensor: Make, ignored: int) -> None:
    true, pred = np.array([0, 1, ignored, 1], "int32"), np.array([0, 0, 1, 1], "int32")
    kept = true != ignored
    metric = metrics.MeanIoU(3, ignore_class=ignored)
    expected = metrics.MeanIoU(3)(tensor(true[kept]), tensor(pred[kept]))
    assert float(metric(tensor(true), tensor(pred))) == float(expected)
    weighted = metrics.MeanIoU(3, ignore_class=ignored)(tensor(true), tensor(pred), tensor([1.0, 2.0, 5.0, 1.0]))
    assert float(weighted) == float(metrics.MeanIoU(3)(tensor(true[kept]), tensor(pred[kept]), tensor([1.0, 2.0, 1.0])))


@pytest.mark.parametrize(
    ("what", "true", "pred"),
    [
        ("y_true", [0, 3], [0, 1]),
        ("y_true", [0, -1], [0, 1]),
        ("y_pred", [0, 1], [0, 3]),
        ("y_pred", [0, 1], [0.0, 0.5]),
    ],
)
def test_a_class_out_of_range_is_an_error_unless_it_does_not_count(
    tensor: Make, what: str, true: list[float], pred: list[float]
) -> None:
    metric = metrics.MeanIoU(3)
    with pytest.raises(LabelError, match=rf"{what}\[1\]"):
        metric.update_state(tensor(true), tensor(pred))
    assert float(metric(tensor(true), tensor(pred), mask=tensor([True, False]))) == 1.0


def test_a_score_that_is_nan_has_no_class(tensor: Make) -> None:
    with pytest.raises(LabelError, match=r"y_pred\[0\] is no whole number"):
        metrics.BinaryIoU().update_state(tensor([1, 0]), tensor([NAN, 0.2]))
    with pytest.raises(LabelError, match=r"y_pred\[1\]"):
        metrics.OneHotMeanIoU(2).update_state(tensor([[1, 0], [0, 1]]), tensor([[0.3, 0.7], [NAN, 0.1]]))


def test_inside_a_trace_an_impossible_class_makes_the_result_nan(compiled: Make, tensor: Make) -> None:
    metric = metrics.MeanIoU(2)

    def evaluate(y_true: Any, y_pred: Any) -> Any:
        return metric.compute(metric.update(metric.init(y_pred), y_true, y_pred))

    traced = compiled(evaluate)
    assert float(traced(tensor([0, 1]), tensor([0, 1]))) == 1.0
    if type(tensor([0.0])).__module__ != "numpy":
        assert np.isnan(float(traced(tensor([0, 2]), tensor([0, 1]))))
        assert np.isnan(float(traced(tensor([0, 1]), tensor([0, -1]))))


def test_counts_are_whole_numbers_unless_weighted(backend: Backend, tensor: Make) -> None:
    metric = metrics.MeanIoU(2)
    metric.update_state(tensor([0, 1, 1]), tensor([0, 1, 0]))
    assert not backend.is_floating(metric.state.count)
    assert backend.to_numpy(metric.state.count).tolist() == [[1, 0], [1, 1]]
    assert float(metric.state.weight.sum()) == 0.0


def test_shapes_and_arguments_that_do_not_fit_are_refused(tensor: Make) -> None:
    with pytest.raises(ShapeError, match="num_classes=3"):
        metrics.OneHotMeanIoU(3).update_state(tensor([[1, 0]]), tensor([[0.9, 0.1]]))
    with pytest.raises(ShapeError):
        metrics.MeanIoU(3).update_state(tensor([0, 1, 2]), tensor([0, 1]))
    for arguments in ((0, [0]), (2.0, [0]), (2, [2]), (2, [-1]), (2, [])):
        with pytest.raises(ArgumentError, match="Expected"):
            metrics.IoU(*arguments)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.IoU(3, [0, 2], "mine", "float64", -1, False, False, 1),
        metrics.MeanIoU(3, "mine", "float64", -1, False, False, 1),
        metrics.BinaryIoU([1], 0.3, "mine", "float64"),
        metrics.OneHotIoU(3, [0, 2], "mine", "float64", 1, True, 1),
        metrics.OneHotMeanIoU(3, "mine", "float64", 1, True, 1),
    ],
)
def test_configs_hold_every_argument(metric: Any) -> None:
    config = json.loads(json.dumps(metrics.serialize(metric)))
    twin = metrics.deserialize(config)
    assert type(twin) is type(metric)
    assert twin.get_config() == metric.get_config() == config["config"]
    assert (twin._labelling, twin.target_class_ids) == (metric._labelling, metric.target_class_ids)
    assert (
        metrics.deserialize(config | {"config": config["config"] | {"dtype": "int32"}}).dtype is None
    )  # as Keras writes
