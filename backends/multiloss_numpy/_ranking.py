"""The area under the ROC curve by sorting integers.

The area is the share of the pairs of a positive and a negative in which the positive has the higher score, ties counting
half. To count pairs no permutation is needed: the label goes into the lowest bit of an integer that orders as its score
does, the integers are sorted, and the place of a positive among them tells how many negatives are not above it.

Sorting 32 bits takes half as long as 64. So scores are first rounded to 31 bits, which keeps their order but for those
that become equal; these few are counted again with all their bits.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from multiloss._config import num_threads

from multiloss_numpy._blocks import LARGE, in_threads

Array = Any

ROUNDED = 1 << 15
"""From how many scores on rounding them first pays."""


class Pairs(NamedTuple):
    """How many samples there are of each kind, and in how many pairs the positive is higher."""

    twice_won: int
    """Pairs that the positive wins count 2, ties 1."""
    positives: int
    negatives: int

    def below(self, other: Pairs) -> Pairs:
        """Return the pairs among the samples of both, where all scores of `other` are higher."""
        won = self.twice_won + other.twice_won + 2 * other.positives * self.negatives
        return Pairs(won, self.positives + other.positives, self.negatives + other.negatives)


def roc_area(scores: Array, positive: Array, counts: Array | None, weights: Array | None) -> Array:
    """See `Backend.roc_area`."""
    dtype = scores.dtype if weights is None else weights.dtype
    if weights is None or not weights.any():  # nan is not nothing
        if counts is not None and not (counts == 1).all():
            if counts.min() < 0 or counts.max() > 1:
                return dtype.type(_weighted_area(scores, positive, counts))
            scores, positive = scores[counts == 1], positive[counts == 1]
        won, positives, negatives = _pairs(np.asarray(scores, np.float64), positive)
        total = 2 * positives * negatives
        return dtype.type(won / total if total else 0.0)
    return dtype.type(_weighted_area(scores, positive, weights if counts is None else counts + weights))


def ranked_counts(scores: Array, positive: Array, counts: Array, weights: Array) -> Array:
    """See `Backend.ranked_counts`."""
    size = len(scores)
    result = np.zeros((2, size + 1), weights.dtype)
    if not size:
        return result
    if size >= ROUNDED and not weights.any() and (counts == 1).all() and scores.min() >= 0:
        keys = _keys((scores.astype(np.float64) + 0.0).view(np.uint64), positive)
        keys.sort()  # all that is needed is in the keys
        keys = keys[::-1]
        new = (keys[1:] ^ keys[:-1]) > 1
        hits = np.cumsum(keys & np.uint64(1))
        result[0, 1:], result[1, 1:] = hits, np.arange(1, size + 1) - hits.astype(np.int64)
        if not new.all():
            result[:, 1:] = result[:, 1:][:, _last_of_equals(new)]
        return result
    order = np.argsort(-scores)  # equal scores share their numbers, so their order does not matter
    scores = scores[order]
    new = scores[1:] != scores[:-1]
    last = None if new.all() else _last_of_equals(new)
    for row, chosen in ((0, positive), (1, ~positive)):
        total = result[row, 1:]
        total[...] = np.cumsum((counts * chosen)[order])  # of integers, exactly
        if weights.any():
            total += np.cumsum(np.where(chosen, weights, 0.0)[order])
        if last is not None:
            total[...] = total[last]
    return result


def _last_of_equals(new: Array) -> Array:
    """Return for each score the place of the last one that equals it, given where the next one differs."""
    ends = np.concatenate([np.flatnonzero(new), [len(new)]])
    return np.repeat(ends, np.diff(ends, prepend=-1))


def _weighted_area(scores: Array, positive: Array, weights: Array) -> float:
    order = np.argsort(scores)
    scores, positive, weights = scores[order], positive[order], weights[order].astype(np.float64)
    ends = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    won = np.cumsum(np.where(positive, weights, 0.0))[ends]
    lost = np.cumsum(np.where(positive, 0.0, weights))[ends]
    total = won[-1] * lost[-1]
    steps = np.diff(won, prepend=0.0)
    below = lost - 0.5 * np.diff(lost, prepend=0.0)
    return float(steps @ below / total) if total != 0 else 0.0


def _pairs(scores: Array, positive: Array) -> Pairs:
    """Count pairs of float64 scores, rounding them to 31 bits first where that pays."""
    if len(scores) < ROUNDED:
        return _exact_pairs(scores, positive)
    lowest, highest = float(scores.min()), float(scores.max())
    if lowest >= 0 and _are_narrow(_some(scores)) and _are_narrow(scores):
        # A float32 that is not negative has 31 bits, and they order as it does.
        return _in_parts(_keys((scores + 0.0).astype(np.float32).view(np.uint32), positive))[0]
    if _often_equal(scores):
        return _exact_pairs(scores, positive)
    scale = (2.0**31 - 1) / (highest - lowest) if highest > lowest else 0.0
    if not 0.0 < scale < np.inf:  # infinite, nan, or all equal
        return _exact_pairs(scores, positive)
    rounded = ((scores - lowest) * scale).astype(np.uint32)  # rounding in each step keeps the order
    if lowest >= 0 and _often_equal(rounded):
        # Near 0 they differ by factors.
        rounded = (scores + 0.0).astype(np.float32).view(np.uint32)
    pairs, mixed = _in_parts(_keys(rounded, positive))
    if not len(mixed):
        return pairs
    # Some of what became equal may not have been: count it again. More than that, all of it, does no harm.
    shift = 15 if len(mixed) < 1024 else 9
    flags = np.zeros(1 << 31 - shift, bool)
    flags[mixed >> shift] = True
    again = np.flatnonzero(flags[rounded >> shift])
    positive = positive[again]
    exact, equal = _exact_pairs(scores[again], positive), _sorted_pairs(_keys(rounded[again], positive))[0]
    return pairs._replace(twice_won=pairs.twice_won + exact.twice_won - equal.twice_won)


def _in_parts(keys: Array) -> tuple[Pairs, Array]:
    """Do what `_sorted_pairs` does, with the lower and the higher keys on threads of their own."""
    parts = min(num_threads(), 8)
    if parts == 1 or len(keys) < LARGE:
        return _sorted_pairs(keys)
    some = np.sort(_some(keys)) | keys.dtype.type(1)  # no border runs between the labels of one score
    borders = [None, *(some[len(some) * part // parts] for part in range(1, parts)), None]

    def count(borders: tuple[Any, Any]) -> tuple[Pairs, Array]:
        above, upto = borders
        chosen = keys > above if above is not None else keys <= upto
        chosen = chosen & (keys <= upto) if above is not None and upto is not None else chosen
        return _sorted_pairs(np.compress(chosen, keys))  # indexing with a mask takes five times as long

    counted = in_threads(count, list(itertools.pairwise(borders)))
    total = counted[0][0]
    for pairs, _ in counted[1:]:
        total = total.below(pairs)
    return total, np.concatenate([mixed for _, mixed in counted])


def _some(scores: Array) -> Array:
    return scores[:: max(1, len(scores) // 1024)]


def _are_narrow(scores: Array) -> bool:
    """Whether all are float32 numbers."""
    return bool((scores.astype(np.float32) == scores).all())


def _often_equal(scores: Array) -> bool:
    """Whether so many scores are equal that most would have to be counted again, judged by some."""
    some = np.sort(_some(scores))
    return int((some[1:] == some[:-1]).sum()) > len(some) // 32


def _exact_pairs(scores: Array, positive: Array) -> Pairs:
    bits = (scores + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    # Without the sign there is room for the label; so negative scores, which fall as their bits rise, go by themselves.
    negative = scores < 0
    if not negative.any():
        return _in_parts(_keys(bits, positive))[0]
    lower, upper = np.flatnonzero(negative), np.flatnonzero(~negative)
    pairs = _in_parts(_keys(~bits[lower], positive[lower]))[0]
    return pairs.below(_in_parts(_keys(bits[upper], positive[upper]))[0])


def _keys(integers: Array, positive: Array) -> Array:
    keys = integers << integers.dtype.type(1)
    keys |= positive
    return keys


def _sorted_pairs(keys: Array) -> tuple[Pairs, Array]:
    """Sort keys in place; return their pairs, and the integers that positives and negatives have in common, ascending."""
    keys.sort()
    places = np.flatnonzero((keys & keys.dtype.type(1)).astype(bool))  # integers take five times as long
    positives = len(places)
    # Sorted by label too, all negatives of a score are below its positives: as if they won all ties.
    twice_won = 2 * int(places.sum()) - positives * (positives - 1)
    last = np.flatnonzero((keys[1:] ^ keys[:-1]) == 1)  # the last negative of a score that positives share
    integers = keys >> keys.dtype.type(1)
    mixed = integers[last]
    if len(last):
        negatives_tied = last + 1 - np.searchsorted(integers, mixed, "left")
        positives_tied = np.searchsorted(integers, mixed, "right") - last - 1
        twice_won -= int(negatives_tied @ positives_tied)
    return Pairs(twice_won, positives, len(keys) - positives), mixed
