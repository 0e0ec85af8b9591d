"""What a backend has to implement: one abstract method for each primitive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from multiloss._typing import Axis, DType, Shape, Tensor, TensorLike


class Primitives(ABC):
    """The operations that a framework alone can do."""

    """One framework, seen through the operations that losses and metrics need."""

    name: ClassVar[str]
    """How users select it: `"numpy"`, `"torch"`, `"jax"`, ..."""

    tensor_types: tuple[type, ...]
    """The types that this backend owns. Subclasses of them are owned too."""

    full_precision: frozenset[Any]
    """The native float dtypes that losses compute in as they are. Other floats are computed in float32."""

    is_host: ClassVar[bool] = False
    """Whether its tensors count as host data at the public boundary, where they join any other framework's."""

    has_host_copies: ClassVar[bool] = False
    """Whether `host_copies` may find its tensors on the host: metrics ask only those backends."""

    differentiable: ClassVar[bool] = True
    """Whether `value_and_grad` works."""

    # ── Conversion and introspection ────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def version(self) -> str:
        """Return the framework's version."""

    @abstractmethod
    def devices(self) -> list[str]:
        """Return the names of the devices at hand, as `use_backend(..., device=)` accepts them."""

    @abstractmethod
    def asarray(
        self, x: TensorLike, /, *, dtype: DType | None = None, like: Tensor = None, device: str | None = None
    ) -> Tensor:
        """Return `x` as a tensor on the device of `like`, or on `device`, or on the framework's default device.

        Without `dtype` the dtype of a NumPy array is kept as far as the framework can hold it.
        A tensor of this framework is returned as it is, but for `dtype`.
        """

    @abstractmethod
    def to_numpy(self, x: Tensor, /) -> Any:
        """Return `x` as a NumPy array on the host, cut off from any gradient."""

    @abstractmethod
    def dtype(self, x: Tensor, /) -> DType:
        """Return the name of the dtype of `x`."""

    @abstractmethod
    def cast(self, x: Tensor, /, dtype: DType) -> Tensor:
        """Return `x` in another dtype; `x` itself if it already has it.

        Raises:
            DTypeError: if the framework, in its present settings, cannot hold the dtype.
        """

    @abstractmethod
    def has_values(self, x: Tensor, /) -> bool:
        """Whether the values of `x` can be looked at now: not inside a trace, and without waiting for a device."""

    def ends_with_trace(self, x: Tensor, /) -> bool:
        """Whether `x` belongs to a function that is being traced or transformed, and must not be kept beyond it."""
        return False

    def is_floating(self, x: Tensor, /) -> bool:
        """Whether `x` holds floating-point numbers."""
        return self.dtype(x).startswith(("float", "bfloat"))

    # ── Elementwise ─────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def abs(self, x: Tensor, /) -> Tensor:
        """Return the magnitude of `x`. Derivative at 0: 0."""

    @abstractmethod
    def sign(self, x: Tensor, /) -> Tensor:
        """Return -1, 0 or 1. Derivative: 0 everywhere."""

    @abstractmethod
    def square(self, x: Tensor, /) -> Tensor:
        """Return `x * x`."""

    @abstractmethod
    def sqrt(self, x: Tensor, /) -> Tensor:
        """Return the square root of `x >= 0`; nan below. Derivative at 0: 0."""

    @abstractmethod
    def exp(self, x: Tensor, /) -> Tensor:
        """Return e to the power `x`; 0 at -inf, inf where it overflows."""

    @abstractmethod
    def expm1(self, x: Tensor, /) -> Tensor:
        """Return `exp(x) - 1`, accurate for small `x`."""

    @abstractmethod
    def log(self, x: Tensor, /) -> Tensor:
        """Return the natural logarithm; -inf at 0, nan below."""

    @abstractmethod
    def log1p(self, x: Tensor, /) -> Tensor:
        """Return `log(1 + x)`, accurate for small `x`."""

    @abstractmethod
    def tanh(self, x: Tensor, /) -> Tensor:
        """Return the hyperbolic tangent."""

    @abstractmethod
    def isnan(self, x: Tensor, /) -> Tensor:
        """Return True where `x` is nan."""

    @abstractmethod
    def isfinite(self, x: Tensor, /) -> Tensor:
        """Return True where `x` is neither nan nor infinite."""

    @abstractmethod
    def maximum(self, x: Tensor, y: Tensor, /) -> Tensor:
        """Return the larger of the two, elementwise; nan if either is. At a tie each gets half of the gradient."""

    @abstractmethod
    def minimum(self, x: Tensor, y: Tensor, /) -> Tensor:
        """Return the smaller of the two, elementwise; nan if either is. At a tie each gets half of the gradient."""

    @abstractmethod
    def power(self, x: Tensor, /, exponent: Tensor) -> Tensor:
        """Return `x ** exponent` for `x >= 0`. Derivative with respect to `x` at 0: 0 where it would be infinite."""

    @abstractmethod
    def where(self, condition: Tensor, x: Tensor, y: Tensor, /) -> Tensor:
        """Return `x` where the boolean `condition` holds and `y` elsewhere. What is not chosen gets gradient 0."""

    @abstractmethod
    def stop_gradient(self, x: Tensor, /) -> Tensor:
        """Return `x`, treated as a constant by differentiation."""

    # ── Reductions ──────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def sum(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the sum over `axis` (None: all axes). The sum of nothing is 0. Integers and booleans sum to an integer."""

    @abstractmethod
    def mean(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the arithmetic mean over `axis` of a floating tensor."""

    @abstractmethod
    def max(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Return the largest element over `axis`; nan if any is. Ties share the gradient equally."""

    @abstractmethod
    def any(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether any element of a boolean tensor is True."""

    @abstractmethod
    def all(self, x: Tensor, /, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether all elements of a boolean tensor are True."""

    @abstractmethod
    def argmax(self, x: Tensor, /, axis: int = -1) -> Tensor:
        """Return the index of the first largest element along `axis`."""

    @abstractmethod
    def cumsum(self, x: Tensor, /, axis: int = -1) -> Tensor:
        """Return the running sum along `axis`."""

    # ── Sorting and selecting ───────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def argsort(self, x: Tensor, /, axis: int = -1) -> Tensor:
        """Return the indices that sort `x` in ascending order; stable (equal elements keep their order)."""

    @abstractmethod
    def take_along_axis(self, x: Tensor, indices: Tensor, /, axis: int = -1) -> Tensor:
        """Return `x` at `indices`, which have the rank of `x`. Gradients of repeated indices add up."""

    @abstractmethod
    def searchsorted(self, sorted_values: Tensor, values: Tensor, /, side: str = "left") -> Tensor:
        """Return where `values` would go in the ascending 1-D `sorted_values`, left or right of equal elements."""

    @abstractmethod
    def segment_sum(self, x: Tensor, segments: Tensor, /, num_segments: int) -> Tensor:
        """Return, for each segment number below `num_segments`, the sum of the elements of the 1-D `x` in it."""

    # ── Shape ───────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def reshape(self, x: Tensor, /, shape: Shape) -> Tensor:
        """Return `x` with the same elements in another shape; one entry may be -1."""

    @abstractmethod
    def expand_dims(self, x: Tensor, /, axis: int) -> Tensor:
        """Return `x` with a new axis of size 1 at `axis`."""

    @abstractmethod
    def squeeze(self, x: Tensor, /, axis: Axis = None) -> Tensor:
        """Return `x` without the axes of size 1 named by `axis` (None: all of them)."""

    @abstractmethod
    def broadcast_to(self, x: Tensor, /, shape: Shape) -> Tensor:
        """Return `x` repeated to `shape` by NumPy's rules."""

    @abstractmethod
    def moveaxis(self, x: Tensor, /, source: int, destination: int) -> Tensor:
        """Return `x` with one axis moved, the others in their order."""

    @abstractmethod
    def concatenate(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        """Return the tensors joined along an existing axis."""

    @abstractmethod
    def stack(self, xs: Sequence[Tensor], /, axis: int = 0) -> Tensor:
        """Return the tensors joined along a new axis."""

    # ── Creation ────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def full(self, shape: Shape, /, value: float, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        """Return a tensor filled with `value`, with the device and (unless given) the dtype of `like`."""

    @abstractmethod
    def arange(self, n: int, /, *, dtype: DType | None = None, like: Tensor = None) -> Tensor:
        """Return `0, 1, ..., n - 1` on the device of `like`, as the framework's index integers unless `dtype` is given."""

    # ── Transforms ──────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def value_and_grad(
        self, fn: Callable[[list[Tensor]], tuple[Tensor, list[Any]]], leaves: list[Tensor], /
    ) -> tuple[Tensor, list[Any], list[Tensor]]:
        """Return `value`, `aux` and the gradients of `value` for each of `leaves`, where `value, aux = fn(leaves)`.

        `value` is the scalar that is differentiated; a leaf that does not matter gets zeros. `aux` lists tensors
        and other objects; value and tensors come back cut off from the gradient.
        """
