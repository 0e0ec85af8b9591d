"""How close two numbers must be: the one table behind "the same number on every backend"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """`|actual - expected| <= absolute + relative * |expected|`."""

    relative: float
    absolute: float


TOLERANCES: Mapping[str, Tolerance] = {
    "float64": Tolerance(1e-10, 1e-12),
    "float32": Tolerance(1e-5, 1e-6),
    "float16": Tolerance(1e-3, 1e-3),
    "bfloat16": Tolerance(1e-3, 1e-3),
}
"""By the dtype of the inputs, against NumPy in float64 on the same inputs. Half precision is computed in float32."""

DIFFERENCES: Mapping[str, Tolerance] = {"float64": Tolerance(1e-6, 1e-7), "float32": Tolerance(1e-4, 1e-5)}
"""Where the reference is a central difference, which is itself that coarse."""


def assert_close(actual: Any, expected: Any, dtype: str, *, table: Mapping[str, Tolerance] = TOLERANCES) -> None:
    """Raise AssertionError unless two arrays have one shape and agree to the table's tolerance for `dtype`.

    Infinities and nans must be at the same places.

    >>> assert_close(np.float32(1.0), np.float64(1.0000001), "float32")
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"Arrived: shape {actual.shape}. Expected: {expected.shape}."
    relative, absolute = table[dtype]
    if expected.dtype.kind == "f" and actual.dtype.kind == "f" and actual.dtype.itemsize < expected.dtype.itemsize:
        with np.errstate(over="ignore", under="ignore"):
            expected = expected.astype(actual.dtype)  # what overflows in the narrow dtype is infinite there
    np.testing.assert_allclose(actual, expected, relative, absolute, equal_nan=True)
