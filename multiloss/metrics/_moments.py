"""Means, variances and the covariance of two quantities, for each column, from any number of batches.

Sums of squares lose all digits where the mean is far from 0. Here each batch is centred first, and two states become one
by the parallel formula (T. F. Chan, G. H. Golub and R. J. LeVeque, 1979): exact for y ~ 1e4 + N(0, 1), and a column
that never changes has variance 0, not almost 0.
"""

from __future__ import annotations

from typing import NamedTuple

from multiloss._errors import ShapeError
from multiloss._typing import DType, Tensor
from multiloss.dispatch import K
from multiloss.losses._reduction import Selection
from multiloss.metrics._sums import COUNT, add, add_pairs, beside, run, sum_dtype, zeros


class Moments(NamedTuple):
    """One entry for each column; `x_low` is what rounding took from `x`."""

    count: Tensor
    """How many samples arrived without a weight."""
    weight: Tensor
    """The sum of the weights of the others."""
    weight_low: Tensor
    mean_a: Tensor
    mean_a_low: Tensor
    mean_b: Tensor
    mean_b_low: Tensor
    spread_a: Tensor
    """The weighted sum of squared distances from the mean."""
    spread_a_low: Tensor
    spread_b: Tensor
    spread_b_low: Tensor
    together: Tensor
    """The weighted sum of products of distances from the means."""
    together_low: Tensor


def init_moments(like: Tensor, dtype: DType | None, columns: int) -> Moments:
    """Return the state of nothing; without columns it takes those of whatever it is merged with."""
    like = beside(like)
    dtype = sum_dtype(like, dtype)
    # Tensors of their own: torch.compile would compile once more for a state whose parts are one and the same.
    floats = [zeros(like, dtype, (columns,)) for _ in Moments._fields[1:]]
    return Moments(zeros(like, COUNT, (columns,)), *floats)


def total_weight(state: Moments) -> Tensor:
    """Return how much has been seen of each column."""
    return K.cast(state.count, K.dtype(state.weight)) + (state.weight + state.weight_low)


def batch_moments(a: Tensor, b: Tensor, selection: Selection, like: Moments) -> Moments:
    """Return the moments of one batch of shape (N, columns), in the dtypes of `like`."""
    dtype = K.dtype(like.weight)
    zero = K.zeros_like(like.weight)
    weights = selection.weights
    if weights is None:
        present = K.ones_like(a, "bool") if selection.counted is None else selection.counted
        weights = K.cast(present, dtype)
        seen = Moments(K.cast(K.sum(present, 0), K.dtype(like.count)), *[zero] * 12)
    else:
        seen = Moments(K.zeros_like(like.count), K.sum(weights, 0), *[zero] * 11)
    total = K.sum(weights, 0)
    mean_a, rest_a, far_a = _centred(a, weights, total, selection.computed)
    mean_b, rest_b, far_b = _centred(b, weights, total, selection.computed)

    def products(x: Tensor, y: Tensor, rest_x: Tensor, rest_y: Tensor) -> Tensor:
        return K.sum(weights * x * y, 0) - total * rest_x * rest_y

    return seen._replace(
        mean_a=mean_a,
        mean_a_low=rest_a,
        mean_b=mean_b,
        mean_b_low=rest_b,
        spread_a=products(far_a, far_a, rest_a, rest_a),
        spread_b=products(far_b, far_b, rest_b, rest_b),
        together=products(far_a, far_b, rest_a, rest_b),
    )


def _centred(x: Tensor, weights: Tensor, total: Tensor, computed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean of each column, what rounding took from it, and the distances from the mean."""
    mean = K.divide_no_nan(K.sum(weights * x, 0), total)
    highest = K.max(x if computed is None else K.where(computed, x, -float("inf")), 0)
    lowest = K.min(x if computed is None else K.where(computed, x, float("inf")), 0)
    mean = K.where(highest == lowest, highest, mean)  # or rounding would make a constant vary
    far = x - K.expand_dims(mean, 0)
    far = far if computed is None else K.where(computed, far, 0.0)
    return mean, K.divide_no_nan(K.sum(weights * far, 0), total), far


def joined(a: Moments, b: Moments) -> Moments:
    """Return two states as one."""
    weight_a, weight_b = total_weight(a), total_weight(b)
    total = weight_a + weight_b
    share = K.divide_no_nan(weight_b, total)
    high_a, low_a = b.mean_a - a.mean_a, b.mean_a_low - a.mean_a_low
    high_b, low_b = b.mean_b - a.mean_b, b.mean_b_low - a.mean_b_low
    apart_a, apart_b = high_a + low_a, high_b + low_b
    between = weight_a * share
    return Moments(
        a.count + b.count,
        *add_pairs(a.weight, a.weight_low, b.weight, b.weight_low),
        *add(*add(a.mean_a, a.mean_a_low, high_a * share), low_a * share),
        *add(*add(a.mean_b, a.mean_b_low, high_b * share), low_b * share),
        *_grown(a.spread_a, a.spread_a_low, b.spread_a, b.spread_a_low, apart_a * apart_a * between),
        *_grown(a.spread_b, a.spread_b_low, b.spread_b, b.spread_b_low, apart_b * apart_b * between),
        *_grown(a.together, a.together_low, b.together, b.together_low, apart_a * apart_b * between),
    )


def _grown(a: Tensor, a_low: Tensor, b: Tensor, b_low: Tensor, between: Tensor) -> tuple[Tensor, Tensor]:
    return add(*add_pairs(a, a_low, b, b_low), between)


def _joined(*tensors: Tensor) -> Moments:
    half = len(Moments._fields)
    return joined(Moments(*tensors[:half]), Moments(*tensors[half:]))


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Return two states as one; one that has yet to learn its columns gives way."""
    of_a, of_b = int(a.count.shape[0]), int(b.count.shape[0])
    if not of_a or not of_b:
        return a if of_a else b
    check_columns(a, of_b)
    merged: Moments = run(_joined, *a, *b)
    return merged


def check_columns(state: Moments, columns: int) -> None:
    """Raise ShapeError if a state has other columns."""
    known = int(state.count.shape[0])
    if known != columns:
        raise ShapeError(f"There are {columns} columns, and {known} in the batches before. Call reset_state() between.")
