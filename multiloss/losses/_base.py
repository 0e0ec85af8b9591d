"""The `@loss` boundary around a formula, and the classes derived from it.

A formula is a plain function of `(y_true, y_pred, **parameters)` over K that returns one value per sample. `@loss`
records the facts that everything else is derived from and wraps the formula in the boundary: find the backend, convert
host data, align shapes, settle dtypes, check labels. The class of a loss is a shell around the same facts that adds
weights, masks and a reduction.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from multiloss._boundary import (
    align,
    align_labels,
    align_weights,
    arrive,
    as_floats,
    as_labels,
    check_labels,
    match_ranks,
    normalize_axis,
    settled,
)
from multiloss._errors import ArgumentError, NotSupportedError
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import Backend
from multiloss.losses._reduction import (
    Selection,
    keep,
    partial,
    reduce,
    reject_batchwise_weights,
    select,
    standardize_reduction,
)

Target = Literal["real", "positive", "sign", "probability", "one-hot", "class index"]
Prediction = Literal["real", "positive", "margin", "probability or logit", "distribution or logits", "label"]
Event = Literal["mean", "joint", "element"]
F = TypeVar("F", bound=Callable[..., Any])

_NAN = float("nan")


# ── Facts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_DOMAINS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "axis": (lambda value: isinstance(value, int) and not isinstance(value, bool), "an integer"),
    "from_logits": (lambda value: isinstance(value, bool), "True or False"),
    "apply_class_balancing": (lambda value: isinstance(value, bool), "True or False"),
    "label_smoothing": (lambda value: _is_number(value) and 0 <= value <= 1, "a number in [0, 1]"),
    "delta": (lambda value: _is_number(value) and value > 0, "a positive number"),
    "gamma": (lambda value: _is_number(value) and value >= 0, "a number of at least 0"),
    "ignore_class": (lambda value: value is None or (_is_number(value) and value == int(value)), "an integer or None"),
}
"""What the parameters of that name may be, in every loss. Tensors are let through: their values are not looked at."""


class LossSpec:
    """A loss: its formula and the facts declared beside it.

    Attributes:
        name: the formula's name.
        formula: a plain function of `(y_true, y_pred, **parameters)` over K; one value per sample.
        target: what `y_true` is.
        prediction: what `y_pred` is.
        event: whether the last axis is averaged (each element could be a sample), is one event (a distribution), or
            stays (each element has a value of its own).
        defaults: the parameters and their defaults, in order.
        samples: what the function form runs.
        reduced: what the class form runs.
        selected: what a metric runs: values per sample, and which of them count.
        settled: what the class form runs on tensors that need nothing done to them.

    The last four are pure and traced, and live as long as the process, so that backends may keep what they compile.
    """

    def __init__(self, formula: Callable[..., Tensor], target: Target, prediction: Prediction, event: Event) -> None:
        code = formula.__code__
        self.name: str = formula.__name__
        self.formula = formula
        self.target = target
        self.prediction = prediction
        self.event = event
        self.defaults: Mapping[str, Any] = dict(
            zip(code.co_varnames[2 : code.co_argcount], formula.__defaults__ or (), strict=True)
        )
        self.samples: Callable[..., Tensor] = functools.partial(_samples, self)
        self.reduced: Callable[..., Any] = functools.partial(_reduced, self)
        self.selected: Callable[..., tuple[Tensor, Selection]] = functools.partial(_selected, self)
        self.settled: Callable[..., Any] = functools.partial(_settled, formula)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return all parameters by name.

        Raises:
            TypeError: for a parameter that the loss does not have.
            ArgumentError: for one outside its domain.
        """
        if not args and not kwargs:
            return self.defaults
        given = {**dict(zip(self.defaults, args, strict=False)), **kwargs}
        if (
            len(args) > len(self.defaults)
            or len(given) < len(args) + len(kwargs)
            or not given.keys() <= self.defaults.keys()
        ):
            import inspect  # only for messages

            inspect.signature(self.formula).bind(None, None, *args, **kwargs)  # raises what Python would
        for name, value in given.items():
            if name in _DOMAINS and not hasattr(value, "dtype") and not _DOMAINS[name][0](value):
                raise ArgumentError(f"{self.name}: {name}={value!r} is not allowed. Expected {_DOMAINS[name][1]}.")
            if isinstance(value, list):
                given[name] = tuple(value)
        return {**self.defaults, **given}

    def has_classes(self, parameters: Mapping[str, Any]) -> bool:
        """Whether `y_true` holds indices into the class axis of `y_pred`, which are in range or not."""
        return self.target == "class index" and not self.predicts_labels(parameters)

    def predicts_labels(self, parameters: Mapping[str, Any]) -> bool:
        """Whether `y_pred` holds labels, which are compared as they are, and not scores."""
        return self.prediction == "label" or bool(parameters.get("from_sorted_ids", False))

    def labels_checked(
        self,
        backend: Backend,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor,
        mask: Tensor,
        parameters: Mapping[str, Any],
    ) -> bool:
        """Check class indices if their values are at hand, and tell whether they were.

        Raises:
            LabelError: for the first one out of range that counts.
        """
        if not self.has_classes(parameters):
            return True
        given = [each for each in (y_true, sample_weight, mask) if each is not None]
        if not all(backend.has_values(each) for each in given):
            return False
        axis = parameters.get("axis", -1)
        shape = tuple(y_pred.shape)
        at = normalize_axis(axis, len(shape))
        labels = align_labels(backend.to_numpy(y_true), shape, axis)
        samples = shape[:at] + shape[at + 1 :]
        selected = None
        for what, each in (("sample_weight", sample_weight), ("mask", mask)):
            if each is not None:
                counts = K.broadcast_to(align_weights(backend.to_numpy(each), samples, what) != 0, samples)
                selected = counts if selected is None else selected & counts
        check_labels(labels, shape[at], ignore_class=parameters.get("ignore_class"), selected=selected)
        return True


def spec_of(fn: object) -> LossSpec | None:
    """Return the facts behind a public loss function, or None for any other object."""
    return getattr(fn, "__multiloss__", None)


def _prepare(
    spec: LossSpec, y_true: Tensor, y_pred: Tensor, dtype: DType | None, parameters: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    if spec.target == "class index":
        y_true = as_labels(y_true)
        return y_true, as_labels(y_pred) if spec.predicts_labels(parameters) else as_floats(y_pred, dtype)
    if spec.predicts_labels(parameters):
        return align(y_true, y_pred)
    y_true, y_pred = align(y_true, as_floats(y_pred, dtype))
    normalize_axis(parameters.get("axis", -1), y_pred.ndim)  # raises if there is no such axis
    return y_true if y_true.dtype == y_pred.dtype else K.cast(y_true, K.dtype(y_pred)), y_pred


def _evaluate(
    spec: LossSpec, y_true: Tensor, y_pred: Tensor, selection: Selection, checked: bool, parameters: Mapping[str, Any]
) -> Tensor:
    """Return the formula's values with unselected entries left out and bad labels turned into nan."""
    axis = parameters.get("axis", -1)
    computed, in_range = selection.computed, None
    if not checked and spec.has_classes(parameters):
        in_range = (y_true >= 0) & (y_true < y_pred.shape[axis])
        y_true = K.where(in_range, y_true, 0)
    if computed is not None:
        labels = spec.predicts_labels(parameters)
        y_true = keep(computed, y_true, 0 if labels or spec.target == "class index" else 1.0, axis)
        y_pred = keep(computed, y_pred, 0 if labels else 1.0, axis)
    values = spec.formula(y_true, y_pred, **parameters)
    if in_range is not None:
        values = values * K.where(in_range, K.ones_like(values), _NAN)
    return values if computed is None else K.where(computed, values, 0.0)


def _samples(spec: LossSpec, y_true: Tensor, y_pred: Tensor, *, checked: bool, **parameters: Any) -> Tensor:
    """Return one value per sample: what the function form of a loss returns."""
    y_true, y_pred = _prepare(spec, y_true, y_pred, None, parameters)
    selection = _NO_SELECTION
    if spec.target == "class index":
        y_true = align_labels(y_true, y_pred.shape, parameters.get("axis", -1))
        ignored = parameters.get("ignore_class")
        if ignored is not None:
            kept = y_true != ignored
            selection = Selection(None, kept, kept)
    return _evaluate(spec, y_true, y_pred, selection, checked, parameters)


_NO_SELECTION = Selection()


def _selected(
    spec: LossSpec,
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    *,
    checked: bool,
    dtype: DType | None,
    **parameters: Any,
) -> tuple[Tensor, Selection]:
    """Return one value per sample, 0 where it does not count, and what counts: what loss and metric then add up."""
    y_true, y_pred = _prepare(spec, y_true, y_pred, dtype, parameters)
    axis = parameters.get("axis", -1)
    kept = None
    if spec.target == "class index":
        y_true = align_labels(y_true, y_pred.shape, axis)
        ignored = parameters.get("ignore_class")
        kept = None if ignored is None else y_true != ignored
    weighted = sample_weight is not None or mask is not None
    if (
        weighted
        and y_pred.ndim == 1
        and spec.event == "mean"
        and any(each is not None and each.ndim for each in (sample_weight, mask))
    ):
        # (N,) targets and predictions are N samples of one value as soon as each has a weight of its own.
        y_true, y_pred = K.expand_dims(y_true, -1), K.expand_dims(y_pred, -1)
    if not weighted and kept is None:
        selection = _NO_SELECTION
    else:
        shape = tuple(y_pred.shape)
        if spec.event != "element":
            at = normalize_axis(axis, len(shape))
            shape = shape[:at] + shape[at + 1 :]
        weight_dtype = K.dtype(y_pred) if K.is_floating(y_pred) else "float32"
        selection = select(sample_weight, mask, shape, weight_dtype, kept)
    return _evaluate(spec, y_true, y_pred, selection, checked, parameters), selection


def _reduced(
    spec: LossSpec,
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    *,
    checked: bool,
    reduction: str,
    dtype: DType | None,
    parts: bool,
    **parameters: Any,
) -> Any:
    """Return the reduced value, or with `parts` its numerator and denominator: what the class form returns."""
    values, selection = _selected(spec, y_true, y_pred, sample_weight, mask, checked=checked, dtype=dtype, **parameters)
    if parts:
        return partial(values, selection, reduction)
    result = reduce(values, selection, reduction)
    return result if dtype is None else K.cast(result, dtype)


def _settled(
    formula: Callable[..., Tensor], y_true: Tensor, y_pred: Tensor, *, reduction: str, parts: bool, **parameters: Any
) -> Any:
    """Do what `_reduced` does, for tensors that need nothing done to them and all count alike."""
    values = formula(y_true, y_pred, **parameters)
    return partial(values, _NO_SELECTION, reduction) if parts else reduce(values, _NO_SELECTION, reduction)


def loss(*, y_true: Target, y_pred: Prediction, event: Event = "mean") -> Callable[[F], F]:
    """Make a formula over K a public loss.

    Args:
        y_true: what the targets are.
        y_pred: what the predictions are.
        event: `"mean"` if the formula averages over the last axis, so that each element could be a sample of its own;
            `"joint"` if the axis belongs together, as a distribution or a vector does; `"element"` if it stays.
    """

    def decorate(formula: F) -> F:
        spec = LossSpec(formula, y_true, y_pred, event)
        by_class_index = y_true == "class index"

        @functools.wraps(formula)
        def public(y_true: TensorLike, y_pred: TensorLike, *args: Any, **kwargs: Any) -> Tensor:
            bound = spec.bind(args, kwargs)
            owner = None if by_class_index or bound.get("axis", -1) != -1 else settled(y_true, y_pred)
            if owner is not None:
                return owner.run(formula, y_true, y_pred, **bound)
            backend, (y_true, y_pred) = arrive(y_true, y_pred)
            checked = spec.labels_checked(backend, y_true, y_pred, None, None, bound)
            return backend.run(spec.samples, y_true, y_pred, checked=checked, **bound)

        public.__multiloss__ = spec  # type: ignore[attr-defined]
        return public  # type: ignore[return-value]

    return decorate


# ── Classes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def snake_case(name: str) -> str:
    """Return `MeanSquaredError` as `mean_squared_error`."""
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z]|$)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", spaced).lower().strip("_")


def dtype_name(dtype: Any) -> DType | None:
    """Return the name of a dtype given as a string, a framework's dtype, or a Keras dtype policy."""
    if dtype is None or isinstance(dtype, str):
        return dtype
    name = getattr(dtype, "compute_dtype", None) or getattr(dtype, "name", None)
    return str(name or getattr(dtype, "__name__", None) or dtype).removeprefix("torch.")


class Loss:
    """Base of all loss classes: one value per sample from `call`, then weights, mask and reduction.

    To write one, override `call(y_true, y_pred)` and compute with `multiloss.backend`; it then runs on every backend.
    A subclass need not call `super().__init__()`.

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

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        self.name = name if name is not None else snake_case(type(self).__name__)
        self.reduction = standardize_reduction(reduction)
        self.dtype = dtype_name(dtype)

    def __call__(
        self, y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike = None, mask: TensorLike = None
    ) -> Tensor:
        """Return the reduced loss.

        Args:
            y_true: targets.
            y_pred: predictions.
            sample_weight: how much each sample counts, aligned on the leading axes: (N,) or (N, T) for losses (N, T).
            mask: True (or non-zero) where a sample counts at all. What is masked, or has weight 0, reaches neither the
                value nor the gradient, whatever it contains.

        Raises:
            ShapeError: if targets, predictions, weights or mask do not align.
            LabelError: for a class index out of range, where values can be looked at; elsewhere that row is nan.
            MixedBackendsError: for tensors of two frameworks.
        """
        return self._run(y_true, y_pred, sample_weight, mask, parts=False)

    def partial(
        self, y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike = None, mask: TensorLike = None
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
        if self.reduction == "none":
            raise ArgumentError("partial() adds values up, and reduction='none' does not. Choose another reduction.")
        total, weight = self._run(y_true, y_pred, sample_weight, mask, parts=True)
        return total, weight

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return one value per sample."""
        raise NotSupportedError(
            f"{type(self).__name__} has no call(y_true, y_pred). Define it, and return one value per sample."
        )

    def _run(
        self, y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike, mask: TensorLike, *, parts: bool
    ) -> Any:
        """Evaluate and reduce a custom `call`."""
        backend, (y_true, y_pred, sample_weight, mask) = arrive(y_true, y_pred, sample_weight, mask)
        values, selection = self._selected(backend, y_true, y_pred, sample_weight, mask)
        if parts:
            return partial(values, selection, self.reduction)
        result = reduce(values, selection, self.reduction)
        return result if self.dtype is None else backend.cast(result, self.dtype)

    def _selected(
        self, backend: Backend, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor, mask: Tensor
    ) -> tuple[Tensor, Selection]:
        """Return what `call` returns, 0 where it does not count, and what counts.

        The facts of a custom `call` are unknown: only ranks are matched, as Keras does.
        """
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
        values = self.call(y_true, y_pred)
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
        computed = computed & (align_weights(each, y_pred.shape) != 0)
    rank = min(max(each.ndim for each in given), y_pred.ndim)
    return K.reshape(computed, tuple(computed.shape[:rank]))


class LossFunctionWrapper(Loss):
    """A loss class around a function `fn(y_true, y_pred, **parameters)` that returns one value per sample.

    Args:
        fn: a public loss function, or any function over `multiloss.backend`.
        reduction, name, dtype: as in `Loss`. Default name: the function's.
        **parameters: passed to `fn`; they are attributes of the loss and may be changed.

    >>> import multiloss.losses
    >>> float(LossFunctionWrapper(multiloss.losses.mean_squared_error)([[0.0]], [[3.0]]))
    9.0
    """

    def __init__(
        self,
        fn: Callable[..., Tensor],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **parameters: Any,
    ) -> None:
        super().__init__(name if name is not None else getattr(fn, "__name__", None), reduction, dtype)
        self.fn = fn
        for key, value in parameters.items():
            object.__setattr__(self, key, value)
        self._bind(tuple(parameters))

    def _bind(self, names: tuple[str, ...]) -> None:
        """Check the parameters and keep them by name, ready for the next call."""
        given = {key: getattr(self, key) for key in names}
        spec = spec_of(self.fn)
        object.__setattr__(self, "_spec", spec)
        object.__setattr__(self, "parameters", given)
        object.__setattr__(self, "_bound", given if spec is None else spec.bind((), given))

    def __setattr__(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, value)
        if key in self.__dict__.get("parameters", ()):
            self._bind(tuple(self.parameters))

    parameters: Mapping[str, Any]
    """The parameters passed to `fn`, as they are now."""
    _spec: LossSpec | None
    _bound: Mapping[str, Any]

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.fn(y_true, y_pred, **self._bound)

    def _run(
        self, y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike, mask: TensorLike, *, parts: bool
    ) -> Any:
        spec, bound = self._spec, self._bound
        if spec is None:
            return super()._run(y_true, y_pred, sample_weight, mask, parts=parts)
        if sample_weight is None and mask is None and self.dtype is None and spec.target != "class index":
            owner = settled(y_true, y_pred) if bound.get("axis", -1) == -1 else None
            if owner is not None:
                return owner.run(spec.settled, y_true, y_pred, reduction=self.reduction, parts=parts, **bound)
        backend, (y_true, y_pred, sample_weight, mask) = arrive(y_true, y_pred, sample_weight, mask)
        checked = spec.labels_checked(backend, y_true, y_pred, sample_weight, mask, bound)
        return backend.run(
            spec.reduced,
            y_true,
            y_pred,
            sample_weight,
            mask,
            checked=checked,
            reduction=self.reduction,
            dtype=self.dtype,
            parts=parts,
            **bound,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | dict(self.parameters)
        return config if type(self) is not LossFunctionWrapper else {"fn": self.fn} | config
