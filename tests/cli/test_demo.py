"""`multiloss demo`: it trains, agrees between backends and with the published figures, and draws."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from multiloss import use_backend
from multiloss.cli._demo import Result as RunResult
from multiloss.cli._demo import _train, plan
from multiloss.cli._problems import PROBLEMS, prepare
from multiloss.interface import Backend
from typer.testing import Result

Call = Callable[..., Result]


def train(problem: str, loss: str, epochs: int, seed: int = 1) -> RunResult:
    data = PROBLEMS[problem].load()
    return _train(prepare(PROBLEMS[problem], data, loss), epochs, seed, lambda: None)


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("problem", PROBLEMS)
def test_demo_trains_every_problem_on_every_backend(call: Call, backend: Backend, tmp_path: Path, problem: str) -> None:
    names = PROBLEMS[problem].losses
    result = call("demo", problem, "--backend", backend.name, "--epochs", 1, "--out", tmp_path)
    assert result.exit_code == 0
    assert f"Training on {backend.name}" in result.stdout
    printed = re.findall(r"Train: \d+\.\d{3}, Test: \d+\.\d{3}$", result.stdout, flags=re.MULTILINE)
    assert len(printed) == len(names)
    table = [line.split() for line in result.stdout.splitlines() if line.startswith(f"{problem} ")]
    metric = "mse" if PROBLEMS[problem].kind == "regression" else "accuracy"
    assert [row[:3] for row in table] == [[problem, name, metric] for name in names]
    assert all(np.isfinite([float(number) for number in row[3:]]).all() and len(row) == 7 for row in table)
    assert str(tmp_path) in result.stdout
    assert {path.name for path in tmp_path.iterdir()} >= {f"{problem}-{name}.png" for name in names}


def test_demo_trains_the_named_losses_alone(call: Call, tmp_path: Path) -> None:
    options = ["--loss", "Huber", "--loss", "log_cosh", "--loss", "Huber", "--epochs", 1, "--out", tmp_path]
    assert call("demo", "regression", *options).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"regression-Huber.png", "regression-log_cosh.png"}


def test_a_loss_without_a_problem_runs_wherever_it_fits() -> None:
    def planned(*names: str) -> dict[str, list[str]]:
        return {problem.name: losses for problem, losses in plan(None, names)}

    assert planned("hinge") == {"circles": ["hinge"], "breast-cancer": ["hinge"]}
    assert planned("mae", "poisson") == {"regression": ["mae"], "diabetes": ["mae", "poisson"]}
    assert planned() == {name: list(problem.losses) for name, problem in PROBLEMS.items()}


@pytest.mark.parametrize(
    ("problem", "loss"),
    [
        *(("diabetes", loss) for loss in ("poisson", "mape", "log_cosh", "Huber")),
        *(("circles", loss) for loss in ("binary_focal_crossentropy", "Hinge")),
        *(("blobs", loss) for loss in ("cosine_similarity", "categorical_hinge", "categorical_focal_crossentropy")),
    ],
)
@pytest.mark.backends("numpy")
def test_other_losses_that_fit_learn_too(backend: Backend, problem: str, loss: str) -> None:
    history = train(problem, loss, epochs=8).history
    assert history.train_loss[-1] < history.train_loss[0]


def test_a_loss_that_diverges_is_pointed_out(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiloss.cli._network.LEARNING_RATE", 1e6)
    result = call("demo", "regression", "--loss", "mse", "--epochs", 4, "--out", tmp_path)
    assert result.exit_code == 0
    assert "no longer finite" in result.stdout


# ── Numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("problem", "loss"), [(each.name, loss) for each in PROBLEMS.values() for loss in each.losses])
@pytest.mark.backends("torch", "jax")
def test_backends_agree_after_the_first_epoch(backend: Backend, problem: str, loss: str) -> None:
    found = train(problem, loss, epochs=1).history
    with use_backend("numpy"):
        expected = train(problem, loss, epochs=1).history
    assert found.train_loss == pytest.approx(expected.train_loss, abs=1e-4)
    assert found.test_loss == pytest.approx(expected.test_loss, abs=1e-4)
    assert found.test_metric == pytest.approx(expected.test_metric, abs=1e-4)


@pytest.mark.parametrize(
    ("problem", "loss", "train_accuracy", "test_accuracy"),
    [
        ("circles", "binary_crossentropy", 0.838, 0.847),
        ("circles", "hinge", 0.850, 0.842),
        ("circles", "squared_hinge", 0.840, 0.836),
        ("blobs", "categorical_crossentropy", 0.823, 0.823),
        ("blobs", "kl_divergence", 0.823, 0.823),
    ],
)
@pytest.mark.backends("numpy")
def test_accuracies_are_those_that_keras_reaches(
    backend: Backend, problem: str, loss: str, train_accuracy: float, test_accuracy: float
) -> None:
    """The figures are the means of two seeds, by the sign for hinge losses, where Keras' own accuracy is wrong."""
    result = train(problem, loss, PROBLEMS[problem].epochs)
    assert result.final()[:2] == pytest.approx((train_accuracy, test_accuracy), abs=0.03)


@pytest.mark.parametrize(
    ("loss", "train_limits", "test_limits"),
    [
        ("mse", (0.0, 0.01), (0.0, 0.02)),
        ("mae", (0.0, 0.03), (0.0, 0.03)),  # steps of one length: it ends in a dance around the optimum
        ("msle", (0.06, 0.12), (0.08, 0.16)),  # blind to the negative half of the targets
    ],
)
@pytest.mark.backends("numpy")
def test_regression_errors_are_those_that_keras_reaches(
    backend: Backend, loss: str, train_limits: tuple[float, float], test_limits: tuple[float, float]
) -> None:
    train_error, test_error, _ = train("regression", loss, PROBLEMS["regression"].epochs).final()
    assert train_limits[0] < train_error < train_limits[1]
    assert test_limits[0] < test_error < test_limits[1]


@pytest.mark.backends("numpy")
def test_three_spellings_of_cross_entropy_train_the_same_network(backend: Backend) -> None:
    first, *others = (train("blobs", loss, epochs=20).history for loss in PROBLEMS["blobs"].losses)
    for other in others:
        assert other.test_loss == pytest.approx(first.test_loss, abs=1e-3)


def test_the_seed_decides_everything(backend: Backend) -> None:
    first, same, different = (train("blobs", "kl_divergence", 2, seed).history for seed in (5, 5, 6))
    assert first == same
    assert first != different


def test_real_data_are_split_the_same_way_each_time_and_share_no_sample() -> None:
    data, again = (PROBLEMS["digits"].load() for _ in range(2))
    assert (data.x == again.x).all()
    assert abs(data.n_train - len(data.x) / 2) <= 1
    assert len({row.tobytes() for row in data.x}) == len(data.x)
    assert np.isfinite(data.x).all()


# ── Pictures ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("epochs", [1, 3])
def test_pictures_show_something(call: Call, tmp_path: Path, epochs: int) -> None:
    assert (
        call("demo", "blobs", "--loss", "kld", "--epochs", epochs, "--out", tmp_path / "new" / "place").exit_code == 0
    )
    pictures = {path.name: imread(path) for path in (tmp_path / "new" / "place").iterdir()}
    assert pictures.keys() == {"blobs.png", "blobs-kld.png"}
    # The first colours of matplotlib's cycle are blue, orange and green: train and test, and the three classes.
    assert hues(pictures["blobs-kld.png"]) == {"red", "blue"}
    assert hues(pictures["blobs.png"]) == {"red", "green", "blue"}


def hues(picture: np.ndarray) -> set[str]:
    """Return the strongest components among the saturated pixels."""
    pixels = picture[..., :3].reshape(-1, 3)
    saturated = pixels[pixels.max(axis=1) - pixels.min(axis=1) > 0.4]
    assert len(saturated) > 100
    return {("red", "green", "blue")[component] for component in np.unique(saturated.argmax(axis=1))}
