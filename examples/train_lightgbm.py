"""LightGBM: its own classifier, the same one with a loss of multiloss, and one with a loss that LightGBM has not."""

from lightgbm import LGBMClassifier
from multiloss.integrations.lightgbm import LossClassifier
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score

x, y = load_wine(return_X_y=True)
size = {"n_estimators": 30, "num_leaves": 7, "verbose": -1}

before = LGBMClassifier(**size).fit(x, y).predict_proba(x)
after = LossClassifier("sparse_categorical_crossentropy", **size).fit(x, y).predict_proba(x)
print(f"probabilities by LightGBM and with multiloss differ by at most {abs(before - after).max():.1e}")
assert abs(before - after).max() < 1e-5
assert abs(after.sum(1) - 1).max() < 1e-9

for loss in ("sparse_categorical_crossentropy", "sparse_categorical_focal_crossentropy"):
    scores = cross_val_score(LossClassifier(loss, hessian="fisher", **size), x, y, cv=3)
    print(f"{loss}: accuracy {scores.mean():.3f}")
