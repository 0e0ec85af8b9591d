import json

import multiloss
import numpy as np
import pytest
from multiloss import constraints
from multiloss._errors import ArgumentError, ShapeError, UnknownNameError

WEIGHTS = np.array([[3.0, 0.3, 0.0], [-4.0, 0.4, 0.0]])
NORMS = np.array([[5.0, 0.5, 0.0]])
ALL = [
    constraints.Constraint(),
    constraints.MaxNorm(),
    constraints.NonNeg(),
    constraints.UnitNorm(),
    constraints.MinMaxNorm(0.75, 2.0, 0.5),
]


def with_norms(norms):
    return WEIGHTS * np.divide(norms, NORMS, out=np.zeros_like(NORMS), where=NORMS > 0)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (constraints.Constraint(), WEIGHTS),
        (constraints.MaxNorm(), with_norms([[2.0, 0.5, 0.0]])),
        (constraints.MaxNorm(0.25), with_norms([[0.25, 0.25, 0.0]])),
        (constraints.MaxNorm(0.0), 0.0 * WEIGHTS),
        (constraints.NonNeg(), np.maximum(WEIGHTS, 0.0)),
        (constraints.UnitNorm(), with_norms([[1.0, 1.0, 0.0]])),
        (constraints.MinMaxNorm(), with_norms([[1.0, 0.5, 0.0]])),
        (constraints.MinMaxNorm(0.75, 2.0), with_norms([[2.0, 0.75, 0.0]])),
        (constraints.MinMaxNorm(0.75, 2.0, 0.5), with_norms([[3.5, 0.625, 0.0]])),
        (constraints.MinMaxNorm(0.75, 2.0, 0.0), WEIGHTS),
        (constraints.UnitNorm(axis=1), WEIGHTS / np.linalg.norm(WEIGHTS, axis=1, keepdims=True)),
        (constraints.UnitNorm(axis=(0, 1)), WEIGHTS / np.linalg.norm(WEIGHTS)),
        (constraints.UnitNorm(axis=None), WEIGHTS / np.linalg.norm(WEIGHTS)),
        (constraints.MaxNorm(1.0, axis=-1), WEIGHTS / np.linalg.norm(WEIGHTS, axis=1, keepdims=True)),
    ],
    ids=repr,
)
def test_projection_equals_the_formula(tensor, host, backend, constraint, expected):
    projected = constraint(tensor(WEIGHTS.tolist()))
    assert isinstance(projected, backend.tensor_types)
    assert backend.dtype(projected) == "float32"
    np.testing.assert_allclose(host(projected), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("constraint", ALL, ids=repr)
def test_zero_vectors_stay_zero_in_value_and_finite_in_gradient(tensor, host, constraint):
    zeros = tensor([[0.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(host(constraint(zeros)), 0.0)
    gradient = multiloss.grad(lambda w: constraint(w).sum())(zeros)
    assert np.isfinite(host(gradient)).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("constraint", ALL, ids=repr)
def test_the_dtype_of_a_parameter_stays(tensor, backend, float64, constraint, dtype):
    assert backend.dtype(constraint(tensor(WEIGHTS, dtype))) == dtype


def test_norms_neither_overflow_nor_underflow(tensor, host):
    for scale in (1e-25, 1e25):
        projected = constraints.MaxNorm(1e-30)(tensor([3.0 * scale, 4.0 * scale], "float32"))
        assert np.isfinite(host(projected)).all()
    np.testing.assert_allclose(host(constraints.UnitNorm()(tensor([3e25, 4e25], "float32"))), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(host(constraints.UnitNorm()(tensor([3e3, 4e3], "float16"))), [0.6, 0.8], rtol=1e-3)


def test_an_empty_parameter_stays(tensor, host):
    assert host(constraints.MaxNorm()(tensor(np.zeros((0, 3), "float32")))).shape == (0, 3)


@pytest.mark.parametrize("constraint", ALL, ids=repr)
def test_compiled_equals_eager(tensor, host, compiled, constraint):
    weights = tensor(WEIGHTS.tolist())
    np.testing.assert_allclose(host(compiled(lambda w: constraint(w))(weights)), host(constraint(weights)), rtol=1e-6)


def test_a_missing_axis_is_named(tensor):
    with pytest.raises(ShapeError, match=r"axis=2 does not exist in a parameter of shape \(2,\)"):
        constraints.MaxNorm(axis=2)(tensor([1.0, 2.0]))


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf"), "2", True])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: constraints.MaxNorm(value),
        lambda value: constraints.MaxNorm(m=value),
        lambda value: constraints.MinMaxNorm(min_value=value),
        lambda value: constraints.MinMaxNorm(max_value=value),
        lambda value: constraints.MinMaxNorm(rate=value),
    ],
)
def test_a_bound_is_a_finite_number_of_at_least_zero(make, bad):
    with pytest.raises(ArgumentError, match="Expected a"):
        make(bad)


def test_a_rate_is_at_most_one():
    with pytest.raises(ArgumentError, match=r"rate=1\.5.*from 0 to 1"):
        constraints.MinMaxNorm(rate=1.5)


def test_bounds_are_in_order():
    with pytest.raises(ArgumentError, match=r"min_value=2\.0 is greater than max_value=1\.0"):
        constraints.MinMaxNorm(min_value=2.0)


@pytest.mark.parametrize("axis", [1.5, "0", True, (), (0, "1")])
def test_an_axis_is_an_integer(axis):
    for cls in (constraints.MaxNorm, constraints.UnitNorm, constraints.MinMaxNorm):
        with pytest.raises(ArgumentError, match="Expected an integer"):
            cls(axis=axis)


def test_keras_2_spells_the_bound_m():
    assert constraints.maxnorm(m=3).get_config() == {"max_value": 3.0, "axis": 0}
    with pytest.raises(ArgumentError, match="the same argument"):
        constraints.maxnorm(4, m=3)


@pytest.mark.parametrize(
    ("names", "cls"),
    [
        (("MaxNorm", "max_norm", "maxnorm"), constraints.MaxNorm),
        (("NonNeg", "non_neg", "nonneg"), constraints.NonNeg),
        (("UnitNorm", "unit_norm", "unitnorm"), constraints.UnitNorm),
        (("MinMaxNorm", "min_max_norm", "minmaxnorm"), constraints.MinMaxNorm),
        (("Constraint", "constraint"), constraints.Constraint),
    ],
)
def test_get_accepts_the_names_of_keras_2_and_3(names, cls):
    for name in names:
        assert type(constraints.get(name)) is cls


def test_an_unknown_name_lists_near_matches():
    with pytest.raises(UnknownNameError, match=r"Did you mean.*'MaxNorm'"):
        constraints.get("MaxNrm")


@pytest.mark.parametrize("constraint", [*ALL, constraints.UnitNorm(axis=[0, 1])], ids=repr)
def test_config_round_trips_as_json(tensor, host, constraint):
    config = json.loads(json.dumps(constraints.serialize(constraint)))
    again = constraints.deserialize(config)
    assert config["module"] == "keras.constraints"
    assert again.get_config() == constraint.get_config()
    weights = tensor(WEIGHTS.tolist())
    np.testing.assert_array_equal(host(again(weights)), host(constraint(weights)))


def test_configs_of_keras_2_are_read():
    assert constraints.get({"class_name": "MaxNorm", "config": {"max_value": 3, "axis": 1}}).axis == 1
