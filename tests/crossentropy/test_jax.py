"""Cross-entropies of many classes on JAX: under its transformations, in chunks of rows and of columns, and split over devices."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from multiloss.dispatch import K
from multiloss.interface import Backend
from tests.crossentropy.reference import reference

pytestmark = pytest.mark.backends("jax")

RNG = np.random.default_rng(0)


def rows(n: int, classes: int, confident: float = 30.0) -> tuple[Any, Any]:
    import jax.numpy as jnp

    logits = RNG.normal(size=(n, classes)).astype(np.float32)
    label = RNG.integers(0, classes, n).astype(np.int32)
    logits[::3][np.arange(len(logits[::3])), label[::3]] = confident
    return jnp.asarray(label), jnp.asarray(logits)


OPTIONS = [
    {"label_smoothing": 0.0, "class_weight": False, "z_loss": 0.0, "softcap": None},
    {"label_smoothing": 0.1, "class_weight": False, "z_loss": 0.0, "softcap": None},
    {"label_smoothing": 0.0, "class_weight": True, "z_loss": 1e-3, "softcap": None},
    {"label_smoothing": 0.1, "class_weight": True, "z_loss": 1e-3, "softcap": 20.0},
]


@pytest.mark.parametrize(("options", "soft"), list(itertools.product(OPTIONS, [False, True])))
def test_every_option_gives_the_value_and_the_gradient_of_the_formula(backend, options, soft):
    import jax
    import jax.numpy as jnp

    label, logits = rows(7, 131)
    target = label if not soft else jnp.asarray(RNG.dirichlet(np.ones(131), 7).astype(np.float32))
    weight = jnp.asarray(RNG.random(7).astype(np.float32)).at[2].set(0.0)
    options = options | {
        "class_weight": jnp.asarray(RNG.random(131).astype(np.float32)) if options["class_weight"] else None
    }
    values, slopes = reference(np.asarray(target), logits, weight, **options)
    logits = logits.at[2].set(jnp.nan)

    def total(z: Any) -> Any:
        return K.softmax_crossentropy(target, z, weight, total=True, **options)

    value, gradient = jax.jit(jax.value_and_grad(total))(logits)
    np.testing.assert_allclose(value, values.sum(), rtol=2e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=2e-4, atol=2e-7)
    found, pull = jax.vjp(lambda z: K.softmax_crossentropy(target, z, weight, **options), logits)
    np.testing.assert_allclose(found, values, rtol=2e-6)
    upstream = RNG.normal(size=7).astype(np.float32)
    np.testing.assert_allclose(pull(jnp.asarray(upstream))[0], slopes * upstream[:, None], rtol=2e-4, atol=4e-7)


@pytest.mark.parametrize("classes", [1, 2, 127, 2047, 4096, 4097, 50257])
def test_any_number_of_classes_is_as_good(backend, classes, monkeypatch):
    import jax

    monkeypatch.setattr("multiloss_jax._crossentropy._SLICE", 3 * classes)  # seven rows are three slices
    label, logits = rows(7, classes)
    z = np.asarray(logits, np.float64)
    own = np.take_along_axis(z, np.asarray(label)[:, None], 1)
    terms = np.exp(z - own)
    np.put_along_axis(terms, np.asarray(label)[:, None], 0, 1)
    nll = np.log1p(terms.sum(1))
    p = terms / (1 + terms.sum(1, keepdims=True))
    np.put_along_axis(p, np.asarray(label)[:, None], np.expm1(-nll)[:, None], 1)
    values, pull = jax.vjp(lambda z: K.softmax_crossentropy(label, z), logits)
    np.testing.assert_allclose(values, nll, rtol=1e-6)
    np.testing.assert_allclose(pull(values * 0 + 1)[0], p, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("logit", [0.0, 16.0, 20.0, 30.0, 80.0])
@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_a_confident_row_keeps_its_digits(backend, logit, shift):
    import jax
    import jax.numpy as jnp

    logits = RNG.normal(size=(3, 5000)).astype(np.float32)
    logits[:, 5] = logit
    logits = (logits + np.float32(shift)).astype(np.float32)
    z = logits.astype(np.float64)
    nll = np.log1p(np.exp(np.delete(z, 5, 1) - z[:, 5:6]).sum(1))
    label = jnp.full((3,), 5, jnp.int32)
    values, pull = jax.vjp(lambda z: K.softmax_crossentropy(label, z), jnp.asarray(logits))
    np.testing.assert_allclose(values, nll, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(pull(values * 0 + 1)[0][:, 5], np.expm1(-nll), rtol=1e-6, atol=1e-37)


def test_infinite_logits_of_other_classes_are_classes_that_cannot_be(backend):
    import jax
    import jax.numpy as jnp

    _, logits = rows(4, 600)
    logits = logits.at[:, ::2].set(-jnp.inf)
    label = jnp.full((4,), 301, jnp.int32)
    values, pull = jax.vjp(lambda z: K.softmax_crossentropy(label, z), logits)
    np.testing.assert_allclose(values, K.softmax_crossentropy(label // 2, logits[:, 1::2]), rtol=1e-6)
    (gradient,) = pull(jnp.ones(4))
    assert np.isfinite(gradient).all()
    assert (gradient[:, ::2] == 0).all()


def test_rows_of_weight_0_cost_0_and_no_rows_do(backend):
    import jax
    import jax.numpy as jnp

    label, logits = rows(4, 33)
    dead = jnp.zeros(4)
    value, gradient = jax.value_and_grad(lambda z: K.softmax_crossentropy(label, z, dead, total=True))(logits * jnp.nan)
    assert value == 0
    assert (gradient == 0).all()
    value, gradient = jax.value_and_grad(lambda z: K.softmax_crossentropy(label[:0], z, None, total=True))(logits[:0])
    assert value == 0
    assert gradient.shape == (0, 33)
    assert K.softmax_crossentropy(jnp.zeros((0, 3), jnp.int32), jnp.zeros((0, 3, 5))).shape == (0, 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_added_up_in_float32(backend, dtype):
    import jax

    label, logits = rows(6, 999, 9.0)
    narrow = K.cast(logits, dtype)
    value, gradient = jax.value_and_grad(lambda z: K.softmax_crossentropy(label, z, None, total=True))(narrow)
    expected, slopes = jax.value_and_grad(lambda z: K.softmax_crossentropy(label, z, None, total=True))(
        K.cast(narrow, "float32")
    )
    assert value.dtype == np.float32
    assert gradient.dtype == narrow.dtype
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(K.cast(gradient, "float32"), slopes, rtol=1e-2, atol=1e-7)


def test_forward_mode_hessians_and_vmap_work(backend):
    import jax
    import jax.numpy as jnp

    label, logits = rows(3, 5, 2.0)

    def total(z: Any) -> Any:
        return K.softmax_crossentropy(label, z, None, total=True)

    p = np.asarray(jax.nn.softmax(logits))
    for hessian in (jax.hessian(total)(logits), jax.jacrev(jax.grad(total))(logits)):
        for row in range(3):
            np.testing.assert_allclose(hessian[row, :, row], np.diag(p[row]) - np.outer(p[row], p[row]), atol=1e-6)
    _, tangent = jax.jvp(total, (logits,), (logits,))
    np.testing.assert_allclose(tangent, jnp.sum(jax.grad(total)(logits) * logits), rtol=1e-5)
    both = jax.vmap(jax.grad(total))(jnp.stack([logits, 2 * logits]))
    np.testing.assert_allclose(both[1], jax.grad(total)(2 * logits), rtol=1e-6)


def test_values_of_many_logits_need_little_memory(backend):
    import jax

    label, logits = rows(512, 8192)
    plan = jax.jit(lambda z: K.softmax_crossentropy(label, z, None, total=True)).lower(logits).compile()
    assert plan.memory_analysis().temp_size_in_bytes < logits.nbytes // 8
    plan = jax.jit(jax.grad(lambda z: K.softmax_crossentropy(label, z, None, total=True))).lower(logits).compile()
    assert plan.memory_analysis().temp_size_in_bytes < logits.nbytes // 8  # beside the gradient


# ── Hidden states ───────────────────────────────────────────────────────────────────────────────────────────────


def states(n: int = 37, width: int = 5, classes: int = 1301) -> tuple[Any, ...]:
    import jax.numpy as jnp

    shapes = ((n, width), (classes, width), (classes,))
    return jnp.asarray(RNG.integers(0, classes, n)), *(jnp.asarray(RNG.normal(size=shape)) for shape in shapes)


BUDGETS = {"one chunk": None, "rows": 8 * 1301 * 10, "a row": 8 * 1301, "columns": 8 * 37 * 600}


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("soft", [True, False])
def test_hidden_states_give_the_value_and_gradients_of_their_logits(backend, float64, soft, total, budget, monkeypatch):
    import jax
    import jax.numpy as jnp

    if budget == "a row":
        monkeypatch.setattr("multiloss_jax._linear._FEWEST_COLUMNS", 10_000)
    label, hidden, weight, bias = states()
    target = jnp.asarray(RNG.dirichlet(np.ones(1301), 37)) if soft else label
    row_weight = jnp.asarray(RNG.random(37)).at[3].set(0.0)
    upstream = 3.0 if total else jnp.asarray(RNG.normal(size=37))
    options = {"label_smoothing": 0.1, "z_loss": 1e-3, "softcap": 9.0}
    classes = jnp.asarray(RNG.random(1301))

    def of(operation: Any, **budget: Any) -> Any:
        def loss(hidden: Any, weight: Any, bias: Any, classes: Any) -> Any:
            values = operation(
                target, hidden, weight, bias, row_weight, total=total, class_weight=classes, **options, **budget
            )
            return jnp.sum(values * upstream)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))

    expected, slopes = of(lambda *a, **k: Backend.linear_crossentropy(backend, *a, **k))(hidden, weight, bias, classes)
    hidden = hidden.at[3].set(jnp.nan)
    value, gradients = of(K.linear_crossentropy, memory_budget=BUDGETS[budget])(hidden, weight, bias, classes)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for gradient, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-10)


def test_a_budget_bounds_the_logits_that_are_there_at_a_time(backend, float64):
    import jax

    label, *operands, _ = states(200, 2, 20_000)

    def memory(dtype: str, budget: int | None) -> int:
        def loss(hidden: Any, weight: Any) -> Any:
            return K.linear_crossentropy(label, hidden, weight, total=True, memory_budget=budget)

        given = [each.astype(dtype) for each in operands]
        return int(jax.jit(jax.grad(loss)).lower(*given).compile().memory_analysis().temp_size_in_bytes)

    row = 4 * 20_000
    assert memory("float32", None) > 200 * row
    assert memory("float32", 10 * row) < 60 * row
    assert memory("float64", 2 * 10 * row) < 2 * 1.2 * memory("float32", 10 * row)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_class_in_two_strips_of_columns_counts_once(backend, smoothing, monkeypatch):
    import jax
    import jax.numpy as jnp

    monkeypatch.setattr("multiloss_jax._linear._FEWEST_COLUMNS", 1)
    _, hidden, weight, bias = states(10, 3, 10)  # in strips of three, of which the last has one class of its own
    label = jnp.arange(10)

    def of(operation: Any, **budget: Any) -> Any:
        def loss(*operands: Any) -> Any:
            return operation(label, *operands, total=True, label_smoothing=smoothing, **budget)

        return jax.value_and_grad(loss, (0, 1, 2))(hidden, weight, bias)

    expected = of(lambda *a, **k: Backend.linear_crossentropy(backend, *a, **k))
    found = of(K.linear_crossentropy, memory_budget=3 * 10 * 4)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)], ids=str)
def test_what_is_computed_again_from_a_checkpoint_has_the_same_gradients(backend, wanted, total):
    import jax
    import jax.numpy as jnp

    label, hidden, weight, bias = states(10, 3, 7)
    upstream = 1.0 if total else jnp.asarray(RNG.normal(size=10), jnp.float32)

    def loss(*operands: Any) -> Any:
        return jnp.sum(K.linear_crossentropy(label, *operands, total=total) * upstream)

    expected = jax.grad(loss, wanted)(hidden, weight, bias)
    for one, other in zip(jax.grad(jax.checkpoint(loss), wanted)(hidden, weight, bias), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("budget", ["rows", "columns"])
def test_gradients_of_gradients_and_vmap_go_through_chunks(backend, float64, total, budget):
    import jax
    import jax.numpy as jnp

    label, hidden, weight, bias = states()
    direction = jnp.asarray(RNG.normal(size=hidden.shape))

    def slope(operation: Any, **budget: Any) -> Any:
        def loss(hidden: Any) -> Any:
            values = operation(label, hidden, weight, bias, total=total, label_smoothing=0.1, **budget)
            return jnp.sum(jnp.square(values))

        return jax.grad(loss)

    ours = slope(K.linear_crossentropy, memory_budget=BUDGETS[budget])
    plain = slope(lambda *a, **k: Backend.linear_crossentropy(backend, *a, **k))
    _, expected = jax.jvp(plain, (hidden,), (direction,))
    found = jax.jit(jax.grad(lambda h: jnp.sum(ours(h) * direction)))(hidden)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(jax.jvp(ours, (hidden,), (direction,))[1], expected, rtol=1e-9, atol=1e-10)
    both = jax.vmap(ours)(jnp.stack([hidden, direction]))
    np.testing.assert_allclose(both[1], plain(direction), rtol=1e-9, atol=1e-10)


def test_forward_mode_of_hidden_states_is_refused(backend):
    import jax

    label, hidden, weight, bias = states(3, 2, 4)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda h: K.linear_crossentropy(label, h, weight, bias, total=True), (hidden,), (hidden,))


def test_hidden_states_of_no_rows_have_gradients_of_0(backend):
    import jax

    label, hidden, weight, bias = states(0, 4, 30)
    value, gradients = jax.value_and_grad(lambda *x: K.linear_crossentropy(label, *x, total=True), (0, 1, 2))(
        hidden, weight, bias
    )
    assert value == 0
    assert [each.shape for each in gradients] == [(0, 4), (30, 4), (30,)]
    assert all((each == 0).all() for each in gradients)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_hidden_states_of_half_precision_keep_small_gradients(backend, dtype):
    import jax
    import jax.numpy as jnp

    label, hidden, weight, _ = states()
    narrow = [K.cast(each, dtype) for each in (hidden, weight)]
    wide = [K.cast(each, "float32") for each in narrow]
    row_weight = jnp.full((37,), 1e-5, jnp.float32)  # next to which most of a float16 gradient for the logits is 0

    def loss(h: Any, w: Any) -> Any:
        return K.linear_crossentropy(label, h, w, None, row_weight, total=True, memory_budget=4 * 1301 * 10) * 1e5

    value, gradients = jax.value_and_grad(loss, (0, 1))(*narrow)
    expected, slopes = jax.value_and_grad(loss, (0, 1))(*wide)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for gradient, slope, x in zip(gradients, slopes, narrow, strict=True):
        assert gradient.dtype == x.dtype
        error = np.abs(np.asarray(gradient, np.float32) - np.asarray(slope)).max()
        assert error < 2e-2 * np.abs(slope).max()


def test_classes_may_be_split_over_devices(backend):
    """JAX takes the number of devices when it starts: in a process of its own."""
    script = Path(__file__).with_name("jax_devices.py")
    flags = [*os.environ.get("XLA_FLAGS", "").split(), "--xla_force_host_platform_device_count=8"]
    environment = os.environ | {"XLA_FLAGS": " ".join(flags)}
    environment["PYTHONPATH"] = os.pathsep.join([str(script.parents[2]), *sys.path])
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["split", "inside", "twice", "sharded"]
