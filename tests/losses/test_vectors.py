"""(N,) targets beside (N,) predictions: the class form of a loss takes them as N samples of one value."""

import numpy as np
import pytest
from multiloss import losses, metrics

Y, P = [0.0, 1.0, 2.0, 4.0], [1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 14.0), ("mean", 3.5), ("none", [1.0, 0.0, 4.0, 9.0])])
def test_each_value_is_a_sample(tensor, host, reduction, expected):
    loss = losses.MeanSquaredError(reduction=reduction)

    np.testing.assert_allclose(host(loss(tensor(Y), tensor(P))), expected)
    np.testing.assert_allclose(host(loss(tensor(Y), tensor(P), sample_weight=[1, 1, 1, 1])), expected)


def test_unequal_parts_add_up_to_the_whole(tensor, host):
    loss = losses.MeanSquaredError()
    parts = [loss.partial(tensor(Y[part]), tensor(P[part])) for part in (slice(0, 1), slice(1, 4))]

    total, weight = (sum(host(each) for each in column) for column in zip(*parts, strict=True))

    assert total / weight == host(loss(tensor(Y), tensor(P)))


def test_the_metric_of_unequal_batches_is_the_loss_of_the_whole(tensor, host):
    metric = metrics.MeanSquaredError()
    for part in (slice(0, 1), slice(1, 4)):
        metric.update_state(tensor(Y[part]), tensor(P[part]))

    assert host(metric.result()) == 3.5


def test_the_function_form_averages_the_last_axis_as_keras_does(tensor, host):
    assert host(losses.mean_squared_error(tensor(Y), tensor(P))) == 3.5
