"""A region that is gone without having been evacuated: what may be missing here, range by range, until it returns.

Declared in the region that survives. Per slot a range (origin, epoch, after ``held``, at least to ``head``): ops that
the lost region may have acknowledged, class ``local``, and that never came here; what it acknowledged as ``peer`` is
here (P12). Nothing is discarded: the log of the surviving region keeps for the lost one what it lacks, and when it
returns its ops are pulled and merged by version; then each range is closed with what came of it.
Promises: a declaration is kept before it is told; a repeat widens nothing. May not know: the front, how cells pull.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from eisbach.cell.losses import AskHeard, AskReturned, Heard, Returned
from eisbach.kernel.errors import EisbachError, Invalid, NotFound
from eisbach.kernel.limits import RESTORE_EPOCHS_SKIPPED
from eisbach.kernel.versions import Mark
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore

__all__ = ["LossCells", "LossRange", "LossRecord", "RegionLosses"]

SILENT_MIN_MS: Final = 5_000
"""A region that answered a cell within this time is not lost: a held question takes two seconds."""
_LOOK_EVERY_S: Final = 0.1
_AT_ONCE: Final = 8


class LossCells(Protocol):
    """How cells of the surviving region are asked."""

    async def heard(self, cell: str, asked: AskHeard) -> Heard:
        """How far a slot's log of the lost region is held."""
        ...

    async def returned(self, cell: str, asked: AskReturned) -> Returned:
        """What came of ops that were missing."""
        ...


class LossRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one slot; the origin is the lost region."""

    held: Mark
    """Ops after this may be missing."""
    head: Mark
    """The log went at least so far: ops up to here are missing for certain, until they come."""
    until: Mark | None = None
    """Where the log ended when the region returned; None: open."""
    returned: Returned | None = None
    """What came of the ops that were missing."""
    trouble: str = ""
    """What keeps the range open, or what its closing could not bring back."""


class LossRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document ``loss/REGION``: the last loss of that region."""

    region: str
    """That is gone."""
    declared_ms: int
    heard_ms: int
    """When it last answered any cell here: what it acknowledged before this and a round trip is within ``head``."""
    closed_ms: int = 0
    """When the last range was closed; 0 while some are open."""
    slots: dict[str, LossRange] = {}

    @property
    def open(self) -> list[str]:
        """Slots whose range is."""
        return sorted(slot for slot, found in self.slots.items() if found.until is None)


class RegionLosses:
    """One a region, in its control process."""

    def __init__(
        self, store: ControlStore, cells: LossCells, *, owners: Callable[[], Mapping[str, str]], clock: Clock
    ) -> None:
        """``owners``: viewers' slot -> cell of this region, by the map in force."""
        self._store, self._cells, self._owners, self._clock = store, cells, owners, clock
        self._known: dict[str, LossRecord] = {}

    def lost(self) -> list[dict[str, Any]]:
        """For ``/status``: losses that are open, as they were last read."""
        return [
            {"region": one.region, "since_ms": one.declared_ms, "open": len(one.open)}
            for _, one in sorted(self._known.items())
            if one.open
        ]

    async def records(self) -> list[LossRecord]:
        """The last loss of each region that was ever lost."""
        found = [await self._store.get(key) for key in await self._store.keys("loss/")]
        records = [msgspec.json.decode(one.value, type=LossRecord) for one in found if one is not None]
        self._known = {one.region: one for one in records}
        return records

    async def declare(self, region: str) -> LossRecord:
        """Record what of a region's ops may be missing here; while a loss is open, that record stands.

        Raises:
            Invalid: the region answered a moment ago: evacuate it, which loses nothing.
            Unavailable: a cell here does not answer; nothing was recorded.
        """
        stored = await self._store.get(_key(region))
        if stored is not None:
            last = msgspec.json.decode(stored.value, type=LossRecord)
            if last.open:
                return last
        heard = await self._ask_all(region)
        silent_ms = min(one.silent_ms for one in heard.values())
        if silent_ms < SILENT_MIN_MS:
            raise Invalid(
                f"region {region} answered {silent_ms} ms ago: it is not lost. Without --lost it is evacuated, and"
                " nothing is missing afterwards"
            )
        now = self._clock.wall_ms()
        ranges = {slot: LossRange(held=one.held, head=one.head) for slot, one in heard.items()}
        record = LossRecord(region=region, declared_ms=now, heard_ms=now - silent_ms, slots=ranges)
        await self._store.put(
            _key(region), msgspec.json.encode(record), expected=stored.revision if stored is not None else 0
        )
        self._known[region] = record
        return record

    async def close(
        self, region: str, ends: Mapping[str, Mark], *, wait_ms: int, epochs: Mapping[str, int] | None = None
    ) -> LossRecord:
        """Close the ranges of a region that is back; what is still open says why, and the next call goes on.

        Args:
            region: that returned.
            ends: slot -> where its log of the slot ends, by its own disk.
            wait_ms: how long to wait for ops that are on their way.
            epochs: slot -> the epoch of its lease there, under which nothing may have been written yet.

        Raises:
            NotFound: it was never declared lost.
        """
        stored = await self._store.get(_key(region))
        if stored is None:
            raise NotFound(f"region {region} was not declared lost here")
        record = msgspec.json.decode(stored.value, type=LossRecord)
        until_ms = self._clock.monotonic_ms() + wait_ms
        owners, gate = self._owners(), asyncio.Semaphore(_AT_ONCE)

        async def one(slot: str, found: LossRange) -> tuple[str, LossRange]:
            while found.until is None:
                async with gate:
                    found = await self._close_one(owners.get(slot, ""), slot, region, found, ends.get(slot))
                if found.until is not None or self._clock.monotonic_ms() >= until_ms:
                    break
                await self._clock.sleep(_LOOK_EVERY_S)
            return slot, found

        closed = await asyncio.gather(
            *(one(slot, found) for slot, found in record.slots.items() if found.until is None)
        )
        now = {slot: _made_anew(found, (epochs or {}).get(slot, 0)) for slot, found in closed}
        slots = record.slots | now
        record = msgspec.structs.replace(record, slots=slots)
        if not record.open and not record.closed_ms:
            record = msgspec.structs.replace(record, closed_ms=self._clock.wall_ms())
        await self._store.put(_key(region), msgspec.json.encode(record), expected=stored.revision)
        self._known[region] = record
        return record

    async def _close_one(self, cell: str, slot: str, region: str, found: LossRange, end: Mark | None) -> LossRange:
        if end is None:
            return msgspec.structs.replace(found, trouble=f"region {region} did not say where its log ends")
        try:
            heard = await self._cells.heard(cell, AskHeard(slot=slot, region=region))
            if heard.held < end:
                why = f"held up to {_text(heard.held)} of {_text(end)}; see eisbach status for what is not pulled"
                return msgspec.structs.replace(found, trouble=why)
            asked = AskReturned(slot=slot, region=region, after=found.held, until=end)
            returned = await self._cells.returned(cell, asked)
        except EisbachError as error:
            return msgspec.structs.replace(found, trouble=str(error))
        trouble = ""
        if end.epoch > found.head.epoch and returned.ops < found.head.seq - found.held.seq:
            trouble = f"came back under epoch {end.epoch} without all up to {_text(found.head)}: its disk was older"
        return msgspec.structs.replace(found, until=end, returned=returned, trouble=trouble)

    async def _ask_all(self, region: str) -> dict[str, Heard]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(slot: str, cell: str) -> tuple[str, Heard]:
            async with gate:
                return slot, await self._cells.heard(cell, AskHeard(slot=slot, region=region))

        found = dict(await asyncio.gather(*(one(slot, cell) for slot, cell in sorted(self._owners().items()))))
        if not found:
            raise Invalid(f"this region serves no slot that region {region} could have")
        return found


def _made_anew(found: LossRange, epoch: int) -> LossRange:
    """A restore alone takes so many epochs at once, and has what backups and we had: no more.

    What was acknowledged besides, nobody has heard of, so nothing is known to be missing; but it may be.
    """
    if (
        found.until is None
        or found.trouble
        or max(found.until.epoch, epoch) < found.held.epoch + RESTORE_EPOCHS_SKIPPED
    ):
        return found
    why = "its cell was restored since: what it acknowledged last, class local, may be gone with its disk"
    return msgspec.structs.replace(found, trouble=why)


def _key(region: str) -> str:
    return f"loss/{region}"


def _text(mark: Mark) -> str:
    return f"{mark.epoch}.{mark.seq}"
