"""Models of LightGBM, trained with losses that take more than targets and predictions."""

from __future__ import annotations

import pickle

import lightgbm as lgb
import numpy as np
import pytest
from multiloss import _errors
from multiloss.integrations.lightgbm import LossClassifier, LossRegressor, as_metric, as_objective
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

PARAMS = {"num_leaves": 15, "verbose": -1, "num_threads": 1, "deterministic": True, "seed": 0}
ESTIMATOR = {"n_estimators": 20, "num_leaves": 15, "verbose": -1, "n_jobs": 1}
either = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])


def dataset(x, y, weight=None, **options):
    return lgb.Dataset(x, y, weight=weight, params={"verbose": -1}, **options)


@either
def test_a_teachers_values_act_as_targets_moved_towards_them(weights):
    x, y, _ = PROBLEMS["values"]
    objective, plain = as_objective(halfway, inputs={"teacher": TEACHER}), as_objective("mean_squared_error")
    ours = objective.train(PARAMS, dataset(x, y, weights), 20)
    theirs = plain.train(PARAMS, dataset(x, 0.5 * (y + TEACHER), weights), 20)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), 0, 1e-4)
    estimator = LossRegressor(halfway, **ESTIMATOR).fit(x, y, weights, inputs={"teacher": TEACHER})
    np.testing.assert_allclose(estimator.predict(x), ours.predict(x), 0, 1e-4)


@either
def test_a_variance_is_one_over_a_weight(weights):
    x, y, _ = PROBLEMS["values"]
    params = PARAMS | {"min_sum_hessian_in_leaf": 0.0}
    objective = as_objective(LossFunctionWrapper(gaussian_nll), inputs={"variance": VARIANCE})
    ours = objective.train(params, dataset(x, y, weights), 20)
    by_weight = dataset(x, y, (1.0 if weights is None else weights) / VARIANCE)
    theirs = lgb.train(params | {"objective": "regression"}, by_weight, 20)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), 0, 1e-4)


@either
def test_a_teachers_probabilities_act_as_soft_labels(weights):
    x, y, _ = PROBLEMS["labels"]
    objective = as_objective(distilled_labels, link="logit", inputs={"teacher": TEACHER_SHARES})
    ours = objective.train(PARAMS, dataset(x, y, weights), 20)
    theirs = lgb.train(PARAMS | {"objective": "cross_entropy"}, dataset(x, 0.5 * (y + TEACHER_SHARES), weights), 20)
    np.testing.assert_allclose(objective.predict(ours, x), theirs.predict(x), 0, 1e-5)
    named = np.array(["ham", "spam"])[y.astype(int)]
    estimator = LossClassifier(distilled_labels, link="logit", **ESTIMATOR)
    estimator.fit(x, named, weights, inputs={"teacher": TEACHER_SHARES})
    found = estimator.predict_proba(x)
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-12)
    np.testing.assert_allclose(found[:, 1], objective.predict(ours, x), 0, 1e-5)
    np.testing.assert_array_equal(estimator.predict(x), np.array(["ham", "spam"])[(found[:, 1] > 0.5).astype(int)])


def by_hand(start):
    def objective(scores, dtrain):
        logits, weights = scores + start, dtrain.get_weight()
        gradient, hessian = distillation_by_hand(dtrain.get_label(), logits, TEACHER_LOGITS, weights)
        return gradient, hessian * 1.5  # K / (K - 1), as LightGBM's softmax has it

    return objective


@either
@pytest.mark.parametrize("loss", [Distillation(), distillation_of_shares], ids=["logits", "shares"])
def test_a_teachers_logits_train_as_a_gradient_written_by_hand(loss, weights):
    x, y, _ = PROBLEMS["classes"]
    objective = as_objective(loss, link="softmax", inputs={"teacher": TEACHER_LOGITS})
    ours = objective.train(PARAMS, dataset(x, y, weights), 20)
    start = np.array(objective.constant)
    own = PARAMS | {"objective": by_hand(start), "num_class": 3}
    theirs = lgb.train(own, dataset(x, y, weights), 20)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x) + start, 0, 1e-5)
    named = np.array(["bacon", "ham", "spam"])[y.astype(int)]
    estimator = LossClassifier(loss, link="softmax", **ESTIMATOR).fit(
        x, named, weights, inputs={"teacher": TEACHER_LOGITS}
    )
    found = estimator.predict_proba(x)
    assert found.shape == (400, 3)
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-12)
    np.testing.assert_allclose(found, objective.predict_proba(ours, x), 0, 1e-5)
    native = lgb.LGBMClassifier(objective=objective, **ESTIMATOR)
    native.fit(x, y.astype(int), sample_weight=weights, **objective.start(y, weights))
    np.testing.assert_allclose(objective.predict_proba(objective.finish(native), x), found, 0, 1e-5)


def test_data_sets_for_evaluation_need_no_inputs():
    x, y, loss = PROBLEMS["classes"]
    objective = as_objective(Distillation(), link="softmax", inputs={"teacher": TEACHER_LOGITS[:300]})
    history: dict = {}
    booster = objective.train(
        PARAMS,
        dataset(x[:300], y[:300]),
        5,
        valid_sets=[dataset(x[300:], y[300:])],
        feval=as_metric(loss, name="loss"),
        callbacks=[lgb.record_evaluation(history)],
    )
    chosen = objective.predict_proba(booster, x[300:])[np.arange(100), y[300:].astype(int)]
    found = history["valid_0"]["loss"]
    np.testing.assert_allclose(found[-1], -np.log(chosen).mean(), 1e-5)
    estimator = LossClassifier(Distillation(), link="softmax", **ESTIMATOR).fit(
        x[:300],
        y[:300],
        inputs={"teacher": TEACHER_LOGITS[:300]},
        eval_X=x[300:],
        eval_y=y[300:],
        eval_metric=as_metric(loss, name="loss"),
    )
    np.testing.assert_allclose(estimator.evals_result_["valid_0"]["loss"][:5], found, 1e-4)


def test_an_objective_with_inputs_can_be_pickled():
    _, y, _ = PROBLEMS["classes"]
    scores = np.random.default_rng(7).normal(size=(400, 3))
    objective = as_objective(Distillation(), link="softmax", inputs={"teacher": TEACHER_LOGITS})
    again = pickle.loads(pickle.dumps(objective))
    for one, other in zip(objective(y, scores, WEIGHTS), again(y, scores, WEIGHTS), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["values", "classes"])
def test_another_number_of_rows_is_one_clear_error(name):
    x, y, _ = PROBLEMS[name]
    loss, link, teacher = (halfway, None, TEACHER) if name == "values" else (Distillation(), "softmax", TEACHER_LOGITS)
    inputs = {"teacher": teacher[:399]}
    objective = as_objective(loss, link=link, inputs=inputs)
    kind = LossRegressor if name == "values" else LossClassifier
    classes = {"num_class": 3} if name == "classes" else {}
    for begin in (
        lambda: objective.train(PARAMS, dataset(x, y), 1),
        lambda: objective.start(y),
        lambda: lgb.train(PARAMS | classes | {"objective": objective}, dataset(x, y), 1),
        lambda: kind(loss, link=link, **ESTIMATOR).fit(x, y, inputs=inputs),
    ):
        with pytest.raises(_errors.ShapeError, match="teacher has 399 rows, and the training data have 400"):
            begin()


def test_inputs_that_are_missing_or_not_known_raise_at_once():
    x, y, _ = PROBLEMS["values"]
    with pytest.raises(_errors.NamedInputError, match="gaussian_nll needs variance="):
        as_objective(gaussian_nll)
    with pytest.raises(_errors.NamedInputError, match="gaussian_nll needs variance="):
        LossRegressor(gaussian_nll, **ESTIMATOR).fit(x, y)
    with pytest.raises(_errors.NamedInputError, match="mean_squared_error got teacher="):
        LossRegressor(**ESTIMATOR).fit(x, y, inputs={"teacher": TEACHER})
    with pytest.raises(_errors.NamedInputError, match="data sets for evaluation have no named inputs"):
        as_metric(gaussian_nll)
