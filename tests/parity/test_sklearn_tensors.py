"""The functions with scikit-learn's names take tensors of every framework, and have the values that they have for arrays."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest
from multiloss.integrations import sklearn as ours

rng = np.random.default_rng(0)
N = 50
FLAGS, P, W = rng.integers(0, 2, N), rng.random(N).astype(np.float32), rng.random(N).astype(np.float32)
CLASSES = rng.integers(0, 4, N)
GUESSES = np.where(rng.random(N) < 0.6, CLASSES, rng.integers(0, 4, N))
SIMPLEX = rng.dirichlet(np.ones(4), N).astype(np.float32)
TARGETS, OUTPUTS = rng.random((2, N, 3)).astype(np.float32)
SEVERAL = rng.integers(0, 2, (2, N, 3))

CASES = {
    "accuracy_score": (CLASSES, GUESSES, {}),
    "average_precision_score": (FLAGS, P, {}),
    "balanced_accuracy_score": (CLASSES, GUESSES, {}),
    "brier_score_loss": (FLAGS, P, {}),
    "confusion_matrix": (CLASSES - 2, GUESSES - 2, {}),
    "explained_variance_score": (TARGETS, OUTPUTS, {}),
    "f1_score": (CLASSES, GUESSES, {"average": None}),
    "fbeta_score": (SEVERAL[0], SEVERAL[1], {"average": "macro", "beta": 0.5}),
    "log_loss": (CLASSES, SIMPLEX, {}),
    "matthews_corrcoef": (CLASSES, GUESSES, {}),
    "max_error": (P, W, {}),
    "mean_absolute_error": (TARGETS, OUTPUTS, {"multioutput": "raw_values"}),
    "mean_absolute_percentage_error": (P, W, {}),
    "mean_pinball_loss": (P, W, {"alpha": 0.2}),
    "mean_squared_error": (TARGETS, OUTPUTS, {}),
    "mean_squared_log_error": (P, W, {}),
    "precision_recall_fscore_support": (FLAGS, FLAGS[::-1].copy(), {"average": "binary"}),
    "precision_score": (FLAGS, FLAGS[::-1].copy(), {}),
    "r2_score": (P, W, {}),
    "recall_score": (CLASSES, GUESSES, {"labels": [3, 1], "average": "macro"}),
    "roc_auc_score": (FLAGS, P, {}),
    "root_mean_squared_error": (TARGETS, OUTPUTS, {}),
    "top_k_accuracy_score": (CLASSES, SIMPLEX, {"k": 2}),
    "zero_one_loss": (FLAGS, FLAGS[::-1].copy(), {}),
}


def _place(framework: str):
    if framework == "torch":
        return importlib.import_module("torch").tensor
    return importlib.import_module("jax.numpy").asarray


def test_every_function_has_a_case():
    assert set(CASES) == set(ours.__all__) - {"Scorer", "as_scorer"}


@pytest.mark.parametrize("framework", ["torch", "jax"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", CASES)
def test_tensors_have_the_values_of_arrays(name, weighted, framework):
    function, (y_true, y_pred, options), place = getattr(ours, name), CASES[name], _place(framework)
    takes_weights = "sample_weight" in inspect.signature(function).parameters
    if weighted and not takes_weights:
        with pytest.raises(TypeError):
            function(place(y_true), place(y_pred), sample_weight=place(W))
        return
    expected = function(y_true, y_pred, **options, **({"sample_weight": W} if weighted else {}))
    actual = function(place(y_true), place(y_pred), **options, **({"sample_weight": place(W)} if weighted else {}))
    for one, other in zip(_flat(actual), _flat(expected), strict=True):
        assert type(one) is type(other)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=2e-5)


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_arrays_join_the_tensors_beside_them(framework):
    assert ours.roc_auc_score(FLAGS, _place(framework)(P)) == pytest.approx(ours.roc_auc_score(FLAGS, P), rel=1e-5)
    assert ours.accuracy_score(_place(framework)(CLASSES), GUESSES) == ours.accuracy_score(CLASSES, GUESSES)


def _flat(value):
    return value if isinstance(value, tuple) else (value,)
