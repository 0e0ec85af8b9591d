"""Every metric inside jit, scan, vmap and compile, where it gives what it gives outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import metrics
from multiloss._tree import leaves
from multiloss.interface import Backend
from tests.metrics.batches import CLASSES, TOTALS, batch_for, make

Make = Callable[..., Any]
ROWS = 8


def everything(name: str) -> list[Any]:
    """Return a batch with weights and a mask."""
    return [*batch_for(name, ROWS), np.linspace(0.5, 2, ROWS).astype("float32"), np.arange(ROWS) % 4 != 1]


def close(value: Any, expected: Any) -> None:
    # Compilers add up running sums in another order: AUC takes 200 differences of those in float32.
    assert float(value) == pytest.approx(float(expected), rel=2e-5, abs=1e-6)


@pytest.mark.backends("jax")
@pytest.mark.parametrize("name", CLASSES)
def test_under_jit_scan_and_vmap(backend: Backend, tensors: Make, name: str) -> None:
    import jax

    metric, batch = make(name), tensors(*everything(name))
    like = batch[-3]
    expected = make(name)(*batch)

    def evaluate(*batch: Any) -> Any:
        return metric.compute(metric.update(metric.init(like[:1]), *batch))

    close(jax.jit(evaluate)(*batch), expected)

    def step(state: Any, part: Any) -> tuple[Any, None]:
        return metric.update(state, *part), None

    parts = tuple(x.reshape((4, 2, *x.shape[1:])) for x in batch)
    state, _ = jax.lax.scan(step, metric.init(like), parts)
    close(metric.compute(state), expected)

    values = jax.vmap(evaluate)(*parts)
    for index, value in enumerate(values):
        close(value, make(name)(*(x[index] for x in parts)))


@pytest.mark.backends("torch")
@pytest.mark.parametrize("name", CLASSES)
def test_under_compile_in_one_graph(backend: Backend, tensors: Make, name: str) -> None:
    import torch

    torch._dynamo.reset()
    metric, batch = make(name), tensors(*everything(name))
    expected = make(name)(*batch)
    graphs = 0

    def counting(module: Any, inputs: Any) -> Any:
        nonlocal graphs
        graphs += 1
        return module.forward

    @torch.compile(fullgraph=True, backend=counting)
    def update(state: Any, *batch: Any) -> Any:
        return metric.update(state, *batch)

    state = update(metric.init(batch[-3]), *batch)
    assert type(state) is type(metric.init())
    close(metric.compute(state), expected)
    state = update(state, *(x.flip(0) for x in batch))  # other values: no other graph
    assert graphs == 1
    merged = torch.compile(metric.merge, fullgraph=True, backend="eager")(state, metric.init(batch[-3]))
    if name not in TOTALS:
        close(torch.compile(metric.compute, fullgraph=True, backend="eager")(merged), expected)


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize(
    "options", [{"multi_label": True, "label_weights": [1, 2, 3, 4]}, {"label_weights": [1, 2, 3, 4]}]
)
def test_label_weights_are_traced(backend: Backend, tensors: Make, options: dict[str, Any]) -> None:
    metric, batch = metrics.AUC(**options), tensors(*batch_for("AUC", ROWS))
    expected = metrics.AUC(**options)(*batch)

    def evaluate(y_true: Any, y_pred: Any) -> Any:
        return metric.compute(metric.update(metric.init(y_pred), y_true, y_pred))

    if backend.name == "torch":
        import torch

        close(torch.compile(evaluate, fullgraph=True, backend="eager")(*batch), expected)
    else:
        import jax

        close(jax.jit(evaluate)(*batch), expected)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch 2.13's compiler calls its own old API
@pytest.mark.backends("torch", "jax")
def test_compensation_survives_the_compiler(backend: Backend, tensor: Make) -> None:
    metric = metrics.Sum()

    def add(state: Any, value: Any) -> Any:
        for _ in range(8):
            state = metric.update(state, value)
        return state

    if backend.name == "torch":
        import torch

        add = torch.compile(add, fullgraph=True)
    else:
        import jax

        add = jax.jit(add)
    state = add(metric.update(metric.init(tensor(1.0)), tensor(2.0**25)), tensor(1.0))
    assert float(metric.compute(state)) == 2**25 + 8
    assert all(leaf.dtype == tensor(1.0).dtype for leaf in leaves(state))
