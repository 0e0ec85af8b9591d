"""K over NumPy arrays.

Reductions go straight to the ufuncs: `np.mean` on a (32, 10) array spends two thirds of its time in Python wrappers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, Unpack

import numpy as np
from multiloss._errors import DTypeError
from multiloss._typing import Axis, DType, Shape, Tensor, TensorLike
from multiloss.interface import EPSILON, TINY, Backend, CrossentropyOptions, HostCopies

from multiloss_numpy import _blocks, _copies, _crossentropy
from multiloss_numpy._linear import Linear
from multiloss_numpy._ranking import ranked_counts, roc_area

# Bound once, without the overloads that know no `keepdims: bool`.
_sum: Callable[..., Any] = np.add.reduce
_max: Callable[..., Any] = np.maximum.reduce
_min: Callable[..., Any] = np.minimum.reduce
_any: Callable[..., Any] = np.logical_or.reduce
_all: Callable[..., Any] = np.logical_and.reduce


def resolve_dtype(name: DType) -> np.dtype[Any]:
    """Return NumPy's dtype of that name; bfloat16 comes from ml_dtypes."""
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ModuleNotFoundError as error:
            raise DTypeError(
                "NumPy has no bfloat16 of its own. Expected float16, float32 or float64; or install ml_dtypes, "
                "which adds it."
            ) from error
        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    try:
        return np.dtype(name)
    except TypeError as error:
        raise DTypeError(
            f"NumPy has no dtype {name!r}. Expected a name such as 'float32', 'int64' or 'bool'."
        ) from error


_SIZEABLE = 1 << 12
"""From how many elements on the work in NumPy's loops outweighs the calls around them."""


_FEW_COLUMNS = 512
"""Up to how many columns a ufunc that reduces them spends most of its time between the rows."""


def _sum_of_rows(x: Any, keepdims: bool) -> Any:
    """Return the sums over the last axis."""
    columns = x.shape[-1]
    if columns == 1:
        return x if keepdims else x[..., 0]
    if columns > _FEW_COLUMNS or x.dtype.char not in "fd":  # long rows are summed in pairs, which keeps more digits
        return _sum(x, -1, None, None, keepdims)
    sums = np.einsum("...i->...", x)
    return sums[..., None] if keepdims else sums


_BITS = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}
"""The integers as wide as each kind of float."""


def _blend(condition: Any, x: Any, y: Any) -> Any:
    """Return `np.where(condition, x, y)`, or None if the arguments are of a kind that only `np.where` takes.

    `np.where` branches on each element, which takes ten times as long as an addition where the condition is hard to
    predict. Here the bits in which `x` and `y` differ are kept or cleared, whatever number they stand for.
    """
    array = x if x.__class__ is np.ndarray else y
    if array.__class__ is not np.ndarray or condition.dtype != bool:
        return None
    bits = _BITS.get(array.dtype)
    if bits is None:
        return None
    numbers = []
    for each in (x, y):
        if each.__class__ is float:
            numbers.append(array.dtype.type(each).view(bits))
        elif each.__class__ is np.ndarray and each.dtype == array.dtype and each.shape == condition.shape:
            numbers.append(each.view(bits))
        else:
            return None
    first, second = numbers
    result = np.bitwise_xor(first, second)
    np.multiply(result, condition.view(np.int8), out=result)
    return np.bitwise_xor(result, second, out=result).view(array.dtype)


def _first_of_rows(x: Any, at: Any, keepdims: bool) -> Any:
    """Return the elements of `x` at the indices `at` along the last axis, as a reduction does."""
    found = np.take_along_axis(x, at[..., None], -1)
    return found if keepdims else found[..., 0]


@cache
def _dtype_name(dtype: np.dtype[Any]) -> DType:
    return str(dtype.name)  # NumPy puts the name together each time


def _count(shape: tuple[int, ...], axis: Axis) -> int:
    """Return how many elements are reduced into one."""
    if axis is None:
        count = 1
        for size in shape:
            count *= size
        return count
    if isinstance(axis, int):
        return shape[axis]
    return _count(tuple(shape[each] for each in axis), None)


class NumpyBackend(Backend):
    """K over `numpy.ndarray`."""

    name = "numpy"
    is_host: ClassVar[bool] = True
    tensor_types: tuple[type, ...] = (np.ndarray, np.generic)
    has_host_copies = True
    full_precision = frozenset({np.dtype(np.float32), np.dtype(np.float64)})

    def __init__(self) -> None:
        self._quiet: dict[Callable[..., Any], Callable[..., Any]] = {}

    # ── Conversion and introspection ────────────────────────────────────────────────────────────────────────

    def version(self) -> str:
        return np.__version__

    def devices(self) -> list[str]:
        return ["cpu"]

    def asarray(
        self, x: TensorLike, /, *, dtype: DType | None = None, like: Tensor = None, device: str | None = None
    ) -> Tensor:
        return np.asarray(x, dtype=None if dtype is None else resolve_dtype(dtype))

    def to_numpy(self, x: Tensor, /) -> Any:
        return np.asarray(x)

    def dtype(self, x: Tensor, /) -> DType:
        return _dtype_name(x.dtype)

    def cast(self, x: Tensor, /, dtype: DType) -> Tensor:
        return x.astype(resolve_dtype(dtype), copy=False)

    def is_floating(self, x: Tensor, /) -> bool:
        return x.dtype.kind == "f" or super().is_floating(x)  # ml_dtypes are of another kind

    def has_values(self, x: Tensor, /) -> bool:
        return True

    # ── Elementwise ─────────────────────────────────────────────────────────────────────────────────────────

    abs = staticmethod(np.abs)
    sign = staticmethod(np.sign)
    square = staticmethod(np.square)
    sqrt = staticmethod(np.sqrt)
    exp = staticmethod(np.exp)
    expm1 = staticmethod(np.expm1)
    log = staticmethod(np.log)
    log1p = staticmethod(np.log1p)
    tanh = staticmethod(np.tanh)
    isnan = staticmethod(np.isnan)
    isfinite = staticmethod(np.isfinite)

    def maximum(self, x: Tensor, y: Tensor, /) -> Tensor:
        if y.__class__ is float and x.size >= _SIZEABLE:
            return np.clip(x, y, np.inf)  # takes half as long on whole arrays, and four times as long on small ones
        return np.maximum(x, y)

    def minimum(self, x: Tensor, y: Tensor, /) -> Tensor:
        if y.__class__ is float and x.size >= _SIZEABLE:
            return np.clip(x, -np.inf, y)
        return np.minimum(x, y)

    def power(self, x: Tensor, /, exponent: Tensor) -> Tensor:
        return np.power(x, exponent)

    def where(self, condition: Tensor, x: Tensor, y: Tensor, /) -> Tensor:
        # Of Python's numbers, which have no shape, NumPy makes what the other one is.
        if condition.ndim == 0 and getattr(x, "shape", None) == getattr(y, "shape", 0) and x.dtype == y.dtype:
            return x if condition else y
        if condition.size >= _SIZEABLE:
            blended = _blend(condition, x, y)
            if blended is not None:
                return blended
        return np.where(condition, x, y)

    def stop_gradient(self, x: Tensor, /) -> Tensor:
        return x

    def clip(self, x: Tensor, /, min_value: float | None = None, max_value: float | None = None) -> Tensor:
        if x.size >= _SIZEABLE:
            return np.clip(x, min_value, max_value)
        if min_value is not None:
            x = np.maximum(x, min_value)
        if max_value is not None:
            x = np.minimum(x, max_value)
        return x

    def add_to_pair(self, high: Tensor, low: Tensor, x: Tensor, /) -> tuple[Tensor, Tensor]:
        if high.dtype != np.float32:
            return super().add_to_pair(high, low, x)
        total = np.add(high, low, dtype=np.float64) + x
        rounded = total.astype(np.float32)
        lost = (total - rounded).astype(np.float32)
        return rounded, lost if np.isfinite(rounded).all() else np.where(np.isfinite(rounded), lost, np.float32(0))

    # ── Reductions ──────────────────────────────────────────────────────────────────────────────────────────

    def sum(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        if axis == -1 and x.size >= _SIZEABLE:
            return _sum_of_rows(x, keepdims)
        return _sum(x, axis, None, None, keepdims)

    def mean(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        count = x.shape[axis] if axis.__class__ is int else _count(x.shape, axis)
        return self.sum(x, axis, keepdims) / count

    def max(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        if axis == -1 and x.size >= _SIZEABLE and x.shape[-1] <= _FEW_COLUMNS:  # half the time, and nan wins here too
            return _first_of_rows(x, np.argmax(x, -1), keepdims)
        return _max(x, axis, None, None, keepdims)

    def min(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return _min(x, axis, None, None, keepdims)

    def any(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        if axis == -1 and x.size >= _SIZEABLE and x.dtype == bool:  # a search takes a fifth of the time of a reduction
            return _first_of_rows(x, np.argmax(x, -1), keepdims)
        return _any(x, axis, None, None, keepdims)

    def all(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        if axis == -1 and x.size >= _SIZEABLE and x.dtype == bool:
            return _first_of_rows(x, np.argmin(x, -1), keepdims)
        return _all(x, axis, None, None, keepdims)

    def argmax(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return np.argmax(x, axis)

    def cumsum(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return np.cumsum(x, axis)

    # ── Sorting and selecting ───────────────────────────────────────────────────────────────────────────────

    def argsort(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return np.argsort(x, axis, kind="stable")

    def take_along_axis(self, x: Tensor, indices: Tensor, /, axis: int = -1) -> Tensor:
        return np.take_along_axis(x, indices, axis)

    def searchsorted(self, sorted_values: Tensor, values: Tensor, /, side: str = "left") -> Tensor:
        return np.searchsorted(sorted_values, values, "left" if side == "left" else "right")

    def segment_sum(self, x: Tensor, segments: Tensor, /, num_segments: int) -> Tensor:
        total = np.bincount(segments, x, num_segments)
        return total.astype(x.dtype if x.dtype != bool else np.int64, copy=False)

    def bincount(self, x: Tensor, /, num_bins: int) -> Tensor:
        return np.bincount(x, minlength=num_bins)

    def ranked_counts(self, scores: Tensor, positive: Tensor, counts: Tensor, weights: Tensor, /) -> Tensor:
        return ranked_counts(scores, positive, counts, weights)

    def roc_area(self, scores: Tensor, positive: Tensor, counts: Tensor, weights: Tensor, /) -> Tensor:
        return roc_area(scores, positive, counts, weights)

    # ── Shape ───────────────────────────────────────────────────────────────────────────────────────────────

    def reshape(self, x: Tensor, /, shape: Shape) -> Tensor:
        return x.reshape(shape)

    def expand_dims(self, x: Tensor, /, axis: int) -> Tensor:
        return np.expand_dims(x, axis)

    def squeeze(self, x: Tensor, /, axis: Axis = None) -> Tensor:
        return np.squeeze(x, axis)

    def broadcast_to(self, x: Tensor, /, shape: Shape) -> Tensor:
        return np.broadcast_to(x, tuple(shape))

    def moveaxis(self, x: Tensor, /, source: int, destination: int) -> Tensor:
        return np.moveaxis(x, source, destination)

    def concatenate(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        return np.concatenate(xs, axis)

    def stack(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        return np.stack(xs, axis)

    # ── Creation ────────────────────────────────────────────────────────────────────────────────────────────

    def full(self, shape: Shape, /, value: float, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        return np.full(tuple(shape), value, resolve_dtype(dtype) if dtype is not None else getattr(like, "dtype", None))

    def arange(self, n: int, /, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        return np.arange(n, dtype=np.int64 if dtype is None else resolve_dtype(dtype))

    # ── Overrides ───────────────────────────────────────────────────────────────────────────────────────────

    def _halves(self, x: Tensor, /) -> tuple[Tensor, Tensor, Tensor]:
        return np.maximum(x, 0.0), np.maximum(-x, 0.0), -np.abs(x)  # a select takes ten times as long

    def l2_normalize(self, x: Tensor, /, axis: Axis = -1) -> Tensor:
        # Without the guards of the formula, which cost more than the rest, if no sum of squares needed them.
        squared = self.sum(np.square(x), axis, True)
        if squared.size and squared.min() > 1e-20 and squared.max() < 1e30:
            return x / np.sqrt(squared)
        return super().l2_normalize(x, axis)

    def binary_crossentropy(self, target: Tensor, output: Tensor, /, from_logits: bool = False) -> Tensor:
        if not from_logits:
            p = self.clip(output, EPSILON, 1.0 - EPSILON)
            if p.size < _SIZEABLE or p.shape != getattr(target, "shape", ()) or p.dtype != target.dtype:
                return -(target * np.log(p) + (1.0 - target) * np.log1p(-p))
            result = np.log(p)  # in place from here on: a block has room for three arrays in the cache, not for five
            result *= target
            np.log1p(np.negative(p, out=p), out=p)
            p *= 1.0 - target
            result += p
            return np.negative(result, out=result)
        # One product instead of the two guarded ones of the formula; they differ (0 * inf) only at infinite logits.
        result = np.maximum(output, 0.0) - output * target + np.log1p(np.exp(-np.abs(output)))
        return super().binary_crossentropy(target, output, True) if np.isnan(result).any() else result

    def _log_total(self, x: Tensor, axis: int) -> Tensor:
        terms = np.exp(x)
        largest = np.argmax(x, axis, keepdims=True)  # of one term: a select over all costs ten times as much
        np.put_along_axis(terms, largest, np.take_along_axis(terms, largest, axis) - 1.0, axis)
        return np.log1p(self.sum(terms, axis, True))

    def sparse_categorical_crossentropy(
        self, target: Tensor, output: Tensor, /, from_logits: bool = False, axis: int = -1
    ) -> Tensor:
        if from_logits:
            return super().sparse_categorical_crossentropy(target, output, True, axis)
        # Of the probabilities only those of the targets are divided and clipped.
        chosen = np.take_along_axis(output, np.expand_dims(target, axis), axis)
        q = chosen / np.maximum(self.sum(output, axis, True), TINY)
        return -np.log(self.clip(q, EPSILON, 1.0 - EPSILON).squeeze(axis))

    def normalized_probabilities(self, output: Tensor, /, axis: int = -1) -> Tensor:
        q = output / np.maximum(self.sum(output, axis, True), TINY)
        return (
            np.clip(q, EPSILON, 1.0 - EPSILON, out=q) if q.size >= _SIZEABLE else self.clip(q, EPSILON, 1.0 - EPSILON)
        )

    def softmax_crossentropy(
        self,
        target: Tensor,
        logits: Tensor,
        row_weight: Tensor = None,
        /,
        total: bool = False,
        overwrite: bool = False,
        **options: Unpack[CrossentropyOptions],
    ) -> Tensor:
        return _crossentropy.softmax_crossentropy(target, logits, row_weight, total, options)

    def linear_crossentropy(
        self,
        target: Tensor,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor = None,
        row_weight: Tensor = None,
        /,
        total: bool = False,
        memory_budget: int | None = None,
        group: Any = None,
        **options: Unpack[CrossentropyOptions],
    ) -> Tensor:
        if group is not None:
            return super().linear_crossentropy(
                *(target, hidden, weight, bias, row_weight, total, memory_budget, group), **options
            )
        values = Linear(target, hidden, weight, bias, row_weight, options, memory_budget).values()
        return _crossentropy.summed(values) if total else values.reshape(hidden.shape[:-1])

    # ── Transforms ──────────────────────────────────────────────────────────────────────────────────────────

    def value_and_grad(
        self, fn: Callable[[list[Tensor]], tuple[Tensor, list[Any]]], leaves: list[Tensor], /
    ) -> tuple[Tensor, list[Any], list[Tensor]]:
        from multiloss_numpy._autograd import value_and_grad  # autograd costs 40 ms that plain values need not pay

        return value_and_grad(fn, leaves)

    def grad_and_hessian_products(
        self, fn: Callable[[Tensor], Tensor], x: Tensor, vectors: Sequence[Tensor], /
    ) -> tuple[Tensor, list[Tensor]]:
        from multiloss_numpy._autograd import grad_and_hessian_products

        return grad_and_hessian_products(fn, x, vectors)

    def run(self, fn: Callable[..., Any], /, *tensors: Tensor, **static: Any) -> Any:
        # inf and nan are values with a specified meaning here, the same on every backend: NumPy's warnings about
        # them would only say on one backend what the result says on all. As a decorator errstate costs half.
        try:
            quiet = self._quiet[fn]
        except KeyError:
            quiet = self._quiet[fn] = np.errstate(all="ignore")(fn)
        return quiet(*tensors, **static)

    def run_rows(self, fn: Callable[..., Tensor], /, *tensors: Tensor, **static: Any) -> Tensor:
        if not self.takes_rows(tensors[1]) or tensors[1].ndim < 2:
            return self.run(fn, *tensors, **static)
        found = _blocks.in_blocks(lambda *rows: fn(*rows, **static), tensors)
        return found if len(found) > 1 else found[0]

    def host_copies(self, likes: Sequence[Tensor], length: int, /) -> HostCopies | None:
        return _copies.copies(likes, length)

    def takes_rows(self, y_pred: Tensor, /) -> bool:
        size: int = y_pred.size
        return size >= _blocks.LARGE
