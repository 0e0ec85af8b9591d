"""Arrays of NumPy that are not what they seem: subclasses with an arithmetic of their own, and weights of no real dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from multiloss import losses
from multiloss._errors import ArgumentError, DTypeError
from multiloss.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy

pytestmark = [
    pytest.mark.backends("numpy"),
    pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning"),
]

LABELS = np.array([[1.0, 0.0], [1.0, 0.0]])
SHARES = np.array([[0.3, 0.7], [0.2, 0.8]])
CLASSES = np.array([0, 1])


@pytest.mark.parametrize("name", ["mean_squared_error", "categorical_crossentropy", "hinge", "kl_divergence", "dice"])
def test_a_matrix_is_an_array(name: str) -> None:
    loss = getattr(losses, name)
    expected = loss(LABELS, SHARES)
    for _ in range(2):  # what is seen for the first time is looked up otherwise
        found = loss(np.asmatrix(LABELS), np.asmatrix(SHARES))
        assert type(found) is type(expected)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("at", ["y_true", "y_pred", "sample_weight", "mask"])
def test_what_is_masked_in_an_array_is_not_taken_for_a_number(at: str) -> None:
    given: dict[str, Any] = {"y_true": CLASSES, "y_pred": SHARES, "sample_weight": np.ones(2), "mask": np.ones(2)}
    expected = SparseCategoricalCrossentropy()(**given)
    masked = np.ma.masked_array(given[at])
    assert SparseCategoricalCrossentropy()(**{**given, at: masked}) == expected
    masked[1] = np.ma.masked
    with pytest.raises(ArgumentError, match=r"entries are masked.*x\.filled"):
        SparseCategoricalCrossentropy()(**{**given, at: masked})


@pytest.mark.parametrize("bad", [np.array(["1", "0"]), np.array([1j, 0]), np.array([1, 0], object)], ids=str)
@pytest.mark.parametrize("at", ["sample_weight", "mask", "class_weight"])
@pytest.mark.parametrize("kind", [SparseCategoricalCrossentropy, CategoricalCrossentropy])
def test_weights_are_real_numbers(kind: Any, at: str, bad: Any) -> None:
    labels = CLASSES if kind is SparseCategoricalCrossentropy else LABELS
    options, given = ({at: bad}, {}) if at == "class_weight" else ({}, {at: bad})
    for from_logits in (False, True):
        loss = kind(from_logits=from_logits, **options)
        with pytest.raises(DTypeError, match="Expected real numbers"):
            loss(labels, SHARES, **given)
