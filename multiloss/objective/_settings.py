"""The settings of an objective: looked up and checked once, when it is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from multiloss._errors import ArgumentError, ShapeError
from multiloss.objective._outputs import Output
from multiloss.objective._resolve import as_metric, is_automatic


def for_each_entry(given: Any, get: Callable[[Any], Any], what: str) -> Any:
    """Return a setting with each entry looked up: one, a list in the order of the outputs, or a dict by their names."""
    if isinstance(given, Mapping) and not isinstance(given.get("class_name"), str):
        return {name: _entry(each, get, what, repr(name)) for name, each in given.items()}
    if isinstance(given, (list, tuple)):
        return [_entry(each, get, what, str(index)) for index, each in enumerate(given)]
    return get(given)


def _entry(given: Any, get: Callable[[Any], Any], what: str, where: str) -> Any:
    if isinstance(given, (list, tuple)):
        raise ArgumentError(
            f"{what}[{where}] is {given!r}. Expected one entry for each output. Several losses of one output are one "
            "function of (y_true, y_pred) that adds them up."
        )
    return get(given)


def as_loss_weight(weight: Any) -> float | None:
    """Return the factor of one output's loss; None stands for 1.

    Raises:
        ArgumentError: for anything but a finite number.
    """
    if weight is None:
        return None
    number = math.nan if isinstance(weight, bool) or not isinstance(weight, Real) else float(weight)
    if not math.isfinite(number):
        raise ArgumentError(f"loss_weights holds {weight!r}. Expected finite numbers.")
    return number


def as_mode(mode: Any) -> str | None:
    """Return the sample weight mode of one output.

    Raises:
        ArgumentError: for anything but None and "temporal".
    """
    if mode not in (None, "temporal"):
        raise ArgumentError(
            f"sample_weight_mode={mode!r} is not allowed. Expected None (one weight per sample) or 'temporal' (one per "
            "time step)."
        )
    return "temporal" if mode else None


def plain(metrics: Any) -> Any:
    """Return a dict of metrics as a plain dict, and everything else as it is."""
    return dict(metrics) if isinstance(metrics, Mapping) else metrics


def check_metrics(given: Any) -> None:
    """Look up every metric once, so that a wrong name is told when the objective is made."""
    if isinstance(given, dict) and "class_name" not in given:
        for each in given.values():
            check_metrics(each)
    elif isinstance(given, (list, tuple)):
        for each in given:
            check_metrics(each)
    elif given is not None and not is_automatic(given):
        as_metric(given)


def check_weights(output: Output, mode: str | None) -> None:
    """Raise if the weights of an output have not the rank that its mode asks for.

    Raises:
        ShapeError: with the rank that was expected.
    """
    weights = output.sample_weight
    if weights is None:
        return
    if weights.ndim != (2 if mode == "temporal" else 1):
        expected, advice = (
            ("(N, T), one weight per time step", "leave sample_weight_mode out for one weight per sample")
            if mode == "temporal"
            else ("(N,), one weight per sample", 'pass sample_weight_mode="temporal" for one weight per time step')
        )
        raise ShapeError(
            f"sample_weight has shape {tuple(weights.shape)} and sample_weight_mode is {mode!r}. Expected {expected}: "
            f"reshape it, or {advice}."
        )
