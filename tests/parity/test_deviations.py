"""Where multiloss differs from its peers on purpose: each test asserts our value and theirs, and is a row of
`docs/deviations.md`. When a peer changes, its half of the test fails, and the row goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import keras
import ml_dtypes
import numpy as np
import optax
import pytest
import sklearn.metrics
import torch
import torchmetrics
from keras.src.trainers.data_adapters import data_adapter_utils
from multiloss import constraints, losses, metrics, regularizers, utils, value_and_grad
from multiloss._errors import ArgumentError, LabelError, ShapeError, UnknownNameError
from multiloss.interface import Backend
from tests.parity import cases

KerasGives = Callable[..., dict[str, Any]]
CLIPPED = -float(np.log(np.float32(1e-7)))  # 16.118: what a probability of 0 costs


def ours(backend: Backend, name: str, what: str = "value") -> Any:
    """Return our value for a deviation of the grid, in float32, or its gradient with respect to y_pred."""
    case = cases.DEVIATIONS[name]

    def tensor(x: Any) -> Any:
        return None if x is None else backend.asarray(x.astype("float32") if x.dtype.kind == "f" else x.copy())

    if case.kind == "metric":
        metric = getattr(metrics, case.name)(**case.parameters)
        for batch in case.batches:
            metric.update_state(*map(tensor, batch))
        return backend.to_numpy(metric.result())
    y_true, y_pred = tensor(case.y_true), tensor(case.y_pred)
    if case.kind == "class":
        loss = getattr(losses, case.name)(**case.parameters)
        given = {"sample_weight": tensor(case.sample_weight), "mask": tensor(case.mask)}
    else:
        loss = getattr(metrics if case.kind == "metric function" else losses, case.name)
        given = case.parameters
    if what == "gradient":
        return backend.to_numpy(value_and_grad(loss)(y_true, y_pred, **given)[1])
    return backend.to_numpy(loss(y_true, y_pred, **given))


def equal(given: dict[str, Any], expected: Any) -> None:
    """Assert that Keras gives this on all its backends (None: it has no gradients)."""
    for name, value in given.items():
        if value is not None:
            assert not isinstance(value, str), f"Keras on {name}: {value}"
            np.testing.assert_allclose(value, expected, rtol=1e-5, err_msg=f"Keras on {name}")


# ── Dtypes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_float64_is_kept(backend: Backend, float64: None) -> None:
    y_true, y_pred = np.zeros((2, 2)), np.full((2, 2), 1 / 3)
    assert backend.dtype(losses.MeanSquaredError()(y_true, y_pred)) == "float64"
    assert keras.losses.MeanSquaredError()(y_true, y_pred).dtype == "float32"


def test_half_precision_is_computed_in_float32(backend: Backend) -> None:
    y_true, y_pred = np.ones((1, 1), "float16"), np.ones((1, 1), "float16")
    assert float(losses.binary_crossentropy(y_true, y_pred)[0]) == pytest.approx(0, abs=1e-6)
    with np.errstate(all="ignore"):
        assert np.isnan(keras.losses.binary_crossentropy(y_true, y_pred)).all()


def test_labels_are_not_rounded_by_a_dtype(backend: Backend) -> None:
    logits = np.zeros((1, 300), "float32")
    logits[0, 257] = 20.0
    arguments = {"from_logits": True, "dtype": "bfloat16"}
    loss = losses.SparseCategoricalCrossentropy(**arguments)(np.array([257]), logits)
    assert float(loss) == pytest.approx(0, abs=1e-4)
    theirs = keras.losses.SparseCategoricalCrossentropy(**arguments)(np.array([257]), logits)
    assert float(np.asarray(theirs).astype(ml_dtypes.bfloat16).astype("float32")) > 15  # of label 256


@pytest.mark.parametrize(
    ("name", "value", "theirs"),
    [
        ("LogCoshError", 0.10844523, 0.80159235),
        ("Poisson", 0.5, np.nan),
        ("MeanAbsolutePercentageError", 2.5e8, np.nan),
    ],
)
def test_integer_predictions_are_numbers(
    backend: Backend, keras_gives: KerasGives, name: str, value: float, theirs: float
) -> None:
    assert ours(backend, f"{name} of integers") == pytest.approx(value, rel=1e-6)
    equal(keras_gives(f"{name} of integers"), [theirs])


# ── Labels and shapes ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("label", [-1, 3, -100])
def test_a_label_out_of_range_raises(backend: Backend, keras_gives: KerasGives, label: int) -> None:
    with pytest.raises(LabelError, match=rf"is {label}, and y_pred has 3 classes"):
        ours(backend, f"label {label}")
    assert keras_gives(f"label {label}") == {
        "numpy": "IndexError" if label == 3 else [0.0],
        "torch": [0.0] if label == -100 else "IndexError",
        "jax": [0.0],
    }


def test_a_label_out_of_range_raises_unlike_in_optax(backend: Backend) -> None:
    logits = np.array([[1.0, 2.0, 4.0]], "float32")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        wrapped = optax.softmax_cross_entropy_with_integer_labels(logits, np.array([-1]))
        last = optax.softmax_cross_entropy_with_integer_labels(logits, np.array([2]))
    np.testing.assert_allclose(wrapped, last)
    with pytest.raises(LabelError):
        losses.sparse_categorical_crossentropy(np.array([-1]), logits, from_logits=True)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "poisson", "kl_divergence"])
def test_function_forms_never_pair_a_sample_with_the_others(
    backend: Backend, keras_gives: KerasGives, name: str
) -> None:
    case = cases.DEVIATIONS[f"{name} of (N,) and (N,1)"]
    expected = getattr(keras.losses, name)(case.y_true[:, None], case.y_pred)
    np.testing.assert_allclose(ours(backend, f"{name} of (N,) and (N,1)"), expected, rtol=1e-5)
    for given in keras_gives(f"{name} of (N,) and (N,1)").values():
        assert not np.allclose(given, expected, rtol=0.01)


def test_binary_crossentropy_aligns_targets_with_a_column(backend: Backend, keras_gives: KerasGives) -> None:
    np.testing.assert_allclose(ours(backend, "binary_crossentropy of (N,) and (N,1)"), [np.log(2)] * 3, rtol=1e-6)
    assert set(keras_gives("binary_crossentropy of (N,) and (N,1)").values()) == {"ValueError"}


def test_labels_and_predictions_may_be_lists(backend: Backend) -> None:
    lists = [1, 2], [[0.05, 0.95, 0.0], [0.1, 0.8, 0.1]]
    values = backend.to_numpy(losses.sparse_categorical_crossentropy(*lists))
    np.testing.assert_allclose(values, [-np.log(0.95), -np.log(0.1)], rtol=1e-5)
    with pytest.raises(AttributeError):
        keras.losses.sparse_categorical_crossentropy(*lists)


def test_one_row_is_not_broadcast_over_the_batch(backend: Backend, keras_gives: KerasGives) -> None:
    with pytest.raises(ShapeError, match="nothing is broadcast across samples"):
        ours(backend, "shapes (1,K) and (N,K)")
    equal(keras_gives("shapes (1,K) and (N,K)"), [1, 1, 1])


def test_one_vector_gives_one_cosine(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "cosine of (D,)").shape == ()
    shapes = {name: np.shape(value) for name, value in keras_gives("cosine of (D,)").items()}
    assert shapes == {"numpy": (1,), "torch": (), "jax": ()}


def test_classes_may_be_on_any_axis(backend: Backend, keras_gives: KerasGives) -> None:
    np.testing.assert_allclose(ours(backend, "sparse labels along axis 1"), np.full((1, 2), np.log(3)), rtol=1e-6)
    given = keras_gives("sparse labels along axis 1")
    assert given["numpy"] == given["jax"] == "ValueError"
    np.testing.assert_allclose(given["torch"], np.full((1, 2), np.log(3)), rtol=1e-6)


def test_the_loss_of_an_empty_batch_is_0(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "nothing") == 0
    assert set(map(str, keras_gives("nothing").values())) == {"[]"}


# ── Weights and masks ───────────────────────────────────────────────────────────────────────────────────────────


def test_one_weight_per_sample_weighs_samples_also_if_there_are_as_many_steps(
    backend: Backend, keras_gives: KerasGives
) -> None:
    np.testing.assert_allclose(ours(backend, "weights (N,) on (N,N)"), [[1, 1, 1], [0, 0, 0], [0, 0, 0]])
    equal(keras_gives("weights (N,) on (N,N)"), [[1, 0, 0], [4, 0, 0], [9, 0, 0]])


def test_a_mean_by_weights_counts_a_weight_for_each_value_that_it_weighs(
    backend: Backend, keras_gives: KerasGives
) -> None:
    assert ours(backend, "weights (N,1) and their own mean") == 1  # all losses are 1
    equal(keras_gives("weights (N,1) and their own mean"), 3)


def test_weights_per_sample_go_with_a_mask_per_step(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "weights (N,1) and mask (N,T)") == pytest.approx((2 * 1 + 2 * 4 + 3 * 9) / 6)
    given = keras_gives("weights (N,1) and mask (N,T)")
    assert given == {"numpy": "ValueError", "torch": "RuntimeError", "jax": pytest.approx(37 / 6)}


def test_weights_of_single_values_weigh_each_of_them(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "weights (N,) on targets (N,)") == pytest.approx(1 / 3)  # (1 * 1 + 0 * 4 + 0 * 9) / 3
    equal(keras_gives("weights (N,) on targets (N,)"), (1 + 4 + 9) / 3 * (1 + 0 + 0) / 3)


def test_single_values_are_samples_in_a_class(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "sum of targets (N,)") == 1 + 4 + 9
    equal(keras_gives("sum of targets (N,)"), (1 + 4 + 9) / 3)


@pytest.mark.parametrize("name", ["masked nan", "nan of weight 0"])
def test_what_does_not_count_may_be_nan(backend: Backend, keras_gives: KerasGives, name: str) -> None:
    assert ours(backend, name) == pytest.approx((1 + 4) / (2 if name == "masked nan" else 3))
    gradient = ours(backend, name, "gradient")
    assert np.isfinite(gradient).all()
    assert (gradient[1] == 0).all()
    equal(keras_gives(name), np.nan)


# ── Numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"axis": (1, 2)}])
@pytest.mark.parametrize("name", ["dice", "tversky"])
def test_empty_regions_overlap_wholly(
    backend: Backend, keras_gives: KerasGives, name: str, options: dict[str, Any]
) -> None:
    assert (ours(backend, f"{name} of empty regions {options}") == 0).all()
    equal(keras_gives(f"{name} of empty regions {options}"), 1)
    for same in (f"{name} of regions {options}", f"{name.capitalize()} of weighted regions"):
        equal(keras_gives(same), ours(backend, same))


def test_generalized_cross_entropy_takes_a_column_of_labels(backend: Backend, keras_gives: KerasGives) -> None:
    name = "generalized cross-entropy of labels (N,1)"
    assert ours(backend, name).shape == (4,)
    for given in keras_gives(name).values():
        assert np.shape(given) == (4, 4)


def test_alpha_of_tversky_weighs_false_positives(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "tversky of a false positive") == pytest.approx(0.5)  # 1 - TP / (TP + FP)
    for given in keras_gives("tversky of a false positive").values():
        assert given == pytest.approx(0, abs=1e-6)  # alpha and beta are swapped


def test_a_prediction_of_nan_costs_nan_in_any_batch(backend: Backend) -> None:
    y_true, y_pred = np.ones((2000, 4), "float32"), np.full((2000, 4), 0.5, "float32")
    y_pred[7] = np.nan
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        optaxs = jax.jit(lambda y_true, y_pred: optax.losses.hinge_loss(y_pred, y_true).mean(-1))(y_true, y_pred)
    assert float(optaxs[7]) == 0
    values = losses.hinge(backend.asarray(y_true), backend.asarray(y_pred))
    np.testing.assert_array_equal(np.isnan(backend.to_numpy(values)), np.arange(2000) == 7)


def test_the_cosine_with_a_zero_vector_has_gradient_0(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "cosine of zero") == 0
    assert (ours(backend, "cosine of zero", "gradient") == 0).all()
    equal(keras_gives("cosine of zero"), [0])
    equal(keras_gives("cosine of zero", "gradient"), [[np.nan] * 3])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert np.isnan(optax.cosine_similarity(np.zeros((1, 3), "float32"), np.ones((1, 3), "float32"))).all()


@pytest.mark.parametrize("name", ["cosine of tiny", "cosine of huge"])
def test_the_cosine_does_not_depend_on_lengths(backend: Backend, keras_gives: KerasGives, name: str) -> None:
    np.testing.assert_allclose(ours(backend, name), [-1], rtol=1e-6)
    assert all(abs(given[0]) < 1e-20 for given in keras_gives(name).values())


def test_the_cosine_may_run_along_the_first_axis(backend: Backend, keras_gives: KerasGives) -> None:
    np.testing.assert_allclose(ours(backend, "cosine along axis 0"), [-1, -1, -1], rtol=1e-6)
    assert keras_gives("cosine along axis 0")["numpy"] == "ValueError"


def test_logits_never_leave_log_space(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "far logits") == 100
    given = keras_gives("far logits")
    assert (given["torch"], given["jax"]) == ([100], [100])
    assert given["numpy"] == pytest.approx([15.942385])


def test_an_impossible_class_that_is_not_the_label_costs_nothing(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "infinite logits") == 0
    equal(keras_gives("infinite logits"), [np.nan])


def test_focal_losses_of_logits_never_leave_log_space(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "focal of far logits") == pytest.approx(40)
    assert ours(backend, "focal of far logits", "gradient") == pytest.approx(1)
    assert ours(backend, "categorical focal of far logits") == pytest.approx(10)
    equal(keras_gives("focal of far logits"), [15.942385])
    equal(keras_gives("focal of far logits", "gradient"), [[0]])
    equal(keras_gives("categorical focal of far logits"), [4.0295229])


def test_focal_losses_with_gamma_below_1_have_finite_gradients(backend: Backend, keras_gives: KerasGives) -> None:
    assert np.isfinite(ours(backend, "focal with gamma below 1", "gradient")).all()
    equal(keras_gives("focal with gamma below 1", "gradient"), [[np.nan]])


def test_log_cosh_keeps_the_digits_of_small_errors(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "log_cosh of a small error") == pytest.approx(5e-9)
    equal(keras_gives("log_cosh of a small error"), [0])


def test_probabilities_that_are_all_0_cost_what_one_0_costs(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "all probabilities 0") == pytest.approx(CLIPPED)
    assert np.isfinite(ours(backend, "all probabilities 0", "gradient")).all()
    equal(keras_gives("all probabilities 0"), [np.nan])


def test_the_absolute_error_has_gradient_0_at_0(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "error of 0", "gradient") == 0
    given = keras_gives("error of 0", "gradient")
    assert given["torch"] == [[0]]
    assert given["jax"] == [[-1]]


def test_label_smoothing_counts_the_classes_of_its_axis(backend: Backend, keras_gives: KerasGives) -> None:
    name = "smoothing along axis 1"
    np.testing.assert_allclose(ours(backend, name), np.full((1, 2), np.log(3)), rtol=1e-6)  # labels still sum to 1
    equal(keras_gives(name), np.full((1, 2), 1.15 * np.log(3)))


def test_a_probability_of_0_costs_what_it_costs_in_keras_and_not_in_torch(backend: Backend) -> None:
    target, output = np.ones((1, 1), "float32"), np.zeros((1, 1), "float32")
    assert float(losses.binary_crossentropy(target, output)[0]) == pytest.approx(CLIPPED)
    assert float(torch.nn.functional.binary_cross_entropy(torch.tensor(output), torch.tensor(target))) == 100


def test_logarithms_of_negative_values_are_clipped_and_not_refused(backend: Backend) -> None:
    y_true, y_pred = np.array([[1.0]]), np.array([[-2.0]])
    assert float(losses.mean_squared_logarithmic_error(y_true, y_pred)[0]) == pytest.approx(np.log(2) ** 2, rel=1e-5)
    with pytest.raises(ValueError, match="cannot be used when"):
        sklearn.metrics.mean_squared_log_error(y_true, y_pred)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_percentage_of_nothing_is_that_of_keras(backend: Backend) -> None:
    y_true, y_pred = np.zeros((1, 1), "float32"), np.ones((1, 1), "float32")
    assert float(losses.mean_absolute_percentage_error(y_true, y_pred)[0]) == pytest.approx(1e9)
    assert float(keras.losses.mean_absolute_percentage_error(y_true, y_pred)[0]) == pytest.approx(1e9)
    assert 100 * sklearn.metrics.mean_absolute_percentage_error(y_true, y_pred) == pytest.approx(4.5036e17, rel=1e-4)
    theirs = torchmetrics.MeanAbsolutePercentageError()(torch.tensor(y_pred), torch.tensor(y_true))
    assert 100 * float(theirs) == pytest.approx(8.547e7, rel=1e-3)


def test_the_rival_of_a_categorical_hinge_scores_at_least_0(backend: Backend) -> None:
    y_true, scores = np.array([[1.0, 0.0, 0.0]], "float32"), np.array([[0.6, -3.0, -2.0]], "float32")
    assert float(losses.categorical_hinge(y_true, scores)[0]) == pytest.approx(0.4)
    assert float(keras.losses.categorical_hinge(y_true, scores)[0]) == pytest.approx(0.4)
    assert sklearn.metrics.hinge_loss([0], scores, labels=range(3)) == 0
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert float(optax.losses.multiclass_hinge_loss(scores, np.array([0]))[0]) == pytest.approx(0, abs=1e-6)


# ── Arguments, names and configs ────────────────────────────────────────────────────────────────────────────────


def test_parameters_outside_their_domain_raise(backend: Backend, keras_gives: KerasGives) -> None:
    for name in ("delta -1", "label smoothing 1.5"):
        with pytest.raises(ArgumentError, match="is not allowed"):
            ours(backend, name)
    equal(keras_gives("delta -1"), [-3.5])
    equal(keras_gives("label smoothing 1.5"), [np.log(2)])


def test_configs_keep_delta_and_axis() -> None:
    assert losses.Huber(delta=2.5).get_config()["delta"] == 2.5
    assert "delta" not in keras.losses.Huber(delta=2.5).get_config()
    for package, theirs in ((losses, keras.losses), (metrics, keras.metrics)):
        assert package.CosineSimilarity(axis=1).get_config()["axis"] == 1
        assert "axis" not in theirs.CosineSimilarity(axis=1).get_config()
    assert losses.SparseCategoricalCrossentropy(axis=1).get_config()["axis"] == 1
    assert "axis" not in keras.losses.SparseCategoricalCrossentropy(axis=1).get_config()


def test_configs_keep_a_dtype_that_was_chosen() -> None:
    assert losses.MeanSquaredError(dtype="float64").get_config()["dtype"] == "float64"
    assert "dtype" not in keras.losses.MeanSquaredError(dtype="float64").get_config()


def test_names_are_not_counted() -> None:
    assert [metrics.AUC().name, metrics.AUC().name] == ["auc", "auc"]
    first, second = keras.metrics.AUC().name, keras.metrics.AUC().name
    assert re.fullmatch(r"auc(_\d+)?", first)
    assert re.fullmatch(r"auc_\d+", second)


def test_reductions_of_keras_2_are_read() -> None:
    assert losses.MeanSquaredError(reduction="auto").reduction == "sum_over_batch_size"
    assert losses.MeanSquaredError(reduction="SUM").reduction == "sum"
    for name in ("auto", "SUM"):
        with pytest.raises(ValueError, match="Invalid value for argument `reduction`"):
            keras.losses.MeanSquaredError(reduction=name)


@pytest.mark.parametrize(
    "name", ["cosine", "cosine_proximity", "logcosh", "kullback_leibler_divergence", "huber_loss", "l1", "l2"]
)
def test_the_names_of_keras_2_are_read(name: str) -> None:
    assert callable(losses.get(name))
    assert callable(losses.deserialize(name))
    assert hasattr(losses, name)
    with pytest.raises(ValueError, match="Could not interpret"):
        keras.losses.get(name)


def test_the_names_of_keras_2_metrics_are_read() -> None:
    for name in ("acc", "kld", "KLD", "cosine_proximity", "logcosh", "log_cosh", "huber"):
        assert isinstance(metrics.get(name), metrics.Metric)
        with pytest.raises(ValueError, match="Could not interpret"):
            keras.metrics.get(name)


def test_a_name_can_be_deserialized() -> None:
    assert losses.deserialize("mse") is losses.mean_squared_error
    with pytest.raises(UnknownNameError):
        losses.deserialize("no_such_loss")
    with pytest.raises(ValueError, match="Could not deserialize"):
        keras.losses.deserialize("mse")
    assert keras.losses.deserialize("no_such_loss") == "no_such_loss"


def test_a_subclass_needs_no_super_init(backend: Backend) -> None:
    def define(base: Any) -> Any:
        class Own(base):
            def __init__(self, factor: float = 2.0) -> None:
                self.factor = factor

            def call(self, y_true: Any, y_pred: Any) -> Any:
                return self.factor * (y_pred - y_true)[..., 0]

        return Own()

    assert float(define(losses.Loss)(np.zeros((1, 1)), np.ones((1, 1)))) == 2
    with pytest.raises(AttributeError):
        define(keras.losses.Loss)(np.zeros((1, 1)), np.ones((1, 1)))


# ── Metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mean_counts_values_and_not_rows(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "mean of unequal shapes") == pytest.approx(6 / 8)  # two zeros and six ones
    assert all(given[-1] == 0.5 for given in keras_gives("mean of unequal shapes").values())


def test_what_a_metric_ignores_does_not_count(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "metric with ignore_class") == pytest.approx(np.log(2), rel=1e-6)
    equal(keras_gives("metric with ignore_class"), [np.log(2) / 2])


def test_a_nan_prediction_is_never_right(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "nan prediction") == 0
    equal(keras_gives("nan prediction"), [[1]])


def test_labels_of_minus_1_are_met_by_scores_below_the_threshold(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "signs") == 1
    equal(keras_gives("signs"), [[0]])


def test_the_first_of_equal_scores_are_on_top(backend: Backend, keras_gives: KerasGives) -> None:
    assert ours(backend, "top 2 of equal scores") == 0  # the labels are 0, 0, 1, 1
    assert keras_gives("top 2 of equal scores") == {"numpy": [1], "torch": [1], "jax": [0]}


def test_auc_refuses_scores_that_are_no_probabilities(backend: Backend, keras_gives: KerasGives) -> None:
    with pytest.raises(ArgumentError, match="from_logits=True"):
        ours(backend, "AUC of scores above 1")
    equal(keras_gives("AUC of scores above 1"), [0.5])


def test_a_metric_counts_beyond_what_float32_holds(backend: Backend) -> None:
    mine, theirs = metrics.Mean(), keras.metrics.Mean()
    many = np.zeros((1 << 12, 1 << 12), "float32")
    mine.update_state(many)
    mine.update_state(np.array([1.0], "float32"))
    assert float(mine.result()) == pytest.approx(1 / (2**24 + 1), rel=1e-7)
    assert int(mine.state.count) == 2**24 + 1
    theirs.update_state(many.reshape(-1))
    theirs.update_state(np.array([1.0], "float32"))
    assert int(theirs.count) == 2**24


# ── Class weights ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_class_has_a_weight() -> None:
    weights = {0: 1.0, 2: 5.0}
    with pytest.raises(ArgumentError, match="1 is missing"):
        losses.SparseCategoricalCrossentropy(class_weight=weights)
    given = data_adapter_utils.class_weight_to_sample_weights(np.array([0, 1, 2]), weights)
    np.testing.assert_array_equal(given, [1, 1, 5])


def test_a_weighted_mean_divides_by_the_weights_of_soft_labels_too(backend: Backend) -> None:
    soft, logits = np.array([[0.5, 0.5], [0.2, 0.8]], "float32"), np.array([[1.0, 0.0], [0.0, 2.0]], "float32")
    loss = losses.CategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight", class_weight=[3.0, 3.0]
    )
    plain = losses.CategoricalCrossentropy(from_logits=True)(soft, logits)
    assert float(loss(soft, logits)) == pytest.approx(float(plain))
    arguments = torch.tensor(logits), torch.tensor(soft)
    theirs = torch.nn.functional.cross_entropy(*arguments, weight=torch.tensor([3.0, 3.0]))
    assert float(theirs) == pytest.approx(3 * float(plain))


def test_the_mean_of_labels_that_are_all_ignored_is_0(backend: Backend) -> None:
    labels, logits = np.array([-100, -100]), np.zeros((2, 3), "float32")
    assert float(losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)(labels, logits)) == 0
    theirs = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels), ignore_index=-100)
    assert torch.isnan(theirs)


# ── Helpers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_to_categorical_gives_float32() -> None:
    assert utils.to_categorical([0, 1]).dtype == "float32"
    assert keras.utils.to_categorical([0, 1]).dtype == "float64"


def test_to_categorical_refuses_negative_labels() -> None:
    with pytest.raises(LabelError):
        utils.to_categorical([-1, 1], num_classes=3)
    np.testing.assert_array_equal(keras.utils.to_categorical([-1, 1], num_classes=3)[0], [0, 0, 1])


def test_columns_can_be_made_orthogonal(backend: Backend) -> None:
    weights = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]], "float32")
    value = regularizers.OrthogonalRegularizer(factor=1.0, mode="columns")(weights)
    assert float(value) == pytest.approx(np.sqrt(0.5), rel=1e-6)  # the cosine of the one pair of columns
    with pytest.raises(ValueError, match="broadcast"):
        keras.regularizers.OrthogonalRegularizer(factor=1.0, mode="columns")(weights)  # on its NumPy backend


def test_regularizers_and_constraints_are_found_by_the_names_of_keras_2() -> None:
    assert isinstance(constraints.get("maxnorm"), constraints.MaxNorm)
    assert isinstance(regularizers.l1(l=0.1), regularizers.L1)
    with pytest.raises(ValueError, match="Could not interpret"):
        keras.constraints.get("maxnorm")
    with pytest.raises(TypeError):
        keras.regularizers.L1(l=0.1)


def test_a_confident_row_keeps_its_loss(backend: Backend) -> None:
    """Of 32 000 standard normal logits the label's is 30: the loss is 5e-9, which float32 can hold."""
    logits = np.random.default_rng(0).normal(size=(1, 32000)).astype("float32")
    logits[0, 7] = 30.0
    exact = np.log1p(np.exp(np.delete(logits[0].astype("float64"), 7) - 30.0).sum())
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    value, gradient = value_and_grad(loss)(backend.asarray([7]), backend.asarray(logits))
    np.testing.assert_allclose(float(backend.to_numpy(value)), exact, rtol=1e-6)
    np.testing.assert_allclose(backend.to_numpy(gradient)[0, 7], np.expm1(-exact), rtol=1e-6)
    assert torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor([7])).item() == 0
    assert float(optax.softmax_cross_entropy_with_integer_labels(logits, np.array([7]))[0]) == 0
