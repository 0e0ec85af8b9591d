"""What an objective remembers between batches: the average loss of each output, and every metric under its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from multiloss._boundary import match_ranks
from multiloss._errors import ArgumentError, MultilossError
from multiloss._registry import owner_of
from multiloss._typing import Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses import Loss, LossFunctionWrapper, Sum
from multiloss.losses._inputs import united
from multiloss.losses._reduction import partial
from multiloss.losses._spec import spec_of
from multiloss.losses._weights import product_of, times
from multiloss.metrics import Mean, Metric
from multiloss.objective._outputs import Layout, Output, for_each_output
from multiloss.objective._resolve import Resolved, as_metric, concrete, is_automatic, resolve
from multiloss.objective._tensors import add, constant

RESERVED = ("loss", "regularization")


class Tracked(NamedTuple):
    """One metric of one output."""

    key: str
    output: str
    resolved: Resolved
    weighted: bool

    def update(self, output: Output) -> None:
        y_true, y_pred, mask = self.resolved.prepare(output.y_true, output.y_pred, output.mask)
        given = {"sample_weight": output.sample_weight if self.weighted else None, "mask": mask}
        try:
            self.resolved.metric.update_state(
                y_true, y_pred, **{key: each for key, each in given.items() if each is not None}
            )
        except MultilossError as error:
            error.add_note(f"This is the metric {self.key!r} of the objective: {self.resolved.metric!r}.")
            raise


def track(
    metrics: Any, weighted_metrics: Any, losses: list[Loss | None], outputs: list[Output], layout: Layout
) -> list[Tracked]:
    """Return every metric of every output, under the names that Keras 3 gives them.

    Raises:
        UnknownNameError: for a metric or an output that is not known.
        ArgumentError: if metrics and outputs do not fit, one metric would serve two outputs, or a name is taken.
    """
    taken: dict[str, int] = {}
    tracked: list[Tracked] = []
    for argument, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
        weighted = argument == "weighted_metrics"
        for entries, loss, output in zip(_entries(given, layout, argument), losses, outputs, strict=True):
            for entry in entries:
                if output.y_true is None:
                    raise ArgumentError(f"The output {output.name!r} has metrics and no y_true. Pass its targets.")
                if is_automatic(entry):
                    name, resolved = entry, resolve(entry, loss, output.y_true, output.y_pred)
                else:
                    name, metric = as_metric(entry)
                    resolved = Resolved(metric)
                if any(resolved.metric is each.resolved.metric for each in tracked):
                    raise ArgumentError(
                        f"{resolved.metric!r} is given twice, and holds one state. Give each place a metric of its own."
                    )
                prefix = f"{output.name}_" if len(outputs) > 1 else ""
                key = _free_name(prefix, name, taken, weighted)
                tracked.append(Tracked(key, output.name, resolved, weighted))
    for each in tracked:
        if each.key in RESERVED or (len(outputs) > 1 and each.key in {f"{output.name}_loss" for output in outputs}):
            raise ArgumentError(f"A metric is called {each.key!r}, which is the name of a part. Give it another name=.")
    return tracked


def _entries(given: Any, layout: Layout, argument: str) -> list[list[Any]]:
    """Return the metrics of each output, as they were given."""
    several = len(layout.names) > 1
    if isinstance(given, Metric) and several:
        raise ArgumentError(
            f"{argument}={given!r} is one metric for {len(layout.names)} outputs, and holds one state. "
            "Give a dict with a metric of its own for each output."
        )
    if isinstance(given, list) and not several:
        return [_flat(given)]  # all of a list belongs to the one output
    return [_flat(each) for each in for_each_output(given, layout, argument, holds=_holds_metrics, groups=True)]


def _holds_metrics(given: Any) -> bool:
    return isinstance(given, list) or (isinstance(given, dict) and "class_name" not in given)


def _flat(given: Any) -> list[Any]:
    if isinstance(given, list):
        return [each for entry in given for each in _flat(entry)]
    return [] if given is None else [given]


def _free_name(prefix: str, name: str, taken: dict[str, int], weighted: bool) -> str:
    """Return the name of a metric, made unique as Keras 3 does, and unlike there also by what a number has made of it."""
    key = f"{prefix}{name}"
    if key in taken and weighted:
        key = f"{prefix}weighted_{name}"
    free = key
    while free in taken:
        free = f"{key}_{taken[key]}"
        taken[key] += 1
    taken[free] = 1
    return free


def kept(trackers: Iterable[Metric]) -> Callable[[], None]:
    """Return a function that gives the trackers, and the metrics that they hold, the attributes back that they have now."""
    metrics = list(trackers)
    for metric in metrics:
        metrics += metric._nested()
    before = [(vars(metric), dict(vars(metric))) for metric in metrics]

    def restore() -> None:
        for attributes, held in before:
            attributes.clear()
            attributes.update(held)

    return restore


def rows(output: Output) -> int:
    """Return the number of samples in a batch."""
    return int(output.y_pred.shape[0]) if output.y_pred.ndim else 1


# ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────────────


def check_inputs(losses: list[Loss | None], inputs: Mapping[str, TensorLike]) -> None:
    """Raise unless the losses take these named inputs and no further ones.

    Raises:
        NamedInputError: with the inputs that there are.
    """
    united([loss._inputs for loss in losses if loss is not None]).check("Objective", inputs)


def _taken(loss: Loss, inputs: Mapping[str, TensorLike]) -> dict[str, TensorLike]:
    return {name: inputs[name] for name in loss.named_inputs if name in inputs}


def value_and_parts(
    loss: Loss, output: Output, inputs: Mapping[str, TensorLike]
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the value of a loss, and those of its parts if it is a `Sum`."""
    loss, given = concrete(loss, output.y_true, output.y_pred), _taken(loss, inputs)
    if not isinstance(loss, Sum):
        return loss(*output[1:], **given), {}
    parts = loss.parts(*output[1:], **given)
    return parts.pop("loss"), parts


class LossTracker:
    """The average loss of one output; for a `Sum` also those of its parts, before their weights.

    The average of a sum is the sum of its terms' averages, each of which is that of all samples, whatever it is divided by.
    """

    def __init__(self, name: str, loss: Loss) -> None:
        self._name = name
        leaves = loss._leaves() if isinstance(loss, Sum) else {}
        self._parts = {part: Mean(f"{name}/{part}") for part in leaves}
        self._terms = {part: Mean(f"{name}/{part}") for part in leaves} or {"": Mean(name)}

    @property
    def means(self) -> list[Metric]:
        """All averages that are kept."""
        return [*self._parts.values(), *self._terms.values()]

    def update(self, loss: Loss, output: Output, inputs: Mapping[str, TensorLike]) -> None:
        """Take in the loss of a batch."""
        for part, (each, factor) in _weighted(loss, output, inputs).items():
            value, weight = _average(each, output, _taken(each, inputs))
            self._terms[part].update_state(constant(times(factor, value)), sample_weight=weight)
            if part in self._parts:
                self._parts[part].update_state(constant(value), sample_weight=weight)

    def result(self) -> Tensor:
        """Return the average of all batches."""
        return add([mean.result() for mean in self._terms.values()])

    def parts(self, several: bool) -> dict[str, Tensor]:
        """Return the averages of the parts, called after the loss; after the output too, if there are several."""
        own = self._name if several else "loss"
        return {f"{own}/{part}": mean.result() for part, mean in self._parts.items()}


def _weighted(loss: Loss, output: Output, inputs: Mapping[str, TensorLike]) -> dict[str, tuple[Loss, Any]]:
    """Return the parts of a sum that are no sums themselves, with their factors; any other loss is its own only part."""
    if not isinstance(loss, Sum):
        return {"": (concrete(loss, output.y_true, output.y_pred), 1.0)}
    found: dict[str, tuple[Loss, Any]] = {}
    call = loss._arrive(*output[1:], _taken(loss, inputs))
    for name, part in loss.losses.items():
        outer = product_of(name, call.factors[name])
        for inner, (leaf, factor) in _weighted(part, output, inputs).items():
            found[f"{name}/{inner}" if inner else name] = leaf, product_of(name, [outer, factor])
    return found


def _average(loss: Loss, output: Output, inputs: Mapping[str, TensorLike]) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch and what it weighs in the average.

    A mean over samples is weighted by what it divides by, so that the average over unequal batches is that of all
    samples; a sum, or a loss of the whole batch, counts as often as the batch has rows.
    """
    _, y_true, y_pred, sample_weight, mask = output
    if isinstance(loss, LossFunctionWrapper) and (spec := spec_of(loss.fn)) is not None:
        total, weight = loss._run(y_true, y_pred, sample_weight, mask, parts=True, **inputs)
        matched = match_ranks(y_true, y_pred)[1]
        whole = matched.ndim < 2 and spec.event == "mean" and sample_weight is None and mask is None
    else:
        values, selection = loss._selected(owner_of(y_pred), y_true, y_pred, sample_weight, mask, **inputs)
        total, weight = partial(values, selection, loss.reduction)
        whole = not values.ndim
    if loss.reduction == "sum" or whole:
        value = total if loss.reduction == "sum" else K.divide_no_nan(total, weight)
        return value, float(rows(output))
    return K.divide_no_nan(total, weight), weight
