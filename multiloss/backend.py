"""K as a module: `from multiloss import backend as K`.

Every operation of `multiloss.interface.Backend` under its name, handed to the framework that owns the tensors; and the
names by which Keras 2 and TensorFlow call what Python operators already say. A loss written with these runs on NumPy,
torch and JAX:

>>> from multiloss import backend as K
>>> def my_loss(y_true, y_pred):
...     return K.mean(y_pred - y_true, axis=-1)
>>> import numpy as np
>>> float(my_loss(np.zeros(2), np.ones(2)))
1.0
"""

from __future__ import annotations

from typing import Any

from multiloss import _config
from multiloss._errors import ArgumentError
from multiloss._registry import get_backend
from multiloss._typing import Axis, DType, Tensor, TensorLike
from multiloss.dispatch import K as _K
from multiloss.interface import EPSILON

# The operations of the interface, one by one, so that editors and type checkers know them.
abs = _K.abs
add_to_pair = _K.add_to_pair
all = _K.all
any = _K.any
arange = _K.arange
argmax = _K.argmax
argsort = _K.argsort
binary_crossentropy = _K.binary_crossentropy
bincount = _K.bincount
broadcast_to = _K.broadcast_to
cast = _K.cast
categorical_crossentropy = _K.categorical_crossentropy
clip = _K.clip
concatenate = _K.concatenate
cosine = _K.cosine
ctc_loss = _K.ctc_loss
cumsum = _K.cumsum
divide_no_nan = _K.divide_no_nan
dtype = _K.dtype
exp = _K.exp
expand_dims = _K.expand_dims
expm1 = _K.expm1
full = _K.full
huber = _K.huber
in_top_k = _K.in_top_k
is_floating = _K.is_floating
isfinite = _K.isfinite
isnan = _K.isnan
l2_normalize = _K.l2_normalize
linear_crossentropy = _K.linear_crossentropy
log = _K.log
log1p = _K.log1p
log_cosh = _K.log_cosh
log_sigmoid = _K.log_sigmoid
log_softmax = _K.log_softmax
logsumexp = _K.logsumexp
max = _K.max
maximum = _K.maximum
mean = _K.mean
min = _K.min
minimum = _K.minimum
moveaxis = _K.moveaxis
multiply_no_nan = _K.multiply_no_nan
normalized_probabilities = _K.normalized_probabilities
one_hot = _K.one_hot
ones_like = _K.ones_like
power = _K.power
ranked_counts = _K.ranked_counts
relu = _K.relu
reshape = _K.reshape
roc_area = _K.roc_area
run_rows = _K.run_rows
run_rows_knowing = _K.run_rows_knowing
scan = _K.scan
searchsorted = _K.searchsorted
segment_sum = _K.segment_sum
sigmoid = _K.sigmoid
sign = _K.sign
softmax = _K.softmax
softmax_crossentropy = _K.softmax_crossentropy
softplus = _K.softplus
sparse_categorical_crossentropy = _K.sparse_categorical_crossentropy
sqrt = _K.sqrt
square = _K.square
squeeze = _K.squeeze
stack = _K.stack
stop_gradient = _K.stop_gradient
sum = _K.sum
take_along_axis = _K.take_along_axis
tanh = _K.tanh
to_numpy = _K.to_numpy
where = _K.where
zeros_like = _K.zeros_like

# Other names for the same.
pow = power
reduce_all = all
reduce_any = any
reduce_max = max
reduce_mean = mean
reduce_min = min
reduce_sum = sum


def asarray(x: TensorLike, dtype: DType | None = None, like: Tensor = None) -> Tensor:
    """Return `x` as a tensor of the framework, and on the device, of `like` or of the active backend."""
    return _K.asarray(x, dtype=dtype, like=like)


constant = variable = convert_to_tensor = asarray


def equal(x: Tensor, y: Tensor) -> Tensor:
    """Return `x == y`, elementwise."""
    return x == y


def not_equal(x: Tensor, y: Tensor) -> Tensor:
    """Return `x != y`, elementwise."""
    return x != y


def greater(x: Tensor, y: Tensor) -> Tensor:
    """Return `x > y`, elementwise."""
    return x > y


def greater_equal(x: Tensor, y: Tensor) -> Tensor:
    """Return `x >= y`, elementwise."""
    return x >= y


def less(x: Tensor, y: Tensor) -> Tensor:
    """Return `x < y`, elementwise."""
    return x < y


def less_equal(x: Tensor, y: Tensor) -> Tensor:
    """Return `x <= y`, elementwise."""
    return x <= y


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Return `x @ y`."""
    return x @ y


matmul = dot


def flatten(x: Tensor) -> Tensor:
    """Return `x` as one axis."""
    return _K.reshape(x, (-1,))


def batch_flatten(x: Tensor) -> Tensor:
    """Return `x` as two axes, the first kept."""
    return _K.reshape(x, (x.shape[0], -1))


def ndim(x: Tensor) -> int:
    """Return the number of axes."""
    return len(x.shape)


def int_shape(x: Tensor) -> tuple[int, ...]:
    """Return the shape as a tuple."""
    return tuple(x.shape)


shape = int_shape


def std(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the standard deviation (divided by N) over `axis`."""
    return _K.sqrt(var(x, axis, keepdims))


def var(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the variance (divided by N) over `axis`."""
    return _K.mean(_K.square(x - _K.mean(x, axis, True)), axis, keepdims)


def eval(x: Tensor) -> Any:
    """Return `x` as a NumPy array, as Keras 2's `K.eval`."""
    return _K.to_numpy(x)


get_value = eval


# ── Settings ────────────────────────────────────────────────────────────────────────────────────────────────────

floatx = _config.floatx
set_floatx = _config.set_floatx


def epsilon() -> float:
    """Return the fuzz factor, 1e-7. It is a constant: formulas and compiled code rely on it."""
    return EPSILON


def set_epsilon(value: float) -> None:
    """Keras 2's setter. The fuzz factor is part of what losses promise, so only its own value is accepted.

    Raises:
        ArgumentError: for any other value.
    """
    if value != EPSILON:
        raise ArgumentError(
            f"epsilon is {EPSILON} and cannot become {value!r}: write the factor into a loss of your own."
        )


def backend() -> str:
    """Return the name of the active backend, as Keras 2's `K.backend()`."""
    return get_backend().name


def clear_session() -> None:
    """Do nothing: Keras 2's call for dropping a graph, of which there is none here."""
