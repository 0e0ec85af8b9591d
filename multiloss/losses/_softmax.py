"""Cross-entropies of a softmax: one operation of K, which takes the weights of its rows, too.

Classes may be hundreds of thousands. What a row counts for therefore goes into the operation, that neither copies the logits
to leave rows out, nor goes over their gradient again to multiply it.
"""

from __future__ import annotations

from typing import Any

from multiloss._errors import ArgumentError
from multiloss._typing import PerClass, Tensor
from multiloss.dispatch import K
from multiloss.losses._classes import as_vector


def of_logits(
    from_logits: bool,
    label_smoothing: float,
    class_weight: PerClass,
    z_loss: float,
    softcap: float | None,
    overwrite_logits: bool,
) -> dict[str, Any]:
    """Return the options for `softmax_crossentropy`, or nothing for probabilities and for logits without an option.

    Raises:
        ArgumentError: for an option that only logits have.
    """
    if not from_logits:
        for name, value in (("z_loss", z_loss), ("softcap", softcap), ("overwrite_logits", overwrite_logits)):
            if value:
                raise ArgumentError(
                    f"{name}={value!r} is about logits. Expected from_logits=True with it, or leave it out."
                )
        return {}
    if not (label_smoothing or z_loss or overwrite_logits) and class_weight is None and softcap is None:
        return {}
    return {
        "label_smoothing": label_smoothing,
        "class_weight": class_weight,
        "z_loss": z_loss,
        "softcap": softcap,
        "overwrite_logits": overwrite_logits,
    }


def softmax_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    row_weight: Tensor = None,
    total: bool = False,
    *,
    axis: int = -1,
    label_smoothing: float = 0.0,
    class_weight: PerClass = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    overwrite_logits: bool = False,
    **_acted_before: Any,
) -> Tensor:
    """Return the weighted losses of the rows, or their total, with the classes of the logits on any axis."""
    if axis not in (-1, y_pred.ndim - 1):
        y_true = K.moveaxis(y_true, axis, -1) if y_true.ndim == y_pred.ndim else y_true
        y_pred = K.moveaxis(y_pred, axis, -1)
    if class_weight is not None:
        class_weight = as_vector(class_weight, y_pred.shape[-1], "class_weight", y_pred)
    return K.softmax_crossentropy(
        *(y_true, y_pred, row_weight, total, overwrite_logits),
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        z_loss=z_loss,
        softcap=softcap,
    )
