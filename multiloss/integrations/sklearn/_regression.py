"""scikit-learn's regression metrics.

All take targets and predictions of shape (N,) or (N, outputs), `sample_weight` of shape (N,), and `multioutput`:
`"uniform_average"`, `"raw_values"` (one number for each output) or a weight for each output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from multiloss._errors import ArgumentError, ShapeError, unknown_name
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.integrations.sklearn._inputs import (
    Array,
    arrays,
    as_real,
    on_host,
    require_equal_lengths,
    require_finite,
    warn_undefined,
    weights_of,
)

__all__ = [
    "explained_variance_score",
    "max_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_pinball_loss",
    "mean_squared_error",
    "mean_squared_log_error",
    "r2_score",
    "root_mean_squared_error",
]

EPSILON = float(np.finfo(np.float64).eps)


def _read(y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike) -> tuple[Any, Any, Any]:
    """Return targets, predictions and weights as floats of equal shapes, weights (N,) or (N, 1)."""
    y_true, y_pred, sample_weight = arrays(y_true, y_pred, sample_weight)
    y_true, y_pred = as_real(y_true, "y_true"), as_real(y_pred, "y_pred")
    size = require_equal_lengths(("y_true", y_true), ("y_pred", y_pred))
    if y_true.ndim == 2 and y_true.shape[1] == 1:
        y_true = K.reshape(y_true, (-1,))
    if y_pred.ndim == 2 and y_pred.shape[1] == 1:
        y_pred = K.reshape(y_pred, (-1,))
    if y_true.shape != y_pred.shape or y_true.ndim > 2:
        raise ShapeError(
            f"y_true has shape {tuple(y_true.shape)} and y_pred has shape {tuple(y_pred.shape)}. "
            "Expected (N,) or (N, outputs) for both."
        )
    if y_true.dtype != y_pred.dtype:  # on frameworks
        y_true = K.cast(y_true, K.dtype(y_pred))
    weights = weights_of(sample_weight, size)
    if weights is not None:
        weights = K.cast(weights, K.dtype(y_pred))
        weights = K.expand_dims(weights, -1) if y_true.ndim == 2 else weights
    return y_true, y_pred, weights


def _average(values: Tensor, weights: Tensor, keepdims: bool = False) -> Tensor:
    """Return the weighted mean over the samples: one number for each output."""
    if weights is None:
        return K.mean(values, 0, keepdims)
    return K.sum(values * weights, 0, keepdims) / K.sum(weights)


def _aggregate(errors: Array, multioutput: Any, spread: Array | None = None) -> Any:
    """Return one number, or one for each output."""
    if isinstance(multioutput, str):
        if multioutput == "raw_values":
            return errors.reshape(-1)
        if multioutput == "uniform_average":
            return float(errors) if not errors.ndim else float(errors.mean())
        if multioutput == "variance_weighted" and spread is not None:
            return float(np.average(errors, weights=spread) if np.any(spread) else np.mean(errors))
        choices = ["raw_values", "uniform_average"] + ([] if spread is None else ["variance_weighted"])
        raise unknown_name("multioutput", multioutput, choices)
    weights = np.asarray(multioutput, np.float64)
    if errors.ndim == 0 or weights.shape != errors.shape:
        outputs = "one output" if errors.ndim == 0 else f"{len(errors)} outputs"
        raise ShapeError(f"multioutput has shape {weights.shape}, and there are {outputs}. Expected a weight for each.")
    if weights.sum() == 0:
        raise ArgumentError(f"multioutput={multioutput!r} sums to 0. Expected weights with another sum.")
    return float(np.average(errors, weights=weights))


def _error(
    elementwise: Callable[[Any, Any], Tensor],
    y_true: TensorLike,
    y_pred: TensorLike,
    sample_weight: TensorLike,
    multioutput: Any,
    *,
    root: bool = False,
) -> Any:
    """Return the average of an error that each element has."""
    y_true, y_pred, weights = _read(y_true, y_pred, sample_weight)
    errors = on_host(_average(elementwise(y_true, y_pred), weights))
    value = _aggregate(np.sqrt(errors) if root else errors, multioutput)
    if not np.all(np.isfinite(value)):
        require_finite(y_true=y_true, y_pred=y_pred, sample_weight=weights)
    return value


def _squared(y_true: Any, y_pred: Any) -> Tensor:
    return K.square(y_true - y_pred)


def mean_squared_error(
    y_true: TensorLike, y_pred: TensorLike, *, sample_weight: TensorLike = None, multioutput: Any = "uniform_average"
) -> Any:
    """Mean of `(y_true - y_pred)^2`: scikit-learn's function.

    >>> mean_squared_error([3, -0.5, 2, 7], [2.5, 0.0, 2, 8])
    0.375
    """
    return _error(_squared, y_true, y_pred, sample_weight, multioutput)


def root_mean_squared_error(
    y_true: TensorLike, y_pred: TensorLike, *, sample_weight: TensorLike = None, multioutput: Any = "uniform_average"
) -> Any:
    """Square root of the mean of `(y_true - y_pred)^2`, of each output by itself: scikit-learn's function.

    >>> round(root_mean_squared_error([3, -0.5, 2, 7], [2.5, 0.0, 2, 8]), 4)
    0.6124
    """
    return _error(_squared, y_true, y_pred, sample_weight, multioutput, root=True)


def mean_absolute_error(
    y_true: TensorLike, y_pred: TensorLike, *, sample_weight: TensorLike = None, multioutput: Any = "uniform_average"
) -> Any:
    """Mean of `|y_true - y_pred|`: scikit-learn's function.

    >>> mean_absolute_error([3, -0.5, 2, 7], [2.5, 0.0, 2, 8])
    0.5
    """
    return _error(lambda y, p: K.abs(y - p), y_true, y_pred, sample_weight, multioutput)


def mean_absolute_percentage_error(
    y_true: TensorLike, y_pred: TensorLike, *, sample_weight: TensorLike = None, multioutput: Any = "uniform_average"
) -> Any:
    """Mean of `|y_true - y_pred| / max(|y_true|, 2^-52)`, a share and not percent: scikit-learn's function.

    >>> round(mean_absolute_percentage_error([3, -0.5, 2, 7], [2.5, 0.0, 2, 8]), 4)
    0.3274
    """
    return _error(lambda y, p: K.abs(y - p) / K.maximum(K.abs(y), EPSILON), y_true, y_pred, sample_weight, multioutput)


def mean_squared_log_error(
    y_true: TensorLike, y_pred: TensorLike, *, sample_weight: TensorLike = None, multioutput: Any = "uniform_average"
) -> Any:
    """Mean of `(log(1 + y_true) - log(1 + y_pred))^2`, for numbers above -1: scikit-learn's function.

    >>> round(mean_squared_log_error([3, 5, 2.5, 7], [2.5, 5, 4, 8]), 4)
    0.0397
    """

    def elementwise(y: Any, p: Any) -> Tensor:
        if bool(K.any(y <= -1)) or bool(K.any(p <= -1)):
            raise ArgumentError("y_true or y_pred holds a number of -1 or below. Expected numbers above -1.")
        return K.square(K.log1p(y) - K.log1p(p))

    return _error(elementwise, y_true, y_pred, sample_weight, multioutput)


def mean_pinball_loss(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    sample_weight: TensorLike = None,
    alpha: float = 0.5,
    multioutput: Any = "uniform_average",
) -> Any:
    """Mean of `max(alpha (y_true - y_pred), (alpha - 1) (y_true - y_pred))`, for a quantile: scikit-learn's function.

    >>> round(mean_pinball_loss([1, 2, 3], [0, 2, 3], alpha=0.1), 4)
    0.0333
    """
    if not 0 <= alpha <= 1:
        raise ArgumentError(f"alpha={alpha!r} is not allowed. Expected a number in [0, 1].")
    return _error(
        lambda y, p: K.maximum(alpha * (y - p), (alpha - 1.0) * (y - p)), y_true, y_pred, sample_weight, multioutput
    )


def max_error(y_true: TensorLike, y_pred: TensorLike) -> float:
    """Largest `|y_true - y_pred|`, of one output: scikit-learn's function.

    >>> max_error([3, 2, 7, 1], [4, 2, 7, 1])
    1.0
    """
    y_true, y_pred, _ = _read(y_true, y_pred, None)
    if y_true.ndim != 1:
        raise ShapeError(f"y_true has shape {tuple(y_true.shape)}. Expected one output: (N,) or (N, 1).")
    value = float(K.max(K.abs(y_true - y_pred)))
    if not np.isfinite(value):
        require_finite(y_true=y_true, y_pred=y_pred)
    return value


def _explained(wrong: Tensor, spread: Tensor, multioutput: Any, force_finite: bool, inputs: dict[str, Any]) -> Any:
    """Return `1 - wrong / spread`: without spread 1 if nothing is wrong, else 0."""
    wrong, spread = on_host(wrong), on_host(spread)
    if not np.isfinite(wrong + spread).all():
        require_finite(**inputs)
    if not wrong.ndim and spread:  # one output
        return _aggregate(1.0 - wrong / spread, multioutput, spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = 1.0 - wrong / spread
    if force_finite:
        scores = np.where(spread != 0, scores, np.where(wrong != 0, 0.0, 1.0))
    return _aggregate(scores, multioutput, spread)


def r2_score(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    sample_weight: TensorLike = None,
    multioutput: Any = "uniform_average",
    force_finite: bool = True,
) -> Any:
    """Coefficient of determination, `1 - sum (y_true - y_pred)^2 / sum (y_true - mean)^2`: scikit-learn's function.

    `multioutput` may be `"variance_weighted"`, too. Targets that do not vary have 1 if all predictions are exact and else
    0; without `force_finite` nan and -inf. Of one sample it is nan, with a warning.

    >>> round(r2_score([3, -0.5, 2, 7], [2.5, 0.0, 2, 8]), 4)
    0.9486
    """
    y_true, y_pred, weights = _read(y_true, y_pred, sample_weight)
    if y_true.shape[0] < 2:
        warn_undefined("R^2 score is not well-defined with less than two samples.")
        return float("nan")
    away = K.square(y_true - _average(y_true, weights, True))
    wrong = K.square(y_true - y_pred)
    if weights is not None:
        away, wrong = away * weights, wrong * weights
    inputs = {"y_true": y_true, "y_pred": y_pred, "sample_weight": weights}
    return _explained(K.sum(wrong, 0), K.sum(away, 0), multioutput, force_finite, inputs)


def explained_variance_score(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    sample_weight: TensorLike = None,
    multioutput: Any = "uniform_average",
    force_finite: bool = True,
) -> Any:
    """Share of the variance that is explained, `1 - var(y_true - y_pred) / var(y_true)`: scikit-learn's function.

    `multioutput` and `force_finite` are as in `r2_score`.

    >>> round(explained_variance_score([3, -0.5, 2, 7], [2.5, 0.0, 2, 8]), 4)
    0.9572
    """
    y_true, y_pred, weights = _read(y_true, y_pred, sample_weight)
    error = y_true - y_pred
    wrong = _average(K.square(error - _average(error, weights, True)), weights)
    away = _average(K.square(y_true - _average(y_true, weights, True)), weights)
    inputs = {"y_true": y_true, "y_pred": y_pred, "sample_weight": weights}
    return _explained(wrong, away, multioutput, force_finite, inputs)
