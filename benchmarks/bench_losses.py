"""What a loss costs on (100 000, 100) float32, beside the formula as published and other libraries.

    python benchmarks/bench_losses.py [--backend numpy|torch|jax ...] [--device cuda] [--loss NAME ...]

With `--device cuda` torch and JAX run on the GPU, and every row that computes values says what share of the bandwidth of a copy
its inputs were read with: an elementwise loss can do no better than read them once.

Ours and the peers take turns in one run; a ratio of 3 means that ours takes a third of the peer's time. Every row also
says how far the numbers of the two are apart, so that nothing fast is wrong.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import math
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
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
from _timing import RESULTS, environment, interleaved, write, written
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


def on_numpy(shape: tuple[int, int], _device: str, names: Sequence[str]) -> list[Row]:
    rows = []
    plain, scikit, keras = formulas(np), available("scikit-learn", sklearn_functions), available("Keras", keras_losses)
    for name in names:
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
        if name not in names:
            continue
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


def with_bandwidth(rows: list[Row], copy_bytes_per_ms: float) -> list[Row]:
    """Return rows with the share of a copy's bandwidth at which inputs are read."""
    for row in rows:
        for who in ("ours", "peer"):
            row[f"{who}_bandwidth"] = row["input_bytes"] / row[f"{who}_ms"] / copy_bytes_per_ms
    return rows


def copy_speed(copy: Callable[[], Any], size: int) -> float:
    """Return the bytes that a copy reads and writes in a millisecond."""
    return 2 * size / (interleaved({"copy": copy}, 9, 0.01)["copy"] / 1e3)


def on_torch(shape: tuple[int, int], device: str, names: Sequence[str]) -> list[Row]:
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
    for name in names:
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
        if name in peers["torch.nn.functional"]:  # the framework's own fused kernel
            fused = mean(peers["torch.nn.functional"][name])
            rows.append(compare(compiled, name, mean(torch.compile(ours)), "torch.nn.functional", fused))
        for row in rows:
            row.setdefault("input_bytes", y.nbytes + p.nbytes)
    if device == "cpu":
        return rows
    source = torch.empty(1 << 28, device=device)
    target = torch.empty_like(source)
    speed = copy_speed(lambda: finished(lambda y, p: y.copy_(p))(target, source), source.nbytes)
    return with_bandwidth(rows, speed)


def on_jax(shape: tuple[int, int], device: str, names: Sequence[str]) -> list[Row]:
    import jax
    import jax.numpy as jnp

    def finished(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda y, p: function(y, p).block_until_ready()

    rows = []
    plain, optax = formulas(jnp), available("optax", optax_losses)
    place = jax.devices(device)[0]
    for name in names:
        arguments, ours = tuple(jax.device_put(each, place) for each in data(name, shape)), getattr(losses, name)
        for peer, functions in (("eager formula", plain), ("optax", optax)):
            if name in functions:
                work = Work(f"JAX {device} value", arguments)
                rows.append(compare(work, name, finished(ours), peer, finished(functions[name])))
        inside, theirs = jax.jit(functools.partial(ours)), jax.jit(plain[name])
        work = Work(f"JAX {device} in jit", arguments)
        rows.append(compare(work, name, finished(inside), "jitted formula", finished(theirs)))
        for row in rows:
            row.setdefault("input_bytes", sum(each.nbytes for each in arguments))
    if device == "cpu":
        return rows
    source = jax.device_put(np.zeros(1 << 28, np.float32), place)
    duplicate = jax.jit(jnp.copy)
    return with_bandwidth(rows, copy_speed(lambda: duplicate(source).block_until_ready(), source.nbytes))


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
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where torch and JAX work")
    parser.add_argument("--rows", type=int, help="default: 100 000, or 2 000 000 on a GPU, which needs more to be busy")
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument(
        "--loss", nargs="+", choices=LOSSES, help="only these; the others stay in the report as they are"
    )
    arguments = parser.parse_args()
    runs: dict[str, Callable[[tuple[int, int], str, Sequence[str]], list[Row]]] = {
        "numpy": on_numpy,
        "torch": on_torch,
        "jax": on_jax,
    }
    chosen = [name for name in runs if name in (arguments.backend or multiloss.available_backends())]
    if arguments.device != "cpu":
        chosen = [name for name in chosen if name != "numpy"]
    if len(chosen) > 1:  # each in a process of its own, so that the threads of one are not in the way of another's
        others = [
            f"--{name}={getattr(arguments, name)}" for name in ("device", "rows", "columns") if getattr(arguments, name)
        ]
        others += ["--loss", *arguments.loss] if arguments.loss else []
        for name in chosen:
            subprocess.run([sys.executable, __file__, f"--backend={name}", *others], check=True)
        return
    (backend,) = chosen
    shape = (arguments.rows or (100_000 if arguments.device == "cpu" else 2_000_000), arguments.columns)
    rows = runs[backend](shape, arguments.device, arguments.loss or LOSSES)
    earlier = RESULTS / f"{report_name(backend, arguments.device)}.json"
    if arguments.loss and earlier.exists():
        rows += [row for row in json.loads(earlier.read_text())["rows"] if row["loss"] not in arguments.loss]
        rows.sort(key=lambda row: LOSSES.index(row["loss"]))
    report(backend, arguments.device, shape, rows)


def report_name(backend: str, device: str) -> str:
    return f"losses_{backend}" + ("" if device == "cpu" else f"_{device}")


def report(backend: str, device: str, shape: tuple[int, int], rows: list[Row]) -> None:
    about = environment("numpy", "torch", "jax", "keras", "optax", "scikit-learn", "autograd") | {"device": device}
    beside = "extra MB" if device == "cpu" else "of copy"
    lines = [
        "# What losses cost",
        "",
        f"{shape} float32. {written(about)}",
        "",
        "The ratio is the peer's time divided by ours, of medians of runs that take turns: above 1 ours is faster.",
        "",
        *summary(rows),
        "",
        f"| work | peer | loss | ours ms | peer ms | ratio | largest difference | {beside} (peer) |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        memory = f"{row['extra_mb']:.1f} ({row['peer_mb']:.0f})" if "extra_mb" in row else ""
        if "ours_bandwidth" in row:
            memory = f"{row['ours_bandwidth']:.0%} ({row['peer_bandwidth']:.0%})"
        lines.append(
            f"| {row['work']} | {row['peer']} | {row['loss']} | {row['ours_ms']:.2f} | {row['peer_ms']:.2f} "
            f"| {row['ratio']:.2f} | {row['difference']:.1e} | {memory} |"
        )
    write(report_name(backend, device), "\n".join([*lines, ""]), {"environment": about, "rows": rows})


if __name__ == "__main__":
    main()
