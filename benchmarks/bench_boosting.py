"""What does an objective of multiloss cost in a round of boosting, beside the library's own?

    python benchmarks/bench_boosting.py                  # a million rows
    python benchmarks/bench_boosting.py --rows 100000

Each library that is installed trains with its own objective and with ours; the calls of ours are timed inside the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _timing import environment, write, written
from multiloss import losses

GOAL = 0.1
"""Of a round, for the objective."""
PROBLEMS = {
    "squared error": "mean_squared_error",
    "logistic": "binary_crossentropy",
    "softmax, 3 classes": losses.SparseCategoricalCrossentropy(),
    "poisson": "poisson",
    "focal": losses.BinaryFocalCrossentropy(),
}
XGBOOST = {
    "squared error": "reg:squarederror",
    "logistic": "binary:logistic",
    "softmax, 3 classes": "multi:softprob",
    "poisson": "count:poisson",
}
LIGHTGBM = {
    "squared error": "regression",
    "logistic": "binary",
    "softmax, 3 classes": "multiclass",
    "poisson": "poisson",
}


class Timed:
    """An objective, and how long its calls took."""

    def __init__(self, objective: Callable[..., Any]) -> None:
        self.objective, self.seconds = objective, list[float]()

    def __deepcopy__(self, memo: Any) -> Timed:
        return self  # LightGBM trains with a copy of its parameters

    def __call__(self, first: Any, second: Any, sample_weight: Any = None) -> Any:
        start = time.perf_counter()
        result = self.objective(first, second, sample_weight)
        self.seconds.append(time.perf_counter() - start)
        return result


def data(rows: int, problem: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 28)).astype(np.float32)
    z = x[:, 0] + x[:, 1] * x[:, 2]
    if problem.startswith(("logistic", "focal")):
        return x, (z > 0).astype(np.float32)
    if problem.startswith("softmax"):
        return x, np.digitize(z, [-0.5, 0.5]).astype(np.float32)
    return x, rng.poisson(np.exp(0.3 * z)).astype(np.float32) if problem == "poisson" else z


class Rounds:
    """When each round of a training ended."""

    def __init__(self) -> None:
        self.ended = list[float]()

    def __call__(self, *_: Any) -> None:
        self.ended.append(time.perf_counter())

    def seconds(self) -> float:
        """Return how long a round takes: the median, after the first, in which some is done once."""
        return statistics.median(after - before for before, after in itertools.pairwise(self.ended))


def run_xgboost(rows: int, rounds: int) -> list[dict[str, Any]]:
    import xgboost as xgb
    from multiloss.integrations.xgboost import as_objective

    class Callback(xgb.callback.TrainingCallback):
        def __init__(self) -> None:
            self.rounds = Rounds()

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            self.rounds()
            return False

    def train(params: dict[str, Any], dtrain: Any, objective: Any) -> float:
        callback = Callback()
        xgb.train(params, dtrain, rounds + 1, obj=objective, callbacks=[callback])
        return callback.rounds.seconds()

    found = []
    for problem, loss in PROBLEMS.items():
        x, y = data(rows, problem)
        dtrain = xgb.QuantileDMatrix(x, y)
        objective = as_objective(loss, hessian="fisher" if "focal" in problem else "exact")
        timed, params = Timed(objective), {"max_depth": 6} | objective.params(dtrain)
        own = train(params, dtrain, timed)
        theirs = None
        if problem in XGBOOST:
            theirs = train({**params, "objective": XGBOOST[problem]}, dtrain, None)
        found.append(row("XGBoost", problem, own, theirs, timed))
    return found


def run_lightgbm(rows: int, rounds: int) -> list[dict[str, Any]]:
    import lightgbm as lgb
    from multiloss.integrations.lightgbm import as_objective

    def train(params: dict[str, Any], dtrain: Any, objective: Any) -> float:
        ended = Rounds()
        lgb.train({**params, "objective": objective}, dtrain, rounds + 1, callbacks=[ended])
        return ended.seconds()

    found = []
    for problem, loss in PROBLEMS.items():
        x, y = data(rows, problem)
        classes = {"num_class": 3} if problem.startswith("softmax") else {}
        dtrain = lgb.Dataset(x, y, params={"verbose": -1}).construct()
        objective = as_objective(loss, hessian="fisher" if "focal" in problem else "exact")
        timed, params = Timed(objective), {"verbose": -1, "metric": "none", **classes}
        own = train(params, dtrain, timed)
        theirs = train(params, dtrain, LIGHTGBM[problem]) if problem in LIGHTGBM else None
        found.append(row("LightGBM", problem, own, theirs, timed))
    return found


def row(host: str, problem: str, own: float, theirs: float | None, timed: Timed) -> dict[str, Any]:
    call = statistics.median(timed.seconds)
    return {"host": host, "problem": problem, "round": own, "built_in": theirs, "objective": call, "share": call / own}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for host, run in (("xgboost", run_xgboost), ("lightgbm", run_lightgbm)):
        if importlib.util.find_spec(host) is None:
            print(f"{host} is not installed, and is left out")
        else:
            rows += run(chosen.rows, chosen.rounds)
    about = environment("numpy", "xgboost", "xgboost-cpu", "lightgbm")
    lines = [
        f"# Boosting with {chosen.rows} rows and 28 features",
        "",
        "Milliseconds of a round, with our objective and with the library's own, and of our objective in it: at most 10 %. "
        f"Medians. {written(about)}",
        "",
        "| library | problem | round | round, its own | objective | share of the round |",
        "|---|---|---|---|---|---|",
    ]
    for each in rows:
        theirs = "–" if each["built_in"] is None else f"{1e3 * each['built_in']:.1f}"
        lines.append(
            f"| {each['host']} | {each['problem']} | {1e3 * each['round']:.1f} | {theirs} | "
            f"{1e3 * each['objective']:.1f} | {each['share']:.0%}{' (missed)' if each['share'] > GOAL else ''} |"
        )
    write("boosting", "\n".join(lines) + "\n", {"rows": chosen.rows, "results": rows, "environment": about})


if __name__ == "__main__":
    main()
