"""What a call costs over the bare native expression, on (32, 10) float32, and what importing multiloss costs.

    python benchmarks/bench_dispatch.py                 # each framework in a process of its own, for Keras reads it once

The native expression is what a user of that framework would write for the same numbers: for the function it returns one
value per sample, for the class it goes on to the mean. JAX's native expression is jitted.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from _cases import data, formulas, torch_formulas
from _timing import environment, interleaved, process_seconds, write, written
from multiloss import available_backends, losses

SHAPE = (32, 10)
CLASSES = {
    "mean_squared_error": "MeanSquaredError",
    "mean_absolute_error": "MeanAbsoluteError",
    "poisson": "Poisson",
    "kl_divergence": "KLDivergence",
    "binary_crossentropy": "BinaryCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
}
GOALS = {"numpy": (2, 5), "torch": (2, 5), "jax": (3, 5)}
"""The most microseconds over the native expression, of the function and of the class."""


def framework(name: str) -> tuple[Any, Any, Any]:
    """Return what makes tensors, the native formulas, and the same with the mean."""
    if name == "torch":
        import torch

        torch.set_num_threads(1)
        native = torch_formulas()
        return torch.tensor, native, {key: _then(each, torch.mean) for key, each in native.items()}
    if name == "jax":
        import jax
        import jax.numpy as jnp

        native = formulas(jnp)
        means = {key: jax.jit(_then(each, jnp.mean)) for key, each in native.items()}
        return jnp.asarray, {key: jax.jit(each) for key, each in native.items()}, means
    native = formulas(np)
    return np.asarray, native, {key: _then(each, np.mean) for key, each in native.items()}


def _then(formula: Callable[..., Any], mean: Callable[..., Any]) -> Callable[..., Any]:
    return lambda y, p: mean(formula(y, p))


def measure(backend: str) -> list[dict[str, Any]]:
    """Return a row for each loss, in this process."""
    place, native, means = framework(backend)
    rows = []
    for name, cls in CLASSES.items():
        y, p = (place(each) for each in data(name, SHAPE))
        called = {
            "native": native[name],
            "function": getattr(losses, name),
            "native mean": means[name],
            "class": getattr(losses, cls)(),
        }
        if importlib.util.find_spec("keras"):
            import keras

            called["keras class"] = getattr(keras.losses, cls)()
        if backend == "jax":  # which returns before it has computed
            candidates = {who: lambda fn=fn: fn(y, p).block_until_ready() for who, fn in called.items()}  # noqa: B023
        else:
            candidates = {who: lambda fn=fn: fn(y, p) for who, fn in called.items()}  # noqa: B023 - called at once
        times = interleaved(candidates)
        row = {
            "backend": backend,
            "loss": name,
            **times,
            "function over": times["function"] - times["native"],
            "class over": times["class"] - times["native mean"],
        }
        if "keras class" in times:
            row["cheaper than keras"] = times["keras class"] / times["class"]
        rows.append(row)
    return rows


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--backend":
        print(json.dumps(measure(sys.argv[2])))
        return
    rows: list[dict[str, Any]] = []
    for backend in GOALS:
        if backend in available_backends():
            environ = os.environ | {"KERAS_BACKEND": backend, "MULTILOSS_BACKEND": backend}
            command = [sys.executable, __file__, "--backend", backend]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environ, check=True)
            rows += json.loads(done.stdout.splitlines()[-1])
    started = process_seconds("import multiloss")
    importing = (started["code"] - started["empty"]) * 1e3
    about = environment("numpy", "torch", "jax", "autograd", "keras")
    lines = [
        "# What a call costs",
        "",
        f"(32, 10) float32, microseconds, medians of interleaved runs. {written(about)}",
        "",
        "Goals: function at most 2 µs over the native expression (NumPy, torch) or 3 µs (JAX, jitted), class at most 5 µs, "
        "and at least 8 times cheaper than Keras' class.",
        "",
        "| backend | loss | native | function | over | native mean | class | over | Keras' class | times ours |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        keras = f"{row['keras class']:.1f} | {row['cheaper than keras']:.1f}" if "keras class" in row else "|"
        lines.append(
            f"| {row['backend']} | {row['loss']} | {row['native']:.1f} | {row['function']:.1f} "
            f"| {row['function over']:+.1f} | {row['native mean']:.1f} | {row['class']:.1f} | {row['class over']:+.1f} "
            f"| {keras} |"
        )
    lines += ["", f"`import multiloss`: {importing:.0f} ms beyond the interpreter (goal: 30).", ""]
    write("dispatch", "\n".join(lines), {"environment": about, "rows": rows, "import_ms": importing})


if __name__ == "__main__":
    main()
