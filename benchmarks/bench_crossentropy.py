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
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _crossentropies import (
    Candidates,
    jax_linear,
    jax_value,
    numpy_gradient,
    numpy_linear,
    numpy_value,
    torch_gradient,
    torch_linear,
    torch_probabilities,
    torch_small,
    torch_value,
)
from _timing import RESULTS, environment, turns, write, written


class Case(NamedTuple):
    """Candidates on the same data: `make(*shape)` returns them."""

    name: str
    shape: tuple[int, ...]
    make: Callable[..., Candidates]
    goals: Mapping[str, Mapping[str, float]]
    """For ours and a peer, the largest ratio that is good enough."""
    rounds: int = 7
    """How often each candidate takes its turn."""


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
        Case("1000 values of 512 rows", (512, 1000), torch_small, {}),
        Case(
            "1000 gradients of 512 rows, confident", (512, 1000),
            functools.partial(torch_small, gradient=True, confident=True), {},
        ),
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
