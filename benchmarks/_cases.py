"""The losses that are measured, and what is measured beside them: formulas as published, and other libraries.

Each peer takes `(y_true, y_pred)` and returns one value per sample, over the last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

EPSILON, LOG_2 = 1e-7, 0.6931471805599453
LOSSES = (
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "hinge",
    "squared_hinge",
    "categorical_hinge",
    "log_cosh",
    "huber",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "kl_divergence",
    "poisson",
    "cosine_similarity",
)
"""Those of the seed documents."""

Peer = Callable[[Any, Any], Any]


def data(name: str, shape: tuple[int, int], seed: int = 0) -> tuple[Any, Any]:
    """Return targets and predictions of a loss as NumPy arrays: float32, or class indices."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal(shape, np.float32)
    weights = np.exp(scores)
    y_pred = weights / weights.sum(-1, keepdims=True)
    if name == "sparse_categorical_crossentropy":
        return rng.integers(0, shape[1], shape[0]), y_pred
    if name in ("hinge", "squared_hinge"):
        return np.sign(rng.standard_normal(shape, np.float32)), scores
    if name == "categorical_hinge":
        return np.eye(shape[1], dtype=np.float32)[rng.integers(0, shape[1], shape[0])], scores
    labels = rng.random(shape, np.float32)
    return labels / labels.sum(-1, keepdims=True), y_pred


def formulas(np: Any) -> Mapping[str, Peer]:
    """Return the textbook formulas in NumPy's names, for `numpy` or `jax.numpy`.

    Each is written out, as its user would: on small arrays a call of a helper costs as much as an operation.
    """

    def binary(y: Any, p: Any) -> Any:
        p = np.clip(p, EPSILON, 1 - EPSILON)
        return np.mean(-(y * np.log(p) + (1 - y) * np.log(1 - p)), axis=-1)

    def categorical(y: Any, p: Any) -> Any:
        q = np.clip(p / np.sum(p, axis=-1, keepdims=True), EPSILON, 1 - EPSILON)
        return -np.sum(y * np.log(q), axis=-1)

    def sparse(y: Any, p: Any) -> Any:
        q = np.clip(p / np.sum(p, axis=-1, keepdims=True), EPSILON, 1 - EPSILON)
        return -np.log(np.take_along_axis(q, y[:, None], axis=-1)[:, 0])

    def divergence(y: Any, p: Any) -> Any:
        y, p = np.clip(y, EPSILON, 1), np.clip(p, EPSILON, 1)
        return np.sum(y * np.log(y / p), axis=-1)

    def huber(y: Any, p: Any) -> Any:
        error = np.abs(p - y)
        return np.mean(np.where(error <= 1, 0.5 * error * error, error - 0.5), axis=-1)

    def log_cosh(y: Any, p: Any) -> Any:
        error = p - y
        return np.mean(error + np.log1p(np.exp(-2 * error)) - LOG_2, axis=-1)

    def cosine(y: Any, p: Any) -> Any:
        y = y / np.sqrt(np.maximum(np.sum(y * y, axis=-1, keepdims=True), 1e-12))
        p = p / np.sqrt(np.maximum(np.sum(p * p, axis=-1, keepdims=True), 1e-12))
        return -np.sum(y * p, axis=-1)

    def logarithmic(y: Any, p: Any) -> Any:
        first, second = np.log(np.maximum(p, EPSILON) + 1), np.log(np.maximum(y, EPSILON) + 1)
        return np.mean(np.square(first - second), axis=-1)

    return {
        "mean_squared_error": lambda y, p: np.mean(np.square(p - y), axis=-1),
        "mean_absolute_error": lambda y, p: np.mean(np.abs(p - y), axis=-1),
        "mean_absolute_percentage_error": lambda y, p: (
            100 * np.mean(np.abs((y - p) / np.maximum(np.abs(y), EPSILON)), axis=-1)
        ),
        "mean_squared_logarithmic_error": logarithmic,
        "hinge": lambda y, p: np.mean(np.maximum(1 - y * p, 0), axis=-1),
        "squared_hinge": lambda y, p: np.mean(np.square(np.maximum(1 - y * p, 0)), axis=-1),
        "categorical_hinge": lambda y, p: np.maximum(np.max((1 - y) * p, axis=-1) - np.sum(y * p, axis=-1) + 1, 0),
        "log_cosh": log_cosh,
        "huber": huber,
        "binary_crossentropy": binary,
        "categorical_crossentropy": categorical,
        "sparse_categorical_crossentropy": sparse,
        "kl_divergence": divergence,
        "poisson": lambda y, p: np.mean(p - y * np.log(p + EPSILON), axis=-1),
        "cosine_similarity": cosine,
    }


def torch_functional() -> Mapping[str, Peer]:
    """Return what `torch.nn.functional` has of these losses, unreduced and then averaged over the last axis."""
    import torch
    import torch.nn.functional as F

    def elementwise(function: Any, **options: Any) -> Peer:
        return lambda y, p: function(p, y, reduction="none", **options).mean(-1)

    return {
        "mean_squared_error": elementwise(F.mse_loss),
        "mean_absolute_error": elementwise(F.l1_loss),
        "huber": elementwise(F.huber_loss),
        "poisson": elementwise(F.poisson_nll_loss, log_input=False, eps=EPSILON),
        "binary_crossentropy": elementwise(F.binary_cross_entropy),
        "kl_divergence": lambda y, p: F.kl_div(torch.log(p), y, reduction="none").sum(-1),
        "cosine_similarity": lambda y, p: -F.cosine_similarity(p, y),
        "sparse_categorical_crossentropy": lambda y, p: F.nll_loss(torch.log(p), y, reduction="none"),
    }


def torch_formulas() -> Mapping[str, Peer]:
    """Return the textbook formulas in torch's names, written out as those for NumPy."""
    import torch

    def binary(y: Any, p: Any) -> Any:
        p = torch.clamp(p, EPSILON, 1 - EPSILON)
        return torch.mean(-(y * torch.log(p) + (1 - y) * torch.log(1 - p)), -1)

    def categorical(y: Any, p: Any) -> Any:
        q = torch.clamp(p / torch.sum(p, -1, keepdim=True), EPSILON, 1 - EPSILON)
        return -torch.sum(y * torch.log(q), -1)

    def sparse(y: Any, p: Any) -> Any:
        q = torch.clamp(p / torch.sum(p, -1, keepdim=True), EPSILON, 1 - EPSILON)
        return -torch.log(torch.take_along_dim(q, y[:, None], -1)[:, 0])

    def divergence(y: Any, p: Any) -> Any:
        y, p = torch.clamp(y, EPSILON, 1), torch.clamp(p, EPSILON, 1)
        return torch.sum(y * torch.log(y / p), -1)

    def huber(y: Any, p: Any) -> Any:
        error = torch.abs(p - y)
        return torch.mean(torch.where(error <= 1, 0.5 * error * error, error - 0.5), -1)

    def log_cosh(y: Any, p: Any) -> Any:
        error = p - y
        return torch.mean(error + torch.log1p(torch.exp(-2 * error)) - LOG_2, -1)

    def cosine(y: Any, p: Any) -> Any:
        y = y / torch.sqrt(torch.clamp(torch.sum(y * y, -1, keepdim=True), 1e-12))
        p = p / torch.sqrt(torch.clamp(torch.sum(p * p, -1, keepdim=True), 1e-12))
        return -torch.sum(y * p, -1)

    def logarithmic(y: Any, p: Any) -> Any:
        first, second = torch.log(torch.clamp(p, EPSILON) + 1), torch.log(torch.clamp(y, EPSILON) + 1)
        return torch.mean(torch.square(first - second), -1)

    return {
        "mean_squared_error": lambda y, p: torch.mean(torch.square(p - y), -1),
        "mean_absolute_error": lambda y, p: torch.mean(torch.abs(p - y), -1),
        "mean_absolute_percentage_error": lambda y, p: (
            100 * torch.mean(torch.abs((y - p) / torch.clamp(torch.abs(y), EPSILON)), -1)
        ),
        "mean_squared_logarithmic_error": logarithmic,
        "hinge": lambda y, p: torch.mean(torch.clamp(1 - y * p, 0), -1),
        "squared_hinge": lambda y, p: torch.mean(torch.square(torch.clamp(1 - y * p, 0)), -1),
        "categorical_hinge": lambda y, p: torch.clamp(torch.amax((1 - y) * p, -1) - torch.sum(y * p, -1) + 1, 0),
        "log_cosh": log_cosh,
        "huber": huber,
        "binary_crossentropy": binary,
        "categorical_crossentropy": categorical,
        "sparse_categorical_crossentropy": sparse,
        "kl_divergence": divergence,
        "poisson": lambda y, p: torch.mean(p - y * torch.log(p + EPSILON), -1),
        "cosine_similarity": cosine,
    }


def optax_losses() -> Mapping[str, Peer]:
    """Return what optax has of these losses, over the last axis."""
    import optax

    return {
        "mean_squared_error": lambda y, p: optax.squared_error(p, y).mean(-1),
        "huber": lambda y, p: optax.huber_loss(p, y).mean(-1),
        "log_cosh": lambda y, p: optax.log_cosh(p, y).mean(-1),
        "cosine_similarity": lambda y, p: -optax.cosine_similarity(p, y),
        "hinge": lambda y, p: optax.hinge_loss(p, y).mean(-1),
    }


def sklearn_functions() -> Mapping[str, Peer]:
    """Return what scikit-learn has of these losses; each returns the mean of all."""
    from sklearn import metrics

    return {
        "mean_squared_error": metrics.mean_squared_error,
        "mean_absolute_error": metrics.mean_absolute_error,
        "mean_absolute_percentage_error": metrics.mean_absolute_percentage_error,
        "mean_squared_logarithmic_error": metrics.mean_squared_log_error,
        "sparse_categorical_crossentropy": lambda y, p: metrics.log_loss(y, p, labels=range(p.shape[1])),
    }


def keras_losses() -> Mapping[str, Peer]:
    """Return Keras' functions; its backend is chosen by `KERAS_BACKEND` when it is first imported."""
    from keras import losses

    return {name: getattr(losses, name) for name in LOSSES}


def gradients() -> Mapping[str, Peer]:
    """Return values and hand-written gradients of the mean over samples, in NumPy."""

    def categorical(y: Any, p: Any) -> Any:
        total = np.sum(p, axis=-1, keepdims=True)
        q = p / total
        inside = (q > EPSILON) & (q < 1 - EPSILON)
        q = np.clip(q, EPSILON, 1 - EPSILON)
        value = -np.sum(y * np.log(q), axis=-1)
        slope = np.where(inside, -y / q, 0)
        return value.mean(), (slope - np.sum(slope * q, axis=-1, keepdims=True)) / total / len(p)

    def binary(y: Any, p: Any) -> Any:
        inside = (p > EPSILON) & (p < 1 - EPSILON)
        p = np.clip(p, EPSILON, 1 - EPSILON)
        value = np.mean(-(y * np.log(p) + (1 - y) * np.log(1 - p)), axis=-1)
        return value.mean(), np.where(inside, (p - y) / (p * (1 - p)), 0) / p.size

    def sparse(y: Any, p: Any) -> Any:
        rows = np.arange(len(p))
        total = np.sum(p, axis=-1, keepdims=True)
        q = np.clip(p / total, EPSILON, 1 - EPSILON)
        gradient = np.broadcast_to(1 / total, p.shape).copy()
        gradient[rows, y] -= 1 / p[rows, y]
        return -np.log(q[rows, y]).mean(), gradient / len(p)

    return {
        "binary_crossentropy": binary,
        "categorical_crossentropy": categorical,
        "sparse_categorical_crossentropy": sparse,
    }
