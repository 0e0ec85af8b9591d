"""Array-likes, as scikit-learn takes them, as NumPy arrays or tensors of one framework."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from multiloss._boundary import arrive
from multiloss._errors import ArgumentError, DTypeError, ShapeError
from multiloss._registry import owner_of
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K

Array = Any


def arrays(*given: TensorLike) -> list[Any]:
    """Return the arguments as NumPy arrays, or as tensors of the framework that one of them belongs to; None stays None.

    Host data stays on the host, whatever the active backend is: in float64, as scikit-learn computes.
    """
    if all(type(x) is np.ndarray or x is None for x in given):
        return list(given)
    read = [x if x is None else _array(x) for x in given]
    if all(x is None or isinstance(x, np.ndarray) for x in read):
        return read
    return arrive(*read)[1]


def _array(x: TensorLike) -> Any:
    owner = owner_of(x)
    if isinstance(x, owner.tensor_types) and not owner.is_host:
        return owner.stop_gradient(x)
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ShapeError(
            f"Arrived: a {type(x).__name__} that is no rectangular array ({error}). Expected rows of equal lengths."
        ) from error


def column(x: Any, what: str) -> Any:
    """Return (N,) as it is and (N, 1) as (N,)."""
    if x.ndim == 1:
        return x
    if x.ndim == 2 and x.shape[1] == 1:
        return K.reshape(x, (-1,))
    raise ShapeError(f"{what} has shape {tuple(x.shape)}. Expected (N,) or (N, 1).")


def require_equal_lengths(*named: tuple[str, Any]) -> int:
    """Return how many samples there are, of which each argument has one entry.

    Raises:
        ShapeError: if the arguments differ, or there are none.
    """
    present = [(what, x) for what, x in named if x is not None]
    size = present[0][1].shape[0] if present[0][1].ndim else 0
    if not size or any(not x.ndim or x.shape[0] != size for _, x in present):
        shapes = ", ".join(f"{what} has shape {tuple(x.shape)}" for what, x in present)
        raise ShapeError(f"{shapes}. Expected the same number of samples in each, and at least one.")
    return int(size)


def weights_of(sample_weight: Any, size: int) -> Any:
    """Return weights (N,) or None.

    Raises:
        ShapeError: if there is not one for each sample.
        ArgumentError: if they sum to 0, or one is not finite.
        DTypeError: if they are not numbers.
    """
    if sample_weight is None:
        return None
    if sample_weight.ndim != 1 or sample_weight.shape[0] != size:
        raise ShapeError(
            f"sample_weight has shape {tuple(sample_weight.shape)}, and there are {size} samples. Expected ({size},)."
        )
    require_numbers(sample_weight, "sample_weight")
    total = float(K.sum(sample_weight))
    if total == 0 or not np.isfinite(total):
        raise ArgumentError(f"sample_weight sums to {total}. Expected a finite sum other than 0.")
    if isinstance(sample_weight, np.ndarray):  # whole weights give whole counts
        return sample_weight.astype(np.float64 if sample_weight.dtype.kind == "f" else np.int64, copy=False)
    return sample_weight


def require_numbers(x: Any, what: str) -> None:
    """Raise DTypeError for text, objects and complex numbers."""
    if isinstance(x, np.ndarray) and x.dtype.kind not in "biufV":
        raise DTypeError(f"{what} has dtype {x.dtype}. Expected real numbers.")


def as_real(x: Any, what: str) -> Any:
    """Return numbers as floats: in float64 on the host, and elsewhere in the framework's precision."""
    if isinstance(x, np.ndarray):
        if x.dtype == np.float64:
            return x
        if x.dtype.kind == "O":
            try:
                return x.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise DTypeError(
                    f"{what} holds objects that are no numbers ({error}). Expected real numbers."
                ) from error
        require_numbers(x, what)
        return x.astype(np.float64)
    return x if K.is_floating(x) else K.cast(x, "float32")


def require_finite(**named: Any) -> None:
    """Raise ArgumentError for the first argument with nan or infinity, if there is one.

    Looked at only after a result that is not finite: a result that is proves its arguments.
    """
    for what, x in named.items():
        if x is not None and K.is_floating(x) and not bool(K.all(K.isfinite(x))):
            raise ArgumentError(f"{what} contains nan or infinity. Expected finite numbers; leave such samples out.")


def require_distributions(y_proba: Any) -> None:
    """Raise ArgumentError unless the rows of (N, classes) sum to 1."""
    if y_proba.ndim == 2:
        tolerance = float(np.sqrt(epsilon(y_proba))) + 1e-8
        totals = y_proba @ K.ones_like(y_proba[0, :])  # a product of matrices takes half the time of a sum
        if not float(K.max(K.abs(totals - 1.0))) <= tolerance:
            raise ArgumentError(
                "The rows of y_proba do not sum to 1. Expected the probabilities of all classes, as predict_proba gives."
            )


_EPSILONS = {"float64": 2.0**-52, "float16": 2.0**-10}


def epsilon(x: Any) -> float:
    """Return the relative precision of a floating dtype."""
    return _EPSILONS.get(K.dtype(x), 2.0**-23)


def weighted_mean(values: Tensor, weights: Any, normalize: bool = True) -> float:
    """Return the weighted mean over samples, or without `normalize` the weighted sum."""
    if weights is None:
        return float(K.mean(values)) if normalize else float(K.sum(values))
    weights = K.cast(weights, K.dtype(values))
    total = K.sum(values * weights)
    return float(total / K.sum(weights)) if normalize else float(total)


def on_host(x: Tensor) -> Array:
    """Return a small result as a NumPy array."""
    return owner_of(x).to_numpy(x)


def warn_undefined(message: str) -> None:
    """Warn as scikit-learn does where a value is not defined."""
    try:
        from sklearn.exceptions import UndefinedMetricWarning as Category
    except ImportError:  # the functions work without scikit-learn
        Category = UserWarning
    warnings.warn(message, Category, stacklevel=4)
