"""Named inputs: tensors of one call beside `y_true` and `y_pred`, such as a teacher's logits or a predicted variance.

| a loss that is | has as named inputs |
|---|---|
| a subclass of `Loss` | the parameters of `call` after `y_true` and `y_pred`; those with a default are optional |
| a plain function in a `LossFunctionWrapper` | the parameters without a default (or None) and without a value in the wrapper |
| one of ours | its parameters that are tensors |
| a `Sum` | those of its parts, and the parameters of its callable weights |

A named input has one row per sample, as targets have: (N,) beside predictions of shape (N, 1) becomes (N, 1), another number of
rows is an error, and what is masked or has weight 0 is replaced before the formula. A scalar is one for all. What belongs to
the batch as a whole, such as class prototypes, is annotated `Shared` and reaches the formula as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

from multiloss._boundary import describe
from multiloss._errors import NamedInputError, ShapeError
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses._reduction import keep

if TYPE_CHECKING:
    import inspect

Shared: TypeAlias = Annotated[Any, "shared by all samples"]
"""Annotates a named input that belongs to the batch as a whole, not to its samples."""

_OWN = ("sample_weight", "mask")
"""What every call takes anyway."""


class Inputs(NamedTuple):
    """The named inputs of a loss."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    shared: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, those that every call needs first."""
        return self.required + self.optional

    def check(self, owner: str, given: Mapping[str, TensorLike]) -> None:
        """Raise if an input is not known or one is missing.

        Raises:
            NamedInputError: with the inputs that there are.
        """
        for name in given:
            if name not in self.required and name not in self.optional:
                known = f"the named inputs {', '.join(self.names)}" if self.names else "no named inputs"
                raise NamedInputError(
                    f"{owner} got {name}=, and takes y_true, y_pred, sample_weight, mask and {known}. Leave it out, or "
                    "declare it: as a keyword parameter of the function, or of call() in a subclass of Loss."
                )
        for name in self.required:
            if given.get(name) is None:
                raise NamedInputError(f"{owner} needs {name}= in every call, and it is missing. Pass it by keyword.")

    def settle(self, given: Mapping[str, Tensor], y_pred: Tensor, computed: Tensor) -> dict[str, Tensor]:
        """Return the inputs as a formula takes them: floats in the dtype of `y_pred`, rows that do not count replaced.

        Raises:
            ShapeError: for an input with another number of rows than `y_pred`.
        """
        settled = {}
        for name, x in given.items():
            if x is None:
                continue
            if K.is_floating(x):
                x = K.cast(x, K.dtype(y_pred))
            settled[name] = x if name in self.shared or not x.ndim else _by_sample(name, x, y_pred, computed)
        return settled


NO_INPUTS = Inputs()


def united(every: list[Inputs]) -> Inputs:
    """Return the named inputs of several; one that any of them needs is needed."""
    required = tuple(dict.fromkeys(name for each in every for name in each.required))
    optional = dict.fromkeys(name for each in every for name in each.optional if name not in required)
    return Inputs(required, tuple(optional)) if required or optional else NO_INPUTS


def _by_sample(name: str, x: Tensor, y_pred: Tensor, computed: Tensor) -> Tensor:
    if not y_pred.ndim or x.shape[0] != y_pred.shape[0]:
        raise ShapeError(
            f"{name} is a {describe(x)}, and y_pred has shape {tuple(y_pred.shape)}. Expected one row per sample, or a "
            "scalar. If it belongs to the batch as a whole, annotate the parameter with multiloss.losses.Shared."
        )
    if x.ndim == y_pred.ndim + 1 and x.shape[-1] == 1:
        x = K.squeeze(x, -1)
    elif y_pred.ndim == x.ndim + 1 and y_pred.shape[-1] == 1:
        x = K.expand_dims(x, -1)
    if computed is None or x.ndim < computed.ndim:
        return x
    if tuple(x.shape[: computed.ndim]) != tuple(y_pred.shape[: computed.ndim]):
        return x
    return keep(computed, x, 1.0 if K.is_floating(x) else 0)


def of_method(call: Callable[..., Any]) -> Inputs:
    """Return the named inputs that a `call(self, y_true, y_pred, ...)` declares."""
    parameters = _after(call, 3)
    required = tuple(each.name for each in parameters if each.default is each.empty)
    optional = tuple(each.name for each in parameters if each.default is not each.empty)
    return Inputs(required, optional, _shared(parameters))


def of_function(fn: Callable[..., Any], bound: Collection[str]) -> Inputs:
    """Return the named inputs of a function of `(y_true, y_pred, ...)` with some of its parameters bound."""
    parameters = [each for each in _after(fn, 2) if each.name not in bound]
    required = tuple(each.name for each in parameters if each.default is each.empty)
    optional = tuple(each.name for each in parameters if each.default is None)
    return Inputs(required, optional, _shared(parameters))


def of_weight(fn: Callable[..., Any]) -> Inputs:
    """Return the named inputs that a callable weight takes."""
    parameters = _after(fn, 0)
    return Inputs(
        tuple(each.name for each in parameters if each.default is each.empty),
        tuple(each.name for each in parameters if each.default is not each.empty),
    )


def _after(fn: Callable[..., Any], count: int) -> list[inspect.Parameter]:
    """Return the parameters of a function after the first ones, as far as they can be given by name."""
    code = getattr(fn, "__code__", None)
    if code is not None and code.co_argcount + code.co_kwonlyargcount <= count and not hasattr(fn, "__wrapped__"):
        return []
    import inspect  # a sixth of the time that importing multiloss takes, and for custom losses only

    try:
        parameters = list(inspect.signature(fn).parameters.values())[count:]
    except (TypeError, ValueError):  # a builtin
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each for each in parameters if each.kind in named and each.name not in _OWN]


def _shared(parameters: list[inspect.Parameter]) -> frozenset[str]:
    """Return which parameters are annotated `Shared`, where annotations may be strings."""
    return frozenset(
        each.name
        for each in parameters
        if each.annotation == Shared
        or (isinstance(each.annotation, str) and each.annotation.rpartition(".")[2] == "Shared")
    )
