"""`grad_and_hessian`: the derivatives of any loss, weighted, masked and reduced as the loss is."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors, grad, grad_and_hessian, losses
from multiloss import backend as K
from multiloss._registry import owner_of
from multiloss.interface import Backend
from multiloss.testing import DIFFERENCES, assert_close
from tests.derivatives.cases import CURVED, SAMPLEWISE, SPECS, STRAIGHT, VARIANTS, data, loss_of

CURVATURES = ("exact", "fisher", "gauss_newton", "constant")
PREDICTING_LABELS = [
    name
    for name in CURVED
    if SPECS[name].prediction.startswith(("probability or", "distribution")) and name != "kl_divergence"
]


def differences(loss, y_true, y_pred, host, tensor):
    """Return central differences of the gradient: (entries of y_pred, shape of y_pred)."""
    step, rows = 1e-6, []
    for index in np.ndindex(y_pred.shape):
        sides = []
        for sign in (1, -1):
            moved = np.array(y_pred)
            moved[index] += sign * step
            sides.append(host(grad(loss)(tensor(y_true), tensor(moved))))
        rows.append((sides[0] - sides[1]) / (2 * step))
    return np.array(rows)


@pytest.mark.backends("numpy", "torch")  # a difference takes two gradients for each entry
@pytest.mark.parametrize(("name", "parameters"), VARIANTS, ids=map(str, VARIANTS))
def test_the_exact_hessian_equals_central_differences(name, parameters, backend, tensor, host, float64):
    y_true, y_pred = data(name, (2, 4) if parameters.get("axis") != 0 else (4, 2), **parameters)
    loss = loss_of(name, "sum", **parameters)
    whole = differences(loss, y_true, y_pred, host, tensor).reshape(y_pred.shape * 2)
    _, diagonal = grad_and_hessian(loss)(tensor(y_true), tensor(y_pred))
    size = y_pred.size
    expected = np.diagonal(whole.reshape(size, size)).reshape(y_pred.shape)
    assert_close(host(diagonal), expected, "float64", table=DIFFERENCES)
    if SPECS[name].event == "joint":
        _, block = grad_and_hessian(loss, form="block")(tensor(y_true), tensor(y_pred))
        if parameters.get("axis") == 0:
            whole = whole.transpose(1, 0, 3, 2)
        expected = np.stack([whole[row, :, row, :] for row in range(len(whole))])
        assert_close(host(block), expected, "float64", table=DIFFERENCES)


@pytest.mark.parametrize("hessian", CURVATURES)
@pytest.mark.parametrize("name", ["binary_focal_crossentropy", "sparse_categorical_focal_crossentropy", "huber"])
def test_weights_masks_and_reductions_act_on_both_derivatives(name, hessian, backend, tensor, host, float64):
    if hessian == "fisher" and name == "huber":
        hessian = "exact"
    parameters = {} if name == "huber" else {"from_logits": True}
    y_true, y_pred = data(name, (6, 3), **parameters)
    weights, mask = np.array([1.0, 2.0, 0.0, 0.5, 1.0, 3.0]), np.array([1, 1, 1, 0, 1, 1], bool)
    poisoned = np.array(y_pred)
    poisoned[[2, 3]] = np.nan

    def both(reduction, *rest):
        found = grad_and_hessian(loss_of(name, reduction, **parameters), hessian=hessian)(*map(tensor, rest))
        return [host(each) for each in found]

    plain = both("none", y_true, y_pred)
    counts = weights * mask
    denominators = {"none": 1.0, "sum": 1.0, "mean": 5.0, "mean_with_sample_weight": counts.sum()}
    for reduction, denominator in denominators.items():
        if SPECS[name].event == "mean" and reduction == "none":
            denominator = 1.0
        for result, each in zip(both(reduction, y_true, poisoned, weights, mask), plain, strict=True):
            expected = each * counts[:, None] / denominator
            np.testing.assert_allclose(result, expected, 1e-10, 1e-12)


@pytest.mark.parametrize("name", ["mean_squared_error", "sparse_categorical_focal_crossentropy", "log_cosh"])
def test_a_weight_of_k_is_k_copies(name, backend, tensor, host, float64):
    parameters = {"from_logits": True} if "from_logits" in SPECS[name].defaults else {}
    y_true, y_pred = data(name, (3, 4), **parameters)
    copies = np.array([1, 3, 2])
    both = grad_and_hessian(loss_of(name, "sum", **parameters), floor=0.05)
    weighted = both(tensor(y_true), tensor(y_pred), tensor(copies.astype(float)))
    repeated = both(tensor(np.repeat(y_true, copies, 0)), tensor(np.repeat(y_pred, copies, 0)))
    starts = np.cumsum(copies) - copies
    for one, many in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(host(one), np.add.reduceat(host(many), starts, 0), 1e-10)


@pytest.mark.parametrize("name", PREDICTING_LABELS)
def test_fisher_information_is_never_negative(name, backend, tensor, host, float64):
    parameters = {"from_logits": True} if "from_logits" in SPECS[name].defaults else {}
    y_true, y_pred = data(name, (6, 4), **parameters)
    both = grad_and_hessian(loss_of(name, **parameters), hessian="fisher")(tensor(y_true), tensor(y_pred))
    assert (host(both[1]) >= 0).all()
    np.testing.assert_allclose(host(both[0]), host(grad(loss_of(name, **parameters))(tensor(y_true), tensor(y_pred))))
    if SPECS[name].event == "joint":
        block = grad_and_hessian(loss_of(name, **parameters), hessian="fisher", form="block")
        assert np.linalg.eigvalsh(host(block(tensor(y_true), tensor(y_pred))[1])).min() > -1e-12


@pytest.mark.parametrize("name", [name for name in SAMPLEWISE if name not in ("poisson", "cosine_similarity")])
def test_gauss_newton_is_the_curvature_of_a_squared_residual(name, backend, tensor, host, float64):
    y_true, y_pred = data(name, (4, 1) if SPECS[name].event == "mean" else (4, 3))
    if name == "kl_divergence":
        y_true, y_pred = y_true / y_true.sum(-1, keepdims=True), y_pred / y_pred.sum(-1, keepdims=True)
    loss = loss_of(name)
    values, gradient = host(loss(tensor(y_true), tensor(y_pred))), host(grad(loss)(tensor(y_true), tensor(y_pred)))
    residual = np.where(values > 0, values, 1.0)[:, None]
    expected = np.where(values[:, None] > 0, gradient**2 / (2 * residual), 0.0)
    gradient_too, hessian = grad_and_hessian(loss, hessian="gauss_newton")(tensor(y_true), tensor(y_pred))
    np.testing.assert_allclose(host(hessian), expected, 1e-10, 1e-12)
    np.testing.assert_allclose(host(gradient_too), gradient, 1e-10, 1e-12)


def test_gauss_newton_is_exact_for_squared_errors(backend, tensor, host):
    y_true, y_pred = tensor([[1.0, 2.0], [0.0, 5.0]]), tensor([[1.0, 4.0], [3.0, 5.0]])
    exact, newton = (grad_and_hessian("mse", hessian=each)(y_true, y_pred)[1] for each in ("exact", "gauss_newton"))
    assert host(exact).tolist() == host(newton).tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("name", STRAIGHT)
def test_losses_of_straight_pieces_train_by_another_curvature(name, backend, tensor, host):
    y_true, y_pred = data(name, (4, 3))
    batch = tensor(y_true.astype("float32")), tensor(y_pred.astype("float32"))
    for hessian in ("gauss_newton", "constant"):
        _, found = grad_and_hessian(loss_of(name), hessian=hessian)(*batch)
        assert (host(found) >= 0).all()
        assert host(found).any()


def test_the_floor_raises_the_diagonal_of_each_sample(backend, tensor, host):
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    y_true, y_pred = tensor([0, 1]), tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    weights = tensor([2.0, 1.0])
    for form in ("diagonal", "block"):
        free = host(grad_and_hessian(loss, form=form)(y_true, y_pred, weights)[1])
        raised = host(grad_and_hessian(loss, form=form, floor=0.1)(y_true, y_pred, weights)[1])
        least = np.array([[0.2] * 3, [0.1] * 3], np.float32)
        if form == "block":
            diagonal = np.einsum("nkk->nk", raised)
            np.testing.assert_array_equal(diagonal, np.maximum(np.einsum("nkk->nk", free), least))
            off = ~np.eye(3, dtype=bool)
            np.testing.assert_array_equal(raised[:, off], free[:, off])
        else:
            np.testing.assert_array_equal(raised, np.maximum(free, least))


def test_the_bound_is_at_least_the_block(backend, tensor, host, float64):
    y_true, y_pred = data("sparse_categorical_crossentropy", (20, 4), from_logits=True)
    for loss in (
        losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        losses.SparseCategoricalFocalCrossentropy(from_logits=True, reduction="sum"),
    ):
        block, bound = (
            host(grad_and_hessian(loss, form=f)(tensor(y_true), tensor(y_pred))[1]) for f in ("block", "bound")
        )
        assert np.linalg.eigvalsh(bound[:, None, :] * np.eye(4) - block).min() > -1e-12
        np.testing.assert_allclose(bound, np.abs(block).sum(-1))


class FourthPower(losses.Loss):
    def call(self, y_true, y_pred):
        return K.mean(K.square(K.square(y_pred - y_true)), axis=-1)


def softplus_margin(y_true, y_pred):
    return K.softplus(-y_true * y_pred)


def test_a_loss_of_ones_own_has_derivatives(backend, tensor, host, float64):
    y_true, y_pred = np.zeros((3, 2)), np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])
    weights = np.array([1.0, 0.0, 2.0])
    gradient, hessian = grad_and_hessian(FourthPower(reduction="sum"))(tensor(y_true), tensor(y_pred), tensor(weights))
    np.testing.assert_allclose(host(gradient), weights[:, None] * 4 * y_pred**3 / 2)
    np.testing.assert_allclose(host(hessian), weights[:, None] * 12 * y_pred**2 / 2)
    signs, margins = np.array([[1.0], [-1.0], [1.0]]), np.array([[0.0], [0.0], [2.0]])
    _, hessian = grad_and_hessian(softplus_margin)(tensor(signs), tensor(margins))
    p = 1 / (1 + np.exp(-margins))
    np.testing.assert_allclose(host(hessian), p * (1 - p))  # at 0, too, where softplus is made of two halves


@pytest.mark.parametrize("options", [{}, {"pos_weight": 3.0}], ids=str)
@pytest.mark.parametrize("name", ["binary_focal_crossentropy", "binary_crossentropy"])
def test_logits_of_0_are_no_kink(name, options, backend, tensor, host, float64):
    loss = loss_of(name, from_logits=True, **options)
    y_true = tensor(np.array([[0.0], [1.0]]))
    at, beside = (grad_and_hessian(loss)(y_true, tensor(np.full((2, 1), x))) for x in (0.0, 1e-9))
    for here, there in zip(at, beside, strict=True):
        np.testing.assert_allclose(host(here), host(there), 1e-7)


def test_predictions_of_one_axis_are_samples(backend, tensor, host):
    flat = grad_and_hessian("mse")(tensor([0.0, 0.0]), tensor([1.0, 2.0]))
    assert [host(each).tolist() for each in flat] == [[2.0, 4.0], [2.0, 2.0]]
    beside = grad_and_hessian("mse")(tensor([[0.0], [0.0]]), tensor([1.0, 2.0]))
    assert [host(each).tolist() for each in beside] == [[2.0, 4.0], [2.0, 2.0]]


def test_derivatives_are_native_tensors_of_the_dtype_of_the_predictions(backend, tensor, float64):
    for dtype in ("float32", "float64", "float16"):
        for loss in ("huber", "mean_squared_logarithmic_error", losses.BinaryFocalCrossentropy()):
            for each in grad_and_hessian(loss)(tensor([[0.5]], dtype), tensor([[0.25]], dtype)):
                assert owner_of(each) is backend
                assert backend.dtype(each) == dtype
    gradient, _ = grad_and_hessian("mse")([0, 1], [1, 3])
    assert owner_of(gradient) is backend


@pytest.mark.parametrize("name", ["sparse_categorical_crossentropy", "binary_focal_crossentropy", "huber"])
def test_derivatives_can_be_traced(name, backend, tensor, host, compiled):
    parameters = {} if name == "huber" else {"from_logits": True}
    y_true, y_pred = data(name, (4, 3), **parameters)
    batch = tensor(y_true if y_true.dtype.kind == "i" else y_true.astype("float32")), tensor(y_pred.astype("float32"))
    both = grad_and_hessian(loss_of(name, **parameters), floor=1e-3)
    for traced, plain in zip(compiled(both)(*batch), both(*batch), strict=True):
        np.testing.assert_allclose(host(traced), host(plain), 1e-5, 1e-6)


def test_labels_out_of_range_are_nan_inside_a_trace(backend, tensor, host, compiled):
    if backend.name == "numpy":
        return  # which has no trace, and raises
    both = compiled(grad_and_hessian(losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")))
    gradient, hessian = both(tensor([0, 7]), tensor([[0.0, 1.0], [0.0, 1.0]]))
    for each in (gradient, hessian):
        assert np.isfinite(host(each)[0]).all()
        assert np.isnan(host(each)[1]).all()


def test_sums_and_named_inputs_have_derivatives(backend, tensor, host, float64):
    def against(y_true, y_pred, *, teacher):
        return K.mean(K.square(y_pred - teacher), axis=-1)

    y_true, y_pred, teacher = (np.array(each) for each in ([[0.0], [1.0]], [[0.3], [-2.0]], [[1.0], [2.0]]))
    loss = 3.0 * losses.BinaryCrossentropy(from_logits=True) + losses.LossFunctionWrapper(against)
    weights = np.array([1.0, 2.0])
    found = grad_and_hessian(loss)(tensor(y_true), tensor(y_pred), tensor(weights), teacher=tensor(teacher))
    p = 1 / (1 + np.exp(-y_pred))
    w = weights[:, None] / 2
    np.testing.assert_allclose(host(found[0]), w * (3 * (p - y_true) + 2 * (y_pred - teacher)))
    np.testing.assert_allclose(host(found[1]), w * (3 * p * (1 - p) + 2))
    with pytest.raises(_errors.NamedInputError, match="teacher"):
        grad_and_hessian("mse")(tensor(y_true), tensor(y_pred), teacher=tensor(teacher))


@pytest.mark.backends("jax")  # whose value_and_grad can be nested, as the formula of the interface asks
def test_hessian_products_equal_the_formula_of_the_interface(backend, tensor, host):
    x, vectors = tensor([1.0, -2.0, 0.5]), [tensor([1.0, 0.0, 2.0]), tensor([0.0, 3.0, 1.0])]

    def fn(x):
        return K.sum(K.exp(x) * K.sum(K.square(x)))

    found = backend.grad_and_hessian_products(fn, x, vectors)
    derived = Backend.grad_and_hessian_products(backend, fn, x, vectors)
    np.testing.assert_allclose(host(found[0]), host(derived[0]), 1e-5)
    for one, other in zip(found[1], derived[1], strict=True):
        np.testing.assert_allclose(host(one), host(other), 1e-5)
    np.testing.assert_allclose(host(Backend.grad_and_hessian_products(backend, fn, x, [])[0]), host(found[0]), 1e-5)
