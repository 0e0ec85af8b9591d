"""A backend whose tensors allow nothing but what the interface promises.

Its tensors wrap NumPy arrays and refuse everything a formula has no right to: implicit conversion, truth values,
iteration, fancy indexing, writing in place, other attributes than shape, ndim and dtype, mixing with other arrays, mixing
dtypes or ranks. A formula that runs on it uses K and Python's operators, and nothing else.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np
from multiloss._errors import DTypeError, NotSupportedError
from multiloss.interface import Backend


class StrictTensor:
    """A NumPy array that is not one."""

    __slots__ = ("_array",)
    __array_ufunc__ = None  # NumPy arrays refuse to operate on it, and leave the error to it

    def __init__(self, array: Any) -> None:
        array = np.array(array)
        array.flags.writeable = False
        object.__setattr__(self, "_array", array)

    shape = property(lambda self: self._array.shape)
    ndim = property(lambda self: self._array.ndim)
    dtype = property(lambda self: self._array.dtype.name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"A strict tensor cannot be changed: {name}")

    def __repr__(self) -> str:
        return f"StrictTensor({self._array!r})"

    def _refuse(self, *_args: Any) -> Any:
        raise TypeError("A strict tensor has no truth value, length, or conversion to numbers.")

    __bool__ = __len__ = __iter__ = __setitem__ = __contains__ = _refuse
    __float__ = __int__ = __index__ = __complex__ = _refuse
    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = __imatmul__ = __iand__ = __ior__ = _refuse
    __hash__ = None

    def __getitem__(self, index: Any) -> StrictTensor:
        parts = index if isinstance(index, tuple) else (index,)
        if any(type(part) not in (int, slice, type(...)) for part in parts):
            raise TypeError(f"Only numbers and slices index a strict tensor, not {index!r}")
        if ... not in parts and len(parts) != self.ndim:
            raise IndexError(f"{index!r} leaves axes of {self.shape} out; write them or ...")
        return StrictTensor(self._array[index])


def unwrap(*operands: Any) -> list[Any]:
    """Return the arrays inside operands of one elementwise operation.

    Raises:
        TypeError: if they are of other types, or of different dtypes or ranks, or a number does not fit the dtype.
    """
    tensors = [each for each in operands if isinstance(each, StrictTensor)]
    numbers = [each for each in operands if not isinstance(each, StrictTensor)]
    if any(type(each) not in (bool, int, float) for each in numbers):
        raise TypeError(f"Not strict tensors: {[type(each).__name__ for each in numbers]}")
    if len({each.dtype for each in tensors}) > 1:
        raise TypeError(f"Mixed dtypes: {[each.dtype for each in tensors]}")
    if len({each.ndim for each in tensors if each.ndim}) > 1:
        raise TypeError(f"Mixed ranks: {[each.shape for each in tensors]}")
    kind = tensors[0]._array.dtype.kind
    if any((kind in "iu" and type(each) is float) or (kind == "b" and type(each) is not bool) for each in numbers):
        raise TypeError(f"{numbers} would change the dtype of {tensors[0].dtype}")
    dtype = tensors[0]._array.dtype
    return [each._array if isinstance(each, StrictTensor) else np.asarray(each, dtype) for each in operands]


def _binary(symbol: str, *, kinds: str) -> Any:
    operation = getattr(operator, symbol)

    def forward(self: StrictTensor, other: Any) -> Any:
        return _apply(self, other)

    def backward(self: StrictTensor, other: Any) -> Any:
        return _apply(other, self)

    def _apply(x: Any, y: Any) -> Any:
        left, right = unwrap(x, y)
        if left.dtype.kind not in kinds:
            raise TypeError(f"{symbol} of {left.dtype}")
        return StrictTensor(operation(left, right))

    return forward, backward


for _symbol in ("add", "sub", "mul", "truediv", "pow", "matmul"):
    _forward, _backward = _binary(_symbol, kinds="f" if _symbol in ("truediv", "matmul") else "iuf")
    setattr(StrictTensor, f"__{_symbol}__", _forward)
    setattr(StrictTensor, f"__r{_symbol}__", _backward)
for _symbol in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(StrictTensor, f"__{_symbol}__", _binary(_symbol, kinds="iuf")[0])
for _symbol in ("and_", "or_", "xor"):
    _forward, _backward = _binary(_symbol, kinds="b")
    setattr(StrictTensor, f"__{_symbol.strip('_')}__", _forward)
    setattr(StrictTensor, f"__r{_symbol.strip('_')}__", _backward)


def _unary(symbol: str, kinds: str) -> Any:
    def apply(self: StrictTensor) -> StrictTensor:
        if self._array.dtype.kind not in kinds:
            raise TypeError(f"{symbol} of {self.dtype}")
        return StrictTensor(getattr(operator, symbol)(self._array))

    return apply


StrictTensor.__neg__ = _unary("neg", "if")
StrictTensor.__invert__ = _unary("invert", "b")


def _elementwise(function: Any, kinds: str = "f") -> Any:
    def operation(self: Backend, *operands: Any) -> StrictTensor:
        arrays = unwrap(*operands)
        if arrays[0].dtype.kind not in kinds:
            raise TypeError(f"{function.__name__} of {arrays[0].dtype}")
        return StrictTensor(function(*arrays))

    return operation


def _reduction(function: Any, kinds: str) -> Any:
    def operation(self: Backend, x: StrictTensor, /, axis: Any = None, keepdims: bool = False) -> StrictTensor:
        if x._array.dtype.kind not in kinds:
            raise TypeError(f"{function.__name__} of {x.dtype}")
        return StrictTensor(function(x._array, axis=axis, keepdims=keepdims))

    return operation


def _shape(function: Any) -> Any:
    def operation(self: Backend, x: StrictTensor, /, *args: Any, **kwargs: Any) -> StrictTensor:
        return StrictTensor(function(x._array, *args, **kwargs))

    return operation


class StrictBackend(Backend):
    """The primitives alone; every derived operation is the interface's."""

    name = "strict"
    tensor_types = (StrictTensor,)
    full_precision = frozenset({"float32", "float64"})
    differentiable = False

    def version(self):
        return np.__version__

    def devices(self):
        return ["nowhere"]

    def asarray(self, x, /, *, dtype=None, like=None, device=None):
        if isinstance(x, StrictTensor):
            return x if dtype is None else self.cast(x, dtype)
        return StrictTensor(np.asarray(x, None if dtype is None else _numpy_dtype(dtype)))

    def to_numpy(self, x, /):
        return x._array

    def dtype(self, x, /):
        return x.dtype

    def cast(self, x, /, dtype):
        return StrictTensor(x._array.astype(_numpy_dtype(dtype)))

    def has_values(self, x, /):
        return True

    abs, sign, square = (_elementwise(each, "fi") for each in (np.abs, np.sign, np.square))
    sqrt, exp, expm1, log = (_elementwise(each) for each in (np.sqrt, np.exp, np.expm1, np.log))
    log1p, tanh, isnan, isfinite = (_elementwise(each) for each in (np.log1p, np.tanh, np.isnan, np.isfinite))
    maximum, minimum = (_elementwise(each, "fi") for each in (np.maximum, np.minimum))

    def power(self, x, /, exponent):
        return StrictTensor(np.power(*unwrap(x, exponent)))

    def where(self, condition, x, y, /):
        if condition.dtype != "bool":
            raise TypeError(f"where needs booleans, not {condition.dtype}")
        ranks = {each.ndim for each in (condition, x, y) if isinstance(each, StrictTensor) and each.ndim}
        if len(ranks) > 1:
            raise TypeError(f"Mixed ranks: {ranks}")
        if not isinstance(x, StrictTensor) and not isinstance(y, StrictTensor):
            raise TypeError("where needs a tensor for its dtype")
        return StrictTensor(np.where(condition._array, *unwrap(x, y)))

    def stop_gradient(self, x, /):
        return x

    sum = _reduction(np.sum, "fiub")
    mean = _reduction(np.mean, "f")
    max = _reduction(np.max, "fiu")
    any, all = _reduction(np.any, "b"), _reduction(np.all, "b")

    def argmax(self, x, /, axis=-1):
        return StrictTensor(np.argmax(x._array, axis))

    def cumsum(self, x, /, axis=-1):
        return StrictTensor(np.cumsum(x._array, axis))

    def argsort(self, x, /, axis=-1):
        return StrictTensor(np.argsort(x._array, axis, kind="stable"))

    def take_along_axis(self, x, indices, /, axis=-1):
        if indices._array.dtype.kind not in "iu" or indices.ndim != x.ndim:
            raise TypeError(f"Indices of dtype {indices.dtype} and shape {indices.shape} for {x.shape}")
        return StrictTensor(np.take_along_axis(x._array, indices._array, axis))

    def searchsorted(self, sorted_values, values, /, side="left"):
        return StrictTensor(np.searchsorted(sorted_values._array, values._array, side))

    def segment_sum(self, x, segments, /, num_segments):
        total = np.zeros(num_segments, np.int64 if x.dtype == "bool" else x.dtype)
        np.add.at(total, segments._array, x._array)
        return StrictTensor(total)

    def reshape(self, x, /, shape):
        return StrictTensor(x._array.reshape(shape))

    expand_dims, squeeze, broadcast_to, moveaxis = (
        _shape(each) for each in (np.expand_dims, np.squeeze, np.broadcast_to, np.moveaxis)
    )

    def _joined(self, xs, axis, *, function):
        if len({each.dtype for each in xs}) != 1:
            raise TypeError(f"Mixed dtypes: {[each.dtype for each in xs]}")
        return StrictTensor(function([each._array for each in xs], axis))

    def concatenate(self, xs, /, axis=0):
        return self._joined(xs, axis, function=np.concatenate)

    def stack(self, xs, /, axis=0):
        return self._joined(xs, axis, function=np.stack)

    def full(self, shape, /, value, *, dtype=None, like=None):
        return StrictTensor(np.full(tuple(shape), value, _numpy_dtype(dtype or like.dtype)))

    def arange(self, n, /, *, dtype=None, like=None):
        return StrictTensor(np.arange(n, dtype=_numpy_dtype(dtype or "int64")))

    def value_and_grad(self, fn, leaves, /):
        raise NotSupportedError("Strict tensors are not differentiated. Use numpy, torch or jax.")

    def run(self, fn, /, *tensors, **static):
        with np.errstate(all="ignore"):
            return fn(*tensors, **static)


@functools.cache
def _numpy_dtype(name: str) -> Any:
    try:
        return np.dtype(name)
    except TypeError as error:
        raise DTypeError(f"Strict tensors have no dtype {name!r}. Use NumPy's names.") from error


backend = StrictBackend()
