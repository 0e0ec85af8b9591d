"""scikit-learn: its own scorers and metric functions, then those of multiloss in their place."""

import timeit

import numpy as np
import sklearn.metrics
from multiloss import losses
from multiloss.integrations.sklearn import as_scorer, roc_auc_score
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

x, y = load_breast_cancer(return_X_y=True)
y = np.array(["malignant", "benign"])[y]
model = make_pipeline(StandardScaler(), LogisticRegression())

before = cross_val_score(model, x, y, scoring="neg_log_loss")
after = cross_val_score(model, x, y, scoring=as_scorer(losses.BinaryCrossentropy()))
print("scores:", before.round(6), "with scikit-learn's own,", after.round(6))
assert np.allclose(before, after, rtol=1e-6)

focal = as_scorer("binary_focal_crossentropy", gamma=2.0, pos_label="malignant")  # any loss, and its parameters
search = GridSearchCV(model, {"logisticregression__C": [0.01, 0.1, 1.0]}, scoring=focal).fit(x, y)

p = search.predict_proba(x)[:, 1]
np.testing.assert_allclose(roc_auc_score(y, p), sklearn.metrics.roc_auc_score(y, p), rtol=1e-12)
times = [min(timeit.repeat(lambda f=f: f(y, p), number=20)) for f in (sklearn.metrics.roc_auc_score, roc_auc_score)]
print(f"area under ROC: {times[0] / times[1]:.0f} times as fast")
