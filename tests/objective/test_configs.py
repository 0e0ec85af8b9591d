"""Configs of objectives."""

import json
import re

import numpy as np
import pytest
from multiloss import Objective, losses, metrics, regularizers
from multiloss._errors import UnknownNameError
from tests.objective.common import Halved, P, Y, mean_error, mean_pred


@pytest.mark.parametrize(
    "objective",
    [
        Objective("mse", "mae", 2.0, ["mse"], None, {"w": "l2"}, {"w": "max_norm"}),
        Objective(losses.Huber(delta=0.1), [metrics.MeanSquaredError(name="mine"), Halved, "acc", losses.Huber()]),
        Objective("ce", regularizers={"w": regularizers.L1(0.5)}),
        Objective(mean_pred, [mean_pred], 0.5),
        Objective(["mse"], [["mae"]], [2.0], None, ["temporal"]),
        Objective({"output": "mse"}, {"output": ["mae"]}, {"output": 2.0}, {"output": "mae"}, {"output": None}),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),  # the workers of pytest-xdist must agree
)
def test_config_round_trips_as_json(tensor, host, shown, objective):
    custom = {"mean_pred": mean_pred, "Halved": Halved}
    config = json.loads(json.dumps(objective.get_config()))
    again = Objective.from_config(config, custom_objects=custom)
    assert again.get_config() == objective.get_config()
    w = {"w": tensor([[3.0, 4.0]])}
    objective.reset()
    assert shown(again, tensor(Y), tensor(P), parameters=w) == shown(objective, tensor(Y), tensor(P), parameters=w)
    np.testing.assert_array_equal(host(again.constrain(w)["w"]), host(objective.constrain(w)["w"]))


def test_custom_names_in_a_config_need_custom_objects():
    with pytest.raises(UnknownNameError, match="mean_pred"):
        Objective.from_config(Objective(mean_pred).get_config())


@pytest.mark.parametrize("nested", ["dict of lists", "list of dicts", "named"])
def test_nested_configs_round_trip_as_json(tensor, shown, nested):
    def tree(a, b, c):
        if nested == "named":
            return [a, b, c]
        return {"x": [a, b], "y": c} if nested == "dict of lists" else [{"u": a, "v": b}, c]

    objective = Objective(
        tree(losses.Huber(delta=0.1), None, mean_error),
        metrics=tree(["mae", metrics.MeanSquaredError(name="mine")], None, Halved()),
        loss_weights=tree(2.0, None, 0.5),
        weighted_metrics=tree(None, ["acc"], "mse"),
        sample_weight_mode=tree(None, None, None),
        output_names=["a", "b", "c"] if nested == "named" else None,
    )
    config = json.loads(json.dumps(objective.get_config()))
    again = Objective.from_config(config, custom_objects={"mean_error": mean_error, "Halved": Halved})
    assert again.get_config() == objective.get_config()
    y, p = tree(*(tensor(Y) for _ in "abc")), tree(*(tensor(P) for _ in "abc"))
    given = {"sample_weight": tensor([1.0, 2.0, 0.0, 1.0])}
    assert shown(again, y, p, **given) == shown(objective, y, p, **given)
    assert len(again.results()) == 8


def test_settings_are_not_changed_by_what_the_caller_does_later(tensor, shown):
    given = {"output": ["mse"]}
    objective = Objective("mse", metrics=given)
    given["output"].append("mae")
    assert list(shown(objective, tensor(Y), tensor(P))) == ["loss", "mse"]
