"""Who watches what is done with tensors: autograd, torch.func, a compiler, or nobody.

The tensors of torch.func are wrappers around others; what is asked about them is asked about all that are inside. There is
no public way to look there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_PLAIN = (Tensor, torch.nn.Parameter)
_PROXY = torch._C._TorchDispatchModeKey.PROXY
_FAKE = torch._C._TorchDispatchModeKey.FAKE
_PLAIN_OR_NONE = frozenset((*_PLAIN, type(None)))


def is_written_down() -> bool:
    """Whether somebody writes operations down to repeat them with other values, which may not decide what is done.

    Or with none: where shapes alone are followed, results have no values, whatever the operands have.
    """
    # Inside torch.func's grad and vmap every tensor turns into a wrapper without values, also one from outside as soon as it
    # is detached.
    if torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None:
        return True
    if torch._C._get_tracing_state() is not None or torch._C._get_dispatch_mode(_PROXY) is not None:
        return True
    return torch._C._get_dispatch_mode(_FAKE) is not None


def is_plain(*tensors: Tensor | None) -> bool:
    """Whether these are ordinary tensors that nothing but autograd follows, so that a kernel may look at their values."""
    if is_written_down() or torch.autograd.forward_ad._current_level >= 0:
        return False
    return _PLAIN_OR_NONE.issuperset(map(type, tensors))


def may_be_read(x: Tensor) -> bool:
    """Whether the values of `x` may decide what is done."""
    if is_written_down():
        return False
    return type(x) in _PLAIN or not (type(x).__name__ == "FakeTensor" or is_traceable_wrapper_subclass(x))


def is_known(x: Tensor) -> bool:
    """Whether `x` is no tensor of somebody's subclass, whose operations may mean something else."""
    return torch.compiler.is_compiling() or all(type(each) in _PLAIN or is_fake(each) for each in _layers(x))


def is_fake(x: Tensor) -> bool:
    """Whether `x` has a shape and no values."""
    return any(type(each).__name__ == "FakeTensor" for each in _layers(x))


def has_forward_mode() -> bool:
    """Whether derivatives are taken in forward mode."""
    if torch.compiler.is_compiling():
        return False
    levels = torch._C._functorch.get_interpreter_stack() or ()
    return torch.autograd.forward_ad._current_level >= 0 or any(each.key() == TransformType.Jvp for each in levels)


def wants_gradient(x: Tensor | None) -> bool:
    """Whether a gradient of `x` may be asked for. Under a compiler, which drops what nobody needs, it may."""
    if x is None or not torch.is_grad_enabled() or not x.is_floating_point():
        return False
    return torch.compiler.is_compiling() or any(each.requires_grad for each in _layers(x))


def is_followed_back(upstream: Tensor) -> bool:
    """Whether a way back is recorded (for second derivatives), mapped over or compiled."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return True
    # The tensors of autograd.grad(is_grads_batched=True) are no wrappers of torch.func.
    return "Batched" in str(torch._C._dispatch_keys(upstream))


def _layers(x: Tensor) -> Iterator[Tensor]:
    """Yield `x` and the tensors inside of it."""
    yield x
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
        yield x
