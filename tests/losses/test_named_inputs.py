"""Tensors that a loss takes beside targets and predictions: declared, routed, aligned and masked."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors, grad, losses, value_and_grad
from multiloss import backend as K
from multiloss.testing import assert_close

RNG = np.random.default_rng(0)
Y_TRUE = (RNG.random((8, 6)) > 0.5).astype(np.float32)
Y_PRED = RNG.uniform(0.1, 0.9, size=(8, 6)).astype(np.float32)
TEACHER = RNG.normal(size=(8, 6)).astype(np.float32)
LOGITS = RNG.normal(size=(8, 6)).astype(np.float32)
LABELS = RNG.integers(0, 6, size=8)
WEIGHTS = np.array([1.0, 0.0, 2.0, 1.0, 0.5, 1.0, 3.0, 1.0], np.float32)
MASK = np.array([True, True, True, False, True, True, True, False])


class Distillation(losses.Loss):
    """Cross-entropy with what a teacher says, softened by a temperature."""

    def __init__(self, temperature=2.0, **settings):
        super().__init__(**settings)
        self.temperature = temperature

    def call(self, y_true, y_pred, *, teacher):
        soft = K.softmax(teacher / self.temperature)
        return K.categorical_crossentropy(soft, y_pred / self.temperature, from_logits=True)


def gaussian_nll(y_true, y_pred, variance):
    return K.mean(0.5 * (K.log(variance) + K.square(y_true - y_pred) / variance), axis=-1)


def nearest_prototype(y_true, y_pred, *, prototypes: losses.Shared):
    distance = K.sum(K.square(K.expand_dims(y_pred, 1) - K.expand_dims(prototypes, 0)), axis=-1)
    return K.min(distance, axis=1)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


MSE = losses.MeanSquaredError()
ERROR = (Y_PRED - Y_TRUE).astype(float)


def test_a_loss_takes_a_teachers_logits(backend, tensor, host):
    loss = Distillation()
    assert loss.named_inputs == ("teacher",)
    value = loss(tensor(LABELS), tensor(LOGITS), teacher=tensor(TEACHER))
    wanted = -np.sum(softmax(TEACHER / 2.0) * np.log(softmax(LOGITS / 2.0)), -1)
    assert_close(host(value), np.mean(wanted), "float32")


def test_a_function_takes_a_variance(backend, tensor, host):
    loss = losses.LossFunctionWrapper(gaussian_nll)
    assert loss.named_inputs == ("variance",)
    variance = np.exp(TEACHER).astype(float)
    value = loss(tensor(Y_TRUE), tensor(Y_PRED), variance=tensor(variance.astype(np.float32)))
    assert_close(host(value), np.mean(0.5 * (np.log(variance) + ERROR**2 / variance)), "float32")
    bound = losses.LossFunctionWrapper(gaussian_nll, variance=2.0)
    assert bound.named_inputs == ()


def test_named_inputs_reach_the_parts_that_declare_them(backend, tensor, host):
    hard = losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = losses.Sum({"hard": (hard, 0.3), "soft": (Distillation(), 0.7)})
    given, teacher = (tensor(LABELS), tensor(LOGITS), tensor(WEIGHTS)), tensor(TEACHER)
    wanted = 0.3 * host(hard(*given)) + 0.7 * host(Distillation()(*given, teacher=teacher))
    assert_close(host(loss(*given, teacher=teacher)), wanted, "float32")
    assert_close(host(value_and_grad(loss)(*given, teacher=teacher)[0]), wanted, "float32")
    total, weight = loss.partial(*given, teacher=teacher)
    assert_close(host(total) / host(weight), wanted, "float32")


def test_a_gradient_flows_to_a_named_input(backend, tensor, host):
    loss = losses.LossFunctionWrapper(gaussian_nll)
    variance = np.exp(TEACHER).astype(float)
    gradient = grad(lambda v: loss(tensor(Y_TRUE), tensor(Y_PRED), variance=v))(tensor(variance.astype(np.float32)))
    assert_close(host(gradient), 0.5 * (1 / variance - ERROR**2 / variance**2) / ERROR.size, "float32")


def test_what_is_masked_reaches_no_named_input(backend, tensor, host):
    loss = losses.LossFunctionWrapper(gaussian_nll)
    variance = np.where(MASK[:, None], np.exp(TEACHER), np.float32(np.nan)).astype(np.float32)
    given = tensor(Y_TRUE), tensor(Y_PRED)
    value, gradient = value_and_grad(loss)(*given, mask=tensor(MASK), variance=tensor(variance))
    v = np.exp(TEACHER[MASK]).astype(float)
    assert_close(host(value), np.mean(0.5 * (np.log(v) + ERROR[MASK] ** 2 / v)), "float32")
    assert np.isfinite(host(gradient)).all()


def test_a_named_input_aligns_as_targets_do(backend, tensor, host):
    loss = losses.LossFunctionWrapper(gaussian_nll)
    column, flat = tensor(Y_PRED[:, :1]), tensor(np.exp(TEACHER[:, 0]))
    wanted = loss(tensor(Y_TRUE[:, :1]), column, variance=tensor(np.exp(TEACHER[:, :1])))
    assert_close(host(loss(tensor(Y_TRUE[:, 0]), column, variance=flat)), host(wanted), "float32")
    with pytest.raises(_errors.ShapeError, match="one row per sample"):
        loss(tensor(Y_TRUE), tensor(Y_PRED), variance=tensor(np.ones((3, 6), np.float32)))


def test_a_shared_input_is_left_alone_by_masks(backend, tensor, host):
    loss = losses.LossFunctionWrapper(nearest_prototype)
    for count in (3, 8):  # 8 is also the number of samples
        value = loss(tensor(Y_TRUE), tensor(Y_PRED), mask=tensor(MASK), prototypes=tensor(TEACHER[:count]))
        distance = ((Y_PRED[:, None] - TEACHER[None, :count]).astype(float) ** 2).sum(-1).min(1)
        assert_close(host(value), distance[MASK].mean(), "float32")


def test_half_precision_inputs_are_computed_in_float32(backend, tensor, host):
    value = Distillation()(tensor(LABELS), tensor(LOGITS), teacher=tensor(TEACHER.astype(np.float16)))
    assert host(value).dtype == np.float32


def test_named_inputs_are_known_and_complete(backend, tensor):
    given = tensor(LABELS), tensor(LOGITS)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True) + Distillation()
    for each in (Distillation(), loss):
        with pytest.raises(_errors.NamedInputError, match="needs teacher="):
            each(*given)
        with pytest.raises(_errors.NamedInputError, match="got student="):
            each(*given, teacher=tensor(TEACHER), student=tensor(TEACHER))
    with pytest.raises(TypeError, match="no named inputs"):
        MSE(tensor(Y_TRUE), tensor(Y_PRED), teacher=tensor(TEACHER))
