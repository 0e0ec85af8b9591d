"""Cross-entropy of the logits that a last linear layer would make, without making them all at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from multiloss._boundary import align_labels, as_floats, as_labels, describe, require_given, require_real
from multiloss._errors import ArgumentError, NamedInputError, ShapeError
from multiloss._typing import DType, PerClass, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import HALVES, Backend
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._classes import as_vector, by_class
from multiloss.losses._evaluation import check_classes, operate, wide_dtype
from multiloss.losses._reduction import select
from multiloss.losses._spec import LossSpec, publish
from multiloss.losses._weighed import Weighed

__all__ = ["LinearCrossentropy", "linear_crossentropy"]


class _LinearSpec(LossSpec):
    """The classes are the rows of `weight`; what it is multiplied by stands where predictions do elsewhere."""

    def takes_weights(self, y_pred: Tensor, parameters: Mapping[str, Any]) -> bool:
        return True

    def labels_checked(
        self,
        backend: Backend,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor,
        mask: Tensor,
        parameters: Mapping[str, Any],
    ) -> bool:
        require_given(y_true, "y_true")
        weight = parameters.get("weight")
        if weight is None:
            raise NamedInputError(f"{self.name} needs weight= in every call, and it is missing. Pass it by keyword.")
        _check_shapes(y_pred, weight, parameters.get("bias"))
        _check_budget(weight, parameters.get("memory_budget"))
        require_real(y_true)
        if parameters.get("group") is not None:
            return True  # who holds some of the classes cannot say which labels are none of them; the operation can
        _check_labels(y_true, y_pred, weight)
        if _are_soft(y_true, y_pred, weight):
            return True
        shape = (*y_pred.shape[:-1], weight.shape[0])
        return check_classes(backend, y_true, shape, sample_weight, mask, parameters)

    def weigh(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor,
        mask: Tensor,
        *,
        checked: bool,
        dtype: DType | None,
        **parameters: Any,
    ) -> Weighed:
        options = dict(parameters)
        hidden, weight, bias = _in_one_dtype(y_pred, options.pop("weight"), options.pop("bias", None), dtype)
        class_weight, group = options.pop("class_weight", None), options.get("group")
        shape = tuple(hidden.shape[:-1])
        classes = weight.shape[0] if group is None or class_weight is None else len(class_weight)
        if _are_soft(y_true, hidden, weight):
            y_true = y_true if K.is_floating(y_true) else K.cast(y_true, "float32")
            about = by_class("one-hot", y_true, hidden, parameters, classes)
            known = in_range = None
        else:
            y_true = align_labels(as_labels(y_true), (*shape, classes), -1)
            about = by_class("class index", y_true, hidden, parameters, classes)
            known = (y_true >= 0) & (y_true < classes) if group is None else None
            in_range = None if checked else known
        selection = select(sample_weight, mask, shape, wide_dtype(hidden), about)
        if known is not None and (not checked or selection.computed is not None):
            y_true = K.where(known, y_true, 0)
        if class_weight is not None:
            options["class_weight"] = as_vector(class_weight, classes, "class_weight", hidden)
        options.pop("ignore_class", None)
        operation = functools.partial(operate, K.linear_crossentropy, (y_true, hidden, weight, bias), options)
        return Weighed(operation, selection, in_range, shape, wide_dtype(hidden), hidden)


def _check_shapes(hidden: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Raise ShapeError unless hidden states, weight and bias make logits."""
    if not hidden.ndim or weight.ndim != 2 or hidden.shape[-1] != weight.shape[1]:
        turned = hidden.ndim > 0 and weight.ndim == 2 and hidden.shape[-1] == weight.shape[0]
        raise ShapeError(
            f"hidden is a {describe(hidden)} and weight a {describe(weight)}. Expected hidden states (..., D) and a row of "
            "D numbers for each of the V classes: weight (V, D), as torch.nn.Linear holds it. "
            + ("Transpose weight." if turned else "Give what the last layer takes, and its weight.")
        )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(
            f"bias is a {describe(bias)} and weight has {weight.shape[0]} rows. Expected one number for each class: "
            f"({weight.shape[0]},)."
        )


def _check_labels(y_true: Tensor, hidden: Tensor, weight: Tensor) -> None:
    """Raise ShapeError unless there is a label for each hidden state."""
    rows, given, classes = tuple(hidden.shape[:-1]), tuple(y_true.shape), weight.shape[0]
    if given not in (rows, (*rows, 1), (*rows, classes)):
        raise ShapeError(
            f"y_true has shape {given} and hidden has shape {tuple(hidden.shape)}. Expected a class index for each hidden "
            f"state, {rows}, or a weight for each class, {(*rows, classes)}. Reshape or cut both alike."
        )


def _check_budget(weight: Tensor, memory_budget: int | None) -> None:
    """Raise ArgumentError for a budget below one row of logits."""
    row = weight.shape[0] * (8 if K.dtype(weight) == "float64" else 4)
    if memory_budget is not None and memory_budget < row:
        raise ArgumentError(
            f"memory_budget={memory_budget} bytes is less than one row of {weight.shape[0]} logits takes. Expected at least "
            f"{row}; a few hundred rows keep the processor busy."
        )


def _are_soft(y_true: Tensor, hidden: Tensor, weight: Tensor) -> bool:
    """Whether labels are a weight for each class, and not class indices (with a 1 for the classes or without)."""
    classes = weight.shape[0]
    fits = y_true.ndim == hidden.ndim and y_true.shape[-1] == classes
    return fits and (classes != 1 or K.is_floating(y_true))


def _in_one_dtype(hidden: Tensor, weight: Tensor, bias: Tensor, dtype: DType | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the operands in one dtype: half precision if all have the same, else the widest of them."""
    given = [each for each in (hidden, weight, bias) if each is not None]
    names = {K.dtype(each) for each in given}
    if len(names) > 1 or not names <= set(HALVES) or dtype == "float64":
        hidden, weight = as_floats(hidden, dtype), as_floats(weight, dtype)
        bias = bias if bias is None else as_floats(bias, dtype)
        if "float64" in (K.dtype(each) for each in (hidden, weight, bias) if each is not None):
            hidden, weight = K.cast(hidden, "float64"), K.cast(weight, "float64")
            bias = bias if bias is None else K.cast(bias, "float64")
    return hidden, weight, bias


def _linear_loss(formula: Callable[..., Tensor]) -> Any:
    """Make the formula a public loss whose predictions are hidden states, followed by weight and bias."""
    spec = _LinearSpec(formula, "class index", "real", "joint")
    spec.shortcut = False  # for hidden states, which are no logits
    run = publish(spec)

    @functools.wraps(formula)
    def public(
        y_true: TensorLike, hidden: TensorLike, weight: TensorLike, bias: TensorLike = None, **options: Any
    ) -> Tensor:
        return run(y_true, hidden, weight, bias, **options)

    vars(public)["__multiloss__"] = spec
    return public


@_linear_loss
def linear_crossentropy(
    y_true: Tensor,
    hidden: Tensor,
    weight: TensorLike,
    bias: TensorLike = None,
    *,
    label_smoothing: float = 0.0,
    class_weight: PerClass = None,
    ignore_class: int | None = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    memory_budget: int | None = None,
    group: Any = None,
) -> Tensor:
    """Cross-entropy of the logits `hidden @ weight.T + bias`: for vocabularies whose logits would not fit into memory.

    Formula: that of `categorical_crossentropy` and `sparse_categorical_crossentropy` with `from_logits=True`. The logits of
    some hundred rows at a time are made, used and forgotten; the class form takes the gradients on the way, too.

    Shapes: class indices `(...)` or `(..., 1)`, or labels `(..., V)` as weights of the classes; hidden states `(..., D)`,
    `weight` `(V, D)` and `bias` `(V,)` to `(...)`. Operands of half precision are multiplied as they are, and all sums are
    float32, as is the result.

    Args:
        weight: a row for each class, as `torch.nn.Linear` holds it. For torch it may be a DTensor with its rows on several
            devices.
        bias: added to the logits.
        label_smoothing, class_weight, ignore_class: as in `sparse_categorical_crossentropy`.
        z_loss: times the square of `log(sum(exp(logits)))`, it is added to each row before its weight: keeps logits from
            drifting. Usual: 1e-4.
        softcap: logits `z` become `softcap * tanh(z / softcap)`.
        memory_budget: how many bytes of logits may be there at a time; at least one row. Default: what is fastest. Below some
            256 rows on a CPU, and 1024 on a GPU, reading `weight` again for each chunk takes most of the time.
        group: over what the classes are split, if each device holds some rows of `weight` only: a torch process group, or
            inside JAX's `shard_map` the name of a mesh axis. Labels and `class_weight` are about all classes, and every
            device gets the same value and the same gradient of `hidden`.

    Raises:
        ShapeError: for operands that do not make logits.
        LabelError: for a label outside [0, V) where values can be looked at; on accelerators, inside a trace and with a
            `group` that row is nan instead.
        ArgumentError: for another number of weights than classes; for a budget below one row.
        NotSupportedError: for a `group` on NumPy.

    Source: E. Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024, https://arxiv.org/abs/2411.09009;
    z_loss: A. Chowdhery et al., PaLM, 2022, https://arxiv.org/abs/2204.02311; softcap: Gemma 2, 2024,
    https://arxiv.org/abs/2408.00118

    >>> round(float(linear_crossentropy(1, [1.0], [[0.0], [0.0]])), 4)
    0.6931
    """
    del ignore_class  # acts at the boundary, before the formula
    return K.linear_crossentropy(
        *(y_true, hidden, weight, bias, None, False),
        label_smoothing=label_smoothing,
        class_weight=None if class_weight is None else as_vector(class_weight, weight.shape[0], "class_weight", hidden),
        z_loss=z_loss,
        softcap=softcap,
        memory_budget=memory_budget,
        group=group,
    )


class LinearCrossentropy(LossFunctionWrapper):
    """Class form of `linear_crossentropy`. Calls take `weight` and `bias` by keyword.

    >>> import numpy as np
    >>> loss = LinearCrossentropy(ignore_class=-100)
    >>> hidden, weight = np.ones((3, 2)), np.zeros((4, 2))
    >>> round(float(loss([1, -100, 3], hidden, weight=weight)), 4)
    1.3863
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "linear_crossentropy",
        dtype: Any = None,
        *,
        label_smoothing: float = 0.0,
        class_weight: PerClass = None,
        ignore_class: int | None = None,
        z_loss: float = 0.0,
        softcap: float | None = None,
        memory_budget: int | None = None,
        group: Any = None,
    ) -> None:
        super().__init__(
            linear_crossentropy,
            reduction,
            name,
            dtype,
            label_smoothing=label_smoothing,
            class_weight=class_weight,
            ignore_class=ignore_class,
            z_loss=z_loss,
            softcap=softcap,
            memory_budget=memory_budget,
            group=group,
        )
