"""Labels of any kind, numbers or text, as indices of classes, and how often each pair of classes occurs.

Integers close together, which most labels are, are counted without being sorted: one pass over the data.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from multiloss._errors import ArgumentError, DTypeError, LabelError, ShapeError
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.integrations.sklearn._inputs import (
    Array,
    arrays,
    column,
    on_host,
    require_equal_lengths,
    weights_of,
)

SMALL_TABLE = 1 << 16
"""How many counters are always allowed; for more there must be as many labels."""


def as_labels(x: Any, what: str) -> Any:
    """Return labels as integers, booleans, text or objects, never as floats.

    Raises:
        LabelError: for a number that is not whole.
        DTypeError: for labels of another kind.
    """
    if isinstance(x, np.ndarray):
        kind = x.dtype.kind
        if kind in "ibuUO":
            return x
        if kind != "f":
            raise DTypeError(f"{what} has dtype {x.dtype}. Expected labels: integers, booleans or text.")
        with np.errstate(invalid="ignore"):
            whole = x.astype(np.int64)
        bad = whole != x
        if bad.any():
            first = x[bad][0]
            raise LabelError(
                f"{what} contains {first}, which is no class label. Expected whole numbers or text. For scores and "
                "probabilities, threshold them first, or use a metric that takes them."
            )
        return whole
    if not K.is_floating(x):
        return x
    whole = K.cast(x, "int64")
    if not bool(K.all(K.cast(whole, K.dtype(x)) == x)):
        raise LabelError(f"{what} contains a fraction or nan, which is no class label. Expected whole numbers.")
    return whole


def read_labels(y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike) -> tuple[Any, Any, Any, int]:
    """Return two arrays of labels, both (N,) or both indicators (N, labels), the weights, and how many samples there are.

    Raises:
        ShapeError: if they do not fit.
        LabelError, DTypeError: for what is no label; for text beside numbers.
    """
    y_true, y_pred, sample_weight = arrays(y_true, y_pred, sample_weight)
    size = require_equal_lengths(("y_true", y_true), ("y_pred", y_pred))
    if y_true.ndim == 2 and y_true.shape[1] > 1 and tuple(y_true.shape) == tuple(y_pred.shape):
        y_true, y_pred = indicators(y_true, "y_true"), indicators(y_pred, "y_pred")
    else:
        y_true, y_pred = as_labels(column(y_true, "y_true"), "y_true"), as_labels(column(y_pred, "y_pred"), "y_pred")
        if _is_text(y_true) != _is_text(y_pred):
            raise DTypeError(
                f"y_true has dtype {y_true.dtype} and y_pred has dtype {y_pred.dtype}. "
                "Expected labels of one kind: both text or both numbers."
            )
    return y_true, y_pred, weights_of(sample_weight, size), size


def _is_text(x: Any) -> bool:
    if not isinstance(x, np.ndarray):
        return False
    return x.dtype.kind == "U" or (x.dtype.kind == "O" and isinstance(x.flat[0], str))


def indicators(x: Any, what: str) -> Any:
    """Return (N, labels) as booleans.

    Raises:
        LabelError: for another number than 0 and 1.
    """
    if x.dtype == bool or K.dtype(x) == "bool":
        return x
    if not bool(K.all((x == 0) | (x == 1))):
        raise LabelError(
            f"{what} has shape {tuple(x.shape)} and holds other numbers than 0 and 1. Expected one column of 0 and 1 "
            "for each label, or labels of shape (N,)."
        )
    return x == 1


def classes_of(*labels: Any) -> Array:
    """Return the distinct labels, ascending, as a NumPy array."""
    spans = [_span(each) for each in labels]
    if all(span is not None for span in spans):
        lowest = min(span[0] for span in spans if span is not None)
        highest = max(span[1] for span in spans if span is not None)
        width = highest - lowest + 1
        if width == 1:
            return np.array([lowest])
        if width <= max(SMALL_TABLE, labels[0].shape[0]):
            found = sum(on_host(K.bincount(_from_zero(each, lowest), width)) for each in labels)
            return np.flatnonzero(found) + lowest
    try:
        return np.unique(np.concatenate([on_host(each) for each in labels]))
    except TypeError as error:
        raise DTypeError(f"Labels cannot be ordered ({error}). Expected labels of one kind.") from error


def _span(labels: Any) -> tuple[int, int] | None:
    """Return the lowest and the highest of integers; None for labels of another kind."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind not in "iub":
        return None
    if K.dtype(labels) == "bool":
        return 0, 1
    return int(K.min(labels)), int(K.max(labels))


def _from_zero(labels: Any, lowest: int) -> Tensor:
    if K.dtype(labels) not in ("int32", "int64"):
        labels = K.cast(labels, "int64")
    return labels - lowest if lowest else labels


def index_in(labels: Any, classes: Array, what: str) -> Any:
    """Return the index of each label in `classes`, which are in any order.

    Raises:
        LabelError: for a label that is none of the classes.
    """
    if not isinstance(labels, np.ndarray):
        span = _span(labels)
        if classes.dtype.kind not in "iub" or span is None:
            raise LabelError(f"{what} holds numbers, and the classes are {_few(classes)}. Expected labels of one kind.")
        lowest, highest = int(classes.min()), int(classes.max())
        table = np.full(highest - lowest + 1, -1)
        table[classes.astype(np.int64) - lowest] = np.arange(len(classes))
        if span[0] < lowest or span[1] > highest:
            raise _unknown(what, min(span) if span[0] < lowest else span[1], classes)
        table_there = K.asarray(table, like=labels)
        index = K.take_along_axis(table_there, _from_zero(K.cast(labels, "int64"), lowest), 0)
        if int(K.min(index)) < 0:
            raise LabelError(f"{what} holds a label that is none of {_few(classes)}. Expected labels among these.")
        return index
    if labels.dtype.kind in "iub" and classes.dtype.kind in "iub" and bool((classes == np.arange(len(classes))).all()):
        if labels.dtype.kind == "b" and len(classes) > 1:
            return labels.astype(np.int64)
        if labels.min() >= 0 and labels.max() < len(classes):
            return labels
    order = np.argsort(classes, kind="stable")
    try:
        places = np.minimum(np.searchsorted(classes, labels, sorter=order), len(classes) - 1)
        index = order[places]
        unknown = classes[index] != labels
    except TypeError as error:
        raise DTypeError(f"{what} and the classes {_few(classes)} cannot be compared ({error}).") from error
    if np.any(unknown):
        raise _unknown(what, labels[np.asarray(unknown)][0], classes)
    return index


def _unknown(what: str, label: Any, classes: Array) -> LabelError:
    label = label.item() if isinstance(label, np.generic) else label
    return LabelError(
        f"{what} contains the label {label!r}, which is none of {_few(classes)}. Expected labels among these."
    )


def _few(classes: Array) -> str:
    some = ", ".join(repr(each) for each in classes[:8].tolist())
    return f"[{some}{', ...' if len(classes) > 8 else ''}]"


class PairCounts(NamedTuple):
    """How often each class was predicted for each."""

    classes: Array
    """The distinct labels, ascending."""
    counts: Array
    """(K, K), true classes along the rows: integers, or sums of weights."""


def count_pairs(y_true: Any, y_pred: Any, weights: Any) -> PairCounts:
    """Count labels of shape (N,)."""
    spans = _span(y_true), _span(y_pred)
    if spans[0] is not None and spans[1] is not None:
        lowest, highest = min(spans[0][0], spans[1][0]), max(spans[0][1], spans[1][1])
        width = highest - lowest + 1
        if width * width <= max(SMALL_TABLE, y_true.shape[0]):
            return _count(_from_zero(y_true, lowest), _from_zero(y_pred, lowest), weights, width, lowest)
    classes = classes_of(y_true, y_pred)
    y_true, y_pred = index_in(y_true, classes, "y_true"), index_in(y_pred, classes, "y_pred")
    size = len(classes)
    if size * size > max(1 << 26, y_true.shape[0]):
        raise ArgumentError(f"There are {size} distinct labels, too many for a table of pairs. Expected class labels.")
    return PairCounts(classes, _count(y_true, y_pred, weights, size, 0).counts if size > 1 else _total(weights, y_true))


def _count(y_true: Any, y_pred: Any, weights: Any, width: int, lowest: int) -> PairCounts:
    if width == 1:
        return PairCounts(np.array([lowest]), _total(weights, y_true))
    cells = y_true * width + y_pred
    table = on_host(K.bincount(cells, width * width)).reshape(width, width)
    present = (table.sum(0) + table.sum(1)) > 0  # whatever the weights are
    if weights is not None:
        table = on_host(K.segment_sum(weights, cells, width * width)).reshape(width, width)
    if not present.all():
        table = table[np.ix_(present, present)]
    return PairCounts(np.flatnonzero(present) + lowest, table)


def _total(weights: Any, labels: Any) -> Array:
    return np.array([[labels.shape[0] if weights is None else on_host(K.sum(weights))]])


def chosen(pairs: PairCounts, labels: Any) -> tuple[Array, Array]:
    """Return true positives, and how often each of `labels` is there and is predicted: (3, labels), and the labels."""
    true_positives = np.diagonal(pairs.counts)
    totals = np.stack([true_positives, pairs.counts.sum(1), pairs.counts.sum(0)])
    if labels is None:
        return totals, pairs.classes
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size:
        raise ShapeError(f"labels has shape {labels.shape}. Expected a list of at least one label.")
    places = positions(labels, pairs.classes)
    return np.where(places >= 0, totals[:, places], 0), labels


def positions(labels: Array, classes: Array) -> Array:
    """Return where each label is among the classes, -1 if it is not."""
    known = {each: place for place, each in enumerate(classes.tolist())}
    return np.array([known.get(each, -1) for each in labels.tolist()], np.int64)
