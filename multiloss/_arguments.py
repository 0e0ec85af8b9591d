"""Checks of the plain numbers that losses, metrics, regularizers and constraints are made with. None of them is a bool."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from multiloss._errors import ArgumentError


def is_real(value: Any) -> bool:
    """Whether `value` is a real number of any type, NumPy's included."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_plain(value: Any) -> bool:
    """Whether `value` is a Python number, which a config can hold as it is."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether `value` is a Python integer."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(
    owner: str,
    name: str,
    value: Any,
    default: float,
    *,
    maximum: float = math.inf,
    old_name: tuple[str, Any] | None = None,
) -> float:
    """Return `value` as a finite float of at least 0 and at most `maximum`; None stands for `default`, as in Keras.

    `old_name` is Keras 2's spelling of the same argument with what arrived under it; None means nothing did.

    Raises:
        ArgumentError: for anything else, and for an argument given under both of its names.
    """
    if old_name is not None and old_name[1] is not None:
        if value is not None and value != default:
            raise ArgumentError(
                f"{owner}: {name}={value!r} and {old_name[0]}={old_name[1]!r} are the same argument. Give {name} alone."
            )
        name, value = old_name
    if value is None:
        return default
    plain = float(value) if is_real(value) else math.nan
    if not 0 <= plain <= maximum or math.isinf(plain):
        expected = "a finite number of at least 0" if math.isinf(maximum) else f"a number from 0 to {maximum:g}"
        raise ArgumentError(f"{owner}: {name}={value!r} is not allowed. Expected {expected}.")
    return plain
