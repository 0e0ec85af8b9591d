"""Data for the tests of the boosting libraries: one problem for each kind of objective."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from multiloss import backend as K
from multiloss import losses


class Problem(NamedTuple):
    """Features, targets, and a loss for them."""

    x: Any
    y: Any
    loss: Any


def problems(rows: int = 400, seed: int = 0) -> dict[str, Problem]:
    """Return problems by the name of what is predicted. Features have few values, so that copies of rows bin alike."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 9, size=(rows, 5)) / 4.0
    z = x[:, 0] + x[:, 1] ** 2 - 1.0
    return {
        "values": Problem(x, z + 100.0 + 0.1 * rng.normal(size=rows), "mean_squared_error"),
        "labels": Problem(x, (z + rng.normal(size=rows) > 0).astype(float), "binary_crossentropy"),
        "counts": Problem(x, rng.poisson(np.exp(0.4 * z)).astype(float), "poisson"),
        "classes": Problem(x, np.digitize(z, [-0.5, 1.0]).astype(float), losses.SparseCategoricalCrossentropy()),
    }


PROBLEMS = problems()
WEIGHTS = np.random.default_rng(1).uniform(0.2, 3.0, 400)
COPIES = np.random.default_rng(2).integers(1, 4, 400)
"""How often a row is there, or how much it weighs."""


# ── Losses with named inputs ────────────────────────────────────────────────────────────────────────────────────

_RNG = np.random.default_rng(4)
TEACHER = _RNG.normal(100.0, 2.0, 400)
"""Values, as a teacher predicts them."""
TEACHER_SHARES = _RNG.uniform(0.05, 0.95, 400)
"""Probabilities of the label."""
TEACHER_LOGITS = _RNG.normal(size=(400, 3))
"""Of the classes."""
VARIANCE = _RNG.uniform(0.2, 3.0, 400)


def halfway(y_true, y_pred, teacher):
    """Half the squared error of the mean of target and teacher."""
    return 0.5 * K.mean(K.square(y_pred - 0.5 * (y_true + teacher)), axis=-1)


def gaussian_nll(y_true, y_pred, variance):
    """Half the squared error, divided by a variance that is known, and the logarithm of that."""
    return 0.5 * K.mean(K.log(variance) + K.square(y_true - y_pred) / variance, axis=-1)


def distilled_labels(y_true, y_pred, *, teacher, from_logits=False):
    """Cross-entropy of the mean of a label and a teacher's probability."""
    return losses.binary_crossentropy(0.5 * (y_true + teacher), y_pred, from_logits)


class Distillation(losses.Loss):
    """The mean of the cross-entropies with the class and with what a teacher says, softened by a temperature."""

    def __init__(self, temperature=2.0, from_logits=False, **settings):
        super().__init__(**settings)
        self.temperature = temperature
        self.from_logits = from_logits

    def call(self, y_true, y_pred, *, teacher):
        soft = K.softmax(teacher / self.temperature)
        logits = y_pred if self.from_logits else K.log(y_pred)
        softened = K.categorical_crossentropy(soft, logits / self.temperature, from_logits=True)
        return 0.5 * (K.sparse_categorical_crossentropy(y_true, y_pred, self.from_logits) + softened)


def distillation_of_shares(y_true, y_pred, *, teacher, temperature=2.0):
    """The same of probabilities alone, as a function."""
    return Distillation(temperature, reduction="none")(y_true, y_pred, teacher=teacher)


def softmax(logits):
    """Return the shares of classes."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def distillation_by_hand(labels, logits, teacher, weights=None, temperature=2.0):
    """Return the gradient of the distillation above and the diagonal of its Hessian, written down."""
    weights = np.ones(len(logits)) if weights is None or not len(weights) else weights
    p, softened, soft = (softmax(each) for each in (logits, logits / temperature, teacher / temperature))
    gradient = 0.5 * (p - np.eye(logits.shape[1])[labels.astype(int)] + (softened - soft) / temperature)
    hessian = 0.5 * (p * (1.0 - p) + softened * (1.0 - softened) / temperature**2)
    return weights[:, None] * gradient, weights[:, None] * hessian
