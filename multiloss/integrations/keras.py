"""multiloss inside Keras 3: losses and metrics for `keras.Model.compile`, on Keras' torch, JAX and NumPy backends.

    from multiloss.integrations.keras import as_keras_loss, as_keras_metric

    model.compile(
        optimizer="adam",
        loss=as_keras_loss("huber"),                            # or losses.Huber(delta=2.0), or a function
        metrics=[as_keras_metric("mae")],                       # or any multiloss metric of (y_true, y_pred)
    )
    model.fit(x, y, sample_weight=weights)
    model.save("model.keras")                                   # keras.saving.load_model reads it, no custom_objects

Importing this module imports Keras, and registers all losses and metrics of multiloss with it; the process that loads a
saved model must import it, too. A loss or metric class or function of your own needs
`@keras.saving.register_keras_serializable()`, as everywhere in Keras.

What works without an adapter, and what does not:

| `compile` gets | without sample weights and masks | with them |
|---|---|---|
| a loss or metric function: `losses.huber` | right | right: Keras weighs what it returns |
| a loss instance: `losses.Huber()` | right | **wrong**: Keras gives it neither, and multiplies two means |
| a metric instance: `metrics.AUC()` | **wrong** on torch, an error on JAX: Keras takes it for a function | likewise |
| anything from `as_keras_loss`, `as_keras_metric` | right | right |

A loss with named inputs, such as a teacher's logits of 10 classes, says how many columns each has, and so do metrics beside it:

    model.compile(
        loss=as_keras_loss(Distillation(), inputs={"teacher": 10}),
        metrics=[as_keras_metric("sparse_categorical_accuracy", inputs={"teacher": 10})],
    )
    model.fit(x, pack_targets(y, teacher=logits))

Regularizers and constraints of layers go through `as_keras_regularizer` and `as_keras_constraint`: Keras hands them its
variables, which are nobody's tensors.

Where it differs from Keras on purpose: every metric sees the mask, `AUC` and `Precision` too, where Keras masks averages
only; and what is masked or has weight 0 may be nan. See docs/deviations.md.

What does not work, and why:

* Metrics whose state grows with the data, such as `AUC(num_thresholds=None)`: variables of Keras have one shape. They
  raise; use them after `model.predict`.
* In `fit` on JAX, metrics do not see the mask of a `Masking` or `Embedding(mask_zero=True)` layer, Keras' own metrics no
  more than these: Keras keeps masks beside tensors, and its `value_and_grad` returns new ones. The loss sees it, and so
  do metrics in `evaluate`.
* On JAX a class index out of range makes the loss nan, and raises only with `run_eagerly=True`: inside `jax.jit` there are
  no values to look at. On an accelerator the same holds for torch.
* "accuracy" and "crossentropy" as names: in `compile` they are Keras' own choice by shapes. Name one, as in
  `as_keras_metric("sparse_categorical_accuracy")`.
* A loss of several outputs at once: Keras hands a loss one output.
* Named inputs of a loss beside the targets: `fit` knows no such tensors. They travel as columns behind the targets, see
  below; those that belong to the batch as a whole need a `train_step` or `compute_loss` of your own.
* Keras' TensorFlow and OpenVINO backends: their tensors belong to no backend of multiloss.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from multiloss import losses, metrics
from multiloss._boundary import align_weights
from multiloss._errors import ArgumentError, BackendNotFoundError, NotSupportedError
from multiloss._registry import available_backends, use_backend
from multiloss._tree import leaves, unflatten
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses import Loss, Sum
from multiloss.metrics import Metric
from multiloss.objective._resolve import as_loss, as_metric, is_automatic

try:
    import keras
    from keras.src.backend import get_keras_mask, in_symbolic_scope  # neither has a public name
except ImportError as error:
    raise BackendNotFoundError(
        f"multiloss.integrations.keras needs Keras 3, and it cannot be imported ({error}). To get it: pip install keras; "
        "to choose what it runs on, set KERAS_BACKEND=torch or KERAS_BACKEND=jax before the first import of Keras.",
        name=error.name,
    ) from error

from multiloss.integrations._keras_inputs import Packed, pack_targets, require
from multiloss.integrations._keras_layers import (
    PACKAGE,
    KerasConstraint,
    KerasRegularizer,
    as_keras_constraint,
    as_keras_regularizer,
    host_data_stays,
)

__all__ = [
    "KerasConstraint",
    "KerasLoss",
    "KerasMetric",
    "KerasRegularizer",
    "as_keras_constraint",
    "as_keras_loss",
    "as_keras_metric",
    "as_keras_regularizer",
    "pack_targets",
]

if keras.backend.backend() not in available_backends():
    raise BackendNotFoundError(
        f"Keras runs on {keras.backend.backend()!r} here, and multiloss on: {', '.join(available_backends())}. "
        "Set KERAS_BACKEND to one of these before the first import of Keras."
    )


# ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────────────


@keras.saving.register_keras_serializable(PACKAGE)
class KerasLoss(keras.losses.Loss):
    """A loss of multiloss as Keras expects one: what `as_keras_loss` returns.

    Sample weights and Keras' mask reach the loss, targets keep their dtype (class indices stay integers), and it reduces
    as it does outside of Keras.

    Args:
        loss: an instance of a loss class.
        inputs: the named inputs that are behind the targets, with their numbers of columns.
    """

    def __init__(self, loss: Loss, inputs: Mapping[str, int] | None = None) -> None:
        super().__init__(name=loss.name, reduction=loss.reduction, dtype=loss.dtype)
        self.loss = loss
        self.packed = Packed(inputs)
        self.packed.check(loss)

    def __call__(
        self, y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike = None, **inputs: TensorLike
    ) -> Tensor:
        """Return the reduced loss; errors are those of the loss. In a `train_step` of one's own it takes named inputs."""
        y_true, y_pred, mask = _arrive(y_true, y_pred)
        y_true, behind = self.packed.split(y_true, y_pred)
        inputs = {**behind, **inputs}
        require(self.loss, inputs)
        with host_data_stays():
            return self.loss(y_true, y_pred, sample_weight, mask, **inputs)

    def get_config(self) -> dict[str, Any]:
        return {"loss": _serialize(self.loss), **self.packed.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KerasLoss:
        return cls(_deserialize(config["loss"]), config.get("inputs"))


def as_keras_loss(loss: Any, inputs: Mapping[str, int] | None = None) -> KerasLoss:
    """Return a loss of multiloss as a `keras.losses.Loss`, for `compile(loss=)` and wherever Keras takes a loss.

    Args:
        loss: a name, a function over `multiloss.backend`, an instance or class, or a config. For several outputs give
            Keras a list or dict of these.
        inputs: the named inputs that `pack_targets` puts behind the targets, in their order, with their numbers of columns.

    Raises:
        UnknownNameError: for a name that is not known.
        NamedInputError: for an input that the loss does not take.
        ArgumentError: for something that is no loss, or one whose reduction is "none": Keras minimizes one number.

    >>> float(as_keras_loss("mse")([[0.0], [0.0]], [[1.0], [3.0]], sample_weight=[1.0, 0.0]))
    0.5
    """
    if isinstance(loss, KerasLoss):
        return loss if inputs is None else KerasLoss(loss.loss, inputs)
    _reject_automatic(loss, "loss")
    found = as_loss(loss)
    if found is None:
        raise ArgumentError(
            "Arrived: None. Expected a loss; to leave an output without one, give None to Keras itself."
        )
    return KerasLoss(found, inputs)


# ── Metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────


@keras.saving.register_keras_serializable(PACKAGE)
class KerasMetric(keras.metrics.Metric):
    """A metric of multiloss as Keras expects one: what `as_keras_metric` returns.

    The leaves of the metric's state are variables of Keras, which is how its JAX trainer and its `stateless_*` methods
    carry them. They come into being with the first batch, which decides their dtype and, for metrics per class or label,
    their shape. Keras' mask and, among `weighted_metrics`, sample weights reach the metric.

    Args:
        metric: an instance of a metric class that takes targets and predictions.
        name: shown in logs. Default: the metric's.
        inputs: the named inputs of the loss beside it, which are behind the targets, with their numbers of columns.
    """

    def __init__(self, metric: Metric, name: str | None = None, inputs: Mapping[str, int] | None = None) -> None:
        super().__init__(name=metric.name if name is None else name, dtype=metric.dtype)
        self.metric = metric
        self.packed = Packed(inputs)
        self._initial: _InitialState | None = None

    def update_state(self, y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike = None) -> None:
        """Take in one more batch; errors are those of the metric.

        Raises:
            NotSupportedError: if the state grows with the data, which variables of Keras cannot.
        """
        y_true, y_pred, mask = _arrive(y_true, y_pred)
        y_true, _ = self.packed.split(y_true, y_pred)
        y_pred = keras.ops.stop_gradient(y_pred)
        with host_data_stays():
            if self._initial is None:
                self._initial = self._build(y_pred)
            state = self._initial.rebuild([variable.value for variable in self.variables])
            state = self.metric.update(state, y_true, y_pred, **self._given(sample_weight, mask))
        updated = leaves(state)
        if [tuple(leaf.shape) for leaf in updated] != [tuple(variable.shape) for variable in self.variables]:
            raise NotSupportedError(
                f"The state of {self.metric!r} grows with the data, and variables of Keras have one shape. Use a metric "
                "with a state of fixed size (AUC with num_thresholds=200), or this one outside of Keras, after predict()."
            )
        for variable, leaf in zip(self.variables, updated, strict=True):
            variable.assign(leaf)

    def _given(self, sample_weight: TensorLike, mask: Tensor) -> dict[str, Any]:
        """Return weights and mask as the metric takes them: without a `mask=`, what is masked has weight 0."""
        # The pure `update` of a metric in Keras' style takes whatever its `update_state` does.
        verb = self.metric.update_state if type(self.metric).update is Metric.update else self.metric.update
        taken = inspect.signature(verb).parameters
        if mask is not None and not taken.keys() & {"mask", "kwargs"}:
            counts = K.cast(mask, "float32")
            sample_weight = counts if sample_weight is None else align_weights(sample_weight, counts.shape) * counts
            mask = None
        if sample_weight is not None and not taken.keys() & {"sample_weight", "kwargs"}:
            raise ArgumentError(
                f"{self.metric!r} arrived with sample weights or a mask, and its update_state takes neither. Give it a "
                "sample_weight=None, or do not list it under weighted_metrics."
            )
        return {key: each for key, each in (("sample_weight", sample_weight), ("mask", mask)) if each is not None}

    def _build(self, y_pred: Tensor) -> _InitialState:
        """Add a variable for each leaf of the state, and return what they start from."""
        initial = _InitialState(self.metric, y_pred)
        # Dtypes are those of the framework (JAX has no int64 without its x64 setting). This may be a trace or a pass
        # over shapes alone, where tensors have no values; so values are NumPy's.
        held = [keras.backend.standardize_dtype(leaf.dtype) for leaf in leaves(self.metric.init(y_pred))]
        for at, dtype in enumerate(held):
            self.add_variable(
                shape=initial.shape(at),
                initializer=lambda shape, dtype, at=at: initial.value(at, dtype),
                dtype=dtype,
                name=f"state_{at}",
            )
        return initial

    def result(self) -> Any:
        """Return the value for all batches so far."""
        with host_data_stays():
            if self._initial is None:
                return self.metric.compute(self.metric.init(keras.ops.zeros(())))
            return self.metric.compute(self._initial.rebuild([variable.value for variable in self.variables]))

    def reset_state(self) -> None:
        """Forget all batches."""
        if self._initial is not None:
            for at, variable in enumerate(self.variables):
                variable.assign(self._initial.value(at, variable.dtype))

    def get_config(self) -> dict[str, Any]:
        metric = keras.saving.serialize_keras_object(self.metric)
        return {"name": self.name, "metric": metric, **self.packed.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KerasMetric:
        return cls(_deserialize(config["metric"]), config["name"], config.get("inputs"))


class _InitialState:
    """The state of a metric that has seen nothing, in NumPy arrays; not a tuple, which Keras would track leaf by leaf."""

    def __init__(self, metric: Metric, y_pred: Tensor) -> None:
        wide = keras.backend.standardize_dtype(y_pred.dtype) == "float64"
        with use_backend("numpy") as host:
            like = host.asarray(0.0, dtype="float64" if wide else "float32")
            self._state = metric.init(host.broadcast_to(like, tuple(y_pred.shape)))
        self._values = leaves(self._state)

    def shape(self, at: int) -> tuple[int, ...]:
        return tuple(self._values[at].shape)

    def value(self, at: int, dtype: str) -> Tensor:
        """Return a tensor with memory of its own: Keras on JAX donates variables to the next step."""
        return keras.ops.convert_to_tensor(self._values[at].copy(), dtype=dtype)

    def rebuild(self, tensors: list[Tensor]) -> Any:
        return unflatten(self._state, tensors)


def as_keras_metric(metric: Any, name: str | None = None, inputs: Mapping[str, int] | None = None) -> KerasMetric:
    """Return a metric of multiloss as a `keras.metrics.Metric`, for `compile(metrics=)` and `weighted_metrics=`.

    Args:
        metric: a name, a function over `multiloss.backend`, an instance or class of a metric of `(y_true, y_pred)`, a
            loss instance, or a config.
        name: shown in logs. Default: the name that was given, else the metric's own.
        inputs: as for the loss beside it, so that the metric sees the targets alone.

    Raises:
        UnknownNameError: for a name that is not known.
        ArgumentError: for something that is no metric of targets and predictions.

    >>> metric = as_keras_metric("mae")
    >>> metric.update_state([[0.0], [0.0]], [[1.0], [3.0]])
    >>> metric.name, float(metric.result())
    ('mae', 2.0)
    """
    if isinstance(metric, KerasMetric):
        if name is None and inputs is None:
            return metric
        return KerasMetric(
            metric.metric, metric.name if name is None else name, metric.packed.columns if inputs is None else inputs
        )
    _reject_automatic(metric, "metric")
    own, found = as_metric(metric)
    return KerasMetric(found, own if name is None else name, inputs)


# ── Both ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _reject_automatic(identifier: Any, kind: str) -> None:
    if is_automatic(identifier):
        raise ArgumentError(
            f"The {kind} {identifier!r} is chosen by the shapes of a batch. Name the one that is meant, such as "
            f"'binary_{identifier}' or 'sparse_categorical_{identifier}', or give {identifier!r} to Keras itself."
        )


def _arrive(y_true: TensorLike, y_pred: TensorLike) -> tuple[TensorLike, Tensor, Tensor]:
    """Return targets, predictions as a tensor of Keras' backend, and the mask that Keras keeps beside them."""
    mask = get_keras_mask(y_pred)
    y_pred = keras.ops.convert_to_tensor(y_pred)
    if in_symbolic_scope():
        # Keras builds metrics from shapes alone; on NumPy it fills them with whatever is in memory, which is no label.
        y_true, y_pred = keras.ops.zeros_like(y_true), keras.ops.zeros_like(y_pred)
    return y_true, y_pred, mask


def _serialize(loss: Loss) -> dict[str, Any]:
    """Return the config of a loss in Keras' format, under the names that Keras knows it and the parts of a sum by."""
    config: dict[str, Any] = keras.saving.serialize_keras_object(loss)
    if isinstance(loss, Sum):
        parts = config["config"]["parts"]
        for name, part in loss.losses.items():
            weights = [
                keras.saving.serialize_keras_object(given) if callable(given) else written
                for given, written in zip(loss.weights[name], parts[name]["weights"], strict=True)
            ]
            parts[name] = {"loss": _serialize(part), "weights": weights}
    return config


def _deserialize(config: Mapping[str, Any]) -> Any:
    """Return the loss or metric that a config of Keras' format describes, with functions and tensors inside it."""
    parts = config["config"].get("parts", {})
    inner = {
        key: keras.saving.deserialize_keras_object(value) for key, value in config["config"].items() if key != "parts"
    }
    if parts:  # of a sum
        inner["parts"] = {
            name: {
                "loss": _deserialize(part["loss"]),
                "weights": [keras.saving.deserialize_keras_object(weight) for weight in part["weights"]],
            }
            for name, part in parts.items()
        }
    return keras.saving.deserialize_keras_object({**config, "config": inner})


def _register(package: str, exported: Mapping[str, Any]) -> None:
    """Let Keras find the classes and functions of a package in saved models."""
    for each in exported.values():
        if (
            hasattr(each, "__name__")
            and each.__module__.startswith(f"{package}._")
            and "_lookup" not in each.__module__
        ):
            keras.saving.register_keras_serializable(package)(each)


for _package in (losses, metrics):
    _register(_package.__name__, {name: getattr(_package, name) for name in _package.__all__})
