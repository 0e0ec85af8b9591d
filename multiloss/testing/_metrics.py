"""Cases for every public metric class: what it takes, and values for its arguments.

An average of a loss or accuracy function says itself what it takes, and is covered by being exported. A metric that
accumulates anything else is one entry of `TAKES`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

import multiloss.losses
import multiloss.metrics
from multiloss.losses._spec import LossSpec, spec_of
from multiloss.metrics._base import Metric
from multiloss.metrics._means import MeanMetricWrapper
from multiloss.testing._losses import PARAMETER_VALUES, example

Array = Any

TAKES: Mapping[str, str] = {
    "Mean": "values",
    "Sum": "values",
    **dict.fromkeys(("AUC", "BinaryIoU", "F1Score", "FBetaScore", "Precision", "Recall"), "binary"),
    **dict.fromkeys(("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives"), "binary"),
    **dict.fromkeys(("SensitivityAtSpecificity", "SpecificityAtSensitivity"), "binary"),
    **dict.fromkeys(("PrecisionAtRecall", "RecallAtPrecision"), "binary"),
    **dict.fromkeys(("IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"), "classes"),
    "R2Score": "real",
}
"""What a metric that is no average of a function takes: `"values"`; or targets and predictions that are labels 0 and 1
and probabilities (`"binary"`), classes as indices or one-hot (`"classes"`), or any numbers (`"real"`)."""

CLASSES = 8
"""How many classes the examples have: more than the 5 of top-k accuracy."""

NEEDED: Mapping[str, Any] = {
    "fn": multiloss.losses.huber,
    "num_classes": 4,
    "precision": 0.6,
    "recall": 0.4,
    "sensitivity": 0.4,
    "specificity": 0.4,
    "target_class_ids": [0, 2],
}
"""Values for arguments without a default."""

METRIC_PARAMETER_VALUES: Mapping[str, tuple[Any, ...]] = {
    **PARAMETER_VALUES,
    "average": ("micro", "macro", "weighted"),
    "beta": (2.0,),
    "class_aggregation": ("variance_weighted_average", None),
    "class_id": (0, 3),
    "curve": ("PR", "PRGAIN"),
    "fn": (multiloss.losses.mean_squared_error, multiloss.losses.Huber(delta=0.5)),
    "from_sorted_ids": (True,),
    "ignore_class": (1,),
    "k": (1, 3),
    "label_weights": ([1.0, 2.0, 3.0, 4.0, 0.0, 1.0, 1.0, 5.0],),
    "multi_label": (True,),
    "num_classes": (3,),
    "num_labels": (4,),
    "num_regressors": (2,),
    "num_thresholds": (5,),
    "precision": (0.7,),
    "recall": (0.8,),
    "sensitivity": (0.9,),
    "sparse_y_pred": (True, False),
    "sparse_y_true": (False,),
    "specificity": (0.9,),
    "summation_method": ("minoring", "majoring"),
    "target_class_ids": ([1], [2, 0, 1]),
    "threshold": (0.3,),
    "thresholds": (0.3, [0.7, 0.2]),
    "top_k": (2,),
}
"""For each argument, values other than its default that must be able to change the result."""

OF_ONE_CLASS: Mapping[tuple[str, str], tuple[Any, ...]] = {
    ("AUC", "num_thresholds"): (5, None),
    ("AUC", "thresholds"): ([0.2, 0.3, 0.8],),
    ("BinaryIoU", "target_class_ids"): ([0], [1]),
}
"""Values for an argument that means something else in one class."""

BESIDE: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("AUC", "num_labels"): {"multi_label": True},
    **{(name, "axis"): {"sparse_y_pred": False} for name in ("IoU", "MeanIoU")},
}
"""What else an argument needs to act."""


def public_metric_classes() -> dict[str, type[Metric]]:
    """Return the public metric classes by name, each once, without the base class.

    >>> "AUC" in public_metric_classes(), "Metric" in public_metric_classes()
    (True, False)
    """
    found = (getattr(multiloss.metrics, name) for name in multiloss.metrics.__all__)
    classes = [each for each in found if isinstance(each, type) and issubclass(each, Metric) and each is not Metric]
    return {each.__name__: each for each in classes}


def public_metric_functions() -> dict[str, Any]:
    """Return the public metric functions by name, each once, that are not losses too.

    >>> "binary_accuracy" in public_metric_functions(), "huber" in public_metric_functions()
    (True, False)
    """
    of_losses = {id(spec_of(getattr(multiloss.losses, name, None))) for name in multiloss.losses.__all__}
    found = (getattr(multiloss.metrics, name) for name in multiloss.metrics.__all__)
    return {spec.name: fn for fn in found if (spec := spec_of(fn)) is not None and id(spec) not in of_losses}


def metric_arguments(cls: type[Metric]) -> dict[str, Any]:
    """Return the arguments of a metric class and their defaults, `inspect.Parameter.empty` where there is none."""
    parameters = inspect.signature(cls).parameters
    named = {name: each.default for name, each in parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD}
    return {name: default for name, default in named.items() if name not in ("name", "dtype")}


def make_metric(cls: type[Metric], /, **options: Any) -> Metric:
    """Return a metric of a class, with values for the arguments that it needs.

    Raises:
        LookupError: for an argument without a default that `NEEDED` does not know.
    """
    needed = [name for name, default in metric_arguments(cls).items() if default is inspect.Parameter.empty]
    unknown = [name for name in needed if name not in NEEDED]
    if unknown:
        raise LookupError(
            f"{cls.__name__} needs {unknown}, which have no value in multiloss.testing.NEEDED. "
            "Add them, so that the contract tests can make one."
        )
    return cls(**{**{name: NEEDED[name] for name in needed}, **options})


def metric_variants(cls: type[Metric]) -> list[dict[str, Any]]:
    """Return the defaults, and for each argument its other values one at a time.

    Raises:
        LookupError: for an argument that `METRIC_PARAMETER_VALUES` does not know.
    """
    name, given = cls.__name__, metric_arguments(cls)
    unknown = given.keys() - METRIC_PARAMETER_VALUES.keys()
    if unknown:
        raise LookupError(
            f"{name} has arguments {sorted(unknown)} without an entry in multiloss.testing.METRIC_PARAMETER_VALUES. "
            "Add values other than the default, so that the contract tests can see them act."
        )
    options: list[dict[str, Any]] = [{}]
    for key, default in given.items():
        for value in OF_ONE_CLASS.get((name, key), METRIC_PARAMETER_VALUES[key]):
            if value is not default and value != default:
                options.append({**BESIDE.get((name, key), {}), key: value})
    return options


def taken_by(metric: Metric) -> str | LossSpec:
    """Return what a metric takes: a word of `TAKES`, or the facts of the function that it averages.

    Raises:
        LookupError: for a metric that neither averages a function with facts nor has an entry in `TAKES`.
    """
    if isinstance(metric, MeanMetricWrapper):
        spec, _ = metric._facts()
        if spec is not None:
            return spec
    for cls in type(metric).__mro__:
        if cls.__name__ in TAKES:
            return TAKES[cls.__name__]
    raise LookupError(
        f"{type(metric).__name__} has no entry in multiloss.testing.TAKES. Add what it takes, so that the contract tests "
        "can make a batch for it."
    )


def metric_example(metric: Metric, shape: tuple[int, ...] = (12, CLASSES), seed: int = 0) -> list[Array]:
    """Return a random batch that a metric is made for, as float64 (or int64) NumPy arrays: values, or two operands.

    `shape` is that of the predictions, with the classes last; for class indices the last axis is left out.

    >>> [each.shape for each in metric_example(multiloss.metrics.SparseCategoricalAccuracy(), (5, 3))]
    [(5,), (5, 3)]
    """
    taken, config = taken_by(metric), metric.get_config()
    rng = np.random.default_rng(seed)
    if isinstance(taken, LossSpec):
        return _of_function(
            taken, dict(metric._facts()[1]) if isinstance(metric, MeanMetricWrapper) else {}, shape, seed
        )
    if taken == "values":
        return [rng.normal(size=shape)]
    if taken == "real":
        return [rng.normal(size=shape), rng.normal(size=shape)]
    if taken == "binary":
        shape = (*shape[:-1], config["num_labels"]) if config.get("num_labels") else shape
        labels = rng.integers(0, 2, shape).astype(float)
        scores = 0.02 + 0.2 * labels + 0.76 * rng.uniform(size=shape)  # positives are somewhat higher
        return [labels, np.log(scores / (1 - scores)) if config.get("from_logits") else scores]
    classes = config["num_classes"]
    labels = rng.integers(0, classes, shape[:-1])
    hot = np.eye(classes)[labels]
    scores = 0.3 * hot + rng.uniform(0.02, 0.65, hot.shape)  # more often right than wrong
    sparse_true, sparse_pred = config.get("sparse_y_true", False), config.get("sparse_y_pred", False)
    axis = config["axis"]
    true = labels if sparse_true else np.moveaxis(hot, -1, axis)
    return [true, scores.argmax(-1) if sparse_pred else np.moveaxis(scores, -1, axis)]


def _of_function(spec: LossSpec, parameters: dict[str, Any], shape: tuple[int, ...], seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    if spec.prediction == "label":
        return [rng.integers(0, 3, shape), rng.integers(0, 3, shape)]
    y_true, y_pred = example(spec, shape, parameters, seed)
    return [y_true, np.argsort(-y_pred, -1) if parameters.get("from_sorted_ids") else y_pred]
