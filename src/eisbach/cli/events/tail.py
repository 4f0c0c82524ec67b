"""``eisbach events tail``: what goes through a region's hub now. For eyes: it may miss events, and starts at none."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from eisbach.cli.shared import Shared, say, verb
from eisbach.cli.talk import Supervisor, find
from eisbach.kernel.errors import Unavailable

__all__ = ["EXAMPLE", "command"]

EXAMPLE: Final = "Example: eisbach events tail --type tv.catalog --market de"


@verb
def command(
    *,
    shared: Shared,
    region: Annotated[str, typer.Option(help="Whose hub; absent: the first region's.")] = "",
    type_: Annotated[str, typer.Option("--type", help="Only types that start so.")] = "",
    subject: Annotated[str, typer.Option(help="Only this subject.")] = "",
    market: Annotated[str, typer.Option(help="Only this market.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many; 0: never.")] = 0,
) -> None:
    """Follow the events of a region's hub; --json prints one CloudEvent a line."""
    shown = 0
    for event in _lines(find(shared.settings().data), region):
        if not event["type"].startswith(type_) or (subject and event["subject"] != subject):
            continue
        if market and event.get("market") != market:
            continue
        if shared.as_json:
            typer.echo(json.dumps(event, ensure_ascii=False))
        else:
            data = json.dumps(event["data"], ensure_ascii=False)
            say(f"{event['time'][11:23]}  {event['type']:<38} {event['subject']:<20} {data[:100]}")
        shown += 1
        if shown == limit:
            return


def _lines(supervisor: Supervisor, region: str) -> Iterator[Any]:
    url = f"{supervisor.facts['console']}/ops/hub-events?region={region}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {supervisor.token}"})  # noqa: S310 - our own lock file's address
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - as above
            for line in answer:
                yield json.loads(line)
    except KeyboardInterrupt:
        return
    except urllib.error.HTTPError as error:
        raise Unavailable(
            f"the hub of {region or 'the first region'} cannot be followed: {error.read()[:300]!r}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the hub's tail ended: {error}; start it again") from error
