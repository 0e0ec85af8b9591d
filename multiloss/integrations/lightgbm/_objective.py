"""`as_objective`: a loss that LightGBM trains with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import lightgbm

from multiloss._errors import ArgumentError
from multiloss._typing import TensorLike
from multiloss.derivatives._transform import Curvature
from multiloss.dispatch import K
from multiloss.integrations._boosting import RawLoss, best_constant, column, to_host, weights_or_none
from multiloss.integrations._boosting._raw import FLOOR

_BOUNDED = ("logit", "softmax")
"""Links whose derivatives are computed in float32, which LightGBM keeps them in. Rounding a score moves a probability by less
than rounding the probability does; without such a link it moves an error by as much as the score is large."""
_POISSON_MAX_DELTA_STEP = 0.7
"""LightGBM's default for its poisson, which enlarges the curvature by its exponential."""


def as_objective(
    loss: Any,
    *,
    link: str | None = None,
    hessian: Curvature = "exact",
    floor: float = FLOOR,
    inputs: Mapping[str, TensorLike] | None = None,
) -> LightGBMObjective:
    """Return a loss as an objective for LightGBM: use its `train`, or pass it as `objective=`.

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
    return LightGBMObjective(loss, link, hessian, floor, inputs)


def _contiguous(x: Any) -> Any:
    """Return an array as LightGBM reads it: in one piece, several classes one after the other."""
    return x if x.ndim > 1 or x.flags.c_contiguous else x.copy()


def _narrowed(x: Any, _: Any) -> Any:
    return K.cast(x, "float32")


class LightGBMObjective:
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
        self.constant: list[float] = []
        """The raw scores that the last training started from, one for each class."""

    def __call__(self, first: Any, second: Any, sample_weight: TensorLike = None) -> tuple[Any, Any]:
        """Return gradient and Hessian, given `(scores, Dataset)` or `(y_true, scores, sample_weight)`."""
        if isinstance(second, lightgbm.Dataset):
            scores, labels, weight = first, second.get_label(), second.get_weight()
        else:
            labels, scores, weight = first, second, sample_weight
        raw = column(scores)
        if self.raw.link.name in _BOUNDED:
            raw = K.run_rows(_narrowed, raw, raw)
        enlarged = 1.0
        if self.raw.counts:
            enlarged = math.exp(_POISSON_MAX_DELTA_STEP)
        elif self.raw.several and raw.shape[1] > 1:
            enlarged = raw.shape[1] / (raw.shape[1] - 1.0)
        gradient, hessian = self.raw.derivatives(labels, raw, weights_or_none(weight), enlarged=enlarged)
        return _contiguous(gradient.reshape(scores.shape)), _contiguous(hessian.reshape(scores.shape))

    def train(
        self,
        params: dict[str, Any],
        train_set: lightgbm.Dataset,
        num_boost_round: int = 100,
        valid_sets: list[lightgbm.Dataset] | None = None,
        **others: Any,
    ) -> lightgbm.Booster:
        """Return the booster that `lightgbm.train` makes with this objective, started from the best constant.

        Args:
            params: of LightGBM. `num_class` is by default the largest label plus 1 for losses of several classes.
            train_set: the training data; its initial scores are set.
            num_boost_round: how many rounds.
            valid_sets: data to evaluate, whose initial scores are set, too.
            **others: passed to `lightgbm.train`: `feval`, `callbacks`, `valid_names`, ...

        Raises:
            ArgumentError: for an `objective` among the parameters, and for initial scores or a model to start from.
            LabelError: for labels that the loss is not made for.
            ShapeError: for named inputs with another number of rows.
        """
        if "objective" in params:
            raise ArgumentError(
                f"objective={params['objective']!r} cannot act here: this objective trains. Leave it out."
            )
        if others.get("init_model") is not None:
            raise ArgumentError(
                "init_model= cannot act here, since training starts from a constant. Use lightgbm.train."
            )
        sets = [train_set, *(each for each in valid_sets or () if each is not train_set)]
        for each in sets:
            if each.init_score is not None:
                raise ArgumentError(
                    "A Dataset has initial scores already, and training starts from a constant. Make a new Dataset, or use "
                    "lightgbm.train."
                )
        own = {"metric": "none", **params, "objective": self}
        for each in sets:  # as lightgbm.train does, which constructs them later
            each.params = {**(each.params or {}), **{name: params[name] for name in params if name != "num_class"}}
        for each in sets[1:]:
            each.set_reference(train_set)
        labels, weight = self._labels(train_set.construct())
        classes = 1
        if self.raw.several:
            classes = own["num_class"] = int(params.get("num_class", int(labels.max()) + 1 if labels.size else 1))
        self.constant = best_constant(self.raw, labels, weight, classes)
        try:
            for each in sets:
                each.construct().set_init_score(self._initial(len(each.get_label())))
            booster = lightgbm.train(own, train_set, num_boost_round, valid_sets=valid_sets, **others)
        finally:
            for each in sets:
                each.set_init_score(None)
        return self.finish(booster)

    @staticmethod
    def _labels(dataset: lightgbm.Dataset) -> tuple[Any, Any]:
        return dataset.get_label(), weights_or_none(dataset.get_weight())

    def _initial(self, rows: int) -> Any:
        """Return the constant for each row, (N,) or (N, K)."""
        columns = [K.full((rows,), each, dtype="float64") for each in self.constant]
        return to_host(K.stack(columns, -1) if len(columns) > 1 else columns[0])

    def start(self, y_true: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return `{"init_score": ...}` for `fit` of LightGBM's estimators, given what it will be given.

        Raises:
            LabelError: for labels that the loss is not made for.
            ShapeError: for named inputs with another number of rows.
        """
        dataset = lightgbm.Dataset(column(y_true), y_true, weight=sample_weight, free_raw_data=True)
        labels, weight = self._labels(dataset.construct())
        classes = int(labels.max()) + 1 if self.raw.several else 1
        self.constant = best_constant(self.raw, labels, weight, classes)
        return {"init_score": self._initial(len(labels))}

    def finish(self, model: Any) -> Any:
        """Add the constant that training started from to the leaves of the first tree of each class; return the model.

        Args:
            model: a booster or a fitted estimator.
        """
        booster = getattr(model, "booster_", model)
        if getattr(booster, "_multiloss_constant", None) is None:
            leaves = [each["num_leaves"] for each in booster.dump_model(num_iteration=1)["tree_info"]]
            for tree, (count, constant) in enumerate(zip(leaves, self.constant, strict=False)):
                for leaf in range(count):
                    booster.set_leaf_output(tree, leaf, booster.get_leaf_output(tree, leaf) + constant)
            booster._multiloss_constant = self.constant
        return model

    def predict(self, model: Any, data: Any, **options: Any) -> Any:
        """Return what the loss predicts (values, counts, probabilities) by a booster or an estimator, as a host array."""
        predictions = self.raw.predictions(self._scores(model, data, **options))
        return predictions[:, 0] if predictions.shape[1] == 1 else predictions

    def predict_proba(self, model: Any, data: Any, **options: Any) -> Any:
        """Return probabilities (N, K) by a booster or an estimator, as a host array.

        Raises:
            NotSupportedError: if the loss does not predict probabilities.
        """
        return self.raw.probabilities(self._scores(model, data, **options))

    @staticmethod
    def _scores(model: Any, data: Any, **options: Any) -> Any:
        return column(getattr(model, "booster_", model).predict(data, raw_score=True, **options))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self), self._arguments
