"""The kernel for CUDA, checked without one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.backends("torch")

CHECKS = Path(__file__).with_name("triton_checks.py")


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton, which comes with torch for CUDA, is not installed"
)
def test_the_kernel_does_in_an_interpreter_what_it_should() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKS)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "MULTILOSS_TEST_BACKENDS": "torch"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=CHECKS.parents[2], check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
