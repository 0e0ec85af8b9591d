"""`linear_crossentropy` is the cross-entropy of its logits, whatever the backend does to get there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from multiloss import _errors, grad_and_hessian, losses, metrics, value_and_grad
from multiloss.dispatch import K
from multiloss.losses import LinearCrossentropy, linear_crossentropy
from tests.crossentropy.reference import reference

pytestmark = pytest.mark.needs("gradients")

CLASS_WEIGHT = tuple(np.random.default_rng(9).uniform(0.2, 2.0, 7).tolist())
OPTIONS = [
    {},
    {"label_smoothing": 0.1},
    {"class_weight": CLASS_WEIGHT},
    {"z_loss": 0.01},
    {"softcap": 1.5},
    {"memory_budget": 7 * 4 * 2},
    {"label_smoothing": 0.1, "class_weight": CLASS_WEIGHT, "z_loss": 0.01, "softcap": 1.5, "memory_budget": 7 * 4 * 3},
]


def case(rows=5, classes=7, size=3, soft=False, seed=0):
    rng = np.random.default_rng(seed)
    hidden, weight, bias = rng.normal(size=(rows, size)), rng.normal(size=(classes, size)), rng.normal(size=classes)
    y_true = rng.dirichlet(np.ones(classes), rows) if soft else rng.integers(0, classes, rows)
    return (y_true, *(each.astype("float32") for each in (hidden, weight, bias)))


def expected(y_true, hidden, weight, bias, row_weight=None, **options):
    """Return the values of rows and the gradients of their sum, by NumPy in float64."""
    options.pop("memory_budget", None)
    hidden, weight, bias = (each.astype("float64") for each in (hidden, weight, bias))
    values, slope = reference(y_true, hidden @ weight.T + bias, row_weight, **options)
    return values, (slope @ weight, slope.T @ hidden, slope.sum(0))


def close(given, wanted, rtol=2e-5):
    scale = np.abs(wanted).max(initial=1e-30)
    np.testing.assert_allclose(given, wanted, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("soft", [False, True], ids=["sparse", "soft"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values_and_gradients_are_those_of_the_logits(options, soft, backend, tensor, host):
    y_true, *operands = case(soft=soft)
    values, slopes = expected(y_true, *operands, **options)
    tensors = [tensor(each) for each in (y_true, *operands)]
    close(host(linear_crossentropy(*tensors, **options)), values)

    upstream = np.random.default_rng(1).normal(size=len(values)).astype("float32")
    for reduction, rows in (("sum", np.ones(5)), ("mean", np.full(5, 0.2)), ("none", upstream)):
        loss = LinearCrossentropy(reduction, **options)

        def total(hidden, weight, bias, loss=loss, reduction=reduction):
            result = loss(tensors[0], hidden, weight=weight, bias=bias)
            return (result * tensor(upstream)).sum() if reduction == "none" else result

        value, gradients = value_and_grad(total, (0, 1, 2))(*tensors[1:])
        values, slopes = expected(y_true, *operands, rows, **options)
        close(host(value), values.sum())
        for given, wanted in zip(gradients, slopes, strict=True):
            close(host(given), wanted)


@pytest.mark.parametrize("reduction", ["mean", "mean_with_sample_weight"])
def test_weights_of_classes_as_labels_may_be_integers(reduction, backend, tensor, host):
    y_true, hidden, weight, _ = case()
    loss = LinearCrossentropy(reduction, class_weight=CLASS_WEIGHT)
    one_hot = np.eye(7, dtype="int32")[y_true]
    found, expected = (loss(tensor(each), tensor(hidden), weight=tensor(weight)) for each in (one_hot, y_true))
    close(host(found), host(expected))


@pytest.mark.parametrize("memory_budget", [None, 300 * 4])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_labels_of_a_narrow_dtype_are_the_same_among_more_classes(dtype, memory_budget, backend, tensor, host):
    y_true, hidden, weight, _ = case(classes=300)
    y_true = y_true % 128
    loss = LinearCrossentropy(memory_budget=memory_budget)
    sample_weight = tensor(np.array([1.0, 2.0, 0.0, 1.0, 3.0], "float32"))
    found, expected = (
        loss(tensor(each), tensor(hidden), sample_weight, weight=tensor(weight))
        for each in (y_true.astype(dtype), y_true)
    )
    close(host(found), host(expected))


def test_what_does_not_count_reaches_nothing(backend, tensor, host):
    y_true, hidden, weight, bias = case()
    y_true[1], y_true[2] = -100, 99
    broken = hidden.copy()
    broken[1:4] = np.nan
    sample_weight, mask = np.array([1.0, 1.0, 1.0, 0.0, 3.0], "float32"), np.array([True, True, False, True, True])
    counted = np.array([1.0, 0.0, 0.0, 0.0, 3.0])
    values, slopes = expected(np.where(counted > 0, y_true, 0), hidden, weight, bias, counted)
    loss = LinearCrossentropy("sum", ignore_class=-100)
    given = {"sample_weight": tensor(sample_weight), "mask": tensor(mask)}

    def total(hidden, weight, bias):
        return loss(tensor(y_true), hidden, weight=weight, bias=bias, **given)

    value, gradients = value_and_grad(total, (0, 1, 2))(*map(tensor, (broken, weight, bias)))
    close(host(value), values.sum())
    for one, wanted in zip(gradients, slopes, strict=True):
        close(host(one), wanted)
    rows = linear_crossentropy(*map(tensor, (np.array([0, -100, 1, 2, 3]), hidden, weight, bias)), ignore_class=-100)
    assert host(rows)[1] == 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight"])
def test_the_parts_of_a_batch_add_up(reduction, backend, tensor, host):
    y_true, hidden, weight, bias = case(8)
    sample_weight = np.random.default_rng(2).uniform(0.0, 2.0, 8).astype("float32")
    loss = LinearCrossentropy(reduction, class_weight=CLASS_WEIGHT, ignore_class=int(y_true[0]))
    operands = {"weight": tensor(weight), "bias": tensor(bias)}
    parts = [
        loss.partial(tensor(y_true[here]), tensor(hidden[here]), tensor(sample_weight[here]), **operands)
        for here in (slice(0, 3), slice(3, 8))
    ]
    total, count = (sum(float(host(part[position])) for part in parts) for position in (0, 1))
    whole = float(host(loss(tensor(y_true), tensor(hidden), tensor(sample_weight), **operands)))
    close(total if reduction == "sum" else total / count, whole)


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight", "none"])
def test_it_reduces_as_the_loss_of_logits_does(reduction, backend, tensor, host):
    y_true, hidden, weight, bias = case()
    sample_weight = np.array([0.5, 0.0, 2.0, 1.0, 1.0], "float32")
    options = {"class_weight": CLASS_WEIGHT, "ignore_class": int(y_true[4]), "label_smoothing": 0.2}
    plain = losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction, **options)
    fused = LinearCrossentropy(reduction, **options)
    logits = tensor(hidden @ weight.T + bias)
    given = {"weight": tensor(weight), "bias": tensor(bias)}
    for weights in (None, tensor(sample_weight)):
        close(
            host(fused(tensor(y_true), tensor(hidden), weights, **given)),
            host(plain(tensor(y_true), logits, weights)),
        )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(dtype, backend, tensor, host):
    y_true, *operands = case(64, classes=50, size=16)
    narrow = [backend.cast(tensor(each), dtype) for each in operands]
    wide = [host(backend.cast(each, "float32")) for each in narrow]
    values, slopes = expected(y_true, *wide)
    result = LinearCrossentropy("sum")(tensor(y_true), narrow[0], weight=narrow[1], bias=narrow[2])
    assert backend.dtype(result) == "float32"
    close(host(result), values.sum(), rtol=5e-3)

    def total(hidden, weight, bias):
        return LinearCrossentropy("mean")(tensor(y_true), hidden, weight=weight, bias=bias)

    _, gradients = value_and_grad(total, (0, 1, 2))(*narrow)
    for given, wanted in zip(gradients, slopes, strict=True):
        assert backend.dtype(given) == dtype
        np.testing.assert_allclose(
            host(backend.cast(given, "float32")), wanted / 64, rtol=0.05, atol=0.02 * np.abs(wanted).max() / 64
        )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32_over_chunks_too(dtype, backend, tensor, host):
    y_true, *operands = case(500, seed=3)
    y_true[:], operands[0][:] = 1, 1.0  # what is added has one sign: rounded sums would come to a halt
    narrow = [backend.cast(tensor(each), dtype) for each in operands]
    _, slopes = expected(y_true, *(host(backend.cast(each, "float32")) for each in narrow))
    loss = LinearCrossentropy("sum", memory_budget=7 * 4)

    def total(weight, bias):
        return loss(tensor(y_true), narrow[0], weight=weight, bias=bias)

    _, gradients = value_and_grad(total, (0, 1))(*narrow[1:])
    for given, wanted in zip(gradients, slopes[1:], strict=True):
        close(host(backend.cast(given, "float32")), wanted, rtol=1e-2)


@pytest.mark.parametrize("upstream", [0.0, np.inf])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_what_comes_back_to_a_row_is_its_own(dtype, upstream, backend, tensor, host):
    y_true, *operands = case()
    hidden, weight, _ = (backend.cast(tensor(each), dtype) for each in operands)
    factors = np.full(5, upstream, "float32")
    factors[1] = 1.0 if upstream else 0.0

    def slopes(factors):
        def total(hidden):
            return (linear_crossentropy(tensor(y_true), hidden, weight) * tensor(factors)).sum()

        return host(backend.cast(value_and_grad(total)(hidden)[1], "float32"))

    np.testing.assert_allclose(slopes(factors)[1], slopes(np.where(factors == 1, 1.0, 0.0).astype("float32"))[1], 1e-2)
    if not upstream:
        assert not slopes(factors).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_nan_that_comes_back_to_a_row_of_weight_0_takes_no_digits_from_the_others(dtype, backend, tensor, host):
    y_true, hidden, weight, _ = case()
    hidden, weight = (backend.cast(tensor(each), dtype) for each in (1e4 * hidden, 1e-4 * weight))
    alive = np.float32([1.0, 0.0, 1.0, 1.0, 1.0])

    def slopes(factors):
        def total(weight):
            values = K.linear_crossentropy(tensor(y_true), hidden, weight, None, tensor(alive))
            return K.sum(values * tensor(factors))

        return host(backend.cast(value_and_grad(total)(weight)[1], "float32"))

    small = np.float32(1e-7)  # as in a mean over many rows: half-precision gradients for logits would have no digits
    factors = np.where(alive == 0, np.float32(np.nan), small)
    expected = slopes(alive)
    np.testing.assert_allclose(slopes(factors) / small, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())


@pytest.mark.parametrize("memory_budget", [None, 7 * 4 * 50])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_mean_stays_in_the_range_of_half_precision_where_the_sum_does_not(
    dtype, memory_budget, backend, tensor, host
):
    y_true, hidden, weight, _ = case(200, size=8)
    y_true[:], hidden[:] = 1, 16.0  # all rows add to the gradient of the same classes
    narrow = [backend.cast(tensor(each), dtype) for each in (hidden, 16.0 * weight)]
    wide = [host(backend.cast(each, "float32")) for each in narrow]
    _, slopes = expected(y_true, *wide, np.zeros(7), np.full(200, 1 / 200), z_loss=0.1)
    assert np.abs(slopes[1]).max() * 200 > 65504
    loss = LinearCrossentropy("mean", z_loss=0.1, memory_budget=memory_budget)
    _, gradients = value_and_grad(lambda x, w: loss(tensor(y_true), x, weight=w), (0, 1))(*narrow)
    for given, wanted in zip(gradients, slopes[:2], strict=True):
        close(host(backend.cast(given, "float32")), wanted, rtol=3e-2)


def test_half_precision_may_be_computed_in_float64(backend, tensor, host, float64):
    y_true, *operands = case()
    narrow = [backend.cast(tensor(each), "float16") for each in operands]
    values, _ = expected(y_true, *(host(backend.cast(each, "float64")) for each in narrow))
    result = LinearCrossentropy("sum", dtype="float64")(tensor(y_true), narrow[0], weight=narrow[1], bias=narrow[2])
    assert backend.dtype(result) == "float64"
    close(host(result), values.sum(), rtol=1e-12)


@pytest.mark.parametrize("classes", [1, 2, 127, 2047, 2049])
def test_any_number_of_classes(classes, backend, tensor, host):
    y_true, *operands = case(5, classes)
    values, _ = expected(y_true, *operands)
    close(host(linear_crossentropy(*map(tensor, (y_true, *operands)))), values)
    with pytest.raises(_errors.LabelError, match=rf"is {classes}"):  # also in a column, which one class has as well
        linear_crossentropy(*map(tensor, (np.full((5, 1), classes), *operands)))


def test_no_rows_and_no_counted_rows_are_0(backend, tensor, host):
    y_true, hidden, weight, _ = case()
    for labels, states, ignored, expected_shape in (
        (y_true[:0], hidden[:0], None, (0, 3)),
        (y_true[:0], hidden[:0], -1, (0, 3)),
        (np.full(5, -1), hidden, -1, (5, 3)),
    ):

        def total(hidden, weight, labels=labels, ignored=ignored):
            return LinearCrossentropy(ignore_class=ignored)(tensor(labels), hidden, weight=weight)

        value, gradients = value_and_grad(total, (0, 1))(tensor(states), tensor(weight))
        assert float(host(value)) == 0
        assert tuple(gradients[0].shape) == expected_shape
        assert not any(host(each).any() for each in gradients)


@pytest.mark.filterwarnings("ignore:.* should not be instantiated:DeprecationWarning")  # which torch's tracer does
@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_label_out_of_range_that_counts_is_nan_inside_a_trace(weighted, reduction, backend, tensor, host, compiled):
    y_true, hidden, weight, _ = case()
    loss = LinearCrossentropy(reduction)
    weights = [tensor(np.array([1.0, 2.0, 0.0, 1.0, 1.0], "float32"))] if weighted else []

    def run(y_true, hidden, weight, *weights):
        return loss(y_true, hidden, *weights, weight=weight)

    traced = compiled(run)
    for place in (1, 2):
        broken = y_true.copy()
        broken[place] = 7
        found = host(traced(tensor(broken), tensor(hidden), tensor(weight), *weights))
        counts = not weighted or place == 1
        clean = host(run(tensor(np.where(broken == 7, 0, y_true)), tensor(hidden), tensor(weight), *weights))
        nan = np.nan if counts and reduction != "none" else np.where(np.arange(5) == place, np.nan, clean)
        np.testing.assert_allclose(found, nan if counts else clean, rtol=2e-5)


def test_leading_axes_stay(backend, tensor, host):
    y_true, hidden, weight, bias = case(6)
    flat = host(linear_crossentropy(*map(tensor, (y_true, hidden, weight, bias))))
    shaped = linear_crossentropy(*map(tensor, (y_true.reshape(2, 3), hidden.reshape(2, 3, 3), weight, bias)))
    np.testing.assert_allclose(host(shaped), flat.reshape(2, 3), rtol=1e-6)
    column = linear_crossentropy(*map(tensor, (y_true.reshape(6, 1), hidden, weight, bias)))
    np.testing.assert_allclose(host(column), flat, rtol=1e-6)


def test_a_config_goes_round():
    loss = LinearCrossentropy("sum", label_smoothing=0.1, softcap=30.0, memory_budget=1 << 20, ignore_class=-100)
    again = losses.deserialize(json.loads(json.dumps(losses.serialize(loss))))
    assert again.get_config() == loss.get_config()
    assert again.memory_budget == 1 << 20


def test_what_it_cannot_do_it_says(backend, tensor):
    y_true, hidden, weight, _ = map(tensor, case())
    with pytest.raises(_errors.NotSupportedError, match="value_and_grad"):
        grad_and_hessian(LinearCrossentropy())(y_true, hidden, weight=weight)
    assert "linear_crossentropy" not in metrics.__all__
    with pytest.raises(_errors.NamedInputError, match="weight"):
        metrics.MeanMetricWrapper(linear_crossentropy).update_state(y_true, hidden)


def test_a_budget_below_one_row_of_float64_is_refused(backend, tensor, float64):
    y_true, *operands = (each.astype("float64") if each.dtype == "float32" else each for each in case())
    tensors = [tensor(each) for each in (y_true, *operands)]
    linear_crossentropy(*tensors, memory_budget=7 * 8)
    with pytest.raises(_errors.ArgumentError, match="at least 56"):
        linear_crossentropy(*tensors, memory_budget=7 * 8 - 1)


def test_bad_input_is_one_clear_error(backend, tensor):
    y_true, hidden, weight, bias = case()
    good = dict(zip(("y_true", "hidden", "weight", "bias"), map(tensor, (y_true, hidden, weight, bias)), strict=True))
    for change, error, words in (
        ({"weight": tensor(weight.T)}, _errors.ShapeError, "Transpose"),
        ({"hidden": tensor(hidden[:, :2])}, _errors.ShapeError, "what the last layer takes"),
        ({"bias": tensor(bias[:3])}, _errors.ShapeError, "bias"),
        ({"y_true": tensor(y_true[:3])}, _errors.ShapeError, r"y_true has shape \(3,\) and hidden has shape \(5, 3\)"),
        ({"y_true": tensor(np.ones((5, 4), "float32"))}, _errors.ShapeError, r"Expected .*\(5,\), .*\(5, 7\)"),
        ({"y_true": tensor(np.array([0, 1, 7, 1, 1]))}, _errors.LabelError, r"y_true\[2\] is 7"),
        ({"memory_budget": 27}, _errors.ArgumentError, "one row"),
        ({"memory_budget": 0}, _errors.ArgumentError, "memory_budget"),
        ({"memory_budget": 1e6}, _errors.ArgumentError, "whole number of bytes"),
        ({"class_weight": [1.0, 2.0]}, _errors.ArgumentError, "Expected 7"),
        ({"softcap": 0.0}, _errors.ArgumentError, "softcap"),
        ({"margin": 1.0}, TypeError, "margin"),
    ):
        with pytest.raises(error, match=words):
            linear_crossentropy(**{**good, **change})
    with pytest.raises(_errors.NamedInputError, match="weight"):
        LinearCrossentropy()(good["y_true"], good["hidden"])
