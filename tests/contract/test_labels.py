"""Labels out of range raise where values are at hand, and are nan inside a trace: never a plausible number."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors, grad
from multiloss.testing import assert_close
from tests.contract.facts import FUNCTIONS, function, loss_class, spec

SPARSE = [name for name in FUNCTIONS if spec(name).target == "class index"]
CLASSES = 3
Y_PRED = np.array([[0.1, 0.7, 0.2], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25]], np.float32)
GRID = [-(2**31), -100, -2, -1, 0, 1, 2, 3, 8, 255, 2**31 - 1]


def both(name):
    return function(name), loss_class(name)()


@pytest.mark.parametrize("label", GRID)
@pytest.mark.parametrize("name", SPARSE)
def test_the_same_labels_are_in_range_everywhere(name, label, backend, tensor, host):
    y_true = tensor(np.array([1, label, 0], np.int32))
    for loss in both(name):
        if 0 <= label < CLASSES:
            assert np.isfinite(host(loss(y_true, tensor(Y_PRED)))).all()
            continue
        with pytest.raises(_errors.LabelError) as caught:
            loss(y_true, tensor(Y_PRED))
        assert "y_true[1]" in str(caught.value)
        assert str(label) in str(caught.value)
        assert "0 to 2" in str(caught.value)


@pytest.mark.parametrize("name", SPARSE)
def test_minus_1_is_not_the_last_class(name, backend, tensor):
    for labels in (np.array([-1, 0, 0]), np.array([[-1], [0], [0]])):
        with pytest.raises(_errors.LabelError, match="-1"):
            function(name)(tensor(labels), tensor(Y_PRED))


@pytest.mark.parametrize(("dtype", "classes"), [("int8", 256), ("int16", 40_000)])
@pytest.mark.parametrize("name", SPARSE)
def test_minus_1_is_no_class_of_more_than_its_dtype_counts(name, dtype, classes, backend, tensor):
    y_pred = tensor(np.full((2, classes), 1.0 / classes, np.float32))
    for loss in both(name):
        with pytest.raises(_errors.LabelError, match="-1"):
            loss(tensor(np.array([0, -1], dtype)), y_pred)


NARROW = [("int8", 128), ("int8", 300), ("uint8", 256), ("int16", 40_000), ("uint16", 65_536)]


@pytest.mark.parametrize(("dtype", "classes"), NARROW)
@pytest.mark.parametrize("name", SPARSE)
def test_labels_of_a_narrow_dtype_are_the_same_among_more_classes_than_it_counts(
    name, dtype, classes, backend, tensor, host
):
    """The number of classes, in the dtype of such labels, is another number."""
    random = np.random.default_rng(1)
    largest = min(classes - 1, np.iinfo(dtype).max)
    labels, scores = np.array([0, largest // 2, largest]), random.normal(size=(3, classes)).astype(np.float32)
    probabilities = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    given = tensor(scores if "from_logits" in spec(name).defaults else probabilities.astype(np.float32))
    logits = {"from_logits": True} if "from_logits" in spec(name).defaults else {}
    weight = tensor(np.array([1.0, 2.0, 0.0], np.float32))

    def losses(dtype):
        y_true = tensor(labels.astype(dtype))
        loss = loss_class(name)(**logits)
        return [host(each) for each in (function(name)(y_true, given, **logits), loss(y_true, given, weight))]

    for found, expected in zip(losses(dtype), losses("int32"), strict=True):
        assert_close(found, expected, "float32")


@pytest.mark.parametrize(
    ("dtype", "label", "ignored"), [("uint8", 156, -100), ("int8", 5, 261), ("int32", 3, 2**32 + 3)]
)
@pytest.mark.parametrize("name", [name for name in SPARSE if "ignore_class" in spec(name).defaults])
def test_an_ignored_class_beyond_the_dtype_of_labels_is_none_of_them(
    name, dtype, label, ignored, backend, tensor, host
):
    y_true = tensor(np.array([label, 1], dtype))
    y_pred = tensor(np.full((2, 200), 1.0 / 200, np.float32))
    expected = host(function(name)(y_true, y_pred))
    assert_close(host(function(name)(y_true, y_pred, ignore_class=ignored)), expected, "float32")
    assert_close(host(loss_class(name)(ignore_class=ignored)(y_true, y_pred)), expected.mean(), "float32")


@pytest.mark.parametrize("ignored", [True, 0.5, 2**63, -(2**63) - 1, float("inf"), float("nan"), "0"])
@pytest.mark.parametrize("name", [name for name in SPARSE if "ignore_class" in spec(name).defaults])
def test_an_ignored_class_that_is_no_label_is_refused(name, ignored):
    with pytest.raises(_errors.ArgumentError, match="Expected an integer of 64 bits or None"):
        loss_class(name)(ignore_class=ignored)


@pytest.mark.parametrize("label", [2**31, 2**32 + 1, -(2**32) + 1])
@pytest.mark.parametrize("name", SPARSE)
def test_a_label_beyond_32_bits_does_not_wrap_around(name, label, backend):
    with pytest.raises((_errors.LabelError, _errors.DTypeError)):
        function(name)(np.array([1, label, 0], np.int64), Y_PRED)


@pytest.mark.parametrize("labels", [[0.5, 1.0, 2.0], [0.0, float("nan"), 1.0], [0.0, float("inf"), 1.0]])
@pytest.mark.parametrize("name", SPARSE)
def test_a_label_that_is_no_whole_number_is_refused(name, labels, backend, tensor):
    for loss in both(name):
        with pytest.raises(_errors.LabelError):
            loss(tensor(np.array(labels, np.float32)), tensor(Y_PRED))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "float32"])
@pytest.mark.parametrize("name", SPARSE)
def test_labels_may_have_any_integer_dtype(name, dtype, backend, tensor, host):
    for loss in both(name):
        expected = host(loss(tensor(np.array([1, 2, 0], np.int32)), tensor(Y_PRED)))
        assert_close(host(loss(tensor(np.array([1, 2, 0], dtype)), tensor(Y_PRED))), expected, "float32")


@pytest.mark.parametrize("name", SPARSE)
def test_booleans_are_the_classes_0_and_1(name, backend, tensor, host):
    expected = host(function(name)(tensor(np.array([1, 0, 1])), tensor(Y_PRED)))
    assert_close(host(function(name)(tensor(np.array([True, False, True])), tensor(Y_PRED))), expected, "float32")


@pytest.mark.needs("float16")
@pytest.mark.parametrize("name", SPARSE)
def test_labels_beyond_what_a_float_counts_are_exact(name, backend, tensor, host):
    """bfloat16 ends at 256, float16 at 2048: a label cast to the predictions' dtype would be its neighbour."""
    classes = 2051
    y_pred = np.zeros((1, classes), np.float16)
    y_pred[0, 2049] = 20.0
    cls = loss_class(name)
    loss = cls(from_logits=True, dtype="float32") if "from_logits" in spec(name).defaults else cls(dtype="float32")
    right, wrong = (host(loss(tensor(np.array([label])), tensor(y_pred))) for label in (2049, 2048))
    assert right < 1e-3 < wrong


@pytest.mark.parametrize("name", SPARSE)
def test_a_bad_label_that_does_not_count_is_no_error(name, backend, tensor, host):
    y_true, weight = tensor(np.array([1, 77, 0])), tensor(np.array([1.0, 0.0, 1.0], np.float32))
    assert np.isfinite(host(loss_class(name)()(y_true, tensor(Y_PRED), weight)))
    assert np.isfinite(host(loss_class(name)()(y_true, tensor(Y_PRED), mask=tensor(np.array([True, False, True])))))
    if "ignore_class" in spec(name).defaults:
        assert np.isfinite(host(function(name)(y_true, tensor(Y_PRED), ignore_class=77))).all()
        with pytest.raises(_errors.LabelError, match="ignore_class=5"):
            function(name)(y_true, tensor(Y_PRED), ignore_class=5)


TRACED = [-(2**31), -100, -1, 3, 255, 2**31 - 1]


@pytest.mark.backends("jax")
@pytest.mark.parametrize("name", SPARSE)
def test_a_bad_label_is_a_nan_row_under_jit(name, backend, tensor, host):
    import jax

    y_true = tensor(np.array([1, *TRACED], np.int32))
    y_pred = tensor(np.tile(Y_PRED[:1], (len(TRACED) + 1, 1)))
    values = host(jax.jit(function(name))(y_true, y_pred))
    assert np.isfinite(values[0])
    assert np.isnan(values[1:]).all()
    traced = jax.jit(jax.vmap(jax.grad(function(name), argnums=1)))(y_true, y_pred)
    assert np.isfinite(host(traced)[0]).all()
    assert np.isnan(host(traced)[1:]).any(-1).all()


@pytest.mark.backends("torch")
@pytest.mark.parametrize("name", SPARSE)
def test_a_bad_label_is_a_nan_row_in_a_compiled_graph_and_under_torch_func(name, backend, tensor, host):
    import torch

    torch._dynamo.reset()
    y_true = tensor(np.array([1, *TRACED], np.int32))
    y_pred = tensor(np.tile(Y_PRED[:1], (len(TRACED) + 1, 1)))
    values = host(torch.compile(function(name), fullgraph=True, backend="eager")(y_true, y_pred))
    assert np.isfinite(values[0])
    assert np.isnan(values[1:]).all()
    gradient = torch.func.vmap(torch.func.grad(function(name), argnums=1))(y_true, y_pred)
    assert np.isfinite(host(gradient)[0]).all()
    assert np.isnan(host(gradient)[1:]).any(-1).all()


@pytest.mark.needs("gradients")
@pytest.mark.parametrize("name", SPARSE)
def test_the_gradient_of_bad_labels_raises_too_where_values_are_at_hand(name, backend, tensor):
    with pytest.raises(_errors.LabelError):
        grad(loss_class(name)())(tensor(np.array([1, 5, 0])), tensor(Y_PRED))
