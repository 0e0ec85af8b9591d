"""JAX with Optax: Optax' own loss, then one of multiloss in its place, in the same jitted step."""

import jax
import jax.numpy as jnp
import optax
from multiloss import losses
from sklearn.datasets import load_diabetes

x, y = (jnp.asarray(each, jnp.float32) for each in load_diabetes(return_X_y=True))
y = (y - y.mean()) / y.std()
optimizer = optax.adam(0.1)


def train(loss):
    @jax.jit
    def step(parameters, state):
        gradients = jax.grad(lambda w: loss(x @ w, y))(parameters)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(parameters, updates), state

    parameters, state = jnp.zeros(10), optimizer.init(jnp.zeros(10))
    for _ in range(100):
        parameters, state = step(parameters, state)
    return parameters


before = train(lambda y_pred, y_true: optax.huber_loss(y_pred, y_true, delta=0.5).mean())
after = train(lambda y_pred, y_true: losses.Huber(delta=0.5)(y_true, y_pred))
print(f"weights with Optax' loss and with multiloss differ by at most {abs(before - after).max():.1e}")
assert abs(before - after).max() < 1e-4
