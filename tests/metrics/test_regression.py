"""R2 and correlations: far from 0, constant, weighted, streamed; references computed by NumPy in one go."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from multiloss import grad, metrics
from multiloss._errors import ArgumentError, ShapeError, UnknownNameError
from multiloss.interface import Backend

Make = Callable[..., Any]
NAN = float("nan")
CLASSES = {"PearsonCorrelation": "pearson_correlation", "ConcordanceCorrelation": "concordance_correlation"}


def r2(true: Any, pred: Any, weights: Any) -> Any:
    mean = np.average(true, axis=0, weights=weights)
    weights = weights[:, None]
    return 1 - (weights * (true - pred) ** 2).sum(0) / (weights * (true - mean) ** 2).sum(0)


def correlation(name: str, x: Any, y: Any, weights: Any) -> float:
    """Return the correlation of two vectors."""
    mx, my = np.average(x, weights=weights), np.average(y, weights=weights)
    vx, vy, cov = (np.average(each, weights=weights) for each in ((x - mx) ** 2, (y - my) ** 2, (x - mx) * (y - my)))
    return float(cov / np.sqrt(vx * vy) if name.startswith("Pearson") else 2 * cov / (vx + vy + (mx - my) ** 2))


def data(rows: int = 60, columns: int = 3, offset: float = 0.0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(rows)
    true = rng.normal(size=(rows, columns)) * [1, 2, 5][:columns] + offset
    return true, true + rng.normal(size=true.shape) * 0.7 + 0.1, rng.uniform(0.1, 2, rows)


def stream(metric: Any, tensor: Make, *arrays: Any, sizes: tuple[int, ...] = (1, 7, 0, 20)) -> Any:
    bounds = [0, *np.cumsum(sizes), len(arrays[0])]
    for start, stop in itertools.pairwise(bounds):
        metric.update_state(*(None if each is None else tensor(each[start:stop]) for each in arrays))
    return metric.result()


@pytest.mark.parametrize("weighted", [False, True])
def test_r2_is_the_share_of_the_variance(float64: None, tensor: Make, host: Make, weighted: bool) -> None:
    true, pred, weights = data()
    given = weights if weighted else None
    each = r2(true, pred, weights if weighted else np.ones(60))
    np.testing.assert_allclose(host(stream(metrics.R2Score(None), tensor, true, pred, given)), each, rtol=1e-12)
    assert float(stream(metrics.R2Score(), tensor, true, pred, given)) == pytest.approx(each.mean(), rel=1e-12)
    spread = np.cov(true.T, aweights=given).diagonal() if weighted else true.var(0)
    by_variance = stream(metrics.R2Score("variance_weighted_average"), tensor, true, pred, given)
    assert float(by_variance) == pytest.approx(np.average(each, weights=spread), rel=1e-12)


@pytest.mark.parametrize("offset", [1e4, -3e5])
def test_r2_keeps_its_digits_far_from_zero(tensor: Make, offset: float) -> None:
    true, pred, _ = data(500, 1, offset)
    true, pred = true.astype("float32"), pred.astype("float32")
    expected = r2(true.astype("float64"), pred.astype("float64"), np.ones(500))[0]
    streamed = stream(metrics.R2Score(), tensor, true, pred, sizes=(100, 1, 50, 20))
    assert float(streamed) == pytest.approx(expected, abs=2e-6)
    merged = [metrics.R2Score() for _ in range(50)]
    for at, part in enumerate(merged):
        part.update_state(tensor(true[at * 10 : at * 10 + 10]), tensor(pred[at * 10 : at * 10 + 10]))
    merged[7].merge_state([*merged[8:], *merged[:7]])
    assert float(merged[7].result()) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_correlations_keep_their_digits_far_from_zero(tensor: Make, name: str) -> None:
    true, pred, _ = data(500, 1, 1e4)
    true, pred = true.astype("float32")[:, 0], pred.astype("float32")[:, 0]
    expected = correlation(name, true.astype("float64"), pred.astype("float64"), np.ones(500))
    assert float(stream(getattr(metrics, name)(), tensor, true, pred)) == pytest.approx(expected, abs=2e-6)


def test_adjusted_r2_counts_samples_and_not_their_columns(float64: None, tensor: Make) -> None:
    true, pred, _ = data(20, 2)
    plain = r2(true, pred, np.ones(20)).mean()
    adjusted = stream(metrics.R2Score(num_regressors=3), tensor, true, pred)
    assert float(adjusted) == pytest.approx(1 - (1 - plain) * 19 / 16, rel=1e-12)
    assert float(metrics.R2Score(num_regressors=3)(tensor(true[:4]), tensor(pred[:4]))) == pytest.approx(
        r2(true[:4], pred[:4], np.ones(4)).mean()
    )
    copies = np.arange(20) % 3
    weighted = metrics.R2Score(num_regressors=3)(tensor(true), tensor(pred), tensor(copies.astype(float)))
    repeated = metrics.R2Score(num_regressors=3)(tensor(np.repeat(true, copies, 0)), tensor(np.repeat(pred, copies, 0)))
    assert float(weighted) == pytest.approx(float(repeated), rel=1e-12)


def test_r2_of_equal_targets_is_one_if_they_are_met_and_else_zero(tensor: Make, host: Make) -> None:
    true = np.full((9, 2), 0.1, "float32")
    pred = true + np.array([0.0, 0.2], "float32")
    assert host(stream(metrics.R2Score(None), tensor, true, pred, sizes=(2, 3))).tolist() == [1.0, 0.0]
    assert float(stream(metrics.R2Score("variance_weighted_average"), tensor, true, pred, sizes=(2, 3))) == 0.5
    assert float(metrics.R2Score().result()) == 0.0


def test_r2_takes_vectors_and_sequences(tensor: Make) -> None:
    true, pred, weights = data(12, 1)
    expected = float(metrics.R2Score()(tensor(true), tensor(pred), tensor(weights)))
    assert float(metrics.R2Score()(tensor(true[:, 0]), tensor(pred[:, 0]), tensor(weights))) == expected
    steps = tuple(each.reshape(4, 3, 1) for each in (true, pred))
    assert float(metrics.R2Score()(*(tensor(each) for each in steps), tensor(weights.reshape(4, 3)))) == expected
    metric = metrics.R2Score()
    metric.update_state(tensor(true), tensor(pred))
    with pytest.raises(ShapeError, match=r"2 columns, and 1"):
        metric.update_state(tensor([[1.0, 2.0]]), tensor([[1.0, 2.0]]))


def test_arguments_of_r2_outside_their_domain_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="uniform_average"):
        metrics.R2Score("uniform")
    for value in (-1, 1.5, True):
        with pytest.raises(ArgumentError, match="num_regressors"):
            metrics.R2Score(num_regressors=value)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_correlation_over_samples_does_not_depend_on_batches(
    float64: None, tensor: Make, name: str, weighted: bool
) -> None:
    true, pred, weights = data()
    given = weights if weighted else None
    each = [correlation(name, true[:, at], pred[:, at], weights if weighted else np.ones(60)) for at in range(3)]
    for axis in (0, -2):
        value = stream(getattr(metrics, name)(axis=axis), tensor, true, pred, given)
        assert float(value) == pytest.approx(np.mean(each), rel=1e-12)
    for shape in ((60,), (60, 1)):
        value = stream(getattr(metrics, name)(), tensor, true[:, 0].reshape(shape), pred[:, 0].reshape(shape), given)
        assert float(value) == pytest.approx(each[0], rel=1e-12)


@pytest.mark.parametrize("name", CLASSES)
def test_correlation_of_each_sample_is_averaged(float64: None, tensor: Make, name: str) -> None:
    true, pred, weights = data()
    each = [correlation(name, x, y, np.ones(3)) for x, y in zip(true, pred, strict=True)]
    assert float(stream(getattr(metrics, name)(), tensor, true, pred)) == pytest.approx(np.mean(each), rel=1e-12)
    value = stream(getattr(metrics, name)(axis=1), tensor, true, pred, weights)
    assert float(value) == pytest.approx(np.average(each, weights=weights), rel=1e-12)


@pytest.mark.parametrize("name", CLASSES)
def test_what_does_not_count_does_not_correlate(float64: None, tensor: Make, name: str) -> None:
    true, pred, weights = data()
    kept = np.arange(60) % 3 != 0
    pred = np.where(kept[:, None], pred, NAN)
    for axis in (0, -1):
        expected = getattr(metrics, name)(axis=axis)(*(tensor(each[kept]) for each in (true, pred, weights)))
        value = getattr(metrics, name)(axis=axis)(tensor(true), tensor(pred), tensor(weights), tensor(kept))
        assert float(value) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("name", CLASSES)
def test_a_constant_correlates_with_nothing_and_has_no_gradient(tensor: Make, host: Make, name: str) -> None:
    constant, varied = tensor(np.full((1, 7), 0.1, "float32")), tensor(np.arange(7, dtype="float32")[None])
    function = getattr(metrics, CLASSES[name])
    assert host(function(varied, constant)).tolist() == [pytest.approx(0.0, abs=1e-7)]
    for pair in ((varied, constant), (constant, constant)):
        assert np.isfinite(host(grad(function)(*pair))).all()
        assert float(getattr(metrics, name)()(*pair)) == pytest.approx(0.0, abs=1e-7)
    column = tensor(np.full((7, 1), 0.1, "float32"))
    assert float(getattr(metrics, name)()(tensor(np.arange(7.0)[:, None]), column)) == pytest.approx(0.0, abs=1e-7)
    assert float(getattr(metrics, name)().result()) == 0.0


@pytest.mark.parametrize("name", CLASSES)
def test_the_two_kinds_of_correlation_do_not_mix(tensor: Make, name: str) -> None:
    metric = getattr(metrics, name)()
    metric.update_state(tensor([1.0, 2.0]), tensor([1.0, 3.0]))
    with pytest.raises(ShapeError, match="reset_state"):
        metric.update_state(tensor([[1.0, 2.0]]), tensor([[1.0, 3.0]]))
    rows = getattr(metrics, name)()
    rows.update_state(tensor([[1.0, 2.0]]), tensor([[1.0, 3.0]]))
    with pytest.raises(ShapeError, match="reset_state"):
        rows.update_state(tensor([1.0, 2.0]), tensor([1.0, 3.0]))
    with pytest.raises(ShapeError, match="reset_state"):
        rows.merge(rows.state, metric.state)
    assert rows.merge(rows.init(), rows.state) is rows.state


@pytest.mark.parametrize(
    "metric",
    [
        metrics.R2Score(None, 2, "mine", "float64"),
        metrics.PearsonCorrelation("mine", "float64", 0),
        metrics.ConcordanceCorrelation("mine", axis=1),
    ],
)
def test_configs_hold_every_argument(backend: Backend, metric: Any) -> None:
    twin = metrics.deserialize(json.loads(json.dumps(metrics.serialize(metric))))
    assert type(twin) is type(metric)
    assert twin.get_config() == metric.get_config()
