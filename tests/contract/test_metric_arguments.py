"""Every argument of every metric acts, is in the config, and is refused outside its domain."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
from multiloss import metrics
from multiloss._errors import ArgumentError, UnknownNameError
from multiloss.testing import METRIC_PARAMETER_VALUES, assert_close, metric_arguments, public_metric_classes
from tests.contract.metric_facts import CLASSES, IDS, VARIANTS, data, described, differ, make, outcome, samples

ARGUMENTS = [(name, key) for name in CLASSES for key in metric_arguments(public_metric_classes()[name])]
CHANGED = [(name, options) for name, options in VARIANTS if options]
OUTSIDE = {
    "average": ["median", 1],
    "beta": [0, -1.0, "big", float("inf"), True],
    "class_aggregation": ["median"],
    "class_id": [0.5, "first", True],
    "curve": ["ROCK", None],
    "fn": [None, 3, metrics.Mean],
    "from_logits": ["yes", None, 1],
    "from_sorted_ids": ["yes", None, 1],
    "ignore_class": ["none", 0.5, True],
    "k": [0, 1.5, True, "all"],
    "label_weights": ["much", ["a"], 3.0],
    "multi_label": ["yes", None],
    "num_classes": [0, 2.5, True, None],
    "num_labels": [0, 2.5, "many"],
    "num_regressors": [-1, 0.5, True],
    "num_thresholds": [0, 0.5, True, "all"],
    "precision": [-0.1, 1.1, "high", None, True],
    "recall": [-0.1, 1.1, "high", None, True],
    "sensitivity": [-0.1, 1.1, "high", None, True],
    "sparse_y_pred": ["yes", None],
    "sparse_y_true": ["yes", None],
    "specificity": [-0.1, 1.1, "high", None, True],
    "summation_method": ["mean", None],
    "target_class_ids": [[], [9], [-1], "all", [0.5], 1],
    "threshold": ["high", [0.5], True],
    "thresholds": [-0.1, 1.5, [0.5, 2.0], "high", ["a"]],
    "top_k": [0, 1.5, True, "all"],
}
"""Values that each argument refuses; those that one class allows and another does not are left out."""
OUTSIDE_OF_LOSSES = {
    "delta": [0, -1.0, "big"],
    "axis": ["last", 0.5, None, True],
    "label_smoothing": [-0.1, 1.1, "much", None, True],
}


def given_options(name, options):
    """Return the options that are given besides those that an argument needs to act."""
    return {key: value for key, value in options.items() if key != "fn"}


@pytest.mark.parametrize(("name", "key"), ARGUMENTS)
def test_every_argument_has_values_to_test_it_with(name, key):
    assert key in METRIC_PARAMETER_VALUES
    assert any(key in options for other, options in VARIANTS if other == name)


@pytest.mark.parametrize(("name", "options"), CHANGED, ids=[described(*each) for each in CHANGED])
def test_every_argument_can_change_the_result(name, options, backend, tensor):
    """On its own data or that of the defaults; `num_labels` and the like act by what they refuse."""
    *_, key = options
    without = {other: value for other, value in options.items() if other != key}
    acts = False
    for seed in range(4):
        own, plain = data(make(name, **options), seed=seed), data(make(name, **without), seed=seed)
        assert not isinstance(outcome(make(name, **options), *map(tensor, own)), str)
        for batch in (own, plain):
            tensors = list(map(tensor, batch))
            acts = acts or differ(outcome(make(name, **options), *tensors), outcome(make(name, **without), *tensors))
    assert acts


@pytest.mark.parametrize(("name", "key"), ARGUMENTS)
def test_a_value_outside_the_domain_is_refused(name, key):
    for value in (OUTSIDE | OUTSIDE_OF_LOSSES)[key]:
        with pytest.raises((ArgumentError, UnknownNameError)) as caught:
            make(name, **{"multi_label": True} if key == "num_labels" else {}, **{key: value})
        words = str(caught.value).replace("_", " ")
        assert key.replace("_", " ") in words or repr(value) in words, words


@pytest.mark.parametrize("name", CLASSES)
def test_an_unknown_argument_is_a_type_error(name):
    with pytest.raises(TypeError, match="nonsense"):
        make(name, nonsense=1)


@pytest.mark.parametrize("name", CLASSES)
def test_arguments_have_the_order_name_dtype_or_dtype_name_of_keras(name):
    keys = list(inspect.signature(public_metric_classes()[name]).parameters)
    assert abs(keys.index("name") - keys.index("dtype")) == 1


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
@pytest.mark.parametrize("more", [{}, {"name": "mine", "dtype": "float64"}])
def test_a_config_goes_round_whole(name, options, more):
    metric = make(name, **options, **more)
    config = json.loads(json.dumps(metrics.serialize(metric)))
    batch, size = data(metric), samples(metric)[0]
    weight = np.linspace(0, 2, size).astype(np.float32)
    expected = metric(*batch, weight)
    again = [metrics.deserialize(config), metrics.get(config), type(metric).from_config(metric.get_config())]
    for twin in again:
        assert type(twin) is type(metric)
        assert metrics.serialize(twin) == metrics.serialize(metric)
        assert (twin.name, twin.dtype) == (metric.name, metric.dtype)
        np.testing.assert_array_equal(twin(*batch, weight), expected)
    for key, value in (given_options(name, options) | more).items():
        found = metric.get_config()[key]
        assert found == value or list(found) == list(value)


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_is_in_the_config(name):
    config = make(name).get_config()
    given = metric_arguments(public_metric_classes()[name]).keys() - {"thresholds"}  # only if they were given
    assert config.keys() >= given | {"name"}


@pytest.mark.parametrize("name", CLASSES)
def test_a_parameter_of_the_function_is_that_of_the_class(name, backend, tensor, host):
    """An average of a function averages what the function gives."""
    metric = make(name)
    fn = getattr(metric, "fn", None)
    if fn is None or name in ("PearsonCorrelation", "ConcordanceCorrelation", "RootMeanSquaredError"):
        return
    batch = list(map(tensor, data(metric)))
    values = host(fn(*batch, **metric.parameters))
    assert_close(host(make(name)(*batch)), values.mean(), "float32")
