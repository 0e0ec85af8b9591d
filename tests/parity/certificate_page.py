"""docs/parity.md: the differences that `certificates` kept, as tables."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path

from tests.parity.certificates import KERAS, NO_NUMBERS, PEERS, SPACES, Index, Row, rows

ELSE = {("metrics", "concordancecorrelation", "torchmetrics"): "concordance_divides_by_the_number_of_samples"}
"""What a peer has under the same name and computes in another way: the row of deviations.md."""

ABOUT_OTHERS = ("Arguments, names and configs", "Objectives", "Helpers")
"""The sections of deviations.md that are not about the numbers of losses and metrics, though they name some."""

DEVIATIONS = Path(__file__).parents[2] / "docs" / "deviations.md"


INTRODUCTION = """\
# Parity with other libraries

How far multiloss is from its peers: the largest difference over the parity tests' grid of shapes, labels, weights and options,
on the NumPy, torch and JAX backends of multiloss. The tests that assert these differences to be small also write them down, with

    nox -s parity

here for {versions}.
The session fails if a public name is missing from the tables, or if a comparison has come or gone; the digits may move.

* A difference is **relative where the peer's number is above 1 in size, else absolute**; 0 is equal to the last bit. Where there
  are two, the first is of **values**, the second of **gradients** with respect to the predictions.
* All are in float64. Keras computes in float32 by default, and its limit on dtypes is lifted for the comparison.
  **Keras, float32** is Keras as it comes beside multiloss in float32: values of functions, with Keras on NumPy and torch.
* **torch** is `torch.nn.functional`. It and optax have losses only, torchmetrics has metrics only.
* **–**: the peer does not have it (under **Keras, float32**: it is compared in float64 alone). **else**: it has something else
  under the name.
* **On purpose** leads to the cases in [deviations.md](deviations.md) in which the numbers are meant to differ. Those that concern
  all losses or all metrics are only there.

A row has the class, the function and their aliases. The functions that `multiloss.metrics` shares with `multiloss.losses` are in
the first table. Bases, sums of other losses and look-ups give no numbers of their own:
{without}.
"""


def _digit(largest: float | None) -> str:
    return "" if largest is None else "0" if largest == 0 else f"{largest:.0e}"


def _cell(found: Mapping[Index, float], row: Row, peer: str) -> str:
    numbers = [found.get((row.space, row.key, peer, quantity)) for quantity in ("value", "gradient")]
    label = ELSE.get((row.space, row.key, peer))
    return " / ".join(filter(None, map(_digit, numbers))) or (f"[else](deviations.md#{label})" if label else "–")


def deviations() -> list[tuple[str, set[tuple[str, str]]]]:
    """Return the anchor of each row of deviations.md, with the losses and metrics that its first cell names as code."""
    known, found = rows(), []
    section, spaces = "", ("losses", "metrics")
    for line in DEVIATIONS.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
            spaces = ("metrics", "losses") if section == "Metrics" else ("losses", "metrics")
        anchor = re.match(r'\| <a id="(\w+)"></a>', line)
        if anchor is None:
            continue
        named = set()
        quoted = [] if section.startswith(ABOUT_OTHERS) else re.findall(r"`([^`]+)`", line.split(" | ")[0])
        for name in re.findall(r"\w+", " ".join(quoted)):
            for space in spaces:
                index = next((index for index, row in known.items() if index[0] == space and name in row.names), None)
                if index is not None:
                    named.add(index)
                    break
        found.append((anchor[1], named))
    return found


def _table(found: Mapping[Index, float], space: str) -> list[str]:
    links = deviations()
    lines = [
        f"| {space} | " + " | ".join(PEERS[space]) + " | on purpose |",
        "|---|" + "---|" * (len(PEERS[space]) + 1),
    ]
    for index, row in rows().items():
        if row.space == space:
            names = ", ".join(f"`{name}`" for name in row.names)
            anchors = [anchor for anchor, named in links if index in named]
            purpose = " ".join(f"[{number}](deviations.md#{anchor})" for number, anchor in enumerate(anchors, 1))
            lines.append(
                f"| {names} | " + " | ".join(_cell(found, row, peer) for peer in PEERS[space]) + f" | {purpose} |"
            )
    return lines


def page(found: Mapping[Index, float]) -> str:
    """Return the page for these differences."""
    names = ["keras", "torch", "optax", "scikit-learn", "torchmetrics", "jax", "numpy"]
    installed = [f"{name} {importlib.metadata.version(name).partition('+')[0]}" for name in names]
    versions = f"{', '.join(installed[:-1])} and {installed[-1]}"
    without = ", ".join(f"`{space}.{name}`" for space, names in NO_NUMBERS.items() for name in sorted(names))
    parts = [INTRODUCTION.format(versions=versions, without=without)]
    for space in SPACES:
        parts.append(f"## {space.capitalize()}\n\n" + "\n".join(_table(found, space)) + "\n")
    return "\n".join(parts)


def structure(page: str) -> list[str]:
    """Return the tables of a page without the digits: names, peers, and which of them were compared."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [re.sub(r"(?<=[ ])\d(e[-+]\d+)?(?=[ ])", "#", line) for line in lines]


def uncompared(found: Mapping[Index, float]) -> list[str]:
    """Return what Keras has under the same name and no test compared."""
    import keras

    missing = []
    for row in rows().values():
        theirs = getattr(keras, row.space)
        if any(hasattr(theirs, name) for name in row.names):
            missing += [
                f"{row.space}.{row.names[0]} with {peer}"
                for peer in KERAS.values()
                if (row.space, row.key, peer, "value") not in found
            ]
    return missing
