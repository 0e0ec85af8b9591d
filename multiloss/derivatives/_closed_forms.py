"""Closed forms: gradient and curvature of one sample's value, where they are cheaper or safer than differentiating twice.

Two shapes of curvature occur. A loss of elements has one number per element. A loss of a softmax has a block per sample, of
which `_blocks` keeps the vectors that it is made of.

They are held to automatic differentiation in float64 by the tests, except at kinks that cancel, where differentiating
twice gives a wrong 0: `huber` and `log_cosh` where the prediction is perfect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from multiloss import losses
from multiloss.derivatives import _focal, _formulas
from multiloss.losses._spec import LossSpec, spec_of


class ClosedForm(NamedTuple):
    """Derivatives of a loss, in closed form."""

    formula: Callable[..., tuple[Any, Any]]
    """A function of `(y_true, y_pred, ...)` and some of the parameters of the loss: gradient and curvature of each
    element, or the gradient and the blocks of each sample."""
    requires: tuple[tuple[str, object], ...] = ()
    """Parameters and the values that it holds for. Those that it neither takes nor names here must be at their defaults."""
    of_labels: Callable[..., tuple[Any, Any]] | None = None
    """A cheaper `formula`, of the same parameters, for targets that are 0 or 1, if there is one."""

    @property
    def takes(self) -> tuple[str, ...]:
        """The parameters of the loss that the formula takes."""
        code = self.formula.__code__
        return code.co_varnames[2 : code.co_argcount]

    def applies(self, spec: LossSpec, parameters: Mapping[str, Any]) -> bool:
        """Whether it holds for a loss with these parameters."""
        if any(hasattr(parameters[name], "dtype") for name in self.takes):  # a formula's parameters are plain numbers
            return False
        required = dict(self.requires)
        before = ("axis", "ignore_class") if spec.event == "joint" else ("axis",)  # have acted when a formula runs
        free = {*self.takes, *before}
        fixed = {name: required.get(name, default) for name, default in spec.defaults.items() if name not in free}
        return all(
            value is fixed[name] or (not hasattr(value, "dtype") and value == fixed[name])
            for name, value in parameters.items()
            if name in fixed
        )


_OF_LOGITS = (("from_logits", True),)


def _by_spec(table: Mapping[Callable[..., Any], ClosedForm]) -> Mapping[LossSpec, ClosedForm]:
    return {spec: form for fn, form in table.items() if (spec := spec_of(fn)) is not None}


EXACT = _by_spec(
    {
        losses.mean_squared_error: ClosedForm(_formulas.squared_error),
        losses.huber: ClosedForm(_formulas.huber),
        losses.log_cosh: ClosedForm(_formulas.log_cosh),
        losses.poisson: ClosedForm(_formulas.poisson),
        losses.mean_squared_logarithmic_error: ClosedForm(_formulas.squared_logarithmic_error),
        losses.binary_crossentropy: ClosedForm(_formulas.logistic, _OF_LOGITS),
        losses.binary_focal_crossentropy: ClosedForm(_focal.binary_focal, _OF_LOGITS),
        losses.categorical_crossentropy: ClosedForm(_formulas.softmax, _OF_LOGITS),
        losses.sparse_categorical_crossentropy: ClosedForm(_formulas.sparse_softmax, _OF_LOGITS),
        losses.categorical_focal_crossentropy: ClosedForm(_focal.categorical_focal, _OF_LOGITS),
        losses.sparse_categorical_focal_crossentropy: ClosedForm(_focal.sparse_categorical_focal, _OF_LOGITS),
    }
)
"""The second derivative of the value."""

FISHER = _by_spec(
    {
        losses.mean_squared_error: ClosedForm(_formulas.squared_error),
        losses.poisson: ClosedForm(_formulas.poisson_information),
        losses.binary_crossentropy: ClosedForm(_formulas.logistic_information, _OF_LOGITS),
        losses.binary_focal_crossentropy: ClosedForm(
            _focal.binary_focal_information, _OF_LOGITS, _focal.binary_focal_information_of_labels
        ),
        losses.categorical_crossentropy: ClosedForm(_formulas.softmax_information, _OF_LOGITS),
        losses.sparse_categorical_crossentropy: ClosedForm(_formulas.sparse_softmax, _OF_LOGITS),
        losses.categorical_focal_crossentropy: ClosedForm(_focal.categorical_focal_information, _OF_LOGITS),
        losses.sparse_categorical_focal_crossentropy: ClosedForm(
            _focal.sparse_categorical_focal_information, _OF_LOGITS
        ),
    }
)
"""The expected second derivative: of a Gaussian of variance 1/2, a Poisson, a Bernoulli, a categorical distribution."""


def closed_form(choice: str, spec: LossSpec | None, parameters: Mapping[str, Any]) -> ClosedForm | None:
    """Return the closed form of a loss with these parameters, or None."""
    table = {"exact": EXACT, "fisher": FISHER}.get(choice)
    found = None if table is None or spec is None else table.get(spec)
    return found if found is not None and spec is not None and found.applies(spec, parameters) else None
