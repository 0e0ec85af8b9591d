"""What `grad_and_hessian` refuses."""

from __future__ import annotations

import pytest
from multiloss import _errors, grad_and_hessian, losses
from multiloss import backend as K
from tests.derivatives.cases import RELATED, STRAIGHT, data, loss_of


@pytest.mark.parametrize("name", STRAIGHT)
def test_a_loss_without_second_derivative_says_what_else_there_is(name):
    with pytest.raises(_errors.NotSupportedError, match=rf"{name} is made of straight pieces.*hessian='constant'"):
        grad_and_hessian(name)


def test_a_straight_loss_of_ones_own_is_found_out(backend, tensor):
    def absolute(y_true, y_pred):
        return K.mean(K.abs(y_pred - y_true), axis=-1)

    with pytest.raises(_errors.NotSupportedError, match="absolute is made of straight pieces"):
        grad_and_hessian(absolute)(tensor([[0.0]]), tensor([[1.0]]))
    grad_and_hessian(absolute, floor=1.0)(tensor([[0.0]]), tensor([[1.0]]))


@pytest.mark.parametrize("name", RELATED)
def test_samples_that_depend_on_each_other_have_no_hessian_each(name, backend, tensor):
    y_true, y_pred = data(name, (4, 3))
    with pytest.raises(_errors.NotSupportedError, match="no Hessian per sample"):
        grad_and_hessian(loss_of(name, "sum"))(tensor(y_true), tensor(y_pred.astype("float32")))


@pytest.mark.parametrize("name", ["huber", "hinge", "cosine_similarity", "mean_absolute_error"])
def test_what_predicts_no_labels_has_no_fisher_information(name, backend, tensor):
    y_true, y_pred = data(name, (4, 3))
    with pytest.raises(_errors.NotSupportedError, match=f"{name} does not predict a distribution"):
        grad_and_hessian(name, hessian="fisher")(tensor(y_true.astype("float32")), tensor(y_pred.astype("float32")))


def test_a_loss_below_0_has_no_residual(backend, tensor):
    with pytest.raises(_errors.ArgumentError, match="below 0"):
        grad_and_hessian("poisson", hessian="gauss_newton")(tensor([[9.0]]), tensor([[9.0]]))


def test_entries_with_values_of_their_own_have_no_block(backend, tensor):
    with pytest.raises(_errors.ArgumentError, match="form='block'"):
        grad_and_hessian("mse", form="block")(tensor([[9.0]]), tensor([[9.0]]))


def test_one_value_for_a_batch_is_not_enough(backend, tensor):
    def total(y_true, y_pred):
        return K.sum(K.square(y_pred - y_true))

    with pytest.raises(_errors.ShapeError, match=r"values of shape \(\) for y_pred of shape \(3, 1\)"):
        grad_and_hessian(total)(tensor([[1.0], [2.0], [3.0]]), tensor([[1.0], [2.0], [3.0]]))


def test_unknown_choices_are_named():
    with pytest.raises(_errors.UnknownNameError, match=r"Unknown hessian: 'newton'.*gauss_newton"):
        grad_and_hessian("mse", hessian="newton")
    with pytest.raises(_errors.UnknownNameError, match="Unknown form: 'diag'"):
        grad_and_hessian("mse", form="diag")
    with pytest.raises(_errors.ArgumentError, match="floor=-1"):
        grad_and_hessian("mse", floor=-1)
    with pytest.raises(_errors.ArgumentError, match="None"):
        grad_and_hessian(None)


def test_labels_out_of_range_raise(backend, tensor):
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    for hessian in ("exact", "gauss_newton"):
        with pytest.raises(_errors.LabelError, match=r"y_true\[1\] is 7"):
            grad_and_hessian(loss, hessian=hessian)(tensor([0, 7]), tensor([[0.0, 1.0], [0.0, 1.0]]))


def test_shapes_that_differ_raise(backend, tensor):
    with pytest.raises(_errors.ShapeError):
        grad_and_hessian("mse")(tensor([[0.0], [1.0]]), tensor([[0.0, 1.0], [2.0, 3.0]]))
