"""The coefficient of determination."""

from __future__ import annotations

from typing import Any

from multiloss._boundary import align, arrive_batch, as_floats, match_ranks, require_real
from multiloss._errors import unknown_name
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses._reduction import select
from multiloss.metrics._arguments import whole
from multiloss.metrics._base import Metric
from multiloss.metrics._moments import (
    Moments,
    batch_moments,
    check_columns,
    init_moments,
    joined,
    merge_moments,
    total_weight,
)
from multiloss.metrics._sums import as_result, run

__all__ = ["R2Score"]

AGGREGATIONS = ("uniform_average", "variance_weighted_average")


def columns_of(y_pred: Tensor) -> int:
    """Return how many columns a batch has: those of its last axis, and one for (N,)."""
    return int(y_pred.shape[-1]) if y_pred.ndim > 1 else 1


def as_columns(
    y_true: Tensor, y_pred: Tensor, sample_weight: Tensor, mask: Tensor, dtype: DType, columns: int
) -> tuple[Tensor, Tensor, Any]:
    """Return targets and predictions of shape (samples, columns), 0 where they do not count, and what counts."""
    require_real(y_true)
    y_true, y_pred = align(y_true, as_floats(y_pred, dtype))
    y_true, y_pred = K.cast(y_true, dtype), K.cast(y_pred, dtype)
    selection = select(sample_weight, mask, tuple(y_pred.shape), dtype)
    if selection.computed is not None:
        y_true, y_pred = (K.where(selection.computed, each, 0.0) for each in (y_true, y_pred))

    def flat(x: Tensor) -> Tensor:
        return None if x is None else K.reshape(x, (-1, columns))

    return flat(y_true), flat(y_pred), type(selection)(*(flat(each) for each in selection))


class R2Score(Metric):
    """The share of the variance of the targets that predictions explain, for each column or as an average.

    Formula, for each column: `1 - sum(w (y_true - y_pred)^2) / sum(w (y_true - mean(y_true))^2)`, over all samples of
    all batches. A column of equal targets has 1 if its predictions are exact and else 0, as in scikit-learn.

    With `num_regressors=p` it is adjusted: `1 - (1 - R2) (n - 1) / (n - p - 1)`, where n is the number of samples, or
    the sum of their weights (a weight of k is k copies); as it is while n <= p + 1.

    Shapes: `(N, columns)`, `(N, ..., columns)` or `(N,)`, which is one column; weights and mask align on the leading
    axes. The result has shape `(columns,)` without an aggregation. The first batch decides how many columns there are;
    before it, the pure `init()` does not know: give it a batch of predictions, `init(y_pred)`, where shapes must not
    change.

    Args:
        class_aggregation: `"uniform_average"`, `"variance_weighted_average"` (columns weigh as their targets vary), or
            None: one value for each column.
        num_regressors: how many predictors the model used; 0 does not adjust.
        name: shown in logs.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.

    Raises:
        UnknownNameError: for an unknown aggregation.
        ArgumentError: if `num_regressors` is no whole number of at least 0.

    >>> round(float(R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])), 4)
    0.5714
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        if class_aggregation is not None and class_aggregation not in AGGREGATIONS:
            raise unknown_name("class aggregation", class_aggregation, AGGREGATIONS)
        self.class_aggregation = class_aggregation
        self.num_regressors = whole("num_regressors", num_regressors, 0)

    def init(self, like: Tensor = None) -> Moments:
        return init_moments(like, self.dtype, columns_of(like) if like is not None else 0)

    def update(
        self,
        state: Moments,
        /,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
    ) -> Moments:
        """Return the state after one more batch.

        Raises:
            ShapeError: if targets, predictions, weights or mask do not align, or the number of columns is another.
            MixedBackendsError: for tensors of two frameworks.
        """
        backend, (*held, y_true, y_pred, sample_weight, mask) = arrive_batch(state, y_true, y_pred, sample_weight, mask)
        _, matched = match_ranks(y_true, y_pred)
        state = Moments(*held) if held[0].shape[0] else self.init(matched)
        check_columns(state, columns_of(matched))
        updated: Moments = backend.run(_add_errors, *state, y_true, y_pred, sample_weight, mask)
        return updated

    def merge(self, a: Moments, b: Moments, /) -> Moments:
        return merge_moments(a, b)

    def compute(self, state: Moments, /) -> Tensor:
        return run(_r2, *state, aggregation=self.class_aggregation, regressors=self.num_regressors, dtype=self.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "class_aggregation": self.class_aggregation,
            "num_regressors": self.num_regressors,
        }


def _add_errors(*tensors: Tensor) -> Moments:
    """Return the state after one more batch: of the targets and of the errors, whose square must not be a difference."""
    state, (y_true, y_pred, sample_weight, mask) = Moments(*tensors[:-4]), tensors[-4:]
    dtype, columns = K.dtype(state.weight), state.count.shape[0]
    y_true, y_pred, selection = as_columns(y_true, y_pred, sample_weight, mask, dtype, columns)
    if not y_true.shape[0]:
        return state
    return joined(state, batch_moments(y_true, y_true - y_pred, selection, state))


def _r2(*tensors: Tensor, aggregation: str | None, regressors: int, dtype: DType | None) -> Tensor:
    state = Moments(*tensors)
    n = total_weight(state)
    mean_error = state.mean_b + state.mean_b_low
    wrong = (state.spread_b + state.spread_b_low) + n * mean_error * mean_error
    spread = state.spread_a + state.spread_a_low
    constant = K.cast((wrong == 0) & (n != 0), K.dtype(spread))
    scores = K.where(spread == 0, constant, 1.0 - K.divide_no_nan(wrong, spread))
    scores = K.where(K.isnan(wrong), wrong, scores)
    if regressors:
        enough = n > regressors + 1
        free = K.where(enough, n - 1.0 - regressors, 1.0)
        scores = K.where(enough, 1.0 - (1.0 - scores) * (n - 1.0) / free, scores)
    if aggregation is not None:
        mean = K.sum(scores) / max(1, scores.shape[0])
        if aggregation == "variance_weighted_average":
            varies = K.sum(spread)
            mean = K.where(varies == 0, mean, K.divide_no_nan(K.sum(scores * spread), varies))
        scores = mean
    return as_result(scores, dtype)
