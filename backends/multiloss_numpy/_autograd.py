"""Gradients on NumPy: K over HIPS autograd's boxes.

autograd calls a function with its arguments wrapped in boxes and records what happens to them. A box is one more
tensor type with an owner: the backend below, which is NumPy's with autograd's counterpart of each differentiable
function, and those of `_derivatives` where autograd has none, breaks the rules of the interface at a kink or is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, Unpack

import autograd.numpy as anp
import numpy as np
from autograd.core import make_vjp, vspace
from autograd.extend import defvjp_argnum, primitive
from autograd.numpy.numpy_boxes import ArrayBox
from multiloss._typing import Axis, DType, Shape, Tensor, TensorLike
from multiloss.interface import Backend, CrossentropyOptions

from multiloss_numpy import _blocks, _derivatives, _differentiable
from multiloss_numpy._backend import NumpyBackend, resolve_dtype
from multiloss_numpy._derivatives import strip as _strip
from multiloss_numpy._linear import Linear


def _make_vjp(fn: Callable[[tuple[Any, ...]], Any], variables: tuple[Any, ...]) -> tuple[Callable[..., Any], Any]:
    """Return how gradients by a tuple of variables come back, and the value of `fn`.

    autograd adds what comes back to a tuple to a tuple of zeros, which a single variable need not wait for.
    """
    if len(variables) != 1:
        pullback, value = make_vjp(fn, variables)
        return pullback, value
    (variable,) = variables
    pullback, value = make_vjp(lambda box: fn((box,)), variable)

    def single(g: Any) -> tuple[Any]:
        found = pullback(g)  # some of autograd's derivatives are wider than what they are of
        return (found if found.dtype == variable.dtype else found.astype(variable.dtype),)

    return single, value


@primitive
def _rows(fn: Callable[..., Any], static: dict[str, Any], boxed: list[bool], slopes: list[Any], *arrays: Any) -> Any:
    """Return `fn(*arrays, **static)`, one value per row, in blocks of rows, and leave in `slopes` the gradients of the
    values by their rows: taken while the block is in the cache, of the sum of its values, each of which depends on its
    own row alone.
    """

    def block(*rows: Any) -> tuple[Any, ...]:
        variables = tuple(row for row, wanted in zip(rows, boxed, strict=True) if wanted)

        def of_variables(boxes: tuple[Any, ...]) -> Any:
            found = iter(boxes)
            given = [next(found) if wanted else row for row, wanted in zip(rows, boxed, strict=True)]
            return fn(*given, **static)

        pullback, values = _make_vjp(of_variables, variables)
        if values.dtype == bool:  # a decision, of which there is no gradient
            return values, *map(np.zeros_like, variables)
        return values, *pullback(np.ones_like(values))

    values, *found = _blocks.in_blocks(block, arrays)
    slopes.extend(found)
    return values


_single: ContextVar[bool] = ContextVar("multiloss_single_pullback", default=False)
"""Whether what is being pulled back is so only once: then slopes may be overwritten."""


def _rows_vjp(
    argnum: int, ans: Any, fn: Any, static: Any, boxed: list[bool], slopes: list[Any], *arrays: Any
) -> Callable[[Any], Any]:
    slope = slopes[sum(boxed[: argnum - 4])]

    def pullback(g: Any) -> Any:
        if _single.get() and type(g) is np.ndarray and g.dtype == slope.dtype:
            _blocks.multiply_rows(slope, g)
            return slope
        return (g if anp.ndim(g) == slope.ndim else g[..., None]) * slope

    return pullback


defvjp_argnum(_rows, lambda argnum, ans, args, kwargs: _rows_vjp(argnum, ans, *args))


class AutogradBackend(NumpyBackend):
    """K over NumPy arrays that autograd is differentiating."""

    is_host: ClassVar[bool] = False
    tensor_types: tuple[type, ...] = (ArrayBox,)

    def asarray(
        self, x: TensorLike, /, *, dtype: DType | None = None, like: Tensor = None, device: str | None = None
    ) -> Tensor:
        if isinstance(x, ArrayBox):
            return x if dtype is None else self.cast(x, dtype)
        return super().asarray(x, dtype=dtype)

    def to_numpy(self, x: Tensor, /) -> Any:
        return np.asarray(_strip(x))

    def cast(self, x: Tensor, /, dtype: DType) -> Tensor:
        wanted = resolve_dtype(dtype)
        return x if x.dtype == wanted else x.astype(wanted)

    def has_values(self, x: Tensor, /) -> bool:
        return True

    # Where autograd already keeps the interface's rules.
    abs = staticmethod(_derivatives.absolute)
    sign = staticmethod(anp.sign)
    square = staticmethod(anp.square)
    sqrt = staticmethod(_derivatives.sqrt)
    exp = staticmethod(anp.exp)
    expm1 = staticmethod(anp.expm1)
    log = staticmethod(anp.log)
    log1p = staticmethod(anp.log1p)
    tanh = staticmethod(anp.tanh)
    isnan = staticmethod(anp.isnan)
    isfinite = staticmethod(anp.isfinite)
    maximum = staticmethod(_derivatives.maximum)
    minimum = staticmethod(_derivatives.minimum)

    def power(self, x: Tensor, /, exponent: Tensor) -> Tensor:
        if isinstance(exponent, (int, float)) and exponent >= 1:
            return anp.power(x, exponent)
        zero = (_strip(x) == 0) & (_strip(exponent) < 1)  # the derivative there is infinite
        return anp.where(zero, np.power(_strip(x), _strip(exponent)), anp.power(anp.where(zero, 1.0, x), exponent))

    def where(self, condition: Tensor, x: Tensor, y: Tensor, /) -> Tensor:
        return _derivatives.where(_strip(condition), x, y)

    def clip(self, x: Tensor, /, min_value: float | None = None, max_value: float | None = None) -> Tensor:
        return _derivatives.clip(x, min_value, max_value)

    def stop_gradient(self, x: Tensor, /) -> Tensor:
        return _strip(x)

    def sum(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return _derivatives.total(x, axis, keepdims)

    def max(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return anp.max(x, axis=axis, keepdims=keepdims)

    def any(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return super().any(_strip(x), axis, keepdims)

    def all(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return super().all(_strip(x), axis, keepdims)

    def argmax(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return super().argmax(_strip(x), axis)

    def cumsum(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return anp.cumsum(x, axis=axis)

    def argsort(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return super().argsort(_strip(x), axis)

    def take_along_axis(self, x: Tensor, indices: Tensor, /, axis: int = -1) -> Tensor:
        return _derivatives.take_along_axis(x, indices, axis)

    def searchsorted(self, sorted_values: Tensor, values: Tensor, /, side: str = "left") -> Tensor:
        return super().searchsorted(_strip(sorted_values), _strip(values), side)

    def segment_sum(self, x: Tensor, segments: Tensor, /, num_segments: int) -> Tensor:
        return _derivatives.segment_sum(x, segments, num_segments)

    def reshape(self, x: Tensor, /, shape: Shape) -> Tensor:
        return anp.reshape(x, shape)

    def expand_dims(self, x: Tensor, /, axis: int) -> Tensor:
        return anp.expand_dims(x, axis)

    def squeeze(self, x: Tensor, /, axis: Axis = None) -> Tensor:
        return anp.squeeze(x, axis)

    def broadcast_to(self, x: Tensor, /, shape: Shape) -> Tensor:
        leading = (1,) * (len(shape) - x.ndim)  # autograd differentiates no new axes
        return anp.broadcast_to(anp.reshape(x, leading + x.shape), tuple(shape))

    def moveaxis(self, x: Tensor, /, source: int, destination: int) -> Tensor:
        return anp.moveaxis(x, source, destination)

    def concatenate(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        return anp.concatenate(xs, axis)

    def stack(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        return anp.stack(xs, axis)

    def run_rows(self, fn: Callable[..., Tensor], /, *tensors: Tensor, **static: Any) -> Tensor:
        boxes = [each for each in tensors if isinstance(each, ArrayBox)]
        if not boxes:
            return super().run_rows(fn, *tensors, **static)
        nested = len({each._trace for each in boxes}) > 1 or any(isinstance(each._value, ArrayBox) for each in boxes)
        if nested or not self.takes_rows(tensors[1]) or tensors[1].ndim < 2:
            return fn(*tensors, **static)
        boxed = [isinstance(each, ArrayBox) for each in tensors]
        return _rows(fn, static, boxed, [], *tensors)

    def binary_crossentropy(self, target: Tensor, output: Tensor, /, from_logits: bool = False) -> Tensor:
        if _is_once(target, output) and target.shape == output.shape and target.dtype == output.dtype:
            return _derivatives.binary_crossentropy(target, output, from_logits)
        return Backend.binary_crossentropy(self, target, output, from_logits)

    def categorical_crossentropy(
        self, target: Tensor, output: Tensor, /, from_logits: bool = False, axis: int = -1
    ) -> Tensor:
        alike = _is_once(target, output) and target.shape == output.shape and target.dtype == output.dtype
        if alike and not from_logits:
            return _derivatives.categorical_crossentropy(target, output, False, axis)
        return Backend.categorical_crossentropy(self, target, output, from_logits, axis)

    def sparse_categorical_crossentropy(
        self, target: Tensor, output: Tensor, /, from_logits: bool = False, axis: int = -1
    ) -> Tensor:
        if _is_once(target, output) and not from_logits:
            return _derivatives.sparse_categorical_crossentropy(target, output, False, axis)
        return Backend.sparse_categorical_crossentropy(self, target, output, from_logits, axis)

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
        if not isinstance(logits, ArrayBox) or not _differentiable.once_boxed(
            (logits,), (target, options.get("class_weight"))
        ):
            return Backend.softmax_crossentropy(self, target, logits, row_weight, total, **options)
        return _differentiable.softmax_crossentropy(target, logits, _strip(row_weight), total, overwrite, options)

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
        variables, constants = (hidden, weight, bias), (target, options.get("class_weight"))
        if group is not None or not _differentiable.once_boxed(variables, constants):
            return Backend.linear_crossentropy(
                *(self, target, *variables, row_weight, total, memory_budget, group), **options
            )
        arrays = _strip(hidden), _strip(weight), _strip(bias)
        linear = Linear(target, *arrays, _strip(row_weight), options, memory_budget)
        return _differentiable.linear_crossentropy(linear, total, *variables)

    # NumPy's overrides trade the derivative for speed; here the formulas of the interface stand.
    _halves = Backend._halves
    add_to_pair = Backend.add_to_pair
    ranked_counts = Backend.ranked_counts
    roc_area = Backend.roc_area
    min = Backend.min
    l2_normalize = Backend.l2_normalize
    _log_total = Backend._log_total
    normalized_probabilities = Backend.normalized_probabilities


def _is_once(target: Any, output: Any) -> bool:
    """Whether `output` alone is differentiated, and only once, elementwise beside an array of its own shape: then a
    cross-entropy has a derivative that is one array.
    """
    return isinstance(output, ArrayBox) and not isinstance(output._value, ArrayBox) and type(target) is np.ndarray


def _owned(gradient: Any) -> Any:
    """Return an array that its owner may write to, or what is being differentiated itself."""
    if isinstance(gradient, ArrayBox):
        return gradient
    gradient = np.asarray(gradient)
    return gradient if gradient.flags.writeable else gradient.copy()


def value_and_grad(
    fn: Callable[[list[Tensor]], tuple[Tensor, list[Any]]], leaves: list[Tensor]
) -> tuple[Tensor, list[Any], list[Tensor]]:
    """See `Backend.value_and_grad`."""
    auxiliary: list[Any] = []
    constant: list[Any] = []

    def scalar(boxes: tuple[Tensor, ...]) -> Tensor:
        value, aux = fn(list(boxes))
        auxiliary.extend(_strip(each) for each in aux)
        if isinstance(value, ArrayBox):
            return value
        constant.append(value)  # nothing depends on the leaves, of which autograd would warn
        return anp.sum(boxes[0])

    with np.errstate(all="ignore"):  # as in NumpyBackend.run, for the way back
        pullback, value = _make_vjp(scalar, tuple(leaves))
        if constant:
            return constant[0], auxiliary, [np.zeros_like(leaf) for leaf in leaves]
        token = _single.set(True)
        try:
            gradients = pullback(vspace(value).ones())
        finally:
            _single.reset(token)
    return value, auxiliary, [_owned(gradient) for gradient in gradients]


def grad_and_hessian_products(
    fn: Callable[[Tensor], Tensor], x: Tensor, vectors: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """See `Backend.grad_and_hessian_products`. The gradient is recorded once, and pulled back along each vector."""
    linear = False

    def scalar(box: Tensor) -> Tensor:
        value = fn(box)
        return value if isinstance(value, ArrayBox) else 0.0 * anp.sum(anp.where(False, box, 0.0))

    def gradient(box: Tensor) -> Tensor:
        nonlocal linear
        pullback, value = make_vjp(scalar, box)
        slope = pullback(vspace(value).ones())
        linear = not isinstance(slope, ArrayBox)  # then nothing depends on x, of which autograd would warn
        return anp.where(False, box, slope) if linear else slope

    with np.errstate(all="ignore"):
        pullback, slope = make_vjp(gradient, x)
        products = [np.zeros_like(x) if linear else pullback(vector) for vector in vectors]
    return np.asarray(slope), products


backend = AutogradBackend()
