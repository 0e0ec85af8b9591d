"""Where peers lose digits: references from mpmath, with 60 digits."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from multiloss import losses, value_and_grad
from multiloss.interface import Backend

mpmath.mp.dps = 60
LOGITS = (0.0, 1e-8, -1e-3, 0.5, -3.0, 20.0, -40.0, 90.0, -700.0, 750.0, 1e4, -1e4)
ERRORS = (0.0, 1e-12, -1e-8, 1e-4, 0.3, -0.999, 1.0, 1.001, -7.0, 40.0, 800.0, -1e6)


def relative(dtype: str) -> dict[str, float]:
    """At most a few units in the last place; below the smallest normal number nothing is asked."""
    return {"float32": {"rtol": 1e-6, "atol": 1e-37}, "float64": {"rtol": 2e-15, "atol": 1e-307}}[dtype]


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest, float64: None) -> str:
    return request.param


def softplus(z: mpf) -> mpf:
    return mpmath.log1p(mpmath.exp(z))


def rounded(x: float, dtype: str) -> mpf:
    return mpf(float(np.dtype(dtype).type(x)))


def evaluate(backend: Backend, name: str, y_true: Any, y_pred: Any, dtype: str, **parameters: Any) -> tuple[Any, Any]:
    y_true = np.asarray(y_true)
    y_true = backend.asarray(y_true if y_true.dtype.kind == "i" else y_true.astype(dtype))
    y_pred = backend.asarray(np.asarray(y_pred, dtype))
    values, gradient = value_and_grad(getattr(losses, name))(y_true, y_pred, **parameters)
    return backend.to_numpy(values), backend.to_numpy(gradient)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_binary_crossentropy_of_logits(backend: Backend, dtype: str, label: float) -> None:
    z = np.array(LOGITS)[:, None]
    values, gradient = evaluate(backend, "binary_crossentropy", np.full_like(z, label), z, dtype, from_logits=True)
    sign = 1 - 2 * label
    expected = [float(softplus(sign * rounded(each, dtype))) for each in LOGITS]
    slope = [float(sign / (1 + mpmath.exp(-sign * rounded(each, dtype)))) for each in LOGITS]
    np.testing.assert_allclose(values, expected, **relative(dtype))
    np.testing.assert_allclose(gradient[:, 0], slope, **relative(dtype))


@pytest.mark.parametrize("name", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_categorical_crossentropy_of_logits(backend: Backend, dtype: str, name: str) -> None:
    rows = [(0.0, z, -0.5 * z) for z in LOGITS]
    labels = np.ones(len(rows), "int32") if name.startswith("sparse") else np.tile([0.0, 1.0, 0.0], (len(rows), 1))
    values, gradient = evaluate(backend, name, labels, rows, dtype, from_logits=True)
    exact = [[rounded(z, dtype) for z in row] for row in rows]
    totals = [mpmath.fsum(mpmath.exp(z - max(row)) for z in row) for row in exact]
    expected = [float(mpmath.log(t) + max(row) - row[1]) for row, t in zip(exact, totals, strict=True)]
    slope = [
        [float(mpmath.exp(z - max(row)) / t - (k == 1)) for k, z in enumerate(row)]
        for row, t in zip(exact, totals, strict=True)
    ]
    # What is subtracted is of the size of the logits, so a loss near 0 is exact to the digits of the logits.
    scale = np.array([max(1.0, *map(abs, row)) for row in rows])
    np.testing.assert_array_less(np.abs(values - expected), 4 * np.finfo(dtype).eps * scale)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("label", "gamma"), [(1.0, 2.0), (0.0, 2.0), (1.0, 0.5)])
def test_binary_focal_crossentropy_of_logits(backend: Backend, dtype: str, label: float, gamma: float) -> None:
    z = np.array(LOGITS)[:, None]
    values, gradient = evaluate(
        *(backend, "binary_focal_crossentropy", np.full_like(z, label), z, dtype), from_logits=True, gamma=gamma
    )
    sign = 1 - 2 * label
    missed = [1 / (1 + mpmath.exp(-sign * rounded(each, dtype))) for each in LOGITS]
    expected = [float(p**gamma * softplus(sign * rounded(each, dtype))) for p, each in zip(missed, LOGITS, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=20 * relative(dtype)["rtol"], atol=relative(dtype)["atol"])
    assert np.isfinite(gradient).all()


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


def test_probabilities_of_exactly_0_and_1_are_finite(backend: Backend, dtype: str) -> None:
    p = np.array([[0.0, 1.0], [1.0, 0.0]])
    for name in ("binary_crossentropy", "categorical_crossentropy", "binary_focal_crossentropy", "kl_divergence"):
        values, gradient = evaluate(backend, name, [[1.0, 0.0], [1.0, 0.0]], p, dtype)
        assert np.isfinite(values).all()
        assert np.isfinite(gradient).all()
        assert values[0] > 7 > values[1]
