"""`LossClassifier` and `LossRegressor`: LightGBM's estimators for any loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightgbm

from multiloss._errors import ArgumentError
from multiloss._typing import TensorLike
from multiloss.derivatives._transform import Curvature
from multiloss.dispatch import K
from multiloss.integrations._boosting import to_host
from multiloss.integrations._boosting._raw import FLOOR
from multiloss.integrations.lightgbm._objective import LightGBMObjective, as_objective


class _Estimator:
    """What both estimators do around LightGBM's own."""

    _own_hidden = False
    set_params: Callable[..., Any]

    def _set_loss(self, loss: Any, link: str | None, hessian: Curvature, floor: float) -> None:
        self.loss, self.link, self.hessian, self.floor = loss, link, hessian, floor

    def _visible(self, params: dict[str, Any]) -> dict[str, Any]:
        hidden = ("loss", "link", "hessian", "floor") if self._own_hidden else ()
        return {name: value for name, value in params.items() if name not in hidden}

    @contextlib.contextmanager
    def _as_lightgbm(self) -> Iterator[None]:
        """Hide our parameters from LightGBM, which would take `loss` for the name of an objective of its own."""
        self._own_hidden = True
        try:
            yield
        finally:
            self._own_hidden = False

    def _fit(
        self,
        fit: Callable[..., Any],
        x: Any,
        y: Any,
        labels: Any,
        weight: Any,
        total_weight: Any,
        inputs: Mapping[str, TensorLike] | None,
        others: dict[str, Any],
    ) -> None:
        """Call LightGBM's `fit`, with `labels` and `total_weight` as it will make them of `y` and `weight`."""
        own = [name for name in ("init_score", "eval_init_score", "init_model") if others.get(name) is not None]
        if own:
            raise ArgumentError(
                f"{own[0]}= cannot act here, since training starts from a constant. Use LightGBM's estimator."
            )
        objective = as_objective(self.loss, link=self.link, hessian=self.hessian, floor=self.floor, inputs=inputs)
        start = objective.start(labels, total_weight)
        evaluated = _evaluated(others)
        if evaluated:
            others["eval_init_score"] = [objective._initial(len(each)) for each in evaluated]
        self.set_params(objective=objective)
        try:
            with self._as_lightgbm():
                fit(x, y, sample_weight=weight, **start, **others)
        finally:
            self.set_params(objective=None)
        self.objective_used_: LightGBMObjective = objective.finish(self) and objective


class LossClassifier(_Estimator, lightgbm.LGBMClassifier):
    """`LGBMClassifier` for any loss: weights, best constant, link and probabilities included.

    Args:
        loss, link, hessian, floor: as in `as_objective`.
        **params: of `LGBMClassifier`, but for `objective`.
    """

    def __init__(
        self,
        loss: Any = "binary_crossentropy",
        *,
        link: str | None = None,
        hessian: Curvature = "exact",
        floor: float = FLOOR,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self._set_loss(loss, link, hessian, floor)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; see scikit-learn's."""
        return self._visible(super().get_params(deep))

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        inputs: Mapping[str, TensorLike] | None = None,
        **others: Any,
    ) -> LossClassifier:
        """Fit to labels of any kind, encoded in their order.

        The arguments are those of `LGBMClassifier.fit`, and the loss's named `inputs`.

        Raises:
            ArgumentError: for initial scores, which this estimator chooses itself.
            LabelError: for more classes than the loss takes.
            NamedInputError: for an input that the loss does not take, or one that is missing.
            ShapeError: for named inputs with another number of rows.
        """
        from sklearn.preprocessing import LabelEncoder
        from sklearn.utils.class_weight import compute_sample_weight

        labels = LabelEncoder().fit_transform(y)
        total = compute_sample_weight(self.class_weight, y)
        total = total if sample_weight is None else total * _as_floats(sample_weight)
        self._fit(super().fit, X, y, labels, sample_weight, total, inputs, dict(others))
        return self

    def predict(self, X: Any, raw_score: bool = False, **options: Any) -> Any:
        """Return the most probable classes; see `LGBMClassifier.predict`."""
        if raw_score or options.get("pred_leaf") or options.get("pred_contrib"):
            with self._as_lightgbm():
                return super().predict(X, raw_score=raw_score, **options)
        scores = self.objective_used_._scores(self, X, **options)
        most = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype("int64")
        return self.classes_[most]

    def predict_proba(self, X: Any, raw_score: bool = False, **options: Any) -> Any:
        """Return probabilities (N, K).

        Raises:
            NotSupportedError: if the loss does not predict probabilities.
        """
        if raw_score or options.get("pred_leaf") or options.get("pred_contrib"):
            with self._as_lightgbm():
                return super().predict_proba(X, raw_score=raw_score, **options)
        return self.objective_used_.predict_proba(self, X, **options)


class LossRegressor(_Estimator, lightgbm.LGBMRegressor):
    """`LGBMRegressor` for any loss: weights, best constant and link included.

    Args:
        loss, link, hessian, floor: as in `as_objective`.
        **params: of `LGBMRegressor`, but for `objective`.
    """

    def __init__(
        self,
        loss: Any = "mean_squared_error",
        *,
        link: str | None = None,
        hessian: Curvature = "exact",
        floor: float = FLOOR,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self._set_loss(loss, link, hessian, floor)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; see scikit-learn's."""
        return self._visible(super().get_params(deep))

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        inputs: Mapping[str, TensorLike] | None = None,
        **others: Any,
    ) -> LossRegressor:
        """Fit; the arguments are those of `LGBMRegressor.fit`, and the loss's named `inputs`.

        Raises:
            ArgumentError: for initial scores, which this estimator chooses itself.
            LabelError: for targets that the loss is not made for.
            NamedInputError: for an input that the loss does not take, or one that is missing.
            ShapeError: for named inputs with another number of rows.
        """
        weight = None if sample_weight is None else _as_floats(sample_weight)
        self._fit(super().fit, X, y, _as_floats(y).ravel(), sample_weight, weight, inputs, dict(others))
        return self

    def predict(self, X: Any, raw_score: bool = False, **options: Any) -> Any:
        """Return what the loss predicts; see `LGBMRegressor.predict`."""
        if raw_score or options.get("pred_leaf") or options.get("pred_contrib"):
            with self._as_lightgbm():
                return super().predict(X, raw_score=raw_score, **options)
        return self.objective_used_.predict(self, X, **options)


def _evaluated(others: dict[str, Any]) -> list[Any]:
    """Return the targets to evaluate on, from `eval_set=[(x, y), ...]` or `eval_y=`, one or a tuple of them."""
    pairs, targets = others.get("eval_set"), others.get("eval_y")
    if pairs is not None:
        return [y for _, y in ([pairs] if isinstance(pairs, tuple) else pairs)]
    if targets is None:
        return []
    return list(targets) if isinstance(targets, tuple) else [targets]


def _as_floats(x: Any) -> Any:
    """Return numbers in whatever container as an array of float64."""
    return to_host(K.cast(K.asarray(x), "float64"))
