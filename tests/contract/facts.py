"""The public losses, as the contract tests go through them: a new loss is covered by being registered."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from multiloss import value_and_grad
from multiloss.losses._spec import LossSpec, spec_of
from multiloss.testing import example, public_loss_classes, public_losses, variants

FUNCTIONS = sorted(public_losses())
CLASSES = sorted(public_loss_classes())
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none")
SAMPLEWISE = [name for name in FUNCTIONS if spec_of(public_losses()[name]).event in ("mean", "joint")]
"""The losses whose function returns one value per sample, over the axes before the last."""
SAMPLEWISE_CLASSES = [
    name for name in CLASSES if spec_of(public_loss_classes()[name]().fn).event in ("mean", "joint", "row")
]
INTERACTING = [name for name in CLASSES if not spec_of(public_loss_classes()[name]().fn).samplewise]
"""The losses that compare the samples of a batch with each other: copies and parts of a batch give other values."""
RATIOS = [name for name in CLASSES if spec_of(public_loss_classes()[name]().fn).event == "ratio"]
"""The losses that are a ratio of sums over the batch: parts add up, but no sample has a value of its own."""
HALF_DTYPES = ["float16", *(["bfloat16"] if importlib.util.find_spec("ml_dtypes") is not None else [])]
HALVES = [pytest.param(dtype, marks=pytest.mark.needs(dtype)) for dtype in HALF_DTYPES]
"""What tests are parametrized with, since a backend of others may lack them."""
VARIANTS = [(name, parameters) for name in FUNCTIONS for parameters in variants(spec_of(public_losses()[name]))]


def function(name: str) -> Any:
    return public_losses()[name]


def spec(name: str) -> LossSpec:
    """Return the facts of a public loss, given the name of its function or class."""
    found = spec_of(public_losses()[name] if name in public_losses() else public_loss_classes()[name]().fn)
    assert found is not None
    return found


def loss_class(name: str) -> Any:
    """Return the class of a loss function."""
    return next(cls for cls in public_loss_classes().values() if spec_of(cls().fn).name == name)


def data(name: str, shape: tuple[int, ...] = (6, 4), dtype: str = "float32", seed: int = 0, **parameters: Any) -> Any:
    """Return `(y_true, y_pred)` for a loss as read-only NumPy arrays."""
    arrays = [np.asarray(each) for each in example(spec(name), shape, parameters, seed)]
    arrays = [each.astype(dtype) if each.dtype.kind == "f" else each for each in arrays]
    for each in arrays:
        each.flags.writeable = False
    return arrays


def value_and_gradient(loss: Any, y_true: Any, y_pred: Any, *rest: Any, **parameters: Any) -> tuple[Any, Any]:
    """Return what a loss object gives and its gradient for the predictions, as NumPy arrays; None where there are none."""
    from multiloss._registry import owner_of

    if not owner_of(y_pred).differentiable:
        value = loss(y_true, y_pred, *rest, **parameters)
        return owner_of(value).to_numpy(value), None
    value, gradient = value_and_grad(loss)(y_true, y_pred, *rest, **parameters)
    return owner_of(value).to_numpy(value), owner_of(gradient).to_numpy(gradient)
