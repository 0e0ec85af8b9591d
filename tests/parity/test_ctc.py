"""Where CTC and the circle loss differ from Keras on purpose; where they agree, the grid compares them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import grad, losses
from multiloss._errors import LabelError
from multiloss.interface import Backend
from tests.parity import cases

KerasGives = Callable[..., dict[str, Any]]


def tensors(backend: Backend, name: str) -> list[Any]:
    case = cases.DEVIATIONS[name]
    return [backend.asarray(case.y_true.copy()), backend.asarray(case.y_pred.astype("float32"))]


def test_ctc_without_any_alignment_is_infinite_with_gradient_0(backend: Backend, keras_gives: KerasGives) -> None:
    name = "ctc without any alignment"
    given = tensors(backend, name)
    assert backend.to_numpy(losses.ctc(*given)).tolist() == [np.inf]
    assert backend.to_numpy(losses.ctc(*given, zero_infinity=True)).tolist() == [0]
    assert not backend.to_numpy(grad(losses.CTC())(*given)).any()
    values, gradients = keras_gives(name), keras_gives(name, "gradient")
    assert values["torch"] == [np.inf]
    assert np.isnan(gradients["torch"]).any()
    for plausible in ("numpy", "jax"):
        assert values[plausible] == pytest.approx([1e5], rel=0.01)


def test_a_blank_between_labels_is_refused(backend: Backend, keras_gives: KerasGives) -> None:
    with pytest.raises(LabelError, match="without 0 among the labels"):
        losses.ctc(*tensors(backend, "ctc of a blank between labels"))
    for value in keras_gives("ctc of a blank between labels").values():
        assert np.isfinite(value).all()
