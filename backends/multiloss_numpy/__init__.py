"""The NumPy backend of multiloss, with HIPS autograd for gradients."""

from multiloss_numpy._backend import NumpyBackend

__all__ = ["NumpyBackend", "backend"]

backend = NumpyBackend()
