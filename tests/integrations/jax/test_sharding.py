"""Data-parallel training: `partial` on each of eight devices, added up, is the loss and the gradient of one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from multiloss import backend as K
from multiloss import losses

RNG = np.random.default_rng(0)
N, C = 32, 4
LABELS = RNG.integers(0, C, size=N).astype(np.int32)
SIGNS = (RNG.random((N, C)) > 0.5).astype(np.float32)
Y_PRED = RNG.uniform(0.1, 0.9, size=(N, C)).astype(np.float32)
WEIGHTS = RNG.uniform(0.5, 2.0, size=N).astype(np.float32)
MASK = np.arange(N) % 5 != 0
MASK[:8] = False  # two devices have nothing that counts


def gaussian_nll(y_true, y_pred, variance):
    return K.mean(0.5 * (K.log(variance) + K.square(y_true - y_pred) / variance), axis=-1)


SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1)
CASES = {
    "mean squared error": (losses.MeanSquaredError(), SIGNS),
    "ignored classes": (SPARSE, LABELS),
    "weighted mean": (losses.Huber(reduction="mean_with_sample_weight"), SIGNS),
    "sum": (losses.BinaryCrossentropy(reduction="sum"), SIGNS),
    "dice": (losses.Dice(), SIGNS),
    "composition": (SPARSE + 0.5 * losses.SparseCategoricalFocalCrossentropy(from_logits=True, ignore_class=1), LABELS),
}


@pytest.fixture(scope="module", params=["Explicit", "Auto"])
def mesh(request):
    assert len(jax.devices()) == 8
    return jax.make_mesh((8,), ("data",), axis_types=(getattr(AxisType, request.param),))


def sharded(mesh, loss):
    """Return a function like the loss that computes on each device what is there, and adds it up."""

    def part(y_true, y_pred, sample_weight, mask, inputs):
        total, weight = loss.partial(y_true, y_pred, sample_weight, mask, **inputs)
        total, weight = jax.lax.psum((total, weight), "data")
        return total if loss.reduction == "sum" else total / weight

    return jax.shard_map(part, mesh=mesh, in_specs=P("data"), out_specs=P())


def check(mesh, loss, y_true, sample_weight, mask, inputs=None):
    inputs = inputs or {}
    arguments = (y_true, Y_PRED, sample_weight, mask, inputs)
    spread = jax.device_put(arguments, NamedSharding(mesh, P("data")))
    value, gradient = jax.jit(jax.value_and_grad(sharded(mesh, loss), argnums=1))(*spread)
    one, expected = jax.value_and_grad(
        lambda y_pred: loss(y_true, y_pred, sample_weight, mask, **inputs),
    )(jnp.asarray(Y_PRED))
    np.testing.assert_allclose(value, one, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)
    assert np.abs(expected).max() > 0
    assert len(gradient.sharding.device_set) == 8
    assert gradient.addressable_shards[0].data.shape == (N // 8, C)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_eight_devices_give_the_value_and_gradient_of_one(name, weighted, mesh):
    loss, y_true = CASES[name]
    check(mesh, loss, y_true, WEIGHTS if weighted else None, MASK if weighted else None)


def test_named_inputs_are_sharded_too(mesh):
    variance = np.exp(RNG.normal(size=(N, C))).astype(np.float32)
    check(mesh, losses.LossFunctionWrapper(gaussian_nll), SIGNS, WEIGHTS, MASK, {"variance": variance})


def test_the_mean_of_the_devices_means_is_another_number(mesh):
    """The mistake that `partial` is there for: the tests above would see it."""

    def part(y_true, y_pred):
        return jax.lax.pmean(SPARSE(y_true, y_pred), "data")

    spread = jax.device_put((LABELS, Y_PRED), NamedSharding(mesh, P("data")))
    wrong = jax.jit(jax.shard_map(part, mesh=mesh, in_specs=P("data"), out_specs=P()))(*spread)
    assert abs(float(wrong) - float(SPARSE(LABELS, jnp.asarray(Y_PRED)))) > 1e-3


def test_jit_over_sharded_arrays_needs_no_partial(mesh):
    spread = jax.device_put((LABELS, Y_PRED), NamedSharding(mesh, P("data")))
    value, gradient = jax.jit(jax.value_and_grad(SPARSE, argnums=1))(*spread)
    one, expected = jax.value_and_grad(SPARSE, argnums=1)(jnp.asarray(LABELS), jnp.asarray(Y_PRED))
    np.testing.assert_allclose(value, one, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("labels", [2.0 * SIGNS - 1.0, SIGNS], ids=["signs", "0 and 1"])
def test_each_device_reads_some_labels_of_a_hinge_first(labels, mesh):
    labels, y_pred = np.tile(labels, (100, 1)), np.tile(Y_PRED, (100, 1))
    spread = jax.device_put((labels, y_pred), NamedSharding(mesh, P("data")))
    values = jax.jit(jax.shard_map(losses.hinge, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(*spread)
    np.testing.assert_allclose(values, losses.hinge(labels, y_pred), rtol=1e-6)
