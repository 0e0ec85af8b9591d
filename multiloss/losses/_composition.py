"""`Sum`: several losses of the same predictions as one."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from multiloss._arguments import is_real
from multiloss._boundary import arrive
from multiloss._errors import ArgumentError
from multiloss._names import snake_case
from multiloss._registry import owner_of
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses._base import Loss, LossFunctionWrapper
from multiloss.losses._divisors import check_alike, common_reduction
from multiloss.losses._inputs import united
from multiloss.losses._lookup import get, own_config
from multiloss.losses._reduction import partial, standardize_reduction
from multiloss.losses._spec import spec_of
from multiloss.losses._weights import (
    add,
    as_weights,
    called_with,
    config_of,
    plain,
    product_of,
    shown,
    times,
    value_of,
)

TOTAL = "loss"
"""The name of the sum itself among what `parts` returns."""
OF_PARTS = "parts"
"""The reduction of a sum that reduces as its parts do."""


class Sum(Loss):
    """A weighted sum of losses of the same predictions, itself a loss.

    Formula: `sum over parts of weight * loss(y_true, y_pred)`, each part reduced by itself. Written with operators it is
    `0.5 * dice + focal`, whose parts are called by the names of the losses.

    A weight is

    * a number. A part with weight 0 is left out of the sum: nothing of it reaches value or gradient.
    * a tensor of one number, of any backend; one that is learned, such as `torch.nn.Parameter`, gets its gradient.
    * a callable that returns one of these. It is called at each call of the loss with the named inputs that it has parameters
      for: `lambda: schedule.value` with none, `lambda step: step / 1000` with `loss(y_true, y_pred, step=step)`. Under
      `jax.jit` and `torch.compile` a value that changes, or that JAX differentiates, has to come in this way.

    Named inputs go to the parts that declare them.

    Args:
        parts: losses by name. Each is a loss (an instance, class, function, name or config) or `(loss, weight)`; further
            weights are multiplied.
        reduction: of all parts. Default: the one that they have.
        name: shown in logs.
        dtype: of the result. Default: that of the parts.

    Attributes:
        losses: the loss of each part, by name; `with_losses` returns a sum with others.
        weights: the weights of each part, by name, which are multiplied; `with_weights` returns a sum with others.

    Raises:
        ArgumentError: for something that is no loss or no weight, and for parts with different reductions.

    >>> from multiloss.losses import MeanAbsoluteError, MeanSquaredError
    >>> loss = Sum({"fit": MeanSquaredError(), "sparse": (MeanAbsoluteError(), 0.5)})
    >>> float(loss([[0.0]], [[4.0]]))
    18.0
    >>> {name: float(value) for name, value in loss.parts([[0.0]], [[4.0]]).items()}
    {'loss': 18.0, 'fit': 16.0, 'sparse': 4.0}
    >>> float((MeanSquaredError() + 0.5 * MeanAbsoluteError())([[0.0]], [[4.0]]))
    18.0
    """

    losses: dict[str, Loss]
    weights: dict[str, tuple[Any, ...]]

    def __init__(
        self,
        parts: Mapping[str, Any],
        reduction: str | None = OF_PARTS,
        name: str | None = "sum",
        dtype: Any = None,
    ) -> None:
        if not isinstance(parts, Mapping) or not parts or "class_name" in parts:
            raise ArgumentError(
                f"Sum got parts={parts!r}. Expected a dict by name of losses, or of (loss, weight): "
                "Sum({'recon': losses.MeanSquaredError(), 'kl': (kl, 0.1)})."
            )
        given = {_as_name(key): _as_part(key, each) for key, each in parts.items()}
        if reduction == OF_PARTS:
            reduction = common_reduction({key: each.loss for key, each in given.items()})
        super().__init__(name, reduction, dtype)
        self.losses = {key: _reduced_by(each.loss, self.reduction) for key, each in given.items()}
        self.weights = {key: each.weights for key, each in given.items()}
        self._bind()

    def _bind(self) -> None:
        self._taken = {name: [*map(called_with, weights)] for name, weights in self.weights.items()}
        of_weights = [each for several in self._taken.values() for each in several if each is not None]
        self._inputs = united([*(each._inputs for each in self.losses.values()), *of_weights])

    def __setattr__(self, key: str, value: Any) -> None:
        if key == "reduction" and "losses" in self.__dict__:
            value = standardize_reduction(value)
            self.losses = {name: _reduced_by(loss, value) for name, loss in self.losses.items()}
        object.__setattr__(self, key, value)

    # ── Values ──────────────────────────────────────────────────────────────────────────────────────────────

    def parts(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
        **inputs: TensorLike,
    ) -> dict[str, Tensor]:
        """Return the sum under "loss", and the value of each part, before its weight, under its name; all differentiable.

        The parts of a `Sum` within this one are called "outer/inner". Arguments and errors are those of a call.
        """
        return self._evaluate(y_true, y_pred, sample_weight, mask, inputs, all_parts=True)

    def partials(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
        **inputs: TensorLike,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `(total, weight)` for each part, its weight in the sum included.

        The loss of a whole batch is the sum over parts of (the sum of totals / the sum of weights), where parts divide by
        different things and `partial` is refused. With reduction "sum" nothing is divided.

        Raises:
            ArgumentError: with reduction "none", or if a part compares the samples of a batch with each other.
        """
        self._require_sum()
        call = self._arrive(y_true, y_pred, sample_weight, mask, inputs)
        found = {}
        for name, loss in self.losses.items():
            if isinstance(loss, Sum):
                factor = product_of(name, call.factors[name])
                for inner, (total, weight) in loss.partials(*call.batch, **call.inputs_of(loss)).items():
                    found[f"{name}/{inner}"] = times(factor, total), weight
            else:
                total, weight = self._of_part(name, loss, call)
                found[name] = times(product_of(name, call.factors[name]), total), weight
        return found

    def call(self, y_true: Tensor, y_pred: Tensor, *args: Any, **inputs: Any) -> Tensor:
        """Return one value per sample, for parts that have one: what metrics average."""
        unreduced = copy.copy(self)
        unreduced.reduction = "none"
        return unreduced._run(y_true, y_pred, None, None, parts=False, **inputs)

    def _of_part(self, name: str, loss: Loss, call: _Call) -> tuple[Tensor, Tensor]:
        """Return `(total, weight)` of a part."""
        given = call.inputs_of(loss)
        if isinstance(loss, LossFunctionWrapper) and spec_of(loss.fn) is not None:
            return loss.partial(*call.batch, **given)
        y_true, y_pred, sample_weight, mask = call.batch
        values, selection = loss._selected(owner_of(y_pred), y_true, y_pred, sample_weight, mask, **given)
        if not values.ndim and self.reduction != "sum" and len(self.losses) > 1:
            raise ArgumentError(
                f"The part {name!r} returns one value for the whole batch, which the other parts cannot share a (total, "
                "weight) with. Return one value per sample from it, or use reduction='sum'."
            )
        return partial(values, selection, self.reduction)

    def _leaves(self) -> dict[str, Loss]:
        """Return the parts that are no sums themselves."""
        found: dict[str, Loss] = {}
        for name, loss in self.losses.items():
            found |= (
                {f"{name}/{key}": each for key, each in loss._leaves().items()}
                if isinstance(loss, Sum)
                else {name: loss}
            )
        return found

    def _run(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike,
        mask: TensorLike,
        *,
        parts: bool,
        **inputs: TensorLike,
    ) -> Any:
        if not parts:
            return self._evaluate(y_true, y_pred, sample_weight, mask, inputs, all_parts=False)[TOTAL]
        if self.reduction != "sum":
            check_alike(self._leaves(), self.reduction)
        found = [*self.partials(y_true, y_pred, sample_weight, mask, **inputs).values()]
        total, divisor = found[0]
        for each, weight in found[1:]:
            if self.reduction != "sum":
                # The parts count alike, but for the number of values that each of them has per sample.
                each = each * K.divide_no_nan(*(K.cast(x, K.dtype(each)) for x in (divisor, weight)))
            total = add(total, each)
        return total, divisor

    def _evaluate(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike,
        mask: TensorLike,
        inputs: Mapping[str, TensorLike],
        *,
        all_parts: bool,
    ) -> dict[str, Tensor]:
        """Return the sum under "loss", with `all_parts` also the value of each part."""
        call = self._arrive(y_true, y_pred, sample_weight, mask, inputs)
        found: dict[str, Tensor] = {}
        total = left_out = None
        for name, loss in self.losses.items():
            factor = product_of(name, call.factors[name])
            leave_out = plain(factor) and factor == 0
            if leave_out and not all_parts and (total is not None or name != [*self.losses][-1]):
                continue
            given = call.inputs_of(loss)
            if all_parts and isinstance(loss, Sum):
                inner = loss.parts(*call.batch, **given)
                value = inner.pop(TOTAL)
                found |= {name: value, **{f"{name}/{key}": each for key, each in inner.items()}}
            else:
                value = found[name] = loss._run(*call.batch, parts=False, **given)
            if leave_out:
                left_out = value
            elif total is None:
                total = times(factor, value)
            else:
                total = add(total, times(factor, value), name)
        if total is None:  # all weights are 0
            total = K.zeros_like(left_out)
        return {TOTAL: total if self.dtype is None else K.cast(total, self.dtype), **found}

    def _arrive(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike,
        mask: TensorLike,
        inputs: Mapping[str, TensorLike],
    ) -> _Call:
        """Return the arguments as tensors of one framework, and the factors of each part: numbers and such tensors."""
        self._inputs.check(f"Sum {self.name!r}", inputs)
        factors = {
            name: [value_of(each, taken, inputs) for each, taken in zip(weights, self._taken[name], strict=True)]
            for name, weights in self.weights.items()
        }
        tensors = [each for several in factors.values() for each in several if not is_real(each)]
        declared = {name for loss in self.losses.values() for name in loss.named_inputs}
        routed = [name for name in inputs if name in declared]
        _, arrived = arrive(y_true, y_pred, sample_weight, mask, *(inputs[name] for name in routed), *tensors)
        supply = iter(arrived[4 + len(routed) :])
        own = {name: arrived[4 + at] for at, name in enumerate(routed)}
        return _Call(
            tuple(arrived[:4]),
            {**inputs, **own},
            {
                name: [float(each) if is_real(each) else next(supply) for each in several]
                for name, several in factors.items()
            },
        )

    # ── Changed copies ──────────────────────────────────────────────────────────────────────────────────────

    def with_weights(self, weights: Mapping[str, Any]) -> Sum:
        """Return the same sum with other weights for the parts that are named.

        Raises:
            ArgumentError: for a part that does not exist, or something that is no weight.
        """
        given = {name: each if isinstance(each, (tuple, list)) else (each,) for name, each in weights.items()}
        return self._changed({}, given)

    def with_losses(self, losses: Mapping[str, Any]) -> Sum:
        """Return the same sum with other losses for the parts that are named.

        Raises:
            ArgumentError: for a part that does not exist, or something that is no loss.
        """
        return self._changed(losses, {})

    def _changed(self, losses: Mapping[str, Any], weights: Mapping[str, Any]) -> Sum:
        unknown = next((name for name in (*losses, *weights) if name not in self.losses), None)
        if unknown is not None:
            raise ArgumentError(f"There is no part {unknown!r}. Expected some of: {', '.join(map(repr, self.losses))}.")
        parts = {
            name: (losses.get(name, loss), *weights.get(name, self.weights[name])) for name, loss in self.losses.items()
        }
        return type(self)(parts, self.reduction, self.name, self.dtype)

    # ── Configs ─────────────────────────────────────────────────────────────────────────────────────────────

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make an equal sum, as JSON-able values.

        A tensor is written as the number that it holds, and is a number when it is read: what is learned belongs to the
        model's own checkpoint. A callable is written by its name, and has to be among the custom objects that read it.

        Raises:
            ArgumentError: for a lambda, which has no name.
        """
        parts = {
            name: {"loss": own_config(loss), "weights": [config_of(name, each) for each in self.weights[name]]}
            for name, loss in self.losses.items()
        }
        return {"parts": parts, **super().get_config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sum:
        """Return the sum that `get_config` described; with functions of your own use `losses.deserialize`."""
        parts = {
            name: (each["loss"], *(weight if is_real(weight) else get(weight) for weight in each["weights"]))
            for name, each in config["parts"].items()
        }
        return cls(**{**config, "parts": parts})

    def __repr__(self) -> str:
        terms = [
            f"{name}={' * '.join([*map(shown, self.weights[name]), repr(loss)])}" for name, loss in self.losses.items()
        ]
        return f"{type(self).__name__}({', '.join(terms)})"


class _Call(NamedTuple):
    """The arguments of one call."""

    batch: tuple[Tensor, ...]
    inputs: Mapping[str, TensorLike]
    factors: Mapping[str, list[Any]]

    def inputs_of(self, loss: Loss) -> dict[str, TensorLike]:
        return {name: self.inputs[name] for name in loss.named_inputs if name in self.inputs}


# ── Parts ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Part(NamedTuple):
    loss: Loss
    weights: tuple[Any, ...]


def _as_name(name: Any) -> str:
    if not isinstance(name, str) or not name or "/" in name or name == TOTAL:
        raise ArgumentError(
            f"A part of Sum is called {name!r}. Expected a string without '/', and not {TOTAL!r}, which is the sum."
        )
    return name


def _as_part(name: str, given: Any) -> _Part:
    loss, *weights = given if isinstance(given, (tuple, list)) and given else (given,)
    return _Part(as_loss(loss), as_weights(name, weights))


def as_loss(identifier: Any, reduction: str = "sum_over_batch_size") -> Loss:
    """Return the loss instance that something stands for; `reduction` is that of a function, which has none of its own.

    Raises:
        UnknownNameError: for a name that is not known.
        ArgumentError: for something that is no loss.
    """
    found = get(identifier)
    if isinstance(found, Loss):
        return found
    if found is None or isinstance(found, type) or not callable(found):
        raise ArgumentError(f"Arrived: {identifier!r}. Expected a loss: an instance, class, function, name or config.")
    if isinstance(found, functools.partial) and not found.args:
        return LossFunctionWrapper(found.func, reduction, **found.keywords)
    name = getattr(found, "__name__", None) or snake_case(type(found).__name__)
    return LossFunctionWrapper(found, reduction, name)


def _reduced_by(loss: Loss, reduction: str) -> Loss:
    if loss.reduction == reduction:
        return loss
    loss = copy.copy(loss)
    loss.reduction = reduction
    return loss
