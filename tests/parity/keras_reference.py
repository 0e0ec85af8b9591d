"""Evaluate the grid with Keras: `KERAS_BACKEND=torch python -m tests.parity.keras_reference OUT.json`.

Keras has one backend per process, so each backend is a process that writes its numbers to a file:
`{floatx: {kind: [{"value": ..., "gradient": ..., "error": ...}, ...]}}`, in the order of the grid.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from tests import quick_jax
from tests.parity import cases, metric_cases


def _as_floatx(x: Any, floatx: str) -> Any:
    return x.astype(floatx) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def _tensors(case: cases.Case, floatx: str) -> tuple[Any, Any]:
    import keras

    y_true, y_pred = _as_floatx(case.y_true, floatx), _as_floatx(case.y_pred, floatx)
    # Integers, too: Keras' functions return the framework's own rounding of them if they stay integers.
    return keras.ops.convert_to_tensor(y_true), keras.ops.convert_to_tensor(y_pred, dtype=floatx)


def _gradient(function: Any, y_true: Any, y_pred: Any) -> Any:
    """Return the gradient of the sum of the values with respect to `y_pred`, where Keras' backend has gradients."""
    import keras

    if keras.backend.backend() == "torch":
        y_pred = y_pred.detach().requires_grad_()
        function(y_true, y_pred).sum().backward()
        return y_pred.grad.numpy()
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda p: function(y_true, p).sum())(y_pred)
    return None


def _evaluate(case: cases.Case, floatx: str) -> dict[str, Any]:
    import keras
    from keras.src.backend import set_keras_mask

    if case.kind == "function":
        y_true, y_pred = _tensors(case, floatx)

        def function(y_true: Any, y_pred: Any) -> Any:
            return getattr(keras.losses, case.name)(y_true, y_pred, **case.parameters)

        value = keras.ops.convert_to_numpy(function(y_true, y_pred))
        gradient = _gradient(function, y_true, y_pred)
        return {
            "value": value,
            "dtype": str(value.dtype),
            "gradient": None if gradient is None else np.asarray(gradient),
        }
    if case.kind == "class":
        y_true, y_pred = _tensors(case, floatx)
        if case.mask is not None:
            set_keras_mask(y_pred, keras.ops.convert_to_tensor(case.mask))
        loss = getattr(keras.losses, case.name)(**case.parameters)
        value = keras.ops.convert_to_numpy(loss(y_true, y_pred, sample_weight=_as_floatx(case.sample_weight, floatx)))
        return {"value": value, "dtype": str(value.dtype)}
    if case.kind == "metric function":
        y_true, y_pred = _tensors(case, floatx)
        value = getattr(keras.metrics, case.name)(y_true, y_pred, **case.parameters)
        return {"value": np.asarray(keras.ops.convert_to_numpy(value))}
    metric = getattr(keras.metrics, case.name)(**case.parameters)
    values = []
    for batch in case.batches:
        metric.update_state(*(_as_floatx(x, floatx) for x in batch))
        values.append(np.asarray(keras.ops.convert_to_numpy(metric.result())))
    return {"value": np.stack(values)}


def evaluate(case: cases.Case, floatx: str) -> dict[str, Any]:
    """Return what Keras gives for a case, as JSON-able values."""
    import keras

    keras.config.set_floatx(floatx)
    try:
        result = _evaluate(case, floatx)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in result.items()}


def main(out: Path) -> None:
    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        torch.set_num_threads(1)
    if os.environ["KERAS_BACKEND"] == "jax":
        quick_jax.apply("all")
    from keras.src.backend.common import dtypes

    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    grids = {
        name: grid
        for name, grid in (vars(cases) | vars(metric_cases)).items()
        if name.endswith("_CASES") and grid is not cases.DEVIATION_CASES
    }
    # Deviations are shown with Keras as it comes: floatx float32, and nothing lifted.
    results = {"float32": {"DEVIATION_CASES": [evaluate(case, "float32") for case in cases.DEVIATION_CASES]}}
    # But on TensorFlow, Keras' type promotion stops at 32 bits whatever its floatx. Lifted, formulas compare in float64.
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    results["float64"] = {name: [evaluate(case, "float64") for case in grid] for name, grid in grids.items()}
    if os.environ["KERAS_BACKEND"] != "jax":  # compiles every operation for either dtype: the tests would wait for it
        results["float32"]["FUNCTION_CASES"] = [evaluate(case, "float32") for case in cases.FUNCTION_CASES]
    out.write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
