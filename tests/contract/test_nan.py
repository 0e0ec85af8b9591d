"""A prediction of nan costs nan, in a batch of any size: never a plausible number."""

from __future__ import annotations

import numpy as np
import pytest
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
