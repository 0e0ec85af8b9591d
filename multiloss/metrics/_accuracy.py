"""How often predictions are right. A prediction that is nan never is."""

from __future__ import annotations

from typing import Any

from multiloss._errors import ArgumentError
from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.losses._spec import loss
from multiloss.metrics._arguments import whole
from multiloss.metrics._means import MeanMetricWrapper

__all__ = [
    "ACC",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "acc",
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def _as_values(hits: Tensor, like: Tensor) -> Tensor:
    return K.cast(hits, "float64" if K.dtype(like) == "float64" else "float32")


def _highest(y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class with the highest score of each row, and whether it is known: a nan passes for the highest."""
    best = K.argmax(y_pred, -1)
    highest = K.take_along_axis(y_pred, K.expand_dims(best, -1), -1)
    return best, ~K.isnan(K.squeeze(highest, -1))


def _has_nan(y_pred: Tensor) -> Tensor:
    return K.isnan(K.max(y_pred, -1))  # the largest of a row is nan if any entry is


# An accuracy has everything that a loss has, but a gradient worth following: so `@loss` is its boundary too.


@loss(y_true="real", y_pred="label", event="element")
def accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Whether each prediction equals its target.

    Formula: `y_true == y_pred`, elementwise and exact: whole numbers are not rounded to floats.

    Shapes: `(...)` and `(...)` to `(...)`.

    >>> accuracy([1, 2, 3], [1, 2, 4]).tolist()
    [1.0, 1.0, 0.0]
    """
    if y_true.dtype == y_pred.dtype:
        return _as_values(y_true == y_pred, y_pred)
    if K.is_floating(y_true) == K.is_floating(y_pred):
        wide = "float64" if "float64" in (K.dtype(y_true), K.dtype(y_pred)) else "float32"
        wide = wide if K.is_floating(y_pred) else "int64"
        return _as_values(K.cast(y_true, wide) == K.cast(y_pred, wide), y_pred)
    whole, real = (y_pred, y_true) if K.is_floating(y_true) else (y_true, y_pred)
    whole = K.cast(whole, "int64")
    rounded = K.cast(whole, K.dtype(real))
    # Equal as floats, and the whole number was not changed on the way.
    return _as_values((rounded == real) & (K.cast(rounded, "int64") == whole), real)


@loss(y_true="sign", y_pred="probability or logit", event="element")
def binary_accuracy(y_true: Tensor, y_pred: Tensor, threshold: float = 0.5) -> Tensor:
    """Whether each prediction is on its label's side of a threshold.

    Formula: `y_true == 1` where `y_pred > threshold`, and `y_true == 0` or `y_true == -1` elsewhere. Labels are 0 and 1
    (for probabilities, with the default threshold), or -1 and 1 (for signed scores such as those that hinge losses
    train, with `threshold=0`). A label between them is never met. Where labels 0 and -1 meet in one batch it cannot be
    known what -1 stands for, and its values are nan: leave such entries out with `mask=`.

    Shapes: `(...)` and `(...)` to `(...)`: one value for each element.

    Args:
        threshold: predictions above it stand for 1; predictions at it do not.

    >>> binary_accuracy([1, 1, 0, 0], [0.98, 0.5, 0.0, 0.6]).tolist()
    [1.0, 0.0, 1.0, 0.0]
    >>> binary_accuracy([-1, 1], [-0.2, 0.2], threshold=0.0).tolist()
    [1.0, 1.0]
    """
    minus = y_true == -1
    zero = y_true == 0
    hits = K.where(y_pred > threshold, y_true == 1, (zero | minus) & ~K.isnan(y_pred))
    return K.where(minus & K.any(zero), float("nan"), _as_values(hits, y_pred))


@loss(y_true="one-hot", y_pred="distribution or logits", event="joint")
def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Whether the highest score is that of the true class, for one-hot labels.

    Formula: `argmax(y_true) == argmax(y_pred)` over the last axis; at a tie the first class counts as the highest.

    Shapes: labels `(..., C)` and scores `(..., C)` to `(...)`.

    >>> categorical_accuracy([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0.0]]).tolist()
    [0.0, 1.0]
    """
    best, known = _highest(y_pred)
    return _as_values((K.argmax(y_true, -1) == best) & known, y_pred)


@loss(y_true="class index", y_pred="distribution or logits", event="joint")
def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Whether the highest score is that of the true class, for integer labels.

    Formula: `y_true == argmax(y_pred)` over the last axis; at a tie the first class counts as the highest.

    Shapes: class indices `(...)` or `(..., 1)` and scores `(..., C)` to `(...)`.

    Raises:
        LabelError: for a label outside [0, C) where values can be looked at; elsewhere its value is nan.

    >>> sparse_categorical_accuracy([2, 1], [[0.1, 0.6, 0.3], [0.05, 0.95, 0.0]]).tolist()
    [0.0, 1.0]
    """
    best, known = _highest(y_pred)
    return _as_values((K.cast(y_true, K.dtype(best)) == best) & known, y_pred)


def _among_highest(labels: Tensor, y_pred: Tensor, k: int) -> Tensor:
    chosen = K.take_along_axis(y_pred, K.expand_dims(labels, -1), -1)
    better = K.sum(y_pred > chosen, -1)
    ruled_out = K.squeeze(chosen, -1) == float("-inf")
    return _as_values((better < k) & ~ruled_out & ~_has_nan(y_pred), y_pred)


@loss(y_true="one-hot", y_pred="distribution or logits", event="joint")
def top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """Whether the true class is among the `k` highest scores, for one-hot labels.

    Formula: fewer than `k` scores are higher than that of class `argmax(y_true)`. So ties count as hits; a score of
    -inf, which rules a class out, does not.

    Shapes: labels `(..., C)` and scores `(..., C)` to `(...)`.

    Args:
        k: how many.

    >>> top_k_categorical_accuracy([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0.0]], k=1).tolist()
    [0.0, 1.0]
    """
    whole("k", k, 1)
    return _among_highest(K.argmax(y_true, -1), y_pred, k)


@loss(y_true="class index", y_pred="distribution or logits", event="joint")
def sparse_top_k_categorical_accuracy(
    y_true: Tensor, y_pred: Tensor, k: int = 5, from_sorted_ids: bool = False
) -> Tensor:
    """Whether the true class is among the `k` highest scores, for integer labels.

    Formula: fewer than `k` scores are higher than that of class `y_true`. So ties count as hits; a score of -inf,
    which rules a class out, does not. With `from_sorted_ids`: `y_true` is among the first `k` entries of `y_pred`.

    Shapes: class indices `(...)` or `(..., 1)` and scores `(..., C)` to `(...)`.

    Args:
        k: how many.
        from_sorted_ids: whether `y_pred` holds class indices, best first, and not scores.

    Raises:
        LabelError: for a label outside [0, C) where values can be looked at; elsewhere its value is nan.
        ArgumentError: if `y_pred` holds fewer than `k` sorted class indices.

    >>> sparse_top_k_categorical_accuracy([2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0.0]], k=1).tolist()
    [0.0, 1.0]
    >>> sparse_top_k_categorical_accuracy([2, 1], [[1, 0, 2], [1, 0, 2]], k=2, from_sorted_ids=True).tolist()
    [0.0, 1.0]
    """
    whole("k", k, 1)
    if not from_sorted_ids:
        return _among_highest(y_true, y_pred, k)
    if y_pred.shape[-1] < k:
        raise ArgumentError(
            f"y_pred has shape {tuple(y_pred.shape)}, and k={k} sorted class indices are to be looked at. "
            f"Expected at least {k} on the last axis. Lower k, or pass more of them."
        )
    ids = K.cast(y_pred[..., :k], "int64")
    return _as_values(K.any(K.expand_dims(K.cast(y_true, "int64"), -1) == ids, -1), y_pred)


acc = ACC = accuracy


class Accuracy(MeanMetricWrapper):
    """Class form of `accuracy`: how often predictions equal targets.

    >>> float(Accuracy()([1, 2, 3, 4], [0, 2, 3, 4]))
    0.75
    """

    def __init__(self, name: str | None = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """Class form of `binary_accuracy`. With labels -1 and 1 and signed scores: `threshold=0`.

    >>> float(BinaryAccuracy()([1, 1, 0, 0], [0.98, 1.0, 0.0, 0.6]))
    0.75
    """

    threshold: float

    def __init__(self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(MeanMetricWrapper):
    """Class form of `categorical_accuracy`.

    >>> float(CategoricalAccuracy()([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0.0]]))
    0.5
    """

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """Class form of `sparse_categorical_accuracy`.

    >>> float(SparseCategoricalAccuracy()([2, 1], [[0.1, 0.6, 0.3], [0.05, 0.95, 0.0]]))
    0.5
    """

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """Class form of `top_k_categorical_accuracy`."""

    k: int

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        whole("k", k, 1)
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """Class form of `sparse_top_k_categorical_accuracy`."""

    k: int
    from_sorted_ids: bool

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        whole("k", k, 1)
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids)
