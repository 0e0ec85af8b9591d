"""Losses and metrics by name: which function, class and aliases belong together, and what their docstrings say."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from multiloss import losses, metrics
from multiloss._errors import unknown_name
from multiloss._names import snake_case


@dataclass
class Entry:
    """A loss or a metric: its function, its class, or both."""

    kind: str
    """`"loss"` or `"metric"`."""
    function: Callable[..., Any] | None = None
    cls: type | None = None
    aliases: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the function, or else of the class."""
        main = self.function or self.cls
        assert main is not None
        return str(main.__name__)

    @property
    def class_name(self) -> str:
        """The name of the class, or nothing."""
        return "" if self.cls is None else self.cls.__name__

    @property
    def names(self) -> set[str]:
        """All names that it can be asked for by."""
        return {self.name, *self.aliases} | ({self.class_name} if self.cls else set())


def entries(module: ModuleType, kind: str) -> list[Entry]:
    """Return what a package exports, each thing once, in the order of the names."""
    found: dict[str, Entry] = {}
    for name in module.__all__:
        exported = getattr(module, name)
        if name in ("get", "serialize", "deserialize") or not callable(exported):
            continue
        is_class = isinstance(exported, type)
        # MeanSquaredError and mean_squared_error are one thing.
        key = snake_case(exported.__name__) if is_class else exported.__name__
        entry = found.setdefault(key, Entry(kind))
        if is_class:
            entry.cls = exported
        else:
            entry.function = exported
        if name != exported.__name__:
            entry.aliases.append(name)
    return sorted(found.values(), key=lambda entry: entry.name.casefold())


def all_losses() -> list[Entry]:
    """Return every loss."""
    return entries(losses, "loss")


def all_metrics() -> list[Entry]:
    """Return every metric."""
    return entries(metrics, "metric")


def find(name: str) -> list[Entry]:
    """Return the loss and the metric of that name, or the one there is.

    Raises:
        UnknownNameError: with near matches, if there is neither.
    """
    known = [*all_losses(), *all_metrics()]
    found = [entry for entry in known if name in entry.names]
    if not found:
        raise unknown_name("loss or metric", name, {each for entry in known for each in entry.names})
    return found


# ── Docstrings ──────────────────────────────────────────────────────────────────────────────────────────────────

_SECTION = re.compile(r"(Args|Returns|Raises|Attributes|Yields|Example|Examples):$")


def paragraphs(documented: object) -> list[str]:
    """Return the prose of a docstring, one line per paragraph, without its sections and examples."""
    return [text for text in _blocks(documented) if not _SECTION.match(text.partition("\n")[0])]


def meanings(documented: object) -> dict[str, str]:
    """Return what a docstring says about each parameter, or several, whose names are joined by commas."""
    found: dict[str, str] = {}
    for block in _blocks(documented, join=False):
        heading, _, body = block.partition("\n")
        if heading != "Args:":
            continue
        name = ""
        for line in inspect.cleandoc(body).splitlines():
            if not line.startswith(" "):
                name, _, line = line.partition(":")
                found[name] = ""
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def _blocks(documented: object, join: bool = True) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", inspect.getdoc(documented) or ""):
        heading = block.partition("\n")[0]
        if heading.startswith(">>>"):
            continue
        is_prose = join and not _SECTION.match(heading) and "\n " not in block
        yield " ".join(block.split()) if is_prose else block


def parameters(entry: Entry) -> list[tuple[str, str, str]]:
    """Return name, default and meaning of what can be set, in the class or the function."""
    sources = [entry.function, *(entry.cls.__mro__ if entry.cls else ())]
    texts = [meanings(source) for source in sources if source is not None and source is not object]
    rows: dict[str, tuple[str, str, str]] = {}
    for owner in (entry.function, entry.cls):
        for each in settings(owner):
            default = "required" if each.default is each.empty else repr(each.default)
            rows.setdefault(each.name, (each.name, default, _meaning(each.name, texts)))
    return list(rows.values())


def _meaning(name: str, texts: list[dict[str, str]]) -> str:
    """Return what is said of a parameter alone, else what is said of it together with others."""
    alone = (text[name] for text in texts if name in text)
    together = (about for text in texts for names, about in text.items() if name in names.split(", "))
    return next(itertools.chain(alone, together), "")


def settings(owner: Callable[..., Any] | None) -> list[inspect.Parameter]:
    """Return the parameters of a function or class, but for targets and predictions."""
    if owner is None:
        return []
    return [each for each in inspect.signature(owner).parameters.values() if each.name not in ("y_true", "y_pred")]


def signature(owner: Callable[..., Any], package: str) -> str:
    """Return how it is called, without annotations."""
    shown = [each.replace(annotation=inspect.Parameter.empty) for each in inspect.signature(owner).parameters.values()]
    return f"{package}.{owner.__name__}{inspect.Signature(shown)}"
