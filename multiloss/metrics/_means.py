"""Averages and sums of values, and of any function of targets and predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from multiloss._boundary import arrive_batch, require_given, require_real
from multiloss._errors import ArgumentError
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses._base import Loss, LossFunctionWrapper
from multiloss.losses._reduction import Selection, select
from multiloss.losses._spec import LossSpec, spec_of
from multiloss.metrics._base import Metric
from multiloss.metrics._sums import COUNT, add, add_pairs, as_result, beside, run, sum_dtype, zeros
from multiloss.metrics._waiting import Queue, are_classes, are_not_negative, queue_like, side_by_side

__all__ = ["Mean", "MeanMetricWrapper", "Sum"]


Settled = tuple[LossSpec | None, list[TensorLike], Mapping[str, Any]]


class MeanState(NamedTuple):
    """A weighted sum and what it is divided by."""

    total: Tensor
    total_low: Tensor
    count: Tensor
    """How many values arrived without a weight."""
    weight: Tensor
    """The sum of the weights of the others."""
    weight_low: Tensor


class SumState(NamedTuple):
    """A weighted sum."""

    total: Tensor
    total_low: Tensor


def add_values(state: MeanState, values: Tensor, selection: Selection, wide: bool = False) -> MeanState:
    """Return `state` with the selected values added; `wide` adds them up in float64, as if they came one by one."""
    total, total_low, count, weight, weight_low = state
    dtype = K.dtype(total)
    weighted = values if selection.weights is None else values * selection.weights
    added = K.sum(K.cast(weighted, "float64")) if wide else K.cast(K.sum(weighted), dtype)
    total, total_low = add(total, total_low, added)
    weights = selection.weights if selection.divisor is None else selection.divisor
    if weights is not None:
        weight, weight_low = add(weight, weight_low, K.cast(K.sum(weights), dtype))
    elif selection.counted is not None:
        count = count + K.cast(K.sum(selection.counted), K.dtype(count))
    else:
        size = 1
        for each in values.shape:
            size *= each
        count = count + size
    return MeanState(total, total_low, count, weight, weight_low)


def _select_values(values: Tensor, sample_weight: Tensor, mask: Tensor, dtype: str) -> tuple[Tensor, Selection]:
    require_real(values)
    values = K.cast(values, dtype)
    selection = select(sample_weight, mask, tuple(values.shape), dtype)
    return values if selection.computed is None else K.where(selection.computed, values, 0.0), selection


# What backends run: pure, traced, and alive as long as the process.


def _add_to_mean(*tensors: Tensor, wide: bool = False) -> MeanState:
    *state, values, sample_weight, mask = tensors
    return add_values(MeanState(*state), *_select_values(values, sample_weight, mask, K.dtype(state[0])), wide)


def _add_to_sum(
    total: Tensor, low: Tensor, values: Tensor, sample_weight: Tensor, mask: Tensor, *, wide: bool = False
) -> SumState:
    values, selection = _select_values(values, sample_weight, mask, K.dtype(total))
    weighted = values if selection.weights is None else values * selection.weights
    return SumState(*add(total, low, K.sum(K.cast(weighted, "float64") if wide else weighted)))


def _add_samples(
    *tensors: Tensor,
    spec: LossSpec,
    checked: bool,
    dtype: DType | None,
    parameters: tuple[tuple[str, Any], ...],
    wide: bool = False,
) -> MeanState:
    state, batch, operands = tensors[:5], tensors[5:9], tensors[9:]
    given = spec.join(operands, dict(parameters))
    return add_values(MeanState(*state), *spec.selected(*batch, checked=checked, dtype=dtype, **given), wide)


def _add_selected(*tensors: Tensor) -> MeanState:
    state, (values, *selection) = tensors[: len(MeanState._fields)], tensors[len(MeanState._fields) :]
    return add_values(MeanState(*state), values, Selection(*selection))


def _merge_means(*tensors: Tensor) -> MeanState:
    a, b = MeanState(*tensors[:5]), MeanState(*tensors[5:])
    return MeanState(
        *add_pairs(a.total, a.total_low, b.total, b.total_low),
        a.count + b.count,
        *add_pairs(a.weight, a.weight_low, b.weight, b.weight_low),
    )


def _mean(*tensors: Tensor, dtype: DType | None) -> Tensor:
    state = MeanState(*tensors)
    total = state.total + state.total_low
    weight = K.cast(state.count, K.dtype(total)) + (state.weight + state.weight_low)
    return as_result(K.divide_no_nan(total, weight), dtype)


def _merge_sums(*tensors: Tensor) -> SumState:
    return SumState(*add_pairs(*tensors))


def _sum(total: Tensor, low: Tensor, *, dtype: DType | None) -> Tensor:
    return as_result(total + low, dtype)


class Average(Metric):
    """What all averages share: the state and how it is merged and computed."""

    def init(self, like: Tensor = None) -> MeanState:
        like = beside(like)
        own = sum_dtype(like, self.dtype)
        return MeanState(*[zeros(like, dtype) for dtype in (own, own, COUNT, own, own)])

    def merge(self, a: MeanState, b: MeanState, /) -> MeanState:
        merged: MeanState = run(_merge_means, *a, *b)
        return merged

    def compute(self, state: MeanState, /) -> Tensor:
        return run(_mean, *state, dtype=self.dtype)


class Mean(Average):
    """Weighted average of all values of all batches.

    Formula: `sum(weight * value) / sum(weight)`; without weights every value weighs 1. The average of nothing is 0.

    Shapes: values of any shape; weights and mask align with them on the leading axes.

    Args:
        name: shown in logs.
        dtype: of the result. Default: that of the first batch, at least float32.

    >>> mean = Mean()
    >>> for batch in ([1, 3, 5, 7], [1, 3, 5, 7], [1, 1, 1, 1], [2, 2]):
    ...     mean.update_state(batch)
    >>> round(float(mean.result()), 6)
    2.857143
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(dtype, name)

    def update(
        self, state: MeanState, /, values: TensorLike, sample_weight: TensorLike = None, mask: TensorLike = None
    ) -> MeanState:
        """Return the state after one more batch of values.

        Raises:
            ShapeError: if weights or mask do not align with the values.
        """
        require_given(values, "values")
        updated: MeanState = run(_add_to_mean, *state, values, sample_weight, mask)
        return updated

    def _queue_like(self, backend: Backend, batch: list[Tensor]) -> Queue | None:
        alone = type(self).update is Mean.update and len(batch) == 1 and batch[0].dtype in backend.full_precision
        return queue_like(backend, batch, stacked=True) if alone else None

    def _take_in(self, state: MeanState, backend: Backend, batch: list[Tensor]) -> MeanState:
        updated: MeanState = backend.run(_add_to_mean, *state, *batch, None, None, wide=True)
        return updated


class Sum(Metric):
    """Weighted sum of all values of all batches.

    Formula: `sum(weight * value)`; without weights every value weighs 1.

    Shapes: values of any shape; weights and mask align with them on the leading axes.

    Args:
        name: shown in logs.
        dtype: of the result. Default: that of the first batch, at least float32.

    >>> total = Sum()
    >>> total.update_state([1.0, 2.0], sample_weight=[1.0, 0.5])
    >>> float(total.result())
    2.0
    """

    def __init__(self, name: str | None = "sum", dtype: Any = None) -> None:
        super().__init__(dtype, name)

    def init(self, like: Tensor = None) -> SumState:
        like = beside(like)
        dtype = sum_dtype(like, self.dtype)
        return SumState(zeros(like, dtype), zeros(like, dtype))

    def update(
        self, state: SumState, /, values: TensorLike, sample_weight: TensorLike = None, mask: TensorLike = None
    ) -> SumState:
        """Return the state after one more batch of values.

        Raises:
            ShapeError: if weights or mask do not align with the values.
        """
        require_given(values, "values")
        updated: SumState = run(_add_to_sum, *state, values, sample_weight, mask)
        return updated

    def _queue_like(self, backend: Backend, batch: list[Tensor]) -> Queue | None:
        alone = type(self).update is Sum.update and len(batch) == 1 and batch[0].dtype in backend.full_precision
        return queue_like(backend, batch, stacked=True) if alone else None

    def _take_in(self, state: SumState, backend: Backend, batch: list[Tensor]) -> SumState:
        updated: SumState = backend.run(_add_to_sum, *state, *batch, None, None, wide=True)
        return updated

    def merge(self, a: SumState, b: SumState, /) -> SumState:
        merged: SumState = run(_merge_sums, *a, *b)
        return merged

    def compute(self, state: SumState, /) -> Tensor:
        return run(_sum, *state, dtype=self.dtype)


class MeanMetricWrapper(Average):
    """Weighted average of a function of targets and predictions, over all samples of all batches.

    Formula: `sum(weight * fn(y_true, y_pred)) / sum(weight)`; without weights every sample weighs 1. What a mask leaves
    out, and what `ignore_class` ignores, does not count, as in the loss.

    Args:
        fn: `fn(y_true, y_pred, **parameters)` over `multiloss.backend`, a loss or accuracy function, or an instance of
            a loss class, whose values per sample are averaged here whatever its reduction. If `fn` returns one number
            for the whole batch, it counts as often as the batch has rows.
        name: shown in logs. Default: the class name in snake_case.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.
        **parameters: passed to `fn`; they are attributes of the metric.

    Raises:
        ArgumentError: if `fn` is a class, or a loss instance that gets parameters of its own.

    >>> from multiloss.losses import huber
    >>> metric = MeanMetricWrapper(huber, name="huber", delta=2.0)
    >>> float(metric([[0.0], [0.0]], [[1.0], [4.0]]))
    3.25
    """

    _ready: Settled | None = None
    """What an update needs of the function and its parameters, until one of them changes."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **parameters: Any) -> None:
        super().__init__(dtype, name)
        if isinstance(fn, type) or not callable(fn):
            raise ArgumentError(f"Arrived: fn={fn!r}. Expected a function of (y_true, y_pred) or a loss instance.")
        if isinstance(fn, Loss) and parameters:
            raise ArgumentError(
                f"{sorted(parameters)} cannot act on {fn!r}, which has parameters of its own. Set them there."
            )
        self.fn: Any = fn
        self._parameters = tuple(parameters)
        for key, value in parameters.items():
            setattr(self, key, value)
        settled = self._settle()
        if not isinstance(fn, Loss):  # whose parameters may change at any time
            self._ready = settled

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters passed to `fn`, as they are now."""
        return {key: getattr(self, key) for key in self._parameters}

    def _facts(self) -> tuple[LossSpec | None, Mapping[str, Any]]:
        """Return the facts behind `fn`, if there are any, and all parameters by name."""
        fn: Any = self.fn
        parameters = self.parameters
        if isinstance(fn, LossFunctionWrapper):
            fn, parameters = fn.fn, fn.parameters
        spec = spec_of(fn)
        return spec, parameters if spec is None else spec.bind((), parameters)

    def _settled(self) -> Settled:
        """Return the facts behind `fn`, its parameters that are tensors, and the others that are not at their defaults."""
        return self._ready or self._settle()

    def _settle(self) -> Settled:
        spec, parameters = self._facts()  # raises for parameters that the function does not have
        return (spec, [], parameters) if spec is None else (spec, *spec.split(parameters))

    def __setattr__(self, key: str, value: Any) -> None:
        super().__setattr__(key, value)
        if self._ready is not None and (key == "fn" or key in self._parameters):
            super().__setattr__("_ready", None)

    def update(
        self,
        state: MeanState,
        /,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
    ) -> MeanState:
        """Return the state after one more batch.

        Args:
            state: of the batches before.
            y_true: targets.
            y_pred: predictions.
            sample_weight: how much each sample counts, aligned on the leading axes.
            mask: True (or non-zero) where a sample counts at all.

        Raises:
            ShapeError: if targets, predictions, weights or mask do not align.
            LabelError: for a class index out of range, where values can be looked at; elsewhere the result is nan.
            MixedBackendsError: for tensors of two frameworks.
        """
        spec, operands, static = self._settled()
        backend, tensors = arrive_batch(state, y_true, y_pred, sample_weight, mask, *operands)
        batch, operands = tensors[len(state) : len(state) + 4], tensors[len(state) + 4 :]
        dtype = self.dtype if self.dtype is not None else getattr(self.fn, "dtype", None)
        if spec is None:
            loss = self.fn if isinstance(self.fn, Loss) else LossFunctionWrapper(self.fn, dtype=dtype, **static)
            values, selection = loss._selected(backend, *batch)
            if not values.ndim:
                values, selection = _for_each_row(batch[1], values, selection)
            updated: MeanState = backend.run(_add_selected, *tensors[: len(state)], values, *selection)
        else:
            batch[1] = spec.settle_integers(backend, batch[1], dtype, static)
            updated = backend.run(
                _add_samples,
                *tensors[: len(state)],
                *batch,
                *operands,
                spec=spec,
                checked=spec.labels_checked(backend, batch[0], batch[1], batch[2], batch[3], static),
                dtype=dtype,
                parameters=tuple(static.items()),
            )
        return updated

    def _queue_like(self, backend: Backend, batch: list[Tensor]) -> Queue | None:
        spec = spec_of(self.fn)
        if spec is None or len(batch) != 2 or type(self).update is not MeanMetricWrapper.update:
            return None
        _, operands, static = self._settled()
        y_true, y_pred = batch
        if (
            operands
            or not spec.samplewise
            or spec.event not in ("mean", "joint", "element")
            or static.get("axis", -1) != -1
            or y_pred.dtype not in backend.full_precision
            or not side_by_side(y_true, y_pred, 2 if spec.event == "joint" else 1)
        ):
            return None
        if spec.target == "sign":
            return queue_like(backend, batch, are_not_negative)
        return queue_like(backend, batch, are_classes if spec.has_classes(static) else None)

    def _take_in(self, state: MeanState, backend: Backend, batch: list[Tensor]) -> MeanState:
        spec, _, static = self._settled()
        updated: MeanState = backend.run(
            _add_samples,
            *state,
            *batch,
            None,
            None,
            spec=spec,
            checked=True,
            dtype=self.dtype,
            parameters=tuple(static.items()),
            wide=True,
        )
        return updated

    def get_config(self) -> dict[str, Any]:
        spec = spec_of(self.fn)
        config = super().get_config() | (self.parameters if spec is None else spec.config(self.parameters))
        return config if type(self) is not MeanMetricWrapper else {"fn": self.fn} | config


def _for_each_row(y_pred: Tensor, value: Tensor, selection: Selection) -> tuple[Tensor, Selection]:
    """Return the one value of a batch, and its weight, once for each row of the batch."""
    rows = (y_pred.shape[0] if y_pred.ndim else 1,)
    value, *selected = [
        None if each is None else K.broadcast_to(K.reshape(each, (1,)), rows) for each in (value, *selection)
    ]
    return value, Selection(*selected)
