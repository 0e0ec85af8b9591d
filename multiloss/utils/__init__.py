"""Helpers around the data. `multiloss.utils.np_utils` is the old path of the same."""

from multiloss.utils import np_utils
from multiloss.utils._labels import to_categorical

__all__ = ["np_utils", "to_categorical"]
