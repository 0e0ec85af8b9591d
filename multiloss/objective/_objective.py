"""`Objective`: losses, weights, metrics, regularizers and constraints as one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multiloss import constraints as _constraints
from multiloss import regularizers as _regularizers
from multiloss._boundary import arrive
from multiloss._errors import ArgumentError, ShapeError
from multiloss._tree import unflatten
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses import Loss
from multiloss.metrics import Mean, Metric
from multiloss.objective._config import read, write
from multiloss.objective._outputs import Layout, Output, for_each_output, is_entries, layout_of, separate
from multiloss.objective._parameters import by_name, check_names, named, penalized, penalty
from multiloss.objective._resolve import as_loss
from multiloss.objective._settings import (
    as_loss_weight,
    as_mode,
    as_output_names,
    check_metrics,
    check_weights,
    for_each_entry,
    plain,
)
from multiloss.objective._tensors import add, constant, detached
from multiloss.objective._tracking import LossTracker, Tracked, check_inputs, kept, rows, track, value_and_parts


class Objective:
    """What is minimised, what is shown, and what parameters must obey: Keras' `compile()` without a model.

    Formula: `sum over outputs of loss_weight * loss(y_true, y_pred) + sum over parameters of regularizer(parameter)`.

    Calling it gives that number, differentiable on every backend and traceable by its compiler:

        objective = Objective("binary_crossentropy", metrics=["accuracy"], regularizers={"kernel": "l2"})

        def training_loss(parameters):
            return objective(y_true, model(parameters, x), parameters=parameters)

        value, gradients = multiloss.value_and_grad(training_loss)(parameters)
        parameters = objective.constrain(step(parameters, gradients))

    and between the steps it keeps the averages:

        objective.update_metrics(y_true, y_pred, parameters=parameters)
        objective.results()                                             # {"loss": ..., "regularization": ..., "accuracy": ...}
        objective.reset()                                               # for the next epoch

    Several outputs are a dict or a list of predictions, nested as you like. Settings and targets for them have the same
    structure; or are a dict by output name; or, settings, weights and masks, one value for all. In a list the outputs
    are called `output_1`, `output_2`, ..., and nested ones by their path: `{"boxes": [a, b]}` holds "boxes/output_1".

    Args:
        loss: a name, a config, a class, an instance, or a function over `multiloss.backend`; None leaves an output out.
            "crossentropy" (or "ce") is the one that fits the shapes.
        metrics: names, functions or metrics; a bare string such as "AUC" is one metric, for every output. They never
            see weights. "accuracy" and "acc" (in any case) become the accuracy that fits the loss and the shapes,
            "crossentropy" and "ce" the cross-entropy. For one output a list holds all of its metrics; for several, one
            entry (or list of entries) for each; None where there is none.
        loss_weights: a number for each output's loss. Default: 1.
        weighted_metrics: as `metrics`; they see `sample_weight`.
        sample_weight_mode: None for weights per sample, of shape (N,); "temporal" for weights per time step, of shape
            (N, T).
        regularizers: by parameter name: names, configs, classes, instances or functions. Any tensor that is passed under
            the name is penalized, an activation as well as a kernel.
        constraints: by parameter name, in the same way.
        output_names: what the outputs of a list are called, in its order, as a Keras model knows it from its layers; for
            a dict, in which order they are shown. Nested outputs take none.

    Raises:
        UnknownNameError: for a loss, metric, regularizer or constraint that is not known.
        ArgumentError: for a setting that cannot act.

    >>> import numpy as np
    >>> objective = Objective("mse", metrics=["mae"], regularizers={"w": "l2"})
    >>> y_true, y_pred, w = np.array([1.0, 2.0]), np.array([0.0, 0.0]), np.array([10.0])
    >>> float(objective(y_true, y_pred, parameters={"w": w}))
    3.5
    >>> objective.update_metrics(y_true, y_pred, parameters={"w": w})
    >>> {name: float(value) for name, value in objective.results().items()}
    {'loss': 3.5, 'regularization': 1.0, 'mae': 1.5}
    """

    __multiloss_argnum__ = 1  # what value_and_grad(objective) differentiates: y_pred

    def __init__(
        self,
        loss: Any,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        sample_weight_mode: Any = None,
        regularizers: Mapping[str, Any] | None = None,
        constraints: Mapping[str, Any] | None = None,
        output_names: Sequence[str] | None = None,
    ) -> None:
        self._loss = for_each_entry(loss, as_loss)
        self._metrics = plain(metrics)
        self._weighted_metrics = plain(weighted_metrics)
        for given in (self._metrics, self._weighted_metrics):
            check_metrics(given)
        self._loss_weights = for_each_entry(loss_weights, as_loss_weight)
        self._sample_weight_mode = for_each_entry(sample_weight_mode, as_mode)
        self._regularizers = by_name(regularizers, _regularizers.get, "regularizers")
        self._constraints = by_name(constraints, _constraints.get, "constraints")
        self._output_names = as_output_names(output_names)
        self._settings = (
            self._loss,
            self._metrics,
            self._weighted_metrics,
            self._loss_weights,
            self._sample_weight_mode,
        )
        self._tracked: list[Tracked] = []
        self._layout: Layout | None = None
        self._loss_trackers: dict[str, LossTracker] = {}
        self._regularization_tracker = Mean("regularization")

    # ── The number that is minimised ────────────────────────────────────────────────────────────────────────

    def __call__(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        mask: Any = None,
        parameters: Any = None,
        **inputs: TensorLike,
    ) -> Tensor:
        """Return the total: weighted losses plus regularization, as a scalar.

        Args:
            y_true: targets; for several outputs a dict or list of them, as `y_pred`. None where there is no loss.
            y_pred: predictions.
            sample_weight: one for all outputs, or a dict or list; see `sample_weight_mode`.
            mask: True where a sample counts at all; one for all outputs, or a dict or list.
            parameters: tensors by name, nested as you like: `{"dense": {"kernel": w}}` holds "dense/kernel". Needed if
                there are regularizers, and read by nothing else.
            **inputs: named inputs of the losses, such as a teacher's logits; each goes to the losses that declare it.

        Raises:
            NamedInputError: for an input that no loss takes, or one that is missing.
            ShapeError: if targets, predictions, weights or mask do not align.
            LabelError: for a class index out of range, where values can be looked at.
            UnknownNameError: for an output or parameter that does not exist, with near matches.
            ArgumentError: if losses and outputs do not fit, or the parameters are missing.
            MixedBackendsError: for tensors of two frameworks.
        """
        return self.parts(y_true, y_pred, sample_weight, mask, parameters, **inputs)["loss"]

    def parts(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        mask: Any = None,
        parameters: Any = None,
        **inputs: TensorLike,
    ) -> dict[str, Tensor]:
        """Return the total and what it is made of, all differentiable.

        Arguments and errors are those of a call.

        Returns:
            "loss": the total. "{output}_loss": each output's loss, before its weight; "output_loss" if it has no name.
            "{output}_loss/{part}": the parts of a `Sum`. "regularization": the sum of the penalties, if there are any.
        """
        batch, layout, tensors = self._arrive(y_true, y_pred, sample_weight, mask, parameters)
        losses = self._losses(layout, batch, inputs)
        weights = self._weights(layout)
        parts: dict[str, Tensor] = {}
        terms: list[Tensor] = []
        for loss, weight, output in zip(losses, weights, batch, strict=True):
            if loss is None:
                continue
            value, within = value_and_parts(loss, output, inputs)
            if value.ndim:
                raise ShapeError(f"The loss {loss!r} gave shape {tuple(value.shape)}. Expected one number: reduce it.")
            parts[f"{output.name}_loss"] = value
            parts |= {f"{output.name}_loss/{part}": each for part, each in within.items()}
            terms.append(value if weight is None else weight * value)
        if self._regularizers:
            parts["regularization"] = penalty(self._regularizers, tensors)
            terms.append(parts["regularization"])
        if not terms:
            raise ArgumentError("There is nothing to minimise: the loss is None, and there are no regularizers.")
        return {"loss": add(terms), **parts}

    def regularization(self, parameters: Any) -> Tensor:
        """Return the sum of the penalties of the parameters, as a scalar; 0 without regularizers.

        Raises:
            UnknownNameError: if a regularizer names a parameter that is not there, with near matches.
        """
        named = penalized(self._regularizers, parameters)
        if not named:
            return arrive(0.0)[1][0]
        _, tensors = arrive(*named.values())
        return penalty(self._regularizers, dict(zip(named, tensors, strict=True)))

    def constrain(self, parameters: Any) -> Any:
        """Return the parameters, in their own structure, with the constrained ones projected; call it after each step.

        What it returns is new: nothing is changed in place. For a torch module, copy it back without recording:
        `with torch.no_grad(): parameter.copy_(projected)`.

        Raises:
            UnknownNameError: if a constraint names a parameter that is not there, with near matches.
        """
        if not self._constraints:
            return parameters
        given = named(parameters)
        check_names(self._constraints, given, "constraints")
        return unflatten(
            parameters,
            [
                K.stop_gradient(self._constraints[name](each)) if name in self._constraints else each
                for name, each in given.items()
            ],
        )

    # ── What is shown ───────────────────────────────────────────────────────────────────────────────────────

    def update_metrics(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        mask: Any = None,
        parameters: Any = None,
        **inputs: TensorLike,
    ) -> None:
        """Take one more batch into the averages of the losses and into all metrics. No gradient is recorded.

        Arguments and errors are those of a call; the first batch after construction decides the outputs and what
        "accuracy" stands for. A batch that raises an error is not taken in anywhere.
        """
        batch, layout, tensors = self._arrive(y_true, y_pred, sample_weight, mask, parameters)
        losses = self._losses(layout, batch, inputs)
        first = self._layout is None
        if self._layout is None:
            self._tracked = track(self._metrics, self._weighted_metrics, losses, batch, layout)
            self._layout = layout
            self._loss_trackers = {
                output.name: LossTracker(f"{output.name}_loss", loss)
                for loss, output in zip(losses, batch, strict=True)
                if loss is not None
            }
        elif set(layout.names) != set(self._layout.names):  # JAX sorts those of a dict
            raise ArgumentError(
                f"This batch has the outputs {', '.join(layout.names)}, and earlier ones had "
                f"{', '.join(self._layout.names)}. Use one objective for each model."
            )
        restore = kept(self._trackers())
        try:
            self._update(batch, losses, tensors, {name: constant(each) for name, each in inputs.items()})
        except BaseException:
            restore()
            if first:
                self._tracked, self._layout, self._loss_trackers = [], None, {}
            raise

    def _update(self, batch: list[Output], losses: list[Loss | None], tensors: Any, inputs: Any) -> None:
        by_output = {output.name: detached(output) for output in batch}
        for loss, output in zip(losses, by_output.values(), strict=True):
            if loss is not None:
                self._loss_trackers[output.name].update(loss, output, inputs)
        if self._regularizers:
            constants = {name: K.stop_gradient(each) for name, each in tensors.items()}
            value = penalty(self._regularizers, constants)
            self._regularization_tracker.update_state(value, sample_weight=float(rows(batch[0])))
        for tracked in self._tracked:
            tracked.update(by_output[tracked.output])

    def _trackers(self) -> list[Metric]:
        of_losses = [mean for tracker in self._loss_trackers.values() for mean in tracker.means]
        return [self._regularization_tracker, *of_losses, *self.metrics.values()]

    def results(self) -> dict[str, Tensor]:
        """Return the averages over all batches since the last `reset()`, under Keras 3's names.

        "loss" is the total; with several losses "{output}_loss" is each one before its weight. The parts of a `Sum` follow
        as "loss/{part}" or "{output}_loss/{part}", before their weights. Then "regularization", if
        there are regularizers, and the metrics, with several outputs as "{output}_{name}": a string keeps its name, a
        second metric of a name gets "_1", a weighted one "weighted_".

        Raises:
            ArgumentError: before the first batch.
        """
        if self._layout is None:
            raise ArgumentError("No batch has been seen yet. Call update_metrics(y_true, y_pred) first.")
        values = {name: tracker.result() for name, tracker in self._loss_trackers.items()}
        weight_of = dict(zip(self._layout.names, self._weights(self._layout), strict=True))
        terms = [value if weight_of[name] is None else weight_of[name] * value for name, value in values.items()]
        shown: dict[str, Tensor] = {}
        if self._regularizers:
            shown["regularization"] = self._regularization_tracker.result()
            terms.append(shown["regularization"])
        for name, tracker in reversed(self._loss_trackers.items()):
            shown = ({f"{name}_loss": values[name]} if len(values) > 1 else {}) | tracker.parts(len(values) > 1) | shown
        total = {"loss": add(terms)} if terms else {}
        return total | shown | {each.key: each.resolved.metric.result() for each in self._tracked}

    def reset(self) -> None:
        """Forget all batches: call it between epochs, and between training and test."""
        for tracker in self._trackers():
            tracker.reset_state()

    def reset_state(self) -> None:
        """Forget all batches: the name that metrics have for `reset`."""
        self.reset()

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics by the names of `results()`, with "accuracy" and the like resolved; empty before the first batch."""
        return {each.key: each.resolved.metric for each in self._tracked}

    # ── Configs ─────────────────────────────────────────────────────────────────────────────────────────────

    def _given(self) -> dict[str, Any]:
        return {
            "loss": self._loss,
            "metrics": self._metrics,
            "loss_weights": self._loss_weights,
            "weighted_metrics": self._weighted_metrics,
            "sample_weight_mode": self._sample_weight_mode,
            "regularizers": self._regularizers or None,
            "constraints": self._constraints or None,
            "output_names": self._output_names,
        }

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make an equal objective, as JSON-able values; no averages are part of it.

        Raises:
            ArgumentError: for a custom callable that has neither a name nor a config.

        >>> Objective("mse", regularizers={"w": "l2"}).get_config()["regularizers"]["w"]["config"]
        {'l2': 0.01}
        """
        return write(self._given())

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Objective:
        """Return the objective that `get_config` described.

        Args:
            config: as `get_config` wrote it.
            custom_objects: functions and classes of your own, by name.

        Raises:
            UnknownNameError: for a name that is neither ours nor in `custom_objects`.
        """
        return cls(**read(config, custom_objects))

    def __repr__(self) -> str:
        shown = {key: value for key, value in self._given().items() if value is not None}
        return f"Objective({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    # ── Between the two ─────────────────────────────────────────────────────────────────────────────────────

    def _arrive(
        self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any, parameters: Any
    ) -> tuple[list[Output], Layout, dict[str, Tensor]]:
        """Return the arguments output by output, and the penalized parameters, all as tensors of one framework."""
        name = next((next(iter(each)) for each in self._settings if isinstance(each, dict) and len(each) == 1), None)
        layout = layout_of(y_pred, self._output_names, name)
        given = separate(y_true, y_pred, sample_weight, mask, layout)
        named = penalized(self._regularizers, parameters)
        flat = [each for output in given for each in output[1:]]
        _, tensors = arrive(*flat, *named.values())
        modes = for_each_output(self._sample_weight_mode, layout, "sample_weight_mode", holds=is_entries)
        batch = []
        for index, (output, mode) in enumerate(zip(given, modes, strict=True)):
            arrived = Output(output.name, *tensors[4 * index : 4 * index + 4])
            check_weights(arrived, mode)
            batch.append(arrived)
        return batch, layout, dict(zip(named, tensors[len(flat) :], strict=True))

    def _losses(self, layout: Layout, batch: list[Output], inputs: Mapping[str, TensorLike]) -> list[Loss | None]:
        losses = for_each_output(self._loss, layout, "loss", holds=is_entries, complete=True)
        own_weights = self._weights(layout) if is_entries(self._loss_weights) else [None] * len(losses)
        for name, loss, weight, output in zip(layout.names, losses, own_weights, batch, strict=True):
            if loss is None and weight is not None:
                raise ArgumentError(f"loss_weights gives {weight} to the output {name!r}, which has no loss.")
            if loss is not None and output.y_true is None:
                raise ArgumentError(
                    f"The output {name!r} has the loss {loss!r} and no y_true. Pass its targets, or make its loss None."
                )
        check_inputs(losses, inputs)
        return losses

    def _weights(self, layout: Layout) -> list[float | None]:
        return for_each_output(self._loss_weights, layout, "loss_weights", holds=is_entries)
