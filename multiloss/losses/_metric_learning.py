"""Losses that compare the embeddings of a batch with each other."""

from __future__ import annotations

from typing import Any

from multiloss._boundary import NO_CLASS, as_floats, as_labels
from multiloss._errors import LabelError, MultilossError, ShapeError
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._rows import Rows, column, row_loss

__all__ = ["Circle", "circle"]

_INF = float("inf")


class _Identities(Rows):
    """(N,) integers of any range: equal ones belong together."""

    integers = ("ref_labels",)

    def align(
        self,
        shape: tuple[int, ...],
        *,
        y_true: Tensor,
        ref_labels: Tensor = None,
        ref_embeddings: Tensor = None,
        **_: Any,
    ) -> dict[str, Tensor]:
        if len(shape) != 2:
            raise ShapeError(f"y_pred has shape {shape}. Expected one embedding per row: (N, D).")
        aligned = {"y_true": column(y_true, "y_true", shape[0])}
        count = shape[0]
        if ref_embeddings is not None:
            given = tuple(ref_embeddings.shape)
            if len(given) != 2 or given[1] != shape[1]:
                raise ShapeError(
                    f"ref_embeddings has shape {given} and y_pred has shape {shape}. Expected (M, {shape[1]})."
                )
            count = given[0]
            if ref_labels is None and count != shape[0]:
                raise ShapeError(
                    f"ref_embeddings has shape {given} and y_true has shape ({shape[0]},). Pass ref_labels=, one integer "
                    "for each reference."
                )
        if ref_labels is not None:
            aligned["ref_labels"] = column(as_labels(ref_labels), "ref_labels", count)
        return aligned

    def well_formed(self, shape: tuple[int, ...], *, y_true: Tensor, ref_labels: Tensor = None, **_: Any) -> Tensor:
        whole = y_true != NO_CLASS
        return whole if ref_labels is None else whole & K.all(ref_labels != NO_CLASS)

    def counted(self, shape: tuple[int, ...], *, y_true: Tensor, **parameters: Any) -> Tensor:
        positive, negative = _pairs(y_true, **parameters)
        return K.any(positive, 1) & K.any(negative, 1)

    def complaint(
        self, shape: tuple[int, ...], row: int, *, y_true: Any, ref_labels: Any = None, **_: Any
    ) -> MultilossError:
        what, value = f"y_true[{row}]", y_true[row].item()
        if value % 1 == 0:
            bad = (ref_labels % 1 != 0).ravel()
            what, value = f"ref_labels[{bad.argmax()}]", ref_labels[bad.argmax()].item()
        return LabelError(f"{what} is {value}. Expected whole numbers, equal ones for samples that belong together.")


def _pairs(
    y_true: Tensor,
    *,
    ref_labels: Tensor = None,
    ref_embeddings: Tensor = None,
    remove_diagonal: bool = True,
    mask: Tensor = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Return (N, M): which references are of an anchor's identity, and which of another."""
    identities = y_true if ref_labels is None else ref_labels
    positive = K.expand_dims(y_true, 1) == K.expand_dims(identities, 0)
    negative = ~positive
    if remove_diagonal:
        anchors, others = (K.arange(size, like=y_true) for size in positive.shape)
        positive = positive & (K.expand_dims(anchors, 1) != K.expand_dims(others, 0))
    if ref_embeddings is None and mask is not None:
        positive, negative = positive & K.expand_dims(mask, 0), negative & K.expand_dims(mask, 0)
    return positive, negative


@row_loss(y_true="id", y_pred="embedding", rows=_Identities())
def circle(
    y_true: Tensor,
    y_pred: Tensor,
    ref_labels: TensorLike = None,
    ref_embeddings: TensorLike = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
    *,
    mask: TensorLike = None,
) -> Tensor:
    """Circle loss: embeddings of one identity move together, others apart, the farther off the more strongly.

    Formula: with `d = max(1 - cosine, 0)` between an anchor and each reference,
    `softplus(logsumexp_p(-gamma * (margin + d) * (margin - d)) + logsumexp_n(gamma * max(1 + margin - d, 0) * (1 - margin - d)))`
    over the references `p` of the anchor's identity and the others `n`. An anchor without a `p` or without an `n` is 0, and
    means do not divide by it.

    Shapes: identities `(N,)` and embeddings of length 1 `(N, D)` to `(N,)`. Divide by the length first (`K.l2_normalize`).

    The anchors of a batch are each other's references: a sample with weight 0, or masked, is left out as both, and the
    parts of a batch do not add up to the whole.

    Args:
        ref_labels: identities of the references, `(M,)`. Default: `y_true`.
        ref_embeddings: the references, `(M, D)`. Default: `y_pred`.
        remove_diagonal: whether reference i is anchor i itself, and so not a reference of its identity.
        gamma: the scale, at least 0.
        margin: the relaxation: 0 asks for cosine 1 within and 0 between identities.
        mask: `(N,)`, True for the samples that are there at all.

    Raises:
        LabelError: for an identity that is no whole number, where values can be looked at; elsewhere that row is nan.

    Source: Y. Sun et al., Circle Loss, 2020, https://arxiv.org/abs/2002.10857

    >>> round(float(circle([0, 0, 1], [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).sum()), 1)
    188.8
    """
    references = y_pred if ref_embeddings is None else K.cast(as_floats(ref_embeddings), K.dtype(y_pred))
    distance = K.maximum(1.0 - y_pred @ K.moveaxis(references, 0, 1), 0.0)
    if 0 in distance.shape:
        return K.sum(distance, 1)
    positive, negative = _pairs(
        y_true, ref_labels=ref_labels, ref_embeddings=ref_embeddings, remove_diagonal=remove_diagonal, mask=mask
    )
    near = -gamma * K.maximum(margin + distance, 0.0) * (margin - distance)
    far = gamma * K.maximum(1.0 + margin - distance, 0.0) * (1.0 - margin - distance)
    total = K.logsumexp(K.where(positive, near, -_INF), 1) + K.logsumexp(K.where(negative, far, -_INF), 1)
    both = K.any(positive, 1) & K.any(negative, 1)
    return K.where(both, K.softplus(K.where(both, total, 0.0)), 0.0)


class Circle(LossFunctionWrapper):
    """Class form of `circle`. Calls take `ref_labels` and `ref_embeddings` by keyword."""

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "circle",
        dtype: Any = None,
    ) -> None:
        super().__init__(circle, reduction, name, dtype, gamma=gamma, margin=margin, remove_diagonal=remove_diagonal)
