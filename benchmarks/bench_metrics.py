"""What taking one batch of 256 into a metric costs, beside torchmetrics and keras.metrics on the same framework.

    python benchmarks/bench_metrics.py                 # each framework in a process of its own, for Keras reads it once

Each candidate is updated again and again with one batch of tensors, as a training loop does; values are read off afterwards,
outside the timing, and must agree.
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
from _timing import environment, interleaved, write, written
from multiloss import available_backends, metrics, use_backend

BATCH, CLASSES = 256, 10
GOALS = {"torchmetrics": 0.5, "keras": 0.15}


def data() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, BATCH)
    return {
        "flags": generator.integers(0, 2, BATCH).astype(np.float32),
        "probabilities": generator.random(BATCH, np.float32),
        "labels": labels,
        "hot": np.eye(CLASSES, dtype=np.float32)[labels],
        "distributions": generator.dirichlet(np.ones(CLASSES), BATCH).astype(np.float32),
        "values": generator.random((BATCH, 1), np.float32),
        "targets": generator.random((BATCH, 1), np.float32),
        "loss": np.asarray(0.25, np.float32),
    }


CASES: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "BinaryAccuracy": (metrics.BinaryAccuracy, ("flags", "probabilities")),
    "SparseCategoricalAccuracy": (metrics.SparseCategoricalAccuracy, ("labels", "distributions")),
    "AUC": (metrics.AUC, ("flags", "probabilities")),
    "F1Score": (lambda: metrics.F1Score(average="macro"), ("hot", "distributions")),
    "MeanSquaredError": (metrics.MeanSquaredError, ("targets", "values")),
    "Mean": (metrics.Mean, ("loss",)),
}


def keras_cases() -> dict[str, Callable[[], Any]]:
    import keras

    return {
        name: (lambda name=name: getattr(keras.metrics, name)(**({"average": "macro"} if name == "F1Score" else {})))
        for name in CASES
    }


def torchmetrics_cases() -> dict[str, tuple[Callable[[], Any], Callable[..., tuple[Any, ...]]]]:
    import torchmetrics.classification as tm
    from torchmetrics import MeanMetric, MeanSquaredError

    def swapped(y: Any, p: Any) -> tuple[Any, ...]:
        return p, y

    def classes(y: Any, p: Any) -> tuple[Any, ...]:
        return p, y.argmax(-1)

    def flags(y: Any, p: Any) -> tuple[Any, ...]:
        return p, y.long()

    return {
        "BinaryAccuracy": (tm.BinaryAccuracy, flags),
        "SparseCategoricalAccuracy": (lambda: tm.MulticlassAccuracy(CLASSES, average="micro"), swapped),
        "AUC": (lambda: tm.BinaryAUROC(thresholds=200), flags),
        "F1Score": (lambda: tm.MulticlassF1Score(CLASSES, average="macro"), classes),
        "MeanSquaredError": (MeanSquaredError, swapped),
        "Mean": (MeanMetric, lambda x: (x,)),
    }


def placed(backend: str) -> dict[str, Any]:
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
        return {name: torch.tensor(each) for name, each in data().items()}
    if backend == "jax":
        import jax.numpy as jnp

        return {name: jnp.asarray(each) for name, each in data().items()}
    return data()


def measure(backend: str) -> list[dict[str, Any]]:
    """Return a row for each case, in this process."""
    tensors, rows = placed(backend), []
    keras = keras_cases() if importlib.util.find_spec("keras") else {}
    peers = torchmetrics_cases() if backend == "torch" and importlib.util.find_spec("torchmetrics") else {}
    for name, (make, operands) in CASES.items():
        batch = tuple(tensors[each] for each in operands)
        own = make()
        updates: dict[str, Callable[[], Any]] = {"multiloss": lambda own=own, batch=batch: own.update_state(*batch)}
        results: dict[str, Callable[[], Any]] = {"multiloss": own.result}
        if name in keras:
            metric = keras[name]()
            updates["keras"] = lambda metric=metric, batch=batch: metric.update_state(*batch)
            results["keras"] = metric.result
        if name in peers:
            construct, arranged = peers[name]
            peer, arguments = construct(), arranged(*batch)
            updates["torchmetrics"] = lambda peer=peer, arguments=arguments: peer.update(*arguments)
            results["torchmetrics"] = peer.compute
        times = interleaved(updates)
        values = {who: float(np.asarray(read())) for who, read in results.items()}
        assert all(abs(each - values["multiloss"]) < 5e-3 for each in values.values()), (name, values)
        rows.append({"backend": backend, "metric": name, "times": times, "values": values})
    return rows


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--backend":
        with use_backend(sys.argv[2]):
            print(json.dumps(measure(sys.argv[2])))
        return
    rows = []
    for backend in available_backends():
        if backend not in ("numpy", "torch", "jax"):
            continue
        command = [sys.executable, __file__, "--backend", backend]
        env = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            raise RuntimeError(done.stderr)
        rows += json.loads(done.stdout.splitlines()[-1])
    about = environment("numpy", "torch", "jax", "keras", "torchmetrics")
    lines = [
        "| framework | metric | multiloss | torchmetrics | share | keras | share |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = []
        for peer in GOALS:
            theirs = row["times"].get(peer)
            cells += ["", ""] if theirs is None else [f"{theirs:.1f}", f"{row['times']['multiloss'] / theirs:.2f}"]
        lines.append(f"| {row['backend']} | {row['metric']} | {row['times']['multiloss']:.1f} | {' | '.join(cells)} |")
    report = "\n".join(
        [
            "# What an update of a metric costs",
            "",
            f"Batch {BATCH}, float32, microseconds, medians of interleaved runs. {written(about)}",
            "",
            "Goals: at most 0.5 of torchmetrics' time, and 0.15 of Keras'.",
            "",
            *lines,
            "",
        ]
    )
    write("metrics", report, {"environment": about, "rows": rows})


if __name__ == "__main__":
    main()
