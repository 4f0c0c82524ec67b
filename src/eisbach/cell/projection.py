"""The catalogue as this cell knows it: consumed from the hub inside the process, one immutable snapshot in memory.

Promises: a reader sees one whole snapshot, swapped atomically; an event applied twice, or after a newer one, changes
nothing; an envelope is acknowledged after its documents are on disk; with the hub away the last snapshot serves on,
also after a restart; a deleted file, and one that may be an older copy of itself, is filled again from what the hub
keeps. A poison event is counted, logged and passed over: one bad document never stops the others.
May not know: which engine the hub is, how the catalogue is shown.
"""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from eisbach.domain.catalog import Catalogue, Change, DocumentVersion, changes_of, decode_change
from eisbach.hub.delays import delay_after
from eisbach.kernel.errors import EisbachError, FileDamaged, Invalid, Retryable
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import Delivery, EventLog
from eisbach.ports.projection_store import Kept, ProjectionStore

__all__ = ["Projection", "ProjectionStatistics"]

_FIRST_DELAY: Final = timedelta(milliseconds=100)
_LONGEST_DELAY: Final = timedelta(seconds=2)

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionStatistics:
    """Since start; no I/O to read them."""

    events: int
    changes: int
    poison: int
    failures_in_a_row: int
    documents: int
    connected: bool
    """Whether a subscription is open."""


class Projection:
    """One a cell."""

    def __init__(
        self, store: ProjectionStore, event_log: EventLog, *, name: str, clock: Clock, rng: random.Random
    ) -> None:
        """``name``: of the durable subscription, one per cell."""
        self._store, self._log, self._name = store, event_log, name
        self._clock, self._rng = clock, rng
        self._catalogue = Catalogue()
        self._events = self._changes = self._poison = self._failures = 0
        self._connected = False

    def snapshot(self) -> Catalogue:
        """The catalogue of this moment; never changes."""
        return self._catalogue

    def statistics(self) -> ProjectionStatistics:
        """What happened since start."""
        return ProjectionStatistics(
            events=self._events,
            changes=self._changes,
            poison=self._poison,
            failures_in_a_row=self._failures,
            documents=len(self._catalogue.versions),
            connected=self._connected,
        )

    async def open(self) -> None:
        """Read what is kept, so that a restart without the hub serves what was known.

        Raises:
            FileDamaged: it cannot be read.
        """
        kept = await self._store.load()
        try:
            changes = [decode_change(k.kind, k.id, DocumentVersion(*k.version), k.body) for k in kept]
        except Invalid as error:  # a store sees damage of its own structure only, not inside of what it keeps
            raise FileDamaged(
                f"{self._name}: what the cell keeps of the catalogue is damaged, or of a later version ({error}); keep"
                " it, and put another cell's projection.db in its place (docs/backup.md, A damaged file)"
            ) from error
        self._catalogue = Catalogue().evolve(changes)

    async def refresh(self) -> None:
        """Take what others have kept since: for a process that follows nothing, beside one that does.

        Raises:
            Unavailable: it cannot be read now; what is known serves on.
        """
        kept = await self._store.load()
        changes = [decode_change(k.kind, k.id, DocumentVersion(*k.version), k.body) for k in kept]
        if newer := self._catalogue.newer(changes):
            self._catalogue = self._catalogue.evolve(newer)

    async def run(self) -> None:
        """Follow the hub for ever; ends only by cancellation, which loses nothing."""
        while True:
            try:
                # Nothing kept: the file is new, or somebody deleted it, and the hub's memory of what was read is void.
                # So it is when what is kept may be older.
                if doubt := await self._store.doubt():
                    _logger.warning("projection_read_anew", name=self._name, why=doubt)
                subscription = await self._log.subscribe(self._name, anew=bool(doubt) or not self._catalogue.versions)
                self._connected = True
                try:
                    async for delivery in subscription:
                        if doubt:  # not before: a hub that could not be reached was not asked yet
                            await self._store.asked_anew()
                            doubt = ""
                        await self._take(delivery)
                        self._failures = 0
                finally:
                    self._connected = False
                    await subscription.aclose()
            except Retryable as error:
                self._failures += 1
                if self._failures in (1, 100):
                    _logger.info("projection_waits", name=self._name, failures=self._failures, error=str(error))
                delay = delay_after(self._failures, first=_FIRST_DELAY, longest=_LONGEST_DELAY, rng=self._rng)
                await self._clock.sleep(delay.total_seconds())

    async def _take(self, delivery: Delivery) -> None:
        changes: list[Change] = []
        for event in delivery.envelope.events:
            self._events += 1
            try:
                changes += changes_of(event)
            except Invalid as error:
                self._poison += 1
                _logger.warning("poison_event", name=self._name, event_id=event.id, error=str(error))
        newer = self._catalogue.newer(changes)
        if newer:
            kept = [
                Kept(
                    c.kind,
                    c.id,
                    (c.version.revision, c.version.hlc, c.version.origin, c.version.seq),
                    msgspec.json.encode(c.body),
                )
                for c in newer
            ]
            try:
                await self._store.keep(kept)
            except EisbachError:
                await delivery.nak(1.0)
                raise
            self._catalogue = self._catalogue.evolve(newer)
            self._changes += len(newer)
        await delivery.ack()
