"""Aliases used in signatures. They carry meaning for the reader; at run time a tensor is any backend's native array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

Tensor: TypeAlias = Any
"""A native array of whichever framework owns the call: `numpy.ndarray`, `torch.Tensor`, `jax.Array`, ..."""

TensorLike: TypeAlias = Any
"""A tensor, or host data: a NumPy array, a number, or nested lists of numbers."""

PerClass: TypeAlias = Any
"""A number for each class or label: a dict from class to number, a sequence of numbers, or a tensor of them."""

Axis: TypeAlias = int | tuple[int, ...] | None
Shape: TypeAlias = Sequence[int]
DType: TypeAlias = str
"""A dtype's name: `"float32"`, `"bfloat16"`, `"int64"`, `"bool"`, ..."""

Reduction: TypeAlias = Literal["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none"]
