"""Nested dicts, lists, tuples and named tuples of tensors, flattened and rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """Return the leaves in order; dicts in the order of their sorted keys, as JAX does. None is not a leaf.

    >>> leaves({"b": 1, "a": (2, [3, None])})
    [2, 3, 1]
    """
    if tree is None:
        return []
    if isinstance(tree, dict):
        tree = [tree[key] for key in sorted(tree)]
    elif not isinstance(tree, (list, tuple)):
        return [tree]
    found = []
    for each in tree:
        if isinstance(each, (dict, list, tuple)):
            found += leaves(each)
        elif each is not None:
            found.append(each)
    return found


def unflatten(tree: Any, new_leaves: Iterable[Any]) -> Any:
    """Return `tree` with its leaves replaced, in order.

    >>> unflatten({"b": 1, "a": (2, [3, None])}, "xyz")
    {'b': 'z', 'a': ('x', ['y', None])}
    """
    return _rebuild(tree, iter(new_leaves))


def _rebuild(tree: Any, supply: Any) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict):
        rebuilt = {key: _rebuild(tree[key], supply) for key in sorted(tree)}
        return type(tree)((key, rebuilt[key]) for key in tree)
    if isinstance(tree, (list, tuple)):
        parts = [_rebuild(each, supply) for each in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return next(supply)


def tree_map(fn: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Return `tree` with `fn` applied to each leaf, together with the leaves of other trees of the same structure.

    >>> tree_map(lambda x, y: x + y, {"a": 1}, {"a": 2})
    {'a': 3}
    """
    return unflatten(tree, [fn(*each) for each in zip(leaves(tree), *map(leaves, others), strict=True)])
