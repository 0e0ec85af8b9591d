"""Configs of objectives: plain JSON-able values, with custom functions and classes by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from multiloss import constraints, losses, metrics, regularizers
from multiloss.objective._resolve import CrossentropyByShapes

_SERIALIZERS: Mapping[str, Callable[[Any], Any]] = {
    "loss": lambda loss: "crossentropy" if isinstance(loss, CrossentropyByShapes) else losses.serialize(loss),
    "metrics": metrics.serialize,
    "weighted_metrics": metrics.serialize,
    "regularizers": regularizers.serialize,
    "constraints": constraints.serialize,
}
_DESERIALIZERS: Mapping[str, Callable[..., Any]] = {
    "loss": losses.deserialize,
    "metrics": metrics.deserialize,
    "weighted_metrics": metrics.deserialize,
    "regularizers": regularizers.deserialize,
    "constraints": constraints.deserialize,
}


def write(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an objective as JSON-able values. Strings, numbers and configs stay what they are."""

    def plain(given: Any, serialize: Callable[[Any], Any] | None) -> Any:
        if isinstance(given, dict):
            return given if "class_name" in given else {name: plain(each, serialize) for name, each in given.items()}
        if isinstance(given, (list, tuple)):
            return [plain(each, serialize) for each in given]
        if serialize is None or given is None or isinstance(given, str):
            return given
        return serialize(given() if isinstance(given, type) else given)

    return {key: plain(given, _SERIALIZERS.get(key)) for key, given in settings.items()}


def read(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings that `write` wrote; names of custom objects are looked up in `custom_objects`.

    Raises:
        UnknownNameError: for a name that is not known.
    """
    custom = custom_objects or {}

    def alive(given: Any, deserialize: Callable[..., Any] | None) -> Any:
        if isinstance(given, list):
            return [alive(each, deserialize) for each in given]
        if isinstance(given, dict) and "class_name" not in given:
            return {name: alive(each, deserialize) for name, each in given.items()}
        # Other strings keep the name that they are shown under, and stay what they are.
        if deserialize is not None and (isinstance(given, dict) or (isinstance(given, str) and given in custom)):
            return deserialize(given, custom)
        return given

    return {key: alive(given, _DESERIALIZERS.get(key)) for key, given in config.items()}
