"""Data for the tests of the boosting libraries: one problem for each kind of objective."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from multiloss import losses


class Problem(NamedTuple):
    """Features, targets, and a loss for them."""

    x: Any
    y: Any
    loss: Any


def problems(rows: int = 400, seed: int = 0) -> dict[str, Problem]:
    """Return problems by the name of what is predicted. Features have few values, so that copies of rows bin alike."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 9, size=(rows, 5)) / 4.0
    z = x[:, 0] + x[:, 1] ** 2 - 1.0
    return {
        "values": Problem(x, z + 100.0 + 0.1 * rng.normal(size=rows), "mean_squared_error"),
        "labels": Problem(x, (z + rng.normal(size=rows) > 0).astype(float), "binary_crossentropy"),
        "counts": Problem(x, rng.poisson(np.exp(0.4 * z)).astype(float), "poisson"),
        "classes": Problem(x, np.digitize(z, [-0.5, 1.0]).astype(float), losses.SparseCategoricalCrossentropy()),
    }


PROBLEMS = problems()
WEIGHTS = np.random.default_rng(1).uniform(0.2, 3.0, 400)
COPIES = np.random.default_rng(2).integers(1, 4, 400)
"""How often a row is there, or how much it weighs."""
