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
from multiloss.derivatives._shapes import Form, Structure, shaped, softmax_shaped, unit_vectors
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses._spec import LossSpec, arrange


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
    **parameters: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradient, Hessian, and how much each entry of `y_pred` counts."""
    arranged = arrange(spec, y_true, y_pred, sample_weight, mask, checked=checked, dtype=dtype, **parameters)
    y_pred = arranged.y_pred
    counts, axis = of_arranged(arranged, parameters.get("axis", -1), reduction)
    counts = spread(counts, y_pred.shape, axis)
    taken = {name: parameters[name] for name in closed.takes}
    joint = spec.event == "joint"
    if not joint:
        counts = counts / max(y_pred.shape[axis], 1)
    if form != "block" and axis == y_pred.ndim - 1 and owner_of(y_pred).takes_rows(y_pred):
        fixed = {"closed": closed, "joint": joint, "form": form}
        both = K.run_rows(_side_by_side, arranged.y_true, y_pred, **fixed, **taken)
        entries = y_pred.shape[axis]
        return both[..., :entries] * counts, both[..., entries:] * counts, counts
    if not joint:
        gradient, curvature = closed.formula(arranged.y_true, y_pred, **taken)
        return gradient * counts, (K.abs(curvature) if form == "bound" else curvature) * counts, counts
    gradient, scaled, p = closed.formula(arranged.y_true, y_pred, **taken)
    return gradient * counts, softmax_shaped(scaled * counts, p, axis, form), counts


def _side_by_side(
    y_true: Tensor, y_pred: Tensor, *, closed: ClosedForm, joint: bool, form: Form, **parameters: Any
) -> Tensor:
    """Return gradient and Hessian next to each other along the last axis, as one tensor of the rows that it is given."""
    gradient, curvature, *p = closed.formula(y_true, y_pred, **parameters)
    if joint:
        curvature = softmax_shaped(curvature, p[0], y_pred.ndim - 1, form)
    elif form == "bound":
        curvature = K.abs(curvature)
    return K.concatenate([gradient, curvature], -1)


_COMPILED: dict[ClosedForm, Callable[..., tuple[Tensor, Tensor, Tensor]]] = {
    closed: functools.partial(_in_closed_form, spec, closed)
    for table in (EXACT, FISHER)
    for spec, closed in table.items()
}
"""What is run, kept as long as the process so that backends may keep what they compile."""


def in_closed_form(backend: Backend, closed: ClosedForm, *tensors: Tensor, **static: Any) -> tuple[Tensor, ...]:
    """Return gradient, Hessian, and how much each entry of `y_pred` counts."""
    result: tuple[Tensor, ...] = backend.run(_COMPILED[closed], *tensors, **static)
    return result
