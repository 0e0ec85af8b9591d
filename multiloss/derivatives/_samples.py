"""The samples of one call, ready to be differentiated: values as a function of targets and predictions, and how much each
counts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from multiloss._typing import Tensor
from multiloss.derivatives._counting import coefficients, of_arranged, spread
from multiloss.derivatives._shapes import Structure, spec_and_parameters, with_parameters
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses import Loss
from multiloss.losses._evaluation import arrange
from multiloss.losses._reduction import select
from multiloss.losses._spec import LossSpec


class Samples(NamedTuple):
    """One batch."""

    spec: LossSpec | None
    """The facts about the loss, None for a custom one."""
    parameters: Mapping[str, Any]
    """Of the loss; none of a custom one."""
    structure: Structure
    y_true: Tensor
    y_pred: Tensor
    values: Callable[[Tensor, Tensor], Tensor]
    """One value per sample, given targets and predictions; without weights, and finite where nothing counts."""
    counts: Tensor
    """By what each value is multiplied before all are summed into the reduced value; a number if all count alike."""
    across: int | None
    """The axis that `y_pred` has and `values` have not."""

    def total(self, y_pred: Tensor) -> Tensor:
        """Return the reduced value of predictions."""
        return K.sum(self.values(self.y_true, y_pred) * self.counts)

    @property
    def counts_of_entries(self) -> Tensor:
        """`counts`, for each entry of `y_pred`."""
        return spread(self.counts, self.y_pred.shape, self.across)


def samples_of(
    backend: Backend,
    loss: Loss,
    parameters: Mapping[str, Any],
    structure: Structure,
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    inputs: Mapping[str, Tensor],
) -> Samples:
    """Return the samples of a call of a loss with these parameters."""
    spec, _ = spec_and_parameters(loss)
    if spec is None:
        return _of_custom(backend, loss, structure, y_true, y_pred, sample_weight, mask, inputs)
    y_pred = spec.settle_integers(backend, y_pred, loss.dtype, parameters)
    checked = spec.labels_checked(backend, y_true, y_pred, sample_weight, mask, parameters)
    arranged = arrange(spec, y_true, y_pred, sample_weight, mask, checked=checked, dtype=loss.dtype, **parameters)
    y_true, y_pred = arranged.y_true, arranged.y_pred
    counts, axis = of_arranged(arranged, parameters.get("axis", -1), loss.reduction)
    values = functools.partial(spec.formula, **parameters)
    return Samples(spec, parameters, structure, y_true, y_pred, values, counts, axis)


def by_entry(samples: Samples) -> Samples:
    """Return a batch in which each entry of `y_pred` is a sample, for a loss that averages the values of entries."""
    spec, shape = samples.spec, samples.y_pred.shape
    if spec is None or samples.structure.axis is not None:
        return samples
    changed = {**samples.parameters, "axis": -1} if "axis" in samples.parameters else samples.parameters

    def values(y_true: Tensor, y_pred: Tensor) -> Tensor:
        # The mean over a new axis of size 1.
        computed: Tensor = spec.formula(K.expand_dims(y_true, -1), K.expand_dims(y_pred, -1), **changed)
        return computed

    counts = spread(samples.counts, shape, samples.across) / samples.structure.averaged
    return samples._replace(values=values, counts=counts, across=None)


def _of_custom(
    backend: Backend,
    loss: Loss,
    structure: Structure,
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    inputs: Mapping[str, Tensor],
) -> Samples:
    each: Callable[..., Tensor] = with_parameters(loss, reduction="none", dtype=None)
    shape = tuple(y_pred.shape) if structure.axis is None else tuple(y_pred.shape[:-1])
    dtype = backend.dtype(y_pred)
    selection = select(sample_weight, mask, shape, dtype if dtype in ("float32", "float64") else "float32")
    counts = coefficients(selection, shape, y_pred, loss.reduction)

    def values(true: Tensor, pred: Tensor) -> Tensor:
        return each(true, pred, None, selection.computed, **inputs)

    return Samples(None, {}, structure, y_true, y_pred, values, counts, structure.axis)
