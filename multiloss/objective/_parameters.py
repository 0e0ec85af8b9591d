"""Parameters by name: which regularizer or constraint belongs to which tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from multiloss._errors import ArgumentError, ShapeError, unknown_name
from multiloss._tree import leaves
from multiloss._typing import Tensor
from multiloss.objective._tensors import add


def by_name(given: Any, get: Callable[[Any], Any], what: str) -> dict[str, Any]:
    """Return the regularizers or constraints by parameter name, each looked up with `get`; entries of None are left out.

    Raises:
        ArgumentError: if it is no mapping by name.
        UnknownNameError: for an identifier that is not known.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or "class_name" in given or not all(isinstance(name, str) for name in given):
        raise ArgumentError(f"Arrived: {what}={given!r}. Expected a dict by parameter name, such as {{'kernel': ...}}.")
    return {name: get(each) for name, each in given.items() if each is not None}


def named(parameters: Any) -> dict[str, Tensor]:
    """Return the tensors of nested dicts, lists and tuples by name, in the order of `_tree.leaves`.

    The name is the path: `{"dense": {"kernel": w}}` holds "dense/kernel", and `[{"kernel": w}]` holds "0/kernel".

    Raises:
        ArgumentError: if there are no names, or one twice.
    """
    if not isinstance(parameters, (dict, list, tuple)):
        raise ArgumentError(
            f"Arrived: parameters of type {type(parameters).__name__}. Expected tensors by name: a dict, which may be "
            "nested. For a torch module: dict(module.named_parameters())."
        )
    names = _paths(parameters)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ArgumentError(f"Two parameters are called {twice!r}. Rename one of them.")
    return dict(zip(names, leaves(parameters), strict=True))


def _paths(tree: Any) -> list[str]:
    if tree is None:
        return []
    if isinstance(tree, dict):
        children = [(str(key), tree[key]) for key in sorted(tree)]
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        children = list(zip(tree._fields, tree, strict=True))
    elif isinstance(tree, (list, tuple)):
        children = [(str(index), each) for index, each in enumerate(tree)]
    else:
        return [""]
    return [f"{key}/{rest}" if rest else key for key, child in children for rest in _paths(child)]


def check_names(wanted: Iterable[str], parameters: Mapping[str, Tensor], what: str) -> None:
    """Raise for the first name that is no parameter.

    Raises:
        UnknownNameError: with near matches.
    """
    for name in wanted:
        if name not in parameters:
            raise unknown_name(f"parameter in {what}", name, parameters)


def penalized(regularizers: Mapping[str, Any], parameters: Any) -> dict[str, Tensor]:
    """Return the parameters that have regularizers, by name.

    Raises:
        ArgumentError: if there are no parameters.
        UnknownNameError: if a regularizer names one that is not there, with near matches.
    """
    if not regularizers:
        return {}
    if parameters is None:
        raise ArgumentError(
            f"There are regularizers for {', '.join(map(repr, regularizers))}, and no parameters. "
            "Pass parameters=, the tensors by name."
        )
    given = named(parameters)
    check_names(regularizers, given, "regularizers")
    return {name: given[name] for name in regularizers}


def penalty(regularizers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the penalties of parameters.

    Raises:
        ShapeError: if a regularizer does not give one number.
    """
    terms = []
    for name, each in tensors.items():
        term = regularizers[name](each)
        if getattr(term, "ndim", 0):
            raise ShapeError(
                f"The regularizer of {name!r} gave shape {tuple(term.shape)}. Expected one number: add it up."
            )
        terms.append(term)
    return add(terms)
