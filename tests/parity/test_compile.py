"""`Objective` beside Keras' `compile`: the same arguments give the same total, the same numbers and the same names.

Keras takes them through `CompileLoss` and `CompileMetrics`, which are what `compile` makes, and once through a model. It runs
on NumPy here: nothing of this depends on its backend. Where the two differ on purpose: `test_compile_deviations.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras.src.trainers.compile_utils import CompileLoss, CompileMetrics
from multiloss import Objective, losses, metrics
from multiloss import backend as K
from multiloss.interface import Backend

SIZES = (5, 3)  # of two batches that are not equal


def maes(y_true: Any, y_pred: Any) -> Any:
    """A loss and metric of a user: twice the mean absolute error."""
    return 2.0 * abs(y_true - y_pred).mean(-1)


class Tripled(losses.Loss):
    """A loss class of a user."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return 3.0 * K.mean(K.square(y_pred - y_true), axis=-1)


class KerasTripled(keras.losses.Loss):
    """The same for Keras."""

    def __init__(self) -> None:
        super().__init__(name="tripled")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return 3.0 * keras.ops.mean(keras.ops.square(y_pred - y_true), axis=-1)


class Made(NamedTuple):
    """An object in the settings, ours and Keras'."""

    ours: Callable[[], Any]
    theirs: Callable[[], Any]


HUBER = Made(lambda: losses.Huber(delta=0.25), lambda: keras.losses.Huber(delta=0.25))
LOGITS = Made(
    lambda: losses.BinaryCrossentropy(from_logits=True), lambda: keras.losses.BinaryCrossentropy(from_logits=True)
)
TRIPLED = Made(Tripled, KerasTripled)
MINE = Made(lambda: metrics.MeanSquaredError(name="mine"), lambda: keras.metrics.MeanSquaredError(name="mine"))
NAMELESS = Made(metrics.MeanAbsoluteError, keras.metrics.MeanAbsoluteError)
FUNCTION = Made(lambda: losses.mean_squared_error, lambda: keras.losses.mean_squared_error)
FIRST = Made(lambda: lambda y_true, y_pred: y_pred[:, 0], lambda: lambda y_true, y_pred: y_pred[:, 0])


def mapped(fn: Callable[[Any], Any], tree: Any) -> Any:
    """Return nested dicts, lists and tuples with `fn` applied to what they hold."""
    if isinstance(tree, dict):
        return {key: mapped(fn, each) for key, each in tree.items()}
    if isinstance(tree, (list, tuple)) and not isinstance(tree, Made):
        return type(tree)(mapped(fn, each) for each in tree)
    return fn(tree)


class Case(NamedTuple):
    """Outputs, and what `compile` is told about them."""

    outputs: Any
    """What each output is: "real", or a classification; nested as the outputs are."""
    loss: Any
    metrics: Any = None
    weighted: Any = None
    loss_weights: Any = None
    names: Any = None
    sample_weight: Any = None
    """None, "shared", or for each output whether it has weights; Keras wants them for all or none."""


R = "real"
XY = ["x", "y"]
LISTED = ["output_1", "output_2", "k"]

CASES = {
    # one output
    "a name": Case(R, "mse", ["mae"]),
    "several metrics": Case(R, "mse", ["mse", "mae", MINE, "MSE"]),
    "lists in a list": Case(R, "mse", [["mse"], ["mae", "mape"]]),
    "a dict of metrics": Case(R, {"out": "mse"}, {"out": ["mae", "mse"]}, names=["out"]),
    "objects and functions": Case(R, HUBER, [FUNCTION, NAMELESS, maes, FIRST]),
    "a function": Case(R, maes, ["mse"]),
    "a class of a user": Case(R, TRIPLED, ["mse"]),
    "in a list": Case([R], ["mse"], ["mae"]),
    "in a dict": Case({"out": R}, {"out": "mse"}, {"out": ["mae"]}, names=["out"]),
    "names twice": Case(R, "mse", ["mse", "mse", "mae", "mse"]),
    "weighted names": Case(R, "mse", ["mse", "mse"], ["mse", "mae", "mse", "mae"], sample_weight="shared"),
    "a weight of the loss": Case(R, "mse", ["mae"], loss_weights=0.25),
    "a list of one weight": Case(R, "mse", loss_weights=[0.25]),
    "sample weights": Case(R, "mse", ["mse"], ["mse", "mae"], sample_weight="shared"),
    "ce of a column": Case("binary", "ce", ["acc"]),
    "ce of indices": Case("sparse", "CE", ["accuracy", "acc"]),
    "ce of one-hot labels": Case("one-hot", "crossentropy", ["Accuracy"]),
    "accuracy of a column": Case("binary", "binary_crossentropy", ["accuracy", "ACC"], ["acc"], sample_weight="shared"),
    "accuracy of indices": Case("sparse", "sparse_categorical_crossentropy", ["acc"], ["acc"], sample_weight="shared"),
    "accuracy of one-hot labels": Case("one-hot", "categorical_crossentropy", ["accuracy"]),
    "from logits": Case("binary", LOGITS, ["binary_accuracy"]),
    # a list of outputs
    "one loss for a list": Case([R, R], "mse", ["mse", "mae"], names=XY),
    "a list of losses": Case([R, R], ["mse", "mae"], [["mse", MINE], ["mae"]], names=XY),
    "a tuple of losses": Case((R, R), ("mse", "mae"), (("mse",), "mae"), names=XY),
    "a list in which one has no loss": Case([R, R], [None, "mse"], [["mae"], ["mse"]], names=XY),
    "a list in which one has no metrics": Case([R, R], "mse", [None, ["mse"]], [["mae", "mse"], []], names=XY),
    "a list by names": Case(
        [R, R], {"y": "mse", "x": HUBER}, {"y": ["mse"]}, {"x": "mae", "y": "mse"}, {"y": 0.5, "x": 3.0}, XY, [True, True]
    ),
    "a list of kinds": Case(["sparse", "binary"], ["ce", "ce"], ["acc", ["accuracy", "acc"]], names=XY),
    "a list of weights": Case([R, R], ["mse", "mae"], loss_weights=[2.0, 0.5], names=XY),
    "a weight for all": Case([R, R], "mse", loss_weights=0.5, names=XY),
    "weights for a list": Case([R, R], ["mse", maes], None, [["mse"], ["mae"]], [2.0, 3.0], XY, [True, True]),
    "shared weights for a list": Case([R, R], "mse", [["mse"], None], [["mse", "mae"], "mae"], None, XY, "shared"),
    # a dict of outputs
    "one loss for a dict": Case({"x": R, "y": R}, "mse", {"x": ["mse", "mae"], "y": "mae"}, names=XY),
    "a dict of losses": Case(
        {"x": R, "y": "one-hot"}, {"y": "ce", "x": maes}, {"y": ["acc"]}, None, {"x": 0.5, "y": 3.0}, XY
    ),
    "a dict in another order": Case({"y": R, "x": R}, {"y": "mse", "x": TRIPLED}, {"x": MINE, "y": NAMELESS}, names=XY),
    "a dict in which one has no loss": Case({"x": R, "y": R}, {"x": None, "y": "mse"}, {"x": "mse", "y": "mae"}, names=XY),
    "weights for a dict": Case(
        {"x": R, "y": R}, {"x": "mse", "y": "mae"}, {"x": "mse"}, {"x": ["mse", "mse"]}, None, XY, {"x": True, "y": True}
    ),
    "names of a dict twice": Case({"x": R, "y": R}, "mse", {"x": ["mse", "mse"]}, {"x": ["mse", "mse"], "y": "mse"}, names=XY),
    # nested outputs
    "a dict of lists, one loss": Case({"h": [R, R], "k": R}, "mse", names=LISTED),
    "a dict of lists": Case(
        {"h": [R, R], "k": R}, {"h": ["mse", HUBER], "k": "mae"}, None, None, {"h": [1.0, 2.0], "k": 0.5}, LISTED
    ),
    "a dict of lists with None": Case({"h": [R, R], "k": R}, {"h": ["mse", None], "k": "mse"}, names=LISTED),
    "a list of dicts": Case(
        [{"u": R, "v": R}, R], [{"u": "mse", "v": maes}, "mae"], None, None, [{"u": 1.0, "v": 2.0}, 3.0],
        ["u", "v", "output_2"], [{"u": True, "v": True}, True],
    ),
    "a list of lists": Case([[R, R], [R]], [["mse", "mae"], ["mse"]], names=["output_1", "output_2", "output_1"]),
    "weights for all nested outputs": Case({"h": [R, R], "k": R}, "mse", names=LISTED, sample_weight="shared"),
}  # fmt: skip


def batch(case: Case, size: int) -> tuple[Any, Any, Any]:
    """Return targets, predictions and weights as NumPy arrays."""
    rng = np.random.default_rng(size)

    def target(kind: str) -> Any:
        if kind == "sparse":
            return rng.integers(0, 3, size)
        if kind == "one-hot":
            return np.eye(3, dtype="float32")[rng.integers(0, 3, size)]
        return (rng.integers(0, 2, (size, 1)) if kind == "binary" else rng.random((size, 2))).astype("float32")

    def prediction(kind: str) -> Any:
        values = rng.random((size, {"real": 2, "binary": 1}.get(kind, 3))).astype("float32")
        return values if values.shape[1] < 3 else values / values.sum(-1, keepdims=True)

    def weight(_: Any) -> Any:
        return rng.random(size).astype("float32")

    weights = case.sample_weight
    return (
        mapped(target, case.outputs),
        mapped(prediction, case.outputs),
        weight(None) if weights == "shared" else None if weights is None else mapped(weight, weights),
    )


def keras_shows(case: Case) -> tuple[list[float], dict[str, float]]:
    """Return Keras' total of each batch, and its logs after all of them."""
    loss, shown, weighted = (mapped(_theirs, each) for each in (case.loss, case.metrics, case.weighted))
    compiled_loss = CompileLoss(loss, case.loss_weights, output_names=case.names)
    compiled_metrics = CompileMetrics(shown, weighted, output_names=case.names)
    totals = []
    for size in SIZES:
        given = batch(case, size)
        totals.append(float(compiled_loss(*given)))
        if shown is not None or weighted is not None:
            compiled_metrics.update_state(*given)
    values = {metric.name: float(metric.result()) for metric in compiled_loss.metrics}
    logs = compiled_metrics.result() if shown is not None or weighted is not None else {}
    values |= {name: float(value) for name, value in logs.items()}
    return totals, {"loss": float(np.average(totals, weights=SIZES)), **values}


def _theirs(each: Any) -> Any:
    return each.theirs() if isinstance(each, Made) else each


def _ours(each: Any) -> Any:
    return each.ours() if isinstance(each, Made) else each


def named(case: Case) -> Any:
    """Return the names of the outputs, where the structure does not say them."""
    outputs = case.outputs.values() if isinstance(case.outputs, dict) else case.outputs
    flat = not any(isinstance(each, (dict, list)) for each in outputs)
    return case.names if flat else None


@pytest.mark.parametrize("name", CASES)
def test_the_same_arguments_show_the_same(backend: Backend, name: str) -> None:
    case = CASES[name]
    totals, expected = keras_shows(case)
    objective = Objective(
        mapped(_ours, case.loss),
        mapped(_ours, case.metrics),
        case.loss_weights,
        mapped(_ours, case.weighted),
        output_names=named(case),
    )
    for size, total in zip(SIZES, totals, strict=True):
        given = mapped(lambda x: None if x is None else backend.asarray(x.copy()), batch(case, size))
        assert float(objective(*given)) == pytest.approx(total, rel=2e-6)
        objective.update_metrics(*given)
    shown = {name: float(value) for name, value in objective.results().items()}
    assert shown == pytest.approx(expected, rel=5e-6)
    metrics_of = [key for key in expected if not key.endswith("loss")]
    assert [key for key in shown if not key.endswith("loss")] == metrics_of


def test_a_model_shows_the_same_after_all_batches(backend: Backend) -> None:
    inputs = keras.Input((3,))
    outputs = [keras.layers.Dense(2, name="a")(inputs), keras.layers.Dense(1, "sigmoid", name="b")(inputs)]
    model = keras.Model(inputs, outputs)
    settings: dict[str, Any] = {
        "loss": {"b": "binary_crossentropy", "a": "mse"},
        "loss_weights": {"a": 2.0, "b": 0.5},
        "metrics": {"a": ["mse", "mae"], "b": "accuracy"},
        "weighted_metrics": {"a": "mse", "b": ["accuracy"]},
    }
    rng = np.random.default_rng(0)
    x, weight = rng.random((10, 3)).astype("float32"), rng.random(10).astype("float32")
    y = {"a": rng.random((10, 2)).astype("float32"), "b": rng.integers(0, 2, (10, 1)).astype("float32")}
    model.compile(**settings)
    expected = model.evaluate(
        x, [y["a"], y["b"]], sample_weight=[weight, weight], batch_size=4, verbose=0, return_dict=True
    )
    objective = Objective(**settings, output_names=model.output_names)
    for start in range(0, 10, 4):
        part = slice(start, start + 4)
        y_pred = [backend.asarray(np.array(each)) for each in model(x[part])]
        y_true = {name: backend.asarray(each[part].copy()) for name, each in y.items()}
        objective.update_metrics(y_true, y_pred, sample_weight=backend.asarray(weight[part].copy()))
    shown = {name: float(value) for name, value in objective.results().items()}
    assert shown == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-5)
