"""`metrics.get`, `metrics.serialize`, `metrics.deserialize`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multiloss import losses
from multiloss._errors import ArgumentError
from multiloss._lookup import Lookup
from multiloss._names import snake_case
from multiloss.losses._base import Loss
from multiloss.metrics._base import Metric
from multiloss.metrics._losses import cosine_proximity
from multiloss.metrics._means import MeanMetricWrapper


class MetricLookup(Lookup):
    """A look-up table in which a name gives an instance, also if it is the name of a function, as in Keras."""

    def classes(self) -> dict[str, Any]:
        """Return the metric classes by the names that their functions have, or would have."""
        exported = super().table()
        named = {snake_case(name): value for name, value in exported.items() if isinstance(value, type)}
        return named | {"log_cosh": exported["LogCoshError"]}

    def table(self) -> dict[str, Any]:
        return self.classes() | super().table()

    def deserialize(self, config: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        if not isinstance(config, str):
            ours = not str(config.get("module")).endswith("losses")
            return super().deserialize(config, custom_objects) if ours else losses.deserialize(config, custom_objects)
        found = self.find(config, custom_objects)
        if isinstance(found, type):
            self._check_no_arguments(config, found)
            found = found()
        if isinstance(found, Metric) or (custom_objects and config in custom_objects):
            return found
        cls = self.classes().get(found.__name__)
        return cls() if cls is not None else MeanMetricWrapper(found, found.__name__)

    def _check_no_arguments(self, name: str, cls: type) -> None:
        import inspect  # importing it costs a quarter of importing multiloss

        needed = [
            each.name
            for each in inspect.signature(cls).parameters.values()
            if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
        ]
        if needed:
            raise ArgumentError(
                f"The metric {name!r} needs arguments, and a name has none. Pass {cls.__name__}"
                f"({', '.join(f'{each}=...' for each in needed)}) in its place."
            )

    def serialize(self, obj: Any) -> dict[str, Any]:
        if isinstance(obj, Loss):
            return losses.serialize(obj)
        if obj is losses.cosine_similarity:  # the metric of that name has the other sign
            return super().serialize(cosine_proximity)
        return super().serialize(obj)


lookup = MetricLookup(
    kind="metric",
    package="multiloss.metrics",
    keras_package="keras.metrics",
    keras_classes=frozenset(
        {
            *("AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy"),
            *("CategoricalCrossentropy", "CategoricalHinge", "CosineSimilarity", "Hinge", "KLDivergence"),
            *("LogCoshError", "Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanMetricWrapper"),
            *("MeanSquaredError", "MeanSquaredLogarithmicError", "Metric", "Poisson", "RootMeanSquaredError"),
            *("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy"),
            *("SquaredHinge", "Sum", "TopKCategoricalAccuracy"),
            *("FalseNegatives", "FalsePositives", "Precision", "PrecisionAtRecall", "Recall", "RecallAtPrecision"),
            *("SensitivityAtSpecificity", "SpecificityAtSensitivity", "TrueNegatives", "TruePositives"),
            *("BinaryIoU", "F1Score", "FBetaScore", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"),
            *("ConcordanceCorrelation", "PearsonCorrelation", "R2Score"),
        }
    ),
    functions_first=False,
    aliases={
        "binary_iou": "BinaryIoU",
        "fbeta_score": "FBetaScore",
        "iou": "IoU",
        "mean_iou": "MeanIoU",
        "one_hot_iou": "OneHotIoU",
        "one_hot_mean_iou": "OneHotMeanIoU",
        "rmse": "RootMeanSquaredError",
    },
)


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the metric that `identifier` stands for.

    A name gives a new instance, also if it is the name of a function; a config gives what it describes, a class an
    instance; a callable and None are returned as they are.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for the name of a class that needs arguments, and for anything else.

    >>> get("mse")
    MeanSquaredError(name='mean_squared_error')
    >>> get("AUC").name
    'auc'
    """
    return lookup.get(identifier, custom_objects)


def serialize(metric: Any) -> dict[str, Any]:
    """Return a JSON-able config of a metric function or instance, which Keras 3 can load where it has that metric.

    Raises:
        ArgumentError: for an object without a name or a config.

    >>> serialize(get("mse"))["class_name"]
    'MeanSquaredError'
    """
    return lookup.serialize(metric)


def deserialize(config: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the metric that a name or config (ours, Keras 2's or Keras 3's) describes.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for a mapping that is no config.

    >>> deserialize(serialize(get("mse")))
    MeanSquaredError(name='mean_squared_error')
    """
    return lookup.deserialize(config, custom_objects)
