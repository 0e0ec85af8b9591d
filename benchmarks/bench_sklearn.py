"""scikit-learn's metric functions and multiloss' of the same names: time, and the difference of their values.

python benchmarks/bench_sklearn.py                 # 100, 10 000 and 1 000 000 samples
python benchmarks/bench_sklearn.py 100 10000
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.metrics
from _timing import environment, interleaved, write, written
from multiloss.integrations import sklearn as ours

Case = tuple[str, str, tuple[Any, ...], dict[str, Any], dict[int, float]]
"""What is reported, the function, its arguments, and the goal for each size."""

SMALL = {100: 10.0, 10_000: 2.0}
ROUNDS = {100: (40, 0.004), 10_000: (20, 0.004)}
"""How many rounds, and how many seconds in each; larger samples are run once in each of 7 rounds."""


def cases(size: int) -> list[Case]:
    generator = np.random.default_rng(0)
    flags, scores, weights = generator.integers(0, 2, size), generator.random(size), generator.random(size)
    targets, classes = generator.random(size), generator.integers(0, 10, size)
    guesses = np.where(generator.random(size) < 0.7, classes, generator.integers(0, 10, size))
    hits = (scores > 0.5).astype(np.int64)
    distributions = generator.dirichlet(np.ones(10), size)
    words = np.array(list("abcdefghij"))
    tenfold = SMALL | {1_000_000: 10.0}
    several: list[Case] = [
        ("accuracy_score", "accuracy_score", (flags, hits), {}, tenfold),
        ("accuracy_score, text", "accuracy_score", (words[classes], words[guesses]), {}, SMALL),
        ("balanced_accuracy_score", "balanced_accuracy_score", (flags, hits), {}, SMALL),
        ("confusion_matrix", "confusion_matrix", (flags, hits), {}, tenfold),
        ("confusion_matrix, 10 classes", "confusion_matrix", (classes, guesses), {}, tenfold),
        ("f1_score", "f1_score", (flags, hits), {}, tenfold),
        ("f1_score, 10 classes, macro", "f1_score", (classes, guesses), {"average": "macro"}, tenfold),
        ("precision_score", "precision_score", (flags, hits), {}, tenfold),
        ("matthews_corrcoef", "matthews_corrcoef", (flags, hits), {}, SMALL),
        ("log_loss", "log_loss", (flags, scores), {}, tenfold),
        ("log_loss, 10 classes", "log_loss", (classes, distributions), {}, tenfold),
        ("log_loss, weights", "log_loss", (flags, scores), {"sample_weight": weights}, SMALL),
        ("brier_score_loss", "brier_score_loss", (flags, scores), {}, SMALL),
        ("roc_auc_score", "roc_auc_score", (flags, scores), {}, SMALL | {1_000_000: 8.0}),
        ("roc_auc_score, float32", "roc_auc_score", (flags, scores.astype(np.float32)), {}, SMALL | {1_000_000: 8.0}),
        ("roc_auc_score, 1000 values", "roc_auc_score", (flags, np.round(scores, 3)), {}, SMALL),
        ("roc_auc_score, weights", "roc_auc_score", (flags, scores), {"sample_weight": weights}, SMALL),
        ("average_precision_score", "average_precision_score", (flags, scores), {}, SMALL),
        ("top_k_accuracy_score, 10 classes", "top_k_accuracy_score", (classes, distributions), {}, SMALL),
    ]
    for name in (
        "mean_squared_error",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_log_error",
        "mean_pinball_loss",
        "max_error",
        "r2_score",
        "explained_variance_score",
    ):
        several.append((name, name, (targets, scores), {}, SMALL))
    return several


def top_five() -> Case:
    generator = np.random.default_rng(0)
    operands = (generator.integers(0, 100, 100_000), generator.random((100_000, 100)))
    return ("top_k_accuracy_score, 100 classes", "top_k_accuracy_score", operands, {"k": 5}, {100_000: 5.0})


def compare(case: Case, size: int) -> dict[str, Any]:
    label, name, args, options, goals = case
    candidates: dict[str, Callable[[], Any]] = {
        "scikit-learn": lambda: getattr(sklearn.metrics, name)(*args, **options),
        "multiloss": lambda: getattr(ours, name)(*args, **options),
    }
    values = {who: np.asarray(run(), np.float64) for who, run in candidates.items()}
    rounds, seconds = ROUNDS.get(size, (7, 0.0))
    times = interleaved(candidates, rounds, seconds)
    return {
        "samples": size,
        "function": label,
        **times,
        "times as fast": times["scikit-learn"] / times["multiloss"],
        "goal": goals.get(size),
        "difference": float(np.max(np.abs(values["scikit-learn"] - values["multiloss"]))),
    }


def main() -> None:
    sizes = [int(each) for each in sys.argv[1:]] or [100, 10_000, 1_000_000]
    rows = [compare(case, size) for size in sizes for case in cases(size)]
    if 1_000_000 in sizes:
        rows.append(compare(top_five(), 100_000))
    lines = [
        "| samples | function | scikit-learn | multiloss | times as fast | goal | difference |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        goal = "" if row["goal"] is None else f"{row['goal']:.0f}"
        missed = row["goal"] is not None and row["times as fast"] < row["goal"]
        lines.append(
            f"| {row['samples']:,} | {row['function']} | {row['scikit-learn']:.0f} | {row['multiloss']:.0f} "
            f"| {row['times as fast']:.1f}{' (missed)' if missed else ''} | {goal} | {row['difference']:.0e} |"
        )
    about = environment("numpy", "scikit-learn")
    report = "\n".join(
        [
            "# scikit-learn's metric functions",
            "",
            f"Microseconds, medians of interleaved runs. {written(about)}",
            "",
            *lines,
            "",
        ]
    )
    write("sklearn", report, {"environment": about, "rows": rows})


if __name__ == "__main__":
    main()
