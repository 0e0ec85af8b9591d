"""Keras: its own loss and metric, then those of multiloss in their place, with sample weights."""

import keras
import numpy as np
from multiloss import losses
from multiloss.integrations.keras import as_keras_loss, as_keras_metric
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

x, y = load_breast_cancer(return_X_y=True)
x = StandardScaler().fit_transform(x).astype("float32")
weights = np.where(y == 0, 2.0, 1.0).astype("float32")  # malignant ones count twice


def train(loss, metric):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("adam", loss, weighted_metrics=[metric])
    model.fit(x, y, sample_weight=weights, epochs=5, shuffle=False, verbose=0)
    return model.evaluate(x, y, sample_weight=weights, verbose=0)


before = train(keras.losses.BinaryCrossentropy(), keras.metrics.AUC())
after = train(as_keras_loss(losses.BinaryCrossentropy()), as_keras_metric("AUC"))
print("loss and AUC:", *(f"{value:.6f}" for value in before), "with Keras' own,", *(f"{value:.6f}" for value in after))
assert np.allclose(before, after, atol=1e-5)
