"""`@row_loss`: losses whose targets are integers of their own kind, one row per sample: sequences of labels, identities.

Integers are never cast to floats, and a row of them is well-formed or not: where values are at hand, the first row that is
not raises; elsewhere it is nan.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from multiloss._boundary import align_weights, as_floats, as_labels, require_given, require_real
from multiloss._errors import MultilossError, ShapeError
from multiloss._registry import owner_of
from multiloss._typing import DType, Tensor
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses._reduction import ByClass, Selection, keep, select
from multiloss.losses._spec import LossSpec, Prediction, Target, publish

F = TypeVar("F", bound=Callable[..., Any])

_NAN = float("nan")


class Rows(Protocol):
    """What the targets of a loss must be like. `shape` is that of `y_pred`; operands that are not given are left out."""

    integers: ClassVar[tuple[str, ...]]
    """The operands that hold integers. Of the others only the shape is looked at."""

    def align(self, shape: tuple[int, ...], *, y_true: Tensor, **parameters: Any) -> dict[str, Tensor]:
        """Return `y_true` and the operands that hold integers, as the formula takes them.

        Raises:
            ShapeError: if shapes do not fit.
        """
        ...

    def well_formed(self, shape: tuple[int, ...], *, y_true: Tensor, **parameters: Any) -> Tensor:
        """Return (N,): whether a row of what `align` returned means something."""
        ...

    def counted(self, shape: tuple[int, ...], *, y_true: Tensor, **parameters: Any) -> Tensor:
        """Return (N,): which rows a mean divides by; None for all that the mask lets through."""
        return None

    def complaint(self, shape: tuple[int, ...], row: int, *, y_true: Any, **parameters: Any) -> MultilossError:
        """Return the error for a row that is not well-formed, given host arrays as they came."""
        ...


class RowSpec(LossSpec):
    """The facts of a loss whose samples are the rows of the first axis."""

    def __init__(self, formula: Callable[..., Any], target: Target, prediction: Prediction, rows: Rows) -> None:
        super().__init__(formula, target, prediction, "row")
        self.rows = rows
        self.shortcut = False
        self.samples = functools.partial(_samples, self)
        self.selected = functools.partial(_selected, self)
        self._well_formed = functools.partial(_well_formed, self)

    def labels_checked(
        self,
        backend: Backend,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor,
        mask: Tensor,
        parameters: Mapping[str, Any],
    ) -> bool:
        require_given(y_true, "y_true")
        operands = {name: parameters[name] for name in self.operands if name in parameters}
        integers = [operands[name] for name in self.rows.integers if name in operands]
        for each in (y_true, *integers):
            require_real(each)
        mask = operands.get("mask", mask)
        given = [each for each in (y_true, sample_weight, mask, *integers) if each is not None]
        if not all(backend.has_values(each) for each in given):
            return False
        shape = tuple(y_pred.shape)
        labels = backend.to_numpy(y_true)
        known = {
            name: backend.to_numpy(each) if name in self.rows.integers else each
            for name, each in operands.items()
            if name != "mask"
        }
        static = {name: value for name, value in parameters.items() if name not in operands}
        host = owner_of(labels)
        bad = ~host.run(self._well_formed, labels, *map(known.get, self.operands), shape=shape, **static)
        for what, each in (("sample_weight", sample_weight), ("mask", mask)):
            if each is not None:
                bad = bad & (align_weights(backend.to_numpy(each), shape[:1], what) != 0)
        if bad.any():
            raise self.rows.complaint(shape, int(bad.argmax()), y_true=labels, **static, **known)
        return True


def _well_formed(spec: RowSpec, y_true: Tensor, *operands: Tensor, shape: tuple[int, ...], **parameters: Any) -> Tensor:
    parameters = {**spec.join(operands, parameters)}
    aligned = spec.rows.align(shape, y_true=as_labels(y_true), **parameters)
    return spec.rows.well_formed(shape, **{**parameters, **aligned})


def _samples(
    spec: RowSpec, y_true: Tensor, y_pred: Tensor, *operands: Tensor, checked: bool, **parameters: Any
) -> Tensor:
    """Return one value per row: what the function form of a loss returns."""
    parameters = {**spec.join(operands, parameters)}
    mask = parameters.pop("mask", None)
    return spec.selected(y_true, y_pred, None, mask, checked=checked, dtype=None, **parameters)[0]


def _selected(
    spec: RowSpec,
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    *,
    checked: bool,
    dtype: DType | None,
    **parameters: Any,
) -> tuple[Tensor, Selection]:
    """Return one value per row, 0 where it does not count, and what counts."""
    y_pred = as_floats(y_pred, dtype)
    shape = tuple(y_pred.shape)
    parameters |= spec.rows.align(shape, y_true=as_labels(y_true), **parameters)
    well_formed = None if checked else spec.rows.well_formed(shape, **parameters)
    y_true = parameters.pop("y_true")
    selection = Selection()
    if sample_weight is not None or mask is not None:
        selection = select(sample_weight, mask, shape[:1], K.dtype(y_pred))
    present = selection.computed
    if present is not None:
        y_pred = keep(present, y_pred, 0.0)
        well_formed = None if well_formed is None else well_formed | ~present
        if not spec.samplewise:
            parameters["mask"] = present
    counted = spec.rows.counted(shape, y_true=y_true, **parameters)
    if counted is not None:
        counted = counted if well_formed is None else counted | ~well_formed
        selection = select(sample_weight, mask, shape[:1], K.dtype(y_pred), ByClass(counted))
    values = spec.formula(y_true, y_pred, **parameters)
    if well_formed is not None:
        values = values * K.where(well_formed, K.ones_like(values), _NAN)
    return values if selection.computed is None else K.where(selection.computed, values, 0.0), selection


def column(x: Tensor, what: str, count: int) -> Tensor:
    """Return integers of shape (N,), given as (N,) or (N, 1).

    Raises:
        ShapeError: for any other shape.
    """
    shape = tuple(x.shape)
    if shape not in ((count,), (count, 1)):
        raise ShapeError(f"{what} has shape {shape}. Expected one integer per row: ({count},) or ({count}, 1).")
    return K.cast(x if len(shape) == 1 else K.squeeze(x, -1), "int64")


def row_loss(*, y_true: Target, y_pred: Prediction, rows: Rows) -> Callable[[F], F]:
    """Make a formula over rows a public loss.

    A parameter annotated `TensorLike` is a tensor that belongs to one call. A formula whose values depend on other samples
    of the batch too takes a `mask` (N,), which says which of them are there.

    Args:
        y_true: what the targets are.
        y_pred: what the predictions are.
        rows: what the targets must be like.
    """

    def decorate(formula: F) -> F:
        public: F = publish(RowSpec(formula, y_true, y_pred, rows))
        return public

    return decorate
