"""The PyTorch backend of multiloss: CPU, CUDA and whatever else torch runs on."""

from multiloss_torch._backend import TorchBackend

__all__ = ["TorchBackend", "backend"]

backend = TorchBackend()
