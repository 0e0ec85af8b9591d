"""Every loss gives Keras' number, on each of our backends against each of Keras'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from multiloss import losses, value_and_grad
from multiloss.interface import Backend
from tests.parity import cases
from tests.parity.cases import Case
from tests.parity.certificates import KERAS, agree

TOLERANCE = {"float32": {"rtol": 3e-6, "atol": 1e-6}, "float64": {"rtol": 1e-9, "atol": 1e-12}}


def assert_equal_to_keras(
    subject: Any, ours: np.ndarray, numbers: dict[str, Any], grid: str, index: int, dtype: str | None = "float64"
) -> None:
    """Compare with the float64 run of each of Keras' backends."""
    for name, results in numbers.items():
        expected = results["float64"][grid][index]
        assert "error" not in expected, f"Keras on {name}: {expected['error']}"
        assert dtype is None or expected["dtype"] == dtype
        assert ours.shape == np.shape(expected["value"])
        agree(subject, KERAS[name], ours, expected["value"], **TOLERANCE["float64"])


def as_floatx(x: Any, floatx: str) -> Any:
    return x.astype(floatx) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def tensors(backend: Backend, case: Case, floatx: str) -> tuple[Any, Any]:
    y_true, y_pred = as_floatx(case.y_true, floatx), as_floatx(case.y_pred, floatx)
    return backend.asarray(y_true.copy()), backend.asarray(y_pred.astype(floatx))


def indexed(grid: list[Case]) -> Any:
    return pytest.mark.parametrize(("index", "case"), list(enumerate(grid)), ids=[case.id for case in grid])


@indexed(cases.FUNCTION_CASES)
def test_a_function_gives_the_values_and_gradients_of_keras_in_float64(
    keras_numbers: dict[str, Any], backend: Backend, float64: None, index: int, case: Case
) -> None:
    y_true, y_pred = tensors(backend, case, "float64")
    function = getattr(losses, case.name)
    values, gradient = value_and_grad(function)(y_true, y_pred, **case.parameters)
    assert backend.dtype(values) == "float64"
    assert_equal_to_keras(function, backend.to_numpy(values), keras_numbers, "FUNCTION_CASES", index)
    for name in ("jax", "torch"):
        expected = keras_numbers[name]["float64"]["FUNCTION_CASES"][index]["gradient"]
        agree(function, KERAS[name], backend.to_numpy(gradient), expected, quantity="gradient", **TOLERANCE["float64"])


@indexed(cases.FUNCTION_CASES)
def test_a_function_gives_the_values_of_keras_in_float32(
    keras_numbers: dict[str, Any], backend: Backend, index: int, case: Case
) -> None:
    y_true, y_pred = tensors(backend, case, "float32")
    function = getattr(losses, case.name)
    values = function(y_true, y_pred, **case.parameters)
    assert backend.dtype(values) == "float32"
    for name in ("numpy", "torch"):
        expected = keras_numbers[name]["float32"]["FUNCTION_CASES"][index]
        assert "error" not in expected, f"Keras on {name}: {expected['error']}"
        ours = backend.to_numpy(values)
        agree(function, "Keras, float32", ours, expected["value"], **TOLERANCE["float32"], note=f"on {name}")


@indexed(cases.CLASS_CASES)
def test_a_class_weighs_masks_and_reduces_as_keras_does(
    keras_numbers: dict[str, Any], backend: Backend, float64: None, index: int, case: Case
) -> None:
    y_true, y_pred = tensors(backend, case, "float64")
    loss = getattr(losses, case.name)(**case.parameters)
    value = backend.to_numpy(loss(y_true, y_pred, sample_weight=case.sample_weight, mask=case.mask))
    assert_equal_to_keras(loss, value, keras_numbers, "CLASS_CASES", index)


@indexed(cases.REGION_CASES)
def test_regions_overlap_as_in_keras_but_for_its_epsilon(
    keras_numbers: dict[str, Any], backend: Backend, float64: None, index: int, case: Case
) -> None:
    """Keras adds 1e-7 to the sizes of regions; here they are not empty."""
    y_true, y_pred = tensors(backend, case, "float64")
    function = getattr(losses, case.name)
    value, gradient = value_and_grad(function)(y_true, y_pred, **case.parameters)
    for name, results in keras_numbers.items():
        expected = results["float64"]["REGION_CASES"][index]
        assert "error" not in expected, f"Keras on {name}: {expected['error']}"
        agree(function, KERAS[name], backend.to_numpy(value), expected["value"], rtol=1e-7)
        if expected["gradient"] is not None:
            slope = backend.to_numpy(gradient)
            agree(function, KERAS[name], slope, expected["gradient"], quantity="gradient", rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", cases.GOLDEN)
def test_the_golden_values_of_the_textbook_formulas(backend: Backend, float64: None, name: str) -> None:
    values = getattr(losses, name)(cases.GOLDEN_TRUE, cases.GOLDEN_PRED)
    np.testing.assert_allclose(backend.to_numpy(values), cases.GOLDEN[name], rtol=1e-7, atol=6e-7)


def test_the_grid_reaches_every_loss_that_keras_has_too() -> None:
    import keras

    theirs = {name for name in dir(keras.losses) if callable(getattr(keras.losses, name))}
    ours = theirs & set(losses.__all__) - {"get", "serialize", "deserialize", "Loss", "LossFunctionWrapper"}
    reached = {
        case.name
        for case in [*cases.FUNCTION_CASES, *cases.CLASS_CASES, *cases.REGION_CASES, *cases.DEVIATIONS.values()]
    }
    assert ours - reached == set()
    assert len({losses.get(name) if name.islower() else name for name in ours}) >= 34
