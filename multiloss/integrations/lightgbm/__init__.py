"""multiloss inside LightGBM: objectives and metrics for `lightgbm.train` and for its scikit-learn estimators.

    from multiloss.integrations.lightgbm import LossClassifier, as_metric, as_objective

    objective = as_objective("binary_focal_crossentropy", hessian="fisher")
    booster = objective.train({"num_leaves": 31}, dtrain, 50, valid_sets=[dtest], feval=as_metric("binary_crossentropy"))
    objective.predict(booster, X)                               # probabilities

    model = LossClassifier("binary_focal_crossentropy", hessian="fisher", n_estimators=50).fit(X, y, sample_weight)
    model.predict_proba(X)                                      # (N, K), rows sum to 1

What comes with an objective, because LightGBM leaves it to you:

* Sample weights are read from the Dataset, or taken from `fit`.
* `train` and the estimators start from the best constant, and add it to the leaves of the first tree as LightGBM does for
  its own objectives, so that it is in the saved model.
* `predict` and `predict_proba` apply the inverse link. `booster.predict` gives raw scores: LightGBM saves no link.
* Scores and derivatives are (N,) or (N, K). For several classes the diagonal of the Hessian is multiplied by K / (K - 1), and
  for counts by exp(0.7), as LightGBM's own objectives do; the squared error is halved.

A squared error, logistic, Poisson or softmax model equals that of the built-in objective to 1e-5 after 50 rounds.

Named inputs, such as a teacher's scores, are given to `as_objective(loss, inputs={...})`, or to the estimators'
`fit(X, y, inputs={...})`, with a row for each of the training data. A loss of your own that is of several classes says
`link="softmax"`: it gets class indices and probabilities, or logits if it has a parameter `from_logits`. Data sets for
evaluation have no named inputs; show another loss of them.

With `LGBMClassifier` or `LGBMRegressor` themselves: `fit(X, y, **objective.start(y))`, then `objective.finish(model)`.
"""

from multiloss._errors import BackendNotFoundError

try:
    import lightgbm  # noqa: F401 - for the message
except ImportError as error:
    raise BackendNotFoundError(
        f"multiloss.integrations.lightgbm needs LightGBM, and it cannot be imported ({error}). To get it: "
        "pip install 'multiloss[lightgbm]'.",
        name=error.name,
    ) from error

from multiloss.integrations.lightgbm._estimators import LossClassifier, LossRegressor
from multiloss.integrations.lightgbm._metric import LightGBMMetric, as_metric
from multiloss.integrations.lightgbm._objective import LightGBMObjective, as_objective

__all__ = ["LightGBMMetric", "LightGBMObjective", "LossClassifier", "LossRegressor", "as_metric", "as_objective"]
