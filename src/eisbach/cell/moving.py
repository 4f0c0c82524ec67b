"""What a cell does in a move of a slot, and when its region is left: calls that may come late, twice or never.

Every call is fenced in the store by move id and epoch (``ports.moves``); this adds what the process must know: whose
the slot is now, whether the hub has everything up to the cut, that a copy runs, and whether it can write at all.
May not know: HTTP (see ``move_calls``), who coordinates.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.ownership import Ownership
from eisbach.cell.slot_imports import (
    DIGEST_BUCKETS,
    ExportRequest,
    ImportProgress,
    ImportStore,
    PrepareImport,
    SlotImports,
)
from eisbach.cell.within import within
from eisbach.cell.write_trial import trial_of
from eisbach.kernel.errors import Invalid, SlotMoved
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.clock import Clock
from eisbach.ports.moves import SlotChunk

__all__ = [
    "Freeze",
    "Frozen",
    "LeaseView",
    "LeftBehind",
    "Moving",
    "Relayed",
    "Settle",
    "StandAside",
    "StoodAside",
    "Surroundings",
]

_LOOK_EVERY_S: Final = 0.002


class Freeze(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """FREEZE at the source, and DRAIN at the target with the cut's ``vector``."""

    slot: str
    move: int
    epoch: int
    wait_ms: int = 0
    """How long to wait until the hub (source) or this disk (target) has everything up to the cut."""
    vector: dict[str, Mark] = {}


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """The cut."""

    vector: dict[str, Mark]
    relayed: bool
    """Whether the hub said, within ``wait_ms``, that it has every event up to the cut: the target publishes what it
    imported only when it finds that the hub was wiped, and it may have found that before it had all of this slot."""


class Settle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ACTIVATE (``owner`` None) or GONE."""

    slot: str
    move: int
    epoch: int
    owner: str | None = None


class StandAside(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Leave a slot to a region, or (``owner`` None) take it back; an earlier version's cell refuses ``last_word``."""

    slot: str
    epoch: int
    owner: str | None = None
    peer: str
    """The region whose vector is asked for; empty: none is, but whether the cell can write, which is tried."""
    last_word: bool = False
    """Whether ``peer`` is to be what the peer's cell says when it is asked now."""


class StoodAside(msgspec.Struct, frozen=True, kw_only=True):
    """Both regions' vectors of the slot: what this disk holds, and what the peer's disk held when it last asked, or,
    with ``last_word``, when it was asked.
    """

    state: str
    epoch: int
    vector: dict[str, Mark]
    peer: dict[str, Mark]
    listening: bool = False
    """Whether the peer has asked within the last ten seconds."""
    writes_stopped: str = ""
    """Why the cell takes no writes in any of its slots, and what to do; empty: it does, or is of an earlier version."""
    differing: dict[str, list[int]] = {}
    """Region -> buckets of the slot that differ there though both applied the same ops (``twin_digests``)."""


class LeaseView(msgspec.Struct, frozen=True, kw_only=True):
    """The lease row, as a cell tells it."""

    epoch: int = 0
    state: str = ""
    """Empty: this cell never had the slot."""
    seq: int = 0
    move: int = 0
    owner: str | None = None
    relay_behind: int = 0
    """Lsns that the hub does not have yet."""


class LeftBehind(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of what a slot has left behind in a cell, and the row that says what that is; read in this order."""

    lease: LeaseView
    chunk: SlotChunk


class Relayed(Protocol):
    """What the relay of a store knows of the hub."""

    def last_lsn(self) -> int:
        """Up to where the hub had this store's log when it was last asked."""
        ...

    async def has(self, lsn: int) -> bool:
        """Whether it has everything up to there now, by its own word."""
        ...


async def _nobody(peer: str, _slot: Slot) -> dict[str, Mark]:
    raise Invalid(f"this cell follows no region {peer[:40]!r}")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What else in a cell's process bears on leaving a region and coming back; by default, of a cell without twins."""

    acknowledged: Acknowledged | None = None
    """What other regions hold."""
    last_word: Callable[[str, Slot], Awaitable[dict[str, Mark]]] = _nobody
    """(Region, slot) -> what its cell says to hold now; see ``LastWord``."""
    writes_stopped: Callable[[], str] = lambda: ""
    """Why this process takes no writes now, and what to do; empty: it does."""
    refuses: Callable[[], Awaitable[str]] | None = None
    """Why a write that was tried was refused, or none; None: the store is tried by nobody else."""
    differing: Callable[[str], dict[str, list[int]]] = lambda _: {}
    """Slot -> see ``StoodAside``."""


class Moving:
    """One a store."""

    def __init__(
        self,
        store: ImportStore,
        ownership: Ownership,
        imports: SlotImports,
        *,
        relayed: Relayed,
        clock: Clock,
        surroundings: Surroundings = Surroundings(),
    ) -> None:
        """``relayed``: what the hub has of this store's log."""
        self._around = surroundings
        self._store, self._ownership, self._imports = store, ownership, imports
        self._relayed, self._clock = relayed, clock
        self._cuts: dict[tuple[str, int], int] = {}
        """(slot, move) -> an lsn at or after the cut; after a restart the log's end serves as well."""
        self._refuses = surroundings.refuses or trial_of(store, clock=clock).refuses

    async def look(self, slot_text: str) -> LeaseView:
        """The lease row."""
        lease = await self._store.lease(self._ownership.slot(slot_text))
        behind = max(0, self._store.statistics().last_lsn - self._relayed.last_lsn())
        if lease is None:
            return LeaseView(relay_behind=behind)
        return LeaseView(**lease._asdict(), relay_behind=behind)

    async def leases(self) -> dict[str, LeaseView]:
        """Every lease row, by slot; how far the hub is behind is not in it."""
        return {str(slot): LeaseView(**lease._asdict()) for slot, lease in (await self._store.leases()).items()}

    async def prepare(self, asked: PrepareImport) -> ImportProgress:
        """See ``SlotImports``."""
        return await self._imports.prepare(asked)

    async def export(self, asked: ExportRequest) -> SlotChunk:
        """A piece of a slot that is owned here.

        Raises:
            SlotMoved: it is not: what is left of it here is history.
        """
        slot = self._ownership.slot(asked.slot)
        lease = await self._store.lease(slot)
        if lease is None or lease.state not in ("active", "frozen"):
            owner, epoch = self._ownership.owner(slot), lease.epoch if lease else 0
            raise SlotMoved(asked.slot, asked="the source", owner=owner, epoch=epoch)
        return await self._store.export(slot, asked.cursor)

    async def left(self, asked: ExportRequest) -> LeftBehind:
        """A piece of whatever is here of a slot: for its owner by the record, which is made anew."""
        lease = await self.look(asked.slot)
        return LeftBehind(lease=lease, chunk=await self._store.export(self._ownership.slot(asked.slot), asked.cursor))

    async def digest(self, slot_text: str) -> list[str]:
        """Of what is here now."""
        return list(await self._store.digest(self._ownership.slot(slot_text), buckets=DIGEST_BUCKETS))

    async def freeze(self, asked: Freeze) -> Frozen:
        """Stop writes and inbound apply, then wait for the hub; a repeat tells the same cut.

        Raises:
            SlotMoved, EpochStale: not this cell's to freeze.
        """
        slot = self._ownership.slot(asked.slot)
        cut = await self._store.freeze(slot, move=asked.move, epoch=asked.epoch)
        await self._ownership.refresh()
        lsn = self._cuts.setdefault((asked.slot, asked.move), self._store.statistics().last_lsn)
        until = self._clock.monotonic_ms() + asked.wait_ms
        relayed = False
        while not relayed and (left_ms := until - self._clock.monotonic_ms()) > 0:
            if not (relayed := await self._hub_has(lsn, left_ms)):
                await self._clock.sleep(_LOOK_EVERY_S)
        return Frozen(vector=dict(cut.vector), relayed=relayed)

    async def _hub_has(self, lsn: int, left_ms: int) -> bool:
        """Nobody may believe what the relay remembers: this cell may be taken away as soon as its slots have moved."""
        try:
            return await within(self._clock, left_ms / 1000, self._relayed.has(lsn))
        except TimeoutError:
            return False

    async def drain(self, asked: Freeze) -> bool:
        """See ``SlotImports``."""
        return await self._imports.drain(asked.slot, move=asked.move, vector=asked.vector, wait_ms=asked.wait_ms)

    async def settle(self, asked: Settle) -> LeaseView:
        """Take note of the outcome; late and doubled notices change nothing."""
        slot = self._ownership.slot(asked.slot)
        lease = await self._store.settle(slot, move=asked.move, epoch=asked.epoch, owner=asked.owner)
        await self._ownership.refresh()
        if lease.state != "importing":
            await self._imports.end(slot)
        self._cuts = {place: lsn for place, lsn in self._cuts.items() if place[0] != asked.slot}
        return LeaseView(**lease._asdict())

    async def stand_aside(self, asked: StandAside) -> StoodAside:
        """Leave the slot to another region, or take it back; asked again, tells how far both regions are."""
        slot = self._ownership.slot(asked.slot)
        await self._store.stand_aside(slot, epoch=asked.epoch, owner=asked.owner)
        await self._ownership.refresh()
        return await self.vectors(asked)

    async def vectors(self, asked: StandAside) -> StoodAside:
        """The same without changing anything; without a ``peer``, also whether this disk takes a write now.

        Raises:
            Unavailable: with ``last_word``: the peer's cell does not say so.
        """
        slot, told = self._ownership.slot(asked.slot), self._around.acknowledged
        lease = await self._store.lease(slot)
        stopped = self._around.writes_stopped()
        if not stopped and not asked.peer and lease is not None:
            stopped = await self._refuses()
        theirs = told.vector(asked.peer, slot) if told is not None else {}
        if asked.last_word:
            theirs = await self._around.last_word(asked.peer, slot)
        return StoodAside(
            state=lease.state if lease is not None else "",
            epoch=lease.epoch if lease is not None else 0,
            vector=dict(await self._store.vector(slot)),
            peer=theirs,
            listening=told is not None and told.listens(asked.peer),
            writes_stopped=stopped,
            differing=self._around.differing(asked.slot),
        )

    async def discard(self, asked: Settle) -> bool:
        """Set aside what a slot has left behind here, and sweep some of what was."""
        done = await self._store.discard(self._ownership.slot(asked.slot), move=asked.move)
        while await self._store.sweep():
            await self._clock.sleep(_LOOK_EVERY_S)  # the others' writes go first
        return done
