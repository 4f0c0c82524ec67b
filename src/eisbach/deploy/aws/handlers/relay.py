"""The relay of a cell's log as a function: nudged by the table's stream, and every minute by a schedule.

The records of the stream are a nudge only: what is published is decided by the cursor at the destination
(``hub.relay``), so a lost, doubled or late nudge changes nothing.
Beside a task, which relays by itself, it is the one that goes on when the task does not.
Promises: a call ends when everything in the log is published, or two seconds before it would be ended; then it fails,
so that the stream nudges again.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eisbach.deploy.aws.documents import CellDocument, read_document
from eisbach.deploy.aws.handlers.sandbox import Context, Sandbox, seconds_left
from eisbach.engines.aws.clients import AwsPlace
from eisbach.engines.aws.event_log import SnsSqsEventLog
from eisbach.engines.embedded.clock import SystemClock
from eisbach.hub.relay import Relay, RelayedStore
from eisbach.kernel.errors import Invalid, Unavailable

__all__ = ["handle"]

_LOOK_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class _Opened:
    document: CellDocument
    store: RelayedStore
    log: SnsSqsEventLog


async def _open(stack: AsyncExitStack) -> _Opened:
    document = read_document()
    if not isinstance(document, CellDocument):
        raise Invalid("this function relays a cell's log, and its document is a spoke's; the stacks set both")
    clock, place = SystemClock(), AwsPlace(region=document.aws_region)
    kind, _, folder = document.store.partition(":")
    if kind == "sqlite" and folder:
        from eisbach.engines.embedded.store import open_store

        opening: Any = open_store(Path(folder) / "store.db", region=document.region, clock=clock, cell=document.cell)
    else:
        from eisbach.engines.aws.store import open_dynamo_store

        opening = open_dynamo_store(
            place, prefix=document.prefix, cell=document.cell, region=document.region, clock=clock
        )
    store: RelayedStore = await stack.enter_async_context(opening)
    log = await SnsSqsEventLog(place, prefix=document.prefix, clock=clock).open()
    stack.push_async_callback(log.aclose)
    return _Opened(document, store, log)


async def _relayed(opened: _Opened, left_s: float) -> dict[str, Any]:
    clock, document = SystemClock(), opened.document
    await opened.store.refresh()  # others write it: what this sandbox knew of its end is from its last call
    relay = Relay(
        opened.store, opened.log, source=f"{document.region}/{document.cell}", clock=clock,
        rng=random.Random(),  # noqa: S311 - jitter
    )  # fmt: skip
    running = asyncio.create_task(relay.run())
    try:
        async with asyncio.timeout(left_s):
            while relay.statistics().resumed == 0 or relay.statistics().behind:
                await clock.sleep(_LOOK_S)
    except TimeoutError:
        told = relay.statistics()
        raise Unavailable(f"{told.behind} entries of {document.cell}'s log are not published yet; again") from None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    usages = {"store": getattr(opened.store, "usage", None), "hub": opened.log.usage}
    told_usage = {part: usage.told() for part, usage in usages.items() if usage is not None}
    return {"events": relay.statistics().events, "aws": told_usage, "batchItemFailures": []}


_sandbox = Sandbox(_open)


def handle(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Of Lambda: records of a stream, or a schedule's call; how many events were published."""
    del event
    left_s = seconds_left(context)
    return _sandbox.run(lambda opened: _relayed(opened, left_s))
