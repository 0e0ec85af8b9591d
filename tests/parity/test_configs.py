"""Names, signatures and configs: what Keras 3 writes we read, what we write Keras 3 reads, with the same numbers."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from typing import Any

import keras
import keras.src.constraints
import keras.src.losses
import keras.src.metrics
import keras.src.regularizers
import numpy as np
import pytest
from multiloss import constraints, losses, metrics, regularizers, utils

PACKAGES = {
    "losses": (losses, keras.losses, keras.src.losses.ALL_OBJECTS_DICT),
    "metrics": (metrics, keras.metrics, keras.src.metrics.ALL_OBJECTS_DICT),
    "regularizers": (regularizers, keras.regularizers, keras.src.regularizers.ALL_OBJECTS_DICT),
    "constraints": (constraints, keras.constraints, keras.src.constraints.ALL_OBJECTS_DICT),
    "utils": (utils, keras.utils, {}),
}

NEEDED: dict[str, dict[str, Any]] = {
    "IoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "MeanIoU": {"num_classes": 3},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "OneHotMeanIoU": {"num_classes": 3},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
}
"""Arguments of the classes that cannot be made without."""

NEEDS_FN = {"LossFunctionWrapper", "MeanMetricWrapper", "mean_metric_wrapper"}


def shared() -> list[Any]:
    return [
        pytest.param(getattr(ours, name), getattr(theirs, name), id=f"{package}.{name}")
        for package, (ours, theirs, _) in PACKAGES.items()
        for name in ours.__all__
        if hasattr(theirs, name)
    ]


def parameters(fn: Any) -> list[tuple[str, Any]]:
    """Return names and defaults. What collects the other keywords may have any name: it is never written in a call."""
    return [
        ("**", None) if each.kind is each.VAR_KEYWORD else (each.name, each.default)
        for each in inspect.signature(fn).parameters.values()
    ]


@pytest.mark.parametrize(("ours", "theirs"), shared())
def test_a_signature_begins_with_that_of_keras(ours: Any, theirs: Any) -> None:
    """By name, order and default; more parameters may follow, and a required one may have a default."""
    expected = parameters(theirs)
    given = parameters(ours)[: len(expected)]
    required = inspect.Parameter.empty
    assert [
        (name, required if default is required else mine) for (name, default), (_, mine) in zip(expected, given)
    ] == (expected)
    assert [name for name, _ in given] == [name for name, _ in expected]


@pytest.mark.parametrize("package", ["losses", "metrics", "regularizers", "constraints"])
def test_every_name_that_keras_accepts_gives_the_same_thing(package: str) -> None:
    ours, theirs, names = PACKAGES[package]
    for name, found in names.items():
        if found.__name__ in NEEDED:
            with pytest.raises(ValueError, match="needs arguments"):
                ours.get(name)
            continue
        if name in NEEDS_FN:
            with pytest.raises((TypeError, ValueError), match="argument"):
                ours.get(name)
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="L1L2 with l1=0 and l2=0")
            mine, expected = ours.get(name), theirs.get(name)
        assert getattr(mine, "__name__", type(mine).__name__) == getattr(expected, "__name__", type(expected).__name__)
        if package in ("losses", "metrics") and hasattr(expected, "name"):
            counted = re.sub(r"_\d+$", "", expected.name)  # Keras counts the objects it names itself: a deviation
            assert mine.name in (expected.name, counted)
    assert len(names) == {"losses": 56, "metrics": 102, "regularizers": 10, "constraints": 10}[package]


INSTANCES = [
    *(("losses", name, {}) for name in sorted(losses.__all__) if isinstance(getattr(losses, name), type)),
    ("losses", "MeanSquaredError", {"reduction": "sum", "name": "squares"}),
    ("losses", "BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}),
    ("losses", "BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5}),
    ("losses", "CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1, "reduction": "none"}),
    ("losses", "CategoricalFocalCrossentropy", {"alpha": [0.1, 0.3, 0.6], "gamma": 3.0}),
    ("losses", "Circle", {"gamma": 3.0, "margin": 0.25, "remove_diagonal": True}),
    ("losses", "SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 2}),
    ("losses", "Huber", {"delta": 2.5}),
    ("losses", "CosineSimilarity", {"axis": 1}),
    ("losses", "MeanAbsoluteError", {"reduction": "mean_with_sample_weight"}),
    *(("metrics", name, {}) for name in sorted(metrics.__all__) if isinstance(getattr(metrics, name), type)),
    ("metrics", "AUC", {"curve": "PR", "num_thresholds": 50, "summation_method": "minoring"}),
    ("metrics", "AUC", {"thresholds": [0.3, 0.7], "from_logits": True}),
    ("metrics", "BinaryAccuracy", {"threshold": 0.7, "name": "acc"}),
    ("metrics", "SparseTopKCategoricalAccuracy", {"k": 2}),
    ("metrics", "SparseCategoricalCrossentropy", {"from_logits": True}),
]
LEFT_OUT = {
    *("Loss", "Metric", "LossFunctionWrapper", "MeanMetricWrapper"),
    "CategoricalGeneralizedCrossEntropy",  # Keras' own deserialize returns its name, not the loss
}
INSTANCES = [
    (package, name, {**NEEDED.get(name, {}), **arguments})
    for package, name, arguments in INSTANCES
    if name not in LEFT_OUT and hasattr(PACKAGES[package][1], name)
]


def data(name: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(8)
    y_pred = rng.uniform(0.1, 0.9, size=(4, 3)).astype("float32")
    if name == "CTC":
        return np.array([[1, 2], [1, 0], [2, 2], [2, 1]], "int32"), rng.normal(size=(4, 5, 3)).astype("float32")
    if name == "Circle":
        return np.array([1, 0, 1, 0], "int32"), y_pred / np.linalg.norm(y_pred, axis=-1, keepdims=True)
    if name in ("IoU", "MeanIoU"):
        return rng.integers(0, 3, 40).astype("int32"), rng.integers(0, 3, 40).astype("int32")
    if name == "R2Score":
        return rng.uniform(size=(4, 3)).astype("float32"), y_pred
    if name.startswith("Sparse"):
        return rng.integers(0, 3, 4).astype("int32"), y_pred
    return np.eye(3, dtype="float32")[rng.integers(0, 3, 4)], y_pred


def number(thing: Any, name: str) -> Any:
    y_true, y_pred = data(name)
    if hasattr(thing, "reset_state"):
        thing.reset_state()
    if name in ("Mean", "Sum"):
        return np.asarray(thing(y_pred))
    with np.errstate(
        invalid="ignore", divide="ignore"
    ):  # Keras divides 0 by 0 in its precision-recall curves, and replaces the nan
        return np.asarray(thing(y_true, y_pred))


def ids(instances: list[Any]) -> list[str]:
    return [" ".join(map(str, each)) for each in instances]


@pytest.mark.parametrize(("package", "name", "arguments"), INSTANCES, ids=ids(INSTANCES))
def test_keras_loads_our_config_as_its_own_object(package: str, name: str, arguments: dict[str, Any]) -> None:
    ours, theirs, _ = PACKAGES[package]
    original = getattr(ours, name)(**arguments)
    written = json.loads(json.dumps(ours.serialize(original)))
    loaded = theirs.deserialize(written)
    assert type(loaded) is getattr(theirs, name)
    assert loaded.name == original.name
    np.testing.assert_allclose(number(loaded, name), number(original, name), rtol=2e-5)


@pytest.mark.parametrize(("package", "name", "arguments"), INSTANCES, ids=ids(INSTANCES))
def test_we_load_the_config_of_keras(package: str, name: str, arguments: dict[str, Any]) -> None:
    ours, theirs, _ = PACKAGES[package]
    original = getattr(theirs, name)(**arguments)
    written = json.loads(json.dumps(theirs.serialize(original)))
    loaded = ours.deserialize(written)
    assert type(loaded) is getattr(ours, name)
    assert loaded.name == original.name
    # What 3.15.1 leaves out of its configs cannot be read from them.
    lost = {"Huber": {"delta"}, "CosineSimilarity": {"axis"}}.get(name, set())
    expected = getattr(ours, name)(**{key: value for key, value in arguments.items() if key not in lost})
    np.testing.assert_allclose(number(loaded, name), number(expected, name), rtol=1e-6)
    if not lost & set(arguments):
        np.testing.assert_allclose(number(loaded, name), number(original, name), rtol=2e-5)


@pytest.mark.parametrize("name", ["mean_squared_error", "hinge", "log_cosh", "kl_divergence", "huber"])
def test_functions_travel_in_the_format_of_keras(name: str) -> None:
    ours, theirs = getattr(losses, name), getattr(keras.losses, name)
    assert losses.serialize(ours) == keras.losses.serialize(theirs)
    assert losses.deserialize(keras.losses.serialize(theirs)) is ours
    assert keras.losses.deserialize(losses.serialize(ours)) is theirs


def test_a_wrapped_function_travels_with_its_parameters() -> None:
    ours = losses.LossFunctionWrapper(losses.huber, name="h", delta=0.5)
    theirs = keras.src.losses.losses.LossFunctionWrapper(keras.losses.huber, name="h", delta=0.5)
    expected = number(losses.Huber(delta=0.5), "Huber")
    np.testing.assert_allclose(number(losses.deserialize(keras.losses.serialize(theirs)), "Huber"), expected, rtol=1e-6)
    np.testing.assert_allclose(number(keras.losses.deserialize(losses.serialize(ours)), "Huber"), expected, rtol=1e-6)
    metric = metrics.MeanMetricWrapper(metrics.huber, name="h", delta=0.5)
    np.testing.assert_allclose(
        number(keras.metrics.deserialize(metrics.serialize(metric)), "Huber"), expected, rtol=1e-6
    )


OTHERS = [
    ("regularizers", "L1", {"l1": 0.3}),
    ("regularizers", "L2", {"l2": 0.3}),
    ("regularizers", "L1L2", {"l1": 0.1, "l2": 0.2}),
    ("regularizers", "OrthogonalRegularizer", {"factor": 0.5}),
    ("regularizers", "OrthogonalRegularizer", {}),
    ("constraints", "MaxNorm", {"max_value": 1.5, "axis": 1}),
    ("constraints", "MaxNorm", {"axis": [0, 1]}),
    ("constraints", "NonNeg", {}),
    ("constraints", "UnitNorm", {"axis": 1}),
    ("constraints", "MinMaxNorm", {"min_value": 0.5, "max_value": 1.0, "rate": 0.7, "axis": 0}),
]


@pytest.mark.parametrize(("package", "name", "arguments"), OTHERS, ids=ids(OTHERS))
def test_regularizers_and_constraints_agree_in_value_and_config(
    package: str, name: str, arguments: dict[str, Any]
) -> None:
    ours, theirs, _ = PACKAGES[package]
    weights = np.random.default_rng(9).normal(size=(4, 3)).astype("float32")
    mine, expected = getattr(ours, name)(**arguments), getattr(theirs, name)(**arguments)
    np.testing.assert_allclose(mine(weights), expected(weights), rtol=1e-5)
    assert type(theirs.deserialize(json.loads(json.dumps(ours.serialize(mine))))) is getattr(theirs, name)
    written = theirs.serialize(expected)
    read = ours.deserialize(written)
    assert type(read) is getattr(ours, name)
    np.testing.assert_allclose(read(weights), expected(weights), rtol=1e-5)
    np.testing.assert_allclose(theirs.deserialize(ours.serialize(mine))(weights), mine(weights), rtol=1e-5)


@pytest.mark.parametrize("labels", [[0, 2, 1], [[0], [2]], [[0, 1], [2, 2]], 1], ids=str)
@pytest.mark.parametrize("num_classes", [None, 4])
def test_to_categorical_gives_the_ones_of_keras(labels: Any, num_classes: int | None) -> None:
    expected = keras.utils.to_categorical(labels, num_classes)
    np.testing.assert_array_equal(utils.to_categorical(labels, num_classes), expected)
