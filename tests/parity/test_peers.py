"""Values and gradients of torch.nn.functional, optax and scikit-learn, in float64, where they have the loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from multiloss import losses, value_and_grad
from multiloss.interface import Backend
from tests.parity.certificates import agree

RNG = np.random.default_rng(30)
N, C = 6, 4
REAL, OTHER = RNG.normal(size=(N, C)) * 2, RNG.normal(size=(N, C)) * 2
POSITIVE = RNG.uniform(0.1, 5, size=(N, C))
BINARY = RNG.integers(0, 2, size=(N, C)).astype(float)
SIGNS = 2 * BINARY - 1
PROBABILITY = RNG.uniform(0.01, 0.99, size=(N, C))
LABELS = RNG.integers(0, C, size=N)
ONE_HOT = np.eye(C)[LABELS]
SOFT = RNG.dirichlet(np.ones(C), size=N)
DISTRIBUTION = RNG.dirichlet(np.ones(C), size=N)
IGNORED = np.where(np.arange(N) % 3 == 1, -100, LABELS)
CLASS_REGIONS = np.eye(C)[np.arange(2 * 3 * C).reshape(2, 3 * C) * 3 % C]
CLASS_PROBABILITIES = RNG.dirichlet(np.ones(C), size=(2, 3 * C))
STEPS = RNG.normal(size=(N, 9, C)) * 2
SEQUENCES = np.array([[1, 2, 3], [1, 1, 0], [3, 0, 0], [2, 3, 2], [2, 2, 2], [0, 0, 0]], "int32")
LENGTHS = (SEQUENCES != 0).sum(-1)

FLOAT64 = {"rtol": 1e-10, "atol": 1e-12}


def with_gradient(backend: Backend, fn: Any, y_true: Any, y_pred: Any, **parameters: Any) -> tuple[Any, Any]:
    value, gradient = value_and_grad(fn)(backend.asarray(y_true), backend.asarray(y_pred), **parameters)
    return backend.to_numpy(value), backend.to_numpy(gradient)


# ── torch ───────────────────────────────────────────────────────────────────────────────────────────────────────

rows = functools.partial(torch.mean, dim=-1)
TORCH: dict[str, tuple[str, dict[str, Any], Any, Any, Callable[[Any, Any], Any]]] = {
    "mse_loss": ("mean_squared_error", {}, OTHER, REAL, lambda y, v: rows(F.mse_loss(v, y, reduction="none"))),
    "l1_loss": ("mean_absolute_error", {}, OTHER, REAL, lambda y, v: rows(F.l1_loss(v, y, reduction="none"))),
    "l1_loss at 0": ("mean_absolute_error", {}, REAL, REAL, lambda y, v: rows(F.l1_loss(v, y, reduction="none"))),
    "huber_loss": (
        *("huber", {"delta": 0.8}, OTHER, REAL),
        lambda y, v: rows(F.huber_loss(v, y, reduction="none", delta=0.8)),
    ),
    "smooth_l1_loss": ("huber", {}, OTHER, REAL, lambda y, v: rows(F.smooth_l1_loss(v, y, reduction="none"))),
    "poisson_nll_loss": (
        *("poisson", {}, np.floor(POSITIVE), POSITIVE),
        lambda y, v: rows(F.poisson_nll_loss(v, y, log_input=False, eps=1e-7, reduction="none")),
    ),
    "cosine_similarity": ("cosine_similarity", {}, OTHER, REAL, lambda y, v: -F.cosine_similarity(v, y, dim=-1)),
    "cosine_similarity, axis 0": (
        *("cosine_similarity", {"axis": 0}, OTHER, REAL),
        lambda y, v: -F.cosine_similarity(v, y, dim=0),
    ),
    "binary_cross_entropy": (
        *("binary_crossentropy", {}, BINARY, PROBABILITY),
        lambda y, p: rows(F.binary_cross_entropy(p, y, reduction="none")),
    ),
    "binary_cross_entropy, soft": (
        *("binary_crossentropy", {}, SOFT, PROBABILITY),
        lambda y, p: rows(F.binary_cross_entropy(p, y, reduction="none")),
    ),
    "binary_cross_entropy_with_logits": (
        *("binary_crossentropy", {"from_logits": True}, BINARY, REAL * 30),
        lambda y, z: rows(F.binary_cross_entropy_with_logits(z, y, reduction="none")),
    ),
    "cross_entropy, labels": (
        *("sparse_categorical_crossentropy", {"from_logits": True}, LABELS, REAL * 30),
        lambda y, z: F.cross_entropy(z, y, reduction="none"),
    ),
    "cross_entropy, ignore_index": (
        *("sparse_categorical_crossentropy", {"from_logits": True, "ignore_class": -100}, IGNORED, REAL),
        lambda y, z: F.cross_entropy(z, y, reduction="none", ignore_index=-100),
    ),
    "cross_entropy, soft labels": (
        *("categorical_crossentropy", {"from_logits": True}, SOFT, REAL),
        lambda y, z: F.cross_entropy(z, y, reduction="none"),
    ),
    "cross_entropy, label_smoothing": (
        *("categorical_crossentropy", {"from_logits": True, "label_smoothing": 0.2}, ONE_HOT, REAL),
        lambda y, z: F.cross_entropy(z, y, reduction="none", label_smoothing=0.2),
    ),
    "nll_loss": (
        *("sparse_categorical_crossentropy", {}, LABELS, DISTRIBUTION),
        lambda y, p: F.nll_loss(torch.log(p / p.sum(-1, keepdim=True)), y, reduction="none"),
    ),
    "kl_div": (
        *("kl_divergence", {}, SOFT, DISTRIBUTION),
        lambda y, p: F.kl_div(torch.log(p), y, reduction="none").sum(-1),
    ),
    "ctc_loss": (
        *("ctc", {}, SEQUENCES, STEPS),
        lambda y, z: F.ctc_loss(
            *(torch.log_softmax(z, -1).transpose(0, 1), y, torch.full((N,), 9), torch.tensor(LENGTHS)),
            reduction="none",
        ),
    ),
}


@pytest.mark.parametrize("case", TORCH)
def test_value_and_gradient_are_those_of_torch(backend: Backend, float64: None, case: str) -> None:
    name, parameters, y_true, y_pred, reference = TORCH[case]
    function = getattr(losses, name)
    value, gradient = with_gradient(backend, function, y_true, y_pred, **parameters)
    leaf = torch.tensor(y_pred, requires_grad=True)
    expected = reference(torch.tensor(y_true), leaf)
    expected.sum().backward()
    agree(function, "torch", value, expected.detach(), **FLOAT64)
    agree(function, "torch", gradient, leaf.grad, quantity="gradient", **FLOAT64)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_reduced_loss_has_the_value_and_gradient_of_torch(backend: Backend, float64: None, reduction: str) -> None:
    """For losses over (N, C) our mean of the rows' means is torch's mean over all elements; the sum is not."""
    loss = losses.MeanSquaredError(reduction=reduction)
    value, gradient = with_gradient(backend, loss, OTHER, REAL)
    leaf = torch.tensor(REAL, requires_grad=True)
    expected = F.mse_loss(leaf, torch.tensor(OTHER), reduction=reduction) / (1 if reduction == "mean" else C)
    expected.backward()
    agree(loss, "torch", value, expected.detach(), **FLOAT64)
    agree(loss, "torch", gradient, leaf.grad, quantity="gradient", **FLOAT64)


def test_ignored_labels_leave_the_mean_as_in_torch(backend: Backend, float64: None) -> None:
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    value, gradient = with_gradient(backend, loss, IGNORED, REAL)
    leaf = torch.tensor(REAL, requires_grad=True)
    expected = F.cross_entropy(leaf, torch.tensor(IGNORED), ignore_index=-100)
    expected.backward()
    agree(loss, "torch", value, expected.detach(), **FLOAT64)
    agree(loss, "torch", gradient, leaf.grad, quantity="gradient", **FLOAT64)


def test_class_weights_per_sample_with_their_own_mean_are_those_of_torch(backend: Backend, float64: None) -> None:
    weights = np.array([0.5, 1.0, 2.0, 4.0])
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    value = backend.to_numpy(loss(LABELS, REAL, sample_weight=weights[LABELS]))
    expected = F.cross_entropy(torch.tensor(REAL), torch.tensor(LABELS), weight=torch.tensor(weights))
    agree(loss, "torch", value, expected, **FLOAT64)


# ── optax ───────────────────────────────────────────────────────────────────────────────────────────────────────

OPTAX: dict[str, tuple[str, dict[str, Any], Any, Any, Callable[[Any, Any], Any]]] = {
    "squared_error": ("mean_squared_error", {}, OTHER, REAL, lambda y, v: optax.squared_error(v, y).mean(-1)),
    "huber_loss": ("huber", {"delta": 1.3}, OTHER, REAL, lambda y, v: optax.huber_loss(v, y, delta=1.3).mean(-1)),
    "log_cosh": ("log_cosh", {}, OTHER, REAL, lambda y, v: optax.log_cosh(v, y).mean(-1)),
    "cosine_similarity": ("cosine_similarity", {}, OTHER, REAL, lambda y, v: -optax.cosine_similarity(v, y)),
    "hinge_loss": ("hinge", {}, SIGNS, REAL, lambda y, v: optax.hinge_loss(v, y).mean(-1)),
    "sigmoid_binary_cross_entropy": (
        *("binary_crossentropy", {"from_logits": True}, BINARY, REAL),
        lambda y, z: optax.sigmoid_binary_cross_entropy(z, y).mean(-1),
    ),
    "softmax_cross_entropy": (
        *("categorical_crossentropy", {"from_logits": True}, SOFT, REAL),
        lambda y, z: optax.softmax_cross_entropy(z, y),
    ),
    "softmax_cross_entropy_with_integer_labels": (
        *("sparse_categorical_crossentropy", {"from_logits": True}, LABELS, REAL),
        lambda y, z: optax.softmax_cross_entropy_with_integer_labels(z, y),
    ),
    "sigmoid_focal_loss": (
        *("binary_focal_crossentropy", {"from_logits": True, "gamma": 3.0}, BINARY, REAL * 5),
        lambda y, z: optax.sigmoid_focal_loss(z, y, gamma=3.0).mean(-1),
    ),
    "sigmoid_focal_loss, alpha": (
        *("binary_focal_crossentropy", {"from_logits": True, "apply_class_balancing": True}, BINARY, REAL),
        lambda y, z: optax.sigmoid_focal_loss(z, y, alpha=0.25, gamma=2.0).mean(-1),
    ),
    "smooth_labels": (
        *("categorical_crossentropy", {"from_logits": True, "label_smoothing": 0.3}, ONE_HOT, REAL),
        lambda y, z: optax.softmax_cross_entropy(z, optax.smooth_labels(y, 0.3)),
    ),
    "kl_divergence": (
        *("kl_divergence", {}, SOFT, DISTRIBUTION),
        lambda y, p: optax.kl_divergence(jax.numpy.log(p), y),
    ),
    "kl_divergence_with_log_targets": (
        *("kl_divergence", {}, SOFT, DISTRIBUTION),
        lambda y, p: optax.losses.kl_divergence_with_log_targets(jax.numpy.log(p), jax.numpy.log(y)),
    ),
    # Of positive scores: where all wrong classes score below 0, it is a deviation.
    "multiclass_hinge_loss": (
        *("categorical_hinge", {}, ONE_HOT, POSITIVE),
        lambda y, v: optax.losses.multiclass_hinge_loss(v, y.argmax(-1)),
    ),
    "l2_loss, doubled": ("mean_squared_error", {}, OTHER, REAL, lambda y, v: 2 * optax.l2_loss(v, y).mean(-1)),
    "cosine_distance": ("cosine_similarity", {}, OTHER, REAL, lambda y, v: optax.cosine_distance(v, y) - 1),
    "safe_softmax_cross_entropy": (
        *("categorical_crossentropy", {"from_logits": True}, SOFT, REAL),
        lambda y, z: optax.safe_softmax_cross_entropy(z, y),
    ),
    "dice_loss": (
        *("dice", {"axis": 1}, CLASS_REGIONS, CLASS_PROBABILITIES),
        lambda y, p: optax.losses.dice_loss(p, y, smooth=0.0, apply_softmax=False, reduction="none"),
    ),
    "binary_dice_loss": (
        *("dice", {"axis": 1}, BINARY, PROBABILITY),
        # With apply_sigmoid=False it refuses every probability but 1.
        lambda y, p: optax.losses.binary_dice_loss(jax.scipy.special.logit(p), y, smooth=0.0),
    ),
    "dice_loss, alpha and beta": (
        *("tversky", {"alpha": 0.3, "beta": 0.8, "axis": 1}, CLASS_REGIONS, CLASS_PROBABILITIES),
        lambda y, p: optax.losses.dice_loss(
            *(p, y), smooth=0.0, alpha=0.3, beta=0.8, apply_softmax=False, reduction="none"
        ),
    ),
    "ctc_loss": (
        *("ctc", {}, SEQUENCES, STEPS),
        lambda y, z: optax.ctc_loss(z, jax.numpy.zeros(z.shape[:2]), y, (y == 0).astype("float64")),
    ),
}


@pytest.fixture
def plain_jax() -> Any:
    """Optax relies on JAX's promotion of dtypes and ranks, and is compared in float64."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("case", OPTAX)
def test_value_and_gradient_are_those_of_optax(backend: Backend, plain_jax: None, case: str) -> None:
    name, parameters, y_true, y_pred, reference = OPTAX[case]
    function = getattr(losses, name)
    value, gradient = with_gradient(backend, function, y_true, y_pred, **parameters)
    expected, pullback = jax.vjp(lambda v: reference(jax.numpy.asarray(y_true), v), jax.numpy.asarray(y_pred))
    slope = pullback(jax.numpy.ones_like(expected))[0]
    agree(function, "optax", value, expected, **FLOAT64)
    agree(function, "optax", gradient, slope, quantity="gradient", **FLOAT64)


# ── scikit-learn ────────────────────────────────────────────────────────────────────────────────────────────────

WEIGHTS = RNG.uniform(0.1, 3, size=N)
SKLEARN: dict[str, tuple[Any, Any, Any, Callable[..., Any]]] = {
    "mean_squared_error": (losses.MeanSquaredError, OTHER, REAL, sklearn.metrics.mean_squared_error),
    "mean_absolute_error": (losses.MeanAbsoluteError, OTHER, REAL, sklearn.metrics.mean_absolute_error),
    "mean_absolute_percentage_error": (
        *(losses.MeanAbsolutePercentageError, OTHER, REAL),
        lambda y, v, sample_weight: (
            100 * sklearn.metrics.mean_absolute_percentage_error(y, v, sample_weight=sample_weight)
        ),
    ),
    "mean_squared_log_error": (
        *(losses.MeanSquaredLogarithmicError, POSITIVE, POSITIVE[::-1]),
        sklearn.metrics.mean_squared_log_error,
    ),
    "log_loss": (
        *(losses.SparseCategoricalCrossentropy, LABELS, DISTRIBUTION),
        lambda y, p, sample_weight: sklearn.metrics.log_loss(y, p, labels=range(C), sample_weight=sample_weight),
    ),
    "log_loss, binary": (
        *(losses.BinaryCrossentropy, BINARY[:, 0], PROBABILITY[:, 0]),
        lambda y, p, sample_weight: sklearn.metrics.log_loss(y, p, labels=[0, 1], sample_weight=sample_weight),
    ),
    "hinge_loss": (
        *(losses.Hinge, SIGNS[:, 0], REAL[:, 0]),
        lambda y, v, sample_weight: sklearn.metrics.hinge_loss(y, v, labels=[-1, 1], sample_weight=sample_weight),
    ),
    "hinge_loss, multiclass": (
        *(losses.CategoricalHinge, ONE_HOT, POSITIVE),
        lambda y, v, sample_weight: sklearn.metrics.hinge_loss(
            y.argmax(-1), v, labels=range(C), sample_weight=sample_weight
        ),
    ),
    "log_loss, one-hot": (
        *(losses.CategoricalCrossentropy, ONE_HOT, DISTRIBUTION),
        lambda y, p, sample_weight: sklearn.metrics.log_loss(
            y.argmax(-1), p, labels=range(C), sample_weight=sample_weight
        ),
    ),
    "paired_cosine_distances": (
        *(losses.CosineSimilarity, OTHER, REAL),
        lambda y, v, sample_weight: np.average(
            sklearn.metrics.pairwise.paired_cosine_distances(y, v) - 1, weights=sample_weight
        ),
    ),
}


@pytest.mark.parametrize("case", SKLEARN)
def test_a_weighted_mean_is_that_of_scikit_learn(backend: Backend, float64: None, case: str) -> None:
    cls, y_true, y_pred, reference = SKLEARN[case]
    value = cls(reduction="mean_with_sample_weight")(y_true, y_pred, sample_weight=WEIGHTS)
    agree(cls, "scikit-learn", backend.to_numpy(value), reference(y_true, y_pred, sample_weight=WEIGHTS), rtol=1e-9)


@pytest.mark.parametrize(
    ("function", "parameters", "reference"),
    [
        (losses.dice, {}, sklearn.metrics.f1_score),
        (losses.tversky, {"alpha": 1.0, "beta": 1.0}, sklearn.metrics.jaccard_score),
    ],
)
def test_losses_of_hard_regions_are_1_minus_the_scores_of_scikit_learn(
    backend: Backend, float64: None, function: Any, parameters: dict[str, Any], reference: Any
) -> None:
    hard = (PROBABILITY > 0.5).astype(float)
    value = backend.to_numpy(function(BINARY, hard, **parameters))
    agree(function, "scikit-learn", value, 1 - reference(BINARY.ravel(), hard.ravel()), rtol=1e-12)
