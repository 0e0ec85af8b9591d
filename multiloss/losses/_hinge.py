"""Margin losses."""

from __future__ import annotations

from typing import Any

from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._spec import loss

__all__ = ["CategoricalHinge", "Hinge", "SquaredHinge", "categorical_hinge", "hinge", "squared_hinge"]


def _is_binary(y_true: Tensor, _: Tensor) -> Tensor:
    """Whether labels are 0 or 1. If all are, they are mapped to -1 and 1, as Keras 3 does; else they are left alone."""
    return K.sum(K.abs(y_true * (y_true - 1.0)), axis=-1) == 0.0  # no `all`, of which compilers make slower loops


def _missed(y_true: Tensor, y_pred: Tensor, binary: Tensor) -> Tensor:
    """Return by how much each prediction misses the margin."""
    if binary is True:
        y_true = y_true + (y_true - 1.0)
    elif binary is not False:
        shift = K.cast(binary, K.dtype(y_true))  # 0 or 1
        y_true = (1.0 + shift) * y_true - shift
    return K.maximum(1.0 - y_true * y_pred, 0.0)


def _hinge(y_true: Tensor, y_pred: Tensor, known: Tensor) -> Tensor:
    return K.mean(_missed(y_true, y_pred, known), axis=-1)


def _squared_hinge(y_true: Tensor, y_pred: Tensor, known: Tensor) -> Tensor:
    return K.mean(K.square(_missed(y_true, y_pred, known)), axis=-1)


@loss(y_true="sign", y_pred="margin", curved=False)
def hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Penalty for predictions on the wrong side of the margin, as in a support vector machine.

    Formula: `mean(max(1 - y_true * y_pred, 0))` over the last axis. Labels are -1 and 1; labels that are all 0 and 1
    are mapped to them.

    Shapes: `(..., D)` and `(..., D)` to `(...)`. Predictions are signed scores, for example from tanh.

    >>> float(hinge([-1.0, 1.0], [0.5, 0.5]))
    1.0
    """
    return K.run_rows_knowing(_is_binary, _hinge, y_true, y_pred)


@loss(y_true="sign", y_pred="margin")
def squared_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Square of the hinge penalty: smooth at the margin.

    Formula: `mean(max(1 - y_true * y_pred, 0)^2)` over the last axis. Labels as in `hinge`.

    Shapes: `(..., D)` and `(..., D)` to `(...)`.

    >>> float(squared_hinge([-1.0, 1.0], [0.5, 0.5]))
    1.25
    """
    return K.run_rows_knowing(_is_binary, _squared_hinge, y_true, y_pred)


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
