"""What the adapters to boosting libraries share: links, targets, constants, metrics, without any of the libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from multiloss import _errors, losses, metrics
from multiloss import backend as K
from multiloss.integrations._boosting import RawLoss, RawMetric, best_constant

FLOOR = 1e-16
RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0.2, 3.0, 40)
BINARY, COUNTS, REAL = RNG.integers(0, 2, 40) * 1.0, RNG.poisson(3.0, 40) * 1.0, RNG.normal(50.0, 5.0, 40)
CLASSES = RNG.integers(0, 3, 40) * 1.0


def raw_loss(loss, link=None, hessian="exact"):
    return RawLoss(loss, link, hessian, FLOOR)


@pytest.mark.parametrize(
    ("loss", "link"),
    [
        ("mse", "identity"),
        ("hinge", "identity"),
        ("poisson", "log"),
        ("binary_crossentropy", "logit"),
        (losses.BinaryFocalCrossentropy(from_logits=True), "logit"),
        ("sparse_categorical_crossentropy", "softmax"),
        ("categorical_crossentropy", "softmax"),
        ("categorical_generalized_cross_entropy", "softmax"),
        (lambda y_true, y_pred: K.mean(K.square(y_true - y_pred), -1), "identity"),
    ],
)
def test_what_a_loss_predicts_decides_the_link(loss, link):
    assert RawLoss(loss, None, "constant", FLOOR).link.name == link


def test_probabilities_and_logits_are_one_objective(backend):
    raw = RNG.normal(size=(40, 1)) * 30
    for hessian in ("exact", "fisher"):
        given = [raw_loss(losses.BinaryCrossentropy(from_logits=f), None, hessian) for f in (False, True)]
        first, second = (each.derivatives(BINARY, raw, WEIGHTS) for each in given)
        for one, other in zip(first, second, strict=True):
            assert type(one) is np.ndarray
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("loss", "labels", "gradient", "hessian"),
    [
        ("mse", REAL, lambda y, z: z - y, lambda y, z: np.ones_like(z)),
        ("poisson", COUNTS, lambda y, z: np.exp(z) - y, lambda y, z: np.exp(z)),
        ("binary_crossentropy", BINARY, lambda y, z: _p(z) - y, lambda y, z: _p(z) * (1 - _p(z))),
    ],
)
def test_derivatives_are_those_that_libraries_use(loss, labels, gradient, hessian, backend, float64):
    raw = RNG.normal(size=(40, 1))
    found = raw_loss(loss).derivatives(labels, raw, WEIGHTS)
    y, w = labels[:, None], WEIGHTS[:, None]
    np.testing.assert_allclose(found[0], w * gradient(y, raw), 1e-6, 1e-6)
    np.testing.assert_allclose(found[1], w * hessian(y, raw), 1e-6, 1e-6)


def _p(z):
    return 1 / (1 + np.exp(-z))


def test_losses_of_other_links_are_composed_with_them(backend, float64):
    raw, step = RNG.normal(size=(40, 1)), 1e-6
    loss = raw_loss("mean_squared_logarithmic_error")
    assert loss.link.name == "log"
    gradient, hessian = loss.derivatives(COUNTS, raw, None)

    def slope(z):
        return 2 * (np.log1p(np.exp(z)) - np.log1p(COUNTS[:, None])) * _p(z)

    np.testing.assert_allclose(gradient, slope(raw), 1e-6)
    np.testing.assert_allclose(
        hessian, np.maximum((slope(raw + step) - slope(raw - step)) / (2 * step), FLOOR), 1e-4, 1e-6
    )


def test_one_hot_and_sparse_losses_are_one_objective(backend):
    raw = RNG.normal(size=(40, 3))
    sparse, hot = (
        raw_loss(each).derivatives(CLASSES, raw, WEIGHTS)
        for each in ("sparse_categorical_crossentropy", "categorical_crossentropy")
    )
    for one, other in zip(sparse, hot, strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-7)


# ── The constant ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("loss", "labels", "expected"),
    [
        ("mse", REAL, lambda y, w: np.average(y, weights=w)),
        ("poisson", COUNTS, lambda y, w: np.log(np.average(y, weights=w))),
        ("binary_crossentropy", BINARY, lambda y, w: np.log(1 / (1 / np.average(y, weights=w) - 1))),
        ("mean_squared_logarithmic_error", COUNTS, lambda y, w: np.log(np.expm1(np.average(np.log1p(y), weights=w)))),
    ],
)
def test_the_best_constant_is_the_textbooks(loss, labels, expected):
    for weights in (None, WEIGHTS):
        (found,) = best_constant(raw_loss(loss), labels, weights)
        assert math.isclose(found, expected(labels, np.ones(40) if weights is None else weights), rel_tol=1e-9)


@pytest.mark.parametrize("loss", ["huber", "log_cosh", "binary_focal_crossentropy", "squared_hinge", "mae"])
def test_the_best_constant_has_the_least_loss(loss, backend, float64):
    labels = BINARY if loss in ("binary_focal_crossentropy", "squared_hinge") else REAL
    raw = RawLoss(loss, None, "constant", FLOOR)
    (found,) = best_constant(raw, labels, WEIGHTS)

    def total(constant):
        scores = np.full((40, 1), constant)
        return float(raw.of_raw(raw.targets(labels, scores), scores, WEIGHTS))

    assert total(found) <= min(total(found + step) for step in (-1e-3, 1e-3, -0.1, 0.1)) + 1e-9


def test_the_best_constants_of_classes_are_their_log_shares(backend, float64):
    found = best_constant(raw_loss("sparse_categorical_crossentropy"), CLASSES, WEIGHTS, 3)
    shares = np.array([WEIGHTS[k == CLASSES].sum() for k in range(3)]) / WEIGHTS.sum()
    np.testing.assert_allclose(found, np.log(shares) - np.log(shares).mean(), 1e-9)
    assert abs(sum(found)) < 1e-9


def test_the_best_constants_of_a_focal_loss_have_no_slope(backend, float64):
    raw = raw_loss("sparse_categorical_focal_crossentropy", None, "fisher")
    found = best_constant(raw, CLASSES, WEIGHTS, 3)
    gradient, _ = raw.derivatives(CLASSES, np.tile(found, (40, 1)), WEIGHTS)
    np.testing.assert_allclose(gradient.sum(0), 0.0, atol=1e-5)


def test_one_class_alone_has_a_finite_constant():
    for labels in (np.zeros(5), np.ones(5)):
        (found,) = best_constant(raw_loss("binary_crossentropy"), labels, None)
        assert 10 < abs(found) < 40
    assert all(map(math.isfinite, best_constant(raw_loss("sparse_categorical_crossentropy"), np.zeros(5), None, 3)))


def test_equal_targets_are_their_own_constant():
    (found,) = best_constant(raw_loss("mse"), np.full(7, 100.0), None)
    assert math.isclose(found, 100.0)


# ── Metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_loss_is_shown_as_its_weighted_mean(backend):
    scores = RNG.normal(size=40)
    expected = np.average(np.log1p(np.exp(scores)) - BINARY * scores, weights=WEIGHTS)
    for loss in ("binary_crossentropy", losses.BinaryCrossentropy(from_logits=True, reduction="sum")):
        assert math.isclose(RawMetric(loss, None, True, None).evaluate(BINARY, scores, WEIGHTS), expected, rel_tol=1e-5)
    metric = RawMetric("binary_crossentropy", None, False, "logloss")
    assert metric.name == "logloss"
    assert math.isclose(metric.evaluate(BINARY, _p(scores), WEIGHTS), expected, rel_tol=1e-5)


def test_a_metric_sees_predictions(backend):
    scores = RNG.normal(size=40)
    accuracy = RawMetric(metrics.BinaryAccuracy(), "logit", True, None)
    expected = np.average((scores > 0) == BINARY, weights=WEIGHTS)
    for _ in range(2):  # and keeps nothing
        assert math.isclose(accuracy.evaluate(BINARY, scores, WEIGHTS), expected, rel_tol=1e-6)
    several = RNG.normal(size=(40, 3))
    accuracy = RawMetric("sparse_categorical_accuracy", "softmax", True, None)
    expected = (several.argmax(1) == CLASSES).mean()
    assert math.isclose(accuracy.evaluate(CLASSES, several, None), expected, rel_tol=1e-6)


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("loss", "labels", "message"),
    [
        ("binary_crossentropy", np.array([0.0, 2.0]), "Labels from 0 to 2 arrived for binary_crossentropy"),
        ("binary_crossentropy", np.array([0.0, np.nan]), "Labels from nan to nan"),
        ("poisson", np.array([-1.0, 2.0]), "targets of at least 0"),
        ("squared_hinge", np.array([1.0, 2.0]), "labels 0 and 1, or -1 and 1"),
    ],
)
def test_labels_that_a_loss_is_not_made_for_raise(loss, labels, message):
    with pytest.raises(_errors.LabelError, match=message):
        raw_loss(loss).derivatives(labels, np.zeros((2, 1)), None)


@pytest.mark.parametrize("labels", [[0.0, 3.0], [-1.0, 2.0], [0.5, 1.0]])
def test_classes_out_of_range_raise(labels):
    for loss in ("sparse_categorical_crossentropy", "categorical_crossentropy"):
        with pytest.raises(_errors.LabelError, match="whole numbers from 0 to 2"):
            raw_loss(loss).derivatives(np.array(labels), np.zeros((2, 3)), None)


def test_another_number_of_scores_raises():
    with pytest.raises(_errors.ShapeError, match="Tell it the number of classes"):
        raw_loss("sparse_categorical_crossentropy").derivatives(np.zeros(4), np.zeros((4, 1)), None)
    with pytest.raises(_errors.ShapeError, match="3 raw scores per sample for 4 targets"):
        raw_loss("binary_crossentropy").derivatives(np.zeros(4), np.zeros((4, 3)), None)


def test_what_cannot_work_raises_at_once():
    with pytest.raises(_errors.NotSupportedError, match="mean_absolute_error is made of straight pieces"):
        raw_loss("mae")
    with pytest.raises(_errors.UnknownNameError, match="Unknown link: 'sigmoid'"):
        raw_loss("mse", "sigmoid")
    with pytest.raises(_errors.ArgumentError, match="Say by which link"):
        RawMetric("auc", None, True, None)
    with pytest.raises(_errors.NotSupportedError, match="predicts no probabilities"):
        raw_loss("mse").probabilities(np.zeros((2, 1)))


# ── Sums and named inputs ───────────────────────────────────────────────────────────────────────────────────────


def test_a_sum_of_losses_is_of_raw_scores_in_each_part(backend, float64):
    raw = RNG.normal(size=(40, 1))
    parts = losses.BinaryCrossentropy(), losses.BinaryFocalCrossentropy(from_logits=True)
    loss = raw_loss(0.5 * parts[0] + parts[1])
    assert loss.link.name == "logit"
    first, second = (raw_loss(each).derivatives(BINARY, raw, WEIGHTS) for each in parts)
    for found, one, other in zip(loss.derivatives(BINARY, raw, WEIGHTS), first, second, strict=True):
        np.testing.assert_allclose(found, 0.5 * one + other, 1e-6)
    (constant,) = best_constant(loss, BINARY, WEIGHTS)
    assert abs(loss.derivatives(BINARY, np.full((40, 1), constant), WEIGHTS)[0].sum()) < 1e-6
    with pytest.raises(_errors.ArgumentError, match="different links: identity, logit"):
        raw_loss(losses.BinaryCrossentropy() + losses.MeanSquaredError())


def distilled(y_true, y_pred, *, teacher):
    return K.mean(K.square(y_pred - 0.5 * y_true - 0.5 * teacher), axis=-1)


def test_named_inputs_reach_the_loss(backend, float64):
    teacher, raw = RNG.normal(50.0, 5.0, 40), RNG.normal(size=(40, 1))
    loss = RawLoss(distilled, None, "exact", FLOOR, {"teacher": teacher})
    gradient, hessian = loss.derivatives(REAL, raw, WEIGHTS)
    np.testing.assert_allclose(gradient, 2 * WEIGHTS[:, None] * (raw - (REAL + teacher)[:, None] / 2), 1e-6)
    np.testing.assert_allclose(hessian, 2 * WEIGHTS[:, None], 1e-6)
    (constant,) = best_constant(loss, REAL, WEIGHTS)
    assert math.isclose(constant, np.average((REAL + teacher) / 2, weights=WEIGHTS), rel_tol=1e-9)
    logged = RawLoss(distilled, "log", "gauss_newton", FLOOR, {"teacher": teacher})
    expected = 2 * (np.exp(raw) - (REAL + teacher)[:, None] / 2) * np.exp(raw)
    np.testing.assert_allclose(logged.derivatives(REAL, raw, None)[0], expected, 1e-6)
    with pytest.raises(_errors.NamedInputError, match="teacher"):
        RawLoss(distilled, None, "exact", FLOOR, {})
    with pytest.raises(_errors.NamedInputError, match="pupil"):
        RawLoss("mse", None, "exact", FLOOR, {"pupil": teacher})
