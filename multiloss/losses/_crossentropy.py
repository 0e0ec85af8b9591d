"""Cross-entropies and divergences between distributions."""

from __future__ import annotations

from typing import Any

from multiloss._typing import PerClass, Tensor
from multiloss.dispatch import K
from multiloss.interface import EPSILON
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._classes import (
    mean_of_elements,
    smooth_chosen,
    smooth_one_hot,
    smooth_yes_or_no,
    weigh,
    weigh_chosen,
    weighted_elements,
)
from multiloss.losses._softmax import of_logits, softmax_crossentropy
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
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    *,
    class_weight: PerClass = None,
    pos_weight: PerClass = None,
    ignore_class: int | None = None,
) -> Tensor:
    """Cross-entropy of independent yes-or-no labels: the first choice for binary and multi-label classification.

    Formula: `mean(-y_true * log(p) - (1 - y_true) * log(1 - p))` over `axis`, in nats. `p` is `y_pred` clipped to
    [1e-7, 1 - 1e-7], or `sigmoid(y_pred)` with `from_logits`, which never leaves log space and keeps its gradient.

    Shapes: labels in [0, 1] `(..., D)` and predictions `(..., D)` to `(...)`.

    Args:
        from_logits: whether `y_pred` are logits, not probabilities.
        label_smoothing: `a` in [0, 1]; labels become `y_true * (1 - a) + a / 2`.
        axis: the one that is averaged.
        class_weight: the weights `w0` and `w1` of labels 0 and 1, as {0: w0, 1: w1}, a pair or a tensor: each element
            is multiplied by `y_true * w1 + (1 - y_true) * w0`, by its label before smoothing. With weight 0 it reaches
            nothing.
        pos_weight: what `-y_true * log(p)` is multiplied by: a number, or one for each entry of the last axis, as a
            sequence or tensor. Above 1 it favours recall. Unlike `class_weight` it changes no denominator.
        ignore_class: a label that does not count, such as -1: its element's value and gradient are 0, and means do not
            divide by it; a sample without any other does not count either.

    Raises:
        ArgumentError: for another number of weights than there is use for.

    >>> round(float(binary_crossentropy([0.0, 1.0], [0.5, 0.5])), 4)
    0.6931
    >>> round(float(binary_crossentropy([0.0, 1.0, -1.0], [0.5, 0.5, 0.9], pos_weight=3.0, ignore_class=-1)), 4)
    1.3863
    """
    if class_weight is None and pos_weight is None and ignore_class is None:  # most calls, and the shortest way
        return K.mean(K.binary_crossentropy(smooth_yes_or_no(y_true, label_smoothing), y_pred, from_logits), axis)
    return mean_of_elements(
        lambda target, output, positive: weighted_elements(target, output, from_logits, positive),
        *(y_true, y_pred, label_smoothing, axis, class_weight, pos_weight, ignore_class),
    )


@loss(y_true="one-hot", y_pred="distribution or logits", event="joint", weighed=softmax_crossentropy)
def categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    *,
    class_weight: PerClass = None,
    ignore_class: int | None = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    overwrite_logits: bool = False,
) -> Tensor:
    """Cross-entropy of one-hot or soft labels: the first choice for single-label classification with one-hot labels.

    Formula: `-sum(class_weight * y_true * log(q))` over `axis` (the classes), in nats. `q` is `y_pred` divided by its sum
    and clipped to [1e-7, 1 - 1e-7], or `softmax(y_pred)` with `from_logits`, which never leaves log space.

    Shapes: labels `(..., C)` and predictions `(..., C)` to `(...)`, or with the classes on another `axis`.

    Args:
        from_logits: whether `y_pred` are logits, not probabilities.
        label_smoothing: `a` in [0, 1]; labels become `y_true * (1 - a) + a / C`.
        axis: the one that holds the classes.
        class_weight: a weight for each class: a dict of all classes, a sequence or a tensor. The reduction
            `"mean_with_sample_weight"` divides by the weights of the labels before smoothing, as torch does for class
            indices; the others divide as without. A sample whose classes all have weight 0 reaches nothing, unless its
            labels are smoothed.
        ignore_class: a class whose samples do not count: value and gradient are 0, and means do not divide by them. A
            sample is of the class that has more than half of its label.
        z_loss: times the square of `log(sum(exp(y_pred)))`, it is added to each sample before its weight: keeps logits
            from drifting. Usual: 1e-4. Needs `from_logits`, as do the next two.
        softcap: logits `z` become `softcap * tanh(z / softcap)`.
        overwrite_logits: a permission to write the gradient where the logits are, which saves their size in memory. JAX,
            and anything that still needs the logits, makes no use of it.

    Raises:
        ArgumentError: for another number of weights than classes; for an `ignore_class` that is none of them; for an option
            of logits without `from_logits`.

    >>> round(float(categorical_crossentropy([0.0, 1.0], [0.5, 0.5])), 4)
    0.6931
    >>> round(float(categorical_crossentropy([0.0, 1.0], [0.5, 0.5], class_weight={0: 1.0, 1: 3.0})), 4)
    2.0794
    """
    del ignore_class  # acts at the boundary, before the formula
    options = of_logits(from_logits, label_smoothing, class_weight, z_loss, softcap, overwrite_logits)
    if options:
        return softmax_crossentropy(y_true, y_pred, axis=axis, **options)
    if label_smoothing or class_weight is not None:
        y_true = weigh(smooth_one_hot(y_true, label_smoothing, axis), class_weight, axis)
    return K.categorical_crossentropy(y_true, y_pred, from_logits, axis)


@loss(y_true="class index", y_pred="distribution or logits", event="joint", weighed=softmax_crossentropy)
def sparse_categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    *,
    label_smoothing: float = 0.0,
    class_weight: PerClass = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    overwrite_logits: bool = False,
) -> Tensor:
    """Cross-entropy of integer labels: `categorical_crossentropy` without the memory of one-hot labels.

    Formula: `-class_weight[y_true] * log(q[y_true])`, in nats, with `q` as in `categorical_crossentropy`; with smoothed
    labels `(1 - a)` times that and `-a / C * sum(class_weight * log(q))`.

    Shapes: class indices `(...)` or `(..., 1)` and predictions `(..., C)` to `(...)`, or with the classes on another `axis`.

    Args:
        from_logits: whether `y_pred` are logits, not probabilities.
        ignore_class: a label that does not count, such as 255 or -100: its value and gradient are 0, and means do not
            divide by it.
        axis: the one that holds the classes.
        label_smoothing: `a` in [0, 1]; the label keeps `1 - a`, and each of the C classes gets `a / C`.
        class_weight, z_loss, softcap, overwrite_logits: as in `categorical_crossentropy`.

    Raises:
        LabelError: for a label outside [0, C) where values can be looked at; on accelerators and inside a trace that
            row is nan instead.
        ArgumentError: for another number of weights than classes; for an option of logits without `from_logits`.

    >>> round(float(sparse_categorical_crossentropy(1, [0.5, 0.5])), 4)
    0.6931
    """
    del ignore_class  # acts at the boundary, before the formula
    options = of_logits(from_logits, label_smoothing, class_weight, z_loss, softcap, overwrite_logits)
    if options:
        return softmax_crossentropy(y_true, y_pred, axis=axis, **options)
    if not label_smoothing:
        values = K.sparse_categorical_crossentropy(y_true, y_pred, from_logits, axis)
        return weigh_chosen(values, y_true, y_pred, class_weight, axis)
    log_q = K.log(K.normalized_probabilities(y_pred, axis))
    return smooth_chosen(weigh(-log_q, class_weight, axis), y_true, label_smoothing, axis)


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
def categorical_generalized_cross_entropy(
    y_true: Tensor,
    y_pred: Tensor,
    q: float = 0.5,
    *,
    ignore_class: int | None = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
    class_weight: PerClass = None,
) -> Tensor:
    """Between cross-entropy (q towards 0) and mean absolute error (q towards 1): robust to wrong labels.

    Formula: `(1 - y_pred[y_true]^q) / q`. The gradient of a probability of exactly 0 is 0.

    Shapes: class indices `(...)` or `(..., 1)` and probabilities `(..., C)` to `(...)`, or with the classes on another `axis`.

    Args:
        q: how robust, between 0 and 1.
        ignore_class, axis, label_smoothing, class_weight: as in `sparse_categorical_crossentropy`.

    Raises:
        LabelError, ArgumentError: as in `sparse_categorical_crossentropy`.

    Source: Z. Zhang and M. R. Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels, 2018, https://arxiv.org/abs/1805.07836

    >>> float(categorical_generalized_cross_entropy(1, [0.75, 0.25]))
    1.0
    """
    del ignore_class  # acts at the boundary, before the formula
    if label_smoothing:
        values = weigh((1.0 - K.power(y_pred, q)) / q, class_weight, axis)
        return smooth_chosen(values, y_true, label_smoothing, axis)
    chosen = K.squeeze(K.take_along_axis(y_pred, K.expand_dims(y_true, axis), axis), axis)
    return weigh_chosen((1.0 - K.power(chosen, q)) / q, y_true, y_pred, class_weight, axis)


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
        *,
        class_weight: PerClass = None,
        pos_weight: PerClass = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
            class_weight=class_weight,
            pos_weight=pos_weight,
            ignore_class=ignore_class,
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
        *,
        class_weight: PerClass = None,
        ignore_class: int | None = None,
        z_loss: float = 0.0,
        softcap: float | None = None,
        overwrite_logits: bool = False,
    ) -> None:
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
            class_weight=class_weight,
            ignore_class=ignore_class,
            z_loss=z_loss,
            softcap=softcap,
            overwrite_logits=overwrite_logits,
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
        *,
        label_smoothing: float = 0.0,
        class_weight: PerClass = None,
        z_loss: float = 0.0,
        softcap: float | None = None,
        overwrite_logits: bool = False,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
            label_smoothing=label_smoothing,
            class_weight=class_weight,
            z_loss=z_loss,
            softcap=softcap,
            overwrite_logits=overwrite_logits,
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
        *,
        ignore_class: int | None = None,
        axis: int = -1,
        label_smoothing: float = 0.0,
        class_weight: PerClass = None,
    ) -> None:
        super().__init__(
            categorical_generalized_cross_entropy,
            reduction,
            name,
            dtype,
            q=q,
            ignore_class=ignore_class,
            axis=axis,
            label_smoothing=label_smoothing,
            class_weight=class_weight,
        )
