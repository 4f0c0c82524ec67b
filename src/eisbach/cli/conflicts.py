"""``eisbach conflicts``: what lost when two regions wrote one item without knowing of each other."""

import json
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find
from eisbach.kernel.errors import Invalid, Unavailable

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach conflicts --limit 20"


@verb
def command(
    *,
    shared: Shared,
    limit: Annotated[int, typer.Option(help="Of each cell, 1 to 1000.")] = 20,
) -> None:
    """Losers of concurrent writes, newest first, of every cell that answers; kept for 14 days."""
    if not 1 <= limit <= 1000:
        raise Invalid(f"--limit {limit} is not 1 to 1000")
    supervisor = find(shared.settings().data)
    cells = [one for one in supervisor.get("/ops/status")["processes"] if str(one["target"]).startswith("cell/")]
    found: list[dict[str, Any]] = []
    silent: list[str] = []
    for cell in cells:
        try:
            listed = _ask(f"{cell['url']}/conflicts?limit={limit}", supervisor.token)["conflicts"]
        except Unavailable:
            silent.append(str(cell["target"]))
            continue
        found += [{"cell": cell["target"], **one} for one in listed]
    found.sort(key=lambda one: -int(one["at_ms"]))
    if shared.as_json:
        show_json({"conflicts": found, "silent": silent})
        return
    for one in found[:limit]:
        say(f"{one['cell']}  {one['slot']}  {one['pk']} {one['sk']}: {one['loser']} lost to {one['winner']}")
    if not found:
        say("No write has lost to another one.")
    for target in silent:
        say(f"{target} does not answer; its conflicts are not shown")
    say("Next: eisbach conflicts --json has the values that lost, in base64")


def _ask(url: str, token: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - told by the supervisor
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - as above
            return json.loads(answer.read())
    except (OSError, ValueError, urllib.error.HTTPError) as error:
        raise Unavailable(f"{url}: {error}") from error
