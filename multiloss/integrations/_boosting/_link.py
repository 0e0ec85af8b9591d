"""Links: from what a loss predicts to the raw scores that trees add up to, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from multiloss._errors import ArgumentError, unknown_name
from multiloss._typing import Tensor
from multiloss.derivatives._shapes import spec_and_parameters
from multiloss.dispatch import K
from multiloss.losses import Loss, Sum


class Link(NamedTuple):
    """One link function."""

    name: str
    inverse: Callable[[Tensor], Tensor]
    """From raw scores, (N, 1) or (N, K), to predictions of that shape."""
    bracket: Callable[[float, float], tuple[float, float]]
    """Between which raw scores the best constant is, given the smallest and the largest target."""


FAR = 34.538776394910684
"""The logit of 1 - 1e-15, beyond which no constant goes."""

LINKS: Mapping[str, Link] = {
    "identity": Link("identity", lambda raw: raw, lambda least, most: (least, most)),
    "logit": Link("logit", lambda raw: K.sigmoid(raw), lambda least, most: (-FAR, FAR)),
    "log": Link(
        "log", lambda raw: K.exp(raw), lambda least, most: (math.log(max(least, 1e-15)), math.log(max(most, 1e-15)))
    ),
    "softmax": Link("softmax", lambda raw: K.softmax(raw, -1), lambda least, most: (-FAR, FAR)),
}
"""By name. `"softmax"` is of the classes of a sample together."""


def link_of(loss: Loss, name: str | None) -> Link:
    """Return the link called `name`, by default the one that the facts about a loss ask for; identity for a custom one.

    Raises:
        UnknownNameError: for a name that is not known.
        ArgumentError: for a sum of losses with different links.
    """
    if name is not None:
        if name not in LINKS:
            raise unknown_name("link", name, LINKS)
        return LINKS[name]
    if isinstance(loss, Sum):
        of_parts = {link_of(each, None).name for each in loss.losses.values()}
        if len(of_parts) > 1:
            raise ArgumentError(
                f"The parts of {loss.name!r} predict through different links: {', '.join(sorted(of_parts))}. Say which one "
                "the raw scores go through: link=..."
            )
        return LINKS[of_parts.pop()]
    spec, _ = spec_and_parameters(loss)
    if spec is None:
        return LINKS["identity"]
    by_prediction = {
        "positive": "log",
        "probability": "logit",
        "probability or logit": "softmax" if spec.event == "joint" else "logit",
        "distribution": "softmax",
        "distribution or logits": "softmax",
    }
    return LINKS[by_prediction.get(spec.prediction, "identity")]
