"""A multiloss backend over array_api_strict: what the array API standard offers, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import array_api_strict as xp
import numpy as np
from multiloss._errors import DTypeError, NotSupportedError
from multiloss.interface import Backend

_DTYPES = {
    name: getattr(xp, name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float32", "float64"),
    )
}
_NAMES = {id(dtype): name for name, dtype in _DTYPES.items()}


def _resolve_dtype(name: str) -> Any:
    if name not in _DTYPES:
        raise DTypeError(f"The array API has no dtype {name!r}. Expected one of: {', '.join(_DTYPES)}.")
    return _DTYPES[name]


def _both(x: Any, y: Any) -> tuple[Any, Any]:
    """Return both operands as arrays of one dtype; a Python number takes the other's."""
    if not isinstance(x, backend.tensor_types):
        x = xp.asarray(x, dtype=y.dtype, device=y.device)
    if not isinstance(y, backend.tensor_types):
        y = xp.asarray(y, dtype=x.dtype, device=x.device)
    return x, y


class ArrayApiStrictBackend(Backend):
    """K over `array_api_strict.Array`."""

    name = "array_api_strict"
    tensor_types = (type(xp.asarray(0.0)),)
    full_precision = frozenset({xp.float32, xp.float64})
    differentiable: ClassVar[bool] = False

    # ── Conversion and introspection ────────────────────────────────────────────────────────────────────────

    def version(self) -> str:
        return str(xp.__version__)

    def devices(self) -> list[str]:
        return ["cpu"]

    def asarray(self, x: Any, /, *, dtype: str | None = None, like: Any = None, device: str | None = None) -> Any:
        if isinstance(x, self.tensor_types):
            return x if dtype is None else self.cast(x, dtype)
        array = np.asarray(x)
        if dtype is None and array.dtype.name not in _DTYPES:
            raise DTypeError(f"The array API has no dtype {array.dtype.name!r}. Expected one of: {', '.join(_DTYPES)}.")
        return xp.asarray(
            array.astype(dtype) if dtype in _DTYPES else array, dtype=dtype and _resolve_dtype(dtype), copy=True
        )

    def to_numpy(self, x: Any, /) -> Any:
        return np.from_dlpack(x) if x.dtype != xp.bool else np.from_dlpack(xp.astype(x, xp.uint8)).astype(bool)

    def dtype(self, x: Any, /) -> str:
        return _NAMES.get(id(x.dtype)) or str(x.dtype).rpartition(".")[2]

    def cast(self, x: Any, /, dtype: str) -> Any:
        return xp.astype(x, _resolve_dtype(dtype), copy=False)

    def has_values(self, x: Any, /) -> bool:
        return True

    # ── Elementwise ─────────────────────────────────────────────────────────────────────────────────────────

    abs = staticmethod(xp.abs)
    sign = staticmethod(xp.sign)
    square = staticmethod(xp.square)
    sqrt = staticmethod(xp.sqrt)
    exp = staticmethod(xp.exp)
    expm1 = staticmethod(xp.expm1)
    log = staticmethod(xp.log)
    log1p = staticmethod(xp.log1p)
    tanh = staticmethod(xp.tanh)
    isnan = staticmethod(xp.isnan)
    isfinite = staticmethod(xp.isfinite)

    def maximum(self, x: Any, y: Any, /) -> Any:
        return xp.maximum(*_both(x, y))

    def minimum(self, x: Any, y: Any, /) -> Any:
        return xp.minimum(*_both(x, y))

    def power(self, x: Any, /, exponent: Any) -> Any:
        return xp.pow(*_both(x, exponent))

    def where(self, condition: Any, x: Any, y: Any, /) -> Any:
        return xp.where(condition, *_both(x, y))

    def stop_gradient(self, x: Any, /) -> Any:
        return x

    # ── Reductions ──────────────────────────────────────────────────────────────────────────────────────────

    def sum(self, x: Any, /, axis: Any = None, keepdims: bool = False) -> Any:
        x = xp.astype(x, xp.int64) if x.dtype == xp.bool else x
        return xp.sum(x, axis=axis, keepdims=keepdims)

    def mean(self, x: Any, /, axis: Any = None, keepdims: bool = False) -> Any:
        return xp.mean(x, axis=axis, keepdims=keepdims)

    def max(self, x: Any, /, axis: Any = None, keepdims: bool = False) -> Any:
        return xp.max(x, axis=axis, keepdims=keepdims)

    def any(self, x: Any, /, axis: Any = None, keepdims: bool = False) -> Any:
        return xp.any(x, axis=axis, keepdims=keepdims)

    def all(self, x: Any, /, axis: Any = None, keepdims: bool = False) -> Any:
        return xp.all(x, axis=axis, keepdims=keepdims)

    def argmax(self, x: Any, /, axis: int = -1) -> Any:
        return xp.argmax(x, axis=axis)

    def cumsum(self, x: Any, /, axis: int = -1) -> Any:
        return xp.cumulative_sum(x, axis=axis)

    # ── Sorting and selecting ───────────────────────────────────────────────────────────────────────────────

    def argsort(self, x: Any, /, axis: int = -1) -> Any:
        return xp.argsort(x, axis=axis, stable=True)

    def take_along_axis(self, x: Any, indices: Any, /, axis: int = -1) -> Any:
        return xp.take_along_axis(x, xp.astype(indices, xp.int64), axis=axis)

    def searchsorted(self, sorted_values: Any, values: Any, /, side: str = "left") -> Any:
        return xp.searchsorted(sorted_values, values, side="left" if side == "left" else "right")

    def segment_sum(self, x: Any, segments: Any, /, num_segments: int) -> Any:
        numbers = xp.arange(num_segments, dtype=segments.dtype)
        members = xp.expand_dims(segments, axis=0) == xp.expand_dims(numbers, axis=1)
        x = xp.astype(x, xp.int64) if x.dtype == xp.bool else x
        return xp.sum(xp.where(members, xp.expand_dims(x, axis=0), xp.zeros((1, 1), dtype=x.dtype)), axis=1)

    # ── Shape ───────────────────────────────────────────────────────────────────────────────────────────────

    def reshape(self, x: Any, /, shape: Sequence[int]) -> Any:
        return xp.reshape(x, tuple(shape))

    def expand_dims(self, x: Any, /, axis: int) -> Any:
        return xp.expand_dims(x, axis=axis)

    def squeeze(self, x: Any, /, axis: Any = None) -> Any:
        return xp.squeeze(x, axis=axis if axis is not None else tuple(at for at, n in enumerate(x.shape) if n == 1))

    def broadcast_to(self, x: Any, /, shape: Sequence[int]) -> Any:
        return xp.broadcast_to(x, tuple(shape))

    def moveaxis(self, x: Any, /, source: int, destination: int) -> Any:
        return xp.moveaxis(x, source, destination)

    def concatenate(self, xs: Sequence[Any], /, axis: int = 0) -> Any:
        return xp.concat(list(xs), axis=axis)

    def stack(self, xs: Sequence[Any], /, axis: int = 0) -> Any:
        return xp.stack(list(xs), axis=axis)

    # ── Creation ────────────────────────────────────────────────────────────────────────────────────────────

    def full(self, shape: Sequence[int], /, value: float, *, dtype: str | None = None, like: Any = None) -> Any:
        wanted = _resolve_dtype(dtype) if dtype is not None else like.dtype if like is not None else None
        if wanted == xp.bool:
            value = bool(value)
        elif wanted in (xp.float32, xp.float64):
            value = float(value)
        return xp.full(tuple(shape), value, dtype=wanted)

    def arange(self, n: int, /, *, dtype: str | None = None, like: Any = None) -> Any:
        return xp.arange(n, dtype=xp.int64 if dtype is None else _resolve_dtype(dtype))

    # ── Transforms ──────────────────────────────────────────────────────────────────────────────────────────

    def value_and_grad(self, fn: Callable[..., Any], leaves: list[Any], /) -> Any:
        raise NotSupportedError("The array API has no gradients. Use the backend numpy, torch or jax for them.")

    def run(self, fn: Callable[..., Any], /, *tensors: Any, **static: Any) -> Any:
        with np.errstate(all="ignore"):  # its arrays are NumPy's inside; inf and nan are values here, not warnings
            return fn(*tensors, **static)


backend = ArrayApiStrictBackend()
