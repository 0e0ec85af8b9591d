"""Margin losses."""

from __future__ import annotations

from typing import Any

from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._spec import loss

__all__ = ["CategoricalHinge", "Hinge", "SquaredHinge", "categorical_hinge", "hinge", "squared_hinge"]


def _are_binary(y_true: Tensor) -> Tensor:
    """Whether all labels are 0 or 1: then they are mapped to -1 and 1, as Keras 3 does; else they are left alone."""
    return K.all(K.run_rows(_is_binary, y_true, y_true))


def _is_binary(y_true: Tensor, _: Tensor) -> Tensor:
    # Nothing but 0 and 1 is the magnitude of its own sign. Constants to compare with are those of the formula, too, and
    # where a compiler makes both one function, they are written out once for both.
    return K.all(K.abs(K.sign(y_true)) == y_true, axis=-1)


def _missed(y_true: Tensor, y_pred: Tensor, binary: Tensor) -> Tensor:
    """Return by how much each prediction misses the margin."""
    shift = K.cast(binary, K.dtype(y_true))  # 0 or 1: labels are left alone, or turned into 2 * label - 1
    signs = (1.0 + shift) * y_true - shift
    return K.maximum(1.0 - signs * y_pred, 0.0)


def _hinge(y_true: Tensor, y_pred: Tensor, binary: Tensor) -> Tensor:
    return K.mean(_missed(y_true, y_pred, binary), axis=-1)


def _squared_hinge(y_true: Tensor, y_pred: Tensor, binary: Tensor) -> Tensor:
    return K.mean(K.square(_missed(y_true, y_pred, binary)), axis=-1)


@loss(y_true="sign", y_pred="margin", curved=False)
def hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Penalty for predictions on the wrong side of the margin, as in a support vector machine.

    Formula: `mean(max(1 - y_true * y_pred, 0))` over the last axis. Labels are -1 and 1; labels that are all 0 and 1
    are mapped to them.

    Shapes: `(..., D)` and `(..., D)` to `(...)`. Predictions are signed scores, for example from tanh.

    >>> float(hinge([-1.0, 1.0], [0.5, 0.5]))
    1.0
    """
    return K.run_rows(_hinge, y_true, y_pred, binary=_are_binary(y_true))


@loss(y_true="sign", y_pred="margin")
def squared_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Square of the hinge penalty: smooth at the margin.

    Formula: `mean(max(1 - y_true * y_pred, 0)^2)` over the last axis. Labels as in `hinge`.

    Shapes: `(..., D)` and `(..., D)` to `(...)`.

    >>> float(squared_hinge([-1.0, 1.0], [0.5, 0.5]))
    1.25
    """
    return K.run_rows(_squared_hinge, y_true, y_pred, binary=_are_binary(y_true))


@loss(y_true="one-hot", y_pred="real", event="joint", curved=False)
def categorical_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Margin between the score of the true class and the best of the others.

    Formula: `max(max((1 - y_true) * y_pred) - sum(y_true * y_pred) + 1, 0)` over the last axis (the classes).

    Shapes: one-hot `(..., C)` and scores `(..., C)` to `(...)`.

    >>> round(float(categorical_hinge([0.0, 1.0], [0.6, 0.4])), 4)
    1.2
    """
    positive = K.sum(y_true * y_pred, axis=-1)
    negative = K.max((1.0 - y_true) * y_pred, axis=-1)
    return K.maximum(negative - positive + 1.0, 0.0)


class Hinge(LossFunctionWrapper):
    """Class form of `hinge`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(hinge, reduction, name, dtype)


class SquaredHinge(LossFunctionWrapper):
    """Class form of `squared_hinge`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "squared_hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(squared_hinge, reduction, name, dtype)


class CategoricalHinge(LossFunctionWrapper):
    """Class form of `categorical_hinge`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(categorical_hinge, reduction, name, dtype)
