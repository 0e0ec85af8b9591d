"""Every name that Keras 2, tf.keras or Keras 3 accepts is found."""

from __future__ import annotations

import pytest
from multiloss import _errors, losses

ALIASES = {
    "mean_squared_error": ["mse", "MSE"],
    "mean_absolute_error": ["mae", "MAE"],
    "mean_absolute_percentage_error": ["mape", "MAPE"],
    "mean_squared_logarithmic_error": ["msle", "MSLE"],
    "log_cosh": ["logcosh"],
    "huber": ["huber_loss"],
    "binary_crossentropy": ["bce", "BCE"],
    "kl_divergence": ["kld", "KLD", "kullback_leibler_divergence"],
    "cosine_similarity": ["cosine_proximity", "cosine"],
}
KERAS_2 = [
    ({"class_name": "Huber", "config": {"delta": 2.0, "name": "h"}}, "Huber"),
    ({"class_name": "mean_squared_error", "config": {}}, "mean_squared_error"),
    ("mse", "mean_squared_error"),
]


@pytest.mark.parametrize(("name", "alias"), [(name, alias) for name, given in ALIASES.items() for alias in given])
def test_an_alias_is_the_loss(name, alias):
    assert losses.get(alias) is getattr(losses, name)
    assert getattr(losses, alias) is getattr(losses, name)


@pytest.mark.parametrize(("config", "expected"), KERAS_2)
def test_keras_2_configs_are_read(config, expected):
    found = losses.get(config)
    assert (getattr(found, "__name__", None) or type(found).__name__) == expected


def test_keras_2_parameters_survive():
    huber = losses.get(KERAS_2[0][0])
    assert (huber.delta, huber.name) == (2.0, "h")


def test_identifiers_of_every_kind():
    assert losses.get(None) is None
    assert losses.get(len) is len
    assert isinstance(losses.get(losses.Huber), losses.Huber)
    huber = losses.Huber(3.0)
    assert losses.get(huber) is huber


@pytest.mark.parametrize(
    ("name", "near"), [("mean_sqared_error", "mean_squared_error"), ("Hubert", "Huber"), ("Mse", "MSE")]
)
def test_an_unknown_name_lists_near_matches(name, near):
    with pytest.raises(_errors.UnknownNameError, match=near):
        losses.get(name)


@pytest.mark.parametrize("identifier", [3, 1.5, [1]])
def test_what_is_no_identifier_is_refused(identifier):
    with pytest.raises(_errors.ArgumentError, match="Could not interpret"):
        losses.get(identifier)


def test_a_mapping_that_is_no_config_is_refused():
    with pytest.raises(_errors.ArgumentError, match="class_name"):
        losses.get({"name": "mse"})
    with pytest.raises(_errors.ArgumentError, match="Cannot serialize"):
        losses.serialize(3)
