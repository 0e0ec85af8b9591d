"""Keras' numbers, made once per run: one process for each of Keras' backends, at the same time.

`--write-certificates PAGE` writes what the comparisons measured; see `certificates`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest
from tests.parity import cases, certificate_page
from tests.parity.certificates import kept

os.environ["KERAS_BACKEND"] = "numpy"  # of the tests' own process, where Keras makes configs and signatures

KERAS_BACKENDS = ("numpy", "torch", "jax")
ROOT = Path(__file__).parents[2]


# ── Keras ───────────────────────────────────────────────────────────────────────────────────────────────────────


def run_keras(folder: Path) -> None:
    """Write `folder/BACKEND.json` for each of Keras' backends."""
    settings = {
        "JAX_ENABLE_X64": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "standard",  # Keras relies on both
        "JAX_NUMPY_RANK_PROMOTION": "allow",
        "KERAS_HOME": str(folder),
    }
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.parity.keras_reference", str(folder / f"{name}.json")],
            cwd=ROOT,
            env=os.environ | settings | {"KERAS_BACKEND": name},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in KERAS_BACKENDS
    }
    for name, process in running.items():
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, f"Keras on {name} failed:\n{errors}"


@pytest.fixture(scope="session")
def keras_numbers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`keras_numbers[backend][floatx][grid][index]`: what `keras_reference` wrote. The first worker asks, the others wait."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of this run, and shared by its workers
    folder = folder / "keras"
    folder.mkdir(exist_ok=True)
    with filelock.FileLock(folder / "lock"):
        if not all((folder / f"{name}.json").exists() for name in KERAS_BACKENDS):
            run_keras(folder)
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in KERAS_BACKENDS}


@pytest.fixture
def keras_gives(keras_numbers: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """`keras_gives("label -1")["torch"]`: value or the error's name; with `"gradient"`, the gradient."""

    def give(name: str, what: str = "value") -> dict[str, Any]:
        index = list(cases.DEVIATIONS).index(name)
        given = {backend: numbers["float32"]["DEVIATION_CASES"][index] for backend, numbers in keras_numbers.items()}
        return {
            backend: result["error"].partition(":")[0] if "error" in result else result.get(what)
            for backend, result in given.items()
        }

    return give


# ── Certificates ────────────────────────────────────────────────────────────────────────────────────────────────


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        *("--write-certificates",),
        type=Path,
        metavar="PAGE",
        help="after all comparisons have passed, write the differences measured to PAGE; fail if its tables were stale",
    )


def pytest_configure(config: pytest.Config) -> None:
    chosen = config.option.keyword or config.option.markexpr or config.getoption("deselect")
    if config.getoption("write_certificates") and (chosen or any(".py" in arg for arg in config.args)):
        raise pytest.UsageError("--write-certificates needs all parity tests: leave out -k, -m, --deselect and files")
    config.pluginmanager.register(Certifying(config), "certifying")


class Certifying:
    """Collects what was kept, and writes the page."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.failed = False
        self.complaint = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and "test_pages.py" not in report.nodeid:  # which fail until the page is written anew
            self.failed = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker of pytest-xdist has kept."""
        kept.load(getattr(node, "workeroutput", {}).get("certificates", ()))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["certificates"] = kept.dump()
            return
        page = self.config.getoption("write_certificates")
        finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if page is None or not finished or self.failed:
            return
        self.complaint = write(page)
        if self.complaint:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.complaint:
            terminalreporter.write_line(f"FAILED certificates: {self.complaint}", red=True)


def write(page: Path) -> str:
    """Write the page, and return what is wrong with the one that was there."""
    missing = certificate_page.uncompared(kept.largest)
    if missing:
        return f"nothing compares {', '.join(missing)}"
    before = certificate_page.structure(page.read_text()) if page.exists() else []
    after = certificate_page.page(kept.largest)
    page.write_text(after)
    if before == certificate_page.structure(after):
        return ""
    return f"the tables of {page} were stale; it has been written anew, and is to be committed"
