"""Saved models carry losses and metrics of multiloss, and load without custom_objects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from multiloss import backend as K
from multiloss import losses, metrics
from multiloss.integrations.keras import KerasLoss, KerasMetric, as_keras_loss, as_keras_metric
from tests.integrations.keras.networks import branches, data, network


@keras.saving.register_keras_serializable("tests")
def sixth_power(y_true: object, y_pred: object, scale: float = 1.0) -> object:
    return scale * K.mean((y_pred - y_true) ** 6, axis=-1)


@keras.saving.register_keras_serializable("tests")
class Scaled(losses.Loss):
    def __init__(self, factor: float = 2.0, **settings: object) -> None:
        super().__init__(**settings)
        self.factor = factor

    def call(self, y_true: object, y_pred: object) -> object:
        return self.factor * K.mean(K.abs(y_pred - y_true), axis=-1)

    def get_config(self) -> dict[str, object]:
        return super().get_config() | {"factor": self.factor}


LOSSES = {
    "instance": losses.Huber(delta=0.5, reduction="sum", name="mine"),
    "wrapped": losses.LossFunctionWrapper(losses.huber, delta=0.25),
    "wrapped_custom": losses.LossFunctionWrapper(sixth_power, scale=3.0),
    "function": losses.mean_absolute_error,
    "custom": sixth_power,
    "subclass": Scaled(3.0, reduction="sum"),
    "name": "mse",
}


def given_metrics() -> list[object]:
    return [
        metrics.MeanSquaredError(name="instance"),
        metrics.MeanMetricWrapper(losses.huber, name="wrapped", delta=0.5),
        metrics.MeanMetricWrapper(sixth_power, name="wrapped_custom", scale=3.0),
        losses.Huber(delta=0.25),
        Scaled(3.0),
        losses.log_cosh,
        "rmse",
    ]


def built_for(model: object) -> object:
    """Return an optimizer with its variables: Keras warns when it loads one that was saved without."""
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    return optimizer


def test_saved_losses_and_metrics_evaluate_as_before(saved: Path) -> None:
    x, y, weights = data("real")
    model = branches(dict.fromkeys(LOSSES))
    model.compile(
        loss={name: as_keras_loss(loss) for name, loss in LOSSES.items()},
        optimizer=built_for(model),
        weighted_metrics={"name": [as_keras_metric(metric) for metric in given_metrics()]},
    )
    targets, given = dict.fromkeys(LOSSES, y), dict.fromkeys(LOSSES, weights)
    before = model.evaluate(x, targets, sample_weight=given, verbose=0, return_dict=True)
    assert len(before) == 1 + len(LOSSES) + len(given_metrics())
    model.save(saved)
    loaded = keras.saving.load_model(saved)
    assert all(isinstance(loss, KerasLoss) for loss in loaded.loss.values())
    assert {name: repr(loss.loss) for name, loss in loaded.loss.items()} == {
        name: repr(loss.loss) for name, loss in model.loss.items()
    }
    assert loaded.evaluate(x, targets, sample_weight=given, verbose=0, return_dict=True) == before


@pytest.mark.keras_on("torch", "jax")
def test_a_loaded_model_trains_on_where_it_stopped(saved: Path) -> None:
    x, y, weights = data("labels")
    model = network()
    model.compile(
        optimizer="adam",
        loss=as_keras_loss(losses.SparseCategoricalCrossentropy(from_logits=True)),
        metrics=[as_keras_metric(metrics.SparseCategoricalAccuracy())],
    )
    model.fit(x, y, sample_weight=weights, verbose=0, shuffle=False)
    model.save(saved)
    loaded = keras.saving.load_model(saved)
    histories = [each.fit(x, y, sample_weight=weights, verbose=0, shuffle=False).history for each in (model, loaded)]
    assert histories[0].keys() == {"loss", "sparse_categorical_accuracy"}
    for key in histories[0]:
        np.testing.assert_allclose(histories[0][key], histories[1][key], rtol=1e-6)


def test_losses_and_functions_without_an_adapter_are_saved_too(saved: Path) -> None:
    x, y, _ = data("real")
    for loss in (losses.Huber(delta=0.5), losses.log_cosh):
        model = network()
        model.compile(loss=loss, optimizer=built_for(model), metrics=[metrics.mean_absolute_error])
        model.save(saved)
        loaded = keras.saving.load_model(saved)
        assert repr(loaded.loss) == repr(loss)
        assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_another_process_needs_only_the_import(saved: Path) -> None:
    x, y, _ = data("real")
    model = network()
    model.compile(
        loss=as_keras_loss(losses.Huber(delta=0.5)),
        optimizer=built_for(model),
        metrics=[as_keras_metric(metrics.MeanAbsoluteError())],
    )
    model.save(saved)
    script = (
        "import sys, json, keras, multiloss.integrations.keras as integration; import numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "x, y = (np.asarray(each, 'float32') for each in json.load(sys.stdin))\n"
        "print(json.dumps(model.evaluate(x, y, verbose=0)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(saved)],
        input=json.dumps([x.tolist(), y.tolist()]),
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), model.evaluate(x, y, verbose=0), rtol=1e-6)


@pytest.mark.parametrize("exported", [each for each in losses.__all__ if isinstance(getattr(losses, each), type)])
def test_what_losses_serialize_writes_loads_in_keras(exported: str) -> None:
    cls = getattr(losses, exported)
    if cls is losses.LossFunctionWrapper:
        loss = cls(losses.huber, delta=2.0)
    else:
        loss = cls({"a": ("mse", 0.5), "b": losses.Dice()}) if cls is losses.Sum else cls()
    written = json.loads(json.dumps(losses.serialize(loss)))
    loaded = keras.losses.deserialize(written)
    assert type(loaded).__name__ == cls.__name__
    assert loaded.reduction == loss.reduction


@pytest.mark.parametrize("exported", ["mse", "huber", "sparse_categorical_crossentropy"])
def test_a_function_that_losses_serialize_writes_loads_in_keras(exported: str) -> None:
    loaded = keras.losses.deserialize(losses.serialize(getattr(losses, exported)))
    assert loaded.__name__ == getattr(losses, exported).__name__


def test_a_clone_of_an_adapter_is_equal_and_starts_from_nothing() -> None:
    metric = as_keras_metric(metrics.MeanAbsoluteError(name="mae"))
    metric.update_state([[1.0]], [[3.0]])
    clone = KerasMetric.from_config(metric.get_config())
    assert clone.get_config() == metric.get_config()
    assert float(metric.result()) == 2.0
    assert float(clone.result()) == 0.0
