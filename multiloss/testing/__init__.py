"""What a backend must do, as tests that any backend runs unchanged, and the table of tolerances.

    import pytest
    from multiloss.testing import BackendConformance
    import multiloss_mine

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self):
            return multiloss_mine.backend

Needs pytest and NumPy, and the backend's framework. `check_loss(MyLoss(), y_true, y_pred)` and `check_metric` hold a loss or
metric of your own to the library's rules, on the active backend.
"""

from multiloss.testing._checks import check_loss, check_metric
from multiloss.testing._kinks import KinkCase, kink_cases
from multiloss.testing._losses import (
    NEEDED_BESIDE,
    PARAMETER_VALUES,
    LossCase,
    example,
    loss_cases,
    parameter_values,
    public_loss_classes,
    public_losses,
    variants,
)
from multiloss.testing._metrics import (
    METRIC_PARAMETER_VALUES,
    NEEDED,
    TAKES,
    make_metric,
    metric_arguments,
    metric_example,
    metric_variants,
    public_metric_classes,
    public_metric_functions,
    taken_by,
)
from multiloss.testing._operations import OperationCase, operation_cases
from multiloss.testing._suite import BackendConformance
from multiloss.testing._tolerance import DIFFERENCES, TOLERANCES, Tolerance, assert_close

__all__ = [
    "DIFFERENCES",
    "METRIC_PARAMETER_VALUES",
    "NEEDED",
    "NEEDED_BESIDE",
    "PARAMETER_VALUES",
    "TAKES",
    "TOLERANCES",
    "BackendConformance",
    "KinkCase",
    "LossCase",
    "OperationCase",
    "Tolerance",
    "assert_close",
    "check_loss",
    "check_metric",
    "example",
    "kink_cases",
    "loss_cases",
    "make_metric",
    "metric_arguments",
    "metric_example",
    "metric_variants",
    "operation_cases",
    "parameter_values",
    "public_loss_classes",
    "public_losses",
    "public_metric_classes",
    "public_metric_functions",
    "taken_by",
    "variants",
]
