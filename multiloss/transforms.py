"""Gradients and compilation, the same call on every backend."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from multiloss._boundary import arrive, as_floats
from multiloss._errors import ArgumentError, NotSupportedError, ShapeError
from multiloss._tree import leaves, tree_map, unflatten
from multiloss.dispatch import K


def value_and_grad(
    fn: Callable[..., Any], argnums: int | Sequence[int] | None = None, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """Return a function that gives the value of `fn` and its gradient, as `jax.value_and_grad` does.

    Works on NumPy (through autograd), torch and JAX alike; the arguments decide. Parameters may be nested dicts, lists
    and tuples of tensors; their gradients have the same structure, shapes and dtypes. torch parameters need no
    `requires_grad`, and their `.grad` is left alone.

    Args:
        fn: a function with a scalar result; or a loss, whose gradient is taken with respect to `y_pred`. If a loss
            returns one value per sample, so does the result, and each sample's gradient is that of its own value.
        argnums: the position, or positions, of the arguments to differentiate. Default: 1 (`y_pred`) for a loss
            or an `Objective`, else 0.
        has_aux: whether `fn` returns `(value, aux)`, with `aux` passed through.

    Returns:
        A function of the same arguments that returns `(value, gradient)`, or `((value, aux), gradient)`.

    Raises:
        NotSupportedError: if the backend cannot differentiate.
        ShapeError: if the value of `fn` is not a scalar and `fn` is not a loss.

    >>> import numpy as np
    >>> value, gradient = value_and_grad(lambda w: (w["a"] ** 2).sum())({"a": np.array([1.0, 2.0])})
    >>> float(value), gradient["a"].tolist()
    (5.0, [2.0, 4.0])
    """
    is_loss = hasattr(fn, "__multiloss__") or hasattr(fn, "reduction")
    chosen = argnums if argnums is not None else getattr(fn, "__multiloss_argnum__", 1 if is_loss else 0)
    positions = (chosen,) if isinstance(chosen, int) else tuple(chosen)

    @functools.wraps(fn, updated=())
    def differentiated(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if any(not -len(args) <= position < len(args) for position in positions):
            raise ArgumentError(
                f"argnums={chosen} names an argument that was not passed. Arrived: {len(args)} arguments."
            )
        selected = [args[position] for position in positions]
        # Nested lists are host data where a loss takes them, and a structure of parameters elsewhere.
        flatten, rebuild = (list, lambda _, new: new) if is_loss else (leaves, unflatten)
        flat_selected = flatten(selected)
        # They too decide whose call it is; a dict by class is no tensor.
        beside = [each for each in (*args, *kwargs.values()) if not isinstance(each, dict)] if is_loss else []
        backend, arrived = arrive(*flat_selected, *beside)
        variables = arrived[: len(flat_selected)]
        if not backend.differentiable:
            raise NotSupportedError(f"The backend {backend.name!r} cannot differentiate. Use numpy, torch or jax.")
        variables = [x if backend.is_floating(x) else as_floats(x) for x in variables]
        structure: list[Any] = []

        def flat(new: list[Any]) -> tuple[Any, list[Any]]:
            replaced = list(args)
            for position, tree in zip(positions, rebuild(selected, new), strict=True):
                replaced[position] = tree
            result = fn(*replaced, **kwargs)
            value, aux = result if has_aux else (result, None)
            if value.ndim and not is_loss:
                raise ShapeError(
                    f"The function to differentiate returned shape {tuple(value.shape)}. Expected one number: reduce it, "
                    "for example with K.mean."
                )
            structure[:] = [aux]
            return K.sum(value) if value.ndim else value, [value, *leaves(aux)]

        value, (own, *aux), gradients = backend.value_and_grad(flat, variables)
        gradient = rebuild(selected, gradients)
        result = own if own.ndim else value
        if has_aux:
            result = (result, unflatten(structure[0], aux))
        return result, gradient[0] if isinstance(chosen, int) else tuple(gradient)

    return differentiated


def grad(fn: Callable[..., Any], argnums: int | Sequence[int] | None = None) -> Callable[..., Any]:
    """Return a function that gives the gradient of `fn`; see `value_and_grad`.

    >>> from multiloss.losses import MeanSquaredError
    >>> grad(MeanSquaredError())([[0.0, 0.0]], [[1.0, 2.0]]).tolist()
    [[1.0, 2.0]]
    """
    both = value_and_grad(fn, argnums)

    @functools.wraps(fn, updated=())
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return differentiated


def jit(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, compiled by `jax.jit` or `torch.compile` if its first call has such tensors, else as it is.

    >>> import numpy as np
    >>> float(jit(lambda x: x.sum())(np.ones(3)))
    3.0
    """
    compiled: dict[str, Callable[..., Any]] = {}

    @functools.wraps(fn, updated=())
    def chosen(*args: Any, **kwargs: Any) -> Any:
        backend, _ = arrive(*leaves((args, kwargs)))
        if backend.name not in compiled:
            compiled[backend.name] = backend.jit(fn)
        return compiled[backend.name](*args, **kwargs)

    return chosen


__all__ = ["grad", "jit", "tree_map", "value_and_grad"]
