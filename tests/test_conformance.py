"""The three backends run the conformance suite that third-party backends run."""

from __future__ import annotations

import pytest
from multiloss.testing import BackendConformance


class TestConformance(BackendConformance):
    @pytest.fixture(autouse=True)
    def _jax_holds_float64(self, request):
        if "dtype" in request.fixturenames and request.getfixturevalue("dtype") == "float64":
            request.getfixturevalue("float64")
