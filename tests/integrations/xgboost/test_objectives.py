"""Models of XGBoost, trained with a loss of multiloss and with XGBoost's own."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import xgboost as xgb
from multiloss import _errors, losses, metrics
from multiloss import backend as K
from multiloss.integrations.xgboost import as_metric, as_objective
from tests.integrations.boosting import COPIES, PROBLEMS, WEIGHTS

BUILT_IN = {
    "values": ("reg:squarederror", "rmse", {}),
    "labels": ("binary:logistic", "logloss", {}),
    "counts": ("count:poisson", "poisson-nloglik", {}),
    "classes": ("multi:softprob", "mlogloss", {"num_class": 3}),
}
PARAMS = {"max_depth": 4, "eta": 0.3, "nthread": 1, "seed": 0}


def train(objective, dtrain, rounds=50, metric=None, **params):
    evaluation = (
        {} if metric is None else {"custom_metric": metric, "evals": [(dtrain, "train")], "verbose_eval": False}
    )
    results: dict = {}
    booster = xgb.train(
        PARAMS | params | objective.params(dtrain), dtrain, rounds, obj=objective, evals_result=results, **evaluation
    )
    return (booster, results["train"]) if metric is not None else booster


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_the_model_equals_that_of_the_built_in_objective(name, weights):
    x, y, loss = PROBLEMS[name]
    dtrain = xgb.DMatrix(x, y, weight=weights)
    own, _, extra = BUILT_IN[name]
    theirs = xgb.train(PARAMS | extra | {"objective": own}, dtrain, 50)
    ours = train(as_objective(loss), dtrain)
    for margin in (False, True):
        expected = theirs.predict(dtrain, output_margin=margin)
        np.testing.assert_allclose(ours.predict(dtrain, output_margin=margin), expected, 0, 1e-5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_many_rows_train_as_few_do(name):
    """So many that their derivatives are computed in blocks."""
    x, y, loss = PROBLEMS[name]
    dtrain = xgb.DMatrix(np.concatenate([x[:, :2]] * 350), np.concatenate([y] * 350))
    own, _, extra = BUILT_IN[name]
    theirs = xgb.train(PARAMS | extra | {"objective": own}, dtrain, 3)
    ours = train(as_objective(loss), dtrain, 3)
    few = xgb.DMatrix(x[:, :2])
    np.testing.assert_allclose(ours.predict(few), theirs.predict(few), 0, 1e-5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_weight_of_k_is_k_copies(name):
    x, y, loss = PROBLEMS[name]
    weighted = xgb.DMatrix(x, y, weight=COPIES)
    repeated = xgb.DMatrix(np.repeat(x, COPIES, 0), np.repeat(y, COPIES))
    one, other = (train(as_objective(loss), each, 20, tree_method="exact") for each in (weighted, repeated))
    np.testing.assert_allclose(one.predict(weighted), other.predict(weighted), 1e-5, 1e-6)


@pytest.mark.parametrize("name", BUILT_IN)
def test_predictions_survive_saving_without_multiloss(name, tmp_path):
    x, y, loss = PROBLEMS[name]
    dtrain = xgb.DMatrix(x, y)
    objective = as_objective(loss)
    booster = train(objective, dtrain, 5)
    booster.save_model(tmp_path / "model.json")
    loaded = xgb.Booster(model_file=tmp_path / "model.json")
    np.testing.assert_array_equal(loaded.predict(dtrain), booster.predict(dtrain))
    np.testing.assert_allclose(objective.predict(booster, dtrain), booster.predict(dtrain), 1e-5, 1e-6)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_metric_equals_the_built_in_one(name):
    x, y, loss = PROBLEMS[name]
    dtrain = xgb.DMatrix(x, y, weight=WEIGHTS)
    own, built_in, extra = BUILT_IN[name]
    theirs: dict = {}
    xgb.train(
        PARAMS | extra | {"objective": own, "eval_metric": built_in},
        dtrain,
        10,
        evals=[(dtrain, "train")],
        evals_result=theirs,
        verbose_eval=False,
    )
    _, ours = train(as_objective(loss), dtrain, 10, as_metric(loss, name="loss"))
    assert list(ours) == ["loss"]  # and no other beside it
    found, expected = np.array(ours["loss"]), np.array(theirs["train"][built_in])
    if name == "values":
        found = np.sqrt(found)
    if name == "counts":  # XGBoost's has the constant log(y!)
        found, expected = np.diff(found), np.diff(expected)
    np.testing.assert_allclose(found, expected, 1e-4, 1e-5)


def test_a_metric_of_predictions_can_stop_early():
    x, y, loss = PROBLEMS["labels"]
    dtrain, dtest = xgb.DMatrix(x[:300], y[:300]), xgb.DMatrix(x[300:], y[300:])
    objective = as_objective(loss)
    booster = xgb.train(
        PARAMS | objective.params(dtrain),
        dtrain,
        200,
        obj=objective,
        custom_metric=as_metric(metrics.AUC(), link="logit"),
        maximize=True,
        evals=[(dtest, "test")],
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    assert booster.best_iteration < 190


# ── scikit-learn ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", ["labels", "classes"])
def test_the_classifier_predicts_probabilities(name, weights):
    x, y, loss = PROBLEMS[name]
    y = y.astype(int)
    objective = as_objective(loss)
    start = objective.start(y, weights)
    ours = xgb.XGBClassifier(objective=objective, n_estimators=50, n_jobs=1, **start).fit(x, y, sample_weight=weights)
    theirs = xgb.XGBClassifier(n_estimators=50, n_jobs=1).fit(x, y, sample_weight=weights)
    found = ours.predict_proba(x)
    assert found.shape == (len(y), y.max() + 1)
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-6)
    np.testing.assert_allclose(found, theirs.predict_proba(x), 0, 1e-5)
    np.testing.assert_allclose(objective.predict_proba(ours, x), found, 1e-5, 1e-6)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


@pytest.mark.parametrize("name", ["values", "counts"])
def test_the_regressor_predicts_values_through_the_objective(name):
    x, y, loss = PROBLEMS[name]
    objective = as_objective(loss)
    ours = xgb.XGBRegressor(
        objective=objective,
        n_estimators=50,
        n_jobs=1,
        max_delta_step=0.7 if name == "counts" else None,
        eval_metric=as_metric(loss),
        **objective.start(y, WEIGHTS),
    ).fit(x, y, sample_weight=WEIGHTS, eval_set=[(x, y)], verbose=False)
    theirs = xgb.XGBRegressor(objective=BUILT_IN[name][0], n_estimators=50, n_jobs=1).fit(x, y, sample_weight=WEIGHTS)
    np.testing.assert_allclose(objective.predict(ours, x), theirs.predict(x), 1e-5, 1e-5)
    history = ours.evals_result()["validation_0"][as_objective(loss).__name__]
    assert history[-1] < history[0]


# ── Other losses ────────────────────────────────────────────────────────────────────────────────────────────────


def asymmetric(y_true, y_pred):
    error = y_pred - y_true
    return K.mean(K.square(error) * K.where(error < 0, 4.0, 1.0), axis=-1)


@pytest.mark.parametrize(
    ("name", "loss", "options"),
    [
        ("labels", "binary_focal_crossentropy", {"hessian": "fisher"}),
        ("labels", "squared_hinge", {}),
        ("labels", "hinge", {"hessian": "gauss_newton"}),
        ("labels", losses.BinaryCrossentropy(label_smoothing=0.1), {}),
        ("classes", "sparse_categorical_focal_crossentropy", {"hessian": "fisher"}),
        ("classes", "categorical_generalized_cross_entropy", {"hessian": "gauss_newton"}),
        ("values", "huber", {"floor": 0.1}),
        ("values", "mean_absolute_error", {"hessian": "constant"}),
        ("values", "log_cosh", {"hessian": "gauss_newton"}),
        ("values", asymmetric, {}),
        ("counts", "mean_squared_logarithmic_error", {"hessian": "gauss_newton"}),
    ],
)
def test_any_loss_trains(name, loss, options):
    x, y, _ = PROBLEMS[name]
    dtrain = xgb.DMatrix(x, y, weight=WEIGHTS)
    objective = as_objective(loss, **options)
    booster, history = train(objective, dtrain, 30, as_metric(loss), min_child_weight=0.1)
    values = next(iter(history.values()))
    assert np.isfinite(values).all()
    assert values[-1] < (0.9 if name == "counts" else 0.7) * values[0]
    if name == "counts":
        assert (booster.predict(dtrain) > 0).all()


def test_an_objective_can_be_pickled():
    _, y, loss = PROBLEMS["labels"]
    scores = np.zeros(len(y), np.float32)
    objective = as_objective(loss)
    again = pickle.loads(pickle.dumps(objective))
    for one, other in zip(objective(y, scores), again(y, scores), strict=True):
        np.testing.assert_array_equal(one, other)


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_labels_outside_the_convention_raise():
    x, y, loss = PROBLEMS["classes"]
    with pytest.raises(_errors.LabelError, match="Labels from 0 to 2 arrived for binary_crossentropy"):
        as_objective("binary_crossentropy").params(xgb.DMatrix(x, y))
    with pytest.raises(_errors.LabelError, match="whole numbers from 0 to 1"):
        as_objective(loss).params(xgb.DMatrix(x, y), num_class=2)
    with pytest.raises(_errors.ArgumentError, match="num_class=3 cannot act"):
        as_objective("binary_crossentropy").params(xgb.DMatrix(x, y), num_class=3)


def test_a_forgotten_number_of_classes_is_one_clear_error():
    x, y, loss = PROBLEMS["classes"]
    with pytest.raises(_errors.ShapeError, match="num_class"):
        xgb.train(PARAMS, xgb.DMatrix(x, y), 1, obj=as_objective(loss))


def test_a_loss_without_curvature_says_what_else_there_is():
    with pytest.raises(_errors.NotSupportedError, match="hessian='constant'"):
        as_objective("mean_absolute_error")


def test_without_xgboost_the_error_names_the_extra():
    code = "import sys; sys.modules['xgboost'] = None; import multiloss.integrations.xgboost"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "BackendNotFoundError: multiloss.integrations.xgboost needs XGBoost" in done.stderr
    assert "pip install 'multiloss[xgboost]'" in done.stderr.splitlines()[-1]
