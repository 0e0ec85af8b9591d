"""Regularizers and constraints, by the names of parameters."""

from typing import Any, NamedTuple

import multiloss
import numpy as np
import pytest
from multiloss import Objective
from multiloss import backend as K
from multiloss._errors import ArgumentError, ShapeError, UnknownNameError
from tests.objective.common import P, Y, mse

W = [[1.0, -2.0], [0.5, 0.0]]


@pytest.mark.parametrize(
    ("regularizer", "penalty"),
    [
        ("l1", 0.035),
        ({"class_name": "L2", "config": {"l2": 2.0}}, 10.5),
        (multiloss.regularizers.L2(2.0), 10.5),
        (lambda w: K.max(K.abs(w)), 2.0),
    ],
)
def test_penalties_are_added_to_the_loss(tensor, host, regularizer, penalty):
    objective = Objective("mse", regularizers={"kernel": regularizer})
    parts = objective.parts(tensor(Y), tensor(P), parameters={"kernel": tensor(W), "bias": tensor([1.0])})
    assert host(parts["output_loss"]) == pytest.approx(mse(Y, P))
    assert host(parts["loss"]) == pytest.approx(mse(Y, P) + penalty)
    assert host(parts["regularization"]) == pytest.approx(penalty)


def test_nested_parameters_are_named_by_their_path(tensor, host):
    objective = Objective("mse", regularizers={"0/kernel": "l1", "1/deep/kernel": "l2"})
    parameters = [{"kernel": tensor(W), "bias": tensor([9.0])}, {"deep": {"kernel": tensor(W)}, "bias": None}]
    assert host(objective.regularization(parameters)) == pytest.approx(0.035 + 0.0525)


def test_named_tuples_of_parameters_give_their_names(tensor, host):
    class Dense(NamedTuple):
        kernel: Any
        bias: Any

    objective = Objective("mse", regularizers={"first/kernel": "l1"}, constraints={"first/bias": "non_neg"})
    parameters = {"first": Dense(tensor(W), tensor([-1.0]))}
    assert host(objective.regularization(parameters)) == pytest.approx(0.035)
    assert host(objective.constrain(parameters)["first"].bias) == [0.0]


def test_regularization_alone_is_an_objective(tensor, host):
    total = Objective(None, regularizers={"w": "l2"})(None, tensor(P), parameters={"w": tensor(W)})
    assert host(total) == pytest.approx(0.0525)


@pytest.mark.parametrize("regularizers", [None, {}, {"w": None}])
def test_no_regularizers_add_nothing(tensor, host, regularizers):
    objective = Objective("mse", regularizers=regularizers)
    assert host(objective.regularization({"w": tensor(W)})) == 0.0
    assert "regularization" not in objective.parts(tensor(Y), tensor(P), parameters={"w": tensor(W)})


def test_parameters_on_the_host_join_the_predictions(tensor, backend):
    total = Objective("mse", regularizers={"w": "l2"})(tensor(Y), tensor(P), parameters={"w": np.array(W, "float32")})
    assert isinstance(total, backend.tensor_types)


def test_parameters_of_another_precision_are_added_in_the_wider_one(tensor, backend, float64):
    objective = Objective("mse", regularizers={"w": "l2"})
    total = objective(tensor(Y), tensor(P, "float32"), parameters={"w": tensor(W, "float64")})
    assert backend.dtype(total) == "float64"


def test_an_unknown_parameter_lists_near_matches(tensor):
    parameters = {"dense": {"kernel": tensor(W)}}
    with pytest.raises(UnknownNameError, match=r"regularizers: 'dense/kernl'. Did you mean 'dense/kernel'"):
        Objective("mse", regularizers={"dense/kernl": "l2"})(tensor(Y), tensor(P), parameters=parameters)
    with pytest.raises(UnknownNameError, match=r"constraints: 'kernel'. Did you mean 'dense/kernel'"):
        Objective("mse", constraints={"kernel": "non_neg"}).constrain(parameters)


def test_regularizers_without_parameters_are_not_forgotten(tensor):
    objective = Objective("mse", regularizers={"w": "l2"})
    for call in (objective, objective.parts, objective.update_metrics):
        with pytest.raises(ArgumentError, match="regularizers for 'w', and no parameters"):
            call(tensor(Y), tensor(P))


def test_parameters_have_names(tensor):
    objective = Objective("mse", regularizers={"w": "l2"})
    with pytest.raises(ArgumentError, match="Expected tensors by name"):
        objective.regularization(tensor(W))
    with pytest.raises(ArgumentError, match="Two parameters are called 'a/b'"):
        objective.regularization({"a": {"b": tensor(W)}, "a/b": tensor(W)})


@pytest.mark.parametrize("argument", ["regularizers", "constraints"])
def test_regularizers_and_constraints_are_given_by_name(argument):
    for bad in ("l2", ["l2"], {"class_name": "L2", "config": {}}, {1: "l2"}):
        with pytest.raises(ArgumentError, match="a dict by parameter name"):
            Objective("mse", **{argument: bad})
    with pytest.raises(UnknownNameError, match=f"Unknown {argument[:-1]}: 'l3'"):
        Objective("mse", **{argument: {"w": "l3"}})


def test_a_penalty_is_one_number(tensor):
    with pytest.raises(ShapeError, match=r"The regularizer of 'w' gave shape \(2, 2\)"):
        Objective("mse", regularizers={"w": K.abs})(tensor(Y), tensor(P), parameters={"w": tensor(W)})


def test_constrain_projects_the_named_parameters_and_keeps_the_structure(tensor, host):
    objective = Objective("mse", constraints={"0/kernel": "non_neg", "1": lambda w: w * 2.0})
    bias = tensor([-1.0])
    projected = objective.constrain([{"kernel": tensor(W), "bias": bias}, tensor([1.0]), None])
    np.testing.assert_array_equal(host(projected[0]["kernel"]), np.maximum(W, 0.0))
    np.testing.assert_array_equal(host(projected[1]), [2.0])
    assert projected[0]["bias"] is bias
    assert projected[2] is None
    assert list(projected[0]) == ["kernel", "bias"]


def test_constrain_without_constraints_changes_nothing(tensor):
    parameters = {"w": tensor(W)}
    assert Objective("mse").constrain(parameters) is parameters
