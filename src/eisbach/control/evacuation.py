"""Evacuation of a region, and its return: slot by slot, with a proof that is kept.

Evacuate: every viewers' slot is left to the other region (its cell takes no writes and no reads, and goes on
following), then waited for until that region's disk holds everything this one has; only then it is called evacuated.
Return is the same backwards: this region must hold everything that the other's cell, asked then, says to have, then
takes the slot back; ``force`` takes back what is not proved so, and a slot that never left is back without a proof.
Both raise the slot's epoch, may be repeated at any time and go on where they were.
Vectors say which ops were applied, not what came of them: a slot that a cell knows to differ from its twin's is never
called proved. It stays where it is served, unless who asks says ``force`` (decision 0028).
May not know: the front (who calls weighs it), whether the other region serves (``leaving`` asks first).
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from eisbach.cell.moving import StandAside, StoodAside
from eisbach.control.patience import PatientCells, RegionCells
from eisbach.kernel.errors import EisbachError, Unavailable
from eisbach.kernel.versions import Mark, covers
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore

__all__ = ["EVACUATION", "Evacuation", "EvacuationRecord", "SlotFound", "SlotProof"]

EVACUATION: Final = "evacuation"
_TRY_EVERY_S: Final = 0.1
_AT_ONCE: Final = 8
"""Of one cell: who waits for one that hangs holds up no other."""
_ANSWER_S: Final = 4.0
"""Of one that leaves, or comes back: then its slots say so, and who asks may ask again."""
_NAMED: Final = 20


class SlotFound(NamedTuple):
    """What the cell of a slot says of it."""

    cell: str
    state: str
    """Of its lease; empty: the cell does not answer."""
    writes_stopped: str = ""
    """Why it takes no writes though it answers; empty: it does."""
    differing: Collection[str] = ()
    """Regions whose twin of the slot is known to differ."""


class _Differs(NamedTuple):
    """A slot that no vectors prove."""

    cell: str
    found: StoodAside
    trouble: str


class _Tried(NamedTuple):
    """What came of a slot."""

    proof: "SlotProof"
    through: bool
    """Nothing is left to do: it is gone with a proof, or back; or so without one, because who asked says ``force``."""


class SlotProof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found for one slot."""

    cell: str
    epoch: int
    vector: dict[str, Mark]
    """What this region's disk holds."""
    other: dict[str, Mark]
    """What the other region's disk held when it last asked; of a slot that was taken back: when it was asked."""
    proved: bool
    """The one that serves from now on holds everything that the other has, and no cell knows that the two differ."""
    trouble: str = ""


class EvacuationRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document ``evacuation``: the last evacuation or return of this region."""

    region: str
    other: str
    action: str
    """``evacuate`` or ``return``."""
    began_ms: int
    ended_ms: int = 0
    """When the last slot was proved, or went though it differs, by ``force``; 0 while some are left."""
    slots: dict[str, SlotProof] = {}

    @property
    def proved(self) -> bool:
        """Whether every slot is."""
        return bool(self.slots) and all(one.proved for one in self.slots.values())

    @property
    def through(self) -> bool:
        """Whether nothing is left to do; what is not proved then was forced."""
        return self.ended_ms > 0


class Evacuation:
    """One per region, in its control process."""

    def __init__(
        self,
        store: ControlStore,
        cells: RegionCells,
        *,
        region: str,
        owners: Callable[[], Mapping[str, str]],
        clock: Clock,
    ) -> None:
        """``owners``: viewers' slot -> cell, by the map in force."""
        self._store, self._cells, self._region, self._owners, self._clock = store, cells, region, owners, clock
        self._known: EvacuationRecord | None = None

    async def last(self) -> EvacuationRecord | None:
        """What was done last."""
        found = await self._store.get(EVACUATION)
        self._known = msgspec.json.decode(found.value, type=EvacuationRecord) if found else None
        return self._known

    def unfinished(self) -> dict[str, Any]:
        """For ``/status``: what of the last evacuation or return is not proved, as it was last read; nothing goes on by
        itself, who asks again does. Without slots: it is under way, or was broken off.
        """
        last = self._known
        if last is None or last.through:
            return {}
        left = {slot: one.trouble for slot, one in last.slots.items() if not one.proved}
        named = dict(list(left.items())[:_NAMED])
        return {"action": last.action, "other": last.other, "open": len(left), "slots": named}

    def out(self) -> dict[str, Any]:
        """For ``/status``: where the region was left to and when, as it was last read; empty: it was not, or is not
        through (``unfinished``).
        """
        last = self._known
        if last is None or last.action == "return" or not last.through:
            return {}
        proved = sum(one.proved for one in last.slots.values())
        unproved = [slot for slot, one in last.slots.items() if not one.proved][:_NAMED]
        told: dict[str, Any] = {"other": last.other, "since_ms": last.began_ms, "slots": proved}
        return {**told, "unproved": unproved} if unproved else told

    async def states(self, *, answer_s: float) -> dict[str, SlotFound]:
        """Viewers' slot -> what its cell says of it now; a cell is waited for ``answer_s``, once for all its slots."""
        cells = PatientCells(self._cells, answer_s=answer_s, clock=self._clock)
        gates = _gates()

        async def one(slot: str, cell: str) -> tuple[str, SlotFound]:
            async with gates[cell]:
                try:
                    found = await cells.vectors(cell, StandAside(slot=slot, epoch=0, peer=""))
                except EisbachError:
                    return slot, SlotFound(cell, "")
                return slot, SlotFound(cell, found.state, found.writes_stopped, sorted(found.differing))

        return dict(await asyncio.gather(*(one(slot, cell) for slot, cell in sorted(self._owners().items()))))

    async def perform(
        self, action: str, other: str, *, wait_ms: int, force: bool = False, differing: Collection[str] = ()
    ) -> EvacuationRecord:
        """Evacuate to, or return from, region ``other``; what is proved within ``wait_ms``, recorded.

        Slots that could not be proved say why; calling again goes on with them.

        Args:
            action: ``evacuate`` or ``return``.
            other: the other region.
            wait_ms: how long altogether.
            force: also with slots that differ and, back, with those that no cell over there proves; they are not
                proved by it.
            differing: slots that cells of the other region know to differ from this one's.

        Raises:
            Unavailable: the control store refused; when that was at the start, nothing was stopped.
            VersionConflict: somebody else evacuates or returns at this moment.
        """
        began_ms, until_ms = self._clock.wall_ms(), self._clock.monotonic_ms() + wait_ms
        patient, gates = PatientCells(self._cells, answer_s=_ANSWER_S, clock=self._clock), _gates()
        owners = sorted(self._owners().items())
        doubts: dict[str, _Differs | None] = {}

        async def step(slot: str, cell: str, *, forced: str = "") -> _Tried:
            try:
                if slot not in doubts:
                    doubts[slot] = await self._differs(patient, slot, cell, other, told=slot in differing)
            except EisbachError as error:
                return _Tried(_unanswered(cell, error), through=False)
            if (differs := doubts[slot]) is not None and not force:
                return _Tried(_untouched(differs, other), through=False)
            if action == "return":
                return await self._take_back(patient, slot, cell, other, forced=forced)
            left = await self._leave(patient, slot, cell, other)
            return _Tried(left, through=left.proved)

        def again(slot: str, cell: str) -> bool:
            stays = doubts.get(slot) is not None and not force
            return not stays and cell not in patient.silent and self._clock.monotonic_ms() < until_ms

        async def one(slot: str, cell: str) -> tuple[str, _Tried]:
            async with gates[cell]:
                tried = await step(slot, cell)
            while not tried.proof.proved and again(slot, cell):
                await self._clock.sleep(_TRY_EVERY_S)
                async with gates[cell]:
                    if again(slot, cell):  # it may have waited long for its turn
                        tried = await step(slot, cell)
            if not tried.through and force and action == "return":
                async with gates[cell]:
                    tried = await step(slot, cell, forced=tried.proof.trouble)
            return slot, _named(tried, doubts.get(slot), action)

        record = EvacuationRecord(region=self._region, other=other, action=action, began_ms=began_ms)
        # Before the first slot is touched: after a crash in between it is known that some may be away.
        await self._keep(record)
        tries = dict(await asyncio.gather(*(one(slot, cell) for slot, cell in owners)))
        record = msgspec.structs.replace(record, slots={slot: tried.proof for slot, tried in tries.items()})
        if tries and all(tried.through for tried in tries.values()):
            record = msgspec.structs.replace(record, ended_ms=self._clock.wall_ms())
        await self._keep(record)
        return record

    async def _keep(self, record: EvacuationRecord) -> None:
        stored = await self._store.get(EVACUATION)
        await self._store.put(EVACUATION, msgspec.json.encode(record), expected=stored.revision if stored else 0)
        self._known = record

    async def _differs(self, cells: RegionCells, slot: str, cell: str, other: str, *, told: bool) -> _Differs | None:
        """What speaks against vectors as a proof; None: nothing. ``told``: by the other region's cells it differs.

        Raises:
            Unavailable: the cell does not answer, or has not the slot: it is not known yet.
        """
        found = await cells.vectors(cell, StandAside(slot=slot, epoch=0, peer=other))
        if why := _not_the_owners(cell, found):
            raise Unavailable(why)
        buckets = found.differing.get(other, [])
        if not (buckets or told):
            return None
        by = "as its cell found" if buckets else f"as the cell in {other} found"
        return _Differs(cell, found, f"it differs from its twin in {other}, {by}, though both applied the same ops")

    async def _leave(self, cells: RegionCells, slot: str, cell: str, other: str) -> SlotProof:
        """Stop writes of the slot here; proved when the other disk covers this one."""
        asked = StandAside(slot=slot, epoch=0, owner=other, peer=other)
        try:
            found = await cells.vectors(cell, asked)
            if why := _not_the_owners(cell, found):
                return _proof(cell, found, False, why)
            if found.state != "away" and not found.listening:
                return _proof(
                    cell, found, False, f"region {other} has not asked for its ops lately; nothing was stopped"
                )
            if found.state != "away":
                found = await cells.stand_aside(cell, msgspec.structs.replace(asked, epoch=found.epoch + 1))
        except EisbachError as error:
            return _unanswered(cell, error)
        proved = found.state == "away" and covers(found.peer, found.vector)
        return _proof(cell, found, proved, f"region {other} does not hold all of it yet")

    async def _take_back(self, cells: RegionCells, slot: str, cell: str, other: str, *, forced: str = "") -> _Tried:
        """Serve the slot again once this disk covers all that the other's cell says to have when it is asked.

        What it said before is no proof: it may have stood still, or been cut off, and have acknowledged more since. A
        slot that is here already is through without one. ``forced``: why there is none; it is taken back all the same.
        """
        asked = StandAside(slot=slot, epoch=0, peer=other)
        try:
            found, unsaid = await cells.vectors(cell, asked), forced
            if not forced:
                try:
                    found = await cells.vectors(cell, msgspec.structs.replace(asked, last_word=True))
                except EisbachError as error:
                    unsaid = _unsaid(other, error, here=found.state == "active")
            here = found.state == "active"
            proved = not unsaid and bool(found.peer or not found.vector) and covers(found.vector, found.peer)
            if (proved or forced) and found.state == "away":
                back = await cells.stand_aside(cell, msgspec.structs.replace(asked, epoch=found.epoch + 1))
                # The other region goes on writing meanwhile: what was proved is what was looked at before.
                found = msgspec.structs.replace(back, vector=found.vector, peer=found.peer)
        except EisbachError as error:
            return _Tried(_unanswered(cell, error), through=False)
        why = _not_the_owners(cell, found) or unsaid or f"this region lacks ops of region {other}"
        back_now = found.state == "active"
        if back_now:
            why = f"it serves here: {why}" if here else f"taken back by --force: {why}"
        return _Tried(_proof(cell, found, proved and back_now, why), through=back_now)


def _unsaid(other: str, error: EisbachError, *, here: bool) -> str:
    gone = "" if here else "; if it is gone for good, --force takes the slot back"
    return (
        f"what it has in region {other} now is not known, and what it took there last may be missing here: {error}."
        f" See that it answers (eisbach status), then repeat this{gone}"
    )


def _named(tried: _Tried, differs: _Differs | None, action: str) -> _Tried:
    """Of one that differs and is through: forced, and not proved."""
    if differs is None or not tried.proof.proved:
        return tried
    forced = f"{differs.trouble}; --force {'left' if action == 'evacuate' else 'took back'} it all the same"
    return _Tried(msgspec.structs.replace(tried.proof, proved=False, trouble=forced), through=True)


def _gates() -> defaultdict[str, asyncio.Semaphore]:
    return defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))


def _not_the_owners(cell: str, found: StoodAside) -> str:
    """Why a cell that the slot map names can neither leave the slot nor take it back; empty: it can."""
    if found.state in ("active", "away", "frozen"):
        return ""
    return (
        f"{cell} has it {found.state or 'not'}: the slot map does not know yet whose it is; try again in some seconds"
    )


def _untouched(differs: _Differs, other: str) -> SlotProof:
    """Of a slot that nobody forced: what that means, and what to do."""
    served = f"region {other} serves it" if differs.found.state == "away" else "it is served here"
    why = (
        f"{differs.trouble}: what one acknowledged may be missing in the other. It stays as it is, {served}. Find out"
        " which of the two cells is damaged and make that one anew (docs/backup.md); they are compared every ten"
        " minutes: once they are equal, repeat this. With --force it goes now, unproved"
    )
    return _proof(differs.cell, differs.found, False, why)


def _unanswered(cell: str, error: EisbachError) -> SlotProof:
    return SlotProof(cell=cell, epoch=0, vector={}, other={}, proved=False, trouble=str(error))


def _proof(cell: str, found: StoodAside, proved: bool, trouble: str) -> SlotProof:
    return SlotProof(
        cell=cell,
        epoch=found.epoch,
        vector=found.vector,
        other=found.peer,
        proved=proved,
        trouble="" if proved else trouble,
    )
