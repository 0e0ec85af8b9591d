"""Shapes: aligned as Keras does, then equal; nothing is ever broadcast across samples."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors
from multiloss.testing import assert_close
from tests.contract.facts import FUNCTIONS, SAMPLEWISE, data, function, loss_class, spec

ELEMENTWISE = [name for name in FUNCTIONS if spec(name).target != "class index" and spec(name).event != "row"]
BY_CLASS_INDEX = [name for name in FUNCTIONS if spec(name).target == "class index"]

ALIGNED = {
    "(N,) beside (N, 1)": ((5,), (5, 1), (5, 1)),
    "(N, 1) beside (N,)": ((5, 1), (5,), (5, 1)),
    "(N, T) beside (N, T, 1)": ((5, 3), (5, 3, 1), (5, 3)),
    "(N, T, 1) beside (N, T)": ((5, 3, 1), (5, 3), (5, 3)),
}
REFUSED = {
    "(N, 1) beside (N, K)": ((5, 1), (5, 3)),
    "(N, K) beside (N, 1)": ((5, 3), (5, 1)),
    "(N,) beside (N, N, 1)": ((5,), (5, 5, 1)),
    "(1, K) beside (N, K)": ((1, 3), (5, 3)),
    "(8,) beside (8, 8, 1)": ((8,), (8, 8, 1)),
    "(N,) beside (N, N)": ((5,), (5, 5)),
    "(N,) beside (M,)": ((5,), (4,)),
    "() beside (N,)": ((), (5,)),
    "(N, K) beside (K, N)": ((5, 3), (3, 5)),
}


@pytest.mark.parametrize("shapes", ALIGNED.values(), ids=ALIGNED.keys())
@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name in SAMPLEWISE])
def test_a_missing_axis_of_size_1_is_matched(name, shapes, backend, tensor, host):
    shape_true, shape_pred, shape = shapes
    y_true, y_pred = data(name, shape)
    matched = function(name)(tensor(y_true.reshape(shape_true)), tensor(y_pred.reshape(shape_pred)))
    assert_close(host(matched), host(function(name)(tensor(y_true), tensor(y_pred))), "float32")
    assert tuple(matched.shape) == shape[:-1]


@pytest.mark.parametrize("shapes", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_samples_are_never_broadcast(name, shapes, backend, tensor):
    shape_true, shape_pred = shapes
    y_true, y_pred = tensor(np.ones(shape_true, np.float32)), tensor(np.ones(shape_pred, np.float32))
    for loss in (function(name), loss_class(name)()):
        with pytest.raises(_errors.ShapeError) as caught:
            loss(y_true, y_pred)
        assert str(shape_true) in str(caught.value)
        assert str(shape_pred) in str(caught.value)


@pytest.mark.backends("jax")
@pytest.mark.parametrize("shapes", [REFUSED["(N,) beside (N, N, 1)"], REFUSED["(1, K) beside (N, K)"]])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_samples_are_not_broadcast_under_jit_either(name, shapes, backend, tensor):
    given = [tensor(np.ones(shape, np.float32)) for shape in shapes]
    with pytest.raises(_errors.ShapeError) as caught:
        backend.jit(function(name))(*given)
    assert all(str(shape) in str(caught.value) for shape in shapes)


@pytest.mark.backends("torch")
def test_samples_are_not_broadcast_in_a_compiled_graph_either(backend, tensor):
    import torch

    torch.compiler.reset()
    # Not fullgraph=True, where Dynamo puts an exception of its own in the place of any other.
    traced = torch.compile(function("mean_squared_error"), backend="eager")
    with pytest.raises(_errors.ShapeError, match=r"\(1, 3\) and y_pred has shape \(5, 3\)"):
        traced(tensor(np.ones((1, 3), np.float32)), tensor(np.ones((5, 3), np.float32)))


@pytest.mark.parametrize("name", BY_CLASS_INDEX)
@pytest.mark.parametrize(
    ("shape_true", "shape_pred", "shape"),
    [((5,), (5, 3), (5,)), ((5, 1), (5, 3), (5,)), ((5, 2), (5, 2, 3), (5, 2)), ((5, 2, 1), (5, 2, 3), (5, 2))],
)
def test_class_indices_have_no_class_axis_or_one_of_size_1(name, shape_true, shape_pred, shape, backend, tensor):
    y_true, y_pred = np.zeros(shape_true, np.int32), np.full(shape_pred, 1 / 3, np.float32)
    assert tuple(function(name)(tensor(y_true), tensor(y_pred)).shape) == shape


@pytest.mark.parametrize("name", BY_CLASS_INDEX)
@pytest.mark.parametrize(
    ("shape_true", "shape_pred"),
    [((5, 3), (5, 3)), ((4,), (5, 3)), ((1,), (5, 3)), ((5, 2), (5, 3)), ((5,), (5, 2, 3)), ((), (5, 3))],
)
def test_class_indices_of_another_shape_are_refused(name, shape_true, shape_pred, backend, tensor):
    y_true, y_pred = tensor(np.zeros(shape_true, np.int32)), tensor(np.full(shape_pred, 1 / 3, np.float32))
    for loss in (function(name), loss_class(name)()):
        with pytest.raises(_errors.ShapeError) as caught:
            loss(y_true, y_pred)
        assert str(shape_true) in str(caught.value)
        assert str(shape_pred) in str(caught.value)


def test_one_hot_labels_for_a_sparse_loss_are_pointed_to_the_dense_one(backend, tensor):
    with pytest.raises(_errors.ShapeError, match="one-hot labels: use categorical_crossentropy"):
        function("sparse_categorical_crossentropy")(
            tensor(np.eye(3, dtype="float32")), tensor(np.ones((3, 3), "float32"))
        )


def test_class_indices_for_a_dense_loss_are_pointed_to_the_sparse_one(backend, tensor):
    with pytest.raises(_errors.ShapeError, match="sparse_categorical_crossentropy"):
        function("categorical_crossentropy")(tensor(np.array([0, 1, 2, 1])), tensor(np.ones((4, 3), "float32")))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_axis_that_does_not_exist_is_refused(name, backend, tensor):
    if "axis" not in spec(name).defaults:
        with pytest.raises(TypeError):
            function(name)([0.0], [1.0], axis=-1)
        return
    y_true, y_pred = (tensor(each) for each in data(name))
    for loss in (lambda *given: function(name)(*given, axis=2), loss_class(name)(axis=2)):
        with pytest.raises(_errors.ShapeError, match="axis=2"):
            loss(y_true, y_pred)


@pytest.mark.parametrize("name", SAMPLEWISE)
def test_a_function_returns_one_value_per_sample(name, backend, tensor):
    for shape in ((5, 3), (2, 3, 4), (2, 2, 3, 4)):
        y_true, y_pred = data(name, shape)
        assert tuple(function(name)(tensor(y_true), tensor(y_pred)).shape) == shape[:-1]
