"""Which share of the samples is predicted right: one value, 0 or 1, per sample."""

from __future__ import annotations

from multiloss._typing import Tensor
from multiloss.dispatch import K


def binary_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return whether a probability is on the side of 1/2 that its 0 or 1 label is on."""
    return K.mean(K.cast((y_pred > 0.5) == (y_true > 0.5), "float32"), axis=-1)


def sign_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return whether a score has the sign of its -1 or 1 label."""
    return K.mean(K.cast((y_pred > 0.0) == (y_true > 0.0), "float32"), axis=-1)


def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return whether the likeliest class is the one-hot label's."""
    return K.cast(K.argmax(y_pred) == K.argmax(y_true), "float32")


def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return whether the likeliest class is the label."""
    return K.cast(K.cast(K.argmax(y_pred), "int32") == y_true, "float32")
