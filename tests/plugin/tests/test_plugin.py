"""multiloss finds the plugin by its tensors, and the plugin passes the conformance suite unchanged."""

from __future__ import annotations

import subprocess
import sys

import array_api_strict as xp
import autograd
import multiloss
import multiloss_array_api_strict
import numpy as np
import pytest
from multiloss import losses
from multiloss._errors import MixedBackendsError, NotSupportedError
from multiloss.testing import BackendConformance


class TestArrayApiStrict(BackendConformance):
    @pytest.fixture
    def backend(self):
        return multiloss_array_api_strict.backend


def test_it_is_among_the_available_backends():
    assert "array_api_strict" in multiloss.available_backends()


def test_a_loss_of_its_tensors_needs_no_name():
    y_true, y_pred = xp.asarray([[0.0, 1.0], [1.0, 0.0]]), xp.asarray([[0.25, 0.75], [0.5, 0.5]])
    result = losses.CategoricalCrossentropy()(y_true, y_pred, xp.asarray([1.0, 3.0]))
    assert type(result) is type(y_pred)
    expected = losses.CategoricalCrossentropy()(np.eye(2)[[1, 0]], np.array([[0.25, 0.75], [0.5, 0.5]]), [1.0, 3.0])
    assert float(result) == pytest.approx(float(expected))


def test_host_data_goes_to_it_when_it_is_active():
    with multiloss.use_backend("array_api_strict"):
        assert isinstance(losses.mean_squared_error([1.0, 2.0], [0.0, 0.0]), type(xp.asarray(0.0)))


def test_gradients_are_refused():
    with pytest.raises(NotSupportedError, match="array_api_strict"):
        multiloss.grad(losses.MeanSquaredError())(xp.asarray([1.0]), xp.asarray([2.0]))


def test_tensors_of_two_frameworks_are_refused():
    """The other is autograd, which is installed with multiloss: its boxes are what NumPy is differentiated with."""

    def of_both(x):
        return losses.mean_squared_error(xp.asarray([1.0]), x)

    with pytest.raises(MixedBackendsError, match=r"array_api_strict.*numpy|numpy.*array_api_strict"):
        autograd.grad(of_both)(np.ones(1))


def test_it_is_loaded_by_its_tensors_alone():
    """Not when multiloss is imported, and not when other tensors arrive."""
    program = (
        "import sys, multiloss, numpy\n"
        "multiloss.losses.mean_squared_error(numpy.ones(2), numpy.ones(2))\n"
        "assert 'multiloss_array_api_strict' not in sys.modules\n"
        "import array_api_strict as xp\n"
        "multiloss.losses.mean_squared_error(xp.ones(2), xp.ones(2))\n"
        "assert 'multiloss_array_api_strict' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
