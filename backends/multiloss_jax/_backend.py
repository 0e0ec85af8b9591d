"""K over JAX arrays.

Works under `jax_numpy_dtype_promotion="strict"` and `jax_numpy_rank_promotion="raise"`, and never touches JAX's
configuration: with x64 off, float64 host data becomes float32, as everywhere in JAX.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from multiloss._errors import DTypeError
from multiloss._typing import Axis, DType, Shape, Tensor, TensorLike
from multiloss.interface import EPSILON, TINY, Backend, CrossentropyOptions, first_rows, split_options

from multiloss_jax import _crossentropy, _extrema, _linear, _sums


def _resolve_dtype(name: DType) -> jnp.dtype:
    try:
        wanted = jnp.dtype(name)
    except TypeError as error:
        raise DTypeError(f"JAX has no dtype {name!r}. Expected a name such as 'float32', 'int32' or 'bool'.") from error
    held = jax.dtypes.canonicalize_dtype(wanted)
    if held != wanted and wanted.kind == "f":
        raise DTypeError(
            f"JAX cannot hold {name} while its x64 setting is off. Use float32, or turn it on before the first array: "
            "jax.config.update('jax_enable_x64', True)."
        )
    return held


_Tracer = jax.core.Tracer
_barrier: Callable[[jax.Array], jax.Array] = jax.lax.optimization_barrier


class JaxBackend(Backend):
    """K over `jax.Array`, concrete or traced."""

    name = "jax"
    tensor_types = (jax.Array, jax.core.Tracer)
    full_precision = frozenset({jnp.dtype(jnp.float32), jnp.dtype(jnp.float64)})

    # ── Conversion and introspection ────────────────────────────────────────────────────────────────────────

    def version(self) -> str:
        return jax.__version__

    def devices(self) -> list[str]:
        found = jax.devices()
        names = [f"{device.platform}:{device.id}" for device in found]
        return names if found[0].platform == "cpu" else [*names, "cpu:0"]

    def asarray(
        self, x: TensorLike, /, *, dtype: DType | None = None, like: Tensor = None, device: str | None = None
    ) -> Tensor:
        wanted = None if dtype is None else _resolve_dtype(dtype)
        if isinstance(x, jax.Array):
            return x if wanted is None else x.astype(wanted)
        x = np.asarray(x)
        place: Any = None
        if isinstance(like, jax.Array) and not isinstance(like, jax.core.Tracer):
            place = like.sharding if x.ndim == like.ndim and x.shape == like.shape else _one_device(like)
        elif device is not None:
            platform, _, index = device.partition(":")
            place = jax.devices(platform)[int(index or 0)]
        narrow = jax.dtypes.canonicalize_dtype(x.dtype) if wanted is None else wanted
        if x.dtype.kind in "iu" and narrow.kind in "iu" and x.itemsize > narrow.itemsize and x.size:
            limits = np.iinfo(narrow)
            if x.min() < limits.min or x.max() > limits.max:  # JAX would wrap them around
                raise DTypeError(
                    f"Arrived: integers up to {max(x.max(), -x.min())}, which do not fit into {narrow}. Use smaller ones, "
                    "or turn on 64 bits before the first array: jax.config.update('jax_enable_x64', True)."
                )
        return jnp.asarray(x, dtype=narrow, device=place)

    def to_numpy(self, x: Tensor, /) -> Any:
        return np.asarray(x)

    def dtype(self, x: Tensor, /) -> DType:
        return _dtype_name(x.dtype)

    def cast(self, x: Tensor, /, dtype: DType) -> Tensor:
        return x.astype(_resolve_dtype(dtype))

    def has_values(self, x: Tensor, /) -> bool:
        return not isinstance(x, jax.core.Tracer) and all(device.platform == "cpu" for device in x.devices())

    def ends_with_trace(self, x: Tensor, /) -> bool:
        return isinstance(x, jax.core.Tracer)

    # ── Elementwise ─────────────────────────────────────────────────────────────────────────────────────────

    sign = staticmethod(jnp.sign)
    square = staticmethod(jnp.square)
    exp = staticmethod(jnp.exp)
    expm1 = staticmethod(jnp.expm1)
    log = staticmethod(jnp.log)
    log1p = staticmethod(jnp.log1p)
    tanh = staticmethod(jnp.tanh)
    isnan = staticmethod(jnp.isnan)
    isfinite = staticmethod(jnp.isfinite)
    maximum = staticmethod(_extrema.maximum)
    minimum = staticmethod(_extrema.minimum)
    sigmoid = staticmethod(jax.nn.sigmoid)

    def clip(self, x: Tensor, /, min_value: float | None = None, max_value: float | None = None) -> Tensor:
        if not jnp.issubdtype(x.dtype, jnp.floating) or any(
            isinstance(each, jax.Array) for each in (min_value, max_value)
        ):
            return super().clip(x, min_value, max_value)
        return _extrema.clip(x, min_value, max_value)

    def stop_gradient(self, x: Tensor, /) -> Tensor:
        # Of an array there is no gradient, and the operation would be dispatched all the same.
        return jax.lax.stop_gradient(x) if isinstance(x, jax.core.Tracer) or not isinstance(x, jax.Array) else x

    def abs(self, x: Tensor, /) -> Tensor:
        # JAX's derivative at 0 is 1.
        return jnp.abs(jnp.where(x == 0, jax.lax.stop_gradient(x), x))

    def sqrt(self, x: Tensor, /) -> Tensor:
        zero = x == 0  # JAX's derivative there is infinite
        return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, x)))

    def power(self, x: Tensor, /, exponent: Tensor) -> Tensor:
        if isinstance(exponent, (int, float)) and exponent >= 1:
            return jnp.power(x, exponent)
        zero = (x == 0) & (exponent < 1)  # JAX's derivative there is infinite
        at_zero = jnp.power(jax.lax.stop_gradient(x), exponent)
        return jnp.where(zero, at_zero, jnp.power(jnp.where(zero, 1.0, x), exponent))

    def where(self, condition: Tensor, x: Tensor, y: Tensor, /) -> Tensor:
        return jnp.where(condition, x, y)

    # ── Reductions ──────────────────────────────────────────────────────────────────────────────────────────

    def sum(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return _sums.sum_of(x, axis, keepdims)

    def mean(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return _sums.mean_of(x, axis, keepdims)

    def max(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return _extrema.largest(x, axis, keepdims)

    def min(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return _extrema.smallest(x, axis, keepdims)

    def any(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return jnp.any(x, axis, keepdims=keepdims)

    def all(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return jnp.all(x, axis, keepdims=keepdims)

    def argmax(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return jnp.argmax(x, axis)

    def cumsum(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return jnp.cumsum(x, axis)

    def scan(self, step: Callable[[Tensor, Tensor], Tensor], state: Tensor, xs: Tensor, /) -> Tensor:
        def body(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            state = step(state, x)
            return state, state

        return jax.lax.scan(body, state, xs)[1]  # a loop would be compiled step by step

    # ── Sorting and selecting ───────────────────────────────────────────────────────────────────────────────

    def argsort(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return jnp.argsort(x, axis, stable=True)

    def take_along_axis(self, x: Tensor, indices: Tensor, /, axis: int = -1) -> Tensor:
        return jnp.take_along_axis(x, indices, axis)

    def searchsorted(self, sorted_values: Tensor, values: Tensor, /, side: str = "left") -> Tensor:
        return jnp.searchsorted(sorted_values, values, side=side)

    def segment_sum(self, x: Tensor, segments: Tensor, /, num_segments: int) -> Tensor:
        return jax.ops.segment_sum(x.astype(jnp.int32) if x.dtype == bool else x, segments, num_segments)

    # ── Shape ───────────────────────────────────────────────────────────────────────────────────────────────

    def reshape(self, x: Tensor, /, shape: Shape) -> Tensor:
        return jnp.reshape(x, tuple(shape))

    def expand_dims(self, x: Tensor, /, axis: int) -> Tensor:
        return jnp.expand_dims(x, axis)

    def squeeze(self, x: Tensor, /, axis: Axis = None) -> Tensor:
        return jnp.squeeze(x, axis)

    def broadcast_to(self, x: Tensor, /, shape: Shape) -> Tensor:
        return jnp.broadcast_to(x, tuple(shape))

    def moveaxis(self, x: Tensor, /, source: int, destination: int) -> Tensor:
        return jnp.moveaxis(x, source, destination)

    def concatenate(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        return jnp.concatenate(xs, axis)

    def stack(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        return jnp.stack(xs, axis)

    # ── Creation ────────────────────────────────────────────────────────────────────────────────────────────

    def full(self, shape: Shape, /, value: float, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        wanted = _resolve_dtype(dtype) if dtype is not None else like.dtype if isinstance(like, jax.Array) else None
        return jnp.full(tuple(shape), value, wanted, device=_one_device(like))

    def arange(self, n: int, /, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        wanted = jnp.int32 if dtype is None else _resolve_dtype(dtype)
        return jnp.arange(n, dtype=wanted, device=_one_device(like))

    # ── Overrides ───────────────────────────────────────────────────────────────────────────────────────────

    def _share(self, part: Tensor, total: Tensor) -> Tensor:
        # As the formula does it, but with a factor: of two quotients that are divided XLA makes two products, and that of
        # tiny totals is 0. Without the barrier it would see through the factor.
        total = self.clip(total, TINY)
        factor = _barrier(1.0 / jax.lax.stop_gradient(total))
        return self.clip(part * factor / (total * factor), EPSILON, 1.0 - EPSILON)

    def l2_normalize(self, x: Tensor, /, axis: Axis = -1) -> Tensor:
        return _sums.unit_vectors(x, axis)

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
        class_weight, numbers = split_options(options)
        if isinstance(row_weight, (int, float)) and not row_weight:
            row_weight = jnp.zeros(logits.shape[:-1])  # what does not count is selected, row by row
        return _crossentropy.softmax_crossentropy(target, logits, row_weight, class_weight, total, numbers)

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
        class_weight, numbers = split_options(options)
        return _linear.linear_crossentropy(
            *(target, hidden, weight, bias, row_weight, class_weight, total, numbers, memory_budget, group)
        )

    # ── Transforms ──────────────────────────────────────────────────────────────────────────────────────────

    def value_and_grad(
        self, fn: Callable[[list[Tensor]], tuple[Tensor, list[Any]]], leaves: list[Tensor], /
    ) -> tuple[Tensor, list[Any], list[Tensor]]:
        others: list[Any] = []  # jax.value_and_grad passes only arrays through: everything else goes around it

        def split(leaves: list[Tensor]) -> tuple[Tensor, list[Any]]:
            value, aux = fn(leaves)
            others[:] = [None if isinstance(each, jax.Array) else each for each in aux]
            return value, [each if isinstance(each, jax.Array) else None for each in aux]

        (value, aux), gradients = jax.value_and_grad(split, has_aux=True)(leaves)
        return value, [other if each is None else each for each, other in zip(aux, others, strict=True)], gradients

    def grad_and_hessian_products(
        self, fn: Callable[[Tensor], Tensor], x: Tensor, vectors: Sequence[Tensor], /
    ) -> tuple[Tensor, list[Tensor]]:
        slope, pullback = jax.vjp(jax.grad(fn), x)  # recorded once, pulled back along each vector
        return slope, [pullback(vector)[0] for vector in vectors]

    def jit(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        return jax.jit(fn)

    def run(self, fn: Callable[..., Any], /, *tensors: Tensor, **static: Any) -> Any:
        # Inside somebody's trace the formula inlines; on arrays it is one compiled call instead of one per operation.
        for x in tensors:
            if isinstance(x, _Tracer):
                return fn(*tensors, **static)
        return _compiled(fn, tuple(static.items()))(*tensors)

    def run_rows(self, fn: Callable[..., Tensor], /, *tensors: Tensor, **static: Any) -> Tensor:
        if static and any(
            isinstance(each, jax.Array) for each in static.values()
        ):  # the rest of a trace, or of an eager formula
            return fn(*tensors, **static)
        return self.run(fn, *tensors, **static)

    def _of_all_rows(self, holds: Callable[..., Tensor], tensors: Sequence[Tensor]) -> Tensor:
        first = first_rows(tensors)
        if first is None or not isinstance(tensors[0], jax.core.Tracer):
            return super()._of_all_rows(holds, tensors)

        def of_all(*tensors: Tensor) -> Tensor:
            return jnp.all(holds(*tensors))

        def unless_first(*tensors: Tensor) -> Tensor:
            found = of_all(*first)  # which differs between devices, if the tensors do, and so must both branches
            return jax.lax.cond(found, of_all, lambda *_: found, *tensors)

        # Elsewhere the host would wait for the condition.
        return jax.lax.platform_dependent(*tensors, cpu=unless_first, default=of_all)


@functools.lru_cache(maxsize=4096)
def _compiled(fn: Callable[..., Any], static: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    """Return a function of tensors alone: it is called in less time than one with arguments by name."""
    return jax.jit(functools.partial(fn, **dict(static)))


@functools.cache
def _dtype_name(dtype: Any) -> DType:
    return str(dtype.name)  # NumPy puts the name together each time


def _one_device(like: Tensor) -> Any:
    """Return the device of a concrete array that lives on one, else None: placement is then left to JAX."""
    if not isinstance(like, jax.Array) or isinstance(like, jax.core.Tracer):
        return None
    devices = like.devices()
    return next(iter(devices)) if len(devices) == 1 else None
