"""Which backend owns a tensor, and which one is active for host data. The only bridge from the core to `backends/`.

Two questions are asked of this module:

* `owner_of(x, y, ...)`: whose tensors are these? Asked by every operation of K. Here a NumPy array is NumPy's.
* `backend_of(x, y, ...)`: who should run this call? Asked once, at the public boundary of losses, metrics and
  transforms. Here a NumPy array is host data, which joins the tensors beside it or else the active backend.

A framework is never imported to find an owner: a tensor cannot exist before its framework was imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from multiloss._errors import ArgumentError, BackendNotFoundError, MixedBackendsError, UnknownTensorError, unknown_name
from multiloss.interface import Backend

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "multiloss.backends"


class ActiveBackend(NamedTuple):
    """Where host data goes."""

    backend: Backend
    device: str | None


# ── Loading ─────────────────────────────────────────────────────────────────────────────────────────────────────


# Literal imports inside functions: torch.compile can trace them, and importlib.import_module it cannot.
def _load_numpy() -> Backend:
    from multiloss_numpy import backend

    return backend


def _load_autograd() -> Backend:
    from multiloss_numpy._autograd import backend

    return backend


def _load_torch() -> Backend:
    from multiloss_torch import backend

    return backend


def _load_jax() -> Backend:
    from multiloss_jax import backend

    return backend


_BUILTIN: dict[str, Callable[[], Backend]] = {"numpy": _load_numpy, "torch": _load_torch, "jax": _load_jax}

_owners: dict[type, Backend] = {}
_loaded: dict[str, Backend] = {}


@cache
def _plugins() -> dict[str, EntryPoint]:
    """Third-party backends by entry-point name, which is the top-level package of their tensors."""
    from importlib.metadata import entry_points  # half of the time that importing multiloss would take

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def load_backend(name: str) -> Backend:
    """Return the backend called `name`, importing its framework.

    Raises:
        UnknownNameError: if no installed distribution offers such a backend.
        BackendNotFoundError: if its framework is not installed.
    """
    loaded = _loaded.get(name)
    if loaded is not None:
        return loaded
    loader = _BUILTIN.get(name)
    if loader is None:
        point = _plugins().get(name)
        if point is None:
            raise unknown_name("backend", name, [*_BUILTIN, *_plugins()])
        loader = point.load
    try:
        found = loader()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name:
            raise
        advice = f"pip install 'multiloss[{name}]'" if name in _BUILTIN else f"install {name}"
        raise BackendNotFoundError(
            f"The backend {name!r} was asked for, but its framework cannot be imported ({error}). "
            f"Installed backends: {', '.join(available_backends())}. To get this one: {advice}.",
            name=error.name,
        ) from error
    if not isinstance(found, Backend):
        raise BackendNotFoundError(
            f"The entry point {name!r} must name a Backend instance, not {type(found).__name__}."
        )
    _loaded[name] = found
    return _register(found)


def _register(backend: Backend) -> Backend:
    for tensor_type in backend.tensor_types:
        _owners[tensor_type] = backend
    return backend


def available_backends() -> list[str]:
    """Return the names of the backends whose framework is installed, without importing any.

    >>> "numpy" in available_backends()
    True
    """
    return [name for name in [*_BUILTIN, *_plugins()] if importlib.util.find_spec(name) is not None]


# ── Ownership ───────────────────────────────────────────────────────────────────────────────────────────────────


_HOST_TYPES = frozenset({type(None), bool, int, float, list, tuple})


def _owner_of_new_type(x: object) -> Backend | None:
    """Return the owner of a type not seen before, or None for what is host data whatever is installed."""
    if type(x) in _HOST_TYPES:
        return None
    # isinstance, not a walk over the bases: that is what torch.compile can trace.
    torch = sys.modules.get("torch")
    owner = load_backend("torch") if torch is not None and isinstance(x, torch.Tensor) else _owner_by_package(x)
    if owner is not None and not (owner.is_host and isinstance(x, owner.tensor_types[0])):
        _owners[type(x)] = owner  # not subclasses of a host's arrays, which are converted on arrival
    return owner


def _known_owner(x: object) -> Backend | None:
    return next((owner for tensor_type, owner in list(_owners.items()) if isinstance(x, tensor_type)), None)


def _owner_by_package(x: object) -> Backend | None:
    found = _known_owner(x)
    if found is not None:
        return found
    package = type(x).__module__.partition(".")[0]
    if package == "autograd":  # the boxes that autograd wraps NumPy arrays in
        return _register(_load_autograd())
    name = "jax" if package == "jaxlib" else package  # JAX's arrays are defined in its compiled half
    if name in _BUILTIN or name in _plugins():
        load_backend(name)
        found = _known_owner(x)
        if found is not None:  # or it is something else of the framework: a layer, a dtype
            return found
    if isinstance(x, (int, float, list, tuple)) or hasattr(x, "__array__"):
        return None  # subclasses of host types, and containers that turn into NumPy arrays, such as a pandas Series
    raise UnknownTensorError(
        f"No backend owns objects of type {type(x).__module__}.{type(x).__qualname__}. Expected tensors of one of: "
        f"{', '.join(available_backends())}; or NumPy arrays, numbers or lists. "
        f"Convert it first, or install a backend for it (entry-point group {ENTRY_POINT_GROUP!r})."
    )


def owner_of(*tensors: object) -> Backend:
    """Return the backend that owns the tensors; the active one if there are only numbers, lists and None.

    Raises:
        MixedBackendsError: if two frameworks own them. A NumPy array may stand beside another framework's tensor.
        UnknownTensorError: if no backend owns one of them.
    """
    owner: Backend | None = None
    for x in tensors:
        found = _owners.get(type(x))
        if found is None:
            found = _owner_of_new_type(x)
            if found is None:
                continue
        if owner is None or owner.is_host:
            owner = found
        elif found is not owner and not found.is_host:
            raise _mixed(tensors)
    return owner if owner is not None else active().backend


def backend_of(*args: object) -> ActiveBackend:
    """Return who runs a public call with these arguments: the owner of its tensors, else the active backend.

    Raises:
        MixedBackendsError: if two frameworks own them.
        UnknownTensorError: if an argument is neither host data nor a tensor.
    """
    owner = owner_of(*args)
    return active() if owner.is_host else ActiveBackend(owner, None)


def _mixed(tensors: tuple[object, ...]) -> MixedBackendsError:
    described = [
        f"{type(x).__module__.partition('.')[0]}.{type(x).__name__} of shape {tuple(getattr(x, 'shape', ()))}"
        for x in tensors
        if type(x) not in _HOST_TYPES
    ]
    return MixedBackendsError(
        f"Tensors of two frameworks in one call: {', '.join(described)}. Expected all of one framework (NumPy arrays may "
        "stand beside any). Convert one side first, for example with torch.from_dlpack or jax.numpy.from_dlpack."
    )


# ── The active backend ──────────────────────────────────────────────────────────────────────────────────────────

_context: ContextVar[ActiveBackend | None] = ContextVar("multiloss_active_backend", default=None)
_process: ActiveBackend | None = None


def active() -> ActiveBackend:
    """Return where host data goes: `use_backend()`, else `set_backend()`, else `MULTILOSS_BACKEND`, else NumPy."""
    chosen = _context.get()
    if chosen is not None:
        return chosen
    if _process is None:
        set_backend(os.environ.get("MULTILOSS_BACKEND") or "numpy", device=os.environ.get("MULTILOSS_DEVICE") or None)
        assert _process is not None
    return _process


def get_backend() -> Backend:
    """Return the active backend: the one that host data (NumPy arrays, numbers, lists) goes to.

    >>> get_backend().name
    'numpy'
    """
    return active().backend


def set_backend(name: str, device: str | None = None) -> None:
    """Make `name` the active backend of the whole process, below any `use_backend()` block.

    Args:
        name: `"numpy"`, `"torch"`, `"jax"`, or the name of an installed third-party backend.
        device: where host data goes, as the framework names it: `"cuda"`, `"cuda:1"`, `"cpu"`, `"gpu"`, `"tpu"`.
            None leaves it to the framework. The device of a tensor is never changed.

    Raises:
        UnknownNameError: if there is no such backend.
        BackendNotFoundError: if its framework is not installed.
        ArgumentError: if the framework has no such device.
    """
    global _process
    _process = _choose(name, device)


@contextmanager
def use_backend(name: str, device: str | None = None) -> Iterator[Backend]:
    """Make `name` the active backend inside a `with` block, for this thread and asyncio task only.

    Arguments and errors are those of `set_backend`.

    >>> with use_backend("numpy") as backend:
    ...     backend.name
    'numpy'
    """
    token = _context.set(_choose(name, device))
    try:
        chosen = _context.get()
        assert chosen is not None
        yield chosen.backend
    finally:
        _context.reset(token)


def _choose(name: str, device: str | None) -> ActiveBackend:
    backend = load_backend(name)
    if device is not None:
        known = backend.devices()
        if device.partition(":")[0] not in {each.partition(":")[0] for each in known} or (
            ":" in device and device not in known
        ):
            raise ArgumentError(
                f"The backend {name!r} has no device {device!r} here. Expected one of: {', '.join(known)}."
            )
    return ActiveBackend(backend, device)
