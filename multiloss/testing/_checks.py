"""`check_loss` and `check_metric`: the rules of the library, for a loss or metric of one's own, on a batch of one's own.

    from multiloss.testing import check_loss

    def test_my_loss():
        check_loss(MyLoss(), y_true, y_pred)

Each rule is one function here; its docstring is what the AssertionError says when the rule is broken.
"""

from __future__ import annotations

import copy
import functools
import json
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from multiloss._errors import ArgumentError, DTypeError
from multiloss._registry import active, owner_of
from multiloss._tree import leaves
from multiloss.interface import Backend
from multiloss.losses._base import Loss, LossFunctionWrapper
from multiloss.losses._spec import spec_of
from multiloss.metrics._base import Metric
from multiloss.testing._tolerance import DIFFERENCES, assert_close
from multiloss.transforms import value_and_grad

Array = Any
Rules = Sequence[Callable[[Any], None]]
ROWS = 4
"""How many rows a batch needs at least, for some of them to be left out."""


def check_loss(loss: Loss | Callable[..., Any], y_true: Any, y_pred: Any, *, jit: bool = True) -> None:
    """Check that a loss keeps the rules, on one batch and the active backend.

    Weights and masks leave out and copy samples, whatever these contain; parts of a batch add up; gradients are those of
    the value and never nan; dtypes are kept; a config makes an equal loss; a traced call gives what an eager one gives.
    On a backend that is not `differentiable` nothing is said about gradients.

    Args:
        loss: an instance of a loss class, or a function of `(y_true, y_pred)` with one value per sample.
        y_true: targets, with samples on the first axis: at least 4.
        y_pred: predictions, away from kinks.
        jit: whether to trace it too, which takes seconds where the framework compiles.

    Raises:
        AssertionError: for the first rule that the loss breaks.
        ArgumentError: for fewer samples.

    >>> import multiloss.losses
    >>> check_loss(multiloss.losses.Huber(), np.zeros((4, 2)), np.array([[0.2, 3], [-0.5, 2], [0.1, -4], [0.6, -0.3]]))
    >>> def mean_of_all(y_true, y_pred):
    ...     errors = (y_pred - y_true) ** 2
    ...     return errors.mean(-1) / errors.mean()
    >>> check_loss(mean_of_all, np.zeros((4, 2)), np.array([[0.2, 3], [-0.5, 2], [0.1, -4], [0.6, -0.3]]))
    Traceback (most recent call last):
    AssertionError: mean_of_all breaks a rule: A sample of weight 0 counts as if it were not there. ...
    """
    if not isinstance(loss, Loss):
        loss = LossFunctionWrapper(loss)
    rules: Rules = (*_LOSS_RULES, _a_traced_call_gives_what_an_eager_one_gives) if jit else _LOSS_RULES
    _check(rules, lambda: _Loss(loss, [y_true, y_pred]), str(loss.name))


def check_metric(metric: Metric, *batch: Any) -> None:
    """Check that a metric keeps the rules, on one batch and the active backend.

    Weights and masks leave out and copy samples, whatever these contain; states merge without loss; pure functions leave
    the metric alone; a config makes an equal metric.

    Args:
        metric: an instance of a metric class whose `update` takes `sample_weight` and `mask`.
        *batch: what `update` takes before these, with samples on the first axis: at least 4.

    Raises:
        AssertionError: for the first rule that the metric breaks.
        ArgumentError: for fewer samples.

    >>> import multiloss.metrics
    >>> check_metric(multiloss.metrics.AUC(), np.array([0, 1, 0, 1, 1]), np.array([0.1, 0.3, 0.6, 0.4, 0.8]))
    """
    _check(_METRIC_RULES, lambda: _Metric(copy.deepcopy(metric), list(batch)), str(metric.name))


def _check(rules: Rules, subject: Callable[[], Any], name: str) -> None:
    for rule in rules:
        on = subject()
        try:
            rule(on)
        except Exception as error:
            found = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise AssertionError(f"{name} breaks a rule: {rule.__doc__} {found}") from error


class _Subject:
    """What is checked, the batch as NumPy arrays in float32, and the backend."""

    def __init__(self, batch: list[Any]) -> None:
        arrays = [np.asarray(each) for each in batch]
        self.batch = [each.astype(np.float32) if each.dtype.kind == "f" else each for each in arrays]
        self.backend: Backend = active().backend
        self.rows = len(arrays[-1]) if arrays and arrays[-1].ndim else 0
        if self.rows < ROWS:
            raise ArgumentError(f"Arrived: a batch of {self.rows} samples. Expected at least {ROWS}.")
        self.kept = np.arange(self.rows) % 3 != 1
        self.weights = np.resize(np.array([1.0, 0.0, 2.0, 0.5], np.float32), self.rows)
        self.copies = np.resize([1, 3, 2, 0], self.rows)

    def tensors(self, *arrays: Any) -> list[Any]:
        return [None if each is None else self.backend.asarray(np.array(each)) for each in arrays]

    def part(self, rows: Any) -> list[Array]:
        return [each[rows] for each in self.batch]

    def spoilt(self) -> list[Array]:
        """Return the batch with nan, or a class that does not exist, where `kept` is False."""
        spoilt = [each.copy() for each in self.batch]
        for each in spoilt:
            each[~self.kept] = np.nan if each.dtype.kind == "f" else 99
        return spoilt


# ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────────────


class _Loss(_Subject):
    def __init__(self, loss: Loss, batch: list[Any]) -> None:
        super().__init__(batch)
        self.loss = loss
        spec = spec_of(getattr(loss, "fn", None))
        self.samplewise = spec is None or spec.samplewise
        """Whether each value depends on its own sample alone, as it does unless the loss says otherwise."""

    def reducing(self, reduction: str) -> Any:
        loss = copy.copy(self.loss)
        loss.reduction = reduction
        return loss

    def value(self, reduction: str, *arrays: Any) -> Array:
        value = self.reducing(reduction)(*self.tensors(*arrays))
        return owner_of(value).to_numpy(value)

    def value_and_gradient(self, reduction: str, *arrays: Any) -> tuple[Array, Array]:
        """Return the value and the gradient; None where the backend has none."""
        if not self.backend.differentiable:
            return self.value(reduction, *arrays), None
        value, gradient = value_and_grad(self.reducing(reduction))(*self.tensors(*arrays))
        return owner_of(value).to_numpy(value), owner_of(gradient).to_numpy(gradient)


def _zero_weight_removes_a_sample(on: _Loss) -> None:
    """A sample of weight 0 counts as if it were not there."""
    some = on.weights != 0
    for reduction in ("sum", "mean_with_sample_weight"):
        expected = on.value(reduction, *on.part(some), on.weights[some])
        assert_close(on.value(reduction, *on.batch, on.weights), expected, "float32")


def _a_weight_of_k_equals_k_copies(on: _Loss) -> None:
    """A weight of k counts as k copies of the sample do."""
    if on.samplewise:
        copied = [np.repeat(each, on.copies, axis=0) for each in on.batch]
        weighted = on.value("mean_with_sample_weight", *on.batch, on.copies.astype(np.float32))
        assert_close(weighted, on.value("mean_with_sample_weight", *copied), "float32")


def _a_mask_removes_a_sample(on: _Loss) -> None:
    """What is masked counts as if it were not there, in the denominator too."""
    for reduction in ("sum", "sum_over_batch_size"):
        expected = on.value(reduction, *on.part(on.kept), on.weights[on.kept])
        assert_close(on.value(reduction, *on.batch, on.weights, on.kept), expected, "float32")


def _what_is_masked_reaches_nothing(on: _Loss) -> None:
    """What is masked may be nan, and reaches neither value nor gradient."""
    value, gradient = on.value_and_gradient("sum_over_batch_size", *on.spoilt(), None, on.kept)
    expected, expected_gradient = on.value_and_gradient("sum_over_batch_size", *on.part(on.kept))
    assert_close(value, expected, "float32")
    if gradient is not None:
        assert_close(gradient[on.kept], expected_gradient, "float32")
        assert not gradient[~on.kept].any(), "What is masked has a gradient."


def _nothing_is_0(on: _Loss) -> None:
    """A batch of which nothing counts, or nothing at all, has the value 0 and the gradient 0."""
    value, gradient = on.value_and_gradient("sum_over_batch_size", *on.batch, None, np.zeros(on.rows, bool))
    assert value == 0, f"All is masked, and the value is {value}."
    assert gradient is None or not gradient.any(), "All is masked, and there is a gradient."
    value = on.value("sum_over_batch_size", *on.part(slice(0, 0)))
    assert value == 0, f"The batch is empty, and the value is {value}."


def _parts_add_up(on: _Loss) -> None:
    """Totals and weights of `partial` add up to those of the whole batch."""
    if not on.samplewise:
        return
    loss, whole = on.reducing("sum_over_batch_size"), on.value("sum_over_batch_size", *on.batch)
    totals = [loss.partial(*on.tensors(*on.part(rows))) for rows in (slice(0, 1), slice(1, None))]
    total, weight = (sum(float(on.backend.to_numpy(each[at])) for each in totals) for at in (0, 1))
    assert_close(np.float32(total / weight), whole, "float32")


def _the_gradient_is_that_of_the_value(on: _Loss) -> None:
    """The gradient equals central differences of the value."""
    if not on.backend.differentiable:
        return
    try:
        y_true, y_pred = (
            on.backend.cast(each, "float64") if on.backend.is_floating(each) else each for each in on.tensors(*on.batch)
        )
    except DTypeError:
        return  # JAX without its x64 setting: too coarse for differences
    loss, step = on.reducing("sum"), 1e-6
    gradient = on.backend.to_numpy(value_and_grad(loss)(y_true, y_pred)[1])
    center = on.backend.to_numpy(y_pred)
    for index in list(np.ndindex(center.shape))[:24]:
        sides = []
        for sign in (1, -1):
            moved = np.array(center)
            moved[index] += sign * step
            sides.append(float(on.backend.to_numpy(loss(y_true, on.backend.asarray(moved)))))
        assert_close(gradient[index], np.float64((sides[0] - sides[1]) / (2 * step)), "float64", table=DIFFERENCES)


def _no_gradient_is_nan(on: _Loss) -> None:
    """The gradient is finite where predictions are 0, and where they equal their targets."""
    if not on.backend.differentiable:
        return
    y_true, y_pred = on.batch
    cases = [np.zeros_like(y_pred)]
    if y_true.shape == y_pred.shape and y_true.dtype == y_pred.dtype:
        cases.append(y_true)
    for case in cases:
        _, gradient = on.value_and_gradient("sum", y_true, case)
        assert np.isfinite(gradient).all(), f"It is {gradient} for {case}."


def _dtypes_are_kept(on: _Loss) -> None:
    """float64 stays float64, and half precision is computed in float32."""
    y_true, y_pred = on.tensors(*on.batch)
    for given, expected in (("float32", "float32"), ("float16", "float32"), ("float64", "float64")):
        try:
            value = on.loss(y_true, on.backend.cast(y_pred, given))
        except DTypeError:
            continue  # the framework, in its present settings, has no such dtype
        found = on.backend.dtype(value)
        wanted = on.loss.dtype or expected
        assert found == wanted, f"Predictions in {given} gave a value in {found}. Expected {wanted}."


def _a_config_makes_an_equal_loss(on: _Loss) -> None:
    """`from_config(get_config())` is an equal loss, and the config is JSON."""
    if type(on.loss) is LossFunctionWrapper:
        return  # a function, which is found by its name
    config = json.loads(json.dumps(on.loss.get_config()))
    again = _Loss(type(on.loss).from_config(config), on.batch)
    assert again.loss.get_config() == on.loss.get_config()
    for reduction in ("sum", "mean_with_sample_weight"):
        np.testing.assert_array_equal(
            again.value(reduction, *on.batch, on.weights), on.value(reduction, *on.batch, on.weights)
        )


def _a_traced_call_gives_what_an_eager_one_gives(on: _Loss) -> None:
    """Inside `jit` the value is the same."""
    given = on.tensors(*on.batch, on.weights)
    loss = on.reducing("sum_over_batch_size")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's compiler deprecates parts of itself
        traced = on.backend.jit(lambda *tensors: loss(*tensors))(*given)
    assert_close(on.backend.to_numpy(traced), on.backend.to_numpy(loss(*given)), "float32")


_LOSS_RULES: Rules = (
    _zero_weight_removes_a_sample,
    _a_weight_of_k_equals_k_copies,
    _a_mask_removes_a_sample,
    _what_is_masked_reaches_nothing,
    _parts_add_up,
    _nothing_is_0,
    _dtypes_are_kept,
    _the_gradient_is_that_of_the_value,
    _no_gradient_is_nan,
    _a_config_makes_an_equal_loss,
)


# ── Metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _Metric(_Subject):
    def __init__(self, metric: Metric, batch: list[Any]) -> None:
        super().__init__(batch)
        self.metric = metric

    def state(self, *arrays: Any, **named: Any) -> Any:
        given = self.tensors(*arrays)
        weights = {key: self.tensors(each)[0] for key, each in named.items()}
        return self.metric.update(self.metric.init(given[len(self.batch) - 1]), *given, **weights)

    def value(self, state: Any) -> Array:
        return self.backend.to_numpy(self.metric.compute(state))


def _weights_leave_out_and_copy(on: _Metric) -> None:
    """A weight of k counts as k copies of the sample do, and none for 0."""
    copied = [np.repeat(each, on.copies, axis=0) for each in on.batch]
    weighted = on.value(on.state(*on.batch, sample_weight=on.copies.astype(np.float32)))
    assert_close(weighted, on.value(on.state(*copied)), "float32")


def _what_is_masked_is_left_out(on: _Metric) -> None:
    """What is masked may be nan, and counts as if it were not there."""
    expected = on.value(on.state(*on.part(on.kept), sample_weight=on.weights[on.kept]))
    masked = on.value(on.state(*on.spoilt(), sample_weight=on.weights, mask=on.kept))
    assert_close(masked, expected, "float32")


def _states_merge(on: _Metric) -> None:
    """The merged states of parts are the state of the whole, in any order, and a new state changes nothing."""
    whole = on.value(on.state(*on.batch))
    first, second = on.state(*on.part(slice(0, 1))), on.state(*on.part(slice(1, None)))
    new = on.metric.init(*on.tensors(on.batch[-1]))
    for order in ([first, second], [second, first], [first, new, second]):
        assert_close(on.value(functools.reduce(on.metric.merge, order)), whole, "float32")
    assert_close(on.value(on.metric.update(first, *on.tensors(*on.part(slice(1, None))))), whole, "float32")


def _pure_functions_are_pure(on: _Metric) -> None:
    """`init`, `update`, `merge` and `compute` change neither the metric nor a state."""
    before = dict(vars(on.metric))
    state = on.state(*on.batch)
    held = [np.array(on.backend.to_numpy(leaf)) for leaf in leaves(state)]
    on.value(on.metric.merge(on.metric.update(state, *on.tensors(*on.batch)), state))
    assert vars(on.metric) == before, "The metric has other attributes than before."
    for leaf, kept in zip(leaves(state), held, strict=True):
        np.testing.assert_array_equal(on.backend.to_numpy(leaf), kept)


def _a_config_makes_an_equal_metric(on: _Metric) -> None:
    """`from_config(get_config())` is an equal metric."""
    again = _Metric(type(on.metric).from_config(on.metric.get_config()), on.batch)
    assert again.metric.get_config() == on.metric.get_config()
    np.testing.assert_array_equal(again.value(again.state(*on.batch)), on.value(on.state(*on.batch)))


_METRIC_RULES: Rules = (
    _weights_leave_out_and_copy,
    _what_is_masked_is_left_out,
    _states_merge,
    _pure_functions_are_pure,
    _a_config_makes_an_equal_metric,
)
