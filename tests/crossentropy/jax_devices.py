"""Run by `test_jax.py` with eight devices: classes split over some of them, rows over others."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from multiloss.dispatch import K

N, D, V = 64, 6, 8 * 650
RNG = np.random.default_rng(0)
MESH = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
LABEL = jnp.asarray(RNG.integers(0, V, N).astype(np.int32))
HIDDEN, WEIGHT, BIAS = (jnp.asarray(RNG.normal(size=s).astype(np.float32)) for s in ((N, D), (V, D), (V,)))
HIDDEN = HIDDEN.at[3].set(jnp.nan)
ROWS = jnp.asarray(RNG.random(N).astype(np.float32)).at[3].set(0.0)
CLASSES = jnp.asarray(RNG.random(V).astype(np.float32))
OPTIONS: dict[str, Any] = {"class_weight": CLASSES, "label_smoothing": 0.1, "z_loss": 1e-3, "softcap": 9.0}
BUDGETS = (None, 16 * 4 * V // 4, 520 * 4 * N)
SPECS = (P(), P("model"), P("model"))


def same(found: Any, expected: Any, tolerance: float = 5e-6) -> None:
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.abs(np.asarray(one) - np.asarray(other)).max() <= tolerance * np.abs(other).max()


def whole(hidden: Any, weight: Any, bias: Any) -> Any:
    return K.linear_crossentropy(LABEL, hidden, weight, bias, ROWS, total=True, **OPTIONS)


def part(label: Any, hidden: Any, weight: Any, bias: Any, rows: Any, **keywords: Any) -> Any:
    return K.linear_crossentropy(label, hidden, weight, bias, rows, group="model", **OPTIONS, **keywords)


expected = jax.value_and_grad(whole, (0, 1, 2))(HIDDEN, WEIGHT, BIAS)

for budget in BUDGETS:
    for check in (True, False):
        split = jax.shard_map(
            lambda h, w, b, budget=budget: part(LABEL, h, w, b, ROWS, total=True, memory_budget=budget),
            mesh=MESH,
            in_specs=SPECS,
            out_specs=P(),
            check_vma=check,
        )
        both = jax.jit(jax.value_and_grad(split, (0, 1, 2)))
        same(both(HIDDEN, WEIGHT, BIAS), expected)
        if budget is None:
            text = both.lower(HIDDEN, WEIGHT, BIAS).compile().as_text()
            assert len(re.findall(r" all-gather(?:-start)?\(", text)) == 1
split = jax.shard_map(
    lambda y, h, w, b, r: jax.lax.psum(part(y, h, w, b, r, total=True), "data"),
    mesh=MESH,
    in_specs=(P("data"), P("data"), P("model"), P("model"), P("data")),
    out_specs=P(),
)
same(jax.jit(jax.value_and_grad(lambda *x: split(LABEL, *x, ROWS), (0, 1, 2)))(HIDDEN, WEIGHT, BIAS), expected)
upstream = jnp.asarray(RNG.normal(size=N).astype(np.float32))
values = jax.shard_map(lambda *x: part(LABEL, *x, ROWS), mesh=MESH, in_specs=SPECS, out_specs=P())
same(
    jax.jit(jax.value_and_grad(lambda *x: jnp.sum(values(*x) * upstream), (0, 1, 2)))(HIDDEN, WEIGHT, BIAS),
    jax.value_and_grad(lambda *x: jnp.sum(K.linear_crossentropy(LABEL, *x, ROWS, **OPTIONS) * upstream), (0, 1, 2))(
        HIDDEN, WEIGHT, BIAS
    ),
)
print("split")

inside = jax.shard_map(
    jax.value_and_grad(lambda *x: part(LABEL, *x, ROWS, total=True), (0, 1, 2)),
    mesh=MESH,
    in_specs=SPECS,
    out_specs=(P(), SPECS),
)
same(jax.jit(inside)(HIDDEN, WEIGHT, BIAS), expected)
print("inside")

direction = jnp.asarray(RNG.normal(size=HIDDEN.shape).astype(np.float32)).at[3].set(0.0)
split = jax.shard_map(lambda *x: part(LABEL, *x, ROWS, total=True), mesh=MESH, in_specs=SPECS, out_specs=P())


def along(loss: Any) -> Any:
    return jax.jit(jax.grad(lambda h, w: jnp.sum(jax.grad(loss)(h, w, BIAS) * direction), (0, 1)))(HIDDEN, WEIGHT)


same(along(split), along(whole), 2e-5)
print("twice")

for rows, classes in ((P("data"), P("model")), (P(), P(("data", "model"))), (P(("data", "model")), P())):
    spread = (
        jax.device_put(x, NamedSharding(MESH, spec)) for x, spec in ((HIDDEN, rows), (WEIGHT, classes), (BIAS, classes))
    )
    same(jax.jit(jax.value_and_grad(whole, (0, 1, 2)))(*spread), expected)
logits = jnp.where(jnp.isnan(HIDDEN), 0.0, HIDDEN) @ WEIGHT.T
total = jax.value_and_grad(lambda z: K.softmax_crossentropy(LABEL, z, ROWS, total=True, **OPTIONS))
for spec in (P("data", "model"), P(None, "model"), P("data")):
    same(jax.jit(total)(jax.device_put(logits, NamedSharding(MESH, spec))), total(logits))
print("sharded")
