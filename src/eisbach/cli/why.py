"""``eisbach why TARGET``: how it is, and what led to it."""

import time
from typing import Annotated

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach why cell/eu-central/c1"


@verb
def command(*, shared: Shared, target: Annotated[str, typer.Argument(help="E.g. cell/eu-central/c1.")]) -> None:
    """Explain the state of a target: since when, what led to it, what to do."""
    found = find(shared.settings().data).get("/ops/why", target=target)
    if shared.as_json:
        show_json(found)
        return
    say(found["sentence"])
    for reason in found["because"]:
        say(f"  because {reason}")
    for change in found["changes"][:8]:
        at = time.strftime("%H:%M:%S", time.localtime(change["at_ms"] / 1000))
        say(f"  {at} {change['target']} {change['from']} -> {change['to']} {change['why']}".rstrip())
    say(f"Next: {found['next']}")
