"""A loss or metric, evaluated on raw scores."""

from __future__ import annotations

import copy
from typing import Any

from multiloss import losses, metrics
from multiloss._errors import ArgumentError
from multiloss.derivatives._shapes import spec_and_parameters, with_parameters
from multiloss.integrations._boosting._link import LINKS, link_of
from multiloss.integrations._boosting._raw import RawLoss, column, to_host
from multiloss.losses import Loss
from multiloss.losses._spec import spec_of
from multiloss.metrics import Metric


class RawMetric:
    """A number for a data set: the weighted mean of a loss, or any metric of `(y_true, y_pred)`.

    Args:
        what: a loss, a metric, or its name; a loss is looked up first.
        link: of the raw scores. By default what the loss predicts decides; a metric needs one.
        raw: whether the library hands over raw scores, as it does beside an objective of ours, or predictions.
        name: what the value is shown under. Default: its own.
    """

    def __init__(self, what: Any, link: str | None, raw: bool, name: str | None) -> None:
        found = _resolve(what)
        self.raw = raw
        self.metric: Metric | None = None
        self.loss: RawLoss | None = None
        if isinstance(found, Metric):
            if raw and link is None:
                raise ArgumentError(
                    f"{found!r} is a metric of predictions, and the library hands over raw scores. Say by which link they "
                    f"become predictions: link= one of {', '.join(map(repr, LINKS))}; or raw=False beside a built-in objective."
                )
            self.metric = found
            self.link = LINKS["identity"] if link is None else link_of(losses.MeanSquaredError(), link)
            own = str(found.name)
        else:
            self.loss = RawLoss(found, link, "constant", 0.0)
            self.link = self.loss.link
            own = self.loss.name
        self.name = name or own

    def evaluate(self, labels: Any, scores: Any, weight: Any) -> float:
        """Return the value for labels (N,), raw scores or predictions (N,) or (N, K), and weights (N,) or None."""
        scores = column(scores)
        if self.loss is None:
            assert self.metric is not None
            predictions = to_host(self.link.inverse(scores)) if self.raw else scores
            if predictions.shape[1] == 1:
                predictions = predictions[:, 0]
            metric = copy.copy(self.metric)
            metric.reset_state()
            metric.update_state(labels, predictions, sample_weight=weight)
            return float(to_host(metric.result()))
        targets = self.loss.targets(labels, scores)
        used = self.loss.of_raw if self.raw else _of_predictions(self.loss.loss)
        value = with_parameters(used, reduction="mean_with_sample_weight")(targets, scores, weight)
        return float(to_host(value))


def _resolve(what: Any) -> Any:
    """Return a metric or something that is a loss."""
    if isinstance(what, (Metric, Loss)) or spec_of(what) is not None:
        return what
    if isinstance(what, str):
        try:
            return losses.get(what)
        except ValueError:
            return metrics.get(what)
    if isinstance(what, type):
        return what()
    return what


def _of_predictions(loss: Loss) -> Loss:
    """Return a loss of probabilities where it could be of logits."""
    _, parameters = spec_and_parameters(loss)
    of_logits = parameters.get("from_logits") or vars(loss).get("from_logits")
    return with_parameters(loss, from_logits=False) if of_logits else loss
