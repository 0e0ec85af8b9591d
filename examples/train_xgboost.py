"""XGBoost: its own logistic objective, the same one from multiloss, and one that XGBoost has not; weights included."""

import numpy as np
import xgboost as xgb
from multiloss.integrations.xgboost import as_metric, as_objective
from sklearn.datasets import load_breast_cancer

x, y = load_breast_cancer(return_X_y=True)
weights = np.where(y == 0, 2.0, 1.0)  # malignant ones count twice
dtrain = xgb.DMatrix(x[:400], y[:400], weight=weights[:400])
dtest = xgb.DMatrix(x[400:], y[400:])


def train(loss, **options):
    objective = as_objective(loss, **options)
    params = {"max_depth": 3} | objective.params(dtrain)  # link and start, of which XGBoost knows nothing
    metric = as_metric("binary_crossentropy")
    return xgb.train(params, dtrain, 50, obj=objective, custom_metric=metric, evals=[(dtest, "test")], verbose_eval=49)


before = xgb.train({"max_depth": 3, "objective": "binary:logistic"}, dtrain, 50).predict(dtest)
after = train("binary_crossentropy").predict(dtest)
print(f"probabilities by XGBoost's objective and by multiloss differ by at most {abs(before - after).max():.1e}")
assert abs(before - after).max() < 1e-5
focal = train("binary_focal_crossentropy", hessian="fisher").predict(dtest)
print(f"accuracy {((before > 0.5) == y[400:]).mean():.3f}, with the focal loss {((focal > 0.5) == y[400:]).mean():.3f}")
