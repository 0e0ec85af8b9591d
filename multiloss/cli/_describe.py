"""What `multiloss list`, `multiloss show` and `multiloss backends` print."""

from __future__ import annotations

import importlib.util

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from multiloss import _registry
from multiloss.cli import _words
from multiloss.cli._catalogue import Entry, all_losses, all_metrics, find, paragraphs, parameters, signature
from multiloss.losses._spec import spec_of

_PACKAGES = {"loss": "losses", "metric": "metrics"}


# ── list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def tables() -> list[Table]:
    """Return one table of the losses and one of the metrics."""
    return [_names("Losses", all_losses()), _names("Metrics", all_metrics())]


def _names(title: str, entries: list[Entry]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("class and aliases")
    for entry in entries:
        others = [entry.class_name] if entry.function and entry.cls else []
        table.add_row(entry.name, ", ".join([*others, *entry.aliases]))
    return table


# ── show ────────────────────────────────────────────────────────────────────────────────────────────────────────


def pages(name: str) -> list[RenderableType]:
    """Return a page on the loss and one on the metric of that name; one page if they share their formula.

    Raises:
        UnknownNameError: with near matches, if there is neither.
    """
    found = find(name)
    if len(found) == 2 and found[0].function is not None and found[0].function is found[1].function:
        return [_page(found)]
    return [_page([entry]) for entry in found]


def _page(entries: list[Entry]) -> RenderableType:
    """Return a page on one formula, which may be offered as a loss, as a metric or as both."""
    first = entries[0]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    facts.add_row("kind", Text(" and ".join(entry.kind for entry in entries)))
    for entry in entries:
        package = _PACKAGES[entry.kind]
        if entry.function is not None and entry is first:
            facts.add_row("function", Text(signature(entry.function, package)))
        if entry.cls is not None:
            facts.add_row("class", Text(signature(entry.cls, package)))
    aliases = dict.fromkeys(alias for entry in entries for alias in entry.aliases)
    facts.add_row("aliases", Text(", ".join(aliases) or "none"))
    spec = spec_of(first.function)
    if spec is not None:
        facts.add_row("y_true", Text(_words.targets(spec)))
        facts.add_row("y_pred", Text(_words.predictions(spec)))
    return Group(Text(f"\n{first.name}", style="bold"), "", *_prose(first), facts, *_settings(entries), "")


def _prose(entry: Entry) -> list[RenderableType]:
    documented = entry.function or entry.cls
    return [part for text in paragraphs(documented) for part in (Text(text), "")]


def _settings(entries: list[Entry]) -> list[RenderableType]:
    rows: dict[str, tuple[str, str, str]] = {}
    for entry in entries:
        for row in parameters(entry):
            rows.setdefault(row[0], row)
    if not rows:
        return []
    table = Table("parameter", "default", "meaning", box=SIMPLE_HEAD, pad_edge=False)
    for row in rows.values():
        table.add_row(*map(Text, row))
    return [table]


# ── backends ────────────────────────────────────────────────────────────────────────────────────────────────────


def backends() -> RenderableType:
    """Return a table of all backends: installed or not, version, devices, and which one host data goes to.

    A backend that is missing or broken is a row like any other.
    """
    table = Table("backend", "installed", "version", "devices", "active", box=SIMPLE_HEAD, pad_edge=False)
    active, problem = _active()
    for name in dict.fromkeys([*_registry._BUILTIN, *_registry._plugins()]):
        installed, version, devices = _state_of(name)
        table.add_row(name, installed, Text(version), Text(devices), "yes" if name == active else "")
    return Group(table, *([Text(f"No backend is active: {problem}", style="yellow")] if problem else []))


def _active() -> tuple[str | None, str | None]:
    """Return the name of the active backend, or why there is none."""
    try:
        return _registry.active().backend.name, None
    except Exception as error:  # whatever a broken framework raises, the table is still worth showing
        return None, _first_line(error)


def _state_of(name: str) -> tuple[str, str, str]:
    try:
        if importlib.util.find_spec(name) is None:
            return "no", "", _advice(name)
        backend = _registry.load_backend(name)
        return "yes", backend.version(), ", ".join(backend.devices())
    except Exception as error:  # as above
        return "broken", "", _first_line(error)


def _advice(name: str) -> str:
    return f"pip install 'multiloss[{name}]'" if name in _registry._BUILTIN else f"install {name}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
