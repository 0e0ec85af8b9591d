"""Every argument acts; one that cannot is refused."""

from __future__ import annotations

import numpy as np
import pytest
from multiloss import _errors
from multiloss.testing import NEEDED_BESIDE, PARAMETER_VALUES, parameter_values
from tests.contract.facts import CLASSES, FUNCTIONS, data, function, loss_class, spec

PARAMETERS = [(name, key) for name in FUNCTIONS for key in spec(name).defaults]
ON_OTHER_DATA = {
    *(("ctc", name) for name in ("blank", "zero_infinity")),
    *((name, "overwrite_logits") for name in ("categorical_crossentropy", "sparse_categorical_crossentropy")),
}
"""What acts on other labels, or where there is no alignment, only, see tests/losses/test_ctc.py; or on memory alone, see
tests/crossentropy.
"""
OUTSIDE = {
    "axis": ["last", 0.5, None, True],
    "from_logits": [None, "yes", 1],
    "apply_class_balancing": [None, "yes", 1],
    "label_smoothing": [-0.1, 1.1, "much", None, True],
    "delta": [0, -1.0, "big", None],
    "gamma": [-1.0, "strong", None],
    "ignore_class": ["none", 0.5],
    "blank": [-1, 0.5, None, True],
    "margin": ["wide", None, True],
    "remove_diagonal": [None, "yes", 1],
    "zero_infinity": [None, "yes", 1],
    "z_loss": [-0.1, "much", None, True],
    "softcap": [0.0, -1.0, "soft", True],
    "overwrite_logits": [None, "yes", 1],
    "alpha": ["half", None],
    "class_weight": [
        *(
            "heavy",
            2.0,
            True,
            [],
            [1.0, -1.0],
            [1.0, float("nan")],
            [1.0, float("inf")],
            [1.0, None],
            [[1.0, 2.0]],
            [True, 1.0],
        ),
        *(
            {},
            {0: 1.0, 2: 1.0},
            {1: 1.0},
            {-1: 1.0, 0: 1.0},
            {"cat": 1.0},
            {0.5: 1.0},
            {0: 1.0, 1: "much"},
            {0: 1.0, "0": 1.0},
        ),
    ],
    "pos_weight": ["heavy", -1.0, True, float("nan"), [], [1.0, -1.0], {0: 1.0, 1: 2.0}],
}


@pytest.mark.parametrize(("name", "key"), PARAMETERS)
def test_every_parameter_has_values_to_test_it_with(name, key):
    assert key in PARAMETER_VALUES, f"Add values other than {name}'s default to multiloss.testing.PARAMETER_VALUES."
    assert any(value != spec(name).defaults[key] for value in parameter_values(spec(name), key))


@pytest.mark.parametrize(("name", "key"), [pair for pair in PARAMETERS if pair not in ON_OTHER_DATA])
def test_every_parameter_can_change_the_result(name, key, backend, tensor, host):
    """Some parameters act beside another only (alpha beside apply_class_balancing): those get the other's value too."""
    others = [
        NEEDED_BESIDE.get(key, {}),
        *(
            {
                other: parameter_values(spec(name), other)[0],
                **NEEDED_BESIDE.get(other, {}),
                **NEEDED_BESIDE.get(key, {}),
            }
            for other in spec(name).defaults
        ),
    ]
    for value in parameter_values(spec(name), key):
        changed = False
        for beside in others:
            if key in beside:
                continue
            shape = (4, 4) if "axis" in (key, *beside) else (8, 4)  # of four classes along either axis
            y_true, y_pred = (tensor(each) for each in data(name, shape, **beside))
            plain = host(function(name)(y_true, y_pred, **beside))
            other = host(function(name)(y_true, y_pred, **beside, **{key: value}))
            changed = changed or plain.shape != other.shape or not np.allclose(plain, other, rtol=1e-4, atol=1e-6)
        assert changed, value


@pytest.mark.parametrize(("name", "key"), PARAMETERS)
def test_a_parameter_of_the_class_is_that_of_the_function(name, key, backend, tensor, host):
    for value in parameter_values(spec(name), key):
        options = {key: value, **NEEDED_BESIDE.get(key, {})}
        y_true, y_pred = data(name, (4, 4), **options)
        loss = loss_class(name)(reduction="none", **options)
        assert getattr(loss, key) == value
        expected = host(function(name)(tensor(y_true), tensor(y_pred), **options))
        np.testing.assert_array_equal(host(loss(tensor(y_true), tensor(y_pred))), expected)


@pytest.mark.parametrize(("name", "key"), PARAMETERS)
def test_a_parameter_can_be_changed_later(name, key, backend, tensor, host):
    value = parameter_values(spec(name), key)[0]
    beside = NEEDED_BESIDE.get(key, {})
    y_true, y_pred = (tensor(each) for each in data(name, (4, 4), **{key: value}, **beside))
    loss = loss_class(name)(**beside)
    loss(*(tensor(each) for each in data(name, (4, 4), **beside)))
    setattr(loss, key, value)
    expected = loss_class(name)(**{key: value}, **beside)(y_true, y_pred)
    np.testing.assert_array_equal(host(loss(y_true, y_pred)), host(expected))
    assert loss.get_config()[key] == value


@pytest.mark.parametrize(("name", "key"), PARAMETERS)
def test_a_value_outside_the_domain_is_refused(name, key):
    y_true, y_pred = data(name, (4, 4))
    for value in OUTSIDE.get(key, ["text"]):
        if value is None and spec(name).defaults[key] is None:
            continue
        with pytest.raises(_errors.ArgumentError, match=key):
            function(name)(y_true, y_pred, **{key: value})
        with pytest.raises(_errors.ArgumentError, match=key):
            loss_class(name)(**{key: value})


@pytest.mark.parametrize("name", CLASSES)
def test_an_unknown_argument_is_a_type_error(name):
    with pytest.raises(TypeError):
        function(spec(name).name)([[0.0]], [[1.0]], nonsense=1)
    with pytest.raises(TypeError):
        loss_class(spec(name).name)(nonsense=1)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("missing", ["y_true", "y_pred"])
def test_nothing_in_place_of_a_tensor_is_refused(name, missing, tensor):
    y_true, y_pred = (tensor(each) for each in data(name))
    given = (None, y_pred) if missing == "y_true" else (y_true, None)
    beside = dict.fromkeys(spec(name).required, y_pred)
    with pytest.raises(_errors.ArgumentError, match=f"^{missing} is None. Expected a tensor"):
        function(spec(name).name)(*given, **beside)
    with pytest.raises(_errors.ArgumentError, match=f"^{missing} is None. Expected a tensor"):
        loss_class(spec(name).name)()(*given, **beside)


@pytest.mark.parametrize("name", CLASSES)
def test_an_unknown_reduction_is_refused_with_near_matches(name):
    with pytest.raises(_errors.UnknownNameError, match="sum_over_batch_size"):
        loss_class(spec(name).name)(reduction="sum_over_batch")


@pytest.mark.parametrize("name", CLASSES)
def test_the_result_dtype_is_checked(name):
    y_true, y_pred = data(name)
    with pytest.raises(_errors.DTypeError, match="float31"):
        loss_class(spec(name).name)(dtype="float31")(y_true, y_pred)
