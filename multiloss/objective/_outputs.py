"""Several outputs: which there are, what they are called, and what of each argument belongs to which.

The predictions decide. A dict names its outputs; in a list or tuple of tensors they are called `output_1`, `output_2`,
...; dicts and lists may be nested, and then an output is called by its path: `"boxes/output_1"`. Anything else, nested
lists of numbers included, is one output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from multiloss._errors import ArgumentError, unknown_name
from multiloss._typing import Tensor

ONE_OUTPUT = "output"


class Layout(NamedTuple):
    """What the predictions look like."""

    names: tuple[str, ...]
    tree: Any
    """Their structure, with the name of each output in its place."""


class Output(NamedTuple):
    """One output and what was given for it."""

    name: str
    y_true: Tensor
    y_pred: Tensor
    sample_weight: Tensor
    mask: Tensor


# ── What the predictions look like ──────────────────────────────────────────────────────────────────────────────


def layout_of(y_pred: Any, output_names: Sequence[str] | None = None, name: str | None = None) -> Layout:
    """Return the layout of predictions.

    Args:
        y_pred: the predictions.
        output_names: what the outputs of a list are called, or in which order those of a dict are shown.
        name: that of a single output, where the settings know it and `output_names` is None.

    Raises:
        ArgumentError: if there are no outputs, two have one name, or `output_names` does not fit them.
    """
    flat = isinstance(y_pred, (list, tuple)) and is_structure(y_pred) and not any(map(is_structure, y_pred))
    if output_names is not None:
        y_pred = _in_order(y_pred, output_names, flat)
    elif flat and len(y_pred) == 1:
        output_names = (ONE_OUTPUT if name is None else name,)
    if output_names is not None and flat:
        tree: Any = list(output_names)
    elif not is_structure(y_pred):
        tree = output_names[0] if output_names is not None else ONE_OUTPUT if name is None else name
    else:
        tree = _named(y_pred, ())
    names = tuple(_leaves(tree))
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise ArgumentError(f"Two outputs are called {twice!r}. Rename one of them.")
    return Layout(names, tree)


def _in_order(y_pred: Any, output_names: Sequence[str], flat: bool) -> Any:
    """Return the predictions, a dict of them in the order of `output_names`, after a check that the names fit."""
    given = ", ".join(map(repr, output_names))
    if isinstance(y_pred, Mapping) and not any(map(is_structure, y_pred.values())):
        if set(y_pred) == set(output_names):
            return {name: y_pred[name] for name in output_names}
        raise ArgumentError(
            f"output_names is {given}, and y_pred is a dict of {', '.join(map(repr, y_pred))}. Expected the same names, in "
            "the order in which they are to be shown; leave output_names out to take those of the dict."
        )
    if is_structure(y_pred) and not flat:
        raise ArgumentError(
            f"output_names is {given}, and y_pred is nested, so that its outputs are called by their paths. Leave "
            "output_names out; to name the outputs of a list inside, make it a dict."
        )
    count = len(y_pred) if flat else 1
    if count != len(output_names):
        raise ArgumentError(
            f"output_names is {given}, and y_pred has {_plural(count)}. Expected one name for each output, in their order."
        )
    return y_pred


def _named(y_pred: Any, path: tuple[Any, ...]) -> Any:
    if isinstance(y_pred, Mapping):
        tree: Any = {key: _named(each, (*path, key)) for key, each in y_pred.items()}
    elif is_structure(y_pred):
        tree = [_named(each, (*path, index)) for index, each in enumerate(y_pred)]
    else:
        own = f"output_{path[-1] + 1}" if isinstance(path[-1], int) else str(path[-1])
        name = "/".join(map(str, (*path[:-1], own)))
        if y_pred is None:
            raise ArgumentError(f"The output {name!r} of y_pred is None. Expected a tensor for each output.")
        return name
    if not tree:
        where = f"y_pred{_place(path)}"
        raise ArgumentError(f"{where} is an empty {type(y_pred).__name__}. Expected at least one output.")
    return tree


def _leaves(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    return [name for each in (tree.values() if isinstance(tree, dict) else tree) for name in _leaves(each)]


def is_structure(x: Any) -> bool:
    """Whether `x` is a dict, or a list or tuple of tensors, dicts and such lists (or None): one entry for each output."""
    if isinstance(x, Mapping):
        return True
    if not isinstance(x, (list, tuple)):
        return False
    given = [each for each in x if each is not None]
    return bool(given) and all(getattr(each, "shape", ()) or is_structure(each) for each in given)


# ── What of an argument belongs to which output ─────────────────────────────────────────────────────────────────


def for_each_output(
    value: Any,
    layout: Layout,
    what: str,
    *,
    holds: Callable[[Any], bool],
    groups: bool = False,
    complete: bool = False,
) -> list[Any]:
    """Return what `value` says of each output, None where it says nothing.

    Args:
        value: one thing that is meant for all outputs; or dicts and lists as the predictions are nested; or a dict by
            the names of the outputs.
        layout: of the predictions.
        what: the argument's name, for messages.
        holds: whether a dict or list holds entries for outputs, and is not a value itself.
        groups: whether a list in the place of one output is a value.
        complete: whether a dict must say something of each output, if it is None.

    Raises:
        UnknownNameError: for a name that is no output, with near matches.
        ArgumentError: for a value of another structure than the predictions, or a list beside named outputs.
    """
    if not holds(value):
        return [value] * len(layout.names)
    if isinstance(value, Mapping) and not isinstance(layout.tree, dict):
        _check_keys(value, layout.names, layout, what, complete=complete)
        return [value.get(name) for name in layout.names]
    if not isinstance(value, Mapping) and len(layout.names) == 1 and not (groups and isinstance(layout.tree, str)):
        if len(value) != 1:
            raise _wrong_length(what, value, layout.names)
        if not holds(value[0]):
            return list(value)
    return list(_matched(value, layout.tree, (), _Rules(layout, what, holds, groups, complete)))


class _Rules(NamedTuple):
    layout: Layout
    what: str
    holds: Callable[[Any], bool]
    groups: bool
    complete: bool


def _matched(value: Any, tree: Any, path: tuple[Any, ...], rules: _Rules) -> Iterator[Any]:
    """Yield what a value says of each output of a part of the predictions."""
    what = f"{rules.what}{_place(path)}"
    if isinstance(tree, str):
        if rules.holds(value) and not (rules.groups and not isinstance(value, Mapping)):
            advice = " To add several of them up, write one function." if rules.what == "loss" else ""
            raise ArgumentError(f"{what} is {_told(value)}, and the output {tree!r} is one tensor.{advice}")
        yield value
    elif value is None:
        yield from (None for _ in _leaves(tree))
    elif not rules.holds(value):
        shared = "" if rules.what == "y_true" else f", or a single {rules.what} for all outputs"
        raise ArgumentError(
            f"{what} is {_one(value)}, and y_pred{_place(path)} has {_plural(len(_leaves(tree)))}: {', '.join(_leaves(tree))}. "
            f"Give one entry for each of them{shared}."
        )
    elif isinstance(tree, dict):
        if not isinstance(value, Mapping):
            if len(value) != len(tree):
                raise _wrong_length(what, value, tuple(_leaves(tree)), len(tree))
            raise ArgumentError(
                f"{what} is a list, and y_pred{_place(path)} is a dict of {', '.join(map(repr, tree))}, which has no "
                f"reliable order (JAX sorts the keys). Give {what} as a dict with these names."
            )
        _check_keys(value, tuple(tree), rules.layout, what, complete=rules.complete)
        for key, part in tree.items():
            yield from _matched(value.get(key), part, (*path, key), rules)
    elif isinstance(value, Mapping):
        raise ArgumentError(
            f"{what} is a dict, and y_pred{_place(path)} is a list of {len(tree)}. Give {what} as a list in its order."
        )
    elif len(value) != len(tree):
        raise _wrong_length(what, value, tuple(_leaves(tree)), len(tree))
    else:
        for index, (each, part) in enumerate(zip(value, tree, strict=True)):
            yield from _matched(each, part, (*path, index), rules)


def separate(y_true: Any, y_pred: Any, sample_weight: Any, mask: Any, layout: Layout) -> list[Output]:
    """Return the arguments of a call, output by output.

    Raises:
        UnknownNameError, ArgumentError: as `for_each_output`; also if there are targets for one of several outputs only.
    """
    predictions = for_each_output(y_pred, layout, "y_pred", holds=is_structure)
    if isinstance(layout.tree, str) or len(layout.names) == 1:
        holds = is_structure if not isinstance(layout.tree, str) else _is_mapping
    elif y_true is not None and not is_entries(y_true):
        raise ArgumentError(
            f"y_pred has {_plural(len(layout.names))}, and y_true is one {type(y_true).__name__}. "
            f"Give the targets as y_pred is given: as a {type(layout.tree).__name__}."
        )
    else:
        holds = is_entries
    targets = for_each_output(y_true, layout, "y_true", holds=holds, groups=True)
    weights = for_each_output(sample_weight, layout, "sample_weight", holds=is_structure)
    masks = for_each_output(mask, layout, "mask", holds=is_structure)
    return [Output(*each) for each in zip(layout.names, targets, predictions, weights, masks, strict=True)]


def is_entries(x: Any) -> bool:
    """Whether a setting is a dict or a list, which holds one entry for each output."""
    return isinstance(x, (Mapping, list, tuple))


def _is_mapping(x: Any) -> bool:
    return isinstance(x, Mapping)


# ── Messages ────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_keys(value: Mapping[Any, Any], names: Sequence[Any], layout: Layout, what: str, *, complete: bool) -> None:
    for name in value:
        if name not in names:
            raise _unknown_output(what, name, names, layout)
    for name in names:
        if complete and name not in value:
            raise ArgumentError(
                f"{what} says nothing about the output {name!r}. Give it a {what.partition('[')[0]}, or None to leave it out."
            )


def _unknown_output(what: str, name: Any, names: Sequence[Any], layout: Layout) -> Exception:
    error = unknown_name(f"output in {what}", name, [str(each) for each in names])
    if isinstance(layout.tree, dict):
        return error
    one = isinstance(layout.tree, str)
    told = (
        f"one tensor, called {layout.names[0]!r}"
        if one
        else f"a list, whose outputs are called {', '.join(layout.names)}"
    )
    return type(error)(f"{error} y_pred is {told}: name the outputs with output_names=, or pass a dict.")


def _wrong_length(what: str, value: Any, names: Sequence[str], count: int | None = None) -> Exception:
    count = len(names) if count is None else count
    advice = (
        f"To add several of them up, write one function; {what} has one entry for each output."
        if count == 1
        else f"Give one entry for each output ({', '.join(names)}), with None to leave one out."
    )
    return ArgumentError(f"{what} is a list of {len(value)}, and y_pred has {_plural(count)}. {advice}")


def _place(path: tuple[Any, ...]) -> str:
    return "".join(f"[{each!r}]" for each in path)


def _told(value: Any) -> str:
    return f"a dict of {', '.join(map(repr, value))}" if isinstance(value, Mapping) else f"a list of {len(value)}"


def _one(value: Any) -> str:
    return f"one {type(value).__name__}" if hasattr(value, "shape") else repr(value)


def _plural(count: int) -> str:
    return f"{count} output{'s' * (count > 1)}"
