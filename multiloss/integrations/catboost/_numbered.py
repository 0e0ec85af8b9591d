"""Objectives whose targets are the numbers of rows: what `fit` trains with named inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catboost import CatBoost, CatBoostClassifier, MultiTargetCustomMetric, MultiTargetCustomObjective

from multiloss._errors import ArgumentError
from multiloss.dispatch import K
from multiloss.integrations._boosting import column, to_host, weights_or_none
from multiloss.integrations.catboost._floats import floats


class Numbered:
    """An objective and the metric beside it, which shows the mean of the loss."""

    def __init__(self, objective: Any, labels: Any) -> None:
        self._objective, self._labels = objective, labels

    def __deepcopy__(self, memo: Any) -> Any:
        return self  # CatBoost copies its parameters

    def forget(self) -> None:
        """Let go of the training data."""
        self._objective = self._labels = None

    def _evaluate(self, raw: Any, rows: Any, weight: Any) -> tuple[float, float]:
        weights = None if weight is None else weights_or_none(floats(weight))
        total = float(len(rows) if weights is None else weights.sum())
        return self._objective.raw.value(self._labels[rows], raw, weights, rows), total

    def get_final_error(self, error: float, weight: float) -> float:
        """Return the mean."""
        return error / weight if weight else 0.0

    def is_max_optimal(self) -> bool:
        """Return False: it is a loss."""
        return False


class NumberedRows(Numbered):
    """Of one score per row."""

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> list[tuple[float, float]]:
        """Return the first and second derivatives of minus the loss for each row: what CatBoost calls."""
        rows = _whole(targets)
        found: list[tuple[float, float]] = self._objective._derivatives(self._labels[rows], approxes, weights, rows)
        return found

    def evaluate(self, approxes: Any, target: Any, weight: Any) -> tuple[float, float]:
        """Return the sum of the weighted losses, and of the weights: what CatBoost calls."""
        return self._evaluate(column(floats(approxes[0])), _whole(target), weight)


class NumberedClasses(Numbered, MultiTargetCustomObjective, MultiTargetCustomMetric):
    """Of one score per class, which CatBoost gives a row that has as many targets: each of them is the number of the row.

    CatBoost asks for derivatives row by row. It asks after each tree for the metric, at the scores of all rows at which it will
    ask for derivatives next: these are computed then, all together, and kept for as long as the scores are the same.
    """

    _kept: Any
    """The scores of all rows, and the gradient and the blocks of the Hessian there."""

    def __init__(self, objective: Any, labels: Any) -> None:
        super().__init__(objective, labels)
        self._constant = floats(objective.constant)
        self._keep(to_host(K.full((len(labels), len(objective.constant)), 0.0, dtype="float64")))

    def forget(self) -> None:
        super().forget()
        self._kept = self._constant = None

    def _keep(self, scores: Any) -> None:
        self._kept = (scores, *self._objective._blocks(self._labels, scores + self._constant, None))

    def calc_ders_multi(self, approxes: Any, targets: Any, weight: float) -> tuple[Sequence[float], Sequence[Any]]:
        """Return the first and second derivatives of minus the loss for one row: what CatBoost calls."""
        row = int(targets[0])
        scores, gradient, block = self._kept
        if (scores[row] == approxes).all():
            return -weight * gradient[row], -weight * block[row]
        one = slice(row, row + 1)
        raw = floats(approxes).reshape(1, -1) + self._constant
        gradient, block = self._objective._blocks(self._labels[one], raw, one)
        return -weight * gradient[0], -weight * block[0]

    def evaluate(self, approxes: Any, targets: Any, weight: Any) -> tuple[float, float]:
        """Return the sum of the weighted losses, and of the weights: what CatBoost calls."""
        rows = _whole(targets[0])
        scores = to_host(K.stack([floats(each) for each in approxes], -1))
        if len(rows) == len(self._labels):
            by_number = scores.copy()
            by_number[rows] = scores
            self._keep(by_number)
        return self._evaluate(scores + self._constant, rows, weight)


def _whole(numbers: Any) -> Any:
    return floats(numbers).astype("int64")


_MOST_ROWS = 2**24
"""Up to which CatBoost's targets, in float32, count."""


def check_numbered(model: CatBoost, others: Mapping[str, Any], rows: int) -> None:
    """Raise for what would take the numbers of rows for targets.

    Raises:
        ArgumentError: saying what to do without.
    """
    why = "Named inputs are found by the numbers of rows, which this objective trains on as targets, and "
    if isinstance(model, CatBoostClassifier):
        raise ArgumentError(
            f"{why}a {type(model).__name__} would make classes of them. Use CatBoostRegressor, and predict_proba of the "
            "objective."
        )
    if model.get_param("eval_metric") is not None:
        raise ArgumentError(
            f"{why}eval_metric would take them for targets. Leave it out: the mean of the loss is shown."
        )
    if others.get("eval_set") is not None:
        raise ArgumentError(f"{why}the rows of an eval_set have none. Leave it out, and evaluate afterwards.")
    for name in ("cat_features", "text_features", "embedding_features"):
        if others.get(name) is not None or model.get_param(name) is not None:
            raise ArgumentError(f"{why}{name} would be encoded by them. Encode these features yourself, as numbers.")
    if rows > _MOST_ROWS:
        raise ArgumentError(
            f"{why}there are {rows}. Expected at most {_MOST_ROWS}, up to which CatBoost's float32 counts."
        )
