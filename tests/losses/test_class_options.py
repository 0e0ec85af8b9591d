"""Class weights, ignored classes, label smoothing and weights of positive labels, against their formulas in NumPy."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from multiloss import _errors, losses, metrics, value_and_grad
from multiloss.testing import assert_close
from tests.contract.facts import value_and_gradient

RNG = np.random.default_rng(7)
N, T, C = 5, 3, 4
LABELS = RNG.integers(0, C, size=(N, T))
LOGITS = RNG.normal(size=(N, T, C)) * 2
PROBABILITIES = RNG.dirichlet(np.ones(C), size=(N, T))
YES_OR_NO = RNG.choice([0.0, 1.0, 0.3, 1.0, 0.0], size=(N, C))
WEIGHTS = [0.5, 2.0, 0.0, 3.0]
SAMPLE_WEIGHT = np.array([1.0, 0.0, 2.0, 0.5, 1.0])
MASK = np.array([True, True, True, False, True])
REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight")
WEIGHED = ("sum_over_batch_size", "mean_with_sample_weight")

SPARSE = {
    "SparseCategoricalCrossentropy": "CategoricalCrossentropy",
    "SparseCategoricalFocalCrossentropy": "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy": None,
}
EXCLUSIVE = [*SPARSE, "CategoricalCrossentropy", "CategoricalFocalCrossentropy"]
BINARY = ["BinaryCrossentropy", "BinaryFocalCrossentropy"]


def nats(name, predictions, from_logits):
    """Return what each class would cost as the label."""
    if name == "CategoricalGeneralizedCrossEntropy":
        return (1 - predictions**0.5) / 0.5
    if from_logits:
        shifted = predictions - predictions.max(-1, keepdims=True)
        log_q = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    else:
        log_q = np.log(np.clip(predictions / predictions.sum(-1, keepdims=True), 1e-7, 1 - 1e-7))
    return 0.25 * (1 - np.exp(log_q)) ** 2 * -log_q if "Focal" in name else -log_q


def reduced(values, divisor, kept, reduction, sample_weight=None):
    """Return the reduced value of samples that are weighted by their classes already."""
    weight = np.ones(values.shape[0]) if sample_weight is None else sample_weight
    weight = np.broadcast_to(weight[:, None] if values.ndim == 2 else weight, values.shape) * kept
    total = (np.where(kept, values, 0) * weight).sum()
    by = {"sum": 1.0, "sum_over_batch_size": kept.sum(), "mean_with_sample_weight": (weight * divisor).sum()}
    return total / by[reduction]


def exclusive(name, labels, predictions, *, from_logits=False, smoothing=0.0, weights=None, ignored=None):
    """Return values, weights by class, and what is kept."""
    weights = np.ones(C) if weights is None else np.asarray(weights)
    hot = np.eye(C)[np.where((labels >= 0) & (labels < C), labels, 0)]
    target = hot * (1 - smoothing) + smoothing / C
    values = (weights * target * nats(name, predictions, from_logits)).sum(-1)
    kept = np.ones(labels.shape, bool) if ignored is None else labels != ignored
    return np.where(kept, values, 0.0), (weights * hot).sum(-1), kept


COMBINATIONS = [
    {"smoothing": smoothing, "weights": weights, "ignored": ignored}
    for smoothing, weights, ignored in (
        *((0.0, WEIGHTS, None), (0.0, WEIGHTS, 1), (0.2, None, None)),
        *((0.2, None, 1), (0.2, WEIGHTS, 1), (1.0, WEIGHTS, None)),
    )
]


def options(smoothing, weights, ignored):
    return {"label_smoothing": smoothing, "class_weight": weights, "ignore_class": ignored}


# ── Exclusive classes ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("name", SPARSE)
def test_the_value_is_that_of_the_formula(name, from_logits, combination, backend, tensor, host, float64):
    if from_logits and name == "CategoricalGeneralizedCrossEntropy":
        return
    given = options(**combination) | ({"from_logits": True} if from_logits else {})
    predictions = LOGITS if from_logits else PROBABILITIES
    values, divisor, kept = exclusive(name, LABELS, predictions, from_logits=from_logits, **combination)
    cls = getattr(losses, name)
    y_true, y_pred = tensor(LABELS), tensor(predictions)
    assert_close(host(cls(reduction="none", **given)(y_true, y_pred)), values, "float64")
    assert_close(host(cls().fn(y_true, y_pred, **given)), values, "float64")
    for reduction in WEIGHED:
        loss = cls(reduction=reduction, **given)
        assert_close(host(loss(y_true, y_pred)), reduced(values, divisor, kept, reduction), "float64")
        expected = reduced(values, divisor, kept & MASK[:, None], reduction, SAMPLE_WEIGHT)
        assert_close(host(loss(y_true, y_pred, tensor(SAMPLE_WEIGHT), tensor(MASK))), expected, "float64")


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("name", [name for name, other in SPARSE.items() if other])
def test_class_indices_give_what_one_hot_labels_give(name, from_logits, combination, backend, tensor, float64):
    for axis in (-1, 1):
        given = options(**combination) | {
            "from_logits": from_logits,
            "axis": axis,
            "reduction": "mean_with_sample_weight",
        }
        predictions = np.moveaxis(LOGITS if from_logits else PROBABILITIES, -1, axis)
        hot = np.moveaxis(np.eye(C)[LABELS], -1, axis)
        rest = tensor(SAMPLE_WEIGHT), tensor(MASK)
        one = value_and_gradient(getattr(losses, name)(**given), tensor(LABELS), tensor(predictions), *rest)
        other = value_and_gradient(getattr(losses, SPARSE[name])(**given), tensor(hot), tensor(predictions), *rest)
        assert_close(one[0], other[0], "float64")
        assert_close(one[1], other[1], "float64")


def test_soft_labels_weigh_by_their_shares(backend, tensor, host, float64):
    soft = np.random.default_rng(3).dirichlet(np.ones(C), size=N)
    loss = losses.CategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight", class_weight=WEIGHTS)
    each = nats("", LOGITS[:, 0], True)
    expected = (WEIGHTS * soft * each).sum() / (WEIGHTS * soft).sum()
    assert_close(host(loss(tensor(soft), tensor(LOGITS[:, 0]))), expected, "float64")


def test_a_sample_of_soft_labels_is_ignored_by_the_class_that_has_most_of_it(backend, tensor, host):
    soft = np.array([[0.6, 0.4], [0.4, 0.6], [0.5, 0.5]], np.float32)
    values = host(losses.categorical_crossentropy(tensor(soft), tensor(soft), ignore_class=0))
    assert (values == 0).tolist() == [True, False, False]
    loss = losses.CategoricalCrossentropy(ignore_class=0)
    assert_close(host(loss(tensor(soft), tensor(soft))), values.sum() / 2, "float32")


@pytest.mark.parametrize(
    "weights",
    [dict(enumerate(WEIGHTS)), {"3": 3.0, "0": 0.5, "2": 0.0, "1": 2}, tuple(WEIGHTS), np.array(WEIGHTS)],
    ids=str,
)
@pytest.mark.parametrize("name", EXCLUSIVE)
def test_weights_are_a_dict_a_sequence_or_a_tensor(name, weights, backend, tensor, host):
    cls = getattr(losses, name)
    y_true = LABELS if name in SPARSE else np.eye(C, dtype=np.float32)[LABELS]
    y_true, y_pred = tensor(y_true), tensor(PROBABILITIES.astype(np.float32))
    expected = host(cls(class_weight=WEIGHTS)(y_true, y_pred))
    assert_close(host(cls(class_weight=weights)(y_true, y_pred)), expected, "float32")
    if hasattr(weights, "dtype"):
        weights = tensor(weights.astype(np.float32))
        assert_close(host(cls(class_weight=weights)(y_true, y_pred)), expected, "float32")
    values = host(cls(class_weight=WEIGHTS, reduction="none")(y_true, y_pred))
    assert_close(host(cls().fn(y_true, y_pred, class_weight=weights)), values, "float32")


@pytest.mark.parametrize("name", EXCLUSIVE)
def test_equal_weights_change_no_weighted_mean(name, backend, tensor, host):
    y_true = LABELS if name in SPARSE else np.eye(C, dtype=np.float32)[LABELS]
    given = tensor(y_true), tensor(PROBABILITIES.astype(np.float32))
    cls = getattr(losses, name)
    weighted = cls(reduction="mean_with_sample_weight", class_weight=[3.0] * C, label_smoothing=0.1)
    assert_close(host(weighted(*given)), host(cls(label_smoothing=0.1)(*given)), "float32")


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", EXCLUSIVE)
def test_what_has_no_weight_by_its_class_reaches_nothing(name, label_smoothing, backend, tensor):
    """With smoothed labels a sample has a share of the other classes, unless it is ignored."""
    labels = np.array([0, 2, 1, 2, 3])
    given = {"class_weight": WEIGHTS, "reduction": "mean_with_sample_weight", "label_smoothing": label_smoothing}
    given |= {"ignore_class": 2} if label_smoothing else {}
    y_true = labels if name in SPARSE else np.eye(C, dtype=np.float32)[labels]
    kept = labels != 2
    y_pred = PROBABILITIES[:, 0].astype(np.float32)
    broken = np.where(kept[:, None], y_pred, np.float32(np.nan))
    loss = getattr(losses, name)(**given)
    value, gradient = value_and_gradient(loss, tensor(y_true), tensor(broken))
    expected, expected_gradient = value_and_gradient(loss, tensor(y_true[kept]), tensor(y_pred[kept]))
    assert_close(value, expected, "float32")
    assert_close(gradient[kept], expected_gradient, "float32")
    assert not gradient[~kept].any()


@pytest.mark.parametrize("name", EXCLUSIVE)
def test_nothing_but_weight_0_is_0(name, backend, tensor):
    y_true = LABELS if name in SPARSE else np.eye(C, dtype=np.float32)[LABELS]
    for reduction in REDUCTIONS:
        loss = getattr(losses, name)(reduction=reduction, class_weight=[0.0] * C)
        value, gradient = value_and_gradient(loss, tensor(y_true), tensor(PROBABILITIES.astype(np.float32)))
        assert value == 0
        assert not gradient.any()


@pytest.mark.parametrize("name", SPARSE)
def test_a_label_that_does_not_count_needs_no_weight(name, backend, tensor, host):
    labels = np.array([255, 0, -100, 3, 1])
    mask = np.array([True, True, False, True, True])
    y_pred = PROBABILITIES[:, 0].astype(np.float32)
    kept = np.array([1, 3, 4])
    loss = getattr(losses, name)(ignore_class=255, class_weight=WEIGHTS, reduction="mean_with_sample_weight")
    expected = host(loss(tensor(labels[kept]), tensor(y_pred[kept])))
    assert_close(host(loss(tensor(labels), tensor(y_pred), mask=tensor(mask))), expected, "float32")


def test_an_infinite_loss_of_a_class_without_weight_is_0(backend, tensor, host):
    logits = np.array([[0.0, -np.inf, 1.0]], np.float32)
    for label_smoothing in (0.0, 0.1):
        given = {"from_logits": True, "class_weight": [1.0, 0.0, 1.0], "label_smoothing": label_smoothing}
        sparse = host(losses.sparse_categorical_crossentropy(tensor(np.array([0])), tensor(logits), **given))
        hot = host(losses.categorical_crossentropy(tensor(np.eye(3, dtype=np.float32)[[0]]), tensor(logits), **given))
        assert np.isfinite(sparse).all()
        assert_close(sparse, hot, "float32")


# ── Yes-or-no labels ────────────────────────────────────────────────────────────────────────────────────────────


def elementwise(name, y, p, from_logits, smoothing=0.0, weights=None, positive=None, ignored=None):
    """Return values, weights by class, and what is kept, of rows."""
    weights = (1.0, 1.0) if weights is None else weights
    positive = 1.0 if positive is None else np.asarray(positive)
    target = y * (1 - smoothing) + smoothing / 2
    p = 1 / (1 + np.exp(-p)) if from_logits else np.clip(p, 1e-7, 1 - 1e-7)
    each = -(positive * target * np.log(p) + (1 - target) * np.log(1 - p))
    if "Focal" in name:
        each = each * (target * (1 - p) + (1 - target) * p) ** 2
    weight = y * weights[1] + (1 - y) * weights[0]
    counts = np.ones(y.shape, bool) if ignored is None else y != ignored
    count = np.maximum(counts.sum(-1), 1)
    return (each * weight * counts).sum(-1) / count, (weight * counts).sum(-1) / count, counts.any(-1)


BINARY_COMBINATIONS = [
    {"smoothing": smoothing, "weights": weights, "positive": positive, "ignored": ignored}
    for smoothing, weights, positive, ignored in (
        *((0.0, (0.5, 2.0), None, None), (0.0, (0.0, 2.0), None, None), (0.3, (0.5, 2.0), None, None)),
        *((0.0, None, 3.0, None), (0.2, None, [0.5, 1.0, 4.0, 0.0], None), (0.0, None, [0.5, 1.0, 4.0, 0.0], None)),
        *(
            (0.0, None, None, 0),
            (0.0, None, None, 1),
            (0.2, (0.5, 2.0), 1e-6, 1),
            (0.1, (3.0, 0.0), [1.0, 2.0, 3.0, 4.0], 0),
        ),
    )
]


@pytest.mark.parametrize("combination", BINARY_COMBINATIONS, ids=str)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("name", BINARY)
def test_the_value_of_yes_or_no_is_that_of_the_formula(name, from_logits, combination, backend, tensor, host, float64):
    y = YES_OR_NO.copy()
    y[1] = 1.0  # a sample that may be ignored as a whole
    p = LOGITS[:, 0] if from_logits else PROBABILITIES[:, 0]
    values, divisor, kept = elementwise(name, y, p, from_logits, **combination)
    given = {
        "from_logits": from_logits,
        "label_smoothing": combination["smoothing"],
        "class_weight": combination["weights"],
        "pos_weight": combination["positive"],
        "ignore_class": combination["ignored"],
    }
    cls = getattr(losses, name)
    y_true, y_pred = tensor(y), tensor(p)
    assert_close(host(cls(reduction="none", **given)(y_true, y_pred)), values, "float64")
    assert_close(host(cls().fn(y_true, y_pred, **given)), values, "float64")
    for reduction in WEIGHED:
        loss = cls(reduction=reduction, **given)
        assert_close(host(loss(y_true, y_pred)), reduced(values, divisor, kept, reduction), "float64")
        expected = reduced(values, divisor, kept & MASK, reduction, SAMPLE_WEIGHT)
        assert_close(host(loss(y_true, y_pred, tensor(SAMPLE_WEIGHT), tensor(MASK))), expected, "float64")


@pytest.mark.parametrize("name", BINARY)
def test_an_ignored_element_reaches_nothing(name, backend, tensor):
    y = np.where(np.arange(N * C).reshape(N, C) % 3 == 1, -1.0, YES_OR_NO).astype(np.float32)
    y[2] = -1.0
    p = PROBABILITIES[:, 0].astype(np.float32)
    broken = np.where(y == -1, np.float32(np.nan), p)
    cls = getattr(losses, name)
    value, gradient = value_and_gradient(cls(ignore_class=-1), tensor(y), tensor(broken))
    rows = [row for row in range(N) if row != 2]
    each = [
        value_and_gradient(cls(), tensor(y[row][y[row] != -1][None]), tensor(p[row][y[row] != -1][None]))
        for row in rows
    ]
    assert_close(value, np.mean([one for one, _ in each]), "float32")
    assert_close(gradient[y != -1], np.concatenate([one[0] for _, one in each]) / len(rows), "float32")
    assert not gradient[y == -1].any()


@pytest.mark.parametrize("given", [{"class_weight": {0: 0.0, 1: 2.0}}, {"pos_weight": 0.0}], ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_an_element_without_weight_reaches_nothing(name, given, backend, tensor):
    y = np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]], np.float32)
    without = y == (0 if "class_weight" in given else 1)
    p = PROBABILITIES[:2, 0].astype(np.float32)
    loss = getattr(losses, name)(**given)
    value, gradient = value_and_gradient(loss, tensor(y), tensor(np.where(without, np.float32(np.nan), p)))
    expected, expected_gradient = value_and_gradient(loss, tensor(y), tensor(p))
    assert_close(value, expected, "float32")
    assert_close(gradient, expected_gradient, "float32")
    assert not gradient[without].any()
    assert gradient[~without].all()


@pytest.mark.parametrize("name", BINARY)
def test_single_values_are_ignored_one_by_one(name, backend, tensor, host):
    y, p = np.array([0.0, 1.0, -1.0, 1.0], np.float32), np.array([0.2, 0.7, np.nan, 0.4], np.float32)
    kept = y != -1
    cls = getattr(losses, name)
    values = host(cls(reduction="none", ignore_class=-1, class_weight=[1.0, 2.0])(tensor(y), tensor(p)))
    assert values.shape == (4,)
    assert values[2] == 0
    for reduction in WEIGHED:
        given = {"reduction": reduction, "class_weight": [1.0, 2.0]}
        expected = host(cls(**given)(tensor(y[kept]), tensor(p[kept])))
        assert_close(host(cls(ignore_class=-1, **given)(tensor(y), tensor(p))), expected, "float32")


def test_logits_far_out_are_weighted_in_log_space(backend, tensor):
    y, z = np.array([[0.0, 1.0, 0.0, 1.0]], np.float32), np.array([[-1e4, 1e4, 1e4, -1e4]], np.float32)
    loss = losses.BinaryCrossentropy(from_logits=True, pos_weight=3.0)
    value, gradient = value_and_gradient(loss, tensor(y), tensor(z))
    assert_close(value, np.float32(1e4), "float32")
    assert_close(gradient, np.array([[0.0, 0.0, 0.25, -0.75]], np.float32), "float32")


def test_the_axis_is_averaged_over_what_counts(backend, tensor, host, float64):
    values, _, _ = elementwise("", YES_OR_NO.T, PROBABILITIES[:, 0].T, False, weights=(0.5, 2.0), ignored=1)
    given = {"axis": 0, "class_weight": (0.5, 2.0), "ignore_class": 1}
    result = losses.binary_crossentropy(tensor(YES_OR_NO), tensor(PROBABILITIES[:, 0]), **given)
    assert_close(host(result), values, "float64")


# ── Parts, traces, metrics ──────────────────────────────────────────────────────────────────────────────────────

ALL = [
    *((name, {"class_weight": WEIGHTS, "ignore_class": 1, "label_smoothing": 0.1}) for name in EXCLUSIVE),
    *((name, {"class_weight": WEIGHTS}) for name in EXCLUSIVE),
    *((name, {"class_weight": (0.5, 2.0), "pos_weight": [1.0, 2.0, 3.0, 4.0], "ignore_class": 0}) for name in BINARY),
    *((name, {"class_weight": (0.0, 2.0), "label_smoothing": 0.1}) for name in BINARY),
]


def example(name, dtype="float32"):
    y_true = LABELS[:, 0] if name in SPARSE else np.eye(C, dtype=dtype)[LABELS[:, 0]]
    y_true = YES_OR_NO.astype(dtype) if name in BINARY else y_true
    return y_true, PROBABILITIES[:, 0].astype(dtype)


@pytest.mark.parametrize("reduction", WEIGHED)
@pytest.mark.parametrize(("name", "given"), ALL, ids=str)
def test_parts_of_a_batch_add_up(name, given, reduction, backend, tensor, host):
    loss = getattr(losses, name)(reduction=reduction, **given)
    y_true, y_pred = example(name)
    arrays = (y_true, y_pred, SAMPLE_WEIGHT.astype(np.float32))
    parts = [
        [host(each) for each in loss.partial(*(tensor(each[rows]) for each in arrays))]
        for rows in (slice(0, 2), slice(2, 3), slice(3, None))
    ]
    total, divisor = (sum(each) for each in zip(*parts, strict=True))
    assert_close(np.float32(total / divisor), host(loss(*map(tensor, arrays))), "float32")


@pytest.mark.parametrize(("name", "given"), ALL, ids=str)
def test_a_traced_call_gives_what_a_plain_one_gives(name, given, backend, tensor, host, compiled):
    loss = getattr(losses, name)(reduction="mean_with_sample_weight", **given)
    arguments = [tensor(each) for each in example(name)]
    assert_close(host(compiled(loss)(*arguments)), host(loss(*arguments)), "float32")
    weights = tensor(np.array(given["class_weight"], np.float32))
    rest = {key: value for key, value in given.items() if key != "class_weight"}

    def traced(y_true, y_pred, class_weight):
        return loss.fn(y_true, y_pred, class_weight=class_weight, **rest)

    expected = host(loss.fn(*arguments, **given))
    assert_close(host(compiled(traced)(*arguments, weights)), expected, "float32")


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize(("name", "given"), ALL, ids=str)
def test_samples_may_be_mapped_over(name, given, backend, tensor, host):
    fn = getattr(losses, name)().fn
    arguments = [tensor(each) for each in example(name)]
    expected = host(fn(*arguments, **given))

    def one(y_true, y_pred):
        return fn(y_true, y_pred, **given)

    if backend.name == "jax":
        import jax

        mapped = jax.vmap(one)
    else:
        import torch

        mapped = torch.func.vmap(one)
    assert_close(host(mapped(*arguments)), expected, "float32")


@pytest.mark.backends("jax")
@pytest.mark.parametrize("name", SPARSE)
def test_a_bad_label_is_nan_in_a_trace_whatever_class_0_weighs(name, backend, tensor, host):
    import jax

    loss = getattr(losses, name)(reduction="none", class_weight=[0.0, 1.0, 1.0, 1.0])
    values = host(jax.jit(loss)(tensor(np.array([0, 1, 4, -1])), tensor(PROBABILITIES[:4, 0].astype(np.float32))))
    assert np.isnan(values).tolist() == [False, False, True, True]
    assert values[0] == 0


def test_a_tensor_of_weights_is_no_constant(backend, tensor, host):
    """Two tensors through one compiled function: the second must not meet the numbers of the first."""
    y_true, y_pred = (tensor(each) for each in example("SparseCategoricalCrossentropy"))
    for factor in (1.0, 3.0):
        weights = tensor(np.array(WEIGHTS, np.float32) * np.float32(factor))
        loss = losses.SparseCategoricalCrossentropy(reduction="sum", class_weight=weights)
        plain = losses.SparseCategoricalCrossentropy(reduction="sum", class_weight=[factor * each for each in WEIGHTS])
        assert_close(host(loss(y_true, y_pred)), host(plain(y_true, y_pred)), "float32")
    for factor in (1.0, 3.0):
        alpha = tensor(np.array(WEIGHTS, np.float32) * np.float32(factor))
        values = host(losses.sparse_categorical_focal_crossentropy(y_true, y_pred, alpha=alpha))
        expected = host(
            losses.sparse_categorical_focal_crossentropy(y_true, y_pred, alpha=[factor * each for each in WEIGHTS])
        )
        assert_close(values, expected, "float32")


def test_weights_are_known_beside_a_gradient_of_the_function(backend, tensor, host):
    y_true, y_pred = (tensor(each) for each in example("SparseCategoricalCrossentropy"))
    for weights in (WEIGHTS, dict(enumerate(WEIGHTS)), tensor(np.array(WEIGHTS, np.float32))):
        fn = losses.sparse_categorical_crossentropy
        values, gradient = value_and_grad(fn)(y_true, y_pred, class_weight=weights)
        loss = losses.SparseCategoricalCrossentropy(reduction="none", class_weight=WEIGHTS)
        expected, expected_gradient = value_and_grad(loss)(y_true, y_pred)
        assert_close(host(values), host(expected), "float32")
        assert_close(host(gradient), host(expected_gradient), "float32")


METRICS = [
    (name, given)
    for name, given in ALL
    if name in ("BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy")
]


@pytest.mark.parametrize(("name", "given"), METRICS, ids=str)
def test_a_metric_is_the_weighted_mean_of_its_loss(name, given, backend, tensor, host):
    y_true, y_pred = example(name)
    loss = getattr(losses, name)(reduction="mean_with_sample_weight", **given)
    for rest in ((), (SAMPLE_WEIGHT.astype(np.float32),)):
        metric = getattr(metrics, name)(**given)
        arrays = (y_true, y_pred, *rest)
        for rows in (slice(0, 2), slice(2, None)):
            metric.update_state(*(tensor(each[rows]) for each in arrays))
        assert_close(host(metric.result()), host(loss(*map(tensor, arrays))), "float32")
    metric = getattr(metrics, name)(**given | {"class_weight": tensor(np.array(given["class_weight"], np.float32))})
    metric.update_state(tensor(y_true), tensor(y_pred))
    assert_close(host(metric.result()), host(loss(tensor(y_true), tensor(y_pred))), "float32")


# ── Configs and errors ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [*EXCLUSIVE, *BINARY])
def test_weights_go_through_json(name, backend, tensor, host):
    weights = WEIGHTS[: 2 if name in BINARY else C]
    arguments = [tensor(each) for each in example(name)]
    for given in (weights, tuple(weights), dict(enumerate(weights)), tensor(np.array(weights, np.float32))):
        loss = getattr(losses, name)(class_weight=given)
        config = json.loads(json.dumps(losses.serialize(loss)))
        for again in (losses.deserialize(config), copy.copy(loss)):
            assert again.get_config() == loss.get_config()
            assert host(again(*arguments)) == host(loss(*arguments))
    config = getattr(losses, name)(class_weight={1: weights[1], 0: weights[0], **dict(enumerate(weights))}).get_config()
    assert config["class_weight"] == dict(enumerate(weights))


def test_a_metric_with_weights_goes_through_json():
    metric = metrics.SparseCategoricalCrossentropy(class_weight={0: 1.0, 1: 2.0}, label_smoothing=0.1)
    again = metrics.deserialize(json.loads(json.dumps(metrics.serialize(metric))))
    assert again.get_config() == metric.get_config()
    assert float(again([1, 0], [[0.2, 0.8], [0.4, 0.6]])) == float(metric([1, 0], [[0.2, 0.8], [0.4, 0.6]]))


@pytest.mark.parametrize("package", [losses, metrics], ids=["losses", "metrics"])
@pytest.mark.parametrize("name", ["BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"])
def test_a_config_without_options_is_that_of_keras(package, name):
    new = {"class_weight", "pos_weight"} | ({"label_smoothing"} if "Sparse" in name else {"ignore_class"})
    assert not new & getattr(package, name)().get_config().keys()


@pytest.mark.parametrize("name", EXCLUSIVE)
def test_a_weight_of_positive_labels_is_refused_where_classes_exclude_each_other(name):
    cls = getattr(losses, name)
    with pytest.raises(TypeError, match=r"pos_weight.*class_weight="):
        cls(pos_weight=2.0)
    with pytest.raises(TypeError, match=r"pos_weight.*class_weight="):
        cls().fn([0], [[1.0]], pos_weight=2.0)
    with pytest.raises(TypeError, match="pos_weight"):
        losses.MeanSquaredError(pos_weight=2.0)


@pytest.mark.parametrize("weights", [[1.0, 2.0, 3.0], {0: 1.0, 1: 2.0, 2: 3.0}, np.ones(5), np.ones((C, 1))], ids=str)
@pytest.mark.parametrize("name", EXCLUSIVE)
def test_there_is_a_weight_for_each_class(name, weights, backend, tensor):
    y_true, y_pred = (tensor(each) for each in example(name))
    with pytest.raises(_errors.ArgumentError, match=r"class_weight has .*Expected 4"):
        getattr(losses, name)(class_weight=weights)(y_true, y_pred)


@pytest.mark.parametrize("name", BINARY)
def test_there_is_a_weight_for_no_and_yes_and_for_each_label(name, backend, tensor):
    y_true, y_pred = (tensor(each) for each in example(name))
    for given, expected in (
        ({"class_weight": [1.0, 2.0, 3.0]}, "class_weight has 3 entries. Expected 2"),
        ({"class_weight": [1.0]}, "class_weight has 1 entries. Expected 2"),
        ({"pos_weight": [1.0, 2.0, 3.0]}, "pos_weight has 3 entries. Expected 4"),
        ({"pos_weight": tensor(np.ones((1, C), np.float32))}, "Expected 4"),
    ):
        with pytest.raises(_errors.ArgumentError, match=expected):
            getattr(losses, name)(**given)(y_true, y_pred)


def test_a_missing_class_is_named():
    with pytest.raises(_errors.ArgumentError, match=r"keys \[0, 2\], and 1 is missing"):
        losses.SparseCategoricalCrossentropy(class_weight={0: 1.0, 2: 5.0})
