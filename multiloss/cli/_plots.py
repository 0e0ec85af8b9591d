"""The pictures of `multiloss demo`, drawn without a display."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from multiloss.cli._network import History

_DPI = 150


def plot_history(history: History, title: str, metric_title: str, path: Path) -> None:
    """Write the curves of loss and metric, of training and test set, one above the other."""
    figure = _figure(title, height=6.4)
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = range(1, len(history.train_loss) + 1)
    # A single epoch has no line to draw, so it gets points.
    style = "o" if len(epochs) == 1 else "-"
    for axes, heading, train, test in (
        (above, "Loss", history.train_loss, history.test_loss),
        (below, metric_title, history.train_metric, history.test_metric),
    ):
        axes.set_title(heading)
        axes.plot(epochs, train, style, label="train")
        axes.plot(epochs, test, style, label="test")
        axes.grid(alpha=0.3)
        axes.legend()
    below.set_xlabel("epoch")
    below.xaxis.get_major_locator().set_params(integer=True)
    _write(figure, path)


def plot_classes(x: np.ndarray, y: np.ndarray, title: str, path: Path) -> None:
    """Write a scatter plot of points in a plane, one colour per class."""
    figure = _figure(title, height=4.8)
    axes = figure.subplots()
    for label in np.unique(y):
        chosen = y == label
        axes.scatter(x[chosen, 0], x[chosen, 1], s=14, alpha=0.8, label=str(label))
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.3)
    axes.legend(title="class")
    _write(figure, path)


def _figure(title: str, height: float) -> Figure:
    # Figure and canvas by hand: pyplot would pick a display and keep every figure alive.
    figure = Figure(figsize=(6.4, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    return figure


def _write(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI)
