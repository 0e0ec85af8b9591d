"""Batches that wait: small ones are copied, and taken into the state together as soon as there are some.

An update of a few hundred samples spends its time between the operations, not in them. What a batch does to the state
depends on its own samples alone (that is why states merge), so that some batches can be one: what is between is then paid
once. Nobody sees it: whoever asks for the state gets that of all batches, and a batch waits only if nothing about it can
fail any more. What could, be it a label out of range, another shape or a weight, goes the usual way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from multiloss._boundary import are_in_range
from multiloss._registry import active
from multiloss._typing import Tensor
from multiloss.interface import Backend, HostCopies

MOST_BATCHES = 64
MOST_ELEMENTS = 1 << 17
"""How many elements of an operand are taken in together: in more of them, the operations take most of the time."""

MISSES = 8
"""How many batches in a row of another kind it takes until batches of that kind are waited for."""

REST = 16
"""For how many batches none waits after the state was asked for with a single one waiting: so it may be after each."""

Check = Callable[..., bool]


class Queue:
    """Where batches of one kind wait.

    Attributes:
        backend: whose tensors they are.
        copies: where they are copied to, again and again: memory that is fresh costs more than copying.
        length: how many may wait.
        check: whether a batch, as host arrays, can be taken in without further questions; None if every batch can.
        stacked: whether batches are put on an axis of their own, and not one after the other.
        misses: how many batches in a row could not.
        rest: how many of the next batches shall not.
    """

    def __init__(self, backend: Backend, copies: HostCopies, length: int, check: Check | None, stacked: bool) -> None:
        self.backend = backend
        self.copies = copies
        self.length = length
        self.check = check
        self.stacked = stacked
        self.misses = 0
        self.rest = 0

    def put(self, at: int, args: Sequence[Any]) -> bool:
        """Copy a batch to the place `at` if it may wait, and tell whether it may."""
        if self.rest:
            self.rest -= 1
            return False
        backend, copies, check = self.backend, self.copies, self.check
        if (backend.is_host and active().backend is not backend) or not copies.put(at, args):
            return False
        if check is not None and not check(*[each[at] for each in copies.memory]):
            return False
        self.misses = 0
        return True

    def joined(self, count: int) -> list[Tensor]:
        """Return the first batches as one, in memory that the next ones are written to."""
        parts = [each[:count] for each in self.copies.memory]
        if not self.stacked:
            parts = [each.reshape((-1, *each.shape[2:])) for each in parts]
        return [self.backend.asarray(each) for each in parts]


def queue_like(
    backend: Backend, batch: Sequence[Tensor], check: Check | None = None, stacked: bool = False
) -> Queue | None:
    """Return where further batches like this one wait, or None if they are empty, too large or not on the host."""
    largest = max(math.prod(each.shape) for each in batch)
    if 8 * largest > MOST_ELEMENTS or any(0 in each.shape for each in batch):
        return None
    length = min(MOST_BATCHES, MOST_ELEMENTS // largest)
    copies = backend.host_copies(batch, length)
    queue = None if copies is None else Queue(backend, copies, length, check, stacked)
    return queue if queue is not None and queue.put(0, batch) else None


def side_by_side(y_true: Tensor, y_pred: Tensor, rank: int) -> bool:
    """Whether the first axis of both is that of the samples, in predictions of at least some rank."""
    return bool(y_pred.ndim >= rank and y_true.ndim and y_true.shape[0] == y_pred.shape[0])


# ── Checks, which see host arrays ───────────────────────────────────────────────────────────────────────────────


def are_classes(y_true: Any, y_pred: Any) -> bool:
    """Whether labels are indices of the classes on the last axis."""
    return y_true.dtype.kind in "iu" and bool(y_true.size) and are_in_range(y_true, y_pred.shape[-1])


def are_not_negative(y_true: Any, y_pred: Any) -> bool:
    """Whether no label is -1: only together with others it is known what such a one stands for."""
    return bool(y_true.size) and bool(y_true.min() >= 0)


def are_binary(y_true: Any, y_pred: Any) -> bool:
    """Whether labels are 0 or 1 and scores can be compared."""
    if not _are_ones_and_zeros(y_true) or not _are_numbers(y_pred):
        return False
    least = y_pred.min()
    return bool(least == least)  # nan is the least of all


def are_probabilities(y_true: Any, y_pred: Any) -> bool:
    """Whether labels are 0 or 1 and scores from 0 to 1."""
    if not _are_ones_and_zeros(y_true) or not _are_numbers(y_pred):
        return False
    return bool(y_pred.min() >= 0 and y_pred.max() <= 1)


def _are_ones_and_zeros(x: Any) -> bool:
    return _are_numbers(x) and bool(((x == 0) | (x == 1)).all())


def _are_numbers(x: Any) -> bool:
    """Whether there are some, of a kind that is sure to be computed with."""
    return x.dtype.kind in "biuf" and bool(x.size)
