"""Several outputs: which there are, what they are called, and what of each argument belongs to which.

The predictions decide. A dict names its outputs; in a list or tuple of tensors they are called `output_1`, `output_2`,
...; anything else, nested lists of numbers included, is one output.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from multiloss._errors import ArgumentError, unknown_name
from multiloss._typing import Tensor

ONE_OUTPUT = "output"


class Layout(NamedTuple):
    """What the predictions look like."""

    names: tuple[str, ...]
    kind: Literal["one", "list", "dict"]


class Output(NamedTuple):
    """One output and what was given for it."""

    name: str
    y_true: Tensor
    y_pred: Tensor
    sample_weight: Tensor
    mask: Tensor


def layout_of(y_pred: Any, name: str | None = None) -> Layout:
    """Return the layout of predictions; `name` is that of a single output, where the settings know it.

    Raises:
        ArgumentError: if an output of a dict is a dict or a list of tensors itself, or there are none.
    """
    if isinstance(y_pred, dict):
        for key, each in y_pred.items():
            if isinstance(each, dict) or holds_tensors(each):
                raise ArgumentError(
                    f"The output {key!r} is a {type(each).__name__} itself. Expected one level of outputs: "
                    "give each tensor a name of its own."
                )
        if not y_pred:
            raise ArgumentError("y_pred is an empty dict. Expected at least one output.")
        return Layout(tuple(y_pred), "dict")
    if not holds_tensors(y_pred):
        return Layout((ONE_OUTPUT if name is None else name,), "one")
    if len(y_pred) == 1:
        return Layout((ONE_OUTPUT if name is None else name,), "list")
    return Layout(tuple(f"output_{number}" for number in range(1, len(y_pred) + 1)), "list")


def holds_tensors(x: Any) -> bool:
    """Whether `x` is a list or tuple of tensors, or of tensors and None: one entry for each output."""
    if not isinstance(x, (list, tuple)):
        return False
    ranks = [len(getattr(each, "shape", ())) for each in x if each is not None]
    return bool(ranks) and 0 not in ranks


def for_each_output(value: Any, layout: Layout, what: str, *, listed: bool) -> list[Any]:
    """Return what `value` says of each output, None where it says nothing.

    Args:
        value: a dict by name, or with `listed` a list in order, or else one thing that is meant for all outputs.
        layout: of the predictions.
        what: the argument's name, for messages.
        listed: whether a list or tuple holds one entry for each output.

    Raises:
        UnknownNameError: for a name that is no output, with near matches.
        ArgumentError: for a list of another length, or a list beside named outputs.
    """
    if isinstance(value, dict):
        for name in value:
            if name not in layout.names:
                raise _unknown_output(what, name, layout)
        return [value.get(name) for name in layout.names]
    if not listed:
        return [value] * len(layout.names)
    if len(value) != len(layout.names):
        advice = (
            f"To add several of them up, write one function; {what} has one entry for each output."
            if len(layout.names) == 1
            else f"Give one entry for each output ({', '.join(layout.names)}), with None to leave one out."
        )
        raise ArgumentError(f"{what} is a list of {len(value)}, and y_pred has {_count(layout)}. {advice}")
    if layout.kind == "dict" and len(layout.names) > 1:
        raise ArgumentError(
            f"{what} is a list, and y_pred is a dict of {', '.join(map(repr, layout.names))}, which has no reliable order "
            f"(JAX sorts the keys). Give {what} as a dict with these names."
        )
    return list(value)


def separate(y_true: Any, y_pred: Any, sample_weight: Any, mask: Any, layout: Layout) -> list[Output]:
    """Return the arguments of a call, output by output.

    Raises:
        UnknownNameError, ArgumentError: as `for_each_output`; also if there are targets for one of several outputs only.
    """
    predictions = for_each_output(y_pred, layout, "y_pred", listed=layout.kind == "list")
    several = layout.kind != "one" and isinstance(y_true, (list, tuple))
    if len(layout.names) == 1 and not isinstance(y_true, dict):
        several = several and holds_tensors(y_true)
    elif y_true is not None and not several and not isinstance(y_true, dict):
        raise ArgumentError(
            f"y_pred has {_count(layout)}, and y_true is one {type(y_true).__name__}. "
            f"Give the targets as y_pred is given: as a {layout.kind}."
        )
    targets = for_each_output(y_true, layout, "y_true", listed=several)
    weights = for_each_output(sample_weight, layout, "sample_weight", listed=holds_tensors(sample_weight))
    masks = for_each_output(mask, layout, "mask", listed=holds_tensors(mask))
    return [Output(*each) for each in zip(layout.names, targets, predictions, weights, masks, strict=True)]


def _count(layout: Layout) -> str:
    return f"{len(layout.names)} output{'s' * (len(layout.names) > 1)}"


def _unknown_output(what: str, name: Any, layout: Layout) -> Exception:
    error = unknown_name(f"output in {what}", name, layout.names)
    if layout.kind == "dict":
        return error
    told = "one tensor" if layout.kind == "one" else f"a list, whose outputs are called {', '.join(layout.names)}"
    return type(error)(f"{error} y_pred is {told}: pass a dict by output name to name the outputs.")
