"""The exact Hessian: in closed form where one is registered, else by differentiating the gradient.

Differentiated automatically, a Hessian costs one product with a vector for losses of elements, and one per class for
losses of distributions; each is of all rows at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from multiloss._registry import owner_of
from multiloss._typing import DType, Tensor
from multiloss.derivatives._closed_forms import EXACT, FISHER, ClosedForm
from multiloss.derivatives._counting import of_arranged, spread
from multiloss.derivatives._shapes import Form, Structure, raised, shaped, unit_vectors
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses._evaluation import arrange
from multiloss.losses._spec import LossSpec


def by_autodiff(
    backend: Backend, total: Callable[[Tensor], Tensor], y_pred: Tensor, structure: Structure, form: Form
) -> tuple[Tensor, Tensor]:
    """Return gradient and Hessian of the scalar `total(y_pred)`, which is a sum over samples."""
    vectors = unit_vectors(y_pred, structure.axis)
    gradient, columns = backend.grad_and_hessian_products(total, y_pred, vectors)
    return gradient, shaped(columns, structure.axis, form)


def _in_closed_form(
    spec: LossSpec,
    closed: ClosedForm,
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    *,
    checked: bool,
    reduction: str,
    dtype: DType | None,
    form: Form,
    floor: float | None,
    scales: tuple[float, float],
    **parameters: Any,
) -> tuple[Tensor, Tensor]:
    """Return gradient and Hessian."""
    arranged = arrange(spec, y_true, y_pred, sample_weight, mask, checked=checked, dtype=dtype, **parameters)
    y_true, y_pred = arranged.y_true, arranged.y_pred
    counts, axis = of_arranged(arranged, parameters.get("axis", -1), reduction)
    joint = spec.event == "joint"
    if not joint:
        share = 1.0 / max(y_pred.shape[axis], 1)
        scales = scales[0] * share, scales[1] * share
    fixed: dict[str, Any] = {"closed": closed, "joint": joint, "form": form, "floor": floor}
    fixed |= {name: parameters[name] for name in closed.takes if name != "axis"}
    if form == "block" or axis != y_pred.ndim - 1 or not owner_of(y_pred).takes_rows(y_pred):
        return _scaled(y_true, y_pred, spread(counts, y_pred.shape, axis), axis=axis, scales=scales, **fixed)
    if not isinstance(counts, float) and counts.shape == y_pred.shape[:-1]:
        both = K.run_rows(_of_rows, y_true, y_pred, counts, scales=scales, **fixed)
    elif isinstance(counts, float):
        scales = scales[0] * counts, scales[1] * counts
        both = K.run_rows(_of_rows, y_true, y_pred, scales=scales, **fixed)
    else:
        gradient, curvature = K.run_rows(_of_rows, y_true, y_pred, scales=scales, **fixed)
        both = gradient * counts, curvature * counts
    gradient, curvature = both
    return gradient, curvature


_FEW = 32
"""Up to how many classes come first: along a last axis so short most of the time goes into starting over in each row."""


def _of_rows(y_true: Tensor, y_pred: Tensor, counts: Tensor = 1.0, **fixed: Any) -> tuple[Tensor, Tensor]:
    """Return gradient and Hessian of some rows, whose targets decide whether the formula for labels of 0 and 1 does."""
    closed = fixed["closed"]
    if closed.of_labels is not None and bool(K.all(K.square(y_true) == y_true)):
        fixed["closed"] = closed._replace(formula=closed.of_labels)
    last = y_pred.ndim - 1
    if not fixed["joint"] or y_pred.shape[last] > _FEW:
        return _scaled(y_true, y_pred, spread(counts, y_pred.shape, last), axis=last, **fixed)
    targets = _classes_first(y_true) if y_true.ndim == y_pred.ndim else y_true
    given = {**fixed, "axis": 0}
    gradient, curvature = _scaled(targets, _classes_first(y_pred), counts, **given)
    return K.moveaxis(gradient, 0, -1), K.moveaxis(curvature, 0, -1)


def _scaled(
    y_true: Tensor,
    y_pred: Tensor,
    counts: Tensor,
    *,
    closed: ClosedForm,
    joint: bool,
    axis: int,
    form: Form,
    floor: float | None,
    scales: tuple[float, float],
    **parameters: Any,
) -> tuple[Tensor, Tensor]:
    """Return gradient and Hessian, multiplied by `counts` and a number for each of them."""
    if "axis" in closed.takes:
        parameters["axis"] = axis
    gradient, curvature = closed.formula(y_true, y_pred, **parameters)
    if joint:
        curvature = curvature.shaped(axis, form)
    elif form == "bound":
        curvature = K.abs(curvature)
    if floor is not None:
        curvature = raised(curvature, floor, axis if joint else None, form)
    across = counts
    if form == "block" and not isinstance(counts, float) and counts.ndim:
        across = K.expand_dims(K.moveaxis(K.broadcast_to(counts, y_pred.shape), axis, -1), -1)
    return _times(gradient, counts, scales[0]), _times(curvature, across, scales[1])


def _times(x: Tensor, counts: Tensor, scale: float) -> Tensor:
    factor = counts * scale
    return x if isinstance(factor, float) and factor == 1.0 else x * factor


def _classes_first(x: Tensor) -> Tensor:
    """Return a copy whose first axis is the last of `x`."""
    return K.stack([x[..., k] for k in range(x.shape[-1])], 0)


_COMPILED: dict[ClosedForm, Callable[..., tuple[Tensor, Tensor]]] = {
    closed: functools.partial(_in_closed_form, spec, closed)
    for table in (EXACT, FISHER)
    for spec, closed in table.items()
}
"""What is run, kept as long as the process so that backends may keep what they compile."""


def in_closed_form(backend: Backend, closed: ClosedForm, *tensors: Tensor, **static: Any) -> tuple[Tensor, Tensor]:
    """Return gradient and Hessian."""
    result: tuple[Tensor, Tensor] = backend.run(_COMPILED[closed], *tensors, **static)
    return result
