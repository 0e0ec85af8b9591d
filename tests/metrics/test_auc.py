"""AUC: curves by hand and by brute force, arguments, labels and predictions that have no meaning."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import metrics
from multiloss._errors import ArgumentError, LabelError, ShapeError, UnknownNameError
from multiloss.interface import Backend

Make = Callable[..., Any]
NAN = float("nan")
METHODS = ("interpolation", "minoring", "majoring")


def by_brute_force(labels: Any, scores: Any, weights: Any, thresholds: list[float], curve: str, method: str) -> float:
    """Return the area from a confusion matrix for each threshold, from the highest threshold to the lowest."""
    tp, fp, fn, tn = (
        np.array([weights[(labels == label) & ((scores > t) == above)].sum() for t in sorted(thresholds)[::-1]])
        for label, above in ((1, True), (0, True), (1, False), (0, False))
    )
    with np.errstate(all="ignore"):
        if curve == "ROC":
            x, y = fp / (fp + tn), tp / (tp + fn)
        else:
            x, y = tp / (tp + fn), np.nan_to_num(tp / (tp + fp))
    heights = {"minoring": np.minimum, "majoring": np.maximum, "interpolation": lambda a, b: (a + b) / 2}[method]
    if (curve, method) != ("PR", "interpolation"):
        return float(np.sum(np.diff(x) * heights(y[:-1], y[1:])))
    area = 0.0
    for j in range(len(tp) - 1):  # the integral of precision over recall, true and false positives linear: many slices
        share = (np.arange(20_000) + 0.5) / 20_000
        t, f = tp[j] + share * (tp[j + 1] - tp[j]), fp[j] + share * (fp[j + 1] - fp[j])
        with np.errstate(all="ignore"):
            area += np.nan_to_num(t / (t + f)).mean() * (tp[j + 1] - tp[j]) / (tp + fn)[0]
    return area


@pytest.mark.parametrize(("curve", "method"), list(itertools.product(("ROC", "PR"), METHODS)))
@pytest.mark.parametrize("weighted", [False, True])
def test_the_area_is_that_of_a_confusion_matrix_per_threshold(
    float64: None, tensor: Make, curve: str, method: str, weighted: bool
) -> None:
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, 60), rng.integers(0, 21, 60) / 20
    weights = rng.uniform(0.1, 2, 60) if weighted else np.ones(60)
    auc = metrics.AUC(11, curve, method)
    for part in (slice(0, 25), slice(25, 60)):
        auc.update_state(tensor(labels[part]), tensor(scores[part]), tensor(weights[part]) if weighted else None)
    expected = by_brute_force(labels, scores, weights, auc.thresholds, curve, method)
    assert float(auc.result()) == pytest.approx(expected, abs=2e-4 if (curve, method) == ("PR", METHODS[0]) else 1e-12)


def test_the_example_of_keras(tensor: Make) -> None:
    y_true, y_pred = tensor([0, 0, 1, 1]), tensor([0.0, 0.5, 0.3, 0.9])
    assert float(metrics.AUC(num_thresholds=3)(y_true, y_pred)) == 0.75
    assert float(metrics.AUC(num_thresholds=3)(y_true, y_pred, tensor([1, 0, 0, 1]))) == 1.0


def test_precision_recall_gain_is_one_for_a_perfect_ranking_and_zero_without_gain(tensor: Make) -> None:
    y_true = tensor([0, 0, 1, 1])
    assert float(metrics.AUC(curve="PRGAIN")(y_true, tensor([0.1, 0.2, 0.8, 0.9]))) == pytest.approx(1.0)
    useless = tensor([0.5, 0.5, 0.5, 0.5])
    assert float(metrics.AUC(curve="PRGAIN", summation_method="minoring")(y_true, useless)) == pytest.approx(0.0)
    assert float(metrics.AUC(curve="PRGAIN", summation_method="majoring")(y_true, useless)) == pytest.approx(1.0)


def test_logits_are_turned_into_probabilities(tensor: Make) -> None:
    y_true, logits = tensor([0, 0, 1, 1]), np.array([-3.0, 0.3, -0.2, 4.0], "float32")
    from_logits = metrics.AUC(from_logits=True)(y_true, tensor(logits))
    assert float(from_logits) == float(metrics.AUC()(y_true, tensor(1 / (1 + np.exp(-logits)))))


def test_labels_of_minus_one_and_one_are_those_of_zero_and_one(tensor: Make) -> None:
    scores = tensor([0.1, 0.6, 0.4, 0.9])
    signs, bits = tensor([-1, -1, 1, 1]), tensor([0, 0, 1, 1])
    assert float(metrics.AUC()(signs, scores)) == float(metrics.AUC()(bits, scores)) == 0.75


def test_each_label_is_a_problem_of_its_own_with_multi_label(tensor: Make) -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, (30, 3)), rng.random((30, 3)).astype("float32")
    areas = [float(metrics.AUC()(tensor(labels[:, j]), tensor(scores[:, j]))) for j in range(3)]
    y_true, y_pred = tensor(labels), tensor(scores)
    assert float(metrics.AUC(multi_label=True)(y_true, y_pred)) == pytest.approx(np.mean(areas), abs=1e-6)
    assert float(metrics.AUC(multi_label=True, num_labels=3)(y_true, y_pred)) == pytest.approx(np.mean(areas), abs=1e-6)
    weighted = metrics.AUC(multi_label=True, label_weights=[1, 2, 5])(y_true, y_pred)
    assert float(weighted) == pytest.approx(np.average(areas, weights=[1, 2, 5]), abs=1e-6)


def test_label_weights_weigh_entries_without_multi_label(tensor: Make) -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, (10, 2)), rng.random((10, 2)).astype("float32")
    weights = np.broadcast_to(np.array([0.5, 2.0], "float32"), (10, 2))
    by_label = metrics.AUC(label_weights=[0.5, 2.0])(tensor(labels), tensor(scores))
    assert float(by_label) == pytest.approx(float(metrics.AUC()(tensor(labels), tensor(scores), tensor(weights))))
    assert float(by_label) != pytest.approx(float(metrics.AUC()(tensor(labels), tensor(scores))))


def test_thresholds_may_be_chosen(tensor: Make) -> None:
    auc = metrics.AUC(thresholds=[0.7, 0.3])
    assert auc.thresholds == [-1e-7, 0.3, 0.7, 1 + 1e-7]
    assert auc.num_thresholds == 4
    assert float(auc(tensor([0, 1]), tensor([0.4, 0.5]))) == 0.5


def test_whole_samples_and_single_entries_can_be_weighted_and_masked(tensor: Make) -> None:
    labels, scores = tensor([[0, 1], [1, 0]]), tensor([[0.1, 0.9], [0.2, 0.8]])
    first = metrics.AUC()(tensor([0, 1]), tensor([0.1, 0.9]))
    for entries in (
        {"sample_weight": tensor([2.0, 0.0])},
        {"mask": tensor([True, False])},
        {"mask": tensor([[True, True], [False, False]])},
    ):
        assert float(metrics.AUC()(labels, scores, **entries)) == float(first) == 1.0
    assert float(metrics.AUC()(labels, scores)) == 0.75


def test_what_does_not_count_may_be_anything(tensor: Make) -> None:
    labels, scores = tensor([0.0, 1.0, NAN, 7.0]), tensor([0.1, 0.9, NAN, 3.0])
    assert float(metrics.AUC()(labels, scores, mask=tensor([True, True, False, False]))) == 1.0
    assert float(metrics.AUC()(labels, scores, tensor([1.0, 2.0, 0.0, 0.0]))) == 1.0


@pytest.mark.parametrize("score", [-0.1, 1.5, NAN])
def test_a_prediction_that_is_no_probability_is_refused(tensor: Make, score: float) -> None:
    with pytest.raises(ArgumentError, match=r"y_pred\[1\].*from_logits"):
        metrics.AUC().update_state(tensor([0, 1]), tensor([0.5, score]))


def test_a_logit_that_is_nan_is_refused_and_one_that_is_infinite_is_not(tensor: Make) -> None:
    auc = metrics.AUC(from_logits=True)
    with pytest.raises(ArgumentError, match=r"y_pred\[0\] is nan"):
        auc.update_state(tensor([0, 1]), tensor([NAN, 1.0]))
    assert float(auc(tensor([0, 1]), tensor([float("-inf"), float("inf")]))) == 1.0


@pytest.mark.parametrize("labels", [[0, 3], [0.0, 0.5], [0, -1]])
def test_labels_that_are_not_binary_are_refused(tensor: Make, labels: list[float]) -> None:
    with pytest.raises(LabelError, match=r"y_true\[1\]"):
        metrics.AUC().update_state(tensor(labels), tensor([0.5, 0.5]))


@pytest.mark.backends("torch", "jax")
def test_inside_a_trace_what_has_no_meaning_makes_the_result_nan(backend: Backend, tensor: Make) -> None:
    auc = metrics.AUC()

    def evaluate(y_true: Any, y_pred: Any) -> Any:
        return auc.compute(auc.update(auc.init(y_pred), y_true, y_pred))

    if backend.name == "torch":
        import torch

        compiled: Any = torch.compile(evaluate, fullgraph=True, backend="eager")
    else:
        import jax

        compiled = jax.jit(evaluate)
    assert float(compiled(tensor([0, 1]), tensor([0.2, 0.9]))) == 1.0
    assert np.isnan(float(compiled(tensor([0, 1]), tensor([0.2, 1.5]))))
    assert np.isnan(float(compiled(tensor([0, 1]), tensor([NAN, 0.5]))))
    assert np.isnan(float(compiled(tensor([0, 2]), tensor([0.2, 0.5]))))


def test_shapes_that_do_not_fit_are_refused(tensor: Make) -> None:
    with pytest.raises(ShapeError, match=r"\(4, 10\)"):
        metrics.AUC().update_state(tensor([0, 1, 1, 0]), tensor(np.full((4, 10), 0.5, "float32")))
    with pytest.raises(ShapeError, match="multi_label"):
        metrics.AUC(multi_label=True).update_state(tensor([0, 1]), tensor([0.1, 0.2]))
    with pytest.raises(ShapeError, match=r"\(N, 3\)"):
        metrics.AUC(multi_label=True, num_labels=3).update_state(tensor([[0, 1]]), tensor([[0.1, 0.2]]))
    with pytest.raises(ShapeError, match="label_weights"):
        metrics.AUC(label_weights=[1.0, 2.0, 3.0]).update_state(tensor([[0, 1]]), tensor([[0.1, 0.2]]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_thresholds": 1},
        {"num_thresholds": 2.5},
        {"thresholds": [0.5, 1.5]},
        {"thresholds": [0.5], "num_thresholds": 7},
        {"num_labels": 2},
        {"multi_label": True, "num_labels": 2, "label_weights": [1.0, 2.0, 3.0]},
    ],
)
def test_arguments_outside_their_domain_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        metrics.AUC(**arguments)


def test_unknown_curves_and_methods_are_refused_and_case_does_not_matter() -> None:
    with pytest.raises(UnknownNameError, match="curve"):
        metrics.AUC(curve="DET")
    with pytest.raises(UnknownNameError, match="summation method"):
        metrics.AUC(summation_method="simpson")
    assert metrics.AUC(curve="pr", summation_method="Minoring").curve == "PR"


def test_counts_per_bucket_are_whole_numbers(backend: Backend, tensor: Make) -> None:
    auc = metrics.AUC(num_thresholds=3)
    auc.update_state(tensor([0, 1, 1]), tensor([0.1, 0.9, 0.8]))
    assert not backend.is_floating(auc.state.positives)
    assert backend.to_numpy(auc.state.positives).tolist() == [2, 0]
    assert backend.to_numpy(auc.state.negatives).tolist() == [0, 1]
    assert float(auc.state.positive_weight.sum()) == 0.0


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize("multi_label", [True, False])
def test_label_weights_are_traced(
    backend: Backend, tensor: Make, compiled: Callable[..., Any], multi_label: bool
) -> None:
    rng = np.random.default_rng(0)
    batch = tensor(rng.integers(0, 2, (8, 4)).astype("float32")), tensor(rng.uniform(size=(8, 4)).astype("float32"))
    metric = metrics.AUC(multi_label=multi_label, label_weights=[1, 2, 3, 4])

    @compiled
    def evaluate(y_true: Any, y_pred: Any) -> Any:
        return metric.compute(metric.update(metric.init(y_pred), y_true, y_pred))

    assert float(evaluate(*batch)) == pytest.approx(float(metric(*batch)), rel=2e-5)
