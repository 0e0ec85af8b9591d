"""JAX makes and compiles programs with as little work as it can, asked for by `MULTILOSS_QUICK_COMPILES`.

JAX compiles each operation for each shape, and the tests run most of that once: their time is the compiler's.

* `all`: programs are not optimized either. That changes how fast they run, and at most their last digits.
* `exact`: what is compiled is what users run; only making programs takes less.

It must be set before JAX is imported.
"""

from __future__ import annotations

import os
import threading

__all__ = ["apply"]

UNOPTIMIZED = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",  # operations become LLVM's code at once, and not by way of MLIR's dialects
    "--xla_cpu_parallel_codegen_split_count=1",  # one module for LLVM, not one for each of a program's parts
)


def apply(extent: str) -> None:
    """Do what `extent` says: `all` or `exact`."""
    if extent not in ("all", "exact"):
        raise ValueError(f"MULTILOSS_QUICK_COMPILES is {extent!r}; it may be 'all' or 'exact'.")
    if extent == "all":
        os.environ["XLA_FLAGS"] = " ".join([*os.environ.get("XLA_FLAGS", "").split(), *UNOPTIMIZED])
    os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # nobody reads where in Python an operation came from
    _keep_context()


def _keep_context() -> None:
    """Let programs be written down in one context: making one for each costs as much as compiling a small program."""
    from jax._src.interpreters import mlir

    make, own = mlir.make_ir_context, threading.local()

    def kept() -> object:
        if not hasattr(own, "context"):
            own.context = make()
        return own.context

    mlir.make_ir_context = kept
