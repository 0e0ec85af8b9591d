"""A process whose very first call of a loss happens inside a compiled function."""

from __future__ import annotations

import subprocess
import sys

import pytest

TORCH = """
import warnings; warnings.simplefilter("ignore")
import torch
from multiloss import losses
loss = losses.{cls}()
weights = torch.nn.Parameter(torch.rand(4, 3))
@torch.compile(fullgraph=True, backend="aot_eager")
def step(x, y):
    return loss(y, torch.softmax(x @ weights, -1))
y = {labels}
step(torch.rand(5, 4), y).backward()
assert torch.isfinite(weights.grad).all() and weights.grad.any()
print("done")
"""
JAX = """
import jax, jax.numpy as jnp
from multiloss import losses
loss = losses.{cls}()
@jax.jit
def step(weights, x, y):
    return jax.grad(lambda weights: loss(y, jax.nn.softmax(x @ weights)))(weights)
key = jax.random.key(0)
gradient = step(jax.random.normal(key, (4, 3)), jax.random.normal(key, (5, 4)), {labels})
assert jnp.isfinite(gradient).all() and gradient.any()
print("done")
"""
LOSSES = {
    "MeanSquaredError": {"torch": "torch.rand(5, 3)", "jax": "jnp.ones((5, 3))"},
    "CategoricalCrossentropy": {
        "torch": "torch.eye(3)[[0, 1, 2, 1, 0]]",
        "jax": "jnp.eye(3)[jnp.array([0, 1, 2, 1, 0])]",
    },
    "SparseCategoricalCrossentropy": {"torch": "torch.tensor([0, 1, 2, 1, 0])", "jax": "jnp.array([0, 1, 2, 1, 0])"},
}


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize("cls", LOSSES)
def test_the_first_call_may_be_inside_a_compiled_function(cls, backend):
    program = {"torch": TORCH, "jax": JAX}[backend.name].format(cls=cls, labels=LOSSES[cls][backend.name])
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert ran.stdout.strip() == "done", ran.stderr[-2000:]
