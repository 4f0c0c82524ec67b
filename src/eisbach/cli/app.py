"""All verbs in one typer application."""

from typing import Annotated

import typer

from eisbach.cli import (
    changes,
    cut,
    doctor,
    engines,
    fault,
    heal,
    ingest,
    logs,
    route,
    run,
    status,
    up,
    why,
)  # fmt: skip

__all__ = ["app"]

app = typer.Typer(
    name="eisbach",
    help="A streaming backend that keeps playing, and that you can break to see it. Start with: eisbach up",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (up, status, why, changes, logs, doctor, engines, route, ingest, fault, cut, heal):
    app.command(name=module.__name__.rpartition(".")[2], epilog=module.EXAMPLE)(module.command)
app.command(name="run", hidden=True)(run.command)


def _version(asked: bool) -> None:
    if asked:
        from eisbach import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """A streaming backend that keeps playing, and that you can break to see it. Start with: eisbach up."""
