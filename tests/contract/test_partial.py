"""`partial`: the parts of a batch add up to the whole, in value and gradient, however it is split."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multiloss import _errors, value_and_grad
from multiloss.testing import public_loss_classes
from tests.contract.facts import CLASSES, INTERACTING, RATIOS, SAMPLEWISE_CLASSES, data, value_and_gradient

SAMPLES = 8
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


@st.composite
def splits(draw):
    """Return the edges of 1 to 8 parts, some of them empty."""
    inner = draw(st.lists(st.integers(0, SAMPLES), max_size=SAMPLES - 1))
    return [0, *sorted(inner), SAMPLES]


def close(actual, expected, dtype):
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in SAMPLEWISE_CLASSES if name not in INTERACTING])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=2)
@given(edges=splits(), reduction=st.sampled_from(["sum_over_batch_size", "mean_with_sample_weight", "sum"]))
def test_parts_add_up_to_the_whole(name, dtype, reduction, edges, backend, tensor, host, float64):
    y_true, y_pred = data(name, (SAMPLES, 3), dtype)
    rng = np.random.default_rng(0)
    weight = rng.choice([0.0, 0.5, 1.0, 2.0], SAMPLES).astype(dtype)
    mask = rng.random(SAMPLES) > 0.3
    loss = public_loss_classes()[name](reduction=reduction)
    expected, expected_gradient = value_and_gradient(loss, *(tensor(each) for each in (y_true, y_pred, weight, mask)))

    total, denominator, gradients = 0.0, 0.0, []
    for start, stop in itertools.pairwise(edges):
        part = [tensor(each[start:stop]) for each in (y_true, y_pred, weight, mask)]

        def numerator(y_pred, part=part):
            return loss.partial(part[0], y_pred, *part[2:])

        if backend.differentiable:
            (part_total, part_weight), gradient = value_and_grad(numerator, has_aux=True)(part[1])
            gradients.append(host(gradient))
        else:
            part_total, part_weight = numerator(part[1])
        total, denominator = total + host(part_total), denominator + host(part_weight)
    scale = 1.0 if reduction == "sum" or denominator == 0 else denominator
    close(total / scale, expected, dtype)
    if backend.differentiable:
        close(np.concatenate(gradients) / scale, expected_gradient, dtype)


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in INTERACTING])
def test_parts_without_weights_add_up_too(name, backend, tensor, host):
    y_true, y_pred = data(name, (6, 3))
    loss = public_loss_classes()[name]()
    first, second = (
        loss.partial(tensor(y_true[rows]), tensor(y_pred[rows])) for rows in (slice(None, 2), slice(2, None))
    )
    whole = (host(first[0]) + host(second[0])) / (host(first[1]) + host(second[1]))
    close(whole, host(loss(tensor(y_true), tensor(y_pred))), "float32")


@pytest.mark.parametrize("name", RATIOS)
def test_weighted_parts_of_a_ratio_add_up_in_value(name, backend, tensor, host):
    y_true, y_pred = data(name, (6, 3))
    weight = np.array([1.0, 2.0, 0.0, 0.5, 1.0, 3.0], np.float32)
    loss = public_loss_classes()[name]()
    parts = [
        [host(each) for each in loss.partial(*(tensor(each[rows]) for each in (y_true, y_pred, weight)))]
        for rows in (slice(None, 2), slice(2, 3), slice(3, None))
    ]
    whole = sum(total for total, _ in parts) / sum(size for _, size in parts)
    close(whole, host(loss(*(tensor(each) for each in (y_true, y_pred, weight)))), "float32")


@pytest.mark.parametrize("name", INTERACTING)
def test_parts_are_refused_where_samples_are_compared_with_each_other(name, backend, tensor):
    with pytest.raises(_errors.ArgumentError, match="do not add up to the whole"):
        public_loss_classes()[name]().partial(*(tensor(each) for each in data(name)))


def test_nothing_is_added_up_without_a_reduction():
    with pytest.raises(_errors.ArgumentError, match="reduction='none'"):
        public_loss_classes()["MeanSquaredError"](reduction="none").partial([[1.0]], [[2.0]])
