"""Small things that are done to tensors."""

from __future__ import annotations

from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.objective._outputs import Output


def add(terms: list[Tensor]) -> Tensor:
    """Return the sum of scalars, in the widest of their dtypes."""
    total = terms[0]
    for term in terms[1:]:
        if hasattr(term, "dtype") and hasattr(total, "dtype") and term.dtype != total.dtype:
            wide = "float64" if "float64" in (K.dtype(term), K.dtype(total)) else "float32"
            term, total = K.cast(term, wide), K.cast(total, wide)
        total = total + term
    return total


def detached(output: Output) -> Output:
    """Return an output without gradients to record."""
    return output._replace(
        y_true=None if output.y_true is None else constant(output.y_true),
        y_pred=constant(output.y_pred),
        sample_weight=None if output.sample_weight is None else constant(output.sample_weight),
    )


def constant(x: TensorLike) -> TensorLike:
    """Return a tensor without gradients to record; what is no tensor, as it is."""
    return K.stop_gradient(x) if hasattr(x, "dtype") and K.is_floating(x) else x
