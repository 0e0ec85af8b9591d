"""A small network, written once over K: two dense layers, SGD with momentum, mini-batches.

Nothing here knows which backend it runs on. The tensors decide, and `Backend.run` compiles a step where the framework
has a compiler that pays off. All randomness (initial weights, order of the samples) comes from one NumPy generator,
so that every backend starts from the same weights and sees the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from multiloss._boundary import arrive
from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.objective import Objective
from multiloss.transforms import value_and_grad

LEARNING_RATE = 0.01
MOMENTUM = 0.9
BATCH_SIZE = 32

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "softplus": K.softplus,
    "sigmoid": K.sigmoid,
    "tanh": K.tanh,
    "softmax": K.softmax,
}
"""The activations of the last layer."""


class Parameters(NamedTuple):
    """The weights of both layers. Biases are rows: nothing is broadcast over a missing axis."""

    hidden_kernel: Tensor
    hidden_bias: Tensor
    output_kernel: Tensor
    output_bias: Tensor


class Samples(NamedTuple):
    """Inputs (N, features) and targets (N, ...) as host arrays."""

    x: np.ndarray
    y: np.ndarray


class History(NamedTuple):
    """Loss and metric of the whole training and test set after each epoch."""

    train_loss: list[float]
    test_loss: list[float]
    train_metric: list[float]
    test_metric: list[float]


# ── Initial weights ─────────────────────────────────────────────────────────────────────────────────────────────


def he_uniform(generator: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """Return a kernel drawn uniformly from +-sqrt(6 / fan_in): keeps the variance through a relu layer.

    Source: K. He et al., Delving Deep into Rectifiers, 2015.
    """
    limit = (6.0 / fan_in) ** 0.5
    return generator.uniform(-limit, limit, (fan_in, fan_out)).astype("float32")


def glorot_uniform(generator: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """Return a kernel drawn uniformly from +-sqrt(6 / (fan_in + fan_out)).

    Source: X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    limit = (6.0 / (fan_in + fan_out)) ** 0.5
    return generator.uniform(-limit, limit, (fan_in, fan_out)).astype("float32")


def initial_parameters(generator: np.random.Generator, features: int, hidden: int, units: int) -> Parameters:
    """Return the weights before training, as host arrays."""
    return Parameters(
        he_uniform(generator, features, hidden),
        np.zeros((1, hidden), "float32"),
        glorot_uniform(generator, hidden, units),
        np.zeros((1, units), "float32"),
    )


# ── The network and its training step ───────────────────────────────────────────────────────────────────────────


def predict(parameters: Parameters, x: Tensor, output: str) -> Tensor:
    """Return the predictions (N, units) for inputs (N, features)."""
    hidden = K.relu(x @ parameters.hidden_kernel + parameters.hidden_bias)
    return OUTPUTS[output](hidden @ parameters.output_kernel + parameters.output_bias)


# The two functions that Backend.run gets: pure, and one object each for the life of the process.


def _step(x: Tensor, y: Tensor, *state: Tensor, objective: Objective, output: str) -> tuple[Tensor, ...]:
    """Return parameters and velocities after one step of SGD with momentum on one batch."""
    half = len(state) // 2
    parameters, velocities = Parameters(*state[:half]), state[half:]
    _, gradients = value_and_grad(lambda p: objective(y, predict(p, x, output)))(parameters)
    velocities = tuple(MOMENTUM * v - LEARNING_RATE * g for v, g in zip(velocities, gradients, strict=True))
    return *(p + v for p, v in zip(parameters, velocities, strict=True)), *velocities


def _predictions(x: Tensor, *parameters: Tensor, output: str) -> Tensor:
    return predict(Parameters(*parameters), x, output)


# ── Training ────────────────────────────────────────────────────────────────────────────────────────────────────


def batches(generator: np.random.Generator, samples: Samples) -> Iterator[Samples]:
    """Yield the samples in a new random order, 32 at a time; the last batch holds what is left."""
    order = generator.permutation(len(samples.x))
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        yield Samples(samples.x[chosen], samples.y[chosen])


def train(
    train_set: Samples,
    test_set: Samples,
    *,
    objective: Objective,
    metric: str,
    hidden: int,
    units: int,
    output: str,
    epochs: int,
    seed: int,
    after_epoch: Callable[[], Any] = lambda: None,
) -> tuple[Parameters, History]:
    """Train on the active backend; return the final weights and the history.

    Args:
        train_set: what is learned from.
        test_set: what is only looked at.
        objective: what is minimised and what is watched.
        metric: the name in the objective's results that goes into the history.
        hidden: units of the relu layer.
        units: units of the output layer.
        output: activation of the output layer, one of `OUTPUTS`.
        epochs: passes over the training set.
        seed: of the initial weights and the order of the samples.
        after_epoch: called after each epoch.
    """
    generator = np.random.default_rng(seed)
    start = initial_parameters(generator, train_set.x.shape[1], hidden, units)
    backend, state = arrive(*start, *(np.zeros_like(each) for each in start))
    _, seen = arrive(*train_set)
    _, unseen = arrive(*test_set)
    history = History([], [], [], [])
    for _ in range(epochs):
        for batch in batches(generator, train_set):
            _, tensors = arrive(*batch)
            state = backend.run(_step, *tensors, *state, objective=objective, output=output)
        parameters = Parameters(*state[: len(start)])
        for (x, y), losses, metrics in (
            (seen, history.train_loss, history.train_metric),
            (unseen, history.test_loss, history.test_metric),
        ):
            objective.reset()
            objective.update_metrics(y, backend.run(_predictions, x, *parameters, output=output))
            results = objective.results()
            losses.append(float(results["loss"]))
            metrics.append(float(results[metric]))
        after_epoch()
    return parameters, history
