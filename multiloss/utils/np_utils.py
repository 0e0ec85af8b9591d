"""Keras 2's path: `from multiloss.utils.np_utils import to_categorical`."""

from multiloss.utils._labels import to_categorical

__all__ = ["to_categorical"]
