"""Losses as metrics: the same values per sample, averaged over all batches.

Keras gives loss and metric of one name different arguments; the orders here are Keras' metrics'.
"""

from __future__ import annotations

from typing import Any

from multiloss._typing import PerClass, Tensor
from multiloss.dispatch import K
from multiloss.losses._crossentropy import (
    binary_crossentropy,
    categorical_crossentropy,
    kl_divergence,
    sparse_categorical_crossentropy,
)
from multiloss.losses._hinge import categorical_hinge, hinge, squared_hinge
from multiloss.losses._regression import (
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
)
from multiloss.losses._spec import loss
from multiloss.metrics._means import MeanMetricWrapper, MeanState

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "RootMeanSquaredError",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "cosine",
    "cosine_proximity",
    "cosine_similarity",
]


@loss(y_true="real", y_pred="real", event="joint")
def cosine_similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Cosine of the angle between targets and predictions: 1 for the same direction, -1 for the opposite one.

    Formula: `sum(y_true / |y_true| * y_pred / |y_pred|)` over `axis`. If either vector is zero: 0.

    As a metric it is positive, as a loss negative; so it is in Keras 3. `cosine_proximity` is Keras 2's name, and keeps
    Keras 2's negative sign in both places.

    Shapes: `(..., D)` and `(..., D)` to `(...)`, or with D on another `axis`.

    >>> round(float(cosine_similarity([1.0, 0.0], [1.0, 1.0])), 4)
    0.7071
    """
    return K.cosine(y_true, y_pred, axis)


@loss(y_true="real", y_pred="real", event="joint")
def cosine_proximity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Negative cosine of the angle between targets and predictions: Keras 2's metric; see `cosine_similarity`.

    Formula: `-sum(y_true / |y_true| * y_pred / |y_pred|)` over `axis`. If either vector is zero: 0.

    Shapes: `(..., D)` and `(..., D)` to `(...)`, or with D on another `axis`.

    >>> round(float(cosine_proximity([1.0, 0.0], [1.0, 1.0])), 4)
    -0.7071
    """
    return -K.cosine(y_true, y_pred, axis)


cosine = cosine_proximity


class MeanSquaredError(MeanMetricWrapper):
    """Average of `mean_squared_error`.

    >>> float(MeanSquaredError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]))
    0.25
    """

    def __init__(self, name: str | None = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(mean_squared_error, name, dtype)


class RootMeanSquaredError(MeanMetricWrapper):
    """Square root of the average of `mean_squared_error` over all batches.

    >>> float(RootMeanSquaredError()([[0.0, 0.0]], [[3.0, 3.0]]))
    3.0
    """

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(mean_squared_error, name, dtype)

    def compute(self, state: MeanState, /) -> Tensor:
        return K.sqrt(super().compute(state))


class MeanAbsoluteError(MeanMetricWrapper):
    """Average of `mean_absolute_error`."""

    def __init__(self, name: str | None = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(mean_absolute_error, name, dtype)


class MeanAbsolutePercentageError(MeanMetricWrapper):
    """Average of `mean_absolute_percentage_error`."""

    def __init__(self, name: str | None = "mean_absolute_percentage_error", dtype: Any = None) -> None:
        super().__init__(mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(MeanMetricWrapper):
    """Average of `mean_squared_logarithmic_error`."""

    def __init__(self, name: str | None = "mean_squared_logarithmic_error", dtype: Any = None) -> None:
        super().__init__(mean_squared_logarithmic_error, name, dtype)


class LogCoshError(MeanMetricWrapper):
    """Average of `log_cosh`."""

    def __init__(self, name: str | None = "logcosh", dtype: Any = None) -> None:
        super().__init__(log_cosh, name, dtype)


class Poisson(MeanMetricWrapper):
    """Average of `poisson`."""

    def __init__(self, name: str | None = "poisson", dtype: Any = None) -> None:
        super().__init__(poisson, name, dtype)


class KLDivergence(MeanMetricWrapper):
    """Average of `kl_divergence`."""

    def __init__(self, name: str | None = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(kl_divergence, name, dtype)


class CosineSimilarity(MeanMetricWrapper):
    """Average of `cosine_similarity`, with the positive sign that it has as a metric.

    >>> float(CosineSimilarity()([[0.0, 1.0], [1.0, 0.0]], [[0.0, 2.0], [1.0, 0.0]]))
    1.0
    """

    axis: int

    def __init__(self, name: str | None = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(cosine_similarity, name, dtype, axis=axis)


class Hinge(MeanMetricWrapper):
    """Average of `hinge`."""

    def __init__(self, name: str | None = "hinge", dtype: Any = None) -> None:
        super().__init__(hinge, name, dtype)


class SquaredHinge(MeanMetricWrapper):
    """Average of `squared_hinge`."""

    def __init__(self, name: str | None = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(squared_hinge, name, dtype)


class CategoricalHinge(MeanMetricWrapper):
    """Average of `categorical_hinge`."""

    def __init__(self, name: str | None = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(categorical_hinge, name, dtype)


class BinaryCrossentropy(MeanMetricWrapper):
    """Average of `binary_crossentropy` over the labels that are not ignored, weighted by their classes."""

    from_logits: bool
    label_smoothing: float
    class_weight: PerClass
    pos_weight: PerClass
    ignore_class: int | None

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        class_weight: PerClass = None,
        pos_weight: PerClass = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            binary_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            class_weight=class_weight,
            pos_weight=pos_weight,
            ignore_class=ignore_class,
        )


class CategoricalCrossentropy(MeanMetricWrapper):
    """Average of `categorical_crossentropy` over the labels that are not ignored, weighted by their classes."""

    from_logits: bool
    label_smoothing: float
    axis: int
    class_weight: PerClass
    ignore_class: int | None

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        *,
        class_weight: PerClass = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
            class_weight=class_weight,
            ignore_class=ignore_class,
        )


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """Average of `sparse_categorical_crossentropy` over the labels that are not ignored, weighted by their classes."""

    from_logits: bool
    ignore_class: int | None
    axis: int
    label_smoothing: float
    class_weight: PerClass

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        *,
        label_smoothing: float = 0.0,
        class_weight: PerClass = None,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
            label_smoothing=label_smoothing,
            class_weight=class_weight,
        )
