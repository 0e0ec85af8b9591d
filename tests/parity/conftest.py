"""Keras' numbers, made once per run: one process for each of Keras' backends, at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.parity import cases

os.environ["KERAS_BACKEND"] = "numpy"  # of the tests' own process, where Keras makes configs and signatures

KERAS_BACKENDS = ("numpy", "torch", "jax")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def keras_numbers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`keras_numbers[backend][floatx][grid][index]`: what `keras_reference` wrote."""
    folder = tmp_path_factory.mktemp("keras")
    settings = {
        "JAX_ENABLE_X64": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "standard",  # Keras relies on both
        "JAX_NUMPY_RANK_PROMOTION": "allow",
        "KERAS_HOME": str(folder),
    }
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.parity.keras_reference", str(folder / f"{name}.json")],
            cwd=ROOT,
            env=os.environ | settings | {"KERAS_BACKEND": name},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in KERAS_BACKENDS
    }
    for name, process in running.items():
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, f"Keras on {name} failed:\n{errors}"
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in KERAS_BACKENDS}


@pytest.fixture
def keras_gives(keras_numbers: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """`keras_gives("label -1")["torch"]`: value or the error's name; with `"gradient"`, the gradient."""

    def give(name: str, what: str = "value") -> dict[str, Any]:
        index = list(cases.DEVIATIONS).index(name)
        given = {backend: numbers["float32"]["DEVIATION_CASES"][index] for backend, numbers in keras_numbers.items()}
        return {
            backend: result["error"].partition(":")[0] if "error" in result else result.get(what)
            for backend, result in given.items()
        }

    return give
