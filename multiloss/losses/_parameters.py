"""What the parameters of losses may be, and how a config holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from multiloss._arguments import is_plain, is_whole
from multiloss._registry import owner_of
from multiloss.losses._classes import by_number


def _is_index(value: Any) -> bool:
    return is_whole(value) and bool(value >= 0)


Domain = tuple[Callable[[Any], bool], str]
ANYTHING: Domain = (lambda value: True, "anything")
DOMAINS: Mapping[str, Domain] = {
    "axis": (is_whole, "an integer"),
    "from_logits": (lambda value: isinstance(value, bool), "True or False"),
    "apply_class_balancing": (lambda value: isinstance(value, bool), "True or False"),
    "label_smoothing": (lambda value: is_plain(value) and 0 <= value <= 1, "a number in [0, 1]"),
    "delta": (lambda value: is_plain(value) and value > 0, "a positive number"),
    "gamma": (lambda value: is_plain(value) and value >= 0, "a number of at least 0"),
    "alpha": (
        lambda value: is_plain(value) or (isinstance(value, (list, tuple)) and all(map(is_plain, value))),
        "a number, or one per class",
    ),
    "beta": (lambda value: is_plain(value) and value >= 0, "a number of at least 0"),
    "ignore_class": (
        lambda value: value is None or (is_plain(value) and -(1 << 63) <= value < 1 << 63 and value == int(value)),
        "an integer of 64 bits or None",
    ),
    "margin": (is_plain, "a number"),
    "z_loss": (lambda value: is_plain(value) and value >= 0, "a number of at least 0"),
    "softcap": (lambda value: value is None or (is_plain(value) and value > 0), "a positive number or None"),
    "overwrite_logits": (lambda value: isinstance(value, bool), "True or False"),
    "memory_budget": (
        lambda value: value is None or (_is_index(value) and value > 0),
        "a whole number of bytes above 0 (an int), or None",
    ),
    "remove_diagonal": (lambda value: isinstance(value, bool), "True or False"),
    "zero_infinity": (lambda value: isinstance(value, bool), "True or False"),
    "blank": (_is_index, "an integer of at least 0"),
    "q": (lambda value: is_plain(value) and 0 < value < 1, "a number between 0 and 1"),
    "threshold": (is_plain, "a number"),
    "from_sorted_ids": (lambda value: isinstance(value, bool), "True or False"),
}
"""What the parameters of that name may be, in every loss. Tensors are let through: their values are not looked at."""

WEIGHTS = ("class_weight", "pos_weight")


def reject_pos_weight(name: str, given: Mapping[str, Any], taken: Mapping[str, Any]) -> None:
    """Raise TypeError if a weight of positive labels is given to a loss whose classes exclude each other."""
    if "pos_weight" in given and "class_weight" in taken and "pos_weight" not in taken:
        raise TypeError(
            f"{name} got an unexpected keyword argument 'pos_weight': of classes that exclude each other none is positive. "
            "Give each class its weight with class_weight=, or use a binary cross-entropy for yes-or-no labels."
        )


def plain(value: Any) -> Any:
    """Return a parameter as JSON has it; the classes of a dict stay numbers until JSON makes strings of them."""
    if hasattr(value, "dtype"):
        return owner_of(value).to_numpy(value).tolist()
    if isinstance(value, Mapping):
        return by_number(value)
    return list(value) if isinstance(value, tuple) else value
