"""What a call costs over the bare native expression, on (32, 10) float32, and what importing multiloss costs.

    python benchmarks/bench_dispatch.py

The native expression is what a user of that framework would write for the same numbers: for the function it returns one
value per sample, for the class it goes on to the mean. JAX's native expression is jitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import multiloss
import numpy as np
from _timing import environment, interleaved, process_seconds, write
from multiloss import losses

EPSILON = 1e-7
SHAPE = (32, 10)


def native_numpy() -> dict[str, Callable[[Any, Any], Any]]:
    def crossentropy(y: Any, p: Any) -> Any:
        q = np.clip(p / np.sum(p, axis=-1, keepdims=True), EPSILON, 1 - EPSILON)
        return -np.sum(y * np.log(q), axis=-1)

    def binary(y: Any, p: Any) -> Any:
        p = np.clip(p, EPSILON, 1 - EPSILON)
        return np.mean(-(y * np.log(p) + (1 - y) * np.log(1 - p)), axis=-1)

    def kl(y: Any, p: Any) -> Any:
        y, p = np.clip(y, EPSILON, 1), np.clip(p, EPSILON, 1)
        return np.sum(y * np.log(y / p), axis=-1)

    return {
        "mean_squared_error": lambda y, p: np.mean(np.square(p - y), axis=-1),
        "mean_absolute_error": lambda y, p: np.mean(np.abs(p - y), axis=-1),
        "poisson": lambda y, p: np.mean(p - y * np.log(p + EPSILON), axis=-1),
        "kl_divergence": kl,
        "binary_crossentropy": binary,
        "categorical_crossentropy": crossentropy,
    }


def native_torch() -> dict[str, Callable[[Any, Any], Any]]:
    import torch

    def crossentropy(y: Any, p: Any) -> Any:
        q = torch.clamp(p / torch.sum(p, -1, keepdim=True), EPSILON, 1 - EPSILON)
        return -torch.sum(y * torch.log(q), -1)

    def binary(y: Any, p: Any) -> Any:
        p = torch.clamp(p, EPSILON, 1 - EPSILON)
        return torch.mean(-(y * torch.log(p) + (1 - y) * torch.log(1 - p)), -1)

    def kl(y: Any, p: Any) -> Any:
        y, p = torch.clamp(y, EPSILON, 1), torch.clamp(p, EPSILON, 1)
        return torch.sum(y * torch.log(y / p), -1)

    return {
        "mean_squared_error": lambda y, p: torch.mean(torch.square(p - y), -1),
        "mean_absolute_error": lambda y, p: torch.mean(torch.abs(p - y), -1),
        "poisson": lambda y, p: torch.mean(p - y * torch.log(p + EPSILON), -1),
        "kl_divergence": kl,
        "binary_crossentropy": binary,
        "categorical_crossentropy": crossentropy,
    }


def native_jax() -> dict[str, Callable[[Any, Any], Any]]:
    import jax
    import jax.numpy as jnp

    def crossentropy(y: Any, p: Any) -> Any:
        q = jnp.clip(p / jnp.sum(p, axis=-1, keepdims=True), EPSILON, 1 - EPSILON)
        return -jnp.sum(y * jnp.log(q), axis=-1)

    def binary(y: Any, p: Any) -> Any:
        p = jnp.clip(p, EPSILON, 1 - EPSILON)
        return jnp.mean(-(y * jnp.log(p) + (1 - y) * jnp.log(1 - p)), axis=-1)

    def kl(y: Any, p: Any) -> Any:
        y, p = jnp.clip(y, EPSILON, 1), jnp.clip(p, EPSILON, 1)
        return jnp.sum(y * jnp.log(y / p), axis=-1)

    formulas = {
        "mean_squared_error": lambda y, p: jnp.mean(jnp.square(p - y), axis=-1),
        "mean_absolute_error": lambda y, p: jnp.mean(jnp.abs(p - y), axis=-1),
        "poisson": lambda y, p: jnp.mean(p - y * jnp.log(p + EPSILON), axis=-1),
        "kl_divergence": kl,
        "binary_crossentropy": binary,
        "categorical_crossentropy": crossentropy,
    }
    return {name: jax.jit(formula) for name, formula in formulas.items()}


CLASSES = {
    "mean_squared_error": losses.MeanSquaredError,
    "mean_absolute_error": losses.MeanAbsoluteError,
    "poisson": losses.Poisson,
    "kl_divergence": losses.KLDivergence,
    "binary_crossentropy": losses.BinaryCrossentropy,
    "categorical_crossentropy": losses.CategoricalCrossentropy,
}


def candidates(
    name: str, native: Callable[[Any, Any], Any], mean: Callable[[Any], Any], y: Any, p: Any
) -> dict[str, Any]:
    function, instance = getattr(losses, name), CLASSES[name]()
    if hasattr(p, "block_until_ready"):  # JAX returns before it has computed
        return {
            "native": lambda: native(y, p).block_until_ready(),
            "function": lambda: function(y, p).block_until_ready(),
            "native mean": lambda: mean(y, p).block_until_ready(),
            "class": lambda: instance(y, p).block_until_ready(),
        }
    return {
        "native": lambda: native(y, p),
        "function": lambda: function(y, p),
        "native mean": lambda: mean(native(y, p)),
        "class": lambda: instance(y, p),
    }


def main() -> None:
    generator = np.random.default_rng(0)
    y = generator.dirichlet(np.ones(SHAPE[1]), SHAPE[0]).astype(np.float32)
    p = generator.dirichlet(np.ones(SHAPE[1]), SHAPE[0]).astype(np.float32)
    natives: dict[str, Any] = {"numpy": (native_numpy(), np.mean)}
    if "torch" in multiloss.available_backends():
        import torch

        torch.set_num_threads(1)
        natives["torch"] = (native_torch(), torch.mean)
    if "jax" in multiloss.available_backends():
        import jax
        import jax.numpy as jnp

        natives["jax"] = (native_jax(), None)

    rows, lines = (
        [],
        [
            "| backend | loss | native | function | over | native mean | class | over |",
            "|---|---|--:|--:|--:|--:|--:|--:|",
        ],
    )
    for backend, (formulas, mean) in natives.items():
        with multiloss.use_backend("numpy"):
            place = {"numpy": np.asarray}.get(backend)
        if backend == "torch":
            place = torch.tensor
        elif backend == "jax":
            place = jnp.asarray
        for name, native in formulas.items():
            reduced = mean if mean is not None else jax.jit(lambda y, p, native=native: jnp.mean(native(y, p)))
            times = interleaved(candidates(name, native, reduced, place(y), place(p)))
            function_over, class_over = times["function"] - times["native"], times["class"] - times["native mean"]
            rows.append(
                {"backend": backend, "loss": name, **times, "function over": function_over, "class over": class_over}
            )
            lines.append(
                f"| {backend} | {name} | {times['native']:.1f} | {times['function']:.1f} | {function_over:+.1f} "
                f"| {times['native mean']:.1f} | {times['class']:.1f} | {class_over:+.1f} |"
            )
    started = process_seconds("import multiloss")
    importing = (started["code"] - started["empty"]) * 1e3
    about = environment("numpy", "torch", "jax", "autograd")
    report = "\n".join(
        [
            "# What a call costs",
            "",
            f"(32, 10) float32, microseconds, medians of interleaved runs. {about['machine']}, Python {about['python']}, "
            + ", ".join(f"{package} {number}" for package, number in about["versions"].items())
            + f". Command: `{about['command']}`.",
            "",
            "Goals: function at most 2 µs over the native expression (NumPy, torch), class at most 5 µs.",
            "",
            *lines,
            "",
            f"`import multiloss`: {importing:.0f} ms beyond the interpreter (goal: 30).",
            "",
        ]
    )
    write("dispatch", report, {"environment": about, "rows": rows, "import_ms": importing})


if __name__ == "__main__":
    main()
