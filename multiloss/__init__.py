"""multiloss: losses and metrics written once, run by NumPy, PyTorch or JAX."""

from multiloss import backend, constraints, losses, metrics, regularizers, utils
from multiloss._registry import available_backends, get_backend, set_backend, use_backend
from multiloss.objective import Objective
from multiloss.transforms import grad, jit, value_and_grad

__version__ = "0.1.0"
__all__ = [
    "Objective",
    "available_backends",
    "backend",
    "constraints",
    "get_backend",
    "grad",
    "jit",
    "losses",
    "metrics",
    "regularizers",
    "set_backend",
    "use_backend",
    "utils",
    "value_and_grad",
]
