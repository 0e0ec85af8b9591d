"""Names and configs: `get`, `serialize` and `deserialize` for losses, metrics, regularizers and constraints alike.

A name is whatever the package exports under it, so an alias is an assignment and nothing more. Configs are written in
Keras 3's format, under Keras' module where Keras 3 has the class and ours where it has not; Keras 2's format
(`{"class_name", "config"}`, or a bare name) is read as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from multiloss._errors import ArgumentError, unknown_name


class Lookup(NamedTuple):
    """The look-up table of one package."""

    kind: str
    """What it holds, in messages: `"loss"`."""
    package: str
    """Where the names are exported: `"multiloss.losses"`."""
    keras_package: str
    """Where Keras 3 has them: `"keras.losses"`."""
    keras_classes: frozenset[str]
    """The classes that Keras 3 can load back."""
    functions_first: bool = True
    """Whether a function's name gives the function (losses), or an instance of its class (metrics)."""
    aliases: Mapping[str, str] | None = None
    """Names accepted here without being exported."""

    def table(self) -> dict[str, Any]:
        """Return every accepted name and what it stands for."""
        module = sys.modules[self.package]
        table = {
            name: getattr(module, name) for name in module.__all__ if name not in ("get", "serialize", "deserialize")
        }
        return table | {alias: table[name] for alias, name in (self.aliases or {}).items()}

    def find(self, name: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Return the function or class of that name; custom objects come first.

        Raises:
            UnknownNameError: with near matches, if there is none.
        """
        if custom_objects and name in custom_objects:
            return custom_objects[name]
        table = self.table()
        if name not in table:
            raise unknown_name(self.kind, name, [*table, *(custom_objects or ())])
        return table[name]

    def get(self, identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Return what `identifier` stands for: None, a name, a config, a class or a callable.

        Raises:
            UnknownNameError: for a name that is not known.
            ArgumentError: for anything else.
        """
        if identifier is None:
            return None
        if isinstance(identifier, (str, Mapping)):
            return self.deserialize(identifier, custom_objects)
        if isinstance(identifier, type):
            return identifier()
        if callable(identifier):
            return identifier
        raise ArgumentError(
            f"Could not interpret {self.kind} identifier: {identifier!r}. "
            f"Expected a name, a config dict, a class, a callable or None."
        )

    def deserialize(self, config: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Return what a name or a config written by `serialize`, Keras 2 or Keras 3 describes.

        Raises:
            UnknownNameError: for a name that is not known.
            ArgumentError: for a mapping that is no config.
        """
        if isinstance(config, str):
            found = self.find(config, custom_objects)
            return found() if isinstance(found, type) else found
        name, arguments = config.get("class_name"), config.get("config")
        if not isinstance(name, str):
            raise ArgumentError(
                f"Arrived: a {self.kind} config with the keys {sorted(map(str, config))}. "
                "Expected {'class_name': ..., 'config': ...}, as serialize() writes it."
            )
        if name == "function":
            return self.find(str(arguments), custom_objects)
        registered = config.get("registered_name")
        if custom_objects and registered in custom_objects:
            name = str(registered)
        found = self.find(name, custom_objects)
        if not isinstance(found, type):
            return found
        arguments = {
            key: self._alive(value, custom_objects) if key in ("fn", "parts") else value
            for key, value in (arguments or {}).items()
        }
        rebuild: Callable[[Any], Any] = getattr(found, "from_config", lambda given: found(**given))
        return rebuild(arguments)

    def _alive(self, value: Any, custom_objects: Mapping[str, Any] | None) -> Any:
        """Return what a config inside a config describes: a function by name, or losses in dicts and lists."""
        if isinstance(value, Mapping) and "class_name" not in value:
            return {key: self._alive(each, custom_objects) for key, each in value.items()}
        if isinstance(value, list):
            return [self._alive(each, custom_objects) for each in value]
        return self.deserialize(value, custom_objects) if isinstance(value, (str, Mapping)) else value

    def serialize(self, obj: Any) -> dict[str, Any]:
        """Return a JSON-able config of a function or an instance, in Keras 3's format.

        Raises:
            ArgumentError: for an object without a name or a config.
        """
        if not hasattr(obj, "get_config"):
            name = getattr(obj, "__name__", None)
            if name is None:
                raise ArgumentError(f"Cannot serialize {obj!r}: it has neither get_config() nor a name.")
            return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
        cls = type(obj)
        config = {key: self.serialize(value) if key == "fn" else value for key, value in obj.get_config().items()}
        ours = cls.__module__.startswith(f"{self.package}.") or cls.__module__ == self.package
        module: str = cls.__module__
        registered: str | None = cls.__name__
        if ours and cls.__name__ in self.keras_classes:
            module, registered = self.keras_package, None
        elif ours:  # as multiloss.integrations.keras registers it with Keras
            module, registered = self.package, f"{self.package}>{cls.__name__}"
        return {"module": module, "class_name": cls.__name__, "config": config, "registered_name": registered}
