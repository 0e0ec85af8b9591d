"""Small networks and data for them, the same at every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

SAMPLES, FEATURES, CLASSES, STEPS, WORDS = 32, 5, 3, 6, 9  # two batches of 16: JAX compiles each size of a batch


def data(kind: str) -> tuple[Any, Any, Any]:
    """Return inputs, targets of that kind and sample weights, some of them 0."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(SAMPLES, FEATURES)).astype("float32")
    labels = rng.integers(0, CLASSES, SAMPLES)
    targets = {
        "real": rng.normal(size=(SAMPLES, CLASSES)).astype("float32"),
        "positive": rng.uniform(0.1, 2.0, (SAMPLES, CLASSES)).astype("float32"),
        "binary": rng.integers(0, 2, (SAMPLES, CLASSES)).astype("float32"),
        "one-hot": np.eye(CLASSES, dtype="float32")[labels],
        "labels": labels,
    }
    weights = np.where(rng.uniform(size=SAMPLES) < 0.2, 0.0, rng.uniform(0.0, 2.0, SAMPLES)).astype("float32")
    return x, targets[kind], weights


def network(activation: str | None = None, *, seed: int = 1) -> Any:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES, activation=activation)])


def two_outputs() -> Any:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(4, activation="tanh")(inputs)
    return keras.Model(inputs, {name: keras.layers.Dense(CLASSES, name=name)(hidden) for name in ("size", "kind")})


def branches(activations: dict[str, str | None]) -> Any:
    """Return a network with one output for each name: many losses are trained at the price of one compilation."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((FEATURES,))
    outputs = {
        name: keras.layers.Dense(CLASSES, activation=activation, name=name)(inputs)
        for name, activation in activations.items()
    }
    return keras.Model(inputs, outputs)


def sequences(padded_with: int = 0) -> tuple[Any, Any, Any]:
    """Return padded sequences of words, a class for each step, and a weight for each step."""
    rng = np.random.default_rng(8)
    x = rng.integers(1, WORDS, (SAMPLES, STEPS))
    padding = np.arange(STEPS) >= rng.integers(2, STEPS + 1, SAMPLES)[:, None]
    x[padding] = 0
    y = rng.integers(0, CLASSES, (SAMPLES, STEPS))
    y[padding] = padded_with
    return x, y, rng.uniform(0.0, 2.0, (SAMPLES, STEPS)).astype("float32")


def tagger(*, seed: int = 3) -> Any:
    """Return a network that masks the padding, and gives logits for each step."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((STEPS,))
    embedded = keras.layers.Embedding(WORDS, 4, mask_zero=True)(inputs)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(embedded))


def taggers(names: list[str]) -> Any:
    """Return such a network with one output for each name."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((STEPS,))
    embedded = keras.layers.Embedding(WORDS, 4, mask_zero=True)(inputs)
    return keras.Model(inputs, {name: keras.layers.Dense(CLASSES, name=name)(embedded) for name in names})


def trained(make: Callable[[], Any], x: Any, y: Any, sample_weight: Any = None, **compiled: Any) -> tuple[Any, Any]:
    """Return a network that was trained for two epochs, and its history."""
    model = make()
    model.compile(optimizer=keras.optimizers.SGD(0.05), **compiled)
    history = model.fit(x, y, batch_size=16, epochs=2, verbose=0, shuffle=False, sample_weight=sample_weight)
    return model, history.history


def agree(one: Any, other: Any) -> None:
    """Assert that two networks, with their histories, are the same to 1e-5."""
    (model, history), (expected_model, expected) = one, other
    assert history.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(history[key], values, rtol=1e-5, atol=1e-6, err_msg=key)
    for ours, theirs in zip(model.get_weights(), expected_model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
