"""The names under which metrics are shown."""

import pytest
from multiloss import Objective, losses, metrics
from multiloss import backend as K
from multiloss._errors import ArgumentError, UnknownNameError
from tests.objective.common import MAE, MSE, Halved, P, Y, mean_pred


def test_metrics_keep_the_names_they_are_given(tensor, shown):
    given = ["mse", "mean_absolute_error", metrics.MeanSquaredError(name="mine"), losses.Huber(delta=10.0), mean_pred]
    given += [lambda y_true, y_pred: K.mean(y_pred, axis=-1), Halved, {"class_name": "MeanSquaredError", "config": {}}]
    results = shown(Objective("mse", metrics=given), tensor(Y), tensor(P))
    assert results == pytest.approx(
        {
            "loss": MSE,
            "mse": MSE,
            "mean_absolute_error": MAE,
            "mine": MSE,
            "huber_loss": MSE / 2,
            "mean_pred": 0.40625,
            "lambda": 0.40625,
            "halved": 0.203125,
            "mean_squared_error": MSE,
        },
        rel=1e-5,
    )


def test_names_that_occur_twice_are_numbered_and_weighted_ones_say_so(tensor, shown):
    objective = Objective("mse", metrics=["mse", "mse", "mse"], weighted_metrics=["mse", "mse", "mae"])
    results = shown(objective, tensor(Y), tensor(P), sample_weight=tensor([2.0, 0.0, 0.0, 0.0]))
    assert list(results) == ["loss", "mse", "mse_1", "mse_2", "weighted_mse", "weighted_mse_1", "mae"]
    assert results["mse"] == pytest.approx(MSE, rel=1e-5)
    assert results["weighted_mse"] == pytest.approx(0.0625)
    assert results["mae"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"a": "mse"}, ["a_mse"]),
        ({"a": ["mse", "mae"], "b": mean_pred}, ["a_mse", "a_mae", "b_mean_pred"]),
        ({"b": None}, []),
        ("mae", ["a_mae", "b_mae"]),
        ({"class_name": "MeanAbsoluteError", "config": {"name": "mae"}}, ["a_mae", "b_mae"]),
    ],
)
def test_metrics_of_several_outputs_carry_the_output(tensor, shown, given, names):
    results = shown(Objective("mse", metrics=given), {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)})
    assert list(results) == ["loss", "a_loss", "b_loss", *names]
    assert results["loss"] == pytest.approx(2 * MSE, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["mse", "mae"], ["output_1_mse", "output_2_mae"]),
        ([["mse", "mae"], None], ["output_1_mse", "output_1_mae"]),
        ([None, ["acc"]], ["output_2_acc"]),
    ],
)
def test_lists_of_metrics_hold_one_entry_for_each_output(tensor, shown, given, names):
    results = shown(Objective("mse", metrics=given), [tensor(Y), tensor(Y)], [tensor(P), tensor(P)])
    assert list(results) == ["loss", "output_1_loss", "output_2_loss", *names]


def test_weighted_names_of_several_outputs_follow_keras(tensor, shown):
    objective = Objective("mse", metrics={"a": "mse"}, weighted_metrics={"a": "mse", "b": "mse"})
    results = shown(objective, {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)})
    assert list(results)[3:] == ["a_mse", "a_weighted_mse", "b_mse"]


def test_one_output_has_no_prefix(tensor, shown):
    results = shown(Objective({"a": "mse"}, metrics={"a": ["mae"]}), {"a": tensor(Y)}, {"a": tensor(P)})
    assert list(results) == ["loss", "mae"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"metrics": ["msee"]}, UnknownNameError, "Unknown metric: 'msee'"),
        ({"weighted_metrics": {"a": ["msee"]}}, UnknownNameError, "Unknown metric: 'msee'"),
        ({"metrics": [metrics.Mean()]}, ArgumentError, "takes in values, sample_weight, mask"),
        ({"metrics": 3}, ArgumentError, "Could not interpret"),
    ],
)
def test_what_is_no_metric_is_told_at_once(settings, error, message):
    with pytest.raises(error, match=message):
        Objective("mse", **settings)


def test_metrics_and_outputs_that_do_not_fit_are_refused(tensor):
    y, p = {"a": tensor(Y), "b": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}
    shared = metrics.MeanSquaredError()
    for given, message in (
        ({"metrics": ["mse"]}, "metrics is a list of 1, and y_pred has 2 outputs"),
        ({"metrics": ["mse", "mse"]}, "no reliable order"),
        ({"metrics": {"c": "mse"}}, "Unknown output in metrics: 'c'"),
        ({"metrics": shared}, "holds one state"),
        ({"metrics": {"a": shared, "b": shared}}, "is given twice"),
        ({"metrics": {"a": metrics.MeanSquaredError(name="loss")}}, "a_loss"),
    ):
        with pytest.raises((ArgumentError, UnknownNameError), match=message):
            Objective("mse", **given).update_metrics(y, p)


def test_a_metric_cannot_take_the_name_of_a_part(tensor):
    with pytest.raises(ArgumentError, match="'loss', which is the name of a part"):
        Objective("mse", metrics=[metrics.MeanSquaredError(name="loss")]).update_metrics(tensor(Y), tensor(P))


def test_metrics_of_an_output_without_targets_are_refused(tensor):
    with pytest.raises(ArgumentError, match="metrics and no y_true"):
        Objective({"a": "mse", "b": None}, metrics={"b": "mse"}).update_metrics(
            {"a": tensor(Y)}, {"a": tensor(P), "b": tensor(P)}
        )


def test_a_number_makes_no_name_that_is_taken(tensor, shown):
    given = ["mse", "mse", metrics.MeanAbsoluteError(name="mse_1"), "mse"]
    results = shown(Objective("mse", metrics=given), tensor(Y), tensor(P))
    assert list(results) == ["loss", "mse", "mse_1", "mse_1_1", "mse_2"]
    assert results["mse_1_1"] == pytest.approx(MAE)


def test_all_lists_of_one_output_are_one_list(tensor, shown):
    results = shown(Objective("mse", metrics=[["mse"], ["mae", None], "acc"]), tensor(Y), tensor(P))
    assert list(results) == ["loss", "mse", "mae", "acc"]
