"""The commands. Each is a thin shell: options in, one function of a sibling module, output out."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from rich.console import Console

import multiloss
from multiloss._errors import MultilossError
from multiloss._registry import use_backend


class OneLineErrors(typer.core.TyperGroup):
    """Commands whose expected errors end in one line on stderr and exit status 2, as wrong options do."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (MultilossError, OSError) as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=OneLineErrors,
    help="Losses and metrics written once, run by NumPy, PyTorch or JAX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"multiloss {multiloss.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    problem: Annotated[
        str | None,
        typer.Argument(
            help="regression, circles, blobs, diabetes, breast-cancer or digits. Default: all.", show_default=False
        ),
    ] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(help="A loss that `multiloss list` shows; may be repeated. Default: those of the problem."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="numpy, torch, jax, ... Default: $MULTILOSS_BACKEND, else numpy.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: that of the problem, 100 or 200.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and the order of the samples.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("multiloss-demo"),
) -> None:
    """Train a small network with each loss, compare the results and draw the learning curves."""
    from multiloss.cli._demo import run_demo

    with nullcontext() if backend is None else use_backend(backend):
        run_demo(Console(), problem, loss or [], epochs, seed, out)


@app.command("list")
def list_names() -> None:
    """List all losses and metrics with their aliases."""
    from multiloss.cli import _describe

    Console().print(*_describe.tables())


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A loss or metric, by any of its names.", show_default=False)],
) -> None:
    """Show formula, parameters, aliases and arguments of a loss or metric."""
    from multiloss.cli import _describe

    Console().print(*_describe.pages(name))


@app.command()
def backends() -> None:
    """Show which backends are installed, their versions and devices, and which one is active."""
    from multiloss.cli import _describe

    Console().print(_describe.backends())
