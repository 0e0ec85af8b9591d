"""Every public loss is traced by torch.compile and torch.func: one graph, and no recompilation over changing values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from multiloss._registry import load_backend
from multiloss.testing import assert_close, public_loss_classes
from tests.contract.facts import CLASSES, FUNCTIONS, SAMPLEWISE, data, function

pytestmark = pytest.mark.backends("torch")


@pytest.fixture
def compiled(backend):
    """Return torch.compile with a fast compiler, fullgraph, and a counter of the graphs that were built."""
    import torch
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    load_backend("numpy")  # its types become known: each new one would be worth a recompilation
    counter = CompileCounterWithBackend("eager")

    def compile_(fn):
        return torch.compile(fn, fullgraph=True, backend=counter)

    compile_.counter = counter
    yield compile_
    torch._dynamo.reset()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_compiles_to_one_graph(name, compiled, backend, tensor, host):
    loss = compiled(function(name))
    for seed in range(3):
        y_true, y_pred = (tensor(each) for each in data(name, seed=seed))
        assert_close(host(loss(y_true, y_pred)), host(function(name)(y_true, y_pred)), "float32")
    assert compiled.counter.frame_count == 1


def test_many_functions_compile_in_one_process(compiled, tensor):
    for name in FUNCTIONS[:12]:  # more than torch.compile allows recompilations of one function
        compiled(function(name))(*(tensor(each) for each in data(name)))
    assert compiled.counter.frame_count == 12


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_with_weights_and_mask_compiles_to_one_graph_with_its_gradient(name, compiled, backend, tensor, host):
    import torch

    loss = public_loss_classes()[name]()

    def step(y_true, y_pred, weight, mask):
        return loss(y_true, y_pred, weight, mask)

    step(*(tensor(each) for each in (*data(name), np.ones(6, np.float32), np.ones(6, bool))))
    fast = compiled(step)  # after a first call: a type that is seen for the first time is worth one recompilation
    for seed in range(3):
        y_true, y_pred = (tensor(each) for each in data(name, seed=seed))
        weight, mask = tensor(np.arange(6, dtype=np.float32) + seed), tensor(np.arange(6) % 3 > 0)
        leaf, other = (torch.nn.Parameter(y_pred.clone()) for _ in range(2))
        value = fast(y_true, leaf, weight, mask)
        expected = step(y_true, other, weight, mask)
        assert_close(host(value), host(expected), "float32")
        value.backward()
        expected.backward()
        assert_close(host(leaf.grad), host(other.grad), "float32")
    assert compiled.counter.frame_count == 1


@pytest.mark.parametrize("name", SAMPLEWISE)
def test_torch_func_differentiates_and_maps(name, backend, tensor, host):
    import torch

    def total(y_pred, y_true):
        return function(name)(y_true, y_pred).sum()

    y_true, y_pred = (tensor(each) for each in data(name))
    whole = torch.func.grad(total)(y_pred, y_true)
    assert_close(host(torch.func.vmap(torch.func.grad(total))(y_pred, y_true)), host(whole), "float32")
    leaf = y_pred.clone().requires_grad_()
    total(leaf, y_true).backward()
    assert_close(host(whole), host(leaf.grad), "float32")


def test_shapes_are_checked_in_a_compiled_function(compiled, backend, tensor):
    import torch

    y_true, y_pred = (tensor(each) for each in data("mean_squared_error"))
    with pytest.raises(Exception, match=r"ShapeError|y_true has shape"):
        torch.compile(function("mean_squared_error"), backend="eager")(y_true[:5], y_pred)


def test_gradients_inside_a_compiled_function(compiled, backend, tensor, host):
    from multiloss import value_and_grad

    loss = public_loss_classes()["Huber"]()
    y_true, y_pred = (tensor(each) for each in data("Huber"))
    value, gradient = compiled(lambda y_true, y_pred: value_and_grad(loss)(y_true, y_pred))(y_true, y_pred)
    expected, expected_gradient = value_and_grad(loss)(y_true, y_pred)
    assert_close(host(value), host(expected), "float32")
    assert_close(host(gradient), host(expected_gradient), "float32")


def test_the_default_compiler_builds_a_loss(backend, tensor, host):
    import torch

    torch._dynamo.reset()
    loss = public_loss_classes()["CategoricalCrossentropy"](from_logits=True)
    y_true, y_pred = (tensor(each) for each in data("CategoricalCrossentropy", from_logits=True))
    leaf = y_pred.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's compiler deprecates parts of itself
        value = torch.compile(loss, fullgraph=True)(y_true, leaf)
        value.backward()
    assert_close(host(value), host(loss(y_true, y_pred)), "float32")
    assert np.isfinite(host(leaf.grad)).all()


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_operations_that_are_written_down_serve_other_labels(name, backend, tensor, host):
    from torch.fx.experimental.proxy_tensor import make_fx

    loss = function(name)
    y_pred = tensor(np.array([[0.3, 0.2]], np.float32))
    zeros_and_ones, signs = (tensor(np.array(each, np.float32)) for each in ([[0.0, 1.0]], [[-1.0, 1.0]]))
    for mode in ("real", "symbolic"):
        written = make_fx(loss, tracing_mode=mode)(zeros_and_ones, y_pred)
        for labels in (zeros_and_ones, signs):
            np.testing.assert_array_equal(host(written(labels, y_pred)), host(loss(labels, y_pred)))


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_what_torch_jit_writes_down_serves_other_labels(name, backend, tensor, host):
    import torch

    y_pred = tensor(np.array([[0.3, 0.2]], np.float32))
    zeros_and_ones, signs = (tensor(np.array(each, np.float32)) for each in ([[0.0, 1.0]], [[-1.0, 1.0]]))
    written = torch.jit.trace(function(name), (zeros_and_ones, y_pred))
    for labels in (zeros_and_ones, signs):
        np.testing.assert_array_equal(host(written(labels, y_pred)), host(function(name)(labels, y_pred)))


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "huber"])
def test_a_tensor_of_tensors_is_not_looked_into(name, backend, tensor, host):
    from torch.testing._internal.two_tensor import TwoTensor

    y_true, y_pred = (tensor(np.sign(each) if name != "huber" else each) for each in data("hinge"))
    found = function(name)(TwoTensor(y_true, y_true.clone()), TwoTensor(y_pred, y_pred.clone()))
    np.testing.assert_array_equal(host(found.a), host(function(name)(y_true, y_pred)))
