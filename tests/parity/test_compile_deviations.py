"""Where `Objective` differs from Keras' `compile` on purpose: each test asserts both sides, and is a row of
`docs/deviations.md`. When Keras changes, its half of the test fails, and the row goes.

Keras' side is `CompileLoss` and `CompileMetrics`, which `compile` makes, on NumPy: nothing of this depends on its backend.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras.src.trainers.compile_utils import CompileLoss, CompileMetrics
from multiloss import Objective, losses, metrics
from multiloss._errors import ArgumentError, UnknownNameError
from multiloss.interface import Backend
from tests.parity.test_compile import mapped

XY = ["x", "y"]
A, B, C = (np.full((4, 2), value, "float32") for value in (1.0, 2.0, 4.0))
ZERO = np.zeros((4, 2), "float32")
LISTED, NAMED = [ZERO, ZERO], {"x": ZERO, "y": ZERO}


def their_loss(
    y_true: Any, y_pred: Any, loss: Any, loss_weights: Any = None, names: Any = None, sample_weight: Any = None
) -> tuple[float, dict[str, float]]:
    """Return Keras' total, and the trackers of the losses."""
    compiled = CompileLoss(loss, loss_weights, output_names=names)
    total = float(compiled(y_true, y_pred, sample_weight))
    with np.errstate(invalid="ignore"):
        return total, {tracker.name: float(tracker.result()) for tracker in compiled.metrics}


def their_metrics(
    y_true: Any, y_pred: Any, given: Any, names: Any = None, weighted: Any = None, sample_weight: Any = None
) -> dict[str, float]:
    """Return Keras' metrics."""
    compiled = CompileMetrics(given, weighted, output_names=names)
    compiled.update_state(y_true, y_pred, sample_weight)
    return {name: float(value) for name, value in compiled.result().items()}


def ours(backend: Backend, y_true: Any, y_pred: Any, *args: Any, sample_weight: Any = None, **kwargs: Any) -> Any:
    """Return what our objective shows."""

    def tensors(tree: Any) -> Any:
        return mapped(lambda x: None if x is None else backend.asarray(x.copy()), tree)

    objective = Objective(*args, **kwargs)
    objective.update_metrics(tensors(y_true), tensors(y_pred), tensors(sample_weight))
    return {name: float(value) for name, value in objective.results().items()}


# ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_loss_of_a_list_is_dropped(backend: Backend) -> None:
    with np.errstate(all="ignore"):
        total, shown = their_loss(A, ZERO, ["mse", "mae"], names=["out"])
    assert (total, shown) == (1.0, {"out_loss": 0.0})
    with pytest.raises(ArgumentError, match="loss is a list of 2, and y_pred has 1 output"):
        ours(backend, A, ZERO, ["mse", "mae"])


def test_no_output_is_left_out_by_a_list_that_is_too_short(backend: Backend) -> None:
    assert their_loss([A, B], LISTED, ["mse"], names=XY) == (1.0, {})
    with pytest.raises(ArgumentError, match="loss is a list of 1, and y_pred has 2 outputs"):
        ours(backend, [A, B], LISTED, ["mse"])


def test_no_output_is_left_out_by_a_dict_that_does_not_name_it(backend: Backend) -> None:
    y_true = {"x": A, "y": B}
    assert their_loss(y_true, NAMED, {"x": "mse"}, names=XY) == (1.0, {})
    with pytest.raises(ArgumentError, match="loss says nothing about the output 'y'"):
        ours(backend, y_true, NAMED, {"x": "mse"})


def test_loss_weights_belong_to_the_outputs_they_name(backend: Backend) -> None:
    y_true, loss = {"x": A, "y": B}, {"x": "mse", "y": "mse"}
    assert their_loss(y_true, NAMED, loss, {"typo": 10.0, "y": 1.0}, XY)[0] == 10.0 + 4.0  # sorted: "typo" is x
    with pytest.raises(UnknownNameError, match="output in loss_weights: 'typo'"):
        ours(backend, y_true, NAMED, loss, None, {"typo": 10.0, "y": 1.0})
    names = ["y", "x"]
    assert their_loss([A, B], LISTED, ["mse", "mse"], {"y": 1.0, "x": 10.0}, names)[0] == 10.0 * 1.0 + 1.0 * 4.0
    shown = ours(backend, [A, B], LISTED, ["mse", "mse"], None, {"y": 1.0, "x": 10.0}, output_names=names)
    assert shown["loss"] == 1.0 * 1.0 + 10.0 * 4.0


@pytest.mark.parametrize("loss_weights", [[0.5], {"typo": 0.5}])
def test_one_of_several_loss_weights_is_not_that_of_all(backend: Backend, loss_weights: Any) -> None:
    assert their_loss([A, B], LISTED, "mse", loss_weights, XY)[0] == 0.5 * (1.0 + 4.0)
    with pytest.raises((ArgumentError, UnknownNameError), match="loss_weights"):
        ours(backend, [A, B], LISTED, "mse", None, loss_weights, output_names=XY)


def test_lists_are_not_sorted_onto_the_names_of_a_dict(backend: Backend) -> None:
    names, y_true = ["y", "x"], {"x": A, "y": B}
    assert their_loss(y_true, NAMED, ["mse", "mae"], names=names)[1] == {"x_loss": 1.0, "y_loss": 2.0}
    assert their_metrics(y_true, NAMED, [["mse"], ["mae"]], names) == {"y_mse": 4.0, "x_mae": 1.0}
    for settings in ({"loss": ["mse", "mae"]}, {"loss": "mse", "metrics": [["mse"], ["mae"]]}):
        with pytest.raises(ArgumentError, match="no reliable order"):
            ours(backend, y_true, NAMED, **settings, output_names=names)


def test_one_loss_for_a_nested_part_is_refused(backend: Backend) -> None:
    y_true, y_pred, loss = {"h": [A, B], "k": C}, {"h": LISTED, "k": ZERO}, {"h": "mse", "k": "mse"}
    assert their_loss(y_true, y_pred, loss, names=list("abc"))[1] == {"h_loss": 2.5, "k_loss": 16.0}  # stacked
    with pytest.raises(ArgumentError, match=r"loss\['h'\] is .* and y_pred\['h'\] has 2 outputs"):
        ours(backend, y_true, y_pred, loss)


def test_one_tensor_of_weights_for_a_nested_part_is_refused(backend: Backend) -> None:
    y_true, y_pred = {"h": [A, B], "k": C}, {"h": LISTED, "k": ZERO}
    weights = {"h": np.array([[1], [10], [100], [1000]], "float32"), "k": np.ones((4, 1), "float32")}
    shown = their_loss(y_true, y_pred, "mse", names=list("abc"), sample_weight=weights)[1]
    assert shown == {"h/a_loss": 1.0, "h/b_loss": 40.0, "k_loss": 16.0}  # the weights of the samples 0 and 1 for all
    with pytest.raises(ArgumentError, match=r"sample_weight\['h'\] is one"):
        ours(backend, y_true, y_pred, "mse", sample_weight=weights)


def test_what_compile_refuses_without_need_acts(backend: Backend) -> None:
    y_true, loss = {"x": A, "y": B}, {"x": "mse", "y": "mse"}
    refused: list[tuple[Any, float]] = [(2, 2.0 + 8.0), ({"y": 3.0}, 1.0 + 12.0), (0.5, 2.5)]
    for loss_weights, total in refused:
        with pytest.raises((ValueError, TypeError), match=r"loss_weights|len"):
            their_loss(y_true, NAMED, loss, loss_weights, XY)
        assert ours(backend, y_true, NAMED, loss, None, loss_weights)["loss"] == total
    for bare in ("mae", "ce"):
        with pytest.raises(ValueError, match="Expected `metrics`"):
            their_metrics(A, ZERO, bare)
    assert ours(backend, A, ZERO, "mse", "mae")["mae"] == 1.0
    labels, scores = np.array([0, 1]), np.full((2, 2), 0.5, "float32")
    with pytest.raises(ValueError, match="ce"):
        their_metrics(labels, scores, ["ce"])
    assert ours(backend, labels, scores, "sparse_categorical_crossentropy", ["ce"])["ce"] == pytest.approx(np.log(2))


# ── Metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_metrics_of_an_output_that_does_not_exist_are_refused(backend: Backend) -> None:
    assert their_metrics(A, ZERO, {"typo": ["mse"]}, ["out"]) == {"mse": 1.0}
    with pytest.raises(UnknownNameError, match="output in metrics: 'typo'"):
        ours(backend, A, ZERO, {"out": "mse"}, {"typo": ["mse"]})


def test_metrics_never_see_the_targets_of_another_output(backend: Backend) -> None:
    y_pred = [ZERO, B]
    assert their_loss([B], y_pred, [None, "mse"], names=XY)[0] == 0.0
    assert their_metrics([B], y_pred, ["mse", "mse"], XY) == {"x_mse": 4.0}  # the targets of y
    with pytest.raises(ArgumentError, match="y_true is a list of 1, and y_pred has 2 outputs"):
        ours(backend, [B], y_pred, [None, "mse"], ["mse", "mse"])
    with pytest.raises(ArgumentError, match="'output_1' has metrics and no y_true"):
        ours(backend, [None, B], y_pred, [None, "mse"], ["mse", "mse"])


def test_one_metric_object_does_not_serve_two_outputs(backend: Backend) -> None:
    shared = keras.metrics.MeanSquaredError(name="e")
    assert their_metrics([A, B], LISTED, [shared, shared], XY) == {"x_e": 2.5, "y_e": 2.5}
    metric = metrics.MeanSquaredError(name="e")
    with pytest.raises(ArgumentError, match="holds one state"):
        ours(backend, [A, B], LISTED, "mse", [metric, metric])


def test_no_metric_hides_a_part_of_the_loss(backend: Backend) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    model.compile(loss="mse", metrics=[keras.metrics.MeanAbsoluteError(name="loss")])
    assert model.evaluate(ZERO, B, verbose=0, return_dict=True) == {"loss": 2.0}  # the metric
    with pytest.raises(ArgumentError, match="'loss', which is the name of a part"):
        ours(backend, B, ZERO, "mse", [metrics.MeanAbsoluteError(name="loss")])


def test_a_numbered_name_hides_no_metric(backend: Backend) -> None:
    given = ["mse", "mse", keras.metrics.MeanAbsoluteError(name="mse_1")]
    assert their_metrics(B, ZERO, given) == {"mse": 4.0, "mse_1": 2.0}
    shown = ours(backend, B, ZERO, "mse", ["mse", "mse", metrics.MeanAbsoluteError(name="mse_1")])
    assert shown == {"loss": 4.0, "mse": 4.0, "mse_1": 4.0, "mse_1_1": 2.0}


def test_outputs_without_names_are_numbered(backend: Backend) -> None:
    assert their_loss([A, B], LISTED, "mse") == (5.0, {"mse_loss": 4.0})  # of the first there is no tracker to be seen
    assert their_metrics([A, B], LISTED, ["mse", "mse"]) == {"mse": 1.0, "mse_1": 4.0}
    assert ours(backend, [A, B], LISTED, "mse", ["mse", "mse"]) == {
        "loss": 5.0, "output_1_loss": 1.0, "output_2_loss": 4.0, "output_1_mse": 1.0, "output_2_mse": 4.0,
    }  # fmt: skip


def test_losses_and_metrics_of_a_nested_output_share_its_name(backend: Backend) -> None:
    y_true, y_pred = {"h": [A, B], "k": C}, {"h": LISTED, "k": ZERO}
    given = {"h": ["mse", None], "k": "mse"}
    assert set(their_loss(y_true, y_pred, "mse", names=list("abc"))[1]) == {"h/a_loss", "h/b_loss", "k_loss"}
    assert set(their_metrics(y_true, y_pred, given, list("abc"))) == {"a_mse", "c_mse"}
    shown = ours(backend, y_true, y_pred, "mse", given)
    assert [*shown] == ["loss", "h/output_1_loss", "h/output_2_loss", "k_loss", "h/output_1_mse", "k_mse"]


def test_a_loss_object_as_a_metric_counts_samples_and_not_batches(backend: Backend) -> None:
    theirs = CompileMetrics([keras.losses.MeanSquaredError()], None)
    objective = Objective("mse", [losses.MeanSquaredError()])
    for y_true in (A[:1], B[:3]):
        theirs.update_state(y_true, ZERO[: len(y_true)])
        objective.update_metrics(*(backend.asarray(x.copy()) for x in (y_true, ZERO[: len(y_true)])))
    assert float(theirs.result()["mean_squared_error"]) == (1.0 + 4.0) / 2
    assert float(objective.results()["mean_squared_error"]) == (1.0 + 3 * 4.0) / 4


def test_the_average_of_a_mean_by_weights_is_one_by_weights(backend: Backend) -> None:
    settings = {"reduction": "mean_with_sample_weight"}
    theirs = CompileLoss([keras.losses.MeanSquaredError(**settings)] * 2, output_names=XY)
    objective = Objective(losses.MeanSquaredError(**settings))
    for y_true, weight in ((A, 1.0), (B, 3.0)):
        weights = np.full(4, weight, "float32")
        theirs([y_true, y_true], LISTED, [weights, weights])
        objective.update_metrics(*(backend.asarray(x.copy()) for x in (y_true, ZERO, weights)))
    assert float(theirs.metrics[0].result()) == (1.0 + 4.0) / 2
    assert float(objective.results()["loss"]) == (1.0 + 3 * 4.0) / 4


def test_accuracy_asks_the_loss_and_then_the_shapes(backend: Backend) -> None:
    labels = np.array([[1, 0, 1], [0, 0, 1]], "float32")
    scores = np.array([[0.9, 0.2, 0.3], [0.6, 0.1, 0.9]], "float32")
    assert their_metrics(labels, scores, ["acc"])["acc"] == 1.0  # by the largest score of each row
    assert ours(backend, labels, scores, "binary_crossentropy", ["acc"])["acc"] == pytest.approx(4 / 6)
    assert their_metrics(labels[:, 0], scores[:, 1], ["acc"])["acc"] == 1.0  # one row
    assert ours(backend, labels[:, 0], scores[:, 1], "binary_crossentropy", ["acc"])["acc"] == 0.5
    signs, values = np.array([[-1], [1]], "float32"), np.array([[-2], [0.25]], "float32")
    assert their_metrics(signs, values, ["acc"])["acc"] == 0.0
    assert ours(backend, signs, values, "hinge", ["acc"])["acc"] == 1.0


def test_a_batch_that_is_refused_is_taken_in_nowhere(backend: Backend) -> None:
    theirs = CompileMetrics(["mse", keras.metrics.F1Score()], None)
    objective = Objective("mse", ["mse", metrics.F1Score()])
    labels = np.eye(2, dtype="float32")
    batches = [(labels, labels), (np.full((2, 3), 1.0, "float32"), np.zeros((2, 3), "float32"))]
    theirs.update_state(*batches[0])
    with pytest.raises(ValueError, match=r"shape|broadcast"):
        theirs.update_state(*batches[1])
    assert float(theirs.result()["mse"]) == 0.5
    objective.update_metrics(*(backend.asarray(x.copy()) for x in batches[0]))
    with pytest.raises(ValueError, match=r"classes|shape"):
        objective.update_metrics(*(backend.asarray(x.copy()) for x in batches[1]))
    assert float(objective.results()["mse"]) == 0.0
