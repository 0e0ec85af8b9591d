"""What a cross-entropy of many classes is, in NumPy's float64 and in the plainest way."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def reference(
    target: Array,
    logits: Array,
    row_weight: Array = None,
    *,
    label_smoothing: float = 0.0,
    class_weight: Array = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
) -> tuple[Array, Array]:
    """Return the weighted loss of each row (N,), and the gradient of their sum for the logits (N, V).

    `target` is (N,) or (N, V). The logit of a label stays out of the sum of its row, as confident rows need it.
    """
    given = np.asarray(logits, np.float64)
    rows, classes = given.shape
    row_weight = np.ones(rows) if row_weight is None else np.broadcast_to(np.asarray(row_weight, np.float64), (rows,))
    class_weight = np.ones(classes) if class_weight is None else np.asarray(class_weight, np.float64)
    hot = np.eye(classes)[target] if np.ndim(target) == 1 else np.asarray(target, np.float64)
    t = class_weight * ((1.0 - label_smoothing) * hot + label_smoothing / classes)
    values, gradient = np.zeros(rows), np.zeros((rows, classes))
    for row in np.flatnonzero(row_weight):
        z = given[row] if softcap is None else softcap * np.tanh(given[row] / softcap)
        cost, p_less_hot = _costs(z)
        counts = t[row] != 0
        lse = z.max() + np.log(np.exp(z - z.max()).sum())
        values[row] = (t[row][counts] * cost[counts]).sum() + z_loss * lse**2
        slope = (t[row][counts, None] * p_less_hot[counts]).sum(0) + 2.0 * z_loss * lse * np.exp(z - lse)
        gradient[row] = slope if softcap is None else slope * (1.0 - (z / softcap) ** 2)
    return values * row_weight, gradient * row_weight[:, None]


def _costs(z: Array) -> tuple[Array, Array]:
    """Return `lse - z` for each class (V,), and its gradient (V, V): that of class v is `p - [v]`."""
    relative = z[None, :] - z[:, None]
    np.fill_diagonal(relative, -np.inf)
    shift = np.maximum(relative.max(1, initial=-np.inf), 0.0)[:, None]
    others = np.exp(relative - shift).sum(1)
    cost = np.where(shift[:, 0] == 0, np.log1p(others), shift[:, 0] + np.log(np.exp(-shift[:, 0]) + others))
    p = np.exp(-cost)  # of each class, with all its digits
    slopes = np.tile(p, (len(z), 1))
    np.fill_diagonal(slopes, np.expm1(-cost))
    return cost, slopes
