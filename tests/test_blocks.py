"""Large tensors are taken some rows at a time: the same numbers, whatever the size of a block and the number of threads."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor

import multiloss
import numpy as np
import pytest
from multiloss import backend as K
from multiloss import losses
from multiloss._errors import ArgumentError
from multiloss.losses._spec import spec_of
from multiloss.testing import assert_close, example, public_losses

pytestmark = pytest.mark.backends("numpy", "torch")  # JAX's compiler fuses
LOSSES = [*sorted(name for name, fn in public_losses().items() if spec_of(fn).by_rows), "hinge", "squared_hinge"]
SHAPE = (37, 3, 5)


@pytest.fixture
def cut(backend, monkeypatch):
    """A function that has tensors of any size cut into blocks of so many elements; 0 turns blocks off.

    What is evaluated after it must really have been cut: a test of blocks that are never made would prove nothing. For
    arguments of which there is nothing to cut, `made=False`.
    """
    blocks = importlib.import_module(f"multiloss_{backend.name}._blocks")
    in_blocks, calls = blocks.in_blocks, []

    def counted(fn, tensors, *others):
        calls.append(tensors)
        return in_blocks(fn, tensors, *others)

    monkeypatch.setattr(blocks, "in_blocks", counted)
    expected: list[bool] = []

    def verify() -> None:
        if expected:
            assert bool(calls) == expected.pop(), f"blocks were {'' if calls else 'not '}made"

    def set_size(size: int, *, made: bool = True) -> None:
        verify()
        calls.clear()
        expected[:] = [bool(size) and made]
        monkeypatch.setattr(blocks, "LARGE", 1 if size else 1 << 62)
        monkeypatch.setattr(blocks, "BLOCK", size)

    yield set_size
    verify()


def evaluate(fn, y_true, y_pred):
    """Return the values, and the gradient of their sum with a weight of its own for each row."""

    def weighted(p):
        values = fn(y_true, p)
        return K.sum(values * K.cast(K.reshape(K.arange(values.shape[0], like=values), (-1, 1)), K.dtype(values)))

    return fn(y_true, y_pred), multiloss.grad(weighted)(y_pred)


@pytest.mark.parametrize("size", [1, 40, 10_000])
@pytest.mark.parametrize("name", LOSSES)
def test_blocks_change_neither_values_nor_gradients(name, size, cut, tensor, host):
    fn = getattr(losses, name)
    y_true, y_pred = example(spec_of(fn), SHAPE, seed=3)
    y_true, y_pred = tensor(y_true, str(y_true.dtype)), tensor(y_pred, "float64")
    cut(0)
    whole = evaluate(fn, y_true, y_pred)
    cut(size)
    for part, expected in zip(evaluate(fn, y_true, y_pred), whole, strict=True):
        assert_close(host(part), host(expected), "float64")


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("name", ["binary_crossentropy", "huber", "sparse_categorical_crossentropy"])
def test_numpy_differentiates_a_gradient(name, cut):
    fn = getattr(losses, name)
    y_true, y_pred = example(spec_of(fn), SHAPE, seed=3)

    def steepness(p):
        return K.sum(K.square(multiloss.grad(lambda q: K.sum(fn(y_true, q)))(p)))

    cut(0)
    expected = multiloss.grad(steepness)(y_pred)
    cut(40, made=False)  # of what is differentiated again: such gradients are taken of the whole formula
    assert_close(multiloss.grad(steepness)(y_pred), expected, "float64")


@pytest.mark.backends("torch")
@pytest.mark.parametrize("order", [2, 3])
def test_torch_differentiates_blocks_again_and_again(order, cut, tensor, host):
    fn = losses.log_cosh
    y_true, y_pred = (tensor(each, "float64") for each in example(spec_of(fn), SHAPE, seed=3))

    def derivative():
        torch = sys.modules["torch"]
        leaf = y_pred.clone().requires_grad_()
        value = fn(y_true, leaf).square().sum()
        for _ in range(order):
            (value,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
        return host(value)

    cut(0)
    expected = derivative()
    cut(40)
    assert_close(derivative(), expected, "float64")


@pytest.mark.backends("torch")
def test_torch_differentiates_both_arguments_of_which_one_is_made_from_the_other(cut, tensor, host):
    y_pred = tensor(example(spec_of(losses.mean_squared_error), SHAPE)[1], "float64")

    def both():
        leaf = y_pred.clone().requires_grad_()
        losses.mean_squared_error(leaf * leaf, leaf).sum().backward()
        return host(leaf.grad)

    cut(0)
    expected = both()
    cut(40)
    assert_close(both(), expected, "float64")


@pytest.mark.backends("torch")
def test_torch_keeps_the_graph_for_a_second_way_back(cut, tensor, host):
    y_true, y_pred = (tensor(each, "float64") for each in example(spec_of(losses.poisson), SHAPE))
    cut(40)
    leaf = y_pred.clone().requires_grad_()
    value = 3.0 * losses.poisson(y_true, leaf).sum()
    value.backward(retain_graph=True)
    once = host(leaf.grad).copy()
    value.backward()
    assert_close(host(leaf.grad), 2 * once, "float64")


@pytest.mark.parametrize("weights", ["float64", "bool"])
def test_blocks_leave_out_what_has_no_weight(weights, cut, tensor, host):
    y_true, y_pred = example(spec_of(losses.categorical_crossentropy), (37, 5))
    y_pred[::4] = np.nan
    kept = np.arange(37) % 4 != 0
    cut(20)
    loss = losses.CategoricalCrossentropy()
    value = loss(tensor(y_true, "float64"), tensor(y_pred, "float64"), mask=tensor(kept.astype(weights), weights))
    assert_close(host(value), host(loss(y_true[kept], y_pred[kept])), "float64")


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("size", [9_000, 20_000])
@pytest.mark.parametrize("threads", ["1", "2", "7"])
@pytest.mark.parametrize("name", ["binary_crossentropy", "categorical_crossentropy", "cosine_similarity", "log_cosh"])
def test_threads_and_blocks_change_no_digit(name, threads, size, cut, monkeypatch):
    fn = getattr(losses, name)
    y_true, y_pred = (each.astype(np.float32) for each in example(spec_of(fn), (9_000, 10)))
    monkeypatch.setenv("MULTILOSS_NUM_THREADS", "1")
    cut(0)
    values = fn(y_true, y_pred)
    cut(y_pred.size)
    gradient = evaluate(fn, y_true, y_pred)[1]
    cut(size)
    monkeypatch.setenv("MULTILOSS_NUM_THREADS", threads)
    found, slopes = evaluate(fn, y_true, y_pred)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(slopes, gradient)


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(threads, cut, monkeypatch):
    cut(10)
    monkeypatch.setenv("MULTILOSS_NUM_THREADS", threads)
    with pytest.raises(ArgumentError, match="MULTILOSS_NUM_THREADS"):
        losses.mean_squared_error(np.zeros((9, 5)), np.ones((9, 5)))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_formula_of_rows_may_return_several_tensors(transposed, cut, backend, tensor, host):
    x = tensor(np.arange(60.0).reshape(3, 20).T if transposed else np.arange(60.0).reshape(20, 3))
    cut(9)
    double, total, turned = K.run_rows(
        lambda _, rows: (2 * rows, K.sum(rows, -1), K.moveaxis(K.stack([rows[:, k] for k in range(3)], 0), 0, 1)), x, x
    )
    np.testing.assert_array_equal(host(double), 2 * host(x))
    np.testing.assert_array_equal(host(total), host(x).sum(-1))
    np.testing.assert_array_equal(host(turned), host(x))


@pytest.mark.backends("numpy")
def test_an_error_in_a_block_reaches_the_caller(cut):
    def fails_late(y_true, y_pred):
        if y_pred[0, 0] == 7:
            raise ZeroDivisionError("late")
        return K.mean(y_pred, -1)

    cut(5)
    y_pred = np.zeros((100, 5))
    y_pred[60] = 7
    with pytest.raises(ZeroDivisionError, match="late"):
        K.run_rows(fails_late, y_pred, y_pred)


@pytest.mark.backends("numpy")
def test_blocks_of_many_threads_at_once(cut):
    y_true, y_pred = example(spec_of(losses.huber), (300, 10))
    cut(0)
    expected = losses.huber(y_true, y_pred)
    cut(50)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: losses.huber(y_true, y_pred), range(40)):
            np.testing.assert_array_equal(found, expected)


def _in_a_child(y_true, y_pred, answers):
    answers.put(losses.huber(y_true, y_pred))


@pytest.mark.backends("numpy")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_blocks_work_in_a_forked_child(cut, monkeypatch):
    monkeypatch.setenv("MULTILOSS_NUM_THREADS", "3")
    y_true, y_pred = example(spec_of(losses.huber), (300, 10))
    cut(50)
    expected = losses.huber(y_true, y_pred)  # its threads run now, and do not in the child
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_in_a_child, args=(y_true, y_pred, answers))
    child.start()
    np.testing.assert_array_equal(answers.get(timeout=60), expected)
    child.join(60)


@pytest.mark.parametrize("shape", [(0, 5), (37, 0), (0, 0)])
def test_empty_tensors_have_their_empty_value(shape, cut, tensor, host):
    cut(10, made=False)
    values = host(
        losses.categorical_crossentropy(tensor(np.zeros(shape), "float64"), tensor(np.zeros(shape), "float64"))
    )
    np.testing.assert_array_equal(values, np.zeros(shape[0]))


@pytest.mark.parametrize(
    "view", [lambda x: x[::2], lambda x: x[:, ::2], lambda x: x.swapaxes(0, 1)], ids=["rows", "columns", "order"]
)
def test_views_are_taken_by_rows_too(view, cut, tensor, host):
    y_true, y_pred = (tensor(each, "float64") for each in example(spec_of(losses.mean_absolute_error), (30, 30)))
    cut(0)
    expected = host(losses.mean_absolute_error(view(y_true), view(y_pred)))
    cut(70)
    assert_close(host(losses.mean_absolute_error(view(y_true), view(y_pred))), expected, "float64")
