"""`as_scorer`: any loss or metric where scikit-learn takes `scoring=`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from multiloss._errors import ArgumentError, BackendNotFoundError, LabelError, NotSupportedError
from multiloss._registry import owner_of
from multiloss._typing import TensorLike
from multiloss.integrations.sklearn._facts import (
    DECISION,
    PREDICT,
    PROBABILITY,
    Expectation,
    as_metric,
    of_function,
    of_loss,
    of_metric,
)
from multiloss.integrations.sklearn._inputs import Array
from multiloss.integrations.sklearn._labels import index_in
from multiloss.losses import Loss, LossFunctionWrapper
from multiloss.losses._spec import spec_of
from multiloss.metrics import Metric

__all__ = ["Scorer", "as_scorer"]

METHODS = ("predict", "predict_proba", "decision_function", "predict_log_proba", "transform")


def as_scorer(
    loss_or_metric: str | Loss | Metric | Callable[..., Any],
    *,
    response_method: str | Sequence[str] | None = None,
    greater_is_better: bool | None = None,
    pos_label: Any = None,
    **parameters: Any,
) -> Scorer:
    """Return a scorer for `cross_val_score`, `cross_validate`, `GridSearchCV`, `permutation_importance` and their like.

    A loss is negated, so that greater is better. It is called with what it declares to expect: `predict` for regression
    and for accuracies of labels, `predict_proba` for probabilities, `decision_function` for margins and with
    `from_logits=True`. Labels of a classifier, text or numbers, are encoded by its `classes_`: as 0 and 1 (of the positive
    class) with its column of the predictions, as -1 and 1, as indices or one-hot rows, as the loss declares. Values are
    averaged with their weights, `sum(w * l) / sum(w)`, as in scikit-learn; only a loss with `reduction="sum"` sums.

    Args:
        loss_or_metric: a name, a loss or metric instance, a function of multiloss or of this module, or a function of
            `(y_true, y_pred)` over `multiloss.backend`.
        response_method: the estimator's method to call, or some of which it has one.
        greater_is_better: whether it is a score. Default: what is known of it.
        pos_label: the positive one of two classes. Default: the second of `classes_`.
        **parameters: of the function or named loss, such as `delta=2.0`, or `average="macro"`.

    Raises:
        ArgumentError: for a loss or metric of which it is not known whether greater is better, if it is not said; for
            parameters that cannot act.
        UnknownNameError: for a name that is not known.
        BackendNotFoundError: if scikit-learn is not installed.

    >>> from sklearn.dummy import DummyClassifier
    >>> model = DummyClassifier(strategy="prior").fit([[0], [1], [2], [3]], ["no", "no", "no", "yes"])
    >>> round(as_scorer("binary_crossentropy")(model, [[0], [1]], ["no", "yes"]), 4)
    -0.837
    >>> as_scorer("accuracy")(model, [[0], [1]], ["no", "yes"])
    0.5
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise BackendNotFoundError(
            f"as_scorer needs scikit-learn, and it cannot be imported ({error}). To get it: pip install 'multiloss[sklearn]'.",
            name=error.name,
        ) from error
    return Scorer(loss_or_metric, response_method, greater_is_better, pos_label, parameters)


class Scorer:
    """What `as_scorer` returns: a callable `(estimator, X, y, sample_weight=None, **inputs)`, greater is better.

    `inputs` are the loss' named inputs, with a row for each of those that are scored. With metadata routing, ask for them as for
    weights: `scorer.set_score_request(sample_weight=True, teacher=True)`.
    """

    def __init__(
        self,
        loss_or_metric: Any,
        response_method: str | Sequence[str] | None,
        greater_is_better: bool | None,
        pos_label: Any,
        parameters: dict[str, Any],
    ) -> None:
        self.loss_or_metric = loss_or_metric
        self.pos_label = pos_label
        self.parameters = parameters
        self._requests: dict[str, Any] = {"sample_weight": None}
        expected = None if isinstance(loss_or_metric, str) else of_function(loss_or_metric)
        self._function: Any = None
        self._metric: Any = None
        if expected is not None:
            self._function = loss_or_metric
            inspect.signature(loss_or_metric).bind(None, None, **parameters)  # raises what Python would
        else:
            self._metric = as_metric(loss_or_metric, parameters)
            expected = _of_sum(self._metric) if isinstance(self._metric, Loss) else of_metric(self._metric)
            if expected.greater_is_better is None and isinstance(loss_or_metric, Loss):
                expected = expected._replace(greater_is_better=False)
        if greater_is_better is not None:
            expected = expected._replace(greater_is_better=greater_is_better)
        if expected.greater_is_better is None:
            raise ArgumentError(
                f"It is not known of {loss_or_metric!r} whether greater is better. "
                "Say so with greater_is_better=False (a loss) or greater_is_better=True."
            )
        if response_method is not None:
            methods = (response_method,) if isinstance(response_method, str) else tuple(response_method)
            expected = expected._replace(responses=methods)
        if not expected.responses or not set(expected.responses) <= set(METHODS):
            raise ArgumentError(
                f"response_method={response_method!r} is not allowed for {loss_or_metric!r}. "
                f"Expected one of {', '.join(METHODS)}."
            )
        self._expected = expected

    # ── Scoring ─────────────────────────────────────────────────────────────────────────────────────────────

    def __call__(
        self, estimator: Any, X: Any, y: Any = None, sample_weight: TensorLike = None, **inputs: TensorLike
    ) -> float:
        """Return the score of a fitted estimator.

        Raises:
            ArgumentError: if the estimator has no method that gives what is expected.
            LabelError: for labels that are none of the estimator's classes.
        """
        method, predictions = self._respond(estimator, X)
        classes = _classes(estimator)
        if self._function is not None:
            value = self._call_function(classes, method, predictions, y, sample_weight)
        else:
            y_true, y_pred = self._encode(classes, method, predictions, y)
            value = self._evaluate(y_true, y_pred, sample_weight, inputs)
        return value if self._expected.greater_is_better else -value

    def _respond(self, estimator: Any, X: Any) -> tuple[str, Any]:
        for method in self._expected.responses:
            if hasattr(estimator, method):
                predictions = getattr(estimator, method)(X)
                if isinstance(predictions, list):  # one array for each output
                    predictions = _of_outputs(predictions)
                return method, predictions
        has = [method for method in METHODS if hasattr(estimator, method)]
        raise ArgumentError(
            f"{self.loss_or_metric!r} expects {' or '.join(self._expected.responses)}, and {type(estimator).__name__} has "
            f"{', '.join(has) or 'none of ' + ', '.join(METHODS)}. Choose another estimator or loss, or say which method "
            "gives the predictions with response_method=."
        )

    def _evaluate(self, y_true: Any, y_pred: Any, sample_weight: TensorLike, inputs: dict[str, TensorLike]) -> float:
        metric = self._metric
        if isinstance(metric, Loss) or inputs:
            loss = metric if isinstance(metric, Loss) else self._mean_loss(inputs)
            if spec_of(getattr(loss, "fn", None)) is None and np.ndim(y_pred) == 1 == np.ndim(y_true):
                # A loss of one's own averages the last axis: these are samples of one value, not one sample.
                y_true, y_pred = np.reshape(y_true, (-1, 1)), np.reshape(y_pred, (-1, 1))
            value = loss(y_true, y_pred, sample_weight, **inputs)
        else:
            state = metric.init(y_pred)
            value = metric.compute(metric.update(state, y_true, y_pred, sample_weight))
        value = owner_of(value).to_numpy(value)
        if value.ndim:
            raise ArgumentError(
                f"{self.loss_or_metric!r} returned {value.shape} values, and a scorer returns one. Choose an average."
            )
        return float(value)

    def _mean_loss(self, inputs: dict[str, TensorLike]) -> Loss:
        """Return the loss that takes named inputs, averaged as scikit-learn averages.

        Raises:
            NotSupportedError: for a metric, which takes none.
        """
        given = self.loss_or_metric
        if isinstance(given, Loss):
            loss = copy.copy(given)
            loss.reduction = "mean_with_sample_weight"
            return loss
        if callable(given) and not isinstance(given, Metric):
            return LossFunctionWrapper(given, "mean_with_sample_weight", **self.parameters)
        raise NotSupportedError(
            f"{sorted(inputs)} arrived, and {given!r} takes y_true, y_pred and sample_weight. Named inputs are those of losses: "
            "pass an instance of a loss that declares them, or a function."
        )

    def _call_function(
        self, classes: Array | None, method: str, predictions: Any, y: Any, sample_weight: TensorLike
    ) -> float:
        parameters = dict(self.parameters)
        if classes is not None and np.ndim(y) == 1:
            known = inspect.signature(self._function).parameters
            positive = self._positive(classes) if {"pos_label", "multi_class"} & known.keys() else classes.tolist()[-1]
            if method != "predict":
                predictions = self._column(classes, method, predictions, positive)
                if "labels" in known and (len(classes) > 2 or "multi_class" not in known):
                    parameters.setdefault("labels", classes)
            average = parameters.get("average", known["average"].default if "average" in known else "binary")
            if "pos_label" in known and len(classes) == 2 and (average == "binary" or method != "predict"):
                parameters.setdefault("pos_label", positive)
            elif "multi_class" in known and len(classes) == 2:
                y = np.asarray(y) == positive
        if sample_weight is not None:
            parameters["sample_weight"] = sample_weight
        return float(self._function(y, predictions, **parameters))

    # ── Labels ──────────────────────────────────────────────────────────────────────────────────────────────

    def _positive(self, classes: Array) -> Any:
        if self.pos_label is None:
            return classes.tolist()[-1]
        if self.pos_label not in classes.tolist():
            raise LabelError(f"pos_label={self.pos_label!r} is none of the estimator's classes {classes.tolist()}.")
        return self.pos_label

    def _column(self, classes: Array, method: str, predictions: Any, positive: Any) -> Any:
        """Return predictions for one of two classes; as they are if there are more."""
        if len(classes) != 2:
            return predictions
        place = classes.tolist().index(positive)
        if predictions.ndim == 2:
            return predictions[:, place]
        return predictions if place or method == "predict" else -predictions

    def _encode(self, classes: Array | None, method: str, predictions: Any, y: Any) -> tuple[Any, Any]:
        """Return labels and predictions as the loss declares that it expects them."""
        target = self._expected.target
        if classes is None or np.ndim(y) != 1:
            return y, predictions
        if target == "values":
            if self._expected.responses == PREDICT and np.asarray(y).dtype.kind in "OUS":
                return tuple(
                    index_in(np.asarray(each), classes, what) for each, what in ((y, "y"), (predictions, "y_pred"))
                )
            return y, predictions
        index = index_in(np.asarray(y), classes, "y")
        if method == "predict":
            predictions = (
                index_in(np.asarray(predictions), classes, "predictions") if target == "index" else predictions
            )
            if target == "index":
                return index, predictions
        if target in ("binary", "sign"):
            hot = _one_hot(index, len(classes))
            if len(classes) == 2:
                positive = self._positive(classes)
                hot = hot[:, classes.tolist().index(positive)]
                predictions = self._column(classes, method, predictions, positive)
            return (2.0 * hot - 1.0 if target == "sign" else hot), predictions
        if predictions.ndim == 1 and len(classes) == 2:  # the logit of the second class against the first
            if method in PROBABILITY:
                predictions = np.stack([1.0 - predictions, predictions], 1)
            elif method in DECISION:
                predictions = np.stack([np.zeros_like(predictions), predictions], 1)
        return (_one_hot(index, len(classes)) if target == "one-hot" else index), predictions

    # ── Metadata routing ────────────────────────────────────────────────────────────────────────────────────

    def set_score_request(self, **requests: bool | str | None) -> Scorer:
        """Ask scikit-learn's metadata routing to pass `sample_weight`, or a named input of the loss, to this scorer.

        True: under its own name; a string: under that name; False: never; None: an error if it is passed.

        Raises:
            ArgumentError: while metadata routing is off, when a request could not act.
        """
        import sklearn

        if not sklearn.get_config().get("enable_metadata_routing", False):
            raise ArgumentError(
                "Metadata routing is off, so set_score_request cannot act. "
                "Turn it on first: sklearn.set_config(enable_metadata_routing=True)."
            )
        self._requests |= requests
        return self

    def get_metadata_routing(self) -> Any:
        """Return what was asked for, as scikit-learn reads it."""
        from sklearn.utils.metadata_routing import MetadataRequest

        routing = MetadataRequest(owner=self)
        for name, request in self._requests.items():
            routing.score.add_request(param=name, alias=request)
        return routing

    def __repr__(self) -> str:
        sign = "" if self._expected.greater_is_better else ", greater_is_better=False"
        options = "".join(f", {key}={value!r}" for key, value in self.parameters.items())
        name = getattr(self.loss_or_metric, "__name__", None) or repr(self.loss_or_metric)
        return f"as_scorer({name}{options}{sign}, response_method={self._expected.responses!r})"


def _of_sum(loss: Loss) -> Expectation:
    spec = spec_of(getattr(loss, "fn", None))
    return (
        Expectation("values", PREDICT, False) if spec is None else of_loss(spec, getattr(loss, "parameters", {}), False)
    )


def _classes(estimator: Any) -> Array | None:
    """Return the classes of a fitted classifier; None for a regressor, and for classifiers with several outputs."""
    classes = getattr(estimator, "classes_", None)
    return None if classes is None or isinstance(classes, list) else np.asarray(classes)


def _of_outputs(predictions: list[Any]) -> Any:
    if any(np.ndim(each) != 2 or each.shape[1] != 2 for each in predictions):
        shapes = [np.shape(each) for each in predictions]
        raise NotSupportedError(
            f"The estimator returned {len(predictions)} arrays of shapes {shapes}. Expected one output, or labels that are "
            "there or not: (N, 2) for each."
        )
    return np.stack([each[:, 1] for each in predictions], 1)


def _one_hot(index: Array, classes: int) -> Array:
    return np.asarray(index[:, None] == np.arange(classes), np.float64)
