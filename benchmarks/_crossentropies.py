"""What `bench_crossentropy.py` measures: losses of large vocabularies, ours and what people use, on the same data.

Each function returns candidates by name, those of ours by names that begin with "ours". Each call of a candidate returns
its loss, or the loss and what else it computed.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import numpy as np

Candidates = Mapping[str, Callable[[], Any]]


def logits_and_labels(rows: int, classes: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((rows, classes), np.float32)
    labels = rng.integers(0, classes, rows)
    confident = np.arange(0, rows, 3)  # as in a model that has learned something; random logits have no such row
    logits[confident, labels[confident]] += 20.0
    return logits, labels


def states_and_weight(rows: int, size: int, classes: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((rows, size), np.float32)
    weight = rng.standard_normal((classes, size), np.float32) * np.float32(size**-0.5 * 2)
    return hidden, weight, rng.integers(0, classes, rows)


# ── NumPy ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _naive(z: Any, y: Any) -> tuple[Any, Any]:
    """Return the mean of the losses and its gradient, by whole arrays, as a good programmer writes them."""
    here = np.arange(len(y))
    shifted = z - z.max(1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(1, keepdims=True)
    value = (np.log(total)[:, 0] - shifted[here, y]).mean()
    p = e / total
    p[here, y] -= 1.0
    p /= len(y)
    return value, p


def numpy_value(rows: int, classes: int) -> Candidates:
    from multiloss.losses import SparseCategoricalCrossentropy
    from scipy.special import log_softmax

    z, y = logits_and_labels(rows, classes)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    return {
        "ours": lambda: loss(y, z),
        "scipy log_softmax + gather": lambda: -log_softmax(z, 1)[np.arange(rows), y].mean(),
    }


def numpy_gradient(rows: int, classes: int) -> Candidates:
    from multiloss import value_and_grad
    from multiloss.losses import SparseCategoricalCrossentropy

    z, y = logits_and_labels(rows, classes)
    spare = z.copy()

    fresh = value_and_grad(SparseCategoricalCrossentropy(from_logits=True))
    over = value_and_grad(SparseCategoricalCrossentropy(from_logits=True, overwrite_logits=True))

    def in_place() -> Any:
        return over(y, spare)

    return {"ours": lambda: fresh(y, z), "ours in place": in_place, "whole arrays": lambda: _naive(z, y)}


def numpy_linear(rows: int, size: int, classes: int) -> Candidates:
    from multiloss import value_and_grad
    from multiloss.losses import LinearCrossentropy

    x, w, y = states_and_weight(rows, size, classes)

    def naive() -> Any:
        value, p = _naive(x @ w.T, y)
        return value, p @ w, p.T @ x

    loss = LinearCrossentropy()
    ours = value_and_grad(lambda x, w: loss(y, x, weight=w), (0, 1))
    return {"ours": lambda: ours(x, w), "whole arrays": naive}


# ── torch ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _torch(device: str) -> Any:
    import torch

    return torch, functools.partial(torch.as_tensor, device=device)


def torch_value(rows: int, classes: int, device: str = "cpu", options: str = "plain") -> Candidates:
    torch, tensor = _torch(device)
    from multiloss.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy

    z, y = map(tensor, logits_and_labels(rows, classes))
    functional = torch.nn.functional.cross_entropy
    given: dict[str, Any] = {}
    mine: Any = SparseCategoricalCrossentropy(from_logits=True)
    if options == "weighted and smoothed":
        weights = torch.rand(classes, device=device) + 0.5
        given = {"weight": weights, "label_smoothing": 0.1}
        mine = SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight", class_weight=weights, label_smoothing=0.1
        )
    if options == "soft":
        y = torch.softmax(torch.randn(rows, classes, device=device), 1)
        mine = CategoricalCrossentropy(from_logits=True)
    compiled = torch.compile(functional)

    def plain(fn: Callable[..., Any]) -> Callable[[], Any]:
        def run() -> Any:
            with torch.no_grad():
                return fn(z, y, **given)

        return run

    def ours() -> Any:
        with torch.no_grad():
            return mine(y, z)

    return {"ours": ours, "F.cross_entropy": plain(functional), "torch.compile": plain(compiled)}


def torch_gradient(rows: int, classes: int, device: str = "cpu") -> Candidates:
    torch, tensor = _torch(device)
    from multiloss.losses import SparseCategoricalCrossentropy

    z, y = map(tensor, logits_and_labels(rows, classes))
    spare = z.clone()
    functional = torch.nn.functional.cross_entropy
    compiled = torch.compile(functional)
    fresh = SparseCategoricalCrossentropy(from_logits=True)
    over = SparseCategoricalCrossentropy(from_logits=True, overwrite_logits=True)

    def run(fn: Callable[..., Any]) -> Callable[[], Any]:
        def step() -> Any:
            leaf = z.detach().requires_grad_()
            value = fn(leaf)
            return value.detach(), *torch.autograd.grad(value, leaf)

        return step

    def run_in_place(fn: Callable[..., Any]) -> Callable[[], Any]:
        def step() -> Any:
            leaf = spare.detach().requires_grad_()
            value = fn(leaf.view_as(leaf))  # what a model returns is no leaf either
            return value.detach(), *torch.autograd.grad(value, leaf)

        return step

    return {
        "ours": run(lambda leaf: fresh(y, leaf)),
        "ours in place": run_in_place(lambda logits: over(y, logits)),
        "F.cross_entropy": run(lambda leaf: functional(leaf, y)),
        "torch.compile": run(lambda leaf: compiled(leaf, y)),
        **_of_liger(device, lambda liger: run_in_place(lambda logits: liger.LigerCrossEntropyLoss()(logits, y))),
    }


def torch_probabilities(rows: int, classes: int, device: str = "cpu") -> Candidates:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    torch, tensor = _torch(device)
    from multiloss.losses import SparseCategoricalCrossentropy

    z, y = map(tensor, logits_and_labels(rows, classes))
    p = torch.softmax(z, 1)

    def run(loss: Callable[..., Any]) -> Callable[[], Any]:
        def value() -> Any:
            with torch.no_grad():
                return loss(y, p)

        return value

    return {"ours": run(SparseCategoricalCrossentropy()), "Keras": run(keras.losses.SparseCategoricalCrossentropy())}


def torch_small(
    rows: int,
    classes: int,
    device: str = "cpu",
    each: bool = False,
    gradient: bool = False,
    confident: bool = False,
    weighted: bool = False,
    ignored: int | None = None,
) -> Candidates:
    """Return a thousand calls each: with `confident`, every other row is sure of its label, as after some training."""
    torch, tensor = _torch(device)
    from multiloss.losses import SparseCategoricalCrossentropy, sparse_categorical_crossentropy

    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((rows, classes), np.float32), rng.integers(0, classes, rows)
    if confident:
        logits[np.arange(0, rows, 2), labels[::2]] += 12.0
    z, y = tensor(logits), tensor(labels)
    z.requires_grad_(gradient)
    reduction = "none" if each or weighted else "mean"
    functional = functools.partial(torch.nn.functional.cross_entropy, reduction=reduction)
    if each:
        ours = functools.partial(sparse_categorical_crossentropy, from_logits=True)
    else:
        ours = SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignored)
    if ignored is not None:
        functional = functools.partial(functional, ignore_index=ignored)
    calls = {"ours": lambda: ours(y, z), "F.cross_entropy": lambda: functional(z, y)}
    if weighted:
        w = tensor(rng.uniform(0.5, 2.0, rows).astype(np.float32))
        calls = {"ours": lambda: ours(y, z, w), "F.cross_entropy": lambda: (functional(z, y) * w).mean()}

    def often(fn: Callable[[], Any]) -> Callable[[], Any]:
        def thousand() -> Any:
            for _ in range(1000):
                value = fn()
                if gradient:
                    value.backward()
            return value.detach().mean()

        return thousand

    return {name: often(call) for name, call in calls.items()}


def torch_linear(rows: int, size: int, classes: int, device: str = "cpu", dtype: str = "float32") -> Candidates:
    torch, tensor = _torch(device)
    from multiloss.losses import LinearCrossentropy
    from torch.nn import functional

    x, w, y = map(tensor, states_and_weight(rows, size, classes))
    x, w = x.to(getattr(torch, dtype)), w.to(getattr(torch, dtype))
    loss = LinearCrossentropy()

    def unfused(x: Any, w: Any) -> Any:
        return functional.cross_entropy(functional.linear(x, w).float(), y)

    compiled = torch.compile(unfused)

    def run(fn: Callable[..., Any]) -> Callable[[], Any]:
        def step() -> Any:
            leaves = x.detach().requires_grad_(), w.detach().requires_grad_()
            value = fn(*leaves)
            return value.detach().float(), *torch.autograd.grad(value, leaves)

        return step

    chunked = torch.nn.LinearCrossEntropyOptions()
    return {
        "ours": run(lambda x, w: loss(y, x, weight=w)),
        "unfused": run(unfused),
        "torch.compile": run(compiled),
        "F.linear_cross_entropy": run(lambda x, w: functional.linear_cross_entropy(x, w, y, options=chunked)),
        **_of_liger(device, lambda liger: run(lambda x, w: liger.LigerFusedLinearCrossEntropyLoss()(w, x, y))),
        **_of_cce(device, lambda cce: run(lambda x, w: cce.linear_cross_entropy(x, w, y))),
    }


def _of_liger(device: str, make: Callable[[Any], Callable[[], Any]]) -> Candidates:
    return _if_installed("liger_kernel.transformers", "liger-kernel", "Liger", device, make)


def _of_cce(device: str, make: Callable[[Any], Callable[[], Any]]) -> Candidates:
    return _if_installed("cut_cross_entropy", "cut-cross-entropy", "CCE", device, make)


def _if_installed(
    module: str, package: str, name: str, device: str, make: Callable[[Any], Callable[[], Any]]
) -> Candidates:
    """Return what a peer that has kernels for CUDA alone computes, where it can."""
    if device == "cpu":
        return {}
    try:
        return {name: make(importlib.import_module(module))}
    except ImportError:
        print(f"{package} is not installed, and left out: pip install {package}")
        return {}


# ── JAX ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def jax_value(rows: int, classes: int, gradient: bool = False) -> Candidates:
    import jax
    import jax.numpy as jnp
    import optax
    from multiloss.losses import SparseCategoricalCrossentropy

    z, y = map(jnp.asarray, logits_and_labels(rows, classes))
    loss = SparseCategoricalCrossentropy(from_logits=True)
    found = {
        "ours": lambda z: loss(y, z),
        "optax": lambda z: optax.softmax_cross_entropy_with_integer_labels(z, y).mean(),
        "one-hot": lambda z: -(jax.nn.one_hot(y, classes) * jax.nn.log_softmax(z)).sum(-1).mean(),
    }
    transformed = {name: jax.jit(jax.value_and_grad(fn) if gradient else fn) for name, fn in found.items()}
    return {name: _compiled(fn, z) for name, fn in transformed.items()}


def jax_linear(rows: int, size: int, classes: int) -> Candidates:
    import jax
    import jax.numpy as jnp
    import optax
    from multiloss.losses import LinearCrossentropy

    x, w, y = map(jnp.asarray, states_and_weight(rows, size, classes))
    fast, lean = LinearCrossentropy(), LinearCrossentropy(memory_budget=64 << 20)
    found = {
        "ours": lambda x, w: fast(y, x, weight=w),
        "ours in 64 MiB": lambda x, w: lean(y, x, weight=w),
        "unfused optax": lambda x, w: optax.softmax_cross_entropy_with_integer_labels(x @ w.T, y).mean(),
    }
    candidates = {name: _compiled(jax.jit(jax.value_and_grad(fn, (0, 1))), x, w) for name, fn in found.items()}
    try:
        from tokamax import linear_softmax_cross_entropy_loss
    except ImportError:
        print("tokamax is not installed, and left out: pip install tokamax")
        return candidates

    def tokamax(x: Any, w: Any) -> Any:
        return linear_softmax_cross_entropy_loss(x, y, w, reduction="mean")

    with mock.patch.object(sys, "argv", sys.argv[:1]):  # where tokamax looks for flags of its own
        candidates["tokamax"] = _compiled(jax.jit(jax.value_and_grad(tokamax, (0, 1))), x, jnp.array(w.T))
    return candidates


def _compiled(fn: Any, *args: Any) -> Callable[[], Any]:
    """Return what waits for the result of `fn`, compiled before and with its arguments in place: neither is measured."""
    import jax

    compiled = fn.lower(*jax.block_until_ready(args)).compile()
    return lambda: jax.block_until_ready(compiled(*args))
