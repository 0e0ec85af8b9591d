"""What losses divide by: whether several of them have a reduction, and one `(total, weight)`, in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from multiloss._errors import ArgumentError
from multiloss.losses._base import Loss, LossFunctionWrapper
from multiloss.losses._spec import spec_of


class Divisor(NamedTuple):
    """What the mean of a loss divides by. Those that are alike differ by a constant at most, such as values per sample."""

    words: str
    shared: bool = True
    """Whether it is one that another loss can have, too."""
    facts: tuple[Any, ...] = ()
    """What it depends on."""


def common_reduction(losses: Mapping[str, Loss]) -> str:
    """Return the reduction that all losses have.

    Raises:
        ArgumentError: if they have different ones.
    """
    names = {name: loss.reduction for name, loss in losses.items()}
    if len(set(names.values())) > 1:
        raise ArgumentError(
            f"The parts of Sum have different reductions: {', '.join(f'{key} {each!r}' for key, each in names.items())}. "
            "Give all of them one, as Sum(..., reduction='sum_over_batch_size')."
        )
    return next(iter(names.values()))


def check_alike(losses: Mapping[str, Loss], reduction: str) -> None:
    """Raise unless all losses divide by the same samples.

    Raises:
        ArgumentError: with two that do not.
    """
    (first, divisor), *others = ((name, divisor_of(loss, reduction)) for name, loss in losses.items())
    for name, each in others:
        if each.facts != divisor.facts or not (each.shared and divisor.shared):
            raise ArgumentError(
                f"The parts {first!r} and {name!r} of a Sum have no (total, weight) in common: {first!r} is divided by "
                f"{divisor.words}, and {name!r} by {each.words}. Use partials(), which returns one for each part, or "
                "reduction='sum'."
            )


def divisor_of(loss: Loss, reduction: str) -> Divisor:
    """Return what a loss divides by."""
    spec = spec_of(loss.fn) if isinstance(loss, LossFunctionWrapper) else None
    if spec is None or not isinstance(loss, LossFunctionWrapper):
        return Divisor("the number of samples")
    if spec.event == "ratio":
        return Divisor("a sum of its own", shared=False)
    names = ["ignore_class", *(["class_weight"] if reduction == "mean_with_sample_weight" else [])]
    acting = {name: each for name in names if (each := loss.parameters.get(name)) is not None}
    if not acting:
        return Divisor("the number of samples")
    facts = (spec.target, *((name, id(each) if hasattr(each, "dtype") else str(each)) for name, each in acting.items()))
    return Divisor(f"what its {' and '.join(acting)} lets count", facts=facts)
