"""``eisbach fault KIND TARGET``: break something on purpose; only in rehearsal."""

from typing import Annotated

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach fault down region/eu-central"


@verb
def command(
    *,
    shared: Shared,
    kind: Annotated[str, typer.Argument(help="kill (crash, is restarted), down, hang, slow, error, truncate.")],
    target: Annotated[str, typer.Argument(help="E.g. region/eu-central, cell/eu-central/c1, edge/eu-west, single.")],
) -> None:
    """Break a target until heal (kill: crash it once). error and truncate are for edges and origins."""
    body = {"action": "fault", "kind": kind, "target": target}
    found = find(shared.settings().data).post("/ops/faults", body)
    if shared.as_json:
        show_json(found)
        return
    say(f"{kind}: {', '.join(found['targets'])}")
    say("Next: eisbach status" if kind == "kill" else f"Next: eisbach status, then eisbach heal {target}")
