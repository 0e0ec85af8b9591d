"""`Metric`: four pure functions over a state, and Keras' stateful verbs as a thin shell around them.

The pure core:

    state = metric.init()                              # the identity
    state = metric.update(state, y_true, y_pred)       # any number of times, inside jit, scan, vmap or compile
    state = metric.merge(state, other)                 # associative: batched, streamed and distributed are the same
    value = metric.compute(state)

A state is a `NamedTuple` of tensors, which is a pytree everywhere without registration; shapes and dtypes never change.

The shell holds one state:

    metric.update_state(y_true, y_pred); metric.result(); metric.reset_state(); metric.merge_state([other])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from multiloss._boundary import arrive
from multiloss._errors import ArgumentError, MixedBackendsError, NotSupportedError
from multiloss._names import dtype_name, snake_case
from multiloss._registry import backend_of, owner_of
from multiloss._tree import leaves
from multiloss._typing import DType, Tensor, TensorLike

MetricT = TypeVar("MetricT", bound="Metric")


class Metric:
    """Base of all metrics.

    To write one, subclass `Mean` or another metric and override `update` or `compute`; or subclass this class and
    define `init`, `update`, `merge` and `compute` with `multiloss.backend`. A subclass need not call
    `super().__init__()`.

    Args:
        dtype: of the result. Default: that of the values, at least float32.
        name: shown in logs. Default: the class name in snake_case.

    >>> from multiloss.metrics import Mean
    >>> class MeanPrediction(Mean):
    ...     def update(self, state, y_true, y_pred, sample_weight=None, mask=None):
    ...         return super().update(state, y_pred, sample_weight, mask)
    >>> metric = MeanPrediction(name="mean_pred")
    >>> metric.update_state([0, 1], [0.25, 0.75])
    >>> float(metric.result())
    0.5
    """

    name: str | None = None
    dtype: DType | None = None
    state: Any = None
    """What has been accumulated, to save, move or merge; None before the first batch."""

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.dtype = dtype_name(dtype)
        self.name = name if name is not None else snake_case(type(self).__name__)

    # ── The pure core ───────────────────────────────────────────────────────────────────────────────────────

    def init(self, like: Tensor = None) -> Any:
        """Return the state of a metric that has seen nothing.

        Args:
            like: a tensor to be beside: its framework and device; float64 makes a state of float64. Default: the
                active backend.
        """
        raise self._undefined("init(like=None)")

    def update(self, state: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Return the state after one more batch."""
        raise self._undefined("update(state, ...)")

    def merge(self, a: Any, b: Any, /) -> Any:
        """Return the state of a metric that has seen what `a` and `b` have seen."""
        raise self._undefined("merge(a, b)")

    def compute(self, state: Any, /) -> Tensor:
        """Return the value of the metric."""
        raise self._undefined("compute(state)")

    def _undefined(self, what: str) -> NotSupportedError:
        return NotSupportedError(f"{type(self).__name__} has no {what}. Define it, or subclass a metric that has one.")

    # ── The stateful shell ──────────────────────────────────────────────────────────────────────────────────

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take in one more batch; the arguments are those of `update`.

        The first batch decides the framework and the device of the state. Gradients are cut off. Not for use inside
        `jax.jit`, which has no state to keep: use `init`, `update` and `compute` there.

        Raises:
            MixedBackendsError: if a later batch comes from another framework. `reset_state()` first.
        """
        count = len(args)
        arrived = self._arrive([*args, *kwargs.values()])
        given = dict(zip(kwargs, arrived[count:], strict=True))
        if self.state is None:
            self.state = self.init(self._reference(arrived[:count], given))
        self.state = self.update(self.state, *arrived[:count], **given)

    def _arrive(self, args: list[TensorLike]) -> list[Tensor]:
        """Return the arguments as tensors of the framework that holds the state, without gradients."""
        held = leaves(self.state)[:1]
        if held:
            try:
                incoming = backend_of(*held, *args).backend
            except MixedBackendsError:
                incoming = backend_of(*args).backend  # raises again if the batch itself is of two frameworks
            if incoming.name != owner_of(*held).name:
                raise MixedBackendsError(
                    f"{type(self).__name__} {self.name!r} has accumulated {owner_of(*held).name} batches, and this one "
                    f"belongs to {incoming.name}. Call reset_state() between them, or keep one metric for each framework."
                )
        backend, arrived = arrive(*held, *args)
        return [
            x if x is None or not backend.is_floating(x) else backend.stop_gradient(x) for x in arrived[len(held) :]
        ]

    def _reference(self, args: list[Tensor], kwargs: Mapping[str, Tensor]) -> Tensor:
        """Return the argument whose device and dtype the state takes: `y_pred`, or else the first."""
        code = type(self).update.__code__
        names = code.co_varnames[2 : code.co_argcount]
        at = names.index("y_pred") if "y_pred" in names else 0
        if at < len(args):
            return args[at]
        return kwargs.get(names[at]) if at < len(names) else next(iter(kwargs.values()), None)

    def result(self) -> Tensor:
        """Return the value for all batches so far; 0 before the first, for metrics that are averages or sums."""
        return self.compute(self.init() if self.state is None else self.state)

    def reset_state(self) -> None:
        """Forget all batches."""
        self.state = None

    def reset_states(self) -> None:
        """Forget all batches: Keras 2's name for `reset_state`."""
        self.reset_state()

    def merge_state(self, metrics: Metric | Iterable[Metric]) -> None:
        """Take in what other metrics of the same kind have seen.

        Raises:
            ArgumentError: for a metric of another class or with other parameters.
        """
        for metric in [metrics] if isinstance(metrics, Metric) else metrics:
            if type(metric) is not type(self) or _parameters(metric) != _parameters(self):
                raise ArgumentError(f"{self!r} cannot take in the state of {metric!r}. Expected the same metric.")
            if metric.state is not None:
                self.state = metric.state if self.state is None else self.merge(self.state, metric.state)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take in one more batch and return the value for all so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    # ── Configs ─────────────────────────────────────────────────────────────────────────────────────────────

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make an equal metric, as JSON-able values; the state is not part of it."""
        config: dict[str, Any] = {"name": self.name or snake_case(type(self).__name__)}
        return config if self.dtype is None else config | {"dtype": self.dtype}

    @classmethod
    def from_config(cls: type[MetricT], config: Mapping[str, Any]) -> MetricT:
        """Return the metric that `get_config` described, in Keras 2's or Keras 3's spelling."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.get_config().items())})"


def _parameters(metric: Metric) -> dict[str, Any]:
    return {key: value for key, value in metric.get_config().items() if key not in ("name", "dtype")}
