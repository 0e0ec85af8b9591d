"""`as_scorer` inside scikit-learn's own model selection."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import sklearn
import sklearn.metrics
from multiloss import backend as K
from multiloss import losses, metrics
from multiloss._errors import ArgumentError, LabelError, NamedInputError, NotSupportedError, UnknownNameError
from multiloss.integrations import sklearn as ours
from multiloss.integrations.sklearn import as_scorer
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

X, Y = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit_transform(X[::2, :6])
Y = Y[::2]
WORDS = np.array(["benign", "malignant"])[1 - Y]
X3, Y3 = load_iris(return_X_y=True)
FLOWERS = np.array(["setosa", "versicolor", "virginica"])[Y3]
XR, YR = load_diabetes(return_X_y=True)
WEIGHTS = np.random.default_rng(0).random(len(Y))


def logistic():
    return make_pipeline(StandardScaler(), LogisticRegression())


def positive(y, label):
    return (np.asarray(y) == label).astype(float)


# ── Equal to scikit-learn's scorers ─────────────────────────────────────────────────────────────────────────────

REGRESSION = {
    "neg_mean_squared_error": [
        "mse", losses.mean_squared_error, losses.MeanSquaredError(), metrics.MeanSquaredError(), ours.mean_squared_error,
    ],
    "neg_mean_absolute_error": ["mae", losses.MeanAbsoluteError(reduction="mean_with_sample_weight"), ours.mean_absolute_error],
    "neg_root_mean_squared_error": [metrics.RootMeanSquaredError(), ours.root_mean_squared_error],
    "r2": [metrics.R2Score(), ours.r2_score],
    "explained_variance": [ours.explained_variance_score],
    "neg_max_error": [ours.max_error],
}  # fmt: skip
BINARY = {
    "neg_log_loss": [
        "binary_crossentropy", losses.BinaryCrossentropy(), losses.CategoricalCrossentropy(),
        losses.sparse_categorical_crossentropy, ours.log_loss,
    ],
    "accuracy": [
        "accuracy", metrics.BinaryAccuracy(), metrics.SparseCategoricalAccuracy(), metrics.CategoricalAccuracy(),
        ours.accuracy_score,
    ],
    "roc_auc": [metrics.AUC(num_thresholds=None), ours.roc_auc_score],
    "average_precision": [metrics.AUC(num_thresholds=None, curve="PR"), ours.average_precision_score],
    "precision": [metrics.Precision(), ours.precision_score],
    "recall": [metrics.Recall(), ours.recall_score],
    "f1": [ours.f1_score],
    "neg_brier_score": [ours.brier_score_loss],
    "balanced_accuracy": [ours.balanced_accuracy_score],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given"), [(name, each) for name, some in REGRESSION.items() for each in some], ids=str
)
def test_regression_equals_scikit_learns_scorer(name, given):
    expected = cross_val_score(Ridge(), XR, YR, cv=3, scoring=name)
    np.testing.assert_allclose(cross_val_score(Ridge(), XR, YR, cv=3, scoring=as_scorer(given)), expected, rtol=1e-10)


@pytest.mark.parametrize("labels", ["numbers", "text"])
@pytest.mark.parametrize(("name", "given"), [(name, each) for name, some in BINARY.items() for each in some], ids=str)
def test_two_classes_equal_scikit_learns_scorer(name, given, labels):
    expected = cross_val_score(logistic(), X, Y, cv=3, scoring=name)
    if labels == "numbers":
        scores = cross_val_score(logistic(), X, Y, cv=3, scoring=as_scorer(given))
    else:
        scores = cross_val_score(logistic(), X, WORDS, cv=3, scoring=as_scorer(given, pos_label="benign"))
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("neg_log_loss", losses.SparseCategoricalCrossentropy()),
        ("neg_log_loss", "categorical_crossentropy"),
        ("neg_log_loss", ours.log_loss),
        ("accuracy", "sparse_categorical_accuracy"),
        ("accuracy", "accuracy"),
        ("accuracy", ours.accuracy_score),
        ("balanced_accuracy", ours.balanced_accuracy_score),
    ],
    ids=str,
)
@pytest.mark.parametrize("labels", [Y3, FLOWERS, 10 * Y3 - 5], ids=["numbers", "text", "other numbers"])
def test_several_classes_equal_scikit_learns_scorer(name, given, labels):
    expected = cross_val_score(logistic(), X3, labels, cv=3, scoring=name)
    np.testing.assert_allclose(
        cross_val_score(logistic(), X3, labels, cv=3, scoring=as_scorer(given)), expected, rtol=1e-6
    )


@pytest.mark.parametrize(("function", "name", "options"), [
    (ours.f1_score, "f1_macro", {"average": "macro"}),
    (ours.precision_score, "precision_weighted", {"average": "weighted"}),
    (ours.roc_auc_score, "roc_auc_ovr", {"multi_class": "ovr"}),
    (ours.roc_auc_score, "roc_auc_ovo", {"multi_class": "ovo"}),
    (ours.top_k_accuracy_score, "top_k_accuracy", {}),
])  # fmt: skip
def test_functions_take_their_parameters(function, name, options):
    response = "predict_proba" if "roc" in name or "top" in name else None
    scorer = as_scorer(function, response_method=response, **options)
    expected = cross_val_score(logistic(), X3, FLOWERS, cv=3, scoring=name)
    np.testing.assert_allclose(cross_val_score(logistic(), X3, FLOWERS, cv=3, scoring=scorer), expected, rtol=1e-10)


def test_logits_come_from_the_decision_function():
    model, several = logistic().fit(X, WORDS), logistic().fit(X3, FLOWERS)
    for pair in (
        (losses.BinaryCrossentropy(from_logits=True), losses.BinaryCrossentropy()),
        (losses.CategoricalCrossentropy(from_logits=True), losses.CategoricalCrossentropy()),
        (losses.SparseCategoricalCrossentropy(from_logits=True), losses.SparseCategoricalCrossentropy()),
    ):
        logits, probabilities = (as_scorer(each) for each in pair)
        assert logits(model, X, WORDS) == pytest.approx(probabilities(model, X, WORDS), rel=1e-5)
    for pos_label in ("benign", "malignant"):
        scorer = as_scorer("binary_crossentropy", from_logits=True, pos_label=pos_label)
        assert scorer(model, X, WORDS) == pytest.approx(
            -sklearn.metrics.log_loss(WORDS, model.predict_proba(X)), rel=1e-5
        )
    sparse = as_scorer(losses.SparseCategoricalCrossentropy(from_logits=True))
    assert sparse(several, X3, FLOWERS) == pytest.approx(
        -sklearn.metrics.log_loss(FLOWERS, several.predict_proba(X3)), rel=1e-5
    )


def test_margins_come_from_the_decision_function():
    model = make_pipeline(StandardScaler(), LinearSVC()).fit(X, WORDS)
    expected = -sklearn.metrics.hinge_loss(WORDS, model.decision_function(X))
    assert as_scorer("hinge")(model, X, WORDS) == pytest.approx(expected, rel=1e-10)
    assert as_scorer("hinge", pos_label="benign")(model, X, WORDS) == pytest.approx(expected, rel=1e-10)
    several = make_pipeline(StandardScaler(), LinearSVC()).fit(X3, FLOWERS)
    expected = -losses.categorical_hinge(np.eye(3)[Y3], several.decision_function(X3)).mean()
    assert as_scorer("categorical_hinge")(several, X3, FLOWERS) == pytest.approx(expected, rel=1e-10)


def test_labels_that_are_there_or_not():
    several = np.stack([Y, (X[:, 0] > X[:, 0].mean()).astype(int)], 1)
    model = MultiOutputClassifier(LogisticRegression()).fit(X, several)
    p = np.stack([each[:, 1] for each in model.predict_proba(X)], 1)
    expected = -np.mean([sklearn.metrics.log_loss(several[:, at], p[:, at]) for at in range(2)])
    assert as_scorer("binary_crossentropy")(model, X, several) == pytest.approx(expected, rel=1e-5)


def test_text_labels_of_either_class_may_be_the_positive_one():
    model = logistic().fit(X, WORDS)
    for label in ("benign", "malignant"):
        expected = sklearn.metrics.recall_score(WORDS, model.predict(X), pos_label=label)
        assert as_scorer(metrics.Recall(), pos_label=label)(model, X, WORDS) == pytest.approx(expected, rel=1e-6)
        assert as_scorer(ours.recall_score, pos_label=label)(model, X, WORDS) == pytest.approx(expected, rel=1e-12)


# ── Where scorers go ────────────────────────────────────────────────────────────────────────────────────────────


def test_grid_search_finds_what_it_finds_with_its_own_scorer():
    grid = {"alpha": [0.01, 0.1, 1.0, 10.0]}
    own = GridSearchCV(Ridge(), grid, scoring=as_scorer("mse")).fit(XR, YR)
    theirs = GridSearchCV(Ridge(), grid, scoring="neg_mean_squared_error").fit(XR, YR)
    assert own.best_params_ == theirs.best_params_
    assert own.score(XR, YR) == pytest.approx(theirs.score(XR, YR), rel=1e-12)
    assert clone(own).fit(XR, YR).best_params_ == own.best_params_


def test_several_scorers_at_once_and_in_processes():
    scoring = {"loss": as_scorer("huber", delta=10.0), "r2": as_scorer(metrics.R2Score()), "theirs": "r2"}
    scores = cross_validate(LinearRegression(), XR, YR, scoring=scoring, n_jobs=2)
    np.testing.assert_allclose(scores["test_r2"], scores["test_theirs"], rtol=1e-10)
    assert (scores["test_loss"] < 0).all()


def test_permutation_importance_passes_weights():
    model = logistic().fit(X, Y)
    given = {"n_repeats": 2, "random_state": 0, "sample_weight": WEIGHTS}
    own = permutation_importance(model, X, Y, scoring=as_scorer(ours.log_loss), **given)
    theirs = permutation_importance(model, X, Y, scoring="neg_log_loss", **given)
    np.testing.assert_allclose(own.importances, theirs.importances, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "given"), [
    ("neg_log_loss", "binary_crossentropy"), ("neg_log_loss", losses.BinaryCrossentropy()), ("neg_log_loss", ours.log_loss),
    ("roc_auc", metrics.AUC(num_thresholds=None)), ("roc_auc", ours.roc_auc_score), ("accuracy", "accuracy"),
    ("f1", ours.f1_score),
])  # fmt: skip
def test_weights_count_as_in_scikit_learn(name, given):
    model = DecisionTreeClassifier(max_depth=3).fit(X, Y)
    expected = sklearn.metrics.get_scorer(name)(model, X, Y, sample_weight=WEIGHTS)
    assert as_scorer(given)(model, X, Y, sample_weight=WEIGHTS) == pytest.approx(expected, rel=1e-5)


class Distillation(losses.Loss):
    def call(self, y_true, y_pred, *, teacher):
        return K.mean(K.square(y_pred - 0.5 * (y_true + teacher)), axis=-1)


def halfway(y_true, y_pred, teacher):
    return K.mean(K.square(y_pred - 0.5 * (y_true + teacher)), axis=-1)


def test_named_inputs_reach_a_mean_a_sum_and_a_function():
    model, teacher = Ridge().fit(XR, YR), np.flip(YR)
    weights = np.linspace(0.0, 2.0, len(YR))
    errors = (model.predict(XR) - 0.5 * (YR + teacher)) ** 2
    for weight in (None, weights):
        mean = -np.average(errors, weights=weight)
        for scorer in (as_scorer(Distillation()), as_scorer(halfway, greater_is_better=False)):
            assert scorer(model, XR, YR, sample_weight=weight, teacher=teacher) == pytest.approx(mean, rel=1e-6)
        total = as_scorer(Distillation(reduction="sum"))(model, XR, YR, sample_weight=weight, teacher=teacher)
        assert total == pytest.approx(-np.sum(errors if weight is None else errors * weight), rel=1e-6)


def test_named_inputs_are_routed_and_split_with_the_rows():
    teacher = np.flip(YR)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = as_scorer(Distillation()).set_score_request(teacher=True)
        found = cross_val_score(Ridge(), XR, YR, scoring=scorer, cv=3, params={"teacher": teacher})
    halves = cross_val_score(Ridge(), XR, YR, scoring=lambda model, x, y: _against(model, x, y, teacher), cv=3)
    np.testing.assert_allclose(found, halves, rtol=1e-6)


def _against(model, x, y, teacher):
    rows = [int(np.flatnonzero((each == XR).all(1))[0]) for each in x]
    return -np.mean((model.predict(x) - 0.5 * (y + teacher[rows])) ** 2)


def test_named_inputs_that_are_missing_or_not_known_raise():
    model = Ridge().fit(XR, YR)
    with pytest.raises(NamedInputError, match="needs teacher="):
        as_scorer(Distillation())(model, XR, YR)
    with pytest.raises(NamedInputError, match="got variance="):
        as_scorer(Distillation())(model, XR, YR, teacher=YR, variance=YR)
    with pytest.raises(NotSupportedError, match="Named inputs are those of losses"):
        as_scorer(metrics.MeanSquaredError())(model, XR, YR, teacher=YR)


def test_a_sum_stays_a_sum():
    model = Ridge().fit(XR, YR)
    total = as_scorer(losses.MeanSquaredError(reduction="sum"))(model, XR, YR)
    assert total == pytest.approx(len(YR) * as_scorer("mse")(model, XR, YR), rel=1e-10)


def test_metadata_routing_passes_what_was_asked_for():
    with sklearn.config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=False)
        given = {"params": {"sample_weight": WEIGHTS}}
        scorer = as_scorer(ours.log_loss).set_score_request(sample_weight=True)
        theirs = sklearn.metrics.get_scorer("neg_log_loss").set_score_request(sample_weight=True)
        np.testing.assert_allclose(
            cross_val_score(model, X, Y, scoring=scorer, **given),
            cross_val_score(model, X, Y, scoring=theirs, **given),
            rtol=1e-12,
        )
        silent = as_scorer("binary_crossentropy").set_score_request(sample_weight=False)
        both = cross_validate(model, X, Y, scoring={"asked": scorer, "silent": silent}, **given)
        np.testing.assert_allclose(both["test_silent"], cross_val_score(model, X, Y, scoring=silent))
        assert (both["test_silent"] != both["test_asked"]).all()
        renamed = as_scorer("binary_crossentropy").set_score_request(sample_weight="importance")
        assert renamed.get_metadata_routing().score.requests == {"sample_weight": "importance"}
    with pytest.raises(ArgumentError, match="enable_metadata_routing=True"):
        scorer.set_score_request(sample_weight=True)


def test_scorers_are_pickled_and_printed():
    model = logistic().fit(X, WORDS)
    for given in ("binary_crossentropy", losses.Huber(delta=2.0), metrics.AUC(), ours.f1_score, losses.poisson):
        scorer = as_scorer(
            given, response_method="predict_proba" if given is losses.poisson else None, pos_label="benign"
        )
        if isinstance(given, losses.Huber):
            continue
        again = pickle.loads(pickle.dumps(scorer))
        if given is not losses.poisson:
            assert again(model, X, WORDS) == scorer(model, X, WORDS)
        assert repr(again) == repr(scorer)
        assert "as_scorer(" in repr(scorer)


def test_a_metric_keeps_no_state_between_scores():
    auc = metrics.AUC()
    scorer, model = as_scorer(auc), logistic().fit(X, Y)
    assert scorer(model, X, Y) == scorer(model, X, Y)
    assert auc.state is None


# ── Bad input ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_errors_when_it_is_made():
    with pytest.raises(UnknownNameError, match="Did you mean 'huber'"):
        as_scorer("hubr")
    with pytest.raises(ArgumentError, match="whether greater is better"):
        as_scorer(lambda y, p: p)
    with pytest.raises(ArgumentError, match="Expected an instance"):
        as_scorer(losses.Huber)
    with pytest.raises(ArgumentError, match="returns several numbers"):
        as_scorer(ours.confusion_matrix)
    with pytest.raises(ArgumentError, match="Choose a reduction"):
        as_scorer(losses.Huber(reduction="none"))
    with pytest.raises(ArgumentError, match="parameters of its own"):
        as_scorer(losses.Huber(), delta=2.0)
    with pytest.raises(NotSupportedError, match="takes values"):
        as_scorer(metrics.Mean())
    with pytest.raises(ArgumentError, match="Expected one of predict, predict_proba"):
        as_scorer("mse", response_method="guess")
    with pytest.raises(TypeError):
        as_scorer(ours.f1_score, averag="macro")
    with pytest.raises(TypeError):
        as_scorer("huber", dleta=2.0)


def test_errors_when_it_scores():
    regression, two = Ridge().fit(XR, YR), logistic().fit(X, WORDS)
    with pytest.raises(ArgumentError, match="expects predict_proba, and Ridge has predict"):
        as_scorer("binary_crossentropy")(regression, XR, YR)
    with pytest.raises(LabelError, match="the label 'unknown'"):
        as_scorer("binary_crossentropy")(two, X[:1], ["unknown"])
    with pytest.raises(LabelError, match=r"pos_label='b' is none of the estimator's classes"):
        as_scorer("binary_crossentropy", pos_label="b")(two, X, WORDS)
    with pytest.raises(ArgumentError, match=r"returned .* values"):
        as_scorer(metrics.F1Score())(two, X, WORDS)


def test_without_scikit_learn_the_functions_work_and_the_scorer_names_the_fix():
    code = """
import sys; sys.modules["sklearn"] = None
from multiloss.integrations.sklearn import as_scorer, f1_score, roc_auc_score
assert f1_score([0, 1], [0, 1]) == 1.0 and roc_auc_score([0, 1], [0.1, 0.2]) == 1.0
as_scorer("mse")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "BackendNotFoundError: as_scorer needs scikit-learn" in done.stderr
    assert "pip install 'multiloss[sklearn]'" in done.stderr.splitlines()[-1]
