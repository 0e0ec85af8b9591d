"""Configs go round whole, are JSON, and are found under every name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from multiloss import losses
from multiloss.losses._base import spec_of
from multiloss.testing import assert_close, parameter_values, public_loss_classes, variants
from tests.contract.facts import CLASSES, REDUCTIONS, data, function, spec

OPTIONS = [
    (name, options)
    for name in CLASSES
    for options in [
        *variants(spec(name)),
        *({"reduction": reduction} for reduction in REDUCTIONS),
        {"name": "mine"},
        {"dtype": "float64"},
        {key: parameter_values(spec(name), key)[0] for key in spec(name).defaults},
    ]
]


def equal(one, other, name, parameters):
    y_true, y_pred = data(name, (4, 4), "float64", **parameters)
    weight = np.array([1.0, 2.0, 0.0, 3.0])
    np.testing.assert_array_equal(one(y_true, y_pred, weight), other(y_true, y_pred, weight))
    assert one(y_true, y_pred).dtype == other(y_true, y_pred).dtype


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[f"{name}-{options}" for name, options in OPTIONS])
def test_a_config_goes_round_whole(name, options):
    loss = public_loss_classes()[name](**options)
    config = json.loads(json.dumps(loss.get_config()))
    assert {key: config[key] for key in options} == options
    parameters = {key: value for key, value in options.items() if key in spec(name).defaults}
    for again in (
        type(loss).from_config(config),
        losses.deserialize(json.loads(json.dumps(losses.serialize(loss)))),
        losses.get(losses.serialize(loss)),
    ):
        assert type(again) is type(loss)
        assert again.get_config() == loss.get_config()
        assert (again.name, again.reduction, again.dtype) == (loss.name, loss.reduction, loss.dtype)
        equal(loss, again, name, parameters)


@pytest.mark.parametrize("name", CLASSES)
def test_every_parameter_is_in_the_config(name):
    """What Keras has not is left out at its default, so that Keras can load the config."""
    config = public_loss_classes()[name]().get_config()
    assert config.keys() >= {"name", "reduction", *spec(name).defaults} - spec(name).extras


@pytest.mark.parametrize("name", sorted(set(losses.__all__) - {"get", "serialize", "deserialize"}))
def test_every_exported_name_is_found(name):
    if name in ("Loss", "LossFunctionWrapper", "Sum"):
        return
    found = losses.get(name)
    exported = getattr(losses, name)
    assert found is exported or type(found) is exported
    again = losses.deserialize(json.loads(json.dumps(losses.serialize(found))))
    assert spec_of(again) is spec_of(found)
    assert type(again) is type(found)
    assert losses.deserialize(name) is found or type(losses.deserialize(name)) is type(found)


@pytest.mark.parametrize("name", CLASSES)
def test_the_class_gives_what_its_function_gives(name):
    y_true, y_pred = data(name)
    values = function(spec(name).name)(y_true, y_pred)
    assert_close(public_loss_classes()[name](reduction="none")(y_true, y_pred), values, "float32")
    assert_close(public_loss_classes()[name]()(y_true, y_pred), values.mean(), "float32")
