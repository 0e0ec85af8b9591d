"""Models of LightGBM, trained with a loss of multiloss and with LightGBM's own."""

from __future__ import annotations

import pickle
import subprocess
import sys

import lightgbm as lgb
import numpy as np
import pytest
from multiloss import _errors, losses, metrics
from multiloss import backend as K
from multiloss.integrations.lightgbm import LossClassifier, LossRegressor, as_metric, as_objective
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from tests.integrations.boosting import COPIES, PROBLEMS, WEIGHTS

BUILT_IN = {
    "values": ("regression", "l2", {}),
    "labels": ("binary", "binary_logloss", {}),
    "counts": ("poisson", "poisson", {}),
    "classes": ("multiclass", "multi_logloss", {"num_class": 3}),
}
PARAMS = {"num_leaves": 15, "verbose": -1, "num_threads": 1, "deterministic": True, "seed": 0}
ESTIMATOR = {"n_estimators": 50, "num_leaves": 15, "verbose": -1, "n_jobs": 1}


def dataset(x, y, weight=None, **options):
    return lgb.Dataset(x, y, weight=weight, params={"verbose": -1}, **options)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_the_model_equals_that_of_the_built_in_objective(name, weights):
    x, y, loss = PROBLEMS[name]
    own, _, extra = BUILT_IN[name]
    theirs = lgb.train(PARAMS | extra | {"objective": own}, dataset(x, y, weights), 50)
    objective = as_objective(loss)
    ours = objective.train(PARAMS, dataset(x, y, weights), 50)
    np.testing.assert_allclose(objective.predict(ours, x), theirs.predict(x), 0, 1e-5)
    found, expected = ours.predict(x), theirs.predict(x, raw_score=True)
    if name == "classes":  # of which only differences matter
        found, expected = (each - each.mean(1, keepdims=True) for each in (found, expected))
    np.testing.assert_allclose(found, expected, 0, 1e-5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_many_rows_train_as_few_do(name):
    """So many that their derivatives are computed in blocks."""
    x, y, loss = PROBLEMS[name]
    x, y = np.concatenate([x[:, :2]] * 350), np.concatenate([y] * 350)
    own, _, extra = BUILT_IN[name]
    theirs = lgb.train(PARAMS | extra | {"objective": own}, dataset(x, y), 3)
    objective = as_objective(loss)
    ours = objective.train(PARAMS, dataset(x, y), 3)
    np.testing.assert_allclose(objective.predict(ours, x[:400]), theirs.predict(x[:400]), 0, 1e-5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_weight_of_k_is_k_copies(name):
    x, y, loss = PROBLEMS[name]
    objective = as_objective(loss)
    params = PARAMS | {"min_data_in_leaf": 0, "min_data_in_bin": 1, "min_sum_hessian_in_leaf": 5.0}
    weighted = objective.train(params, dataset(x, y, COPIES), 20)
    repeated = objective.train(params, dataset(np.repeat(x, COPIES, 0), np.repeat(y, COPIES)), 20)
    np.testing.assert_allclose(weighted.predict(x), repeated.predict(x), 1e-5, 1e-5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_start_is_part_of_the_saved_model(name, tmp_path):
    x, y, loss = PROBLEMS[name]
    objective = as_objective(loss)
    booster = objective.train(PARAMS, dataset(x, y), 5)
    booster.save_model(tmp_path / "model.txt")
    loaded = lgb.Booster(model_file=tmp_path / "model.txt")
    np.testing.assert_allclose(loaded.predict(x), booster.predict(x), 1e-12)
    np.testing.assert_allclose(as_objective(loss).predict(loaded, x), objective.predict(booster, x), 1e-12)
    before = booster.predict(x)
    np.testing.assert_array_equal(objective.finish(booster).predict(x), before)  # once is enough


def test_a_model_without_splits_predicts_the_constant():
    x, y, loss = PROBLEMS["values"]
    objective = as_objective(loss)
    booster = objective.train(PARAMS | {"min_gain_to_split": 1e9}, dataset(x, y), 3)
    np.testing.assert_allclose(objective.predict(booster, x), y.mean(), 1e-6)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_metric_equals_the_built_in_one(name):
    x, y, loss = PROBLEMS[name]
    own, built_in, extra = BUILT_IN[name]
    histories: list[dict] = [{}, {}]
    record = [[lgb.record_evaluation(each)] for each in histories]
    train, test = dataset(x, y, WEIGHTS), dataset(x, y, WEIGHTS)
    params = PARAMS | extra | {"objective": own, "metric": built_in}
    lgb.train(params, train, 10, valid_sets=[test], callbacks=record[0])
    train, test = dataset(x, y, WEIGHTS), dataset(x, y, WEIGHTS)
    metric = as_metric(loss, name="loss")
    as_objective(loss).train(PARAMS, train, 10, valid_sets=[test], feval=metric, callbacks=record[1])
    assert list(histories[1]["valid_0"]) == ["loss"]  # and no other beside it
    found, expected = np.array(histories[1]["valid_0"]["loss"]), np.array(histories[0]["valid_0"][built_in])
    np.testing.assert_allclose(found, expected, 1e-4, 1e-6)


def test_a_metric_of_predictions_can_stop_early():
    x, y, loss = PROBLEMS["labels"]
    booster = as_objective(loss).train(
        PARAMS,
        dataset(x[:300], y[:300]),
        300,
        valid_sets=[dataset(x[300:], y[300:])],
        feval=as_metric(metrics.AUC(), link="logit", greater_is_better=True),
        callbacks=[lgb.early_stopping(5, verbose=False)],
    )
    assert 0 < booster.best_iteration < 290


# ── scikit-learn ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", ["labels", "classes"])
def test_the_classifier_equals_lightgbms(name, weights):
    x, y, loss = PROBLEMS[name]
    y = np.array(["ham", "spam", "bacon"])[y.astype(int)]
    ours = LossClassifier(loss, **ESTIMATOR).fit(x, y, sample_weight=weights)
    theirs = lgb.LGBMClassifier(**ESTIMATOR).fit(x, y, sample_weight=weights)
    found = ours.predict_proba(x)
    assert found.shape == (len(y), len(ours.classes_))
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-12)
    np.testing.assert_allclose(found, theirs.predict_proba(x), 0, 1e-5)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    again = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(again.predict_proba(x), found)


def test_class_weights_act_as_lightgbms():
    x, y, loss = PROBLEMS["labels"]
    ours = LossClassifier(loss, class_weight={0: 1.0, 1: 4.0}, **ESTIMATOR).fit(x, y)
    theirs = lgb.LGBMClassifier(class_weight={0: 1.0, 1: 4.0}, **ESTIMATOR).fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), 0, 1e-5)


@pytest.mark.parametrize("name", ["values", "counts"])
def test_the_regressor_equals_lightgbms(name):
    x, y, loss = PROBLEMS[name]
    evaluation = {"eval_X": np.array(x), "eval_y": np.array(y), "eval_sample_weight": [WEIGHTS]}
    ours = LossRegressor(loss, **ESTIMATOR).fit(x, y, WEIGHTS, eval_metric=as_metric(loss, name="loss"), **evaluation)
    theirs = lgb.LGBMRegressor(objective=BUILT_IN[name][0], metric=BUILT_IN[name][1], **ESTIMATOR)
    theirs.fit(x, y, sample_weight=WEIGHTS, **evaluation)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), 0, 1e-5)
    found, expected = ours.evals_result_["valid_0"]["loss"], theirs.evals_result_["valid_0"][BUILT_IN[name][1]]
    np.testing.assert_allclose(found, expected, 1e-4, 1e-6)


def test_estimators_work_in_scikit_learns_searches():
    x, y, _ = PROBLEMS["labels"]
    model = LossClassifier("binary_focal_crossentropy", hessian="fisher", **ESTIMATOR | {"n_estimators": 5})
    assert clone(model).get_params() == model.get_params()
    assert np.isfinite(cross_val_score(model, x, y, cv=2, scoring="neg_log_loss")).all()
    search = GridSearchCV(model, {"loss": ["binary_crossentropy", "binary_focal_crossentropy"]}, cv=2).fit(x, y)
    assert search.best_params_["loss"] in ("binary_crossentropy", "binary_focal_crossentropy")


def test_lightgbms_own_estimators_take_an_objective():
    x, y, loss = PROBLEMS["labels"]
    objective = as_objective(loss)
    ours = lgb.LGBMClassifier(objective=objective, **ESTIMATOR).fit(
        x, y, sample_weight=WEIGHTS, **objective.start(y, WEIGHTS)
    )
    theirs = lgb.LGBMClassifier(**ESTIMATOR).fit(x, y, sample_weight=WEIGHTS)
    found = objective.predict_proba(objective.finish(ours), x)
    np.testing.assert_allclose(found, theirs.predict_proba(x), 0, 1e-5)


# ── Other losses ────────────────────────────────────────────────────────────────────────────────────────────────


def asymmetric(y_true, y_pred):
    error = y_pred - y_true
    return K.mean(K.square(error) * K.where(error < 0, 4.0, 1.0), axis=-1)


@pytest.mark.parametrize(
    ("name", "loss", "options"),
    [
        ("labels", "binary_focal_crossentropy", {"hessian": "fisher"}),
        ("labels", "hinge", {"hessian": "constant"}),
        ("classes", "sparse_categorical_focal_crossentropy", {"hessian": "fisher"}),
        ("classes", losses.CategoricalCrossentropy(label_smoothing=0.1), {}),
        ("values", "huber", {"floor": 0.1}),
        ("values", "mean_absolute_error", {"hessian": "constant"}),
        ("values", asymmetric, {}),
    ],
)
def test_any_loss_trains(name, loss, options):
    x, y, _ = PROBLEMS[name]
    history: dict = {}
    train = dataset(x, y, WEIGHTS)
    as_objective(loss, **options).train(
        PARAMS, train, 30, valid_sets=[train], feval=as_metric(loss), callbacks=[lgb.record_evaluation(history)]
    )
    values = next(iter(history["training"].values()))
    assert np.isfinite(values).all()
    assert values[-1] < 0.7 * values[0]


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_labels_outside_the_convention_raise():
    x, y, loss = PROBLEMS["classes"]
    with pytest.raises(_errors.LabelError, match="Labels from 0 to 2 arrived for binary_crossentropy"):
        as_objective("binary_crossentropy").train(PARAMS, dataset(x, y))
    with pytest.raises(_errors.LabelError, match="whole numbers from 0 to 1"):
        as_objective(loss).train(PARAMS | {"num_class": 2}, dataset(x, y))
    with pytest.raises(_errors.LabelError, match="Labels from 0 to 2"):
        LossClassifier("binary_crossentropy").fit(x, y)


def test_what_cannot_act_raises():
    x, y, _ = PROBLEMS["labels"]
    objective = as_objective("binary_crossentropy")
    with pytest.raises(_errors.ArgumentError, match="objective='binary' cannot act"):
        objective.train({"objective": "binary"}, dataset(x, y))
    with pytest.raises(_errors.ArgumentError, match="initial scores already"):
        objective.train(PARAMS, dataset(x, y, init_score=np.zeros(len(y))))
    with pytest.raises(_errors.ArgumentError, match="init_score= cannot act"):
        LossClassifier().fit(x, y, init_score=np.zeros(len(y)))


def test_without_lightgbm_the_error_names_the_extra():
    code = "import sys; sys.modules['lightgbm'] = None; import multiloss.integrations.lightgbm"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "BackendNotFoundError: multiloss.integrations.lightgbm needs LightGBM" in done.stderr
    assert "pip install 'multiloss[lightgbm]'" in done.stderr.splitlines()[-1]
