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
numeric features (those of categories are made from targets), and without an `eval_set`; anything else raises an error that says
so. Labels, too, are given with a CatBoostRegressor, whose targets may be numbers of rows: two classes are one score, with
`link="logit"`; several have `link="softmax"`, and CatBoost gets as many columns of targets. Both predict by the objective's
`predict_proba`. The metric shown is the mean of the loss.

A loss of your own that is of several classes gets class indices and probabilities, or logits if it has a parameter `from_logits`.
With named inputs its derivatives are computed for all rows at once with one step per tree (`leaf_estimation_iterations=1`) and
plain boosting; else row by row, at some 2 ms each.

CatBoost chooses the learning rate, the number of leaf estimation iterations and the bootstrap by the name of its own
objectives. With those equal (`learning_rate`, `leaf_estimation_iterations`, `leaf_estimation_method="Newton"`) and the same
start, a model equals that of RMSE, Logloss, Poisson or MultiClass to 1e-5 after 50 rounds.
"""

from multiloss._errors import BackendNotFoundError

try:
    import catboost  # noqa: F401 - for the message
except ImportError as error:
    raise BackendNotFoundError(
        f"multiloss.integrations.catboost needs CatBoost, and it cannot be imported ({error}). To get it: "
        "pip install 'multiloss[catboost]'.",
        name=error.name,
    ) from error

from multiloss.integrations.catboost._metric import CatBoostMetric, as_metric
from multiloss.integrations.catboost._objective import CatBoostObjective, as_objective

__all__ = ["CatBoostMetric", "CatBoostObjective", "as_metric", "as_objective"]
