"""`import multiloss` loads no framework, creates no file, and touches no environment."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "jax", "jaxlib", "autograd", "matplotlib", "typer", "rich", "sklearn", "numpy", "pytest")
PROGRAM = """
import os, sys
{before}
environment = dict(os.environ)
files = []
sys.addaudithook(lambda event, args: event == "open" and isinstance(args[1], str) and
                 set(args[1]) & set("wax+") and files.append(args[0]))
sys.dont_write_bytecode = True
import multiloss
{after}
assert not files, f"files were written: {{files}}"
assert dict(os.environ) == environment, "the environment was changed"
loaded = [name for name in {heavy!r} if name in sys.modules]
assert not loaded, f"imported: {{loaded}}"
"""


def run(before: str = "", after: str = "", heavy: tuple[str, ...] = HEAVY) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(before=before, after=after, heavy=heavy)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_importing_multiloss_has_no_side_effects():
    ran = run()
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        ("import numpy", "imported: ['numpy']"),
        ("import tempfile; tempfile.TemporaryFile(); open(tempfile.mkdtemp() + '/x', 'w')", "files were written"),
        ("os.environ['MULTILOSS_BACKEND'] = 'numpy'", "the environment was changed"),
    ],
)
def test_the_test_above_can_fail(after, complaint):
    ran = run(after=after)
    assert ran.returncode != 0
    assert complaint in ran.stderr


@pytest.mark.parametrize("name", ["losses", "metrics", "backend"])
def test_a_subpackage_loads_no_framework(name):
    ran = run(after=f"import multiloss.{name}")
    assert ran.returncode == 0, ran.stderr


def test_numpy_data_loads_numpy_alone():
    ran = run(after="multiloss.losses.mean_squared_error([1.0], [2.0])", heavy=("torch", "jax", "autograd"))
    assert ran.returncode == 0, ran.stderr
