"""Gradients where calculus leaves a choice, and the interface makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True)
class KinkCase:
    """Gradients of the sum of an operation's result where calculus leaves a choice and the interface makes it."""

    operation: str
    about: str
    inputs: tuple[Any, ...]
    gradients: Mapping[int, Any]
    """By the position of the input."""
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operation}-{self.about}".replace(" ", "_")


def kink_cases() -> list[KinkCase]:
    """Return the gradients that the interface prescribes where one-sided derivatives differ, or are infinite."""
    zero, one, hard = np.array([0.0]), np.array([1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    return [
        KinkCase("abs", "at 0", (np.array([-2.0, 0.0, 3.0]),), {0: [-1.0, 0.0, 1.0]}),
        KinkCase("sign", "everywhere", (np.array([-2.0, 0.0, 3.0]),), {0: [0.0, 0.0, 0.0]}),
        KinkCase("sqrt", "at 0", (np.array([0.0, 4.0]),), {0: [0.0, 0.25]}),
        KinkCase("maximum", "at a tie", (one, one), {0: [0.5], 1: [0.5]}),
        KinkCase("minimum", "at a tie", (one, one), {0: [0.5], 1: [0.5]}),
        KinkCase("maximum", "at a tie with a number", (zero, 0.0), {0: [0.5]}),
        KinkCase("minimum", "at a tie with a number", (0.0, zero), {1: [0.5]}),
        KinkCase("relu", "at 0", (np.array([-1.0, 0.0, 1.0]),), {0: [0.0, 0.5, 1.0]}),
        KinkCase("power", "exponent 0.5", (np.array([0.0, 4.0]), 0.5), {0: [0.0, 0.25]}),
        KinkCase("power", "exponent 1", (np.array([0.0, 4.0]), 1.0), {0: [1.0, 1.0]}),
        KinkCase("power", "exponent 2", (np.array([0.0, 4.0]), 2.0), {0: [0.0, 8.0]}),
        KinkCase("power", "exponent 0", (np.array([0.0, 4.0]), 0.0), {0: [0.0, 0.0]}),
        KinkCase("clip", "bounds belong to the inside", (np.array([-1.0, 0.0, 0.5, 1.0, 2.0]), 0.0, 1.0),
                 {0: [0.0, 1.0, 1.0, 1.0, 0.0]}),
        KinkCase("where", "what is not chosen", (np.array([True, False]), np.array([1.0, NAN]), np.array([NAN, 2.0])),
                 {1: [1.0, 0.0], 2: [0.0, 1.0]}),
        KinkCase("max", "ties share", (np.array([1.0, 1.0, 0.0]),), {0: [0.5, 0.5, 0.0]}),
        KinkCase("min", "ties share", (np.array([1.0, 1.0, 2.0]),), {0: [0.5, 0.5, 0.0]}),
        KinkCase("logsumexp", "all -inf", (np.array([-INF, -INF]),), {0: [0.0, 0.0]}),
        KinkCase("logsumexp", "one -inf", (np.array([-INF, 3.0]),), {0: [0.0, 1.0]}),
        KinkCase("softplus", "at 0 and far out", (np.array([-1e4, 0.0, 1e4]),), {0: [0.0, 0.5, 1.0]}),
        KinkCase("log_sigmoid", "at 0 and far out", (np.array([-1e4, 0.0, 1e4]),), {0: [1.0, 0.5, 0.0]}),
        KinkCase("sigmoid", "at 0 and far out", (np.array([-1e4, 0.0, 1e4]),), {0: [0.0, 0.25, 0.0]}),
        KinkCase("divide_no_nan", "by 0", (one, zero), {0: [0.0], 1: [0.0]}),
        KinkCase("multiply_no_nan", "0 times infinity", (zero, np.array([INF])), {0: [0.0], 1: [0.0]}),
        KinkCase("stop_gradient", "everywhere", (np.array([1.0, 2.0]),), {0: [0.0, 0.0]}),
        KinkCase("take_along_axis", "repeated indices add up", (np.array([5.0, 6.0]), np.array([0, 0, 1])),
                 {0: [2.0, 1.0]}),
        KinkCase("cosine", "the zero vector", (np.zeros(3), np.ones(3)), {0: [0.0] * 3, 1: [0.0] * 3}),
        KinkCase("huber", "the joint", (np.zeros(4), np.array([0.0, 1.0, -1.0, 3.0])), {1: [0.0, 1.0, -1.0, 1.0]}),
        KinkCase("log_cosh", "0 and far out", (np.array([0.0, 1e4, -1e4, INF, -INF]),), {0: [0.0, 1.0, -1.0, 1.0, -1.0]}),
        KinkCase("l2_normalize", "the zero vector", (np.zeros(3),), {0: [0.0, 0.0, 0.0]}),
        KinkCase("binary_crossentropy", "logit 0", (np.array([0.0, 0.5, 1.0]), np.zeros(3)), {1: [0.5, 0.0, -0.5]},
                 {"from_logits": True}),
        KinkCase("binary_crossentropy", "logits far out", (hard, 1e4 * np.array([1.0, 1.0, -1.0, -1.0])),
                 {1: [1.0, 0.0, 0.0, -1.0]}, {"from_logits": True}),
        KinkCase("binary_crossentropy", "saturated probabilities", (hard, np.array([0.0, 0.0, 1.0, 1.0])),
                 {1: [0.0, 0.0, 0.0, 0.0]}),
        KinkCase("categorical_crossentropy", "logit -inf beside the class", (np.array([0.0, 1.0]), np.array([-INF, 2.0])),
                 {1: [0.0, 0.0]}, {"from_logits": True}),
        KinkCase("ctc_loss", "no alignment", (np.array([[1, 1]]), np.array([[[0.0, 1.0], [2.0, -1.0]]]), np.array([2]),
                 np.array([2])), {1: [[[0.0, 0.0], [0.0, 0.0]]]}),
        KinkCase("ctc_loss", "not finite beyond the length", (np.array([[1]]), np.array([[[0.0, 0.0], [NAN, INF]]]),
                 np.array([1]), np.array([1])), {1: [[[0.5, -0.5], [0.0, 0.0]]]}),
        KinkCase("sparse_categorical_crossentropy", "logit -inf beside the class", (np.array(1), np.array([-INF, 2.0])),
                 {1: [0.0, 0.0]}, {"from_logits": True}),
    ]  # fmt: skip
