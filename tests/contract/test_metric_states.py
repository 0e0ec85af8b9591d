"""States: pure, of fixed shapes, merged without loss, exact for any number of batches, the same on every backend."""

from __future__ import annotations

import functools
import itertools
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multiloss import metrics, use_backend
from multiloss._tree import leaves
from multiloss.testing import assert_close
from tests.contract.metric_facts import CLASSES, IDS, VARIANTS, data, make, samples

ROWS = 12
WEIGHT = np.linspace(0.0, 2.0, ROWS).astype(np.float32)
again = settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def splits(draw):
    """Return the edges of 1 to 8 parts, some of them empty, and an order to merge them in."""
    inner = draw(st.lists(st.integers(0, ROWS), max_size=7))
    return [0, *sorted(inner), ROWS], draw(st.randoms(use_true_random=False))


def merged_is_whole(metric, batch, edges, order, tensor, host):
    """Check that the merged states of the parts give what the state of the whole gives."""
    tensors = [tensor(x) for x in batch]
    like = tensors[min(1, len(data(metric)) - 1)]
    parts = [
        metric.update(metric.init(like), *(tensor(x[start:stop]) for x in batch))
        for start, stop in itertools.pairwise(edges)
    ]
    order.shuffle(parts)
    merged = functools.reduce(metric.merge, parts)
    whole = metric.update(metric.init(like), *tensors)
    assert_close(host(metric.compute(merged)), host(metric.compute(whole)), "float32")
    other = metric.merge(metric.init(like), functools.reduce(lambda a, b: metric.merge(b, a), parts))
    assert_close(host(metric.compute(other)), host(metric.compute(whole)), "float32")


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CLASSES)
@again
@given(split=splits())
def test_merged_states_of_any_split_are_the_state_of_the_whole(name, weighted, split, backend, tensor, host):
    batch = [*data(make(name)), *([WEIGHT] if weighted else [])]
    merged_is_whole(make(name), batch, *split, tensor, host)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_merged_states_are_the_state_of_the_whole(name, options, backend, tensor, host):
    metric = make(name, **options)
    batch = data(metric)
    if samples(metric) != (ROWS,) or any(len(x) != ROWS for x in batch):
        return  # classes along the axis that would be split
    merged_is_whole(metric, [*batch, WEIGHT], [0, 4, 4, ROWS], random.Random(0), tensor, host)


@pytest.mark.parametrize("name", CLASSES)
def test_the_empty_state_is_the_identity_of_merging(name, backend, tensor, host):
    metric = make(name)
    batch = [tensor(x) for x in data(metric)]
    state = metric.update(metric.init(batch[-1]), *batch)
    expected = host(metric.compute(state))
    for empty in (metric.init(batch[-1]), metric.init()):
        np.testing.assert_array_equal(host(metric.compute(metric.merge(state, empty))), expected)
        np.testing.assert_array_equal(host(metric.compute(metric.merge(empty, state))), expected)


@pytest.mark.parametrize("name", CLASSES)
def test_states_keep_their_type_shapes_and_dtypes(name, backend, tensor):
    metric = make(name)
    batch, weights = [tensor(x) for x in data(metric)], tensor(WEIGHT)
    states = [metric.init(batch[-1])]
    states.append(metric.update(states[-1], *batch))
    states.append(metric.update(states[-1], *batch, weights))
    states.append(metric.merge(states[-1], states[0]))
    described = [[(tuple(leaf.shape), backend.dtype(leaf)) for leaf in leaves(state)] for state in states]
    assert all(each == described[0] for each in described)
    assert all(type(state) is type(states[0]) for state in states)


@pytest.mark.parametrize("name", CLASSES)
def test_pure_functions_leave_the_metric_and_the_states_alone(name, backend, tensor, host):
    metric = make(name)
    before = dict(vars(metric))
    batch = [tensor(x) for x in data(metric)]
    state = metric.update(metric.init(batch[-1]), *batch)
    held = [host(leaf).copy() for leaf in leaves(state)]
    metric.compute(metric.merge(metric.update(state, *batch), state))
    assert vars(metric) == before
    for leaf, kept in zip(leaves(state), held, strict=True):
        np.testing.assert_array_equal(host(leaf), kept)


@pytest.mark.parametrize(
    ("name", "options", "dtype"),
    [*((*variant, "float32") for variant in VARIANTS), *((name, {}, "float64") for name in CLASSES)],
    ids=[*IDS, *(f"{name}-float64" for name in CLASSES)],
)
def test_every_backend_gives_what_numpy_gives_in_float64(name, options, dtype, backend, tensor, host, float64):
    metric, reference = make(name, **options), make(name, **options)
    size = samples(metric)[0]
    for seed in (0, 1):
        batch = [*data(metric, dtype=dtype, seed=seed), WEIGHT[:size].astype(dtype), np.arange(size) % 5 != 2]
        value = metric(*map(tensor, batch))
        with use_backend("numpy"):
            expected = np.asarray(reference(*(x.astype("float64") if x.dtype.kind == "f" else x for x in batch)))
        assert_close(host(value), expected, backend.dtype(value))  # integer predictions give float32 in any case


# ── Exact for any number of batches ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "Sum"])
def test_counts_grow_beyond_what_float32_holds(name, backend, tensor, host):
    metric = make(name)
    batch = [tensor(x) for x in data(metric)]
    state = metric.update(metric.init(batch[-1]), *batch)
    integers = [leaf for leaf in leaves(state) if not backend.is_floating(leaf)]
    assert any(host(leaf).any() for leaf in integers), "What has no weight is counted in integers."
    for _ in range(24):
        state = metric.merge(state, state)
    grown = metric.update(state, *batch)
    counts = [leaf for leaf in leaves(state) if not backend.is_floating(leaf)]
    for one, many, more in zip(integers, counts, [x for x in leaves(grown) if not backend.is_floating(x)], strict=True):
        np.testing.assert_array_equal(host(many), host(one).astype(np.int64) * 2**24)
        np.testing.assert_array_equal(host(more), host(one).astype(np.int64) * (2**24 + 1))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_million_batches_of_a_tenth_lose_nothing(weighted, backend, tensor, host):
    """Batch by batch, as a loop over batches inside one function adds them up."""
    mean = metrics.Mean()
    value, weight = tensor(np.array([0.1], np.float32)), tensor(np.array([0.3], np.float32)) if weighted else None
    state = mean.init(value)
    if backend.name == "jax":
        import jax

        state = jax.lax.fori_loop(0, 10**6, lambda _, state: mean.update(state, value, weight), state)
    else:
        for _ in range(1000):
            state = mean.update(state, value, weight)
        thousand = state
        for _ in range(999):  # the rest of the million as states that are merged
            state = mean.merge(state, thousand)
    assert float(host(mean.compute(state))) == pytest.approx(float(np.float32(0.1)), rel=1e-7)
    assert int(host(state.count)) == (0 if weighted else 10**6)


# ── Exact areas ─────────────────────────────────────────────────────────────────────────────────────────────────


def pairs_in_order(labels, scores, weights):
    """Return the area under ROC by its meaning: the share of pairs that are ordered, ties as half a pair."""
    hits, total = 0.0, 0.0
    for i, j in itertools.product(np.flatnonzero(labels > 0), np.flatnonzero(labels <= 0)):
        pair = weights[i] * weights[j]
        total += pair
        hits += pair * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
    return hits / total


def average_precision(labels, scores, weights):
    """Return the precision at the score of each positive, averaged over positives."""
    found, total = 0.0, 0.0
    for i in np.flatnonzero(labels > 0):
        above = scores >= scores[i]
        found += weights[i] * (weights * above * (labels > 0)).sum() / (weights * above).sum()
        total += weights[i]
    return found / total


@pytest.mark.parametrize(("curve", "count"), [("ROC", pairs_in_order), ("PR", average_precision)])
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([3, 10, 10**6]), weighted=st.booleans())
def test_the_exact_area_is_that_of_all_pairs(curve, count, seed, levels, weighted, backend, tensor, host, float64):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, 40), rng.integers(0, levels, 40) / levels
    labels[:2] = 0, 1
    weights = rng.choice([0.5, 1.0, 3.0], 40) if weighted else None
    metric = metrics.AUC(num_thresholds=None, curve=curve)
    for part in (slice(0, 16), slice(16, 40)):
        metric.update_state(*(None if x is None else tensor(x[part]) for x in (labels, scores, weights)))
    expected = count(labels, scores, np.ones(40) if weights is None else weights)
    assert float(host(metric.result())) == pytest.approx(expected, abs=1e-12)
