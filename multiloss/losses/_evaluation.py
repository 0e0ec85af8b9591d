"""What is run: from the tensors of a call to its values, with what does not count left out before the formula.

Everything here is pure and traced, and takes the facts of the loss first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from multiloss._boundary import (
    align,
    align_labels,
    align_weights,
    are_in_range,
    as_floats,
    as_labels,
    check_labels,
    normalize_axis,
    require_real,
)
from multiloss._typing import DType, Shape, Tensor
from multiloss.dispatch import K
from multiloss.interface import HALVES, Backend
from multiloss.losses._classes import by_class
from multiloss.losses._reduction import Selection, keep, partial, reduce, reduce_alike, select

if TYPE_CHECKING:
    from multiloss.losses._spec import LossSpec

_NAN = float("nan")


def prepare(
    spec: LossSpec, y_true: Tensor, y_pred: Tensor, dtype: DType | None, parameters: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    if spec.target == "class index":
        y_true = as_labels(y_true)
        y_pred = as_labels(y_pred) if spec.predicts_labels(parameters) else as_floats(y_pred, dtype)
        return align_labels(y_true, y_pred.shape, parameters.get("axis", -1)), y_pred
    if spec.predicts_labels(parameters):
        for each in (y_true, y_pred):
            require_real(each)
        return align(y_true, y_pred)
    y_true, y_pred = align(y_true, as_floats(y_pred, dtype))
    normalize_axis(parameters.get("axis", -1), y_pred.ndim)  # raises if there is no such axis
    if y_true.dtype != y_pred.dtype:
        require_real(y_true)
        y_true = K.cast(y_true, K.dtype(y_pred))
    return y_true, y_pred


def prepare_half(spec: LossSpec, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Do what `_prepare` does, with the predictions and soft labels as they are."""
    if spec.target == "class index":
        return align_labels(as_labels(y_true), y_pred.shape, -1), y_pred
    y_true, y_pred = align(y_true, y_pred)
    if not K.is_floating(y_true):
        require_real(y_true)
        y_true = K.cast(y_true, "float32")
    return y_true, y_pred


class Arranged(NamedTuple):
    """What a formula gets, and what is to be done with what it returns."""

    y_true: Tensor
    y_pred: Tensor
    selection: Selection
    in_range: Tensor
    """Where labels are in range; None if that is known already."""


def _filled(
    spec: LossSpec, y_true: Tensor, y_pred: Tensor, selection: Selection, checked: bool, parameters: Mapping[str, Any]
) -> Arranged:
    """Return the arguments with harmless values in unselected entries and for bad labels."""
    axis = parameters.get("axis", -1)
    computed, in_range = selection.computed, None
    if not checked and spec.has_classes(parameters):
        in_range = (y_true >= 0) & (y_true < y_pred.shape[axis])
        y_true = K.where(in_range, y_true, 0)
    if computed is not None:
        labels = spec.predicts_labels(parameters)
        y_true = keep(computed, y_true, 0 if labels or spec.target == "class index" else 1.0, axis)
        y_pred = keep(computed, y_pred, 0 if labels else 1.0, axis)
    return Arranged(y_true, y_pred, selection, in_range)


def _evaluate(spec: LossSpec, arranged: Arranged, parameters: Mapping[str, Any]) -> Tensor:
    """Return the formula's values with unselected entries left out and bad labels turned into nan."""
    values = spec.values(arranged.y_true, arranged.y_pred, parameters)
    if arranged.in_range is not None:
        values = values * K.where(arranged.in_range, K.ones_like(values), _NAN)
    computed = arranged.selection.computed
    return values if computed is None else K.where(computed, values, 0.0)


def samples(
    spec: LossSpec, y_true: Tensor, y_pred: Tensor, *operands: Tensor, checked: bool, **parameters: Any
) -> Tensor:
    """Return one value per sample: what the function form of a loss returns."""
    parameters = {**spec.join(operands, parameters)}
    if spec.takes_weights(y_pred, parameters):
        return spec.weigh(y_true, y_pred, None, None, checked=checked, dtype=None, **parameters).values()
    y_true, y_pred = prepare(spec, y_true, y_pred, None, parameters)
    selection = select_rows(spec, y_true, y_pred, None, None, parameters)
    return _evaluate(spec, _filled(spec, y_true, y_pred, selection, checked, parameters), parameters)


_NO_SELECTION = Selection()


def select_rows(
    spec: LossSpec, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor, mask: Tensor, parameters: Mapping[str, Any]
) -> Selection:
    """Return which samples count, and how much."""
    about = by_class(spec.target, y_true, y_pred, parameters)
    if sample_weight is None and mask is None and about.kept is None and about.weight is None:
        return _NO_SELECTION
    shape = tuple(y_pred.shape)
    if spec.event != "element":
        at = normalize_axis(parameters.get("axis", -1), len(shape))
        shape = shape[:at] + shape[at + 1 :]
    return select(sample_weight, mask, shape, wide_dtype(y_pred), about)


def wide_dtype(y_pred: Tensor) -> DType:
    """Return the dtype of values and weights: that of predictions, at least float32."""
    return K.dtype(y_pred) if K.is_floating(y_pred) and K.dtype(y_pred) not in HALVES else "float32"


def arrange(
    spec: LossSpec,
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    *,
    checked: bool,
    dtype: DType | None,
    **parameters: Any,
) -> Arranged:
    """Return the arguments of the formula, aligned and settled, and which samples count."""
    y_true, y_pred = prepare(spec, y_true, y_pred, dtype, parameters)
    if _is_vector(spec, y_pred, parameters):
        y_true, y_pred = K.expand_dims(y_true, -1), K.expand_dims(y_pred, -1)
    selection = select_rows(spec, y_true, y_pred, sample_weight, mask, parameters)
    return _filled(spec, y_true, y_pred, selection, checked, parameters)


def selected(
    spec: LossSpec, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor, mask: Tensor, **static: Any
) -> tuple[Tensor, Selection]:
    """Return one value per sample, 0 where it does not count, and what counts: what loss and metric then add up."""
    if spec.takes_weights(y_pred, static):
        weighed = spec.weigh(y_true, y_pred, sample_weight, mask, **static)
        return weighed.values(), weighed.selection
    arranged = arrange(spec, y_true, y_pred, sample_weight, mask, **static)
    parameters = {name: value for name, value in static.items() if name not in ("checked", "dtype")}
    return _evaluate(spec, arranged, parameters), arranged.selection


def reduced(
    spec: LossSpec,
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    *operands: Tensor,
    checked: bool,
    reduction: str,
    dtype: DType | None,
    parts: bool,
    **parameters: Any,
) -> Any:
    """Return the reduced value, or with `parts` its numerator and denominator: what the class form returns."""
    given: dict[str, Any] = {"checked": checked, "dtype": dtype, **spec.join(operands, parameters)}
    if parts:
        return spec.parts(y_true, y_pred, sample_weight, mask, reduction=reduction, **given)
    if spec.takes_weights(y_pred, given):
        result = spec.weigh(y_true, y_pred, sample_weight, mask, **given).reduce(reduction)
    else:
        result = reduce(*spec.selected(y_true, y_pred, sample_weight, mask, **given), reduction)
    return result if dtype is None else K.cast(result, dtype)


def _is_vector(spec: LossSpec, y_pred: Tensor, parameters: Mapping[str, Any]) -> bool:
    """Whether (N,) predictions are N samples of one value: then each has a weight and a value of its own."""
    return y_pred.ndim == 1 and spec.event == "mean" and parameters.get("axis", -1) == -1


def settled_values(
    spec: LossSpec, y_true: Tensor, y_pred: Tensor, *, reduction: str, parts: bool, by_rows: bool, **parameters: Any
) -> Any:
    """Do what `reduced` does, for tensors that need nothing done to them and all count alike."""
    if y_pred.ndim == 1 and _is_vector(spec, y_pred, parameters):
        y_true, y_pred = K.expand_dims(y_true, -1), K.expand_dims(y_pred, -1)
    if by_rows and spec.takes_weights(y_pred, parameters):
        weighed = spec.weigh(y_true, y_pred, None, None, checked=True, dtype=None, **parameters)
        return weighed.partial(reduction) if parts else weighed.reduce(reduction)
    values = (
        K.run_rows(spec.formula, y_true, y_pred, **parameters)
        if by_rows
        else spec.formula(y_true, y_pred, **parameters)
    )
    return partial(values, _NO_SELECTION, reduction) if parts else reduce_alike(values, reduction)


def operate(
    weighed: Callable[..., Tensor],
    operands: Sequence[Tensor],
    options: Mapping[str, Any],
    row_weight: Tensor,
    total: bool,
) -> Tensor:
    """Call an operation that takes the weights of its rows after its operands."""
    return weighed(*operands, row_weight, total, **options)


def check_classes(
    backend: Backend,
    y_true: Tensor,
    shape: Shape,
    sample_weight: Tensor,
    mask: Tensor,
    parameters: Mapping[str, Any],
) -> bool:
    """Check the class indices of predictions of some shape if their values are at hand, and tell whether they were.

    Raises:
        LabelError: for the first one out of range that counts.
    """
    if not backend.has_values(y_true):
        return False
    axis = parameters.get("axis", -1)
    shape = tuple(shape)
    at = normalize_axis(axis, len(shape))
    labels = align_labels(backend.to_numpy(y_true), shape, axis)
    if are_in_range(labels, shape[at]):  # whatever counts of them
        return True
    samples = shape[:at] + shape[at + 1 :]
    selected = None
    for what, each in (("sample_weight", sample_weight), ("mask", mask)):
        if each is not None:
            if not backend.has_values(each):
                return False
            counts = K.broadcast_to(align_weights(backend.to_numpy(each), samples, what) != 0, samples)
            selected = counts if selected is None else selected & counts
    check_labels(labels, shape[at], ignore_class=parameters.get("ignore_class"), selected=selected)
    return True
