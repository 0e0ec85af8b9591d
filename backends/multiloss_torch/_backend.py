"""K over PyTorch tensors.

Everything here is traced by `torch.compile(fullgraph=True)` and runs under `torch.func`; so nothing looks at the
values of a tensor except behind `has_values`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Unpack

import numpy as np
import torch
from multiloss._errors import DTypeError
from multiloss._typing import Axis, DType, Shape, Tensor, TensorLike
from multiloss.interface import EPSILON, TINY, Backend, CrossentropyOptions, HostCopies

from multiloss_torch import _binary, _blocks, _compiled, _copies, _crossentropy, _linear, _parallel, _watching
from multiloss_torch._compiled import axes

_DTYPES: dict[DType, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
        *("float16", "bfloat16", "float32", "float64"),
    )
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

_NO_REDUCTION = 0
"""What torch's kernels call it."""

_FEW = 1 << 17
"""Numbers of which NumPy finds the largest sooner than torch with its threads."""


def _resolve_dtype(name: DType) -> torch.dtype:
    found = _DTYPES.get(name)
    if found is None:
        raise DTypeError(f"torch has no dtype {name!r} that multiloss uses. Expected one of: {', '.join(_DTYPES)}.")
    return found


class TorchBackend(Backend):
    """K over `torch.Tensor`."""

    name = "torch"
    tensor_types = (torch.Tensor, torch.nn.Parameter)
    has_host_copies = True
    full_precision = frozenset({torch.float32, torch.float64})

    # ── Conversion and introspection ────────────────────────────────────────────────────────────────────────

    def version(self) -> str:
        return str(torch.__version__)

    def devices(self) -> list[str]:
        found = ["cpu"]
        if torch.accelerator.is_available():
            kind = torch.accelerator.current_accelerator()
            assert kind is not None
            found = [f"{kind.type}:{index}" for index in range(torch.accelerator.device_count())] + found
        return found

    def asarray(
        self, x: TensorLike, /, *, dtype: DType | None = None, like: Tensor = None, device: str | None = None
    ) -> Tensor:
        wanted = None if dtype is None else _resolve_dtype(dtype)
        if isinstance(x, torch.Tensor):
            return x if wanted is None else x.to(wanted)
        place = like.device if isinstance(like, torch.Tensor) else device
        if isinstance(x, (list, tuple)) and torch.compiler.is_compiling():
            return torch.tensor(x, dtype=wanted, device=place)  # Dynamo knows no ndarray.flags
        if not isinstance(x, (bool, int, float)):
            x = np.asarray(x)
            if not x.flags.writeable or any(stride < 0 for stride in x.strides):
                x = x.copy()  # torch shares NumPy's memory, and can share neither read-only nor reversed arrays
            if x.dtype.name == "bfloat16":  # ml_dtypes' type, which torch.as_tensor does not know
                x = torch.from_numpy(np.atleast_1d(x).view(np.uint16)).view(torch.bfloat16).reshape(x.shape)
        return _parallel.beside(like, torch.as_tensor(x, dtype=wanted, device=place))

    def to_numpy(self, x: Tensor, /) -> Any:
        return (x.float() if x.dtype is torch.bfloat16 else x).numpy(force=True)

    def dtype(self, x: Tensor, /) -> DType:
        return _NAMES.get(x.dtype) or str(x.dtype).removeprefix("torch.")

    def cast(self, x: Tensor, /, dtype: DType) -> Tensor:
        return x.to(_resolve_dtype(dtype))

    def is_floating(self, x: Tensor, /) -> bool:
        return bool(x.is_floating_point())

    def has_values(self, x: Tensor, /) -> bool:
        return x.device.type == "cpu" and _watching.may_be_read(x)

    def ends_with_trace(self, x: Tensor, /) -> bool:
        # What a compiled graph assigns to an object is there after the call, unlike the wrappers of torch.func.
        if torch.compiler.is_compiling():
            return False
        return type(x).__name__ == "FakeTensor" or torch._C._functorch.is_functorch_wrapped_tensor(x)

    # ── Elementwise ─────────────────────────────────────────────────────────────────────────────────────────

    abs = staticmethod(torch.abs)
    sign = staticmethod(torch.sign)
    square = staticmethod(torch.square)
    exp = staticmethod(torch.exp)
    expm1 = staticmethod(torch.expm1)
    log = staticmethod(torch.log)
    log1p = staticmethod(_compiled.log1p)
    tanh = staticmethod(torch.tanh)
    isnan = staticmethod(torch.isnan)
    isfinite = staticmethod(torch.isfinite)
    sigmoid = staticmethod(torch.sigmoid)

    def sqrt(self, x: Tensor, /) -> Tensor:
        if not x.requires_grad and not torch.compiler.is_compiling():
            return torch.sqrt(x)
        zero = x == 0  # torch's derivative there is infinite
        return torch.where(zero, 0.0, torch.sqrt(torch.where(zero, 1.0, x)))

    def maximum(self, x: Tensor, y: Tensor, /) -> Tensor:
        return torch.maximum(*_both(x, y))

    def minimum(self, x: Tensor, y: Tensor, /) -> Tensor:
        return torch.minimum(*_both(x, y))

    def power(self, x: Tensor, /, exponent: Tensor) -> Tensor:
        if isinstance(exponent, (int, float)) and exponent >= 1:
            return torch.pow(x, exponent)
        zero = (x == 0) & (exponent < 1)  # torch's derivative there is infinite
        return torch.where(zero, torch.pow(x.detach(), exponent), torch.pow(torch.where(zero, 1.0, x), exponent))

    def where(self, condition: Tensor, x: Tensor, y: Tensor, /) -> Tensor:
        return torch.where(condition, x, y)

    def stop_gradient(self, x: Tensor, /) -> Tensor:
        return x.detach()

    clip: Any = staticmethod(torch.clamp)

    def add_to_pair(self, high: Tensor, low: Tensor, x: Tensor, /) -> tuple[Tensor, Tensor]:
        if high.dtype != torch.float32 or high.device.type == "mps":  # which has no float64
            return super().add_to_pair(high, low, x)
        if not (high.ndim or low.ndim or x.ndim) and self._are_numbers(high, low, x):  # a tenth of the time of kernels
            exact = high.item() + low.item() + x.item()
            nearest = torch.scalar_tensor(exact, dtype=torch.float32)
            lost = exact - nearest.item()
            return nearest, torch.scalar_tensor(lost if math.isfinite(lost) else 0.0, dtype=torch.float32)
        total = high.double() + low + x  # a third of the kernels
        rounded = total.float()
        return rounded, torch.nan_to_num(total - rounded, 0.0, 0.0, 0.0).float()

    def _are_numbers(self, *tensors: torch.Tensor) -> bool:
        """Whether Python may compute with what these hold: values at hand that nobody follows."""
        followed = any(each.requires_grad or not each.is_cpu or type(each) is not torch.Tensor for each in tensors)
        return not followed and self.has_values(tensors[0])

    # ── Reductions ──────────────────────────────────────────────────────────────────────────────────────────

    sum: Any = staticmethod(torch.sum)
    mean: Any = staticmethod(torch.mean)

    def max(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return torch.amax(x, axes(axis, x.ndim), keepdims)

    def min(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return torch.amin(x, axes(axis, x.ndim), keepdims)

    def any(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return torch.any(x, axes(axis, x.ndim), keepdims)

    def all(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return _compiled.all_of(x, axis, keepdims)

    def argmax(self, x: Tensor, /, axis: int = -1) -> Tensor:
        readable = type(x) is torch.Tensor and self.has_values(x)
        if readable and x.numel() <= _FEW and x.ndim and x.dtype in self.full_precision:  # NumPy takes half of the time
            return torch.from_numpy(np.asarray(x.numpy(force=True).argmax(axis)))
        return torch.argmax(x, axis)

    def cumsum(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return torch.cumsum(x, axis)

    def scan(self, step: Callable[[Tensor, Tensor], Tensor], state: Tensor, xs: Tensor, /) -> Tensor:
        states = []
        for x in torch.unbind(xs):  # on the way back, indexing would fill a tensor like xs for each step
            state = step(state, x)
            states.append(state)
        return torch.stack(states) if states else super().scan(step, state, xs)

    # ── Sorting and selecting ───────────────────────────────────────────────────────────────────────────────

    def argsort(self, x: Tensor, /, axis: int = -1) -> Tensor:
        return torch.argsort(x, dim=axis, stable=True)

    def take_along_axis(self, x: Tensor, indices: Tensor, /, axis: int = -1) -> Tensor:
        indices, x = indices.long(), _parallel.whole_along(x, axis)
        if _fit(x.shape, indices.shape, axis):
            # take_along_dim takes longer, and is compiled for each size of a batch.
            return torch.gather(x, axis, indices)
        return torch.take_along_dim(x, indices, axis)

    def searchsorted(self, sorted_values: Tensor, values: Tensor, /, side: str = "left") -> Tensor:
        return torch.searchsorted(sorted_values, values.contiguous(), right=side == "right")

    def segment_sum(self, x: Tensor, segments: Tensor, /, num_segments: int) -> Tensor:
        x = x.long() if x.dtype == torch.bool else x
        return torch.zeros(num_segments, dtype=x.dtype, device=x.device).index_add(0, segments.long(), x)

    def bincount(self, x: Tensor, /, num_bins: int) -> Tensor:
        if x.is_cpu and type(x) is torch.Tensor and self.has_values(x):  # elsewhere torch would wait for the device
            return torch.bincount(x, minlength=num_bins)
        return super().bincount(x, num_bins)

    # ── Shape ───────────────────────────────────────────────────────────────────────────────────────────────

    def reshape(self, x: Tensor, /, shape: Shape) -> Tensor:
        return torch.reshape(x, tuple(shape))

    def expand_dims(self, x: Tensor, /, axis: int) -> Tensor:
        return torch.unsqueeze(x, axis)

    def squeeze(self, x: Tensor, /, axis: Axis = None) -> Tensor:
        return torch.squeeze(x) if axis is None else torch.squeeze(x, axis)

    def broadcast_to(self, x: Tensor, /, shape: Shape) -> Tensor:
        return torch.broadcast_to(x, tuple(shape))

    def moveaxis(self, x: Tensor, /, source: int, destination: int) -> Tensor:
        return torch.movedim(x, source, destination)

    def concatenate(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        return torch.cat(list(xs), axis)

    def stack(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        return torch.stack(list(xs), axis)

    # ── Creation ────────────────────────────────────────────────────────────────────────────────────────────

    def full(self, shape: Shape, /, value: float, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        given = isinstance(like, torch.Tensor)
        wanted = _resolve_dtype(dtype) if dtype is not None else like.dtype if given else None
        return _parallel.beside(
            like, torch.full(tuple(shape), value, dtype=wanted, device=like.device if given else None)
        )

    def arange(self, n: int, /, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        wanted = torch.int64 if dtype is None else _resolve_dtype(dtype)
        device = like.device if isinstance(like, torch.Tensor) else None
        return _parallel.beside(like, torch.arange(n, dtype=wanted, device=device))

    # ── What losses are made of: fewer kernels than the formulas of the interface, to the same values ───────────
    #
    # In place on what nobody else has seen, unless autograd would have to keep a copy of it.

    def binary_crossentropy(self, target: Tensor, output: Tensor, /, from_logits: bool = False) -> Tensor:
        alike = isinstance(target, torch.Tensor) and target.dtype == output.dtype
        compiling = torch.compiler.is_compiling()
        if from_logits and alike and output.is_cpu and output.dtype in self.full_precision:
            found = _binary.losses(super().binary_crossentropy, target, output)
            if found is not None:
                return found
        if from_logits or not alike or (compiling and not output.is_cpu):
            return super().binary_crossentropy(target, output, from_logits)
        if compiling:
            return _compiled.binary_crossentropy(target, output)
        p = torch.clamp(output, EPSILON, 1.0 - EPSILON)
        if _is_recorded(output, target):
            return -torch.lerp(torch.log1p(-p), torch.log(p), target)
        log_q = torch.log1p_(-p)
        return log_q.lerp_(torch.log_(p), target).neg_()

    def categorical_crossentropy(
        self, target: Tensor, output: Tensor, /, from_logits: bool = False, axis: int = -1
    ) -> Tensor:
        if from_logits or target.dtype != output.dtype:
            return super().categorical_crossentropy(target, output, from_logits, axis)
        if _is_recorded(output, target):
            return -torch.sum(target * torch.log(self.normalized_probabilities(output, axis)), axis)
        q = output / torch.clamp_(torch.sum(output, axis, True), TINY)
        return torch.neg_(torch.sum(torch.log_(torch.clamp_(q, EPSILON, 1.0 - EPSILON)).mul_(target), axis))

    l2_normalize: Any = staticmethod(_compiled.l2_normalize)
    cosine: Any = staticmethod(_compiled.cosine)

    def huber(self, target: Tensor, output: Tensor, /, delta: TensorLike = 1.0) -> Tensor:
        alike = isinstance(target, torch.Tensor) and target.dtype == output.dtype and target.shape == output.shape
        if not alike or isinstance(delta, torch.Tensor) or not _watching.is_plain(output, target):
            return super().huber(target, output, delta)
        # One kernel, and one for the way back.
        return torch.ops.aten.huber_loss.default(output, target, _NO_REDUCTION, delta)

    def log_cosh(self, x: Tensor, /) -> Tensor:
        found = _compiled.log_cosh(x)
        return super().log_cosh(x) if found is None else found

    def normalized_probabilities(self, output: Tensor, /, axis: int = -1) -> Tensor:
        # torch's derivative of a quotient divides twice where the textbook's squares, so no total is too small for it.
        total = torch.sum(output, axis, True)
        if _is_recorded(output, output):
            return torch.clamp(output / torch.clamp(total, TINY), EPSILON, 1.0 - EPSILON)
        return torch.clamp_(output / torch.clamp_(total, TINY), EPSILON, 1.0 - EPSILON)

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
        formula = super().softmax_crossentropy
        found = _crossentropy.softmax_crossentropy(formula, target, logits, row_weight, total, overwrite, options)
        return formula(target, logits, row_weight, total, **options) if found is None else found

    def checked_crossentropy(
        self,
        target: Tensor,
        logits: Tensor,
        /,
        reduction: str,
        sample_weight: Tensor | None,
        mask: Tensor | None,
        options: Mapping[str, Any],
    ) -> Tensor | None:
        formula = super().softmax_crossentropy
        return _crossentropy.checked_crossentropy(formula, target, logits, reduction, sample_weight, mask, options)

    def linear_crossentropy(
        self,
        target: Tensor,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        row_weight: Tensor = None,
        /,
        total: bool = False,
        memory_budget: int | None = None,
        group: Any = None,
        **options: Unpack[CrossentropyOptions],
    ) -> Tensor:
        formula, operands = super().linear_crossentropy, (target, hidden, weight, bias, row_weight, total)
        found = _linear.linear_crossentropy(formula, *operands, memory_budget, group, options)
        return formula(*operands, memory_budget, **options) if found is None else found

    # ── Transforms ──────────────────────────────────────────────────────────────────────────────────────────

    def value_and_grad(
        self, fn: Callable[[list[Tensor]], tuple[Tensor, list[Any]]], leaves: list[Tensor], /
    ) -> tuple[Tensor, list[Any], list[Tensor]]:
        if torch.compiler.is_compiling():  # Dynamo traces torch.func, but not a backward pass of its own
            gradients, (value, aux) = torch.func.grad_and_value(fn, has_aux=True)(leaves)
            return value, aux, gradients
        with torch.enable_grad():
            variables = [leaf.detach().requires_grad_() for leaf in leaves]
            value, aux = fn(variables)
            if not value.requires_grad:  # nothing depends on the leaves
                return value, aux, [torch.zeros_like(leaf) for leaf in leaves]
            with _without_autocast(value):
                gradients = torch.autograd.grad(value, variables, materialize_grads=True)
        detached = [each.detach() if isinstance(each, torch.Tensor) else each for each in aux]
        return value.detach(), detached, list(gradients)

    def grad_and_hessian_products(
        self, fn: Callable[[Tensor], Tensor], x: Tensor, vectors: Sequence[Tensor], /
    ) -> tuple[Tensor, list[Tensor]]:
        if torch.compiler.is_compiling():
            traced: tuple[Any, ...] = torch.func.vjp(torch.func.grad(fn), x)
            return traced[0], [traced[1](vector)[0] for vector in vectors]
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = fn(x)
            if not value.requires_grad:  # nothing depends on x
                return torch.zeros_like(x), [torch.zeros_like(x) for _ in vectors]
            (slope,) = torch.autograd.grad(value, x, create_graph=bool(vectors), materialize_grads=True)
            if not slope.requires_grad:  # the function is linear
                return slope.detach(), [torch.zeros_like(x) for _ in vectors]
            products = [
                torch.autograd.grad(slope, x, vector, retain_graph=True, materialize_grads=True)[0]
                for vector in vectors
            ]
        return slope.detach(), products

    def jit(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        return torch.compile(fn)

    def run(self, fn: Callable[..., Any], /, *tensors: Tensor, **static: Any) -> Any:
        if not torch._C._is_any_autocast_enabled():  # the public question is about one device, and costs more
            return fn(*tensors, **static)
        with _without_autocast(next(each for each in tensors if each is not None)):
            return fn(*tensors, **static)

    def run_rows(self, fn: Callable[..., Tensor], /, *tensors: Tensor, **static: Any) -> Tensor:
        # Formulas of single rows multiply no matrices, so autocast does not change what they compute.
        if torch.compiler.is_compiling() or tensors[1].numel() < _blocks.LARGE:  # most calls
            return fn(*tensors, **static)
        if (
            not self.takes_rows(tensors[1])
            or tensors[1].ndim < 2
            or any(type(each) not in self.tensor_types for each in tensors)
            or torch._C._functorch.maybe_current_level() is not None
        ):
            return fn(*tensors, **static)
        return _blocks.in_blocks(fn, tensors, static)

    def run_rows_knowing(self, holds: Callable[..., Tensor], fn: Callable[..., Tensor], /, *tensors: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return super().run_rows_knowing(holds, fn, *tensors)
        # Both, and of the results one: reading the tensors once takes less time than the arithmetic saves.
        known = self.all(holds(*(each.detach() for each in tensors)))
        return torch.where(known, fn(*tensors, known=True), fn(*tensors, known=False))

    def host_copies(self, likes: Sequence[Tensor], length: int, /) -> HostCopies | None:
        return _copies.copies(likes, length)

    def takes_rows(self, y_pred: Tensor, /) -> bool:
        # A compiler first: whoever compares a size there compiles for the sizes on this side alone.
        return not torch.compiler.is_compiling() and y_pred.numel() >= _blocks.LARGE and y_pred.is_cpu


def _fit(shape: Shape, indices: Shape, axis: int) -> bool:
    """Whether two shapes of one rank are the same but for one axis."""
    axis %= len(shape)
    return all(each == axis or shape[each] == indices[each] for each in range(len(shape)))


def _is_recorded(x: Tensor, y: Tensor) -> bool:
    """Whether autograd, torch.func or a compiler watches: then writing in place costs a copy, or cannot be followed."""
    if x.requires_grad or y.requires_grad or torch.compiler.is_compiling():
        return True
    return torch._C._functorch.maybe_current_level() is not None


def _without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which products of matrices, and their derivatives, are computed in the precision of their operands."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else _AS_IT_IS


_AS_IT_IS: AbstractContextManager[Any] = nullcontext()


def _both(x: Tensor, y: Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both operands as tensors: torch.maximum takes no numbers, and torch.clamp breaks ties differently."""
    if not isinstance(x, torch.Tensor):
        x = torch.full((), x, dtype=y.dtype, device=y.device)
    if not isinstance(y, torch.Tensor):
        y = torch.full((), y, dtype=x.dtype, device=x.device)
    return x, y
