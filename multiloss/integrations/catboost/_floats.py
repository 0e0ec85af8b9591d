"""Numbers of a host as arrays."""

from __future__ import annotations

from typing import Any

from multiloss.dispatch import K
from multiloss.integrations._boosting import to_host


def floats(x: Any) -> Any:
    """Return numbers of a host, in whatever container, as an array of float64."""
    return to_host(K.cast(K.asarray(x), "float64"))
