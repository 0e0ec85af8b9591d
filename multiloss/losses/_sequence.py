"""Losses on sequences of labels."""

from __future__ import annotations

from typing import Any

from multiloss._boundary import as_labels
from multiloss._errors import ArgumentError, LabelError, MultilossError, ShapeError
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._rows import Rows, column, row_loss

__all__ = ["CTC", "ctc"]


class _LabelSequences(Rows):
    """(N, L) class indices without blanks between them, and the lengths of labels and logits."""

    integers = ("label_length", "logit_length")

    def align(
        self,
        shape: tuple[int, ...],
        *,
        y_true: Tensor,
        label_length: Tensor = None,
        logit_length: Tensor = None,
        blank: int = 0,
        **_: Any,
    ) -> dict[str, Tensor]:
        if len(shape) != 3 or y_true.ndim != 2 or y_true.shape[0] != shape[0]:
            raise ShapeError(
                f"y_true has shape {tuple(y_true.shape)} and y_pred has shape {shape}. Expected labels (N, L) and logits "
                "(N, T, C): one row of labels per sequence, padded with blanks, and one row of logits per step."
            )
        if blank >= shape[2]:
            raise ArgumentError(f"blank={blank} and y_pred has {shape[2]} classes. Expected 0 to {shape[2] - 1}.")
        labels = K.cast(y_true, "int64")
        lengths = {
            "label_length": K.sum(labels != blank, -1) if label_length is None else label_length,
            "logit_length": K.full(shape[:1], shape[1], dtype="int64", like=labels)
            if logit_length is None
            else logit_length,
        }
        return {"y_true": labels} | {name: column(as_labels(x), name, shape[0]) for name, x in lengths.items()}

    def well_formed(
        self,
        shape: tuple[int, ...],
        *,
        y_true: Tensor,
        label_length: Tensor = None,
        logit_length: Tensor = None,
        blank: int = 0,
        **_: Any,
    ) -> Tensor:
        length = y_true.shape[1]
        counts = K.expand_dims(K.arange(length, dtype="int64", like=y_true), 0) < K.expand_dims(label_length, -1)
        known = (y_true >= 0) & (y_true < shape[2]) & (y_true != blank)
        fits = (label_length >= 0) & (label_length <= length) & (logit_length >= 0) & (logit_length <= shape[1])
        return K.all(known | ~counts, -1) & fits

    def complaint(
        self,
        shape: tuple[int, ...],
        row: int,
        *,
        y_true: Any,
        label_length: Any = None,
        logit_length: Any = None,
        blank: int = 0,
        **_: Any,
    ) -> MultilossError:
        labels = y_true[row].tolist()
        for name, lengths, longest in (
            ("label_length", label_length, len(labels)),
            ("logit_length", logit_length, shape[1]),
        ):
            if lengths is not None and not (0 <= lengths[row].item() <= longest and lengths[row].item() % 1 == 0):
                return ArgumentError(
                    f"{name}[{row}] is {lengths[row].item()}. Expected whole numbers from 0 to {longest}, the length of the axis."
                )
        given = f"the first {label_length[row].item()}" if label_length is not None else "those before the padding"
        return LabelError(
            f"y_true[{row}] is {labels}, and y_pred has {shape[2]} classes, of which {blank} is the blank. Expected whole "
            f"numbers from 0 to {shape[2] - 1} without {blank} among the labels that count, {given}. Pad with {blank}, pass "
            "label_length=, or set blank= to the class that stands for no label."
        )


@row_loss(y_true="class index sequence", y_pred="logits", rows=_LabelSequences())
def ctc(
    y_true: Tensor,
    y_pred: Tensor,
    *,
    label_length: TensorLike = None,
    logit_length: TensorLike = None,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Tensor:
    """Connectionist temporal classification: a sequence of labels against a longer sequence of predictions.

    Formula: `-log(p)`, in nats, where `p` is the sum of the probabilities of all alignments. An alignment names one class
    per step; repetitions are merged, then blanks left out, and what remains must be the labels. Computed in log space.

    Shapes: labels `(N, L)`, logits `(N, T, C)` to `(N,)`.

    Args:
        label_length: how many labels of each row count, `(N,)`. Default: those that are not blank.
        logit_length: how many steps of each row count, `(N,)`. Default: all.
        blank: the class that stands for no label, and pads `y_true`.
        zero_infinity: whether a row without any alignment, because its labels need more steps than there are, has value
            0 instead of inf. Its gradient is 0 either way.

    Raises:
        LabelError: for a label outside [0, C) or a blank between labels, where values can be looked at; on accelerators
            and inside a trace that row is nan instead.
        ArgumentError: for a length beyond its axis, likewise; for a blank beyond the classes.

    Source: A. Graves et al., Connectionist Temporal Classification, 2006.

    >>> round(float(ctc([[1]], [[[0.0, 0.0]]])[0]), 4)
    0.6931
    """
    # Rows that are not well-formed are nan in the end; until then their indices must exist.
    known = (y_true >= 0) & (y_true < y_pred.shape[2])
    values = K.ctc_loss(
        K.where(known, y_true, 0),
        y_pred,
        K.clip(label_length, 0, y_true.shape[1]),
        K.clip(logit_length, 0, y_pred.shape[1]),
        blank,
    )
    return K.where(values == float("inf"), 0.0, values) if zero_infinity else values


class CTC(LossFunctionWrapper):
    """Class form of `ctc`. Calls take `label_length` and `logit_length` by keyword."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "ctc",
        dtype: Any = None,
        *,
        blank: int = 0,
        zero_infinity: bool = False,
    ) -> None:
        super().__init__(ctc, reduction, name, dtype, blank=blank, zero_infinity=zero_infinity)
