"""What `multiloss demo` trains on: three generated sets with a known answer, and three real ones from scikit-learn.

Which losses fit a problem, how its targets are encoded for them and which activation the last layer gets follow from
the facts that each loss declares about `y_true` and `y_pred`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from multiloss import losses
from multiloss._errors import ArgumentError, unknown_name
from multiloss._registry import use_backend
from multiloss.cli import _words
from multiloss.cli._network import Samples
from multiloss.losses._spec import LossSpec, spec_of
from multiloss.objective import Objective
from multiloss.utils import to_categorical


class Data(NamedTuple):
    """Inputs (N, features), raw targets (N,) and how many of the rows, from the top, are for training."""

    x: np.ndarray
    y: np.ndarray
    n_train: int


@dataclass(frozen=True)
class Problem:
    """A data set and what is tried on it."""

    name: str
    title: str
    kind: str
    """`"regression"`, `"binary"` or `"multiclass"`."""
    load: Callable[[], Data]
    losses: tuple[str, ...]
    hidden: int
    epochs: int
    scatter: bool = False
    """Whether the inputs are points in a plane, worth a picture of their own."""
    positive: bool = False
    """Whether all targets of a regression are positive numbers."""


# ── Data ────────────────────────────────────────────────────────────────────────────────────────────────────────
#
# scikit-learn is imported by each loader: `multiloss list` need not wait a second for it.

N_GENERATED = 1000
N_TRAIN_GENERATED = 500
SPLIT_SEED = 1


def _regression() -> Data:
    from sklearn.datasets import make_regression
    from sklearn.preprocessing import StandardScaler

    x, y = make_regression(n_samples=N_GENERATED, n_features=20, noise=0.1, random_state=1)
    return Data(StandardScaler().fit_transform(x), StandardScaler().fit_transform(y[:, None])[:, 0], N_TRAIN_GENERATED)


def _circles() -> Data:
    from sklearn.datasets import make_circles

    x, y = make_circles(n_samples=N_GENERATED, noise=0.1, random_state=1)
    return Data(x, y, N_TRAIN_GENERATED)


def _blobs() -> Data:
    from sklearn.datasets import make_blobs

    x, y = make_blobs(n_samples=N_GENERATED, centers=3, n_features=2, cluster_std=2, random_state=2)
    return Data(x, y, N_TRAIN_GENERATED)


def _diabetes() -> Data:
    from sklearn.datasets import load_diabetes

    data = _halves(*load_diabetes(return_X_y=True))
    # Divided by its deviation, and not centred: the target stays positive and its variance is 1.
    return data._replace(y=data.y / data.y[: data.n_train].std())


def _breast_cancer() -> Data:
    from sklearn.datasets import load_breast_cancer

    return _halves(*load_breast_cancer(return_X_y=True))


def _digits() -> Data:
    from sklearn.datasets import load_digits

    return _halves(*load_digits(return_X_y=True))


def _halves(x: np.ndarray, y: np.ndarray) -> Data:
    """Return real data in a random order that is always the same, with inputs standardised by the training half."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
    x, y, n_train = x[order], y[order], len(x) // 2
    mean, deviation = x[:n_train].mean(axis=0), x[:n_train].std(axis=0)
    # A pixel that is always blank has deviation 0, and one that is nearly always blank would blow up when it is not.
    return Data((x - mean) / np.maximum(deviation, 1e-2 * deviation.max()), y, n_train)


_REGRESSION_LOSSES = ("mse", "mae", "msle")
_BINARY_LOSSES = ("binary_crossentropy", "hinge", "squared_hinge")
_MULTICLASS_LOSSES = ("categorical_crossentropy", "sparse_categorical_crossentropy", "kl_divergence")

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "regression", "generated linear regression", "regression", _regression, _REGRESSION_LOSSES, 25, epochs=100
        ),
        Problem("circles", "two generated circles", "binary", _circles, _BINARY_LOSSES, 50, epochs=200, scatter=True),
        Problem(
            "blobs", "three generated blobs", "multiclass", _blobs, _MULTICLASS_LOSSES, 50, epochs=100, scatter=True
        ),
        Problem(
            "diabetes",
            "progression of diabetes",
            "regression",
            _diabetes,
            _REGRESSION_LOSSES,
            25,
            epochs=100,
            positive=True,
        ),
        Problem(
            "breast-cancer", "diagnosis of breast cancer", "binary", _breast_cancer, _BINARY_LOSSES, 50, epochs=200
        ),
        Problem("digits", "handwritten digits", "multiclass", _digits, _MULTICLASS_LOSSES, 50, epochs=100),
    )
}


def find_problem(name: str) -> Problem:
    """Return the problem of that name.

    Raises:
        UnknownNameError: with near matches, if there is none.
    """
    if name not in PROBLEMS:
        raise unknown_name("problem", name, PROBLEMS)
    return PROBLEMS[name]


# ── Which loss fits, and what it needs ──────────────────────────────────────────────────────────────────────────

_FITTING = {
    "regression": {("real", "mean")},
    "binary": {("probability", "mean"), ("sign", "mean")},
    "multiclass": {("one-hot", "joint"), ("class index", "joint"), ("probability", "joint"), ("real", "joint")},
}
"""Per kind of problem: what the targets may be, and whether a loss averages over them or takes them as one event."""

_HOLDS = {
    "regression": "real numbers, half of them negative",
    "binary": "one yes-or-no label",
    "multiclass": "one label of several classes",
}


def fits(spec: LossSpec, problem: Problem) -> bool:
    """Whether the targets of the problem can be given in the form that the loss declares."""
    if spec.name in {losses.get(name).__name__ for name in problem.losses}:
        return True  # part of the example, such as the logarithmic error on targets of which half are negative
    if (spec.target, spec.event) == ("positive", "mean"):
        return problem.kind == "regression" and problem.positive
    return (spec.target, spec.event) in _FITTING[problem.kind]


def facts(name: str) -> LossSpec:
    """Return what the loss of that name declares about itself.

    Raises:
        UnknownNameError: with near matches, if there is none.
        ArgumentError: if its name is not enough to train with it.
    """
    try:
        loss = losses.get(name)
    except TypeError:  # a class that needs arguments
        loss = None
    spec = spec_of(getattr(loss, "fn", loss))
    if spec is None:
        raise ArgumentError(
            f"{name!r} is a base class, which says nothing about targets. Expected a loss that `multiloss list` shows."
        )
    return spec


def misfit(name: str, spec: LossSpec, problems: Sequence[Problem]) -> ArgumentError:
    """Return the error for a loss that fits none of the problems."""
    expected = f"The loss {name!r} expects {_words.targets(spec)} as targets"
    if len(problems) > 1:
        return ArgumentError(f"{expected}, and none of the problems has them.")
    (problem,) = problems
    held = "positive numbers" if problem.positive else _HOLDS[problem.kind]
    specs = {spec_of(getattr(losses, each)) for each in losses.__all__}
    fitting = sorted(each.name for each in specs if each is not None and fits(each, problem))
    return ArgumentError(
        f"{expected}, and the problem {problem.name!r} has {held}. Losses that fit: {', '.join(fitting)}."
    )


# ── The run ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Run(NamedTuple):
    """One problem with one loss, ready for training."""

    problem: Problem
    loss_name: str
    train_set: Samples
    test_set: Samples
    objective: Objective
    metric: str
    metric_title: str
    units: int
    output: str


def prepare(problem: Problem, data: Data, loss_name: str) -> Run:
    """Return the targets in the form that a fitting loss expects, with the layer and the metric that go with it."""
    spec = facts(loss_name)
    x, y = data.x.astype("float32"), _encode(data.y, spec, problem)
    metric, title = ("mse", "Mean Squared Error") if problem.kind == "regression" else ("accuracy", "Accuracy")
    return Run(
        problem,
        loss_name,
        Samples(x[: data.n_train], y[: data.n_train]),
        Samples(x[data.n_train :], y[data.n_train :]),
        Objective(loss_name, metrics=[metric]),
        metric,
        title,
        len(np.unique(data.y)) if problem.kind == "multiclass" else 1,
        _output(spec, problem),
    )


def _encode(y: np.ndarray, spec: LossSpec, problem: Problem) -> np.ndarray:
    if problem.kind == "multiclass":
        if spec.target == "class index":
            return y.astype("int32")
        with use_backend("numpy"):  # the data stay on the host until they are batches
            return np.asarray(to_categorical(y))
    column = y[:, None].astype("float32")
    return 2.0 * column - 1.0 if spec.target == "sign" else column


def _output(spec: LossSpec, problem: Problem) -> str:
    if spec.prediction == "positive":
        return "softplus" if problem.positive else "linear"
    if spec.prediction == "margin":
        return "tanh"
    if spec.prediction == "real":
        return "linear"
    return "softmax" if problem.kind == "multiclass" else "sigmoid"
