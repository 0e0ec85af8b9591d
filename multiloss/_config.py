"""`floatx`: the float dtype that integers, booleans, Python numbers and lists become."""

from __future__ import annotations

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
