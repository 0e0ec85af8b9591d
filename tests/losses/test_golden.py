"""The numbers of the seed documents: one batch, worked out by hand and by Keras 3."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import losses

Y_TRUE = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
Y_PRED = np.array([[0.05, 0.9, 0.05], [0.1, 0.8, 0.1]])
GOLDEN = {
    "mean_squared_error": (0.005, 0.486667),
    "mean_absolute_error": (0.066667, 0.6),
    "mean_absolute_percentage_error": (3.33333367e7, 3.0000003e8),
    "mean_squared_logarithmic_error": (0.002464, 0.237329),
    "hinge": (0.733333, 1.266667),  # Keras 3's: labels 0 and 1 become -1 and 1
    "squared_hinge": (0.738333, 1.753333),
    "categorical_hinge": (0.15, 1.7),
    "log_cosh": (0.002497, 0.218525),
    "categorical_crossentropy": (0.105361, 2.302585),
    "sparse_categorical_crossentropy": (0.105361, 2.302585),
    "binary_crossentropy": (0.069316, 1.339128),
    "kl_divergence": (0.105358, 2.302582),
    "poisson": (0.368453, 1.100861),
    "cosine_similarity": (-0.996928, -0.123091),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GOLDEN)
def test_the_seeds_batch_has_the_seeds_values(name, dtype, backend, tensor, host, float64):
    y_true = Y_TRUE.argmax(-1) if name.startswith("sparse") else Y_TRUE.astype(dtype)
    values = host(getattr(losses, name)(tensor(y_true), tensor(Y_PRED.astype(dtype))))
    np.testing.assert_allclose(values, GOLDEN[name], rtol=2e-6, atol=6e-7)


def test_hinge_leaves_signs_alone(backend, tensor, host):
    """Seed formula: labels that are -1 and 1 already are not mapped."""
    values = host(losses.hinge(tensor(2 * Y_TRUE - 1), tensor(Y_PRED)))
    np.testing.assert_allclose(values, GOLDEN["hinge"], rtol=2e-6)


@pytest.mark.parametrize("traced", [False, True])
def test_hinge_looks_for_signs_in_every_row(traced, backend, tensor, host, compiled):
    y_true, y_pred = np.ones((200, 2), np.float32), np.linspace(-0.9, 0.9, 400, dtype=np.float32).reshape(200, 2)
    y_true[190] = -1.0  # sorted labels, as many files have them
    hinge = compiled(losses.hinge) if traced else losses.hinge
    np.testing.assert_allclose(host(hinge(tensor(y_true), tensor(y_pred))), (1 - y_true * y_pred).mean(-1), rtol=1e-6)
    zeros_and_ones = np.maximum(y_true, 0.0)
    np.testing.assert_allclose(
        host(hinge(tensor(zeros_and_ones), tensor(y_pred))), (1 - y_true * y_pred).mean(-1), rtol=1e-6
    )


def test_a_sum_of_focal_elements_is_the_seeds_focal_loss(backend, tensor, host):
    y_true, p = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([[0.9, 0.2], [0.4, 0.6], [0.3, 0.7]])
    expected = -np.sum(np.where(y_true == 1, 0.25 * (1 - p) ** 2 * np.log(p), 0.75 * p**2 * np.log(1 - p)))
    loss = losses.BinaryFocalCrossentropy(apply_class_balancing=True, reduction="sum")
    np.testing.assert_allclose(host(loss(tensor(y_true), tensor(p))) * 2, expected, rtol=1e-5)
