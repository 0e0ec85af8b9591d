"""Cross-entropies that focus on the hard samples.

Source: T.-Y. Lin et al., Focal Loss for Dense Object Detection, 2017, https://arxiv.org/abs/1708.02002
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multiloss._errors import ArgumentError
from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._crossentropy import smooth_one_hot
from multiloss.losses._spec import loss

__all__ = [
    "BinaryFocalCrossentropy",
    "CategoricalFocalCrossentropy",
    "SparseCategoricalFocalCrossentropy",
    "binary_focal_crossentropy",
    "categorical_focal_crossentropy",
    "sparse_categorical_focal_crossentropy",
]


@loss(y_true="probability", y_pred="probability or logit")
def binary_focal_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Binary cross-entropy in which easy samples count less.

    Formula: `mean(w * (1 - p_t)^gamma * bce)` over `axis`, where `bce` is the elementwise binary cross-entropy,
    `p_t = y_true * p + (1 - y_true) * (1 - p)` is the probability given to the truth, and `w` is 1, or
    `y_true * alpha + (1 - y_true) * (1 - alpha)` with `apply_class_balancing`.

    Shapes: labels in [0, 1] `(..., D)` and predictions `(..., D)` to `(...)`.

    Args:
        apply_class_balancing: whether `alpha` weighs the classes.
        alpha: the weight of class 1; class 0 gets `1 - alpha`.
        gamma: how strongly easy samples are discounted, at least 0; 0 gives the binary cross-entropy.
        from_logits, label_smoothing, axis: as in `binary_crossentropy`.

    >>> round(float(binary_focal_crossentropy([0.0, 1.0], [0.5, 0.5])), 4)
    0.1733
    """
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    p = K.sigmoid(y_pred) if from_logits else y_pred
    # 1 - sigmoid(z) is sigmoid(-z), which keeps its precision where sigmoid(z) rounds to 1.
    q = K.sigmoid(-y_pred) if from_logits else 1.0 - y_pred
    missed = y_true * q + (1.0 - y_true) * p
    value = K.power(missed, gamma) * K.binary_crossentropy(y_true, y_pred, from_logits)
    if apply_class_balancing:
        value = value * (y_true * alpha + (1.0 - y_true) * (1.0 - alpha))
    return K.mean(value, axis)


@loss(y_true="one-hot", y_pred="distribution or logits", event="joint")
def categorical_focal_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Categorical cross-entropy in which easy samples count less.

    Formula: `sum(alpha * (1 - q)^gamma * (-y_true * log(q)))` over `axis`, with `q` as in `categorical_crossentropy`.

    Shapes: labels `(..., C)` and predictions `(..., C)` to `(...)`, or with the classes on another `axis`.

    Args:
        alpha: a factor for all classes, or one per class.
        gamma: how strongly easy samples are discounted, at least 0.
        from_logits, label_smoothing, axis: as in `categorical_crossentropy`.

    Raises:
        ArgumentError: if `alpha` is a list and has not one entry per class.

    >>> round(float(categorical_focal_crossentropy([0.0, 1.0], [0.5, 0.5])), 4)
    0.0433
    """
    y_true = smooth_one_hot(y_true, label_smoothing, axis)
    if from_logits:
        log_q = K.log_softmax(y_pred, axis)
        missed = -K.expm1(log_q)
    else:
        q = K.normalized_probabilities(y_pred, axis)
        log_q, missed = K.log(q), 1.0 - q
    value = K.power(missed, gamma) * K.multiply_no_nan(y_true, -log_q)
    return K.sum(_class_weights(alpha, y_pred, axis) * value, axis)


@loss(y_true="class index", y_pred="distribution or logits", event="joint")
def sparse_categorical_focal_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Tensor:
    """`categorical_focal_crossentropy` of integer labels, without the memory of one-hot labels.

    Formula: `alpha * (1 - q[y_true])^gamma * (-log(q[y_true]))`, with `q` as in `categorical_crossentropy`.

    Shapes: class indices `(...)` or `(..., 1)` and predictions `(..., C)` to `(...)`, or with the classes on another `axis`.

    Args:
        alpha: a factor for all classes, or one per class.
        gamma: how strongly easy samples are discounted, at least 0.
        from_logits, ignore_class, axis: as in `sparse_categorical_crossentropy`.

    Raises:
        LabelError: as in `sparse_categorical_crossentropy`.
        ArgumentError: if `alpha` is a list and has not one entry per class.

    >>> round(float(sparse_categorical_focal_crossentropy(1, [0.5, 0.5])), 4)
    0.0433
    """
    del ignore_class  # acts at the boundary, before the formula
    loss = K.sparse_categorical_crossentropy(y_true, y_pred, from_logits, axis)
    weights = _class_weights(alpha, y_pred, axis)
    if not isinstance(weights, float | int):
        index = K.expand_dims(y_true, axis)
        weights = K.squeeze(K.take_along_axis(K.broadcast_to(weights, y_pred.shape), index, axis), axis)
    return weights * K.power(-K.expm1(-loss), gamma) * loss


def _class_weights(alpha: float | Sequence[float], y_pred: Tensor, axis: int) -> Tensor:
    """Return `alpha` shaped so that one entry per class meets the class axis."""
    if isinstance(alpha, (int, float)):
        return alpha
    classes = y_pred.shape[axis]
    weights = K.cast(K.asarray(alpha, like=y_pred), K.dtype(y_pred))
    if tuple(weights.shape) != (classes,):
        raise ArgumentError(
            f"alpha has shape {tuple(weights.shape)} and y_pred has {classes} classes. Expected a number or {classes} of them."
        )
    shape = [1] * y_pred.ndim
    shape[axis] = classes
    return K.reshape(weights, shape)


class BinaryFocalCrossentropy(LossFunctionWrapper):
    """Class form of `binary_focal_crossentropy`."""

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            binary_focal_crossentropy,
            reduction,
            name,
            dtype,
            apply_class_balancing=apply_class_balancing,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalFocalCrossentropy(LossFunctionWrapper):
    """Class form of `categorical_focal_crossentropy`."""

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_focal_crossentropy,
            reduction,
            name,
            dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalFocalCrossentropy(LossFunctionWrapper):
    """Class form of `sparse_categorical_focal_crossentropy`."""

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "sparse_categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            sparse_categorical_focal_crossentropy,
            reduction,
            name,
            dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )
