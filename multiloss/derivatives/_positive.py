"""Curvatures that are never negative: the Fisher information, Gauss and Newton's, and a constant one.

Each is a sum over samples of outer products of first derivatives, so a loss need not be convex, nor twice differentiable.
"""

from __future__ import annotations

from collections.abc import Callable

from multiloss._errors import ArgumentError, NotSupportedError
from multiloss._typing import Tensor
from multiloss.derivatives._samples import Samples
from multiloss.derivatives._shapes import Form, Structure, shaped, unit_vectors
from multiloss.dispatch import K
from multiloss.interface import EPSILON, Backend
from multiloss.losses._spec import LossSpec


def outer(left: Tensor, right: Tensor, axis: int | None, form: Form) -> Tensor:
    """Return the outer products over the classes of each sample, or their diagonal or bound; squares without classes."""
    if form == "diagonal" or axis is None:
        return left * right
    if form == "bound":
        return K.abs(left) * K.sum(K.abs(right), axis, True)
    return K.expand_dims(K.moveaxis(left, axis, -1), -1) * K.expand_dims(K.moveaxis(right, axis, -1), -2)


def gauss_newton(
    backend: Backend, values: Tensor, gradient: Tensor, at_zero: Tensor, samples: Samples, form: Form
) -> Tensor:
    """Return the outer product of the derivatives of the residual `sqrt(2 * value)`: `g g^T / (2 value)`.

    Args:
        backend: whose tensors these are.
        values: one per sample, at least 0, without weights.
        gradient: of the sum of the values.
        at_zero: the Hessian to return where a value is 0.
        samples: what the values are of.
        form: of the Hessian.

    Raises:
        ArgumentError: for a value below 0, where values can be looked at.
    """
    if backend.has_values(values) and backend.to_numpy(K.any(values < 0)):
        raise ArgumentError(
            "hessian='gauss_newton' is the curvature of half the square of sqrt(2 * loss), and a value of this loss is below "
            "0. Expected a loss of at least 0: use hessian='exact' or 'fisher'."
        )
    axis = samples.structure.axis
    perfect = values == 0
    scale = samples.counts / K.where(perfect, 1.0, 2.0 * values)
    if axis is not None:
        scale, perfect = K.expand_dims(scale, axis), K.expand_dims(perfect, axis)
    result = outer(gradient * scale, gradient, axis, form)
    if form == "block" and axis is not None:
        perfect = K.expand_dims(K.moveaxis(perfect, axis, -1), -1)
    return K.where(K.broadcast_to(perfect, result.shape), at_zero, result)


def identity(y_pred: Tensor, counts: Tensor, structure: Structure, form: Form) -> Tensor:
    """Return `counts` on the diagonal."""
    return shaped([each * counts for each in unit_vectors(y_pred, structure.axis)], structure.axis, form)


def fisher(
    gradient_for: Callable[[Tensor], Tensor],
    samples: Samples,
    form: Form,
) -> Tensor:
    """Return the outer product of the gradient that is expected for labels drawn from the predicted distribution.

    Args:
        gradient_for: the gradient of the sum of the unweighted values, given targets.
        samples: the batch.
        form: of the Hessian.

    Raises:
        NotSupportedError: if predictions are no distribution.
    """
    targets, likelihoods = _labels(samples)
    axis = samples.structure.axis
    counts = samples.counts_of_entries * samples.structure.averaged  # each of two gradients has its share of a mean
    wanted: Form = "block" if form == "bound" else form  # magnitudes of a sum, not a sum of magnitudes
    total: Tensor = 0.0
    for labels, likelihood in zip(targets, likelihoods, strict=True):
        gradient = gradient_for(labels)
        total = total + outer(likelihood * counts * gradient, gradient, axis, wanted)
    if form == "bound" and axis is not None:
        total = K.moveaxis(K.sum(K.abs(total), -1), -1, axis)
    return total


def _labels(samples: Samples) -> tuple[list[Tensor], list[Tensor]]:
    """Return targets for each possible label, and how likely each is by the prediction."""
    spec, y_true, y_pred, axis = samples.spec, samples.y_true, samples.y_pred, samples.structure.axis
    from_logits = bool(samples.parameters.get("from_logits"))
    ignores = samples.parameters.get("ignore_class") is not None
    if spec is not None and axis is None and spec.target == "probability" and not ignores:
        p = K.sigmoid(y_pred) if from_logits else K.clip(y_pred, EPSILON, 1.0 - EPSILON)
        q = K.sigmoid(-y_pred) if from_logits else 1.0 - p
        return [K.zeros_like(y_pred), K.ones_like(y_pred)], [q, p]
    if spec is not None and axis is not None and spec.prediction.startswith("distribution"):
        p = K.softmax(y_pred, axis) if from_logits else K.normalized_probabilities(y_pred, axis)
        p = K.moveaxis(p, axis, -1)
        likelihoods = [K.expand_dims(p[..., k], axis) for k in range(p.shape[-1])]
        if spec.target == "class index":
            return [K.full(y_true.shape, k, like=y_true) for k in range(p.shape[-1])], likelihoods
        return unit_vectors(y_pred, axis), likelihoods
    raise NotSupportedError(
        f"hessian='fisher' expects a curvature over the labels that a prediction thinks likely, and {_name(spec)} does not "
        "predict a distribution of labels, or ignores some of them. Use hessian='exact' or 'gauss_newton'."
    )


def _name(spec: LossSpec | None) -> str:
    return "a custom loss" if spec is None else spec.name
