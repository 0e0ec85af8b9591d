"""Counts, precision and recall at thresholds: Keras' examples, brute force, the highest scores, classes."""

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
COUNTS = ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives")
AT = {
    "SensitivityAtSpecificity": ("tp", "fn", "tn", "fp"),
    "SpecificityAtSensitivity": ("tn", "fp", "tp", "fn"),
    "PrecisionAtRecall": ("tp", "fp", "tp", "fn"),
    "RecallAtPrecision": ("tp", "fn", "tp", "fp"),
}


def matrix(labels: Any, scores: Any, weights: Any, threshold: float) -> dict[str, float]:
    above = scores > threshold
    return {
        "tp": float(weights[(labels == 1) & above].sum()),
        "fp": float(weights[(labels == 0) & above].sum()),
        "fn": float(weights[(labels == 1) & ~above].sum()),
        "tn": float(weights[(labels == 0) & ~above].sum()),
    }


def data(seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, 50), rng.integers(0, 11, 50) / 10, rng.uniform(0.1, 2, 50)


@pytest.mark.parametrize(("name", "part"), list(zip(COUNTS, ("tp", "tn", "fp", "fn"), strict=True)))
@pytest.mark.parametrize("weighted", [False, True])
def test_counts_are_those_of_a_confusion_matrix(
    float64: None, tensor: Make, host: Make, name: str, part: str, weighted: bool
) -> None:
    labels, scores, weights = data()
    thresholds = [0.5, 0.0, 0.93, 0.2, 0.5]  # in any order, some at a score
    metric = getattr(metrics, name)(thresholds)
    for cut in (slice(0, 20), slice(20, 50)):
        metric.update_state(tensor(labels[cut]), tensor(scores[cut]), tensor(weights[cut]) if weighted else None)
    expected = [matrix(labels, scores, weights if weighted else np.ones(50), each)[part] for each in thresholds]
    np.testing.assert_allclose(host(metric.result()), expected, rtol=1e-13)


def test_one_threshold_gives_one_number_and_some_give_some(tensor: Make, host: Make) -> None:
    y_true, y_pred = tensor([0, 1, 1, 1]), tensor([1.0, 0.0, 1.0, 1.0])
    for thresholds in (None, 0.5, [0.5]):
        assert host(metrics.TruePositives(thresholds)(y_true, y_pred)).shape == ()
        assert float(metrics.TruePositives(thresholds)(y_true, y_pred)) == 2.0
    assert host(metrics.Precision([0.5, 1.0])(y_true, y_pred)).tolist() == [pytest.approx(2 / 3), 0.0]


def test_the_examples_of_keras(tensor: Make) -> None:
    weights = tensor([0.0, 0.0, 1.0, 0.0])
    y_true, y_pred = tensor([0, 1, 1, 1]), tensor([1.0, 0.0, 1.0, 1.0])
    assert float(metrics.TruePositives()(y_true, y_pred, weights)) == 1.0
    assert float(metrics.Precision()(y_true, y_pred)) == pytest.approx(2 / 3)
    assert float(metrics.Precision()(y_true, y_pred, tensor([0.0, 0.0, 1.0, 0.0]))) == 1.0
    assert float(metrics.Recall()(y_true, y_pred)) == pytest.approx(2 / 3)
    ranked = tensor([0, 0, 1, 1]), tensor([1.0, 1.0, 1.0, 1.0])
    assert float(metrics.Precision(top_k=2)(*ranked)) == 0.0
    assert float(metrics.Precision(top_k=4)(*ranked)) == 0.5
    for name, plain, weights, weighted in (
        ("SensitivityAtSpecificity", 0.5, [1, 1, 2, 2, 1], 0.333333),
        ("SpecificityAtSensitivity", 0.66666667, [1, 1, 2, 2, 2], 0.5),
        ("PrecisionAtRecall", 0.5, [2, 2, 2, 1, 1], 0.33333333),
    ):
        batch = tensor([0, 0, 0, 1, 1]), tensor([0.0, 0.3, 0.8, 0.3, 0.8])
        assert float(getattr(metrics, name)(0.5)(*batch)) == pytest.approx(plain)
        assert float(getattr(metrics, name)(0.5)(*batch, tensor(weights))) == pytest.approx(weighted, abs=1e-6)
    batch = tensor([0, 0, 1, 1]), tensor([0.0, 0.5, 0.3, 0.9])
    assert float(metrics.RecallAtPrecision(0.8)(*batch)) == 0.5
    assert float(metrics.RecallAtPrecision(0.8)(*batch, tensor([1, 0, 0, 1]))) == 1.0


@pytest.mark.parametrize("name", AT)
@pytest.mark.parametrize("value", [0.0, 0.3, 0.8, 1.0])
def test_the_best_rate_is_that_over_all_thresholds(float64: None, tensor: Make, name: str, value: float) -> None:
    labels, scores, weights = data(1)
    scores = scores * 0.97 + 0.01  # at no threshold
    wanted, missed, kept, lost = AT[name]
    best = 0.0
    for threshold in np.arange(21) / 20:
        m = matrix(labels, scores, weights, threshold)
        if m[kept] >= value * (m[kept] + m[lost]) and (value == 0 or m[kept] + m[lost] > 0):
            best = max(best, m[wanted] / (m[wanted] + m[missed]) if m[wanted] else 0.0)
    metric = getattr(metrics, name)(value, num_thresholds=21)
    assert float(metric(tensor(labels), tensor(scores), tensor(weights))) == pytest.approx(best, rel=1e-12)


def test_a_single_threshold_of_a_best_rate_is_a_half(tensor: Make) -> None:
    metric = metrics.PrecisionAtRecall(0.1, num_thresholds=1)
    assert metric.thresholds == [0.5]
    assert float(metric(tensor([0, 1, 1]), tensor([0.6, 0.7, 0.2]))) == 0.5


def test_one_class_alone_can_be_looked_at(tensor: Make) -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, (30, 3)), rng.random((30, 3)).astype("float32")
    weights, mask = rng.random(30).astype("float32"), np.arange(30) % 3 != 0
    for name in ("Precision", "Recall"):
        column = getattr(metrics, name)()(tensor(labels[:, 1]), tensor(scores[:, 1]), tensor(weights), tensor(mask))
        for class_id in (1, -2):
            metric = getattr(metrics, name)(class_id=class_id)
            assert float(metric(tensor(labels), tensor(scores), tensor(weights), tensor(mask))) == float(column)
    at = metrics.PrecisionAtRecall(0.5, class_id=2)(tensor(labels), tensor(scores))
    assert float(at) == float(metrics.PrecisionAtRecall(0.5)(tensor(labels[:, 2]), tensor(scores[:, 2])))


def test_exactly_k_classes_are_predicted_whatever_their_scores(tensor: Make) -> None:
    y_true = tensor([[1, 0, 1, 0], [0, 1, 0, 0]])
    scores = tensor([[-5.0, 3.0, 2.0, -9.0], [10.0, 20.0, 5.0, 1.0]])
    assert float(metrics.Precision(top_k=2)(y_true, scores)) == 0.5
    assert float(metrics.Recall(top_k=2)(y_true, scores)) == pytest.approx(2 / 3)
    assert float(metrics.Recall(top_k=3)(y_true, scores)) == 1.0
    ties = tensor([[0.5, 0.5, 0.5, 0.5]])
    assert float(metrics.Precision(top_k=1)(tensor([[1, 0, 0, 0]]), ties)) == 1.0
    assert float(metrics.Precision(top_k=1)(tensor([[0, 0, 0, 1]]), ties)) == 0.0
    ruled_out = tensor([[float("-inf"), 0.5, float("-inf")]])
    assert float(metrics.Precision(top_k=3)(tensor([[1, 1, 1]]), ruled_out)) == 1.0
    assert float(metrics.Recall(top_k=3)(tensor([[1, 1, 1]]), ruled_out)) == pytest.approx(1 / 3)


def test_the_highest_scores_must_pass_thresholds_too(tensor: Make) -> None:
    y_true, scores = tensor([[1, 1, 0]]), tensor([[0.9, 0.3, 0.1]])
    assert float(metrics.Recall(top_k=2)(y_true, scores)) == 1.0
    assert float(metrics.Recall(thresholds=0.5, top_k=2)(y_true, scores)) == 0.5
    with pytest.raises(ArgumentError, match=r"y_pred\[0, 0\]"):
        metrics.Recall(thresholds=0.5, top_k=2).update_state(y_true, tensor([[3.0, 0.3, 0.1]]))


def test_the_highest_scores_can_be_looked_at_for_one_class(tensor: Make) -> None:
    y_true, scores = (
        tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0]]),
        tensor([[0.9, 0.3, 0.1], [0.8, 0.9, 0.1], [0.1, 0.2, 0.3]]),
    )
    assert float(metrics.Recall(top_k=1, class_id=0)(y_true, scores)) == 0.5
    assert float(metrics.Precision(top_k=2, class_id=0)(y_true, scores)) == 0.5
    spoiled = tensor([[0.9, 0.3, 0.1], [NAN, 0.9, 7.0], [0.1, 0.2, 0.3]])
    kept = tensor([True, False, True])
    assert float(metrics.Recall(top_k=1, class_id=0)(y_true, spoiled, mask=kept)) == 0.5
    with pytest.raises(ArgumentError, match="compared"):
        metrics.Recall(top_k=1, class_id=1).update_state(y_true, spoiled)


def test_masked_entries_do_not_push_others_out_of_the_highest(tensor: Make) -> None:
    mask = tensor([[False, True, True]])
    for masked in (5.0, NAN):
        metric = metrics.Recall(top_k=1)
        assert float(metric(tensor([[0, 1, 0]]), tensor([[masked, 0.9, 0.1]]), mask=mask)) == 1.0


def test_counts_are_whole_numbers_beyond_what_float32_can_hold(backend: Backend, tensor: Make) -> None:
    metric = metrics.TruePositives()
    metric.update_state(tensor([1]), tensor([0.9]))
    state = metric.state._replace(positives=metric.state.positives + 2**24)
    state = metric.update(state, tensor([1, 1]), tensor([0.9, 0.8]))
    assert int(backend.to_numpy(state.positives)[0]) == 2**24 + 3


@pytest.mark.parametrize("labels", [[0, 2], [0.0, 0.5], [0, -1]])
def test_labels_that_are_not_binary_are_refused(tensor: Make, labels: list[float]) -> None:
    for metric in (metrics.Precision(), metrics.TruePositives(), metrics.PrecisionAtRecall(0.5)):
        with pytest.raises(LabelError, match=r"y_true\[1\]"):
            metric.update_state(tensor(labels), tensor([0.5, 0.5]))
    assert float(metrics.Recall()(tensor([-1, 1]), tensor([0.2, 0.7]))) == 1.0


@pytest.mark.parametrize("score", [-0.1, 3.0, NAN])
def test_predictions_that_are_no_probabilities_are_refused(tensor: Make, score: float) -> None:
    for metric in (metrics.Precision(), metrics.FalseNegatives([0.1]), metrics.RecallAtPrecision(0.5)):
        with pytest.raises(ArgumentError, match=r"y_pred\[1\].*sigmoid"):
            metric.update_state(tensor([0, 1]), tensor([0.5, score]))
    with pytest.raises(ArgumentError, match=r"y_pred\[0, 1\]"):
        metrics.Precision(class_id=1).update_state(tensor([[0, 1]]), tensor([[0.5, score]]))


@pytest.mark.parametrize("name", [*COUNTS, "Precision", "Recall", *AT])
def test_inside_a_trace_what_has_no_meaning_makes_the_result_nan(compiled: Make, tensor: Make, name: str) -> None:
    metric = getattr(metrics, name)(**({} if name not in AT else {metrics_argument(name): 0.5}))

    def evaluate(y_true: Any, y_pred: Any) -> Any:
        return metric.compute(metric.update(metric.init(y_pred), y_true, y_pred))

    traced = compiled(evaluate)
    y_true, y_pred = tensor([0, 1, 1]), tensor([0.2, 0.9, 0.4])
    assert float(traced(y_true, y_pred)) == float(metric(y_true, y_pred))
    if type(y_pred).__module__ == "numpy":
        return
    assert np.isnan(float(traced(y_true, tensor([0.2, 1.5, 0.4]))))
    assert np.isnan(float(traced(tensor([0, 7, 1]), y_pred)))


def metrics_argument(name: str) -> str:
    return name.split("At")[1].lower()


def test_shapes_and_classes_that_do_not_fit_are_refused(tensor: Make) -> None:
    y_true, y_pred = tensor([[0, 1]]), tensor([[0.1, 0.9]])
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        metrics.Precision().update_state(tensor([0, 1, 1]), y_pred)
    with pytest.raises(ArgumentError, match="class_id=2"):
        metrics.Precision(class_id=2).update_state(y_true, y_pred)
    with pytest.raises(ArgumentError, match="class_id=0"):
        metrics.RecallAtPrecision(0.5, class_id=0).update_state(tensor([0, 1]), tensor([0.1, 0.9]))
    with pytest.raises(ArgumentError, match="top_k=3"):
        metrics.Recall(top_k=3).update_state(y_true, y_pred)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("TruePositives", {"thresholds": 1.5}),
        ("Precision", {"thresholds": [0.5, -0.1]}),
        ("Precision", {"thresholds": []}),
        ("Precision", {"top_k": 0}),
        ("Recall", {"class_id": 1.0}),
        ("SensitivityAtSpecificity", {"specificity": 1.1}),
        ("PrecisionAtRecall", {"recall": -0.1}),
        ("RecallAtPrecision", {"precision": 0.5, "num_thresholds": 0}),
    ],
)
def test_arguments_outside_their_domain_are_refused(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="Expected"):
        getattr(metrics, name)(**arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, {"thresholds": [0.2, 0.7]}) for name in COUNTS),
        ("Precision", {"thresholds": 0.2, "top_k": 2, "class_id": 1}),
        ("Recall", {"top_k": 2}),
        *((name, {metrics_argument(name): 0.3, "num_thresholds": 7, "class_id": 2}) for name in AT),
    ],
)
def test_configs_hold_every_argument(name: str, arguments: dict[str, Any]) -> None:
    metric = getattr(metrics, name)(**arguments, name="mine", dtype="float64")
    config = json.loads(json.dumps(metrics.serialize(metric)))
    assert config["config"].items() >= (arguments | {"name": "mine", "dtype": "float64"}).items()
    twin = metrics.deserialize(config)
    assert type(twin) is type(metric)
    assert twin.get_config() == metric.get_config()
    assert twin.thresholds == metric.thresholds


# ── The exact area under a curve ────────────────────────────────────────────────────────────────────────────────


def pairs_in_order(labels: Any, scores: Any, weights: Any) -> float:
    """Return the weighted share of pairs of a positive and a negative whose scores are in order; ties count half."""
    positive, negative = labels == 1, labels == 0
    difference = scores[positive][:, None] - scores[negative][None, :]
    weight = weights[positive][:, None] * weights[negative][None, :]
    return float((weight * ((difference > 0) + 0.5 * (difference == 0))).sum() / weight.sum())


@pytest.mark.parametrize("weighted", [False, True])
def test_the_exact_area_is_the_share_of_pairs_in_order(float64: None, tensor: Make, weighted: bool) -> None:
    labels, scores, weights = data(5)
    weights = weights if weighted else np.ones(50)
    auc = metrics.AUC(num_thresholds=None)
    for cut in (slice(0, 20), slice(20, 50)):
        auc.update_state(tensor(labels[cut]), tensor(scores[cut]), tensor(weights[cut]) if weighted else None)
    assert float(auc.result()) == pytest.approx(pairs_in_order(labels, scores, weights), abs=1e-12)


def test_the_exact_area_sees_what_thresholds_do_not(tensor: Make) -> None:
    y_true, y_pred = tensor([0, 0, 1, 1]), tensor([0.001, 0.002, 0.003, 0.004])
    assert float(metrics.AUC()(y_true, y_pred)) == 0.5
    assert float(metrics.AUC(num_thresholds=None)(y_true, y_pred)) == 1.0
    saturated = tensor([20.0, 30.0, 40.0, 50.0])
    assert float(metrics.AUC(num_thresholds=None, from_logits=True)(y_true, saturated)) == 1.0


def test_exact_states_merge_by_joining(float64: None, tensor: Make) -> None:
    labels, scores, weights = (tensor(each) for each in data(6))
    auc = metrics.AUC(num_thresholds=None, curve="PR")
    first = auc.update(auc.init(), labels[:13], scores[:13], weights[:13])
    second = auc.update(auc.init(), labels[13:], scores[13:])
    merged = auc.compute(auc.merge(first, second))
    assert float(merged) == pytest.approx(float(auc.compute(auc.merge(second, first))), abs=1e-12)
    assert float(merged) == pytest.approx(float(auc.compute(auc.update(first, labels[13:], scores[13:]))), abs=1e-12)
    assert float(auc.compute(auc.merge(auc.init(), first))) == float(auc.compute(first))
    assert float(metrics.AUC(num_thresholds=None).result()) == 0.0


def test_what_does_not_count_is_not_seen_by_the_exact_area(float64: None, tensor: Make) -> None:
    labels, scores, weights = data(7)
    kept = np.arange(50) % 3 != 1
    expected = metrics.AUC(num_thresholds=None, curve="PR")(*(tensor(each[kept]) for each in (labels, scores, weights)))
    spoiled = tensor(np.where(kept, scores, NAN)), tensor(np.where(kept, weights, 0.0))
    by_weight = metrics.AUC(num_thresholds=None, curve="PR")(tensor(np.where(kept, labels, 9)), *spoiled)
    assert float(by_weight) == pytest.approx(float(expected), abs=1e-12)
    by_mask = metrics.AUC(num_thresholds=None, curve="PR")(tensor(labels), spoiled[0], tensor(weights), tensor(kept))
    assert float(by_mask) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("curve", ["ROC", "PR", "PRGAIN"])
@pytest.mark.parametrize("method", ["interpolation", "minoring", "majoring"])
def test_the_exact_area_is_the_limit_of_many_thresholds(float64: None, tensor: Make, curve: str, method: str) -> None:
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], 2000)
    scores = tensor(1 / (1 + np.exp(-rng.normal(labels * 0.8))))
    exact = metrics.AUC(None, curve, method)(tensor(labels), scores)
    fine = metrics.AUC(20_000, curve, method)(tensor(labels), scores)
    assert float(exact) == pytest.approx(float(fine), abs=2e-3)


def test_each_label_has_an_exact_area_of_its_own(float64: None, tensor: Make) -> None:
    rng = np.random.default_rng(9)
    labels, scores = rng.integers(0, 2, (40, 3)), rng.integers(0, 9, (40, 3)) / 8
    areas = [pairs_in_order(labels[:, j], scores[:, j], np.ones(40)) for j in range(3)]
    y_true, y_pred = tensor(labels), tensor(scores)
    assert float(metrics.AUC(None, multi_label=True)(y_true, y_pred)) == pytest.approx(np.mean(areas), abs=1e-12)
    weighted = metrics.AUC(None, multi_label=True, label_weights=[1, 2, 5])(y_true, y_pred)
    assert float(weighted) == pytest.approx(np.average(areas, weights=[1, 2, 5]), abs=1e-12)


def test_the_exact_area_is_traced_for_a_batch_and_nan_for_one_without_meaning(compiled: Make, tensor: Make) -> None:
    auc = metrics.AUC(num_thresholds=None)

    def evaluate(y_true: Any, y_pred: Any) -> Any:
        return auc.compute(auc.update(auc.init(y_pred), y_true, y_pred))

    traced = compiled(evaluate)
    assert float(traced(tensor([0, 1, 1]), tensor([0.3, 0.4, 0.2]))) == 0.5
    if type(tensor([0.0])).__module__ != "numpy":
        assert np.isnan(float(traced(tensor([0, 1, 1]), tensor([0.3, 1.4, 0.2]))))


def test_thresholds_cannot_be_given_and_be_every_score() -> None:
    with pytest.raises(ArgumentError, match="Leave one of them out"):
        metrics.AUC(num_thresholds=None, thresholds=[0.5])
    config = metrics.AUC(num_thresholds=None).get_config()
    assert config["num_thresholds"] is None
    assert metrics.AUC.from_config(config).thresholds is None
