"""What is public is listed, sorted and documented; functions and classes go together."""

from __future__ import annotations

import importlib
import inspect

import pytest
from multiloss.losses._base import spec_of
from multiloss.testing import public_loss_classes, public_losses

PACKAGES = ["multiloss", "multiloss.losses", "multiloss.metrics", "multiloss.testing", "multiloss.transforms"]
PUBLIC = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]


@pytest.mark.parametrize("package", PACKAGES)
def test_all_lists_each_name_once(package):
    names = importlib.import_module(package).__all__
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("package", ["multiloss", "multiloss.transforms"])
def test_all_is_sorted(package):
    names = importlib.import_module(package).__all__
    assert list(names) == sorted(names)


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_every_public_name_exists_and_is_documented(package, name):
    found = getattr(importlib.import_module(package), name)
    if callable(found) or inspect.ismodule(found):
        assert inspect.getdoc(found)


@pytest.mark.parametrize("name", sorted(public_losses()))
def test_a_loss_function_says_what_it_computes(name):
    doc = inspect.getdoc(public_losses()[name])
    assert "Formula:" in doc
    assert "Shapes:" in doc
    assert ">>>" in doc


@pytest.mark.parametrize("name", sorted(public_losses()))
def test_every_loss_function_has_a_class(name):
    classes = [cls for cls in public_loss_classes().values() if spec_of(cls().fn).name == name]
    assert len(classes) == 1


@pytest.mark.parametrize("name", sorted(public_loss_classes()))
def test_the_parameters_of_a_class_are_those_of_its_function(name):
    cls = public_loss_classes()[name]
    spec = spec_of(cls().fn)
    declared = {key: each.default for key, each in inspect.signature(cls).parameters.items()}
    assert declared.pop("reduction") == "sum_over_batch_size"
    assert declared.pop("dtype") is None
    assert isinstance(declared.pop("name"), str)
    assert declared == dict(spec.defaults)
