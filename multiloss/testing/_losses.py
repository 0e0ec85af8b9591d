"""Cases for every public loss, made from the facts declared beside it; a new loss is covered by being registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import multiloss.losses
from multiloss.losses._base import LossFunctionWrapper
from multiloss.losses._spec import LossSpec, spec_of

Array = Any

PARAMETER_VALUES: Mapping[str, tuple[Any, ...]] = {
    "alpha": (0.7,),
    "apply_class_balancing": (True,),
    "axis": (0,),
    "blank": (1,),
    "class_weight": ([0.5, 2.0, 1.0, 3.0],),
    "delta": (0.5,),
    "from_logits": (True,),
    "gamma": (0.5, 3.0),
    "ignore_class": (1,),
    "beta": (0.9,),
    "label_smoothing": (0.2,),
    "margin": (0.1,),
    "overwrite_logits": (True,),
    "pos_weight": (2.5, [0.5, 2.0, 1.0, 3.0]),
    "q": (0.8,),
    "remove_diagonal": (False,),
    "softcap": (0.8,),
    "z_loss": (0.3,),
    "zero_infinity": (True,),
}
"""For each parameter, values other than its default that must be able to change a loss of four classes; see
`parameter_values`.
"""

NEEDED_BESIDE: Mapping[str, Mapping[str, Any]] = {
    name: {"from_logits": True} for name in ("overwrite_logits", "softcap", "z_loss")
}
"""For parameters that are refused by themselves, what they need beside them."""


def public_losses() -> dict[str, Any]:
    """Return the public loss functions of targets and predictions by name, each once; those that need further tensors have
    tests of their own.

    >>> "mean_squared_error" in public_losses(), "mse" in public_losses()
    (True, False)
    """
    found = (getattr(multiloss.losses, name) for name in multiloss.losses.__all__)
    return {spec.name: fn for fn in found if (spec := spec_of(fn)) is not None and not spec.required}


def public_loss_classes() -> dict[str, Any]:
    """Return the classes of `public_losses` by name, each once."""
    public = public_losses().values()
    found: list[Any] = [getattr(multiloss.losses, name) for name in multiloss.losses.__all__]
    classes = {each for each in found if isinstance(each, type) and issubclass(each, LossFunctionWrapper)}
    wrappers: list[Any] = sorted(classes - {LossFunctionWrapper}, key=lambda each: each.__name__)
    return {each.__name__: each for each in wrappers if each().fn in public}


def example(spec: LossSpec, shape: tuple[int, ...], parameters: Mapping[str, Any] | None = None, seed: int = 0) -> Any:
    """Return random `(y_true, y_pred)` that the loss is made for, as float64 (or int64) NumPy arrays.

    `shape` is that of the predictions; predictions stay away from kinks and from saturation. For labels in sequences,
    (N, C) stands for (N, 5, C).

    >>> y_true, y_pred = example(spec_of(multiloss.losses.sparse_categorical_crossentropy), (5, 3))
    >>> y_true.shape, y_pred.shape
    ((5,), (5, 3))
    """
    given = {**spec.defaults, **(parameters or {})}
    rng = np.random.default_rng(seed)
    if spec.event == "row":
        return _rows(spec, shape, given, rng)
    axis = given.get("axis", -1)
    if not isinstance(axis, int):
        axis = -1  # a loss without a class axis of its own
    classes = shape[axis] if shape else 1
    samples = tuple(np.delete(np.array(shape, int), axis)) if shape else ()
    y_pred = rng.normal(size=shape)
    if spec.prediction == "positive":
        y_pred = rng.uniform(0.2, 3.0, size=shape)
    elif spec.prediction.startswith(("probability", "distribution")) and not given.get("from_logits"):
        y_pred = rng.uniform(0.05, 0.95, size=shape)
        if spec.prediction.startswith("distribution"):
            y_pred = y_pred / y_pred.sum(axis, keepdims=True)
    if spec.target == "class index":
        return rng.integers(0, classes, size=samples), y_pred
    if spec.target == "one-hot":
        hot = rng.integers(0, classes, size=samples)[..., None] == np.arange(classes)
        return np.moveaxis(hot, -1, axis).astype(float), y_pred
    if spec.target == "sign":
        return np.sign(rng.normal(size=shape)), y_pred
    if spec.target == "probability":
        labels = rng.uniform(0.05, 0.95, size=shape)
        hard = rng.uniform(size=shape) < 0.5  # a loss that can ignore a label gets some that it can ignore
        return np.where(hard & ("ignore_class" in spec.defaults), labels.round(), labels), y_pred
    if spec.target == "positive":
        return rng.uniform(0.2, 3.0, size=shape), y_pred
    return rng.normal(size=shape), y_pred


def _rows(spec: LossSpec, shape: tuple[int, ...], parameters: Mapping[str, Any], rng: np.random.Generator) -> Any:
    """Return identities and embeddings, or one or two labels for each sequence of logits."""
    n, size = shape[0], shape[-1]
    if spec.target == "id":
        embeddings = rng.normal(size=(n, size))
        embeddings *= 0.9 / np.linalg.norm(
            embeddings, axis=-1, keepdims=True
        )  # 1 is a kink: the distance to itself is 0
        return rng.permutation(np.arange(n) % 2 * 7 - 3), embeddings
    blank = parameters["blank"]
    labels = rng.integers(0, size - 1, size=(n, 2))
    labels += labels >= blank
    labels[::3, 1] = blank
    return labels, rng.normal(size=(n, shape[1] if len(shape) > 2 else 5, size))


def parameter_values(spec: LossSpec, name: str) -> tuple[Any, ...]:
    """Return values other than the default for a parameter of a loss, for predictions of four classes or labels.

    Raises:
        LookupError: for a parameter that `PARAMETER_VALUES` does not know.

    >>> parameter_values(spec_of(multiloss.losses.huber), "delta")
    (0.5,)
    """
    if name not in PARAMETER_VALUES:
        raise LookupError(
            f"{spec.name} has a parameter {name!r} without an entry in multiloss.testing.PARAMETER_VALUES. "
            "Add values other than the default, so that the contract tests can see it act."
        )
    if name == "class_weight" and spec.event == "mean":
        return ([0.5, 2.0],)  # of no and yes, however many labels there are
    return PARAMETER_VALUES[name]


def variants(spec: LossSpec) -> list[dict[str, Any]]:
    """Return the defaults, and for each parameter its other values one at a time, with what they need beside them.

    Raises:
        LookupError: for a parameter that `PARAMETER_VALUES` does not know.
    """
    return [
        {},
        *(
            {name: value, **NEEDED_BESIDE.get(name, {})}
            for name in spec.defaults
            for value in parameter_values(spec, name)
        ),
    ]


@dataclass(frozen=True)
class LossCase:
    """One call of one loss function."""

    loss: str
    about: str
    y_true: Array
    y_pred: Array
    parameters: Mapping[str, Any] = field(default_factory=dict)
    saturated: bool = False
    """Whether probabilities are clipped, whose bounds are other numbers in other dtypes; then float64 has no say."""

    def __str__(self) -> str:
        chosen = "".join(f"-{key}={value}" for key, value in self.parameters.items())
        return f"{self.loss}-{self.about}{chosen}".replace(" ", "_")


def _edges(spec: LossSpec) -> Iterator[LossCase]:
    """Yield inputs at which formulas break: perfect predictions, zeros, extremes."""
    y_true, y_pred = example(spec, (5, 4))
    if spec.event == "row":
        yield LossCase(spec.name, "zero predictions", y_true, 0 * y_pred)
        if spec.target == "id":
            yield LossCase(spec.name, "one identity", 0 * y_true, y_pred)
            yield LossCase(spec.name, "all different", np.arange(5), y_pred)
            yield LossCase(spec.name, "one embedding", y_true, np.eye(4)[[1] * 5])
        else:
            path = np.insert(y_true, [0, 1, 2], 0, axis=1)[..., None] == np.arange(4)
            yield LossCase(spec.name, "far logits", y_true, 1e4 * (2.0 * path - 1.0))
            yield LossCase(spec.name, "large", y_true, 1e2 * np.sign(y_pred))
            yield LossCase(spec.name, "no alignment", y_true, y_pred[:, :1])
            yield LossCase(spec.name, "no labels", 0 * y_true, y_pred)
        return
    if spec.target != "class index":
        y_pred = np.array(y_true, float)
        yield LossCase(spec.name, "perfect", y_true, y_pred, saturated=spec.target in ("one-hot", "sign"))
    zeros = np.zeros((5, 4))
    yield LossCase(spec.name, "zero predictions", y_true, zeros, saturated=True)
    if spec.defaults.keys() & {"from_logits"}:
        far = 1e4 * np.sign(np.random.default_rng(1).normal(size=(5, 4)))
        yield LossCase(spec.name, "far logits", y_true, far, {"from_logits": True})
        yield LossCase(spec.name, "zero logits", y_true, zeros, {"from_logits": True})
        if spec.target == "probability":
            yield LossCase(spec.name, "far logits hard labels", np.round(y_true), far, {"from_logits": True})
            yield LossCase(spec.name, "saturated", np.round(y_true), (far > 0) * 1.0, saturated=True)
        else:
            hot = np.eye(4)[[0, 1, 2, 3, 0]]
            yield LossCase(spec.name, "saturated", y_true, hot, saturated=True)
    elif spec.prediction in ("real", "margin"):
        yield LossCase(spec.name, "large", y_true, 1e3 * np.random.default_rng(1).normal(size=(5, 4)))


def loss_cases() -> list[LossCase]:
    """Return cases for every public loss: several shapes, every parameter, and edge values."""
    cases: list[LossCase] = []
    for name, fn in public_losses().items():
        spec = spec_of(fn)
        if spec is None:
            continue
        for parameters in variants(spec):
            y_true, y_pred = example(spec, (5, 4), parameters)
            cases.append(LossCase(name, "matrix", y_true, y_pred, parameters))
        for about, shape in (("sequence", (2, 3, 4)), ("one row", (1, 3))):
            y_true, y_pred = example(spec, shape)
            cases.append(LossCase(name, about, y_true, y_pred))
        cases += _edges(spec)
    return cases
