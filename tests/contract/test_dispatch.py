"""One loss object serves all frameworks at once, from threads and from asyncio tasks."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from multiloss import grad, losses, use_backend
from multiloss._registry import load_backend, owner_of
from multiloss.testing import assert_close, public_loss_classes
from tests.conftest import BACKENDS, make_tensor
from tests.contract.facts import CLASSES, data, loss_class

DTYPES = ("float32", "float64")


def jobs():
    """Return (backend, dtype) pairs in an order that interleaves them. JAX has no float64 by default."""
    pairs = [(name, dtype) for name in BACKENDS for dtype in DTYPES if (name, dtype) != ("jax", "float64")]
    return random.Random(0).sample(pairs * 12, len(pairs) * 12)


def check(loss, name, dtype, expected, expected_gradient, y_true, y_pred):
    backend = load_backend(name)
    given = [make_tensor(backend, each.astype(dtype)) for each in (y_true, y_pred)]
    results = [(loss(*given), expected)]
    if backend.differentiable:
        results.append((grad(loss)(*given), expected_gradient))
    for each, right in results:
        assert owner_of(each) is backend
        assert backend.dtype(each) == dtype
        assert_close(backend.to_numpy(each), right, "float32")
    with use_backend(name):  # host data goes to this thread's backend, whatever the others do
        assert owner_of(loss(y_true.tolist(), y_pred.tolist())) is backend
    return True


@pytest.fixture
def job():
    loss = losses.CategoricalCrossentropy(from_logits=True)
    y_true, y_pred = data("categorical_crossentropy", dtype="float64", from_logits=True)
    with use_backend("numpy"):
        return loss, loss(y_true, y_pred), grad(loss)(y_true, y_pred), y_true, y_pred


def test_eight_threads_interleave_the_frameworks(job):
    loss, expected, gradient, y_true, y_pred = job
    with ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda pair: check(loss, *pair, expected, gradient, y_true, y_pred), jobs())
        assert all(done)


def test_asyncio_tasks_keep_their_own_active_backend(job):
    loss, _, _, y_true, y_pred = job

    async def task(name):
        with use_backend(name):
            for _ in range(3):
                await asyncio.sleep(0)
                assert owner_of(loss(y_true.tolist(), y_pred.tolist())) is load_backend(name)
        return True

    async def main():
        return await asyncio.gather(*(task(name) for name, _ in jobs()))

    assert all(asyncio.run(main()))


@pytest.mark.parametrize("name", CLASSES)
def test_host_data_gives_what_tensors_give(name, backend, tensor, host):
    loss = public_loss_classes()[name]()
    y_true, y_pred = data(name)
    expected = host(loss(tensor(y_true), tensor(y_pred)))
    for given in (
        (y_true, y_pred),
        (y_true.tolist(), y_pred.tolist()),
        (y_true, tensor(y_pred)),
        (tensor(y_true), y_pred),
    ):
        result = loss(*given)
        assert owner_of(result) is backend
        assert_close(host(result), expected, "float32")


@pytest.mark.parametrize("name", CLASSES)
def test_the_inputs_are_left_alone(name, backend, tensor, host):
    loss = public_loss_classes()[name]()
    weight, mask = np.array([1.0, 2.0, 0.0, 1.0, 1.0, 3.0], np.float32), np.array([True, False, True, True, True, True])
    arrays = [*data(name), weight, mask]
    tensors = [tensor(each) for each in arrays]
    loss(*tensors)
    if backend.differentiable:
        grad(loss)(*tensors)
    for before, after in zip(arrays, tensors, strict=True):
        np.testing.assert_array_equal(host(after), before)


@pytest.mark.parametrize("other", ["torch", "jax"])
def test_a_framework_beside_numpy_keeps_its_type(other, backend, tensor):
    if other == backend.name:
        with use_backend("numpy"):
            assert (
                owner_of(loss_class("mean_squared_error")()(np.ones(3, np.float32), tensor([1.0, 2.0, 3.0]))) is backend
            )
