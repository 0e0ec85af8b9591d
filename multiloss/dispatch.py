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

import inspect
from collections.abc import Callable
from typing import Any

from multiloss._registry import _owners, active, owner_of
from multiloss.interface import Backend

_globals_used_by_generated_source = (_owners, active, owner_of)


def _is_tensor(parameter: inspect.Parameter) -> bool:
    return parameter.annotation in ("Tensor", "TensorLike")


def _source(name: str, operation: Callable[..., Any]) -> str:
    """Return the source of the dispatching method for one operation of the interface."""
    parameters = list(inspect.signature(operation).parameters.values())[1:]
    declared, passed, slash, star = ["self"], [], False, False
    for parameter in parameters:
        if slash is False and parameter.kind is not parameter.POSITIONAL_ONLY and len(declared) > 1:
            declared.append("/")
            slash = True
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            declared.append("*")
            star = True
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        declared.append(f"{parameter.name}{default}")
        passed.append(f"{parameter.name}={parameter.name}" if star else parameter.name)
    if not slash and len(declared) > 1 and parameters[-1].kind is inspect.Parameter.POSITIONAL_ONLY:
        declared.append("/")

    tensors = [p.name for p in parameters if _is_tensor(p)]
    sequences = [f"*{p.name}" for p in parameters if p.annotation == "Sequence[Tensor]"]
    owner = f"owner_of({', '.join(tensors + sequences)})"
    if len(tensors) == 1 and not sequences:
        find = f"    b = _owners.get(type({tensors[0]}))\n    if b is None:\n        b = {owner}\n"
    elif tensors or sequences:
        find = f"    b = {owner}\n"
    else:
        find = "    b = active().backend\n"
    if len(tensors) == 2 and not sequences:
        x, y = tensors
        find = (
            f"    b = _owners.get(type({x}))\n"
            f"    if b is None or type({y}) is not float and type({y}) is not type({x}):\n        b = {owner}\n"
        )
    return f"def {name}({', '.join(declared)}):\n{find}    return b.{name}({', '.join(passed)})\n"


def _dispatcher() -> Backend:
    """Return a Backend whose every operation looks up the owner of its operands."""
    members: dict[str, Any] = {"__doc__": __doc__, "name": "K"}
    for name, operation in inspect.getmembers(Backend, inspect.isfunction):
        if name.startswith("_") or name in ("value_and_grad", "jit", "run"):
            continue
        namespace: dict[str, Any] = {}
        exec(_source(name, operation), globals(), namespace)
        method = namespace[name]
        method.__doc__ = operation.__doc__
        method.__qualname__ = f"K.{name}"
        members[name] = method
    members.update(dict.fromkeys(Backend.__abstractmethods__ - members.keys(), _not_an_operation))
    dispatcher: Backend = type("K", (Backend,), members)()
    return dispatcher


def _not_an_operation(self: Backend, *_args: Any, **_kwargs: Any) -> Any:
    raise TypeError("K has no transforms: use multiloss.value_and_grad and multiloss.jit.")


K: Backend = _dispatcher()
