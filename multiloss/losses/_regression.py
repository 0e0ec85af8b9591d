"""Losses on real numbers, and the Poisson likelihood."""

from __future__ import annotations

from typing import Any

from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.interface import EPSILON
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._spec import loss

__all__ = [
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "Huber",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "huber",
    "huber_loss",
    "l1",
    "l2",
    "log_cosh",
    "logcosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
]


@loss(y_true="real", y_pred="real")
def mean_squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of the squared errors: the negative log-likelihood of a Gaussian, and the first choice for regression.

    Formula: `mean((y_pred - y_true)^2)` over the last axis.

    Shapes: `(..., D)` and `(..., D)` to `(...)`.

    >>> float(mean_squared_error([0.0, 1.0], [1.0, 1.0]))
    0.5
    """
    return K.mean(K.square(y_pred - y_true), axis=-1)


@loss(y_true="real", y_pred="real", curved=False)
def mean_absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of the absolute errors: like the squared error, but robust to outliers.

    Formula: `mean(|y_pred - y_true|)` over the last axis. The gradient at a perfect prediction is 0.

    Shapes: `(..., D)` and `(..., D)` to `(...)`.

    >>> float(mean_absolute_error([0.0, 1.0], [3.0, 1.0]))
    1.5
    """
    return K.mean(K.abs(y_pred - y_true), axis=-1)


@loss(y_true="real", y_pred="real", curved=False)
def mean_absolute_percentage_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of the absolute errors in percent of the targets.

    Formula: `100 * mean(|y_true - y_pred| / max(|y_true|, 1e-7))` over the last axis. A target of 0 gives values and
    gradients around 1e9: choose another loss where targets can be 0.

    Shapes: `(..., D)` and `(..., D)` to `(...)`, in percent.

    >>> round(float(mean_absolute_percentage_error([2.0, 4.0], [1.0, 4.0])), 4)
    25.0
    """
    return 100.0 * K.mean(K.abs(y_true - y_pred) / K.maximum(K.abs(y_true), EPSILON), axis=-1)


@loss(y_true="positive", y_pred="positive")
def mean_squared_logarithmic_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of the squared differences of the logarithms: for positive targets that spread over orders of magnitude.

    Formula: `mean((log(1 + max(y_pred, 1e-7)) - log(1 + max(y_true, 1e-7)))^2)` over the last axis. The gradient of a
    prediction below 1e-7 is 0, so negative targets and predictions teach nothing.

    Shapes: `(..., D)` and `(..., D)` to `(...)`.

    >>> round(float(mean_squared_logarithmic_error([0.0], [1.0])), 4)
    0.4805
    """
    return K.mean(K.square(K.log1p(K.clip(y_pred, EPSILON)) - K.log1p(K.clip(y_true, EPSILON))), axis=-1)


@loss(y_true="real", y_pred="real")
def huber(y_true: Tensor, y_pred: Tensor, delta: float = 1.0) -> Tensor:
    """Squared error for small errors, absolute error for large ones.

    Formula: the mean over the last axis of `e^2 / 2` where `|e| <= delta` and `delta * |e| - delta^2 / 2` elsewhere,
    with `e = y_pred - y_true`.

    Shapes: `(..., D)` and `(..., D)` to `(...)`.

    Args:
        delta: where the square turns into a line; positive, in the unit of the targets.

    Source: P. J. Huber, Robust Estimation of a Location Parameter, 1964.

    >>> float(huber([0.0, 0.0], [1.0, 3.0]))
    1.5
    """
    return K.mean(K.huber(y_true, y_pred, delta), axis=-1)


@loss(y_true="real", y_pred="real")
def log_cosh(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Logarithm of the hyperbolic cosine of the error: a smooth Huber loss.

    Formula: `mean(log(cosh(y_pred - y_true)))` over the last axis; about `e^2 / 2` for small errors `e` and
    `|e| - log(2)` for large ones.

    Shapes: `(..., D)` and `(..., D)` to `(...)`.

    >>> round(float(log_cosh([0.0], [1.0])), 4)
    0.4338
    """
    return K.mean(K.log_cosh(y_pred - y_true), axis=-1)


@loss(y_true="positive", y_pred="positive")
def poisson(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Negative log-likelihood of counts under a Poisson distribution, without the constant.

    Formula: `mean(y_pred - y_true * log(y_pred + 1e-7))` over the last axis; `y_pred` is the expected count, at least 0.

    Shapes: `(..., D)` and `(..., D)` to `(...)`.

    >>> round(float(poisson([2.0], [1.0])), 4)
    1.0
    """
    return K.mean(y_pred - y_true * K.log(y_pred + EPSILON), axis=-1)


mse = MSE = l2 = mean_squared_error
mae = MAE = l1 = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
huber_loss = huber
logcosh = log_cosh


class MeanSquaredError(LossFunctionWrapper):
    """Class form of `mean_squared_error`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_error, reduction, name, dtype)


class MeanAbsoluteError(LossFunctionWrapper):
    """Class form of `mean_absolute_error`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_absolute_error, reduction, name, dtype)


class MeanAbsolutePercentageError(LossFunctionWrapper):
    """Class form of `mean_absolute_percentage_error`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_percentage_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


class MeanSquaredLogarithmicError(LossFunctionWrapper):
    """Class form of `mean_squared_logarithmic_error`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


class Huber(LossFunctionWrapper):
    """Class form of `huber`."""

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(huber, reduction, name, dtype, delta=delta)


class LogCosh(LossFunctionWrapper):
    """Class form of `log_cosh`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "log_cosh",
        dtype: Any = None,
    ) -> None:
        super().__init__(log_cosh, reduction, name, dtype)


class Poisson(LossFunctionWrapper):
    """Class form of `poisson`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "poisson",
        dtype: Any = None,
    ) -> None:
        super().__init__(poisson, reduction, name, dtype)
