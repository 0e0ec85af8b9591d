"""Every public loss is traced by JAX's transforms."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors
from multiloss.testing import assert_close, public_loss_classes, variants
from tests.contract.facts import CLASSES, SAMPLEWISE, data, function, spec

pytestmark = pytest.mark.backends("jax")


@pytest.mark.parametrize("name", SAMPLEWISE)
def test_a_function_is_jitted_mapped_and_differentiated(name, backend, tensor, host):
    import jax

    loss = function(name)
    y_true, y_pred = (tensor(each) for each in data(name))
    expected = host(loss(y_true, y_pred))
    assert_close(host(jax.jit(loss)(y_true, y_pred)), expected, "float32")
    per_sample = jax.vmap(jax.value_and_grad(lambda y_pred, y_true: loss(y_true, y_pred).sum()))
    values, gradients = jax.jit(per_sample)(y_pred, y_true)
    assert_close(host(values), expected, "float32")
    whole = jax.grad(lambda y_pred: loss(y_true, y_pred).sum())(y_pred)
    assert_close(host(gradients), host(whole), "float32")


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_jitted_scanned_and_differentiated_with_weights_and_mask(name, backend, tensor, host):
    import jax

    loss = public_loss_classes()[name]()
    y_true, y_pred = (tensor(each) for each in data(name))
    weight, mask = tensor(np.arange(6, dtype=np.float32)), tensor(np.arange(6) % 3 > 0)
    batch = (y_true, y_pred, weight, mask)
    expected = host(loss(*batch))
    value, gradient = jax.jit(jax.value_and_grad(loss, argnums=1))(*batch)
    assert_close(host(value), expected, "float32")
    assert_close(host(gradient), host(jax.grad(loss, argnums=1)(*batch)), "float32")
    several = jax.tree.map(lambda x: x[None].repeat(3, 0), batch)
    _, values = jax.lax.scan(lambda carry, part: (carry, loss(*part)), 0, several)
    assert_close(host(values), np.repeat(expected, 3), "float32")


@pytest.mark.parametrize("name", CLASSES)
def test_every_option_is_static_under_jit(name, backend, tensor, host):
    import jax

    for parameters in variants(spec(name))[1:]:
        loss = public_loss_classes()[name](**parameters)
        y_true, y_pred = (tensor(each) for each in data(name, (4, 4), **parameters))
        assert_close(host(jax.jit(loss)(y_true, y_pred)), host(loss(y_true, y_pred)), "float32")


@pytest.mark.parametrize("name", CLASSES)
def test_shapes_are_checked_under_jit(name, backend, tensor):
    import jax

    y_true, y_pred = (tensor(each) for each in data(name))
    with pytest.raises(_errors.ShapeError):
        jax.jit(public_loss_classes()[name]())(y_true[:5], y_pred)


def test_a_loss_is_compiled_once_for_changing_values(backend, tensor):
    import jax

    traces = []
    loss = public_loss_classes()["CategoricalCrossentropy"]()

    @jax.jit
    def step(y_true, y_pred):
        traces.append(1)
        return loss(y_true, y_pred)

    for seed in range(3):
        step(*(tensor(each) for each in data("CategoricalCrossentropy", seed=seed)))
    assert len(traces) == 1


@pytest.mark.parametrize(
    "name", ["hinge", "huber", "categorical_hinge", "categorical_crossentropy", "cosine_similarity"]
)
def test_a_function_is_exported_for_any_number_of_samples(name, backend, tensor, host):
    import jax
    from jax import export

    example = [tensor(each) for each in data(name)]
    (samples,) = export.symbolic_shape("n")
    shapes = [jax.ShapeDtypeStruct((samples, *each.shape[1:]), each.dtype) for each in example]
    exported = export.export(jax.jit(function(name)))(*shapes)
    assert_close(host(exported.call(*example)), host(function(name)(*example)), "float32")
