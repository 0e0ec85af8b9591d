"""`@loss`: the facts about a loss, and the boundary around its formula.

A formula is a plain function of `(y_true, y_pred, **parameters)` over K that returns one value per sample. `@loss`
records the facts that everything else is derived from and wraps the formula in the boundary: find the backend, convert
host data, align shapes, settle dtypes, check labels.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from multiloss._boundary import (
    arrive,
    as_floats,
    checked_crossentropy,
    require_given,
    require_real,
    settled,
    settled_classes,
)
from multiloss._errors import ArgumentError
from multiloss._registry import owner_of
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.interface import HALVES, Backend
from multiloss.losses._classes import standardize
from multiloss.losses._evaluation import (
    check_classes,
    operate,
    prepare,
    prepare_half,
    reduced,
    samples,
    select_rows,
    selected,
    settled_values,
    wide_dtype,
)
from multiloss.losses._parameters import ANYTHING, DOMAINS, WEIGHTS, Domain, plain, reject_pos_weight
from multiloss.losses._reduction import (
    Selection,
    partial,
)
from multiloss.losses._weighed import Weighed

Target = Literal["real", "positive", "sign", "probability", "one-hot", "class index", "class index sequence", "id"]
Prediction = Literal[
    "real",
    "positive",
    "margin",
    "probability",
    "probability or logit",
    "distribution",
    "distribution or logits",
    "label",
    "logits",
    "embedding",
]
Event = Literal["mean", "joint", "element", "ratio", "row"]
F = TypeVar("F", bound=Callable[..., Any])

_AT_THE_BOUNDARY = frozenset(("axis", "class_weight", "ignore_class", "from_sorted_ids"))
"""The parameters that act before or after the formula, too."""


# ── Facts ───────────────────────────────────────────────────────────────────────────────────────────────────────


class LossSpec:
    """A loss: its formula and the facts declared beside it.

    Attributes:
        name: the formula's name.
        formula: a plain function of `(y_true, y_pred, **parameters)` over K; one value per sample.
        target: what `y_true` is.
        prediction: what `y_pred` is.
        event: whether the last axis is averaged (each element could be a sample), is one event (a distribution),
            stays (each element has a value of its own), enters a ratio of sums (see `_ratio`), or is with all axes but
            the first one row (see `_rows`).
        defaults: the parameters and their defaults, in order, without the operands.
        operands: the parameters that are tensors (annotated `TensorLike`): they belong to one call, not to the loss.
        required: the operands that every call needs.
        per_class: the parameters that are numbers or a tensor of them (annotated `PerClass`); tensors among them are
            handed over with the operands, numbers with the other parameters.
        extras: the keyword-only parameters, which Keras has not.
        curved: whether the second derivative for `y_pred` is more than 0 and kinks.
        samplewise: whether each value depends on its own sample alone. A formula whose values do not takes a `mask`, which
            says which samples are there.
        weighed: what takes the weights of its rows, and may add them up, in place of the formula; used with `from_logits`.
        by_rows: whether each value depends on its own row alone, if the classes are on the last axis. Labels that are signs
            are first looked at together.
        samples: what the function form runs.
        reduced: what the class form runs.
        selected: what a metric runs: values per sample, and which of them count.
        settled: what the class form runs on tensors that need nothing done to them.
        settle: what finds the backend of such tensors, or None for others.
        shortcut: whether they may go straight to the formula.
        checkable: whether a backend may have a shorter way yet from logits, on which labels are checked by the way.

    What is run is pure and traced, and live as long as the process, so that backends may keep what they compile.
    """

    domains: Mapping[str, Domain] = DOMAINS

    def __init__(
        self,
        formula: Callable[..., Any],
        target: Target,
        prediction: Prediction,
        event: Event,
        curved: bool = True,
        weighed: Callable[..., Tensor] | None = None,
    ) -> None:
        code = formula.__code__
        self.name: str = formula.__name__
        self.formula = formula
        self.target = target
        self.prediction = prediction
        self.event = event
        self.curved = curved
        self.weighed = weighed
        self._positional = code.co_varnames[2 : code.co_argcount]
        defaults = formula.__defaults__ or ()
        self.required = self._positional[: len(self._positional) - len(defaults)]
        self._all: Mapping[str, Any] = {
            **dict.fromkeys(self.required),
            **dict(zip(self._positional[len(self.required) :], defaults, strict=True)),
            **(formula.__kwdefaults__ or {}),
        }
        self.operands = tuple(name for name in self._all if formula.__annotations__.get(name) == "TensorLike")
        self.per_class = tuple(name for name in self._all if formula.__annotations__.get(name) == "PerClass")
        self.samplewise = "mask" not in self.operands
        self.by_rows = self.samplewise and event in ("mean", "joint", "element") and target != "sign"
        self.defaults: Mapping[str, Any] = {
            name: default for name, default in self._all.items() if name not in self.operands
        }
        self.extras = frozenset(self.defaults) - frozenset(self._positional)
        self.settle = settled_classes if target == "class index" else settled
        self.shortcut = target != "class index" or prediction != "label"
        self.checkable = weighed is not None and target == "class index"
        self.samples: Callable[..., Tensor] = functools.partial(samples, self)
        self.reduced: Callable[..., Any] = functools.partial(reduced, self)
        self.selected: Callable[..., tuple[Tensor, Selection]] = functools.partial(selected, self)
        self.settled: Callable[..., Any] = functools.partial(settled_values, self)

    def __reduce__(self) -> tuple[Any, ...]:
        # There is one for each public function, under whose name pickle finds only the function.
        return _of_published, (self.formula.__module__, self.formula.__qualname__)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return all parameters by name; operands only if they are given. Raises what `named` does."""
        return {**self.defaults, **self.named(args, kwargs)} if args or kwargs else self.defaults

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the parameters that are given, by name and as they are kept.

        Raises:
            TypeError: for a parameter that the loss does not have.
            ArgumentError: for one outside its domain.
        """
        given = {**dict(zip(self._positional, args, strict=False)), **kwargs}
        if (
            len(args) > len(self._positional)
            or len(given) < len(args) + len(kwargs)
            or not given.keys() <= self._all.keys()
        ):
            import inspect  # only for messages

            reject_pos_weight(self.name, given, self._all)
            inspect.signature(self.formula).bind(None, None, *args, **kwargs)  # raises what Python would
        for name, value in given.items():
            if isinstance(value, list):
                given[name] = value = tuple(value)
            allowed, expected = self.domains.get(name, ANYTHING)
            if hasattr(value, "dtype") or (value is None and self._all[name] is None):
                continue
            if name in WEIGHTS:
                given[name] = standardize(self.name, name, value)
            elif not allowed(value):
                raise ArgumentError(f"{self.name}: {name}={value!r} is not allowed. Expected {expected}.")
        return given

    def split(self, given: Mapping[str, Any]) -> tuple[list[TensorLike], Mapping[str, Any]]:
        """Return the tensors of a call in their order, None for those not given, and the parameters that differ from their
        defaults, which are hashable and in order, too: what is compiled is kept by them.
        """
        if len(given) > 1:
            given = {name: given[name] for name in self._all if name in given}
        tensors = {name: given[name] for name in self.operands if name in given}
        tensors |= {name: given[name] for name in self.per_class if hasattr(given.get(name), "dtype")}
        static = {
            name: value
            for name, value in given.items()
            if name not in tensors and (hasattr(value, "dtype") or value != self.defaults[name])
        }
        return [tensors.get(name) for name in (*self.operands, *self.per_class)] if tensors else [], static

    def join(self, operands: Sequence[Tensor], static: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what `split` took apart."""
        if not operands:
            return static
        given = zip((*self.operands, *self.per_class), operands, strict=False)
        return {**static, **{name: value for name, value in given if value is not None}}

    def direct(self, operands: Sequence[TensorLike], static: Mapping[str, Any]) -> bool:
        """Whether settled tensors may go straight to the formula, given what `split` returned."""
        return self.shortcut and not operands and _AT_THE_BOUNDARY.isdisjoint(static)

    def checked_options(self, operands: Sequence[TensorLike], static: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the options for `checked_crossentropy`, or None if it may not be asked, given what `split` returned."""
        if not self.checkable or operands or not static.get("from_logits"):
            return None
        options = {name: value for name, value in static.items() if name != "from_logits"}
        return options if all(name in _CHECKED for name in options) else None

    def config(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters as JSON-able values, without those that Keras has not and that are at their default."""
        return {
            name: plain(value)
            for name, value in parameters.items()
            if name not in self.extras or hasattr(value, "dtype") or value != self.defaults[name]
        }

    def values(self, y_true: Tensor, y_pred: Tensor, parameters: Mapping[str, Any]) -> Tensor:
        """Return what the formula does, which a backend may evaluate some rows at a time."""
        shared = any(hasattr(parameters.get(name), "dtype") for name in self.per_class)  # may want a gradient
        if self.in_rows(parameters) and not shared and parameters.get("axis", -1) in (-1, y_pred.ndim - 1):
            return K.run_rows(self.formula, y_true, y_pred, **parameters)
        values: Tensor = self.formula(y_true, y_pred, **parameters)
        return values

    def in_rows(self, parameters: Mapping[str, Any]) -> bool:
        """Whether a backend may take the formula some rows at a time: unless it is one operation that does so itself."""
        return self.by_rows and not (self.weighed is not None and parameters.get("from_logits", False))

    def takes_weights(self, y_pred: Tensor, parameters: Mapping[str, Any]) -> bool:
        """Whether the weights of rows go into the operation, which pays for large predictions."""
        return (
            self.weighed is not None
            and parameters.get("from_logits", False)
            and parameters.get("axis", -1) in (-1, y_pred.ndim - 1)
            and owner_of(y_pred).takes_rows(y_pred)
        )

    def parts(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor, mask: Tensor, *, reduction: str, **static: Any
    ) -> tuple[Tensor, Tensor]:
        """Return numerator and denominator of the reduced value, which add up over parts of a batch."""
        if self.takes_weights(y_pred, static):
            return self.weigh(y_true, y_pred, sample_weight, mask, **static).partial(reduction)
        return partial(*self.selected(y_true, y_pred, sample_weight, mask, **static), reduction)

    def has_classes(self, parameters: Mapping[str, Any]) -> bool:
        """Whether `y_true` holds indices into the class axis of `y_pred`, which are in range or not."""
        return self.target == "class index" and not self.predicts_labels(parameters)

    def predicts_labels(self, parameters: Mapping[str, Any]) -> bool:
        """Whether `y_pred` holds labels, which are compared as they are, and not scores."""
        return self.prediction == "label" or bool(parameters.get("from_sorted_ids", False))

    def settle_integers(
        self, backend: Backend, y_pred: Tensor, dtype: DType | None, parameters: Mapping[str, Any]
    ) -> Tensor:
        """Return integer predictions as floats, before a compiled function would keep today's `floatx` for good.

        Raises:
            ArgumentError: if there are none.
        """
        require_given(y_pred, "y_pred")
        if backend.is_floating(y_pred) or self.predicts_labels(parameters):
            return y_pred
        return as_floats(y_pred, dtype)

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
            ArgumentError: if there are no targets.
            LabelError: for the first one out of range that counts.
        """
        require_given(y_true, "y_true")
        if not self.has_classes(parameters):
            return True
        require_real(y_true)
        return check_classes(backend, y_true, y_pred.shape, sample_weight, mask, parameters)

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
        """Return what the rows count for, and the operation that takes it. Half precision is left to the operation."""
        assert self.weighed is not None
        narrow = dtype != "float64" and K.dtype(y_pred) in HALVES
        if narrow:
            y_true, y_pred = prepare_half(self, y_true, y_pred)
        else:
            y_true, y_pred = prepare(self, y_true, y_pred, dtype, parameters)
        selection = select_rows(self, y_true, y_pred, sample_weight, mask, parameters)
        in_range = None
        if self.target == "class index":
            known = (y_true >= 0) & (y_true < y_pred.shape[-1])
            in_range = None if checked else known
            if not checked or selection.computed is not None:
                y_true = K.where(known, y_true, 0)
        options = {name: value for name, value in parameters.items() if name != "axis"}
        operation = functools.partial(operate, self.weighed, (y_true, y_pred), options)
        shape = tuple(y_pred.shape[:-1])
        return Weighed(operation, selection, in_range, shape, wide_dtype(y_pred), y_pred)


def _of_published(module: str, name: str) -> LossSpec:
    """Return the facts behind the public function of that name: what unpickles a `LossSpec`."""
    found: LossSpec = getattr(importlib.import_module(module), name).__multiloss__
    return found


def spec_of(fn: object) -> LossSpec | None:
    """Return the facts behind a public loss function, or None for any other object."""
    return getattr(fn, "__multiloss__", None)


def loss(
    *,
    y_true: Target,
    y_pred: Prediction,
    event: Event = "mean",
    curved: bool = True,
    weighed: Callable[..., Tensor] | None = None,
) -> Callable[[F], F]:
    """Make a formula over K a public loss.

    Args:
        y_true: what the targets are.
        y_pred: what the predictions are.
        event: `"mean"` if the formula averages over the last axis, so that each element could be a sample of its own;
            `"joint"` if the axis belongs together, as a distribution or a vector does; `"element"` if it stays.
        curved: False if the formula is made of straight pieces, and has no second derivative to train with.
        weighed: what computes the formula from logits, given `(y_true, y_pred, row_weight, total, **parameters)`.
    """

    def decorate(formula: F) -> F:
        public: F = publish(LossSpec(formula, y_true, y_pred, event, curved, weighed))
        return public

    return decorate


_NO_PARAMETERS: Mapping[str, Any] = {}
_CHECKED = frozenset(("ignore_class", "class_weight"))
"""The parameters, beside `from_logits`, of a call that `checked_crossentropy` may answer."""


def publish(spec: LossSpec) -> Any:
    """Return the public function of a loss: the boundary around its formula."""
    formula, by_rows, settle = spec.formula, spec.by_rows, spec.settle
    shortcut, checkable = spec.shortcut, spec.checkable

    @functools.wraps(formula)
    def public(y_true: TensorLike, y_pred: TensorLike, *args: Any, **kwargs: Any) -> Tensor:
        operands: list[TensorLike] = []
        static, direct, options = _NO_PARAMETERS, shortcut, None
        if checkable and len(kwargs) == 1 and kwargs.get("from_logits") is True and not args:
            static, options = kwargs, _NO_PARAMETERS  # by far the most frequent
        elif args or kwargs:
            operands, static = spec.split(spec.named(args, kwargs))
            direct, options = spec.direct(operands, static), spec.checked_options(operands, static)
        if options is not None:
            values = checked_crossentropy(y_true, y_pred, "none", None, None, options)
            if values is not None:
                return values
        if direct:
            owner = settle(y_true, y_pred)
            if owner is not None:
                in_rows = by_rows if not static else spec.in_rows(static)
                return (owner.run_rows if in_rows else owner.run)(formula, y_true, y_pred, **static)
        backend, (y_true, y_pred, *operands) = arrive(y_true, y_pred, *operands)
        y_pred = spec.settle_integers(backend, y_pred, None, static)
        checked = spec.labels_checked(backend, y_true, y_pred, None, None, spec.join(operands, static))
        return backend.run(spec.samples, y_true, y_pred, *operands, checked=checked, **static)

    # A code object of its own: torch.compile counts recompilations by it, and gives up after a few.
    made: Any = public
    made.__code__ = made.__code__.replace(co_name=spec.name)
    vars(public)["__multiloss__"] = spec  # what `spec_of` finds
    return public
