"""What losses of logits and probabilities are, by their formulas, in mpmath with 100 digits: one row at a time.

A probability is clipped as the loss says, to the bounds as the dtype holds them. A new loss of logits or probabilities
is one entry of `REFERENCES`, and of `ROWS` if it is no loss of the kinds there.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from mpmath import exp, expm1, fsum, inf, log, log1p, mp, mpf

mp.dps = 100
EPSILON = 1e-7
Row = Sequence[mpf]


def rounded(x: float, dtype: str) -> mpf:
    """Return a number as the dtype holds it, exactly."""
    with np.errstate(all="ignore"):
        return mpf(float(np.dtype(dtype).type(x)))


def times(weight: mpf, x: mpf) -> mpf:
    return mpf(0) if weight == 0 else weight * x


# ── Parts of formulas ───────────────────────────────────────────────────────────────────────────────────────────


def bounds(dtype: str) -> tuple[mpf, mpf]:
    return rounded(EPSILON, dtype), rounded(1 - EPSILON, dtype)


def clipped(x: mpf, low: mpf, high: mpf) -> mpf:
    return min(max(x, low), high)


def softplus(z: mpf) -> mpf:
    return z + log1p(exp(-z)) if z > 0 else log1p(exp(z))


def sigmoid(z: mpf) -> mpf:
    return 1 / (1 + exp(-z)) if z > 0 else exp(z) / (1 + exp(z))


def softmax_nats(row: Row) -> list[mpf]:
    """Return `-log(softmax)`, by the other classes where a class is almost certain."""
    highest = max(row)
    result = []
    for at, z in enumerate(row):
        if z == -inf:
            result.append(inf)
        elif z == highest:
            result.append(log1p(fsum(exp(other - z) for k, other in enumerate(row) if k != at)))
        else:
            result.append(log(fsum(exp(other - highest) for other in row)) + highest - z)
    return result


def normalized(row: Row, dtype: str) -> list[mpf]:
    total = fsum(row)
    return [clipped(each / total if total else mpf(0), *bounds(dtype)) for each in row]


def nats_of(row: Row, dtype: str, from_logits: bool) -> list[mpf]:
    return softmax_nats(row) if from_logits else [-log(q) for q in normalized(row, dtype)]


# ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────────────


def binary_crossentropy(
    true: Row, pred: Row, dtype: str, from_logits: bool = False, label_smoothing: float = 0.0, **_: Any
) -> mpf:
    t = smoothed(true[0], label_smoothing, 2, dtype)
    if from_logits:
        return times(t, softplus(-pred[0])) + times(1 - t, softplus(pred[0]))
    p = clipped(pred[0], *bounds(dtype))
    return times(t, -log(p)) + times(1 - t, -log1p(-p))


def smoothed(t: mpf, a: float, classes: int, dtype: str) -> mpf:
    """Return a smoothed label, from numbers that are rounded on the way as labels in the dtype must be."""
    if not a:
        return t
    return mpf(float(np.dtype(dtype).type(float(t) * (1.0 - a) + a / classes)))


def binary_focal_crossentropy(
    true: Row,
    pred: Row,
    dtype: str,
    from_logits: bool = False,
    gamma: float = 2.0,
    alpha: float = 0.25,
    apply_class_balancing: bool = False,
    label_smoothing: float = 0.0,
    **_: Any,
) -> mpf:
    t = smoothed(true[0], label_smoothing, 2, dtype)
    p, q = (sigmoid(pred[0]), sigmoid(-pred[0])) if from_logits else (pred[0], 1 - pred[0])
    value = (t * q + (1 - t) * p) ** mpf(gamma) * binary_crossentropy([t], pred, dtype, from_logits)
    return value * (t * mpf(alpha) + (1 - t) * (1 - mpf(alpha))) if apply_class_balancing else value


def categorical_crossentropy(
    true: Row, pred: Row, dtype: str, from_logits: bool = False, label_smoothing: float = 0.0, **_: Any
) -> mpf:
    labels = [smoothed(t, label_smoothing, len(true), dtype) for t in true]
    return fsum(times(t, nats) for t, nats in zip(labels, nats_of(pred, dtype, from_logits), strict=True))


def categorical_focal_crossentropy(
    true: Row,
    pred: Row,
    dtype: str,
    from_logits: bool = False,
    gamma: float = 2.0,
    alpha: float = 0.25,
    label_smoothing: float = 0.0,
    **_: Any,
) -> mpf:
    labels = [smoothed(t, label_smoothing, len(true), dtype) for t in true]
    nats = nats_of(pred, dtype, from_logits)
    return mpf(alpha) * fsum(
        times(t, (-expm1(-each)) ** mpf(gamma) * each) for t, each in zip(labels, nats, strict=True) if t
    )


def of_index(dense: Callable[..., mpf]) -> Callable[..., mpf]:
    """Return the loss of a class index, from that of one-hot labels."""

    def sparse(index: Any, pred: Row, dtype: str, **parameters: Any) -> mpf:
        return dense([mpf(int(k == index)) for k in range(len(pred))], pred, dtype, **parameters)

    return sparse


def kl_divergence(true: Row, pred: Row, dtype: str) -> mpf:
    low = rounded(EPSILON, dtype)
    pairs = [(clipped(t, low, mpf(1)), clipped(p, low, mpf(1))) for t, p in zip(true, pred, strict=True)]
    return fsum(t * log(t / p) for t, p in pairs)


def generalized(index: Any, pred: Row, dtype: str, q: float = 0.5, label_smoothing: float = 0.0, **_: Any) -> mpf:
    values = [(1 - p ** mpf(q)) / mpf(q) for p in pred]
    labels = [smoothed(mpf(int(k == index)), label_smoothing, len(pred), dtype) for k in range(len(pred))]
    return fsum(times(t, value) for t, value in zip(labels, values, strict=True))


def tversky(true: Row, pred: Row, dtype: str, alpha: float = 0.5, beta: float = 0.5, **_: Any) -> mpf:
    pairs = list(zip(true, pred, strict=True))
    missed = fsum(mpf(alpha) * (1 - t) * p + mpf(beta) * t * (1 - p) for t, p in pairs)
    size = fsum(t * p for t, p in pairs) + missed
    return missed / size if size else mpf(0)


def dice(true: Row, pred: Row, dtype: str, **_: Any) -> mpf:
    return tversky(true, pred, dtype)


def ctc(labels: Sequence[int], pred: Sequence[Row], dtype: str, blank: int = 0, **_: Any) -> mpf:
    """Return `-log` of the probability of all alignments, one by one, by those of the others where that is almost 0."""
    nats = [softmax_nats(row) for row in pred]
    wanted = [label for label in labels if label != blank]
    hit, missed = [], []
    for path in itertools.product(range(len(pred[0])), repeat=len(pred)):
        merged = [k for k, _ in itertools.groupby(path) if k != blank]
        (hit if merged == wanted else missed).append(exp(-fsum(step[k] for step, k in zip(nats, path, strict=True))))
    return -log(fsum(hit)) if fsum(hit) < 0.5 else -log1p(-fsum(missed))


REFERENCES: dict[str, Callable[..., mpf]] = {
    "binary_crossentropy": binary_crossentropy,
    "binary_focal_crossentropy": binary_focal_crossentropy,
    "categorical_crossentropy": categorical_crossentropy,
    "categorical_focal_crossentropy": categorical_focal_crossentropy,
    "categorical_generalized_cross_entropy": generalized,
    "ctc": ctc,
    "dice": dice,
    "kl_divergence": kl_divergence,
    "sparse_categorical_crossentropy": of_index(categorical_crossentropy),
    "sparse_categorical_focal_crossentropy": of_index(categorical_focal_crossentropy),
    "tversky": tversky,
}
CHANGE_NUMBERS = frozenset({"from_logits", "label_smoothing", "gamma", "alpha", "apply_class_balancing", "q", "beta"})
"""The parameters that the references know: others choose axes and entries, or only multiply."""

# ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────────

LOGITS = (
    0.0,
    *(sign * each for each in (1e-30, 1e-8, 1e-3, 1.0, 12.0, 20.0, 37.0, 88.0, 750.0, 1e4) for sign in (1, -1)),
)
PROBABILITIES = (0.0, 1e-300, 1e-30, 1e-8, 2e-7, 1e-4, 0.3, 0.5, 0.9, 0.999, 1 - 1e-6, 1 - 2e-16, 1.0)


def rows(target: str, prediction: str, from_logits: bool) -> Iterator[tuple[Any, Any]]:
    """Yield targets and predictions of one row each, at which formulas lose digits."""
    if target == "class index sequence":
        for z in (0.0, 1.0, -12.0, 12.0, 37.0, 88.0, -88.0, 1e4):
            yield [1, 2], [[0.0, z, -z], [z, 0.0, 0.5 * z], [-z, 0.0, z]]
        return
    if prediction.startswith("probability") and target == "probability":
        grid = LOGITS if from_logits else PROBABILITIES
        for t, x in itertools.product((0.0, 1.0, 0.3), grid):
            yield [t], [x]
        return
    if from_logits:
        scores = [[0.0, z, -0.5 * z] for z in LOGITS]
        scores += [[z, 0.0, -float("inf")] for z in (0.0, 12.0, -37.0, 1e4)]
        scores += [[1e4, 1e4 + 1.0, 1e4 - 20.0], [-1e4, -1e4, -1e4], [3.0, 3.0, 3.0], [40.0, 0.0, -3.0]]
    else:
        scores = [[p, (1 - p) / 2, (1 - p) / 2] for p in PROBABILITIES]
        scores += [[2.0, 1.0, 1.0], [1e-30, 2e-30, 1e-30], [1e-4, 1e-4, 1.0], [1e30, 1e30, 2e30]]
        if prediction == "distribution":
            scores = [row for row in scores if abs(sum(row) - 1) < 1e-3]
    for row in scores:
        for k in (0, 1):
            yield (k if target == "class index" else [float(k == at) for at in range(3)]), row
        if target == "one-hot" and float("-inf") not in row:
            yield [0.2, 0.5, 0.3], row


def overlaps() -> Iterator[tuple[Any, Any]]:
    """Yield regions and predictions, from perfect to wrong."""
    for p in PROBABILITIES:
        yield [1.0, 0.0, 1.0], [p, 1 - p, p]
        yield [1.0, 0.3, 1.0], [1.0, 0.3, p]
        yield [0.0, 0.0, 0.0], [p, p, 0.0]


def distributions() -> Iterator[tuple[Any, Any]]:
    for p in PROBABILITIES:
        for t in (0.0, 1.0, 0.25):
            yield [t, 1 - t], [p, 1 - p]


ROWS: dict[str, Callable[[], Iterator[tuple[Any, Any]]]] = {
    "dice": overlaps,
    "tversky": overlaps,
    "kl_divergence": distributions,
}


def grid(name: str, target: str, prediction: str, parameters: dict[str, Any]) -> list[tuple[Any, Any]]:
    made = ROWS[name]() if name in ROWS else rows(target, prediction, bool(parameters.get("from_logits")))
    return list(made)


def exactly(x: Any, dtype: str) -> Any:
    """Return nested floats as the dtype holds them; class indices stay integers."""
    if isinstance(x, list):
        return [exactly(each, dtype) for each in x]
    return x if isinstance(x, int) else rounded(x, dtype)


def slope(f: Callable[[mpf], mpf], x: mpf) -> float | None:
    """Return the derivative, or None at a kink and where it is infinite."""
    if x in (inf, -inf) or 0 < abs(x) < mpf(10) ** -40:
        return None
    step = abs(x) * mpf(10) ** -25 if x else mpf(10) ** -30
    at = f(x)
    if at in (inf, -inf):
        return None
    sides = [(f(x + sign * step) - at) / (sign * step) for sign in (1, -1)]
    if any(not isinstance(each, mpf) or abs(each) > mpf(10) ** 37 for each in sides):
        return None
    near = abs(sides[0] - sides[1]) <= mpf(10) ** -14 * max(abs(sides[0]), mpf(10) ** -20)
    return float(sides[0]) if near else None


def gradient(f: Callable[[Any], mpf], pred: list[Any]) -> list[Any]:
    """Return the derivative for each entry of a row, or of rows of them."""

    def entry(path: tuple[int, ...], x: Any) -> Any:
        if isinstance(x, list):
            return [entry((*path, at), each) for at, each in enumerate(x)]
        return slope(lambda moved: f(replaced(pred, path, moved)), x)

    return [entry((at,), each) for at, each in enumerate(pred)]


def replaced(row: list[Any], path: tuple[int, ...], x: mpf) -> list[Any]:
    first, *rest = path
    return [(replaced(each, tuple(rest), x) if rest else x) if at == first else each for at, each in enumerate(row)]


@functools.cache
def expected(
    name: str, target: str, prediction: str, dtype: str, parameters: tuple[tuple[str, Any], ...]
) -> tuple[list[mpf], list[Any]]:
    """Return value and gradient of each row of the grid; None where there is no derivative."""
    reference, given = REFERENCES[name], dict(parameters)
    values, gradients = [], []
    for true, pred in grid(name, target, prediction, given):
        t = exactly(true, dtype)
        row = exactly(pred, dtype)
        values.append(reference(t, row, dtype, **given))
        gradients.append(gradient(functools.partial(_of_pred, reference, t, dtype, given), row))
    return values, gradients


def _of_pred(reference: Callable[..., mpf], true: Any, dtype: str, given: dict[str, Any], pred: Any) -> mpf:
    return reference(true, pred, dtype, **given)
