"""The adapters by themselves: what they accept, what they hold, what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import multiloss
import numpy as np
import pytest
from keras.src.backend import StatelessScope, SymbolicScope
from multiloss import losses, metrics
from multiloss.integrations.keras import KerasLoss, KerasMetric, as_keras_loss, as_keras_metric
from tests.integrations.keras.networks import data, network, two_outputs


def test_adapters_accept_all_that_multiloss_calls_a_loss_or_metric() -> None:
    y_true, y_pred = [[0.0], [0.0]], [[1.0], [3.0]]
    for loss in ("mse", losses.mean_squared_error, losses.MeanSquaredError, losses.MeanSquaredError()):
        assert float(as_keras_loss(loss)(y_true, y_pred)) == 5.0
    config = losses.serialize(losses.MeanSquaredError(reduction="sum"))
    assert float(as_keras_loss(config)(y_true, y_pred)) == 10.0
    for metric in ("mse", losses.mean_squared_error, metrics.MeanSquaredError, losses.MeanSquaredError()):
        assert float(as_keras_metric(metric)(y_true, y_pred)) == 5.0


def test_adapting_twice_is_adapting_once() -> None:
    loss, metric = as_keras_loss("mse"), as_keras_metric("mse")
    assert as_keras_loss(loss) is loss
    assert as_keras_metric(metric) is metric
    assert isinstance(as_keras_metric(metric, "other"), KerasMetric)
    assert as_keras_metric(metric, "other").name == "other"
    assert isinstance(loss, KerasLoss)


@pytest.mark.parametrize("name", ["accuracy", "acc"])
def test_a_metric_that_depends_on_shapes_must_be_named(name: str) -> None:
    with pytest.raises(ValueError, match="Name the one that is meant"):
        as_keras_metric(name)


def test_what_is_no_loss_or_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="chosen by the shapes"):
        as_keras_loss("crossentropy")
    with pytest.raises(ValueError, match="one number"):
        as_keras_loss(losses.MeanSquaredError(reduction="none"))
    with pytest.raises(ValueError, match="Arrived: None"):
        as_keras_loss(None)
    with pytest.raises(ValueError, match="targets and predictions"):
        as_keras_metric(metrics.Mean())
    with pytest.raises(ValueError, match=r"(?i)did you mean 'hinge'"):
        as_keras_loss("hingee")


def test_class_indices_are_not_rounded_to_floats() -> None:
    labels = np.array([2**24 + 1])  # as a float32 this is 2^24
    seen = []

    class Recorder(losses.Loss):
        def call(self, y_true: object, y_pred: object) -> object:
            seen.append(int(y_true[0]))
            return y_pred[..., 0]

    KerasLoss(Recorder())(labels, np.ones((1, 3), "float32"))
    assert seen == [2**24 + 1]


def test_the_stateless_methods_carry_the_state() -> None:
    metric = as_keras_metric("mse")
    y_true, y_pred = np.zeros((4, 1), "float32"), np.full((4, 1), 2.0, "float32")
    metric.update_state(y_true, y_pred)
    start = metric.stateless_reset_state()
    state = metric.stateless_update_state(start, y_true, 2 * y_pred)
    state = metric.stateless_update_state(state, y_true, y_pred)
    assert float(metric.stateless_result(state)) == 10.0
    assert float(metric.stateless_result(start)) == 0.0
    assert float(metric.result()) == 4.0  # the metric itself has seen the first batch alone


def test_reset_state_restores_what_a_state_starts_from() -> None:
    y_true, y_pred = np.array([0.0, 1.0, 1.0], "float32"), np.array([0.1, 0.8, 0.3], "float32")
    auc = as_keras_metric(metrics.AUC(num_thresholds=20))
    first = float(auc(y_true, y_pred))
    assert any(np.any(keras.ops.convert_to_numpy(variable) != 0) for variable in auc.variables)
    auc.update_state(1 - y_true, y_pred)
    assert float(auc.result()) != first
    auc.reset_state()
    assert float(auc(y_true, y_pred)) == first
    expected = metrics.AUC(num_thresholds=20)
    assert first == pytest.approx(float(expected(y_true, y_pred)))


def test_a_result_before_the_first_batch_is_that_of_nothing() -> None:
    assert float(as_keras_metric("mse").result()) == 0.0
    assert as_keras_metric("mse").variables == []


def test_a_metric_per_label_takes_its_shape_from_the_first_batch() -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 2, (30, 3)), rng.uniform(size=(30, 3)).astype("float32")
    adapted, alone = as_keras_metric(metrics.AUC(multi_label=True)), metrics.AUC(multi_label=True)
    np.testing.assert_allclose(float(adapted(y_true, y_pred)), float(alone(y_true, y_pred)), rtol=1e-5)


def test_a_state_that_grows_is_refused() -> None:
    metric = as_keras_metric(metrics.AUC(num_thresholds=None))
    with pytest.raises(NotImplementedError, match="grows with the data"):
        metric.update_state([0.0, 1.0], [0.1, 0.8])


def test_twenty_million_and_one_are_counted_exactly() -> None:
    metric = as_keras_metric(metrics.MeanSquaredError())
    block = np.ones((2**22, 1), "float32")
    for _ in range(5):  # a float32 count stops at 2^24
        metric.update_state(0 * block, block)
    metric.update_state([[0.0]], [[1.0]])
    assert float(metric.result()) == 1.0
    assert max(int(keras.ops.convert_to_numpy(variable)) for variable in metric.variables) == 5 * 2**22 + 1


def test_host_data_goes_to_the_framework_of_keras_whatever_is_active() -> None:
    other = "numpy" if keras.backend.backend() != "numpy" else "jax"  # which Keras on NumPy needs itself
    with multiloss.use_backend(other):
        value = as_keras_loss("mse")(np.zeros((2, 1), "float32"), np.ones((2, 1), "float32"))
        metric = as_keras_metric("mse")
        metric.update_state(np.zeros((2, 1), "float32"), np.ones((2, 1), "float32"))
        result = metric.result()
    expected = type(keras.ops.convert_to_tensor(np.ones((1,), "float32")))
    assert isinstance(value, (expected, np.generic))
    assert isinstance(result, (expected, np.generic))


def test_errors_in_evaluate_are_those_of_the_loss() -> None:
    x, y, _ = data("real")
    model = network()
    model.compile(loss=as_keras_loss("mse"))
    with pytest.raises(multiloss._errors.ShapeError, match="y_true has shape"):
        model.evaluate(x, y[:, :2], verbose=0)


def test_evaluation_agrees_with_keras_for_several_outputs() -> None:
    x, y, weights = data("real")
    measured = []
    for loss, metric in ((as_keras_loss, as_keras_metric), (keras.losses.get, keras.metrics.get)):
        model = keras.Model((named := two_outputs()).inputs, [named.output["size"], named.output["kind"]])
        model.compile(
            loss=[loss("huber"), loss("mean_squared_error")],
            loss_weights=[0.5, 2.0],
            metrics=[[metric("mean_absolute_error")], None],
            weighted_metrics=[None, [metric("mean_squared_error")]],
        )
        measured.append(model.evaluate(x, [y, y], sample_weight=[weights, weights], verbose=0, return_dict=True))
        predicted = model.predict(x, verbose=0)
    assert measured[0].keys() == measured[1].keys()
    assert len(predicted) == 2
    for key, value in measured[1].items():
        np.testing.assert_allclose(measured[0][key], value, rtol=1e-5)


def test_metrics_of_labels_and_scores_build_on_every_backend() -> None:
    # On NumPy Keras builds metrics with whatever is in memory: neither labels nor probabilities.
    x, y, _ = data("labels")
    model = network("softmax")
    model.compile(
        loss=as_keras_loss("sparse_categorical_crossentropy"),
        metrics=[as_keras_metric("sparse_categorical_accuracy"), as_keras_metric("sparse_categorical_crossentropy")],
    )
    measured = model.evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(measured["loss"], measured["sparse_categorical_crossentropy"], rtol=1e-5)


def test_what_keras_fills_tensors_with_while_it_builds_is_not_looked_at() -> None:
    # On NumPy that is whatever is in memory.
    garbage = np.full(4, 99), np.full((4, 3), -7.0, "float32")
    metric = as_keras_metric("sparse_categorical_crossentropy")
    with StatelessScope(), SymbolicScope():
        as_keras_loss("sparse_categorical_crossentropy")(*garbage)
        metric.update_state(*garbage)
    assert len(metric.variables) == 5
    assert float(metric.result()) == 0.0


@pytest.mark.keras_on("torch")
def test_a_metric_keeps_no_gradients() -> None:
    import torch

    metric = as_keras_metric("mse")
    y_pred = torch.ones(2, 1, requires_grad=True)
    metric.update_state(torch.zeros(2, 1), y_pred)
    state = metric.stateless_update_state(metric.variables, torch.zeros(2, 1), y_pred)
    assert not metric.stateless_result(state).requires_grad


def test_a_framework_without_a_backend_of_multiloss_is_refused_by_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import multiloss.integrations.keras"],
        capture_output=True,
        text=True,
        env=dict(os.environ) | {"KERAS_BACKEND": "tensorflow"},
        timeout=120,
    )
    assert done.returncode != 0
    assert "BackendNotFoundError" in done.stderr
    assert "KERAS_BACKEND" in done.stderr.splitlines()[-1]
