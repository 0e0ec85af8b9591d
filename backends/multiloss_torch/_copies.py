"""Copies of small tensors in the memory of the host: a copy of 10 kB takes a fifth of the time of asking torch for one."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import memmove
from typing import Any

import numpy as np
import torch
from multiloss._typing import Tensor

_current_level = torch._C._functorch.maybe_current_level
_is_compiling = torch.compiler.is_compiling


class Copies:
    """`HostCopies` for tensors like some, which are on the CPU."""

    def __init__(self, likes: Sequence[Tensor], length: int) -> None:
        self.memory: Sequence[Any] = [np.zeros((length, *each.shape), each.numpy(force=True).dtype) for each in likes]
        self._length = length
        # Looking these up again for each copy would take longer than copying.
        self._kinds = [
            (like.dtype, like.shape, each.ctypes.data, each[0].nbytes, each)
            for like, each in zip(likes, self.memory, strict=True)
        ]

    def put(self, at: int, tensors: Sequence[Tensor], /) -> bool:
        # Inside torch.func a tensor of this type may be a wrapper without memory.
        if len(tensors) != len(self._kinds) or _current_level() is not None or _is_compiling():
            return False
        if not 0 <= at < self._length:  # behind which the memory is not ours
            return False
        for x, (dtype, shape, address, size, memory) in zip(tensors, self._kinds):
            if type(x) is not torch.Tensor or x.dtype is not dtype or x.shape != shape or not _is_at_hand(x):
                return False
            if x.is_contiguous() and not x.is_neg() and (source := x.data_ptr()):
                memmove(address + at * size, source, size)
            else:
                memory[at] = x.numpy(force=True)
        return True


def _is_at_hand(x: torch.Tensor) -> bool:
    """Whether NumPy can read the memory of a tensor, whatever its dtype."""
    return x.is_cpu and x.layout is torch.strided


def copies(likes: Sequence[Tensor], length: int) -> Copies | None:
    """Return where tensors like these can be copied to, or None."""
    if _is_compiling() or _current_level() is not None:
        return None
    for x in likes:
        if type(x) is not torch.Tensor or not _is_at_hand(x) or x.dtype not in _NUMPY_HAS:
            return None
    return Copies(likes, length)


_NUMPY_HAS = frozenset(
    {
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.float32, torch.float64),
    }
)
