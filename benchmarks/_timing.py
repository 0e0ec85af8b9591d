"""Timing that noise cannot flatter: candidates take turns, and medians are compared."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def interleaved(
    candidates: Mapping[str, Callable[[], Any]], rounds: int = 40, seconds: float = 0.004
) -> dict[str, float]:
    """Return the median time of a call in microseconds, for each candidate.

    Every round runs each candidate once, for about `seconds`, in an order that rotates.
    """
    counts = {}
    for name, run in candidates.items():
        for _ in range(3):  # what is compiled or cached at the second call must not pass for a slow function
            run()
        count, elapsed = 1, 0.0
        while elapsed < seconds:
            count *= 2
            elapsed = _elapsed(run, count)
        counts[name] = count
    times: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    gc.collect()
    gc.disable()  # as timeit does: what others left behind is not ours to collect
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(_elapsed(candidates[name], counts[name]) / counts[name])
    gc.enable()
    return {name: statistics.median(each) * 1e6 for name, each in times.items()}


def turns(candidates: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median time of a call in milliseconds, for candidates that take so long that one call in a turn will do.

    Each should have been called before, so that nothing is compiled here.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds):
        for name in list(candidates)[:: 1 if turn % 2 else -1]:
            times[name].append(_elapsed(candidates[name], 1) * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


def _elapsed(run: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        run()
    return time.perf_counter() - start


def process_seconds(code: str, rounds: int = 15) -> dict[str, float]:
    """Return the median seconds of an empty Python process and of one that runs `code`, bytecode cached."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {"empty": [], "code": []}
    for turn in range(rounds + 1):
        for name, source in (("empty", "pass"), ("code", code)):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True, env=environment)
            if turn:  # the first round fills the cache
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def environment(*packages: str) -> dict[str, Any]:
    """Return what a reader needs to judge the figures: machine, versions, command."""
    versions = {}
    for package in ("multiloss", *packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": versions,
        "command": " ".join(["python", *sys.argv]),
    }


def _processor() -> str:
    """Return the processor's name where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def written(about: Mapping[str, Any]) -> str:
    """Return what `environment` found, as a sentence of a report."""
    versions = ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    return f"{about['machine']}, Python {about['python']}, {versions}. Command: `{about['command']}`."


def write(name: str, report: str, data: Mapping[str, Any]) -> None:
    """Print the report and write it, with the data, into `benchmarks/results`."""
    print(report)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(report)
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n")
