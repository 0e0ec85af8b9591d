"""Models of CatBoost, trained with losses that take more than targets and predictions."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from multiloss import _errors
from multiloss import backend as K
from multiloss.integrations.catboost import as_metric, as_objective
from multiloss.losses import LossFunctionWrapper
from tests.integrations.boosting import (
    PROBLEMS,
    TEACHER,
    TEACHER_LOGITS,
    TEACHER_SHARES,
    VARIANCE,
    WEIGHTS,
    Distillation,
    distillation_of_shares,
    distilled_labels,
    gaussian_nll,
    halfway,
    softmax,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import catboost

PARAMS = {
    "depth": 4,
    "learning_rate": 0.1,
    "leaf_estimation_method": "Newton",
    "leaf_estimation_iterations": 1,
    "bootstrap_type": "No",
    "random_seed": 0,
    "thread_count": 1,
    "verbose": 0,
    "allow_writing_files": False,
}
pytestmark = pytest.mark.filterwarnings("ignore:Failed to import numba", "ignore::DeprecationWarning")


def scores(fitted, x):
    return fitted.predict(x, prediction_type="RawFormulaVal")


EXACT = {"l2_leaf_reg": 0.0, "random_strength": 0.0, "thread_count": 2}


def guided(**options):
    objective = as_objective(LossFunctionWrapper(halfway), inputs={"teacher": TEACHER})
    return objective, catboost.CatBoostRegressor(loss_function=objective, **PARAMS | EXACT | options)


@pytest.mark.parametrize("repeats", [1, 6])  # more rows than CatBoost hands over at once
def test_named_inputs_reach_the_rows_that_they_belong_to(repeats):
    x, y, _ = PROBLEMS["values"]
    x, y, teacher, weights = (np.concatenate([each] * repeats) for each in (x, y, TEACHER, WEIGHTS))
    objective = as_objective(LossFunctionWrapper(halfway), inputs={"teacher": teacher})
    ours = catboost.CatBoostRegressor(loss_function=objective, iterations=20, **PARAMS | EXACT)
    objective.fit(ours, x, y, weights)
    plain = as_objective("mean_squared_error")
    theirs = catboost.CatBoostRegressor(
        loss_function=plain, eval_metric=as_metric("mean_squared_error"), iterations=20, **PARAMS | EXACT
    )
    plain.fit(theirs, x, 0.5 * (y + teacher), weights)
    np.testing.assert_allclose(objective.predict(ours, x), plain.predict(theirs, x), 0, 1e-5)
    (shown,) = ours.get_evals_result()["learn"].values()
    expected = 0.5 * np.average((0.5 * (y + teacher) - scores(ours, x)) ** 2, weights=weights)
    np.testing.assert_allclose(shown[-1], expected, 1e-6)


def test_labels_may_have_named_inputs_in_a_regressor():
    x, y, _ = PROBLEMS["labels"]
    loss = LossFunctionWrapper(distilled_labels)
    objective = as_objective(loss, link="logit", inputs={"teacher": TEACHER_SHARES})
    ours = catboost.CatBoostRegressor(loss_function=objective, iterations=20, **PARAMS | EXACT)
    objective.fit(ours, x, y, WEIGHTS)
    plain = as_objective("binary_crossentropy")
    theirs = catboost.CatBoostRegressor(
        loss_function=plain, eval_metric=as_metric("binary_crossentropy"), iterations=20, **PARAMS | EXACT
    )
    plain.fit(theirs, x, 0.5 * (y + TEACHER_SHARES), WEIGHTS)
    found = objective.predict_proba(ours, x)
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-12)
    np.testing.assert_allclose(found, plain.predict_proba(theirs, x), 0, 1e-5)


class GaussianByHand:
    """The likelihood with CatBoost alone, for targets that are the numbers of rows."""

    def __init__(self, y, variance):
        self.y, self.variance = y, variance

    def calc_ders_range(self, approxes, targets, weights):
        rows = np.array(targets).astype(int)
        precision = (1.0 if weights is None else np.array(weights)) / self.variance[rows]
        gradient = precision * (self.y[rows] - np.array(approxes))
        return list(zip(gradient.tolist(), (-precision).tolist(), strict=True))


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_a_variance_trains_as_a_gradient_written_by_hand(weights):
    x, y, _ = PROBLEMS["values"]
    objective = as_objective(LossFunctionWrapper(gaussian_nll), inputs={"variance": VARIANCE})
    ours = catboost.CatBoostRegressor(loss_function=objective, iterations=20, **PARAMS)
    objective.fit(ours, x, y, weights)
    precision = (1.0 if weights is None else weights) / VARIANCE
    np.testing.assert_allclose(objective.constant[0], np.average(y, weights=precision), 1e-9)
    hand = GaussianByHand(y, VARIANCE)
    theirs = catboost.CatBoostRegressor(loss_function=hand, eval_metric="RMSE", iterations=20, **PARAMS)
    theirs.fit(x, np.arange(400.0), sample_weight=weights, baseline=np.full(400, objective.constant[0]))
    np.testing.assert_allclose(scores(ours, x), scores(theirs, x) + objective.constant[0], 0, 1e-5)


def test_a_model_with_named_inputs_keeps_no_training_data(tmp_path):
    x, y, _ = PROBLEMS["values"]
    objective, own = guided(iterations=3)
    objective.fit(own, x, y)
    assert len(pickle.dumps(own.get_param("loss_function"))) < 200
    with pytest.raises(_errors.ArgumentError, match="fitted already"):
        objective.fit(own, x, y)
    own.save_model(tmp_path / "model.cbm")
    loaded = catboost.CatBoost().load_model(tmp_path / "model.cbm")
    np.testing.assert_allclose(scores(loaded, x), scores(own, x), 1e-12)


def test_what_named_inputs_cannot_reach_raises():
    x, y, _ = PROBLEMS["values"]
    for options, others, match in (
        ({"eval_metric": "RMSE"}, {}, "eval_metric would take them"),
        ({}, {"eval_set": (x, y)}, "rows of an eval_set have none"),
        ({"cat_features": [0]}, {}, "cat_features would be encoded"),
        ({}, {"cat_features": [0]}, "cat_features would be encoded"),
    ):
        objective, own = guided(**options)
        with pytest.raises(_errors.ArgumentError, match=match):
            objective.fit(own, x, y, **others)
    objective, own = guided()
    with pytest.raises(_errors.ShapeError, match="teacher has 400 rows, and the training data have 399"):
        objective.fit(own, x[1:], y[1:])
    with pytest.raises(_errors.NotSupportedError, match="Train with"):
        objective.calc_ders_range(y, y, None)
    with pytest.raises(_errors.ArgumentError, match="would make classes of them"):
        objective.fit(catboost.CatBoostClassifier(loss_function=objective, **PARAMS), x, y)
    with pytest.raises(_errors.NamedInputError, match="needs teacher="):
        as_objective(LossFunctionWrapper(halfway))


class ByHand(catboost.MultiTargetCustomObjective, catboost.MultiTargetCustomMetric):
    """Distillation at temperature 1 with CatBoost alone, whose targets are then shares of the classes."""

    def __init__(self, start):
        self.start = start

    def calc_ders_multi(self, approxes, targets, weight):
        p = softmax(np.array(approxes) + self.start)
        return weight * (targets - p), weight * (np.outer(p, p) - np.diag(p))

    def evaluate(self, approxes, targets, weights):
        weights = np.ones(len(targets[0])) if weights is None else weights
        logs = np.log(softmax(np.stack(approxes, -1) + self.start))
        return -(weights[:, None] * np.stack(targets, -1) * logs).sum(), weights.sum()

    def get_final_error(self, error, weight):
        return error / weight

    def is_max_optimal(self):
        return False


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(
    "loss",
    [Distillation(1.0), LossFunctionWrapper(distillation_of_shares, temperature=1.0)],
    ids=["logits", "shares"],
)
def test_a_teachers_logits_reach_a_loss_of_several_classes(loss, weights):
    x, y, _ = PROBLEMS["classes"]
    objective = as_objective(loss, link="softmax", inputs={"teacher": TEACHER_LOGITS})
    ours = catboost.CatBoostRegressor(loss_function=objective, iterations=10, **PARAMS)
    objective.fit(ours, x, y, weights)
    hand = ByHand(np.array(objective.constant))
    theirs = catboost.CatBoostRegressor(loss_function=hand, eval_metric=hand, iterations=10, **PARAMS)
    theirs.fit(x, 0.5 * (np.eye(3)[y.astype(int)] + softmax(TEACHER_LOGITS)), sample_weight=weights)
    np.testing.assert_allclose(scores(ours, x), scores(theirs, x) + hand.start, 0, 1e-5)
    (shown,), (expected,) = (each.get_evals_result()["learn"].values() for each in (ours, theirs))
    np.testing.assert_allclose(shown, expected, 1e-5)
    found = objective.predict_proba(ours, x)
    assert found.shape == (400, 3)
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-12)
    np.testing.assert_array_equal(objective.predict(ours, x), found)


def no_matter(y_true, y_pred, *, teacher, from_logits=False):
    return K.sparse_categorical_crossentropy(y_true, y_pred, from_logits) + 0.0 * K.sum(teacher, -1)


@pytest.mark.parametrize(
    "options",
    [{}, {"leaf_estimation_iterations": 2}, {"bootstrap_type": "Bernoulli", "subsample": 0.7}],
    ids=["one step", "two steps", "some rows"],
)
def test_several_classes_train_as_catboosts_multiclass_does(options):
    x, y, _ = (each[:100] if hasattr(each, "shape") else each for each in PROBLEMS["classes"])
    loss = LossFunctionWrapper(no_matter)
    objective = as_objective(loss, link="softmax", inputs={"teacher": TEACHER_LOGITS[:100]})
    params = PARAMS | options
    ours = objective.fit(catboost.CatBoostRegressor(loss_function=objective, iterations=5, **params), x, y)
    theirs = catboost.CatBoostClassifier(loss_function="MultiClass", iterations=5, boost_from_average=False, **params)
    theirs.fit(x, y, **objective.start(y))
    np.testing.assert_allclose(scores(ours, x), scores(theirs, x) + np.array(objective.constant), 0, 1e-5)


def test_a_model_of_several_classes_with_named_inputs_can_be_saved(tmp_path):
    x, y, _ = PROBLEMS["classes"]
    objective = as_objective(Distillation(), link="softmax", inputs={"teacher": TEACHER_LOGITS})
    ours = objective.fit(catboost.CatBoostRegressor(loss_function=objective, iterations=3, **PARAMS), x, y)
    assert len(pickle.dumps(ours.get_param("loss_function"))) < 200
    with pytest.raises(_errors.ArgumentError, match="fitted already"):
        objective.fit(ours, x, y)
    ours.save_model(tmp_path / "model.cbm")
    loaded = catboost.CatBoost().load_model(tmp_path / "model.cbm")
    np.testing.assert_allclose(scores(loaded, x), scores(ours, x), 1e-12)
    np.testing.assert_allclose(objective.predict_proba(loaded, x), objective.predict_proba(ours, x), 1e-12)


def test_what_named_inputs_of_several_classes_cannot_reach_raises():
    x, y, _ = PROBLEMS["classes"]
    objective = as_objective(Distillation(), link="softmax", inputs={"teacher": TEACHER_LOGITS})
    with pytest.raises(_errors.ArgumentError, match="would make classes of them"):
        objective.fit(catboost.CatBoostClassifier(loss_function=objective, **PARAMS), x, y)
    own = catboost.CatBoostRegressor(loss_function=objective, **PARAMS)
    with pytest.raises(_errors.ShapeError, match="teacher has 400 rows, and the training data have 399"):
        objective.fit(own, x[1:], y[1:])
    with pytest.raises(_errors.LabelError, match="whole numbers from 0 to 2"):
        objective.fit(own, x, y + 0.5 * (y < 1))
    with pytest.raises(_errors.NotSupportedError, match="Train with"):
        objective.calc_ders_multi([0.0, 0.0, 0.0], 1.0, 1.0)
    with pytest.raises(_errors.NamedInputError, match="needs teacher="):
        as_metric(Distillation(), link="softmax")
