"""multiloss: losses and metrics written once, run by NumPy, PyTorch or JAX."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from multiloss import backend, losses
from multiloss._registry import available_backends, get_backend, set_backend, use_backend
from multiloss.transforms import grad, jit, value_and_grad

if TYPE_CHECKING:
    from multiloss import constraints, metrics, regularizers, utils
    from multiloss.derivatives import grad_and_hessian
    from multiloss.objective import Objective

__version__ = "0.1.0"
__all__ = [
    "Objective",
    "available_backends",
    "backend",
    "constraints",
    "get_backend",
    "grad",
    "grad_and_hessian",
    "jit",
    "losses",
    "metrics",
    "regularizers",
    "set_backend",
    "use_backend",
    "utils",
    "value_and_grad",
]

_ELSEWHERE = {"Objective": "multiloss.objective", "grad_and_hessian": "multiloss.derivatives"}


def __getattr__(name: str) -> Any:
    """Import what not every program needs when it is first asked for; all of it at once would double the time."""
    if name in _ELSEWHERE:
        globals()[name] = getattr(import_module(_ELSEWHERE[name]), name)
        return globals()[name]
    if name in ("constraints", "metrics", "regularizers", "utils"):
        return import_module(f"multiloss.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
