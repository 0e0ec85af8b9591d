"""Closed forms: what automatic differentiation gives in float64, and right where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import grad, grad_and_hessian
from multiloss.derivatives import _transform
from multiloss.derivatives._closed_forms import EXACT, FISHER
from tests.derivatives.cases import CLOSED, SPECS, data, loss_of

EXACTLY = [(name, parameters) for choice, name, parameters in CLOSED if choice == "exact"]
EXPECTED = [(name, parameters) for choice, name, parameters in CLOSED if choice == "fisher"]


def without_closed_forms(monkeypatch):
    monkeypatch.setattr(_transform, "closed_form", lambda choice, spec, parameters: None)


def test_every_closed_form_is_tested():
    assert {SPECS[name] for name, _ in EXACTLY} == set(EXACT)
    assert {SPECS[name] for name, _ in EXPECTED} == set(FISHER)


@pytest.mark.parametrize("reduction", ["none", "mean_with_sample_weight"])
@pytest.mark.parametrize(("name", "parameters"), EXACTLY, ids=map(str, EXACTLY))
def test_closed_forms_equal_automatic_differentiation(
    name, parameters, reduction, backend, tensor, host, float64, monkeypatch
):
    y_true, y_pred = data(name, (5, 4), **parameters)
    loss = loss_of(name, reduction, **parameters)
    samples = y_pred.shape[1] if parameters.get("axis") == 0 else y_pred.shape[0]
    weights = np.arange(samples) / 2.0
    batch = tensor(y_true), tensor(y_pred), tensor(weights)
    forms = ("diagonal", "bound", "block") if SPECS[name].event == "joint" else ("diagonal", "bound")
    forms = forms if reduction == "none" else forms[:1]
    closed = [grad_and_hessian(loss, form=form)(*batch) for form in forms]
    without_closed_forms(monkeypatch)
    for form, results in zip(forms, closed, strict=True):
        for result, expected in zip(results, grad_and_hessian(loss, form=form)(*batch), strict=True):
            np.testing.assert_allclose(host(result), host(expected), 1e-10, 1e-10)
    np.testing.assert_allclose(host(closed[0][0]), host(grad(loss)(*batch)), 1e-10, 1e-12)


FAMILIES = [(name, parameters) for name, parameters in EXPECTED if SPECS[name].target not in ("real", "positive")]


@pytest.mark.parametrize(("name", "parameters"), FAMILIES, ids=map(str, FAMILIES))
def test_fisher_information_equals_the_expected_outer_product(
    name, parameters, backend, tensor, host, float64, monkeypatch
):
    y_true, y_pred = data(name, (5, 4), **parameters)
    loss = loss_of(name, **parameters)
    forms = ("diagonal", "bound", "block") if SPECS[name].event == "joint" else ("diagonal",)
    batch = tensor(y_true), tensor(y_pred)
    closed = [grad_and_hessian(loss, hessian="fisher", form=form)(*batch) for form in forms]
    without_closed_forms(monkeypatch)
    for form, results in zip(forms, closed, strict=True):
        expected = grad_and_hessian(loss, hessian="fisher", form=form)(*batch)
        for result, other in zip(results, expected, strict=True):
            np.testing.assert_allclose(host(result), host(other), 1e-10, 1e-10)


def test_the_fisher_information_of_counts_is_their_expected_curvature(backend, tensor, host, float64):
    rates = np.array([[0.5], [2.0], [7.0]])
    expected = np.zeros_like(rates)
    probability = np.exp(-rates)
    for count in range(80):
        y_true = np.full_like(rates, count)
        expected += probability * host(grad_and_hessian("poisson")(tensor(y_true), tensor(rates))[1])
        probability = probability * rates / (count + 1)
    _, hessian = grad_and_hessian("poisson", hessian="fisher")(tensor(rates), tensor(rates))
    np.testing.assert_allclose(host(hessian), expected, 1e-6)  # the formula's 1e-7 beside the rate


@pytest.mark.parametrize(("name", "curvature"), [("huber", 1.0), ("log_cosh", 1.0), ("mean_squared_error", 2.0)])
def test_a_perfect_prediction_is_curved(name, curvature, backend, tensor, host):
    gradient, hessian = grad_and_hessian(name)(tensor([[3.0], [-1.0]]), tensor([[3.0], [-1.0]]))
    assert host(gradient).ravel().tolist() == [0.0, 0.0]
    assert host(hessian).ravel().tolist() == [curvature, curvature]


def test_the_corner_of_huber_has_half_the_curvature(backend, tensor, host):
    _, hessian = grad_and_hessian("huber")(tensor([[0.0]] * 4), tensor([[0.5], [1.0], [-1.0], [2.0]]))
    assert host(hessian).ravel().tolist() == [1.0, 0.5, 0.5, 0.0]


ROWS = 70_000
"""So many that a backend may take them in blocks."""


@pytest.mark.backends("numpy", "torch")  # JAX compiles the same function for any number of rows
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["diagonal", "bound"])
@pytest.mark.parametrize(
    ("name", "columns"),
    [
        *(("mean_squared_error", 2), ("binary_focal_crossentropy", 2), ("sparse_categorical_crossentropy", 3)),
        *(("categorical_crossentropy", 3), ("categorical_crossentropy", 40)),
        *(("categorical_focal_crossentropy", 3), ("sparse_categorical_focal_crossentropy", 40)),
    ],
)
def test_many_rows_have_the_derivatives_that_few_have(name, columns, form, weighted, backend, tensor, host):
    logits = {"from_logits": True} if "from_logits" in SPECS[name].defaults else {}
    y_true, y_pred = (
        x.astype("float32" if x.dtype.kind == "f" else "int64") for x in data(name, (8, columns), **logits)
    )
    weights = np.linspace(0.0, 2.0, 8, dtype="float32")
    y_pred[0] = -3.0 * abs(y_pred[0])  # with a curvature below the floor
    derivatives = grad_and_hessian(loss_of(name, **logits), form=form, floor=0.15)

    def of(times):
        batch = (np.concatenate([x] * times) for x in (y_true, y_pred, weights))
        return [host(x) for x in derivatives(*(tensor(x) for x in batch) if weighted else list(map(tensor, batch))[:2])]

    for many, few in zip(of(ROWS // 8), of(1), strict=True):
        np.testing.assert_allclose(many.reshape(-1, *few.shape), np.stack([few] * (ROWS // 8)), 1e-5, 1e-6)


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize("parameters", [{}, {"apply_class_balancing": True}, {"gamma": 0.5}, {"label_smoothing": 0.1}])
def test_many_labels_have_the_information_that_soft_ones_next_to_them_have(parameters, backend, tensor, host):
    y_true = np.arange(2 * ROWS, dtype="float32").reshape(-1, 2) % 2
    y_pred = np.random.default_rng(0).normal(0.0, 3.0, y_true.shape).astype("float32")
    loss = loss_of("binary_focal_crossentropy", from_logits=True, **parameters)
    derivatives = grad_and_hessian(loss, hessian="fisher")
    hard = derivatives(tensor(y_true), tensor(y_pred))
    y_true[999::1000] = 0.5  # which is no label
    rest = np.arange(len(y_true)) % 1000 != 999
    soft = derivatives(tensor(y_true), tensor(y_pred))
    for one, other in zip(hard, soft, strict=True):
        np.testing.assert_allclose(host(one)[rest], host(other)[rest], 1e-4, 1e-6)
    assert abs(host(hard[0])[~rest] - host(soft[0])[~rest]).max() > 1e-3


@pytest.mark.backends("numpy", "torch")
def test_labels_and_soft_targets_may_follow_each_other(backend, tensor, host, float64):
    rng = np.random.default_rng(3)
    few = rng.normal(size=(400, 1))
    logits = np.concatenate([few] * 2000)
    labels, soft = (few > 0).astype(float), rng.uniform(size=(400, 1))
    mixed = np.concatenate([labels] * 1000 + [soft] * 1000)
    derivatives = grad_and_hessian(loss_of("binary_focal_crossentropy", from_logits=True), hessian="fisher")
    found = derivatives(tensor(mixed), tensor(logits))
    expected = [derivatives(tensor(each), tensor(few)) for each in (labels, soft)]
    for entry in range(2):
        for rows, wanted in ((slice(0, 400), expected[0]), (slice(-400, None), expected[1])):
            np.testing.assert_allclose(host(found[entry])[rows], host(wanted[entry]), 1e-10, 1e-13)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("name", ["sparse_categorical_crossentropy", "categorical_focal_crossentropy"])
def test_derivatives_of_many_rows_are_laid_out_as_predictions_are(name):
    y_true, y_pred = data(name, (8, 3), from_logits=True)
    y_true, y_pred = (np.concatenate([each] * (ROWS // 8)) for each in (y_true, y_pred))
    derivatives = grad_and_hessian(loss_of(name, from_logits=True))
    rows, columns = derivatives(y_true, y_pred), derivatives(y_true, np.asfortranarray(y_pred))
    for one, other in zip(rows, columns, strict=True):
        assert one.flags.c_contiguous
        assert other.flags.f_contiguous
        np.testing.assert_array_equal(one, other)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("rows", [8, 8 * ROWS])
def test_derivatives_are_cut_off_from_the_gradient(rows, backend, tensor, host):
    y_true, y_pred = tensor(np.zeros((rows, 2), "float32")), tensor(np.ones((rows, 2), "float32"))
    loss = loss_of("binary_crossentropy", from_logits=True)
    assert not any(each.requires_grad for each in grad_and_hessian(loss)(y_true, y_pred.requires_grad_()))


@pytest.mark.parametrize("hessian", ["exact", "fisher"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_focal_loss_of_classes_has_derivatives_however_far_its_logits_are(
    gamma, hessian, backend, tensor, host, float64
):
    """Where the label is hopelessly wrong it is a straight line, and 0 where it is right."""
    loss = loss_of("sparse_categorical_focal_crossentropy", from_logits=True, gamma=gamma, alpha=1.0)
    far = np.array([[-np.inf, 0.0, -900.0], [-800.0, 0.0, -np.inf], [800.0, 0.0, -800.0]])
    derivatives = grad_and_hessian(loss, hessian=hessian, form="block")
    gradient, blocks = derivatives(tensor(np.array([0, 0, 0])), tensor(far))
    np.testing.assert_allclose(host(gradient), [[-1.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(host(blocks), np.zeros((3, 3, 3)), atol=1e-12)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_focal_loss_has_derivatives_however_far_its_logits_are(label, balanced, backend, tensor, host, float64):
    """Where a label is hopelessly wrong it is a straight line, and 0 where it is right."""
    loss = loss_of("binary_focal_crossentropy", from_logits=True, apply_class_balancing=balanced)
    far = np.array([[-np.inf], [-800.0], [800.0], [np.inf]])
    slope = np.array([[0.0], [0.0], [1.0], [1.0]]) if label == 0 else np.array([[-1.0], [-1.0], [0.0], [0.0]])
    scale = {0.0: 0.75, 1.0: 0.25}[label] if balanced else 1.0
    for hessian in ("exact", "fisher"):
        gradient, curvature = grad_and_hessian(loss, hessian=hessian)(tensor(np.full((4, 1), label)), tensor(far))
        np.testing.assert_allclose(host(gradient), slope * scale, atol=1e-12)
        np.testing.assert_allclose(host(curvature), np.zeros((4, 1)), atol=1e-12)


def test_far_logits_keep_their_digits(backend, tensor, host, float64):
    loss = loss_of("binary_crossentropy", from_logits=True)
    far = np.array([[-700.0], [-40.0], [40.0], [700.0]])
    gradient, hessian = grad_and_hessian(loss)(tensor(np.zeros((4, 1))), tensor(far))
    np.testing.assert_allclose(host(hessian), np.exp(-np.abs(far)), 1e-12)
    np.testing.assert_allclose(host(gradient), 1 / (1 + np.exp(-far)), 1e-12)
