"""What a loss costs on (100 000, 100) float32, beside the formula as published and other libraries.

    python benchmarks/bench_losses.py [--backend numpy|torch|jax ...] [--device cuda] [--rows N] [--columns N]

Ours and the peers take turns in one run; a ratio of 3 means that ours takes a third of the peer's time. Every row also
says how far the numbers of the two are apart, so that nothing fast is wrong.
"""

from __future__ import annotations

import argparse
import functools
import gc
import math
import os
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "numpy")

import multiloss
import numpy as np
from _cases import (
    LOSSES,
    data,
    formulas,
    gradients,
    keras_losses,
    optax_losses,
    sklearn_functions,
    torch_formulas,
    torch_functional,
)
from _timing import environment, interleaved, write, written
from multiloss import losses

Row = dict[str, Any]


class Work(NamedTuple):
    """What is measured: both sides are called with the same arguments, and `result` makes NumPy arrays of the outcomes."""

    name: str
    arguments: tuple[Any, ...]
    result: Callable[[Any], Any] = np.asarray
    rounds: int = 9


def compare(work: Work, loss: str, ours: Callable[..., Any], peer: str, theirs: Callable[..., Any]) -> Row:
    """Return medians, their ratio and the largest difference of two functions that should return the same."""
    calls = {"ours": functools.partial(ours, *work.arguments), "peer": functools.partial(theirs, *work.arguments)}
    difference = float(np.max(np.abs(work.result(calls["ours"]()) - work.result(calls["peer"]()))))
    times = interleaved(calls, work.rounds, 0.001)
    ratio = times["peer"] / times["ours"]
    print(f"{work.name:24} {peer:24} {loss:32} {ratio:6.2f}  {difference:.1e}", flush=True)
    return {
        "loss": loss,
        "work": work.name,
        "peer": peer,
        "ratio": ratio,
        "difference": difference,
        "ours_ms": times["ours"] / 1e3,
        "peer_ms": times["peer"] / 1e3,
    }


def available(what: str, peers: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return peers()
    except ModuleNotFoundError as error:
        print(f"not installed, and left out: {what} ({error})")
        return {}


def on_numpy(shape: tuple[int, int]) -> list[Row]:
    rows = []
    plain, scikit, keras = formulas(np), available("scikit-learn", sklearn_functions), available("Keras", keras_losses)
    for name in LOSSES:
        arguments, ours = data(name, shape), getattr(losses, name)
        found = compare(Work("NumPy value", arguments), name, ours, "formula", plain[name])
        memory = {"extra_mb": extra_memory(ours, *arguments), "peer_mb": extra_memory(plain[name], *arguments)}
        rows.append(found | memory)
        if name in keras:
            rows.append(compare(Work("NumPy value", arguments, rounds=5), name, ours, "keras.losses", keras[name]))
        if name in scikit:
            work = Work("NumPy mean", arguments, rounds=5)
            rows.append(compare(work, name, losses.get(class_of(name)), "scikit-learn", scikit[name]))
    for name, theirs in gradients().items():
        work = Work("NumPy value and gradient", data(name, shape), lambda both: np.asarray(both[1]) * shape[0])
        rows.append(compare(work, name, multiloss.value_and_grad(losses.get(class_of(name))), "hand-written", theirs))
    return rows


def extra_memory(function: Callable[..., Any], *arguments: Any) -> float:
    """Return the peak of what a call allocates beyond its result, in MB."""
    gc.collect()
    tracemalloc.start()
    result = function(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (peak - np.asarray(result).nbytes) / 1e6


def class_of(name: str) -> str:
    return {"kl_divergence": "KLDivergence"}.get(name) or "".join(part.capitalize() for part in name.split("_"))


def on_torch(shape: tuple[int, int], device: str) -> list[Row]:
    import torch

    def finished(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(y: Any, p: Any) -> Any:
            result = function(y, p)
            if device != "cpu":
                torch.cuda.synchronize()
            return result

        return run

    def mean(function: Callable[..., Any]) -> Callable[..., Any]:
        return finished(lambda y, p: function(y, p).mean())

    def slope(function: Callable[..., Any]) -> Callable[..., Any]:
        def gradient(y: Any, p: Any) -> Any:
            p.grad = None
            function(y, p).mean().backward()
            return p.grad

        return finished(gradient)

    rows = []
    peers = {"torch.nn.functional": torch_functional(), "formula": torch_formulas()}
    for name in LOSSES:
        y, p = (torch.as_tensor(each, device=device) for each in data(name, shape))
        ours, leaf = getattr(losses, name), p.clone().requires_grad_()
        value = Work(f"torch {device} value", (y, p), lambda x: x.cpu().numpy())
        gradient = Work(f"torch {device} gradient", (y, leaf), lambda x: x.cpu().numpy() * shape[0])
        for peer, functions in peers.items():
            if name in functions:
                rows.append(compare(value, name, mean(ours), peer, mean(functions[name])))
                rows.append(compare(gradient, name, slope(ours), peer, slope(functions[name])))
        theirs = torch.compile(peers["formula"][name])
        compiled = value._replace(name=f"torch {device} compiled")
        rows.append(compare(compiled, name, finished(torch.compile(ours)), "compiled formula", finished(theirs)))
    return rows


def on_jax(shape: tuple[int, int]) -> list[Row]:
    import jax
    import jax.numpy as jnp

    def finished(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda y, p: function(y, p).block_until_ready()

    rows = []
    plain, optax = formulas(jnp), available("optax", optax_losses)
    for name in LOSSES:
        arguments, ours = tuple(jnp.asarray(each) for each in data(name, shape)), getattr(losses, name)
        for peer, functions in (("eager formula", plain), ("optax", optax)):
            if name in functions:
                rows.append(
                    compare(Work("JAX value", arguments), name, finished(ours), peer, finished(functions[name]))
                )
        inside, theirs = jax.jit(functools.partial(ours)), jax.jit(plain[name])
        rows.append(compare(Work("JAX in jit", arguments), name, finished(inside), "jitted formula", finished(theirs)))
    return rows


def summary(rows: list[Row]) -> list[str]:
    """Return one line per kind of work and peer: the geometric mean of the ratios, and the least."""
    lines = ["| work | peer | losses | geometric mean | least |", "|---|---|--:|--:|---|"]
    for work, peer in dict.fromkeys((row["work"], row["peer"]) for row in rows):
        found = [row for row in rows if (row["work"], row["peer"]) == (work, peer)]
        mean = math.exp(sum(math.log(row["ratio"]) for row in found) / len(found))
        least = min(found, key=lambda row: row["ratio"])
        lines.append(f"| {work} | {peer} | {len(found)} | {mean:.2f} | {least['ratio']:.2f} ({least['loss']}) |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", action="append", choices=["numpy", "torch", "jax"])
    parser.add_argument("--device", default="cpu", help="where torch works: cpu or cuda")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=100)
    arguments = parser.parse_args()
    shape = (arguments.rows, arguments.columns)
    runs = {"numpy": on_numpy, "torch": lambda shape: on_torch(shape, arguments.device), "jax": on_jax}
    chosen = arguments.backend or [name for name in runs if name in multiloss.available_backends()]
    rows = [row for name in chosen for row in runs[name](shape)]
    about = environment("numpy", "torch", "jax", "keras", "optax", "scikit-learn", "autograd")
    lines = [
        "# What losses cost",
        "",
        f"{shape} float32. {written(about)}",
        "",
        "The ratio is the peer's time divided by ours, of medians of runs that take turns: above 1 ours is faster.",
        "",
        *summary(rows),
        "",
        "| work | peer | loss | ours ms | peer ms | ratio | largest difference | extra MB (peer) |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        memory = f"{row['extra_mb']:.1f} ({row['peer_mb']:.0f})" if "extra_mb" in row else ""
        lines.append(
            f"| {row['work']} | {row['peer']} | {row['loss']} | {row['ours_ms']:.2f} | {row['peer_ms']:.2f} "
            f"| {row['ratio']:.2f} | {row['difference']:.1e} | {memory} |"
        )
    suffix = "" if len(chosen) == 3 else "_" + "_".join(chosen)
    suffix += "" if arguments.device == "cpu" else f"_{arguments.device.partition(':')[0]}"
    write(f"losses{suffix}", "\n".join([*lines, ""]), {"environment": about, "rows": rows})


if __name__ == "__main__":
    main()
