"""The weights of a `Sum`: numbers, tensors of one number, and callables that return one of these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from multiloss._arguments import is_real
from multiloss._errors import ArgumentError, ShapeError
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses._arithmetic import Arithmetic
from multiloss.losses._inputs import Inputs, of_weight
from multiloss.losses._lookup import lookup

_EXPECTED = "Expected a finite number, a tensor of one number, or a callable that returns one of these."


def as_weights(name: str, weights: Sequence[Any]) -> tuple[Any, ...]:
    """Return the weights of a part, its numbers as one.

    Raises:
        ArgumentError: for something that is no weight.
    """
    number, others = 1.0, []
    for each in weights:
        if not is_weight(each) and not is_called(each):
            raise ArgumentError(f"The weight of the part {name!r} is {each!r}. {_EXPECTED}")
        if is_real(each):
            number *= float(each)
        else:
            others.append(each)
    return tuple(others) if others and number == 1.0 else (number, *others)


def plain(x: Any) -> bool:
    """Whether this is a number of Python, which takes the dtype of the tensor beside it; NumPy's float64 is a float, too."""
    return type(x) is float


def is_weight(x: Any) -> bool:
    """Whether this is a finite number or a tensor."""
    return math.isfinite(x) if is_real(x) else hasattr(x, "shape") and hasattr(x, "dtype")


def is_called(weight: Any) -> bool:
    """Whether this is a weight that is called."""
    return callable(weight) and not isinstance(weight, (type, Arithmetic)) and not is_weight(weight)


def product_of(name: str, factors: list[Any]) -> Any:
    """Return the product of the weights of a part: a number or a scalar tensor."""
    product: Any = 1.0
    for each in factors:
        if not plain(each):
            if any(size != 1 for size in each.shape):
                raise ShapeError(
                    f"The weight of the part {name!r} has shape {tuple(each.shape)}. Expected one number. To weigh samples, "
                    "pass sample_weight; to weigh parts, give each its own entry of the tensor."
                )
            each = K.reshape(each, ()) if each.ndim else each
            each = each if K.is_floating(each) else K.cast(each, "float32")
        if plain(product) or plain(each) or K.dtype(product) == K.dtype(each):
            product = product * each
        else:
            dtype = _wider(product, each)
            product = K.cast(product, dtype) * K.cast(each, dtype)
    return product


def times(factor: Any, value: Tensor) -> Tensor:
    """Return a value times a factor; 0 for the number 0, whatever the value is."""
    if plain(factor):
        return value if factor == 1 else value * factor if factor else K.zeros_like(value)
    return value * K.cast(factor, K.dtype(value))


def add(total: Tensor, term: Tensor, name: str = "") -> Tensor:
    """Return the sum of two terms, in the wider of their dtypes."""
    if tuple(total.shape) != tuple(term.shape):
        raise ShapeError(
            f"The part {name!r} gave values of shape {tuple(term.shape)}, and the parts before it {tuple(total.shape)}. "
            "With reduction='none' all parts need the same values per sample; choose another reduction."
        )
    if K.dtype(total) != K.dtype(term):
        dtype = _wider(total, term)
        total, term = K.cast(total, dtype), K.cast(term, dtype)
    return total + term


def _wider(x: Tensor, y: Tensor) -> str:
    return "float64" if "float64" in (K.dtype(x), K.dtype(y)) else "float32"


def config_of(name: str, weight: Any) -> Any:
    if is_weight(weight):
        return float(weight)
    if getattr(weight, "__name__", "<lambda>") == "<lambda>":
        raise ArgumentError(
            f"The weight of the part {name!r} is {weight!r}, which has no name to write down. Expected a number, a tensor or "
            "a named function."
        )
    return lookup.serialize(weight)


def shown(weight: Any) -> str:
    if is_real(weight):
        return repr(weight)
    return f"<{type(weight).__name__}>" if is_weight(weight) else getattr(weight, "__name__", repr(weight))


def called_with(weight: Any) -> Inputs | None:
    """Return the named inputs that a callable weight takes, None for any other weight."""
    return of_weight(weight) if is_called(weight) else None


def value_of(weight: Any, taken: Inputs | None, inputs: Mapping[str, TensorLike]) -> Any:
    """Return the number or tensor that a weight is in a call with these named inputs.

    Raises:
        ArgumentError: for a callable that returns neither.
    """
    if taken is None:
        return weight
    found = weight(**{name: inputs[name] for name in taken.names if name in inputs})
    if not is_real(found) and not is_weight(found):  # compilers know no isfinite for a number that may change
        raise ArgumentError(f"The weight {weight!r} returned {found!r}. {_EXPECTED}")
    return found
