"""multiloss inside XGBoost: objectives and metrics for `xgboost.train` and for its scikit-learn estimators.

    from multiloss.integrations.xgboost import as_metric, as_objective

    objective = as_objective("binary_focal_crossentropy", hessian="fisher")
    booster = xgb.train(
        {"max_depth": 4} | objective.params(dtrain), dtrain, 50,
        obj=objective, custom_metric=as_metric("binary_crossentropy"), evals=[(dtest, "test")],
    )
    booster.predict(dtest)                                      # probabilities

    model = xgb.XGBClassifier(objective=objective, **objective.start(y, sample_weight)).fit(X, y, sample_weight)
    model.predict_proba(X)                                      # (N, K), rows sum to 1

What comes with an objective, because XGBoost leaves it to you:

* Sample weights are read from the DMatrix, or taken from `fit`.
* `params` and `start` give the best constant as `base_score`.
* `params` names the built-in objective with the same link. XGBoost uses nothing else of it, so that `predict` gives
  probabilities or counts, also when the model is loaded where multiloss is not.
* Scores and derivatives are (N,) or (N, K). Several classes get the diagonal that is at least the Hessian, `2 p (1 - p)`, as
  XGBoost's softmax does; the squared error is halved, so that regularization weighs as beside `reg:squarederror`; the
  curvature of counts is multiplied by exp(0.7), as `count:poisson` with its `max_delta_step` does.

A squared error, logistic, Poisson or softmax model equals that of the built-in objective to 1e-5 after 50 rounds.

Named inputs, such as a teacher's scores, are given to `as_objective(loss, inputs={...})` with a row for each of the training
data. A loss of your own that is of several classes says `link="softmax"`: it gets class indices and probabilities, or logits
if it has a parameter `from_logits`. Data sets for evaluation have no named inputs; show another loss of them.

`XGBRegressor` takes every objective for one of the identity link, so its `predict` gives raw scores: use
`objective.predict(model, X)`, or `xgboost.train`, for counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from multiloss._errors import ArgumentError, BackendNotFoundError
from multiloss._typing import TensorLike
from multiloss.derivatives._shapes import Form
from multiloss.derivatives._transform import Curvature
from multiloss.integrations._boosting import RawLoss, RawMetric, best_constant, column, weights_or_none
from multiloss.integrations._boosting._raw import FLOOR

try:
    import xgboost
except ImportError as error:
    raise BackendNotFoundError(
        f"multiloss.integrations.xgboost needs XGBoost, and it cannot be imported ({error}). To get it: "
        "pip install 'multiloss[xgboost]'.",
        name=error.name,
    ) from error

__all__ = ["XGBoostMetric", "XGBoostObjective", "as_metric", "as_objective"]

_SAME_LINK = {
    "identity": "reg:squarederror",
    "logit": "binary:logistic",
    "log": "reg:gamma",
    "softmax": "multi:softprob",
}
"""The built-in objective of each link."""
_MAX_DELTA_STEP = 0.7
"""XGBoost's default for count:poisson, which enlarges the curvature by its exponential."""


def as_objective(
    loss: Any,
    *,
    link: str | None = None,
    hessian: Curvature = "exact",
    floor: float = FLOOR,
    inputs: Mapping[str, TensorLike] | None = None,
) -> XGBoostObjective:
    """Return a loss as an objective for `xgboost.train(..., obj=)` and for `XGBClassifier(objective=)`.

    Its reduction does not matter: boosting sums over samples.

    Args:
        loss: a loss, its name, or a function of `(y_true, y_pred)` over `multiloss.backend`.
        link: `"identity"`, `"logit"`, `"log"` or `"softmax"`: how raw scores become what the loss predicts. By default
            what the loss predicts decides (probabilities: logit or softmax; positive numbers: log); identity for a
            loss of your own. A loss that can be computed from logits is, also one of your own with a parameter `from_logits`.
        hessian: the curvature: `"exact"`, `"fisher"`, `"gauss_newton"` or `"constant"`; see `multiloss.grad_and_hessian`.
        floor: the least curvature of a sample, before its weight.
        inputs: the loss's named inputs by name, such as a teacher's scores, with a row for each of the training data. Several
            classes then start from the logarithms of their shares.

    Raises:
        NamedInputError: for an input that the loss does not take, or one that is missing.
        NotSupportedError: for `"exact"` if the loss has no second derivative other than 0, such as mean_absolute_error.
        UnknownNameError: for a name that is not known.
    """
    return XGBoostObjective(loss, link, hessian, floor, inputs)


def as_metric(what: Any, *, link: str | None = None, raw: bool = True, name: str | None = None) -> XGBoostMetric:
    """Return a loss or metric for `xgboost.train(..., custom_metric=)` and for `eval_metric=` of its estimators.

    Args:
        what: a loss, whose weighted mean is shown; a metric; or a name.
        link: as in `as_objective`; a metric needs one, since raw scores are what it gets.
        raw: whether XGBoost hands over raw scores, as it does beside an objective of ours; False beside a built-in one.
        name: what the value is shown under.

    Raises:
        ArgumentError: for a metric of raw scores without a link.
        UnknownNameError: for a name that is not known.
    """
    return XGBoostMetric(RawMetric(what, link, raw, name))


class XGBoostObjective:
    """What `as_objective` returns."""

    def __init__(
        self,
        loss: Any,
        link: str | None,
        hessian: Curvature,
        floor: float,
        inputs: Mapping[str, TensorLike] | None = None,
    ) -> None:
        self._arguments = (loss, link, hessian, floor, inputs)
        self.raw = RawLoss(loss, link, hessian, floor, inputs)
        self.__name__ = self.raw.name

    def __call__(self, first: Any, second: Any, sample_weight: TensorLike = None) -> tuple[Any, Any]:
        """Return gradient and Hessian, given `(scores, DMatrix)` or `(y_true, scores, sample_weight)`."""
        if isinstance(second, xgboost.DMatrix):
            scores, labels, weight = first, second.get_label(), second.get_weight()
        else:
            labels, scores, weight = first, second, sample_weight
        raw = column(scores)
        form: Form = "bound" if self.raw.several else "diagonal"
        enlarged = math.exp(_MAX_DELTA_STEP) if self.raw.counts else 1.0
        gradient, hessian = self.raw.derivatives(labels, raw, weights_or_none(weight), form, enlarged=enlarged)
        return gradient.reshape(scores.shape), hessian.reshape(scores.shape)

    def params(self, dtrain: xgboost.DMatrix, num_class: int | None = None) -> dict[str, Any]:
        """Return the parameters that `xgboost.train` needs beside this objective: link, start, and no other's metric.

        Args:
            dtrain: the training data.
            num_class: for losses of several classes. Default: the largest label plus 1.

        Raises:
            LabelError: for labels that the loss is not made for.
            ShapeError: for named inputs with another number of rows.
        """
        labels, weight = dtrain.get_label(), weights_or_none(dtrain.get_weight())
        own: dict[str, Any] = {"objective": _SAME_LINK[self.raw.link.name], "disable_default_eval_metric": True}
        if self.raw.counts:
            own["objective"] = "count:poisson"
        classes = 1
        if self.raw.several:
            classes = num_class if num_class is not None else _classes(labels)
            own |= {"num_class": classes, "objective": _SAME_LINK["softmax"]}
        elif num_class is not None:
            raise ArgumentError(
                f"num_class={num_class} cannot act: {self.raw.name} is not of several classes. If it is a loss of your "
                "own that is, say so: link='softmax'."
            )
        return own | {"base_score": self._base_score(best_constant(self.raw, labels, weight, classes))}

    def start(self, y_true: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return `{"base_score": ...}` for `XGBClassifier` or `XGBRegressor`, given what `fit` will be given.

        Raises:
            LabelError: for labels that the loss is not made for.
            ShapeError: for named inputs with another number of rows.
        """
        labels = xgboost.DMatrix(column(y_true)[:, :0], label=y_true, weight=sample_weight)
        if self.raw.link.name == "log":  # XGBRegressor knows the identity alone
            return {"base_score": best_constant(self.raw, labels.get_label(), weights_or_none(labels.get_weight()))[0]}
        return {"base_score": self.params(labels)["base_score"]}

    def _base_score(self, constant: list[float]) -> float | list[float]:
        """Return raw scores as XGBoost wants them: in the space of predictions, but for several classes."""
        if len(constant) > 1:
            return constant
        if self.raw.link.name == "logit":
            return 1.0 / (1.0 + math.exp(-constant[0]))
        return math.exp(constant[0]) if self.raw.link.name == "log" else constant[0]

    def predict(self, model: Any, data: Any) -> Any:
        """Return what the loss predicts (values, counts, probabilities) by a booster or an estimator, as a host array."""
        return self._squeezed(self.raw.predictions(self._scores(model, data)))

    def predict_proba(self, model: Any, data: Any) -> Any:
        """Return probabilities (N, K) by a booster or an estimator, as a host array.

        Raises:
            NotSupportedError: if the loss does not predict probabilities.
        """
        return self.raw.probabilities(self._scores(model, data))

    @staticmethod
    def _scores(model: Any, data: Any) -> Any:
        return column(model.predict(data, output_margin=True))

    @staticmethod
    def _squeezed(predictions: Any) -> Any:
        return predictions[:, 0] if predictions.shape[1] == 1 else predictions

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self), self._arguments


class XGBoostMetric:
    """What `as_metric` returns."""

    def __init__(self, metric: RawMetric) -> None:
        self._metric = metric
        self.__name__ = metric.name

    def __call__(self, first: Any, second: Any, sample_weight: TensorLike = None) -> Any:
        """Return `(name, value)`, given `(scores, DMatrix)`; or the value, given `(y_true, scores, sample_weight)`."""
        if isinstance(second, xgboost.DMatrix):
            weight = weights_or_none(second.get_weight())
            return self.__name__, self._metric.evaluate(second.get_label(), first, weight)
        return self._metric.evaluate(first, second, weights_or_none(sample_weight))


def _classes(labels: Any) -> int:
    return int(labels.max()) + 1 if labels.size else 1
