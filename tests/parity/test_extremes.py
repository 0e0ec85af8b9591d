"""Where peers lose digits: references from mpmath, with 60 digits. Losses of logits and probabilities have a grid of their
own, in tests/contract/test_exact_values.py.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from multiloss import losses, value_and_grad
from multiloss.interface import Backend

mpmath.mp.dps = 60
ERRORS = (0.0, 1e-12, -1e-8, 1e-4, 0.3, -0.999, 1.0, 1.001, -7.0, 40.0, 800.0, -1e6)


def relative(dtype: str) -> dict[str, float]:
    """At most a few units in the last place; below the smallest normal number nothing is asked."""
    return {"float32": {"rtol": 1e-6, "atol": 1e-37}, "float64": {"rtol": 2e-15, "atol": 1e-307}}[dtype]


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest, float64: None) -> str:
    return request.param


def rounded(x: float, dtype: str) -> mpf:
    return mpf(float(np.dtype(dtype).type(x)))


def evaluate(backend: Backend, name: str, y_true: Any, y_pred: Any, dtype: str) -> tuple[Any, Any]:
    y_true = backend.asarray(np.asarray(y_true, dtype))
    y_pred = backend.asarray(np.asarray(y_pred, dtype))
    values, gradient = value_and_grad(getattr(losses, name))(y_true, y_pred)
    return backend.to_numpy(values), backend.to_numpy(gradient)


def test_log_cosh_of_small_and_large_errors(backend: Backend, dtype: str) -> None:
    errors = np.array(ERRORS)[:, None]
    values, gradient = evaluate(backend, "log_cosh", np.zeros_like(errors), errors, dtype)
    exact = [rounded(each, dtype) for each in ERRORS]
    np.testing.assert_allclose(values, [float(mpmath.log(mpmath.cosh(e))) for e in exact], **relative(dtype))
    np.testing.assert_allclose(gradient[:, 0], [float(mpmath.tanh(e)) for e in exact], **relative(dtype))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-3, 1.0, 1e20, 1e30])
def test_cosine_similarity_of_short_and_long_vectors(backend: Backend, dtype: str, scale: float) -> None:
    a, b = np.array([[3.0, -4.0, 1.0]]), np.array([[1.0, 2.0, -2.0]])
    values, gradient = evaluate(backend, "cosine_similarity", a, b * scale, dtype)
    norm_a, norm_b = np.sqrt(mpf(26)), mpf(3)
    cosine = mpf(3 - 8 - 2) / (norm_a * norm_b)
    assert values[0] == pytest.approx(float(-cosine), rel=4 * float(np.finfo(dtype).eps))
    slope = [float(-(mpf(x) / norm_a - cosine * mpf(y) / norm_b) / norm_b) for x, y in zip(a[0], b[0], strict=True)]
    np.testing.assert_allclose(gradient[0] * scale, slope, rtol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("error", [1e-6, 1e-3, 0.999999, 1.000001, 1e15])
def test_huber_on_both_sides_of_the_joint(backend: Backend, dtype: str, error: float) -> None:
    values, gradient = evaluate(backend, "huber", [[0.0]], [[error]], dtype)
    e = rounded(error, dtype)
    expected = e * e / 2 if e <= 1 else e - mpf(1) / 2
    assert values[0] == pytest.approx(float(expected), rel=relative(dtype)["rtol"])
    assert gradient[0, 0] == pytest.approx(float(min(e, mpf(1))), rel=relative(dtype)["rtol"])
