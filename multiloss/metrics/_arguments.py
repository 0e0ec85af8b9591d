"""Checks of the plain arguments that metrics are made with: one that is no such thing is refused, and never cast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multiloss._arguments import is_plain, is_whole
from multiloss._errors import ArgumentError


def flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False.

    Raises:
        ArgumentError: for anything else, whatever its truth value is.
    """
    if not isinstance(value, bool):
        raise ArgumentError(f"{name}={value!r} is not allowed. Expected True or False.")
    return value


def whole(name: str, value: Any, least: int | None = None) -> int:
    """Return `value` if it is a whole number of at least `least`.

    Raises:
        ArgumentError: for anything else.
    """
    return _whole(name, value, least, "")


def whole_or_none(name: str, value: Any, least: int | None = None) -> int | None:
    """Return `value` if it is a whole number of at least `least`, or None.

    Raises:
        ArgumentError: for anything else.
    """
    return None if value is None else _whole(name, value, least, ", or None")


def _whole(name: str, value: Any, least: int | None, or_else: str) -> int:
    if not is_whole(value) or (least is not None and value < least):
        expected = "a whole number" + (f" of at least {least}" if least is not None else "") + or_else
        raise ArgumentError(f"{name}={value!r} is not allowed. Expected {expected}.")
    found: int = value
    return found


def number(name: str, value: Any) -> float:
    """Return `value` as a float if it is a number.

    Raises:
        ArgumentError: for anything else.
    """
    if not is_plain(value):
        raise ArgumentError(f"{name}={value!r} is not allowed. Expected a number.")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """Return `value` as a float if it is a number in [0, 1].

    Raises:
        ArgumentError: for anything else.
    """
    if not is_plain(value) or not 0 <= value <= 1:
        raise ArgumentError(f"{name}={value!r} is not allowed. Expected a number in [0, 1].")
    return float(value)


def numbers(name: str, value: Any) -> list[float]:
    """Return `value` as floats if it is a sequence of numbers.

    Raises:
        ArgumentError: for anything else.
    """
    given = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(given, Sequence) or not all(map(is_plain, given)):
        raise ArgumentError(f"{name}={value!r} are not allowed. Expected a list of numbers.")
    return [float(each) for each in given]
