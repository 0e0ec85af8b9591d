"""Every public metric class inside Keras is what it is alone."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from multiloss import backend as K
from multiloss import metrics, use_backend
from multiloss.integrations.keras import KerasMetric, as_keras_metric
from tests.integrations.keras.networks import sequences, tagger
from tests.metrics.batches import PER_SAMPLE_CLASSES, batch_for, make

ROWS = 24
LABELS = ("Accuracy", "IoU", "MeanIoU")  # they compare labels, which a network does not output


def group(name: str) -> str:
    return "sparse" if name.startswith("Sparse") else "dense"


@pytest.mark.parametrize(
    "weighted",
    [
        pytest.param(False, marks=pytest.mark.keras_on("torch", "numpy")),  # on JAX, ten seconds of compilation
        True,
    ],
)
def test_evaluation_gives_what_each_metric_gives_alone(weighted: bool) -> None:
    names = [name for name in PER_SAMPLE_CLASSES if name not in LABELS]
    assert len(names) > 30
    rng = np.random.default_rng(3)
    y_dense, scores = batch_for("CategoricalAccuracy", ROWS)
    targets = {"dense": y_dense, "sparse": y_dense.argmax(-1)}
    weights = np.where(rng.uniform(size=ROWS) < 0.3, 0.0, rng.uniform(0.5, 2.0, ROWS)).astype("float32")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {name: keras.layers.Identity(name=name)(inputs) for name in targets})
    listed = {output: [as_keras_metric(make(each)) for each in names if group(each) == output] for output in targets}
    loss = {"dense": "mse", "sparse": "sparse_categorical_crossentropy"}
    model.compile(loss=loss, **{"weighted_metrics" if weighted else "metrics": listed})
    measured = model.evaluate(
        scores,
        targets,
        sample_weight=dict.fromkeys(targets, weights) if weighted else None,
        batch_size=ROWS // 2,
        verbose=0,
        return_dict=True,
    )
    with use_backend("numpy"):
        for name in names:
            alone, output = make(name), group(name)
            for rows in (slice(0, ROWS // 2), slice(ROWS // 2, ROWS)):
                given = {"sample_weight": weights[rows]} if weighted else {}
                alone.update_state(targets[output][rows], scores[rows], **given)
            np.testing.assert_allclose(
                measured[f"{output}_{alone.name}"], alone.result(), rtol=1e-5, atol=1e-6, err_msg=name
            )


@pytest.mark.parametrize("name", PER_SAMPLE_CLASSES)
def test_every_metric_comes_back_from_its_config(name: str) -> None:
    metric = as_keras_metric(make(name))
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(metric)))
    twin = keras.saving.deserialize_keras_object(config)
    assert isinstance(twin, KerasMetric)
    assert repr(twin.metric) == repr(metric.metric)
    assert twin.get_config() == metric.get_config()


@pytest.mark.parametrize("name", LABELS)
def test_metrics_of_labels_count_them(name: str) -> None:
    y_true, y_pred = batch_for(name, ROWS)
    with use_backend("numpy"):
        expected = float(make(name)(y_true, y_pred))
    assert float(as_keras_metric(make(name))(y_true, y_pred)) == pytest.approx(expected)


# ── In Keras' style ─────────────────────────────────────────────────────────────────────────────────────────────


class WeightedCorrect(metrics.Metric):
    """The share of steps that are right, written with variables as in Keras."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.correct = self.add_weight(name="correct")
        self.total = self.add_weight(name="total")

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        right = K.cast(K.cast(y_true, "int32") == K.cast(K.argmax(y_pred, -1), "int32"), "float32")
        counts = K.ones_like(right) if sample_weight is None else sample_weight
        self.correct.assign_add(K.sum(right * counts))
        self.total.assign_add(K.sum(counts))

    def result(self) -> object:
        return self.correct / self.total


def test_a_metric_in_keras_style_gets_the_mask_as_weights() -> None:
    x, y, weights = sequences()
    model = tagger()
    model.compile(
        loss="sparse_categorical_crossentropy", weighted_metrics=[as_keras_metric(WeightedCorrect(name="right"))]
    )
    correct = model.predict(x, verbose=0).argmax(-1) == y
    for given, expected in (
        (None, correct[x != 0].mean()),
        (weights, (correct * weights)[x != 0].sum() / weights[x != 0].sum()),
    ):
        measured = model.evaluate(x, y, sample_weight=given, verbose=0, return_dict=True)
        np.testing.assert_allclose(measured["right"], expected, rtol=1e-5)


def test_a_metric_that_takes_no_weights_refuses_them() -> None:
    class Largest(metrics.Metric):
        def __init__(self) -> None:
            super().__init__()
            self.largest = self.add_weight(name="largest")

        def update_state(self, y_true: object, y_pred: object) -> None:
            self.largest.assign(K.maximum(self.largest.value, K.max(K.abs(y_pred - y_true))))

        def result(self) -> object:
            return self.largest.value

    metric = as_keras_metric(Largest())
    y_true, y_pred = np.zeros((2, 1), "float32"), np.array([[1.0], [-3.0]], "float32")
    assert float(metric(y_true, y_pred)) == 3.0
    with pytest.raises(ValueError, match="takes neither"):
        metric.update_state(y_true, y_pred, sample_weight=np.ones(2, "float32"))
