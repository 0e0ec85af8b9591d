"""A network trained with a loss of multiloss is the network trained with Keras' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from multiloss import losses, metrics
from multiloss._errors import LabelError
from multiloss.integrations.keras import as_keras_loss, as_keras_metric
from tests.integrations.keras.networks import agree, branches, data, network, trained, two_outputs

pytestmark = pytest.mark.keras_on("torch", "jax")

LOGITS = {"from_logits": True}
LOSSES = {
    "mse": ("MeanSquaredError", {}, "real", None),
    "mae": ("MeanAbsoluteError", {"reduction": "sum"}, "real", None),
    "huber": ("Huber", {"delta": 0.5}, "real", None),
    "log_cosh": ("LogCosh", {}, "real", None),
    "cosine": ("CosineSimilarity", {"axis": -1}, "real", None),
    "poisson": ("Poisson", {}, "positive", "softplus"),
    "hinge": ("Hinge", {}, "binary", None),
    "bce_of_logits": ("BinaryCrossentropy", LOGITS | {"label_smoothing": 0.1}, "binary", None),
    "bce": ("BinaryCrossentropy", {}, "binary", "sigmoid"),
    "focal": ("BinaryFocalCrossentropy", {}, "binary", "sigmoid"),
    "cce": ("CategoricalCrossentropy", {"reduction": "mean_with_sample_weight"}, "one-hot", "softmax"),
    "scce": ("SparseCategoricalCrossentropy", LOGITS, "labels", None),
    "ignoring": ("SparseCategoricalCrossentropy", {"ignore_class": 2}, "labels", "softmax"),
    "kld": ("KLDivergence", {}, "one-hot", "softmax"),
}


def test_training_with_weights_gives_what_it_gives_with_the_losses_of_keras() -> None:
    x, _, weights = data("real")
    activations = {name: activation for name, (_, _, _, activation) in LOSSES.items()}
    targets = {name: data(kind)[1] for name, (_, _, kind, _) in LOSSES.items()}

    def train(make: Callable[[str, dict[str, Any]], Any]) -> Any:
        compiled = {name: make(cls, arguments) for name, (cls, arguments, _, _) in LOSSES.items()}
        return trained(lambda: branches(activations), x, targets, dict.fromkeys(LOSSES, weights), loss=compiled)

    ours = train(lambda cls, arguments: as_keras_loss(getattr(losses, cls)(**arguments)))
    theirs = train(lambda cls, arguments: getattr(keras.losses, cls)(**arguments))
    assert len(ours[1]) == len(LOSSES) + 1  # each is tracked under its name, and their sum
    agree(ours, theirs)


SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
KERAS_SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_eager_training_agrees_with_keras() -> None:
    x, y, weights = data("labels")
    name = "sparse_categorical_accuracy"
    agree(
        trained(network, x, y, weights, loss=as_keras_loss(SPARSE), metrics=[as_keras_metric(name)], run_eagerly=True),
        trained(network, x, y, weights, loss=KERAS_SPARSE, metrics=[name], run_eagerly=True),
    )


@pytest.mark.keras_on("torch")
def test_torch_compile_traces_loss_and_metric() -> None:
    import torch

    loss, metric = as_keras_loss(SPARSE), as_keras_metric("mse")
    y_true, y_pred = torch.tensor([0, 2, 1]), torch.randn(3, 3)
    metric.update_state(torch.zeros(3, 3), y_pred)  # adds the variables

    def step(y_true: Any, y_pred: Any) -> Any:
        metric.update_state(torch.zeros(3, 3), y_pred)
        return loss(y_true, y_pred)

    value = torch.compile(step, backend="eager")(y_true, y_pred)
    np.testing.assert_allclose(value, KERAS_SPARSE(y_true, y_pred), rtol=1e-5)
    np.testing.assert_allclose(metric.result(), torch.mean(torch.square(y_pred)), rtol=1e-5)


def test_a_label_out_of_range_is_never_a_plausible_number() -> None:
    x, y, _ = data("labels")
    y[3] = 7
    with pytest.raises(LabelError, match="is 7"):
        trained(network, x, y, loss=as_keras_loss(SPARSE), run_eagerly=True)
    if keras.backend.backend() == "jax":  # inside jax.jit there is no value to look at
        assert np.isnan(trained(network, x, y, loss=as_keras_loss(SPARSE))[1]["loss"][-1])


def test_metrics_and_weighted_metrics_follow_those_of_keras() -> None:
    x, y, weights = data("one-hot")

    def arguments(package: object, loss: object, adapt: object) -> dict[str, object]:
        made = [
            package.CategoricalAccuracy(),
            package.TopKCategoricalAccuracy(2),
            package.MeanSquaredError(),
            package.AUC(from_logits=False),
        ]
        weighted = [
            package.CategoricalAccuracy(name="weighted"),
            package.RootMeanSquaredError(),
            package.AUC(name="wauc"),
        ]
        return {
            "loss": loss,
            "metrics": [adapt(each) for each in made],
            "weighted_metrics": [adapt(each) for each in weighted],
        }

    ours = trained(
        lambda: network("softmax"),
        x,
        y,
        weights,
        **arguments(metrics, as_keras_loss("categorical_crossentropy"), as_keras_metric),
    )
    theirs = trained(
        lambda: network("softmax"),
        x,
        y,
        weights,
        **arguments(keras.metrics, "categorical_crossentropy", lambda each: each),
    )
    assert set(ours[1]) >= {"categorical_accuracy", "weighted", "wauc", "root_mean_squared_error"}
    agree(ours, theirs)


def test_several_outputs_take_losses_weights_of_losses_and_metrics_by_name() -> None:
    x, size, _ = data("real")
    kind = data("labels")[1]
    weights = {"size": data("real")[2], "kind": data("real")[2][::-1].copy()}

    def arguments(loss: object, metric: object) -> dict[str, object]:
        return {
            "loss": {"size": loss("Huber"), "kind": loss("SparseCategoricalCrossentropy")},
            "loss_weights": {"size": 0.25, "kind": 2.0},
            "metrics": {"kind": [metric("SparseCategoricalAccuracy")]},
            "weighted_metrics": {"size": [metric("MeanAbsoluteError")]},
        }

    configured = {"SparseCategoricalCrossentropy": {"from_logits": True}}
    ours = arguments(
        lambda name: as_keras_loss(getattr(losses, name)(**configured.get(name, {}))),
        lambda name: as_keras_metric(getattr(metrics, name)()),
    )
    theirs = arguments(
        lambda name: getattr(keras.losses, name)(**configured.get(name, {})),
        lambda name: getattr(keras.metrics, name)(),
    )
    targets = {"size": size, "kind": kind}
    agree(*(trained(two_outputs, x, targets, weights, **each) for each in (ours, theirs)))


def test_class_weights_given_to_fit_weigh() -> None:
    x, y, _ = data("labels")
    fitted = []
    for loss in (
        as_keras_loss(SPARSE),
        KERAS_SPARSE,
    ):
        model = network()
        model.compile(optimizer="sgd", loss=loss)
        history = model.fit(x, y, class_weight={0: 5.0, 1: 0.0}, batch_size=16, epochs=2, verbose=0, shuffle=False)
        fitted.append((model, history.history))
    agree(*fitted)
    assert fitted[0][1]["loss"] != trained(network, x, y, loss=loss)[1]["loss"]


def test_training_goes_on_after_a_batch_of_another_size() -> None:
    x, y, _ = data("real")
    model = network()
    model.compile(optimizer="sgd", loss=as_keras_loss("mse"), metrics=[as_keras_metric("mae")])
    model.fit(x, y, batch_size=16, verbose=0, validation_data=(x[:7], y[:7]))
    expected = keras.metrics.MeanAbsoluteError()
    expected.update_state(y, model.predict(x, batch_size=9, verbose=0))
    measured = model.evaluate(x, y, batch_size=9, verbose=0, return_dict=True)
    np.testing.assert_allclose(measured["mae"], expected.result(), rtol=1e-5)


def test_a_custom_loss_over_the_backend_interface_trains() -> None:
    from multiloss import backend as K

    def fourth_power(y_true: object, y_pred: object) -> object:
        return K.mean(K.square(K.square(y_pred - y_true)), axis=-1)

    x, y, weights = data("real")
    ours = trained(network, x, y, weights, loss=as_keras_loss(fourth_power))
    theirs = trained(network, x, y, weights, loss=lambda t, p: keras.ops.mean((p - t) ** 4, axis=-1))
    agree(ours, theirs)


def test_half_precision_training_is_finite_and_follows_keras() -> None:
    x, y, weights = data("labels")

    def half() -> object:
        keras.utils.set_random_seed(1)
        dense = keras.layers.Dense(3, dtype="mixed_bfloat16")
        return keras.Sequential([keras.Input((5,)), dense])

    ours, theirs = (
        trained(half, x, y, weights, loss=loss)
        for loss in (
            as_keras_loss(SPARSE),
            KERAS_SPARSE,
        )
    )
    agree(ours, theirs)


# ── Without an adapter ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_function_needs_no_adapter() -> None:
    x, y, weights = data("real")
    ours = trained(network, x, y, weights, loss=losses.huber, metrics=[metrics.mean_absolute_error])
    theirs = trained(network, x, y, weights, loss=keras.losses.huber, metrics=["mean_absolute_error"])
    agree(ours, theirs)


def test_an_instance_without_an_adapter_is_right_only_without_weights() -> None:
    x, y, weights = data("real")
    expected = keras.losses.MeanSquaredError()
    agree(trained(network, x, y, loss=losses.MeanSquaredError()), trained(network, x, y, loss=expected))
    alone = trained(network, x, y, weights, loss=losses.MeanSquaredError())[1]["loss"]
    right = trained(network, x, y, weights, loss=expected)[1]["loss"]
    assert abs(alone[-1] / right[-1] - 1) > 0.01  # Keras multiplies the mean loss by the mean weight
    assert isinstance(keras.losses.get(losses.MeanSquaredError()), losses.MeanSquaredError)
