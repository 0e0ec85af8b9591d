"""Which entries of `y_pred` belong to one sample, and in which form their Hessian is wanted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from multiloss._boundary import normalize_axis
from multiloss._errors import NotSupportedError, ShapeError
from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.losses import Loss, LossFunctionWrapper
from multiloss.losses._spec import LossSpec, spec_of

Form = Literal["diagonal", "block", "bound"]
FORMS: Sequence[str] = ("diagonal", "block", "bound")


class Structure(NamedTuple):
    """How the entries of `y_pred` depend on each other."""

    axis: int | None
    """The axis of the classes, whose entries share a value; None if each entry has a value of its own."""
    averaged: int = 1
    """How many entries are averaged into one value."""


def spec_and_parameters(loss: Loss) -> tuple[LossSpec | None, dict[str, Any]]:
    """Return the facts about a loss and all of its parameters; None and nothing for a custom one."""
    spec = spec_of(loss.fn) if isinstance(loss, LossFunctionWrapper) else None
    if spec is None or not isinstance(loss, LossFunctionWrapper):
        return None, {}
    return spec, {**spec.defaults, **loss.parameters}


def with_parameters(loss: Loss, **changes: Any) -> Loss:
    """Return a copy of a loss with other parameters or another reduction."""
    changed = copy.copy(loss)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def structure_of(loss: Loss, y_pred: Tensor, values: Callable[[], Tensor]) -> Structure:
    """Return how the entries of `y_pred` depend on each other; `values` computes one value per sample.

    Raises:
        NotSupportedError: if samples depend on each other.
        ShapeError: if a custom loss has neither one value per sample nor one per entry.
    """
    spec, parameters = spec_and_parameters(loss)
    if spec is not None:
        if not spec.samplewise or spec.event in ("ratio", "row"):
            raise NotSupportedError(
                f"{spec.name} has no Hessian per sample: its value is one of a whole sequence, or relates samples to each "
                "other. Use value_and_grad for its gradient."
            )
        if spec.required:
            raise NotSupportedError(
                f"{spec.name} has no Hessian for what {', '.join(spec.required)} is applied to. Use value_and_grad for its "
                "gradient, or the loss of the logits for a Hessian of those."
            )
        axis = normalize_axis(parameters.get("axis", -1), y_pred.ndim)
        if spec.event == "joint":
            return Structure(axis)
        # (N,) predictions are N samples of one value.
        return Structure(None, 1 if y_pred.ndim == 1 else y_pred.shape[axis])
    shape, given = tuple(values().shape), tuple(y_pred.shape)
    if shape == given:
        return Structure(None)
    if given and shape == given[:-1] and shape:
        return Structure(len(given) - 1)
    raise ShapeError(
        f"{type(loss).__name__} returned values of shape {shape} for y_pred of shape {given}. Expected one value per "
        f"sample {given[:-1]}, or per entry {given}, so that second derivatives of samples can be told apart. Return it "
        "from call(); if each prediction is a sample, pass y_pred of shape (N, 1)."
    )


def unit_vectors(y_pred: Tensor, axis: int | None) -> list[Tensor]:
    """Return ones, or for each class the tensor that is 1 in its entries: what the Hessian is to be multiplied with."""
    shape = tuple(y_pred.shape)
    if axis is None:
        return [K.ones_like(y_pred)]
    classes = K.arange(shape[axis], like=y_pred)
    ends = (1,) * axis, (1,) * (len(shape) - axis - 1)
    along = [K.cast(classes == k, K.dtype(y_pred)) for k in range(shape[axis])]
    return [K.broadcast_to(K.reshape(each, (*ends[0], shape[axis], *ends[1])), shape) for each in along]


def shaped(columns: Sequence[Tensor], axis: int | None, form: Form) -> Tensor:
    """Return the Hessian in a form, given its product with each of the `unit_vectors`."""
    if axis is None:
        return K.abs(columns[0]) if form == "bound" else columns[0]
    if form == "bound":
        return sum((K.abs(each) for each in columns[1:]), K.abs(columns[0]))
    if form == "block":
        return K.stack([K.moveaxis(each, axis, -1) for each in columns], -1)
    entries = [K.moveaxis(each, axis, -1)[..., k] for k, each in enumerate(columns)]
    return K.stack(entries, axis)


def on_diagonal(block: tuple[int, ...], like: Tensor) -> Tensor:
    """Return True on the diagonal of the last two axes of a shape, which are equal."""
    classes = K.arange(block[-1], like=like)
    same = K.expand_dims(classes, 0) == K.expand_dims(classes, 1)
    return K.broadcast_to(K.reshape(same, (1,) * (len(block) - 2) + block[-2:]), block)


def raised(hessian: Tensor, floor: Tensor, axis: int | None, form: Form) -> Tensor:
    """Return the Hessian with its diagonal raised to `floor` where it is lower: a number, or one per entry of `y_pred`."""
    if form != "block" or axis is None:
        return K.maximum(hessian, floor)
    if isinstance(floor, float):
        return K.where(on_diagonal(tuple(hessian.shape), hessian), K.maximum(hessian, floor), hessian)
    floor = K.broadcast_to(K.expand_dims(K.moveaxis(floor, axis, -1), -1), hessian.shape)
    return K.where(on_diagonal(tuple(hessian.shape), hessian), K.maximum(hessian, floor), hessian)
