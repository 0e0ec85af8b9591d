"""`as_objective`: a loss that CatBoost trains with."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catboost import CatBoost

from multiloss import losses
from multiloss._errors import ArgumentError, NotSupportedError
from multiloss._typing import TensorLike
from multiloss.derivatives._closed_forms import closed_form
from multiloss.derivatives._transform import Curvature
from multiloss.dispatch import K
from multiloss.integrations._boosting import RawLoss, best_constant, column, to_host, weights_or_none
from multiloss.integrations._boosting._raw import FLOOR
from multiloss.integrations.catboost._floats import floats
from multiloss.integrations.catboost._numbered import Numbered, NumberedClasses, NumberedRows, check_numbered
from multiloss.losses._spec import spec_of


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
            loss of your own. A loss that can be computed from logits is, also one of your own with a parameter `from_logits`.
        hessian: the curvature: `"exact"`, `"fisher"`, `"gauss_newton"` or `"constant"`; see `multiloss.grad_and_hessian`.
        floor: the least curvature of a sample, before its weight.
        inputs: the loss's named inputs by name, such as a teacher's scores, with a row for each of the training data; see
            `multiloss.integrations.catboost`. Several classes then start from the logarithms of their shares.

    Raises:
        NamedInputError: for an input that the loss does not take, or one that is missing.
        NotSupportedError: for `"exact"` if the loss has no second derivative other than 0, such as mean_absolute_error.
        UnknownNameError: for a name that is not known.
    """
    several = RawLoss(loss, link, hessian, floor, inputs).several
    return (_OfClasses if several else _OfRows)(loss, link, hessian, floor, inputs)


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
        self.raw = RawLoss(loss, link, hessian, floor, inputs)
        self._arguments = (loss, link, hessian, floor, self.raw.inputs)
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
            ArgumentError: if the model has another objective, or what named inputs cannot reach; see the package.
            LabelError: for labels that the loss is not made for.
            ShapeError: for named inputs with another number of rows.
        """
        found = model.get_param("loss_function")  # a copy
        if isinstance(found, Numbered):
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
        labels = floats(y).ravel()
        check_numbered(model, others, len(labels))
        start = self.start(y, sample_weight)
        rows = K.arange(len(labels), like=labels)
        numbered: Numbered
        if self.raw.several:  # CatBoost takes no baseline beside targets of several columns
            numbered, targets, start = NumberedClasses(self, labels), K.stack([rows] * len(self.constant), -1), {}
        else:
            numbered, targets = NumberedRows(self, labels), rows
        model.set_params(loss_function=numbered, eval_metric=numbered)
        try:
            model.fit(x, to_host(targets), sample_weight=sample_weight, **start, **others)
        finally:
            numbered.forget()  # it stays among the parameters of a fitted model, which cannot be changed
        return self.finish(model)

    def _check_anonymous(self) -> None:
        """Raise if it matters which rows CatBoost hands over."""
        if self.raw.inputs:
            raise NotSupportedError(
                f"{', '.join(self.raw.inputs)} belong to rows, and CatBoost does not say which these are. Train with "
                "objective.fit(model, X, y)."
            )

    def start(self, y_true: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return `{"baseline": ...}` for `fit` or a Pool: the best constant for each row.

        Raises:
            LabelError: for labels that the loss is not made for.
            ShapeError: for named inputs with another number of rows.
        """
        labels = floats(y_true)
        weight = None if sample_weight is None else weights_or_none(floats(sample_weight))
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
        self._check_anonymous()
        return self._derivatives(floats(targets), approxes, weights)

    def _derivatives(self, labels: Any, approxes: Any, weights: Any, rows: Any = None) -> list[tuple[float, float]]:
        raw = column(floats(approxes))
        weight = None if weights is None else weights_or_none(floats(weights))
        gradient, hessian = self.raw.derivatives(labels, raw, weight, rows=rows)
        return list(zip((-gradient).ravel().tolist(), (-hessian).ravel().tolist(), strict=True))


class _OfClasses(CatBoostObjective):
    """An objective of one score per class."""

    def calc_ders_multi(self, approxes: Any, target: float, weight: float) -> tuple[Sequence[float], Sequence[Any]]:
        """Return the first and second derivatives of minus the loss for one row: what CatBoost calls."""
        self._check_anonymous()
        if self._is_plain:
            if not (0 <= target < len(approxes) and target == int(target)):
                self.raw.targets(floats([target]), floats(approxes).reshape(1, -1))  # raises
            return _of_softmax(approxes, int(target), float(weight))
        gradient, block = self._blocks(floats([target]), floats(approxes).reshape(1, -1))
        return (-weight) * gradient[0], (-weight) * block[0]

    def _blocks(self, labels: Any, raw: Any, rows: Any = None) -> tuple[Any, Any]:
        return self.raw.derivatives(labels, raw, None, "block", rows=rows)

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
