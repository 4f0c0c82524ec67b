"""``eisbach heal [TARGET]``: end faults."""

from typing import Annotated

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach heal            (everything)"


@verb
def command(
    *,
    shared: Shared,
    target: Annotated[str | None, typer.Argument(help="Nothing: everything. Else e.g. region/eu-central.")] = None,
) -> None:
    """End the faults of a target, or all of them."""
    found = find(shared.settings().data).post("/ops/heal", {"target": target} if target else {})
    if shared.as_json:
        show_json(found)
        return
    say(f"healed: {', '.join(found['healed']) or 'nothing was broken'}")
    say("Next: eisbach status")
