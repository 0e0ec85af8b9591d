"""`metrics.get`, `metrics.serialize`, `metrics.deserialize`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multiloss import losses
from multiloss._lookup import Lookup
from multiloss.losses._base import Loss, snake_case
from multiloss.metrics._means import MeanMetricWrapper


class MetricLookup(Lookup):
    """A look-up table in which the name of a function gives an instance of its class, as in Keras."""

    def find(self, name: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
        found = super().find(name, custom_objects)
        if isinstance(found, type) or (custom_objects and name in custom_objects):
            return found
        return self.classes().get(found.__name__, found)

    def classes(self) -> dict[str, Any]:
        """Return the metric classes by the names of their functions."""
        return {snake_case(name): cls for name, cls in super().table().items() if isinstance(cls, type)} | {
            "log_cosh": super().table()["LogCoshError"]
        }

    def table(self) -> dict[str, Any]:
        return super().table() | self.classes()

    def deserialize(self, config: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        if isinstance(config, str):
            found = super().deserialize(config, custom_objects)
            ours = not (custom_objects and config in custom_objects)
            # A function without a class of its own, such as cosine_proximity, is averaged.
            return MeanMetricWrapper(found, found.__name__) if ours and hasattr(found, "__multiloss__") else found
        name = config.get("class_name")
        if name == "function":
            return super().find(str(config.get("config")), custom_objects)
        if str(config.get("module")).endswith("losses"):
            return losses.deserialize(config, custom_objects)
        return super().deserialize(config, custom_objects)

    def serialize(self, obj: Any) -> dict[str, Any]:
        return losses.serialize(obj) if isinstance(obj, Loss) else super().serialize(obj)


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
        }
    ),
    functions_first=False,
)


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the metric that `identifier` stands for.

    A name gives a new instance, also if it is the name of a function; a config gives what it describes, a class an
    instance; a callable and None are returned as they are.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for anything else.

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


def deserialize(name: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the metric that a name or config (ours, Keras 2's or Keras 3's) describes.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for a mapping that is no config.

    >>> deserialize(serialize(get("mse")))
    MeanSquaredError(name='mean_squared_error')
    """
    return lookup.deserialize(name, custom_objects)
