"""``eisbach changes``: what changed state, newest first."""

import re
import time
from typing import Annotated

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find
from eisbach.kernel.errors import Invalid

__all__ = ["EXAMPLE", "command", "span_ms"]

EXAMPLE = "Example: eisbach changes --since 30m"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def span_ms(text: str) -> int:
    """``90s``, ``30m``, ``2h``, ``1d`` in milliseconds.

    Raises:
        Invalid: anything else.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if match is None:
        raise Invalid(f"--since {text[:40]!r} is not a number with s, m, h or d, e.g. 30m")
    return int(match[1]) * _UNITS[match[2]] * 1000


@verb
def command(
    *,
    shared: Shared,
    since: Annotated[str, typer.Option(help="How far back: 90s, 30m, 2h.")] = "1h",
) -> None:
    """List what changed state, newest first."""
    from_ms = int(time.time() * 1000) - span_ms(since)
    found = find(shared.settings().data).get("/ops/changes", since_ms=str(max(0, from_ms)))
    if shared.as_json:
        show_json(found)
        return
    for change in found["changes"]:
        at = time.strftime("%H:%M:%S", time.localtime(change["at_ms"] / 1000))
        say(f"{at}  {change['target']:<24} {change['from']:<10} -> {change['to']:<10} {change['why']}".rstrip())
    say(f"{len(found['changes'])} changes in the last {since}. Next: eisbach why TARGET")
