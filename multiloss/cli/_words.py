"""The facts that a loss declares about its arguments, in words."""

from __future__ import annotations

from multiloss.losses._spec import LossSpec

TARGETS = {
    "real": "real numbers",
    "positive": "positive numbers",
    "sign": "labels -1 and 1, or 0 and 1",
    "probability": "0 or 1, or probabilities between",
    "one-hot": "one-hot or soft labels",
    "class index": "class indices, 0 to C - 1",
    "class index sequence": "sequences of class indices, padded with blanks",
    "id": "identities, any integers",
}
"""What `y_true` holds."""

PREDICTIONS = {
    "real": "real numbers",
    "positive": "positive numbers",
    "margin": "signed scores",
    "probability or logit": "probabilities",
    "distribution or logits": "class probabilities",
    "label": "predicted labels",
    "logits": "logits",
    "embedding": "embeddings of length 1",
}
"""What `y_pred` holds, by default."""


def targets(spec: LossSpec) -> str:
    """Return what `y_true` must be."""
    if (spec.target, spec.event) == ("probability", "joint"):
        return "distributions over the classes"
    return TARGETS.get(spec.target, spec.target)


def predictions(spec: LossSpec) -> str:
    """Return what `y_pred` must be."""
    if (spec.target, spec.event) == ("probability", "joint"):
        return "distributions over the classes"
    words = PREDICTIONS.get(spec.prediction, spec.prediction)
    return f"{words}, or logits with from_logits=True" if "from_logits" in spec.defaults else words
