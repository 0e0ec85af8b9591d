"""Formulas of derivatives of the focal cross-entropies of logits.

With `m = 1 - q`, the share of the probability that a target misses, the value of a target is `m^gamma * -log(q)`. In `log(q)`
its slope is `-(gamma * m^(gamma - 1) * q * -log(q) + m^gamma)`; the logits have theirs by the chain rule.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from multiloss._typing import PerClass, Tensor
from multiloss.derivatives._blocks import Blocks, Pairs
from multiloss.derivatives._formulas import Logit, hot
from multiloss.dispatch import K
from multiloss.interface import TINY
from multiloss.losses._classes import smooth_one_hot, smooth_yes_or_no
from multiloss.losses._evaluation import wide_dtype
from multiloss.losses._focal import factors


def _power(x: Tensor, exponent: float) -> Tensor:
    return K.square(x) if exponent == 2.0 else K.power(x, exponent)


# ── Of a logit ──────────────────────────────────────────────────────────────────────────────────────────────────


def binary_focal(
    y_true: Tensor, y_pred: Tensor, apply_class_balancing: bool, alpha: float, gamma: float, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    target, of = smooth_yes_or_no(y_true, label_smoothing), Logit.of(y_pred)
    of_no, of_yes = of.nats()
    product = of.p * of.q
    missing, scale, rate, error = _missed(target, of, product, alpha if apply_class_balancing else None, gamma)
    pull = rate * (target * of_yes + missing * of_no)
    bend = rate * ((gamma - 1.0) / gamma) + (of.q - of.p) if gamma else of.q - of.p
    return scale * (pull + error), scale * (pull * bend + 2.0 * rate * error + product)


def _missed(
    target: Any, of: Logit, product: Tensor, alpha: float | None, gamma: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return `1 - target`, what its cross-entropy is multiplied with, the slope of its logarithm, and that of the former."""
    missing = 1.0 - target
    yes, no = target * of.q, missing * of.p
    missed = yes + no
    scale = _power(missed, gamma)
    if alpha is not None:
        scale = scale * (target * alpha + missing * (1.0 - alpha))
    # Where nothing is missed, nothing of the product is left either.
    return missing, scale, gamma * (missing - target) * product / K.maximum(missed, TINY), no - yes


def binary_focal_information(
    y_true: Tensor, y_pred: Tensor, apply_class_balancing: bool, alpha: float, gamma: float, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    balance, of = alpha if apply_class_balancing else None, Logit.of(y_pred)
    nats_of_no, nats_of_yes = of.nats()
    product = of.p * of.q

    def slope(target: Any) -> Tensor:
        missing, scale, rate, error = _missed(target, of, product, balance, gamma)
        return scale * (rate * (target * nats_of_yes + missing * nats_of_no) + error)

    gradient = slope(smooth_yes_or_no(y_true, label_smoothing))
    if label_smoothing:
        share = 0.5 * label_smoothing
        return gradient, of.q * K.square(slope(share)) + of.p * K.square(slope(1.0 - share))
    # The same, without what is 0 then.
    of_no = _power(of.p, gamma) * (gamma * of.q * nats_of_no + of.p)
    of_yes = _power(of.q, gamma) * (gamma * of.p * nats_of_yes + of.q)
    if balance is not None:
        of_no, of_yes = of_no * (1.0 - balance), of_yes * balance
    return gradient, of.q * K.square(of_no) + of.p * K.square(of_yes)


def binary_focal_information_of_labels(
    y_true: Tensor, y_pred: Tensor, apply_class_balancing: bool, alpha: float, gamma: float, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return the same for labels of 0 and 1, whose slopes are those that the curvature is made of.

    It is as exact as the largest of these slopes, 1, is: the logarithm of what is almost 1 has lost digits, and is multiplied
    with what is almost 0. Tensors made here are overwritten, which saves a quarter of the time in large blocks.
    """
    if label_smoothing:
        return binary_focal_information(y_true, y_pred, apply_class_balancing, alpha, gamma, label_smoothing)
    of = Logit.of(y_pred)
    of_no = K.log(of.q)
    of_yes = of_no + of.logits  # log(p)
    of_no *= -gamma * of.q
    of_no += of.p
    of_no *= _power(of.p, gamma)
    of_yes *= -gamma * of.p
    of_yes += of.q
    of_yes *= _power(of.q, gamma)
    if apply_class_balancing:
        of_no *= 1.0 - alpha
        of_yes *= alpha
    gradient = 1.0 - y_true
    gradient *= of_no
    gradient -= y_true * of_yes
    of_no *= of_no
    of_no *= of.q
    of_yes *= of_yes
    of_yes *= of.p
    of_no += of_yes
    return gradient, of_no


# ── Of a softmax ────────────────────────────────────────────────────────────────────────────────────────────────


class _Shares(NamedTuple):
    """What is made of logits, for each class."""

    p: Tensor
    missed: Tensor
    """`1 - p`."""
    gain: Tensor
    """`p * -log(p)`, which is 0 where `p` is."""
    scale: Tensor
    """`missed^gamma`."""
    rate: Tensor
    """`gamma * missed^(gamma - 1)`, and 0 where nothing is missed: nothing that it is multiplied with is left there."""

    @classmethod
    def of(cls, logits: Tensor, gamma: float, axis: int) -> _Shares:
        logs = K.log_softmax(K.cast(logits, wide_dtype(logits)), axis)
        p, missed = K.exp(logs), -K.expm1(logs)
        scale = _power(missed, gamma)
        return cls(p, missed, K.multiply_no_nan(p, -logs), scale, gamma * scale / K.maximum(missed, TINY))

    def slope(self) -> Tensor:
        """Return minus the slope of the value of each class in its own log-probability."""
        return self.rate * self.gain + self.scale

    def curvature(self, gamma: float) -> Tensor:
        """Return the second derivative of the value of each class in its own log-probability."""
        straight = 2.0 * self.p - self.gain
        if gamma != 1.0:
            straight = straight + (gamma - 1.0) * self.p * (self.gain / K.maximum(self.missed, TINY))
        return self.rate * straight

    def blocks(self, first: Tensor, second: Tensor, axis: int) -> Pairs:
        """Return the blocks, given the sum over classes of slopes, and second derivatives for each class."""
        total = K.sum(second, axis, True)
        diagonal = second * K.square(self.missed) + K.square(self.p) * (total - second) - first * self.p * self.missed
        return Pairs(diagonal, second - 0.5 * (first + total) * self.p, self.p)


def categorical_focal(
    y_true: Tensor, y_pred: Tensor, alpha: PerClass, gamma: float, label_smoothing: float, axis: int
) -> tuple[Tensor, Blocks]:
    of = _Shares.of(y_pred, gamma, axis)
    target = factors(alpha, of.p, axis) * smooth_one_hot(y_true, label_smoothing, axis)
    slopes = -target * of.slope()
    first = K.sum(slopes, axis, True)
    return slopes - of.p * first, of.blocks(first, target * of.curvature(gamma), axis)


def sparse_categorical_focal(
    y_true: Tensor, y_pred: Tensor, alpha: PerClass, gamma: float, label_smoothing: float, axis: int
) -> tuple[Tensor, Blocks]:
    return categorical_focal(hot(y_true, y_pred, axis), y_pred, alpha, gamma, label_smoothing, axis)


def categorical_focal_information(
    y_true: Tensor, y_pred: Tensor, alpha: PerClass, gamma: float, axis: int
) -> tuple[Tensor, Blocks]:
    of = _Shares.of(y_pred, gamma, axis)
    each = -factors(alpha, of.p, axis) * of.slope()
    slopes = y_true * each
    gradient = slopes - of.p * K.sum(slopes, axis, True)
    return gradient, of.blocks(K.zeros_like(gradient), of.p * K.square(each), axis)


def sparse_categorical_focal_information(
    y_true: Tensor, y_pred: Tensor, alpha: PerClass, gamma: float, axis: int
) -> tuple[Tensor, Blocks]:
    return categorical_focal_information(hot(y_true, y_pred, axis), y_pred, alpha, gamma, axis)
