"""Copies of small arrays into memory that is there: fresh memory costs more than copying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from multiloss._typing import Tensor


class Copies:
    """`HostCopies` for arrays and numbers like some."""

    def __init__(self, likes: Sequence[Tensor], length: int) -> None:
        self.memory: Sequence[Any] = [np.zeros((length, *each.shape), each.dtype) for each in likes]
        self._length = length
        self._kinds = [(like.dtype, like.shape, each) for like, each in zip(likes, self.memory, strict=True)]

    def put(self, at: int, tensors: Sequence[Tensor], /) -> bool:
        if len(tensors) != len(self._kinds) or not 0 <= at < self._length:
            return False
        for x, (dtype, shape, memory) in zip(tensors, self._kinds):
            if not _is_plain(x) or x.dtype != dtype or x.shape != shape:
                return False
            memory[at] = x
        return True


def _is_plain(x: Tensor) -> bool:
    """Whether this is an array or a number of NumPy's own: what subclasses do when they are copied is theirs to say."""
    kind = x.__class__
    return kind is np.ndarray or issubclass(kind, np.generic)


def copies(likes: Sequence[Tensor], length: int) -> Copies | None:
    """Return where arrays like these can be copied to, or None."""
    return Copies(likes, length) if all(_is_plain(x) for x in likes) else None
