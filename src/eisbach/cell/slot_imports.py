"""The target's side of a move: copy a slot from a cell of this region, follow its tail, prove that all of it is here.

The copy begins anew after a crash (every step repeats without effect); what it has reached is told to whoever asks, and
only a lease row that is importing under this very move takes a piece. Nothing here activates anything.
May not know: HTTP (see ``SlotSource``), who coordinates.
"""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

import msgspec
import structlog

from eisbach.cell.ownership import Ownership
from eisbach.cell.within import within
from eisbach.hub.delays import delay_after
from eisbach.kernel.errors import EisbachError, EpochStale, LogGap
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, covers
from eisbach.ports.clock import Clock
from eisbach.ports.moves import CopyCursor, SlotChunk, SlotCopies
from eisbach.ports.store import Lease, Store

__all__ = [
    "DIGEST_BUCKETS",
    "ExportRequest",
    "ImportProgress",
    "ImportStore",
    "PrepareImport",
    "SlotImports",
    "SlotSource",
]

DIGEST_BUCKETS: Final = 64
_TAIL_EVERY_S: Final = 0.02
_FIRST_DELAY: Final = timedelta(milliseconds=20)
_LONGEST_DELAY: Final = timedelta(milliseconds=500)
_SHORT_ROUND_MS: Final = 100
"""Ready to freeze: the last round found the end of the log within this time."""

_logger = structlog.get_logger(__name__)


class PrepareImport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PREPARE at the target."""

    slot: str
    move: int
    epoch: int
    """Under which the source owns it."""
    source: str
    """Address of the source cell, ``host:port``, as the control process knows it."""


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the target asks the source."""

    slot: str
    move: int
    cursor: CopyCursor


class ImportProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import is."""

    state: str
    """Of the lease row."""
    move: int
    rounds: int = 0
    verified: int = 0
    """Buckets of 64 whose digests were equal at some time; later changes come as ops."""
    ready: bool = False
    """Whether a freeze would be short: copied, verified, and close behind."""
    trouble: str = ""
    """Why it does not get on; empty when it does."""


class SlotSource(Protocol):
    """How the source is reached; the simulated world replaces it."""

    async def export(self, source: str, request: ExportRequest) -> SlotChunk:
        """The next piece.

        Raises:
            Unavailable: not reachable now.
            SlotMoved, EpochStale: the cell does not own the slot.
        """
        ...

    async def digest(self, source: str, slot: str) -> list[str]:
        """``DIGEST_BUCKETS`` digests of what is there now."""
        ...


class ImportStore(Store, SlotCopies, Protocol):
    """A store that slots can be moved into."""


@dataclass(slots=True)
class _Import:
    slot: Slot
    move: int
    source: str
    cursor: CopyCursor
    begun: int = 0
    """Rounds that have started."""
    whole: int = 0
    """The last round that found nothing more; it saw everything that was there when it started."""
    short: bool = False
    verified: set[int] = field(default_factory=set)
    trouble: str = ""
    task: "asyncio.Task[None] | None" = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    moved_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Set and replaced after every round."""

    @property
    def ready(self) -> bool:
        return self.whole > 0 and self.short and len(self.verified) == DIGEST_BUCKETS and not self.trouble


class SlotImports:
    """One a store."""

    def __init__(
        self, store: ImportStore, ownership: Ownership, source: SlotSource, *, clock: Clock, rng: random.Random
    ) -> None:
        self._store, self._ownership, self._source = store, ownership, source
        self._clock, self._rng = clock, rng
        self._imports: dict[Slot, _Import] = {}

    async def prepare(self, asked: PrepareImport) -> ImportProgress:
        """Open the import and see that its copy runs; a repeat only tells how far it is.

        Raises:
            EpochStale: the slot is owned here, or a later move has touched it.
        """
        slot = self._ownership.slot(asked.slot)
        lease = await self._store.begin_import(slot, move=asked.move, epoch=asked.epoch)
        one = self._imports.get(slot)
        if one is None or one.move != asked.move or one.source != asked.source:
            await self._end(slot)
            await self._ownership.refresh()
            one = _Import(slot, asked.move, asked.source, CopyCursor(vector=dict(await self._store.vector(slot))))
            self._imports[slot] = one
        if one.task is None or one.task.done():
            one.task = asyncio.create_task(self._follow(one), name=f"import-{slot}")
        return _progress(lease, one)

    async def drain(self, slot_text: str, *, move: int, vector: dict[str, Mark], wait_ms: int) -> bool:
        """Whether, within ``wait_ms``, everything up to the source's cut is on this disk under this very move.

        A round that starts after the cut and finds nothing more has everything that is no op, too: keys and conflicts.
        """
        slot = self._ownership.slot(slot_text)
        one = self._imports.get(slot)
        if one is None or one.move != move:
            return False
        wanted = one.begun + 1
        one.wake.set()

        async def reached() -> None:
            while one.whole < wanted:
                await one.moved_on.wait()

        try:
            await within(self._clock, wait_ms / 1000, reached())
        except TimeoutError:
            return False
        lease = await self._store.lease(slot)
        importing = lease is not None and lease.state == "importing" and lease.move == move
        return importing and covers(await self._store.vector(slot), vector)

    async def end(self, slot: Slot) -> None:
        """The move is over, however it ended."""
        await self._end(slot)

    async def aclose(self) -> None:
        """Stop all copies; they begin anew when PREPARE comes again."""
        for slot in list(self._imports):
            await self._end(slot)

    async def _end(self, slot: Slot) -> None:
        one = self._imports.pop(slot, None)
        if one is not None and one.task is not None:
            one.task.cancel()
            await asyncio.gather(one.task, return_exceptions=True)

    async def _follow(self, one: _Import) -> None:
        """Copy, then follow the tail, until the move is over; a failure waits and tries again."""
        failures = 0
        while True:
            try:
                more = await self._round(one)
                if not more and len(one.verified) < DIGEST_BUCKETS:
                    await self._verify(one)
                failures, one.trouble = 0, ""
            except EpochStale as error:
                one.trouble = str(error)
                return  # not importing under this move any more
            except EisbachError as error:
                failures += 1
                one.trouble = str(error)
                if isinstance(error, LogGap):
                    vector = dict(await self._store.vector(one.slot))
                    one.cursor = msgspec.structs.replace(one.cursor, vector=vector)
                if failures in (1, 100):
                    _logger.info("import_waits", slot=str(one.slot), move=one.move, error=str(error))
                delay = delay_after(failures, first=_FIRST_DELAY, longest=_LONGEST_DELAY, rng=self._rng)
                await self._clock.sleep(delay.total_seconds())
                continue
            if not more:
                await self._pause(one)

    async def _round(self, one: _Import) -> bool:
        one.begun += 1
        this, began = one.begun, self._clock.monotonic_ms()
        one.wake.clear()
        request = ExportRequest(slot=str(one.slot), move=one.move, cursor=one.cursor)
        chunk = await self._source.export(one.source, request)
        vector = await self._store.import_chunk(one.slot, chunk, move=one.move)
        one.cursor = msgspec.structs.replace(chunk.cursor, vector=dict(vector))
        if not chunk.more:
            one.whole = this
            one.short = self._clock.monotonic_ms() - began < _SHORT_ROUND_MS
        one.moved_on.set()
        one.moved_on = asyncio.Event()
        return chunk.more

    async def _verify(self, one: _Import) -> None:
        """Compare digests under writes: a bucket that was equal once stays so, since every later change is an op."""
        theirs = await self._source.digest(one.source, str(one.slot))
        ours = await self._store.digest(one.slot, buckets=DIGEST_BUCKETS)
        one.verified |= {n for n, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a == b}

    async def _pause(self, one: _Import) -> None:
        """Until the next look at the tail, or until somebody is in a hurry."""
        pause = asyncio.ensure_future(self._clock.sleep(_TAIL_EVERY_S))
        wake = asyncio.ensure_future(one.wake.wait())
        try:
            await asyncio.wait({pause, wake}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            wake.cancel()
            await asyncio.gather(pause, wake, return_exceptions=True)


def _progress(lease: Lease, one: _Import) -> ImportProgress:
    return ImportProgress(
        state=lease.state,
        move=lease.move,
        rounds=one.begun,
        verified=len(one.verified),
        ready=one.ready,
        trouble=one.trouble,
    )
