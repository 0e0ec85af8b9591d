"""What NumPy gives in float64 for the operations of the interface that it has no function for: the definitions, written out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from multiloss.interface import EPSILON

Array = Any


def ranked_counts(scores: Array, positive: Array, counts: Array, weights: Array) -> Array:
    above = scores >= np.append(np.inf, np.sort(scores)[::-1])[:, None]
    return np.stack([(above * (counts + weights) * kind).sum(1) for kind in (positive, ~positive)])


def roc_area(scores: Array, positive: Array, counts: Any, weights: Any) -> Array:
    sizes = np.ones_like(scores) if counts is None else counts + weights
    won = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    pairs = np.outer(sizes * positive, sizes * ~positive)
    return np.array((pairs * won).sum() / pairs.sum())


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    return x.reshape(shape)  # NumPy 2.0 knows no np.reshape(..., shape=)


def sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))


def softplus(x: Array) -> Array:
    return np.logaddexp(x, 0.0)


def logsumexp(x: Array, axis: Any = -1, keepdims: bool = False) -> Array:
    reduce: Callable[..., Array] = np.logaddexp.reduce
    return reduce(x, axis=axis, keepdims=keepdims)


def l2_normalize(x: Array, axis: Any = -1) -> Array:
    norm = np.sqrt(np.sum(np.square(x), axis, keepdims=True))
    return np.where(norm == 0, 0.0, x / np.where(norm == 0, 1.0, norm))


def cosine(x: Array, y: Array, axis: int = -1) -> Array:
    return np.sum(l2_normalize(x, axis) * l2_normalize(y, axis), axis)


def huber(target: Array, output: Array, delta: float = 1.0) -> Array:
    error = np.abs(output - target)
    return np.where(error <= delta, 0.5 * np.square(np.minimum(error, delta)), delta * error - 0.5 * delta * delta)


def log_cosh(x: Array) -> Array:
    near = np.log1p(2.0 * np.square(np.sinh(np.minimum(np.abs(x), 20.0) / 2.0)))
    return near + np.maximum(np.abs(x) - 20.0, 0.0)


def binary_crossentropy(target: Array, output: Array, from_logits: bool = False) -> Array:
    if from_logits:
        positive, negative = target * softplus(-output), (1 - target) * softplus(output)
        return np.where(target == 0, 0.0, positive) + np.where(target == 1, 0.0, negative)
    p = np.clip(output, EPSILON, 1 - EPSILON)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def normalized(output: Array, axis: int = -1) -> Array:
    total = output.sum(axis, keepdims=True)
    return np.clip(output / np.where(total == 0, 1.0, total), EPSILON, 1 - EPSILON)


def log_softmax(x: Array, axis: int = -1) -> Array:
    return x - logsumexp(x, axis, True)


def categorical(target: Array, output: Array, from_logits: bool = False, axis: int = -1) -> Array:
    log_q = log_softmax(output, axis) if from_logits else np.log(normalized(output, axis))
    return -np.sum(np.where(target == 0, 0.0, target * log_q), axis)


def sparse(target: Array, output: Array, from_logits: bool = False, axis: int = -1) -> Array:
    log_q = log_softmax(output, axis) if from_logits else np.log(normalized(output, axis))
    return -np.squeeze(np.take_along_axis(log_q, np.expand_dims(target, axis), axis), axis)


def softmax_crossentropy(
    target: Array,
    logits: Array,
    row_weight: Any = None,
    *,
    total: bool = False,
    label_smoothing: float = 0.0,
    class_weight: Any = None,
    z_loss: float = 0.0,
    softcap: Any = None,
) -> Array:
    logits = logits if softcap is None else softcap * np.tanh(logits / softcap)
    classes = logits.shape[-1]
    lse = logsumexp(logits, -1, True)
    hot = np.eye(classes)[target] if target.ndim < logits.ndim else target
    cost = np.where(np.ones(classes) if class_weight is None else class_weight, lse - logits, 0.0)
    weights = 1.0 if class_weight is None else np.array(class_weight)
    t = weights * ((1 - label_smoothing) * hot + label_smoothing / classes)
    values = np.where(t == 0, 0.0, t * cost).sum(-1) + z_loss * np.square(lse[..., 0])
    values = values if row_weight is None else np.where(np.equal(row_weight, 0), 0.0, values * row_weight)
    return values.sum() if total else values


def linear_crossentropy(
    target: Array, hidden: Array, weight: Array, bias: Any = None, row_weight: Any = None, **options: Any
) -> Array:
    options.pop("memory_budget", None)
    present = None if row_weight is None else np.broadcast_to(np.not_equal(row_weight, 0), hidden.shape[:-1])
    hidden = hidden if present is None else np.where(present[..., None], hidden, 0.0)
    logits = hidden @ weight.T + (0.0 if bias is None else bias)
    return softmax_crossentropy(target, logits, row_weight, **options)


def clip(x: Array, low: Any = None, high: Any = None) -> Array:
    return x if low is None and high is None else np.clip(x, low, high)


def argsort(x: Array, axis: int = -1) -> Array:
    return np.argsort(x, axis, kind="stable")


def one_hot(indices: Array, num_classes: int, axis: int = -1, dtype: str = "float32") -> Array:
    hot = indices[..., None] == np.arange(num_classes)
    return np.moveaxis(hot, -1, axis).astype(dtype)


def in_top_k(targets: Array, predictions: Array, k: int) -> Array:
    chosen = predictions[np.arange(len(targets)), targets]
    return np.isfinite(chosen) & ((predictions > chosen[:, None]).sum(-1) < k)


def segment_sum(x: Array, segments: Array, num_segments: int) -> Array:
    total = np.zeros(num_segments, np.int64 if x.dtype == bool else x.dtype)
    np.add.at(total, segments, x)
    return total


def step(state: Array, x: Array) -> Array:
    return 0.5 * state * x - state + x


def scan(step: Callable[[Array, Array], Array], state: Array, xs: Array) -> Array:
    states = np.zeros((len(xs), *np.shape(state)))
    for index, x in enumerate(xs):
        state = states[index] = step(state, x)
    return states


def ctc_loss(labels: Array, logits: Array, label_length: Array, logit_length: Array, blank: int = 0) -> Array:
    """Go through all alignments, one by one."""
    losses = []
    for row, (count, steps) in enumerate(zip(label_length, logit_length, strict=True)):
        log_q, total = log_softmax(logits[row, :steps]), -np.inf
        for path in itertools.product(range(logits.shape[-1]), repeat=int(steps)):
            merged = [label for label, _ in itertools.groupby(path) if label != blank]
            if merged == list(labels[row, :count]):
                total = np.logaddexp(total, sum((log_q[t, label] for t, label in enumerate(path)), 0.0))
        losses.append(-total)
    return np.array(losses)


def multiply_no_nan(weight: Array, x: Array) -> Array:
    return np.where(weight == 0, 0.0, weight * x)


def divide_no_nan(x: Array, y: Array) -> Array:
    return np.where(y == 0, 0.0, x / np.where(y == 0, 1.0, y))
