"""The raw score to start from: the constant with the least loss."""

from __future__ import annotations

from typing import Any

from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.integrations._boosting._raw import RawLoss, to_host


def best_constant(loss: RawLoss, labels: Any, weight: Any, classes: int = 1) -> list[float]:
    """Return the raw score, or one for each class, that has the least loss for all samples together.

    Args:
        loss: of raw scores.
        labels: (N,) as a host array.
        weight: (N,) or None.
        classes: how many raw scores a sample has.

    With named inputs the scores of several classes are the logarithms of their shares, centered.

    Raises:
        LabelError: for labels that the loss is not made for.
        ShapeError: for named inputs with another number of rows.
    """
    if not labels.size:
        return [0.0] * classes
    loss.check_rows(len(labels))
    labels = labels.astype("float64")
    weight = None if weight is None else weight.astype("float64")
    if loss.several:
        return _of_classes(loss, labels, weight, classes)
    if labels.size == len(labels) * classes > len(labels):
        columns = labels.reshape(len(labels), classes)
        return [_of_one(loss, columns[:, each], weight) for each in range(classes)]
    return [_of_one(loss, labels, weight)]


def _of_one(loss: RawLoss, labels: Any, weight: Any) -> float:
    """Return where the slope of the sum crosses 0, by the Illinois method; exact at once for a squared error."""
    hard = loss.spec is not None and loss.spec.target in ("probability", "sign") and not loss.inputs
    if hard and ((labels == 0) | (labels == 1)).all():
        weight = _totals(labels, weight, 2)  # two rows do for all
        labels = 1.0 * K.arange(2, like=labels, dtype="float64")
    labels = labels.reshape(-1, 1)

    def slope(raw: float) -> float:
        gradient, _ = loss.derivatives(labels, K.full(labels.shape, raw, like=labels), weight)
        return float(gradient.sum())

    low, high = loss.link.bracket(float(labels.min()), float(labels.max()))
    if not low < high:
        low, high = low - 1.0, high + 1.0
    left, right = slope(low), slope(high)
    reach, furthest = high - low, 64 * (high - low) if loss.link.name == "identity" else 0.0
    while left > 0 and reach < furthest:
        low, reach = low - reach, 2 * reach
        left = slope(low)
    while right < 0 and reach < furthest:
        high, reach = high + reach, 2 * reach
        right = slope(high)
    for _ in range(60):  # where a loss clips its probabilities it is flat at both ends
        if left != 0 or right != 0 or loss.link.name != "logit":
            break
        low, high = 0.9 * low, 0.9 * high
        left, right = slope(low), slope(high)
    for _ in range(60):  # a link that is flat at its end says nothing about where the least is
        if left != 0 or right <= 0:
            break
        low = 0.5 * (low + high)
        left = slope(low)
    if left >= 0:
        return low
    if right <= 0:
        return high
    side = 0
    for _ in range(200):
        middle = (low * right - high * left) / (right - left)
        if not low < middle < high:
            middle = 0.5 * (low + high)
        here = slope(middle)
        if here == 0 or high - low <= 1e-13 * max(1.0, abs(middle)):
            return middle
        if here < 0:
            low, left = middle, here
            right, side = (right / 2, -1) if side == -1 else (right, -1)
        else:
            high, right = middle, here
            left, side = (left / 2, 1) if side == 1 else (left, 1)
    return 0.5 * (low + high)


def _of_classes(loss: RawLoss, labels: Any, weight: Any, classes: int) -> list[float]:
    """Return one score per class, which sum to 0: from the logarithms of the shares of classes, downhill by the bound."""
    loss.targets(labels, K.full((len(labels), classes), 0.0, like=labels))  # raises for bad labels
    ignored = loss.parameters.get("ignore_class")
    if ignored is not None:
        kept = labels != ignored
        labels, weight = labels[kept], None if weight is None else weight[kept]
    totals = _totals(labels, weight, classes)
    share = totals / totals.sum() if totals.sum() > 0 else totals * 0.0 + 1.0 / classes
    if loss.link.name != "softmax":
        return [0.0] * classes
    logs = to_host(K.log(K.maximum(share, 1e-15)))
    if loss.inputs:  # of which each row has its own
        return [float(each) for each in logs - logs.mean()]
    raw = logs
    rows = 1.0 * K.arange(classes, like=share, dtype="float64")
    stride, before = 1.0, float("inf")
    last, direction = raw, raw * 0.0
    for _ in range(500):
        every = K.broadcast_to(raw.reshape(1, -1), (classes, classes))
        value = float(to_host(loss.of_raw(loss.targets(rows, every), every, share)))
        if value > before + 1e-15 and stride > 1e-6:  # too far: the curvature is no bound for this loss
            stride = 0.5 * stride
            raw = last - stride * direction
            continue
        gradient, bound = loss.derivatives(rows, every, share, "bound")
        slope = gradient.sum(0)
        if float(abs(slope).max()) < 1e-12:
            break
        before, last, direction = value, raw, slope / K.maximum(abs(bound).sum(0), 1e-12)
        stride = min(1.0, 2.0 * stride)
        raw = last - stride * direction
    return [float(each) for each in raw - raw.mean()]


def _totals(labels: Any, weight: Any, classes: int) -> Any:
    """Return the sum of the weights of each class."""
    ones: Tensor = K.ones_like(labels) if weight is None else weight
    return to_host(K.segment_sum(ones, labels.astype("int64"), classes))
