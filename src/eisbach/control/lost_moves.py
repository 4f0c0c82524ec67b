"""Moves that cells know of and no record does: they were lost with the control store.

A move is on record before any cell hears of it, so with a store that lost nothing no lease bears a higher move than its
slot's record. Where one does, the record is made anew from what the cells say; ``Mover`` then tells them all, and the
slot map follows: the edge's map, from which a lost store begins, may not have had the last moves yet.
Promises: nothing is decided by a cell that does not answer, unless two others agree without it; what waits is said.
Until it is decided a slot that is frozen stays read-only. May not know: HTTP.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from eisbach.cell.moving import LeaseView, Settle
from eisbach.control.slot_record import LOST, RECORD_LOST, SlotRecord, SlotRecords
from eisbach.kernel.errors import EisbachError, Unavailable
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore

__all__ = ["LostMoves"]

_AGAIN_EVERY_S: Final = 5.0
_SERVES: Final = ("active", "away")
_logger = structlog.get_logger(__name__)


class AskedCells(Protocol):
    """How cells of the region are reached by name; see ``moves.MoveCells``."""

    async def all_leases(self, cell: str) -> Mapping[str, LeaseView]:
        """Every lease row, by slot."""
        ...

    async def look(self, cell: str, slot: str) -> LeaseView:
        """The lease row."""
        ...

    async def settle(self, cell: str, asked: Settle) -> LeaseView:
        """ACTIVATE or GONE."""
        ...


class LostMoves:
    """One per region, in its control process; looks once at every start, and makes records anew for ``Mover``.

    Whether the store was lost is not asked: a start that was killed half way has nothing to remember. Leases are looked
    at before records are read, so a move that begins meanwhile is known.
    """

    def __init__(
        self,
        store: ControlStore,
        cells: AskedCells,
        *,
        names: Callable[[], Sequence[str]],
        slots: Callable[[], Sequence[str]],
        clock: Clock,
    ) -> None:
        """``names``: every cell that can have slots, whatever its state; ``slots``: those that can move."""
        self._cells, self._names, self._slots, self._clock = cells, names, slots, clock
        self._records = SlotRecords(store)
        self.waits: dict[str, str] = {}
        """Slot -> why it is not known yet how its last move ended."""
        self._silent: dict[str, str] = {}
        """Cell -> why it did not answer in this look: it is not waited for at each slot anew."""

    async def run(self) -> None:
        """Until every cell has answered, and no move is unknown."""
        todo = set(self._names())
        while todo := await self._look(todo):
            await self._clock.sleep(_AGAIN_EVERY_S)

    async def _look(self, todo: set[str]) -> set[str]:
        """Which of these cells must be asked again."""
        names = sorted(todo)
        told = await asyncio.gather(*(self._cells.all_leases(name) for name in names), return_exceptions=True)
        heard = dict[str, Mapping[str, LeaseView]]()
        silent = self._silent = {}
        for name, found in zip(names, told, strict=True):
            if isinstance(found, EisbachError):
                silent[name] = str(found)
            elif isinstance(found, BaseException):
                raise found
            else:
                heard[name] = found
        waits = dict[str, str]()
        again = set(silent)
        for slot in self._slots():
            tell = {name for name, leases in heard.items() if slot in leases}
            latest = max((heard[name][slot].move for name in tell), default=0)
            if why := await self._known(slot, latest) if latest else "":
                waits[slot] = why
                again |= tell
        self.waits.clear()
        self.waits.update(waits)
        if again:
            _logger.info("lost_moves_wait", cells=silent, slots=waits)
        return again

    async def _known(self, slot: str, latest: int) -> str:
        """Why it cannot be known yet how the slot's last move ended; empty: it is on record."""
        try:
            record, revision = await self._records.get(slot)
            if record is not None and record.move >= latest and record.phase != LOST:
                return ""
            if record is None or record.phase != LOST:
                found, silent = await self._ask(slot)
                _wait_for(record, found)
                record = how_it_ended(slot, found, silent, now_ms=self._clock.wall_ms())
                # On record before anybody is told: else a move that begins now could commit by what is let go of.
                revision = await self._records.put(record, expected=revision)
            if not await self._let_go(record):
                record = how_it_ended(slot, *await self._ask(slot), now_ms=self._clock.wall_ms())
                revision = await self._records.put(record, expected=revision)
            await self._records.put(msgspec.structs.replace(record, phase="settled"), expected=revision)
        except EisbachError as error:
            return str(error)
        _logger.warning("move_record_was_lost", slot=slot, move=record.move, owner=record.owner)
        return ""

    async def _ask(self, slot: str) -> tuple[dict[str, LeaseView], str]:
        """What every cell has, and which do not say."""
        names = [name for name in self._names() if name not in self._silent]
        told = await asyncio.gather(*(self._cells.look(name, slot) for name in names), return_exceptions=True)
        found = dict[str, LeaseView]()
        for name, one in zip(names, told, strict=True):
            if isinstance(one, EisbachError):
                self._silent[name] = str(one)
            elif isinstance(one, BaseException):
                raise one
            else:
                found[name] = one
        return found, "; ".join(f"{name}: {why}" for name, why in self._silent.items())

    async def _let_go(self, record: SlotRecord) -> bool:
        """Before ``Mover`` tells anybody: else an ACTIVATE of the lost process, still on its way, makes two owners.

        False: one came first (the same epoch, so the later of the two changes nothing), and the target serves. Nobody
        has been told otherwise yet. Found by the soak, seed 657419: a cell that stood still had it in its buffer.
        """
        if record.outcome != "aborted" or record.target == record.owner:
            return True
        told = Settle(slot=record.slot, move=record.move, epoch=record.epoch, owner=record.owner)
        return (await self._cells.settle(record.target, told)).state not in _SERVES


def _wait_for(record: SlotRecord | None, found: Mapping[str, LeaseView]) -> None:
    """A move that ``Mover`` drives ends first; it opens none whose source heard of one that is not on record."""
    if record is None or record.phase == "settled":
        return
    if record.phase == "moving" or record.source not in found or found[record.source].move <= record.move:
        raise Unavailable(f"slot {record.slot} is on its way to {record.target} (move {record.move}), which ends first")


def how_it_ended(slot: str, found: Mapping[str, LeaseView], silent: str, *, now_ms: int) -> SlotRecord:
    """The record of the last move, by the leases of the cells that answered.

    The source of a move that was cut cannot know how that ended. Its target does: it serves under a higher epoch, or,
    once it was told, never will by that move. So whoever serves under the highest epoch is the owner, and a source that
    is frozen under one that nobody serves above takes the slot back.

    Args:
        slot: as the record has it.
        found: cell -> its lease.
        silent: which cells did not answer, and why; empty: all did.
        now_ms: from now on it is waited until what was left behind is let go of.

    Raises:
        Unavailable: it cannot be known by these.
    """
    top = max((one.epoch for one in found.values()), default=0)
    serving = [name for name, one in found.items() if one.state in _SERVES and one.epoch == top]
    frozen = [name for name, one in found.items() if one.state == "frozen" and one.epoch == top]
    importing = [name for name, one in found.items() if one.state == "importing"]
    owner = next(iter((*serving, *frozen)), None)
    agreed = any(one.state == "gone" and one.owner == owner for one in found.values())
    if owner is None or (silent and not (serving and agreed)):
        has = [f"{name} has it {one.state} under epoch {one.epoch}" for name, one in found.items() if one.state]
        known = ", ".join(has) or "no cell that answers has it"
        raise Unavailable(f"whose slot {slot} is cannot be known yet: {known}; {silent or 'nobody serves it'}")
    aborted = not serving or bool(importing)
    # An import ends with an epoch above its source's; one that is away takes none, and keeps its own.
    epoch = top + 1 if aborted and found[owner].state != "away" else top
    others = sorted((n for n in found if n != owner), key=lambda name: (found[name].move, found[name].epoch))
    other = importing[0] if aborted and importing else others[-1] if others else owner
    return SlotRecord(
        slot=slot,
        owner=owner,
        epoch=epoch,
        move=max(one.move for one in found.values()),
        phase=LOST,
        source=owner if aborted else other,
        target=other if aborted else owner,
        began_ms=now_ms,
        ended_ms=now_ms,
        outcome="aborted" if aborted else "committed",
        reason=f"{RECORD_LOST}; so say {'both' if silent else 'all'} cells",
        told=tuple(sorted(name for name in {owner, other} if found[name].epoch >= epoch)),
        kept={n: found[n].move for n in others if n != other and found[n].state == "gone"},
    )
