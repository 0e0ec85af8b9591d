"""Class indices as one-hot vectors."""

from __future__ import annotations

from typing import Any

from multiloss._boundary import arrive, as_labels, describe
from multiloss._errors import ArgumentError, LabelError
from multiloss._names import dtype_name
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import Backend

_NAN = float("nan")


def to_categorical(x: TensorLike, num_classes: int | None = None, dtype: Any = "float32") -> Tensor:
    """Return one-hot vectors of class indices, as `categorical_crossentropy` wants them.

    Formula: `result[..., c] = 1 if x[...] == c else 0`.

    Shapes: class indices `(...)` or `(..., 1)` to `(..., num_classes)`.

    Args:
        x: class indices: whole numbers from 0. Host data gives a tensor of the active backend, a framework's tensor one
            of its own kind.
        num_classes: the length of the vectors. Default: the greatest index + 1, where values can be looked at.
        dtype: of the result.

    Raises:
        LabelError: for an index outside [0, num_classes), or a fraction, where values can be looked at. On accelerators
            and inside a trace such a row is nan instead (zeros, for integer dtypes).
        DTypeError: for complex numbers, text and objects.
        ArgumentError: if `num_classes` is no positive integer; or if it is left out, and the values cannot be looked at
            or there are none.

    >>> to_categorical([0, 2, 1]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    if num_classes is not None and (not _is_integer(num_classes) or num_classes < 1):
        raise ArgumentError(f"num_classes={num_classes!r} is not allowed. Expected a positive integer or None.")
    backend, (x,) = arrive(x)
    if not backend.is_floating(x):
        x = as_labels(x)
    if x.ndim > 1 and x.shape[-1] == 1:
        x = K.squeeze(x, -1)
    checked = backend.has_values(x)
    if checked:
        num_classes = _check(backend.to_numpy(x), num_classes)
    elif num_classes is None:
        raise ArgumentError(
            f"Arrived: a {describe(x)}, whose values cannot be looked at here (inside a trace, or on an accelerator), and "
            "no num_classes. Pass num_classes=, the number of classes."
        )
    return _one_hot(backend, x, int(num_classes), str(dtype_name(dtype)), checked)


def _one_hot(backend: Backend, x: Tensor, num_classes: int, dtype: str, checked: bool) -> Tensor:
    # Floats are compared as they are where nothing has told fractions and nan from whole numbers yet.
    labels = as_labels(x) if checked or not backend.is_floating(x) else x
    hot = K.one_hot(labels, num_classes, dtype=dtype)
    if checked or not backend.is_floating(hot):
        return hot
    found = K.any(hot != 0, -1, True)
    return K.where(found, hot, K.full((), _NAN, like=hot))


def _is_integer(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _check(labels: Any, num_classes: int | None) -> int:
    """Return the number of classes of the host array `labels`.

    Raises:
        LabelError: for the first label that is no class index below it.
        ArgumentError: if neither labels nor `num_classes` tell it.
    """
    if not labels.size:
        if num_classes is None:
            raise ArgumentError(
                "There are no labels to count the classes of. Pass num_classes=, the number of classes."
            )
        return num_classes
    bad = labels < 0 if labels.dtype.kind in "biu" else ~((labels >= 0) & (labels % 1 == 0))
    if num_classes is not None:
        bad = bad | (labels >= num_classes)
    if bad.any():
        at = tuple(int(axis[0]) for axis in bad.nonzero()) if bad.ndim else ()
        where = "x" if not at else f"x[{at[0]}]" if len(at) == 1 else f"x[{', '.join(map(str, at))}]"
        below = "" if num_classes is None else f" to {num_classes - 1} (num_classes={num_classes})"
        raise LabelError(
            f"{where} is {labels[at]}. Expected whole numbers from 0{below}. Shift or re-encode the labels, for example "
            "with sklearn.preprocessing.LabelEncoder, or pass a greater num_classes."
        )
    return num_classes if num_classes is not None else int(labels.max()) + 1
