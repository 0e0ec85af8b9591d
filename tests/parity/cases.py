"""The grid on which multiloss is compared with Keras: data and names, no framework.

`keras_reference` evaluates it with Keras, once per backend of Keras; the tests evaluate it with multiloss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight", "none")


@dataclass(frozen=True, eq=False)
class Case:
    """One evaluation of a loss function, a loss class, or a metric over batches."""

    kind: str
    """`"function"`, `"class"`, `"metric"` or `"metric function"`."""
    name: str
    y_true: Any = None
    y_pred: Any = None
    parameters: dict[str, Any] = field(default_factory=dict)
    sample_weight: Any = None
    mask: Any = None
    note: str = ""
    batches: tuple[tuple[Any, ...], ...] = ()

    @property
    def id(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.parameters.items())
        return " ".join(filter(None, [self.name, options, self.note]))


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


_rng = np.random.default_rng(20)


def _real(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape) * 2


def _positive(*shape: int) -> np.ndarray:
    return _rng.uniform(0.1, 4, size=shape)


def _probability(*shape: int) -> np.ndarray:
    return _rng.uniform(0.02, 0.98, size=shape)


def _distribution(*shape: int) -> np.ndarray:
    return _softmax(_rng.normal(size=shape))


def _binary(*shape: int) -> np.ndarray:
    return _rng.integers(0, 2, size=shape).astype(float)


def _signs(*shape: int) -> np.ndarray:
    return 2 * _binary(*shape) - 1


def _labels(*shape: int, classes: int) -> np.ndarray:
    return _rng.integers(0, classes, size=shape).astype("int32")


def _one_hot(*shape: int) -> np.ndarray:
    return np.eye(shape[-1])[_labels(*shape[:-1], classes=shape[-1])]


_PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.05, 0.9, 0.05], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])


# ── Functions ───────────────────────────────────────────────────────────────────────────────────────────────────


def _function_cases() -> Iterator[Case]:
    def case(name: str, y_true: Any, y_pred: Any, note: str = "", **parameters: Any) -> Case:
        return Case("function", name, y_true, y_pred, parameters, note=note)

    shapes = {"(5,)": (5,), "(4,3)": (4, 3), "(2,4,3)": (2, 4, 3)}
    for note, shape in shapes.items():
        for name in ("mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error", "log_cosh"):
            yield case(name, _real(*shape), _real(*shape), note)
        yield case("mean_squared_logarithmic_error", _positive(*shape), _positive(*shape), note)
        yield case("poisson", np.floor(_positive(*shape)), _positive(*shape), note)
        if len(shape) > 1:  # (D,) is a deviation
            yield case("cosine_similarity", _real(*shape), _real(*shape), note)
        for delta in (0.5, 1.0, 2.5):
            yield case("huber", _real(*shape), _real(*shape), note, delta=delta)
        for name in ("hinge", "squared_hinge"):
            yield case(name, _signs(*shape), _real(*shape), f"{note} signs")
            yield case(name, _binary(*shape), _real(*shape), f"{note} binary")
            yield case(name, _probability(*shape), _real(*shape), f"{note} soft labels")
        yield case("categorical_hinge", _one_hot(*shape), _real(*shape), note)
        yield case("kl_divergence", _distribution(*shape), _distribution(*shape), note)
        yield case("kl_divergence", _one_hot(*shape), _distribution(*shape), f"{note} one-hot")
        for from_logits in (False, True):
            made = _real if from_logits else _probability
            for smoothing in (0.0, 0.2):
                options = {"from_logits": from_logits, "label_smoothing": smoothing}
                yield case("binary_crossentropy", _binary(*shape), made(*shape), note, **options)
                yield case("binary_crossentropy", _probability(*shape), made(*shape), f"{note} soft labels", **options)
                for balancing in (False, True):
                    yield case(
                        *("binary_focal_crossentropy", _binary(*shape), made(*shape), note),
                        **options,
                        apply_class_balancing=balancing,
                    )
            made = _real if from_logits else _distribution
            for smoothing in (0.0, 0.2):
                options = {"from_logits": from_logits, "label_smoothing": smoothing}
                yield case("categorical_crossentropy", _one_hot(*shape), made(*shape), note, **options)
                yield case(
                    *("categorical_crossentropy", _distribution(*shape), made(*shape), f"{note} soft"), **options
                )
                yield case("categorical_focal_crossentropy", _one_hot(*shape), made(*shape), note, **options)
            if len(shape) > 1:
                labels = _labels(*shape[:-1], classes=shape[-1])
                name = "sparse_categorical_crossentropy"
                yield case(name, labels, made(*shape), note, from_logits=from_logits)
                yield case(name, labels[..., None], made(*shape), f"{note} labels (..., 1)", from_logits=from_logits)
                yield case(name, labels, made(*shape), note, from_logits=from_logits, ignore_class=1)
                odd = np.where(np.arange(labels.size).reshape(labels.shape) % 2, -1, labels)
                yield case(name, odd, made(*shape), note, from_logits=from_logits, ignore_class=-1)

    for q in (0.2, 0.5, 0.9):
        yield case("categorical_generalized_cross_entropy", np.array([0, 2, 1, 1, 0], "int32"), _PROBABILITIES, q=q)

    for name in (
        *("mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error", "log_cosh", "huber"),
        *("mean_squared_logarithmic_error", "cosine_similarity"),
    ):  # the functions in which Keras matches ranks; the others are deviations
        yield case(name, _positive(5), _positive(5, 1), "(5,) beside (5,1)")
        yield case(name, _positive(5, 1), _positive(5), "(5,1) beside (5,)")
        yield case(name, _positive(2, 4), _positive(2, 4, 1), "(2,4) beside (2,4,1)")

    for alpha, gamma in ((0.25, 0.0), (0.7, 1.0), (0.4, 3.5)):
        for from_logits in (False, True):
            yield case(
                *("binary_focal_crossentropy", _binary(4, 3), _real(4, 3) if from_logits else _probability(4, 3)),
                apply_class_balancing=True,
                alpha=alpha,
                gamma=gamma,
                from_logits=from_logits,
            )
            yield case(
                *(
                    "categorical_focal_crossentropy",
                    _one_hot(4, 3),
                    _real(4, 3) if from_logits else _distribution(4, 3),
                ),
                alpha=alpha,
                gamma=gamma,
                from_logits=from_logits,
            )
    yield case("categorical_focal_crossentropy", _one_hot(4, 3), _distribution(4, 3), alpha=[0.1, 0.2, 0.7])
    yield case("categorical_crossentropy", _one_hot(4, 3), _positive(4, 3), "not normalised")
    yield case("sparse_categorical_crossentropy", _labels(4, classes=3), _positive(4, 3), "not normalised")

    for axis in (0, 1, 2, -2):
        yield case("binary_crossentropy", _binary(2, 4, 3), _probability(2, 4, 3), axis=axis)
        yield case("binary_focal_crossentropy", _binary(2, 4, 3), _probability(2, 4, 3), axis=axis)
        for from_logits in (False, True):
            predictions = _real(2, 4, 3) if from_logits else _positive(2, 4, 3)
            labels = np.moveaxis(_one_hot(4, 3, 2), -1, 0)  # the classes on axis 0; Keras sums soft labels as they are
            yield case("categorical_crossentropy", labels, predictions, axis=axis, from_logits=from_logits)
            yield case("categorical_focal_crossentropy", labels, predictions, axis=axis, from_logits=from_logits)
    for axis in (1, 2, -2):  # axis=0 is a deviation
        yield case("cosine_similarity", _real(2, 4, 3), _real(2, 4, 3), axis=axis)

    whole = np.array([[1, 2, 3], [4, 5, 6]])
    for name in ("mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error"):
        yield case(name, whole, whole[::-1].copy(), "integers")


# ── Classes ─────────────────────────────────────────────────────────────────────────────────────────────────────

CLASSES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "MeanSquaredError": (_real, _real, {}),
    "MeanAbsoluteError": (_real, _real, {}),
    "MeanAbsolutePercentageError": (_real, _real, {}),
    "MeanSquaredLogarithmicError": (_positive, _positive, {}),
    "Huber": (_real, _real, {"delta": 0.7}),
    "LogCosh": (_real, _real, {}),
    "Poisson": (_positive, _positive, {}),
    "CosineSimilarity": (_real, _real, {}),
    "Hinge": (_signs, _real, {}),
    "SquaredHinge": (_binary, _real, {}),
    "CategoricalHinge": (_one_hot, _real, {}),
    "KLDivergence": (_distribution, _distribution, {}),
    "BinaryCrossentropy": (_binary, _probability, {"label_smoothing": 0.1}),
    "BinaryFocalCrossentropy": (_binary, _probability, {"apply_class_balancing": True, "gamma": 3.0}),
    "CategoricalCrossentropy": (_one_hot, _real, {"from_logits": True, "label_smoothing": 0.1}),
    "CategoricalFocalCrossentropy": (_one_hot, _distribution, {"alpha": 0.4}),
    "SparseCategoricalCrossentropy": (None, _real, {"from_logits": True, "ignore_class": 2}),
}


def _class_cases() -> Iterator[Case]:
    weights, mask = np.array([1.0, 0.5, 2.0, 0.0]), np.array([True, True, False, True])
    grid, grid_mask = _positive(2, 4), np.array([[1, 1, 0, 1], [1, 0, 0, 1]], dtype=bool)
    for name, (target, prediction, parameters) in CLASSES.items():
        for shape, w, m in (((4, 3), weights, mask), ((2, 4, 3), grid, grid_mask)):
            y_true = _labels(*shape[:-1], classes=3) if target is None else target(*shape)
            y_pred = prediction(*shape)
            given = {
                "": {},
                "weights": {"sample_weight": w},
                "mask": {"mask": m},
                "weights and mask": {"sample_weight": w, "mask": m},
            }
            for reduction in REDUCTIONS if len(shape) > 2 else REDUCTIONS[:1]:
                for note, arguments in given.items():
                    yield Case(
                        *("class", name, y_true, y_pred, {**parameters, "reduction": reduction}),
                        **arguments,
                        note=f"{shape} {note}".strip(),
                    )
    y_true, y_pred = _real(2, 4, 3), _real(2, 4, 3)
    for reduction in ("mean", None):
        yield Case("class", "MeanSquaredError", y_true, y_pred, {"reduction": reduction}, grid, note="weights")
    for reduction in ("sum_over_batch_size", "sum", "none"):
        column = np.array([[0.5], [2.0]])
        yield Case("class", "MeanSquaredError", y_true, y_pred, {"reduction": reduction}, column, note="weights (2,1)")
        column = np.array([[True], [False]])
        yield Case("class", "MeanSquaredError", y_true, y_pred, {"reduction": "sum"}, mask=column, note="mask (2,1)")
    for what in (2.0, np.array(0.5)):
        yield Case("class", "MeanSquaredError", y_true, y_pred, {}, what, note=f"weight {what}")
    nothing = np.zeros((2, 4), bool)
    yield Case("class", "MeanSquaredError", y_true, y_pred, {}, mask=nothing, note="all masked")
    ignored = np.full((2, 4), -1, "int32")
    yield Case("class", "SparseCategoricalCrossentropy", ignored, _distribution(2, 4, 3), {"ignore_class": -1})
    for reduction in REDUCTIONS:
        labels = np.array([0, 2, 1, 1, 0], "int32")
        yield Case(
            *(
                "class",
                "CategoricalGeneralizedCrossEntropy",
                labels,
                _PROBABILITIES,
                {"q": 0.3, "reduction": reduction},
            ),
            np.array([1.0, 0.5, 2.0, 0.0, 1.0]),
        )


# ── Metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────

METRICS: dict[str, tuple[Any, Any, list[dict[str, Any]]]] = {
    "MeanSquaredError": (_real, _real, [{}]),
    "RootMeanSquaredError": (_real, _real, [{}]),
    "MeanAbsoluteError": (_real, _real, [{}]),
    "MeanAbsolutePercentageError": (_real, _real, [{}]),
    "MeanSquaredLogarithmicError": (_positive, _positive, [{}]),
    "LogCoshError": (_real, _real, [{}]),
    "Poisson": (_positive, _positive, [{}]),
    "KLDivergence": (_distribution, _distribution, [{}]),
    "CosineSimilarity": (_real, _real, [{}]),
    "Hinge": (_signs, _real, [{}]),
    "SquaredHinge": (_binary, _real, [{}]),
    "CategoricalHinge": (_one_hot, _real, [{}]),
    "BinaryCrossentropy": (_binary, _real, [{"from_logits": True, "label_smoothing": 0.1}]),
    "CategoricalCrossentropy": (_one_hot, _distribution, [{}, {"label_smoothing": 0.1}]),
    "SparseCategoricalCrossentropy": (None, _real, [{"from_logits": True}]),
    "Accuracy": (_binary, _binary, [{}]),
    "BinaryAccuracy": (_binary, _probability, [{}, {"threshold": 0.3}]),
    "CategoricalAccuracy": (_one_hot, _real, [{}]),
    "SparseCategoricalAccuracy": (None, _real, [{}]),
    "TopKCategoricalAccuracy": (_one_hot, _real, [{}, {"k": 2}]),
    "SparseTopKCategoricalAccuracy": (None, _real, [{}, {"k": 2}]),
}


def _metric_cases() -> Iterator[Case]:
    for name, (target, prediction, options) in METRICS.items():
        for parameters in options:
            batches = []
            for size in (5, 3, 7):
                y_true = _labels(size, classes=6) if target is None else target(size, 6)
                batches.append((y_true, prediction(size, 6), _positive(size)))
            yield Case("metric", name, parameters=parameters, batches=tuple(batch[:2] for batch in batches))
            yield Case("metric", name, parameters=parameters, batches=tuple(batches), note="weights")
    columns = tuple((_binary(size, 1), _probability(size, 1), _positive(size)) for size in (5, 3))
    yield Case("metric", "BinaryAccuracy", batches=columns, note="(N,1)")
    yield Case("metric", "BinaryCrossentropy", batches=columns, note="(N,1)")
    steps = tuple((_real(size, 4, 3), _real(size, 4, 3), _positive(size, 4)) for size in (5, 3))
    yield Case("metric", "MeanSquaredError", batches=steps, note="weights per step")
    values = tuple((_real(size), _positive(size)) for size in (5, 3, 7))
    for name in ("Mean", "Sum"):
        yield Case("metric", name, batches=tuple(batch[:1] for batch in values))
        yield Case("metric", name, batches=values, note="weights")
        yield Case("metric", name, batches=((np.array([1.0, 3, 5, 7]),),) * 2 + ((np.ones(4),), (np.full(2, 2.0),)))

    scores = tuple((_binary(size), _probability(size), _positive(size)) for size in (30, 20))
    for curve in ("ROC", "PR", "PRGAIN"):
        for method in ("interpolation", "minoring", "majoring"):
            options = {"curve": curve, "summation_method": method}
            yield Case("metric", "AUC", parameters=options, batches=tuple(batch[:2] for batch in scores))
            yield Case("metric", "AUC", parameters=options | {"num_thresholds": 7}, batches=scores, note="weights")
    yield Case("metric", "AUC", parameters={"thresholds": [0.2, 0.5, 0.6]}, batches=scores)
    yield Case("metric", "AUC", parameters={"from_logits": True}, batches=((_binary(40), _real(40)),))
    labels = tuple((_binary(size, 3), _probability(size, 3), _positive(size)) for size in (30, 20))
    yield Case("metric", "AUC", parameters={"multi_label": True}, batches=labels, note="weights")
    options = {"multi_label": True, "num_labels": 3, "label_weights": [0.5, 1.0, 2.0]}
    yield Case("metric", "AUC", parameters=options, batches=tuple(batch[:2] for batch in labels))
    yield Case("metric", "AUC", parameters={"curve": "PR"} | options, batches=labels, note="weights")
    yield Case("metric", "AUC", batches=labels, note="flattened")


def _metric_function_cases() -> Iterator[Case]:
    functions: dict[str, tuple[Any, Any, list[dict[str, Any]]]] = {
        "binary_accuracy": (_binary, _probability, [{}, {"threshold": 0.3}]),
        "categorical_accuracy": (_one_hot, _real, [{}]),
        "sparse_categorical_accuracy": (None, _real, [{}]),
        "top_k_categorical_accuracy": (_one_hot, _real, [{}, {"k": 2}]),
        "sparse_top_k_categorical_accuracy": (None, _real, [{}, {"k": 2}]),
    }
    for name, (target, prediction, options) in functions.items():
        for parameters in options:
            for shape in ((7, 6), (2, 4, 6)):
                y_true = _labels(*shape[:-1], classes=6) if target is None else target(*shape)
                yield Case("metric function", name, y_true, prediction(*shape), parameters, note=str(shape))


# ── Deviations: where multiloss gives something else on purpose ─────────────────────────────────────────────────

_ROW = np.array([[0.2, 0.5, 0.3]])
_SQUARE_TRUE, _SQUARE_PRED = np.zeros((3, 3, 2)), np.ones((3, 3, 2)) * np.array([1.0, 2, 3])[:, None, None]
_NAN_PRED = np.array([[1.0, 1.0], [np.nan, 1.0], [2.0, 2.0]])

DEVIATIONS: dict[str, Case] = {
    **{
        f"label {label}": Case("function", "sparse_categorical_crossentropy", np.array([label], "int32"), _ROW)
        for label in (-1, 3, -100)
    },
    "weights (N,) on (N,N)": Case(
        "class", "MeanSquaredError", _SQUARE_TRUE, _SQUARE_PRED, {"reduction": "none"}, np.array([1.0, 0.0, 0.0])
    ),
    "weights (N,1) and their own mean": Case(
        *("class", "MeanSquaredError", _SQUARE_TRUE, np.ones((3, 3, 2)), {"reduction": "mean_with_sample_weight"}),
        np.ones((3, 1)),
    ),
    "weights (N,1) and mask (N,T)": Case(
        *("class", "MeanSquaredError", _SQUARE_TRUE, _SQUARE_PRED, {}, np.array([[1.0], [2.0], [1.0]])),
        mask=np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], bool),
    ),
    "weights (N,) on targets (N,)": Case(
        *("class", "MeanSquaredError", np.zeros(3), np.array([1.0, 2.0, 3.0]), {}, np.array([1.0, 0.0, 0.0]))
    ),
    "sum of targets (N,)": Case(
        "class", "MeanSquaredError", np.zeros(3), np.array([1.0, 2.0, 3.0]), {"reduction": "sum"}
    ),
    **{
        f"{name} of {about}": Case("function", name, y_true, y_pred, options)
        for name, options in (("dice", {}), ("dice", {"axis": (1, 2)}), ("tversky", {}), ("tversky", {"axis": (1, 2)}))
        for about, y_true, y_pred in (
            (f"regions {options}", _binary(3, 4, 2), _probability(3, 4, 2)),
            (f"empty regions {options}", np.zeros((3, 4, 2)), np.zeros((3, 4, 2))),
        )
    },
    **{
        f"{name} of weighted regions": Case(
            "class", name, _binary(3, 4, 2), _probability(3, 4, 2), {"axis": (1, 2)}, np.array([1.0, 0.5, 2.0])
        )
        for name in ("Dice", "Tversky")
    },
    "generalized cross-entropy of labels (N,1)": Case(
        *(
            "function",
            "categorical_generalized_cross_entropy",
            _labels(4, 1, classes=3),
            _distribution(4, 3),
            {"q": 0.5},
        )
    ),
    "tversky of a false positive": Case(
        *("function", "tversky", np.array([1.0, 0.0]), np.array([1.0, 1.0]), {"alpha": 1.0, "beta": 0.0})
    ),
    "ctc without any alignment": Case("function", "ctc", np.array([[1, 1, 2]], "int32"), np.zeros((1, 3, 3))),
    "ctc of a blank between labels": Case("function", "ctc", np.array([[1, 0, 2]], "int32"), np.zeros((1, 3, 3))),
    "masked nan": Case("class", "MeanSquaredError", np.zeros((3, 2)), _NAN_PRED, mask=np.array([True, False, True])),
    "nan of weight 0": Case(
        "class", "MeanSquaredError", np.zeros((3, 2)), _NAN_PRED, sample_weight=np.array([1.0, 0.0, 1.0])
    ),
    **{
        f"{name} of (N,) and (N,1)": Case("function", name, np.array([1.0, 0.0, 1.0]), np.full((3, 1), 0.5))
        for name in ("hinge", "squared_hinge", "poisson", "kl_divergence", "binary_crossentropy")
    },
    "shapes (1,K) and (N,K)": Case("function", "mean_squared_error", np.zeros((1, 2)), np.ones((3, 2))),
    "cosine of zero": Case("function", "cosine_similarity", np.ones((1, 3)), np.zeros((1, 3))),
    "cosine of tiny": Case("function", "cosine_similarity", np.ones((1, 3)), np.full((1, 3), 1e-30)),
    "cosine of huge": Case("function", "cosine_similarity", np.ones((1, 3)), np.full((1, 3), 1e25)),
    "cosine along axis 0": Case("function", "cosine_similarity", np.ones((2, 3)), np.ones((2, 3)), {"axis": 0}),
    "cosine of (D,)": Case("function", "cosine_similarity", np.ones(3), np.ones(3)),
    "far logits": Case(
        "function", "binary_crossentropy", np.zeros((1, 1)), np.full((1, 1), 100.0), {"from_logits": True}
    ),
    "infinite logits": Case(
        *("function", "categorical_crossentropy", np.array([[0.0, 1.0]]), np.array([[-np.inf, 0.0]])),
        {"from_logits": True},
    ),
    "focal of far logits": Case(
        "function", "binary_focal_crossentropy", np.zeros((1, 1)), np.full((1, 1), 40.0), {"from_logits": True}
    ),
    "categorical focal of far logits": Case(
        *("function", "categorical_focal_crossentropy", np.array([[0.0, 1.0]]), np.array([[40.0, 0.0]])),
        {"from_logits": True},
    ),
    "focal with gamma below 1": Case(
        "function", "binary_focal_crossentropy", np.ones((1, 1)), np.ones((1, 1)), {"gamma": 0.5}
    ),
    "log_cosh of a small error": Case("function", "log_cosh", np.zeros((1, 1)), np.full((1, 1), 1e-4)),
    "all probabilities 0": Case("function", "categorical_crossentropy", np.array([[0.0, 1.0]]), np.zeros((1, 2))),
    "error of 0": Case("function", "mean_absolute_error", np.zeros((1, 1)), np.zeros((1, 1))),
    "smoothing along axis 1": Case(
        *("function", "categorical_crossentropy", np.eye(3)[None, :, :2], np.full((1, 3, 2), 1 / 3)),
        {"label_smoothing": 0.3, "axis": 1},
    ),
    "sparse labels along axis 1": Case(
        *("function", "sparse_categorical_crossentropy", np.array([[2, 0]], "int32"), np.full((1, 3, 2), 1 / 3)),
        {"axis": 1},
    ),
    "nothing": Case("class", "MeanSquaredError", np.zeros((0, 2)), np.zeros((0, 2))),
    "delta -1": Case("function", "huber", np.zeros((1, 1)), np.full((1, 1), 3.0), {"delta": -1.0}),
    "label smoothing 1.5": Case(
        "function", "binary_crossentropy", np.ones((1, 1)), np.full((1, 1), 0.5), {"label_smoothing": 1.5}
    ),
    "mean of unequal shapes": Case("metric", "Mean", batches=((np.zeros((2, 1)),), (np.ones((2, 3)),))),
    "metric with ignore_class": Case(
        *("metric", "SparseCategoricalCrossentropy"),
        parameters={"ignore_class": -1},
        batches=((np.array([0, -1], "int32"), np.full((2, 2), 0.5)),),
    ),
    "nan prediction": Case("metric function", "binary_accuracy", np.zeros((1, 1)), np.full((1, 1), np.nan)),
    "signs": Case("metric function", "binary_accuracy", np.array([[-1.0]]), np.array([[-0.5]]), {"threshold": 0.0}),
    **{
        f"{name} of integers": Case("metric", name, batches=((np.array([[0, 1], [0, 0]]), np.array([[1, 1], [0, 0]])),))
        for name in ("LogCoshError", "Poisson", "MeanAbsolutePercentageError")
    },
    "top 2 of equal scores": Case(
        "metric", "Precision", parameters={"top_k": 2}, batches=((np.array([0.0, 0.0, 1.0, 1.0]), np.ones(4)),)
    ),
    "AUC of scores above 1": Case("metric", "AUC", batches=((np.array([0.0, 1.0]), np.array([2.0, 3.0])),)),
}

# ── Golden values ────────────────────────────────────────────────────────────────────────────────────


def _row_cases() -> Iterator[Case]:
    """Yield sequences of labels, and identities: the losses of which a sample is a row of its own kind."""
    rng = np.random.default_rng(21)  # leaves the numbers of the other cases alone
    for steps, classes in ((5, 3), (12, 7)):
        labels = rng.integers(1, classes, size=(4, 3)).astype("int32")
        labels[1, 2:], labels[2, 1:], labels[3] = 0, 0, [1, 1, 2]
        yield Case("function", "ctc", labels, 2 * rng.normal(size=(4, steps, classes)), note=f"{steps} steps")
    embeddings = rng.normal(size=(7, 5))
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    ids = np.array([3, 1, 3, 8, 1, 1, 40], "int32")
    for options in ({}, {"gamma": 5.0}, {"margin": 0.1}, {"gamma": 2.0, "margin": 0.25}):
        yield Case("function", "circle", ids, embeddings, dict(options))
    yield Case("function", "circle", ids, 0.9 * embeddings, {"remove_diagonal": False}, note="shorter than 1")


def _row_class_cases() -> Iterator[Case]:
    ctc, _, circle, *_ = _row_cases()
    for reduction in REDUCTIONS:
        for name, case in (("CTC", ctc), ("Circle", circle)):
            weight = np.linspace(0.5, 2.0, len(case.y_true))
            yield Case("class", name, case.y_true, case.y_pred, {"reduction": reduction})
            yield Case("class", name, case.y_true, case.y_pred, {"reduction": reduction}, weight, note="weights")


def _region_cases() -> Iterator[Case]:
    rng = np.random.default_rng(22)
    for axis in (None, (1, 2), -1):
        for name in ("dice", "tversky"):
            y_true, y_pred = rng.integers(0, 2, (3, 5, 4)).astype(float), rng.uniform(0.02, 0.98, (3, 5, 4))
            y_true[..., 0] = 1.0  # no region is empty
            yield Case("function", name, y_true, y_pred, {"axis": axis})


GOLDEN_TRUE = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
GOLDEN_PRED = np.array([[0.05, 0.9, 0.05], [0.1, 0.8, 0.1]])
GOLDEN = {
    "mean_squared_error": (0.005, 0.486667),
    "mean_absolute_error": (0.066667, 0.6),
    "mean_absolute_percentage_error": (3.33333367e7, 3.0000003e8),
    "mean_squared_logarithmic_error": (0.002464, 0.237329),
    "hinge": (0.733333, 1.266667),
    "squared_hinge": (0.738333, 1.753333),
    "categorical_hinge": (0.15, 1.7),
    "log_cosh": (0.002497, 0.218525),
    "categorical_crossentropy": (0.105361, 2.302585),
    "binary_crossentropy": (0.069316, 1.339128),
    "kl_divergence": (0.105358, 2.302582),
    "poisson": (0.368453, 1.100861),
    "cosine_similarity": (-0.996928, -0.123091),
}
"""Six digits of each, from the formulas; hinge and squared_hinge with labels mapped to signs, as in Keras 3."""

FUNCTION_CASES = [
    *_function_cases(),
    *_row_cases(),
    *(Case("function", name, GOLDEN_TRUE, GOLDEN_PRED, note="golden") for name in GOLDEN),
]
REGION_CASES = list(_region_cases())
CLASS_CASES = [*_class_cases(), *_row_class_cases()]
METRIC_CASES = list(_metric_cases())
DEVIATION_CASES = list(DEVIATIONS.values())
METRIC_FUNCTION_CASES = list(_metric_function_cases())
