"""`floatx`, the float dtype that integers, booleans, Python numbers and lists become; and how many threads may work."""

from __future__ import annotations

import os

from multiloss._errors import ArgumentError
from multiloss._typing import DType

_FLOATS = ("bfloat16", "float16", "float32", "float64")
_floatx: DType = "float32"


def floatx() -> DType:
    """Return the float dtype that integers, booleans, Python numbers and lists become.

    >>> floatx()
    'float32'
    """
    return _floatx


def set_floatx(dtype: DType) -> None:
    """Set the float dtype that integers, booleans, Python numbers and lists become, for the whole process.

    Raises:
        ArgumentError: if it is not one of float16, bfloat16, float32, float64.
    """
    global _floatx
    if dtype not in _FLOATS:
        raise ArgumentError(f"floatx cannot be {dtype!r}. Expected one of: {', '.join(_FLOATS)}.")
    _floatx = dtype


def num_threads() -> int:
    """Return how many threads a backend may use that has none of its framework's: `MULTILOSS_NUM_THREADS`, else the
    cores that this process may run on.

    Raises:
        ArgumentError: if the variable is not a positive integer.
    """
    wanted = os.environ.get("MULTILOSS_NUM_THREADS")
    if not wanted:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ArgumentError(f"MULTILOSS_NUM_THREADS={wanted!r} is not allowed. Expected a whole number of at least 1.")
    return int(wanted)
