"""Keras itself around multiloss: one run for each of Keras' backends, which it reads once from `KERAS_BACKEND`.

`@pytest.mark.keras_on("torch", "jax")`: the test is about these alone; Keras on NumPy, for one, cannot train.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "standard"  # Keras relies on both, and JAX reads them when it is imported
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "allow"
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # most of the time would go into XLA's compiler


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "keras_on(*names): the test is about these backends of Keras alone")
    # Keras 3.15's variables under NumPy 2.
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation doesn't accept:DeprecationWarning")


def pytest_report_header() -> str:
    return f"Keras on {os.environ['KERAS_BACKEND']}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = os.environ["KERAS_BACKEND"]
    other = [item for item in items if any(here not in each.args for each in item.iter_markers("keras_on"))]
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if item not in set(other)]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Where a model is saved."""
    return tmp_path / "model.keras"
