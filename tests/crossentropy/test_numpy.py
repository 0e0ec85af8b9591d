"""Cross-entropies of many classes on NumPy: blocks of rows on threads, and gradients taken in the block."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest
from multiloss import losses
from multiloss._errors import NotSupportedError
from multiloss.dispatch import K
from multiloss.interface import Backend
from tests.crossentropy.reference import reference

pytestmark = pytest.mark.backends("numpy")

RNG = np.random.default_rng(0)


def grad(fn: Any, *arguments: Any) -> Any:
    import autograd

    return autograd.value_and_grad(lambda args: fn(*args))(arguments)


def default() -> Any:
    from multiloss_numpy._autograd import backend

    return backend


def rows(n: int, classes: int, confident: float = 30.0) -> tuple[Any, Any]:
    logits = RNG.normal(size=(n, classes)).astype(np.float32)
    label = RNG.integers(0, classes, n)
    logits[::3][np.arange(len(logits[::3])), label[::3]] = confident
    return label, logits


OPTIONS = [
    {"label_smoothing": a, "class_weight": w, "z_loss": z, "softcap": c}
    for a, w, z, c in itertools.product((0.0, 0.1), (False, True), (0.0, 1e-3), (None, 20.0))
]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_every_option_gives_the_value_and_the_gradient_of_the_formula(backend, options, soft):
    label, logits = rows(7, 131)
    target = label if not soft else RNG.dirichlet(np.ones(131), 7).astype(np.float32)
    weight = RNG.random(7).astype(np.float32)
    weight[2] = 0.0
    options = options | {"class_weight": RNG.random(131).astype(np.float32) if options["class_weight"] else None}
    values, slopes = reference(target, logits, weight, **options)
    np.testing.assert_allclose(K.softmax_crossentropy(target, logits, weight, **options), values, rtol=2e-6)
    logits[2] = np.nan
    value, (gradient,) = grad(lambda z: K.softmax_crossentropy(target, z, weight, total=True, **options), logits)
    np.testing.assert_allclose(value, values.sum(), rtol=2e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=2e-4, atol=2e-7)
    upstream = RNG.normal(size=7).astype(np.float32)
    _, (gradient,) = grad(lambda z: K.sum(K.softmax_crossentropy(target, z, weight, **options) * upstream), logits)
    np.testing.assert_allclose(gradient, slopes * upstream[:, None], rtol=2e-4, atol=4e-7)


@pytest.mark.parametrize("classes", [1, 2, 127, 512, 513, 2047, 2049, 50257])
def test_any_number_of_classes_is_as_good(backend, classes):
    label, logits = rows(5, classes)
    values, slopes = reference(label, logits) if classes < 3000 else (None, None)
    value, (gradient,) = grad(lambda z: K.softmax_crossentropy(label, z, None, total=True), logits)
    if values is None:
        expected, (slopes,) = grad(
            lambda z: Backend.softmax_crossentropy(default(), label, z, None, True), logits.astype(np.float64)
        )
    else:
        expected = values.sum()
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("logit", [0.0, 8.0, 16.0, 20.0, 30.0, 60.0, 80.0, 100.0])
@pytest.mark.parametrize("shift", [-1e4, -90.0, 0.0, 60.0, 1e4])
def test_a_confident_row_keeps_its_digits(backend, logit, shift):
    logits = RNG.normal(size=(3, 3000)).astype(np.float32)
    logits[:, 5] = logit
    logits = (logits + np.float32(shift)).astype(np.float32)
    label = np.full(3, 5)
    wide = logits.astype(np.float64)
    expected, (slopes,) = grad(lambda z: Backend.softmax_crossentropy(default(), label, z, None, True), wide)
    value, (gradient,) = grad(lambda z: K.softmax_crossentropy(label, z, None, total=True), logits)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(gradient[:, 5], slopes[:, 5], rtol=1e-6, atol=1e-37)


def test_infinite_logits_of_other_classes_are_classes_that_cannot_be(backend):
    label, logits = rows(4, 600)
    logits[:, ::2] = -np.inf
    label[:] = 301
    expected = K.softmax_crossentropy(label // 2, np.ascontiguousarray(logits[:, 1::2]))
    value, (gradient,) = grad(lambda z: K.softmax_crossentropy(label, z, None, total=True), logits)
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert (gradient[:, ::2] == 0).all()


@pytest.mark.parametrize("weight", [0.0, np.zeros(4, np.float32)])
def test_rows_that_all_have_weight_0_cost_0(backend, weight):
    label, logits = rows(4, 33)
    if not isinstance(weight, float):
        logits[:] = np.nan
    value, (gradient,) = grad(lambda z: K.softmax_crossentropy(label, z, weight, total=True), logits)
    assert value == 0
    assert (gradient == 0).all()


def test_a_nan_weight_is_not_lost(backend):
    label, logits = rows(4, 33)
    weight = np.array([1.0, np.nan, 0.0, 1.0], np.float32)
    values = K.softmax_crossentropy(label, logits, weight)
    assert np.isnan(values).tolist() == [False, True, False, False]
    assert np.isnan(K.softmax_crossentropy(label, logits, weight, total=True))


def test_no_rows_cost_0_and_keep_their_shape(backend):
    logits = np.zeros((0, 3, 5), np.float32)
    label = np.zeros((0, 3), np.int64)
    assert K.softmax_crossentropy(label, logits).shape == (0, 3)
    value, (gradient,) = grad(lambda z: K.softmax_crossentropy(label, z, None, total=True), logits)
    assert value == 0
    assert gradient.shape == (0, 3, 5)


def test_leading_axes_and_strides_do_not_matter(backend):
    label, logits = rows(12, 700)
    expected = K.softmax_crossentropy(label, logits).reshape(3, 4)
    spread = np.repeat(logits, 2, -1)[:, ::2].reshape(3, 4, 700)
    spread.flags.writeable = False
    np.testing.assert_array_equal(K.softmax_crossentropy(label.reshape(3, 4), spread), expected)
    turned = np.asfortranarray(logits)
    np.testing.assert_allclose(K.softmax_crossentropy(label, turned), expected.reshape(-1), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_added_up_in_float32(backend, dtype):
    label, logits = rows(6, 999, 9.0)
    narrow = K.cast(logits, dtype)
    wide = K.cast(narrow, "float32")
    value, (gradient,) = grad(lambda z: K.softmax_crossentropy(label, z, None, total=True), narrow)
    expected, (slopes,) = grad(lambda z: K.softmax_crossentropy(label, z, None, total=True), wide)
    assert value.dtype == np.float32
    assert gradient.dtype == narrow.dtype
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(K.cast(gradient, "float32"), slopes, rtol=1e-2, atol=1e-7)


def test_many_blocks_on_many_threads_are_one(backend, monkeypatch):
    monkeypatch.setattr("multiloss_numpy._crossentropy._THREADED", 1)
    monkeypatch.setattr("multiloss_numpy._crossentropy._BLOCK", 3000)
    monkeypatch.setenv("MULTILOSS_NUM_THREADS", "3")
    label, logits = rows(101, 600)
    weight = RNG.random(101).astype(np.float32)
    weight[10:40] = 0
    logits[15] = np.nan
    values, slopes = reference(label, logits, weight)
    value, (gradient,) = grad(lambda z: K.softmax_crossentropy(label, z, weight, total=True), logits)
    np.testing.assert_allclose(value, values.sum(), rtol=1e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-9)


def test_second_derivatives_are_those_of_the_formula(backend):
    import autograd

    label, logits = rows(3, 5, 2.0)
    logits = logits.astype(np.float64)
    hessian = autograd.hessian(lambda z: K.softmax_crossentropy(label, z, None, total=True))(logits)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row in range(3):
        np.testing.assert_allclose(hessian[row, :, row], np.diag(p[row]) - np.outer(p[row], p[row]), atol=1e-12)


def test_the_gradient_may_be_pulled_back_twice(backend):
    import autograd

    label, logits = rows(6, 40)
    pullback, _ = autograd.make_vjp(lambda z: K.softmax_crossentropy(label, z, None, total=True))(logits)
    first = pullback(np.float32(3.0)).copy()
    np.testing.assert_allclose(pullback(np.float32(3.0)), first, rtol=1e-6)


def test_the_gradient_is_written_over_the_logits_only_on_request(backend):
    import autograd

    label, logits = rows(6, 40)
    kept = logits.copy()
    _, (expected,) = grad(lambda z: K.softmax_crossentropy(label, z, 0.5, total=True), logits)
    np.testing.assert_array_equal(logits, kept)
    pullback, _ = autograd.make_vjp(lambda z: K.softmax_crossentropy(label, z, 0.5, total=True, overwrite=True))(logits)
    gradient = pullback(np.float32(1.0))
    assert np.shares_memory(gradient, logits)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    with pytest.raises(NotSupportedError, match="leave overwrite=True out"):
        pullback(np.float32(1.0))


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_logits_that_are_overwritten_may_be_of_any_size(backend, scale):
    label, logits = rows(6, 700)
    logits *= np.float32(scale)
    expected, (slopes,) = grad(lambda z: K.softmax_crossentropy(label, z, None, total=True), logits)
    value, (gradient,) = grad(lambda z: K.softmax_crossentropy(label, z, None, total=True, overwrite=True), logits)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6)


def test_read_only_logits_are_not_overwritten(backend):
    label, logits = rows(6, 40)
    logits.flags.writeable = False
    _, (gradient,) = grad(lambda z: K.softmax_crossentropy(label, z, None, total=True, overwrite=True), logits)
    assert not np.shares_memory(gradient, logits)


def test_labels_and_class_weights_have_gradients_too(backend):
    _, logits = rows(4, 9)
    target = RNG.dirichlet(np.ones(9), 4).astype(np.float32)
    weight = RNG.random(9).astype(np.float32)
    _, (of_target, of_weight) = grad(
        lambda t, w: K.softmax_crossentropy(t, logits, None, total=True, class_weight=w), target, weight
    )
    cost = np.log(np.exp(logits).sum(-1, keepdims=True)) - logits
    np.testing.assert_allclose(of_target, weight * cost, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(of_weight, (target * cost).sum(0), rtol=1e-5)


def test_values_of_many_logits_need_little_memory(backend):
    label, logits = rows(1024, 8000)
    K.softmax_crossentropy(label, logits)
    tracemalloc.start()
    K.softmax_crossentropy(label, logits, None, total=True, label_smoothing=0.1, z_loss=1e-3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20 < logits.nbytes


def test_values_of_soft_labels_with_class_weights_need_little_memory(backend):
    _, logits = rows(2048, 8000)
    target = np.full_like(logits, 1 / 8000)
    loss = losses.CategoricalCrossentropy(
        from_logits=True, class_weight=RNG.random(8000).tolist(), reduction="mean_with_sample_weight"
    )
    loss(target, logits)
    tracemalloc.start()
    loss(target, logits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20 < logits.nbytes


# ── Hidden states ───────────────────────────────────────────────────────────────────────────────────────────────


def states(n: int = 37, width: int = 5, classes: int = 2049, dtype: Any = np.float64) -> tuple[Any, ...]:
    label = RNG.integers(0, classes, n)
    return label, *(RNG.normal(size=shape).astype(dtype) for shape in ((n, width), (classes, width), (classes,)))


@pytest.mark.parametrize("budget", [None, 8 * 2049 * 10, 8 * 2049])
@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("soft", [True, False])
def test_hidden_states_give_the_value_and_gradients_of_their_logits(backend, soft, total, budget):
    label, hidden, weight, bias = states()
    target = RNG.dirichlet(np.ones(2049), 37) if soft else label
    row_weight = RNG.random(37)
    row_weight[3] = 0
    upstream = 3.0 if total else RNG.normal(size=37)
    options = {"label_smoothing": 0.1, "class_weight": RNG.random(2049), "z_loss": 1e-3, "softcap": 9.0}

    def of(operation: Any) -> Any:
        return lambda *x: K.sum(operation(target, *x, row_weight, total=total, **options) * upstream)

    expected, slopes = grad(of(lambda *a, **k: Backend.linear_crossentropy(default(), *a, **k)), hidden, weight, bias)
    hidden[3] = np.nan
    value, gradients = grad(
        of(lambda *a, **k: K.linear_crossentropy(*a, **k, memory_budget=budget)), hidden, weight, bias
    )
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for gradient, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-11)
    values = K.linear_crossentropy(
        target, hidden, weight, bias, row_weight, total=total, memory_budget=budget, **options
    )
    np.testing.assert_allclose((values * upstream).sum(), expected, rtol=1e-12)


@pytest.mark.parametrize("gradients", [False, True])
def test_a_budget_bounds_the_logits_that_are_there_at_a_time(backend, gradients):
    label, hidden, weight, _ = states(200, 2, 20_000, np.float32)
    row = 4 * len(weight)

    def peak(budget: int | None) -> int:
        tracemalloc.start()
        if gradients:
            grad(lambda h: K.linear_crossentropy(label, h, weight, total=True, memory_budget=budget), hidden)
        else:
            K.linear_crossentropy(label, hidden, weight, total=True, memory_budget=budget)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(None) > 200 * row
    assert peak(10 * row) < 60 * row


def test_only_the_gradients_that_are_wanted_are_computed(backend):
    label, hidden, weight, _ = states()
    both = grad(lambda h, w: K.linear_crossentropy(label, h, w, total=True), hidden, weight)[1]
    (alone,) = grad(lambda h: K.linear_crossentropy(label, h, weight, total=True), hidden)[1]
    np.testing.assert_allclose(alone, both[0], rtol=1e-12)
    (alone,) = grad(lambda w: K.linear_crossentropy(label, hidden, w, total=True), weight)[1]
    np.testing.assert_allclose(alone, both[1], rtol=1e-12)


def test_hidden_states_of_no_rows_or_no_weight_have_gradients_of_0(backend):
    label, hidden, weight, bias = states(6, 4, 30)
    for n, row_weight in ((0, None), (6, np.zeros(6))):
        value, gradients = grad(
            lambda *x, n=n, r=row_weight: K.linear_crossentropy(label[:n], *x, r, total=True), hidden[:n], weight, bias
        )
        assert value == 0
        assert [each.shape for each in gradients] == [(n, 4), (30, 4), (30,)]
        assert all((each == 0).all() for each in gradients)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_hidden_states_of_half_precision_are_computed_with_in_float32(backend, dtype):
    label, hidden, weight, _ = states(dtype=np.float32)
    narrow = [K.cast(each, dtype) for each in (hidden, weight)]
    wide = [K.cast(each, "float32") for each in narrow]
    value, gradients = grad(lambda h, w: K.linear_crossentropy(label, h, w, None, 1 / 37, total=True), *narrow)
    expected, slopes = grad(lambda h, w: K.linear_crossentropy(label, h, w, None, 1 / 37, total=True), *wide)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for gradient, slope, x in zip(gradients, slopes, narrow, strict=True):
        assert gradient.dtype == x.dtype
        np.testing.assert_allclose(K.cast(gradient, "float32"), slope, rtol=2e-2, atol=1e-6)


def test_hidden_states_have_second_derivatives(backend):
    label, hidden, weight, bias = states(3, 2, 4)
    direction = RNG.normal(size=hidden.shape)

    def along(operation: Any) -> Any:
        def slope(h: Any) -> Any:
            return K.sum(grad(lambda h: operation(label, h, weight, bias, total=True), h)[1][0] * direction)

        return grad(slope, hidden)[1][0]

    expected = along(lambda *a, **k: Backend.linear_crossentropy(default(), *a, **k))
    np.testing.assert_allclose(along(K.linear_crossentropy), expected, rtol=1e-9, atol=1e-12)


def test_numpy_splits_no_classes_over_devices(backend):
    label, hidden, weight, _ = states(3, 2, 4)
    with pytest.raises(NotSupportedError, match="group"):
        K.linear_crossentropy(label, hidden, weight, group="model")
