"""Every metric inside jit, scan, vmap and compile, where it gives what it gives outside."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import metrics
from multiloss._errors import ShapeError
from multiloss._tree import leaves
from tests.contract.metric_facts import CLASSES, OPERANDS, TOTALS, VARIANTS, data, described, make, samples

CHANGED = [(name, options) for name, options in VARIANTS if options]
"""The defaults have tests of their own below."""


def everything(metric):
    """Return a batch with weights and a mask, and where the predictions are."""
    batch, size = data(metric), samples(metric)[0]
    return [*batch, np.linspace(0.5, 2, size).astype(np.float32), np.arange(size) % 4 != 1], len(batch) - 1


def close(value, expected):
    # Compilers add up running sums in another order: AUC takes 200 differences of those in float32.
    np.testing.assert_allclose(value, expected, 2e-5, 2e-6)


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize(("name", "options"), CHANGED, ids=[described(*each) for each in CHANGED])
def test_a_traced_evaluation_gives_what_an_eager_one_gives(name, options, backend, tensor, host, compiled):
    metric = make(name, **options)
    arrays, at = everything(metric)
    batch = list(map(tensor, arrays))

    @compiled
    def evaluate(*batch):
        return metric.compute(metric.update(metric.init(batch[at]), *batch))

    close(host(evaluate(*batch)), host(make(name, **options)(*batch)))


@pytest.mark.backends("jax")
@pytest.mark.parametrize("name", CLASSES)
def test_under_scan_and_vmap(name, backend, tensor, host):
    import jax

    metric = make(name)
    arrays, at = everything(metric)
    batch = list(map(tensor, arrays))

    def step(state, part):
        return metric.update(state, *part), None

    parts = tuple(x.reshape((4, 3, *x.shape[1:])) for x in batch)
    state, _ = jax.lax.scan(step, metric.init(batch[at]), parts)
    close(host(metric.compute(state)), host(make(name)(*batch)))

    values = jax.vmap(lambda *batch: metric.compute(metric.update(metric.init(batch[at]), *batch)))(*parts)
    for index, value in enumerate(values):
        close(host(value), host(make(name)(*(x[index] for x in parts))))


@pytest.mark.backends("torch")
@pytest.mark.parametrize("name", CLASSES)
def test_other_values_need_no_other_graph(name, backend, tensor, host):
    import torch

    torch._dynamo.reset()
    metric = make(name)
    arrays, at = everything(metric)
    batch = list(map(tensor, arrays))
    graphs = 0

    def counting(module, inputs):
        nonlocal graphs
        graphs += 1
        return module.forward

    @torch.compile(fullgraph=True, backend=counting)
    def update(state, *batch):
        return metric.update(state, *batch)

    state = update(metric.init(batch[at]), *batch)
    assert type(state) is type(metric.init(batch[at]))
    close(host(metric.compute(state)), host(make(name)(*batch)))
    state = update(state, *(x.flip(0) for x in batch))
    assert graphs == 1
    merged = torch.compile(metric.merge, fullgraph=True, backend="eager")(state, metric.init(batch[at]))
    if name not in TOTALS:
        value = torch.compile(metric.compute, fullgraph=True, backend="eager")(merged)
        close(host(value), host(make(name)(*batch)))


@pytest.mark.backends("jax")
@pytest.mark.parametrize("shapes", [((5,), (5, 5, 1)), ((1, 3), (5, 3)), ((5, 3), (5, 1)), ((5,), (4,))])
@pytest.mark.parametrize("name", OPERANDS)
def test_samples_are_not_broadcast_inside_a_trace_either(name, shapes, backend, tensor):
    import jax

    metric = make(name)
    given = [tensor(np.ones(shape, np.float32)) for shape in shapes]
    with pytest.raises(ShapeError) as caught:
        jax.jit(lambda y_true, y_pred: metric.update(metric.init(y_pred), y_true, y_pred))(*given)
    assert all(str(shape) in str(caught.value) for shape in shapes)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch 2.13's compiler calls its own old API
@pytest.mark.backends("torch", "jax")
def test_compensation_survives_the_compiler(backend, tensor):
    metric = metrics.Sum()

    def add(state, value):
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
