"""`as_metric`: a loss or metric that LightGBM shows."""

from __future__ import annotations

from typing import Any

import lightgbm

from multiloss._typing import TensorLike
from multiloss.integrations._boosting import RawMetric, weights_or_none


def as_metric(
    what: Any,
    *,
    link: str | None = None,
    raw: bool = True,
    name: str | None = None,
    greater_is_better: bool = False,
) -> LightGBMMetric:
    """Return a loss or metric for `lightgbm.train(..., feval=)` and for `eval_metric=` of its estimators.

    Args:
        what: a loss, whose weighted mean is shown; a metric; or a name.
        link: as in `as_objective`; a metric needs one, since raw scores are what it gets.
        raw: whether LightGBM hands over raw scores, as it does beside an objective of ours; False beside a built-in one.
        name: what the value is shown under.
        greater_is_better: for early stopping; False for losses.

    Raises:
        ArgumentError: for a metric of raw scores without a link.
        UnknownNameError: for a name that is not known.
    """
    return LightGBMMetric(RawMetric(what, link, raw, name), greater_is_better)


class LightGBMMetric:
    """What `as_metric` returns."""

    def __init__(self, metric: RawMetric, greater_is_better: bool) -> None:
        self._metric = metric
        self._greater_is_better = greater_is_better
        self.__name__ = metric.name

    def __call__(self, first: Any, second: Any, sample_weight: TensorLike = None) -> tuple[str, float, bool]:
        """Return `(name, value, greater_is_better)`, given `(scores, Dataset)` or `(y_true, scores, sample_weight)`."""
        if isinstance(second, lightgbm.Dataset):
            scores, labels, weight = first, second.get_label(), second.get_weight()
        else:
            labels, scores, weight = first, second, sample_weight
        value = self._metric.evaluate(labels, scores, weights_or_none(weight))
        return self.__name__, value, self._greater_is_better
