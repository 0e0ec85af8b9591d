"""`check_loss` and `check_metric`: public losses and metrics pass, and broken ones are told which rule they break."""

from __future__ import annotations

import re

import multiloss.losses
import numpy as np
import pytest
from multiloss._errors import ArgumentError
from multiloss.losses import Loss
from multiloss.testing import check_loss, check_metric, public_loss_classes, public_losses
from tests.contract import metric_facts
from tests.contract import test_suite_notices as faults
from tests.contract import test_suite_notices_metrics as metric_faults
from tests.contract.facts import CLASSES, FUNCTIONS, data, spec

SAMPLES = [name for name in CLASSES if spec(name).event != "ratio"]
MEANS = [name for name in FUNCTIONS if spec(name).event in ("mean", "joint")]
Y_TRUE = np.array([[0.5, -1.0], [0.0, 2.0], [1.0, 1.5], [-0.5, 0.3], [0.7, 0.1]], np.float32)
Y_PRED = np.array([[0.1, -1.7], [0.6, 3.0], [0.2, 1.1], [-1.5, 0.9], [0.4, 0.8]], np.float32)


@pytest.mark.backends("numpy", "torch")  # JAX compiles each of a dozen calls, and has these rules in other tests
@pytest.mark.parametrize("name", SAMPLES)
def test_public_losses_pass(name, backend):
    check_loss(public_loss_classes()[name](), *data(name), jit=False)


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize("name", MEANS)
def test_public_loss_functions_pass(name, backend):
    check_loss(public_losses()[name], *data(name), jit=False)


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize("name", metric_facts.CLASSES)
def test_public_metrics_pass(name, backend):
    metric = metric_facts.make(name)
    check_metric(metric, *metric_facts.data(metric))


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (faults.ignores_weights, "weight 0"),
        (faults.ignores_the_mask, "masked"),
        (faults.masks_by_multiplication, None),
        (faults.divides_by_what_is_masked, "denominator"),
        (faults.adds_up_means, "add up"),
        pytest.param(faults.has_no_gradient_where_it_is_0, "finite where", marks=pytest.mark.needs("gradients")),
        pytest.param(faults.cuts_its_gradient, "central differences", marks=pytest.mark.needs("gradients")),
        (faults.forgets_a_parameter, None),
        (faults.rounds_float64, "float64 stays float64"),
        (faults.compares_within_the_batch, "add up"),
    ],
)
def test_a_broken_loss_is_told_its_rule(plant, rule, backend, float64):
    _, cls = plant()
    loss = cls(delta=2.0) if plant is faults.forgets_a_parameter else cls()
    with pytest.raises(AssertionError, match=f"planted breaks a rule: .*{rule or ''}"):
        check_loss(loss, Y_TRUE, Y_PRED, jit=False)


def test_a_healthy_loss_of_ones_own_passes(backend, float64):
    class Own(Loss):
        def call(self, y_true, y_pred):
            return multiloss.losses.mean_squared_error(y_true, y_pred) * 0.5

    check_loss(Own(), Y_TRUE, Y_PRED)
    check_loss(faults.healthy()[1](delta=0.3), Y_TRUE, Y_PRED, jit=False)
    probabilities = np.abs(Y_PRED) / np.abs(Y_PRED).sum(1, keepdims=True)
    check_loss(faults.healthy_sparse()[1](), [0, 1, 1, 0, 1], probabilities, jit=False)


@pytest.mark.parametrize(
    "plant",
    [
        metric_faults.metric_ignores_weights,
        metric_faults.metric_ignores_the_mask,
        metric_faults.metric_masks_by_multiplication,
        metric_faults.metric_averages_averages,
        metric_faults.metric_remembers_its_batches,
        metric_faults.metric_forgets_an_argument,
    ],
)
def test_a_broken_metric_is_told_its_rule(plant, backend):
    metric = plant()(delta=0.3)
    with pytest.raises(AssertionError, match="planted breaks a rule: "):
        check_metric(metric, Y_TRUE, Y_PRED)


def test_a_batch_too_small_to_leave_something_out_is_refused(backend):
    for check in (lambda: check_loss(multiloss.losses.Huber(), Y_TRUE[:3], Y_PRED[:3]),):
        with pytest.raises(ArgumentError, match=re.escape("a batch of 3 samples. Expected at least 4")):
            check()
