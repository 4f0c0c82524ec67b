"""``eisbach cut A B``: cut the wide-area link between two regions; only in rehearsal."""

from typing import Annotated

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach cut eu-central eu-west"


@verb
def command(
    *,
    shared: Shared,
    region: Annotated[str, typer.Argument(help="One region.")],
    other: Annotated[str, typer.Argument(help="The other.")],
) -> None:
    """Cut the link between two regions, both ways: bytes stop, connections stay, as when a route is lost."""
    names = [name.removeprefix("region/") for name in (region, other)]
    found = find(shared.settings().data).post("/ops/faults", {"action": "cut", "target": names[0], "other": names[1]})
    if shared.as_json:
        show_json(found)
        return
    say(f"cut: {', '.join(found['targets'])}")
    say(f"Next: eisbach status, then eisbach heal {found['targets'][0]}")
