"""``eisbach events``: look into the hub and operate its spokes."""

import typer

from eisbach.cli.events import audit, backfill, dead_letters, replay, schemas, spokes, tail

__all__ = ["application"]


def application() -> typer.Typer:
    """The verbs under ``events``."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look into the hub and operate its spokes.")
    for name, command, example in (
        ("tail", tail.command, tail.EXAMPLE),
        ("dead-letters", dead_letters.command, dead_letters.EXAMPLE),
        ("show", dead_letters.show, dead_letters.SHOW_EXAMPLE),
        ("redrive", dead_letters.redrive, dead_letters.REDRIVE_EXAMPLE),
        ("drop", dead_letters.drop, dead_letters.DROP_EXAMPLE),
        ("spokes", spokes.command, spokes.EXAMPLE),
        ("pause", spokes.pause, spokes.PAUSE_EXAMPLE),
        ("resume", spokes.resume, spokes.RESUME_EXAMPLE),
        ("replay", replay.command, replay.EXAMPLE),
        ("backfill", backfill.command, backfill.EXAMPLE),
        ("audit", audit.command, audit.EXAMPLE),
        ("schemas", schemas.command, schemas.EXAMPLE),
    ):
        app.command(name=name, epilog=example)(command)
    return app
