"""Batches that wait to be taken in together: nobody can tell."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import metrics
from multiloss._errors import ArgumentError, LabelError, MixedBackendsError
from multiloss._registry import load_backend
from multiloss.interface import Backend
from tests.conftest import BACKENDS, make_tensor
from tests.metrics.batches import CLASSES, batch_for, make

Make = Callable[..., Any]
MOST = ["BinaryAccuracy", "SparseCategoricalAccuracy", "AUC", "F1Score", "Precision", "MeanSquaredError", "Mean", "Sum"]


def value_of(metric: metrics.Metric, backend: Backend) -> Any:
    return backend.to_numpy(metric.result())


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize("name", MOST)
def test_small_batches_on_the_host_wait_after_the_first(tensors: Make, name: str) -> None:
    metric = make(name)
    for seed in range(3):
        metric.update_state(*tensors(*batch_for(name, 6, seed)))
    assert metric._waiting == 2
    assert metric.state is not None
    assert metric._waiting == 0


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("count", [3, 67])
def test_the_value_is_that_of_one_update_after_the_other(
    backend: Backend, tensors: Make, name: str, count: int
) -> None:
    metric, pure = make(name), make(name)
    state = None
    for seed in range(count if backend.name != "jax" else 3):
        batch = tensors(*batch_for(name, 6, seed))
        metric.update_state(*batch)
        state = pure.update(pure.init(batch[-1]) if state is None else state, *batch)
    expected = backend.to_numpy(pure.compute(state))
    np.testing.assert_allclose(value_of(metric, backend), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.backends("numpy", "torch")
def test_a_batch_that_is_written_to_after_its_update_counts_as_it_was(tensor: Make) -> None:
    metric, y_pred = metrics.MeanSquaredError(), tensor([[1.0], [1.0]]) * 1.0  # for a NumPy array may be read-only
    y_true = tensor([[0.0], [0.0]])
    for _ in range(2):
        metric.update_state(y_true, y_pred)
    y_pred[:] = 9.0
    assert float(metric.result()) == 1.0


def test_a_label_out_of_range_is_reported_at_once_and_leaves_nothing(tensor: Make) -> None:
    metric, y_pred = metrics.SparseCategoricalAccuracy(), tensor([[0.1, 0.9], [0.8, 0.2]])
    for _ in range(2):
        metric.update_state(tensor([1, 0]), y_pred)
    for bad in ([1, 2], [-1, 0]):
        with pytest.raises(LabelError, match="y_true"):
            metric.update_state(tensor(bad), y_pred)
    metric.update_state(tensor([0, 1]), y_pred)
    assert float(metric.result()) == pytest.approx(4 / 6)


@pytest.mark.parametrize("name", ["AUC", "F1Score", "Precision"])
def test_labels_and_scores_without_a_meaning_are_reported_at_once(tensors: Make, name: str) -> None:
    metric, (y_true, y_pred) = make(name), batch_for(name, 6)
    for _ in range(2):
        metric.update_state(*tensors(y_true, y_pred))
    expected = float(metric.result())
    metric.update_state(*tensors(y_true, y_pred))
    with pytest.raises(LabelError, match=r"Expected labels that are all 0 or 1"):
        metric.update_state(*tensors(y_true + 2, y_pred))
    with pytest.raises(ArgumentError, match="y_pred"):
        metric.update_state(*tensors(y_true, y_pred * np.float32("nan")))
    assert float(metric.result()) == pytest.approx(expected)


def test_batches_with_labels_of_minus_1_and_others_of_0_stay_apart(tensor: Make) -> None:
    scores = tensor([0.9, 0.2])
    for metric in (metrics.BinaryAccuracy(), metrics.AUC(), metrics.Precision()):
        for labels in ([1.0, 0.0], [1.0, -1.0]) * 3:
            metric.update_state(tensor(labels), scores)
        assert float(metric.result()) == pytest.approx(1.0)


def test_a_parameter_that_changes_acts_on_later_batches_alone(tensor: Make) -> None:
    metric, batch = metrics.BinaryAccuracy(), (tensor([1.0, 0.0]), tensor([0.6, 0.55]))
    for _ in range(3):
        metric.update_state(*batch)
    metric.threshold = 0.58
    for _ in range(3):
        metric.update_state(*batch)
    assert float(metric.result()) == 0.75


def test_other_shapes_dtypes_and_weights_come_in_between(tensor: Make) -> None:
    metric = metrics.MeanAbsoluteError()
    for _ in range(20):
        metric.update_state(tensor([[0.0], [0.0]]), tensor([[1.0], [3.0]]))
        metric.update_state(tensor([0.0]), tensor([4.0]))
        metric.update_state([[0], [0]], tensor([[1.0], [3.0]]))
        metric.update_state(tensor([[0.0]]), tensor([[9.0]]), sample_weight=0.0)
        metric.update_state(tensor([[0.0]]), tensor([[2.0]]), tensor([2.0]))
    assert float(metric.result()) == pytest.approx((4 + 4 + 4 + 4) / 7)


def test_batches_that_wait_are_copied_and_pickled_too(tensor: Make) -> None:
    metric = metrics.Mean()
    for value in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]):
        metric.update_state(tensor(value))
        twins = [copy.copy(metric), copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))]
        metric.update_state(tensor(value))
    for twin in twins:
        for _ in range(2):
            twin.update_state(tensor([0.0, 0.0]))
        assert float(twin.result()) == pytest.approx(31 / 14)
    assert float(metric.result()) == 3.5


@pytest.mark.parametrize("reset", ["reset_state", "assigned"])
def test_resetting_forgets_those_that_wait(tensor: Make, reset: str) -> None:
    metric = metrics.Sum()
    for _ in range(3):
        metric.update_state(tensor([1.0]))
    if reset == "assigned":
        metric.state = None
    else:
        metric.reset_state()
    metric.update_state(tensor([5.0]))
    assert float(metric.result()) == 5.0


def test_many_small_numbers_keep_their_digits(tensor: Make) -> None:
    mean, error = metrics.Mean(), metrics.MeanAbsoluteError()
    value, zero, one = tensor(0.1), tensor([[0.0]]), tensor([[0.1]])
    for _ in range(2000):
        mean.update_state(value)
        error.update_state(zero, one)
    for metric in (mean, error):
        assert float(metric.result()) == float(np.float32(0.1))


def test_numbers_of_the_host_are_taken_as_they_come(backend: Backend) -> None:
    mean = metrics.Mean()
    for value in (1.0, np.float32(2.0), np.float32(3.0), [4.0], 5, np.float64(6.0), np.float32(7.0)):
        mean.update_state(value)
    assert float(mean.result()) == 4.0


@pytest.mark.backends("torch")
def test_a_value_asked_for_inside_torch_func_leaves_the_state_whole(backend: Backend, tensor: Make) -> None:
    import torch

    metric = metrics.MeanSquaredError()
    for value in (1.0, 3.0):
        metric.update_state(tensor([[0.0]]), tensor([[value]]))
    torch.func.vmap(lambda x: x + metric.result())(tensor([1.0, 2.0]))
    metric.update_state(tensor([[0.0]]), tensor([[5.0]]))
    assert float(metric.result()) == pytest.approx(35 / 3)


@pytest.mark.backends("torch")
def test_predictions_with_a_gradient_and_on_strides_wait_too(tensor: Make) -> None:
    import torch

    metric = metrics.MeanSquaredError()
    y_true = torch.zeros(2, 4).T
    for value in (1.0, 1.0, 4.0):
        metric.update_state(y_true, torch.full((2, 4), value, requires_grad=True).T)
    assert metric._waiting == 2
    assert float(metric.result()) == 6.0


@pytest.mark.backends("torch")
def test_tensors_that_are_negated_when_they_are_read_wait_as_what_they_stand_for(tensor: Make) -> None:
    import torch

    metric, y_true = metrics.MeanSquaredError(), torch.zeros(2, 1)
    for value in (1.0, 1.0, 4.0):
        negated = torch._neg_view(torch.full((2, 1), value))
        assert negated.is_neg()
        metric.update_state(y_true + 1.0, negated)
    assert metric._waiting == 2
    assert float(metric.result()) == 11.0


@pytest.mark.backends("torch")
def test_batches_after_a_compiled_update_wait_for_none(tensor: Make) -> None:
    import torch

    torch._dynamo.reset()
    metric, batch = metrics.MeanSquaredError(), (tensor([[0.0]]), tensor([[2.0]]))

    @torch.compile(backend="eager")
    def step(y_true: Any, y_pred: Any) -> Any:
        metric.update_state(y_true, y_pred)
        return y_pred * 2

    for _ in range(3):
        metric.update_state(*batch)
        step(tensor([[0.0]]), tensor([[4.0]]))
    assert float(metric.result()) == 10.0


if {"torch", "numpy"} <= set(BACKENDS):

    def test_a_batch_of_another_framework_is_refused_while_others_wait() -> None:
        metric = metrics.MeanSquaredError()
        ours, theirs = (make_tensor(load_backend(name), [[1.0]]) for name in ("numpy", "torch"))
        for _ in range(3):
            metric.update_state(ours, ours)
        with pytest.raises(MixedBackendsError, match=r"accumulated numpy batches.*reset_state\(\)"):
            metric.update_state(theirs, theirs)
        metric.update_state(ours, ours)
        assert int(metric.state.count) == 4


@pytest.mark.backends("numpy", "torch")
def test_no_batch_waits_while_the_value_is_asked_for_after_each(tensor: Make) -> None:
    metric, batch = metrics.MeanSquaredError(), (tensor([[0.0]]), tensor([[2.0]]))
    waited = 0
    for _ in range(40):
        metric.update_state(*batch)
        waited += metric._waiting
        assert float(metric.result()) == 4.0
    assert 0 < waited < 5
    for _ in range(40):
        metric.update_state(*batch)
    assert metric._waiting > 20
    assert int(metric.state.count) == 80


@pytest.mark.backends("numpy", "torch")
def test_nothing_is_copied_behind_the_last_place(backend: Backend, tensor: Make) -> None:
    batch = [tensor(np.ones((4, 2), np.float32))]
    copies = backend.host_copies(batch, 3)
    assert copies is not None
    assert [copies.put(at, batch) for at in (2, 3, 1 << 20, -1)] == [True, False, False, False]
