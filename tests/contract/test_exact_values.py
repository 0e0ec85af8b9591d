"""Losses of logits and probabilities against mpmath, at extremes: right to the last digits, with a finite gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from multiloss.testing import variants
from tests.contract import exact
from tests.contract.facts import FUNCTIONS, function, spec, value_and_gradient

DECLARED = [
    name
    for name in FUNCTIONS
    if any(word in spec(name).prediction for word in ("probability", "logit", "distribution"))
]
"""The losses that say that they take logits or probabilities."""


class Bound(NamedTuple):
    """How far a value may be from the exact one: `relative + absolute`, both in units of the dtype."""

    ulps: float
    """In units in the last place of the value; in float32 at least 1e-6 of it."""
    epsilons: float
    """In units in the last place of 1: what is lost where a value near 0 is left of numbers near 1."""
    why: str


EXACT = Bound(4, 0, "the rule")
BOUNDS = {
    ("binary_focal_crossentropy", "logits"): Bound(8, 0, "a power and three factors round too"),
    ("binary_focal_crossentropy", "probabilities"): Bound(8, 0, "a power and three factors round too"),
    ("categorical_focal_crossentropy", "logits"): Bound(8, 0, "a power and three factors round too"),
    ("sparse_categorical_focal_crossentropy", "logits"): Bound(8, 0, "a power and three factors round too"),
    **dict.fromkeys(
        [
            (name, "probabilities")
            for name in (
                "categorical_crossentropy",
                "categorical_focal_crossentropy",
                "sparse_categorical_crossentropy",
                "sparse_categorical_focal_crossentropy",
            )
        ],
        Bound(4, 1, "a probability divided by the sum of all is rounded to the digits of 1"),
    ),
    ("categorical_generalized_cross_entropy", "probabilities"): Bound(4, 1, "a power is rounded to the digits of 1"),
    ("kl_divergence", "probabilities"): Bound(4, 1, "terms of both signs cancel"),
    ("ctc", "logits"): Bound(4, 4, "the sum over all alignments of several steps cancels the normalizers"),
}
"""Where 4 units cannot be met, what is, and why."""
SMOOTHED = 8
"""With label smoothing a label of 0.9 is rounded before it is taken from 1: so much more of everything."""
SLOPES = 128
"""How far a gradient may be from the exact one, in units in the last place of the largest slope of its row, and of 1."""


def takes(name, parameters):
    if spec(name).prediction == "logits" or parameters.get("from_logits"):
        return "logits"
    return "probabilities"


CASES = [
    (name, parameters)
    for name in DECLARED
    for parameters in (
        *variants(spec(name)),
        *(
            {"from_logits": True, **each}
            for each in variants(spec(name))
            if "from_logits" in spec(name).defaults and each and "from_logits" not in each
        ),
    )
    if parameters.keys() <= exact.CHANGE_NUMBERS
]


def test_every_loss_of_logits_or_probabilities_has_a_reference():
    missing = set(DECLARED) - exact.REFERENCES.keys()
    assert not missing, f"Add the formulas of {missing} to tests/contract/exact.py."


def arrays(name, parameters, dtype):
    true, pred = zip(*exact.grid(name, spec(name).target, spec(name).prediction, parameters), strict=True)
    true, pred = np.array(true), np.array(pred)
    with np.errstate(all="ignore"):
        return true.astype(dtype) if true.dtype.kind == "f" else true, pred.astype(dtype)


ROWS = 32
"""A grid is filled up to a multiple of this: losses with as many rows share what JAX compiles for a shape."""


def filled(x):
    return np.concatenate([x, np.repeat(x[:1], -len(x) % ROWS, axis=0)])


def evaluated(name, parameters, dtype, tensor):
    """Return values and gradients of the grid (None where a backend has none), and what they are exactly."""
    y_true, y_pred = arrays(name, parameters, dtype)
    by_row = {"axis": -1} if spec(name).event == "ratio" else {}
    given = tensor(filled(y_true)), tensor(filled(y_pred))
    values, gradient = value_and_gradient(function(name), *given, **parameters, **by_row)
    values, gradient = values[: len(y_true)], None if gradient is None else gradient[: len(y_true)]
    expected, slopes = exact.expected(name, spec(name).target, spec(name).prediction, dtype, tuple(parameters.items()))
    return values, gradient, np.array(expected, float), np.array(slopes, float), (y_true, y_pred)


IDS = [f"{name}-{parameters}" for name, parameters in CASES]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "parameters"), CASES, ids=IDS)
def test_a_value_is_right_to_its_last_digits(name, parameters, dtype, backend, tensor, float64):
    values, _, expected, _, (y_true, y_pred) = evaluated(name, parameters, dtype, tensor)
    ulps, epsilons, _ = BOUNDS.get((name, takes(name, parameters)), EXACT)
    with np.errstate(all="ignore"):
        rounded = np.abs(expected).astype(dtype)
        finite = np.isfinite(rounded)
        unit = np.spacing(np.where(finite, rounded, 1)).astype(float)
    allowed = ulps * np.maximum(unit, np.finfo(dtype).tiny)  # below the smallest normal number nothing is asked
    if dtype == "float32":
        allowed = np.maximum(allowed, 1e-6 * np.where(finite, expected, 0))
    allowed = (allowed + epsilons * np.finfo(dtype).eps) * (SMOOTHED if "label_smoothing" in parameters else 1)
    np.testing.assert_array_equal(values[~finite], rounded[~finite])
    wrong = np.flatnonzero(~(np.abs(np.where(finite, values, 0) - np.where(finite, expected, 0)) <= allowed))
    found = [(y_true[row].tolist(), y_pred[row].tolist(), values[row], expected[row]) for row in wrong]
    assert not found, f"{len(found)} rows, such as (y_true, y_pred, value, exact value) = {found[:3]}"


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "parameters"), CASES, ids=IDS)
def test_a_gradient_is_finite_and_right(name, parameters, dtype, backend, tensor, float64):
    values, gradient, _, slopes, (y_true, y_pred) = evaluated(name, parameters, dtype, tensor)
    axes = tuple(range(1, gradient.ndim))
    finite = np.isfinite(values)  # an infinite loss has no slope
    assert np.isfinite(gradient[finite]).all()
    known = ~np.isnan(slopes) & finite.reshape(-1, *(1 for _ in axes))
    exact_slopes = np.where(known, slopes, 0)
    largest = np.maximum(np.abs(exact_slopes).max(axes, keepdims=True), 1)
    steep = 4 if parameters.get("gamma", 1) < 1 else 1  # where 1 - q is rounded, and then divided by its root
    allowed = steep * SLOPES * np.finfo(dtype).eps * (np.abs(exact_slopes) + largest)
    wrong = np.flatnonzero((np.abs(np.where(known, gradient, 0) - exact_slopes) > allowed).any(axes))
    found = [(y_true[row].tolist(), y_pred[row].tolist(), gradient[row], slopes[row]) for row in wrong]
    assert not found, f"{len(found)} rows, such as (y_true, y_pred, gradient, exact gradient) = {found[:3]}"
    assert known.mean() > 0.5
