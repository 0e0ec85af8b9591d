"""The settings of an objective: looked up and checked once, when it is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from multiloss._arguments import is_real
from multiloss._errors import ArgumentError, ShapeError
from multiloss.objective._outputs import Output
from multiloss.objective._resolve import as_metric, is_automatic


def for_each_entry(given: Any, get: Callable[[Any], Any]) -> Any:
    """Return a setting with each entry looked up: one, or dicts and lists of them as the outputs are nested."""
    if isinstance(given, Mapping) and not isinstance(given.get("class_name"), str):
        return {name: for_each_entry(each, get) for name, each in given.items()}
    if isinstance(given, (list, tuple)):
        return [for_each_entry(each, get) for each in given]
    return get(given)


def as_output_names(given: Any) -> tuple[str, ...] | None:
    """Return the names of the outputs.

    Raises:
        ArgumentError: for anything but a list of different strings.
    """
    if given is None:
        return None
    if not isinstance(given, (list, tuple)) or not given or not all(isinstance(name, str) and name for name in given):
        raise ArgumentError(f"Arrived: output_names={given!r}. Expected a list of strings, one for each output.")
    if len(set(given)) < len(given):
        raise ArgumentError(f"Arrived: output_names={given!r}. Expected a different name for each output.")
    return tuple(given)


def as_loss_weight(weight: Any) -> float | None:
    """Return the factor of one output's loss; None stands for 1.

    Raises:
        ArgumentError: for anything but a finite number.
    """
    if weight is None:
        return None
    number = float(weight) if is_real(weight) else math.nan
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
    """Return metrics with plain dicts and lists around them, copied, so that nobody changes them later."""
    if isinstance(metrics, Mapping) and "class_name" not in metrics:
        return {name: plain(each) for name, each in metrics.items()}
    if isinstance(metrics, (list, tuple)):
        return [plain(each) for each in metrics]
    return metrics


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
