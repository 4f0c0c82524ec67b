"""Slots that are frozen under a move that no record knows: the control store was lost in the moment of its cut.

The source cannot know how the move ended. Its target does: it serves under a higher epoch, or, once it was told, never
will by that move. So every other cell is asked, and one that does not answer is waited for: it may be the one that
serves. Until then the slot is read-only. May not know: HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from eisbach.cell.moving import LeaseView, Settle
from eisbach.control.slot_record import RECORDS, SlotRecord
from eisbach.kernel.errors import EisbachError
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore

__all__ = ["FrozenSlots"]

_AGAIN_EVERY_S: Final = 5.0
_logger = structlog.get_logger(__name__)


class AskedCells(Protocol):
    """How cells of the region are reached by name; see ``moves.MoveCells``."""

    async def look(self, cell: str, slot: str) -> LeaseView:
        """The lease row."""
        ...

    async def settle(self, cell: str, asked: Settle) -> LeaseView:
        """ACTIVATE or GONE."""
        ...


class FrozenSlots:
    """One per region, in its control process; looks once at every start, and makes records anew for ``Mover``.

    Whether the store was lost is not asked: a start that was killed half way has nothing to remember. A lease is looked
    at before its record is read, and a move is on record before it freezes, so one that begins meanwhile is known.
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
        """``names``: every cell that can have slots, whatever its state; ``slots``: those that may be frozen."""
        self._store, self._cells, self._names, self._slots, self._clock = store, cells, names, slots, clock

    async def run(self) -> None:
        """Until every cell has answered for every slot."""
        todo = [(slot, cell) for slot in self._slots() for cell in self._names()]
        while todo := [one for one in todo if not await self._done(*one)]:
            await self._clock.sleep(_AGAIN_EVERY_S)

    async def _done(self, slot: str, cell: str) -> bool:
        try:
            lease = await self._cells.look(cell, slot)
            if lease.state == "frozen":
                await self._settle(slot, cell, lease)
        except EisbachError as error:
            _logger.info("frozen_slot_waits", slot=slot, cell=cell, error=str(error))
            return False
        return True

    async def _settle(self, slot: str, cell: str, lease: LeaseView) -> None:
        key = f"{RECORDS}{slot}"
        stored = await self._store.get(key)
        if stored is not None and msgspec.json.decode(stored.value, type=SlotRecord).move >= lease.move:
            return
        others = {name: await self._cells.look(name, slot) for name in self._names() if name != cell}
        record = _ended(slot, cell, lease, others, now_ms=self._clock.wall_ms())
        if record.outcome == "aborted":
            # First of all: else an ACTIVATE of the lost process that is still on its way would make two owners.
            told = Settle(slot=slot, move=record.move, epoch=record.epoch, owner=cell)
            for name, other in others.items():
                if other.state == "importing":
                    await self._cells.settle(name, told)
        await self._store.put(key, msgspec.json.encode(record), expected=stored.revision if stored else 0)
        _logger.warning("move_record_was_lost", slot=slot, move=record.move, owner=record.owner)


def _ended(slot: str, source: str, lease: LeaseView, others: Mapping[str, LeaseView], *, now_ms: int) -> SlotRecord:
    """How the move ended that ``source`` is frozen under."""
    serving = [n for n, other in others.items() if other.state in ("active", "away") and other.epoch > lease.epoch]
    importing = [n for n, other in others.items() if other.state == "importing"]
    target = next(iter((*serving, *importing, *others)), source)
    return SlotRecord(
        slot=slot,
        owner=target if serving else source,
        # Two above: the lost record may have said one above, of either outcome, and a cell may yet hear of it.
        epoch=others[target].epoch if serving else max(one.epoch for one in (lease, *others.values())) + 2,
        move=max(one.move for one in (lease, *others.values())),
        phase="settled",
        source=source,
        target=target,
        began_ms=now_ms,
        ended_ms=now_ms,
        outcome="committed" if serving else "aborted",
        reason="the record was lost; so say all cells",
    )
