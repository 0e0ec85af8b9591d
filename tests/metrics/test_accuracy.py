"""Accuracies: Keras' values, ties, nan, label kinds, labels out of range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import losses, metrics
from multiloss._errors import ArgumentError, LabelError, ShapeError
from multiloss.interface import Backend
from multiloss.losses._spec import spec_of

Make = Callable[..., Any]
NAN = float("nan")


def test_accuracy_compares_whole_numbers_exactly(tensor: Make, host: Make) -> None:
    y_true, y_pred = tensor([2**24, 2**24 + 1, 3]), tensor([2**24, 2**24, 3])
    assert host(metrics.accuracy(y_true, y_pred)).tolist() == [1.0, 0.0, 1.0]
    assert host(metrics.accuracy(tensor([2**24 + 1, 2]), tensor([2.0**24, 2.0]))).tolist() == [0.0, 1.0]
    assert host(metrics.accuracy(tensor([1.7, 2.0]), tensor([1, 2]))).tolist() == [0.0, 1.0]
    assert host(metrics.accuracy(tensor([True, False]), tensor([1, 1]))).tolist() == [1.0, 0.0]


def test_accuracy_weighs_and_masks(tensor: Make) -> None:
    y_true, y_pred = tensor([1, 2, 3, 4]), tensor([0, 2, 3, 4])
    assert float(metrics.Accuracy()(y_true, y_pred)) == 0.75
    assert float(metrics.Accuracy()(y_true, y_pred, sample_weight=tensor([1, 1, 0, 0]))) == 0.5
    assert float(metrics.Accuracy()(y_true, y_pred, mask=tensor([False, True, True, True]))) == 1.0


def test_binary_accuracy_is_elementwise_and_strict_at_the_threshold(tensor: Make, host: Make) -> None:
    y_true, y_pred = tensor([[1.0], [1.0], [0.0], [0.0]]), tensor([[0.98], [0.5], [0.5], [0.6]])
    assert host(metrics.binary_accuracy(y_true, y_pred)).tolist() == [[1.0], [0.0], [1.0], [0.0]]
    assert host(metrics.binary_accuracy(y_true, y_pred, threshold=0.7)).tolist() == [[1.0], [0.0], [1.0], [1.0]]


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_binary_accuracy_takes_labels_of_minus_one_and_one(tensor: Make, dtype: str) -> None:
    y_true, y_pred = tensor(np.array([-1, -1, 1, 1], dtype)), tensor([-0.9, 0.1, 0.2, -0.3])
    assert float(metrics.BinaryAccuracy(threshold=0.0)(y_true, y_pred)) == 0.5


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32"])
def test_binary_accuracy_takes_whole_labels(tensor: Make, dtype: str) -> None:
    y_true, y_pred = tensor(np.array([1, 0, 1, 0], dtype)), tensor([0.9, 0.1, 0.2, 0.3])
    assert float(metrics.BinaryAccuracy()(y_true, y_pred)) == 0.75


def test_binary_accuracy_does_not_guess_what_minus_one_means_beside_zero(tensor: Make, host: Make) -> None:
    y_true, y_pred = tensor([0.0, -1.0, 1.0]), tensor([0.1, 0.1, 0.9])
    np.testing.assert_array_equal(host(metrics.binary_accuracy(y_true, y_pred)), [1.0, NAN, 1.0])
    assert float(metrics.BinaryAccuracy()(y_true, y_pred, mask=tensor([True, False, True]))) == 1.0


def test_a_soft_label_is_never_met(tensor: Make) -> None:
    assert float(metrics.BinaryAccuracy()(tensor([0.3, 0.9]), tensor([0.1, 0.95]))) == 0.0


def test_binary_accuracy_weighs_elements_or_samples(tensor: Make) -> None:
    y_true, y_pred = tensor([[1.0, 0.0], [1.0, 0.0]]), tensor([[0.9, 0.9], [0.1, 0.1]])
    assert float(metrics.BinaryAccuracy()(y_true, y_pred, tensor([3.0, 1.0]))) == 0.5
    assert float(metrics.BinaryAccuracy()(y_true, y_pred, tensor([[3.0, 1.0], [0.0, 0.0]]))) == 0.75


def test_categorical_accuracy_takes_the_first_class_at_a_tie(tensor: Make, host: Make) -> None:
    y_true, y_pred = tensor([[1.0, 0.0], [0.0, 1.0]]), tensor([[0.5, 0.5], [0.5, 0.5]])
    assert host(metrics.categorical_accuracy(y_true, y_pred)).tolist() == [1.0, 0.0]


def test_sparse_categorical_accuracy_drops_a_trailing_axis_of_one(tensor: Make, host: Make) -> None:
    y_pred = tensor([[0.1, 0.6, 0.3], [0.05, 0.95, 0.0]])
    for y_true in (tensor([2, 1]), tensor([[2], [1]]), tensor([2.0, 1.0]), tensor(np.array([2, 1], "uint8"))):
        assert host(metrics.sparse_categorical_accuracy(y_true, y_pred)).tolist() == [0.0, 1.0]


def test_sparse_categorical_accuracy_keeps_the_axes_of_sequences(tensor: Make, host: Make) -> None:
    y_pred = tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.7, 0.3]]])
    values = host(metrics.sparse_categorical_accuracy(tensor([[0, 0], [0, 1]]), y_pred))
    assert values.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    mask = tensor([[True, False], [True, True]])
    metric = metrics.SparseCategoricalAccuracy()
    assert float(metric(tensor([[0, 0], [0, 1]]), y_pred, mask=mask)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("label", [-1, 2, 7])
def test_a_label_out_of_range_is_an_error_unless_it_does_not_count(tensor: Make, label: int) -> None:
    y_true, y_pred = tensor([0, label]), tensor([[0.9, 0.1], [0.9, 0.1]])
    for name in ("SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy"):
        metric = getattr(metrics, name)()
        with pytest.raises(LabelError, match=rf"y_true\[1\] is {label}"):
            metric.update_state(y_true, y_pred)
        assert float(metric(y_true, y_pred, mask=tensor([True, False]))) == 1.0


@pytest.mark.backends("torch", "jax")
def test_a_label_out_of_range_inside_a_trace_makes_the_result_nan(backend: Backend, tensor: Make) -> None:
    metric = metrics.SparseCategoricalAccuracy()

    def evaluate(y_true: Any, y_pred: Any) -> Any:
        return metric.compute(metric.update(metric.init(y_pred), y_true, y_pred))

    if backend.name == "torch":
        import torch

        compiled: Any = torch.compile(evaluate, fullgraph=True, backend="eager")
    else:
        import jax

        compiled = jax.jit(evaluate)
    y_pred = tensor([[0.9, 0.1], [0.9, 0.1]])
    assert float(compiled(tensor([0, 1]), y_pred)) == 0.5
    assert np.isnan(float(compiled(tensor([0, 2]), y_pred)))
    assert np.isnan(float(compiled(tensor([0, -1]), y_pred)))


def test_top_k_counts_ties_as_hits_and_minus_infinity_as_a_miss(tensor: Make, host: Make) -> None:
    scores = tensor([[0.5, 0.5, 0.5], [0.9, 0.5, 0.1], [float("-inf"), 0.5, 0.1], [float("inf"), 0.5, 0.1]])
    labels = tensor([2, 1, 0, 0])
    assert host(metrics.sparse_top_k_categorical_accuracy(labels, scores, k=1)).tolist() == [1.0, 0.0, 0.0, 1.0]
    assert host(metrics.sparse_top_k_categorical_accuracy(labels, scores, k=3)).tolist() == [1.0, 1.0, 0.0, 1.0]
    one_hot = tensor(np.eye(3, dtype="float32")[[2, 1, 0, 0]])
    assert host(metrics.top_k_categorical_accuracy(one_hot, scores, k=2)).tolist() == [1.0, 1.0, 0.0, 1.0]


def test_sorted_ids_are_compared_exactly(tensor: Make, host: Make) -> None:
    ids = tensor([[2**24 + 1, 3, 5], [4, 9, 2**24]])
    labels = tensor([2**24, 9])
    assert host(metrics.sparse_top_k_categorical_accuracy(labels, ids, 2, from_sorted_ids=True)).tolist() == [0.0, 1.0]
    metric = metrics.SparseTopKCategoricalAccuracy(k=3, from_sorted_ids=True)
    assert float(metric(tensor([2**24 + 1, 9]), ids, tensor([1.0, 3.0]))) == 1.0
    assert float(metric(tensor([1, 9]), ids, mask=tensor([True, False]))) == pytest.approx(4 / 5)
    with pytest.raises(ArgumentError, match="Lower k"):
        metrics.sparse_top_k_categorical_accuracy(labels, ids, 4, from_sorted_ids=True)


@pytest.mark.parametrize("k", [0, -1, 2.0, True])
def test_k_is_a_whole_number_of_at_least_one(k: Any) -> None:
    with pytest.raises(ArgumentError, match="k="):
        metrics.TopKCategoricalAccuracy(k=k)
    with pytest.raises(ArgumentError, match="k="):
        metrics.sparse_top_k_categorical_accuracy([0], [[1.0]], k)


def test_a_prediction_that_is_nan_is_never_right(tensor: Make, host: Make) -> None:
    y_pred, one_hot = tensor([[NAN, 0.2], [0.9, NAN]]), tensor([[1.0, 0.0], [1.0, 0.0]])
    assert host(metrics.categorical_accuracy(one_hot, y_pred)).tolist() == [0.0, 0.0]
    assert host(metrics.sparse_categorical_accuracy(tensor([0, 0]), y_pred)).tolist() == [0.0, 0.0]
    assert host(metrics.sparse_top_k_categorical_accuracy(tensor([0, 0]), y_pred)).tolist() == [0.0, 0.0]
    assert host(metrics.top_k_categorical_accuracy(one_hot, y_pred)).tolist() == [0.0, 0.0]
    assert host(metrics.binary_accuracy(tensor([0.0, 1.0]), tensor([NAN, NAN]))).tolist() == [0.0, 0.0]
    assert host(metrics.accuracy(tensor([NAN]), tensor([NAN]))).tolist() == [0.0]


@pytest.mark.parametrize("name", ["accuracy", "binary_accuracy", "categorical_accuracy", "top_k_categorical_accuracy"])
def test_shapes_that_differ_are_refused(tensor: Make, name: str) -> None:
    with pytest.raises(ShapeError, match=r"\(4, 3\)"):
        getattr(metrics, name)(tensor(np.zeros((4, 3), "float32")), tensor(np.zeros((4, 4), "float32")))


def test_half_precision_scores_give_float32_values(backend: Backend, tensor: Make) -> None:
    y_pred = backend.cast(tensor([[0.1, 0.9], [0.8, 0.2]]), "float16")
    values = metrics.sparse_categorical_accuracy(tensor([1, 1]), y_pred)
    assert backend.dtype(values) == "float32"
    assert float(metrics.SparseCategoricalAccuracy()(tensor([1, 1]), y_pred)) == 0.5


def test_hinge_labels_have_the_same_accuracy_in_both_spellings(tensor: Make) -> None:
    rng = np.random.default_rng(0)
    signs, margins = rng.choice([-1.0, 1.0], 50).astype("float32"), rng.normal(size=50).astype("float32")
    metric = metrics.BinaryAccuracy(threshold=0.0)
    by_sign = float(metric(tensor(signs), tensor(margins)))
    metric.reset_state()
    assert by_sign == float(metric(tensor((signs + 1) / 2), tensor(margins)))
    assert by_sign == pytest.approx(float(((margins > 0) == (signs > 0)).mean()))


def test_every_loss_function_of_targets_and_predictions_is_a_metric_function() -> None:
    functions = [name for name in losses.__all__ if (spec := spec_of(getattr(losses, name))) and not spec.required]
    assert len(functions) > 30
    other_sign = {"cosine", "cosine_proximity", "cosine_similarity"}
    for name in set(functions) - other_sign:
        assert getattr(metrics, name) is getattr(losses, name)
    assert other_sign <= set(metrics.__all__)
