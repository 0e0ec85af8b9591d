"""The JAX backend of multiloss: CPU, GPU and TPU."""

from multiloss_jax._backend import JaxBackend

__all__ = ["JaxBackend", "backend"]

backend = JaxBackend()
