"""Named inputs inside Keras' `fit`, which knows targets and weights alone: they travel as columns behind the targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multiloss._arguments import is_whole
from multiloss._errors import ArgumentError, NamedInputError, ShapeError
from multiloss._registry import owner_of, use_backend
from multiloss._typing import Tensor, TensorLike
from multiloss.interface import Backend
from multiloss.losses import Loss


def pack_targets(y_true: TensorLike, **inputs: TensorLike) -> Any:
    """Return targets with named inputs behind them along the last axis, as a NumPy array for `fit` and `evaluate`.

    Args:
        y_true: targets, with a row for each sample.
        **inputs: the named inputs, in the order in which `as_keras_loss(loss, inputs=...)` names them.

    Returns:
        Floats of shape (N, columns of the targets + columns of the inputs); class indices become a column, of floats that
        are whole numbers.

    Raises:
        ShapeError: for another number of rows.

    >>> pack_targets([0, 1], teacher=[[0.25, 0.75], [0.5, 0.5]]).tolist()
    [[0.0, 0.25, 0.75], [1.0, 0.5, 0.5]]
    """
    with use_backend("numpy") as host:
        arrays = {name: _array(host, each) for name, each in {"y_true": y_true, **inputs}.items()}
        wide = any(host.dtype(each) == "float64" for each in arrays.values())
        rank = max(2, *(each.ndim for each in arrays.values()))
        parts = {name: each.reshape(each.shape + (1,) * (rank - each.ndim)) for name, each in arrays.items()}
        leading = parts["y_true"].shape[:-1]
        for name, part in parts.items():
            own = part.shape[:-1]
            if own[0] != leading[0] or any(each not in (1, size) for each, size in zip(own, leading, strict=True)):
                raise ShapeError(
                    f"{name} has shape {arrays[name].shape} and y_true has shape {arrays['y_true'].shape}. Expected one row "
                    "for each row of the targets."
                )
        columns = [
            host.cast(host.broadcast_to(part, (*leading, part.shape[-1])), "float64" if wide else "float32")
            for part in parts.values()
        ]
        return host.concatenate(columns, -1)


def _array(host: Backend, x: TensorLike) -> Any:
    """Return a tensor of any framework, numbers or lists as a host array; numbers of Python are no wider than float32."""
    if hasattr(x, "dtype"):
        return host.asarray(owner_of(x).to_numpy(x))
    return host.asarray(x, dtype="float32")


class Packed:
    """Which columns behind the targets belong to which named input."""

    def __init__(self, columns: Mapping[str, int] | None) -> None:
        for name, count in (columns or {}).items():
            if not is_whole(count) or count < 1:
                raise ArgumentError(f"inputs has {count!r} for {name!r}. Expected its number of columns, at least 1.")
        self.columns = dict(columns or {})

    def check(self, loss: Loss) -> None:
        """Raise for named inputs that the loss does not take as columns, and for those that it needs beside them.

        Raises:
            NamedInputError: naming the inputs that there are.
        """
        if not self.columns:
            return
        loss._inputs.check(loss.name or type(loss).__name__, self.columns)
        for name in loss._inputs.shared & self.columns.keys():
            raise NamedInputError(
                f"{name} belongs to the batch as a whole, and columns of the targets belong to samples. Call the loss in a "
                "train_step of your own."
            )

    def config(self) -> dict[str, Any]:
        """Return what a config says of them: nothing if there are none."""
        return {"inputs": dict(self.columns)} if self.columns else {}

    def split(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return targets and named inputs.

        Raises:
            ShapeError: for another number of columns.
        """
        if not self.columns:
            return y_true, {}
        total = sum(self.columns.values())
        given = y_true.shape[-1] if len(y_true.shape) > 1 else 0
        if given - total not in {1, y_pred.shape[-1]}:
            behind = ", ".join(f"{name} ({count})" for name, count in self.columns.items())
            raise ShapeError(
                f"The targets have shape {tuple(y_true.shape)} and the predictions {tuple(y_pred.shape)}. Expected 1 or "
                f"{y_pred.shape[-1]} columns of targets and behind them those of {behind}: use pack_targets(y, ...)."
            )
        inputs, start = {}, given - total
        targets = y_true[..., :start]
        for name, count in self.columns.items():
            inputs[name] = y_true[..., start : start + count]
            start += count
        return targets, inputs


def require(loss: Loss, inputs: Mapping[str, TensorLike]) -> None:
    """Raise for a named input that is missing, with what Keras has for it.

    Raises:
        NamedInputError: naming it.
    """
    for name in loss._inputs.required:
        if inputs.get(name) is None:
            raise NamedInputError(
                f"{loss.name or type(loss).__name__} needs {name}= in every call, and it is missing. In fit it comes in columns "
                f"behind the targets: as_keras_loss(loss, inputs={{{name!r}: its number of columns}}) and "
                f"model.fit(x, pack_targets(y, {name}=...)). In a train_step of your own, pass it by keyword."
            )
