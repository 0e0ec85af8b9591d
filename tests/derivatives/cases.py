"""Every public loss that has a Hessian per sample, with each of its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from multiloss.derivatives._closed_forms import EXACT, FISHER
from multiloss.losses._spec import spec_of
from multiloss.testing import PARAMETER_VALUES, example, public_loss_classes, public_losses, variants

SPECS = {name: spec_of(fn) for name, fn in public_losses().items()}
SAMPLEWISE = [name for name, spec in SPECS.items() if spec.event in ("mean", "joint") and spec.samplewise]
CURVED = [name for name in SAMPLEWISE if SPECS[name].curved]
STRAIGHT = [name for name in SAMPLEWISE if not SPECS[name].curved]
RELATED = sorted(set(SPECS) - set(SAMPLEWISE))
VARIANTS = [(name, parameters) for name in CURVED for parameters in variants(SPECS[name])]


def _combinations(spec: Any) -> list[dict[str, Any]]:
    """Return the parameters that a closed form may have to do with, two at a time beside `from_logits`."""
    logits = {"from_logits": True} if "from_logits" in spec.defaults else {}
    others = [name for name in spec.defaults if name != "from_logits"]
    return [logits, *({**logits, name: value} for name in others for value in PARAMETER_VALUES[name])]


CLOSED = [
    (choice, spec.name, parameters)
    for choice, table in (("exact", EXACT), ("fisher", FISHER))
    for spec, form in table.items()
    for parameters in _combinations(spec)
    if form.applies(spec, {**spec.defaults, **parameters})
]


def loss_of(name: str, reduction: str = "none", **parameters: Any) -> Any:
    """Return an instance of the class of a loss function."""
    cls = next(each for each in public_loss_classes().values() if spec_of(each().fn).name == name)
    return cls(reduction=reduction, **parameters)


def data(name: str, shape: tuple[int, ...] = (5, 4), **parameters: Any) -> Any:
    """Return `(y_true, y_pred)` in float64."""
    y_true, y_pred = (np.asarray(each) for each in example(SPECS[name], shape, parameters))
    if SPECS[name].target == "one-hot":
        y_true = 0.8 * y_true + 0.05 * (1 + np.arange(y_true.size).reshape(y_true.shape) % 3)  # soft, sums not 1
    return y_true, y_pred
