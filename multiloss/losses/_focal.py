"""Cross-entropies that focus on the hard samples.

Source: T.-Y. Lin et al., Focal Loss for Dense Object Detection, 2017, https://arxiv.org/abs/1708.02002
"""

from __future__ import annotations

from typing import Any

from multiloss._typing import PerClass, Tensor
from multiloss.dispatch import K
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._classes import (
    along,
    as_vector,
    mean_of_elements,
    of_labels,
    smooth_chosen,
    smooth_one_hot,
    weigh,
    weigh_chosen,
    weighted_elements,
)
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
    *,
    class_weight: PerClass = None,
    pos_weight: PerClass = None,
    ignore_class: int | None = None,
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
        from_logits, label_smoothing, axis, class_weight, pos_weight, ignore_class: as in `binary_crossentropy`.

    Raises:
        ArgumentError: as in `binary_crossentropy`.

    >>> round(float(binary_focal_crossentropy([0.0, 1.0], [0.5, 0.5])), 4)
    0.1733
    """

    def element(target: Tensor, output: Tensor, positive: Tensor) -> Tensor:
        p = K.sigmoid(output) if from_logits else output
        # 1 - sigmoid(z) is sigmoid(-z), which keeps its precision where sigmoid(z) rounds to 1.
        q = K.sigmoid(-output) if from_logits else 1.0 - output
        missed = target * q + (1.0 - target) * p
        nats = weighted_elements(target, output, from_logits, positive)
        value = (_discount(missed, gamma, nats) if from_logits else K.power(missed, gamma)) * nats
        return value * (target * alpha + (1.0 - target) * (1.0 - alpha)) if apply_class_balancing else value

    return mean_of_elements(element, y_true, y_pred, label_smoothing, axis, class_weight, pos_weight, ignore_class)


@loss(y_true="one-hot", y_pred="distribution or logits", event="joint")
def categorical_focal_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: PerClass = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    *,
    class_weight: PerClass = None,
    ignore_class: int | None = None,
) -> Tensor:
    """Categorical cross-entropy in which easy samples count less.

    Formula: `sum(alpha * (1 - q)^gamma * (-y_true * log(q)))` over `axis`, with `q` as in `categorical_crossentropy`.

    Shapes: labels `(..., C)` and predictions `(..., C)` to `(...)`, or with the classes on another `axis`.

    Args:
        alpha: a factor for all classes, or one per class, as a sequence or a tensor. It enters no denominator.
        gamma: how strongly easy samples are discounted, at least 0.
        from_logits, label_smoothing, axis, class_weight, ignore_class: as in `categorical_crossentropy`.

    Raises:
        ArgumentError: if `alpha` is a list and has not one entry per class; and as in `categorical_crossentropy`.

    >>> round(float(categorical_focal_crossentropy([0.0, 1.0], [0.5, 0.5])), 4)
    0.0433
    """
    del ignore_class  # acts at the boundary, before the formula
    target = weigh(smooth_one_hot(y_true, label_smoothing, axis), class_weight, axis)
    missed, nats = _missed_and_nats(y_pred, from_logits, axis)
    value = _discount(missed, gamma, nats) * K.multiply_no_nan(target, nats)
    return K.sum(factors(alpha, y_pred, axis) * value, axis)


def _discount(missed: Tensor, gamma: float, nats: Tensor) -> Tensor:
    """Return `missed^gamma`. Of infinite nats, at a logit of -inf, it does not change: its slope is 0, not 0 times infinity."""
    power = K.power(missed, gamma)
    return K.where(K.isfinite(nats), power, K.stop_gradient(power))


def _missed_and_nats(y_pred: Tensor, from_logits: bool, axis: int) -> tuple[Tensor, Tensor]:
    """Return `1 - q` and `-log(q)` of each class."""
    if from_logits:
        log_q = K.log_softmax(y_pred, axis)
        return -K.expm1(log_q), -log_q
    q = K.normalized_probabilities(y_pred, axis)
    return 1.0 - q, -K.log(q)


@loss(y_true="class index", y_pred="distribution or logits", event="joint")
def sparse_categorical_focal_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: PerClass = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    *,
    label_smoothing: float = 0.0,
    class_weight: PerClass = None,
) -> Tensor:
    """`categorical_focal_crossentropy` of integer labels, without the memory of one-hot labels.

    Formula: `alpha * (1 - q[y_true])^gamma * (-log(q[y_true]))`, with `q` as in `categorical_crossentropy`.

    Shapes: class indices `(...)` or `(..., 1)` and predictions `(..., C)` to `(...)`, or with the classes on another `axis`.

    Args:
        alpha: a factor for all classes, or one per class, as a sequence or a tensor. It enters no denominator.
        gamma: how strongly easy samples are discounted, at least 0.
        from_logits, ignore_class, axis, label_smoothing, class_weight: as in `sparse_categorical_crossentropy`.

    Raises:
        LabelError: as in `sparse_categorical_crossentropy`.
        ArgumentError: if `alpha` is a list and has not one entry per class.

    >>> round(float(sparse_categorical_focal_crossentropy(1, [0.5, 0.5])), 4)
    0.0433
    """
    del ignore_class  # acts at the boundary, before the formula
    if label_smoothing:
        missed, nats = _missed_and_nats(y_pred, from_logits, axis)
        values = factors(alpha, y_pred, axis) * (_discount(missed, gamma, nats) * nats)
        return smooth_chosen(weigh(values, class_weight, axis), y_true, label_smoothing, axis)
    nats = K.sparse_categorical_crossentropy(y_true, y_pred, from_logits, axis)
    value = weigh_chosen(_discount(-K.expm1(-nats), gamma, nats) * nats, y_true, y_pred, class_weight, axis)
    if isinstance(alpha, float | int):
        return alpha * value
    return value * of_labels(as_vector(alpha, y_pred.shape[axis], "alpha", y_pred), y_true)


def factors(alpha: PerClass, y_pred: Tensor, axis: int) -> Tensor:
    """Return `alpha` shaped so that one entry per class meets the class axis."""
    if isinstance(alpha, float | int):
        return alpha
    return along(as_vector(alpha, y_pred.shape[axis], "alpha", y_pred), axis, y_pred.ndim)


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
        *,
        class_weight: PerClass = None,
        pos_weight: PerClass = None,
        ignore_class: int | None = None,
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
            class_weight=class_weight,
            pos_weight=pos_weight,
            ignore_class=ignore_class,
        )


class CategoricalFocalCrossentropy(LossFunctionWrapper):
    """Class form of `categorical_focal_crossentropy`."""

    def __init__(
        self,
        alpha: PerClass = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: Any = None,
        *,
        class_weight: PerClass = None,
        ignore_class: int | None = None,
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
            class_weight=class_weight,
            ignore_class=ignore_class,
        )


class SparseCategoricalFocalCrossentropy(LossFunctionWrapper):
    """Class form of `sparse_categorical_focal_crossentropy`."""

    def __init__(
        self,
        alpha: PerClass = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "sparse_categorical_focal_crossentropy",
        dtype: Any = None,
        *,
        label_smoothing: float = 0.0,
        class_weight: PerClass = None,
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
            label_smoothing=label_smoothing,
            class_weight=class_weight,
        )
