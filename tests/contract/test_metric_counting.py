"""What counts in metrics, and how much: weights, masks, batches of nothing."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss.testing import assert_close
from tests.contract.metric_facts import CLASSES, IDS, OPERANDS, TOTALS, VARIANTS, data, differ, make, samples

ROWS = 12
KEPT = np.arange(ROWS) % 3 != 1
WEIGHT = np.array([1.0, 0.0, 2.0, 0.5, 0.0, 3.0, 1.0, 0.0, 0.25, 4.0, 1.0, 2.0], np.float32)
GARBAGE = {"nan": [np.nan], "anything": [np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, -1.0, 2.0]}


@pytest.fixture
def value(tensor, host):
    """Give the value of a metric after one batch of NumPy arrays."""

    def value(metric, *arrays, **named):
        named = {key: tensor(each) for key, each in named.items()}
        return host(metric(*(None if each is None else tensor(each) for each in arrays), **named))

    return value


def spoilt(x, garbage):
    x = x.copy()
    x[~KEPT] = np.resize(garbage, x[~KEPT].shape) if x.dtype.kind == "f" else np.resize([99, -1], x[~KEPT].shape)
    return x


@pytest.mark.parametrize("name", CLASSES)
def test_zero_weight_removes_a_sample(name, value):
    batch, kept = data(make(name)), WEIGHT != 0
    weighted = value(make(name), *batch, WEIGHT)
    assert_close(weighted, value(make(name), *(x[kept] for x in batch), WEIGHT[kept]), "float32")


@pytest.mark.parametrize("name", CLASSES)
def test_a_weight_of_k_is_k_copies(name, value):
    batch, copies = data(make(name)), np.arange(ROWS) % 4
    weighted = value(make(name), *batch, copies.astype(np.float32))
    assert_close(weighted, value(make(name), *(np.repeat(x, copies, axis=0) for x in batch)), "float32")


@pytest.mark.parametrize("name", CLASSES)
def test_a_mask_removes_a_sample_beside_weights_too(name, value):
    batch = data(make(name))
    masked = value(make(name), *batch, mask=KEPT)
    assert_close(masked, value(make(name), *(x[KEPT] for x in batch)), "float32")
    together = value(make(name), *batch, WEIGHT, KEPT)
    assert_close(together, value(make(name), *(x[KEPT] for x in (*batch, WEIGHT))), "float32")
    numbers = value(make(name), *batch, mask=2.0 * KEPT.astype(np.float32))  # whatever is not 0 counts
    assert_close(numbers, masked, "float32")


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_neither_weights_nor_mask_are_ignored(name, options, value):
    size = samples(make(name, **options))[0]
    some = np.arange(size) % 4 != 1
    by_mask, by_weight = False, False
    for seed in range(6):  # some batches are so clear that their value is an extreme whatever counts
        batch = data(make(name, **options), seed=seed)
        plain = value(make(name, **options), *batch)
        by_mask = by_mask or differ(plain, value(make(name, **options), *batch, mask=some))
        by_weight = by_weight or differ(plain, value(make(name, **options), *batch, (1 + 8 * some).astype(np.float32)))
    assert by_mask
    assert by_weight


@pytest.mark.parametrize("name", OPERANDS)
def test_a_weight_per_sample_is_never_one_per_step(name, value):
    """Also where there are as many samples as steps."""
    batch = data(make(name), (3, 3, 4))
    weight, steps = np.array([1.0, 2.0, 4.0], np.float32), np.arange(9, dtype=np.float32).reshape(3, 3)
    if name == "R2Score" or batch[0].ndim == 1:
        return  # whose samples are rows
    by_sample = value(make(name), *batch, weight)
    assert_close(value(make(name), *batch, weight[:, None]), by_sample, "float32")
    assert_close(value(make(name), *batch, np.repeat(weight[:, None], 3, 1)), by_sample, "float32")
    assert_close(value(make(name), *batch, mask=weight > 1), value(make(name), *(x[1:] for x in batch)), "float32")
    assert value(make(name), *batch, steps).shape == by_sample.shape


@pytest.mark.parametrize("how", ["mask", "weight"])
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("name", CLASSES)
def test_what_does_not_count_reaches_nothing(name, garbage, how, value):
    first, second = data(make(name)), data(make(name), seed=1)
    expected = make(name)
    value(expected, *(x[KEPT] for x in first))
    counts = {"mask": KEPT} if how == "mask" else {"sample_weight": KEPT.astype(np.float32)}
    metric = make(name)
    broken = [spoilt(x, each) for x, each in zip(first, (garbage, garbage[::-1]), strict=False)]
    value(metric, *broken, **counts)
    # It reaches the state neither: the next batch has the value that it has without.
    assert_close(value(metric, *second), value(expected, *second), "float32")


@pytest.mark.parametrize("name", CLASSES)
def test_a_batch_of_which_nothing_counts_changes_nothing(name, value, host):
    batch = data(make(name))
    nothing = [np.full_like(x, np.nan) if x.dtype.kind == "f" else np.full_like(x, 99) for x in batch]
    for counts in ({"mask": np.zeros(ROWS, bool)}, {"sample_weight": np.zeros(ROWS, np.float32)}):
        metric = make(name)
        empty = value(metric, *nothing, **counts)
        assert np.isfinite(empty).all()
        assert not empty.any()
        after = value(metric, *batch)
        assert_close(after, value(make(name), *batch), "float32")
        value(metric, *nothing, **counts)
        assert_close(host(metric.result()), after, "float32")


@pytest.mark.parametrize("name", CLASSES)
def test_an_empty_batch_changes_nothing(name, value, host):
    batch = data(make(name))
    metric = make(name)
    empty = value(metric, *(x[:0] for x in batch))
    assert np.isfinite(empty).all()
    assert not empty.any()
    assert_close(value(metric, *batch), value(make(name), *batch), "float32")
    after = host(metric.result())
    value(metric, *(x[:0] for x in batch), np.zeros(0, np.float32), np.zeros(0, bool))
    np.testing.assert_array_equal(host(metric.result()), after)


@pytest.mark.parametrize("name", CLASSES)
def test_a_batch_that_is_refused_leaves_nothing_behind(name, value, host, tensor):
    batch = data(make(name))
    metric = make(name)
    expected = value(metric, *batch)
    with pytest.raises(ValueError, match="shape"):
        metric.update_state(*map(tensor, batch), tensor(np.ones(5, np.float32)))
    np.testing.assert_array_equal(host(metric.result()), expected)


@pytest.mark.parametrize("name", TOTALS)
def test_a_scalar_weight_scales_a_total(name, value):
    batch = data(make(name))
    assert_close(value(make(name), *batch, np.float32(2.5)), 2.5 * value(make(name), *batch), "float32")


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in (*TOTALS, "R2Score")])
def test_a_scalar_weight_changes_no_average(name, value):
    batch = data(make(name))
    assert_close(value(make(name), *batch, np.float32(2.5)), value(make(name), *batch), "float32")
