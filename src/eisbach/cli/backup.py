"""``eisbach backup``: archive every cell up to now, and say how far backups reach."""

from datetime import UTC, datetime
from typing import Any

from rich.progress import track

from eisbach.cli.accounts import ask_cell, cells
from eisbach.cli.shared import Shared, out, say, show_json, verb
from eisbach.cli.talk import find

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach backup --json | jq '.cells[].archived_ms'"


@verb
def command(*, shared: Shared) -> None:
    """Bring the backups of every cell up to this moment (they are made every ten seconds anyway)."""
    supervisor = find(shared.settings().data)
    found: list[dict[str, Any]] = []
    wanted = cells(supervisor)
    for target, url in track(wanted.items(), console=out(), transient=True, disable=shared.as_json):
        found.append({"target": target, **ask_cell(url, "/ops/backup", {}, token=supervisor.token)})
    if shared.as_json:
        show_json({"cells": found})
        return
    for cell in found:
        say(f"{cell['target']:24} up to {_time(cell['archived_ms'])}, base of {_time(cell['based_ms'])}")
    say("Next: eisbach restore ACCOUNT --at TIME   (nothing is written without --yes)")


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if ms else "nothing yet"
