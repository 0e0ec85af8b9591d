import numpy as np
import pytest
from multiloss import utils
from multiloss._errors import ArgumentError, DTypeError, LabelError, ShapeError
from multiloss.utils import to_categorical


def test_old_path_is_the_same_function():
    from multiloss.utils.np_utils import to_categorical as old

    assert old is to_categorical
    assert utils.np_utils.to_categorical is to_categorical


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 2], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        ([[0], [2]], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        ([[0, 1], [1, 0]], [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]),
        ([1], [[0.0, 1.0]]),
        (1, [0.0, 1.0]),
        ([0.0, 1.0], [[1.0, 0.0], [0.0, 1.0]]),
        ([True, False], [[0.0, 1.0], [1.0, 0.0]]),
        ([[[0]], [[1]]], [[[1.0, 0.0]], [[0.0, 1.0]]]),
    ],
)
def test_labels_become_one_hot_vectors(tensor, host, backend, labels, expected):
    for given in (labels, tensor(labels)):
        hot = to_categorical(given)
        assert isinstance(hot, backend.tensor_types)
        assert backend.dtype(hot) == "float32"
        np.testing.assert_array_equal(host(hot), expected)


def test_num_classes_sets_the_length(tensor, host):
    np.testing.assert_array_equal(host(to_categorical(tensor([1]), num_classes=4)), [[0.0, 1.0, 0.0, 0.0]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "bool"])
def test_dtype_is_the_one_asked_for(tensor, backend, dtype):
    assert backend.dtype(to_categorical(tensor([0, 1]), dtype=dtype)) == dtype


def test_dtype_may_be_an_object(backend):
    assert backend.dtype(to_categorical([0, 1], dtype=np.dtype("float16"))) == "float16"


def test_small_integer_labels_meet_many_classes(tensor, host):
    hot = to_categorical(tensor(np.array([7], "int8")), num_classes=300)
    assert host(hot).sum() == 1.0
    assert host(hot)[0, 7] == 1.0


@pytest.mark.parametrize(
    ("labels", "num_classes", "first"),
    [([0, 3], 3, "1"), ([0, -1], None, "1"), ([0, -1], 3, "1"), ([0.5], None, "0"), ([[0, 1], [9, 0]], 2, "1, 0")],
)
def test_labels_out_of_range_are_named(tensor, labels, num_classes, first):
    with pytest.raises(LabelError, match=rf"x\[{first}\] is "):
        to_categorical(tensor(labels), num_classes)


@pytest.mark.parametrize("labels", [np.array(["cat", "dog"]), np.array([1j]), np.array([object()])])
def test_what_cannot_be_a_label_is_refused(backend, labels):
    with pytest.raises(DTypeError, match="Expected real numbers"):
        to_categorical(labels)


def test_nan_is_no_label(tensor):
    with pytest.raises(LabelError, match="nan"):
        to_categorical(tensor([0.0, float("nan")]))


def test_one_scalar_label_out_of_range_is_named(tensor):
    with pytest.raises(LabelError, match="x is 5"):
        to_categorical(tensor(5), 3)


@pytest.mark.parametrize("bad", [0, -1, 2.0, "3", True])
def test_num_classes_is_a_positive_integer(backend, bad):
    with pytest.raises(ArgumentError, match="positive integer"):
        to_categorical([0, 1], bad)


def test_no_labels_need_num_classes(backend, host):
    with pytest.raises(ArgumentError, match="num_classes"):
        to_categorical([])
    assert host(to_categorical([], num_classes=3)).shape == (0, 3)


def test_ragged_lists_are_refused(backend):
    with pytest.raises(ShapeError):
        to_categorical([[0], [1, 2]])


@pytest.mark.backends("torch", "jax")
def test_inside_a_trace_num_classes_is_needed(tensor, compiled):
    with pytest.raises(Exception, match=r"(?s)num_classes|Unsupported"):
        compiled(lambda labels: to_categorical(labels))(tensor([0, 1]))


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize("labels", [[0, 5, 1], [0.0, 0.5, 1.0]])
def test_inside_a_trace_a_bad_label_gives_nan(tensor, host, compiled, labels):
    hot = host(compiled(lambda x: to_categorical(x, 2))(tensor(labels)))
    np.testing.assert_array_equal(hot, [[1.0, 0.0], [np.nan, np.nan], [0.0, 1.0]])
