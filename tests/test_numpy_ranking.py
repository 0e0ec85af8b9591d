"""The NumPy backend counts pairs on sorted integers; the formula of the interface walks down the scores."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from multiloss.interface import Backend

from multiloss_numpy import backend as numpy_backend
from multiloss_numpy._ranking import ROUNDED

SIZE = 2 * ROUNDED

rng = np.random.default_rng(0)
KINDS = {
    "probabilities": lambda n: rng.random(n),
    "logits": lambda n: 5 * rng.normal(size=n),
    "float32": lambda n: rng.random(n).astype(np.float32),
    "a thousand values": lambda n: rng.integers(-500, 500, n) / 7,
    "factors apart": lambda n: 10.0 ** rng.uniform(-30, 0, n),
    "close together": lambda n: 1.0 + rng.integers(0, n, n) * 2.0**-52,
    "zeros of both signs": lambda n: np.where(
        rng.random(n) < 0.3, np.where(rng.random(n) < 0.5, -0.0, 0.0), rng.random(n)
    ),
    "infinite": lambda n: np.where(rng.random(n) < 0.1, np.inf, rng.normal(size=n)),
    "one value": lambda n: np.full(n, 0.25),
    "spread beyond float64": lambda n: rng.choice([-1e308, 1.0, 1e308], n) * rng.random(n),
}

derived = functools.partial(Backend.roc_area, numpy_backend)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 100, SIZE])
def test_the_area_is_that_of_the_formula(kind, size):
    scores = KINDS[kind](size)
    positive = rng.random(size) < 0.3
    wide = scores.astype(np.float64)
    expected = derived(wide, positive, None, None)
    area = numpy_backend.roc_area(scores, positive, None, None)
    assert area.dtype == scores.dtype
    assert area == pytest.approx(expected, rel=1e-12 if scores.dtype == np.float64 else 1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_count_as_in_the_formula(kind):
    scores = KINDS[kind](SIZE).astype(np.float64)
    positive, counts = rng.random(SIZE) < 0.3, (rng.random(SIZE) < 0.5).astype(np.int64)
    weights = np.where(counts == 1, 0.0, rng.random(SIZE))
    for given in ((counts, weights), (counts, 0 * weights), (3 * counts, 0 * weights), (0 * counts, weights)):
        expected = derived(scores, positive, *given)
        assert numpy_backend.roc_area(scores, positive, *given) == pytest.approx(expected, rel=1e-12)
        ranked = numpy_backend.ranked_counts(scores, positive, *given)
        np.testing.assert_allclose(ranked, Backend.ranked_counts(numpy_backend, scores, positive, *given), rtol=1e-12)


def test_a_nan_weight_makes_the_area_nan():
    scores, positive = np.array([0.1, 0.2, 0.3]), np.array([True, False, True])
    assert np.isnan(numpy_backend.roc_area(scores, positive, np.ones(3, int), np.full(3, np.nan)))


def test_arguments_stay_as_they_are():
    scores, positive = rng.normal(size=SIZE), rng.random(SIZE) < 0.5
    for each in (scores, positive):
        each.flags.writeable = False
    before = scores.copy()
    numpy_backend.roc_area(scores, positive, None, None)
    numpy_backend.roc_area(scores[::2], positive[::2], None, None)
    np.testing.assert_array_equal(scores, before)
