"""All verbs as one typer application.

Only the verb that is asked for is imported: ``eisbach status`` in a loop must not pay for what ``ingest`` needs.
"""

import importlib
from collections.abc import Sequence
from typing import Annotated

import typer

__all__ = ["VERBS", "application"]

VERBS = ("up", "status", "why", "changes", "logs", "doctor", "engines", "route", "ingest", "fault", "cut", "heal")


def application(arguments: Sequence[str]) -> typer.Typer:
    """The application that can answer ``arguments``: one verb, or all of them when it is not clear which."""
    app = typer.Typer(
        name="eisbach",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_about)
    wanted = arguments[0] if arguments else ""
    for verb in (wanted,) if wanted in VERBS else VERBS:
        module = importlib.import_module(f"eisbach.cli.{verb}")
        app.command(name=verb, epilog=module.EXAMPLE)(module.command)
    if wanted not in VERBS:
        from eisbach.cli import run

        app.command(name="run", hidden=True)(run.command)
    return app


def _version(asked: bool) -> None:
    if asked:
        from eisbach import __version__

        typer.echo(__version__)
        raise typer.Exit


def _about(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """A streaming backend that keeps playing, and that you can break to see it. Start with: eisbach up."""
