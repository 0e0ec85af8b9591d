"""What holds for every metric class: merging, weights as copies, masks as deletion, shapes of states."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multiloss._tree import leaves
from multiloss.interface import Backend
from tests.metrics.batches import CLASSES, PER_SAMPLE_CLASSES, batch_for, make

Make = Callable[..., Any]
ROWS = 12
again = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])


def close(value: Any, expected: Any) -> None:
    assert float(value) == pytest.approx(float(expected), rel=2e-6, abs=1e-6)


def merged_and_whole(tensors: Make, name: str, cuts: list[int], weighted: bool, order: Any) -> tuple[Any, Any]:
    """Return the results of the merged states of the parts and of the state of the whole."""
    batch = batch_for(name, ROWS)
    like = tensors(batch[-1])[0]
    if weighted:
        batch = [*batch, np.linspace(0.0, 2.0, ROWS).astype("float32")]
    metric = make(name)
    states = [
        metric.update(metric.init(like), *tensors(*(x[start:stop] for x in batch)))
        for start, stop in itertools.pairwise([0, *cuts, ROWS])
    ]
    order.shuffle(states)
    whole = metric.update(metric.init(like), *tensors(*batch))
    return metric.compute(functools.reduce(metric.merge, [metric.init(like), *states])), metric.compute(whole)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_merged_states_are_the_state_of_the_whole(tensors: Make, name: str, weighted: bool) -> None:
    close(*merged_and_whole(tensors, name, [1, 6], weighted, random.Random(0)))


@pytest.mark.parametrize("name", ["Mean", "Sum", "MeanSquaredError", "SparseCategoricalAccuracy", "AUC"])
@again
@given(cuts=st.sets(st.integers(1, ROWS - 1), max_size=7), weighted=st.booleans(), order=st.randoms())
def test_merged_states_of_any_split_are_the_state_of_the_whole(
    tensors: Make, name: str, cuts: set[int], weighted: bool, order: Any
) -> None:
    close(*merged_and_whole(tensors, name, sorted(cuts), weighted, order))


@pytest.mark.parametrize("name", CLASSES)
def test_a_weight_of_k_is_k_copies(tensors: Make, name: str) -> None:
    batch, copies = batch_for(name, ROWS), np.arange(ROWS) % 4
    weighted, repeated = make(name), make(name)
    weighted.update_state(*tensors(*batch), *tensors(copies.astype("float32")))
    repeated.update_state(*tensors(*(np.repeat(x, copies, axis=0) for x in batch)))
    close(weighted.result(), repeated.result())


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("how", ["mask", "sample_weight"])
def test_what_does_not_count_vanishes_whatever_it_contains(tensors: Make, name: str, how: str) -> None:
    batch, kept = batch_for(name, ROWS), np.arange(ROWS) % 3 != 1
    spoiled = [x.copy() for x in batch]
    for x in spoiled:
        x[~kept] = np.resize([np.nan, np.inf, -np.inf, 1e38], x[~kept].shape) if x.dtype.kind == "f" else 77
    expected = make(name)(*tensors(*(x[kept] for x in batch)))
    counts = tensors(kept if how == "mask" else kept.astype("float32"))[0]
    close(make(name)(*tensors(*spoiled), **{how: counts}), expected)


@pytest.mark.parametrize("name", CLASSES)
def test_neither_weights_nor_mask_are_ignored(tensors: Make, name: str) -> None:
    batch = tensors(*batch_for(name, ROWS))
    kept = np.array([True] * 7 + [False] * 5)
    plain = float(make(name)(*batch))
    assert float(make(name)(*batch, mask=tensors(kept)[0])) != pytest.approx(plain, rel=1e-4)
    assert float(make(name)(*batch, tensors((1.0 + 8 * kept).astype("float32"))[0])) != pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("name", CLASSES)
def test_a_weight_and_a_mask_act_together(tensors: Make, name: str) -> None:
    batch, kept = batch_for(name, ROWS), np.arange(ROWS) % 3 != 1
    weights = np.linspace(0.1, 2.0, ROWS).astype("float32")
    both = make(name)(*tensors(*batch, weights, kept))
    close(both, make(name)(*tensors(*(x[kept] for x in (*batch, weights)))))


@pytest.mark.parametrize("name", CLASSES)
def test_states_keep_their_shapes_and_dtypes(backend: Backend, tensors: Make, name: str) -> None:
    metric = make(name)
    batch = tensors(*batch_for(name, ROWS))
    weights = tensors(np.ones(ROWS, "float32"))[0]
    states = [metric.init(batch[-1])]
    states.append(metric.update(states[-1], *batch))
    states.append(metric.update(states[-1], *batch, weights))
    states.append(metric.merge(states[-1], states[0]))
    described = [[(tuple(leaf.shape), backend.dtype(leaf)) for leaf in leaves(state)] for state in states]
    assert all(each == described[0] for each in described)
    assert all(type(state) is type(states[0]) for state in states)


@pytest.mark.parametrize("name", CLASSES)
def test_the_empty_state_changes_nothing_when_merged(tensors: Make, name: str) -> None:
    metric = make(name)
    batch = tensors(*batch_for(name, ROWS))
    state = metric.update(metric.init(batch[-1]), *batch)
    expected = float(metric.compute(state))
    assert float(metric.compute(metric.merge(state, metric.init(batch[-1])))) == expected
    assert float(metric.compute(metric.merge(metric.init(batch[-1]), state))) == expected


@pytest.mark.parametrize("name", CLASSES)
def test_pure_functions_leave_the_metric_alone(tensors: Make, name: str) -> None:
    metric = make(name)
    before = dict(vars(metric))
    batch = tensors(*batch_for(name, ROWS))
    metric.compute(metric.update(metric.init(), *batch))
    assert vars(metric) == before


@pytest.mark.parametrize("name", PER_SAMPLE_CLASSES)
def test_everything_masked_is_the_value_of_nothing(tensors: Make, name: str) -> None:
    metric = make(name)
    assert float(metric(*tensors(*batch_for(name, ROWS)), mask=tensors(np.zeros(ROWS, bool))[0])) == 0.0


def test_ignored_labels_do_not_count(tensors: Make) -> None:
    metric = make("SparseCategoricalCrossentropy", ignore_class=-1)
    labels, scores = batch_for("SparseCategoricalCrossentropy", ROWS)
    ignored = np.where(np.arange(ROWS) < 4, -1, labels)
    expected = make("SparseCategoricalCrossentropy")(*tensors(labels[4:], scores[4:]))
    close(metric(*tensors(ignored, scores)), expected)
    assert int(metric.state.count) == ROWS - 4
