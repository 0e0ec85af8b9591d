"""What cross-entropies of large vocabularies cost, in time and memory, beside what people use.

    python benchmarks/bench_crossentropy.py --backend torch [--case linear ...] [--device cuda]

All candidates of a case take turns in one process; the peak of memory is that of a process of its own, over what the inputs
take. The gradient counts as memory where it is fresh; `in place` writes it over the logits. A ratio is our time divided by the
peer's: below 1 ours is faster. Every candidate's loss is shown, so that nothing fast is wrong.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from _timing import RESULTS, environment, turns, write, written

Candidates = Mapping[str, Callable[[], Any]]


class Case(NamedTuple):
    """Candidates on the same data: `make(*shape)` returns them, those of ours by names that begin with "ours"."""

    name: str
    shape: tuple[int, ...]
    make: Callable[..., Candidates]
    goals: Mapping[str, Mapping[str, float]]
    """For ours and a peer, the largest ratio that is good enough."""
    rounds: int = 7
    """How often each candidate takes its turn."""


def logits_and_labels(rows: int, classes: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((rows, classes), np.float32)
    labels = rng.integers(0, classes, rows)
    confident = np.arange(0, rows, 3)  # as in a model that has learned something; random logits have no such row
    logits[confident, labels[confident]] += 20.0
    return logits, labels


def states_and_weight(rows: int, size: int, classes: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((rows, size), np.float32)
    weight = rng.standard_normal((classes, size), np.float32) * np.float32(size**-0.5 * 2)
    return hidden, weight, rng.integers(0, classes, rows)


# ── NumPy ───────────────────────────────────────────────────────────────────────────────────────────────────────


def numpy_value(rows: int, classes: int) -> Candidates:
    from multiloss.losses import SparseCategoricalCrossentropy
    from scipy.special import log_softmax

    z, y = logits_and_labels(rows, classes)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    return {
        "ours": lambda: loss(y, z),
        "scipy log_softmax + gather": lambda: -log_softmax(z, 1)[np.arange(rows), y].mean(),
    }


def numpy_gradient(rows: int, classes: int) -> Candidates:
    from multiloss import value_and_grad
    from multiloss.losses import SparseCategoricalCrossentropy

    z, y = logits_and_labels(rows, classes)
    spare = z.copy()
    here = np.arange(rows)

    def naive() -> Any:
        shifted = z - z.max(1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(1, keepdims=True)
        value = (np.log(total)[:, 0] - shifted[here, y]).mean()
        p = e / total
        p[here, y] -= 1.0
        p /= rows
        return value, p

    fresh = value_and_grad(SparseCategoricalCrossentropy(from_logits=True))
    over = value_and_grad(SparseCategoricalCrossentropy(from_logits=True, overwrite_logits=True))

    def in_place() -> Any:
        return over(y, spare)

    return {"ours": lambda: fresh(y, z), "ours in place": in_place, "whole arrays": naive}


def numpy_linear(rows: int, size: int, classes: int) -> Candidates:
    from multiloss import value_and_grad
    from multiloss.losses import LinearCrossentropy

    x, w, y = states_and_weight(rows, size, classes)
    here = np.arange(rows)

    def naive() -> Any:
        z = x @ w.T
        shifted = z - z.max(1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(1, keepdims=True)
        value = (np.log(total)[:, 0] - shifted[here, y]).mean()
        p = e / total
        p[here, y] -= 1.0
        p /= rows
        return value, p @ w, p.T @ x

    loss = LinearCrossentropy()
    ours = value_and_grad(lambda x, w: loss(y, x, weight=w), (0, 1))
    return {"ours": lambda: ours(x, w), "whole arrays": naive}


# ── torch ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _torch(device: str) -> Any:
    import torch

    return torch, functools.partial(torch.as_tensor, device=device)


def torch_value(rows: int, classes: int, device: str = "cpu", options: str = "plain") -> Candidates:
    torch, tensor = _torch(device)
    from multiloss.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy

    z, y = map(tensor, logits_and_labels(rows, classes))
    functional = torch.nn.functional.cross_entropy
    given: dict[str, Any] = {}
    mine: Any = SparseCategoricalCrossentropy(from_logits=True)
    if options == "weighted and smoothed":
        weights = torch.rand(classes, device=device) + 0.5
        given = {"weight": weights, "label_smoothing": 0.1}
        mine = SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight", class_weight=weights, label_smoothing=0.1
        )
    if options == "soft":
        y = torch.softmax(torch.randn(rows, classes, device=device), 1)
        mine = CategoricalCrossentropy(from_logits=True)
    compiled = torch.compile(functional)

    def plain(fn: Callable[..., Any]) -> Callable[[], Any]:
        def run() -> Any:
            with torch.no_grad():
                return fn(z, y, **given)

        return run

    def ours() -> Any:
        with torch.no_grad():
            return mine(y, z)

    return {"ours": ours, "F.cross_entropy": plain(functional), "torch.compile": plain(compiled)}


def torch_gradient(rows: int, classes: int, device: str = "cpu") -> Candidates:
    torch, tensor = _torch(device)
    from multiloss.losses import SparseCategoricalCrossentropy

    z, y = map(tensor, logits_and_labels(rows, classes))
    spare = z.clone()
    functional = torch.nn.functional.cross_entropy
    compiled = torch.compile(functional)
    fresh = SparseCategoricalCrossentropy(from_logits=True)
    over = SparseCategoricalCrossentropy(from_logits=True, overwrite_logits=True)

    def run(fn: Callable[..., Any]) -> Callable[[], Any]:
        def step() -> Any:
            leaf = z.detach().requires_grad_()
            value = fn(leaf)
            return value.detach(), *torch.autograd.grad(value, leaf)

        return step

    def in_place() -> Any:
        leaf = spare.detach().requires_grad_()
        logits = leaf.view_as(leaf)  # what a model returns is no leaf either
        value = over(y, logits)
        return value.detach(), *torch.autograd.grad(value, leaf)

    return {
        "ours": run(lambda leaf: fresh(y, leaf)),
        "ours in place": in_place,
        "F.cross_entropy": run(lambda leaf: functional(leaf, y)),
        "torch.compile": run(lambda leaf: compiled(leaf, y)),
    }


def torch_probabilities(rows: int, classes: int, device: str = "cpu") -> Candidates:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    torch, tensor = _torch(device)
    from multiloss.losses import SparseCategoricalCrossentropy

    z, y = map(tensor, logits_and_labels(rows, classes))
    p = torch.softmax(z, 1)

    def run(loss: Callable[..., Any]) -> Callable[[], Any]:
        def value() -> Any:
            with torch.no_grad():
                return loss(y, p)

        return value

    return {"ours": run(SparseCategoricalCrossentropy()), "Keras": run(keras.losses.SparseCategoricalCrossentropy())}


def torch_small(
    rows: int,
    classes: int,
    device: str = "cpu",
    each: bool = False,
    gradient: bool = False,
    confident: bool = False,
    weighted: bool = False,
    ignored: int | None = None,
) -> Candidates:
    """Return a thousand calls each: with `confident`, every other row is sure of its label, as after some training."""
    torch, tensor = _torch(device)
    from multiloss.losses import SparseCategoricalCrossentropy, sparse_categorical_crossentropy

    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((rows, classes), np.float32), rng.integers(0, classes, rows)
    if confident:
        logits[np.arange(0, rows, 2), labels[::2]] += 12.0
    z, y = tensor(logits), tensor(labels)
    z.requires_grad_(gradient)
    reduction = "none" if each or weighted else "mean"
    functional = functools.partial(torch.nn.functional.cross_entropy, reduction=reduction)
    if each:
        ours = functools.partial(sparse_categorical_crossentropy, from_logits=True)
    else:
        ours = SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignored)
    if ignored is not None:
        functional = functools.partial(functional, ignore_index=ignored)
    calls = {"ours": lambda: ours(y, z), "F.cross_entropy": lambda: functional(z, y)}
    if weighted:
        w = tensor(rng.uniform(0.5, 2.0, rows).astype(np.float32))
        calls = {"ours": lambda: ours(y, z, w), "F.cross_entropy": lambda: (functional(z, y) * w).mean()}

    def often(fn: Callable[[], Any]) -> Callable[[], Any]:
        def thousand() -> Any:
            for _ in range(1000):
                value = fn()
                if gradient:
                    value.backward()
            return value.detach().mean()

        return thousand

    return {name: often(call) for name, call in calls.items()}


def torch_linear(rows: int, size: int, classes: int, device: str = "cpu", dtype: str = "float32") -> Candidates:
    torch, tensor = _torch(device)
    from multiloss.losses import LinearCrossentropy
    from torch.nn import functional

    x, w, y = map(tensor, states_and_weight(rows, size, classes))
    x, w = x.to(getattr(torch, dtype)), w.to(getattr(torch, dtype))
    loss = LinearCrossentropy()

    def unfused(x: Any, w: Any) -> Any:
        return functional.cross_entropy(functional.linear(x, w).float(), y)

    compiled = torch.compile(unfused)

    def run(fn: Callable[..., Any]) -> Callable[[], Any]:
        def step() -> Any:
            leaves = x.detach().requires_grad_(), w.detach().requires_grad_()
            value = fn(*leaves)
            return value.detach().float(), *torch.autograd.grad(value, leaves)

        return step

    chunked = torch.nn.LinearCrossEntropyOptions()
    return {
        "ours": run(lambda x, w: loss(y, x, weight=w)),
        "unfused": run(unfused),
        "torch.compile": run(compiled),
        "F.linear_cross_entropy": run(lambda x, w: functional.linear_cross_entropy(x, w, y, options=chunked)),
    }


# ── JAX ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def jax_value(rows: int, classes: int, gradient: bool = False) -> Candidates:
    import jax
    import jax.numpy as jnp
    import optax
    from multiloss.losses import SparseCategoricalCrossentropy

    z, y = map(jnp.asarray, logits_and_labels(rows, classes))
    loss = SparseCategoricalCrossentropy(from_logits=True)
    found = {
        "ours": lambda z: loss(y, z),
        "optax": lambda z: optax.softmax_cross_entropy_with_integer_labels(z, y).mean(),
        "one-hot": lambda z: -(jax.nn.one_hot(y, classes) * jax.nn.log_softmax(z)).sum(-1).mean(),
    }
    transformed = {name: jax.jit(jax.value_and_grad(fn) if gradient else fn) for name, fn in found.items()}
    return {name: _compiled(fn, z) for name, fn in transformed.items()}


def jax_linear(rows: int, size: int, classes: int) -> Candidates:
    import jax
    import jax.numpy as jnp
    import optax
    from multiloss.losses import LinearCrossentropy

    x, w, y = map(jnp.asarray, states_and_weight(rows, size, classes))
    fast, lean = LinearCrossentropy(), LinearCrossentropy(memory_budget=64 << 20)
    found = {
        "ours": lambda x, w: fast(y, x, weight=w),
        "ours in 64 MiB": lambda x, w: lean(y, x, weight=w),
        "unfused optax": lambda x, w: optax.softmax_cross_entropy_with_integer_labels(x @ w.T, y).mean(),
    }
    candidates = {name: _compiled(jax.jit(jax.value_and_grad(fn, (0, 1))), x, w) for name, fn in found.items()}
    try:
        from tokamax import linear_softmax_cross_entropy_loss
    except ImportError:
        print("tokamax is not installed, and left out: pip install tokamax")
        return candidates

    def tokamax(x: Any, w: Any) -> Any:
        return linear_softmax_cross_entropy_loss(x, y, w, reduction="mean")

    with mock.patch.object(sys, "argv", sys.argv[:1]):  # where tokamax looks for flags of its own
        candidates["tokamax"] = _compiled(jax.jit(jax.value_and_grad(tokamax, (0, 1))), x, jnp.array(w.T))
    return candidates


def _compiled(fn: Any, *args: Any) -> Callable[[], Any]:
    """Return what waits for the result of `fn`, compiled before and with its arguments in place: neither is measured."""
    import jax

    compiled = fn.lower(*jax.block_until_ready(args)).compile()
    return lambda: jax.block_until_ready(compiled(*args))


# ── The table ───────────────────────────────────────────────────────────────────────────────────────────────────

LARGE = (4096, 32000)
CASES: Mapping[str, list[Case]] = {
    "numpy": [
        Case("value", LARGE, numpy_value, {"ours": {"scipy log_softmax + gather": 0.15}}),
        Case(
            "value and gradient", LARGE, numpy_gradient,
            {"ours": {"whole arrays": 0.25}, "ours in place": {"whole arrays": 0.19}},
        ),
        Case("linear", (4096, 512, 64000), numpy_linear, {"ours": {"whole arrays": 0.68}}, 3),
    ],
    "torch": [
        Case("value", LARGE, torch_value, {"ours": {"F.cross_entropy": 0.5, "torch.compile": 1.3}}),
        Case(
            "value and gradient", LARGE, torch_gradient,
            {
                "ours": {"F.cross_entropy": 0.46, "torch.compile": 0.97},
                "ours in place": {"F.cross_entropy": 0.21, "torch.compile": 0.45},
            },
        ),
        Case(
            "value, weighted and smoothed", LARGE, functools.partial(torch_value, options="weighted and smoothed"),
            {"ours": {"F.cross_entropy": 0.26}},
        ),
        Case(
            "value, soft labels", LARGE, functools.partial(torch_value, options="soft"),
            {"ours": {"F.cross_entropy": 0.32}},
        ),
        Case("value, from probabilities", LARGE, torch_probabilities, {"ours": {"Keras": 0.08}}),
        Case("1000 small values", (32, 10), torch_small, {}),
        Case("1000 times small values of rows", (32, 10), functools.partial(torch_small, each=True), {}),
        Case("1000 small gradients", (32, 10), functools.partial(torch_small, gradient=True), {}),
        Case(
            "1000 small gradients, confident", (32, 10), functools.partial(torch_small, gradient=True, confident=True), {}
        ),
        *(
            Case(f"1000 small {what}", (32, 10), functools.partial(torch_small, gradient=gradient, **options), {})
            for gradient, kind in ((False, "values"), (True, "gradients"))
            for what, options in ((f"weighted {kind}", {"weighted": True}), (f"{kind}, a class ignored", {"ignored": 3}))
        ),
        Case("1000 values", (128, 1000), torch_small, {}),
        Case("1000 gradients", (128, 1000), functools.partial(torch_small, gradient=True), {}),
        Case("1000 gradients, confident", (128, 1000), functools.partial(torch_small, gradient=True, confident=True), {}),
        Case(
            "linear", (4096, 512, 64000), torch_linear,
            {"ours": {"unfused": 0.92, "torch.compile": 1.05, "F.linear_cross_entropy": 0.65}}, 3,
        ),
        Case(
            "linear, bfloat16", (4096, 512, 64000), functools.partial(torch_linear, dtype="bfloat16"),
            {"ours": {"unfused": 0.75, "F.linear_cross_entropy": 0.18}}, 3,
        ),
        Case(
            "linear, more classes", (2048, 128, 200000), torch_linear,
            {"ours": {"unfused": 0.68, "F.linear_cross_entropy": 0.07}}, 3,
        ),
    ],
    "jax": [
        Case("value", LARGE, jax_value, {"ours": {"optax": 1.12, "one-hot": 0.4}}),
        Case(
            "value and gradient", LARGE, functools.partial(jax_value, gradient=True),
            {"ours": {"optax": 1.05, "one-hot": 0.52}},
        ),
        Case(
            "linear", (4096, 512, 64000), jax_linear,
            {"ours": {"unfused optax": 1.0, "tokamax": 0.88}, "ours in 64 MiB": {"unfused optax": 1.15}}, 3,
        ),
    ],
}  # fmt: skip
PACKAGES = {"numpy": ["numpy", "scipy"], "torch": ["torch", "keras"], "jax": ["jax", "optax", "tokamax"]}
ON_CUDA = ("value", "value and gradient", "linear, bfloat16")
"""What `--device cuda` runs, at the sizes of a language model on one card."""
CUDA_SHAPES = {"value": (8192, 128256), "value and gradient": (8192, 128256), "linear, bfloat16": (4096, 4096, 128256)}


def candidates_of(case: Case, device: str) -> Candidates:
    if device == "cpu":
        return case.make(*case.shape)
    import torch

    def waiting(run: Callable[[], Any]) -> Callable[[], Any]:
        def both() -> Any:
            result = run()
            torch.cuda.synchronize()
            return result

        return both

    return {name: waiting(run) for name, run in case.make(*CUDA_SHAPES[case.name], device=device).items()}


def peak_of(backend: str, case: Case, candidate: str, device: str) -> float:
    """Return the MiB that a candidate takes over its inputs at the peak, in a process of its own."""
    command = [sys.executable, __file__, "--backend", backend, "--device", device, "--peak", case.name, candidate]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(found.stdout.split()[-1])


def print_peak(case: Case, candidate: str, device: str) -> None:
    run = candidates_of(case, device)[candidate]
    if device != "cpu":
        import torch

        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    gc.collect()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark so far
    run()
    print((_status("VmHWM") - before) / 1024)


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


def measure(backend: str, case: Case, device: str) -> list[dict[str, Any]]:
    candidates = candidates_of(case, device)
    first = {name: run() for name, run in candidates.items()}
    values = {name: float(np.asarray(_host(result))) for name, result in first.items()}
    first.clear()
    times = turns(candidates, case.rounds)  # what came first has compiled, and faulted pages that are kept
    del candidates
    gc.collect()
    peaks = {name: peak_of(backend, case, name, device) for name in times}
    rows = []
    for name, time in times.items():
        goals = case.goals.get(name, {})
        ratios = {peer: time / times[peer] for peer in times if name.startswith("ours") and not peer.startswith("ours")}
        rows.append(
            {
                "case": case.name, "shape": case.shape if device == "cpu" else CUDA_SHAPES[case.name], "candidate": name,
                "ms": time, "peak_mib": peaks[name], "loss": values[name], "ratios": ratios, "goals": dict(goals),
            }
        )  # fmt: skip
        print(
            f"{case.name:30} {name:28} {time:9.1f} ms {peaks[name]:8.0f} MiB  {values[name]:.6f}  {ratios}", flush=True
        )
    return rows


def _host(result: Any) -> Any:
    value = result[0] if isinstance(result, tuple) else result
    return value.cpu() if hasattr(value, "cpu") else value


def report(rows: list[dict[str, Any]], about: Mapping[str, Any]) -> str:
    lines = ["# What cross-entropies of large vocabularies cost", "", written(about), ""]
    lines += [
        "Medians of runs that take turns. The peak is that of a process of its own over its inputs, gradients included. Ratios",
        "are ours / the peer's, with the goal in brackets where there is one: below 1 ours is faster.",
        "",
        "| case | shape | candidate | ms | peak MiB | loss | ours / peer |",
        "|---|---|---|--:|--:|--:|---|",
    ]
    for row in rows:
        ratios = ", ".join(
            f"{peer} **{ratio:.2f}**" + (f" ({row['goals'][peer]})" if peer in row["goals"] else "")
            for peer, ratio in row["ratios"].items()
        )
        shape = " x ".join(map(str, row["shape"]))
        lines.append(
            f"| {row['case']} | {shape} | {row['candidate']} | {row['ms']:.1f} | {row['peak_mib']:.0f} | {row['loss']:.6f} "
            f"| {ratios} |"
        )
    missed = [
        f"- {row['case']}, {row['candidate']}: {row['ratios'][peer]:.2f} of {peer}, goal {goal}"
        for row in rows
        for peer, goal in row["goals"].items()
        if row["ratios"].get(peer, 0) > goal
    ]
    return "\n".join([*lines, "", "Goals missed:" if missed else "All goals are met.", "", *missed, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", nargs="+", choices=CASES, default=list(CASES), help="a report each; default: all")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="cuda is for torch alone")
    parser.add_argument("--case", nargs="+", help="only these cases; the others stay in the report as they are")
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "CANDIDATE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.device == "cuda":
        given.backend = ["torch"]
    for backend in given.backend:
        cases = {case.name: case for case in CASES[backend] if given.device == "cpu" or case.name in ON_CUDA}
        if given.peak:
            print_peak(cases[given.peak[0]], given.peak[1], given.device)
            return
        chosen = [case for name, case in cases.items() if not given.case or name in given.case]
        rows = [row for case in chosen for row in measure(backend, case, given.device)]
        about = environment(*PACKAGES[backend])
        name = f"crossentropy_{backend}" + ("" if given.device == "cpu" else f"_{given.device}")
        earlier = RESULTS / f"{name}.json"
        if given.case and earlier.exists():
            kept = cases.keys() - set(given.case)
            rows += [row for row in json.loads(earlier.read_text())["rows"] if row["case"] in kept]
            rows.sort(key=lambda row: list(cases).index(row["case"]))
            about["command"] = f"python {sys.argv[0]} --backend {backend} --case ..."
        write(name, report(rows, about), {"about": about, "rows": rows})


if __name__ == "__main__":
    main()
