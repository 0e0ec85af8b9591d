"""What an objective shows."""

import pytest


@pytest.fixture
def shown(tensor, host):
    """The results of an objective for one batch, as Python floats."""

    def show(objective, y_true, y_pred, **given):
        objective.update_metrics(y_true, y_pred, **given)
        return {name: float(host(value)) for name, value in objective.results().items()}

    return show
