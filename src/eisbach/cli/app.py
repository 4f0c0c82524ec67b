"""All verbs as one typer application; a verb imports what it needs when it runs: ``eisbach status`` is quick."""

from typing import Annotated

import typer

from eisbach.cli import (
    assess,
    backup,
    burst,
    cells,
    changes,
    conflicts,
    cost,
    cut,
    deploy,
    deploy_account,
    doctor,
    engines,
    erase,
    events,
    fault,
    heal,
    ingest,
    logs,
    regions,
    restore,
    route,
    run,
    simulate,
    status,
    up,
    why,
)

__all__ = ["VERBS", "application"]

VERBS = {
    "up": up, "status": status, "why": why, "changes": changes, "logs": logs, "doctor": doctor, "engines": engines,
    "route": route, "ingest": ingest, "fault": fault, "cut": cut, "heal": heal,
    "assess": assess,
    "cost": cost, "simulate": simulate, "conflicts": conflicts,
    "backup": backup, "restore": restore, "erase": erase,
}  # fmt: skip


def application() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="eisbach",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_about)
    for verb, module in VERBS.items():
        app.command(name=verb, epilog=module.EXAMPLE)(module.command)
    app.add_typer(events.application(), name="events")
    for group, commands, text in (
        ("cells", cells.COMMANDS, "Cells of a region and their slots."),
        ("regions", regions.COMMANDS, "Regions: taking one out of service and back, with proof."),
        (
            "deploy",
            {**deploy.COMMANDS, **deploy_account.COMMANDS},
            "The platform on AWS: its templates, made and judged without an account.",
        ),
        ("burst", burst.COMMANDS, "Containers for the steady load, functions for what is above it."),
    ):
        sub = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
        for name, (command, example) in commands.items():
            sub.command(name=name, epilog=example)(command)
        app.add_typer(sub, name=group, help=text)
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
