"""Class weights and ignored classes: what they mean for a label, whatever kind of labels a loss takes.

| labels | the weight of a sample is | a sample is ignored if |
|---|---|---|
| class indices | that of its class | its label is `ignore_class` |
| one-hot or soft | `sum(weight * label)` over the classes | more than half of its label is `ignore_class` |
| yes or no, elementwise | the mean of `label * w1 + (1 - label) * w0` over its elements | all its labels are `ignore_class` |

The weights are in the values already, so that label smoothing can spread a sample over classes of other weights; what is
found here is what a weighted mean divides by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from multiloss._arguments import is_real
from multiloss._boundary import normalize_axis, require_real
from multiloss._errors import ArgumentError
from multiloss._typing import PerClass, Tensor
from multiloss.dispatch import K
from multiloss.interface import EPSILON, HALVES
from multiloss.losses._reduction import ALIKE, ByClass

# ── Numbers, before a call ──────────────────────────────────────────────────────────────────────────────────────


def standardize(owner: str, name: str, value: PerClass) -> PerClass:
    """Return weights as a tuple of floats, or a float if there is one for all: hashable, and read from JSON.

    Raises:
        ArgumentError: for a class without a weight, and for anything but finite numbers of at least 0.
    """
    expected = "a weight for each class: a dict such as {0: 1.0, 1: 2.5}, or a sequence or tensor of weights"
    if name != "class_weight":
        expected = "a number, or a sequence or tensor with one for each entry of the last axis"
    elif isinstance(value, Mapping):
        value = _in_order(owner, name, value)
    several = isinstance(value, (list, tuple)) and len(value) > 0
    if not several and (name == "class_weight" or not _is_weight(value)):
        raise ArgumentError(f"{owner}: {name}={value!r} is not allowed. Expected {expected}.")
    if not several:
        return float(value)
    bad = [each for each in value if not _is_weight(each)]
    if bad:
        raise ArgumentError(f"{owner}: {name} holds {bad[0]!r}. Expected finite numbers of at least 0.")
    return tuple(float(each) for each in value)


def _is_weight(value: Any) -> bool:
    return is_real(value) and 0 <= float(value) < math.inf


def _in_order(owner: str, name: str, given: Mapping[Any, Any]) -> list[Any]:
    """Return the values of a dict from class to weight, in the order of the classes."""
    weights = by_number(given)
    if not weights or min(weights) < 0:
        raise ArgumentError(f"{owner}: {name} has the keys {list(given)}. Expected the classes, counted from 0.")
    missing = [label for label in range(len(weights)) if label not in weights]
    if missing:
        raise ArgumentError(
            f"{owner}: {name} has the keys {sorted(weights)}, and {missing[0]} is missing. Expected a weight for each class; "
            "1.0 for those that count as usual: [weights.get(label, 1.0) for label in range(classes)]."
        )
    return [weights[label] for label in range(len(weights))]


def by_number(given: Mapping[Any, Any]) -> dict[int, Any] | None:
    """Return a dict by class with whole numbers as its keys, which JSON makes strings; None if they are no such thing."""
    try:
        found = {int(key): value for key, value in given.items() if not isinstance(key, (bool, float))}
    except (TypeError, ValueError):
        return None
    return found if len(found) == len(given) else None


# ── Tensors, within a call ──────────────────────────────────────────────────────────────────────────────────────


def as_vector(weights: PerClass, size: int, what: str, like: Tensor) -> Tensor:
    """Return weights as a tensor of shape (size,), in the dtype of `like`, at least float32.

    Raises:
        ArgumentError: for another number of them.
        DTypeError: for complex numbers, text and objects.
    """
    dtype = "float32" if K.dtype(like) in HALVES else K.dtype(like)
    numbers = isinstance(weights, (tuple, list))
    if not numbers:
        require_real(weights)
    weights = K.asarray(weights, dtype=dtype, like=like) if numbers else K.cast(weights, dtype)
    shape = tuple(weights.shape)
    if shape != (size,):
        arrived = f"{shape[0]} entries" if len(shape) == 1 else f"shape {shape}"
        raise ArgumentError(f"{what} has {arrived}. Expected {size}, one for each entry of the axis that it is about.")
    return weights


def along(vector: Tensor, axis: int, rank: int) -> Tensor:
    """Return a vector shaped so that it meets `axis` of a tensor of `rank`."""
    shape = [1] * rank
    shape[axis] = -1
    return K.reshape(vector, shape)


def of_last_axis(weights: PerClass, y_pred: Tensor, what: str) -> Tensor:
    """Return one number for all, or a vector shaped so that it meets the last axis of `y_pred`."""
    if isinstance(weights, (int, float)):
        return weights
    if not isinstance(weights, (tuple, list)) and not weights.ndim:
        return K.cast(weights, K.dtype(y_pred))
    return along(as_vector(weights, y_pred.shape[-1], what, y_pred), -1, y_pred.ndim)


def of_labels(vector: Tensor, labels: Tensor) -> Tensor:
    """Return the entry of a vector for each class index."""
    return K.reshape(K.take_along_axis(vector, K.reshape(labels, (-1,)), 0), tuple(labels.shape))


def of_elements(y_true: Tensor, class_weight: PerClass) -> Tensor:
    """Return the weight of each yes-or-no label: `y_true * w1 + (1 - y_true) * w0`."""
    weights = as_vector(class_weight, 2, "class_weight", y_true)
    return y_true * weights[1] + (1.0 - y_true) * weights[0]


def mean_of_counted(values: Tensor, counted: Tensor, axis: int) -> Tensor:
    """Return the mean over `axis` of those that are counted, or of all if that is None. The mean of none is 0."""
    if counted is None:
        return K.mean(values, axis)
    count = K.cast(K.sum(counted, axis), K.dtype(values))
    return K.divide_no_nan(K.sum(K.where(counted, values, 0.0), axis), count)


def by_class(
    target: str, y_true: Tensor, y_pred: Tensor, parameters: Mapping[str, Any], classes: int | None = None
) -> ByClass:
    """Return which samples are not ignored, and their weights by their classes: as many as `y_pred` has, or `classes`.

    Raises:
        ArgumentError: for another number of weights than classes, and for an ignored class that one-hot labels do not have.
    """
    ignored, weights = parameters.get("ignore_class"), parameters.get("class_weight")
    if ignored is None and weights is None:
        return ALIKE
    axis = parameters.get("axis", -1)
    kept = weight = present = None
    classes = y_pred.shape[axis] if classes is None else classes
    if target == "class index":
        kept = None if ignored is None else _differ(y_true, int(ignored))
        if weights is not None:
            # What does not count may be any integer, and what is out of range is nan in the end.
            known = (y_true >= 0) & (y_true < classes)
            found = of_labels(as_vector(weights, classes, "class_weight", y_pred), K.where(known, y_true, 0))
            weight = K.where(known, found, 1.0)
    elif target == "one-hot":
        kept = None if ignored is None else ~(_column(y_true, ignored, axis) > 0.5)
        if weights is not None:
            vector = as_vector(weights, classes, "class_weight", y_pred)
            if hasattr(weights, "dtype") or axis not in (-1, y_true.ndim - 1):  # which may want a gradient
                weight = K.sum(y_true * along(vector, axis, y_true.ndim), axis)
            else:
                weight = K.run_rows(_of_shares, y_true, y_true, vector=vector)
    else:
        counted = None if ignored is None else y_true != ignored
        kept = None if counted is None else K.any(counted, axis)
        if weights is not None:
            weight = mean_of_counted(of_elements(y_true, weights), counted, axis)
    if weight is not None and target != "probability" and not parameters.get("label_smoothing"):
        present = weight != 0  # smoothing gives such a sample a share of the other classes, as in torch
    return ByClass(kept, weight, present)


def _differ(labels: Tensor, number: int) -> Tensor:
    """Return where class indices differ from a number, which in their dtype may be another."""
    bits = int(K.dtype(labels).removeprefix("int"))
    return labels != number if -(1 << bits - 1) <= number < 1 << bits - 1 else K.ones_like(labels, "bool")


def _of_shares(y_true: Tensor, _: Tensor, vector: Tensor) -> Tensor:
    """Return the weights of samples that are shares of classes, which a backend may evaluate some rows at a time."""
    return K.sum(y_true * along(vector, -1, y_true.ndim), -1)


def _column(y_true: Tensor, index: int, axis: int) -> Tensor:
    """Return one class of one-hot labels.

    Raises:
        ArgumentError: if there is no such class.
    """
    classes = y_true.shape[axis]
    if not 0 <= index < classes:
        raise ArgumentError(
            f"ignore_class={index} cannot act: y_true is one-hot over {classes} classes. Expected 0 to {classes - 1}; "
            "leave padding out with mask=."
        )
    at = normalize_axis(axis, y_true.ndim)
    return y_true[(*(slice(None),) * at, int(index), ...)]


# ── Within a formula ────────────────────────────────────────────────────────────────────────────────────────────


def mean_of_elements(
    element: Callable[[Tensor, Tensor, Tensor], Tensor],
    y_true: Tensor,
    y_pred: Tensor,
    label_smoothing: float,
    axis: int,
    class_weight: PerClass,
    pos_weight: PerClass,
    ignore_class: int | None,
) -> Tensor:
    """Return the mean over `axis` of `element(target, y_pred, positive)`, of smoothed targets and the weight of positive
    ones (None for 1), with each element weighted by its class.
    """
    target = smooth_yes_or_no(y_true, label_smoothing)
    if class_weight is None and pos_weight is None and ignore_class is None:
        return K.mean(element(target, y_pred, None), axis)
    counted = None if ignore_class is None else y_true != ignore_class
    weight = None if class_weight is None else of_elements(y_true, class_weight)
    positive = None if pos_weight is None else of_last_axis(pos_weight, y_pred, "pos_weight")
    # Select before the mathematics: what has no weight reaches neither value nor gradient, whatever it contains.
    computed = K.ones_like(y_true, "bool") if counted is None else counted
    if weight is not None:
        computed = computed & (weight != 0)
        weight = K.where(computed, weight, 0.0)
    if positive is not None:
        computed = computed & (target * positive + (1.0 - target) != 0)
    values = element(K.where(computed, target, 1.0), K.where(computed, y_pred, 1.0), positive)
    values = K.where(computed, values if weight is None else values * weight, 0.0)
    return mean_of_counted(values, counted, axis)


def weighted_elements(target: Tensor, output: Tensor, from_logits: bool, positive: Tensor) -> Tensor:
    """Return the binary cross-entropy of each element, with its first term times `positive` (None for 1)."""
    if positive is None:
        return K.binary_crossentropy(target, output, from_logits)
    yes, no = target * positive, 1.0 - target
    if from_logits:
        below = output < 0  # not maximum and abs: their kinks at 0 cancel, but not in second derivatives
        linear = K.multiply_no_nan(no, K.where(below, 0.0, output)) - K.multiply_no_nan(
            yes, K.where(below, output, 0.0)
        )
        return linear + (yes + no) * K.log1p(K.exp(K.where(below, output, -output)))
    p = K.clip(output, EPSILON, 1.0 - EPSILON)
    return -(yes * K.log(p) + no * K.log1p(-p))


def smooth_yes_or_no(y_true: Tensor, label_smoothing: float) -> Tensor:
    """Return `y_true * (1 - a) + a / 2`."""
    return y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else y_true


def smooth_one_hot(y_true: Tensor, label_smoothing: float, axis: int) -> Tensor:
    """Return `y_true * (1 - a) + a / C` over the C classes of `axis`."""
    return y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[axis] if label_smoothing else y_true


def weigh(values: Tensor, class_weight: PerClass, axis: int) -> Tensor:
    """Return values of classes on `axis`, each multiplied by the weight of its class. Weight 0 makes 0 of infinity, too."""
    if class_weight is None:
        return values
    weights = as_vector(class_weight, values.shape[axis], "class_weight", values)
    return K.multiply_no_nan(along(weights, axis, values.ndim), values)


def weigh_chosen(values: Tensor, y_true: Tensor, y_pred: Tensor, class_weight: PerClass, axis: int) -> Tensor:
    """Return values of samples, each multiplied by the weight of its class."""
    if class_weight is None:
        return values
    return values * of_labels(as_vector(class_weight, y_pred.shape[axis], "class_weight", values), y_true)


def smooth_chosen(values: Tensor, y_true: Tensor, label_smoothing: float, axis: int) -> Tensor:
    """Return `sum(t * values)` over the classes of `axis`, where `t` are the smoothed labels, without making them."""
    chosen = K.squeeze(K.take_along_axis(values, K.expand_dims(y_true, axis), axis), axis)
    spread = label_smoothing * K.mean(values, axis)
    return spread if label_smoothing == 1 else (1.0 - label_smoothing) * chosen + spread
