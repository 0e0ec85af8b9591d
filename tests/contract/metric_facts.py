"""The public metrics, as the contract tests go through them: a new metric is covered by being exported."""

from __future__ import annotations

from typing import Any

import numpy as np
from multiloss._errors import MultilossError
from multiloss.losses._spec import LossSpec
from multiloss.metrics import Metric
from multiloss.testing import make_metric, metric_example, metric_variants, public_metric_classes, taken_by

CLASSES = sorted(public_metric_classes())
VARIANTS = [(name, options) for name in CLASSES for options in metric_variants(public_metric_classes()[name])]


def described(name: str, options: dict[str, Any]) -> str:
    """Return a name for a test, the same in every process."""
    return "-".join([name, *(f"{key}={getattr(value, '__name__', value)}" for key, value in options.items())])


IDS = [described(*variant) for variant in VARIANTS]
VALUES = [name for name in CLASSES if taken_by(make_metric(public_metric_classes()[name])) == "values"]
OPERANDS = [name for name in CLASSES if name not in VALUES]
"""Those that take targets and predictions."""
TOTALS = ["FalseNegatives", "FalsePositives", "Sum", "TrueNegatives", "TruePositives"]
"""Those that grow with what they have seen."""


def make(which: str, /, **options: Any) -> Metric:
    return make_metric(public_metric_classes()[which], **options)


def has_classes(name: str) -> bool:
    """Whether the last axis of the predictions belongs to classes, whose number must be right."""
    taken = taken_by(make(name))
    if isinstance(taken, LossSpec):
        return taken.target in ("class index", "one-hot")
    return name.startswith(("OneHot", "F1", "FBeta"))


def data(metric: Metric, shape: tuple[int, ...] = (12, 8), dtype: str = "float32", seed: int = 0) -> list[Any]:
    """Return a batch for a metric as read-only NumPy arrays."""
    arrays = [np.asarray(each) for each in metric_example(metric, shape, seed)]
    arrays = [each.astype(dtype) if each.dtype.kind == "f" else each.copy() for each in arrays]
    for each in arrays:
        each.flags.writeable = False
    return arrays


def samples(metric: Metric) -> tuple[int, ...]:
    """Return the shape of what weights can weigh, in the batches of `data` whose classes may be on axis 0."""
    return (8,) if metric.get_config().get("axis") == 0 and _consumes_an_axis(metric) else (12,)


def _consumes_an_axis(metric: Metric) -> bool:
    taken = taken_by(metric)
    return isinstance(taken, LossSpec) and "Correlation" not in type(metric).__name__


def outcome(call: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what a call gives, as a NumPy array, or the name of the error that it raises."""
    from multiloss._registry import owner_of

    try:
        result = call(*args, **kwargs)
    except MultilossError as error:
        return type(error).__name__
    return owner_of(result).to_numpy(result)


def differ(one: Any, other: Any) -> bool:
    """Whether two outcomes are told apart."""
    if isinstance(one, str) or isinstance(other, str):
        return not (isinstance(one, str) and isinstance(other, str) and one == other)
    return one.shape != other.shape or not np.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True)
