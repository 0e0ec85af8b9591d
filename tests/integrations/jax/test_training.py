"""Training steps with Optax, Flax and Equinox, jitted, mapped and scanned, equal those with Optax' own loss."""

from __future__ import annotations

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from multiloss import backend as K
from multiloss import losses

KEYS = jax.random.split(jax.random.key(0), 5)
X = jax.random.normal(KEYS[0], (24, 5))
LABELS = jax.random.randint(KEYS[1], (24,), 0, 3)
WEIGHTS = jax.random.uniform(KEYS[2], (24,))
TEACHER = jax.random.normal(KEYS[3], (24, 3))
HARD = losses.SparseCategoricalCrossentropy(from_logits=True)
OPTIMIZER = optax.adam(0.1)


class Distillation(losses.Loss):
    def call(self, y_true, y_pred, *, teacher):
        return K.categorical_crossentropy(K.softmax(teacher), y_pred, from_logits=True)


def gaussian_nll(y_true, y_pred, variance):
    return K.mean(0.5 * (K.log(variance) + K.square(y_true - y_pred) / variance), axis=-1)


def theirs(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def ours(logits, labels):
    return HARD(labels, logits)


def initial(seed):
    return {"w": jax.random.normal(jax.random.key(seed), (5, 3)), "b": jnp.zeros(3)}


def step(loss, state, x, y):
    parameters, optimizer = state
    value, gradients = jax.value_and_grad(lambda p: loss(x @ p["w"] + p["b"], y))(parameters)
    updates, optimizer = OPTIMIZER.update(gradients, optimizer)
    return (optax.apply_updates(parameters, updates), optimizer), value


def close(first, second):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# ── Optax ───────────────────────────────────────────────────────────────────────────────────────────────────────


def by_loop(loss, parameters):
    jitted = jax.jit(lambda state, x, y: step(loss, state, x, y))
    state = parameters, OPTIMIZER.init(parameters)
    values = []
    for _ in range(10):
        state, value = jitted(state, X, LABELS)
        values.append(value)
    return state[0], jnp.stack(values)


def by_scan(loss, parameters):
    batches = X.reshape(3, 8, 5), LABELS.reshape(3, 8)
    state = parameters, OPTIMIZER.init(parameters)
    (parameters, _), values = jax.jit(
        lambda state: jax.lax.scan(lambda state, batch: step(loss, state, *batch), state, batches)
    )(state)
    return parameters, values


@pytest.mark.parametrize("train", [by_loop, by_scan])
def test_training_with_optax_equals_that_with_its_own_loss(train):
    close(train(ours, initial(1)), train(theirs, initial(1)))


def test_an_ensemble_is_trained_by_vmap():
    ensemble = jax.vmap(initial)(jnp.arange(3))
    trained, values = jax.jit(jax.vmap(lambda parameters: by_scan(ours, parameters)))(ensemble)
    assert values.shape == (3, 3)
    for member in range(3):
        one = jax.tree.map(lambda leaf, at=member: leaf[at], trained)
        close(one, by_scan(theirs, initial(member))[0])


def test_gradients_per_sample_come_from_vmap():
    logits = X @ initial(1)["w"]
    close(*(jax.jit(jax.vmap(jax.grad(loss)))(logits, LABELS) for loss in (ours, theirs)))


def test_weights_and_masks_act_inside_a_jitted_step():
    mask = jnp.arange(24) % 3 != 0
    broken = jnp.where(mask[:, None], X, jnp.nan)

    @jax.jit
    def gradients(parameters, x, sample_weight, mask):
        return jax.grad(lambda p: HARD(LABELS, x @ p["w"] + p["b"], sample_weight, mask))(parameters)

    def by_hand(p):
        values = optax.softmax_cross_entropy_with_integer_labels(X @ p["w"] + p["b"], LABELS)
        return jnp.sum(jnp.where(mask, values * WEIGHTS, 0.0)) / mask.sum()

    found = jax.grad(by_hand)(initial(1))
    logits = jax.jit(jax.grad(lambda z: HARD(LABELS, z, WEIGHTS, mask)))(broken @ initial(1)["w"])
    assert jnp.isfinite(logits).all()
    close(gradients(initial(1), jnp.where(mask[:, None], X, 0.0), WEIGHTS, mask), found)


# ── Flax and Equinox ────────────────────────────────────────────────────────────────────────────────────────────


def nnx_model(loss):
    model = nnx.Linear(5, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)

    @nnx.jit
    def train(model, optimizer):
        value, gradients = nnx.value_and_grad(lambda model: loss(model(X), LABELS))(model)
        optimizer.update(model, gradients)
        return value

    values = [train(model, optimizer) for _ in range(5)]
    return nnx.state(model), values


def linen_model(loss):
    model = flax.linen.Dense(3)
    parameters = model.init(jax.random.key(0), X)
    state = OPTIMIZER.init(parameters)

    @jax.jit
    def train(parameters, state):
        value, gradients = jax.value_and_grad(lambda p: loss(model.apply(p, X), LABELS))(parameters)
        updates, state = OPTIMIZER.update(gradients, state)
        return optax.apply_updates(parameters, updates), state, value

    values = []
    for _ in range(5):
        parameters, state, value = train(parameters, state)
        values.append(value)
    return parameters, values


def equinox_model(loss):
    model = equinox.nn.Linear(5, 3, key=jax.random.key(0))
    state = OPTIMIZER.init(equinox.filter(model, equinox.is_array))

    @equinox.filter_jit
    def train(model, state):
        value, gradients = equinox.filter_value_and_grad(lambda model: loss(jax.vmap(model)(X), LABELS))(model)
        updates, state = OPTIMIZER.update(gradients, state, model)
        return equinox.apply_updates(model, updates), state, value

    values = []
    for _ in range(5):
        model, state, value = train(model, state)
        values.append(value)
    return equinox.filter(model, equinox.is_array), values


@pytest.mark.parametrize("train", [nnx_model, linen_model, equinox_model])
def test_training_with_a_library_equals_that_with_optax_own_loss(train):
    close(train(ours), train(theirs))


# ── Sums and named inputs ───────────────────────────────────────────────────────────────────────────────────────


def test_a_sum_with_a_teacher_and_a_schedule_runs_in_a_jitted_step():
    loss = losses.Sum({"hard": (HARD, lambda step: jnp.minimum(step / 10.0, 1.0)), "soft": (Distillation(), 0.7)})
    traces = []

    @jax.jit
    def gradient(logits, step):
        traces.append(1)
        return jax.value_and_grad(lambda z: loss(LABELS, z, teacher=TEACHER, step=step))(logits)

    def by_hand(logits, step):
        soft = optax.softmax_cross_entropy(logits, jax.nn.softmax(TEACHER)).mean()
        return min(step / 10.0, 1.0) * theirs(logits, LABELS) + 0.7 * soft

    for at in (0, 3, 20):
        close(gradient(X[:, :3], at), jax.value_and_grad(by_hand)(X[:, :3], at))
    assert len(traces) == 1


def test_gradients_flow_to_weights_and_named_inputs():
    parameters = {"weight": jnp.array(2.0), "log_variance": TEACHER}

    def mixed(p):
        fit = losses.LossFunctionWrapper(gaussian_nll)(X[:, 2:], X[:, :3], variance=jnp.exp(p["log_variance"]))
        return (p["weight"] * HARD)(LABELS, X[:, :3]) + fit

    def by_hand(p):
        variance = jnp.exp(p["log_variance"])
        fit = 0.5 * (jnp.log(variance) + (X[:, 2:] - X[:, :3]) ** 2 / variance)
        return p["weight"] * theirs(X[:, :3], LABELS) + fit.mean()

    close(jax.jit(jax.value_and_grad(mixed))(parameters), jax.value_and_grad(by_hand)(parameters))


def test_the_parts_of_a_sum_leave_a_jitted_step():
    loss = HARD + 0.5 * losses.SparseCategoricalFocalCrossentropy(from_logits=True)

    @jax.jit
    def gradients(logits):
        def total(z):
            parts = loss.parts(LABELS, z)
            return parts["loss"], parts

        return jax.grad(total, has_aux=True)(logits)

    _, parts = gradients(X[:, :3])
    assert list(parts) == sorted(["loss", *loss.losses])
    close(parts["loss"], loss(LABELS, X[:, :3]))
    close(parts["sparse_categorical_crossentropy"], theirs(X[:, :3], LABELS))
