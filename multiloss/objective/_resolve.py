"""What a name or function stands for, where the loss and the shapes have a say: "accuracy", "crossentropy".

Keras 3 looks at the shapes alone, and so scores multi-label predictions by their argmax and hinge's labels of -1 and 1
against a threshold of 0.5. Here the loss is asked first: it knows what its targets and predictions are.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from multiloss import losses, metrics
from multiloss._boundary import align_weights, match_ranks, normalize_axis
from multiloss._errors import ArgumentError
from multiloss._names import snake_case
from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.losses import Loss, LossFunctionWrapper, Sum
from multiloss.losses._classes import by_class
from multiloss.losses._composition import as_loss as loss_of
from multiloss.losses._crossentropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from multiloss.losses._spec import spec_of
from multiloss.metrics import MeanMetricWrapper, Metric

Kind = Literal["binary", "sparse", "categorical"]

ACCURACY = ("accuracy", "acc")
CROSSENTROPY = ("crossentropy", "ce")
_TARGETS: Mapping[Kind, str] = {"binary": "probability", "sparse": "class index", "categorical": "one-hot"}

_CROSSENTROPIES: Mapping[Kind, Loss] = {
    "binary": BinaryCrossentropy(),
    "sparse": SparseCategoricalCrossentropy(),
    "categorical": CategoricalCrossentropy(),
}


# ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────────────


class CrossentropyByShapes(Loss):
    """The cross-entropy that fits the shapes of each call: what "crossentropy" and "ce" mean as a loss."""

    def __init__(self) -> None:
        super().__init__("crossentropy")


def as_loss(identifier: Any) -> Loss | None:
    """Return the loss instance that a name, config, class, function or instance stands for; None stays None.

    Raises:
        UnknownNameError: for a name that is not known.
        ArgumentError: for a reduction of "none", or something that is no loss.
    """
    if isinstance(identifier, str) and identifier.lower() in CROSSENTROPY:
        return CrossentropyByShapes()
    found = losses.get(identifier)
    if found is None:
        return None
    loss = loss_of(found)
    if loss.reduction == "none":
        raise ArgumentError(f"{loss!r} has reduction='none', and an objective is one number. Choose another reduction.")
    return loss


def concrete(loss: Loss, y_true: Tensor, y_pred: Tensor) -> Loss:
    """Return the loss that is meant for these shapes."""
    return _CROSSENTROPIES[kind_by_shapes(y_true, y_pred)] if isinstance(loss, CrossentropyByShapes) else loss


# ── Metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Resolved(NamedTuple):
    """A metric, and what must be done to the arguments before it sees them."""

    metric: Metric
    axis: int = -1
    """The one that holds the classes, which accuracies expect last."""
    ignore_class: int | None = None
    kind: Kind = "sparse"

    def prepare(self, y_true: Tensor, y_pred: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the arguments with the classes last and ignored labels masked."""
        if self.axis not in (-1, y_pred.ndim - 1):
            at = normalize_axis(self.axis, y_pred.ndim)
            y_true = K.moveaxis(y_true, at, -1) if y_true.ndim == y_pred.ndim else y_true
            y_pred = K.moveaxis(y_pred, at, -1)
        if self.ignore_class is not None:
            if self.kind == "categorical":
                kept = by_class("one-hot", y_true, y_pred, {"ignore_class": self.ignore_class}).kept
            elif self.kind == "binary":  # each label by itself
                y_true, y_pred = match_ranks(y_true, y_pred)
                kept = y_true != self.ignore_class
                y_true, y_pred = K.expand_dims(y_true, -1), K.expand_dims(y_pred, -1)
            else:
                kept = (K.squeeze(y_true, -1) if y_true.ndim == y_pred.ndim else y_true) != self.ignore_class
            if mask is not None:
                mask = align_weights(mask if K.dtype(mask) == "bool" else mask != 0, kept.shape, "mask")
            mask = kept if mask is None else kept & mask
        return y_true, y_pred, mask


def is_automatic(identifier: Any) -> bool:
    """Whether the loss and the shapes decide which metric this is."""
    return isinstance(identifier, str) and identifier.lower() in (*ACCURACY, *CROSSENTROPY)


def as_metric(identifier: Any) -> tuple[str, Metric]:
    """Return a metric and the name it is shown under: the string that was given, else its own.

    Raises:
        UnknownNameError: for a name that is not known.
        ArgumentError: for something that is no metric of targets and predictions.
    """
    found = metrics.get(identifier)
    if not isinstance(found, Metric):
        own = getattr(found, "name", None) or getattr(found, "__name__", None) or type(found).__name__
        found = MeanMetricWrapper(found, name=snake_case(str(own).strip("<>")))
    arguments = inspect.signature(found.update).parameters
    if "y_pred" not in arguments and not any(each.kind is each.VAR_POSITIONAL for each in arguments.values()):
        raise ArgumentError(
            f"{found!r} takes in {', '.join(list(arguments)[1:])}, not targets and predictions. Give a metric of "
            "(y_true, y_pred), such as a function over multiloss.backend, and keep this one beside the objective."
        )
    return (identifier if isinstance(identifier, str) else str(found.name)), found


def resolve(name: str, loss: Loss | None, y_true: Tensor, y_pred: Tensor) -> Resolved:
    """Return what "accuracy", "acc", "crossentropy" or "ce" stands for beside this loss and these shapes.

    Raises:
        ArgumentError: for the cross-entropy of signed scores.
    """
    loss = None if loss is None else _telling(concrete(loss, y_true, y_pred))
    spec = spec_of(loss.fn) if isinstance(loss, LossFunctionWrapper) else None
    parameters = dict(loss.parameters) if spec is not None and isinstance(loss, LossFunctionWrapper) else {}
    from_logits = bool(parameters.get("from_logits", False))
    signed = spec is not None and spec.target == "sign"
    kind = kind_by_shapes(y_true, y_pred)
    if spec is not None:
        if signed or (spec.prediction == "probability or logit" and spec.event == "mean"):
            kind = "binary"
        elif spec.target == "class index":
            kind = "sparse"
        elif spec.target == "one-hot" and y_pred.shape and y_pred.shape[parameters.get("axis", -1)] > 1:
            kind = "categorical"
    axis = parameters.get("axis", -1) if kind != "binary" else -1
    ignore_class = parameters.get("ignore_class") if spec is not None and spec.target == _TARGETS[kind] else None
    if name.lower() in CROSSENTROPY and signed:
        raise ArgumentError(
            f"The metric {name!r} beside the loss {loss!r}: a cross-entropy needs probabilities or logits, and these are "
            "signed scores. Use 'accuracy' or 'hinge', or name a cross-entropy metric in full."
        )
    metric: Metric
    if name.lower() in ACCURACY:
        if kind == "binary":
            metric = metrics.BinaryAccuracy(name, threshold=0.0 if signed or from_logits else 0.5)
        else:
            metric = metrics.SparseCategoricalAccuracy(name) if kind == "sparse" else metrics.CategoricalAccuracy(name)
    elif kind == "binary":
        metric = metrics.BinaryCrossentropy(name, from_logits=from_logits, ignore_class=ignore_class)
        ignore_class = None
    elif kind == "sparse":
        metric = metrics.SparseCategoricalCrossentropy(name, from_logits=from_logits)
    else:
        metric = metrics.CategoricalCrossentropy(name, from_logits=from_logits)
    return Resolved(metric, axis, ignore_class, kind)


def _telling(loss: Loss) -> Loss:
    """Return the part of a sum that knows what its targets are, if one does; any other loss as it is."""
    if not isinstance(loss, Sum):
        return loss
    known = [(each, spec_of(each.fn)) for each in loss._leaves().values() if isinstance(each, LossFunctionWrapper)]
    return next((each for each, spec in known if spec is not None and spec.target != "real"), loss)


def kind_by_shapes(y_true: Tensor, y_pred: Tensor) -> Kind:
    """Return which kind of classification the shapes look like.

    (N,) or (N, 1) predictions are binary, targets without the last axis or with a 1 there are class indices, and equal
    shapes of (..., C) are one-hot.
    """
    matched_true, matched_pred = match_ranks(y_true, y_pred)
    if matched_true.ndim == matched_pred.ndim and y_true.ndim != y_pred.ndim:
        return "binary"
    if not y_pred.ndim or (y_pred.ndim == y_true.ndim == 1) or y_pred.shape[-1] == 1:
        return "binary"
    return "sparse" if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1 else "categorical"
