"""``eisbach events replay``: have a spoke handle again what it has handled. A dry run unless ``--yes``."""

import time
from typing import Annotated, Final

import typer

from eisbach.cli.changes import span_ms
from eisbach.cli.events.spokes import parts
from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find

__all__ = ["EXAMPLE", "command"]

EXAMPLE: Final = "Example: eisbach events replay spoke/eu-central/welcome --since 2h --yes"


@verb
def command(
    target: Annotated[str, typer.Argument(help="spoke/REGION/NAME.")],
    *,
    shared: Shared,
    since: Annotated[str, typer.Option(help="How far back: 90s, 30m, 2h, 7d.")] = "1h",
    from_event: Annotated[str, typer.Option("--from", help="Instead of --since: from this event id on.")] = "",
    subject: Annotated[str, typer.Option(help="Only this subject.")] = "",
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="At most so many a second.")] = 50.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, count what would be done.")] = False,
) -> None:
    """Have a spoke handle again what it has handled: after a mistake in its code, or to rebuild its state."""
    region, spoke = parts(target)
    wish = {
        "from_ms": 0 if from_event else int(time.time() * 1000) - span_ms(since), "from_event": from_event,
        "subject": subject, "rate": rate, "dry_run": not yes,
    }  # fmt: skip
    found = find(shared.settings().data).post(f"/ops/spokes/{region}/{spoke}/replay", wish)
    if shared.as_json:
        show_json(found)
    elif yes:
        seconds = found["chosen"] / rate
        say(f"{found['chosen']} events are handled again over {seconds:.0f} s. Next: eisbach events spokes")
    else:
        say(f"would have {found['chosen']} of {found['read']} events handled again. Next: the same with --yes")
