"""`multiloss demo`: train, print, draw."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from threadpoolctl import threadpool_limits

from multiloss._registry import active
from multiloss.cli._network import History, train
from multiloss.cli._plots import plot_classes, plot_history
from multiloss.cli._problems import PROBLEMS, Problem, Run, facts, find_problem, fits, misfit, prepare


class Result(NamedTuple):
    """A finished run."""

    run: Run
    history: History
    seconds: float

    def final(self) -> tuple[float, float, float]:
        """Return the metric of the training and of the test set, and the test set's loss, after the last epoch."""
        return self.history.train_metric[-1], self.history.test_metric[-1], self.history.test_loss[-1]


def plan(problem: str | None, loss_names: Sequence[str]) -> list[tuple[Problem, list[str]]]:
    """Return what to train on what: the problems' own losses, or those named; without a problem, wherever they fit.

    Raises:
        UnknownNameError: if there is no such problem or loss.
        ArgumentError: if a loss fits none of the problems.
    """
    problems = list(PROBLEMS.values()) if problem is None else [find_problem(problem)]
    names = list(dict.fromkeys(loss_names))
    if not names:
        return [(each, list(each.losses)) for each in problems]
    chosen: dict[str, list[str]] = {each.name: [] for each in problems}
    for name in names:
        spec = facts(name)
        fitting = [each for each in problems if fits(spec, each)]
        if not fitting:
            raise misfit(name, spec, problems)
        for each in fitting:
            chosen[each.name].append(name)
    return [(each, chosen[each.name]) for each in problems if chosen[each.name]]


def run_demo(
    console: Console, problem: str | None, loss_names: Sequence[str], epochs: int | None, seed: int, out: Path
) -> list[Result]:
    """Train every loss on every problem asked for, on the active backend; print results and write pictures.

    Raises:
        UnknownNameError, ArgumentError: as `plan`.
        OSError: if the pictures cannot be written.
    """
    planned = plan(problem, loss_names)
    out.mkdir(parents=True, exist_ok=True)
    backend = active().backend
    console.print(f"Training on {backend.name} {backend.version()}, seed {seed}.", highlight=False)
    results: list[Result] = []
    pictures: list[Path] = []
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        total = sum((epochs or each.epochs) * len(names) for each, names in planned)
        task = progress.add_task("loading", total=total)

        def advance() -> None:
            progress.advance(task)

        for each, names in planned:
            data = each.load()
            if each.scatter:
                pictures.append(out / f"{each.name}.png")
                plot_classes(data.x, data.y, f"{each.name}: {each.title}", pictures[-1])
            for name in names:
                progress.update(task, description=f"{each.name}, {name}")
                result = _train(prepare(each, data, name), epochs or each.epochs, seed, advance)
                results.append(result)
                title = f"{each.name}: {name} ({backend.name})"
                pictures.append(out / f"{each.name}-{name}.png")
                plot_history(result.history, title, result.run.metric_title, pictures[-1])
                _report(progress.console, result)
    console.print(_table(results))
    console.print()
    console.print(f"{len(pictures)} pictures in {out}:", highlight=False, markup=False, soft_wrap=True)
    for path in pictures:
        console.print(f"  {path.name}", highlight=False, markup=False, soft_wrap=True)
    return results


def _train(run: Run, epochs: int, seed: int, after_epoch: Callable[[], None]) -> Result:
    started = time.perf_counter()
    # Matrices this small lose more than they gain when they are spread over threads: up to four times the time.
    with threadpool_limits(limits=1):
        _, history = train(
            run.train_set,
            run.test_set,
            objective=run.objective,
            metric=run.metric,
            hidden=run.problem.hidden,
            units=run.units,
            output=run.output,
            epochs=epochs,
            seed=seed,
            after_epoch=after_epoch,
        )
    return Result(run, history, time.perf_counter() - started)


def _report(console: Console, result: Result) -> None:
    train_metric, test_metric, test_loss = result.final()
    heading = f"{result.run.problem.name}, {result.run.loss_name}"
    console.print(f"{heading:<46} Train: {train_metric:.3f}, Test: {test_metric:.3f}", highlight=False, soft_wrap=True)
    if not math.isfinite(test_loss):
        console.print("  The loss is no longer finite: the steps are too long for it on this problem.", style="yellow")


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)  # 80 columns hold the longest names
    for heading in ("problem", "loss", "metric"):
        table.add_column(heading, overflow="fold")
    for heading in ("train", "test", "final\nloss", "sec"):
        table.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for result in results:
        run, (train_metric, test_metric, loss) = result.run, result.final()
        if previous not in (None, run.problem.name):
            table.add_section()
        previous = run.problem.name
        table.add_row(
            run.problem.name,
            run.loss_name,
            run.metric,
            f"{train_metric:.3f}",
            f"{test_metric:.3f}",
            f"{loss:.4f}",
            f"{result.seconds:.1f}",
        )
    return table
