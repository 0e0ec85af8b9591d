"""A loss as a `torch.nn.Module`, with torch's order of arguments: what training loops, Lightning and the like expect.

    from multiloss.integrations.torch import as_module

    criterion = as_module(losses.SparseCategoricalCrossentropy(from_logits=True))
    loss = criterion(model(x), y)                           # (input, target), as torch's own losses
    loss = criterion(model(x), y, sample_weight=w, mask=m)  # and named inputs by keyword

It runs in a plain loop, under `torch.compile(fullgraph=True)`, `torch.func` and autocast (in full precision), in Lightning
and in replicas of a model. It has no parameters and no state, but for the weights of a `Sum` that are `torch.nn.Parameter`s:
they are parameters of the module, so give `criterion.parameters()` to the optimizer, too. Tensors that are no parameters move
with it and are not saved; a weight that is a module is a submodule.

The losses themselves take torch tensors without any of this, in the order (y_true, y_pred).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from multiloss._errors import ArgumentError, BackendNotFoundError
from multiloss._typing import Tensor, TensorLike
from multiloss.losses import Loss, Sum
from multiloss.losses._composition import as_loss

try:
    import torch
except ImportError as error:
    raise BackendNotFoundError(
        f"multiloss.integrations.torch needs PyTorch, and it cannot be imported ({error}). To get it: pip install torch.",
        name=error.name,
    ) from error

__all__ = ["LossModule", "as_module"]


class LossModule(torch.nn.Module):
    """A loss of multiloss as a module: what `as_module` returns.

    Args:
        loss: an instance of a loss class.

    Attributes:
        loss: the loss, to be called as `loss(y_true, y_pred)`. If weights of it are tensors, these are held by the module.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._own: dict[str, str] = {}  # the named input of the loss under which a tensor of this module reaches it
        self.loss = self._hold(loss, "") if isinstance(loss, Sum) else loss

    def forward(
        self,
        input: Tensor,
        target: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
        **inputs: Any,
    ) -> Tensor:
        """Return the loss of predictions (`input`) for targets, reduced as the loss says.

        Raises:
            ArgumentError: if the arguments seem to be swapped: the targets need a gradient and the predictions do not, or
                the predictions are integers and the targets floats.
            MultilossError: as the loss does.
        """
        return self._call(self.loss, input, target, sample_weight, mask, inputs)

    def partial(
        self,
        input: Tensor,
        target: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
        **inputs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return `(total, weight)` of a part of a batch, for gradient accumulation; see `multiloss.losses.Loss.partial`."""
        found: tuple[Tensor, Tensor] = self._call(self.loss.partial, input, target, sample_weight, mask, inputs)
        return found

    def parts(
        self,
        input: Tensor,
        target: TensorLike,
        sample_weight: TensorLike = None,
        mask: TensorLike = None,
        **inputs: Any,
    ) -> dict[str, Tensor]:
        """Return the value of a `Sum` under "loss", and those of its parts under their names; see `multiloss.losses.Sum`.

        Raises:
            ArgumentError: for a loss that is no `Sum`.
        """
        if not isinstance(self.loss, Sum):
            raise ArgumentError(f"{self.loss!r} has no parts. Expected a Sum of losses; call the module for its value.")
        found: dict[str, Tensor] = self._call(self.loss.parts, input, target, sample_weight, mask, inputs)
        return found

    @property
    def named_inputs(self) -> tuple[str, ...]:
        """The names of the tensors that a call takes by keyword, beside predictions and targets."""
        return tuple(name for name in self.loss.named_inputs if name not in self._own)

    def _call(
        self,
        fn: Callable[..., Any],
        input: Tensor,
        target: TensorLike,
        sample_weight: TensorLike,
        mask: TensorLike,
        inputs: dict[str, Any],
    ) -> Any:
        _check_order(input, target)
        own = {name: getattr(self, attribute) for name, attribute in self._own.items()}
        with _full_precision(input):
            return fn(target, input, sample_weight, mask, **inputs, **own)

    def _hold(self, loss: Sum, path: str) -> Sum:
        """Return a sum whose weights that are tensors come from this module at each call.

        They are read anew because the tensors of a module are not the same for ever: replicas and `torch.func.functional_call`
        have others.
        """
        held: dict[str, Any] = {}
        for part, weights in loss.weights.items():
            held[part] = tuple(self._held(weight, f"weight_{path}{part}") for weight in weights)
        new = loss.with_weights(held)
        inner = {name: self._hold(each, f"{path}{name}/") for name, each in new.losses.items() if isinstance(each, Sum)}
        return new.with_losses(inner) if inner else new

    def _held(self, weight: Any, name: str) -> Any:
        name = name.replace(".", "_")
        while hasattr(self, name):
            name += "_"
        if isinstance(weight, torch.nn.Module):
            self.add_module(name, weight)
            return weight
        if not isinstance(weight, torch.Tensor):
            return weight
        if isinstance(weight, torch.nn.Parameter):
            self.register_parameter(name, weight)
        else:
            self.register_buffer(name, weight, persistent=False)
        held = _Held(f"held_{len(self._own)}")
        self._own[held.name] = name
        return held

    def extra_repr(self) -> str:
        return repr(self.loss)


class _Held:
    """A weight that a module holds, and passes to the loss as a named input."""

    def __init__(self, name: str) -> None:
        self.name = name
        parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)
        self.__signature__ = inspect.Signature([parameter])  # what the loss takes the name of the input from
        self.__name__ = "held"

    def __call__(self, **inputs: Tensor) -> Tensor:
        return inputs[self.name]


def as_module(loss: Any) -> LossModule:
    """Return a loss of multiloss as a `torch.nn.Module` of `(input, target)`.

    Args:
        loss: an instance, class or function of a loss, a name or a config.

    Raises:
        UnknownNameError: for a name that is not known.
        ArgumentError: for something that is no loss.

    >>> criterion = as_module("mse")
    >>> criterion(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0])).item()
    5.0
    """
    return loss if isinstance(loss, LossModule) else LossModule(as_loss(loss))


def _check_order(input: Tensor, target: TensorLike) -> None:
    if not isinstance(input, torch.Tensor) or not isinstance(target, torch.Tensor):
        return
    if target.requires_grad and not input.requires_grad:
        clue = "target needs a gradient and input does not"
    elif target.is_floating_point() and not input.is_floating_point():
        clue = f"input holds integers ({input.dtype}) and target floats ({target.dtype})"
    else:
        return
    raise ArgumentError(
        f"The arguments seem to be swapped: {clue}. Expected (input, target), predictions first, as torch's own losses; "
        "(y_true, y_pred) is the order of the losses themselves. If it is meant, call the loss itself: module.loss(...)."
    )


def _full_precision(x: TensorLike) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which nothing is computed in half precision, custom losses included."""
    device = x.device.type if isinstance(x, torch.Tensor) else "cpu"
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()
