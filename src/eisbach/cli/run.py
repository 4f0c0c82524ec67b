"""``eisbach run KIND FILE``: one process of the platform, as the supervisor (or a unit file) starts it."""

from pathlib import Path

import typer

from eisbach.cli.shared import Shared, verb

__all__ = ["command"]


@verb
def command(*, shared: Shared, kind: str, file: Path) -> None:  # noqa: ARG001 - every verb has it
    """Serve as one process of the platform until SIGTERM."""
    from eisbach.bootstrap.kinds import run_process

    raise typer.Exit(run_process(kind, file))
