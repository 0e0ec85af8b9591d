"""Constraints: projections that a parameter goes through after each step of the optimizer.

    from multiloss import constraints

    weights = constraints.MaxNorm(2.0)(weights)     # columns longer than 2 are shortened to 2
    constraints.get("non_neg")                      # by any name of Keras 2 or Keras 3

A constraint is any callable that takes a parameter and returns it changed. Shape, dtype and device stay. `axis` names
the axes over which a norm is taken: for a Dense kernel of shape (inputs, units), `axis=0` is one norm per unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multiloss._arguments import number
from multiloss._boundary import arrive, as_floats
from multiloss._errors import ArgumentError, ShapeError
from multiloss._lookup import Lookup
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import EPSILON

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "maxnorm",
    "min_max_norm",
    "minmaxnorm",
    "non_neg",
    "nonneg",
    "serialize",
    "unit_norm",
    "unitnorm",
]


class Constraint:
    """Base of the constraints. Override `call(w)`, which gets a tensor of float dtype, or `__call__(w)` as in Keras.

    >>> from multiloss import backend as K
    >>> class Box(Constraint):
    ...     def call(self, w):
    ...         return K.clip(w, -1.0, 1.0)
    >>> Box()([-3.0, 0.5]).tolist()
    [-1.0, 0.5]
    """

    def __call__(self, w: TensorLike) -> Tensor:
        """Return the projected parameter, in its own dtype (half precision is computed in float32).

        Raises:
            ShapeError: if the parameter has no such axis.
            DTypeError: for complex numbers, text or objects.
        """
        backend, (w,) = arrive(w)
        if 0 in w.shape:
            return w
        projected = self.call(as_floats(w))
        return backend.cast(projected, backend.dtype(w)) if backend.is_floating(w) else projected

    def call(self, w: Tensor) -> Tensor:
        """Return the projected parameter: unchanged in the base class."""
        return w

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make an equal constraint, as JSON-able values."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Constraint:
        """Return the constraint that `get_config` described, in Keras 2's or Keras 3's spelling."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.get_config().items())})"


class MaxNorm(Constraint):
    """Shorten vectors that are longer than `max_value`.

    Formula: `w * min(n, max_value) / (n + 1e-7)` with the Euclidean norm `n` over `axis`.

    Args:
        max_value: the greatest norm allowed, at least 0. Keras 2 also calls it `m`.
        axis: the axis, or axes, of one vector.

    Raises:
        ArgumentError: for a bound that is negative, infinite, nan or no number, or an axis that is no integer.

    Source: N. Srivastava et al., Dropout, 2014, section 5.1.

    >>> MaxNorm(1.0)([3.0, 4.0]).round(4).tolist()
    [0.6000000238418579, 0.800000011920929]
    """

    def __init__(
        self, max_value: float = 2, axis: int | tuple[int, ...] | list[int] | None = 0, *, m: float | None = None
    ) -> None:
        self.max_value = number("MaxNorm", "max_value", max_value, 2.0, old_name=("m", m))
        self.axis = _axis("MaxNorm", axis)

    def call(self, w: Tensor) -> Tensor:
        norms = _norms(w, self.axis)
        return w * (K.minimum(norms, self.max_value) / (norms + EPSILON))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": _plain(self.axis)}


class NonNeg(Constraint):
    """Replace negative entries by 0.

    Formula: `max(w, 0)`.

    >>> NonNeg()([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def call(self, w: Tensor) -> Tensor:
        return K.maximum(w, 0.0)


class UnitNorm(Constraint):
    """Scale vectors to length 1; vectors of zeros stay.

    Formula: `w / (n + 1e-7)` with the Euclidean norm `n` over `axis`.

    Args:
        axis: the axis, or axes, of one vector.

    Raises:
        ArgumentError: for an axis that is no integer.

    >>> UnitNorm()([3.0, 4.0]).round(4).tolist()
    [0.6000000238418579, 0.800000011920929]
    """

    def __init__(self, axis: int | tuple[int, ...] | list[int] | None = 0) -> None:
        self.axis = _axis("UnitNorm", axis)

    def call(self, w: Tensor) -> Tensor:
        return w / (_norms(w, self.axis) + EPSILON)

    def get_config(self) -> dict[str, Any]:
        return {"axis": _plain(self.axis)}


class MinMaxNorm(Constraint):
    """Bring the length of vectors into [min_value, max_value], or part of the way; vectors of zeros stay.

    Formula: `w * (rate * clip(n, min_value, max_value) + (1 - rate) * n) / (n + 1e-7)` with the Euclidean norm `n` over
    `axis`.

    Args:
        min_value: the smallest norm, at least 0.
        max_value: the greatest norm, at least `min_value`.
        rate: how much of the way a vector goes at once, from 0 (none) to 1 (all).
        axis: the axis, or axes, of one vector.

    Raises:
        ArgumentError: for bounds or a rate outside these ranges, or an axis that is no integer.

    >>> MinMaxNorm(1.0, 2.0)([0.3, 0.4]).round(4).tolist()
    [0.6000000238418579, 0.800000011920929]
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: int | tuple[int, ...] | list[int] | None = 0,
    ) -> None:
        self.min_value = number("MinMaxNorm", "min_value", min_value, 0.0)
        self.max_value = number("MinMaxNorm", "max_value", max_value, 1.0)
        self.rate = number("MinMaxNorm", "rate", rate, 1.0, maximum=1.0)
        self.axis = _axis("MinMaxNorm", axis)
        if self.min_value > self.max_value:
            raise ArgumentError(
                f"MinMaxNorm: min_value={self.min_value} is greater than max_value={self.max_value}. Exchange them."
            )

    def call(self, w: Tensor) -> Tensor:
        norms = _norms(w, self.axis)
        wanted = K.clip(norms, self.min_value, self.max_value)
        if self.rate < 1.0:
            wanted = self.rate * wanted + (1.0 - self.rate) * norms
        return w * (wanted / (norms + EPSILON))

    def get_config(self) -> dict[str, Any]:
        return {
            "min_value": self.min_value,
            "max_value": self.max_value,
            "rate": self.rate,
            "axis": _plain(self.axis),
        }


max_norm = maxnorm = MaxNorm
non_neg = nonneg = NonNeg
unit_norm = unitnorm = UnitNorm
min_max_norm = minmaxnorm = MinMaxNorm


# ── Norms ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _axis(owner: str, axis: Any) -> int | tuple[int, ...] | None:
    axes = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    if axis is not None and (not axes or not all(isinstance(a, int) and not isinstance(a, bool) for a in axes)):
        raise ArgumentError(f"{owner}: axis={axis!r} is not allowed. Expected an integer, several of them, or None.")
    return axes if isinstance(axis, (list, tuple)) else axis


def _plain(axis: int | tuple[int, ...] | None) -> int | list[int] | None:
    return list(axis) if isinstance(axis, tuple) else axis


def _norms(w: Tensor, axis: int | tuple[int, ...] | None) -> Tensor:
    """Return the Euclidean norms over `axis`, which is kept; the largest magnitude is divided out before squaring."""
    axes = axis if isinstance(axis, tuple) else () if axis is None else (axis,)
    if any(not -w.ndim <= each < w.ndim for each in axes):
        raise ShapeError(
            f"axis={axis} does not exist in a parameter of shape {tuple(w.shape)}. Expected {-w.ndim} to {w.ndim - 1}."
        )
    largest = K.stop_gradient(K.max(K.abs(w), axis, True))
    scale = K.where(largest == 0, 1.0, largest)
    return scale * K.sqrt(K.sum(K.square(w / scale), axis, True))


# ── Look-up ─────────────────────────────────────────────────────────────────────────────────────────────────────

_lookup = Lookup(
    kind="constraint",
    package="multiloss.constraints",
    keras_package="keras.constraints",
    keras_classes=frozenset({"Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"}),
    aliases={"constraint": "Constraint"},
)


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the constraint that a name, a config, a class or a callable stands for; None stays None.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for anything else.

    >>> get("maxnorm")
    MaxNorm(max_value=2.0, axis=0)
    """
    return _lookup.get(identifier, custom_objects)


def serialize(constraint: Any) -> dict[str, Any]:
    """Return a JSON-able config of a constraint, which Keras 3 can load.

    Raises:
        ArgumentError: for an object without a name or a config.

    >>> serialize(UnitNorm())["config"]
    {'axis': 0}
    """
    return _lookup.serialize(constraint)


def deserialize(config: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the constraint that a name or config (ours, Keras 2's or Keras 3's) describes.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for a mapping that is no config.

    >>> deserialize({"class_name": "NonNeg", "config": {}})
    NonNeg()
    """
    return _lookup.deserialize(config, custom_objects)
