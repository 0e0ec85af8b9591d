"""What "accuracy" and "crossentropy" stand for beside a loss."""

import numpy as np
import pytest
from multiloss import Objective, losses, metrics
from multiloss._errors import ArgumentError, ShapeError
from tests.objective.common import mean_pred

SPARSE = ([0, 2, 1], [[0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.2, 0.7, 0.1]], 2 / 3)
SPARSE_COLUMN = ([[0], [2], [1]], *SPARSE[1:])
ONE_HOT = ([[1, 0, 0], [0, 0, 1], [0, 1, 0]], *SPARSE[1:])
MULTI_LABEL = ([[1, 0, 1], [0, 0, 1]], [[0.9, 0.2, 0.3], [0.6, 0.1, 0.9]], 4 / 6)
BINARY = ([0, 1, 1, 0], [0.2, 0.7, 0.4, 0.1], 3 / 4)
BINARY_COLUMN = ([[0], [1], [1], [0]], [[0.2], [0.7], [0.4], [0.1]], 3 / 4)
BINARY_MIXED = ([0, 1, 1, 0], [[0.2], [0.7], [0.4], [0.1]], 3 / 4)
LOGITS = ([0, 1, 1, 0], [[-0.2], [0.4], [-0.3], [0.3]], 2 / 4)
SIGNS = ([-1, 1, 1, -1], [[-0.2], [0.4], [-0.3], [0.3]], 2 / 4)
STEPS = ([[0, 1, 1], [1, 0, 1]], [[[0.2], [0.7], [0.4]], [[0.9], [0.1], [0.6]]], 5 / 6)


@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy", "ACC"])
@pytest.mark.parametrize(
    ("loss", "case"),
    [
        ("binary_crossentropy", BINARY),
        ("binary_crossentropy", BINARY_COLUMN),
        ("binary_crossentropy", BINARY_MIXED),
        ("binary_crossentropy", MULTI_LABEL),
        ("binary_crossentropy", STEPS),
        ("binary_focal_crossentropy", MULTI_LABEL),
        (losses.BinaryCrossentropy(from_logits=True), LOGITS),
        ("hinge", SIGNS),
        ("squared_hinge", SIGNS),
        ("hinge", LOGITS),  # labels 0 and 1, which hinge maps to -1 and 1
        ("squared_hinge", LOGITS),
        ("sparse_categorical_crossentropy", SPARSE),
        ("sparse_categorical_crossentropy", SPARSE_COLUMN),
        ("categorical_crossentropy", ONE_HOT),
        ("kld", ONE_HOT),
        ("categorical_hinge", ONE_HOT),
        ("ce", SPARSE),
        ("ce", ONE_HOT),
        ("ce", BINARY),
        ("mse", BINARY),
        ("mse", BINARY_MIXED),
        ("mse", ONE_HOT),
        (mean_pred, BINARY),
        (mean_pred, ONE_HOT),
        (mean_pred, SPARSE),
    ],
)
def test_accuracy_fits_the_loss_and_the_shapes(tensor, shown, name, loss, case):
    y_true, y_pred, expected = case
    results = shown(Objective(loss, metrics=[name]), tensor(y_true), tensor(y_pred))
    assert list(results) == ["loss", name]
    assert results[name] == pytest.approx(expected)


def test_accuracy_finds_the_classes_where_the_loss_has_them(tensor, shown):
    y_true, y_pred, expected = SPARSE
    channels_first = np.moveaxis(np.array([y_pred], "float32"), -1, 1)
    objective = Objective(losses.SparseCategoricalCrossentropy(axis=1), metrics=["accuracy"])
    assert shown(objective, tensor([y_true]), tensor(channels_first))["accuracy"] == pytest.approx(expected)
    one_hot = np.moveaxis(np.array([ONE_HOT[0]], "float32"), -1, 1)
    objective = Objective(losses.CategoricalCrossentropy(axis=1), metrics=["accuracy"])
    assert shown(objective, tensor(one_hot), tensor(channels_first))["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("column", [False, True])
def test_accuracy_ignores_what_the_loss_ignores(tensor, shown, column):
    y_true, y_pred, expected = [0, 2, 1, -100], [*SPARSE[1], [1.0, 0.0, 0.0]], SPARSE[2]
    y_true = [[each] for each in y_true] if column else y_true
    objective = Objective(losses.SparseCategoricalCrossentropy(ignore_class=-100), metrics=["accuracy"])
    assert shown(objective, tensor(y_true), tensor(y_pred))["accuracy"] == pytest.approx(expected)
    mask = tensor([False, True, True, True])
    assert shown_again(objective, shown, tensor(y_true), tensor(y_pred), mask) == pytest.approx(1 / 2)


@pytest.mark.parametrize("name", ["accuracy", "crossentropy"])
def test_one_hot_labels_of_an_ignored_class_do_not_count(tensor, shown, name):
    y_true, y_pred = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[0.8, 0.1, 0.1]] * 3
    objective = Objective(losses.CategoricalCrossentropy(ignore_class=2), metrics=[name])
    found = shown(objective, tensor(y_true), tensor(y_pred))
    assert found[name] == pytest.approx(0.5 if name == "accuracy" else found["loss"])


@pytest.mark.parametrize("name", ["accuracy", "crossentropy"])
def test_yes_or_no_labels_that_are_ignored_do_not_count(tensor, shown, name):
    for y_true, y_pred, expected in (
        ([1.0, -1.0, 0.0], [[0.8], [0.7], [0.9]], 1 / 2),
        ([[1.0, -1.0, 0.0], [-1.0, -1.0, -1.0]], [[0.8, 0.7, 0.1], [0.9, 0.1, 0.2]], 1.0),
    ):
        objective = Objective(losses.BinaryCrossentropy(ignore_class=-1), metrics=[name])
        found = shown(objective, tensor(y_true), tensor(y_pred))
        assert found[name] == pytest.approx(expected if name == "accuracy" else found["loss"])


def shown_again(objective, shown, y_true, y_pred, mask):
    objective.reset()
    return shown(objective, y_true, y_pred, mask=mask)["accuracy"]


@pytest.mark.parametrize("name", ["crossentropy", "ce", "CE"])
@pytest.mark.parametrize(
    ("loss", "case"),
    [
        ("binary_crossentropy", MULTI_LABEL),
        ("categorical_crossentropy", ONE_HOT),
        ("sparse_categorical_crossentropy", SPARSE),
        (losses.BinaryCrossentropy(from_logits=True), LOGITS),
        (losses.SparseCategoricalCrossentropy(from_logits=True), SPARSE),
        (losses.CategoricalCrossentropy(from_logits=True), ONE_HOT),
    ],
)
def test_crossentropy_as_a_metric_is_that_of_the_loss(tensor, shown, name, loss, case):
    results = shown(Objective(loss, metrics=name), tensor(case[0]), tensor(case[1]))
    assert results[name] == pytest.approx(results["loss"], rel=1e-6)


def test_the_crossentropy_of_signed_scores_is_refused(tensor):
    with pytest.raises(ArgumentError, match="needs probabilities or logits"):
        Objective("hinge", metrics=["ce"]).update_metrics(tensor(SIGNS[0]), tensor(SIGNS[1]))


def test_auc_of_sparse_labels_and_several_outputs_is_one_clear_error(tensor):
    objective = Objective("sparse_categorical_crossentropy", metrics="AUC")
    with pytest.raises(ShapeError, match=r"y_true has shape \(3,\) and y_pred has shape \(3, 3\)") as caught:
        objective.update_metrics(tensor(SPARSE[0]), tensor(SPARSE[1]))
    assert "the metric 'AUC' of the objective" in caught.value.__notes__[0]


def test_a_bare_string_is_one_metric(tensor, shown):
    assert shown(Objective("bce", metrics="AUC"), tensor(BINARY[0]), tensor(BINARY[1]))["AUC"] == pytest.approx(1.0)


def test_metrics_show_what_accuracy_was_resolved_to(tensor):
    objective = Objective("hinge", metrics=["accuracy"])
    assert objective.metrics == {}
    objective.update_metrics(tensor(SIGNS[0]), tensor(SIGNS[1]))
    assert isinstance(objective.metrics["accuracy"], metrics.BinaryAccuracy)
