"""`Loss` and `LossFunctionWrapper`: one value per sample, then weights, mask and reduction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial as partial_of
from typing import Any, Self

from multiloss._boundary import (
    align_weights,
    arrive,
    as_floats,
    checked_crossentropy,
    match_ranks,
)
from multiloss._errors import ArgumentError, NotSupportedError
from multiloss._names import dtype_name, snake_case
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses._arithmetic import Arithmetic
from multiloss.losses._inputs import NO_INPUTS, Inputs, of_function, of_method
from multiloss.losses._parameters import reject_pos_weight
from multiloss.losses._reduction import (
    Selection,
    keep,
    partial,
    reduce,
    reject_batchwise_weights,
    select,
    standardize_reduction,
)
from multiloss.losses._spec import LossSpec, spec_of


class Loss(Arithmetic):
    """Base of all loss classes: one value per sample from `call`, then weights, mask and reduction.

    To write one, override `call(y_true, y_pred)` and compute with `multiloss.backend`; it then runs on every backend.
    A subclass need not call `super().__init__()`. Further parameters of `call`, such as `*, teacher`, are named inputs:
    tensors with a row per sample that every call takes by keyword.

    Losses add up: `0.5 * dice + focal` is a `Sum`.

    Args:
        name: shown in logs. Default: the class name in snake_case.
        reduction: `"sum_over_batch_size"` (= `"mean"`), `"sum"`, `"mean_with_sample_weight"` or `"none"`; see
            `multiloss.losses` for the denominators.
        dtype: of the result. Default: that of `y_pred`, at least float32.

    Raises:
        UnknownNameError: for an unknown reduction.

    >>> from multiloss import backend as K
    >>> class FourthPower(Loss):
    ...     def call(self, y_true, y_pred):
    ...         return K.mean(K.square(K.square(y_pred - y_true)), axis=-1)
    >>> float(FourthPower()([[0.0, 0.0]], [[1.0, 2.0]]))
    8.5
    """

    name: str | None = None
    reduction: str = "sum_over_batch_size"
    dtype: DType | None = None
    _inputs: Inputs = NO_INPUTS

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "call" in cls.__dict__:
            cls._inputs = of_method(cls.call)

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        self.name = name if name is not None else snake_case(type(self).__name__)
        self.reduction = standardize_reduction(reduction)
        self.dtype = dtype_name(dtype)

    @property
    def named_inputs(self) -> tuple[str, ...]:
        """The names of the tensors that a call takes by keyword, beside targets and predictions."""
        return self._inputs.names

    def __call__(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
        **inputs: TensorLike,
    ) -> Tensor:
        """Return the reduced loss.

        Args:
            y_true: targets.
            y_pred: predictions.
            sample_weight: how much each sample counts, aligned on the leading axes: (N,) or (N, T) for losses (N, T).
            mask: True (or non-zero) where a sample counts at all. What is masked, or has weight 0, reaches neither the
                value nor the gradient, whatever it contains.
            **inputs: the loss's `named_inputs`.

        Raises:
            ShapeError: if targets, predictions, weights or mask do not align.
            LabelError: for a class index out of range, where values can be looked at; elsewhere that row is nan.
            NamedInputError: for an input that the loss does not take, or one that is missing.
            MixedBackendsError: for tensors of two frameworks.
        """
        return self._run(y_true, y_pred, sample_weight, mask, parts=False, **inputs)

    def partial(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
        **inputs: TensorLike,
    ) -> tuple[Tensor, Tensor]:
        """Return `(total, weight)` of a part of a batch: the loss of the whole is the sum of totals / the sum of weights.

        For gradient accumulation and data-parallel training, where the mean of the parts' means is not the mean of the
        whole. With reduction `"sum"` the loss of the whole is the sum of the totals alone.

        Raises:
            ArgumentError: with reduction `"none"`, which adds nothing up.

        >>> from multiloss.losses import MeanSquaredError
        >>> mse = MeanSquaredError()
        >>> first, second = mse.partial([[1.0], [2.0]], [[0.0], [0.0]]), mse.partial([[3.0]], [[0.0]])
        >>> float((first[0] + second[0]) / (first[1] + second[1])) == float(mse([[1.0], [2.0], [3.0]], [[0.0], [0.0], [0.0]]))
        True
        """
        self._require_sum()
        total, weight = self._run(y_true, y_pred, sample_weight, mask, parts=True, **inputs)
        return total, weight

    def _require_sum(self) -> None:
        if self.reduction == "none":
            raise ArgumentError("partial() adds values up, and reduction='none' does not. Choose another reduction.")

    def call(self, y_true: Tensor, y_pred: Tensor, *args: Any, **inputs: Any) -> Tensor:
        """Return one value per sample."""
        raise NotSupportedError(
            f"{type(self).__name__} has no call(y_true, y_pred). Define it, and return one value per sample."
        )

    def _run(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike,
        mask: TensorLike,
        *,
        parts: bool,
        **inputs: TensorLike,
    ) -> Any:
        """Evaluate and reduce a custom `call`."""
        backend, (y_true, y_pred, sample_weight, mask, *given) = arrive(
            y_true, y_pred, sample_weight, mask, *inputs.values()
        )
        inputs = dict(zip(inputs, given, strict=True))
        values, selection = self._selected(backend, y_true, y_pred, sample_weight, mask, **inputs)
        if parts:
            return partial(values, selection, self.reduction)
        result = reduce(values, selection, self.reduction)
        return result if self.dtype is None else backend.cast(result, self.dtype)

    def _selected(
        self,
        backend: Backend,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor,
        mask: Tensor,
        **inputs: Tensor,
    ) -> tuple[Tensor, Selection]:
        """Return what `call` returns, 0 where it does not count, and what counts.

        The facts of a custom `call` are unknown: only ranks are matched, as Keras does.
        """
        self._inputs.check(type(self).__name__, inputs)
        computed = None
        y_pred = as_floats(y_pred, self.dtype)
        y_true, y_pred = match_ranks(y_true, y_pred)
        if tuple(y_true.shape) == tuple(y_pred.shape) or backend.is_floating(y_true):
            # Integers of another shape are class indices, and stay integers.
            y_true = backend.cast(y_true, backend.dtype(y_pred))
        if sample_weight is not None or mask is not None:
            # Per-sample values are not known before the formula has run, but samples are on the leading axes.
            computed = _rows(sample_weight, mask, y_pred)
            y_pred = keep(computed, y_pred, 1.0)
            if y_true.ndim >= computed.ndim:
                y_true = keep(computed, y_true, 1.0 if backend.is_floating(y_true) else 0)
        values = self.call(y_true, y_pred, **self._inputs.settle(inputs, y_pred, computed))
        if not values.ndim:
            reject_batchwise_weights(sample_weight, mask, type(self).__name__)
        selection = select(sample_weight, mask, tuple(values.shape), backend.dtype(values))
        if selection.computed is not None:
            values = K.where(selection.computed, values, 0.0)
        return values, selection

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make an equal loss, as JSON-able values."""
        config: dict[str, Any] = {"name": self.name or snake_case(type(self).__name__), "reduction": self.reduction}
        return config if self.dtype is None else config | {"dtype": self.dtype}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Loss:
        """Return the loss that `get_config` described, in Keras 2's or Keras 3's spelling."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.get_config().items())})"


def _rows(sample_weight: Tensor, mask: Tensor, y_pred: Tensor) -> Tensor:
    """Return where samples are computed, as a boolean tensor over the leading axes of `y_pred`."""
    given = [each for each in (sample_weight, mask) if each is not None]
    computed = K.ones_like(align_weights(given[0], y_pred.shape), "bool")
    for each in given:
        aligned = align_weights(each, y_pred.shape)
        computed = computed & (aligned if K.dtype(aligned) == "bool" else aligned != 0)
    rank = min(max(each.ndim for each in given), y_pred.ndim)
    return K.reshape(computed, tuple(computed.shape[:rank]))


def _operands(spec: LossSpec) -> Inputs:
    optional = tuple(name for name in spec.operands if name != "mask" and name not in spec.required)
    return Inputs(spec.required, optional)


class LossFunctionWrapper(Loss):
    """A loss class around a function `fn(y_true, y_pred, **parameters)` that returns one value per sample.

    Parameters of `fn` that have no value yet, neither a default nor one given here, are named inputs: tensors with a row per
    sample that every call takes by keyword.

    A subclass may override `call`, and find what it is given by this one in `super().call(y_true, y_pred)`.

    Args:
        fn: a public loss function, or any function over `multiloss.backend`.
        reduction, name, dtype: as in `Loss`. Default name: the function's.
        **parameters: passed to `fn`; they are attributes of the loss and may be changed.

    >>> import multiloss.losses
    >>> float(LossFunctionWrapper(multiloss.losses.mean_squared_error)([[0.0]], [[3.0]]))
    9.0
    """

    def __new__(cls, *_args: Any, **arguments: Any) -> Self:
        if "pos_weight" in arguments:
            import inspect  # only for messages

            reject_pos_weight(cls.__name__, arguments, inspect.signature(cls.__init__).parameters)
        return super().__new__(cls)

    def __init__(
        self,
        fn: Callable[..., Tensor],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **parameters: Any,
    ) -> None:
        super().__init__(name if name is not None else getattr(fn, "__name__", None), reduction, dtype)
        # What is known of a function does not hold for what a subclass makes of it.
        self.fn = partial_of(fn) if self._has_its_own_call() else fn
        for key, value in parameters.items():
            object.__setattr__(self, key, value)
        self._bind(tuple(parameters))

    def _bind(self, names: tuple[str, ...]) -> None:
        """Check the parameters and keep them by name, ready for the next call."""
        given = {key: getattr(self, key) for key in names}
        spec = spec_of(self.fn)
        object.__setattr__(self, "_spec", spec)
        object.__setattr__(self, "parameters", given)
        if not self._has_its_own_call():
            object.__setattr__(self, "_inputs", of_function(self.fn, given) if spec is None else _operands(spec))
        if spec is not None:
            operands, static = spec.split(spec.bind((), given))
            ready = (operands, static, spec.direct(operands, static), spec.checked_options(operands, static))
            object.__setattr__(self, "_ready", ready)

    @classmethod
    def _has_its_own_call(cls) -> bool:
        return cls.call is not LossFunctionWrapper.call

    def __setattr__(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, standardize_reduction(value) if key == "reduction" else value)
        if key in self.__dict__.get("parameters", ()):
            self._bind(tuple(self.parameters))

    parameters: Mapping[str, Any]
    """The parameters passed to `fn`, as they are now."""
    _spec: LossSpec | None
    _ready: tuple[list[TensorLike], Mapping[str, Any], bool, Mapping[str, Any] | None]
    """The parameters as a call needs them: tensors, others, whether settled tensors may go straight to the formula, and the
    options of an even shorter way, if there may be one."""

    def call(self, y_true: Tensor, y_pred: Tensor, *args: Any, **inputs: Any) -> Tensor:
        return self.fn(y_true, y_pred, **self.parameters, **inputs)

    def partial(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
        **operands: TensorLike,
    ) -> tuple[Tensor, Tensor]:
        """Return `(total, weight)` of a part of a batch; see `Loss`.

        Raises:
            ArgumentError: with reduction `"none"`, or if the samples of a batch are compared with each other.
        """
        if self._spec is not None and not self._spec.samplewise:
            raise ArgumentError(
                f"{self._spec.name} compares the samples of a batch with each other, so the parts of a batch do not add up "
                "to the whole. Compute it on the whole batch."
            )
        return super().partial(y_true, y_pred, sample_weight, mask, **operands)

    def _run(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike,
        mask: TensorLike,
        *,
        parts: bool,
        **operands: TensorLike,
    ) -> Any:
        spec = self._spec
        if spec is None:
            return super()._run(y_true, y_pred, sample_weight, mask, parts=parts, **operands)
        if operands or spec.required:
            self._inputs.check(type(self).__name__, operands)
        tensors, static, direct, options = self._ready
        if options is not None and self.dtype is None and not parts:
            value = checked_crossentropy(y_true, y_pred, self.reduction, sample_weight, mask, options)
            if value is not None:
                return value
        if direct and sample_weight is None and mask is None and self.dtype is None and not operands:
            owner = spec.settle(y_true, y_pred)
            if owner is not None:  # tensors that need nothing done to them: most calls go no further
                by_rows = spec.by_rows and owner.takes_rows(y_pred)
                return owner.run(
                    spec.settled, y_true, y_pred, reduction=self.reduction, parts=parts, by_rows=by_rows, **static
                )
        if operands:
            tensors, static = spec.split({**spec.join(tensors, static), **operands})
        backend, (y_true, y_pred, sample_weight, mask, *tensors) = arrive(y_true, y_pred, sample_weight, mask, *tensors)
        y_pred = spec.settle_integers(backend, y_pred, self.dtype, static)
        checked = spec.labels_checked(backend, y_true, y_pred, sample_weight, mask, spec.join(tensors, static))
        return backend.run(
            spec.reduced,
            y_true,
            y_pred,
            sample_weight,
            mask,
            *tensors,
            checked=checked,
            reduction=self.reduction,
            dtype=self.dtype,
            parts=parts,
            **static,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        spec = spec_of(self.fn.func if isinstance(self.fn, partial_of) else self.fn)
        config |= self.parameters if spec is None else spec.config(self.parameters)
        return config if type(self) is not LossFunctionWrapper else {"fn": self.fn} | config
