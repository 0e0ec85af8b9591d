"""Lends the strict backend to the tests of this folder, as if a distribution had installed it."""

from __future__ import annotations

import pytest
from multiloss import _registry
from tests.fakes import strict


@pytest.fixture
def strict_backend(monkeypatch):
    monkeypatch.setitem(_registry._loaded, "strict", strict.backend)
    monkeypatch.setitem(_registry._owners, strict.StrictTensor, strict.backend)
    with _registry.use_backend("strict") as backend:
        yield backend
