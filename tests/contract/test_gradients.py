"""Gradients: finite wherever formulas degenerate, and equal to central differences elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss._registry import load_backend
from multiloss.testing import DIFFERENCES, assert_close
from tests.conftest import BACKENDS, BUILTIN, lacks
from tests.contract.facts import VARIANTS, data, function, loss_class, spec, value_and_gradient

IDS = [f"{name}-{parameters}" for name, parameters in VARIANTS]
ROWS = [(name, parameters) for name, parameters in VARIANTS if spec(name).event == "row"]
OTHERS = [(name, parameters) for name, parameters in VARIANTS if spec(name).event != "row"]


def test_our_backends_have_gradients():
    """What follows asks no gradient of a backend that says it has none."""
    for name in set(BACKENDS) & set(BUILTIN):
        assert load_backend(name).differentiable
        assert not lacks(name, "gradients")
        assert not lacks(name, "anything")


@pytest.mark.parametrize("dtype", ["float32"])  # the narrower one, where more underflows
@pytest.mark.parametrize(("name", "parameters"), OTHERS, ids=map(str, OTHERS))
def test_degenerate_inputs_have_a_finite_gradient(name, parameters, dtype, backend, tensor, float64):
    y_true, _ = data(name, (4, 4), dtype, **parameters)
    hard = np.eye(4, dtype=dtype)
    cases = {
        "all zeros": np.zeros((4, 4), dtype),
        "all ones": np.ones((4, 4), dtype),
        "certain": hard,
        "certainly wrong": 1 - hard,
        "tiny": np.full((4, 4), 1e-30, dtype),
        "huge": np.full((4, 4), 1e15, dtype),
    }
    if spec(name).prediction == "probability or logit" and not parameters.get("from_logits"):
        del cases["huge"]  # no probability
    targets = {"random": y_true}
    if spec(name).target != "class index":
        cases["perfect"] = np.array(y_true)
        targets |= {"zeros": np.zeros_like(y_true), "hard": hard, "ones": np.ones_like(y_true)}
    else:
        targets["hard"] = np.arange(4)
    if spec(name).event == "ratio":
        del cases["tiny"]  # the slope of a ratio of numbers like 1e-30 is beyond float32
        for target in targets.values():
            for y_pred in cases.values():
                value, gradient = value_and_gradient(loss_class(name)(**parameters), tensor(target), tensor(y_pred))
                assert np.isfinite(value)
                assert gradient is None or np.isfinite(gradient).all()
        return
    # All of them side by side, in one call: along the samples, which are on axis 1 if the event is on axis 0.
    along = 1 if parameters.get("axis") == 0 else 0
    pairs = [(true, pred) for true in targets for pred in cases]
    all_true = np.concatenate([targets[true] for true, _ in pairs], along if y_true.ndim == 2 else 0)
    all_pred = np.concatenate([cases[pred] for _, pred in pairs], along)
    loss = loss_class(name)(reduction="none", **parameters)
    values, gradients = value_and_gradient(loss, tensor(all_true), tensor(all_pred))
    for row, pair in enumerate(pairs):
        assert np.isfinite(values[4 * row : 4 * row + 4]).all(), pair
        assert gradients is None or np.isfinite(np.moveaxis(gradients, along, 0)[4 * row : 4 * row + 4]).all(), pair


@pytest.mark.parametrize("dtype", ["float32"])  # the narrower one, where more underflows
@pytest.mark.parametrize(("name", "parameters"), ROWS, ids=map(str, ROWS))
def test_degenerate_rows_have_a_finite_gradient(name, parameters, dtype, backend, tensor, float64):
    y_true, y_pred = data(name, (4, 4), dtype, **parameters)
    ones, first = np.ones_like(y_pred), np.eye(y_pred.shape[-1], dtype=dtype)[0]
    cases = {"all zeros": 0 * ones, "all equal": 0.5 * ones, "all certain": first * ones, "tiny": 1e-30 * ones}
    if spec(name).prediction == "logits":
        cases |= {"huge": 1e15 * ones, "far apart": 1e15 * first * ones, "the other way": -1e15 * first * ones}
    else:
        cases |= {
            "opposite": first * np.array([[1], [-1], [1], [-1]], dtype),
            "at right angles": np.eye(4, dtype=dtype),
        }
    targets = {"random": y_true, "all alike": 0 * y_true + y_true[-1]}
    if spec(name).target == "id":
        targets["none alike"] = np.arange(4)
    for target in targets.values():
        for about, each in cases.items():
            value, gradient = value_and_gradient(loss_class(name)(**parameters), tensor(target), tensor(each))
            assert np.isfinite(value), about
            assert gradient is None or np.isfinite(gradient).all(), about


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("name", sorted({name for name, _ in VARIANTS if spec(name).prediction == "real"}))
def test_a_perfect_prediction_has_gradient_0(name, backend, tensor):
    y_true, _ = data(name)
    if spec(name).event == "joint":
        return  # margins and directions are not perfect where targets and predictions are equal
    _, gradient = value_and_gradient(function(name), tensor(y_true), tensor(np.array(y_true)))
    assert not gradient.any()


@pytest.mark.backends("numpy", "torch")  # whose gradients the conformance suite holds the others to
@pytest.mark.parametrize(("name", "parameters"), VARIANTS, ids=IDS)
def test_gradients_equal_central_differences(name, parameters, backend, tensor, host, float64):
    y_true, y_pred = data(name, (2, 4) if parameters.get("axis") != 0 else (4, 2), "float64", **parameters)
    loss = loss_class(name)(reduction="sum", **parameters)
    _, gradient = value_and_gradient(loss, tensor(y_true), tensor(y_pred))
    step, numeric = 1e-6, np.zeros_like(y_pred)
    for index in np.ndindex(y_pred.shape):
        sides = []
        for sign in (1, -1):
            moved = np.array(y_pred)
            moved[index] += sign * step
            sides.append(float(host(loss(tensor(y_true), tensor(moved)))))
        numeric[index] = (sides[0] - sides[1]) / (2 * step)
    assert_close(gradient, numeric, "float64", table=DIFFERENCES)
