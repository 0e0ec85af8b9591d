"""Circle loss: the samples of a batch are each other's references."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import Objective, _errors, grad, losses, metrics, value_and_grad
from multiloss import backend as K
from multiloss.testing import DIFFERENCES, assert_close

IDS = np.array([5, -3, 5, 2**31 - 1, -3, 5], np.int32)
_rng = np.random.default_rng(0)
EMBEDDINGS = _rng.normal(size=(6, 4))
EMBEDDINGS *= 0.95 / np.linalg.norm(EMBEDDINGS, axis=-1, keepdims=True)


def by_pairs(ids, embeddings, ref_ids=None, refs=None, *, same=True, gamma=80.0, margin=0.4):
    """Return the loss of each anchor from its pairs, one by one."""
    ref_ids, refs = (ids if ref_ids is None else ref_ids), (embeddings if refs is None else refs)
    result = []
    for i, anchor in enumerate(embeddings):
        positive, negative = [], []
        for j, reference in enumerate(refs):
            d = max(1 - float(anchor @ reference), 0.0)
            if ids[i] != ref_ids[j]:
                negative.append(gamma * max(1 + margin - d, 0) * (1 - margin - d))
            elif not (same and i == j):
                positive.append(-gamma * max(margin + d, 0) * (margin - d))
        both = positive and negative
        total = np.logaddexp.reduce(positive) + np.logaddexp.reduce(negative) if both else -np.inf
        result.append(np.logaddexp(0.0, total))
    return np.array(result)


def test_the_golden_value(backend, tensor, host):
    embeddings = tensor(np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32))
    values = host(losses.circle(tensor(np.array([0, 0, 1])), embeddings))
    assert_close(values.sum(), 188.8, "float32")
    assert values[2] == 0  # it has no other of its identity, and means do not divide by it
    assert_close(host(losses.Circle()(tensor(np.array([0, 0, 1])), embeddings)), 94.4, "float32")
    weight = tensor(np.array([1.0, 3.0, 5.0], np.float32))
    for reduction, denominator in {"sum": 1, "sum_over_batch_size": 2, "mean_with_sample_weight": 4}.items():
        weighted = losses.Circle(reduction=reduction)(tensor(np.array([0, 0, 1])), embeddings, weight)
        assert_close(host(weighted), (83.2 + 3 * 105.6) / denominator, "float32")


@pytest.mark.parametrize("options", [{}, {"gamma": 3.0}, {"margin": 0.1}, {"gamma": 2, "margin": 0.0}])
def test_the_value_is_that_of_its_pairs(options, backend, tensor, host, float64):
    assert_close(
        host(losses.circle(tensor(IDS), tensor(EMBEDDINGS), **options)), by_pairs(IDS, EMBEDDINGS, **options), "float64"
    )


def test_the_diagonal_can_stay(backend, tensor, host, float64):
    values = host(losses.circle(tensor(IDS), tensor(EMBEDDINGS), remove_diagonal=False))
    assert_close(values, by_pairs(IDS, EMBEDDINGS, same=False), "float64")
    assert values[3] > 0  # alone but for itself


@pytest.mark.parametrize("how", ["function", "class"])
def test_references_can_come_from_elsewhere(how, backend, tensor, host, float64):
    ref_ids, refs = np.array([5, -3, 2, 5, 7, 7, -3, 5]), np.random.default_rng(1).normal(size=(8, 4)) / 3
    loss = losses.circle if how == "function" else losses.Circle(reduction="none")
    values = host(loss(tensor(IDS), tensor(EMBEDDINGS), ref_labels=tensor(ref_ids), ref_embeddings=tensor(refs)))
    assert_close(values, by_pairs(IDS, EMBEDDINGS, ref_ids, refs), "float64")
    host_data = loss(tensor(IDS), tensor(EMBEDDINGS), ref_labels=ref_ids.tolist(), ref_embeddings=refs.tolist())
    assert_close(host(host_data), values, "float32")


def test_the_references_get_a_gradient_too(backend, tensor, host, float64):
    refs = np.random.default_rng(1).normal(size=(6, 4)) / 3

    def total(refs):
        return K.sum(losses.circle(tensor(IDS), tensor(EMBEDDINGS), ref_embeddings=refs, gamma=3.0))

    _, gradient = value_and_grad(total)(tensor(refs))
    numeric = np.zeros_like(refs)
    for index in np.ndindex(refs.shape):
        sides = []
        for sign in (1, -1):
            moved = np.array(refs)
            moved[index] += sign * 1e-6
            sides.append(by_pairs(IDS, EMBEDDINGS, refs=moved, gamma=3.0).sum())
        numeric[index] = (sides[0] - sides[1]) / 2e-6
    assert_close(host(gradient), numeric, "float64", table=DIFFERENCES)


@pytest.mark.parametrize("how", ["mask", "sample_weight", "function"])
def test_a_sample_that_is_not_there_is_no_reference_either(how, backend, tensor, host):
    there = np.array([True, True, False, True, True, True])
    ids, embeddings = np.array(IDS), EMBEDDINGS.astype(np.float32)
    ids[2], embeddings[2] = -3, np.nan
    expected, expected_gradient = value_and_grad(losses.Circle(reduction="sum"))(
        tensor(IDS[there]), tensor(EMBEDDINGS[there].astype(np.float32))
    )
    mask = tensor(there if how != "sample_weight" else there.astype(np.float32))
    options = {"mask": mask} if how != "sample_weight" else {"sample_weight": mask}
    loss = losses.circle if how == "function" else losses.Circle(reduction="none")
    values = loss(tensor(ids), tensor(embeddings), **options)
    gradient = grad(lambda x: K.sum(loss(tensor(ids), x, **options)))(tensor(embeddings))
    assert_close(host(values).sum(), host(expected), "float32")
    assert_close(host(gradient)[there], host(expected_gradient), "float32")
    assert host(values)[2] == 0
    assert not host(gradient)[2].any()
    assert not np.allclose(host(values)[there], by_pairs(IDS, EMBEDDINGS)[there])


@pytest.mark.parametrize("ids", [np.zeros(6, int), np.arange(6)])
def test_without_positives_or_negatives_value_and_gradient_are_0(ids, backend, tensor, host):
    value, gradient = value_and_grad(losses.Circle())(tensor(ids), tensor(EMBEDDINGS.astype(np.float32)))
    assert host(value) == 0
    assert not host(gradient).any()


def test_without_any_reference_it_is_0(backend, tensor, host):
    nothing = {"ref_labels": tensor(np.zeros(0, int)), "ref_embeddings": tensor(np.zeros((0, 4), np.float32))}
    values = host(losses.circle(tensor(IDS), tensor(EMBEDDINGS.astype(np.float32)), **nothing))
    assert values.tolist() == [0] * 6


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "bool"])
def test_identities_of_any_dtype_are_compared_as_integers(dtype, backend, tensor, host):
    ids = np.array([1, 0, 1, 0, 0, 1]).astype(dtype)
    embeddings = tensor(EMBEDDINGS.astype(np.float32))
    expected = by_pairs(ids.astype(int), EMBEDDINGS)
    assert_close(host(losses.circle(tensor(ids), embeddings)), expected, "float32")
    assert_close(host(losses.circle(tensor(ids[:, None]), embeddings)), expected, "float32")
    mixed = losses.circle(tensor(ids), embeddings, ref_labels=tensor(ids.astype(np.int32)))
    assert_close(host(mixed), expected, "float32")


@pytest.mark.parametrize(
    ("ids", "shape", "options", "error", "message"),
    [
        ([1, 2.5], (2, 4), {}, _errors.LabelError, r"y_true\[1\] is 2.5"),
        ([1, float("nan")], (2, 4), {}, _errors.LabelError, r"y_true\[1\] is nan"),
        ([1, 2], (2, 4), {"ref_labels": [1.0, 1.5]}, _errors.LabelError, r"ref_labels\[1\] is 1.5"),
        ([1, 2, 3], (2, 4), {}, _errors.ShapeError, r"y_true has shape \(3,\)"),
        ([1, 2], (2,), {}, _errors.ShapeError, r"y_pred has shape \(2,\)"),
        ([1, 2], (2, 2, 4), {}, _errors.ShapeError, r"y_pred has shape \(2, 2, 4\)"),
        ([1, 2], (2, 4), {"ref_labels": [1, 2, 3]}, _errors.ShapeError, r"ref_labels has shape \(3,\)"),
        ([1, 2], (2, 4), {"ref_embeddings": [[0.0] * 4] * 3}, _errors.ShapeError, "Pass ref_labels="),
        ([1, 2], (2, 4), {"ref_embeddings": [[0.0] * 3] * 2}, _errors.ShapeError, r"Expected \(M, 4\)"),
    ],
)
def test_what_means_nothing_is_refused(ids, shape, options, error, message, backend, tensor):
    with pytest.raises(error, match=message):
        losses.circle(tensor(ids), tensor(np.ones(shape, np.float32)), **options)


def test_an_identity_that_is_no_whole_number_is_a_nan_row_inside_a_trace(backend, tensor, host, compiled):
    if backend.name == "numpy":
        return  # values are always at hand
    values = host(
        compiled(losses.circle)(tensor(np.array([1, 0.5, 1, 2], np.float32)), tensor(np.eye(4, dtype="float32")))
    )
    assert np.isnan(values).tolist() == [False, True, False, False]


def test_an_objective_and_a_metric_average_over_anchors(backend, tensor, host):
    ids, embeddings = tensor(IDS), tensor(EMBEDDINGS.astype(np.float32))
    expected = by_pairs(IDS, EMBEDDINGS).sum() / 5  # one of six is alone
    objective = Objective(loss="circle")
    assert_close(host(objective(ids, embeddings)), expected, "float32")
    metric = metrics.MeanMetricWrapper(losses.circle)
    metric.update_state(ids, embeddings)
    assert_close(float(metric.result()), expected, "float32")


def test_the_class_has_the_defaults_of_keras():
    loss = losses.Circle()
    assert (loss.gamma, loss.margin, loss.remove_diagonal, loss.name) == (80.0, 0.4, True, "circle")
    assert losses.get("circle") is losses.circle
    assert losses.serialize(losses.Circle(3.0, 0.2, False))["module"] == "keras.losses"
