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

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from multiloss._boundary import arrive, match_ranks
from multiloss._errors import ArgumentError, MixedBackendsError, NotSupportedError
from multiloss._names import dtype_name, snake_case
from multiloss._registry import backend_of, owner_of
from multiloss._tree import leaves, unflatten
from multiloss._typing import DType, Shape, Tensor, TensorLike
from multiloss.interface import Backend
from multiloss.metrics._variables import Declaration, Variable, at_boundary, declaration, initial, merged, plain
from multiloss.metrics._waiting import MISSES, REST, Queue

MetricT = TypeVar("MetricT", bound="Metric")


class Metric:
    """Base of all metrics.

    To write one, subclass `Mean` or another metric and override `update` or `compute`; or subclass this class and
    define `init`, `update`, `merge` and `compute` with `multiloss.backend`; or, as in Keras, declare variables with
    `add_weight` and define `update_state` and `result`, and the pure functions are made of those. A subclass need not
    call `super().__init__()`.

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
    >>> class LargestError(Metric):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.largest = self.add_weight(name="largest", initializer="zeros")
    ...     def update_state(self, y_true, y_pred):
    ...         self.largest.assign(max(self.largest.value, abs(y_pred - y_true).max()))
    ...     def result(self):
    ...         return self.largest.value
    >>> float(LargestError()([0, 1], [0.25, 0.5]))
    0.5
    """

    name: str | None = None
    dtype: DType | None = None
    _state: Any = None
    """What has been accumulated, without the batches that wait."""
    _queue: Queue | None = None
    """Where small batches wait until they are taken in together; None until there was one that may."""
    _waiting: int = 0
    """How many do."""
    _lent: bool = False
    """Whether the state is that of a pure function for the time of a call; then it may be traced."""
    _declared: tuple[Declaration, ...] = ()
    """The variables of a metric in Keras' style."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update_state" in vars(cls):
            update_state: Callable[..., Any] = vars(cls)["update_state"]
            type.__setattr__(cls, "update_state", at_boundary(update_state))

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
        if not self._in_keras_style:
            raise self._undefined("init(like=None)")
        return self._initial(like), tuple(metric.init(like) for metric in self._nested())

    def update(self, state: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Return the state after one more batch."""
        if not self._in_keras_style:
            raise self._undefined("update(state, ...)")
        return self._within(state, self.update_state, *args, **kwargs)[1]

    def merge(self, a: Any, b: Any, /) -> Any:
        """Return the state of a metric that has seen what `a` and `b` have seen."""
        if not self._in_keras_style:
            raise self._undefined("merge(a, b)")
        pairs = zip(self._declared, a[0], b[0], strict=True)
        nested = zip(self._nested(), a[1], b[1], strict=True)
        return tuple(merged(*pair, self.dtype) for pair in pairs), tuple(m.merge(x, y) for m, x, y in nested)

    def compute(self, state: Any, /) -> Tensor:
        """Return the value of the metric."""
        if not self._in_keras_style or type(self).result is Metric.result:
            raise self._undefined("compute(state)")
        return plain(self._within(state, self.result)[0])

    def _undefined(self, what: str) -> NotSupportedError:
        return NotSupportedError(f"{type(self).__name__} has no {what}. Define it, or subclass a metric that has one.")

    # ── The stateful shell ──────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> Any:
        """What has been accumulated, to save, move or merge; None before the first batch."""
        if not self._waiting:
            return self._state
        if self._waiting == 1 and self._queue is not None:
            self._queue.rest = REST
        return self._with_waiting()

    @state.setter
    def state(self, state: Any) -> None:
        object.__setattr__(self, "_state", state)
        if self._queue is not None:
            object.__setattr__(self, "_waiting", 0)
            object.__setattr__(self, "_queue", None)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take in one more batch; the arguments are those of `update`.

        The first batch decides the framework and the device of the state. Gradients are cut off.

        Raises:
            MixedBackendsError: if a later batch comes from another framework. `reset_state()` first.
            NotSupportedError: inside a function that is traced, such as `jax.jit`'s or `torch.func.vmap`'s, after which
                nothing is left of the state: use `init`, `update` and `compute` there.
        """
        if self._queue is not None and not kwargs and self._wait(args):
            return
        count = len(args)
        backend, arrived = self._arrive([*args, *kwargs.values()])
        given = dict(zip(kwargs, arrived[count:], strict=True))
        state = self.state
        state = self.init(self._reference(arrived[:count], given)) if state is None else state
        object.__setattr__(self, "_state", self._to_keep(self.update(state, *arrived[:count], **given)))
        if not kwargs and not self._lent:
            self._expect(backend, args, arrived)

    def _wait(self, args: tuple[Any, ...]) -> bool:
        """Let a batch wait if it may, and tell whether it does."""
        queue, waiting = self._queue, self._waiting
        assert queue is not None
        if not queue.put(waiting, args):
            return False
        object.__setattr__(self, "_waiting", waiting + 1)
        if waiting + 1 == queue.length:
            self._with_waiting()
        return True

    def _expect(self, backend: Backend, args: tuple[Any, ...], arrived: list[Tensor]) -> None:
        """After a batch that could not wait: make room where others like it may, unless those before it come again."""
        if self._queue is not None:
            self._queue.misses += not self._queue.rest
            if self._queue.misses < MISSES:
                return
        queue = None
        if backend.has_host_copies and list(map(type, args)) == list(map(type, arrived)):
            queue = self._queue_like(backend, arrived)
        if queue is not self._queue:
            object.__setattr__(self, "_queue", queue)

    def _with_waiting(self) -> Any:
        """Return the state of all batches, and hold it unless it would end with a trace that somebody asks in."""
        queue = self._queue
        assert queue is not None
        state = self._take_in(self._state, queue.backend, queue.joined(self._waiting))
        if not any(queue.backend.ends_with_trace(leaf) for leaf in leaves(state)):
            object.__setattr__(self, "_state", state)
            object.__setattr__(self, "_waiting", 0)
        return state

    def _queue_like(self, backend: Backend, batch: list[Tensor]) -> Queue | None:
        """Return what further batches like this one may wait in, if they may."""
        return None

    def _take_in(self, state: Any, backend: Backend, batch: list[Tensor]) -> Any:
        """Return the state after batches that waited, as one."""
        return self.update(state, *batch)

    def __setattr__(self, key: str, value: Any) -> None:
        if self._queue is not None and key != "state":  # a parameter, which batches before it have not to do with
            self.state = self.state
        object.__setattr__(self, key, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_state": self.state, "_waiting": 0, "_queue": None}

    def _to_keep(self, state: Any) -> Any:
        """Return a state that is going to be held; it must not end with the trace that it was made in."""
        if self._lent:
            return state
        owner = None
        for leaf in leaves(state):
            owner = owner or owner_of(leaf)
            if not owner.ends_with_trace(leaf):
                continue
            raise NotSupportedError(
                f"{type(self).__name__} {self.name!r} was updated inside a function that is traced (jax.jit, jax.vmap, "
                "jax.lax.scan, torch.func), after which nothing is left of its state. Expected update_state and calls "
                "outside of it. Inside, carry the state yourself: state = metric.init(y_pred); "
                "state = metric.update(state, y_true, y_pred); metric.compute(state)."
            )
        return state

    def _arrive(self, args: list[TensorLike]) -> tuple[Backend, list[Tensor]]:
        """Return the framework that holds the state, and the arguments as its tensors, without gradients."""
        held = leaves(self.state)[:1]
        try:
            backend, arrived = arrive(*held, *args)
        except MixedBackendsError:
            backend = backend_of(*args).backend  # raises again if the batch itself is of two frameworks
        if held and backend.name != owner_of(*held).name:
            raise MixedBackendsError(
                f"{type(self).__name__} {self.name!r} has accumulated {owner_of(*held).name} batches, and this one "
                f"belongs to {backend.name}. Call reset_state() between them, or keep one metric for each framework."
            )
        return backend, [x if x is None else backend.stop_gradient(x) for x in arrived[len(held) :]]

    def _reference(self, args: list[Tensor], kwargs: Mapping[str, Tensor]) -> Tensor:
        """Return the argument whose device, dtype and shape the state takes: `y_pred`, or else the first."""
        code = type(self).update.__code__
        given = {**dict(zip(code.co_varnames[2 : code.co_argcount], args, strict=False)), **kwargs}
        y_true, y_pred = given.get("y_true"), given.get("y_pred")
        if y_true is not None and y_pred is not None:
            return match_ranks(y_true, y_pred)[1]
        return args[0] if args else next(iter(kwargs.values()), None)

    def result(self) -> Tensor:
        """Return the value for all batches so far; 0 before the first, for metrics that are averages or sums."""
        return self.compute(self.init() if self.state is None else self.state)

    def reset_state(self) -> None:
        """Forget all batches."""
        self.state = None
        for metric in self._nested():
            metric.reset_state()

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
            if self._in_keras_style:
                self._hold(self.merge(self._held(), metric._held()))
            elif metric.state is not None:
                self.state = metric.state if self.state is None else self.merge(self.state, metric.state)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take in one more batch and return the value for all so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    # ── Keras' variables ────────────────────────────────────────────────────────────────────────────────────

    def add_variable(
        self,
        shape: Shape,
        initializer: Any,
        dtype: Any = None,
        aggregation: str | None = "sum",
        name: str | None = None,
    ) -> Variable:
        """Declare a variable, which `update_state` assigns and `result` reads.

        Args:
            shape: of the variable.
            initializer: `"zeros"`, `"ones"` or a function of `(shape, dtype)`; None is zeros.
            dtype: of the variable. Default: float32, or float64 for float64 batches and results.
            aggregation: what two states are together: `"sum"`, or `"only_first_replica"`; others cannot be merged.
            name: of the variable.

        Raises:
            ArgumentError: for arguments outside their domain.
            NotSupportedError: if the metric has a state of another kind already.
        """
        if type(self).update is not Metric.update:
            raise NotSupportedError(
                f"{type(self).__name__} keeps its state in its pure functions, which know no variables. Subclass Metric, "
                "or hold another metric as an attribute."
            )
        self._declared = (*self._declared, declaration(shape, initializer, dtype_name(dtype), aggregation, name))
        return Variable(self, len(self._declared) - 1, self._declared[-1].name)

    def add_weight(
        self, shape: Shape = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """Declare a variable: `add_variable`, with Keras' other order of arguments."""
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        """The tensors of the state as variables, those of metrics held as attributes included."""
        names = [each.name for each in self._declared] if self._in_keras_style else None
        count = len(names) if names is not None else len(leaves(self._own()))
        own = [Variable(self, at, names[at] if names is not None else f"{self.name}_{at}") for at in range(count)]
        return own + [variable for metric in self._nested() for variable in metric.variables]

    def stateless_update_state(self, metric_variables: Iterable[Any], *args: Any, **kwargs: Any) -> list[Tensor]:
        """Return the values of the variables after one more batch, given those before; the metric stays as it is.

        Raises:
            ArgumentError: if there are not as many values as `variables`.
        """
        return leaves(self.update(self._as_state(metric_variables), *args, **kwargs))

    def stateless_result(self, metric_variables: Iterable[Any]) -> Tensor:
        """Return the value of the metric, given those of the variables.

        Raises:
            ArgumentError: if there are not as many values as `variables`.
        """
        return self.compute(self._as_state(metric_variables))

    def stateless_reset_state(self) -> list[Tensor]:
        """Return the values of the variables of a metric that has seen nothing."""
        return leaves(self.init())

    def _as_state(self, metric_variables: Iterable[Any]) -> Any:
        values = [plain(each) for each in metric_variables]
        structure = self._structure(values)
        if len(values) != len(leaves(structure)):
            raise ArgumentError(
                f"Arrived: {len(values)} variables. Expected {len(leaves(structure))}, as in "
                f"{type(self).__name__}().variables."
            )
        return unflatten(structure, values)

    def _structure(self, values: list[Tensor]) -> Any:
        """Return a state of the structure that the values of the variables have."""
        return self.init(values[0] if values else None)

    @property
    def _in_keras_style(self) -> bool:
        cls = type(self)
        return cls.update is Metric.update and cls.update_state is not Metric.update_state

    def _nested(self) -> list[Metric]:
        """Return the metrics held as attributes, by which one in Keras' style accumulates."""
        if not self._in_keras_style:
            return []
        held = [each for value in vars(self).values() for each in (value if isinstance(value, list) else [value])]
        return [each for each in held if isinstance(each, Metric)]

    def _initial(self, like: Tensor = None) -> tuple[Tensor, ...]:
        return tuple(initial(each, like, self.dtype) for each in self._declared)

    def _own(self) -> Any:
        """Return the state of this metric alone."""
        if self.state is not None:
            return self.state
        return self._initial() if self._in_keras_style else self.init()

    def _held(self) -> Any:
        """Return the state that the pure functions know: with that of nested metrics."""
        return (self._own(), tuple(m._held() for m in self._nested())) if self._in_keras_style else self._own()

    def _hold(self, state: Any) -> None:
        self.state = state[0] if self._in_keras_style else state
        for metric, own in zip(self._nested(), state[1] if self._in_keras_style else (), strict=True):
            metric._hold(own)

    def _within(self, state: Any, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return what a stateful verb returns in a given state, and the state after it; the metric stays as it is."""
        metrics = [self]
        for metric in metrics:
            metrics += metric._nested()
        before = [(metric.state, metric._lent) for metric in metrics]
        for metric in metrics:
            metric._lent = True
        self._hold(state)
        try:
            return verb(*args, **kwargs), self._held()
        finally:
            for metric, (kept, lent) in zip(metrics, before, strict=True):
                metric.state, metric._lent = kept, lent

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
