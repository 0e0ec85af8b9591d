"""Large arrays a few rows at a time, on all cores.

A formula over whole arrays writes each intermediate result to fresh memory: the page faults cost more than the
arithmetic. A block of rows leaves its intermediate results in the cache. NumPy's loops release the interpreter lock,
so blocks run on several threads; a block is large enough that a loop outlasts handing the lock over.
"""

from __future__ import annotations

import contextvars
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from multiloss._config import num_threads

BLOCK = 180_000
"""Elements of the largest tensor in a block, at most: 0.7 MB of float32, so that a few intermediate results stay
in the second cache. Smaller ones stay there entirely, but their loops are shorter than a handover of the lock."""

LARGE = 1 << 17
"""From how many elements on blocks pay."""


def in_blocks(fn: Callable[..., Any], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what `fn(*arrays)` does, an array or a tuple of them with the rows of `arrays`, evaluated in blocks of rows.

    They are laid out in memory as the largest of `arrays`, the last one of these, is. NumPy's warnings are off: see
    `NumpyBackend.run`.
    """
    rows, largest = len(arrays[0]), max(reversed(arrays), key=lambda array: array.size)
    results: list[Any] = []
    allocating = threading.Lock()

    def fill(here: slice) -> None:
        found = fn(*(array[here] for array in arrays))
        parts = found if isinstance(found, tuple) else (found,)
        with allocating:
            if not results:
                results.extend(
                    np.empty_like(largest, part.dtype, "K", False, (rows, *part.shape[1:])) for part in parts
                )
        for result, part in zip(results, parts, strict=True):
            _write(part, result[here])

    _for_blocks(fill, rows, largest.size)
    return tuple(results)


_FEW_COLUMNS = 32


def _write(part: Any, to: Any) -> None:
    """Copy an array; a transposed one by its columns if they are few, which takes a quarter of the time."""
    if part.ndim == 2 and part.shape[1] <= _FEW_COLUMNS and _by_columns(part) != _by_columns(to):
        for k in range(part.shape[1]):
            to[:, k] = part[:, k]
    else:
        to[...] = part


def _by_columns(x: Any) -> bool:
    return bool(x.strides[0] < x.strides[1])


def multiply_rows(x: Any, factors: Any) -> None:
    """Multiply `x` in place by `factors` of the same shape, or of the shape of all its axes but the last one."""
    factors = factors if factors.ndim == x.ndim else factors[..., None]
    _for_blocks(lambda here: np.multiply(x[here], factors[here], out=x[here]), len(x), x.size)


def _for_blocks(do: Callable[[slice], Any], rows: int, elements: int) -> None:
    """Call `do` for each block of rows, on all threads."""
    _keep_freed_memory()
    threads = num_threads()
    blocks = max(-(-elements // BLOCK), min(threads, 2 * elements // LARGE), 1)
    blocks = min(-(-blocks // threads) * threads if blocks > threads else blocks, rows)
    # Of sizes that differ by a row at most: what a block computes depends on its rows, not on how many there are.
    edges = [rows * each // blocks for each in range(blocks + 1)]
    numbers = itertools.count()  # each thread takes the next block when it is done with one

    @np.errstate(all="ignore")
    def work() -> None:
        while (number := next(numbers)) < blocks:
            do(slice(edges[number], edges[number + 1]))

    helpers = min(threads, blocks) - 1
    pending = []
    if helpers > 0:
        pending = [_pool(helpers).submit(contextvars.copy_context().run, work) for _ in range(helpers)]
    try:
        work()
    finally:
        for each in pending:
            each.cancel()  # one that has not begun has nothing left to do
    for each in pending:
        if not each.cancelled():
            each.result()


def in_threads(fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return what `fn` returns for each of some items, each on a thread of its own."""
    pending = [_pool(len(items) - 1).submit(contextvars.copy_context().run, fn, each) for each in items[1:]]
    first = fn(items[0])
    return [first, *(each.result() for each in pending)]


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep what a block frees for the next one, which would otherwise fault every page again.

    glibc gives large pieces back to the system until the first one of this size has been freed.
    """
    np.empty(31 << 20, np.uint8)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "multiloss")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
