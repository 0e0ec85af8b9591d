"""`@ratio_loss`: losses that are a ratio of sums, such as the Dice loss.

The formula gives two values per element, what was missed and what there was; the loss is the sum of the one over `axis`
divided by the sum of the other. Weights and masks act inside the sums, so that a weight of 2 is two copies of a pixel or
of an image; where samples keep a value of their own, sample weights act on these values as for any other loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, ParamSpec

from multiloss._arguments import is_whole
from multiloss._boundary import align, align_weights, as_floats, normalize_axis, require_real
from multiloss._errors import ArgumentError
from multiloss._typing import DType, Tensor
from multiloss.dispatch import K
from multiloss.losses._parameters import Domain
from multiloss.losses._reduction import Selection, partial, select
from multiloss.losses._spec import LossSpec, Prediction, Target, publish

P = ParamSpec("P")


class _Sums(NamedTuple):
    missed: Tensor
    size: Tensor
    selection: Selection


class RatioSpec(LossSpec):
    """The facts of a loss that is a ratio of sums. Its formula returns `(missed, size)` for each element."""

    domains: Mapping[str, Domain] = {
        **LossSpec.domains,
        "axis": (
            lambda value: value is None or is_whole(value) or (isinstance(value, tuple) and all(map(is_whole, value))),
            "an integer, several of them, or None",
        ),
    }

    def __init__(self, formula: Callable[..., Any], target: Target, prediction: Prediction) -> None:
        super().__init__(formula, target, prediction, "ratio")
        self.shortcut = False
        self.samples = functools.partial(_samples, self)
        self.selected = functools.partial(_selected, self)

    def parts(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor, mask: Tensor, *, reduction: str, **static: Any
    ) -> tuple[Tensor, Tensor]:
        """Return numerator and denominator of the reduced value, which add up over parts of a batch."""
        sums = _sums(self, y_true, y_pred, sample_weight, mask, **static)
        if not sums.missed.ndim:
            return sums.missed, sums.size
        axis = static.get("axis")
        if 0 in _axes(axis, y_pred.ndim):
            raise ArgumentError(
                f"{self.name} with axis={axis} is a mean of ratios over the whole batch, which parts of the batch "
                "cannot be added up to. Expected axis=None, or axes that leave the samples apart."
            )
        return partial(_share(sums), sums.selection, reduction)


def _axes(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(rank))
    return tuple(normalize_axis(each, rank) for each in ((axis,) if isinstance(axis, int) else axis))


def _sums(
    spec: RatioSpec,
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor,
    mask: Tensor,
    *,
    checked: bool,
    dtype: DType | None,
    **parameters: Any,
) -> _Sums:
    """Return both sums over `axis`, and how the values that they give are weighted."""
    y_true, y_pred = align(y_true, as_floats(y_pred, dtype))
    require_real(y_true)
    y_true = K.cast(y_true, K.dtype(y_pred))
    shape = tuple(y_pred.shape)
    axes = _axes(parameters.get("axis"), len(shape))
    kept = [each for each in range(len(shape)) if each not in axes]
    apart = next((position for position, each in enumerate(kept) if position != each), len(kept))

    inside = outside = None
    if sample_weight is not None:
        # Weights of the axes that stay in front weigh values; weights that reach into the sums weigh elements.
        weights = K.cast(align_weights(sample_weight, shape), K.dtype(y_pred))
        # Where the batch is summed over, any weight per sample does, also that of a batch of one.
        within = sample_weight.ndim > apart and (not apart or any(size != 1 for size in tuple(weights.shape)[apart:]))
        inside, outside = (weights, None) if within else (None, sample_weight)
    present = None if mask is None else K.broadcast_to(K.cast(align_weights(mask, shape, "mask"), "bool"), shape)
    if inside is not None:
        inside = K.broadcast_to(inside, shape)
        present = inside != 0 if present is None else present & (inside != 0)
    if present is not None:
        y_true, y_pred = K.where(present, y_true, 0.0), K.where(present, y_pred, 0.0)
    missed, size = spec.formula(y_true, y_pred, **parameters)
    if present is not None:
        missed, size = K.where(present, missed, 0.0), K.where(present, size, 0.0)
    if inside is not None:
        inside = K.where(present, inside, 0.0)
        missed, size = inside * missed, inside * size
    values = tuple(shape[each] for each in kept)
    counted = None if present is None or not kept else K.any(present, axes)
    return _Sums(K.sum(missed, axes), K.sum(size, axes), select(outside, counted, values, K.dtype(y_pred)))


def _selected(
    spec: RatioSpec, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor, mask: Tensor, **static: Any
) -> tuple[Tensor, Selection]:
    sums = _sums(spec, y_true, y_pred, sample_weight, mask, **static)
    return _share(sums), sums.selection


def _share(sums: _Sums) -> Tensor:
    """Return `missed / size`; 0, with gradient 0, where there is nothing."""
    size = K.stop_gradient(sums.size)
    # What is left to divide by is 1 but for rounding, so that no gradient squares a size that is tiny.
    return K.divide_no_nan(K.divide_no_nan(sums.missed, size), K.divide_no_nan(sums.size, size))


def _samples(spec: RatioSpec, y_true: Tensor, y_pred: Tensor, **static: Any) -> Tensor:
    return _selected(spec, y_true, y_pred, None, None, dtype=None, **static)[0]


def ratio_loss(
    *, y_true: Target, y_pred: Prediction
) -> Callable[[Callable[P, tuple[Tensor, Tensor]]], Callable[P, Tensor]]:
    """Make a formula that returns `(missed, size)` per element a public loss with an `axis` to sum over.

    Args:
        y_true: what the targets are.
        y_pred: what the predictions are.
    """

    def decorate(formula: Callable[P, tuple[Tensor, Tensor]]) -> Callable[P, Tensor]:
        public: Callable[P, Tensor] = publish(RatioSpec(formula, y_true, y_pred))
        return public

    return decorate
