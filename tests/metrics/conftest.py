from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def tensors(tensor: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Give NumPy arrays as tensors of the backend; None stays None."""

    def convert(*arrays: Any) -> list[Any]:
        return [None if each is None else tensor(each) for each in arrays]

    return convert
