"""Integrations are imported by the user, and say what they need."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_multiloss_does_not_import_keras() -> None:
    done = run("import sys, multiloss, multiloss.integrations; assert 'keras' not in sys.modules, 'keras'")
    assert done.returncode == 0, done.stderr


def test_without_keras_the_error_names_the_fix() -> None:
    done = run("import sys; sys.modules['keras'] = None; import multiloss.integrations.keras")
    assert done.returncode == 1
    assert "BackendNotFoundError: multiloss.integrations.keras needs Keras 3" in done.stderr
    assert "pip install keras" in done.stderr.splitlines()[-1]
