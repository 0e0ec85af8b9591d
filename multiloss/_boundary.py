"""What happens to the arguments of a loss or metric before its formula sees them.

1. `arrive`: whose call is this? Host data joins the tensors beside it, or the active backend.
2. `as_floats`, `as_labels`: which dtype is computed in?
3. `align`, `align_labels`, `align_weights`: which axes belong together? Nothing is ever broadcast across samples.
4. `check_labels`: are class indices in range, where their values can be looked at?

1 and 4 look at values and run outside a trace; 2 and 3 look at dtypes and shapes only and are traced with the formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multiloss._config import floatx
from multiloss._errors import ArgumentError, DTypeError, LabelError, ShapeError
from multiloss._registry import _owners, active, backend_of, owner_of
from multiloss._typing import DType, Shape, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import Backend

_REAL = ("float", "bfloat", "int", "uint", "bool", "longdouble")
_REAL_EXPECTED = (
    "Expected real numbers, integers or booleans. "
    "Convert it first: text labels with sklearn.preprocessing.LabelEncoder, complex numbers by their parts."
)

# ── Arrival ─────────────────────────────────────────────────────────────────────────────────────────────────────


def arrive(*args: TensorLike) -> tuple[Backend, list[Tensor]]:
    """Return the backend that runs a call with these arguments, and the arguments as its tensors; None stays None.

    Raises:
        MixedBackendsError, UnknownTensorError: as `backend_of`.
        ShapeError: for nested lists of unequal lengths.
        DTypeError: for text, objects and complex numbers.
        ArgumentError: for a masked array of NumPy, if anything in it is masked.
    """
    ready = _ready(args)
    if ready is not None:
        return ready, list(args)
    backend, device = backend_of(*args)
    like = None
    for x in args:
        if type(x) is backend.tensor_types[0] or isinstance(x, backend.tensor_types):
            like = x
            break
    return backend, [x if x is None or _is_own(backend, x) else _convert(backend, x, like, device) for x in args]


def require_given(x: TensorLike, name: str) -> None:
    """Raise ArgumentError for None where a tensor is needed: a model or a data loader that returned nothing."""
    if x is None:
        raise ArgumentError(f"{name} is None. Expected a tensor, an array, a number or nested lists of numbers.")


def arrive_batch(
    state: Sequence[Tensor], y_true: TensorLike, y_pred: TensorLike, *others: TensorLike
) -> tuple[Backend, list[Tensor]]:
    """Return what `arrive` does of a metric's state and its next batch.

    Raises:
        ArgumentError: if there are no targets or no predictions.
    """
    if y_true is None or y_pred is None:
        require_given(y_true, "y_true")
        require_given(y_pred, "y_pred")
    return arrive(*state, y_true, y_pred, *others)


def _ready(args: tuple[TensorLike, ...]) -> Backend | None:
    """Return the backend of arguments that are its tensors, or None, already; else None: most calls go no further."""
    owner = None
    for x in args:
        if x is not None:
            found = _owners.get(type(x))
            if found is None or (owner is not None and found is not owner):
                return None
            owner = found
    return None if owner is None or (owner.is_host and active().backend is not owner) else owner


def _is_own(backend: Backend, x: TensorLike) -> bool:
    """Whether `x` is a tensor of this backend. Subclasses of a host's arrays are not: np.matrix multiplies in its own way."""
    if not isinstance(x, backend.tensor_types):
        return False
    array = backend.tensor_types[0]
    return not backend.is_host or type(x) is array or not isinstance(x, array)


def _convert(backend: Backend, x: TensorLike, like: Tensor, device: str | None) -> Tensor:
    if owner_of(x).is_host and hasattr(x, "dtype"):
        if hasattr(x, "filled") and x.mask.any():  # a masked array of NumPy
            raise ArgumentError(
                f"Arrived: a masked array of shape {tuple(x.shape)}, in which {int(x.mask.sum())} entries are masked. Expected "
                "a plain array, x.filled(0), and for samples that do not count mask=, such as ~np.ma.getmaskarray(x)."
            )
        kind = x.dtype.kind
        if kind not in "biufV":  # V: bfloat16 and its kin from ml_dtypes
            raise DTypeError(f"Arrived: an array of dtype {x.dtype} and shape {x.shape}. {_REAL_EXPECTED}")
        return backend.asarray(x, like=like, device=device)
    # Numbers and lists: integers stay integers (they may be labels), everything else is floatx.
    try:
        integral = _all_integers(x)
        return backend.asarray(x, dtype=None if integral else floatx(), like=like, device=device)
    except ValueError as error:
        raise ShapeError(
            f"Arrived: a {type(x).__name__} that is no rectangular array of numbers ({error}). "
            "Expected nested lists of equal lengths. Pad them, and pass mask= for the padding."
        ) from error


def _all_integers(x: TensorLike) -> bool:
    """Whether nested lists hold integers only; every leaf is looked at, since a tensor among them would lose its gradient."""
    if isinstance(x, (list, tuple)):
        integral = [_all_integers(each) for each in x]
        return bool(integral) and all(integral)
    if isinstance(x, (int, float)):
        return isinstance(x, int)
    if not owner_of(x).is_host:
        raise DTypeError(
            f"Arrived: a list of tensors ({type(x).__name__}). Expected one tensor: join them, for example with K.stack."
        )
    return getattr(getattr(x, "dtype", None), "kind", "O") in "biu"


def settled(y_true: TensorLike, y_pred: TensorLike) -> Backend | None:
    """Return the backend of two tensors that need nothing done to them, else None: the way in for most calls.

    They are of one type, shape and full-precision dtype. Everything else goes through `arrive` and `align`.
    """
    kind = type(y_pred)
    owner = _owners.get(kind)
    if owner is None or type(y_true) is not kind:
        return None
    dtype = y_pred.dtype
    if dtype not in owner.full_precision or y_true.dtype != dtype or y_true.shape != y_pred.shape or not y_pred.ndim:
        return None
    return None if owner.is_host and active().backend is not owner else owner


def settled_classes(y_true: TensorLike, y_pred: TensorLike) -> Backend | None:
    """Do what `settled` does, for the class indices of predictions with their classes on the last axis.

    What needs nothing done to it has one index in range for each row, which can be looked at.
    """
    kind = type(y_pred)
    owner = _owners.get(kind)
    if owner is None or type(y_true) is not kind or y_pred.dtype not in owner.full_precision or not y_pred.ndim:
        return None
    shape = y_pred.shape
    if y_true.shape != shape[:-1] or not owner.has_values(y_true):
        return None
    if owner.is_host and active().backend is not owner:
        return None
    labels = owner.to_numpy(y_true)
    wide = labels.dtype.kind == "i" and labels.dtype.itemsize >= 4  # what `as_labels` leaves as it is
    return owner if labels.size and wide and are_in_range(labels, shape[-1]) else None


def checked_crossentropy(
    y_true: TensorLike,
    y_pred: TensorLike,
    reduction: str,
    sample_weight: TensorLike,
    mask: TensorLike,
    options: Mapping[str, Any],
) -> Tensor | None:
    """Return what the backend's `checked_crossentropy` does for its tensors, and None for others."""
    owner = _owners.get(type(y_pred))
    if owner is None:
        return None
    return owner.checked_crossentropy(y_true, y_pred, reduction, sample_weight, mask, options)


# ── Dtypes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def as_floats(x: Tensor, dtype: DType | None = None) -> Tensor:
    """Return `x` in the dtype that losses compute in: float32 and float64 are kept, half precision becomes float32,
    integers and booleans become `floatx`. A requested result `dtype` of float64 widens it.

    Raises:
        DTypeError: for complex numbers, text and objects.
    """
    owner = owner_of(x)
    if x.dtype in owner.full_precision and dtype != "float64":
        return x
    name = owner.dtype(x)
    require_real(x)
    if name in ("float64", "longdouble", "float128") or dtype == "float64":
        return owner.cast(x, "float64")
    if owner.is_floating(x) or floatx() != "float64":
        return owner.cast(x, "float32")
    return owner.cast(x, "float64")


def require_real(x: Tensor) -> None:
    """Raise DTypeError for complex numbers, text and objects."""
    if not owner_of(x).dtype(x).startswith(_REAL):
        raise DTypeError(f"Arrived: {describe(x)}. {_REAL_EXPECTED}")


def as_labels(labels: Tensor) -> Tensor:
    """Return class indices as integers of 32 or 64 bits: they are compared with class numbers, which narrow ones cannot hold.

    Floats that are whole numbers become integers. A fraction or nan becomes an index that no number of classes contains, so
    that it is reported as out of range.
    """
    owner = owner_of(labels)
    if not owner.is_floating(labels):
        require_real(labels)
        name = owner.dtype(labels)
        if name in ("int32", "int64"):
            return labels
        return owner.cast(labels, "int64" if name in ("uint32", "uint64") else "int32")
    indices = owner.cast(labels, "int64")
    return owner.where(owner.cast(indices, owner.dtype(labels)) == labels, indices, NO_CLASS)


NO_CLASS = -(2**31)
"""What `as_labels` makes of a number that is not whole."""


# ── Shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def align(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets and predictions of equal shapes: (N,) beside (N, 1) and the like are matched as Keras does.

    Raises:
        ShapeError: if the shapes then differ.
    """
    if y_true.shape == y_pred.shape:
        return (y_true, y_pred) if y_pred.ndim else (K.reshape(y_true, (1,)), K.reshape(y_pred, (1,)))
    shape_true, shape_pred = tuple(y_true.shape), tuple(y_pred.shape)
    matched_true, matched_pred = match_ranks(y_true, y_pred)
    if tuple(matched_true.shape) == tuple(matched_pred.shape):
        return matched_true, matched_pred
    raise ShapeError(
        f"y_true has shape {shape_true} and y_pred has shape {shape_pred}. Expected equal shapes, or (N,) beside (N, 1); "
        f"nothing is broadcast across samples. {_advice(shape_true, shape_pred)}"
    )


def match_ranks(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in one rank, if theirs differ by 1 and the longer shape ends in 1; else as they are.

    A rank-1 tensor gets the trailing axis; otherwise the longer one loses it (Keras' rule).
    """
    if y.ndim - x.ndim == 1 and y.shape[-1] == 1:
        return (K.expand_dims(x, -1), y) if x.ndim == 1 else (x, K.squeeze(y, -1))
    if x.ndim - y.ndim == 1 and x.shape[-1] == 1:
        return (x, K.expand_dims(y, -1)) if y.ndim == 1 else (K.squeeze(x, -1), y)
    return x, y


def _advice(shape_true: tuple[int, ...], shape_pred: tuple[int, ...]) -> str:
    if shape_pred[:-1] == shape_true and len(shape_pred) > 1:
        return (
            "If y_true holds class indices, use sparse_categorical_crossentropy (or sparse_categorical_accuracy), "
            "or one-hot labels from to_categorical(y_true)."
        )
    if len(shape_true) == len(shape_pred) and shape_true[1:] == shape_pred[1:]:
        return "The batch sizes differ: pass the targets of the same samples."
    if sorted(shape_true) == sorted(shape_pred):
        return "The axes seem to be in another order: transpose one of them."
    return "Reshape one of them so that both have one row per sample and the same features."


def normalize_axis(axis: int, rank: int) -> int:
    """Return `axis` counted from the front.

    Raises:
        ShapeError: if there is no such axis.
    """
    if not -rank <= axis < rank:
        raise ShapeError(f"axis={axis} does not exist in y_pred of rank {rank}. Expected {-rank} to {rank - 1}.")
    return axis % rank


def align_labels(labels: Tensor, shape_pred: Shape, axis: int) -> Tensor:
    """Return class indices in the shape of `y_pred` without its class `axis`; a class axis of size 1 is dropped.

    Raises:
        ShapeError: if the shapes do not fit.
    """
    shape_pred = tuple(shape_pred)
    at = normalize_axis(axis, len(shape_pred))
    expected = shape_pred[:at] + shape_pred[at + 1 :]
    shape = tuple(labels.shape)
    if shape == expected:
        return labels
    for extra in (at, len(shape) - 1):
        if len(shape) == len(shape_pred) and shape[extra] == 1 and shape[:extra] + shape[extra + 1 :] == expected:
            return K.squeeze(labels, extra)
    advice = (
        "These look like one-hot labels: use categorical_crossentropy (or categorical_accuracy), or their argmax."
        if shape == shape_pred
        else f"Give one class index per prediction along axis {axis}."
    )
    raise ShapeError(
        f"y_true has shape {shape} and y_pred has shape {shape_pred} with classes on axis {axis}. Expected class indices "
        f"of shape {expected}, or that with a 1 for the classes. {advice}"
    )


def align_weights(weights: Tensor, shape: Shape, what: str = "sample_weight") -> Tensor:
    """Return weights or a mask with the rank of `shape`, aligned on the leading axes: (N,) weighs the rows of (N, T).

    Raises:
        DTypeError: for complex numbers, text and objects.
        ShapeError: if a leading axis differs.
    """
    require_real(weights)
    shape = tuple(shape)
    given = tuple(weights.shape)
    rank = len(shape)
    if given == shape:
        return weights
    kept = given
    while len(kept) > rank and kept[-1] == 1:
        kept = kept[:-1]
    significant = len(kept)
    while significant and kept[significant - 1] == 1:
        significant -= 1
    if len(kept) > rank or kept[:significant] != shape[:significant]:
        expected = " or ".join(str(shape[:length]) for length in range(rank + 1)) if rank else "a scalar ()"
        raise ShapeError(
            f"{what} has shape {given} and the losses have shape {shape}. Expected {expected}: weights and masks align "
            "on the leading axes (samples first, then time). Reshape it, or repeat it yourself if you mean to broadcast."
        )
    return K.reshape(weights, kept + (1,) * (rank - len(kept)))


# ── Labels ──────────────────────────────────────────────────────────────────────────────────────────────────────


def check_labels(labels: Any, classes: int, *, ignore_class: int | None = None, selected: Any = None) -> None:
    """Raise LabelError for the first class index outside `[0, classes)` that counts.

    `labels` and `selected` (a boolean array of their shape, or None) are host arrays.
    """
    if are_in_range(labels, classes):
        return
    whole = labels.round() == labels
    bad = ~((labels >= 0) & (labels < classes) & whole)
    if ignore_class is not None:
        bad &= labels != ignore_class
    if selected is not None:
        bad &= selected
    if not bad.any():
        return
    first = tuple(int(axis[0]) for axis in bad.nonzero()) if bad.ndim else ()
    where = f"[{', '.join(map(str, first))}]" if first else ""
    raise LabelError(
        f"y_true{where} is {labels[first]}, and y_pred has {classes} classes. Expected whole numbers from 0 to "
        f"{classes - 1}" + (f" (or ignore_class={ignore_class})" if ignore_class is not None else "") + ". "
        "Shift or re-encode the labels, or leave entries out with mask= or ignore_class=."
    )


def are_in_range(labels: Any, classes: int) -> bool:
    """Whether labels in a host array are whole numbers from 0 to `classes - 1`, of a dtype that has no others."""
    if not labels.size or labels.dtype.kind not in "biu":
        return not labels.size
    if labels.dtype.kind == "i" and classes < 1 << 8 * labels.dtype.itemsize - 1:
        # Without a sign, negative ones are above all others, so that looking once will do.
        return bool(labels.view(labels.dtype.str.replace("i", "u")).max() < classes)
    return bool(labels.min() >= 0 and labels.max() < classes)


def describe(x: Tensor) -> str:
    """Return shape and dtype of a tensor in words, for messages."""
    owner = owner_of(x)
    return f"{owner.name} tensor of shape {tuple(x.shape)} and dtype {owner.dtype(x)}"
