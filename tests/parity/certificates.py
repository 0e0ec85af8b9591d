"""`agree` compares our numbers with a peer's and keeps the largest difference.

    agree(losses.huber, "torch", ours, theirs, rtol=1e-10)
    agree(losses.huber, "torch", our_gradient, their_gradient, quantity="gradient", rtol=1e-10)

The subject is what was called: a function or class of `multiloss.losses` or `multiloss.metrics`, or an object of it.
`conftest` collects what the workers kept, and with `--write-certificates PAGE` writes the page; see `certificate_page`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from multiloss import losses, metrics

Peer = Literal[
    "Keras on NumPy",
    "Keras on torch",
    "Keras on JAX",
    "Keras, float32",
    "torch",
    "optax",
    "scikit-learn",
    "torchmetrics",
]
Quantity = Literal["value", "gradient"]

SPACES = {"losses": losses, "metrics": metrics}
KERAS: dict[str, Peer] = {"numpy": "Keras on NumPy", "torch": "Keras on torch", "jax": "Keras on JAX"}
PEERS: dict[str, tuple[Peer, ...]] = {
    "losses": (*KERAS.values(), "Keras, float32", "torch", "optax", "scikit-learn"),
    "metrics": (*KERAS.values(), "scikit-learn", "torchmetrics"),
}
"""The columns of either table: torch.nn.functional and optax have losses only, torchmetrics has metrics only."""

NO_NUMBERS = {
    "losses": {"Loss", "LossFunctionWrapper", "Sum", "deserialize", "get", "serialize"},
    "metrics": {"MeanMetricWrapper", "Metric", "deserialize", "get", "serialize"},
}
"""Public names that give no number of their own: bases, sums of others, and look-ups."""


# ── What is certified ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Row:
    """A loss or metric: the class, the function and their aliases."""

    space: str
    key: str
    names: tuple[str, ...]


def _key(thing: Any) -> str:
    """Return what a class and its function have in common: `MeanSquaredError` and `mean_squared_error`."""
    return str(thing.__name__).lower().replace("_", "")


def rows() -> dict[tuple[str, str], Row]:
    """Return the losses and metrics with all their public names. A loss that is a metric, too, is in the losses alone."""
    found: dict[tuple[str, str], list[str]] = {}
    shared = {id(getattr(losses, name)) for name in losses.__all__}
    for space, module in SPACES.items():
        for name in module.__all__:
            thing = getattr(module, name)
            if name in NO_NUMBERS[space] or (space == "metrics" and id(thing) in shared):
                continue
            found.setdefault((space, _key(thing)), []).append(name)

    def order(name: str) -> tuple[bool, int, str]:  # the class, the function, the aliases
        return (not isinstance(getattr(SPACES[space], name), type), -len(name), name)

    result = {}
    for (space, key), names in sorted(found.items()):
        result[space, key] = Row(space, key, tuple(sorted(names, key=order)))
    return result


def row_of(subject: Any) -> tuple[str, str]:
    """Return the row of a function, a class or an object."""
    thing = subject if hasattr(subject, "__name__") else type(subject)
    for space, module in SPACES.items():
        if getattr(module, thing.__name__, None) is thing:
            return space, _key(thing)
    raise LookupError(f"{subject!r} is no public loss or metric: pass what was called, for example losses.huber")


# ── Comparing ───────────────────────────────────────────────────────────────────────────────────────────────────


def difference(ours: Any, theirs: Any) -> float:
    """Return the largest difference: relative to `theirs` where that is above 1 in size, else absolute."""
    ours, theirs = np.broadcast_arrays(np.asarray(ours, "float64"), np.asarray(theirs, "float64"))
    apart = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    if not apart.any():
        return 0.0
    return float(np.max(np.abs(ours[apart] - theirs[apart]) / np.maximum(1.0, np.abs(theirs[apart]))))


Index = tuple[str, str, str, str]
"""Losses or metrics, the key of the row, the peer, value or gradient."""


class Certificates:
    """The largest difference seen for each loss or metric, peer and quantity."""

    def __init__(self) -> None:
        self.largest: dict[Index, float] = {}

    def agree(
        self,
        subject: Any,
        peer: Peer,
        ours: Any,
        theirs: Any,
        *,
        quantity: Quantity = "value",
        rtol: float,
        atol: float = 0.0,
        note: str = "",
    ) -> None:
        """Assert that `ours` equals `theirs` within the tolerances, and keep the difference."""
        space, key = row_of(subject)
        if peer not in PEERS[space]:
            raise LookupError(f"{peer!r} is no peer for {space}; those are {', '.join(PEERS[space])}")
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=f"{quantity}, {peer} {note}".rstrip())
        self.keep(space, key, peer, quantity, difference(ours, theirs))

    def keep(self, space: str, key: str, peer: str, quantity: str, largest: float) -> None:
        index = (space, key, peer, quantity)
        self.largest[index] = max(largest, self.largest.get(index, 0.0))

    def dump(self) -> list[list[Any]]:
        """Return everything as lists, to be sent to another process."""
        return [[*index, largest] for index, largest in self.largest.items()]

    def load(self, dumped: Iterable[Iterable[Any]]) -> None:
        for index in dumped:
            self.keep(*index)


kept = Certificates()
"""What this process has compared so far."""

agree = kept.agree
