"""Where masks act otherwise than in Keras on purpose: each test asserts both sides, and is a row of `docs/deviations.md`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras.src.backend import set_keras_mask  # has no public name
from multiloss import metrics
from multiloss.interface import Backend

MASK = np.array([True, True, True, False])
BATCH = np.array([[1.0], [0.0], [1.0], [1.0]], "float32"), np.array([[0.9], [0.8], [0.2], [0.7]], "float32")


def theirs(name: str, *, masked: bool, **parameters: Any) -> Any:
    """Return Keras' value where the predictions come from a layer that masks, such as `Masking` or `Embedding`."""
    y_pred = keras.ops.convert_to_tensor(BATCH[1].copy())
    if masked:
        set_keras_mask(y_pred, MASK)
    metric = getattr(keras.metrics, name)(**parameters)
    metric.update_state(BATCH[0], y_pred)
    return np.asarray(metric.result())


def ours(backend: Backend, name: str, *, masked: bool, **parameters: Any) -> Any:
    metric = getattr(metrics, name)(**parameters)
    mask = backend.asarray(MASK) if masked else None
    return backend.to_numpy(metric(*map(backend.asarray, BATCH), mask=mask))


@pytest.mark.parametrize("name", ["TruePositives", "Precision", "Recall", "AUC", "BinaryIoU", "F1Score", "R2Score"])
def test_what_is_masked_is_not_counted(backend: Backend, name: str) -> None:
    # Keras masks averages...
    assert theirs("BinaryAccuracy", masked=True) == pytest.approx(1 / 3)
    assert theirs("BinaryAccuracy", masked=False) == pytest.approx(1 / 2)
    # ... and nothing else.
    parameters = {"threshold": 0.5} if name == "F1Score" else {}
    np.testing.assert_array_equal(theirs(name, masked=True, **parameters), theirs(name, masked=False, **parameters))
    unmasked, masked = (ours(backend, name, masked=each, **parameters) for each in (False, True))
    np.testing.assert_allclose(unmasked, theirs(name, masked=False, **parameters), atol=2e-4)
    assert (masked != unmasked).all()
    # Weights of 0, by which Keras can be told too, give what our mask gives.
    metric = getattr(keras.metrics, name)(**parameters)
    metric.update_state(*BATCH, sample_weight=MASK.astype("int32" if name == "BinaryIoU" else "float32"))
    np.testing.assert_allclose(masked, np.asarray(metric.result()), atol=2e-4)
