"""The `multiloss` command. Needs the extra `cli`; nothing else of multiloss imports it."""

from __future__ import annotations

import sys

__all__ = ["main"]

_PACKAGES = {
    "typer": "typer",
    "rich": "rich",
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
    "threadpoolctl": "threadpoolctl",
}
"""What the extra installs: import name and distribution."""


def main() -> None:
    """Run the command, or say in one line how to install what it needs."""
    try:
        from multiloss.cli._app import app

        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        print(
            f"The multiloss command needs {_PACKAGES[package]}, which is not installed. "
            "To get everything it needs: pip install 'multiloss[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
