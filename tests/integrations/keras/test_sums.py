"""Sums of losses and named inputs inside Keras: trained, saved and called from a training step of one's own."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from multiloss import backend as K
from multiloss import losses
from multiloss._errors import ArgumentError, NamedInputError, ShapeError
from multiloss.integrations.keras import as_keras_loss, as_keras_metric, pack_targets
from tests.integrations.keras.networks import CLASSES, SAMPLES, data, network


@keras.saving.register_keras_serializable("tests")
def absolute_error(y_true: object, y_pred: object) -> object:
    return K.mean(K.abs(y_pred - y_true), axis=-1)


@keras.saving.register_keras_serializable("tests")
class Steeper(losses.Loss):
    def __init__(self, factor: float = 2.0, **settings: object) -> None:
        super().__init__(**settings)
        self.factor = factor

    def call(self, y_true: object, y_pred: object) -> object:
        return self.factor * K.mean(K.square(y_pred - y_true), axis=-1)

    def get_config(self) -> dict[str, object]:
        return super().get_config() | {"factor": self.factor}


@keras.saving.register_keras_serializable("tests")
def half() -> float:
    return 0.5


@keras.saving.register_keras_serializable("tests")
class Distillation(losses.Loss):
    def call(self, y_true: object, y_pred: object, *, teacher: object) -> object:
        return K.mean(K.square(y_pred - teacher), axis=-1)


SUM = losses.Sum(
    {
        "huber": (losses.Huber(delta=0.5), half),
        "own": (absolute_error, 0.25),
        "inner": (losses.MeanSquaredError() + 0.5 * Steeper(3.0), 2.0),
    }
)


def by_keras(y_true: object, y_pred: object) -> object:
    error = keras.ops.abs(y_pred - y_true)
    squared = keras.ops.mean(keras.ops.square(error), axis=-1)
    own = 0.25 * keras.ops.mean(error, axis=-1)
    return 0.5 * keras.losses.huber(y_true, y_pred, delta=0.5) + own + (2.0 + 2.0 * 0.5 * 3.0) * squared


@pytest.mark.keras_on("torch", "jax")
def test_a_sum_trains_as_its_formula() -> None:
    x, y, weights = data("real")
    weights = np.maximum(weights, 0.1)
    trained = []
    for loss in (as_keras_loss(SUM), by_keras):
        model = network()
        model.compile(keras.optimizers.SGD(0.1), loss)
        history = model.fit(x, y, 16, 2, sample_weight=weights, shuffle=False, verbose=0).history["loss"]
        trained.append([history, *model.get_weights()])
    for ours, theirs in zip(*trained, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_sum_is_saved_with_its_parts(saved: Path) -> None:
    x, y, _ = data("real")
    model = network()
    model.compile("sgd", as_keras_loss(SUM))
    model.evaluate(x, y, verbose=0)
    model.save(saved)
    again = keras.saving.load_model(saved)
    assert repr(again.loss.loss.losses["inner"]) == repr(SUM.losses["inner"])
    np.testing.assert_allclose(again.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0), rtol=1e-6)


def test_a_step_of_ones_own_passes_named_inputs() -> None:
    _, y, weights = data("real")
    loss = as_keras_loss(losses.MeanSquaredError() + 0.5 * Distillation())
    y_pred = keras.ops.convert_to_tensor(y * 2.0)
    value = float(loss(y, y_pred, sample_weight=weights, teacher=keras.ops.zeros_like(y_pred)))
    expected = np.mean(weights * np.mean(y**2 + 0.5 * (2.0 * y) ** 2, -1))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    with pytest.raises(NamedInputError, match="needs teacher="):
        loss(y, y_pred)


TEACHER = np.random.default_rng(3).normal(size=(SAMPLES, CLASSES)).astype("float32")
BESIDE = {"variance": 1, "teacher": CLASSES}


@keras.saving.register_keras_serializable("tests")
class Guided(losses.Loss):
    def call(self, y_true: object, y_pred: object, *, teacher: object, variance: object) -> object:
        return K.mean((K.square(y_pred - y_true) + K.square(y_pred - teacher)) / variance, axis=-1)


def guided_by_keras(packed: object, y_pred: object) -> object:
    y_true, variance, teacher = packed[:, :CLASSES], packed[:, CLASSES : CLASSES + 1], packed[:, CLASSES + 1 :]
    squares = keras.ops.square(y_pred - y_true) + keras.ops.square(y_pred - teacher)
    return keras.ops.mean(squares / variance, axis=-1)


@pytest.mark.keras_on("torch", "jax")
def test_named_inputs_reach_a_loss_in_fit_and_after_loading(saved: Path) -> None:
    x, y, weights = data("real")
    packed = pack_targets(y, variance=np.linspace(0.5, 2.0, SAMPLES), teacher=TEACHER)
    assert packed.shape == (SAMPLES, 2 * CLASSES + 1)
    packed = packed.astype("float32")
    trained = []
    for loss in (as_keras_loss(Guided(), inputs=BESIDE), guided_by_keras):
        model = network()
        metrics = [as_keras_metric("mae", inputs=BESIDE)] if loss is not guided_by_keras else []
        model.compile(keras.optimizers.SGD(0.1), loss, weighted_metrics=metrics)
        history = model.fit(x, packed, 16, 2, sample_weight=weights, shuffle=False, verbose=0).history
        trained.append([history["loss"], *model.get_weights()])
        if metrics:
            found = model.evaluate(x, packed, sample_weight=weights, verbose=0)
            expected = np.average(np.abs(model.predict(x, verbose=0) - y).mean(-1), weights=weights)
            np.testing.assert_allclose(found[1], expected, rtol=1e-5)
            model.save(saved)
            again = keras.saving.load_model(saved)
            np.testing.assert_allclose(again.evaluate(x, packed, sample_weight=weights, verbose=0), found, rtol=1e-6)
    for ours, theirs in zip(*trained, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_class_indices_can_have_inputs_behind_them() -> None:
    _, labels, _ = data("labels")
    logits = keras.ops.convert_to_tensor(TEACHER[::-1].copy())

    def both(y_true: object, y_pred: object, teacher: object) -> object:
        return losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True) + K.mean(
            K.square(y_pred - teacher), axis=-1
        )

    loss = as_keras_loss(losses.LossFunctionWrapper(both), inputs={"teacher": CLASSES})
    hard = as_keras_loss(losses.SparseCategoricalCrossentropy(from_logits=True))
    expected = float(hard(labels, logits)) + np.mean((TEACHER[::-1] - TEACHER) ** 2)
    packed = keras.ops.convert_to_tensor(pack_targets(labels, teacher=TEACHER))
    np.testing.assert_allclose(float(loss(packed, logits)), expected, rtol=1e-5)


def test_inputs_that_are_not_there_are_asked_for() -> None:
    _, y, _ = data("real")
    y_pred = keras.ops.convert_to_tensor(y)
    with pytest.raises(NamedInputError, match="pack_targets"):
        as_keras_loss(Distillation())(y, y_pred)
    with pytest.raises(ShapeError, match="Expected 1 or 3 columns of targets"):
        as_keras_loss(Distillation(), inputs={"teacher": CLASSES})(y, y_pred)
    with pytest.raises(NamedInputError, match="got pupil="):
        as_keras_loss(Distillation(), inputs={"pupil": 1})
    with pytest.raises(ArgumentError, match="at least 1"):
        as_keras_loss(Distillation(), inputs={"teacher": 0})
    with pytest.raises(ShapeError, match="teacher has shape"):
        pack_targets(y, teacher=TEACHER[1:])
