"""`0.5 * dice + focal`: losses add up, and are scaled, to a `Sum`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multiloss._errors import ArgumentError
from multiloss._names import snake_case

if TYPE_CHECKING:
    from multiloss.losses._composition import Sum

# The modules that need this one first are imported inside the functions.


class Arithmetic:
    """The operators of losses. What is added is a loss, or what `losses.get` takes for one; a factor is a weight of `Sum`."""

    __array_ufunc__ = None  # NumPy's arrays leave `array * loss` to the loss

    def __add__(self, other: Any) -> Sum:
        return added(self, other)

    def __radd__(self, other: Any) -> Any:
        return self if isinstance(other, int) and other == 0 else added(other, self)  # sum([a, b]) starts with 0

    def __sub__(self, other: Any) -> Sum:
        return added(self, scaled(other, -1.0))

    def __mul__(self, weight: Any) -> Sum:
        return scaled(self, weight)

    def __rmul__(self, weight: Any) -> Sum:
        return scaled(self, weight)

    def __truediv__(self, number: float) -> Sum:
        return scaled(self, 1.0 / number)

    def __neg__(self) -> Sum:
        return scaled(self, -1.0)


def added(first: Any, second: Any) -> Sum:
    """Return `first + second`: one sum of all parts, under names that differ."""
    from multiloss.losses._composition import Sum, as_loss

    parts: dict[str, Any] = {}
    for loss in (as_loss(first), as_loss(second)):
        for name, part in _parts_of(loss).items():
            free, count = name, 0
            while free in parts:
                count += 1
                free = f"{name}_{count}"
            parts[free] = part
    return Sum(parts)


def scaled(loss: Any, weight: Any) -> Sum:
    """Return `weight * loss`.

    Raises:
        ArgumentError: for something that is no weight, such as another loss.
    """
    from multiloss.losses._composition import Sum, as_loss

    loss = as_loss(loss)
    if isinstance(weight, Arithmetic):
        raise ArgumentError(
            f"Arrived: {loss!r} * {weight!r}, two losses. Expected a loss and a weight; losses are added."
        )
    return Sum({name: (part[0], *part[1:], weight) for name, part in _parts_of(loss).items()})


def _parts_of(loss: Any) -> dict[str, tuple[Any, ...]]:
    """Return the parts of a sum, or any other loss as its own only part."""
    from multiloss.losses._composition import Sum

    if isinstance(loss, Sum) and loss.dtype is None:
        return {name: (each, *loss.weights[name]) for name, each in loss.losses.items()}
    return {(loss.name or snake_case(type(loss).__name__)).replace("/", "_"): (loss,)}
