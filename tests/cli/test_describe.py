"""`multiloss list`, `multiloss show` and `multiloss backends`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
from multiloss import _registry, losses, metrics
from multiloss.interface import Backend
from typer.testing import Result

Call = Callable[..., Result]
HELPERS = {"get", "serialize", "deserialize"}
LOSSES = sorted({*losses.__all__} - HELPERS)
METRICS = sorted({*metrics.__all__} - HELPERS)


def words(text: str) -> set[str]:
    return set(text.replace(",", " ").split())


def test_list_shows_every_name_in_its_table(call: Call) -> None:
    of_losses, _, of_metrics = call("list").stdout.partition("Metrics")
    assert words(of_losses) >= set(LOSSES)
    assert words(of_metrics) >= set(METRICS)


def test_list_puts_an_alias_beside_what_it_stands_for(call: Call) -> None:
    (line,) = [
        line for line in call("list").stdout.partition("Metrics")[0].splitlines() if "mean_squared_error" in line
    ]
    assert words(line) == {"mean_squared_error", "MeanSquaredError", "mse", "MSE", "l2"}


@pytest.mark.parametrize("name", sorted({*LOSSES, *METRICS}))
def test_show_knows_every_name(call: Call, name: str) -> None:
    result = call("show", name)
    assert result.exit_code == 0
    assert name in words(result.stdout.replace("(", " ").replace(".", " "))


def test_show_gives_formula_signature_parameters_and_arguments(call: Call) -> None:
    shown = call("show", "Huber").stdout
    assert "losses.huber(y_true, y_pred, delta=1.0)" in shown
    assert "losses.Huber(delta=1.0, reduction='sum_over_batch_size', name='huber_loss', dtype=None)" in shown
    assert "Formula: the mean over the last axis of `e^2 / 2`" in shown
    assert "where the square turns into a line" in shown
    assert "huber_loss" in shown
    assert ">>>" not in shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["y_true", "real", "numbers"] in lines
    assert ["y_pred", "real", "numbers"] in lines


def test_show_says_how_to_pass_logits_only_where_one_can(call: Call) -> None:
    assert "or logits with from_logits=True" in call("show", "bce").stdout
    assert "from_logits" not in call("show", "kld").stdout


def test_show_tells_a_parameter_of_the_class_from_its_base_class(call: Call) -> None:
    (line,) = [line for line in call("show", "mse").stdout.splitlines() if line.startswith(" reduction")]
    assert "'sum_over_batch_size'" in line
    assert '"mean_with_sample_weight"' in line


def test_show_says_of_each_parameter_what_is_said_of_several(call: Call) -> None:
    shown = call("show", "linear_crossentropy").stdout
    for name in ("label_smoothing", "class_weight", "ignore_class"):
        assert "as in" in " ".join(row(shown, name))


def test_show_of_an_unknown_name_lists_near_matches(fail: Callable[..., str]) -> None:
    assert fail("show", "hube") == "Error: Unknown loss or metric: 'hube'. Did you mean 'Huber' or 'huber'?\n"


def row(shown: str, name: str) -> list[str]:
    (line,) = [line for line in shown.splitlines() if line.split()[:1] == [name]]
    return line.split()


def test_backends_shows_version_devices_and_the_active_one(call: Call, backend: Backend) -> None:
    found = row(call("backends").stdout, backend.name)
    assert found[1:3] == ["yes", backend.version()]
    assert " ".join(found[3:]) == ", ".join(backend.devices()) + " yes"


def test_backends_shows_one_that_is_missing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax" else real(name))
    result = call("backends")
    assert result.exit_code == 0
    assert row(result.stdout, "jax") == ["jax", "no", "pip", "install", "'multiloss[jax]'"]


def test_backends_shows_one_that_is_broken(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Backend:
        raise OSError("libframework.so: cannot open shared object file\nand more")

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: real("math") if name == "torch" else real(name))
    monkeypatch.setitem(_registry._BUILTIN, "torch", broken)
    monkeypatch.delitem(_registry._loaded, "torch", raising=False)
    result = call("backends")
    assert result.exit_code == 0
    assert " ".join(row(result.stdout, "torch")) == (
        "torch broken OSError: libframework.so: cannot open shared object file"
    )


def test_backends_says_why_none_is_active(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_process", None)
    monkeypatch.setenv("MULTILOSS_BACKEND", "tensorflow")
    result = call("backends")
    assert result.exit_code == 0
    assert "No backend is active: UnknownNameError: Unknown backend: 'tensorflow'" in result.stdout
    assert row(result.stdout, "numpy")[1] == "yes"
