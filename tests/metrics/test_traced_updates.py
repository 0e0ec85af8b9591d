"""`update_state` inside a function that is traced: refused where the state would end with the trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from multiloss import backend as K
from multiloss import metrics
from multiloss._errors import NotSupportedError
from multiloss.interface import Backend
from tests.metrics.batches import CLASSES, batch_for, make

Make = Callable[..., Any]


class LargestError(metrics.Metric):
    """In Keras' style: variables, and a metric held as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = metrics.Mean()
        self.largest = self.add_weight(name="largest")

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        error = K.abs(y_true - y_pred)
        self.largest.assign(K.maximum(self.largest.value, K.max(error)))
        self.mean.update_state(error)

    def result(self) -> Any:
        return self.largest.value + self.mean.result()


def made(name: str) -> metrics.Metric:
    return LargestError() if name == "LargestError" else make(name)


def states(metric: metrics.Metric) -> list[Any]:
    return [metric.state, *(each.state for each in metric._nested())]


@pytest.mark.backends("jax")
@pytest.mark.parametrize("name", [*CLASSES, "LargestError"])
def test_an_update_inside_jit_points_to_the_pure_functions(backend: Backend, tensors: Make, name: str) -> None:
    import jax

    metric, batch = made(name), tensors(*batch_for(name, 4))
    for held in (False, True):
        if held:
            metric.update_state(*batch)
        before = states(metric)
        with pytest.raises(NotSupportedError, match=r"metric\.update\(state, y_true, y_pred\)"):
            jax.jit(lambda *batch: metric.update_state(*batch))(*batch)
        assert all(one is other for one, other in zip(states(metric), before, strict=True))
    expected = made(name)(*batch)
    assert float(metric.result()) == float(expected)


@pytest.mark.backends("jax")
def test_constants_inside_jit_are_traced_too(backend: Backend, tensor: Make) -> None:
    import jax

    metric, values = metrics.Mean(), tensor([1.0, 2.0])

    def step(x: Any) -> Any:
        metric.update_state(values)
        return x

    with pytest.raises(NotSupportedError, match="traced"):
        jax.jit(step)(values)
    assert metric.state is None


@pytest.mark.backends("jax")
def test_an_update_inside_scan_is_refused(backend: Backend, tensor: Make) -> None:
    import jax

    metric = metrics.Mean()
    with pytest.raises(NotSupportedError, match="traced"):
        jax.lax.scan(lambda carry, x: (carry, metric(x)), 0.0, tensor([1.0, 2.0]))


@pytest.mark.backends("jax")
def test_an_update_beside_a_gradient_is_no_trace(backend: Backend, tensor: Make) -> None:
    import jax

    metric = metrics.Mean()

    def objective(x: Any) -> Any:
        metric.update_state(x)
        return K.sum(x * x)

    jax.grad(objective)(tensor([1.0, 2.0]))
    assert float(metric.result()) == 1.5


@pytest.mark.backends("torch")
@pytest.mark.parametrize("name", ["Mean", "AUC", "MeanSquaredError", "LargestError"])
def test_an_update_inside_torch_func_is_refused(backend: Backend, tensors: Make, name: str) -> None:
    import torch

    metric, batch = made(name), tensors(*batch_for(name, 4))

    def step(*batch: Any) -> Any:
        metric.update_state(*batch)
        return K.sum(batch[-1])

    for transformed in (torch.func.vmap(step), torch.func.grad(step, argnums=len(batch) - 1)):
        with pytest.raises(NotSupportedError, match=r"torch\.func"):
            transformed(*batch)
        assert states(metric) == states(made(name))


@pytest.mark.backends("torch")
@pytest.mark.parametrize("name", ["Mean", "AUC", "MeanSquaredError", "LargestError"])
def test_a_compiled_graph_keeps_what_it_assigns(backend: Backend, tensors: Make, name: str) -> None:
    """`torch.compile` replays assignments to objects after the graph has run, so an update is as good as outside."""
    import torch

    torch._dynamo.reset()
    metric, expected, batch = made(name), made(name), tensors(*batch_for(name, 4))

    @torch.compile(backend="eager")
    def step(*batch: Any) -> Any:
        metric.update_state(*batch)
        return batch[-1] * 2

    for _ in range(3):
        step(*batch)
        expected.update_state(*batch)
    assert float(metric.result()) == pytest.approx(float(expected.result()), rel=1e-6)


@pytest.mark.backends("torch", "jax")
def test_the_pure_update_of_a_metric_in_keras_style_is_traced(backend: Backend, tensors: Make) -> None:
    metric, batch = LargestError(), tensors(*batch_for("MeanSquaredError", 4))

    def evaluate(y_true: Any, y_pred: Any) -> Any:
        return metric.compute(metric.update(metric.init(y_pred), y_true, y_pred))

    if backend.name == "torch":
        import torch

        evaluate = torch.compile(evaluate, backend="eager")
    else:
        import jax

        evaluate = jax.jit(evaluate)
    assert float(evaluate(*batch)) == pytest.approx(float(LargestError()(*batch)))
    assert states(metric) == states(LargestError())
