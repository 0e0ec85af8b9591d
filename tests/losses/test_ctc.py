"""CTC: the sum over all alignments, lengths, blanks, and what has no alignment."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from multiloss import _errors, grad, losses, value_and_grad
from multiloss.testing import DIFFERENCES, assert_close

LABELS = np.array([[1, 2, 0], [1, 1, 2], [2, 0, 0], [2, 1, 2], [0, 0, 0]], np.int32)
LOGITS = np.random.default_rng(0).normal(size=(5, 5, 3))


def by_enumeration(labels, logits, label_length, logit_length, blank=0):
    """Return the loss of each row from all of its alignments, one by one."""
    result = []
    for row, scores, count, steps in zip(labels, logits, label_length, logit_length, strict=True):
        probabilities = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        total = 0.0
        for path in itertools.product(range(scores.shape[-1]), repeat=int(steps)):
            if [label for label, _ in itertools.groupby(path) if label != blank] == list(row[:count]):
                total += np.prod([probabilities[t, label] for t, label in enumerate(path)])
        result.append(-np.log(total) if total else np.inf)
    return np.array(result)


def numeric_gradient(fn, x, step=1e-6):
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = np.array(x), np.array(x)
        up[index] += step
        down[index] -= step
        gradient[index] = (fn(up) - fn(down)) / (2 * step)
    return gradient


def test_the_value_is_the_sum_over_all_alignments(backend, tensor, host, float64):
    expected = by_enumeration(LABELS, LOGITS, [2, 3, 1, 3, 0], [5] * 5)
    assert_close(host(losses.ctc(tensor(LABELS), tensor(LOGITS))), expected, "float64")


def test_the_gradient_is_that_of_the_sum_over_all_alignments(backend, tensor, host, float64):
    _, gradient = value_and_grad(losses.CTC(reduction="sum"))(tensor(LABELS), tensor(LOGITS))
    numeric = numeric_gradient(lambda z: by_enumeration(LABELS, z, [2, 3, 1, 3, 0], [5] * 5).sum(), LOGITS)
    assert_close(host(gradient), numeric, "float64", table=DIFFERENCES)


@pytest.mark.parametrize("blank", [1, 2])
def test_any_class_can_be_the_blank(blank, backend, tensor, host, float64):
    labels = (LABELS + blank) % 3
    expected = by_enumeration(labels, LOGITS, [2, 3, 1, 3, 0], [5] * 5, blank)
    assert_close(host(losses.ctc(tensor(labels), tensor(LOGITS), blank=blank)), expected, "float64")
    assert_close(host(losses.CTC(blank=blank)(tensor(labels), tensor(LOGITS))), expected.mean(), "float64")


@pytest.mark.parametrize("how", ["tensor", "list", "column", "float", "uint8"])
def test_lengths_say_what_counts(how, backend, tensor, host, float64):
    label_length, logit_length = np.array([1, 2, 1, 0, 0], np.int32), np.array([3, 4, 1, 2, 0], np.int32)
    expected = by_enumeration(LABELS, LOGITS, label_length, logit_length)
    make = {
        "tensor": tensor,
        "list": np.ndarray.tolist,
        "column": lambda x: tensor(x[:, None]),
        "float": lambda x: tensor(x.astype(np.float32)),
        "uint8": lambda x: tensor(x.astype(np.uint8)),
    }[how]
    lengths = {"label_length": make(label_length), "logit_length": make(logit_length)}
    broken_labels, broken = np.array(LABELS), np.array(LOGITS)
    for row, (count, steps) in enumerate(zip(label_length, logit_length, strict=True)):
        broken_labels[row, count:] = -7
        broken[row, steps:] = [np.nan, np.inf, -1e38]
    assert_close(host(losses.ctc(tensor(broken_labels), tensor(broken), **lengths)), expected, "float64")
    loss = losses.CTC(reduction="sum")
    value, gradient = value_and_grad(lambda z: loss(tensor(broken_labels), z, **lengths))(tensor(broken))
    assert_close(host(value), expected.sum(), "float64")
    numeric = numeric_gradient(lambda z: by_enumeration(LABELS, z, label_length, logit_length).sum(), LOGITS)
    assert_close(host(gradient), numeric, "float64", table=DIFFERENCES)


def test_parts_take_lengths_too(backend, tensor, host):
    loss, logits = losses.CTC(), tensor(LOGITS.astype(np.float32))
    lengths = np.array([5, 5, 4, 5, 3], np.int32)
    whole = loss(tensor(LABELS), logits, logit_length=tensor(lengths))
    total = size = 0.0
    for rows in (slice(0, 2), slice(2, 5)):
        part = loss.partial(tensor(LABELS[rows]), logits[rows, :, :], logit_length=tensor(lengths[rows]))
        total, size = total + host(part[0]), size + host(part[1])
    assert_close(total / size, host(whole), "float32")


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_without_any_alignment_the_gradient_is_0(zero_infinity, backend, tensor, host):
    """Row 1 needs four steps: its equal labels need a blank between them."""
    labels, logits = tensor(LABELS[:2]), tensor(LOGITS[:2, :3].astype(np.float32))
    loss = losses.CTC(reduction="none", zero_infinity=zero_infinity)
    values = host(loss(labels, logits))
    assert np.isfinite(values[0])
    assert values[1] == (0 if zero_infinity else np.inf)
    for reduction in ("sum", "sum_over_batch_size"):
        loss = losses.CTC(reduction=reduction, zero_infinity=zero_infinity)
        gradient = host(value_and_grad(loss)(labels, logits)[1])
        assert np.isfinite(gradient).all()
        assert gradient[0].any()
        assert not gradient[1].any()


def test_a_logit_of_minus_infinity_rules_a_class_out(backend, tensor, host):
    logits = LOGITS[:2].astype(np.float32)
    logits[0, :, 1] = -np.inf  # label 1 cannot be spoken any more
    logits[1, 0, 2] = -np.inf
    values = losses.ctc(tensor(LABELS[:2]), tensor(logits))
    gradient = grad(losses.CTC(reduction="sum"))(tensor(LABELS[:2]), tensor(logits))
    assert host(values)[0] == np.inf
    assert np.isfinite(host(values)[1])
    assert np.isfinite(host(gradient)).all()


def test_a_masked_row_reaches_nothing_whatever_its_labels_and_lengths(backend, tensor, host):
    labels, logits = np.array(LABELS), LOGITS.astype(np.float32)
    labels[1], logits[1] = [99, 0, -5], np.nan
    lengths = np.array([5, 77, 5, 5, 5], np.int32)
    mask = np.array([True, False, True, True, True])
    for rest in ({"mask": tensor(mask)}, {"sample_weight": tensor(mask.astype(np.float32))}):
        loss = losses.CTC(reduction="sum")
        value, gradient = value_and_grad(
            lambda z, loss=loss, rest=rest: loss(tensor(labels), z, logit_length=tensor(lengths), **rest)
        )(tensor(logits))
        expected = by_enumeration(LABELS, LOGITS, [2, 3, 1, 3, 0], [5] * 5)[mask].sum()
        assert_close(host(value), expected, "float32")
        assert np.isfinite(host(gradient)).all()
        assert not host(gradient)[1].any()


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        ([[1, 5, 0]], {}, _errors.LabelError, r"y_true\[0\] is \[1, 5, 0\]"),
        ([[1, -1, 0]], {}, _errors.LabelError, "0 to 2"),
        ([[1, 0, 2]], {}, _errors.LabelError, "without 0 among the labels"),
        ([[1, 0, 2]], {"label_length": [3]}, _errors.LabelError, "the first 3"),
        ([[1, 2, 0]], {"label_length": [4]}, _errors.ArgumentError, r"label_length\[0\] is 4"),
        ([[1, 2, 0]], {"label_length": [-1]}, _errors.ArgumentError, r"label_length\[0\] is -1"),
        ([[1, 2, 0]], {"logit_length": [6]}, _errors.ArgumentError, r"logit_length\[0\] is 6.*0 to 5"),
        ([[1, 2, 0]], {"logit_length": [2.5]}, _errors.ArgumentError, r"logit_length\[0\] is 2.5"),
        ([[1, 2, 0]], {"logit_length": [1, 2]}, _errors.ShapeError, r"logit_length has shape \(2,\)"),
        ([[1, 2, 0]], {"blank": 3}, _errors.ArgumentError, "blank=3"),
        ([1, 2, 0], {}, _errors.ShapeError, r"\(3,\).*\(1, 5, 3\)"),
        ([[1, 2], [1, 2]], {}, _errors.ShapeError, r"\(2, 2\).*\(1, 5, 3\)"),
    ],
)
def test_what_means_nothing_is_refused(labels, options, error, message, backend, tensor):
    with pytest.raises(error, match=message):
        losses.ctc(tensor(np.array(labels)), tensor(LOGITS[:1].astype(np.float32)), **options)


def test_what_means_nothing_is_a_nan_row_inside_a_trace(backend, tensor, host, compiled):
    if backend.name == "numpy":
        return  # values are always at hand
    labels = tensor(np.array([[1, 5, 0], [1, 0, 2], [1, -1, 2], [1, 2, 0], [1, 2, 0]], np.int32))
    lengths = tensor(np.array([5, 5, 5, 6, 5], np.int32))

    def call(labels, logits, lengths):
        return losses.ctc(labels, logits, logit_length=lengths)

    logits = tensor(LOGITS.astype(np.float32))
    values = host(compiled(call)(labels, logits, lengths))
    assert np.isnan(values[:4]).all()
    assert np.isfinite(values[4])


def test_a_call_refuses_operands_that_the_loss_has_not(backend, tensor):
    with pytest.raises(TypeError, match="lengths"):
        losses.CTC()(tensor(LABELS), tensor(LOGITS.astype(np.float32)), lengths=[1])
    with pytest.raises(TypeError, match="label_length"):
        losses.MeanSquaredError()([1.0], [2.0], label_length=[1])


def test_gradients_in_float32_hold_in_long_sequences(backend, tensor, host, float64):
    rng = np.random.default_rng(1)
    labels, logits = rng.integers(1, 20, size=(2, 40)), 3 * rng.normal(size=(2, 200, 20)).astype(np.float32)
    gradients = [
        host(grad(losses.CTC(reduction="sum"))(tensor(labels), tensor(logits.astype(dtype))))
        for dtype in ("float32", "float64")
    ]
    np.testing.assert_allclose(gradients[0], gradients[1], atol=5e-5)


def test_nothing_to_say_and_no_time(backend, tensor, host):
    logits = tensor(LOGITS.astype(np.float32))
    silent = host(losses.ctc(tensor(LABELS[:, :0]), logits))
    assert_close(silent, by_enumeration(LABELS, LOGITS, [0] * 5, [5] * 5), "float32")
    values = host(losses.ctc(tensor(LABELS), tensor(LOGITS[:, :0].astype(np.float32))))
    assert values.tolist() == [np.inf] * 4 + [0]


@pytest.mark.backends("torch")
def test_it_equals_torch_where_torch_has_a_gradient(backend, tensor, host):
    import torch

    lengths = torch.tensor([2, 3, 1, 3, 0]), torch.tensor([5, 5, 4, 5, 3])
    ours, theirs = (tensor(LOGITS).requires_grad_() for _ in range(2))
    values = losses.ctc(tensor(LABELS), ours, label_length=lengths[0], logit_length=lengths[1])
    log_q = theirs.log_softmax(-1).transpose(0, 1)
    expected = torch.nn.functional.ctc_loss(log_q, torch.tensor(LABELS), lengths[1], lengths[0], reduction="none")
    assert_close(host(values), host(expected), "float64")
    values.sum().backward()
    expected.sum().backward()
    assert_close(host(ours.grad), host(theirs.grad), "float64")


@pytest.mark.backends("torch")
def test_torch_differentiates_twice(backend, tensor):
    import torch

    labels = tensor(LABELS[:2])
    logits = tensor(LOGITS[:2]).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda z: losses.ctc(labels, z), logits)


@pytest.mark.backends("torch")
def test_torch_maps_it(backend, tensor, host):
    import torch

    labels, logits = tensor(LABELS), tensor(LOGITS)
    lengths = torch.tensor([5, 5, 4, 5, 3])

    def one(labels, logits, length):
        return losses.ctc(labels[None], logits[None], logit_length=length[None])[0]

    per_row = torch.func.vmap(torch.func.grad(one, argnums=1))(labels, logits, lengths)
    whole = torch.func.grad(lambda z: losses.ctc(labels, z, logit_length=lengths).sum())(logits)
    assert_close(host(per_row), host(whole), "float64")


@pytest.mark.backends("jax")
def test_lengths_are_traced_and_never_compiled_in(backend, tensor, host):
    import jax

    logits = tensor(LOGITS.astype(np.float32))
    for steps in (3, 4, 5):
        losses.ctc(tensor(LABELS), logits, logit_length=tensor(np.full(5, steps, np.int32)))
    traces = []

    @jax.jit
    def call(labels, logits, lengths):
        traces.append(1)
        return losses.CTC(reduction="none")(labels, logits, logit_length=lengths)

    for steps in (3, 4, 5):
        expected = by_enumeration(LABELS, LOGITS, [2, 3, 1, 3, 0], [steps] * 5)
        assert_close(host(call(tensor(LABELS), logits, tensor(np.full(5, steps, np.int32)))), expected, "float32")
    assert len(traces) == 1
