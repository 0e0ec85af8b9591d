"""Does the cost of a loss grow with its elements, and no faster? From a thousand to a hundred million, drawn as a plot.

python benchmarks/bench_scaling.py [--most 100000000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import multiloss
import numpy as np
from _cases import data, formulas
from _timing import RESULTS, environment, interleaved, write, written
from multiloss import losses

NAMES = ("mean_squared_error", "binary_crossentropy", "categorical_crossentropy")
COLUMNS = 100
LIMIT = 1.5
"""How much more an element may cost among the most than among a hundredth as many."""


def placements() -> dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """Return for each backend what makes its tensors, and what waits for a result."""
    found: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {"numpy": (np.asarray, lambda x: x)}
    if "torch" in multiloss.available_backends():
        import torch

        found["torch"] = (torch.as_tensor, lambda x: x)
    if "jax" in multiloss.available_backends():
        import jax.numpy as jnp

        found["jax"] = (jnp.asarray, lambda x: x.block_until_ready())
    return found


def measure(most: int) -> list[dict[str, Any]]:
    plain, places, rows = formulas(np), placements(), []
    size = 1000
    while size <= most:
        for name in NAMES:
            host = data(name, (size // COLUMNS, COLUMNS))
            candidates: dict[str, Callable[[], Any]] = {}
            for backend, (place, wait) in places.items():
                y, p = (place(each) for each in host)
                candidates[backend] = lambda y=y, p=p, wait=wait, name=name: wait(getattr(losses, name)(y, p))
            candidates["NumPy formula"] = lambda host=host, name=name: plain[name](*host)
            times = interleaved(candidates, 3 if size > 10**7 else 9, 0.001)
            rows.append({"loss": name, "elements": size, **times})
            print(name, size, times, flush=True)
        size *= 10
    return rows


def draw(rows: list[dict[str, Any]], series: list[str]) -> None:
    """Draw time against elements, one panel for each loss, both logarithmic: what grows with the elements is parallel to
    the thin line.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(NAMES), figsize=(13, 4.4), sharey=True, layout="constrained")
    for panel, name in zip(axes, NAMES, strict=True):
        own = [row for row in rows if row["loss"] == name]
        elements = [row["elements"] for row in own]
        for each, style in zip(series, ("o-", "s-", "^-", "x--"), strict=False):
            panel.loglog(elements, [row[each] / 1e6 for row in own], style, label=each, markersize=4, linewidth=1.3)
        least = own[-1]["numpy"] / own[-1]["elements"] / 1e6
        panel.loglog(elements, [least * each for each in elements], color="0.7", linewidth=0.8, zorder=0)
        panel.set_title(name.replace("_", " "), fontsize=11)
        panel.set_xlabel("elements of y_pred")
        panel.grid(visible=True, which="major", color="0.92")
    axes[0].set_ylabel("seconds of a call")
    axes[0].legend(frameon=False, title="grey: proportional")
    figure.savefig(RESULTS / "scaling.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=10**8)
    most = parser.parse_args().most
    rows = measure(most)
    series = [each for each in rows[0] if each not in ("loss", "elements")]
    about = environment("numpy", "torch", "jax")
    lines = [
        "# From a thousand elements to a hundred million",
        "",
        f"Microseconds of a call, ({most:,} elements at most, {COLUMNS} columns) float32, medians. {written(about)}",
        "",
        "![Time against elements](scaling.png)",
        "",
        f"| loss | elements | {' | '.join(series)} |",
        f"|---|--:|{'--:|' * len(series)}",
    ]
    for row in rows:
        cells = " | ".join(f"{row[each]:,.0f}" for each in series)
        lines.append(f"| {row['loss']} | {row['elements']:,} | {cells} |")
    growth = {}
    for name in NAMES:
        own = {row["elements"]: row for row in rows if row["loss"] == name}
        if most >= 10**5:
            per_element = {each: own[most][each] / own[most // 100][each] / 100 for each in series}
            growth[name] = {each: per_element[each] for each in series}
    lines += [
        "",
        f"Time of an element at {most:,}, divided by that at {most // 100:,} (1 is proportional, goal: at most {LIMIT}):",
        "",
        f"| loss | {' | '.join(series)} |",
        f"|---|{'--:|' * len(series)}",
        *(f"| {name} | {' | '.join(f'{found[each]:.2f}' for each in series)} |" for name, found in growth.items()),
        "",
    ]
    write("scaling", "\n".join(lines), {"environment": about, "rows": rows, "growth": growth, "limit": LIMIT})
    draw(rows, series)


if __name__ == "__main__":
    main()
