"""Averages and sums: values, weights, masks, counts, precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import backend as K
from multiloss import losses, metrics
from multiloss._errors import ArgumentError, DTypeError, ShapeError, UnknownNameError
from multiloss.interface import Backend

Make = Callable[..., Any]


def test_the_mean_is_over_all_values_of_all_batches(backend: Backend, tensor: Make) -> None:
    mean = metrics.Mean()
    for batch in ([1, 3, 5, 7], [1, 3, 5, 7], [1, 1, 1, 1], [2, 2]):
        value = mean(tensor(batch))
    assert float(value) == pytest.approx(40 / 14, abs=1e-6)
    assert isinstance(value, backend.tensor_types)


def test_the_sum_is_over_all_values_of_all_batches(tensor: Make) -> None:
    total = metrics.Sum()
    total.update_state(tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert float(total(tensor(5.0))) == 15.0


@pytest.mark.parametrize("metric", [metrics.Mean(), metrics.Sum(), metrics.MeanSquaredError(), metrics.AUC()])
def test_the_result_before_any_batch_is_zero(backend: Backend, metric: metrics.Metric) -> None:
    result = metric.result()
    assert isinstance(result, backend.tensor_types)
    assert float(result) == 0.0


def test_weights_of_rows_weigh_whole_rows(tensor: Make) -> None:
    values, weights = tensor([[1.0, 3.0], [5.0, 7.0]]), tensor([1.0, 3.0])
    assert float(metrics.Mean()(values, weights)) == (1 * 2 + 3 * 6) / 4
    assert float(metrics.Sum()(values, weights)) == 1 * 4 + 3 * 12


def test_weights_that_are_all_zero_make_a_mean_of_zero(tensor: Make) -> None:
    assert float(metrics.Mean()(tensor([1.0, 2.0]), tensor([0.0, 0.0]))) == 0.0


def test_a_batch_without_weights_and_one_with_weights_add_up(tensor: Make) -> None:
    mean = metrics.Mean()
    mean.update_state(tensor([1.0, 2.0]))
    mean.update_state(tensor([4.0, 8.0]), tensor([0.5, 0.25]))
    assert float(mean.result()) == pytest.approx((1 + 2 + 2 + 2) / 2.75)


def test_an_empty_batch_changes_nothing(tensor: Make) -> None:
    mean = metrics.Mean()
    mean.update_state(tensor([2.0]))
    mean.update_state(tensor(np.zeros((0, 3), "float32")))
    assert float(mean.result()) == 2.0


def test_what_is_masked_or_of_weight_zero_may_be_anything(tensor: Make) -> None:
    values = tensor([1.0, float("nan"), 3.0, float("inf")])
    assert float(metrics.Mean()(values, mask=tensor([True, False, True, False]))) == 2.0
    assert float(metrics.Mean()(values, tensor([1.0, 0.0, 1.0, 0.0]))) == 2.0
    assert float(metrics.Sum()(values, mask=tensor([True, False, True, False]))) == 4.0


def test_values_that_are_infinite_or_nan_are_not_hidden(tensor: Make) -> None:
    assert float(metrics.Mean()(tensor([1.0, float("inf")]))) == float("inf")
    assert np.isnan(float(metrics.Mean()(tensor([1.0, float("nan")]))))
    total = metrics.Sum()
    total.update_state(tensor(float("inf")))
    assert float(total(tensor(1.0))) == float("inf")


def test_integers_and_booleans_are_averaged_as_numbers(tensor: Make) -> None:
    assert float(metrics.Mean()(tensor([1, 2]))) == 1.5
    assert float(metrics.Mean()(tensor([True, False]))) == 0.5
    assert float(metrics.Mean()(3)) == 3.0


def test_weights_that_do_not_align_are_refused(tensor: Make) -> None:
    with pytest.raises(ShapeError, match="leading axes"):
        metrics.Mean().update_state(tensor([[1.0, 2.0]]), tensor([1.0, 2.0]))


def test_counts_go_on_beyond_what_a_float_counts(tensor: Make) -> None:
    mean = metrics.Mean()
    state = mean.init(tensor(1.0))._replace(count=tensor(2**24, "int64"))
    for _ in range(3):
        state = mean.update(state, tensor(1.0))
    assert int(state.count) == 2**24 + 3


def test_totals_keep_what_a_float_would_round_away(tensor: Make) -> None:
    total = metrics.Sum()
    total.update_state(tensor(2.0**24))
    for _ in range(10):
        total.update_state(tensor(1.0))
    assert float(total.result()) == 2**24 + 10
    assert total.result().dtype == tensor(1.0).dtype


def test_a_million_batches_of_a_tenth_average_to_a_tenth(backend: Backend, tensor: Make) -> None:
    mean = metrics.Mean()
    state = mean.init(tensor(0.1))
    if backend.name == "jax":
        import jax

        batches = tensor(np.full(1_000_000, 0.1, "float32"))
        state, _ = jax.lax.scan(lambda state, value: (mean.update(state, value), None), state, batches)
    else:  # a thousand batches, each state then doubled with itself: 2^10 thousands
        for _ in range(1000):
            state = mean.update(state, tensor(0.1))
        for _ in range(10):
            state = mean.merge(state, state)
    assert int(state.count) >= 1_000_000
    assert float(mean.compute(state)) == pytest.approx(0.1, abs=1e-7)


def test_float64_values_give_a_float64_result(float64: None, backend: Backend, tensor: Make) -> None:
    mean = metrics.Mean()
    result = mean(tensor([0.1, 0.2], "float64"))
    assert backend.dtype(result) == "float64"
    assert float(result) == pytest.approx(0.15, abs=1e-16)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_accumulated_in_float32(backend: Backend, tensor: Make, dtype: str) -> None:
    result = metrics.Mean()(backend.cast(tensor([1.0, 2.0]), dtype))
    assert backend.dtype(result) == "float32"
    assert float(result) == 1.5


def test_dtype_is_that_of_the_result(backend: Backend, tensor: Make) -> None:
    assert backend.dtype(metrics.Mean(dtype="float16")(tensor([1.0]))) == "float16"
    assert backend.dtype(metrics.MeanSquaredError(dtype="float16")(tensor([[1.0]]), tensor([[2.0]]))) == "float16"


@pytest.mark.backends("numpy", "torch")
def test_float64_results_are_computed_in_float64(backend: Backend, tensor: Make) -> None:
    metric = metrics.MeanSquaredError(dtype="float64")
    assert float(metric(tensor([[0.0]]), tensor([[0.1]]))) == pytest.approx(float(np.float32(0.1)) ** 2, abs=1e-17)


@pytest.mark.backends("jax")
def test_float64_without_x64_is_refused(backend: Backend, tensor: Make) -> None:
    with pytest.raises(DTypeError, match="x64"):
        metrics.Mean(dtype="float64").update_state(tensor([1.0]))


# ── MeanMetricWrapper ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_loss_function_and_its_parameters_are_averaged(tensor: Make) -> None:
    metric = metrics.MeanMetricWrapper(losses.huber, delta=2.0)
    metric.update_state(tensor([[0.0]]), tensor([[1.0]]))
    metric.update_state(tensor([[0.0]]), tensor([[4.0]]))
    assert float(metric.result()) == (0.5 + 6.0) / 2
    assert metric.name == "mean_metric_wrapper"


def test_a_parameter_of_a_metric_can_be_changed(tensor: Make) -> None:
    metric = metrics.BinaryAccuracy()
    metric.threshold = 0.8
    assert float(metric(tensor([1.0]), tensor([0.7]))) == 0.0


def test_a_loss_instance_is_averaged_over_samples_whatever_its_reduction(tensor: Make) -> None:
    y_true, y_pred = tensor([[0.0], [0.0], [0.0]]), tensor([[1.0], [2.0], [3.0]])
    for reduction in ("sum", "none", "sum_over_batch_size"):
        metric = metrics.MeanMetricWrapper(losses.MeanSquaredError(reduction=reduction))
        assert float(metric(y_true, y_pred)) == pytest.approx(14 / 3)


def test_a_function_of_ones_own_is_averaged(tensor: Make) -> None:
    def fourth_power(y_true: Any, y_pred: Any) -> Any:
        return K.mean(K.square(K.square(y_pred - y_true)), axis=-1)

    metric = metrics.MeanMetricWrapper(fourth_power, name="fourth_power")
    y_true, y_pred = tensor([[0.0, 0.0], [0.0, 0.0]]), tensor([[1.0, 2.0], [0.0, float("nan")]])
    assert float(metric(y_true, y_pred, mask=tensor([True, False]))) == 8.5


def test_one_number_for_a_batch_counts_as_often_as_the_batch_has_rows(tensor: Make) -> None:
    metric = metrics.MeanMetricWrapper(lambda y_true, y_pred: K.mean(y_pred))
    metric.update_state(tensor([[0.0], [0.0], [0.0]]), tensor([[1.0], [2.0], [3.0]]))
    metric.update_state(tensor([[0.0]]), tensor([[6.0]]))
    assert float(metric.result()) == 3.0
    with pytest.raises(ArgumentError, match="one value for the whole batch"):
        metric.update_state(tensor([[0.0], [0.0]]), tensor([[1.0], [2.0]]), tensor([1.0, 2.0]))


def test_a_custom_loss_class_is_averaged(tensor: Make) -> None:
    class Cubic(losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return K.mean(K.abs(y_pred - y_true) ** 3, axis=-1)

    metric = metrics.MeanMetricWrapper(Cubic())
    assert float(metric(tensor([[0.0], [0.0]]), tensor([[1.0], [2.0]]), tensor([3.0, 1.0]))) == (3 + 8) / 4


def test_vectors_count_by_their_length(tensor: Make) -> None:
    metric = metrics.MeanSquaredError()
    metric.update_state(tensor([0.0, 0.0, 0.0]), tensor([1.0, 1.0, 1.0]))
    metric.update_state(tensor([0.0]), tensor([3.0]))
    assert float(metric.result()) == (3 + 9) / 4


def test_arguments_that_cannot_act_are_refused() -> None:
    with pytest.raises(ArgumentError, match="parameters of its own"):
        metrics.MeanMetricWrapper(losses.Huber(), delta=2.0)
    with pytest.raises(ArgumentError, match="instance"):
        metrics.MeanMetricWrapper(losses.Huber)
    with pytest.raises(TypeError, match="gamma"):
        metrics.MeanMetricWrapper(losses.huber, gamma=2.0)
    with pytest.raises(UnknownNameError):
        metrics.get("mean_squared_eror")


def test_ignored_labels_do_not_count(tensor: Make) -> None:
    labels = np.array([2, 0, 1, 1])
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.2, 0.6, 0.2], [0.9, 0.05, 0.05]], "float32")
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=-1)
    ignored = np.array([-1, 0, -1, 1])
    expected = metrics.SparseCategoricalCrossentropy()(tensor(labels[1::2]), tensor(scores[1::2]))
    assert float(metric(tensor(ignored), tensor(scores))) == pytest.approx(float(expected))
    assert int(metric.state.count) == 2
