"""Cross-entropies and divergences between distributions."""

from __future__ import annotations

from typing import Any

from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.interface import EPSILON
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._spec import loss

__all__ = [
    "BCE",
    "KLD",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "KLDivergence",
    "SparseCategoricalCrossentropy",
    "bce",
    "binary_crossentropy",
    "categorical_crossentropy",
    "categorical_generalized_cross_entropy",
    "kl_divergence",
    "kld",
    "kullback_leibler_divergence",
    "sparse_categorical_crossentropy",
]


@loss(y_true="probability", y_pred="probability or logit")
def binary_crossentropy(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """Cross-entropy of independent yes-or-no labels: the first choice for binary and multi-label classification.

    Formula: `mean(-y_true * log(p) - (1 - y_true) * log(1 - p))` over `axis`, in nats. `p` is `y_pred` clipped to
    [1e-7, 1 - 1e-7], or `sigmoid(y_pred)` with `from_logits`, which never leaves log space and keeps its gradient.

    Shapes: labels in [0, 1] `(..., D)` and predictions `(..., D)` to `(...)`.

    Args:
        from_logits: whether `y_pred` are logits, not probabilities.
        label_smoothing: `a` in [0, 1]; labels become `y_true * (1 - a) + a / 2`.
        axis: the one that is averaged.

    >>> round(float(binary_crossentropy([0.0, 1.0], [0.5, 0.5])), 4)
    0.6931
    """
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return K.mean(K.binary_crossentropy(y_true, y_pred, from_logits), axis)


def smooth_one_hot(y_true: Tensor, label_smoothing: float, axis: int) -> Tensor:
    """Return `y_true * (1 - a) + a / C` over the C classes of `axis`."""
    return y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[axis] if label_smoothing else y_true


@loss(y_true="one-hot", y_pred="distribution or logits", event="joint")
def categorical_crossentropy(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """Cross-entropy of one-hot or soft labels: the first choice for single-label classification with one-hot labels.

    Formula: `-sum(y_true * log(q))` over `axis` (the classes), in nats. `q` is `y_pred` divided by its sum and clipped
    to [1e-7, 1 - 1e-7], or `softmax(y_pred)` with `from_logits`, which never leaves log space.

    Shapes: labels `(..., C)` and predictions `(..., C)` to `(...)`, or with the classes on another `axis`.

    Args:
        from_logits: whether `y_pred` are logits, not probabilities.
        label_smoothing: `a` in [0, 1]; labels become `y_true * (1 - a) + a / C`.
        axis: the one that holds the classes.

    >>> round(float(categorical_crossentropy([0.0, 1.0], [0.5, 0.5])), 4)
    0.6931
    """
    return K.categorical_crossentropy(smooth_one_hot(y_true, label_smoothing, axis), y_pred, from_logits, axis)


@loss(y_true="class index", y_pred="distribution or logits", event="joint")
def sparse_categorical_crossentropy(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """Cross-entropy of integer labels: `categorical_crossentropy` without the memory of one-hot labels.

    Formula: `-log(q[y_true])`, in nats, with `q` as in `categorical_crossentropy`.

    Shapes: class indices `(...)` or `(..., 1)` and predictions `(..., C)` to `(...)`, or with the classes on another `axis`.

    Args:
        from_logits: whether `y_pred` are logits, not probabilities.
        ignore_class: a label that does not count, such as 255 or -100: its value and gradient are 0, and means do not
            divide by it.
        axis: the one that holds the classes.

    Raises:
        LabelError: for a label outside [0, C) where values can be looked at; on accelerators and inside a trace that
            row is nan instead.

    >>> round(float(sparse_categorical_crossentropy(1, [0.5, 0.5])), 4)
    0.6931
    """
    del ignore_class  # acts at the boundary, before the formula
    return K.sparse_categorical_crossentropy(y_true, y_pred, from_logits, axis)


@loss(y_true="probability", y_pred="probability or logit", event="joint")
def kl_divergence(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the predicted distribution from the true one.

    Formula: `sum(y_true * log(y_true / y_pred))` over the last axis, in nats, both clipped to [1e-7, 1].

    Shapes: distributions `(..., C)` and `(..., C)` to `(...)`.

    Source: S. Kullback and R. A. Leibler, On Information and Sufficiency, 1951.

    >>> round(float(kl_divergence([0.0, 1.0], [0.5, 0.5])), 4)
    0.6931
    """
    y_true = K.clip(y_true, EPSILON, 1.0)
    y_pred = K.clip(y_pred, EPSILON, 1.0)
    return K.sum(y_true * K.log(y_true / y_pred), axis=-1)


@loss(y_true="class index", y_pred="distribution", event="joint")
def categorical_generalized_cross_entropy(y_true: Tensor, y_pred: Tensor, q: float = 0.5) -> Tensor:
    """Between cross-entropy (q towards 0) and mean absolute error (q towards 1): robust to wrong labels.

    Formula: `(1 - y_pred[y_true]^q) / q`. The gradient of a probability of exactly 0 is 0.

    Shapes: class indices `(...)` or `(..., 1)` and probabilities `(..., C)` to `(...)`.

    Args:
        q: how robust, between 0 and 1.

    Raises:
        LabelError: as in `sparse_categorical_crossentropy`.

    Source: Z. Zhang and M. R. Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels, 2018, https://arxiv.org/abs/1805.07836

    >>> float(categorical_generalized_cross_entropy(1, [0.75, 0.25]))
    1.0
    """
    chosen = K.squeeze(K.take_along_axis(y_pred, K.expand_dims(y_true, -1), -1), -1)
    return (1.0 - K.power(chosen, q)) / q


bce = BCE = binary_crossentropy
kld = KLD = kullback_leibler_divergence = kl_divergence


class BinaryCrossentropy(LossFunctionWrapper):
    """Class form of `binary_crossentropy`."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalCrossentropy(LossFunctionWrapper):
    """Class form of `categorical_crossentropy`."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """Class form of `sparse_categorical_crossentropy`."""

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )


class KLDivergence(LossFunctionWrapper):
    """Class form of `kl_divergence`."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "kl_divergence",
        dtype: Any = None,
    ) -> None:
        super().__init__(kl_divergence, reduction, name, dtype)


class CategoricalGeneralizedCrossEntropy(LossFunctionWrapper):
    """Class form of `categorical_generalized_cross_entropy`."""

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(categorical_generalized_cross_entropy, reduction, name, dtype, q=q)
