"""Formulas use K and Python's operators, and nothing else: they run on tensors that allow nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors, grad, losses, use_backend
from multiloss.testing import BackendConformance, assert_close, example, public_loss_classes, variants
from tests.contract.facts import CLASSES, spec
from tests.fakes.strict import StrictTensor


class TestStrictConformance(BackendConformance):
    @pytest.fixture
    def backend(self, strict_backend):
        return strict_backend


@pytest.mark.parametrize(
    "misuse",
    [
        lambda x: bool(x),
        lambda x: float(x),
        lambda x: list(x),
        lambda x: x[x > 0],
        lambda x: x[[0]],
        lambda x: np.ones(2) + x,
        lambda x: x + np.ones(2),
        lambda x: x + StrictTensor(np.ones(2)),
        lambda x: x + StrictTensor(np.ones((1, 2), np.float32)),
        lambda x: x.sum(),
        lambda x: x.T,
        lambda x: (x == x) * 2.0,
    ],
)
def test_strict_tensors_refuse_misuse(misuse):
    with pytest.raises((TypeError, AttributeError)):
        misuse(StrictTensor(np.ones(2, np.float32)))


@pytest.mark.parametrize("name", CLASSES)
def test_every_loss_uses_nothing_but_k_and_operators(name, strict_backend):
    for parameters in variants(spec(name)):
        loss = public_loss_classes()[name](reduction="mean_with_sample_weight", **parameters)
        y_true, y_pred = example(spec(name), (4, 4), parameters)
        weight, mask = np.array([1.0, 0.0, 2.0, 0.5]), np.array([True, True, False, True])
        result = loss(*(StrictTensor(each) for each in (y_true, y_pred, weight, mask)))
        assert isinstance(result, StrictTensor)
        with use_backend("numpy"):
            assert_close(strict_backend.to_numpy(result), loss(y_true, y_pred, weight, mask), "float64")


def test_host_data_joins_its_tensors(strict_backend):
    result = losses.MeanSquaredError()([[1.0, 2.0]], StrictTensor(np.array([[0.0, 0.0]], np.float32)))
    assert isinstance(result, StrictTensor)
    assert isinstance(losses.MeanSquaredError()([[1.0, 2.0]], [[0.0, 0.0]]), StrictTensor)


def test_gradients_are_refused_by_name(strict_backend):
    with pytest.raises(_errors.NotSupportedError, match="strict"):
        grad(losses.MeanSquaredError())([[1.0]], StrictTensor(np.ones((1, 1), np.float32)))


def test_an_unregistered_tensor_is_refused():
    with pytest.raises(_errors.UnknownTensorError, match="StrictTensor"):
        losses.mean_squared_error([1.0], StrictTensor(np.ones(1, np.float32)))
