"""The goals beside what was measured: reads the results of the benchmarks and writes `results/summary.md`.

python benchmarks/summary.py
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from _timing import RESULTS, write


class Line(NamedTuple):
    """A goal and what was found: at least, or with `most` at most so much."""

    work: str
    peer: str
    goal: float
    found: float | None
    unit: str = "x"
    most: bool = False
    where: str = ""

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        return self.found <= self.goal if self.most else self.found >= self.goal

    def written(self) -> str:
        verdict = {None: "not measured", True: "yes", False: "**no**"}[self.met]
        found = "" if self.found is None else f"{self.found:.2f} {self.unit}{f' ({self.where})' if self.where else ''}"
        return f"| {self.work} | {self.peer} | {'<=' if self.most else '>='} {self.goal:g} {self.unit} | {found} | {verdict} |"


def rows_of(name: str) -> list[dict[str, Any]]:
    path = RESULTS / f"{name}.json"
    return list(json.loads(path.read_text())["rows"]) if path.exists() else []


def mean(ratios: Iterable[float]) -> float | None:
    found = list(ratios)
    return math.exp(sum(map(math.log, found)) / len(found)) if found else None


def extreme(rows: list[dict[str, Any]], key: str, label: str, most: bool) -> tuple[float | None, str]:
    """Return the worst value among rows, and whose it is."""
    found = [row for row in rows if row.get(key) is not None]
    if not found:
        return None, ""
    worst = (max if most else min)(found, key=lambda row: row[key])
    return float(worst[key]), str(worst[label])


def of_losses() -> list[Line]:
    lines: list[Line] = []

    def add(backend: str, work: str, peers: tuple[str, ...], goal: float | None, least: float | None) -> None:
        rows = [row for row in rows_of(f"losses_{backend}") if row["work"] == work and row["peer"] in peers]
        named = " / ".join(peers)
        if goal is not None:
            lines.append(Line(work, named, goal, mean(row["ratio"] for row in rows), "x, geometric mean"))
        if least is not None:
            worst, whose = extreme(rows, "ratio", "loss", most=False)
            lines.append(Line(work, named, least, worst, "x, the least", where=whose))

    add("numpy", "NumPy value", ("formula",), 3.0, 1.2)
    memory, whose = extreme(rows_of("losses_numpy"), "extra_mb", "loss", most=True)
    lines.append(Line("NumPy value, memory beyond the result", "formula: 40 to 200 MB", 8.0, memory, "MB", True, whose))
    add("numpy", "NumPy value", ("keras.losses",), 3.0, None)
    add("numpy", "NumPy mean", ("scikit-learn",), 5.0, None)
    add("numpy", "NumPy value and gradient", ("hand-written",), None, 1.0)
    add("torch", "torch cpu value", ("torch.nn.functional",), 2.0, 1.0)
    binary = [
        row
        for row in rows_of("losses_torch")
        if (row["work"], row["peer"], row["loss"]) == ("torch cpu value", "torch.nn.functional", "binary_crossentropy")
    ]
    lines.append(
        Line("torch cpu value, binary_crossentropy", "torch.nn.functional", 4.0, mean(r["ratio"] for r in binary))
    )
    add("torch", "torch cpu gradient", ("torch.nn.functional",), 1.5, 1.0)
    add("torch", "torch cpu compiled", ("compiled formula",), 0.95, 0.95)
    add("jax", "JAX cpu value", ("eager formula", "optax"), 3.0, 1.0)
    add("jax", "JAX cpu in jit", ("jitted formula",), 0.97, 0.97)
    return lines


def of_calls() -> list[Line]:
    path = RESULTS / "dispatch.json"
    rows, lines = rows_of("dispatch"), []
    for backend, (function, cls) in {"numpy": (2, 5), "torch": (2, 5), "jax": (3, 5)}.items():
        own = [row for row in rows if row["backend"] == backend]
        for key, goal in (("function over", function), ("class over", cls)):
            worst, whose = extreme(own, key, "loss", most=True)
            work = f"{backend}, a call on (32, 10): {key.removesuffix(' over')}"
            lines.append(Line(work, "the native expression", goal, worst, "µs over", True, whose))
        least, whose = extreme(own, "cheaper than keras", "loss", most=False)
        lines.append(
            Line(f"{backend}, a call of a class", "Keras' class", 8, least, "x cheaper, the least", where=whose)
        )
    found = json.loads(path.read_text())["import_ms"] if path.exists() else None
    return [*lines, Line("import multiloss", "the interpreter", 30, found, "ms beyond", True)]


def of_metrics() -> list[Line]:
    lines = []
    for peer, goal in (("torchmetrics", 0.5), ("keras", 0.15)):
        for backend in ("numpy", "torch", "jax"):
            rows = [
                {"metric": row["metric"], "share": row["times"]["multiloss"] / row["times"][peer]}
                for row in rows_of("metrics")
                if row["backend"] == backend and peer in row["times"]
            ]
            if peer == "keras" or backend == "torch":
                worst, whose = extreme(rows, "share", "metric", most=True)
                work = f"{backend}, a metric's update with 256 samples"
                lines.append(Line(work, peer, goal, worst, "of its time, the most", True, whose))
    return lines


def of_scikit_learn() -> list[Line]:
    rows = [row for row in rows_of("sklearn") if row["goal"] is not None and row["samples"] >= 100_000]
    return [
        Line(f"{row['function']}, {row['samples']:,} samples", "scikit-learn", row["goal"], row["times as fast"])
        for row in rows
    ]


def of_sizes() -> list[Line]:
    path = RESULTS / "scaling.json"
    if not path.exists():
        return []
    data = json.loads(path.read_text())
    lines = []
    for backend in ("numpy", "torch", "jax"):
        rows = [{"loss": loss, "growth": each[backend]} for loss, each in data["growth"].items() if backend in each]
        worst, whose = extreme(rows, "growth", "loss", most=True)
        work = f"{backend}, an element among 1e8"
        lines.append(Line(work, "the same among 1e6", data["limit"], worst, "x the time, the most", True, whose))
    return lines


def main() -> None:
    lines = [*of_losses(), *of_calls(), *of_metrics(), *of_scikit_learn(), *of_sizes()]
    abouts = {
        path.stem: json.loads(path.read_text()).get("environment", {})
        for path in sorted(RESULTS.glob("*.json"))
        if path.stem != "summary"
    }
    machines = sorted({each["machine"] for each in abouts.values() if "machine" in each})
    report = [
        "# Goals, and what was measured",
        "",
        f"On {'; '.join(machines)}. Versions and commands are in the report that each line comes from, beside this one; why "
        "a goal is missed, and what was tried, is in `benchmarks/README.md`.",
        "",
        "| work | peer | goal | measured | met |",
        "|---|---|---|---|---|",
        *(line.written() for line in lines),
        "",
        f"{sum(line.met is True for line in lines)} of {len(lines)} met, "
        f"{sum(line.met is False for line in lines)} missed, {sum(line.met is None for line in lines)} not measured.",
        "",
    ]
    rows = [line._asdict() | {"met": line.met} for line in lines]
    commands = {name: about["command"] for name, about in abouts.items() if "command" in about}
    write("summary", "\n".join(report), {"machines": machines, "commands": commands, "rows": rows})


if __name__ == "__main__":
    main()
