"""Regularizers and constraints of multiloss on the parameters of Keras' layers do what Keras' own do."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from multiloss import constraints, regularizers
from multiloss._errors import UnknownNameError
from multiloss.integrations.keras import as_keras_constraint, as_keras_regularizer

REGULARIZERS = {
    "L1": regularizers.L1(0.02),
    "L2": regularizers.L2(0.02),
    "L1L2": regularizers.L1L2(0.01, 0.02),
    "OrthogonalRegularizer": regularizers.OrthogonalRegularizer(0.03),
}
CONSTRAINTS = {
    "MaxNorm": constraints.MaxNorm(0.5),
    "NonNeg": constraints.NonNeg(),
    "UnitNorm": constraints.UnitNorm(),
    "MinMaxNorm": constraints.MinMaxNorm(0.2, 0.4),
}


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_regularizer_penalizes_a_variable_as_keras_does(name: str) -> None:
    kernel = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
    own = getattr(keras.regularizers, name).from_config(REGULARIZERS[name].get_config())
    for given in (keras.Variable(kernel), keras.ops.convert_to_tensor(kernel)):
        found = as_keras_regularizer(REGULARIZERS[name])(given)
        np.testing.assert_allclose(_host(found), _host(own(given)), rtol=1e-6)
        assert type(found) is type(keras.ops.sum(given)) or keras.backend.backend() == "numpy"


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_constraint_projects_a_variable_as_keras_does(name: str) -> None:
    kernel = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
    own = getattr(keras.constraints, name).from_config(CONSTRAINTS[name].get_config())
    for given in (keras.Variable(kernel), keras.ops.convert_to_tensor(kernel)):
        found = _host(as_keras_constraint(CONSTRAINTS[name])(given))
        np.testing.assert_allclose(found, _host(own(given)), rtol=1e-6, atol=1e-7)
        assert np.abs(found - kernel).max() > 0.1


def _host(x: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x))


def trained(**options: object) -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, **options)])
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(32, 5)), rng.normal(size=(32, 3)), epochs=2, verbose=0)
    return model


@pytest.mark.keras_on("torch", "jax")
@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_regularizer_trains_as_keras_does(name: str) -> None:
    own = getattr(keras.regularizers, name).from_config(REGULARIZERS[name].get_config())
    ours = trained(kernel_regularizer=as_keras_regularizer(REGULARIZERS[name]))
    for found, expected in zip(ours.get_weights(), trained(kernel_regularizer=own).get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(ours.get_weights()[0] - trained().get_weights()[0]).max() > 1e-4


@pytest.mark.keras_on("torch", "jax")
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_constraint_trains_as_keras_does(name: str) -> None:
    own = getattr(keras.constraints, name).from_config(CONSTRAINTS[name].get_config())
    ours = trained(kernel_constraint=as_keras_constraint(CONSTRAINTS[name]))
    for found, expected in zip(ours.get_weights(), trained(kernel_constraint=own).get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(ours.get_weights()[0] - trained().get_weights()[0]).max() > 1e-4


@pytest.mark.keras_on("torch", "jax")
def test_a_saved_model_loads_with_them(tmp_path: object) -> None:
    model = trained(
        kernel_regularizer=as_keras_regularizer(regularizers.L1L2(0.1, 0.2)),
        kernel_constraint=as_keras_constraint(constraints.MaxNorm(0.7)),
    )
    model.save(f"{tmp_path}/model.keras")
    layer = keras.saving.load_model(f"{tmp_path}/model.keras").layers[0]
    assert isinstance(layer.kernel_regularizer.regularizer, regularizers.L1L2)
    assert layer.kernel_constraint.constraint.get_config() == {"max_value": 0.7, "axis": 0}


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="l3"):
        as_keras_regularizer("l3")
    with pytest.raises(UnknownNameError, match="max_form"):
        as_keras_constraint("max_form")
