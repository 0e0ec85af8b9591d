"""Networks under Keras' mixed-precision policies: half-precision predictions, full-precision losses and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from multiloss import losses, metrics
from multiloss.integrations.keras import as_keras_loss, as_keras_metric
from tests.integrations.keras.networks import agree, branches, data, network, trained

pytestmark = pytest.mark.keras_on("torch", "jax")

LOGITS = {"from_logits": True}
LOSSES: dict[str, tuple[str, dict[str, Any], str, str | None]] = {
    "mse": ("MeanSquaredError", {}, "real", None),
    "bce": ("BinaryCrossentropy", LOGITS, "binary", None),
    "scce": ("SparseCategoricalCrossentropy", LOGITS, "labels", None),
    "kld": ("KLDivergence", {}, "one-hot", "softmax"),
}


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def test_training_under_a_policy_follows_the_losses_of_keras(policy: str) -> None:
    x, _, weights = data("real")
    activations = {name: activation for name, (_, _, _, activation) in LOSSES.items()}
    targets = {name: data(kind)[1] for name, (_, _, kind, _) in LOSSES.items()}

    def train(ours: bool) -> Any:
        compiled = {
            name: as_keras_loss(getattr(losses, cls)(**arguments)) if ours else getattr(keras.losses, cls)(**arguments)
            for name, (cls, arguments, _, _) in LOSSES.items()
        }
        return trained(lambda: branches(activations), x, targets, dict.fromkeys(LOSSES, weights), loss=compiled)

    ours, theirs = train(ours=True), train(ours=False)
    agree(ours, theirs)
    assert all(np.isfinite(values).all() for values in ours[1].values())
    assert ours[1]["loss"][-1] < ours[1]["loss"][0]


def test_losses_and_metrics_of_half_precision_predictions_are_float32(policy: str) -> None:
    x, y, weights = data("labels")
    model = network()
    y_pred = model(x)
    assert keras.backend.standardize_dtype(y_pred.dtype) == policy.removeprefix("mixed_")
    loss = as_keras_loss(losses.SparseCategoricalCrossentropy(**LOGITS))
    metric = as_keras_metric("sparse_categorical_accuracy")
    assert keras.backend.standardize_dtype(loss(y, y_pred, weights).dtype) == "float32"
    metric.update_state(y, y_pred, sample_weight=weights)
    assert keras.backend.standardize_dtype(metric.result().dtype) == "float32"
    value = keras.ops.convert_to_numpy(loss(y, y_pred, weights))
    exact = losses.SparseCategoricalCrossentropy(**LOGITS)(
        y, keras.ops.convert_to_numpy(keras.ops.cast(y_pred, "float32")), weights
    )
    assert value == pytest.approx(float(exact), rel=1e-6)


def test_metrics_under_a_policy_are_exact_for_the_predictions(policy: str) -> None:
    x, y, weights = data("labels")
    names = ["sparse_categorical_accuracy", "sparse_categorical_crossentropy"]
    model = network("softmax")
    shown_by = [as_keras_metric(name) for name in names]
    model.compile(loss="sparse_categorical_crossentropy", weighted_metrics=shown_by, run_eagerly=True)
    shown = model.evaluate(x, y, sample_weight=weights, batch_size=16, verbose=0, return_dict=True)
    y_pred = keras.ops.convert_to_numpy(keras.ops.cast(model(x), "float32")).astype("float64")
    for name in names:  # Keras computes its own in the precision of the predictions
        metric = metrics.get(name)
        metric.update_state(y, y_pred, weights)
        assert shown[name] == pytest.approx(float(metric.result()), rel=1e-6)
