"""Closed forms: gradient and curvature of one sample's value, where they are cheaper or safer than differentiating twice.

Two shapes of curvature occur. A loss of elements has one number per element. A loss of a softmax has a block per sample,
`scale * (diag(p) - p p^T)`, and its closed form returns `scale * p` and `p` instead of the block.

They are held to automatic differentiation in float64 by the tests, except at kinks that cancel, where differentiating
twice gives a wrong 0: `huber` and `log_cosh` where the prediction is perfect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from multiloss import losses
from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.interface import EPSILON, TINY
from multiloss.losses._classes import smooth_one_hot, smooth_yes_or_no
from multiloss.losses._spec import LossSpec, spec_of


class ClosedForm(NamedTuple):
    """Derivatives of a loss, in closed form."""

    formula: Callable[..., tuple[Tensor, ...]]
    """A function of `(y_true, y_pred, ...)` and some of the parameters of the loss: gradient and curvature of each
    element, or the gradient of each sample, `scale * p` and `p`."""
    requires: tuple[tuple[str, object], ...] = ()
    """Parameters and the values that it holds for. Those that it neither takes nor names here must be at their defaults."""

    @property
    def takes(self) -> tuple[str, ...]:
        """The parameters of the loss that the formula takes."""
        code = self.formula.__code__
        return code.co_varnames[2 : code.co_argcount]

    def applies(self, spec: LossSpec, parameters: Mapping[str, Any]) -> bool:
        """Whether it holds for a loss with these parameters."""
        required = dict(self.requires)
        before = ("axis", "ignore_class") if spec.event == "joint" else ("axis",)  # have acted when a formula runs
        free = {*self.takes, *before}
        fixed = {name: required.get(name, default) for name, default in spec.defaults.items() if name not in free}
        return all(
            value is fixed[name] or (not hasattr(value, "dtype") and value == fixed[name])
            for name, value in parameters.items()
            if name in fixed
        )


_OF_LOGITS = (("from_logits", True),)


# ── Losses of elements ──────────────────────────────────────────────────────────────────────────────────────────


def _squared_error(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    return 2.0 * (y_pred - y_true), K.full(y_pred.shape, 2.0, like=y_pred)


def _huber(y_true: Tensor, y_pred: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    error = y_pred - y_true
    size = K.abs(error)
    inside = K.cast(size < delta, K.dtype(error)) + 0.5 * K.cast(size == delta, K.dtype(error))
    return K.clip(error, -delta, delta), inside


def _log_cosh(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    error = y_pred - y_true
    decay = K.exp(-2.0 * K.abs(error))
    return K.tanh(error), 4.0 * decay / K.square(1.0 + decay)  # 1 - tanh^2 without its cancellation


def _poisson(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    ratio = y_true / (y_pred + EPSILON)
    return 1.0 - ratio, ratio / (y_pred + EPSILON)


def _squared_logarithmic_error(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    error = K.log1p(K.clip(y_pred, EPSILON)) - K.log1p(K.clip(y_true, EPSILON))
    slope = K.where(y_pred < EPSILON, 0.0, 1.0 / (1.0 + K.maximum(y_pred, 0.0)))
    return 2.0 * error * slope, 2.0 * (1.0 - error) * K.square(slope)


def _logistic(y_true: Tensor, y_pred: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    of = _Logit.of(y_pred)
    return of.p - smooth_yes_or_no(y_true, label_smoothing), of.product


class _Logit(NamedTuple):
    """What is made of a logit with one exponential, all with their digits."""

    p: Tensor
    """The sigmoid."""
    q: Tensor
    """`1 - p`."""
    product: Tensor
    """`p * q`."""
    decay: Tensor
    """`exp(-|logit|)`."""

    @classmethod
    def of(cls, logits: Tensor) -> _Logit:
        decay = K.exp(-K.abs(logits))
        larger = 1.0 / (1.0 + decay)
        smaller, below = decay * larger, logits < 0
        return cls(K.where(below, smaller, larger), K.where(below, larger, smaller), smaller * larger, decay)


def _binary_focal(
    y_true: Tensor, y_pred: Tensor, apply_class_balancing: bool, alpha: float, gamma: float, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    target, logits = smooth_yes_or_no(y_true, label_smoothing), K.clip(y_pred, -_SURE, _SURE)
    of = _Logit.of(logits)
    scale, rate, error = _missed(target, of, alpha if apply_class_balancing else None, gamma)
    pull = rate * (K.maximum(logits, 0.0) - target * logits + K.log1p(of.decay))
    bend = rate * ((gamma - 1.0) / gamma) + (of.q - of.p) if gamma else of.q - of.p
    return scale * (pull + error), scale * (pull * bend + 2.0 * rate * error + of.product)


_SURE = 1e4
"""A logit from which on a focal loss is a straight line, or 0."""


def _missed(target: Any, of: _Logit, alpha: float | None, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the cross-entropy of a target is multiplied with, the slope of its logarithm, and that of the former."""
    yes, no = target * of.q, (1.0 - target) * of.p
    missed = yes + no
    scale = K.power(missed, gamma)
    if alpha is not None:
        scale = scale * (target * alpha + (1.0 - target) * (1.0 - alpha))
    # Where nothing is missed, nothing of the product is left either.
    return scale, (gamma - 2.0 * gamma * target) * of.product / K.maximum(missed, TINY), no - yes


# ── Losses of a softmax ─────────────────────────────────────────────────────────────────────────────────────────


def _hard_logistic(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    return _logistic(y_true, y_pred, 0.0)


def _probabilities(logits: Tensor, axis: int) -> Tensor:
    """Return the softmax, without the logarithms of it that `K.softmax` takes on its way."""
    largest = K.max(logits, axis, True)
    powers = K.exp(logits - K.where(K.isfinite(largest), largest, 0.0))
    return powers / K.sum(powers, axis, True)


def _softmax(y_true: Tensor, y_pred: Tensor, label_smoothing: float, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    y_true = smooth_one_hot(y_true, label_smoothing, axis)
    p = _probabilities(y_pred, axis)
    scaled = K.sum(y_true, axis, True) * p
    return scaled - y_true, scaled, p


def _sparse_softmax(y_true: Tensor, y_pred: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    p = _probabilities(y_pred, axis)
    return p - K.one_hot(y_true, p.shape[axis], axis, K.dtype(p)), p, p


# ── Fisher information: the curvature that the predicted distribution expects ───────────────────────────────────


def _poisson_information(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    ratio = y_true / (y_pred + EPSILON)
    return 1.0 - ratio, 1.0 / (y_pred + EPSILON)


def _binary_focal_information(
    y_true: Tensor, y_pred: Tensor, apply_class_balancing: bool, alpha: float, gamma: float, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    logits, balance = K.clip(y_pred, -_SURE, _SURE), alpha if apply_class_balancing else None
    of = _Logit.of(logits)
    above, nats = K.maximum(logits, 0.0), K.log1p(of.decay)

    def slope(target: Any) -> Tensor:
        scale, rate, error = _missed(target, of, balance, gamma)
        return scale * (rate * (above - target * logits + nats) + error)

    gradient = slope(smooth_yes_or_no(y_true, label_smoothing))
    if label_smoothing:
        share = 0.5 * label_smoothing
        return gradient, of.q * K.square(slope(share)) + of.p * K.square(slope(1.0 - share))
    # The same, without what is 0 then.
    of_no = K.power(of.p, gamma) * (gamma * of.q * (above + nats) + of.p)
    of_yes = K.power(of.q, gamma) * (gamma * of.p * (above - logits + nats) + of.q)
    if balance is not None:
        of_no, of_yes = of_no * (1.0 - balance), of_yes * balance
    return gradient, of.q * K.square(of_no) + of.p * K.square(of_yes)


def _softmax_information(y_true: Tensor, y_pred: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    gradient, _, p = _softmax(y_true, y_pred, 0.0, axis)
    return gradient, p, p


# ── The registry ────────────────────────────────────────────────────────────────────────────────────────────────


def _by_spec(table: Mapping[Callable[..., Any], ClosedForm]) -> Mapping[LossSpec, ClosedForm]:
    return {spec: form for fn, form in table.items() if (spec := spec_of(fn)) is not None}


EXACT = _by_spec(
    {
        losses.mean_squared_error: ClosedForm(_squared_error),
        losses.huber: ClosedForm(_huber),
        losses.log_cosh: ClosedForm(_log_cosh),
        losses.poisson: ClosedForm(_poisson),
        losses.mean_squared_logarithmic_error: ClosedForm(_squared_logarithmic_error),
        losses.binary_crossentropy: ClosedForm(_logistic, _OF_LOGITS),
        losses.binary_focal_crossentropy: ClosedForm(_binary_focal, _OF_LOGITS),
        losses.categorical_crossentropy: ClosedForm(_softmax, _OF_LOGITS),
        losses.sparse_categorical_crossentropy: ClosedForm(_sparse_softmax, _OF_LOGITS),
    }
)
"""The second derivative of the value."""

FISHER = _by_spec(
    {
        losses.mean_squared_error: ClosedForm(_squared_error),
        losses.poisson: ClosedForm(_poisson_information),
        losses.binary_crossentropy: ClosedForm(_hard_logistic, _OF_LOGITS),
        losses.binary_focal_crossentropy: ClosedForm(_binary_focal_information, _OF_LOGITS),
        losses.categorical_crossentropy: ClosedForm(_softmax_information, _OF_LOGITS),
        losses.sparse_categorical_crossentropy: ClosedForm(_sparse_softmax, _OF_LOGITS),
    }
)
"""The expected second derivative: of a Gaussian of variance 1/2, a Poisson, a Bernoulli, a categorical distribution."""


def closed_form(choice: str, spec: LossSpec | None, parameters: Mapping[str, Any]) -> ClosedForm | None:
    """Return the closed form of a loss with these parameters, or None."""
    table = {"exact": EXACT, "fisher": FISHER}.get(choice)
    found = None if table is None or spec is None else table.get(spec)
    return found if found is not None and spec is not None and found.applies(spec, parameters) else None
