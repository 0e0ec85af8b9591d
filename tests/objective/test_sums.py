"""Sums of losses and named inputs in an objective: what is minimised, and what is shown of the parts."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import backend as K
from multiloss import losses, value_and_grad
from multiloss._errors import NamedInputError
from multiloss.objective import Objective
from multiloss.testing import assert_close

RNG = np.random.default_rng(0)
Y_TRUE = (RNG.random((9, 4)) > 0.5).astype(np.float32)
Y_PRED = RNG.uniform(0.1, 0.9, size=(9, 4)).astype(np.float32)
TEACHER = RNG.normal(size=(9, 4)).astype(np.float32)
ERROR = (Y_PRED - Y_TRUE).astype(float)
MSE, MAE = losses.MeanSquaredError(), losses.MeanAbsoluteError()
MEAN, DEVIATION = np.mean(ERROR**2), np.mean(np.abs(ERROR))
BATCHES = (slice(0, 2), slice(2, 9))


def distance(y_true, y_pred, teacher):
    return K.mean(K.square(y_pred - teacher), axis=-1)


FAR = np.mean((Y_PRED - TEACHER).astype(float) ** 2)


def floats(values, host):
    return {name: float(host(value)) for name, value in values.items()}


def test_the_parts_of_a_sum_are_parts_of_the_objective(backend, tensor, host):
    objective = Objective(losses.Sum({"fit": (MSE, 0.5), "sparse": (MAE, 2.0)}))
    given = tensor(Y_TRUE), tensor(Y_PRED)
    total = 0.5 * MEAN + 2.0 * DEVIATION
    wanted = {"loss": total, "output_loss": total, "output_loss/fit": MEAN, "output_loss/sparse": DEVIATION}
    assert floats(objective.parts(*given), host) == pytest.approx(wanted, rel=1e-5)
    value, gradient = value_and_grad(objective)(*given)
    assert_close(host(value), total, "float32")
    assert_close(host(gradient), (ERROR + 2.0 * np.sign(ERROR)) / ERROR.size, "float32")


def test_results_show_the_parts_over_unequal_batches(backend, tensor, host):
    rest = losses.Sum({"a": MAE, "dice": (losses.Dice(), 3.0)})
    objective = Objective(losses.Sum({"fit": (MSE, 0.5), "rest": (rest, 2.0)}), metrics=["mae"])
    for at in BATCHES:
        objective.update_metrics(tensor(Y_TRUE[at]), tensor(Y_PRED[at]))
    dice = float(host(losses.Dice()(tensor(Y_TRUE), tensor(Y_PRED))))
    wanted = {
        "loss": 0.5 * MEAN + 2.0 * (DEVIATION + 3.0 * dice),
        "loss/fit": MEAN,
        "loss/rest/a": DEVIATION,
        "loss/rest/dice": dice,
        "mae": DEVIATION,
    }
    shown = floats(objective.results(), host)
    assert list(shown) == list(wanted)
    assert shown == pytest.approx(wanted, rel=1e-5)
    objective.reset()
    assert floats(objective.results(), host)["loss/fit"] == 0.0


def test_parts_are_called_after_their_output(backend, tensor, host):
    objective = Objective({"a": MSE + MAE, "b": "mse"}, loss_weights={"a": 2.0, "b": 1.0})
    y_true, y_pred = tensor(Y_TRUE), tensor(Y_PRED)
    objective.update_metrics({"a": y_true, "b": y_true}, {"a": y_pred, "b": y_pred})
    wanted = {
        "loss": 2.0 * (MEAN + DEVIATION) + MEAN,
        "a_loss": MEAN + DEVIATION,
        "a_loss/mean_squared_error": MEAN,
        "a_loss/mean_absolute_error": DEVIATION,
        "b_loss": MEAN,
    }
    shown = floats(objective.results(), host)
    assert list(shown) == list(wanted)
    assert shown == pytest.approx(wanted, rel=1e-5)


def test_a_weight_that_changes_counts_where_it_was_used(backend, tensor, host):
    objective = Objective(losses.Sum({"fit": (MSE, lambda step: step)}))
    for step, at in enumerate(BATCHES):
        objective.update_metrics(tensor(Y_TRUE[at]), tensor(Y_PRED[at]), step=step)
    shown = floats(objective.results(), host)
    assert shown["loss/fit"] == pytest.approx(MEAN, rel=1e-5)
    assert shown["loss"] == pytest.approx(np.sum(ERROR[2:] ** 2) / ERROR.size, rel=1e-5)


def test_a_named_input_reaches_the_losses_that_declare_it(backend, tensor, host):
    objective = Objective({"a": losses.Sum({"hard": MSE, "soft": (distance, 0.5)}), "b": distance})
    y_true, y_pred, teacher = tensor(Y_TRUE), tensor(Y_PRED), tensor(TEACHER)
    given = {"a": y_true, "b": y_true}, {"a": y_pred, "b": y_pred}
    wanted = MEAN + 0.5 * FAR + FAR
    assert_close(host(objective(*given, teacher=teacher)), wanted, "float32")
    objective.update_metrics(*given, teacher=teacher)
    assert floats(objective.results(), host)["loss"] == pytest.approx(wanted, rel=1e-5)
    for call in (objective, objective.update_metrics):
        with pytest.raises(NamedInputError, match="needs teacher="):
            call(*given)
        with pytest.raises(NamedInputError, match="got student="):
            call(*given, teacher=teacher, student=teacher)


def test_a_sum_in_an_objective_is_written_to_a_config(backend, tensor, host):
    objective = Objective(losses.Sum({"fit": (MSE, 0.5), "nll": distance}))
    again = Objective.from_config(objective.get_config(), {"distance": distance})
    given, named = (tensor(Y_TRUE), tensor(Y_PRED)), {"teacher": tensor(TEACHER)}
    assert_close(host(again(*given, **named)), host(objective(*given, **named)), "float32")


def test_accuracy_beside_a_sum_is_that_of_the_part_that_classifies(backend, tensor, host):
    loss = losses.Sum({"dice": MSE, "hard": losses.BinaryCrossentropy(from_logits=True)})
    objective = Objective(loss, metrics=["accuracy"])
    logits = TEACHER
    objective.update_metrics(tensor(Y_TRUE), tensor(logits))
    accuracy = np.mean((logits > 0) == (Y_TRUE > 0.5))
    assert floats(objective.results(), host)["accuracy"] == pytest.approx(accuracy, rel=1e-6)
