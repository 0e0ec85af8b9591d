"""For tests of the tests: what calls a test function, and what makes a loss or metric public for a while."""

from __future__ import annotations

import pytest
from tests.contract.test_metric_counting import value
from tests.contract.test_weights import call

__all__ = ["call", "value"]  # fixtures of the tests that are called


@pytest.fixture
def run(request, backend, tensor, host, call, value, float64):
    """Call a test function as pytest does: with its fixtures by their names."""
    fixtures = {"backend": backend, "tensor": tensor, "host": host, "call": call, "value": value, "float64": float64}

    def run(test, *arguments):
        code = test.__code__
        names = code.co_varnames[: code.co_argcount]
        given = dict(zip((name for name in names if name not in fixtures), arguments, strict=True))
        return test(**{name: each for name, each in fixtures.items() if name in names} | given)

    return run


@pytest.fixture
def register(monkeypatch):
    """Make objects public for the time of a test."""

    def register(package, **objects):
        for name, each in objects.items():
            monkeypatch.setattr(package, name, each, raising=False)
        monkeypatch.setattr(package, "__all__", [*package.__all__, *objects])

    return register
