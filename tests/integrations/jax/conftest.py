"""Libraries over JAX around multiloss, on eight devices that XLA makes of the CPU."""

from __future__ import annotations

import os

import pytest

# JAX reads these when it is imported. The libraries rely on the standard promotion of dtypes and ranks.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "standard"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "allow"
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # most of the time would go into XLA's compiler


def pytest_configure(config: pytest.Config) -> None:
    for ignored in (
        "ignore::DeprecationWarning:flax",
        "ignore::DeprecationWarning:equinox",
        "ignore::DeprecationWarning:optax",
    ):
        config.addinivalue_line("filterwarnings", ignored)
