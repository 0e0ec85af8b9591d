"""The contract tests notice a broken metric: each fault here is registered, and the tests it must fail are run.

The same tests pass for a healthy one that is registered in the same way.
"""

from __future__ import annotations

import multiloss.losses
import multiloss.metrics
import pytest
from multiloss import backend as K
from multiloss.metrics import Mean, MeanMetricWrapper, Metric
from multiloss.testing import make_metric, metric_example, metric_variants, public_metric_classes
from tests.contract import (
    test_metric_arguments,
    test_metric_counting,
    test_metric_inputs,
    test_metric_states,
    test_shapes,
)
from tests.contract.test_suite_notices import NOTICED


class Planted(MeanMetricWrapper):
    """A healthy metric, of which each fault changes one thing."""

    def __init__(self, delta=1.0, name="planted", dtype=None):
        super().__init__(multiloss.losses.huber, name, dtype, delta=delta)


def a_healthy_metric():
    return Planted


def metric_ignores_weights():
    class Broken(Planted):
        def update(self, state, /, y_true, y_pred, sample_weight=None, mask=None):
            return super().update(state, y_true, y_pred, None, mask)

    return Broken


def metric_ignores_the_mask():
    class Broken(Planted):
        def update(self, state, /, y_true, y_pred, sample_weight=None, mask=None):
            return super().update(state, y_true, y_pred, sample_weight)

    return Broken


def metric_masks_by_multiplication():
    class Broken(Planted):
        def update(self, state, /, y_true, y_pred, sample_weight=None, mask=None):
            if mask is None:
                return super().update(state, y_true, y_pred, sample_weight)
            counts = K.cast(mask, "float32")
            values = multiloss.losses.huber(y_true, y_pred) * counts
            return Mean().update(state, K.sum(values) / K.sum(counts), K.sum(counts))

    return Broken


def metric_averages_averages():
    class Broken(Planted):
        def merge(self, a, b, /):
            mean = (self.compute(a) + self.compute(b)) / 2
            return self.init()._replace(total=mean, count=K.ones_like(a.count))

    return Broken


def metric_counts_in_floats():
    class Broken(Planted):
        def update(self, state, /, y_true, y_pred, sample_weight=None, mask=None):
            return super().update(state, y_true, y_pred, K.ones_like(y_pred[..., 0]), mask)

    return Broken


def metric_remembers_its_batches():
    class Broken(Planted):
        def update(self, state, /, y_true, y_pred, sample_weight=None, mask=None):
            self.seen = y_pred
            return super().update(state, y_true, y_pred, sample_weight, mask)

    return Broken


def metric_rounds_float64():
    class Broken(Planted):
        def compute(self, state, /):
            return K.cast(super().compute(state), "float32")

    return Broken


def metric_ignores_an_argument():
    class Broken(Planted):
        def __init__(self, delta=1.0, name="planted", dtype=None):
            super().__init__(name=name, dtype=dtype)

    return Broken


def metric_forgets_an_argument():
    class Broken(Planted):
        def get_config(self):
            return {key: each for key, each in super().get_config().items() if key != "delta"}

    return Broken


def metric_takes_any_argument():
    class Broken(Planted):
        def __init__(self, delta=1.0, name="planted", dtype=None):
            super().__init__(delta if isinstance(delta, float) and delta > 0 else 1.0, name, dtype)

    return Broken


def metric_broadcasts_samples():
    class Broken(Planted):
        def update(self, state, /, y_true, y_pred, sample_weight=None, mask=None):
            return super().update(state, K.broadcast_to(y_true, tuple(y_pred.shape)), y_pred, sample_weight, mask)

    return Broken


REFUSED = test_shapes.REFUSED["(1, K) beside (N, K)"]
METRICS = [
    (metric_ignores_weights, test_metric_counting.test_zero_weight_removes_a_sample, ()),
    (metric_ignores_weights, test_metric_counting.test_neither_weights_nor_mask_are_ignored, ({},)),
    (metric_ignores_the_mask, test_metric_counting.test_a_mask_removes_a_sample_beside_weights_too, ()),
    (metric_ignores_the_mask, test_metric_counting.test_neither_weights_nor_mask_are_ignored, ({},)),
    (
        *(metric_masks_by_multiplication, test_metric_counting.test_what_does_not_count_reaches_nothing),
        (test_metric_counting.GARBAGE["nan"], "mask"),
    ),
    (metric_averages_averages, test_metric_states.test_merged_states_are_the_state_of_the_whole, ({},)),
    (metric_counts_in_floats, test_metric_states.test_counts_grow_beyond_what_float32_holds, ()),
    (metric_remembers_its_batches, test_metric_states.test_pure_functions_leave_the_metric_and_the_states_alone, ()),
    (metric_rounds_float64, test_metric_inputs.test_float64_gives_float64, ()),
    (metric_ignores_an_argument, test_metric_arguments.test_every_argument_can_change_the_result, ({"delta": 0.5},)),
    (metric_forgets_an_argument, test_metric_arguments.test_every_argument_is_in_the_config, ()),
    (metric_takes_any_argument, test_metric_arguments.test_a_value_outside_the_domain_is_refused, ("delta",)),
    (metric_broadcasts_samples, test_metric_inputs.test_samples_are_never_broadcast, (REFUSED,)),
]
METRIC_IDS = [f"{plant.__name__}-{test.__name__}" for plant, test, _ in METRICS]


@pytest.mark.parametrize(("plant", "test", "arguments"), METRICS, ids=METRIC_IDS)
def test_a_broken_metric_is_noticed(plant, test, arguments, run, register):
    register(multiloss.metrics, Planted=type("Planted", (plant(),), {}))
    with pytest.raises(NOTICED):
        run(test, "Planted", *arguments)


@pytest.mark.parametrize(("plant", "test", "arguments"), METRICS, ids=METRIC_IDS)
def test_a_healthy_metric_is_not(plant, test, arguments, run, register):
    register(multiloss.metrics, Planted=Planted)
    run(test, "Planted", *arguments)


def test_a_metric_that_says_not_what_it_takes_is_asked_to(register):
    class Unheard(Metric):
        pass

    register(multiloss.metrics, Unheard=Unheard)
    with pytest.raises(LookupError, match=r"Unheard has no entry in multiloss\.testing\.TAKES"):
        metric_example(make_metric(public_metric_classes()["Unheard"]))


def test_an_argument_without_values_is_asked_for(register):
    class Unheard(Planted):
        def __init__(self, loudness=1.0, name="unheard", dtype=None):
            super().__init__(name=name, dtype=dtype)

    register(multiloss.metrics, Unheard=Unheard)
    with pytest.raises(LookupError, match=r"\['loudness'\] without an entry"):
        metric_variants(public_metric_classes()["Unheard"])
