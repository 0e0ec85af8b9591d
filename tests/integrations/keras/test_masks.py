"""Masks that layers of Keras make reach losses and metrics."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from multiloss import losses, metrics
from multiloss.integrations.keras import as_keras_loss, as_keras_metric
from tests.integrations.keras.networks import SAMPLES, agree, sequences, tagger, taggers, trained


def ours(**arguments: object) -> object:
    return as_keras_loss(losses.SparseCategoricalCrossentropy(from_logits=True, **arguments))


def theirs(**arguments: object) -> object:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **arguments)


@pytest.mark.keras_on("torch", "jax")
@pytest.mark.parametrize("weighted", [False, True])
def test_training_with_a_mask_gives_what_it_gives_with_the_losses_of_keras(weighted: bool) -> None:
    x, y, weights = sequences()
    reductions = ["sum_over_batch_size", "sum", "mean_with_sample_weight"]
    targets = dict.fromkeys(reductions, y)
    given = dict.fromkeys(reductions, weights) if weighted else None
    agree(
        *(
            trained(
                lambda: taggers(reductions), x, targets, given, loss={each: make(reduction=each) for each in reductions}
            )
            for make in (ours, theirs)
        )
    )


@pytest.mark.keras_on("torch", "jax")
def test_labels_of_the_padding_may_be_anything() -> None:
    x, y, _ = sequences()
    agree(
        trained(tagger, x, sequences(padded_with=-100)[1], loss=ours()),
        trained(tagger, x, y, loss=ours()),
    )


def compiled(loss: object, made: list[object], **settings: object) -> object:
    model = tagger()
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss, weighted_metrics=made, **settings)
    return model


@pytest.mark.parametrize("weighted", [False, True])
def test_evaluation_masks_loss_and_metrics_as_keras_does(weighted: bool) -> None:
    x, y, weights = sequences()
    given = weights if weighted else None
    mine = compiled(ours(), [as_keras_metric(metrics.SparseCategoricalAccuracy())])
    expected = compiled(theirs(), [keras.metrics.SparseCategoricalAccuracy()])
    measured, wanted = (
        model.evaluate(x, y, sample_weight=given, batch_size=SIZE, verbose=0, return_dict=True)
        for model in (mine, expected)
    )
    assert measured.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(measured[key], value, rtol=1e-5)
    if not weighted:
        predicted = mine.predict(x, verbose=0).argmax(-1)
        np.testing.assert_allclose(measured["sparse_categorical_accuracy"], (predicted == y)[x != 0].mean(), rtol=1e-5)


SIZE = SAMPLES  # one batch: with a mask, the mean of the batches' means is not the mean of all


@pytest.mark.keras_on("torch", "jax")
def test_in_fit_metrics_see_the_mask_except_on_jax_where_keras_loses_it() -> None:
    x, y, _ = sequences()
    results = []
    for loss, metric in (
        (ours(), as_keras_metric("sparse_categorical_accuracy")),
        (theirs(), keras.metrics.SparseCategoricalAccuracy()),
    ):
        model = compiled(loss, [metric])  # with a learning rate of 0, fit measures what evaluate measures
        results.append(model.fit(x, y, batch_size=SIZE, verbose=0).history["sparse_categorical_accuracy"][-1])
    correct = model.predict(x, verbose=0).argmax(-1) == y
    seen = correct if keras.backend.backend() == "jax" else correct[x != 0]
    assert correct.mean() != correct[x != 0].mean()
    np.testing.assert_allclose(results, seen.mean(), rtol=1e-5)


def test_metrics_of_counts_see_the_mask_unlike_those_of_keras() -> None:
    x, _, _ = sequences()
    keras.utils.set_random_seed(6)
    inputs = keras.Input((x.shape[1],))
    embedded = keras.layers.Embedding(int(x.max()) + 1, 4, mask_zero=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(embedded))
    y = (x % 2 == 0).astype("float32")[..., None]  # the padding would be positives
    made = [as_keras_metric(metrics.TruePositives(0.0, name="ours")), keras.metrics.TruePositives(0.0, name="theirs")]
    model.compile(loss=as_keras_loss("binary_crossentropy"), metrics=made)
    measured = model.evaluate(x, y, verbose=0, return_dict=True)
    assert measured["ours"] == y[x != 0].sum()
    assert measured["theirs"] == y.sum()
