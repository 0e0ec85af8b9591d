"""Cross-entropies of logits so large that the weights of rows go into the operation: what counts is what always counts."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import losses, metrics, value_and_grad
from multiloss.dispatch import K
from multiloss.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy

ROWS, CLASSES = 260, 4100
RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=(ROWS, CLASSES)).astype("float32") * 3
LABELS = RNG.integers(0, CLASSES, ROWS)
LOGITS[::3][np.arange(0, ROWS, 3) // 3, LABELS[::3]] += 25
SOFT = (RNG.random((ROWS, CLASSES)) ** 8).astype("float32")
SOFT /= SOFT.sum(1, keepdims=True)
CLASS_WEIGHT = RNG.uniform(0.5, 2.0, CLASSES).astype("float32")
SAMPLE_WEIGHT = np.where(RNG.random(ROWS) < 0.3, 0.0, RNG.uniform(0.5, 2.0, ROWS)).astype("float32")
MASK = RNG.random(ROWS) < 0.8
REDUCTIONS = ["mean", "sum", "mean_with_sample_weight", "none"]


def whole(target, row_weight, label_smoothing=0.0, class_weight=None, z_loss=0.0, softcap=None):
    """Return the weighted values of rows and the gradient of their sum, from whole arrays in float64."""
    z = LOGITS.astype("float64")
    z = z if softcap is None else softcap * np.tanh(z / softcap)
    largest = z.max(1, keepdims=True)
    lse = largest + np.log(np.exp(z - largest).sum(1, keepdims=True))
    hot = np.eye(CLASSES, dtype="float32")[target] if target.ndim == 1 else target.astype("float64")
    t = (1 - label_smoothing) * hot + label_smoothing / CLASSES
    t = t if class_weight is None else t * class_weight
    p = np.exp(z - lse)
    values = (t * (lse - z)).sum(1) + z_loss * lse[:, 0] ** 2
    slope = p * t.sum(1, keepdims=True) - t + 2 * z_loss * lse * p
    slope = slope if softcap is None else slope * (1 - (z / softcap) ** 2)
    return values * row_weight, slope * row_weight[:, None]


@pytest.fixture
def large(backend, tensor):
    """The logits, of which the backend must take the rows itself; JAX leaves that to its compiler."""
    logits = tensor(LOGITS)
    assert backend.takes_rows(logits) or backend.name not in ("numpy", "torch")
    return logits


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("soft", [False, True], ids=["sparse", "soft"])
@pytest.mark.parametrize(
    "options",
    [{}, {"label_smoothing": 0.1, "class_weight": CLASS_WEIGHT, "z_loss": 1e-3, "softcap": 20.0}],
    ids=["plain", "everything"],
)
def test_values_gradients_and_denominators(options, soft, reduction, backend, tensor, host, large):
    target = SOFT if soft else LABELS
    ignored = None if soft else int(LABELS[1])
    counted = MASK if soft else MASK & (ignored != LABELS)
    row_weight = np.where(counted, SAMPLE_WEIGHT, 0.0).astype("float64")
    by_class = np.ones(ROWS)
    if options:
        by_class = SOFT @ CLASS_WEIGHT if soft else CLASS_WEIGHT[LABELS]
    divisor = {
        "mean": counted.sum(),
        "mean_with_sample_weight": (row_weight * by_class).sum(),
    }.get(reduction, 1.0)
    upstream = RNG.normal(size=ROWS) if reduction == "none" else np.ones(ROWS)
    values, slope = whole(target, row_weight / divisor, **options)

    broken = np.where(row_weight[:, None] == 0, np.float32(np.nan), LOGITS)
    given = {key: tensor(each) if key == "class_weight" else each for key, each in options.items()}
    cls = CategoricalCrossentropy if soft else SparseCategoricalCrossentropy
    loss = cls(from_logits=True, reduction=reduction, ignore_class=ignored, **given)
    weights = {"sample_weight": tensor(SAMPLE_WEIGHT), "mask": tensor(MASK)}

    def total(logits):
        result = loss(tensor(target), logits, **weights)
        return (result * tensor(upstream.astype("float32"))).sum() if reduction == "none" else result

    value, gradient = value_and_grad(total, 0)(tensor(broken))
    expected = (values * upstream).sum()
    np.testing.assert_allclose(host(value), expected, rtol=2e-5, atol=1e-5 * np.abs(values).sum())
    slope = slope * upstream[:, None]
    np.testing.assert_allclose(host(gradient), slope, rtol=2e-5, atol=2e-6 * np.abs(slope).max())
    assert not host(gradient)[row_weight == 0].any()
    if reduction in ("mean", "mean_with_sample_weight"):
        numerator, denominator = loss.partial(tensor(target), large, **weights)
        np.testing.assert_allclose(host(numerator) / host(denominator), expected, rtol=2e-5)


def test_functions_and_metrics_take_the_same_way(backend, tensor, host, large):
    values, _ = whole(LABELS, np.ones(ROWS))
    ignored = int(LABELS[1])
    given = losses.sparse_categorical_crossentropy(tensor(LABELS), large, from_logits=True, ignore_class=ignored)
    np.testing.assert_allclose(host(given), np.where(ignored == LABELS, 0.0, values), rtol=2e-5, atol=1e-6)
    metric = metrics.SparseCategoricalCrossentropy(from_logits=True)
    metric.update_state(tensor(LABELS), large, tensor(SAMPLE_WEIGHT))
    expected = (values * SAMPLE_WEIGHT).sum() / SAMPLE_WEIGHT.sum()
    np.testing.assert_allclose(float(host(metric.result())), expected, rtol=2e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_not_copied_and_summed_in_float32(dtype, backend, tensor, host):
    narrow = backend.cast(tensor(LOGITS), dtype)
    wide = host(backend.cast(narrow, "float32"))
    loss = SparseCategoricalCrossentropy(from_logits=True)
    value, gradient = value_and_grad(loss)(tensor(LABELS), narrow)
    expected, slope = value_and_grad(loss)(tensor(LABELS), tensor(wide))
    assert backend.dtype(value) == "float32"
    assert backend.dtype(gradient) == dtype
    np.testing.assert_allclose(host(value), host(expected), rtol=1e-6)
    found = host(backend.cast(gradient, "float32"))
    np.testing.assert_allclose(found, host(slope), rtol=1e-2, atol=1e-7)


def test_logits_are_overwritten_with_permission_only(backend, tensor, host, large):
    slope = whole(LABELS, np.full(ROWS, 1 / ROWS))[1]
    for overwrite in (False, True):
        logits = backend.asarray(LOGITS.copy())
        loss = SparseCategoricalCrossentropy(from_logits=True, overwrite_logits=overwrite)
        _, gradient = value_and_grad(loss)(tensor(LABELS), logits)
        np.testing.assert_allclose(host(gradient), slope, rtol=2e-5, atol=2e-6 * np.abs(slope).max())
        if not overwrite:
            np.testing.assert_array_equal(host(logits), LOGITS)


@pytest.mark.parametrize("linear", [False, True], ids=["logits", "hidden states"])
def test_what_a_class_weighs_in_a_row_of_weight_zero_reaches_nothing(linear, backend, tensor, host):
    labels, row_weight = tensor(np.array([0, 1])), tensor(np.array([1.0, 0.0], np.float32))
    class_weight = tensor(np.array([1.0, np.nan, 1.0], np.float32))
    logits, identity = tensor(np.zeros((2, 3), np.float32)), tensor(np.eye(3, dtype=np.float32))
    operands = (labels, logits, identity, None) if linear else (labels, logits)
    operation = backend.linear_crossentropy if linear else backend.softmax_crossentropy
    found = operation(*operands, row_weight, class_weight=class_weight)
    np.testing.assert_allclose(host(found), [np.log(3.0), 0.0], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("linear", [False, True], ids=["logits", "hidden states"])
def test_what_comes_back_to_a_row_of_weight_zero_goes_no_further(linear, bad, backend, tensor, host):
    labels, row_weight = tensor(np.array([0, 1, 2])), tensor(np.array([1.0, 0.0, 2.0], np.float32))
    given = [tensor(RNG.normal(size=shape).astype("float32")) for shape in ((3, 4), (5, 4))[: 1 + linear]]

    def slopes(upstream):
        def total(*operands):
            if linear:
                values = K.linear_crossentropy(labels, *operands, None, row_weight)
            else:
                values = K.softmax_crossentropy(labels, *operands, row_weight)
            return K.sum(values * tensor(np.array([1.0, upstream, 1.0], np.float32)))

        return value_and_grad(total, tuple(range(len(given))))(*given)[1]

    for found, expected in zip(slopes(bad), slopes(1.0), strict=True):
        np.testing.assert_allclose(host(found), host(expected), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("soft", [False, True], ids=["sparse", "soft"])
@pytest.mark.parametrize("linear", [False, True], ids=["logits", "hidden states"])
def test_an_infinite_cost_of_a_class_that_weighs_nothing_is_none(linear, soft, smoothing, backend, tensor, host):
    labels = tensor(np.eye(3, dtype="float32") if soft else np.arange(3))
    options = {"class_weight": tensor(np.array([1.0, 0.0, 1.0], np.float32)), "label_smoothing": smoothing}
    nothing = tensor(np.zeros((3, 1), np.float32))

    def values(logits):
        if linear:
            return K.linear_crossentropy(labels, nothing, nothing, logits, **options)
        return K.softmax_crossentropy(labels, K.ones_like(nothing) * logits[None, :], **options)

    def results(logits):
        logits = tensor(np.array(logits, np.float32))
        return host(values(logits)), host(value_and_grad(lambda z: K.sum(values(z)))(logits)[1])

    for found, expected in zip(results([1.0, -np.inf, 0.5]), results([1.0, -1e4, 0.5]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
