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
from multiloss.derivatives._shapes import Form, Structure, raised, shaped, softmax_shaped, unit_vectors
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
    **parameters: Any,
) -> tuple[Tensor, Tensor]:
    """Return gradient and Hessian."""
    arranged = arrange(spec, y_true, y_pred, sample_weight, mask, checked=checked, dtype=dtype, **parameters)
    y_pred = arranged.y_pred
    counts, axis = of_arranged(arranged, parameters.get("axis", -1), reduction)
    counts = spread(counts, y_pred.shape, axis)
    taken = {name: parameters[name] for name in closed.takes}
    joint = spec.event == "joint"
    if not joint:
        counts = counts / max(y_pred.shape[axis], 1)
    if form != "block" and axis == y_pred.ndim - 1 and owner_of(y_pred).takes_rows(y_pred):
        alike = isinstance(counts, float)
        fixed = {"closed": closed, "joint": joint, "form": form, "floor": floor, "counts": counts if alike else 1.0}
        both = K.run_rows(_side_by_side, arranged.y_true, y_pred, **fixed, **taken)
        gradient, curvature = both[..., : y_pred.shape[axis]], both[..., y_pred.shape[axis] :]
        return (gradient, curvature) if alike else (gradient * counts, curvature * counts)
    gradient, curvature, *p = closed.formula(arranged.y_true, y_pred, **taken)
    gradient = gradient * counts
    if joint:
        curvature = softmax_shaped(curvature * counts, p[0], axis, form)
    else:
        curvature = (K.abs(curvature) if form == "bound" else curvature) * counts
    return gradient, curvature if floor is None else raised(curvature, counts * floor, axis if joint else None, form)


_FEW = 32
"""Up to how many classes come first: along a last axis so short most of the time goes into starting over in each row."""


def _side_by_side(
    y_true: Tensor,
    y_pred: Tensor,
    *,
    closed: ClosedForm,
    joint: bool,
    form: Form,
    floor: float | None,
    counts: float,
    **parameters: Any,
) -> Tensor:
    """Return gradient and Hessian next to each other along the last axis, as one tensor of the rows that it is given."""
    first = joint and y_pred.shape[-1] <= _FEW
    if first:
        scores, parameters = _classes_first(y_pred), {**parameters, "axis": 0}
        targets = _classes_first(y_true) if y_true.ndim == y_pred.ndim else y_true
        gradient, curvature, p = closed.formula(targets, scores, **parameters)
        curvature = softmax_shaped(curvature, p, 0, form)
    else:
        gradient, curvature, *p = closed.formula(y_true, y_pred, **parameters)
        if joint:
            curvature = softmax_shaped(curvature, p[0], y_pred.ndim - 1, form)
        elif form == "bound":
            curvature = K.abs(curvature)
    curvature = curvature if floor is None else K.maximum(curvature, floor)
    if counts != 1.0:
        gradient, curvature = gradient * counts, curvature * counts
    if first:
        return K.moveaxis(K.concatenate([gradient, curvature], 0), 0, -1)
    return K.concatenate([gradient, curvature], -1)


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
