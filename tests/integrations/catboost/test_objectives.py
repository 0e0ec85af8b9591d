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
from multiloss.losses import LossFunctionWrapper
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


# ── Named inputs ────────────────────────────────────────────────────────────────────────────────────────────────


def halfway(y_true, y_pred, teacher):
    return K.mean(K.square(y_pred - 0.5 * (y_true + teacher)), axis=-1)


TEACHER = np.random.default_rng(4).normal(100.0, 2.0, size=400)
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
    theirs = plain.fit(model(plain, "mean_squared_error", 20, **EXACT), x, 0.5 * (y + teacher), weights)
    np.testing.assert_allclose(objective.predict(ours, x), plain.predict(theirs, x), 0, 1e-5)
    (shown,) = ours.get_evals_result()["learn"].values()
    expected = np.average((0.5 * (y + teacher) - scores(ours, x)) ** 2, weights=weights)
    np.testing.assert_allclose(shown[-1], expected, 1e-6)


def test_labels_may_have_named_inputs_in_a_regressor():
    def distilled(y_true, y_pred, teacher):
        return losses.binary_crossentropy(0.5 * (y_true + teacher), y_pred)

    x, y, _ = PROBLEMS["labels"]
    teacher = np.random.default_rng(5).uniform(size=len(y))
    objective = as_objective(LossFunctionWrapper(distilled), link="logit", inputs={"teacher": teacher})
    ours = catboost.CatBoostRegressor(loss_function=objective, iterations=20, **PARAMS | EXACT)
    objective.fit(ours, x, y, WEIGHTS)
    plain = as_objective("binary_crossentropy")
    theirs = catboost.CatBoostRegressor(
        loss_function=plain, eval_metric=as_metric("binary_crossentropy"), iterations=20, **PARAMS | EXACT
    )
    plain.fit(theirs, x, 0.5 * (y + teacher), WEIGHTS)
    found = objective.predict_proba(ours, x)
    np.testing.assert_allclose(found.sum(1), 1.0, 1e-12)
    np.testing.assert_allclose(found, plain.predict_proba(theirs, x), 0, 1e-5)


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


TEACHER_LOGITS = np.random.default_rng(6).normal(size=(400, 3))


class Distillation(losses.Loss):
    """The mean of the cross-entropies with the label and with what a teacher says."""

    def __init__(self, from_logits=False, **settings):
        super().__init__(**settings)
        self.from_logits = from_logits

    def call(self, y_true, y_pred, *, teacher):
        soft = K.categorical_crossentropy(K.softmax(teacher), y_pred, from_logits=self.from_logits)
        return 0.5 * (K.sparse_categorical_crossentropy(y_true, y_pred, self.from_logits) + soft)


def of_probabilities(y_true, y_pred, *, teacher):
    return Distillation(reduction="none")(y_true, y_pred, teacher=teacher)


def shares(scores):
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


class ByHand(catboost.MultiTargetCustomObjective, catboost.MultiTargetCustomMetric):
    """The distillation above with CatBoost alone: targets are the shares of the classes, which are softened."""

    def __init__(self, start):
        self.start = start

    def calc_ders_multi(self, approxes, targets, weight):
        p = shares(np.array(approxes) + self.start)
        return weight * (targets - p), weight * (np.outer(p, p) - np.diag(p))

    def evaluate(self, approxes, targets, weights):
        weights = np.ones(len(targets[0])) if weights is None else weights
        logs = np.log(shares(np.stack(approxes, -1) + self.start))
        return -(weights[:, None] * np.stack(targets, -1) * logs).sum(), weights.sum()

    def get_final_error(self, error, weight):
        return error / weight

    def is_max_optimal(self):
        return False


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("loss", [Distillation(), LossFunctionWrapper(of_probabilities)], ids=["logits", "shares"])
def test_a_teachers_logits_reach_a_loss_of_several_classes(loss, weights):
    x, y, _ = PROBLEMS["classes"]
    objective = as_objective(loss, link="softmax", inputs={"teacher": TEACHER_LOGITS})
    ours = catboost.CatBoostRegressor(loss_function=objective, iterations=10, **PARAMS)
    objective.fit(ours, x, y, weights)
    hand = ByHand(np.array(objective.constant))
    theirs = catboost.CatBoostRegressor(loss_function=hand, eval_metric=hand, iterations=10, **PARAMS)
    theirs.fit(x, 0.5 * (np.eye(3)[y.astype(int)] + shares(TEACHER_LOGITS)), sample_weight=weights)
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
