"""Options, errors and what is imported when."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import multiloss
import pytest
from multiloss import _registry
from multiloss.interface import Backend
from typer.testing import Result

Call = Callable[..., Result]
Fail = Callable[..., str]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def without(package: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the command as if `package` were not installed."""
    return python(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        f"sys.argv = ['multiloss', *{arguments!r}]\n"
        "from multiloss.cli import main\n"
        "main()\n"
    )


def test_version_is_the_package_s(call: Call) -> None:
    assert call("--version").stdout == f"multiloss {multiloss.__version__}\n"


def test_without_a_command_the_help_names_all_of_them(call: Call) -> None:
    shown = call().output
    assert all(command in shown for command in ("demo", "list", "show", "backends"))


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_extra_is_one_line_that_says_how_to_get_it(package: str) -> None:
    result = without(package, ["list"])
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert package in result.stderr
    assert "pip install 'multiloss[cli]'" in result.stderr


@pytest.mark.parametrize("package", ["sklearn", "matplotlib", "threadpoolctl"])
def test_a_library_that_only_the_demo_needs_is_asked_for_by_the_demo(package: str, tmp_path: Path) -> None:
    assert without(package, ["list"]).returncode == 0
    result = without(package, ["demo", "circles", "--epochs", "1", "--out", str(tmp_path)])
    assert result.returncode == 2
    assert "pip install 'multiloss[cli]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    result = without("numpy", ["demo"])
    assert "Traceback" in result.stderr
    assert "multiloss[cli]" not in result.stderr


def test_importing_multiloss_imports_nothing_of_the_command() -> None:
    code = (
        "import sys, {module}\n"
        "print(sorted({{'multiloss.cli', 'typer', 'rich', 'matplotlib', 'sklearn'}} & sys.modules.keys()))"
    )
    assert python(code.format(module="multiloss")).stdout == "[]\n"
    # The check can fail:
    assert python(code.format(module="multiloss.cli._app")).stdout == "['multiloss.cli', 'rich', 'typer']\n"


# ── Errors ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_problem_lists_near_matches(fail: Fail) -> None:
    assert fail("demo", "circle") == "Error: Unknown problem: 'circle'. Did you mean 'circles'?\n"


def test_an_unknown_loss_lists_near_matches(fail: Fail) -> None:
    message = fail("demo", "circles", "--loss", "hige")
    assert message == "Error: Unknown loss: 'hige'. Did you mean 'Hinge' or 'hinge'?\n"


def test_a_loss_that_does_not_fit_names_those_that_do(fail: Fail) -> None:
    message = fail("demo", "regression", "--loss", "mse", "--loss", "hinge")
    assert len(message.splitlines()) == 1
    assert "'hinge' expects labels -1 and 1, or 0 and 1" in message
    assert "'regression' has real numbers" in message
    assert "huber" in message.partition("Losses that fit:")[2]


def test_centred_targets_refuse_a_loss_for_positive_ones(fail: Fail) -> None:
    assert "'poisson' expects positive numbers" in fail("demo", "regression", "--loss", "poisson")


@pytest.mark.parametrize("name", ["Loss", "LossFunctionWrapper"])
def test_a_base_class_is_no_loss_to_train_with(fail: Fail, name: str) -> None:
    assert f"{name!r} is a base class" in fail("demo", "circles", "--loss", name)


def test_an_unknown_backend_lists_the_known(fail: Fail) -> None:
    assert "Unknown backend: 'tensorflow'. Expected one of: jax, numpy, torch" in fail(
        "demo", "--backend", "tensorflow"
    )


def test_a_backend_that_is_not_installed_is_one_line(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Backend:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setitem(_registry._BUILTIN, "torch", missing)
    monkeypatch.delitem(_registry._loaded, "torch", raising=False)
    message = fail("demo", "circles", "--backend", "torch")
    assert len(message.splitlines()) == 1
    assert "pip install 'multiloss[torch]'" in message


@pytest.mark.parametrize("options", [("--epochs", 0), ("--epochs", "ten"), ("--seed", -1)])
def test_numbers_out_of_range_are_refused(fail: Fail, options: tuple[object, ...]) -> None:
    assert f"Invalid value for '{options[0]}'" in fail("demo", "circles", *options)


def test_a_place_for_pictures_that_is_a_file_is_refused(fail: Fail, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    assert "taken" in fail("demo", "circles", "--epochs", 1, "--out", tmp_path / "taken")
