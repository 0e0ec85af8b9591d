"""Formulas of derivatives: gradient and curvature of the value of one sample, of losses of elements and of a softmax."""

from __future__ import annotations

from typing import NamedTuple

from multiloss._typing import Tensor
from multiloss.derivatives._blocks import Blocks, Softmax
from multiloss.dispatch import K
from multiloss.interface import EPSILON
from multiloss.losses._classes import along, smooth_one_hot, smooth_yes_or_no
from multiloss.losses._evaluation import wide_dtype

# ── Losses of elements ──────────────────────────────────────────────────────────────────────────────────────────


def squared_error(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    return 2.0 * (y_pred - y_true), K.full(y_pred.shape, 2.0, like=y_pred)


def huber(y_true: Tensor, y_pred: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    error = y_pred - y_true
    size = K.abs(error)
    inside = K.cast(size < delta, K.dtype(error)) + 0.5 * K.cast(size == delta, K.dtype(error))
    return K.clip(error, -delta, delta), inside


def log_cosh(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    error = y_pred - y_true
    decay = K.exp(-2.0 * K.abs(error))
    return K.tanh(error), 4.0 * decay / K.square(1.0 + decay)  # 1 - tanh^2 without its cancellation


def poisson(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    ratio = y_true / (y_pred + EPSILON)
    return 1.0 - ratio, ratio / (y_pred + EPSILON)


def squared_logarithmic_error(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    error = K.log1p(K.clip(y_pred, EPSILON)) - K.log1p(K.clip(y_true, EPSILON))
    slope = K.where(y_pred < EPSILON, 0.0, 1.0 / (1.0 + K.maximum(y_pred, 0.0)))
    return 2.0 * error * slope, 2.0 * (1.0 - error) * K.square(slope)


def poisson_information(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """The expected curvature, of counts with that mean."""
    ratio = y_true / (y_pred + EPSILON)
    return 1.0 - ratio, 1.0 / (y_pred + EPSILON)


# ── Losses of a logit ───────────────────────────────────────────────────────────────────────────────────────────

_EDGES = {"float64": 700.0}
_EDGE = 80.0
"""How far a logit may be, in a dtype, for its exponential and the inverse of that to be numbers. What is beyond makes no
difference."""


class Logit(NamedTuple):
    """What is made of a logit with one exponential, all with their digits."""

    logits: Tensor
    """At least in float32, and not so far that an exponential is infinite."""
    p: Tensor
    """The sigmoid."""
    q: Tensor
    """`1 - p`."""
    odds: Tensor
    """`p / q`."""

    @classmethod
    def of(cls, logits: Tensor) -> Logit:
        """Return it, with no branch between signs, which would take longer than a division."""
        dtype = wide_dtype(logits)
        edge = _EDGES.get(dtype, _EDGE)
        logits = K.clip(K.cast(logits, dtype), -edge, edge)
        odds = K.exp(logits)
        q = 1.0 / (1.0 + odds)
        return cls(logits, odds * q, q, odds)

    def nats(self) -> tuple[Tensor, Tensor]:
        """Return `-log(q)` and `-log(p)`."""
        above, common = K.maximum(self.logits, 0.0), K.log1p(K.minimum(self.odds, 1.0 / self.odds))
        return above + common, (above - self.logits) + common


def logistic(y_true: Tensor, y_pred: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    of = Logit.of(y_pred)
    return of.p - smooth_yes_or_no(y_true, label_smoothing), of.p * of.q


def logistic_information(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    return logistic(y_true, y_pred, 0.0)


# ── Losses of a softmax ─────────────────────────────────────────────────────────────────────────────────────────


def probabilities(logits: Tensor, axis: int) -> Tensor:
    """Return the softmax, without the logarithms of it that `K.softmax` takes on its way."""
    largest = K.max(logits, axis, True)
    powers = K.exp(logits - K.where(K.isfinite(largest), largest, 0.0))
    return powers * (1.0 / K.sum(powers, axis, True))


def hot(labels: Tensor, like: Tensor, axis: int) -> Tensor:
    """Return one-hot labels in the shape and dtype of predictions."""
    classes = K.arange(like.shape[axis], dtype=K.dtype(labels), like=labels)
    return K.cast(K.expand_dims(labels, axis) == along(classes, axis, like.ndim), K.dtype(like))


def softmax(y_true: Tensor, y_pred: Tensor, label_smoothing: float, axis: int) -> tuple[Tensor, Blocks]:
    y_true = smooth_one_hot(y_true, label_smoothing, axis)
    p = probabilities(y_pred, axis)
    scaled = K.sum(y_true, axis, True) * p
    return scaled - y_true, Softmax(scaled, p)


def softmax_information(y_true: Tensor, y_pred: Tensor, axis: int) -> tuple[Tensor, Blocks]:
    p = probabilities(y_pred, axis)
    return K.sum(y_true, axis, True) * p - y_true, Softmax(p, p)


def sparse_softmax(y_true: Tensor, y_pred: Tensor, axis: int) -> tuple[Tensor, Blocks]:
    p = probabilities(y_pred, axis)
    return p - hot(y_true, p, axis), Softmax(p, p)
