"""How often each of several things happened: integers where nothing is weighted, compensated sums of weights elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from multiloss._typing import DType, Shape, Tensor
from multiloss.dispatch import K
from multiloss.metrics._sums import COUNT, add, add_pairs, beside, sum_dtype, zeros


class TallyState(NamedTuple):
    """One entry for each thing that is counted."""

    count: Tensor
    """How often it happened without a weight."""
    weight: Tensor
    """The sum of the weights of the other times."""
    weight_low: Tensor


def init_tally(like: Tensor, dtype: DType | None, shape: Shape) -> TallyState:
    """Return the state of nothing, beside `like`."""
    like = beside(like)
    dtype = sum_dtype(like, dtype)
    # Tensors of their own: torch.compile would compile once more for a state whose parts are one and the same.
    return TallyState(zeros(like, COUNT, shape), zeros(like, dtype, shape), zeros(like, dtype, shape))


def tally(state: TallyState, count: Tensor = None, weight: Tensor = None, poison: Tensor = None) -> TallyState:
    """Return the state after more: a count or a weight for each entry; `poison` is added to the weights, 0 or nan."""
    total, low = state.weight, state.weight_low
    counted = state.count if count is None else state.count + K.cast(count, K.dtype(state.count))
    if weight is not None:
        total, low = add(total, low, weight)
    return TallyState(counted, total if poison is None else total + poison, low)


def merge_tallies(*tensors: Tensor) -> TallyState:
    """Return two states as one."""
    a, b = TallyState(*tensors[:3]), TallyState(*tensors[3:])
    return TallyState(a.count + b.count, *add_pairs(a.weight, a.weight_low, b.weight, b.weight_low))


def totals(*tensors: Tensor) -> Tensor:
    """Return counts and weights as one number for each entry."""
    state = TallyState(*tensors)
    return K.cast(state.count, K.dtype(state.weight)) + (state.weight + state.weight_low)
