"""Regularizers: what is added to the loss for the size of a parameter. Objective = loss + regularization.

    from multiloss import regularizers

    regularizers.L2(0.01)(weights)      # 0.01 * sum(weights ** 2), on whichever framework owns the weights
    regularizers.get("l1l2")            # by any name of Keras 2 or Keras 3

A regularizer is any callable that takes a parameter and returns one number. The result has the dtype of the parameter
(at least float32), and the subgradient at 0 is 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from multiloss._arguments import number
from multiloss._boundary import arrive, as_floats
from multiloss._errors import ArgumentError, ShapeError
from multiloss._lookup import Lookup
from multiloss._registry import owner_of
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]


class Regularizer:
    """Base of the regularizers. Override `call(x)`, which gets a tensor of float dtype, or `__call__(x)` as in Keras.

    >>> from multiloss import backend as K
    >>> class Variance(Regularizer):
    ...     def call(self, x):
    ...         return K.var(x)
    >>> float(Variance()([1.0, 3.0]))
    1.0
    """

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the penalty of a parameter of any shape, as a scalar.

        Raises:
            DTypeError: for complex numbers, text or objects.
        """
        _, (x,) = arrive(x)
        return self.call(as_floats(x))

    def call(self, x: Tensor) -> Tensor:
        """Return the penalty: 0 in the base class."""
        return K.full((), 0.0, like=x)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make an equal regularizer, as JSON-able values."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Regularizer:
        """Return the regularizer that `get_config` described, in Keras 2's or Keras 3's spelling."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.get_config().items())})"


class L1(Regularizer):
    """Lasso penalty: drives parameters to exactly 0.

    Formula: `l1 * sum(abs(x))`.

    Args:
        l1: the factor, at least 0. Keras 2 calls it `l`.

    Raises:
        ArgumentError: for a factor that is negative, infinite, nan or no number.

    Source: R. Tibshirani, Regression Shrinkage and Selection via the Lasso, 1996.

    >>> float(L1(0.5)([1.0, -3.0]))
    2.0
    """

    def __init__(self, l1: float = 0.01, *, l: float | None = None) -> None:  # noqa: E741 - Keras 2's name
        self.l1 = number("L1", "l1", l1, 0.01, old_name=("l", l))

    def call(self, x: Tensor) -> Tensor:
        return self.l1 * K.sum(K.abs(x))

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(Regularizer):
    """Ridge penalty, also called weight decay: keeps parameters small.

    Formula: `l2 * sum(x^2)`.

    Args:
        l2: the factor, at least 0. Keras 2 calls it `l`.

    Raises:
        ArgumentError: for a factor that is negative, infinite, nan or no number.

    Source: A. E. Hoerl and R. W. Kennard, Ridge Regression, 1970.

    >>> float(L2(0.5)([1.0, -3.0]))
    5.0
    """

    def __init__(self, l2: float = 0.01, *, l: float | None = None) -> None:  # noqa: E741 - Keras 2's name
        self.l2 = number("L2", "l2", l2, 0.01, old_name=("l", l))

    def call(self, x: Tensor) -> Tensor:
        return self.l2 * K.sum(K.square(x))

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class L1L2(Regularizer):
    """Elastic net: both penalties.

    Formula: `l1 * sum(abs(x)) + l2 * sum(x^2)`.

    Args:
        l1: the factor of the magnitudes, at least 0.
        l2: the factor of the squares, at least 0.

    Raises:
        ArgumentError: for a factor that is negative, infinite, nan or no number.

    Warns:
        UserWarning: if both are 0, as they are by default in Keras 3. Keras 2's `l1_l2()` meant 0.01 and 0.01.

    Source: H. Zou and T. Hastie, Regularization and Variable Selection via the Elastic Net, 2005.

    >>> float(L1L2(0.5, 0.5)([1.0, -3.0]))
    7.0
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = number("L1L2", "l1", l1, 0.0)
        self.l2 = number("L1L2", "l2", l2, 0.0)
        if not self.l1 and not self.l2:
            warnings.warn(
                "L1L2 with l1=0 and l2=0 adds nothing to the loss. Name the factors: l1_l2(l1=0.01, l2=0.01) is what "
                "Keras 2's l1_l2() meant.",
                stacklevel=2,
            )

    def call(self, x: Tensor) -> Tensor:
        # A factor of 0 leaves its term out: 0 times an overflowing sum would be nan.
        if not self.l2:
            return self.l1 * K.sum(K.abs(x)) if self.l1 else super().call(x)
        squares = self.l2 * K.sum(K.square(x))
        return self.l1 * K.sum(K.abs(x)) + squares if self.l1 else squares

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """Penalty for rows (or columns) of a matrix that are not orthogonal to each other.

    Formula: `factor * mean(abs(cos(u, v)))` over all pairs of rows `u`, `v`. A row of zeros is orthogonal to all.

    Args:
        factor: at least 0.
        mode: `"rows"` or `"columns"`.

    Raises:
        ArgumentError: for another factor or mode.
        ShapeError: when called with anything but a matrix.

    >>> round(float(OrthogonalRegularizer(1.0)([[1.0, 0.0], [1.0, 1.0]])), 4)
    0.7071
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = number("OrthogonalRegularizer", "factor", factor, 0.01)
        if mode not in ("rows", "columns"):
            raise ArgumentError(f"OrthogonalRegularizer: mode={mode!r} is not allowed. Expected 'rows' or 'columns'.")
        self.mode = mode

    def call(self, x: Tensor) -> Tensor:
        if x.ndim != 2:
            raise ShapeError(
                f"OrthogonalRegularizer got a tensor of shape {tuple(x.shape)}. Expected a matrix: reshape it to two axes."
            )
        size = x.shape[0 if self.mode == "rows" else 1]
        pairs = size * (size - 1) / 2
        if not pairs:
            return super().call(x)
        return self.factor * 0.5 / pairs * owner_of(x).run(_cosines, x, mode=self.mode)

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}


def _cosines(x: Tensor, *, mode: str) -> Tensor:
    """Return the sum of the absolute cosines between different rows, or columns."""
    unit = K.l2_normalize(x if mode == "rows" else K.moveaxis(x, 0, 1), axis=1)
    size = unit.shape[0]
    others = 1.0 - K.one_hot(K.arange(size, like=x), size, dtype=K.dtype(x))
    return K.sum(K.abs(unit @ K.moveaxis(unit, 0, 1)) * others)


l1 = L1
l2 = L2
l1_l2 = L1L2
orthogonal_regularizer = OrthogonalRegularizer


# ── Look-up ─────────────────────────────────────────────────────────────────────────────────────────────────────

_lookup = Lookup(
    kind="regularizer",
    package="multiloss.regularizers",
    keras_package="keras.regularizers",
    keras_classes=frozenset({"L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer"}),
    aliases={"l1l2": "L1L2", "L1_L2": "L1L2", "regularizer": "Regularizer"},
)


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the regularizer that a name, a config, a class or a callable stands for; None stays None.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for anything else.

    >>> get("l2")
    L2(l2=0.01)
    """
    return _lookup.get(identifier, custom_objects)


def serialize(regularizer: Any) -> dict[str, Any]:
    """Return a JSON-able config of a regularizer, which Keras 3 can load.

    Raises:
        ArgumentError: for an object without a name or a config.

    >>> serialize(L2(0.5))["config"]
    {'l2': 0.5}
    """
    return _lookup.serialize(regularizer)


def deserialize(config: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the regularizer that a name or config (ours, Keras 2's or Keras 3's) describes.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for a mapping that is no config.

    >>> deserialize({"class_name": "L1L2", "config": {"l1": 0.5, "l2": 0.0}})
    L1L2(l1=0.5, l2=0.0)
    """
    return _lookup.deserialize(config, custom_objects)
