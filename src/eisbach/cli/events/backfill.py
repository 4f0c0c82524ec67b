"""``eisbach events backfill``: give a spoke the history that the hub no longer holds. A dry run unless ``--yes``."""

import time
from typing import Annotated, Any, Final

import typer
from rich.progress import Progress

from eisbach.cli.events.spokes import parts
from eisbach.cli.shared import Shared, out, say, show_json, verb
from eisbach.cli.talk import Supervisor, find

__all__ = ["EXAMPLE", "command"]

EXAMPLE: Final = "Example: eisbach events backfill spoke/eu-central/welcome --rate 100 --yes"


@verb
def command(
    target: Annotated[str, typer.Argument(help="spoke/REGION/NAME.")],
    *,
    shared: Shared,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="At most so many a second.")] = 50.0,
    after: Annotated[str, typer.Option(help="Go on behind this cursor, which an interrupted run has printed.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, count what would be done.")] = False,
) -> None:
    """Tell a new spoke of titles, channels and assets written before the hub's seven days, one event each."""
    region, spoke = parts(target)
    supervisor = find(shared.settings().data)
    path = f"/ops/spokes/{region}/{spoke}/backfill"
    total = {"chosen": 0, "read": 0, "in_hub": 0, "dry_run": not yes}
    with Progress(console=out(), disable=shared.as_json) as bars:
        bar = bars.add_task("documents", total=None)
        try:
            while True:
                page = _page(supervisor, path, {"after": after, "rate": rate, "dry_run": not yes})
                for name in ("chosen", "read", "in_hub"):
                    total[name] += page[name]
                bars.update(bar, completed=total["read"])
                after = page["after"]
                if not after:
                    break
                if yes:  # the page is handed out over this time; the next one must not be on top of it
                    time.sleep(page["chosen"] / rate)
        except BaseException:
            if yes and after:
                say(f"stopped; go on with --after {after}")
            raise
    if shared.as_json:
        show_json(total)
    elif yes:
        say(f"{total['chosen']} of {total['read']} documents told; {total['in_hub']} are in the hub anyway.")
        say("Next: eisbach events spokes")
    else:
        say(f"would tell {total['chosen']} of {total['read']} documents; {total['in_hub']} are in the hub anyway.")
        say("Next: the same with --yes")


def _page(supervisor: Supervisor, path: str, wish: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = supervisor.post(path, wish)
    return found
