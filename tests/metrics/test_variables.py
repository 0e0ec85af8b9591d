"""Metrics in Keras' style: variables, `update_state` and `result`; and the stateless verbs of every metric."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import backend as K
from multiloss import metrics
from multiloss._errors import ArgumentError, NotSupportedError, ShapeError
from multiloss.interface import Backend
from tests.metrics.batches import CLASSES, batch_for, make

Make = Callable[..., Any]


class BinaryTruePositives(metrics.Metric):
    """The example of Keras' documentation."""

    def __init__(self, name: str = "binary_true_positives", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.true_positives = self.add_weight(shape=(), initializer="zeros", name="true_positives")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        values = K.cast((y_true == 1) & (y_pred > 0.5), "float32")
        if sample_weight is not None:
            values = values * K.cast(sample_weight, "float32")
        self.true_positives.assign(self.true_positives + K.sum(values))

    def result(self) -> Any:
        return self.true_positives.value


class Spread(metrics.Metric):
    """Several variables, of several shapes and dtypes, calculated with."""

    def __init__(self, columns: int = 2) -> None:
        super().__init__()
        self.total = self.add_variable((columns,), "zeros", name="total")
        self.squares = self.add_variable((columns,), "zeros", name="squares")
        self.count = self.add_weight(initializer="ones", dtype="int32", name="count")

    def update_state(self, values: Any) -> None:
        self.total.assign_add(K.sum(values, 0))
        self.squares.assign_add(K.sum(K.square(values), 0))
        self.count.assign_add(values.shape[0])

    def result(self) -> Any:
        count = K.cast(self.count.value - 1, "float32")
        return K.max(self.squares / count - (self.total / count) ** 2)


class Balance(metrics.Metric):
    """Two metrics held as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.precision, self.recall = metrics.Precision(), metrics.Recall()
        self.batches = self.add_weight(name="batches")

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        self.precision.update_state(y_true, y_pred)
        self.recall.update_state(y_true, y_pred)
        self.batches.assign_add(1)

    def result(self) -> Any:
        return self.precision.result() - self.recall.result() + 10 * self.batches


def test_the_example_of_keras(backend: Backend, tensor: Make) -> None:
    metric = BinaryTruePositives()
    metric.update_state(tensor([0, 1, 1, 1]), tensor([0.9, 0.2, 0.8, 0.7]))
    assert isinstance(metric.result(), backend.tensor_types)
    assert float(metric.result()) == 2.0
    assert float(metric(tensor([1, 1]), tensor([0.9, 0.9]), sample_weight=tensor([0.5, 2]))) == 4.5
    metric.reset_state()
    assert float(metric.result()) == 0.0
    assert metric.get_config() == {"name": "binary_true_positives"}


def test_host_data_arrives_as_tensors_and_states_join_the_batch(backend: Backend, tensor: Make) -> None:
    metric = BinaryTruePositives()
    metric.true_positives.assign(1.0)  # before anything is known of the batches
    metric.update_state([0, 1], np.array([0.9, 0.9], "float32"))
    metric.update_state(tensor([1]), tensor([0.9]))
    assert isinstance(metric.result(), backend.tensor_types)
    assert float(metric.result()) == 3.0


def test_a_batch_decides_where_the_state_is_whatever_is_active(backend: Backend, tensor: Make) -> None:
    from multiloss import use_backend

    metric = BinaryTruePositives()
    with use_backend("numpy"):
        metric.true_positives.assign(0)
        metric.update_state(tensor([1, 1]), tensor([0.9, 0.1]))
    assert isinstance(metric.state[0], backend.tensor_types)
    assert float(metric.result()) == 1.0


def test_variables_keep_their_shapes_and_dtypes(backend: Backend, tensor: Make) -> None:
    metric = Spread()
    metric.update_state(tensor([[1.0, 2.0], [3.0, 2.0]]))
    assert [each.name for each in metric.variables] == ["total", "squares", "count"]
    assert [each.shape for each in metric.variables] == [(2,), (2,), ()]
    assert [each.dtype for each in metric.variables] == ["float32", "float32", "int32"]
    assert metric.total.numpy().tolist() == np.asarray(metric.total).tolist() == [4.0, 4.0]
    assert int(metric.count) == 3
    assert float(metric.result()) == 1.0
    with pytest.raises(ShapeError, match=r"'total' has shape \(2,\)"):
        metric.total.assign(1.0)


def test_variables_are_calculated_and_compared_with(tensor: Make, host: Make) -> None:
    metric = Spread(1)
    metric.total.assign(tensor([3.0]))
    total = metric.total
    for value, expected in (
        (total + 1, 4),
        (1 + total, 4),
        (total - 1, 2),
        (1 - total, -2),
        (total * 2, 6),
        (6 / total, 2),
        (total / 2, 1.5),
        (total**2, 9),
        (-total, -3),
        (total[:1], 3),
        (total + total, 6),
        (total > 2, True),
        (total <= 2, False),
        (total == 3, True),
    ):
        assert host(value).item() == expected
    total.assign_sub(1)
    assert host(total.value).tolist() == [2.0]


@pytest.mark.backends("numpy", "torch")  # JAX takes no foreign objects
def test_functions_of_the_framework_take_variables(xp: Any, tensor: Make, host: Make) -> None:
    metric = Spread()
    metric.total.assign(tensor([4.0, 9.0]))
    assert host(xp.sqrt(metric.total)).tolist() == [2.0, 3.0]
    assert bool(Spread().count)


def test_states_of_metrics_with_variables_merge(tensor: Make) -> None:
    batches = [np.random.default_rng(seed).normal(size=(4, 2)).astype("float32") for seed in range(3)]
    whole, parts = Spread(), [Spread() for _ in batches]
    for part, batch in zip(parts, batches, strict=True):
        part.update_state(tensor(batch))
        whole.update_state(tensor(batch))
    first = parts[0]
    first.merge_state(parts[1:])
    assert int(first.count) == int(whole.count) == 13  # the initial 1 counts once
    assert float(first.result()) == pytest.approx(float(whole.result()), rel=1e-5)
    state = whole.init(tensor(batches[0]))
    for batch in batches:
        state = whole.merge(state, whole.update(whole.init(tensor(batch)), tensor(batch)))
    assert float(whole.compute(state)) == pytest.approx(float(whole.result()), rel=1e-5)


def test_metrics_held_as_attributes_are_part_of_the_state(tensor: Make) -> None:
    y_true, y_pred = tensor([0, 1, 1, 1]), tensor([0.9, 0.9, 0.1, 0.2])
    metric = Balance()
    expected = 1 / 2 - 1 / 3 + 10
    assert float(metric(y_true, y_pred)) == pytest.approx(expected)
    pure = Balance()
    state = pure.update(pure.init(y_pred), y_true, y_pred)
    assert float(pure.compute(state)) == pytest.approx(expected)
    assert pure.state is pure.precision.state is None
    values = pure.stateless_update_state(pure.stateless_reset_state(), y_true, y_pred)
    assert float(pure.stateless_result(values)) == pytest.approx(expected)
    assert len(values) == len(metric.variables) == 1 + 2 * 7
    other = Balance()
    other.update_state(y_true, y_pred)
    metric.merge_state(other)
    assert float(metric.result()) == pytest.approx(expected + 10)
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_metrics_with_variables_are_traced(compiled: Make, tensor: Make) -> None:
    metric = BinaryTruePositives()

    def evaluate(y_true: Any, y_pred: Any, weight: Any) -> Any:
        state = metric.update(metric.init(y_pred), y_true, y_pred, weight)
        return metric.stateless_result(metric.stateless_update_state(state[0], y_true, y_pred))

    batch = tensor([0, 1, 1]), tensor([0.9, 0.9, 0.8]), tensor([1.0, 2.0, 3.0])
    assert float(compiled(evaluate)(*batch)) == 7.0
    assert metric.state is None


@pytest.mark.backends("jax")
def test_metrics_with_variables_are_scanned(backend: Backend, tensor: Make) -> None:
    import jax

    metric = Spread()
    batches = tensor(np.random.default_rng(0).normal(size=(5, 4, 2)).astype("float32"))

    def step(state: Any, batch: Any) -> tuple[Any, None]:
        return metric.update(state, batch), None

    state, _ = jax.lax.scan(step, metric.init(batches[0]), batches)
    expected = Spread()(batches.reshape(20, 2))
    assert float(metric.compute(state)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("metric", [metrics.AUC(num_thresholds=None), metrics.PearsonCorrelation()])
def test_the_stateless_verbs_take_states_that_change_their_structure(tensors: Make, metric: Any) -> None:
    batches = [tensors(*batch_for("AUC", 6, seed)) for seed in range(3)]
    values, other = metric.stateless_reset_state(), copy.deepcopy(metric)
    for batch in batches:
        values = metric.stateless_update_state(values, *batch)
        other.update_state(*batch)
    assert float(metric.stateless_result(values)) == pytest.approx(float(other.result()))


@pytest.mark.parametrize("name", CLASSES)
def test_the_stateless_verbs_of_every_metric_are_its_pure_functions(tensors: Make, name: str) -> None:
    metric, batch = make(name), tensors(*batch_for(name, 6))
    values = metric.stateless_reset_state()
    assert len(values) == len(metric.variables)
    for _ in range(2):
        values = metric.stateless_update_state(values, *batch)
    assert metric.state is None
    metric.update_state(*batch)
    metric.update_state(*batch)
    expected = pytest.approx(float(metric.result()), rel=1e-6)
    assert float(metric.stateless_result(values)) == expected
    with pytest.raises(ArgumentError, match=f"Expected {len(values)}"):
        metric.stateless_result(values[1:])
    other = make(name)
    other.update_state(*batch)
    for variable, value in zip(other.variables, values, strict=True):
        variable.assign(value)
    assert float(other.result()) == expected
    assert float(other.stateless_result(other.variables)) == expected


def test_metrics_with_variables_are_copied_and_pickled(tensor: Make) -> None:
    metric = BinaryTruePositives()
    metric.update_state(tensor([1]), tensor([0.9]))
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        twin.update_state(tensor([1]), tensor([0.9]))
        assert float(twin.result()) == 2.0
    assert float(metric.result()) == 1.0


def test_initial_values_and_aggregations(tensor: Make) -> None:
    class Custom(metrics.Metric):
        def __init__(self) -> None:  # without super().__init__()
            self.table = self.add_variable((2,), lambda shape, dtype: np.full(shape, 7.0, dtype))
            self.first = self.add_variable((), None, aggregation="only_first_replica")

        def update_state(self, value: Any) -> None:
            self.table.assign_add(value)
            self.first.assign(value[0])

        def result(self) -> Any:
            return K.sum(self.table.value) + self.first

    metric = Custom()
    assert metric.table.numpy().tolist() == [7.0, 7.0]
    one = metric.update(metric.init(), tensor([1.0, 2.0]))
    two = metric.update(metric.init(), tensor([5.0, 0.0]))
    assert float(metric.compute(metric.merge(one, two))) == 14 + 8 + 1

    class Mean(metrics.Metric):
        def __init__(self) -> None:
            super().__init__()
            self.total = self.add_variable((), "zeros", aggregation="mean", name="total")

        def update_state(self, value: Any) -> None:
            self.total.assign(value)

    with pytest.raises(NotSupportedError, match="'total' has aggregation 'mean'"):
        Mean().merge_state([Mean()])
    with pytest.raises(NotSupportedError, match="compute"):
        Mean().result()


def test_what_cannot_be_declared_is_refused() -> None:
    metric = metrics.Metric()
    with pytest.raises(ArgumentError, match="initializer"):
        metric.add_weight(initializer="glorot")
    with pytest.raises(ArgumentError, match="aggregation"):
        metric.add_variable((), "zeros", aggregation="max")
    with pytest.raises(NotSupportedError, match="Subclass Metric"):
        metrics.Mean().add_weight()
