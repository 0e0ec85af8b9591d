"""The examples in Keras' documentation, run twice: as they are, and with multiloss in the place of Keras.

Nothing is copied: the examples are read from the docstrings of the Keras that is installed. Each number that a docstring
prints after a statement must be what multiloss gives, to the digits printed, and Keras, run in the same way, must give what
multiloss gives to 1e-6. Where either does not hold, the example is listed here with the reason, and that it does not is asserted.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
from multiloss import losses, metrics
from multiloss.interface import Backend

SPACES = {"losses": keras.losses, "metrics": keras.metrics}
LOOKUPS = {"get", "serialize", "deserialize"}

NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")
FRAMES = re.compile(r"(shape|dtype)=.*")
"""What stands beside the numbers of a printed array."""

MENDED = {
    # Both call a function that does not exist, and show the numbers of this one.
    "metrics.concordance_correlation": (
        "keras.losses.concordance_correlation",
        "keras.metrics.concordance_correlation",
    ),
    "metrics.pearson_correlation": ("keras.losses.concordance_correlation", "keras.metrics.pearson_correlation"),
    # Asserts about a name that was not assigned.
    "losses.binary_focal_crossentropy": ("assert loss.shape", "assert focal_loss.shape"),
    # Holds in one order of summation alone.
    "losses.kl_divergence": ("np.array_equal", "np.allclose"),
}
"""What is replaced in docstrings that do not run."""

MISPRINTED = {
    **{("losses.BinaryCrossentropy", position): "cut instead of rounded" for position in range(3)},
    ("losses.BinaryCrossentropy", 3): "cut after the third digit, with a 0 in the place of the fourth",
    ("losses.BinaryFocalCrossentropy", 9): "cut instead of rounded",
    ("losses.binary_focal_crossentropy", 1): "the plain binary crossentropy, which the statement does not call",
    ("losses.binary_focal_crossentropy", 2): "the quotient of the focal and the plain crossentropy, as above",
    ("losses.huber", 0): "the mean of the values of two samples",
    ("losses.log_cosh", 0): "the mean of the values of two samples",
}
"""What the docstring prints and neither multiloss nor Keras gives: the docstring and the position of the number in it."""

INTEGERS = "integer predictions stay integers, so that logarithms and epsilons are cut"
TRUNCATED = "weights are cut to integers"
LISTS = "lists are refused"
DIFFERENT = {
    ("losses.sparse_categorical_crossentropy", 0): LISTS,
    ("metrics.SparseCategoricalCrossentropy", 0): LISTS,
    ("metrics.SparseCategoricalCrossentropy", 1): LISTS,
    ("metrics.LogCoshError", 0): INTEGERS,
    ("metrics.LogCoshError", 1): INTEGERS,
    ("metrics.MeanAbsolutePercentageError", 0): INTEGERS,
    ("metrics.MeanAbsolutePercentageError", 1): INTEGERS,
    ("metrics.Poisson", 0): INTEGERS,
    ("metrics.Poisson", 1): INTEGERS,
    ("metrics.BinaryIoU", 1): TRUNCATED,
    ("metrics.IoU", 1): TRUNCATED,
    ("metrics.MeanIoU", 1): TRUNCATED,
    ("metrics.OneHotIoU", 0): TRUNCATED,
    ("metrics.OneHotMeanIoU", 0): TRUNCATED,
    ("metrics.Precision", 2): "which of equal scores are on top depends on the backend",
}
"""What the docstring prints and multiloss gives, and Keras itself does not. All are rows of docs/deviations.md."""

WITHOUT_NUMBERS = {
    *("losses.CTC", "losses.CategoricalGeneralizedCrossEntropy", "losses.CategoricalHinge", "losses.Circle"),
    *(
        "losses.CosineSimilarity",
        "losses.Hinge",
        "losses.Huber",
        "losses.KLDivergence",
        "losses.LogCosh",
        "losses.Loss",
    ),
    *("losses.MeanSquaredLogarithmicError", "losses.Poisson", "losses.SquaredHinge", "losses.Tversky"),
    *("losses.categorical_generalized_cross_entropy", "losses.categorical_hinge", "losses.circle", "losses.ctc"),
    *("losses.hinge", "losses.kl_divergence", "losses.mean_absolute_error", "losses.mean_absolute_percentage_error"),
    *("losses.mean_squared_error", "losses.mean_squared_logarithmic_error", "losses.poisson", "losses.squared_hinge"),
    *("losses.tversky", "metrics.MeanMetricWrapper", "metrics.Metric", "metrics.binary_accuracy"),
    *("metrics.categorical_accuracy", "metrics.sparse_categorical_accuracy"),
    *("metrics.sparse_top_k_categorical_accuracy", "metrics.top_k_categorical_accuracy"),
}
"""Docstrings that print no number. Those that have statements run all the same."""


@dataclass(frozen=True)
class Example:
    """One docstring: its statements, each with the numbers printed after it."""

    name: str
    steps: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def printed(self) -> list[tuple[str, ...]]:
        return [numbers for _, numbers in self.steps if numbers]


def printed_numbers(want: str) -> tuple[str, ...]:
    """Return the numbers of a printed value, as they are written; of what is no value, none."""
    return () if want.startswith("<") else tuple(NUMBER.findall(FRAMES.sub("", want)))


def examples() -> Iterator[Example]:
    """Yield the docstring of each public loss and metric of Keras, once."""
    seen: set[int] = set()
    for space, module in SPACES.items():
        for name in sorted(dir(module)):
            thing = getattr(module, name)
            if name.startswith("_") or not callable(thing) or id(thing) in seen or name in LOOKUPS:
                continue
            seen.add(id(thing))
            steps = []
            for each in doctest.DocTestParser().get_examples(inspect.getdoc(thing) or ""):
                source = each.source.replace(*MENDED.get(f"{space}.{name}", ("", "")))
                source = source.replace(".numpy()", "")  # of a tensor of TensorFlow
                steps.append((source, printed_numbers(each.want)))
            yield Example(f"{space}.{name}", tuple(steps))


def run(example: Example, keras: Any, tolerant: bool = False) -> list[Any]:
    """Return the value of each statement after which numbers are printed: of an assignment, what it assigns."""
    np.random.seed(4)  # some draw labels, and need the last class among them
    names = {"np": np, "ops": keras.ops, "keras": keras, "metrics": keras.metrics, "Mean": keras.metrics.Mean}
    values: list[Any] = []
    for source, numbers in example.steps:
        (statement,) = ast.parse(source).body or [ast.Pass()]
        try:
            if numbers and isinstance(statement, ast.Expr):
                values.append(np.asarray(eval(source, names)))
                continue
            exec(source, names)
            if numbers:
                (target,) = statement.targets  # type: ignore[attr-defined]
                values.append(np.asarray(names[target.id]))
        except Exception as error:
            if not tolerant:
                raise
            values += [error] if numbers else []
    return values


def is_printed(value: Any, numbers: tuple[str, ...]) -> bool:
    """Return whether these are the value's digits; float32 has no more than six or seven of them."""
    if isinstance(value, Exception) or value.size != len(numbers):
        return False
    for given, number in zip(value.ravel().tolist(), numbers, strict=True):
        mantissa, _, exponent = number.partition("e")
        unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        if not abs(given - float(number)) <= max(0.5 * unit, 1e-6 * abs(given)):
            return False
    return True


def is_equal(value: Any, other: Any) -> bool:
    return not isinstance(other, Exception) and value.shape == other.shape and np.allclose(value, other, 1e-6, 1e-6)


EXAMPLES = list(examples())
OURS = types.SimpleNamespace(losses=losses, metrics=metrics, ops=keras.ops)


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
def test_an_example_prints_what_keras_documents(backend: Backend, example: Example) -> None:
    ours = run(example, OURS)
    with np.errstate(all="ignore"):
        theirs = run(example, keras, tolerant=True)
    assert len(ours) == len(theirs) == len(example.printed)
    for position, (mine, other, numbers) in enumerate(zip(ours, theirs, example.printed, strict=True)):
        case = (example.name, position)
        said = f"{case}: printed {numbers}, multiloss gives {mine}, Keras {other}"
        assert is_printed(mine, numbers) == (case not in MISPRINTED), said
        assert is_equal(mine, other) == (case not in DIFFERENT), said


def test_every_number_in_the_documentation_is_compared() -> None:
    assert {example.name for example in EXAMPLES if not example.printed} == WITHOUT_NUMBERS
    assert len(EXAMPLES) - len(WITHOUT_NUMBERS) == 64
    printed = {(example.name, position) for example in EXAMPLES for position in range(len(example.printed))}
    assert len(printed) == 130
    assert MISPRINTED.keys() | DIFFERENT.keys() <= printed
    assert MENDED.keys() <= {example.name for example in EXAMPLES}


def test_another_number_would_be_noticed() -> None:
    assert is_printed(np.float32(0.8654), ("0.8654",))
    assert not is_printed(np.float32(0.8655), ("0.8654",))
    assert is_printed(np.array([3.2058331e-05, 0.5]), ("3.2058331e-05", "0.5"))
    assert not is_printed(np.array([3.2058e-05, 0.5]), ("3.2058331e-05", "0.5"))
    assert not is_printed(np.array([0.5, 0.5]), ("0.5",))
