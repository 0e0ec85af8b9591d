"""Models of CatBoost, trained with a loss of multiloss and with CatBoost's own."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from multiloss import _errors, losses, metrics
from multiloss import backend as K
from multiloss.integrations.catboost import as_metric, as_objective
from tests.integrations.boosting import COPIES, PROBLEMS, WEIGHTS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import catboost
    from catboost.utils import eval_metric

BUILT_IN = {
    "values": ("RMSE", "RMSE"),
    "labels": ("Logloss", "Logloss"),
    "counts": ("Poisson", "Poisson"),
    "classes": ("MultiClass", "MultiClass"),
}
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


def model(objective, loss, iterations=50, **params):
    kind = (
        catboost.CatBoostClassifier if objective.raw.link.name in ("logit", "softmax") else catboost.CatBoostRegressor
    )
    return kind(loss_function=objective, eval_metric=as_metric(loss), iterations=iterations, **PARAMS | params)


def scores(fitted, x):
    return fitted.predict(x, prediction_type="RawFormulaVal")


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_the_model_equals_that_of_the_built_in_objective(name, weights):
    x, y, loss = PROBLEMS[name]
    objective = as_objective(loss)
    start = objective.start(y, weights)
    kind = catboost.CatBoostClassifier if name in ("labels", "classes") else catboost.CatBoostRegressor
    theirs = kind(loss_function=BUILT_IN[name][0], iterations=50, boost_from_average=False, **PARAMS)
    theirs.fit(x, y, sample_weight=weights, **start)
    ours = objective.fit(model(objective, loss), x, y, weights)
    constant = objective.constant if name == "classes" else objective.constant[0]
    np.testing.assert_allclose(scores(ours, x), scores(theirs, x) + np.array(constant), 0, 1e-5)


def test_squared_errors_start_where_catboost_does():
    x, y, loss = PROBLEMS["values"]
    objective = as_objective(loss)
    ours = objective.fit(model(objective, loss), x, y, WEIGHTS)
    theirs = catboost.CatBoostRegressor(iterations=50, **PARAMS).fit(x, y, sample_weight=WEIGHTS)
    np.testing.assert_allclose(objective.predict(ours, x), theirs.predict(x), 0, 1e-5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_weight_of_k_is_k_copies(name):
    x, y, loss = PROBLEMS[name]
    fitted = []
    for batch in ((x, y, COPIES.astype(float)), (np.repeat(x, COPIES, 0), np.repeat(y, COPIES), None)):
        objective = as_objective(loss)
        # CatBoost scales regularization by the mean weight, and places borders by numbers of rows.
        own = model(objective, loss, 20, l2_leaf_reg=0.0, random_strength=0.0, feature_border_type="Uniform")
        fitted.append(objective.fit(own, *batch))
    np.testing.assert_allclose(scores(fitted[0], x), scores(fitted[1], x), 1e-5, 1e-6)


@pytest.mark.parametrize("name", ["labels", "classes"])
def test_probabilities_are_a_simplex(name):
    x, y, loss = PROBLEMS[name]
    objective = as_objective(loss)
    fitted = objective.fit(model(objective, loss, 10), x, y)
    found = objective.predict_proba(fitted, x)
    assert found.shape == (len(y), int(y.max()) + 1)
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-9)
    assert (found.argmax(1) == y).mean() > 0.7
    if name == "labels":
        np.testing.assert_allclose(fitted.predict_proba(x), found, 1e-6)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_start_is_part_of_the_saved_model(name, tmp_path):
    x, y, loss = PROBLEMS[name]
    objective = as_objective(loss)
    fitted = objective.fit(model(objective, loss, 5), x, y)
    fitted.save_model(tmp_path / "model.cbm")
    loaded = catboost.CatBoost().load_model(tmp_path / "model.cbm")
    np.testing.assert_allclose(scores(loaded, x), scores(fitted, x), 1e-12)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_metric_equals_the_built_in_one(name):
    x, y, loss = PROBLEMS[name]
    objective = as_objective(loss)
    fitted = objective.fit(model(objective, loss, 5), x, y, WEIGHTS)
    (ours,) = fitted.get_evals_result()["learn"].values()
    (expected,) = eval_metric(y, scores(fitted, x), BUILT_IN[name][1], weight=WEIGHTS)
    found = np.sqrt(ours[-1]) if name == "values" else ours[-1]
    np.testing.assert_allclose(found, expected, 1e-5)


def test_a_metric_of_predictions_can_stop_early():
    x, y, loss = PROBLEMS["labels"]
    objective = as_objective(loss)
    auc = as_metric(metrics.AUC(), link="logit", name="area", greater_is_better=True)
    own = catboost.CatBoostClassifier(loss_function=objective, eval_metric=auc, iterations=200, **PARAMS)
    test = catboost.Pool(x[300:], y[300:], baseline=np.full(100, objective.start(y[:300])["baseline"][0]))
    objective.fit(own, x[:300], y[:300], eval_set=test, early_stopping_rounds=5, use_best_model=False)
    assert list(own.get_evals_result()["validation"]) == ["area"]
    assert own.tree_count_ < 200


# ── Other losses ────────────────────────────────────────────────────────────────────────────────────────────────


def asymmetric(y_true, y_pred):
    error = y_pred - y_true
    return K.mean(K.square(error) * K.where(error < 0, 4.0, 1.0), axis=-1)


@pytest.mark.parametrize(
    ("name", "loss", "options"),
    [
        ("labels", "binary_focal_crossentropy", {"hessian": "fisher"}),
        ("values", "huber", {"floor": 0.1}),
        ("values", "mean_absolute_error", {"hessian": "constant"}),
        ("values", asymmetric, {}),
    ],
)
def test_any_loss_trains(name, loss, options):
    x, y, _ = PROBLEMS[name]
    objective = as_objective(loss, **options)
    fitted = objective.fit(model(objective, loss, 60), x, y, WEIGHTS)
    (values,) = fitted.get_evals_result()["learn"].values()
    assert np.isfinite(values).all()
    assert values[-1] < 0.8 * values[0]


def test_several_classes_take_any_loss():
    x, y, _ = PROBLEMS["classes"]
    x, y = x[:60], y[:60]
    loss = losses.SparseCategoricalFocalCrossentropy()
    objective = as_objective(loss, hessian="fisher")
    fitted = objective.fit(model(objective, loss, 5), x, y)
    (values,) = fitted.get_evals_result()["learn"].values()
    assert values[-1] < values[0]


@pytest.mark.parametrize(
    "loss", [PROBLEMS["classes"].loss, losses.SparseCategoricalFocalCrossentropy(), losses.CategoricalCrossentropy()]
)
def test_one_row_has_the_derivatives_of_all_rows(loss):
    _, y, _ = PROBLEMS["classes"]
    raw = np.random.default_rng(3).normal(size=(len(y), 3))
    objective = as_objective(loss)
    gradient, block = objective.raw.derivatives(y, raw, WEIGHTS, "block")
    for row in range(5):
        first, second = objective.calc_ders_multi(raw[row].tolist(), y[row], WEIGHTS[row])
        np.testing.assert_allclose(first, -gradient[row], 1e-10)
        np.testing.assert_allclose(second, -block[row], 1e-10)


def test_objectives_and_metrics_can_be_copied():
    _, y, loss = PROBLEMS["labels"]
    raw = np.linspace(-2, 2, len(y))
    objective, metric = as_objective(loss), as_metric(loss)
    for copied in (copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))):
        assert copied(objective).calc_ders_range(raw, y, None) == objective.calc_ders_range(raw, y, None)
        assert copied(metric).evaluate([raw], y, None) == metric.evaluate([raw], y, None)


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_labels_outside_the_convention_raise():
    x, y, loss = PROBLEMS["classes"]
    objective = as_objective("binary_crossentropy")
    with pytest.raises(_errors.LabelError, match="Labels from 0 to 2 arrived for binary_crossentropy"):
        objective.fit(model(objective, "binary_crossentropy"), x, y)
    with pytest.raises(_errors.LabelError, match="whole numbers from 0 to 2"):
        as_objective(loss).calc_ders_multi([0.0, 0.0, 0.0], -1.0, 1.0)


def test_another_objective_in_the_model_raises():
    x, y, loss = PROBLEMS["labels"]
    with pytest.raises(_errors.ArgumentError, match="Expected this objective"):
        as_objective(loss).fit(catboost.CatBoostClassifier(**PARAMS), x, y)


def test_without_catboost_the_error_names_the_extra():
    code = "import sys; sys.modules['catboost'] = None; import multiloss.integrations.catboost"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "BackendNotFoundError: multiloss.integrations.catboost needs CatBoost" in done.stderr
    assert "pip install 'multiloss[catboost]'" in done.stderr.splitlines()[-1]
