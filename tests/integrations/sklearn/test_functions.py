"""The functions have the values of scikit-learn's."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import sklearn.metrics
from multiloss import metrics
from multiloss._errors import MultilossError
from multiloss.integrations import sklearn as ours
from sklearn.exceptions import UndefinedMetricWarning

rng = np.random.default_rng(0)
N = 60
WEIGHTS = {
    "unweighted": None,
    "weights": rng.random(N),
    "whole weights": rng.integers(0, 4, N),
    "some zero": rng.integers(0, 2, N) * 0.5,
}
NAMES = np.array(["ant", "bee", "cat", "dog"])


def _labels(classes: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    y = rng.integers(0, classes, n)
    return y, np.where(rng.random(n) < 0.6, y, rng.integers(0, classes, n))


BINARY, SEVERAL = _labels(2), _labels(4)
LABELS = {
    "0 and 1": BINARY,
    "-1 and 1": tuple(2 * each - 1 for each in BINARY),
    "booleans": tuple(each.astype(bool) for each in BINARY),
    "floats": tuple(each.astype(float) for each in BINARY),
    "four": SEVERAL,
    "four of int8": tuple(each.astype(np.int8) for each in SEVERAL),
    "unsigned": tuple(each.astype(np.uint16) for each in SEVERAL),
    "gaps": tuple(np.array([-7, 3, 40, 41])[each] for each in SEVERAL),
    "far apart": tuple(np.array([-(10**12), 0, 5, 10**15])[each] for each in SEVERAL),
    "text": tuple(NAMES[each] for each in SEVERAL),
    "two words": tuple(NAMES[each] for each in BINARY),
    "objects": tuple(NAMES[each].astype(object) for each in SEVERAL),
    "lists": tuple(each.tolist() for each in SEVERAL),
    "one class": (np.ones(N, int), np.ones(N, int)),
    "columns": tuple(each[:, None] for each in BINARY),
    "other predictions": (BINARY[0], SEVERAL[1] + 1),
}
MULTILABEL = rng.integers(0, 2, (N, 3)), rng.integers(0, 2, (N, 3))


def equal(name: str, *args, **kwargs) -> None:
    """Compare one of our functions with scikit-learn's, warnings about undefined values included."""
    results, warned = [], []
    for module in (sklearn.metrics, ours):
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            results.append(getattr(module, name)(*args, **kwargs))
        warned.append({each.category for each in caught if each.category is UndefinedMetricWarning})
    theirs, own = results
    assert warned[0] == warned[1]
    pairs = zip(theirs, own, strict=True) if isinstance(theirs, tuple) else [(theirs, own)]
    for expected, actual in pairs:
        assert (expected is None) == (actual is None)
        if expected is not None:
            assert np.shape(expected) == np.shape(actual)
            assert np.asarray(expected).dtype == np.asarray(actual).dtype
            assert isinstance(actual, float) == isinstance(expected, float)
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


def options(**named) -> list[dict]:
    return [dict(zip(named, each, strict=True)) for each in itertools.product(*named.values())]


# ── Classes ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("labels", LABELS)
def test_predicted_classes(labels, weights):
    y, p, w = *LABELS[labels], WEIGHTS[weights]
    for normalize in (True, False):
        equal("accuracy_score", y, p, normalize=normalize, sample_weight=w)
        equal("zero_one_loss", y, p, normalize=normalize, sample_weight=w)
    for normalize in (None, "true", "pred", "all"):
        equal("confusion_matrix", y, p, normalize=normalize, sample_weight=w)
    equal("matthews_corrcoef", y, p, sample_weight=w)
    equal("balanced_accuracy_score", y, p, sample_weight=w)
    for average in (None, "macro", "micro", "weighted"):
        equal("precision_recall_fscore_support", y, p, average=average, sample_weight=w, beta=0.5)
        for name in ("f1_score", "precision_score", "recall_score"):
            equal(name, y, p, average=average, sample_weight=w)


@pytest.mark.parametrize("labels", ["0 and 1", "-1 and 1", "booleans", "two words", "one class", "columns"])
def test_one_class_of_two(labels):
    y, p = LABELS[labels]
    for pos_label in sorted(set(np.ravel(y).tolist())):
        for name in ("f1_score", "precision_score", "recall_score"):
            equal(name, y, p, pos_label=pos_label)
            equal(name, y, p, pos_label=pos_label, sample_weight=WEIGHTS["weights"])
        equal("fbeta_score", y, p, pos_label=pos_label, beta=2.0)


def test_balanced_accuracy_adjusted_for_chance():
    equal("balanced_accuracy_score", *SEVERAL, adjusted=True)
    equal("balanced_accuracy_score", *SEVERAL, adjusted=True, sample_weight=WEIGHTS["weights"])


def test_chosen_labels_in_any_order():
    for labels in ([2, 0], [3, 1, 2, 0], [1], [0, 9]):
        equal("confusion_matrix", *SEVERAL, labels=labels)
        equal("confusion_matrix", *SEVERAL, labels=labels, sample_weight=WEIGHTS["weights"], normalize="all")
        for average in (None, "macro", "micro", "weighted"):
            equal("precision_recall_fscore_support", *SEVERAL, labels=labels, average=average)
    equal("confusion_matrix", *LABELS["text"], labels=["dog", "ant", "emu"])


def test_several_labels_per_sample():
    for w in WEIGHTS.values():
        equal("accuracy_score", *MULTILABEL, sample_weight=w)
        for average in (None, "macro", "micro", "weighted", "samples"):
            equal("precision_recall_fscore_support", *MULTILABEL, average=average, sample_weight=w)
    for labels, average in itertools.product(([2, 0], [1]), (None, "macro", "samples")):
        equal("precision_recall_fscore_support", *MULTILABEL, average=average, labels=labels)


@pytest.mark.parametrize("zero_division", ["warn", 0, 1, np.nan])
@pytest.mark.parametrize("average", [None, "macro", "micro", "weighted"])
def test_nothing_to_divide_by(average, zero_division):
    y, p = [0, 0, 1, 1, 2], [0, 0, 0, 3, 0]
    given = {"average": average, "zero_division": zero_division}
    for name in ("f1_score", "precision_score", "recall_score"):
        equal(name, y, p, **given)
        equal(name, y, p, **given, labels=[1, 5])
    equal("f1_score", [0, 0], [0, 0], zero_division=zero_division)
    equal("precision_recall_fscore_support", MULTILABEL[0] * 0, MULTILABEL[1] * 0, **given)
    equal("f1_score", [[0, 1], [0, 0]], [[1, 0], [0, 0]], average="samples", zero_division=zero_division)


# ── Probabilities and scores ────────────────────────────────────────────────────────────────────────────────────

P = rng.random(N)
SIMPLEX = rng.dirichlet(np.ones(4), N)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_probabilities(weights):
    w = WEIGHTS[weights]
    extreme = np.where(P < 0.2, 0.0, np.where(P > 0.8, 1.0, P))
    for normalize, p in itertools.product((True, False), (P, extreme, np.stack([1 - P, P], 1), P[:, None])):
        for kind in ("0 and 1", "-1 and 1", "booleans", "two words", "floats"):
            equal("log_loss", LABELS[kind][0], p, normalize=normalize, sample_weight=w)
    for kind in ("four", "gaps", "text", "far apart"):
        equal("log_loss", LABELS[kind][0], SIMPLEX, sample_weight=w)
        equal("brier_score_loss", LABELS[kind][0], SIMPLEX, sample_weight=w)
        equal("brier_score_loss", LABELS[kind][0], SIMPLEX, sample_weight=w, scale_by_half=True)
    for pos_label in (None, 1):
        equal("brier_score_loss", BINARY[0], P, sample_weight=w, pos_label=pos_label)
    equal("brier_score_loss", BINARY[0], P, sample_weight=w, pos_label=0, scale_by_half=False)
    equal("brier_score_loss", LABELS["two words"][0], P, sample_weight=w, pos_label="ant")
    equal("log_loss", np.eye(4)[SEVERAL[0]], SIMPLEX, sample_weight=w)


def test_classes_that_do_not_occur():
    y = np.where(SEVERAL[0] == 2, 1, SEVERAL[0])
    equal("log_loss", y, SIMPLEX, labels=[0, 1, 2, 3])
    equal("log_loss", [1, 1], [0.2, 0.7], labels=[0, 1])
    equal("log_loss", ["b", "b"], [[0.2, 0.8], [0.5, 0.5]], labels=["c", "b"])


def test_the_precision_of_probabilities_bounds_them():
    for dtype in (np.float32, np.float64):
        p = np.array([0.0, 1.0, 0.5], dtype)
        expected = sklearn.metrics.log_loss([1, 0, 1], p)
        assert ours.log_loss([1, 0, 1], p) == pytest.approx(expected, rel=1e-6 if dtype == np.float32 else 1e-12)


SCORES = {
    "apart": P,
    "ties": np.round(P, 1),
    "logits": rng.normal(size=N),
    "float32": P.astype(np.float32),
    "whole": rng.integers(-3, 3, N),
    "constant": np.full(N, 0.5),
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("scores", SCORES)
def test_rankings(scores, weights):
    s, w = SCORES[scores], WEIGHTS[weights]
    for kind in ("0 and 1", "-1 and 1", "booleans", "floats"):
        equal("roc_auc_score", LABELS[kind][0], s, sample_weight=w)
        equal("average_precision_score", LABELS[kind][0], s, sample_weight=w)
    equal("roc_auc_score", LABELS["two words"][0], s, sample_weight=w)
    equal("average_precision_score", LABELS["two words"][0], s, sample_weight=w, pos_label="bee")
    equal("top_k_accuracy_score", BINARY[0], s, k=1, sample_weight=w)


def test_rankings_of_several_classes():
    for w in (None, WEIGHTS["weights"]):
        for average in (None, "macro", "micro", "weighted"):
            equal("roc_auc_score", SEVERAL[0], SIMPLEX, multi_class="ovr", average=average, sample_weight=w)
            equal("roc_auc_score", MULTILABEL[0], rng.random((N, 3)), average=average, sample_weight=w)
            equal("average_precision_score", MULTILABEL[0], rng.random((N, 3)), average=average, sample_weight=w)
            equal("average_precision_score", SEVERAL[0], SIMPLEX, average=average, sample_weight=w)
    for average in ("macro", "weighted"):
        equal("roc_auc_score", SEVERAL[0], SIMPLEX, multi_class="ovo", average=average)
    mixed = MULTILABEL[0][np.ptp(MULTILABEL[0], axis=1) > 0]
    equal("roc_auc_score", mixed, rng.random(mixed.shape), average="samples")
    equal("average_precision_score", mixed, rng.random(mixed.shape), average="samples")
    equal("roc_auc_score", [0, 1, 1, 3], SIMPLEX[:4, :4], multi_class="ovr", labels=[0, 1, 2, 3])


def test_one_kind_of_samples_is_not_defined():
    equal("roc_auc_score", [1, 1, 1], [0.1, 0.2, 0.3])
    with pytest.warns(UserWarning, match="No positive class"):
        assert ours.average_precision_score([0, 0, 0], [0.1, 0.2, 0.3]) == 0.0


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_top_k(k):
    tied = np.round(SIMPLEX, 1)
    for s, w, normalize in itertools.product((SIMPLEX, tied), (None, WEIGHTS["weights"]), (True, False)):
        for kind in ("four", "text", "gaps"):
            equal("top_k_accuracy_score", LABELS[kind][0], s, k=k, sample_weight=w, normalize=normalize)
    equal("top_k_accuracy_score", [0, 1, 3], tied[:3], k=k, labels=[0, 1, 2, 3])


# ── Regression ──────────────────────────────────────────────────────────────────────────────────────────────────

ERRORS = ("mean_squared_error", "root_mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error")
EXPLAINED = ("r2_score", "explained_variance_score")
TARGETS = {
    "vectors": (rng.normal(size=N), rng.normal(size=N)),
    "columns": (rng.normal(size=(N, 1)), rng.normal(size=(N, 1))),
    "outputs": (rng.normal(size=(N, 3)), rng.normal(size=(N, 3))),
    "integers": (rng.integers(0, 9, N), rng.integers(0, 9, N)),
    "lists": ([1, 2.5, 3] * 20, [0.5, 2, 7] * 20),
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("targets", TARGETS)
def test_regression(targets, weights):
    y, p, w = *TARGETS[targets], WEIGHTS[weights]
    chosen = ["uniform_average", "raw_values", *([[0.2, 0.3, 0.5]] if targets == "outputs" else [])]
    for multioutput in chosen:
        for name in (*ERRORS, *EXPLAINED, "mean_pinball_loss"):
            equal(name, y, p, sample_weight=w, multioutput=multioutput)
        equal("mean_squared_log_error", np.abs(y), np.abs(p), sample_weight=w, multioutput=multioutput)
        equal("mean_pinball_loss", y, p, sample_weight=w, multioutput=multioutput, alpha=0.2)
    for name in EXPLAINED:
        equal(name, y, p, sample_weight=w, multioutput="variance_weighted")
    if targets != "outputs":
        equal("max_error", y, p)


@pytest.mark.parametrize("name", EXPLAINED)
@pytest.mark.parametrize("force_finite", [True, False])
def test_targets_that_do_not_vary(name, force_finite):
    for y, p in (([2.0, 2.0], [2.0, 2.0]), ([2.0, 2.0], [1.0, 2.0]), ([[1, 0.5], [1, 2]], [[1, 0.5], [1, 2.5]])):
        for multioutput in ("uniform_average", "raw_values", "variance_weighted"):
            equal(name, y, p, force_finite=force_finite, multioutput=multioutput)


def test_r2_of_one_sample_is_not_defined():
    equal("r2_score", [1.0], [2.0])


def test_float32_is_summed_in_float64():
    y, p = rng.random((2, 10**5)).astype(np.float32)
    exact = sklearn.metrics.mean_squared_error(y.astype(float), p.astype(float))
    assert ours.mean_squared_error(y, p) == pytest.approx(exact, rel=1e-14)


def test_large_samples_have_the_same_values():
    n = 10**5
    y = _labels(2, n)[0]
    s, several = rng.random(n), _labels(7, n)
    for w in (None, rng.random(n)):
        equal("roc_auc_score", y, s, sample_weight=w)
        equal("average_precision_score", y, np.round(s, 3), sample_weight=w)
        equal("log_loss", y, s, sample_weight=w)
        equal("f1_score", *several, average="macro", sample_weight=w)
        equal("confusion_matrix", *several, sample_weight=w)


def test_arguments_stay_as_they_are():
    y, p, w = (each.copy() for each in (BINARY[0], P, WEIGHTS["weights"]))
    for each in (y, p, w):
        each.flags.writeable = False
    ours.roc_auc_score(y, p, sample_weight=w)
    ours.log_loss(y, p, sample_weight=w)
    ours.r2_score(y, p, sample_weight=w)


def test_the_metric_class_is_the_same_number():
    auc = metrics.AUC(num_thresholds=None)
    auc.update_state(BINARY[0], P)
    assert float(auc.result()) == ours.roc_auc_score(BINARY[0], P)


# ── Bad input ───────────────────────────────────────────────────────────────────────────────────────────────────

BAD = {
    "lengths": ("accuracy_score", ([0, 1], [0, 1, 1]), {}, r"y_true has shape \(2,\), y_pred has shape \(3,\)"),
    "nothing": ("accuracy_score", ([], []), {}, "at least one"),
    "scores for labels": ("accuracy_score", ([0, 1], [0.2, 0.7]), {}, "contains 0.2, which is no class label"),
    "nan for a label": ("f1_score", ([0, np.nan], [0, 1]), {}, "contains nan"),
    "text beside numbers": ("accuracy_score", (["a", "b"], [0, 1]), {}, "both text or both numbers"),
    "binary of several": ("f1_score", ([0, 1, 2], [0, 1, 1]), {}, "average='macro'"),
    "unknown average": ("f1_score", ([0, 1], [0, 1]), {"average": "marco"}, "Did you mean 'macro'"),
    "unknown positive": ("f1_score", ([0, 2], [0, 2]), {}, r"pos_label=1 is none of the labels \[0, 2\]"),
    "pos_label that cannot act": ("f1_score", ([0, 1], [0, 1]), {"average": "macro", "pos_label": 0}, "cannot act"),
    "zero_division": ("f1_score", ([0, 1], [0, 1]), {"zero_division": 2}, "Expected 'warn', 0, 1 or nan"),
    "weights": ("accuracy_score", ([0, 1], [0, 1]), {"sample_weight": [1.0]}, r"Expected \(2,\)"),
    "weights of nothing": ("accuracy_score", ([0, 1], [0, 1]), {"sample_weight": [0, 0]}, "sums to 0"),
    "probabilities": ("log_loss", ([0, 1], [0.2, 1.7]), {}, "numbers from 0.2 to 1.7"),
    "nan probability": ("log_loss", ([0, 1], [0.2, np.nan]), {}, "Expected probabilities"),
    "rows": ("log_loss", ([0, 1], [[0.2, 0.2], [0.5, 0.5]]), {}, "do not sum to 1"),
    "one class": ("log_loss", ([1, 1], [0.2, 0.7]), {}, "labels="),
    "columns": ("log_loss", ([0, 1, 2], [[0.5, 0.5]] * 3), {}, "there are 3 classes"),
    "unknown label": ("log_loss", ([0, 5], [0.2, 0.7]), {"labels": [0, 1]}, "the label"),
    "classes of scores": ("roc_auc_score", ([0, 1, 2], [0.1, 0.2, 0.3]), {}, "3 classes"),
    "multi_class": ("roc_auc_score", ([0, 1, 2], np.full((3, 3), 1 / 3)), {}, "multi_class='ovr'"),
    "part of an area": ("roc_auc_score", ([0, 1], [0.1, 0.2]), {"max_fpr": 0.5}, "max_fpr=0.5"),
    "nan score": ("roc_auc_score", ([0, 1], [0.1, np.nan]), {}, "y_score contains nan"),
    "nan target": ("mean_squared_error", ([0.0, np.nan], [0.1, 0.2]), {}, "y_true contains nan"),
    "infinite prediction": ("r2_score", ([0.0, 1.0], [0.1, np.inf]), {}, "y_pred contains nan or infinity"),
    "shapes": ("mean_squared_error", ([[0.0, 1.0]], [0.1]), {}, r"y_true has shape \(1, 2\)"),
    "text": ("mean_squared_error", (["a"], ["b"]), {}, "real numbers"),
    "multioutput": ("r2_score", ([0.0, 1.0], [0.1, 0.2]), {"multioutput": "raw"}, "Expected one of: raw_values"),
    "output weights": ("r2_score", ([0.0, 1.0], [0.1, 0.2]), {"multioutput": [1, 2]}, "one output"),
    "ragged": ("mean_squared_error", ([[1.0], [1.0, 2.0]], [[1.0], [2.0]]), {}, "rows of equal lengths"),
    "k": ("top_k_accuracy_score", ([0, 1], [0.1, 0.2]), {"k": 0}, "at least 1"),
    "low logarithm": ("mean_squared_log_error", ([0.0, -2.0], [0.1, 0.2]), {}, "above -1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error(case):
    name, args, kwargs, message = BAD[case]
    with pytest.raises(MultilossError, match=message):
        getattr(ours, name)(*args, **kwargs)


def test_every_function_has_scikit_learns_parameters():
    import inspect

    for name in set(ours.__all__) - {"Scorer", "as_scorer"}:
        theirs = dict(inspect.signature(getattr(sklearn.metrics, name)).parameters)
        if name == "log_loss":
            del theirs["y_pred"]  # its old name of y_proba
        own = inspect.signature(getattr(ours, name)).parameters
        assert list(own) == list(theirs)
        for each in own:
            if not (name == "log_loss" and each == "y_proba"):
                assert own[each].default == theirs[each].default, (name, each)
            assert own[each].kind == theirs[each].kind, (name, each)
