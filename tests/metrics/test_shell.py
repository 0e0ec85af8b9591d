"""The stateful verbs: where the state lives, what it refuses, and how metrics of one's own are written."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
from multiloss import backend as K
from multiloss import losses, metrics, use_backend, value_and_grad
from multiloss._errors import ArgumentError, MixedBackendsError, NotSupportedError
from multiloss._registry import load_backend
from multiloss._tree import leaves
from multiloss.interface import Backend
from tests.conftest import BACKENDS, make_tensor
from tests.metrics.batches import CLASSES, batch_for, make

Make = Callable[..., Any]


@pytest.mark.parametrize("name", CLASSES)
def test_calling_is_updating_and_then_the_result(tensors: Make, name: str) -> None:
    batch = tensors(*batch_for(name, 6))
    called, updated = make(name), make(name)
    updated.update_state(*batch)
    assert float(called(*batch)) == float(updated.result()) == float(updated.result())


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("reset", ["reset_state", "reset_states"])
def test_resetting_forgets_all_batches(tensors: Make, name: str, reset: str) -> None:
    metric = make(name)
    first = float(metric(*tensors(*batch_for(name, 6))))
    metric.update_state(*tensors(*batch_for(name, 6, seed=1)))
    getattr(metric, reset)()
    assert metric.state is None
    assert float(metric(*tensors(*batch_for(name, 6)))) == first


@pytest.mark.parametrize("name", CLASSES)
def test_the_state_and_the_result_are_tensors_of_the_batch(backend: Backend, tensors: Make, name: str) -> None:
    batch = tensors(*batch_for(name, 6))
    with use_backend("numpy"):  # the tensors decide, not the active backend
        metric = make(name)
        if backend.name == "numpy":
            metric.update_state(*batch)
        else:
            metric.update_state(*batch)
            assert isinstance(metric.result(), backend.tensor_types)
            assert all(isinstance(leaf, backend.tensor_types) for leaf in leaves(metric.state))


def test_host_data_goes_to_the_active_backend_and_then_to_the_state(backend: Backend) -> None:
    mean = metrics.Mean()
    mean.update_state([1.0, 2.0])
    assert isinstance(mean.state.total, backend.tensor_types)
    mean.update_state(np.array([3.0], "float32"))
    mean.update_state(6.0)
    assert isinstance(mean.result(), backend.tensor_types)
    assert float(mean.result()) == 3.0


@pytest.mark.backends("torch", "jax")
def test_host_data_joins_the_state_whatever_is_active(backend: Backend, tensor: Make) -> None:
    metric = metrics.MeanSquaredError()
    metric.update_state(tensor([[0.0]]), tensor([[1.0]]))
    with use_backend("numpy"):
        metric.update_state([[0.0]], np.array([[3.0]], "float32"))
    assert isinstance(metric.result(), backend.tensor_types)
    assert float(metric.result()) == 5.0


@pytest.mark.backends("torch", "jax")
def test_a_batch_of_another_framework_is_refused_until_the_state_is_reset(backend: Backend, tensor: Make) -> None:
    mean = metrics.Mean()
    with use_backend("numpy"):
        mean.update_state(np.array([5.0], "float32"))
    with pytest.raises(MixedBackendsError, match=rf"numpy batches.*belongs to {backend.name}.*reset_state\(\)"):
        mean.update_state(tensor([1.0, 2.0]))
    mean.reset_state()
    assert float(mean(tensor([1.0, 2.0]))) == 1.5


if {"torch", "jax"} <= set(BACKENDS):

    def test_torch_and_jax_batches_do_not_mix() -> None:
        metric = metrics.MeanSquaredError()
        torch_batch, jax_batch = (make_tensor(load_backend(name), [[1.0]]) for name in ("torch", "jax"))
        metric.update_state(torch_batch, torch_batch)
        with pytest.raises(MixedBackendsError, match=r"accumulated torch batches.*reset_state\(\)"):
            metric.update_state(jax_batch, jax_batch)
        for fresh_or_not in (metrics.MeanSquaredError(), metric):
            with pytest.raises(MixedBackendsError, match="in one call"):
                fresh_or_not.update_state(torch_batch, jax_batch)


@pytest.mark.parametrize("name", ["MeanSquaredError", "AUC"])
def test_metrics_in_threads_do_not_disturb_each_other(tensor: Make, name: str) -> None:
    def accumulate(seed: int) -> float:
        metric = make(name)
        for part in range(5):
            metric.update_state(*(tensor(x) for x in batch_for(name, 6, seed + part)))
        return float(metric.result())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(accumulate, range(16))) == [accumulate(seed) for seed in range(16)]


@pytest.mark.parametrize("name", CLASSES)
def test_keyword_arguments_are_those_of_update(tensors: Make, name: str) -> None:
    batch = tensors(*batch_for(name, 6))
    names = ("values",) if len(batch) == 1 else ("y_true", "y_pred")
    weights, mask = tensors(np.linspace(0.5, 2, 6).astype("float32"), np.arange(6) != 2)
    by_name, by_position = make(name), make(name)
    by_name.update_state(**dict(zip(names, batch, strict=True)), sample_weight=weights, mask=mask)
    by_position.update_state(*batch, weights, mask)
    assert float(by_name.result()) == float(by_position.result())


@pytest.mark.backends("torch")
def test_the_state_keeps_no_graph(backend: Backend, tensor: Make) -> None:
    y_pred = tensor([[1.0]]).requires_grad_()
    metric = metrics.MeanSquaredError()
    metric.update_state(tensor([[0.0]]), y_pred)
    assert not any(leaf.requires_grad for leaf in leaves(metric.state))


@pytest.mark.backends("numpy", "torch")
def test_a_metric_can_be_updated_while_a_gradient_is_taken(backend: Backend, tensor: Make) -> None:
    metric = metrics.MeanAbsoluteError()
    y_true = tensor([[0.0], [0.0]])

    def objective(y_pred: Any) -> Any:
        metric.update_state(y_true, y_pred)
        return K.mean(losses.mean_squared_error(y_true, y_pred))

    for _ in range(2):
        value_and_grad(objective)(tensor([[1.0], [2.0]]))
    assert isinstance(metric.result(), backend.tensor_types)
    assert float(metric.result()) == 1.5


def test_states_of_other_metrics_are_taken_in(tensors: Make) -> None:
    parts = [make("AUC") for _ in range(3)]
    for seed, part in enumerate(parts):
        part.update_state(*tensors(*batch_for("AUC", 5, seed)))
    whole = make("AUC")
    for seed in range(3):
        whole.update_state(*tensors(*batch_for("AUC", 5, seed)))
    merged = make("AUC")
    merged.merge_state([*parts, make("AUC")])
    assert float(merged.result()) == float(whole.result())
    parts[0].merge_state(parts[1:])
    assert float(parts[0].result()) == float(whole.result())


def test_states_of_other_kinds_of_metrics_are_refused() -> None:
    with pytest.raises(ArgumentError, match="same metric"):
        metrics.Mean().merge_state([metrics.Sum()])
    with pytest.raises(ArgumentError, match="same metric"):
        metrics.AUC().merge_state([metrics.AUC(curve="PR")])


def test_metrics_can_be_copied_and_pickled_with_their_state(tensor: Make) -> None:
    metric = metrics.AUC()
    metric.update_state(tensor([0, 1]), tensor([0.2, 0.1]))
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert float(twin(tensor([0, 1]), tensor([0.3, 0.9]))) == 0.5
    assert float(metric.result()) == 0.0


# ── Metrics of one's own ────────────────────────────────────────────────────────────────────────────────────────


class LargestState(NamedTuple):
    largest: Any


class Largest(metrics.Metric):
    """Written from nothing, without super().__init__()."""

    def init(self, like: Any = None) -> LargestState:
        return LargestState(K.full((), float("-inf"), dtype="float32", like=like))

    def update(self, state: LargestState, values: Any) -> LargestState:
        return LargestState(K.maximum(state.largest, K.max(values)))

    def merge(self, a: LargestState, b: LargestState) -> LargestState:
        return LargestState(K.maximum(a.largest, b.largest))

    def compute(self, state: LargestState) -> Any:
        return state.largest


def test_a_metric_of_ones_own_is_four_pure_functions(backend: Backend, tensor: Make) -> None:
    first, second = Largest(), Largest()
    first.update_state(tensor([1.0, 5.0]))
    second.update_state(tensor([7.0, 2.0]))
    first.merge_state(second)
    assert isinstance(first.result(), backend.tensor_types)
    assert float(first.result()) == 7.0
    assert first.get_config() == {"name": "largest"}


class MeanPrediction(metrics.Mean):
    def __init__(self, scale: float = 1.0, name: str = "mean_pred") -> None:
        self.scale = scale
        super().__init__(name)

    def update(self, state: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        return super().update(state, self.scale * y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self.scale}


def test_a_metric_of_ones_own_can_change_the_update_of_another(tensor: Make) -> None:
    metric = MeanPrediction(scale=2.0)
    metric.update_state(tensor([0, 1]), tensor([0.25, 0.75]))
    assert float(metric.result()) == 1.0
    twin = metrics.deserialize(metrics.serialize(metric), custom_objects={"MeanPrediction": MeanPrediction})
    assert twin.get_config() == metric.get_config() == {"name": "mean_pred", "scale": 2.0}


def test_what_a_metric_of_ones_own_lacks_is_named() -> None:
    class Empty(metrics.Metric):
        pass

    with pytest.raises(NotSupportedError, match=r"Empty has no init"):
        Empty().update_state([1.0])
