"""JAX compiles with as little work as it can: asked for by `MULTILOSS_QUICK_COMPILES=1`, before JAX is imported.

JAX compiles each operation for each shape, and the tests run most of that once: their time is the compiler's. What is
left out changes how fast a program runs, and at most its last digits. Parity, hosts and Keras run what users run.
"""

from __future__ import annotations

import os
import threading

__all__ = ["apply"]

FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",  # operations become LLVM's code at once, and not by way of MLIR's dialects
    "--xla_cpu_parallel_codegen_split_count=1",  # one module for LLVM, not one for each of a program's parts
)


def apply() -> None:
    """Set the compiler's flags, and let programs be written down in one context: making one costs as much as compiling."""
    os.environ["XLA_FLAGS"] = " ".join([*os.environ.get("XLA_FLAGS", "").split(), *FLAGS])
    os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # nobody reads where in Python an operation came from
    from jax._src.interpreters import mlir

    make, own = mlir.make_ir_context, threading.local()

    def kept() -> object:
        if not hasattr(own, "context"):
            own.context = make()
        return own.context

    mlir.make_ir_context = kept
