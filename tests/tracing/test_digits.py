"""What a compiler makes of rows, values and gradients, has the digits that the formula has in float64."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
from multiloss import losses, value_and_grad
from multiloss.dispatch import K

pytestmark = pytest.mark.backends("torch", "jax")


@pytest.fixture
def jit(backend):
    """Return what compiles a function: torch's tracer alone, whose C++ compiler takes seconds for each, or all of JAX."""
    if backend.name == "jax":
        yield backend.jit
        return
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's compiler deprecates parts of itself
        yield functools.partial(torch.compile, fullgraph=True, backend="eager")
    torch._dynamo.reset()


COLUMNS = 16  # compilers treat rows of one entry as none
SIZES = np.float32([1e-12, 1e-6, 1e-3, 0.1, 0.5, 1.0, 3.0, 19.9, 20.0, 20.1, 80.0, 1e4])


def rows(values):
    return np.repeat(np.float32(values)[:, None], COLUMNS, 1)


def test_log_cosh_has_its_digits_at_any_size(jit, backend, tensor, host):
    errors = SIZES.astype(np.float64)
    with np.errstate(over="ignore"):
        expected = np.where(
            errors > 15, errors - np.log(2.0), np.log1p(2.0 * np.sinh(np.minimum(errors, 15) / 2.0) ** 2)
        )
    compiled = jit(losses.log_cosh)
    np.testing.assert_allclose(host(compiled(tensor(rows(0.0 * SIZES)), tensor(rows(SIZES)))), expected, rtol=1e-6)


def test_log_cosh_has_a_gradient_with_digits(backend, tensor, host):
    _, gradient = value_and_grad(losses.LogCosh(reduction="sum"))(tensor(rows(0.0 * SIZES)), tensor(rows(SIZES)))
    np.testing.assert_allclose(host(gradient) * COLUMNS, rows(np.tanh(SIZES.astype(np.float64))), rtol=1e-6)


@pytest.mark.parametrize("name", ["log1p", "expm1", "log_sigmoid"])
def test_a_sum_of_small_values_keeps_their_digits(name, jit, backend, tensor, host):
    sizes = np.float32([-0.999, -0.5, -1e-4, -1e-12, 1e-30, 1e-12, 1e-7, 1e-4, 0.3, 0.999, 1.0, 50.0])
    x = sizes.astype(np.float64)
    expected = {"log1p": np.log1p(x), "expm1": np.expm1(x), "log_sigmoid": -np.log1p(np.exp(-x))}[name]
    operation = {"log1p": K.log1p, "expm1": K.expm1, "log_sigmoid": K.log_sigmoid}[name]
    compiled = jit(lambda x: K.sum(operation(x), axis=-1))
    np.testing.assert_allclose(host(compiled(tensor(rows(sizes)))) / COLUMNS, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1, 50257), -1), ((50257, 1), 0), ((2, 50257, 1), 1), ((2, 1, 50257), -1), ((1, 50257, 1, 1), 1)],
)
def test_a_row_beside_axes_of_one_keeps_what_is_small_beside_one_large_term(shape, axis, jit, backend, tensor, host):
    classes, smoothing = shape[axis], 0.1
    p = np.full(shape, np.exp(-11.0), np.float32)
    labels = np.moveaxis(np.zeros_like(p), axis, -1)
    labels[..., 0] = 1.0
    labels = np.ascontiguousarray(np.moveaxis(labels, -1, axis))
    loss = jit(lambda y, p: losses.categorical_crossentropy(y, p, label_smoothing=smoothing, axis=axis))
    found = host(loss(tensor(labels), tensor(p)))
    expected = np.full(labels.sum(axis).shape, np.log(classes))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_log1p_has_its_values_at_the_edges(jit, backend, tensor, host):
    compiled = jit(lambda x: K.log1p(x) * 1.0)
    found = host(compiled(tensor(np.float32([-1.0, 0.0, np.inf, np.nan, -2.0]))))
    np.testing.assert_array_equal(found, np.float32([-np.inf, 0.0, np.inf, np.nan, np.nan]))


@pytest.mark.parametrize("size", [2e-38, 1e-20, 1.0, 1e20, 3e38])
def test_vectors_of_any_length_have_a_direction(size, jit, backend, tensor, host):
    x = np.float32(size) * np.eye(3, COLUMNS, dtype=np.float32)
    x[1] = np.float32(size)
    expected = np.eye(3, COLUMNS)
    expected[1] = 0.25
    np.testing.assert_allclose(host(jit(K.l2_normalize)(tensor(x))), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "converted"),
    [([0.0, 1.0], True), ([1.0, 1.0], True), ([-1.0, 1.0], False), ([0.0, 1.0, np.inf], False), ([0.0, 1e-30], False)],
)
def test_labels_are_converted_if_all_are_0_or_1(labels, converted, jit, backend, tensor, host):
    labels = np.float32(labels)
    scores = np.full_like(labels, 0.5)
    signs = 2.0 * labels - 1.0 if converted else labels
    expected = np.maximum(1.0 - signs * scores, 0.0).mean()
    np.testing.assert_allclose(
        host(jit(losses.hinge)(tensor(labels[None]), tensor(scores[None])))[0], expected, rtol=1e-6
    )


def test_a_confident_prediction_keeps_the_digits_of_its_cross_entropy(jit, backend, tensor, host):
    p = np.float32([1e-7, 1e-6, 1e-3, 0.3, 0.5, 0.9, 0.999999])
    for label in (0.0, 1.0):
        probability = p.astype(np.float64)
        expected = -np.log(probability) if label else -np.log1p(-probability)
        found = host(jit(losses.binary_crossentropy)(tensor(rows(0.0 * p + np.float32(label))), tensor(rows(p))))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
