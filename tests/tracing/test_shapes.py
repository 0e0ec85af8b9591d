"""Batches of changing size: what is compiled again, and what is not."""

from __future__ import annotations

import multiloss
import numpy as np
import pytest
from multiloss import losses

SIZES = (8, 16, 24, 40, 72)


def batches(tensor, name):
    """Yield batches of changing size, twice over."""
    rng = np.random.default_rng(0)
    for size in SIZES + SIZES:
        y_true, y_pred = rng.random((size, 5)), rng.random((size, 5))
        if name == "SparseCategoricalCrossentropy":
            yield tensor(rng.integers(0, 5, size)), tensor(y_pred)
        else:
            yield tensor(y_true), tensor(y_pred)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("name", ["MeanSquaredError", "BinaryCrossentropy", "SparseCategoricalCrossentropy"])
def test_torch_compiles_a_second_time_and_then_for_any_size(name, tensor, host):
    import torch
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter, loss = CompileCounter(), getattr(losses, name)()
    compiled = torch.compile(loss, fullgraph=True, backend=counter)
    for y_true, y_pred in batches(tensor, name):
        np.testing.assert_allclose(host(compiled(y_true, y_pred)), host(loss(y_true, y_pred)), rtol=1e-5)
    torch._dynamo.reset()
    assert counter.frame_count == 2


@pytest.fixture
def compilations():
    """A list that grows by one for each function that JAX compiles."""
    import jax

    durations: list[float] = []

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            durations.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield durations
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.backends("jax")
def test_jax_compiles_once_for_each_size_and_never_again(compilations, tensor):
    loss = losses.Huber(delta=0.37)
    pairs = list(batches(tensor, "Huber"))
    losses.mean_squared_error(*pairs[0])  # the first array that a process sees takes the long way
    compilations.clear()
    for pair in pairs[: len(SIZES)]:
        loss(*pair)
    assert len(compilations) == len(SIZES)
    for pair in pairs[len(SIZES) :]:
        loss(*pair)
    assert len(compilations) == len(SIZES)


@pytest.mark.backends("jax")
def test_options_in_another_order_are_the_same_options(compilations, tensor):
    y_true, y_pred = (tensor(np.ones((3, 5), np.float32) / 5) for _ in range(2))
    options = {"from_logits": True, "label_smoothing": 0.17}
    losses.categorical_crossentropy(y_true, y_pred, **options)
    compilations.clear()
    losses.categorical_crossentropy(y_true, y_pred, **dict(reversed(options.items())))
    assert not compilations


@pytest.mark.backends("jax")
def test_padding_and_a_mask_keep_jax_from_compiling(compilations, tensor, host):
    rng = np.random.default_rng(0)
    loss, padded = losses.LogCosh(), max(SIZES)
    counts = []
    for size in SIZES:
        y_true, y_pred = rng.random((2, size, 5)).astype(np.float32)
        filler = ((0, padded - size), (0, 0))
        mask = tensor(np.arange(padded) < size, "bool")
        padded_true, padded_pred = tensor(np.pad(y_true, filler)), tensor(np.pad(y_pred, filler))
        value = loss(padded_true, padded_pred, mask=mask)
        counts.append(len(compilations))
        with multiloss.use_backend("numpy"):
            np.testing.assert_allclose(host(value), loss(y_true, y_pred), rtol=1e-5)
    assert len(set(counts)) == 1


@pytest.mark.backends("torch")
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
@pytest.mark.parametrize("name", ["SparseCategoricalCrossentropy", "CategoricalCrossentropy", "BinaryCrossentropy"])
def test_torch_exports_cross_entropies_of_logits_for_small_and_large_batches(name, options):
    import torch

    class Model(torch.nn.Module):
        loss = getattr(losses, name)(from_logits=True, **options)

        def forward(self, y_true, y_pred):
            return self.loss(y_true, y_pred)

    def batch(size):
        y_pred = torch.linspace(-3.0, 3.0, size * 5).reshape(size, 5)
        labels = torch.arange(size) % 5
        return labels if name[0] == "S" else torch.nn.functional.one_hot(labels, 5).float(), y_pred

    sizes = {0: torch.export.Dim("size", min=2, max=1 << 20)}
    program = torch.export.export(Model(), batch(6), dynamic_shapes=(sizes, sizes)).module()
    for size in (2, 30_000, 300_000):
        torch.testing.assert_close(program(*batch(size)), Model()(*batch(size)))
