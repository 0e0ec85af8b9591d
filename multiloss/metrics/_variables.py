"""Variables: the state of a metric in Keras' style, which its `update_state` and `result` read and assign.

The tensors are in `metric.state`; a variable is a view of one of them. So a metric written with variables is saved, reset,
merged and run without side effects like any other.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from multiloss._boundary import arrive, as_floats
from multiloss._errors import ArgumentError, NotSupportedError, ShapeError
from multiloss._registry import owner_of
from multiloss._tree import leaves, unflatten
from multiloss._typing import DType, Shape, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.metrics._sums import beside, sum_dtype

AGGREGATIONS = ("sum", "mean", "only_first_replica", "none")
INITIALIZERS = {"zeros": 0, "ones": 1}


class Declaration(NamedTuple):
    """What a variable is when nothing has been seen."""

    shape: tuple[int, ...]
    initializer: Any
    dtype: DType | None
    aggregation: str
    name: str


def declaration(
    shape: Shape | int, initializer: Any, dtype: DType | None, aggregation: str | None, name: str | None
) -> Declaration:
    """Return the arguments of `add_variable`, checked.

    Raises:
        ArgumentError: for an initializer or an aggregation that does not exist.
    """
    start = initializer.lower() if isinstance(initializer, str) else "zeros" if initializer is None else initializer
    if start not in INITIALIZERS if isinstance(start, str) else not callable(start):
        raise ArgumentError(
            f"initializer={initializer!r} is not allowed. Expected 'zeros', 'ones' or a function of (shape, dtype)."
        )
    merged_by = "none" if aggregation is None else aggregation
    if merged_by not in AGGREGATIONS:
        raise ArgumentError(f"aggregation={aggregation!r} is not allowed. Expected one of: {', '.join(AGGREGATIONS)}.")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return Declaration(sizes, start, dtype, merged_by, name or "variable")


def initial(declared: Declaration, like: Tensor, dtype: DType | None) -> Tensor:
    """Return the first value of a variable, on the device of `like`."""
    like = beside(like)
    dtype = declared.dtype or sum_dtype(like, dtype)
    if isinstance(declared.initializer, str):
        return K.full(declared.shape, INITIALIZERS[declared.initializer], dtype=dtype, like=like)
    return K.cast(arrive(like, declared.initializer(declared.shape, dtype=dtype))[1][1], dtype)


def merged(declared: Declaration, a: Tensor, b: Tensor, dtype: DType | None) -> Tensor:
    """Return two values of a variable as one.

    Raises:
        NotSupportedError: if its aggregation does not say how.
    """
    if declared.aggregation == "sum":
        return a + (b - K.cast(initial(declared, a, dtype), K.dtype(b)))
    if declared.aggregation == "only_first_replica":
        return a
    raise NotSupportedError(
        f"The variable {declared.name!r} has aggregation {declared.aggregation!r}, which does not say what two states are "
        "together. Declare it with aggregation='sum' or 'only_first_replica', or define merge(a, b)."
    )


class Variable:
    """One tensor of the state of a metric.

    It can be calculated and compared with like the tensor; `value` is the tensor itself, to be passed to
    functions.
    """

    def __init__(self, metric: Any, index: int, name: str) -> None:
        self._metric = metric
        self._index = index
        self.name = name

    @property
    def value(self) -> Tensor:
        """The tensor."""
        return leaves(self._metric._own())[self._index]

    def assign(self, value: TensorLike) -> None:
        """Replace the tensor.

        Raises:
            ShapeError: if the new one has another shape.
        """
        state = self._metric._own()
        held = leaves(state)
        _, (current, new) = arrive(held[self._index], plain(value))
        if tuple(new.shape) != tuple(current.shape):
            raise ShapeError(
                f"The variable {self.name!r} has shape {tuple(current.shape)}, and a value of shape {tuple(new.shape)} was "
                "assigned. Expected equal shapes: reduce it, for example with K.sum."
            )
        held[self._index] = owner_of(new).cast(new, owner_of(current).dtype(current))
        self._metric.state = unflatten(state, held)

    def assign_add(self, value: TensorLike) -> None:
        """Add to the tensor."""
        self.assign(self.value + plain(value))

    def assign_sub(self, value: TensorLike) -> None:
        """Subtract from the tensor."""
        self.assign(self.value - plain(value))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return tuple(self.value.shape)

    @property
    def dtype(self) -> DType:
        """The name of the dtype of the tensor."""
        return owner_of(self.value).dtype(self.value)

    def numpy(self) -> Any:
        """Return the tensor as a NumPy array."""
        return owner_of(self.value).to_numpy(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    # With `__array__`, how frameworks take foreign objects; torch.compile needs it for `variable + tensor`.

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return function(*(plain(x) for x in args), **{key: plain(x) for key, x in (kwargs or {}).items()})

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __getitem__(self, key: Any) -> Tensor:
        return self.value[key]

    def __neg__(self) -> Tensor:
        return -self.value

    def __repr__(self) -> str:
        return f"<Variable {self.name!r}: {self.value!r}>"


def _binary(operation: Callable[[Any, Any], Any], swapped: bool) -> Callable[[Variable, Any], Tensor]:
    def apply(self: Variable, other: Any) -> Tensor:
        own, other = self.value, plain(other)
        return operation(other, own) if swapped else operation(own, other)

    return apply


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or"):
    _operation = getattr(operator, f"__{_name}__")
    setattr(Variable, f"__{_name}__", _binary(_operation, swapped=False))
    setattr(Variable, f"__r{_name}__", _binary(_operation, swapped=True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Variable, f"__{_name}__", _binary(getattr(operator, _name), swapped=False))
# A variable is equal to another by its values, so it can be no key.
type.__setattr__(Variable, "__hash__", None)


def plain(x: Any) -> Any:
    """Return the tensor of a variable, and anything else as it is."""
    return x.value if isinstance(x, Variable) else x


def at_boundary(update_state: Callable[..., Any]) -> Callable[..., Any]:
    """Return an `update_state` whose arguments are tensors of the framework that the batch belongs to.

    The variables join that framework too, gradients are cut off, and half precision becomes float32: as in every metric
    of multiloss.
    """

    @functools.wraps(update_state)
    def arrived(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        places = [at for at, x in enumerate(given) if not isinstance(x, (str, dict))]
        held = leaves(self.state)
        backend, tensors = arrive(*held, *(plain(given[at]) for at in places))
        for at, x in zip(places, tensors[len(held) :], strict=True):
            given[at] = x if x is None or not backend.is_floating(x) else backend.stop_gradient(as_floats(x))
        before = self.state
        if self._declared:
            like = [x for x in tensors[len(held) :] if x is not None]
            floats = [x for x in like if backend.is_floating(x)]
            own = unflatten(self.state, tensors[: len(held)])
            self.state = own if held else self._initial((floats or like or [None])[-1])
        try:
            returned = update_state(self, *given[: len(args)], **dict(zip(kwargs, given[len(args) :], strict=True)))
            self._to_keep(self.state)
        except Exception:
            self.state = before  # a batch that is refused leaves nothing behind
            raise
        return returned

    return arrived
