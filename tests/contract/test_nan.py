"""A prediction of nan costs nan, in a batch of any size: never a plausible number."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import backend as K
from tests.contract.facts import SAMPLEWISE, data, function

ROW = 7


@pytest.mark.parametrize("rows", [10, 2000])
@pytest.mark.parametrize("name", SAMPLEWISE)
def test_a_row_of_nan_is_nan_and_no_other(name, rows, backend, tensor, host):
    y_true, y_pred = data(name, (rows, 4))
    y_pred = y_pred.copy()
    y_pred[ROW] = np.nan
    expected = np.arange(rows) == ROW
    np.testing.assert_array_equal(np.isnan(host(function(name)(tensor(y_true), tensor(y_pred)))), expected)


@pytest.mark.parametrize("bound", ["number", "tensor"])
@pytest.mark.parametrize("operation", ["maximum", "minimum"])
def test_a_sum_of_larger_or_smaller_numbers_is_nan_if_one_of_them_is(operation, bound, backend, tensor, host, compiled):
    x = np.linspace(-1.0, 1.0, 8000, dtype=np.float32).reshape(2000, 4)
    x[ROW, 2], x[ROW + 1, 1], x[ROW + 2, 1] = np.nan, np.inf, -np.inf
    other = 0.5 if bound == "number" else tensor(np.full_like(x, 0.5))
    choose = getattr(K, operation)
    for sides in ((0, 1), (1, 0)):
        sums = compiled(lambda x, sides=sides: K.sum(choose(*((x, other)[side] for side in sides)), axis=-1))
        np.testing.assert_array_equal(np.isnan(host(sums(tensor(x)))), np.arange(2000) == ROW)


def test_the_largest_and_the_smallest_of_many_are_infinite_if_one_is_and_nan_if_one_is(backend, tensor, host):
    x = np.linspace(-1.0, 1.0, 8000, dtype=np.float32).reshape(2000, 4)
    x[ROW + 1, 1], x[ROW + 2, 1] = np.inf, -np.inf
    assert host(K.max(tensor(x))) == np.inf
    assert host(K.min(tensor(x))) == -np.inf
    x[ROW, 2] = np.nan
    assert np.isnan(host(K.max(tensor(x))))
    assert np.isnan(host(K.min(tensor(x))))
