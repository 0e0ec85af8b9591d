"""Cross-entropy of a softmax over many classes: the formulas of the derived operations, in terms of the primitives.

With `z` the logits, `lse = log(sum(exp(z)))` over the V classes, `w` their weights (1 unless given), `a` the label smoothing
and `n_v = lse - z_v` what class `v` costs:

| labels | a row's loss |
|---|---|
| the class y | `(1 - a) * w_y * n_y + a / V * sum(w * n)` |
| t, a weight for each class | `sum(w * ((1 - a) * t + a / V) * n)` |

and `z_loss * lse^2` is added. A soft cap `c` takes `c * tanh(z / c)` for the logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

from multiloss._errors import NotSupportedError
from multiloss._typing import Tensor

if TYPE_CHECKING:
    from multiloss.interface._backend import Backend

HALVES = ("float16", "bfloat16")
"""The dtypes whose statistics are computed in float32."""


class CrossentropyOptions(TypedDict, total=False):
    """What enters the cross-entropy of a softmax besides labels and logits."""

    label_smoothing: float
    """From 0 to 1."""

    class_weight: Tensor
    """A weight for each class (V,), or None."""

    z_loss: float
    """What `lse^2` is multiplied by."""

    softcap: float | None
    """The bound of the logits, above 0."""


class Options(NamedTuple):
    """Those of the options that are numbers: hashable, for what is compiled or looked up."""

    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None


_PLAIN = Options()


def split_options(options: CrossentropyOptions) -> tuple[Tensor, Options]:
    """Return the weights of the classes, or None, and the numbers."""
    if not options:  # a small call is over in a few microseconds
        return None, _PLAIN
    numbers: dict[str, Any] = {**options}
    return numbers.pop("class_weight", None), Options(**numbers)


def softmax_crossentropy(
    b: Backend,
    target: Tensor,
    logits: Tensor,
    row_weight: Tensor,
    total: bool,
    *,
    label_smoothing: float = 0.0,
    class_weight: Tensor = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
) -> Tensor:
    """See `Backend.softmax_crossentropy`."""
    sparse = target.ndim < logits.ndim
    present = None if row_weight is None or isinstance(row_weight, (int, float)) else row_weight != 0
    if present is not None:  # select before the mathematics: 0 * nan is nan
        columns = b.expand_dims(present, -1)
        logits = b.where(columns, logits, 0.0)
        target = b.where(present if sparse else columns, target, 0 if sparse else 0.0)
    logits = _wide(b, logits)
    if softcap is not None:
        logits = b.tanh(logits / softcap) * softcap
    # The largest logit comes out of the sum and back as the 1 of log1p; it is 0 away from itself, by selection and not by
    # subtraction: else a confident row would lose its loss, and its gradient, next to what cancels.
    index = b.expand_dims(b.argmax(logits, -1), -1)
    largest = b.take_along_axis(logits, index, -1)
    classes = b.arange(logits.shape[-1], dtype=b.dtype(index), like=logits)
    is_largest = index == b.reshape(classes, (1,) * (logits.ndim - 1) + (-1,))
    finite = b.isfinite(largest)
    relative = b.where(is_largest, 0.0, logits - b.where(finite, largest, 0.0))
    others = b.sum(b.where(is_largest, 0.0, b.exp(relative)), -1, True)
    above = b.log1p(others) * b.where(finite, b.ones_like(largest), float("nan"))  # lse - largest
    if sparse:
        values = b.squeeze(above - b.take_along_axis(relative, b.expand_dims(target, -1), -1), -1)
        if class_weight is not None:
            class_weight = b.cast(class_weight, b.dtype(values))
            shape = tuple(target.shape)
            of_label = b.reshape(b.take_along_axis(class_weight, b.reshape(target, (-1,)), 0), shape)
            values = b.multiply_no_nan(of_label, values)
        if label_smoothing:
            spread = label_smoothing * b.mean(_weighed(b, class_weight, above - relative), -1)
            values = spread if label_smoothing == 1 else (1.0 - label_smoothing) * values + spread
    else:
        target = b.cast(target, b.dtype(logits))
        if label_smoothing:
            target = target * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
        values = b.sum(b.multiply_no_nan(_weighed(b, class_weight, target), above - relative), -1)
    if z_loss:
        values = values + z_loss * b.square(b.squeeze(above + largest, -1))
    return weigh_rows(b, values, row_weight, total)


def linear_crossentropy(
    b: Backend,
    target: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    row_weight: Tensor,
    total: bool,
    memory_budget: int | None,
    group: object,
    **options: Unpack[CrossentropyOptions],
) -> Tensor:
    """See `Backend.linear_crossentropy`."""
    if group is not None:
        raise NotSupportedError(
            f"The {b.name} backend cannot split classes over devices: group={group!r}. Expected group=None, or tensors of "
            "torch (a process group) or JAX (the name of a mesh axis)."
        )
    lead, columns = tuple(hidden.shape[:-1]), hidden.shape[-1]
    sparse = target.ndim < hidden.ndim
    rows = 1
    for size in lead:
        rows *= size
    hidden = b.reshape(hidden, (rows, columns))
    target = b.reshape(target, (rows,) if sparse else (rows, weight.shape[0]))
    one_for_all = row_weight is None or isinstance(row_weight, (int, float))
    row_weight = row_weight if one_for_all else b.reshape(row_weight, (rows,))
    if not one_for_all:
        hidden = b.where(b.expand_dims(row_weight != 0, -1), hidden, 0.0)  # or 0 * nan reaches the gradient of weight
    weight = b.moveaxis(_wide(b, weight), 0, 1)
    step = rows if memory_budget is None else max(1, memory_budget // (weight.shape[1] * 4))
    parts = []
    for start in range(0, rows, step) if rows else (0,):
        here = slice(start, start + step)
        logits = _wide(b, hidden[here, :]) @ weight
        logits = logits if bias is None else logits + b.reshape(b.cast(bias, b.dtype(logits)), (1, -1))
        labels = target[here] if sparse else target[here, :]
        part = row_weight if one_for_all else row_weight[here]
        parts.append(softmax_crossentropy(b, labels, logits, part, False, **options))
    values = b.reshape(parts[0] if len(parts) == 1 else b.concatenate(parts), lead)
    return b.sum(values) if total else values


def weigh_rows(b: Backend, values: Tensor, row_weight: Tensor, total: bool) -> Tensor:
    """Return values times the weights of their rows, 0 where those are 0, or the sum."""
    if isinstance(row_weight, (int, float)):
        values = values * row_weight if row_weight else b.zeros_like(values)
    elif row_weight is not None:
        values = b.where(row_weight != 0, values * row_weight, 0.0)
    return b.sum(values) if total else values


def _weighed(b: Backend, class_weight: Tensor, x: Tensor) -> Tensor:
    if class_weight is None:
        return x
    shape = (1,) * (x.ndim - 1) + (-1,)
    return b.multiply_no_nan(b.reshape(b.cast(class_weight, b.dtype(x)), shape), x)


def _wide(b: Backend, x: Tensor) -> Tensor:
    return b.cast(x, "float32") if b.dtype(x) in HALVES else x
