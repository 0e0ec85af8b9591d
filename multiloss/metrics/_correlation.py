"""Correlations of targets and predictions: along an axis of each batch, or over all samples that were ever seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multiloss._boundary import arrive_batch, match_ranks, normalize_axis
from multiloss._typing import DType, Tensor, TensorLike
from multiloss.dispatch import K
from multiloss.losses._spec import loss
from multiloss.metrics._means import MeanMetricWrapper, MeanState
from multiloss.metrics._moments import (
    Moments,
    batch_moments,
    check_columns,
    init_moments,
    joined,
    merge_moments,
    total_weight,
)
from multiloss.metrics._r2 import as_columns
from multiloss.metrics._sums import as_result, run

__all__ = ["ConcordanceCorrelation", "PearsonCorrelation", "concordance_correlation", "pearson_correlation"]


@loss(y_true="real", y_pred="real", event="joint")
def pearson_correlation(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Pearson's correlation of targets and predictions along an axis: 1 if one grows linearly with the other.

    Formula: `cov(y_true, y_pred) / (std(y_true) std(y_pred))` over `axis`; 0, with gradient 0, if either is constant.

    Shapes: `(..., D)` and `(..., D)` to `(...)`, or with D on another `axis`.

    >>> y_true, y_pred = [[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]]
    >>> [round(float(each), 4) for each in pearson_correlation(y_true, y_pred)]
    [1.0, 0.9934]
    """
    return K.sum(_direction(y_true, axis) * _direction(y_pred, axis), axis)


def _direction(x: Tensor, axis: int) -> Tensor:
    """Return the distances from the mean, divided by their norm; 0 if all are alike."""
    return K.l2_normalize(x - _mean(x, axis), axis)


def _mean(x: Tensor, axis: int) -> Tensor:
    """Return the mean along an axis, which stays; that of a constant is the constant, or rounding would make it vary."""
    highest = K.max(x, axis, True)
    return K.where(highest == K.min(x, axis, True), highest, K.mean(x, axis, True))


@loss(y_true="real", y_pred="real", event="joint")
def concordance_correlation(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Lin's concordance correlation along an axis: 1 if predictions equal targets, and not only grow with them.

    Formula: `2 cov(y_true, y_pred) / (var(y_true) + var(y_pred) + (mean(y_true) - mean(y_pred))^2)` over `axis`; 0, with
    gradient 0, if both are constant and equal.

    Shapes: `(..., D)` and `(..., D)` to `(...)`, or with D on another `axis`.

    Source: L. I.-K. Lin, A Concordance Correlation Coefficient to Evaluate Reproducibility, Biometrics 45, 1989.

    >>> y_true, y_pred = [[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]]
    >>> [round(float(each), 4) for each in concordance_correlation(y_true, y_pred)]
    [0.9756, 0.9877]
    """
    mean_true, mean_pred = _mean(y_true, axis), _mean(y_pred, axis)
    far_true, far_pred = y_true - mean_true, y_pred - mean_pred
    apart = K.squeeze(mean_true - mean_pred, axis)
    spread = K.mean(K.square(far_true) + K.square(far_pred), axis) + K.square(apart)
    return K.divide_no_nan(2.0 * K.mean(far_true * far_pred, axis), spread)


def _pearson(state: Moments) -> Tensor:
    spread_true, spread_pred = state.spread_a + state.spread_a_low, state.spread_b + state.spread_b_low
    # Rounding can leave a spread just below 0.
    norm = K.sqrt(K.maximum(spread_true, 0.0)) * K.sqrt(K.maximum(spread_pred, 0.0))
    return K.divide_no_nan(state.together + state.together_low, norm)


def _concordance(state: Moments) -> Tensor:
    apart = (state.mean_a - state.mean_b) + (state.mean_a_low - state.mean_b_low)
    spread = (state.spread_a + state.spread_a_low) + (state.spread_b + state.spread_b_low)
    spread = spread + total_weight(state) * apart * apart
    return K.divide_no_nan(2.0 * (state.together + state.together_low), spread)


def _mean_correlation(*tensors: Tensor, correlation: Callable[[Moments], Tensor], dtype: DType | None) -> Tensor:
    values = correlation(Moments(*tensors))
    return as_result(K.sum(values) / max(1, values.shape[0]), dtype)


def _add_pairs(*tensors: Tensor) -> Moments:
    state, (y_true, y_pred, sample_weight, mask) = Moments(*tensors[:-4]), tensors[-4:]
    dtype, columns = K.dtype(state.weight), state.count.shape[0]
    y_true, y_pred, selection = as_columns(y_true, y_pred, sample_weight, mask, dtype, columns)
    return joined(state, batch_moments(y_true, y_pred, selection, state)) if y_true.shape[0] else state


class Correlation(MeanMetricWrapper):
    """What both correlations share: which axis is correlated, and the states for it."""

    axis: int
    _over_samples: Callable[[Moments], Tensor]

    def _columns(self, y_pred: Tensor) -> int:
        """Return how many columns are correlated over samples; 0 if it is along another axis of each sample."""
        shape = tuple(y_pred.shape)
        rank = max(1, len(shape))
        if normalize_axis(self.axis, rank) and not (self.axis == -1 and rank == 2 and shape[1] == 1):
            return 0
        columns = 1
        for size in shape[1:]:
            columns *= size
        return columns

    def init(self, like: Tensor = None) -> Any:
        columns = 0 if like is None else self._columns(like)
        return super().init(like) if like is not None and not columns else init_moments(like, self.dtype, columns)

    def update(
        self,
        state: Any,
        /,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
    ) -> Any:
        """Return the state after one more batch.

        Raises:
            ShapeError: if targets, predictions, weights or mask do not align, or the number of columns is another.
            MixedBackendsError: for tensors of two frameworks.
        """
        backend, (*held, y_true, y_pred, sample_weight, mask) = arrive_batch(state, y_true, y_pred, sample_weight, mask)
        held = type(state)(*held)
        _, matched = match_ranks(y_true, y_pred)
        columns = self._columns(matched)
        if isinstance(held, Moments) and not held.count.shape[0]:
            held = self.init(matched)
        if isinstance(held, MeanState) and not columns:
            return super().update(held, y_true, y_pred, sample_weight, mask)
        check_columns(held if isinstance(held, Moments) else init_moments(y_pred, self.dtype, 0), columns)
        return backend.run(_add_pairs, *held, y_true, y_pred, sample_weight, mask)

    def _structure(self, values: list[Tensor]) -> Any:
        return MeanState(*values) if len(values) == len(MeanState._fields) else super()._structure(values)

    def merge(self, a: Any, b: Any, /) -> Any:
        if isinstance(a, Moments) and isinstance(b, Moments):
            return merge_moments(a, b)
        if isinstance(a, Moments) or isinstance(b, Moments):
            unknown, known = (a, b) if isinstance(a, Moments) else (b, a)
            check_columns(unknown, 0)
            return known
        return super().merge(a, b)

    def compute(self, state: Any, /) -> Tensor:
        if isinstance(state, MeanState):
            return super().compute(state)
        return run(_mean_correlation, *state, correlation=type(self)._over_samples, dtype=self.dtype)


class PearsonCorrelation(Correlation):
    """Pearson's correlation of targets and predictions.

    With `axis=0`, and for `(N,)` and `(N, 1)` always, it is that of all samples of all batches together, for each
    column, averaged over columns: it does not depend on how samples are batched. With another axis, such as the default
    for `(N, D)`, each sample has a correlation of its own, `pearson_correlation`, and these are averaged.

    A constant has correlation 0 with anything.

    Shapes: `(N, ...)` and `(N, ...)`; weights and mask align on the leading axes. The first batch decides which of the
    two it is; where shapes must not change, begin with `init(y_pred)`.

    Args:
        name: shown in logs.
        dtype: of the result. Default: that of the first `y_pred`, at least float32.
        axis: along which to correlate; 0 is that of the samples.

    >>> y_true, y_pred = [[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]]
    >>> round(float(PearsonCorrelation(axis=-1)(y_true, y_pred)), 4)
    0.9967
    >>> metric = PearsonCorrelation()
    >>> metric.update_state([1.0, 2.0], [2.0, 1.0])
    >>> metric.update_state([3.0, 4.0], [3.0, 5.0])
    >>> round(float(metric.result()), 4)
    0.8315
    """

    _over_samples = staticmethod(_pearson)

    def __init__(self, name: str | None = "pearson_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name, dtype, axis=axis)


class ConcordanceCorrelation(Correlation):
    """Lin's concordance correlation of targets and predictions; over what, is said at `PearsonCorrelation`.

    >>> y_true, y_pred = [[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]]
    >>> round(float(ConcordanceCorrelation(axis=-1)(y_true, y_pred)), 4)
    0.9816
    """

    _over_samples = staticmethod(_concordance)

    def __init__(self, name: str | None = "concordance_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, name, dtype, axis=axis)
