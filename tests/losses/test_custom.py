"""Losses of one's own, written as the seed documents write them, on every backend with gradients."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from multiloss import _errors, grad, grad_and_hessian, jit, losses
from multiloss import backend as K
from multiloss.metrics import MeanMetricWrapper
from multiloss.testing import assert_close

Y_TRUE = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.float32)
Y_PRED = np.array([[0.25, 0.5], [0.75, 0.125], [0.5, 0.625]], np.float32)


def my_loss(y_true, y_pred):
    return K.mean((y_pred - y_true), axis=-1)


def mean_squared_error2(y_true, y_pred):
    return K.mean(K.square(K.square(y_pred - y_true)), axis=-1)


class FocalLoss(losses.Loss):
    def __init__(self, gamma=2.0, alpha=0.25):  # as in the seeds: without super().__init__()
        self.gamma = gamma
        self.alpha = alpha

    def call(self, y_true, y_pred):
        pt_1 = K.where(K.equal(y_true, 1), y_pred, K.ones_like(y_pred))
        pt_0 = K.where(K.equal(y_true, 0), y_pred, K.zeros_like(y_pred))
        return -K.sum(self.alpha * K.pow(1.0 - pt_1, self.gamma) * K.log(K.epsilon() + pt_1)) - K.sum(
            (1 - self.alpha) * K.pow(pt_0, self.gamma) * K.log(1.0 - pt_0 + K.epsilon())
        )


class FourthPower(losses.Loss):
    def call(self, y_true, y_pred):
        return K.mean(K.square(K.square(y_pred - y_true)), axis=-1)


CUSTOM = {
    "my_loss": (losses.LossFunctionWrapper(my_loss), lambda e: np.mean(e), lambda e: np.full_like(e, 1 / e.size)),
    "mean_squared_error2": (
        losses.LossFunctionWrapper(mean_squared_error2),
        lambda e: np.mean(e**4),
        lambda e: 4 * e**3 / e.size,
    ),
    "FourthPower": (FourthPower(), lambda e: np.mean(e**4), lambda e: 4 * e**3 / e.size),
}


class Tenfold(losses.SparseCategoricalCrossentropy):
    def call(self, y_true, y_pred):
        return 10.0 * super().call(y_true, y_pred)


class Hinted(losses.MeanSquaredError):
    def call(self, y_true, y_pred, *, hint):
        return super().call(y_true, y_pred) + K.mean(K.square(y_pred - hint), axis=-1)


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "mean_with_sample_weight"])
def test_a_subclass_of_a_loss_may_have_a_call_of_its_own(reduction, weighted, backend, tensor, host):
    options = {"from_logits": True, "reduction": reduction, "class_weight": {0: 1.0, 1: 3.0}}
    own, loss = Tenfold(**options), losses.SparseCategoricalCrossentropy(**{**options, "class_weight": None})
    batch = [tensor(np.array([1, 1, 1])), tensor(Y_PRED), *([tensor(np.array([1.0, 0.0, 2.0], "float32"))] * weighted)]
    assert_close(host(own(*batch)), 30.0 * host(loss(*batch)), "float32")
    own.class_weight = [1.0, 2.0]
    assert_close(host(own(*batch)), 20.0 * host(loss(*batch)), "float32")
    again = Tenfold.from_config(own.get_config())
    assert_close(host(pickle.loads(pickle.dumps(again))(*batch)), 20.0 * host(loss(*batch)), "float32")
    if reduction != "none":
        assert_close(host(own.partial(*batch)[0]), 20.0 * host(loss.partial(*batch)[0]), "float32")


@pytest.mark.needs("gradients")
def test_nothing_known_of_a_loss_is_taken_for_a_subclass_with_a_call_of_its_own(backend, tensor, host):
    class Doubled(losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            return 2.0 * super().call(y_true, y_pred)

    batch = tensor(Y_TRUE), tensor(Y_PRED)
    for found, expected in zip(
        grad_and_hessian(Doubled("sum"))(*batch), grad_and_hessian(losses.MeanSquaredError("sum"))(*batch), strict=True
    ):
        assert_close(host(found), 2.0 * host(expected), "float32")
    total = losses.Sum({"double": Doubled("sum"), "other": losses.MeanAbsoluteError("sum")})(*batch)
    expected = 2.0 * host(losses.MeanSquaredError("sum")(*batch)) + host(losses.MeanAbsoluteError("sum")(*batch))
    assert_close(host(total), expected, "float32")
    assert_close(host(MeanMetricWrapper(Doubled())(*batch)), host(Doubled()(*batch)), "float32")


def test_a_call_of_its_own_may_take_named_inputs(backend, tensor, host):
    y_true, y_pred = tensor(Y_TRUE), tensor(Y_PRED)
    assert_close(
        host(Hinted()(y_true, y_pred, hint=y_true)), 2.0 * host(losses.MeanSquaredError()(y_true, y_pred)), "float32"
    )
    with pytest.raises(_errors.NamedInputError, match="hint"):
        Hinted()(y_true, y_pred)


@pytest.mark.parametrize("name", CUSTOM)
def test_a_custom_loss_has_value_and_gradient(name, backend, tensor, host):
    loss, value, gradient = CUSTOM[name]
    given, error = (tensor(Y_TRUE), tensor(Y_PRED)), (Y_PRED - Y_TRUE).astype(float)
    assert_close(host(loss(*given)), value(error), "float32")
    assert_close(host(grad(loss)(*given)), gradient(error), "float32")


@pytest.mark.parametrize("name", CUSTOM)
def test_a_custom_loss_is_weighted_masked_and_split(name, backend, tensor, host):
    loss, value, _ = CUSTOM[name]
    broken = np.where([[True], [False], [True]], Y_PRED, np.float32(np.nan))
    kept = (Y_PRED - Y_TRUE)[[0, 2]].astype(float)
    result = loss(tensor(Y_TRUE), tensor(broken), mask=tensor(np.array([True, False, True])))
    assert_close(host(result), value(kept), "float32")
    gradient = host(grad(loss)(tensor(Y_TRUE), tensor(broken), tensor(np.array([1.0, 0.0, 1.0], np.float32))))
    assert np.isfinite(gradient).all()
    assert not gradient[1].any()
    total, weight = loss.partial(tensor(Y_TRUE), tensor(Y_PRED))
    assert_close(host(total) / host(weight), value((Y_PRED - Y_TRUE).astype(float)), "float32")


def test_the_seeds_focal_loss_needs_no_super_init(backend, tensor, host):
    given = tensor(Y_TRUE), tensor(Y_PRED)
    focal = losses.BinaryFocalCrossentropy(apply_class_balancing=True, reduction="sum")
    assert_close(host(FocalLoss()(*given)), 2 * host(focal(*given)), "float32")
    assert_close(host(grad(FocalLoss())(*given)), 2 * host(grad(focal)(*given)), "float32")
    assert_close(
        host(FocalLoss(gamma=0.0, alpha=0.5)(*given)), 3 * host(losses.BinaryCrossentropy()(*given)), "float32"
    )
    assert "FocalLoss" in repr(FocalLoss())


def test_one_value_for_the_whole_batch_takes_no_weight_per_sample(backend, tensor, host):
    given = tensor(Y_TRUE), tensor(Y_PRED)
    assert_close(host(FocalLoss()(*given, 2.0)), 2 * host(FocalLoss()(*given)), "float32")
    with pytest.raises(_errors.ArgumentError, match="one value for the whole batch"):
        FocalLoss()(*given, tensor(np.ones(3, np.float32)))


@pytest.mark.parametrize("loss", [my_loss, mean_squared_error2, FocalLoss(), FourthPower()])
def test_custom_losses_run_compiled(loss, backend, tensor, host):
    given = tensor(Y_TRUE), tensor(Y_PRED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's compiler deprecates parts of itself
        if backend.name == "torch":
            import torch

            torch._dynamo.reset()
            compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        else:
            compiled = jit(loss)
        assert_close(host(compiled(*given)), host(loss(*given)), "float32")


def test_functions_and_classes_are_found_as_custom_objects():
    custom = {"mine": mean_squared_error2, "FourthPower": FourthPower}
    assert losses.get("mine", custom) is mean_squared_error2
    assert losses.get(my_loss) is my_loss
    assert isinstance(losses.get("FourthPower", custom), FourthPower)
    again = losses.deserialize(losses.serialize(FourthPower(reduction="sum")), custom)
    assert (type(again), again.reduction) == (FourthPower, "sum")
    with pytest.raises(_errors.UnknownNameError, match="mine"):
        losses.get("mime", custom)


def test_a_loss_without_call_says_so(backend, tensor):
    with pytest.raises(_errors.NotSupportedError, match="has no call"):
        type("Empty", (losses.Loss,), {})()(tensor(Y_TRUE), tensor(Y_PRED))
