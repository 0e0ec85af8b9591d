"""`as_metric`: a loss or metric that CatBoost shows."""

from __future__ import annotations

from typing import Any

from multiloss.dispatch import K
from multiloss.integrations._boosting import RawMetric, to_host, weights_or_none
from multiloss.integrations.catboost._floats import floats


def as_metric(
    what: Any,
    *,
    link: str | None = None,
    raw: bool = True,
    name: str | None = None,
    greater_is_better: bool = False,
) -> CatBoostMetric:
    """Return a loss or metric for `eval_metric=`, which CatBoost demands beside an objective that is not its own.

    Args:
        what: a loss, whose weighted mean is shown; a metric; or a name.
        link: as in `as_objective`; a metric needs one, since raw scores are what it gets.
        raw: whether raw scores are to be made predictions of. CatBoost hands over raw scores, whatever the objective.
        name: what the value is shown under.
        greater_is_better: for early stopping; False for losses.

    Raises:
        ArgumentError: for a metric of raw scores without a link.
        UnknownNameError: for a name that is not known.
    """
    return _named(what, link, raw, name, greater_is_better)


def _named(*arguments: Any) -> CatBoostMetric:
    """Return the metric as an instance of a class of its name, which is what CatBoost shows."""
    *of_raw, greater_is_better = arguments
    metric = RawMetric(*of_raw)
    cls: type[CatBoostMetric] = type(metric.name, (CatBoostMetric,), {"__reduce__": lambda self: (_named, arguments)})
    return cls(metric, greater_is_better)


class CatBoostMetric:
    """What `as_metric` returns."""

    def __init__(self, metric: RawMetric, greater_is_better: bool) -> None:
        self._metric = metric
        self._greater_is_better = greater_is_better

    def evaluate(self, approxes: Any, target: Any, weight: Any) -> tuple[float, float]:
        """Return the value times the sum of the weights, and that sum: what CatBoost calls."""
        labels = floats(target)
        weights = None if weight is None else weights_or_none(floats(weight))
        columns = [floats(each) for each in approxes]
        scores = to_host(K.stack(columns, -1)) if len(columns) > 1 else columns[0]
        total = float(len(labels) if weights is None else weights.sum())
        return self._metric.evaluate(labels, scores, weights) * total, total

    def get_final_error(self, error: float, weight: float) -> float:
        """Return the value."""
        return error / weight if weight else 0.0

    def is_max_optimal(self) -> bool:
        """Whether more is better."""
        return self._greater_is_better
