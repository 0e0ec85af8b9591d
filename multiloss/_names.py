"""Names of classes and dtypes, however they are given."""

from __future__ import annotations

import re
from typing import Any

from multiloss._typing import DType


def snake_case(name: str) -> str:
    """Return `MeanSquaredError` as `mean_squared_error`."""
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z]|$)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", spaced).lower().strip("_")


def dtype_name(dtype: Any) -> DType | None:
    """Return the name of a dtype given as a string, a framework's dtype, or a Keras dtype policy."""
    if dtype is None or isinstance(dtype, str):
        return dtype
    name = getattr(dtype, "compute_dtype", None) or getattr(dtype, "name", None)
    return str(name or getattr(dtype, "__name__", None) or dtype).removeprefix("torch.")
