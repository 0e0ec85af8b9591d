"""The contract tests notice a broken loss: each fault here is registered, and the tests it must fail are run.

The same tests pass for a healthy one that is registered in the same way.
"""

from __future__ import annotations

from typing import NamedTuple

import multiloss.losses
import pytest
from multiloss import backend as K
from multiloss.losses import LossFunctionWrapper
from multiloss.losses._spec import loss, spec_of
from tests.contract import (
    exact,
    test_arguments,
    test_configs,
    test_dtypes,
    test_exact_values,
    test_gradients,
    test_labels,
    test_masking,
    test_partial,
    test_shapes,
    test_weights,
)

NOTICED = (AssertionError, pytest.fail.Exception)


# ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────────────


def class_of(fn, **members):
    """Return the class form of a loss function, with some of its methods replaced."""

    def __init__(self, reduction="sum_over_batch_size", name="planted", dtype=None, **parameters):  # noqa: N807
        LossFunctionWrapper.__init__(self, fn, reduction, name, dtype, **{**spec_of(fn).defaults, **parameters})

    return type("Planted", (LossFunctionWrapper,), {"__init__": __init__, **members})


def around(fn, wrapper):
    """Return a function that is called in place of a loss function, and says that it has the same facts."""
    wrapper.__multiloss__ = spec_of(fn)
    return wrapper


def healthy():
    @loss(y_true="real", y_pred="real")
    def planted(y_true, y_pred, delta: float = 1.0):
        return K.mean(delta * K.square(y_pred - y_true), -1)

    return planted, class_of(planted)


def healthy_sparse():
    @loss(y_true="class index", y_pred="distribution or logits", event="joint")
    def planted(y_true, y_pred, from_logits: bool = False):
        return K.sparse_categorical_crossentropy(y_true, y_pred, from_logits)

    return planted, class_of(planted)


def ignores_weights():
    fn, _ = healthy()

    def called(self, y_true, y_pred, sample_weight=None, mask=None):
        return LossFunctionWrapper.__call__(self, y_true, y_pred, None, mask)

    return fn, class_of(fn, __call__=called)


def ignores_the_mask():
    fn, _ = healthy()

    def called(self, y_true, y_pred, sample_weight=None, mask=None):
        return LossFunctionWrapper.__call__(self, y_true, y_pred, sample_weight)

    return fn, class_of(fn, __call__=called)


def masks_by_multiplication():
    fn, _ = healthy()

    def called(self, y_true, y_pred, sample_weight=None, mask=None):
        values = fn(y_true, y_pred)
        counts = K.ones_like(values)
        for each in (sample_weight, mask):
            counts = counts if each is None else counts * K.cast(each, "float32")
        return K.sum(values * counts) / K.sum(counts)

    return fn, class_of(fn, __call__=called)


def divides_by_what_is_masked():
    fn, _ = healthy()

    def called(self, y_true, y_pred, sample_weight=None, mask=None):
        value = LossFunctionWrapper.__call__(self, y_true, y_pred, sample_weight, mask)
        if mask is None or self.reduction != "sum_over_batch_size":
            return value
        return value * K.mean(K.cast(mask, "float32"))

    return fn, class_of(fn, __call__=called)


def adds_up_means():
    fn, _ = healthy()

    def partial(self, y_true, y_pred, sample_weight=None, mask=None):
        value = LossFunctionWrapper.__call__(self, y_true, y_pred, sample_weight, mask)
        return value, K.ones_like(value)

    return fn, class_of(fn, partial=partial)


def weighs_the_last_axis():
    fn, _ = healthy()

    def called(self, y_true, y_pred, sample_weight=None, mask=None):
        if sample_weight is not None and sample_weight.ndim == 1 and y_pred.ndim == 3:
            sample_weight = K.broadcast_to(K.reshape(sample_weight, (1, -1)), tuple(y_pred.shape[:2]))
        return LossFunctionWrapper.__call__(self, y_true, y_pred, sample_weight, mask)

    return fn, class_of(fn, __call__=called)


def broadcasts_samples():
    fn, _ = healthy()

    def planted(y_true, y_pred, delta=1.0):
        rank = max(y_true.ndim, y_pred.ndim)  # as frameworks do, but for JAX where it is told to raise
        y_true, y_pred = (K.reshape(x, (1,) * (rank - x.ndim) + tuple(x.shape)) for x in (y_true, y_pred))
        return spec_of(fn).formula(y_true, y_pred, delta)

    broken = around(fn, planted)
    return broken, class_of(broken, __call__=lambda self, y_true, y_pred: K.mean(broken(y_true, y_pred)))


def has_no_gradient_where_it_is_0():
    @loss(y_true="real", y_pred="real")
    def planted(y_true, y_pred):
        return K.mean(K.exp(0.5 * K.log(K.square(y_pred - y_true))), -1)

    return planted, class_of(planted)


def cuts_its_gradient():
    @loss(y_true="real", y_pred="real")
    def planted(y_true, y_pred):
        return K.mean((y_pred - y_true) * K.stop_gradient(y_pred - y_true), -1)

    return planted, class_of(planted)


def computes_half_precision_in_half_precision():
    fn, _ = healthy()

    def planted(y_true, y_pred, delta=1.0):
        return K.cast(fn(y_true, y_pred, delta), K.dtype(y_pred) if hasattr(y_pred, "dtype") else "float32")

    broken = around(fn, planted)
    return broken, class_of(broken)


def ignores_a_parameter():
    @loss(y_true="real", y_pred="real")
    def planted(y_true, y_pred, delta: float = 1.0):
        return K.mean(K.square(y_pred - y_true), -1)

    return planted, class_of(planted)


def forgets_a_parameter():
    fn, _ = healthy()

    def config(self):
        return {key: each for key, each in LossFunctionWrapper.get_config(self).items() if key != "delta"}

    return fn, class_of(fn, get_config=config)


def rounds_float64():
    @loss(y_true="real", y_pred="real")
    def planted(y_true, y_pred):
        return K.mean(K.cast(K.square(y_pred - y_true), "float32"), -1)

    return planted, class_of(planted)


def compares_within_the_batch():
    @loss(y_true="real", y_pred="real")
    def planted(y_true, y_pred):
        errors = K.square(y_pred - y_true)
        return K.mean(errors, -1) / K.max(errors)

    return planted, class_of(planted)


def _of_labels(change):
    fn, _ = healthy_sparse()

    def planted(y_true, y_pred, from_logits=False):
        return fn(change(K.asarray(y_true), y_pred.shape[-1]), y_pred, from_logits=from_logits)

    def called(self, y_true, y_pred, *rest, **named):
        return LossFunctionWrapper.__call__(self, change(y_true, y_pred.shape[-1]), y_pred, *rest, **named)

    broken = around(fn, planted)
    return broken, class_of(broken, __call__=called)


def takes_minus_1_for_the_last_class():
    return _of_labels(lambda labels, classes: K.where(labels < 0, labels + classes, labels))


def clips_labels():
    return _of_labels(lambda labels, classes: K.clip(labels, 0, classes - 1))


def casts_labels_to_a_float():
    return _of_labels(lambda labels, classes: K.cast(K.cast(labels, "float16"), "int32"))


def healthy_binary():
    @loss(y_true="probability", y_pred="probability or logit")
    def planted(y_true, y_pred, from_logits: bool = False):
        return K.mean(K.binary_crossentropy(y_true, y_pred, from_logits), -1)

    return planted, class_of(planted)


def leaves_log_space():
    @loss(y_true="probability", y_pred="probability or logit")
    def planted(y_true, y_pred, from_logits: bool = False):
        y_pred = K.sigmoid(y_pred) if from_logits else y_pred
        return K.mean(K.binary_crossentropy(y_true, y_pred), -1)

    return planted, class_of(planted)


def subtracts_from_1():
    @loss(y_true="probability", y_pred="probability or logit")
    def planted(y_true, y_pred, from_logits: bool = False):
        p = K.sigmoid(y_pred) if from_logits else K.clip(y_pred, 1e-7, 1.0 - 1e-7)
        return K.mean(-(y_true * K.log(p) + (1.0 - y_true) * K.log(1.0 - p)), -1)

    return planted, class_of(planted)


class Case(NamedTuple):
    plant: object
    """What makes the function and the class."""
    good: object
    """What makes healthy ones of the same facts."""
    test: object
    """The test that must notice, called with the name of the function, or that of the class."""
    name: str = "Planted"
    arguments: tuple = ()


NEED_GRADIENTS = (has_no_gradient_where_it_is_0, cuts_its_gradient)
"""What is wrong with these is the gradient alone."""

LOSSES = [
    Case(ignores_weights, healthy, test_weights.test_zero_weight_removes_a_sample, "Planted", ("sum",)),
    Case(ignores_weights, healthy, test_weights.test_a_weight_of_k_equals_k_copies, "Planted", ("sum",)),
    Case(ignores_weights, healthy, test_weights.test_no_weight_and_no_mask_is_ignored, "Planted", ("none",)),
    Case(ignores_the_mask, healthy, test_weights.test_no_weight_and_no_mask_is_ignored, "Planted", ("none",)),
    Case(ignores_the_mask, healthy, test_masking.test_all_masked_is_0_with_gradient_0, "Planted", ("sum",)),
    Case(
        *(masks_by_multiplication, healthy, test_masking.test_what_does_not_count_reaches_nothing, "Planted"),
        (test_masking.GARBAGE["nan"], "mask"),
    ),
    Case(
        *(divides_by_what_is_masked, healthy, test_weights.test_a_mask_removes_a_sample, "Planted"),
        ("sum_over_batch_size",),
    ),
    Case(adds_up_means, healthy, test_partial.test_parts_without_weights_add_up_too),
    Case(weighs_the_last_axis, healthy, test_weights.test_a_weight_per_sample_is_never_one_per_step),
    Case(
        *(broadcasts_samples, healthy, test_shapes.test_samples_are_never_broadcast, "planted"),
        (test_shapes.REFUSED["(1, K) beside (N, K)"],),
    ),
    Case(
        *(broadcasts_samples, healthy, test_shapes.test_a_missing_axis_of_size_1_is_matched, "planted"),
        (test_shapes.ALIGNED["(N,) beside (N, 1)"],),
    ),
    Case(
        *(has_no_gradient_where_it_is_0, healthy, test_gradients.test_degenerate_inputs_have_a_finite_gradient),
        *("planted", ({}, "float32")),
    ),
    Case(has_no_gradient_where_it_is_0, healthy, test_gradients.test_a_perfect_prediction_has_gradient_0, "planted"),
    Case(cuts_its_gradient, healthy, test_gradients.test_gradients_equal_central_differences, "planted", ({},)),
    Case(
        *(computes_half_precision_in_half_precision, healthy, test_dtypes.test_half_precision_is_computed_in_float32),
        *("planted", ("float16",)),
    ),
    Case(rounds_float64, healthy, test_dtypes.test_a_full_precision_dtype_is_kept, "planted", ("float64",)),
    Case(
        *(ignores_a_parameter, healthy, test_arguments.test_every_parameter_can_change_the_result),
        *("planted", ("delta",)),
    ),
    Case(forgets_a_parameter, healthy, test_configs.test_every_parameter_is_in_the_config),
    Case(compares_within_the_batch, healthy, test_partial.test_parts_without_weights_add_up_too),
    Case(takes_minus_1_for_the_last_class, healthy_sparse, test_labels.test_minus_1_is_not_the_last_class, "planted"),
    Case(clips_labels, healthy_sparse, test_labels.test_the_same_labels_are_in_range_everywhere, "planted", (8,)),
    Case(
        *(casts_labels_to_a_float, healthy_sparse, test_labels.test_labels_beyond_what_a_float_counts_are_exact),
        "planted",
    ),
]
LOSSES += [
    Case(plant, healthy_binary, test, "planted", ({"from_logits": logits}, dtype))
    for plant, test, logits, dtype in (
        (leaves_log_space, test_exact_values.test_a_value_is_right_to_its_last_digits, True, "float64"),
        (leaves_log_space, test_exact_values.test_a_gradient_is_finite_and_right, True, "float32"),
        (subtracts_from_1, test_exact_values.test_a_value_is_right_to_its_last_digits, False, "float64"),
        (subtracts_from_1, test_exact_values.test_a_value_is_right_to_its_last_digits, True, "float32"),
    )
]
OF_LOSSES = [
    pytest.param(
        case,
        marks=[
            *(mark for mark in getattr(case.test, "pytestmark", []) if mark.name == "needs"),
            *(pytest.mark.needs(each) for each in case.arguments if each == "float16"),
            *([pytest.mark.needs("gradients")] if case.plant in NEED_GRADIENTS else []),
        ],
    )
    for case in LOSSES
]
LOSS_IDS = [f"{case.plant.__name__}-{case.test.__name__}" for case in LOSSES]


# ── Running them ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("case", OF_LOSSES, ids=LOSS_IDS)
def test_a_broken_loss_is_noticed(case, run, register, monkeypatch):
    monkeypatch.setitem(exact.REFERENCES, "planted", exact.binary_crossentropy)
    fn, cls = case.plant()
    register(multiloss.losses, planted=fn, Planted=cls)
    with pytest.raises(NOTICED):
        run(case.test, case.name, *case.arguments)


@pytest.mark.parametrize("case", OF_LOSSES, ids=LOSS_IDS)
def test_a_healthy_loss_is_not(case, run, register, monkeypatch):
    monkeypatch.setitem(exact.REFERENCES, "planted", exact.binary_crossentropy)
    fn, cls = case.good()
    register(multiloss.losses, planted=fn, Planted=cls)
    run(case.test, case.name, *case.arguments)
