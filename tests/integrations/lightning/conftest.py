"""Lightning around multiloss, on one CPU and without files."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    for ignored in (
        "ignore::UserWarning:lightning",  # advice about workers and logging
        "ignore::DeprecationWarning:lightning",
        "ignore::FutureWarning:lightning",
        "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning",
        "ignore:.*torch.jit.*:DeprecationWarning",
        "ignore::DeprecationWarning:pkg_resources",
    ):
        config.addinivalue_line("filterwarnings", ignored)
