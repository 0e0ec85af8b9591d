"""CatBoost: its own squared error, that of multiloss in its place, and an asymmetric loss in three lines."""

from catboost import CatBoostRegressor
from multiloss import backend as K
from multiloss.integrations.catboost import as_metric, as_objective
from sklearn.datasets import load_diabetes

x, y = load_diabetes(return_X_y=True)
size = {"iterations": 50, "depth": 4, "learning_rate": 0.1, "verbose": 0, "allow_writing_files": False}
size |= {"leaf_estimation_iterations": 1, "leaf_estimation_method": "Newton", "bootstrap_type": "No"}


def train(loss):
    objective = as_objective(loss)
    model = CatBoostRegressor(loss_function=objective, eval_metric=as_metric(loss), **size)
    return objective.predict(objective.fit(model, x, y), x)


def mind_shortage(y_true, y_pred):  # what is missing costs three times what is left over
    error = y_pred - y_true
    return K.mean(K.square(error) * K.where(error < 0, 3.0, 1.0), axis=-1)


before = CatBoostRegressor(loss_function="RMSE", **size).fit(x, y).predict(x)
after = train("mean_squared_error")
print(f"predictions by CatBoost's objective and by multiloss differ by at most {abs(before - after).max():.1e}")
assert abs(before - after).max() < 1e-4
print(f"too low: {(after < y).mean():.0%}, with the asymmetric loss {(train(mind_shortage) < y).mean():.0%}")
