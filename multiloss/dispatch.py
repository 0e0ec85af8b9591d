"""K: every operation of `Backend`, handed to the backend that owns the operands.

For each operation a method is generated from its signature in `multiloss.interface`:

    def mean(self, x, /, axis=None, keepdims=False):
        b = _owners.get(type(x))
        if b is None:
            b = owner_of(x)
        return b.mean(x, axis, keepdims)

The dictionary lookup costs about 50 ns and holds no state, so `torch.compile` and `jax.jit` see straight through it.
Source is generated, rather than closures built, because explicit parameters cost a quarter of `*args, **kwargs`,
and it is executed in this module's own globals because Dynamo only traces functions whose globals it can find.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from multiloss._registry import _owners, active, owner_of
from multiloss._typing import Tensor
from multiloss.interface import Backend

_globals_used_by_generated_source = (_owners, active, owner_of)

_TAKES_KEYWORDS = 0x08  # inspect.CO_VARKEYWORDS


def _source(name: str, operation: FunctionType) -> str:
    """Return the source of the dispatching method for one operation of the interface.

    The signature is read off the code object: importing `inspect` would cost a quarter of importing multiloss.
    """
    code = operation.__code__
    positional = code.co_varnames[1 : code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = dict(zip(reversed(positional), reversed(operation.__defaults__ or ()), strict=False))
    defaults |= operation.__kwdefaults__ or {}

    declared = ["self", *(f"{each}={defaults[each]!r}" if each in defaults else each for each in positional)]
    if code.co_posonlyargcount > 1:
        declared.insert(code.co_posonlyargcount, "/")
    if keyword_only:
        declared += ["*", *(f"{each}={defaults[each]!r}" for each in keyword_only)]
    passed = [*positional, *(f"{each}={each}" for each in keyword_only)]
    if code.co_flags & _TAKES_KEYWORDS:
        rest = f"**{code.co_varnames[code.co_argcount + code.co_kwonlyargcount]}"
        declared.append(rest)
        passed.append(rest)

    kinds = operation.__annotations__
    tensors = [each for each in (*positional, *keyword_only) if kinds[each] in ("Tensor", "TensorLike")]
    operands = tensors + [f"*{each}" for each in positional if kinds[each] == "Sequence[Tensor]"]
    owner = f"owner_of({', '.join(operands)})"
    if not operands:
        find = "    b = active().backend\n"
    elif operands == tensors and len(tensors) == 1:
        find = f"    b = _owners.get(type({tensors[0]}))\n    if b is None:\n        b = {owner}\n"
    elif operands == tensors and len(tensors) <= 3:  # of three, the first is the condition of `where`
        x, y = tensors[-2:]
        mixed = f"type({y}) is not float and type({y}) is not type({x})"
        find = f"    b = _owners.get(type({x}))\n    if b is None or {mixed}:\n        b = {owner}\n"
    else:
        find = f"    b = {owner}\n"
    return f"def {name}({', '.join(declared)}):\n{find}    return b.{name}({', '.join(passed)})\n"


_NOT_OF_TENSORS = {
    *("value_and_grad", "grad_and_hessian_products", "jit", "run", "run_rows", "run_rows_knowing"),
    *("takes_rows", "host_copies", "checked_crossentropy"),
}


def _dispatcher() -> Backend:
    """Return a Backend whose every operation looks up the owner of its operands."""
    operations = {
        name: operation
        for each in reversed(Backend.__mro__)
        for name, operation in vars(each).items()
        if isinstance(operation, FunctionType) and not name.startswith("_") and name not in _NOT_OF_TENSORS
    }
    members: dict[str, Any] = {}
    exec("".join(_source(name, operation) for name, operation in operations.items()), globals(), members)
    for name, method in members.items():
        method.__doc__ = operations[name].__doc__
        method.__qualname__ = f"K.{name}"
    members["run_rows"] = _run_rows
    members["run_rows_knowing"] = _run_rows_knowing
    members.update(dict.fromkeys(Backend.__abstractmethods__ - members.keys(), _not_an_operation))
    dispatcher: Backend = type("K", (Backend,), {"__doc__": __doc__, "name": "K", **members})()
    return dispatcher


def _run_rows(self: Backend, fn: Callable[..., Tensor], /, *tensors: Tensor, **static: Any) -> Tensor:
    return owner_of(*tensors).run_rows(fn, *tensors, **static)


def _run_rows_knowing(
    self: Backend, holds: Callable[..., Tensor], fn: Callable[..., Tensor], /, *tensors: Tensor
) -> Tensor:
    return owner_of(*tensors).run_rows_knowing(holds, fn, *tensors)


def _not_an_operation(self: Backend, *_args: Any, **_kwargs: Any) -> Any:
    raise TypeError("K has no transforms: use multiloss.value_and_grad and multiloss.jit.")


K: Backend = _dispatcher()
