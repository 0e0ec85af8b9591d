"""One tree of errors; each message says what arrived, what was expected and what to do."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors, losses

TREE = {
    "ShapeError": ValueError,
    "LabelError": ValueError,
    "ArgumentError": ValueError,
    "UnknownNameError": ValueError,
    "DTypeError": TypeError,
    "MixedBackendsError": TypeError,
    "UnknownTensorError": TypeError,
    "NamedInputError": TypeError,
    "BackendNotFoundError": ImportError,
    "NotSupportedError": NotImplementedError,
}
ONES = np.ones((3, 2), np.float32)
# What is called, the error, what arrived, what was expected, what to do.
MESSAGES = {
    "shapes": (
        lambda: losses.mean_squared_error(ONES, ONES[:, :1]),
        "ShapeError",
        "(3, 2)",
        "Expected equal shapes",
        "Reshape",
    ),
    "batch sizes": (
        lambda: losses.mean_squared_error(ONES, ONES[:2]),
        "ShapeError",
        "(2, 2)",
        "Expected",
        "same samples",
    ),
    "weights": (
        lambda: losses.Huber()(ONES, ONES, ONES[:2, 0]),
        "ShapeError",
        "(2,)",
        "Expected () or (3,)",
        "Reshape",
    ),
    "ragged": (
        lambda: losses.mean_squared_error([[1.0], [1.0, 2.0]], ONES),
        "ShapeError",
        "list",
        "equal lengths",
        "Pad",
    ),
    "labels": (
        lambda: losses.sparse_categorical_crossentropy([0, 5, 1], ONES),
        *("LabelError", "y_true[1] is 5", "from 0 to 1", "Shift or re-encode"),
    ),
    "argument": (lambda: losses.Huber(delta=-1.0), "ArgumentError", "delta=-1.0", "Expected", "positive"),
    "reduction": (lambda: losses.Huber(reduction="avg"), "UnknownNameError", "'avg'", "Expected one of", "mean"),
    "name": (lambda: losses.get("hubber"), "UnknownNameError", "'hubber'", "Did you mean", "huber"),
    "text": (
        lambda: losses.hinge(ONES, np.array([["a", "b"]] * 3)),
        "DTypeError",
        "(3, 2)",
        "Expected real",
        "Convert",
    ),
    "object": (lambda: losses.hinge(ONES, object()), "UnknownTensorError", "builtins.object", "Expected", "Convert"),
}


@pytest.mark.parametrize("name", TREE)
def test_each_error_is_also_the_builtin_that_fits(name):
    assert issubclass(getattr(_errors, name), (_errors.MultilossError, TREE[name]))
    assert issubclass(getattr(_errors, name), TREE[name])
    assert name in _errors.__doc__


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_has_three_parts(case, backend):
    call, kind, *parts = MESSAGES[case]
    with pytest.raises(getattr(_errors, kind)) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
