"""Whose the slots of a region are when a cell of it is made anew: what the records of moves say, not the map in force.

A map follows its record, and an edge may not have it yet. A restore that believes it takes a slot that another cell
owns by now, or leaves out one that the record gave this cell: nobody would be told again, and the slot had two owners
or none for ever. So moves that this cell takes part in are given up first (a compare-and-set, as every outcome is), and
the rest is read. May not know: how the control process is reached.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from eisbach.control.evacuation import EvacuationRecord
from eisbach.control.slot_record import LOST, SlotRecord
from eisbach.kernel.errors import Invalid, Unavailable, VersionConflict
from eisbach.kernel.slots import Slot

__all__ = ["Decided", "Kept", "Moves", "Whose", "kept_by_others", "owners_by_record", "settled_records", "under_way"]

_TRIES: Final = 5
_WHY: Final = "a cell that takes part in it is made anew"


class Kept(NamedTuple):
    """Another cell of the region still has something of a slot, from its last move."""

    cell: str
    move: int
    whole: bool
    """It gave the slot, and has all up to the cut; else a move that was given up brought it a part, or nothing."""


class Whose(NamedTuple):
    """What the records of moves say of the slots."""

    owners: dict[Slot, str]
    kept: dict[Slot, Kept]
    """Of slots of the cell that is made anew."""
    epochs: dict[Slot, int]
    """Of every slot that ever moved: the cell's next epoch is above."""
    ended: Sequence[SlotRecord] = ()
    """Moves of the cell that were under way, and how each ended: given up by this, or by itself before that."""


class Moves(Protocol):
    """The region's coordinator of moves: ``control.moves.Mover``, or its calls."""

    async def records(self) -> Sequence[SlotRecord]:
        """Every slot that was ever moved."""
        ...

    async def abort(self, slot: Slot, reason: str) -> object:
        """Give up a move that has not committed.

        Raises:
            Invalid: none is under way.
            VersionConflict: something else became of it in between.
        """
        ...


class Decided(Moves, Protocol):
    """All that the region's control process has on record of slots, and where its cells are."""

    async def addresses(self) -> Mapping[str, str]:
        """Cell -> ``host:port``; a cell that is not there is gone for good.

        Raises:
            Unavailable: the control process does not answer, or does not know.
        """
        ...

    async def evacuation(self) -> EvacuationRecord | None:
        """The last evacuation or return of the region."""
        ...


async def owners_by_record(by_map: Mapping[Slot, str], cell: str, moves: Moves) -> Whose:
    """Whose slots are, once none is on its way to or from the cell; ``by_map``: those that never moved.

    Raises:
        Unavailable: the control process does not answer, or new moves begin all the time.
    """
    # The disk is empty: no import is there that an order of the lost control process could activate.
    records, ended = await settled_records(cell, moves, _WHY, lets_go=False)
    owners = {**by_map, **{Slot.parse(one.slot): one.owner for one in records}}
    return Whose(owners, kept_by_others(records, cell), {Slot.parse(one.slot): one.epoch for one in records}, ended)


def kept_by_others(records: Iterable[SlotRecord], cell: str) -> dict[Slot, Kept]:
    """What other cells have not let go of yet, of slots that are this cell's."""
    return {
        Slot.parse(one.slot): Kept(
            one.target if one.source == cell else one.source, one.move, whole=one.outcome == "committed"
        )
        for one in records
        if one.owner == cell and not one.discarded
    }


def under_way(records: Iterable[SlotRecord], cell: str, *, lets_go: bool) -> list[SlotRecord]:
    """The moves that the cell takes part in and that have no end; ``lets_go``: see ``settled_records``."""
    return [
        one
        for one in records
        if one.phase != "settled"
        and cell in (one.source, one.target)
        and (lets_go or one.phase != LOST or one.owner == cell)
    ]


async def settled_records(
    cell: str, moves: Moves, why: str, *, lets_go: bool = True
) -> tuple[Sequence[SlotRecord], Sequence[SlotRecord]]:
    """The records of moves, once those that the cell takes part in have ended or were given up; and these again alone.

    ``lets_go``: whether the cell can be told to let go of an import that a lost record has left open. If not, that is
    not waited for: it would wait for the cell (seed 1689), and as long as it lasts the import is not activated.

    Raises:
        Unavailable: the control process does not answer, or new moves begin all the time.
    """
    seen = set[str]()
    for _ in range(_TRIES):
        records = await moves.records()
        on_their_way = under_way(records, cell, lets_go=lets_go)
        if not on_their_way:
            return records, [one for one in records if one.slot in seen]
        seen.update(one.slot for one in on_their_way)
        for one in on_their_way:
            try:
                await moves.abort(Slot.parse(one.slot), why)
            except (Invalid, VersionConflict):
                continue  # it has ended by itself: the next look says how
    raise Unavailable(f"slots are moved to or from {cell} again and again; wait for their end, then try again")
