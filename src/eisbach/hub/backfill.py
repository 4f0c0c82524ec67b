"""Backfill: give a spoke the history that the hub no longer holds, from a snapshot of what there is.

A new spoke reads the hub from its beginning, which is seven days ago. What was written before, and not since, is told
as one event a document: its newest state, under an id that is the same at every repeat. A document whose newest event
the hub still holds is left to the hub, so nothing is told twice, if that event is one that the spoke reads; nothing is
told of what is gone.
The events go to the spoke's held events, due at the wished rate, and take the ordinary way from there: order per
subject, attempts, dead letters. In pages, so that any number fits; a page again is the same.
May not know: engines, HTTP, which documents there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from eisbach.hub.replay import every_event
from eisbach.hub.runner import SpokeRunner
from eisbach.kernel.events import Event
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog

__all__ = ["PAGE_MAX", "BackfillCount", "BackfillWish", "Snapshots", "backfill"]

PAGE_MAX: Final = 500


class Snapshots(Protocol):
    """What there is, as events."""

    async def snapshot(self, *, after: str, limit: int) -> tuple[Sequence[Event], str]:
        """A page in a fixed order, and the cursor of the next one; empty: that was the last."""
        ...

    def document(self, event: Event) -> str:
        """Of which document an event is; subjects of different kinds may be equal."""
        ...


class BackfillWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page, and how fast."""

    after: str = ""
    """Cursor that the page before gave; empty: the first."""
    rate: float = 50.0
    """Events a second, 0.1 to 1000."""
    dry_run: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillCount:
    """What one page came to."""

    chosen: int
    read: int
    """Documents looked at."""
    in_hub: int
    """Of them, left to the hub, which holds their newest event."""
    after: str
    """Cursor of the next page; empty: this was the last."""


async def backfill(
    wish: BackfillWish, runner: SpokeRunner, source: Snapshots, log: EventLog, *, clock: Clock
) -> BackfillCount:
    """Choose one page, and unless it is a dry run have it handled.

    Raises:
        Unavailable: snapshot, log or store cannot be used now; the same page again is the same.
    """
    events, after = await source.snapshot(after=wish.after, limit=PAGE_MAX)
    mine = [event for event in events if runner.wants(event)]
    newest = await _newest(log, runner, source) if mine else {}
    chosen = [event for event in mine if newest.get(source.document(event), -1) < event.hlc]
    if not wish.dry_run:
        start = clock.wall_ms()
        for place, event in enumerate(chosen):
            await runner.handle_again(event, due_ms=start + int(place * 1000 / wish.rate))
    return BackfillCount(chosen=len(chosen), read=len(events), in_hub=len(mine) - len(chosen), after=after)


async def _newest(log: EventLog, runner: SpokeRunner, source: Snapshots) -> dict[str, int]:
    """Document -> hybrid time of the newest event of it that the spoke gets from the hub."""
    newest: dict[str, int] = {}
    async for event in every_event(log, runner.spec.name):
        if runner.wants(event):
            document = source.document(event)
            newest[document] = max(event.hlc, newest.get(document, 0))
    return newest
