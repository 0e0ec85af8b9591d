"""Where options meet each other, logits of all sizes, and labels of any kind, a cross-entropy keeps its digits."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import value_and_grad
from multiloss.losses import CategoricalCrossentropy, LinearCrossentropy, SparseCategoricalCrossentropy
from tests.crossentropy.reference import reference

pytestmark = pytest.mark.needs("gradients")

FORMS = ["few logits", "many logits", "hidden states"]


def loss_of(form, soft, reduction="sum", **options):
    """Return a loss of labels and logits; the logits are hidden states with an identity for the weight in one form."""
    if form == "hidden states":
        loss = LinearCrossentropy(reduction, **options)
        return lambda y_true, logits, *weights, identity: loss(y_true, logits, *weights, weight=identity)
    cls = CategoricalCrossentropy if soft else SparseCategoricalCrossentropy
    loss = cls(from_logits=True, reduction=reduction, **options)
    return lambda y_true, logits, *weights, identity: loss(y_true, logits, *weights)


def logits_for(form, rows, seed=0):
    classes = 30 if form != "many logits" else 6000
    return np.random.default_rng(seed).normal(size=(rows, classes)).astype("float32")


def identity_for(form, classes, tensor, dtype="float32"):
    return tensor(np.eye(classes, dtype=dtype)) if form == "hidden states" else None


@pytest.mark.parametrize("soft", [False, True], ids=["sparse", "soft"])
@pytest.mark.parametrize("form", FORMS)
def test_a_class_without_weight_keeps_its_rows_out_beside_weights_of_samples(form, soft, backend, tensor, host):
    logits = logits_for(form, 3)
    classes = logits.shape[1]
    class_weight = np.linspace(0.5, 1.5, classes).astype("float32")
    class_weight[1] = 0.0
    labels, sample_weight = np.array([4, 1, 0]), np.array([2.0, 3.0, 1.0], "float32")
    values, slopes = reference(labels, logits, [2.0, 0.0, 1.0], class_weight=class_weight, z_loss=0.01)
    logits[1] = np.nan
    y_true = tensor(np.eye(classes, dtype="float32")[labels] if soft else labels)
    identity, weights = identity_for(form, classes, tensor), tensor(sample_weight)
    divisors = {"sum": 1.0, "mean": 3.0, "mean_with_sample_weight": (sample_weight * class_weight[labels]).sum()}
    for reduction, divisor in divisors.items():
        loss = loss_of(form, soft, reduction, class_weight=tensor(class_weight), z_loss=0.01)
        value, gradient = value_and_grad(lambda logits, loss=loss: loss(y_true, logits, weights, identity=identity))(
            tensor(logits)
        )
        np.testing.assert_allclose(host(value), values.sum() / divisor, rtol=2e-6)
        np.testing.assert_allclose(host(gradient), slopes / divisor, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("soft", [False, True], ids=["sparse", "soft"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_label_may_be_as_far_below_the_largest_logit_as_the_dtype_reaches(
    dtype, form, soft, backend, tensor, host, float64
):
    logits = np.zeros_like(logits_for(form, 5), dtype=dtype)
    low, high = (-55.0, 66.0) if dtype == "float32" else (-500.0, 650.0)
    logits[:, 0], logits[:, 1] = [low, low, low, high, 0.0], [high, -low, 0.0, low, high]
    labels = np.zeros(5, int)
    values, slopes = reference(labels, logits)
    classes = logits.shape[1]
    y_true = tensor(np.eye(classes, dtype=dtype)[labels] if soft else labels)
    identity = identity_for(form, classes, tensor, dtype)
    loss = loss_of(form, soft, "none")
    np.testing.assert_allclose(host(loss(y_true, tensor(logits), identity=identity)), values, rtol=1e-6)
    _, gradient = value_and_grad(lambda z: loss(y_true, z, identity=identity).sum())(tensor(logits))
    np.testing.assert_allclose(host(gradient), slopes, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("margin", [20, 28, 60])
@pytest.mark.parametrize("form", FORMS)
def test_a_confident_row_of_one_hot_labels_keeps_the_digits_of_its_gradient(form, margin, backend, tensor, host):
    logits = logits_for(form, 4)
    labels = np.array([3, 0, logits.shape[1] - 1, 7])
    logits[np.arange(4), labels] += margin
    _, slopes = reference(labels, logits)
    y_true = tensor(np.eye(logits.shape[1], dtype="float32")[labels])
    identity = identity_for(form, logits.shape[1], tensor)
    loss = loss_of(form, True)
    _, gradient = value_and_grad(lambda z: loss(y_true, z, identity=identity))(tensor(logits))
    np.testing.assert_allclose(
        host(gradient)[np.arange(4), labels], slopes[np.arange(4), labels], rtol=1e-5, atol=1e-36
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels", ["bool", "int32", "float16", "float32"])
def test_labels_of_few_digits_are_smoothed_with_all_of_the_logits(labels, form, backend, tensor, host, float64):
    logits = logits_for(form, 3).astype("float64")
    classes = logits.shape[1]
    soft = np.eye(classes)[[0, 5, 9]] if labels in ("bool", "int32") else np.random.default_rng(1).random((3, classes))
    soft = soft.astype(labels)
    values, _ = reference(soft.astype("float64"), logits, label_smoothing=0.1)
    identity = identity_for(form, classes, tensor, "float64")
    found = loss_of(form, True, "none", label_smoothing=0.1)(tensor(soft), tensor(logits), identity=identity)
    np.testing.assert_allclose(host(found), values, rtol=1e-12)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_of_the_largest_of_many_small_shares_keeps_its_digits(form, backend, tensor, host):
    classes = 6000
    logits = np.random.default_rng(0).normal(size=(3, classes)).astype("float32") * 1e-3
    soft = np.random.default_rng(1).random((3, classes)).astype("float32")
    z = logits.astype("float64")
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    t = soft.astype("float64")
    slopes = p * t.sum(1, keepdims=True) - t
    identity = identity_for(form, classes, tensor)
    loss = loss_of(form, True)
    _, gradient = value_and_grad(lambda z: loss(soft, z, identity=identity))(logits)
    top = np.arange(3), z.argmax(1)
    np.testing.assert_allclose(host(gradient)[top], slopes[top], rtol=1e-5)


@pytest.mark.parametrize("soft", [False, True], ids=["sparse", "soft"])
@pytest.mark.parametrize("form", FORMS[:2])
@pytest.mark.parametrize("label", [0, 1])
def test_a_logit_of_inf_is_no_number_and_spoils_its_row_alone(label, form, soft, backend, tensor, host):
    logits = logits_for(form, 3)
    labels = np.array([2, label, 1])
    values, slopes = reference(labels, logits)
    logits[1, 0] = np.inf
    y_true = tensor(np.eye(logits.shape[1], dtype="float32")[labels] if soft else labels)
    found = host(loss_of(form, soft, "none")(y_true, tensor(logits), identity=None))
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2]], values[[0, 2]], rtol=2e-6)
    _, gradient = value_and_grad(lambda logits: loss_of(form, soft)(y_true, logits, identity=None))(tensor(logits))
    assert np.isnan(host(gradient)[1]).any()
    np.testing.assert_allclose(host(gradient)[[0, 2]], slopes[[0, 2]], rtol=2e-5, atol=1e-7)
    weights = tensor(np.array([1.0, 0.0, 1.0], "float32"))
    value, gradient = value_and_grad(lambda logits: loss_of(form, soft)(y_true, logits, weights, identity=None))(
        tensor(logits)
    )
    np.testing.assert_allclose(host(value), values[[0, 2]].sum(), rtol=2e-6)
    assert not host(gradient)[1].any()
