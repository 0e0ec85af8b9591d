"""Regularizers and constraints of multiloss on the parameters of Keras' layers; offered by `multiloss.integrations.keras`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import keras

from multiloss import constraints, regularizers
from multiloss._registry import load_backend, use_backend
from multiloss._typing import Tensor

PACKAGE = "multiloss"
"""Under which Keras keeps the names of what is registered here."""


def host_data_stays() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which NumPy arrays are computed by NumPy if that is what Keras runs on."""
    backend = load_backend(keras.backend.backend())
    # Only there: torch.compile does not see through context variables.
    return use_backend(backend.name) if backend.is_host else contextlib.nullcontext()


def _tensor(parameter: Any) -> Tensor:
    """Return the tensor inside a variable of Keras."""
    return parameter.value if isinstance(parameter, keras.Variable) else parameter


@keras.saving.register_keras_serializable(PACKAGE)
class KerasRegularizer(keras.regularizers.Regularizer):
    """A regularizer of multiloss as Keras' layers take one: what `as_keras_regularizer` returns."""

    def __init__(self, regularizer: Any) -> None:
        self.regularizer = regularizer

    def __call__(self, x: Any) -> Tensor:
        """Return the penalty of a parameter; errors are those of the regularizer."""
        with host_data_stays():
            return self.regularizer(_tensor(x))

    def get_config(self) -> dict[str, Any]:
        return {"regularizer": regularizers.serialize(self.regularizer)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KerasRegularizer:
        return cls(regularizers.deserialize(config["regularizer"]))


@keras.saving.register_keras_serializable(PACKAGE)
class KerasConstraint(keras.constraints.Constraint):
    """A constraint of multiloss as Keras' layers take one: what `as_keras_constraint` returns."""

    def __init__(self, constraint: Any) -> None:
        self.constraint = constraint

    def __call__(self, w: Any) -> Tensor:
        """Return the constrained parameter; errors are those of the constraint."""
        with host_data_stays():
            return self.constraint(_tensor(w))

    def get_config(self) -> dict[str, Any]:
        return {"constraint": constraints.serialize(self.constraint)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KerasConstraint:
        return cls(constraints.deserialize(config["constraint"]))


def as_keras_regularizer(regularizer: Any) -> KerasRegularizer:
    """Return a regularizer of multiloss for `kernel_regularizer=` and its kin; a saved model loads with it.

    Args:
        regularizer: an instance, a name or a config, as for `multiloss.regularizers.get`.

    Raises:
        UnknownNameError: for a name that none has.

    >>> from multiloss import regularizers
    >>> as_keras_regularizer(regularizers.L2(0.5)).get_config()["regularizer"]["class_name"]
    'L2'
    """
    return KerasRegularizer(regularizers.get(regularizer))


def as_keras_constraint(constraint: Any) -> KerasConstraint:
    """Return a constraint of multiloss for `kernel_constraint=` and its kin; a saved model loads with it.

    Args:
        constraint: an instance, a name or a config, as for `multiloss.constraints.get`.

    Raises:
        UnknownNameError: for a name that none has.

    >>> from multiloss import constraints
    >>> as_keras_constraint(constraints.MaxNorm(2.0)).get_config()["constraint"]["class_name"]
    'MaxNorm'
    """
    return KerasConstraint(constraints.get(constraint))
