"""The interface is whole: three backends implement it, K dispatches all of it."""

from __future__ import annotations

import inspect

import pytest
from multiloss.dispatch import K
from multiloss.interface import Backend

TRANSFORMS = {
    "value_and_grad",
    "grad_and_hessian_products",
    "jit",
    "run",
    "takes_rows",
    "host_copies",
    "checked_crossentropy",
}
OPERATIONS = sorted(name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_specified_in_its_docstring(name):
    assert inspect.getdoc(getattr(Backend, name))


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - TRANSFORMS))
def test_k_has_the_signature_of_the_interface(name):
    declared = [(p.name, p.kind, p.default) for p in inspect.signature(getattr(Backend, name)).parameters.values()]
    offered = [(p.name, p.kind, p.default) for p in inspect.signature(getattr(type(K), name)).parameters.values()]
    assert [p[0] for p in offered] == [p[0] for p in declared]
    assert offered[1:] == declared[1:]


def test_a_backend_implements_every_primitive(backend):
    assert isinstance(backend, Backend)
    assert not type(backend).__abstractmethods__


def test_an_incomplete_backend_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (Backend,), {"name": "half"})()


def test_k_has_no_transforms():
    with pytest.raises(TypeError, match="value_and_grad"):
        K.value_and_grad(lambda leaves: (leaves[0], []), [])
