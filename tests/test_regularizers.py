import json

import multiloss
import numpy as np
import pytest
from multiloss import regularizers
from multiloss._errors import ArgumentError, DTypeError, ShapeError, UnknownNameError

WEIGHTS = [[1.0, -2.0], [0.0, 3.0]]
QUIET = [regularizers.L1(0.5), regularizers.L2(0.5), regularizers.L1L2(0.5, 0.25), regularizers.OrthogonalRegularizer()]


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        (regularizers.Regularizer(), 0.0),
        (regularizers.L1(0.5), 3.0),
        (regularizers.L2(0.5), 7.0),
        (regularizers.L1L2(0.5, 0.25), 6.5),
        (regularizers.L1L2(l1=0.5), 3.0),
        (regularizers.L1L2(l2=0.5), 7.0),
        (regularizers.OrthogonalRegularizer(2.0), 2.0 * 6.0 / np.sqrt(5.0) / 3.0),
        (regularizers.OrthogonalRegularizer(2.0, mode="columns"), 2.0 * 2.0 / np.sqrt(13.0)),
    ],
    ids=repr,
)
def test_value_equals_the_formula(tensor, host, backend, regularizer, expected):
    value = regularizer(tensor(WEIGHTS))
    assert tuple(value.shape) == ()
    assert isinstance(value, backend.tensor_types)
    assert backend.dtype(value) == "float32"
    assert host(value) == pytest.approx(expected, rel=1e-6)


def test_orthogonal_penalty_averages_over_all_pairs_of_rows(tensor, host):
    rows = np.random.default_rng(0).normal(size=(4, 3))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [abs(unit[i] @ unit[j]) for i in range(4) for j in range(i)]
    value = regularizers.OrthogonalRegularizer(0.5)(tensor(rows.tolist()))
    assert host(value) == pytest.approx(0.5 * np.mean(pairs), rel=1e-5)


def test_orthogonal_penalty_of_one_row_is_zero(tensor, host):
    assert host(regularizers.OrthogonalRegularizer()(tensor([[1.0, 2.0]]))) == 0.0


def test_orthogonal_penalty_wants_a_matrix(tensor):
    with pytest.raises(ShapeError, match=r"shape \(3,\)"):
        regularizers.OrthogonalRegularizer()(tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("regularizer", QUIET, ids=repr)
def test_float64_stays_and_half_precision_is_computed_in_float32(tensor, backend, float64, regularizer):
    assert backend.dtype(regularizer(tensor(WEIGHTS, "float64"))) == "float64"
    assert backend.dtype(regularizer(tensor(WEIGHTS, "float16"))) == "float32"


def test_half_precision_does_not_overflow(tensor, host):
    assert host(regularizers.L2(1.0)(tensor([300.0, 300.0], "float16"))) == 180000.0


@pytest.mark.parametrize("regularizer", QUIET, ids=repr)
def test_gradient_at_zero_is_zero(tensor, host, regularizer):
    gradient = multiloss.grad(lambda w: regularizer(w))(tensor([[0.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(host(gradient), 0.0)


def test_gradient_of_l1_is_the_sign(tensor, host):
    gradient = multiloss.grad(lambda w: regularizers.L1(0.5)(w))(tensor([-2.0, 0.0, 3.0]))
    np.testing.assert_array_equal(host(gradient), [-0.5, 0.0, 0.5])


def test_gradient_of_l1l2_is_the_sum_of_both(tensor, host):
    gradient = multiloss.grad(lambda w: regularizers.L1L2(0.5, 0.25)(w))(tensor([-2.0, 0.0, 3.0]))
    np.testing.assert_allclose(host(gradient), [-1.5, 0.0, 2.0])


@pytest.mark.parametrize("regularizer", QUIET, ids=repr)
def test_compiled_equals_eager(tensor, host, compiled, regularizer):
    weights = tensor(WEIGHTS)
    np.testing.assert_allclose(host(compiled(lambda w: regularizer(w))(weights)), host(regularizer(weights)), rtol=1e-6)


def test_host_data_goes_to_the_active_backend(backend):
    assert isinstance(regularizers.L2()(WEIGHTS), backend.tensor_types)
    assert isinstance(regularizers.L2()(np.ones(3)), backend.tensor_types)


def test_text_is_refused(backend):
    with pytest.raises(DTypeError):
        regularizers.L2()(np.array(["a"]))


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf"), "0.1", True, [0.1]])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: regularizers.L1(value),
        lambda value: regularizers.L2(value),
        lambda value: regularizers.L1(l=value),
        lambda value: regularizers.L1L2(l1=value),
        lambda value: regularizers.L1L2(l2=value),
        lambda value: regularizers.OrthogonalRegularizer(value),
    ],
)
def test_a_factor_is_a_finite_number_of_at_least_zero(make, bad):
    with pytest.raises(ArgumentError, match="finite number of at least 0"):
        make(bad)


def test_none_stands_for_the_default():
    assert regularizers.L1(None).l1 == 0.01
    assert regularizers.L2(None).l2 == 0.01
    assert regularizers.L1L2(None, 0.5).get_config() == {"l1": 0.0, "l2": 0.5}


def test_keras_2_spells_the_factor_l():
    assert regularizers.l1(l=0.3).get_config() == {"l1": 0.3}
    assert regularizers.l2(l=0.3).get_config() == {"l2": 0.3}
    with pytest.raises(ArgumentError, match="the same argument"):
        regularizers.l2(0.5, l=0.3)


def test_an_elastic_net_that_does_nothing_warns():
    with pytest.warns(UserWarning, match=r"l1_l2\(l1=0.01, l2=0.01\)"):
        regularizers.l1_l2()


def test_mode_is_rows_or_columns():
    with pytest.raises(ArgumentError, match="'rows' or 'columns'"):
        regularizers.OrthogonalRegularizer(mode="row")


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        *((name, regularizers.L1) for name in ("l1", "L1")),
        *((name, regularizers.L2) for name in ("l2", "L2")),
        *((name, regularizers.OrthogonalRegularizer) for name in ("orthogonal_regularizer", "OrthogonalRegularizer")),
        *((name, regularizers.Regularizer) for name in ("regularizer", "Regularizer")),
    ],
)
def test_get_accepts_the_names_of_keras_2_and_3(name, cls):
    assert type(regularizers.get(name)) is cls


@pytest.mark.parametrize("name", ["l1_l2", "l1l2", "L1L2", "L1_L2"])
def test_get_accepts_every_spelling_of_the_elastic_net(name):
    with pytest.warns(UserWarning, match="adds nothing"):
        assert type(regularizers.get(name)) is regularizers.L1L2


def test_get_passes_callables_and_none_through():
    def mine(w):
        return w.sum()

    assert regularizers.get(None) is None
    assert regularizers.get(mine) is mine
    assert isinstance(regularizers.get(regularizers.L2), regularizers.L2)
    with pytest.raises(ArgumentError, match="Could not interpret regularizer identifier"):
        regularizers.get(3)


def test_an_unknown_name_lists_near_matches():
    with pytest.raises(UnknownNameError, match=r"Did you mean.*'OrthogonalRegularizer'"):
        regularizers.get("OrtogonalRegularizer")


@pytest.mark.parametrize("regularizer", QUIET, ids=repr)
def test_config_round_trips_as_json(tensor, host, regularizer):
    config = json.loads(json.dumps(regularizers.serialize(regularizer)))
    again = regularizers.deserialize(config)
    assert config["module"] == "keras.regularizers"
    assert again.get_config() == regularizer.get_config()
    weights = tensor(WEIGHTS)
    assert host(again(weights)) == host(regularizer(weights))


def test_configs_hold_plain_floats():
    assert type(regularizers.L2(np.float32(0.5)).get_config()["l2"]) is float


def test_configs_of_keras_2_are_read():
    assert regularizers.get({"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}}).l2 == 0.5


def test_a_custom_subclass_runs_and_is_serialized_under_its_own_module(tensor, host):
    from multiloss import backend as K

    class Largest(regularizers.Regularizer):
        def __init__(self, factor=1.0):
            self.factor = factor

        def __call__(self, x):
            return self.factor * K.max(K.abs(x))

        def get_config(self):
            return {"factor": self.factor}

    config = regularizers.serialize(Largest(2.0))
    again = regularizers.deserialize(config, custom_objects={"Largest": Largest})
    assert config["module"] == Largest.__module__
    assert host(again(tensor(WEIGHTS))) == 6.0
