"""multiloss inside CatBoost: objectives and metrics for `catboost.train` and for `CatBoostClassifier`, `CatBoostRegressor`.

    from multiloss.integrations.catboost import as_metric, as_objective

    objective = as_objective("binary_focal_crossentropy", hessian="fisher")
    model = CatBoostClassifier(loss_function=objective, eval_metric=as_metric("binary_crossentropy"), learning_rate=0.1)
    objective.fit(model, X, y, sample_weight=weights)
    objective.predict_proba(model, X)                           # (N, K), rows sum to 1

What comes with an objective, because CatBoost leaves it to you:

* Sample weights: CatBoost hands them over, and the objective applies them.
* `fit` starts from the best constant, as a baseline, and makes it the bias of the model, which is saved with it. For
  `catboost.train`, `start` gives the baseline for the Pool, and `finish` sets the bias.
* `predict` and `predict_proba` apply the inverse link. (`model.predict_proba` does so for two classes, too.)
* Signs: CatBoost takes derivatives of what is maximized. The squared error is halved, as in RMSE.
* Several classes get the whole block of the Hessian, as CatBoost's MultiClass has it. CatBoost asks for it row by row, in Python,
  which costs some 10 µs per row for cross-entropies of logits and a hundred for other losses; other objectives are asked
  for all rows at once.

Named inputs, such as a teacher's scores, are given to `as_objective(loss, inputs={...})` with a row for each of the training
data. CatBoost asks for some rows at a time and does not say which, so `fit` then hands it the numbers of the rows as targets, and
the objective looks up what they stand for. Therefore they work in `objective.fit(CatBoostRegressor(...), X, y)` alone, with
numeric features (those of categories are made from targets), without an `eval_set`, and with one score per row; anything
else raises an error that says so. Two classes are one score: train a CatBoostRegressor, whose targets may be numbers of rows,
with `link="logit"`, and use the objective's `predict_proba`. For several classes CatBoost wants targets that are classes; XGBoost
and LightGBM take named inputs of those. The metric shown is the mean of the loss.

CatBoost chooses the learning rate, the number of leaf estimation iterations and the bootstrap by the name of its own
objectives. With those equal (`learning_rate`, `leaf_estimation_iterations`, `leaf_estimation_method="Newton"`) and the same
start, a model equals that of RMSE, Logloss, Poisson or MultiClass to 1e-5 after 50 rounds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multiloss import losses
from multiloss._errors import ArgumentError, BackendNotFoundError, NotSupportedError, ShapeError
from multiloss._typing import TensorLike
from multiloss.derivatives._closed_forms import closed_form
from multiloss.derivatives._transform import Curvature
from multiloss.dispatch import K
from multiloss.integrations._boosting import RawLoss, RawMetric, best_constant, column, to_host, weights_or_none
from multiloss.integrations._boosting._raw import FLOOR
from multiloss.losses._spec import spec_of

try:
    from catboost import CatBoost, CatBoostClassifier
except ImportError as error:
    raise BackendNotFoundError(
        f"multiloss.integrations.catboost needs CatBoost, and it cannot be imported ({error}). To get it: "
        "pip install 'multiloss[catboost]'.",
        name=error.name,
    ) from error

__all__ = ["CatBoostMetric", "CatBoostObjective", "as_metric", "as_objective"]


def as_objective(
    loss: Any,
    *,
    link: str | None = None,
    hessian: Curvature = "exact",
    floor: float = FLOOR,
    inputs: Mapping[str, TensorLike] | None = None,
) -> CatBoostObjective:
    """Return a loss as an objective for CatBoost: pass it as `loss_function=`, and train with its `fit`.

    Its reduction does not matter: boosting sums over samples.

    Args:
        loss: a loss, its name, or a function of `(y_true, y_pred)` over `multiloss.backend`.
        link: `"identity"`, `"logit"`, `"log"` or `"softmax"`: how raw scores become what the loss predicts. By default
            what the loss predicts decides (probabilities: logit or softmax; positive numbers: log); identity for a
            loss of your own. A loss that can be computed from logits is.
        hessian: the curvature: `"exact"`, `"fisher"`, `"gauss_newton"` or `"constant"`; see `multiloss.grad_and_hessian`.
        floor: the least curvature of a sample, before its weight.
        inputs: the loss's named inputs by name, such as a teacher's scores, with a row for each of the training data; see above.

    Raises:
        NamedInputError: for an input that the loss does not take, or one that is missing.
        NotSupportedError: for `"exact"` if the loss has no second derivative other than 0, such as mean_absolute_error; for
            named inputs of a loss of several classes.
        UnknownNameError: for a name that is not known.
    """
    several = RawLoss(loss, link, hessian, floor, inputs or {}).several
    if several and inputs:
        raise NotSupportedError(
            f"{', '.join(inputs)} cannot reach a loss of several classes: CatBoost hands over targets row by row, as classes, "
            "without the number of the row. Use XGBoost or LightGBM, whose as_objective takes the same inputs."
        )
    return (_OfClasses if several else _OfRows)(loss, link, hessian, floor, inputs)


def as_metric(
    what: Any,
    *,
    link: str | None = None,
    raw: bool = True,
    name: str | None = None,
    greater_is_better: bool = False,
) -> CatBoostMetric:
    """Return a loss or metric for `eval_metric=`, which CatBoost demands beside an objective that is not its own.

    Args:
        what: a loss, whose weighted mean is shown; a metric; or a name.
        link: as in `as_objective`; a metric needs one, since raw scores are what it gets.
        raw: whether raw scores are to be made predictions of. CatBoost hands over raw scores, whatever the objective.
        name: what the value is shown under.
        greater_is_better: for early stopping; False for losses.

    Raises:
        ArgumentError: for a metric of raw scores without a link.
        UnknownNameError: for a name that is not known.
    """
    return _named(what, link, raw, name, greater_is_better)


def _named(*arguments: Any) -> CatBoostMetric:
    """Return the metric as an instance of a class of its name, which is what CatBoost shows."""
    *of_raw, greater_is_better = arguments
    metric = RawMetric(*of_raw)
    cls: type[CatBoostMetric] = type(metric.name, (CatBoostMetric,), {"__reduce__": lambda self: (_named, arguments)})
    return cls(metric, greater_is_better)


class CatBoostObjective:
    """What `as_objective` returns."""

    def __init__(
        self,
        loss: Any,
        link: str | None,
        hessian: Curvature,
        floor: float,
        inputs: Mapping[str, TensorLike] | None = None,
    ) -> None:
        inputs = {name: to_host(K.asarray(each)) for name, each in (inputs or {}).items()}
        self._arguments = (loss, link, hessian, floor, inputs)
        self.raw = RawLoss(loss, link, hessian, floor, inputs)
        self.__name__ = self.raw.name
        self.constant: list[float] = []
        """The raw scores that the last training started from, one for each class."""

    def fit(self, model: CatBoost, x: Any, y: Any, sample_weight: Any = None, **others: Any) -> CatBoost:
        """Return the estimator, fitted by its own `fit` from the best constant.

        Args:
            model: a CatBoost, CatBoostClassifier or CatBoostRegressor with this objective as its `loss_function`.
            x: features.
            y: labels 0, 1, ... or targets.
            sample_weight: (N,) or None.
            **others: passed to the model's `fit`. Pools of an `eval_set` need the `baseline` of `start` themselves.

        Raises:
            ArgumentError: if the model has another objective, or what named inputs cannot reach; see above.
            LabelError: for labels that the loss is not made for.
            ShapeError: for named inputs with another number of rows.
        """
        found = model.get_param("loss_function")  # a copy
        if isinstance(found, NumberedRows):
            raise ArgumentError("The model is fitted already, with named inputs. Make a new one to fit it again.")
        if not isinstance(found, CatBoostObjective) or found.raw.name != self.raw.name:
            raise ArgumentError(
                f"The model's loss_function is {found!r}. Expected this objective: make the model with "
                "loss_function=objective."
            )
        if self.raw.inputs:
            return self._fit_numbered(model, x, y, sample_weight, others)
        start = self.start(y, sample_weight)
        if self.raw.several and model.get_param("classes_count") is None:
            model.set_params(classes_count=len(self.constant))
        model.fit(x, y, sample_weight=sample_weight, **start, **others)
        return self.finish(model)

    def _fit_numbered(self, model: CatBoost, x: Any, y: Any, sample_weight: Any, others: dict[str, Any]) -> CatBoost:
        """Return the estimator, fitted to targets that are the numbers of the rows."""
        labels = _floats(y).ravel()
        for name in self.raw.by_row:
            if len(self.raw.inputs[name]) != len(labels):
                raise ShapeError(
                    f"{name} has {len(self.raw.inputs[name])} rows, and y has {len(labels)}. Expected as many."
                )
        _check_numbered(model, others, len(labels))
        start = self.start(y, sample_weight)
        numbered = NumberedRows(self, labels)
        model.set_params(loss_function=numbered, eval_metric=numbered)
        try:
            model.fit(x, K.arange(len(labels), like=labels), sample_weight=sample_weight, **start, **others)
        finally:
            numbered.forget()  # it stays among the parameters of a fitted model, which cannot be changed
        return self.finish(model)

    def start(self, y_true: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return `{"baseline": ...}` for `fit` or a Pool: the best constant for each row.

        Raises:
            LabelError: for labels that the loss is not made for.
        """
        labels = _floats(y_true)
        weight = None if sample_weight is None else weights_or_none(_floats(sample_weight))
        classes = int(labels.max()) + 1 if self.raw.several and labels.size else 1
        self.constant = best_constant(self.raw, labels, weight, classes)
        columns = [labels * 0.0 + each for each in self.constant]
        return {"baseline": to_host(K.stack(columns, -1)) if len(columns) > 1 else columns[0]}

    def finish(self, model: CatBoost) -> CatBoost:
        """Make the constant that training started from the bias of the model; return the model."""
        bias = self.constant if len(self.constant) > 1 else self.constant[0]
        model.set_scale_and_bias(1.0, bias)
        return model

    def predict(self, model: CatBoost, data: Any) -> Any:
        """Return what the loss predicts (values, counts, probabilities) by a model, as a host array."""
        predictions = self.raw.predictions(self._scores(model, data))
        return predictions[:, 0] if predictions.shape[1] == 1 else predictions

    def predict_proba(self, model: CatBoost, data: Any) -> Any:
        """Return probabilities (N, K) by a model, as a host array.

        Raises:
            NotSupportedError: if the loss does not predict probabilities.
        """
        return self.raw.probabilities(self._scores(model, data))

    @staticmethod
    def _scores(model: CatBoost, data: Any) -> Any:
        return column(model.predict(data, prediction_type="RawFormulaVal"))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self), self._arguments


class _OfRows(CatBoostObjective):
    """An objective of one score per row."""

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> list[tuple[float, float]]:
        """Return the first and second derivatives of minus the loss for each row: what CatBoost calls."""
        if self.raw.inputs:
            raise NotSupportedError(
                f"{', '.join(self.raw.inputs)} belong to rows, and CatBoost does not say which these are. Train with "
                "objective.fit(model, X, y)."
            )
        return self._derivatives(_floats(targets), approxes, weights)

    def _derivatives(self, labels: Any, approxes: Any, weights: Any, rows: Any = None) -> list[tuple[float, float]]:
        raw = column(_floats(approxes))
        weight = None if weights is None else weights_or_none(_floats(weights))
        gradient, hessian = self.raw.derivatives(labels, raw, weight, rows=rows)
        return list(zip((-gradient).ravel().tolist(), (-hessian).ravel().tolist(), strict=True))


class NumberedRows:
    """An objective and the metric beside it, whose targets are the numbers of rows: what `fit` trains with named inputs."""

    def __init__(self, objective: Any, labels: Any) -> None:
        self._objective, self._labels = objective, labels

    def __deepcopy__(self, memo: Any) -> NumberedRows:
        return self  # CatBoost copies its parameters

    def forget(self) -> None:
        """Let go of the training data."""
        self._objective = self._labels = None

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> list[tuple[float, float]]:
        """Return the first and second derivatives of minus the loss for each row: what CatBoost calls."""
        rows = _floats(targets).astype("int64")
        found: list[tuple[float, float]] = self._objective._derivatives(self._labels[rows], approxes, weights, rows)
        return found

    def evaluate(self, approxes: Any, target: Any, weight: Any) -> tuple[float, float]:
        """Return the sum of the weighted losses, and of the weights: what CatBoost calls."""
        rows = _floats(target).astype("int64")
        weights = None if weight is None else weights_or_none(_floats(weight))
        total = float(len(rows) if weights is None else weights.sum())
        return self._objective.raw.value(self._labels[rows], column(_floats(approxes[0])), weights, rows), total

    def get_final_error(self, error: float, weight: float) -> float:
        """Return the mean."""
        return error / weight if weight else 0.0

    def is_max_optimal(self) -> bool:
        """Return False: it is a loss."""
        return False


_MOST_ROWS = 2**24
"""Up to which CatBoost's targets, in float32, count."""


def _check_numbered(model: CatBoost, others: Mapping[str, Any], rows: int) -> None:
    """Raise for what would take the numbers of rows for targets.

    Raises:
        ArgumentError: saying what to do without.
    """
    why = "Named inputs are found by the numbers of rows, which this objective trains on as targets, and "
    if isinstance(model, CatBoostClassifier):
        raise ArgumentError(
            f"{why}a {type(model).__name__} would make classes of them. Use CatBoostRegressor, and predict_proba of the "
            "objective."
        )
    if model.get_param("eval_metric") is not None:
        raise ArgumentError(
            f"{why}eval_metric would take them for targets. Leave it out: the mean of the loss is shown."
        )
    if others.get("eval_set") is not None:
        raise ArgumentError(f"{why}the rows of an eval_set have none. Leave it out, and evaluate afterwards.")
    for name in ("cat_features", "text_features", "embedding_features"):
        if others.get(name) is not None or model.get_param(name) is not None:
            raise ArgumentError(f"{why}{name} would be encoded by them. Encode these features yourself, as numbers.")
    if rows > _MOST_ROWS:
        raise ArgumentError(
            f"{why}there are {rows}. Expected at most {_MOST_ROWS}, up to which CatBoost's float32 counts."
        )


class _OfClasses(CatBoostObjective):
    """An objective of one score per class."""

    def calc_ders_multi(self, approxes: Any, target: float, weight: float) -> tuple[Sequence[float], Sequence[Any]]:
        """Return the first and second derivatives of minus the loss for one row: what CatBoost calls."""
        if self._is_plain:
            if not (0 <= target < len(approxes) and target == int(target)):
                self.raw.targets(_floats([target]), _floats(approxes).reshape(1, -1))  # raises
            return _of_softmax(approxes, int(target), float(weight))
        raw = _floats(approxes).reshape(1, -1)
        gradient, hessian = self.raw.derivatives(raw[:, 0] * 0.0 + target, raw, None, "block")
        return (-weight) * gradient[0], (-weight) * hessian[0]

    @functools.cached_property
    def _is_plain(self) -> bool:
        """Whether this is the cross-entropy of logits and nothing else; on a single row arrays cost more than they do."""
        raw = self.raw
        if raw.spec is None or raw.spec not in _CROSSENTROPIES:
            return False
        closed = closed_form(raw.hessian, raw.spec, {**raw.parameters, "from_logits": True})
        changed = [raw.parameters.get(name) for name in ("ignore_class", "label_smoothing")]
        return raw.link.name == "softmax" and closed is not None and raw.floor <= FLOOR and not any(changed)


_CROSSENTROPIES = tuple(
    spec_of(each) for each in (losses.categorical_crossentropy, losses.sparse_categorical_crossentropy)
)


def _of_softmax(approxes: Sequence[float], target: int, weight: float) -> tuple[list[float], list[list[float]]]:
    """Return first and second derivatives of minus the cross-entropy of logits, for one row."""
    largest = max(approxes)
    exponentials = [math.exp(each - largest) for each in approxes]
    scale = 1.0 / sum(exponentials)
    p = [scale * each for each in exponentials]
    first = [-weight * each for each in p]
    first[target] += weight
    second = [[weight * left * right for right in p] for left in p]
    for k, each in enumerate(p):
        second[k][k] -= weight * each
    return first, second


class CatBoostMetric:
    """What `as_metric` returns."""

    def __init__(self, metric: RawMetric, greater_is_better: bool) -> None:
        self._metric = metric
        self._greater_is_better = greater_is_better

    def evaluate(self, approxes: Any, target: Any, weight: Any) -> tuple[float, float]:
        """Return the value times the sum of the weights, and that sum: what CatBoost calls."""
        labels = _floats(target)
        weights = None if weight is None else weights_or_none(_floats(weight))
        columns = [_floats(each) for each in approxes]
        scores = to_host(K.stack(columns, -1)) if len(columns) > 1 else columns[0]
        total = float(len(labels) if weights is None else weights.sum())
        return self._metric.evaluate(labels, scores, weights) * total, total

    def get_final_error(self, error: float, weight: float) -> float:
        """Return the value."""
        return error / weight if weight else 0.0

    def is_max_optimal(self) -> bool:
        """Whether more is better."""
        return self._greater_is_better


def _floats(x: Any) -> Any:
    """Return numbers of a host, in whatever container, as an array of float64."""
    return to_host(K.cast(K.asarray(x), "float64"))
