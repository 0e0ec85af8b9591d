"""`RawLoss`: a loss as boosting sees it, a function of raw scores."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from multiloss._errors import ArgumentError, LabelError, NamedInputError, NotSupportedError, ShapeError
from multiloss._registry import owner_of
from multiloss._typing import Tensor, TensorLike
from multiloss.derivatives._formulas import hot
from multiloss.derivatives._shapes import Form, spec_and_parameters, with_parameters
from multiloss.derivatives._transform import Curvature, scaled_grad_and_hessian
from multiloss.dispatch import K
from multiloss.integrations._boosting._link import Link, link_of
from multiloss.losses import Loss, LossFunctionWrapper, Sum, mean_squared_error, poisson
from multiloss.losses._composition import as_loss
from multiloss.losses._spec import spec_of

FLOOR = 1e-16
"""The least curvature of a prediction, as in XGBoost: where a sigmoid saturates there is none left."""


class RawLoss:
    """A loss of raw scores, with its derivatives summed over samples, whatever the reduction of the loss.

    Args:
        loss: a loss, its name, or a function of `(y_true, y_pred)`.
        link: its name; by default what the loss predicts decides.
        hessian: as in `grad_and_hessian`.
        floor: the least curvature of a sample.
        inputs: the loss's named inputs, with a row for each of the training data.

    Raises:
        NamedInputError: for an input that the loss does not take, or one that is missing.
        UnknownNameError: for an unknown name.
        NotSupportedError: for a loss without the curvature that is asked for.
    """

    def __init__(
        self,
        loss: Any,
        link: str | None,
        hessian: Curvature,
        floor: float,
        inputs: Mapping[str, TensorLike] | None = None,
    ) -> None:
        found = as_loss(loss)
        given = {name: each for name, each in (inputs or {}).items() if each is not None}
        name = found.name or type(found).__name__
        missing = [each for each in found._inputs.required if each not in given]
        if missing:
            raise NamedInputError(
                f"{name} needs {missing[0]}= in every call, and it is missing. To train, pass inputs={{{missing[0]!r}: ...}} "
                "with a row for each of the training data. As a metric it cannot act, since data sets for evaluation have no "
                "named inputs: show another loss."
            )
        found._inputs.check(name, given)
        self.inputs = {name: to_host(K.asarray(each)) for name, each in given.items()}
        shared = found._inputs.shared
        self.by_row = {name for name, each in self.inputs.items() if each.ndim and name not in shared}
        """The named inputs that have a row for each of the training data."""
        self.loss = with_parameters(found, reduction="sum", dtype=None)
        self.link: Link = link_of(self.loss, link)
        self.hessian = hessian
        self.floor = floor
        own, _ = spec_and_parameters(self.loss)
        self.spec, self.parameters = spec_and_parameters(_first(self.loss))
        self.name = name
        self.of_raw = _of_raw(self.loss, self.link)
        self.halved = own is spec_of(mean_squared_error)
        self.counts = own is spec_of(poisson) and self.link.name == "log"
        self.several = self.link.name == "softmax" or (self.spec is not None and self.spec.event == "joint")
        self.derive("diagonal")  # raises now, not in the first round

    def derive(self, form: Form, enlarged: float = 1.0) -> Callable[..., tuple[Tensor, Tensor]]:
        """Return a function of `(targets, raw, weights)` that gives gradient and Hessian of the sum.

        That of a squared error is half of it, as in every library of boosting. The Hessian is multiplied by `enlarged`.
        """
        if self.counts and self.hessian in ("exact", "fisher"):
            return functools.partial(self._of_counts, enlarged)
        scale = 0.5 if self.halved else 1.0
        return scaled_grad_and_hessian(self.of_raw, self.hessian, form, self.floor, (scale, scale * enlarged))

    def _of_counts(self, enlarged: float, y_true: Tensor, raw: Tensor, weight: Tensor = None) -> tuple[Tensor, Tensor]:
        mean = K.exp(raw)
        gradient, curvature = mean - y_true, K.maximum(mean, self.floor) * enlarged
        return (gradient, curvature) if weight is None else (gradient * weight, curvature * weight)

    def derivatives(
        self,
        labels: TensorLike,
        raw: TensorLike,
        weight: TensorLike,
        form: Form = "diagonal",
        rows: Any = None,
        enlarged: float = 1.0,
    ) -> tuple[Any, Any]:
        """Return gradient and Hessian as host arrays, for raw scores (N, 1) or (N, K), targets (N,) and weights (N,) or None.

        They are those of `derive`. `rows` says which of the rows of named inputs, as host arrays, these are; None: all.

        Raises:
            LabelError: for labels that the loss is not made for.
            ShapeError: for another number of scores than the loss takes, and for named inputs with another number of rows.
        """
        if rows is None:
            self.check_rows(len(raw))
        targets = self.targets(labels, raw)
        if weight is not None and self.counts:
            weight = weight.reshape(-1, 1)
        inputs = self.inputs
        if rows is not None:
            inputs = {name: each[rows] if name in self.by_row else each for name, each in inputs.items()}
        gradient, curvature = self.derive(form, enlarged)(targets, raw, weight, **inputs)
        return to_host(gradient), to_host(curvature)

    def check_rows(self, count: int) -> None:
        """Raise if the named inputs have another number of rows than the training data.

        Raises:
            ShapeError: with both numbers.
        """
        for name in sorted(self.by_row):
            if len(self.inputs[name]) != count:
                raise ShapeError(
                    f"{name} has {len(self.inputs[name])} rows, and the training data have {count}. Expected as many: give "
                    "as_objective the rows of inputs that belong to those that are trained on."
                )

    def value(self, labels: Any, raw: Any, weight: Any, rows: Any) -> float:
        """Return the sum of the weighted losses of some of the rows."""
        inputs = {name: each[rows] if name in self.by_row else each for name, each in self.inputs.items()}
        return float(to_host(self.of_raw(self.targets(labels, raw), raw, weight, **inputs)))

    def targets(self, labels: Any, raw: Any) -> Any:
        """Return what the loss takes as `y_true`, given the labels of a host, (N,) or in the shape of `raw`.

        Raises:
            LabelError: for labels that the loss is not made for.
            ShapeError: for another number of scores than the loss takes.
        """
        columns = raw.shape[1]
        if self.several and columns == 1:
            raise ShapeError(
                f"{self.name} is of several classes, and the library computes one raw score per sample. Tell it the number "
                "of classes: num_class, or a classifier fitted to labels 0, 1, 2, ..."
            )
        if self.spec is not None and not self.several and labels.size != raw.size:
            raise ShapeError(
                f"{self.name} has one prediction for each target, and there are {columns} raw scores per sample for "
                f"{labels.size} targets of {len(raw)} samples. For several classes use "
                "SparseCategoricalCrossentropy(from_logits=True)."
            )
        if labels.size == raw.size:
            labels = labels.reshape(raw.shape)
        self._check(labels, columns)
        target = self._kind(labels)
        if target == "one-hot" and labels.ndim == 1:
            return K.moveaxis(hot(labels.astype("int32"), K.moveaxis(raw, 1, 0), 0), 0, 1)
        return labels.astype("int32", copy=False) if target == "class index" else labels.astype(raw.dtype, copy=False)

    def _kind(self, labels: Any) -> str | None:
        """Return what the targets are; a loss of one's own that is of several classes has indices of these, or a row each."""
        if self.spec is not None:
            return self.spec.target
        return "class index" if self.several and labels.ndim == 1 else None

    def _check(self, labels: Any, classes: int) -> None:
        target = self._kind(labels)
        if not labels.size:
            return
        least, most = float(labels.min()), float(labels.max())
        if target == "probability" and not (least >= 0 and most <= 1):
            raise self._bad(least, most, "labels 0 and 1, or probabilities")
        if target == "positive" and not least >= 0:
            raise self._bad(least, most, "targets of at least 0")
        if target == "sign" and not (((labels == 0) | (labels == 1)).all() or (abs(labels) == 1).all()):
            raise self._bad(least, most, "labels 0 and 1, or -1 and 1")
        ignored = self.parameters.get("ignore_class")
        if target in ("class index", "one-hot") and labels.ndim == 1:
            kept = labels if ignored is None else labels[labels != ignored]
            in_range = not kept.size or (kept.min() >= 0 and kept.max() < classes)
            if not (in_range and (kept == kept.astype("int32")).all()):
                raise self._bad(
                    least, most, f"whole numbers from 0 to {classes - 1}, one for each of {classes} classes"
                )

    def _bad(self, least: float, most: float, expected: str) -> LabelError:
        return LabelError(
            f"Labels from {least:g} to {most:g} arrived for {self.name}. Expected {expected}. Re-encode them, for example "
            "with sklearn.preprocessing.LabelEncoder."
        )

    def predictions(self, raw: Any) -> Any:
        """Return what the loss predicts for raw scores (N, 1) or (N, K), as a host array."""
        return to_host(owner_of(raw).run(self.link.inverse, raw))

    def probabilities(self, raw: Any) -> Any:
        """Return probabilities (N, K) of the classes for raw scores (N, 1) or (N, K), as a host array.

        Raises:
            NotSupportedError: if the loss does not predict probabilities.
        """
        if self.link.name == "softmax":
            return self.predictions(raw)
        if self.link.name != "logit":
            raise NotSupportedError(
                f"{self.name} predicts no probabilities: its link is {self.link.name!r}. Use predict, or a cross-entropy."
            )
        return to_host(K.concatenate([K.sigmoid(-raw), K.sigmoid(raw)], -1))


def _first(loss: Loss) -> Loss:
    """Return the first part of a sum, whose targets are those of all; any other loss as it is."""
    return _first(next(iter(loss.losses.values()))) if isinstance(loss, Sum) else loss


def _of_raw(loss: Loss, link: Link) -> Loss:
    """Return a loss of raw scores: from logits where the loss knows how, else of the inverse link."""
    if isinstance(loss, Sum):
        parts = {name: (_of_raw(part, link), *loss.weights[name]) for name, part in loss.losses.items()}
        return Sum(parts, "sum", loss.name)
    if link.name in ("logit", "softmax") and _takes_logits(loss):
        return with_parameters(loss, from_logits=True) if "from_logits" in vars(loss) else _rebound(loss)
    if link.name == "identity":
        return loss
    each: Callable[..., Tensor] = with_parameters(loss, reduction="none")

    def composed(y_true: Tensor, raw: Tensor, **inputs: Tensor) -> Tensor:
        return each(y_true, link.inverse(raw), **inputs)

    wrapped = LossFunctionWrapper(composed, reduction="sum", name=loss.name)
    object.__setattr__(wrapped, "_inputs", loss._inputs)
    return wrapped


def _takes_logits(loss: Loss) -> bool:
    """Whether a loss has a parameter `from_logits`; one of one's own may, too."""
    _, parameters = spec_and_parameters(loss)
    if "from_logits" in parameters or "from_logits" in vars(loss):
        return True
    code = getattr(loss.fn, "__code__", None) if isinstance(loss, LossFunctionWrapper) else None
    return code is not None and "from_logits" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _rebound(loss: Loss) -> Loss:
    """Return a loss made from a function whose `from_logits` is at its default, from logits."""
    assert isinstance(loss, LossFunctionWrapper)
    return LossFunctionWrapper(loss.fn, "sum", loss.name, loss.dtype, **{**loss.parameters, "from_logits": True})


def to_host(x: Tensor) -> Any:
    """Return a tensor of any framework as a host array."""
    return owner_of(x).to_numpy(x)


def column(x: Any) -> Any:
    """Return a host array (N,) as (N, 1), and others as they are."""
    return x.reshape(-1, 1) if x.ndim == 1 else x


def weights_or_none(weights: Any) -> Any:
    """Return the weights of a host's data set, which are None or empty if there are none.

    Raises:
        ArgumentError: for a negative weight.
    """
    if weights is None or not len(weights):
        return None
    if not float(weights.min()) >= 0:
        raise ArgumentError(f"A sample weight is {float(weights.min())!r}. Expected weights of at least 0.")
    return weights
