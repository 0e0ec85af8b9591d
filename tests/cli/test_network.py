"""The network: its initial weights, its batches, its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss.cli import _network
from multiloss.cli._network import Parameters, Samples
from multiloss.interface import Backend
from multiloss.objective import Objective

Host = Callable[[Any], np.ndarray]


def test_initial_weights_fill_the_range_of_their_rule_and_no_more() -> None:
    generator = np.random.default_rng(0)
    he = _network.he_uniform(generator, 24, 500)
    glorot = _network.glorot_uniform(generator, 24, 500)
    assert he.dtype == glorot.dtype == np.float32
    assert np.abs(he).max() == pytest.approx((6 / 24) ** 0.5, rel=1e-3)
    assert np.abs(glorot).max() == pytest.approx((6 / 524) ** 0.5, rel=1e-3)
    assert he.var() == pytest.approx(2 / 24, rel=0.05)  # the variance that the rule is named for


def test_an_epoch_sees_every_sample_once_in_batches_of_32() -> None:
    x = np.arange(70, dtype="float32")[:, None]
    seen = list(_network.batches(np.random.default_rng(0), Samples(x, -x)))
    assert [len(batch.x) for batch in seen] == [32, 32, 6]
    assert all((batch.y == -batch.x).all() for batch in seen)
    order = np.concatenate([batch.x for batch in seen])[:, 0]
    assert (np.sort(order) == x[:, 0]).all()
    assert (order != x[:, 0]).any()


def test_steps_are_stochastic_gradient_descent_with_momentum(backend: Backend, host: Host) -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(size=(8, 2)).astype("float32")
    y = generator.normal(size=(8, 1)).astype("float32")
    start = Parameters(*(part + 0.1 for part in _network.initial_parameters(generator, 2, 4, 1)))

    state = [backend.asarray(part) for part in (*start, *map(np.zeros_like, start))]
    for _ in range(3):
        state = backend.run(
            _network._step, backend.asarray(x), backend.asarray(y), *state, objective=Objective("mse"), output="linear"
        )

    # The same by hand: backpropagation through relu(x V + a) W + b and the mean of the squared errors.
    weights, velocities = [part.astype("float64") for part in start], [np.zeros_like(part) for part in start]
    for _ in range(3):
        kernel, bias, last, last_bias = weights
        hidden = np.maximum(x @ kernel + bias, 0)
        error = 2 * (hidden @ last + last_bias - y) / len(x)
        behind = (error @ last.T) * (hidden > 0)
        gradients = [x.T @ behind, behind.sum(0, keepdims=True), hidden.T @ error, error.sum(0, keepdims=True)]
        velocities = [0.9 * v - 0.01 * g for v, g in zip(velocities, gradients, strict=True)]
        weights = [w + v for w, v in zip(weights, velocities, strict=True)]
    for found, expected in zip(state, [*weights, *velocities], strict=True):
        np.testing.assert_allclose(host(found), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("output", ["linear", "softplus", "sigmoid", "tanh", "softmax"])
def test_outputs_lie_where_their_losses_expect_them(backend: Backend, host: Host, output: str) -> None:
    generator = np.random.default_rng(0)
    parameters = Parameters(*map(backend.asarray, _network.initial_parameters(generator, 2, 8, 3)))
    x = backend.asarray(generator.normal(size=(50, 2)).astype("float32") * 5)
    found = host(_network.predict(parameters, x, output))
    assert found.shape == (50, 3)
    low, high = {"softplus": (0, np.inf), "sigmoid": (0, 1), "tanh": (-1, 1), "softmax": (0, 1)}.get(
        output, (-np.inf, np.inf)
    )
    assert (found >= low).all()
    assert (found <= high).all()
    assert np.allclose(found.sum(-1), 1, atol=1e-5) == (output == "softmax")
