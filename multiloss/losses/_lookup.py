"""`losses.get`, `losses.serialize`, `losses.deserialize`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multiloss._lookup import Lookup

lookup = Lookup(
    kind="loss",
    package="multiloss.losses",
    keras_package="keras.losses",
    keras_classes=frozenset(
        {
            *(
                "BinaryCrossentropy",
                "BinaryFocalCrossentropy",
                "CategoricalCrossentropy",
                "CategoricalFocalCrossentropy",
            ),
            *(
                "CTC",
                "CategoricalHinge",
                "Circle",
                "CosineSimilarity",
                "Hinge",
                "Huber",
                "KLDivergence",
                "LogCosh",
                "Loss",
            ),
            *("LossFunctionWrapper", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError"),
            *("MeanSquaredLogarithmicError", "Poisson", "SparseCategoricalCrossentropy", "SquaredHinge"),
        }
    ),
)


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the loss that `identifier` stands for.

    The name of a function gives the function, the name of a class an instance with its defaults; a config gives what
    it describes, a class an instance; a callable and None are returned as they are.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for anything else.

    >>> get("mse").__name__
    'mean_squared_error'
    >>> get("Huber")
    Huber(name='huber_loss', reduction='sum_over_batch_size', delta=1.0)
    """
    return lookup.get(identifier, custom_objects)


def serialize(loss: Any) -> dict[str, Any]:
    """Return a JSON-able config of a loss function or instance, which Keras 3 can load where it has that loss.

    Raises:
        ArgumentError: for an object without a name or a config.

    >>> serialize(get("mse"))["config"]
    'mean_squared_error'
    """
    return lookup.serialize(loss)


def deserialize(name: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Return the loss that a name or config (ours, Keras 2's or Keras 3's) describes.

    Raises:
        UnknownNameError: for a name that is not known, with near matches.
        ArgumentError: for a mapping that is no config.

    >>> deserialize(serialize(get("Huber"))) is not None
    True
    """
    return lookup.deserialize(name, custom_objects)


def own_config(loss: Any) -> dict[str, Any]:
    """Return the config of a loss under our own name for it: Keras, which reads it inside of ours, would make its own loss."""
    config = lookup.serialize(loss)
    if config["module"] == lookup.keras_package:
        name = config["class_name"]
        config |= {"module": lookup.package, "registered_name": f"{lookup.package}>{name}"}
    return config
