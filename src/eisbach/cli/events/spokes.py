"""``eisbach events spokes``, ``pause`` and ``resume``: what runs and how it fares.

A paused spoke starts nothing and loses nothing until it may go on.
"""

import re
from typing import Annotated, Final

import typer

from eisbach.cli.shared import Shared, out, say, show_json, verb
from eisbach.cli.talk import find
from eisbach.kernel.errors import Invalid

__all__ = ["EXAMPLE", "PAUSE_EXAMPLE", "RESUME_EXAMPLE", "command", "parts", "pause", "resume"]

EXAMPLE: Final = "Example: eisbach events spokes"
PAUSE_EXAMPLE: Final = "Example: eisbach events pause spoke/eu-central/notify"
RESUME_EXAMPLE: Final = "Example: eisbach events resume spoke/eu-central/notify"
_Target = Annotated[str, typer.Argument(help="spoke/REGION/NAME.")]


@verb
def command(*, shared: Shared) -> None:
    """List every spoke: what waits, since when, what failed; and the files of yours that did not load."""
    found = find(shared.settings().data).get("/ops/spokes")
    if shared.as_json:
        show_json(found)
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("spoke", no_wrap=True, overflow="ignore")  # a name cut short cannot be given to the next command
    for title in ("handled", "waiting", "oldest s", "failures", "dead", ""):
        table.add_column(title, overflow="fold")
    for row in found["spokes"]:
        state = "paused" if row["paused"] else row["trouble"] or ""
        table.add_row(
            f"spoke/{row['region']}/{row['spoke']}", str(row["handled"]), str(row["backlog"]),
            f"{row['oldest_ms'] / 1000:.1f}", str(row["failures"]), str(row["dead_letters"]), state,
        )  # fmt: skip
    out().print(table)
    for file in found["refused"]:
        say(f"{file['region']} did not load {file['file']}: {file['why']}")
    for region, why in found["silent"].items():
        say(f"{region} is not among them: {why}")
    say("Next: eisbach events dead-letters")


@verb
def pause(target: _Target, *, shared: Shared) -> None:
    """Let what a spoke has in work finish, and start nothing more until it is resumed, also after a restart."""
    _operate(target, "pause", shared, "is paused; its backlog waits in the hub. Next: eisbach events resume")


@verb
def resume(target: _Target, *, shared: Shared) -> None:
    """Let a paused spoke go on where it stopped."""
    _operate(target, "resume", shared, "goes on. Next: eisbach status")


def parts(target: str) -> tuple[str, str]:
    """Region and name of ``spoke/REGION/NAME``.

    Raises:
        Invalid: anything else.
    """
    match = re.fullmatch(r"spoke/([a-z0-9-]{1,40})/([A-Za-z0-9_-]{1,64})", target)
    if match is None:
        raise Invalid(f"{target[:80]!r} is not spoke/REGION/NAME, e.g. spoke/eu-central/notify")
    return match[1], match[2]


def _operate(target: str, act: str, shared: Shared, said: str) -> None:
    region, spoke = parts(target)
    found = find(shared.settings().data).post(f"/ops/spokes/{region}/{spoke}/{act}", {})
    if shared.as_json:
        show_json(found)
    else:
        say(f"{target} {said}")
