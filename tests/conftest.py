"""Which backends a run tests, and the fixtures that every test takes its framework from.

`MULTILOSS_TEST_BACKENDS` names them (`"numpy"`, `"torch"`, `"numpy,torch,jax"`); unset, it is all that are installed.
A backend that is named and cannot be imported fails the run: nothing is ever skipped because something is missing.

* `backend`: the `Backend`, active for host data during the test. The test runs once for each backend.
* `tensor(x, dtype=None)`: a tensor of that backend. NumPy's are read-only, so that writing in place is caught.
* `host(x)`: a tensor as a NumPy array. `xp`: the framework's own namespace (`numpy`, `torch`, `jax.numpy`).
* `float64`: requested by tests that need float64; it switches JAX to 64 bits for the time of the test.
* `@pytest.mark.backends("torch", "jax")`: the test is about these backends alone.
* `@pytest.mark.needs("gradients", "float16")`: the test is skipped on a backend of others that cannot do these. Ours can
  do everything, and fail where they cannot.
"""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest
from multiloss import _config, _registry
from multiloss._errors import DTypeError
from multiloss._registry import load_backend, use_backend
from multiloss.interface import Backend

# JAX reads these when it is imported; subprocesses inherit them.
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("MPLBACKEND", "agg")
for variable in ("MULTILOSS_BACKEND", "MULTILOSS_DEVICE"):
    os.environ.pop(variable, None)

if extent := os.environ.get("MULTILOSS_QUICK_COMPILES"):
    from tests import quick_jax

    quick_jax.apply(extent)

BUILTIN = ("numpy", "torch", "jax")


def _chosen() -> list[str]:
    named = [name.strip() for name in os.environ.get("MULTILOSS_TEST_BACKENDS", "").split(",") if name.strip()]
    return named or [name for name in BUILTIN if importlib.util.find_spec(name) is not None]


BACKENDS = _chosen()

hypothesis.settings.register_profile("multiloss", deadline=None, max_examples=20, print_blob=True, database=None)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("multiloss"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "multiloss")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "backends(*names): the test is about these backends alone")
    config.addinivalue_line("markers", "needs(*abilities): the test needs gradients, or dtypes, by name")
    for name in BACKENDS:
        try:
            load_backend(name)
        except Exception as error:
            raise pytest.UsageError(f"MULTILOSS_TEST_BACKENDS names {name!r}, which does not load: {error}") from error


def pytest_report_header() -> str:
    return "backends: " + ", ".join(f"{name} {load_backend(name).version()}" for name in BACKENDS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("backends")
        names = [name for name in BACKENDS if marker is None or name in marker.args]
        metafunc.parametrize("backend", names, indirect=True, scope="function")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is about other backends alone; without this pytest reports such a test as skipped."""
    other = [
        item
        for item in items
        if (marker := item.get_closest_marker("backends")) is not None and not set(marker.args) & set(BACKENDS)
    ]
    if other:
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if item not in set(other)]
    for item in items:
        for ability in {each for marker in item.iter_markers("needs") for each in marker.args}:
            name = item.callspec.params.get("backend") if hasattr(item, "callspec") else None
            if name is not None and lacks(name, ability):
                item.add_marker(pytest.mark.skip(reason=f"The backend {name} has no {ability}."))


def pytest_collection_finish() -> None:
    """Take the thousands of collected tests out of what the garbage collector walks through each time."""
    gc.collect()
    gc.freeze()


@functools.cache
def lacks(name: str, ability: str) -> bool:
    """Whether a backend cannot do what a test needs. Those that are ours can do all: nothing of theirs is ever skipped."""
    if name in BUILTIN:
        return False
    backend = load_backend(name)
    if ability == "gradients":
        return not backend.differentiable
    try:
        backend.full((1,), 0.0, dtype=ability)
    except DTypeError:
        return True
    return False


@pytest.fixture(autouse=True)
def _global_settings_are_restored() -> Iterator[None]:
    process, floatx = _registry._process, _config._floatx
    yield
    _registry._process, _config._floatx = process, floatx


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with use_backend(request.param) as chosen:
        yield chosen


@pytest.fixture
def float64(backend: Backend) -> Iterator[None]:
    if backend.name != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def make_tensor(backend: Backend, x: Any, dtype: str | None = None) -> Any:
    """Return `x` as a tensor of `backend`. Python floats become float32; NumPy arrays keep their dtype."""
    if dtype is None and not hasattr(x, "dtype"):
        array = np.asarray(x)
        dtype = "float32" if array.dtype == np.float64 else None
    if isinstance(x, np.ndarray | np.generic | float | int | bool | list | tuple):
        x = np.array(x)
    made = backend.asarray(x, dtype=dtype)
    if isinstance(made, np.ndarray):
        made = made.copy()
        made.flags.writeable = False
    return made


@pytest.fixture
def tensor(backend: Backend) -> Callable[..., Any]:
    def make(x: Any, dtype: str | None = None) -> Any:
        return make_tensor(backend, x, dtype)

    return make


@pytest.fixture
def host() -> Callable[[Any], Any]:
    def convert(x: Any) -> Any:
        return _registry.owner_of(x).to_numpy(x)

    return convert


@pytest.fixture
def compiled(backend: Backend) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function as the framework traces it, in one graph: `jax.jit`, `torch.compile` up to code generation, or as it is."""

    def trace(fn: Callable[..., Any]) -> Callable[..., Any]:
        if backend.name != "torch":
            return backend.jit(fn)
        import torch

        torch.compiler.reset()
        return torch.compile(fn, fullgraph=True, backend="eager")

    return trace


@pytest.fixture
def xp(backend: Backend) -> Any:
    return importlib.import_module({"jax": "jax.numpy"}.get(backend.name, backend.name))
