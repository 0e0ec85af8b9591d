"""The command, called in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from multiloss.cli._app import app
from typer.testing import CliRunner, Result


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return run


@pytest.fixture
def fail(call: Callable[..., Result]) -> Callable[..., str]:
    """Call the command, expect exit status 2 and no output, and return what it says on stderr."""

    def run(*arguments: object) -> str:
        result = call(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        return result.stderr

    return run
