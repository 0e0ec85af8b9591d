"""Sums that lose nothing: two floats for a total, an integer for a count.

A float32 total stops growing at 2^24 ones. Here each total is a pair `(high, low)`: `high` is the rounded sum and `low`
keeps what rounding took from it, so that a million batches add up as if in twice the precision, on frameworks and devices
without float64 too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multiloss._boundary import arrive
from multiloss._config import floatx
from multiloss._registry import owner_of
from multiloss._typing import DType, Shape, Tensor, TensorLike
from multiloss.dispatch import K

COUNT: DType = "int64"
"""The dtype of counts; JAX makes it int32 while its x64 setting is off."""


def run(fn: Callable[..., Any], *tensors: TensorLike, **static: Any) -> Any:
    """Return `fn(*tensors, **static)`, run by the backend that owns the tensors."""
    backend, arrived = arrive(*tensors)
    return backend.run(fn, *arrived, **static)


def as_result(value: Tensor, dtype: DType | None) -> Tensor:
    """Return `value` in the dtype that the metric was asked for."""
    return value if dtype is None else K.cast(value, dtype)


def beside(like: Tensor = None) -> Tensor:
    """Return `like`, or a tensor of the active backend, on its device, if there is none."""
    return arrive(0.0)[1][0] if like is None else like


def sum_dtype(like: Tensor, dtype: DType | None) -> DType:
    """Return the dtype of a total: float64 for float64 values or results, else float32."""
    own = owner_of(like).dtype(like)
    if "float64" in (dtype, own) or (floatx() == "float64" and not own.startswith(("float", "bfloat"))):
        return "float64"
    return "float32"


def zeros(like: Tensor, dtype: DType, shape: Shape = ()) -> Tensor:
    """Return zeros on the device of `like`.

    Each part of a state needs a tensor of its own: compilers compile once more where two arguments are one tensor, and
    cannot donate one twice.
    """
    return K.full(shape, 0, dtype=dtype, like=like)


def add(high: Tensor, low: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair `high + low + x`, elementwise."""
    return K.add_to_pair(high, low, x)


def add_pairs(high_a: Tensor, low_a: Tensor, high_b: Tensor, low_b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of two pairs."""
    return K.add_to_pair(high_a, low_a + low_b, high_b)
