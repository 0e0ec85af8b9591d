"""Models of XGBoost, trained with losses that take more than targets and predictions."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xgboost as xgb
from multiloss import _errors
from multiloss.integrations.xgboost import as_metric, as_objective
from multiloss.losses import LossFunctionWrapper
from tests.integrations.boosting import (
    PROBLEMS,
    TEACHER,
    TEACHER_LOGITS,
    TEACHER_SHARES,
    VARIANCE,
    WEIGHTS,
    Distillation,
    distillation_by_hand,
    distillation_of_shares,
    distilled_labels,
    gaussian_nll,
    halfway,
)

PARAMS = {"max_depth": 4, "eta": 0.3, "nthread": 1, "seed": 0}
ESTIMATOR = {"n_estimators": 10, "max_depth": 4, "learning_rate": 0.3, "n_jobs": 1, "random_state": 0}
either = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])


def train(objective, dtrain, rounds=20, **others):
    return xgb.train(PARAMS | objective.params(dtrain), dtrain, rounds, obj=objective, **others)


@either
def test_a_teachers_values_act_as_targets_moved_towards_them(weights):
    x, y, _ = PROBLEMS["values"]
    objective, plain = as_objective(halfway, inputs={"teacher": TEACHER}), as_objective("mean_squared_error")
    ours = train(objective, xgb.DMatrix(x, y, weight=weights))
    theirs = train(plain, xgb.DMatrix(x, 0.5 * (y + TEACHER), weight=weights))
    np.testing.assert_allclose(objective.predict(ours, xgb.DMatrix(x)), theirs.predict(xgb.DMatrix(x)), 0, 1e-4)
    estimator = xgb.XGBRegressor(objective=objective, **ESTIMATOR, **objective.start(y, weights))
    estimator.fit(x, y, sample_weight=weights)
    booster = train(objective, xgb.DMatrix(x, y, weight=weights), 10)
    np.testing.assert_allclose(objective.predict(estimator, x), booster.predict(xgb.DMatrix(x)), 0, 1e-4)


@either
def test_a_variance_is_one_over_a_weight(weights):
    x, y, _ = PROBLEMS["values"]
    objective = as_objective(LossFunctionWrapper(gaussian_nll), inputs={"variance": VARIANCE})
    ours = train(objective, xgb.DMatrix(x, y, weight=weights))
    by_weight = xgb.DMatrix(x, y, weight=(1.0 if weights is None else weights) / VARIANCE)
    theirs = xgb.train(PARAMS | {"objective": "reg:squarederror"}, by_weight, 20)
    np.testing.assert_allclose(ours.predict(by_weight), theirs.predict(by_weight), 0, 1e-4)


@either
def test_a_teachers_probabilities_act_as_soft_labels(weights):
    x, y, _ = PROBLEMS["labels"]
    objective = as_objective(distilled_labels, link="logit", inputs={"teacher": TEACHER_SHARES})
    ours = train(objective, xgb.DMatrix(x, y, weight=weights))
    soft = xgb.DMatrix(x, 0.5 * (y + TEACHER_SHARES), weight=weights)
    theirs = xgb.train(PARAMS | {"objective": "binary:logistic"}, soft, 20)
    np.testing.assert_allclose(ours.predict(soft), theirs.predict(soft), 0, 1e-5)
    start = objective.start(y, weights)
    estimator = xgb.XGBClassifier(objective=objective, **ESTIMATOR, **start).fit(x, y, sample_weight=weights)
    found = estimator.predict_proba(x)
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-6)
    booster = train(objective, xgb.DMatrix(x, y, weight=weights), 10)
    np.testing.assert_allclose(found[:, 1], booster.predict(soft), 0, 1e-5)


def by_hand(scores, dtrain):
    gradient, hessian = distillation_by_hand(dtrain.get_label(), scores, TEACHER_LOGITS, dtrain.get_weight())
    bound = 2.0 * hessian  # as XGBoost's softmax has it: each row of a block sums to 0
    return gradient, bound


@either
@pytest.mark.parametrize("loss", [Distillation(), distillation_of_shares], ids=["logits", "shares"])
def test_a_teachers_logits_train_as_a_gradient_written_by_hand(loss, weights):
    x, y, _ = PROBLEMS["classes"]
    dtrain = xgb.DMatrix(x, y, weight=weights)
    objective = as_objective(loss, link="softmax", inputs={"teacher": TEACHER_LOGITS})
    ours, theirs = train(objective, dtrain), xgb.train(PARAMS | objective.params(dtrain), dtrain, 20, obj=by_hand)
    np.testing.assert_allclose(ours.predict(dtrain), theirs.predict(dtrain), 0, 1e-5)
    start = objective.start(y, weights)
    estimator = xgb.XGBClassifier(objective=objective, **ESTIMATOR, **start).fit(
        x, y.astype(int), sample_weight=weights
    )
    found = estimator.predict_proba(x)
    assert found.shape == (400, 3)
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-6)
    np.testing.assert_allclose(found, train(objective, dtrain, 10).predict(dtrain), 0, 1e-5)


def test_data_sets_for_evaluation_need_no_inputs():
    x, y, loss = PROBLEMS["classes"]
    dtrain, dtest = xgb.DMatrix(x[:300], y[:300]), xgb.DMatrix(x[300:], y[300:])
    objective = as_objective(Distillation(), link="softmax", inputs={"teacher": TEACHER_LOGITS[:300]})
    results: dict = {}
    evaluation = {"custom_metric": as_metric(loss, name="loss"), "evals": [(dtrain, "train"), (dtest, "test")]}
    booster = train(objective, dtrain, 5, **evaluation, evals_result=results, verbose_eval=False)
    for name, data in (("train", dtrain), ("test", dtest)):
        chosen = booster.predict(data)[np.arange(data.num_row()), data.get_label().astype(int)]
        np.testing.assert_allclose(results[name]["loss"][-1], -np.log(chosen).mean(), 1e-5)
    estimator = xgb.XGBClassifier(
        objective=objective, eval_metric=as_metric(loss, name="loss"), **ESTIMATOR, **objective.start(y[:300])
    )
    estimator.fit(x[:300], y[:300].astype(int), eval_set=[(x[300:], y[300:].astype(int))], verbose=False)
    found = estimator.evals_result()["validation_0"]["loss"]
    np.testing.assert_allclose(found[:5], results["test"]["loss"], 1e-4)


def test_a_number_is_an_input_of_every_row():
    def quantile(y_true, y_pred, share):
        error = y_true - y_pred
        return (error**2 * ((error > 0) * share + (error <= 0) * (1.0 - share))).mean(-1)

    _, y, _ = PROBLEMS["values"]
    scores = np.full(400, 100.0, np.float32)
    of_all = as_objective(quantile, inputs={"share": 0.8})(y, scores)
    of_each = as_objective(quantile, inputs={"share": [0.8] * 400})(y, scores)
    for one, other in zip(of_all, of_each, strict=True):
        np.testing.assert_allclose(one, other, 1e-6)


def test_an_objective_with_inputs_can_be_pickled():
    _, y, _ = PROBLEMS["classes"]
    scores = np.random.default_rng(7).normal(size=(400, 3)).astype(np.float32)
    objective = as_objective(Distillation(), link="softmax", inputs={"teacher": TEACHER_LOGITS})
    again = pickle.loads(pickle.dumps(objective))
    for one, other in zip(objective(y, scores, WEIGHTS), again(y, scores, WEIGHTS), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["values", "classes"])
def test_another_number_of_rows_is_one_clear_error(name):
    x, y, _ = PROBLEMS[name]
    dtrain = xgb.DMatrix(x, y)
    if name == "values":
        objective = as_objective(halfway, inputs={"teacher": TEACHER[:399]})
    else:
        objective = as_objective(Distillation(), link="softmax", inputs={"teacher": TEACHER_LOGITS[:399]})
    classes = {"num_class": 3} if name == "classes" else {}
    for begin in (
        lambda: objective.params(dtrain),
        lambda: objective.start(y),
        lambda: xgb.train(PARAMS | classes, dtrain, 1, obj=objective),
        lambda: xgb.XGBRegressor(objective=objective, **ESTIMATOR, **classes).fit(x, y),
    ):
        with pytest.raises(_errors.ShapeError, match="teacher has 399 rows, and the training data have 400"):
            begin()


def test_inputs_that_are_missing_or_not_known_raise_at_once():
    with pytest.raises(_errors.NamedInputError, match="gaussian_nll needs variance="):
        as_objective(gaussian_nll)
    with pytest.raises(_errors.NamedInputError, match="mean_squared_error got teacher="):
        as_objective("mean_squared_error", inputs={"teacher": TEACHER})
    with pytest.raises(_errors.NamedInputError, match="data sets for evaluation have no named inputs"):
        as_metric(gaussian_nll)


def test_classes_of_a_loss_of_ones_own_are_checked():
    x, y, _ = PROBLEMS["classes"]
    inputs = {"teacher": TEACHER_LOGITS}
    with pytest.raises(_errors.LabelError, match="whole numbers from 0 to 2"):
        as_objective(Distillation(), link="softmax", inputs=inputs).params(xgb.DMatrix(x, y + 0.5), num_class=3)
    with pytest.raises(_errors.ArgumentError, match="link='softmax'"):
        as_objective(Distillation(), inputs=inputs).params(xgb.DMatrix(x, y), num_class=3)
