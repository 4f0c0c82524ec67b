"""What the records of moves have against a store that may be an older copy of itself (P21).

A copy from before a slot came or left believes that it owns what it has given away, or does not know what it was given;
hub and twin cannot tell as long as nobody has written there. The record can: a cell is noted in ``told`` only after its
lease row was on disk, a slot moves on only when both cells were told, and a commit needs the target's import to be
whole. So a row that is behind is an older one. Moves that the cell takes part in are given up first; an unproved store
takes part in none, and is neither evacuated nor taken back (``whereabouts``), so its rows stay as they were opened.
May not know: how the control process is reached.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from eisbach.control.evacuation import EvacuationRecord
from eisbach.control.moves import SlotRecord
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Lease

__all__ = ["RecordsWord", "evacuation_says", "records_say"]

_OWNED: Final = ("active", "frozen", "away")


class RecordsWord(NamedTuple):
    """What the records say of a cell's store."""

    why: str
    """It is an older copy; empty: nothing speaks against it."""
    elsewhere: frozenset[Slot]
    """Another cell's by now: who holds more of them speaks against nothing."""
    arrived: frozenset[Slot]
    """The cell's, though it has not heard so yet: the import was whole when the move was committed."""


def records_say(records: Iterable[SlotRecord], leases: Mapping[Slot, Lease], cell: str) -> RecordsWord:
    """``records``: none of a move of the cell that is under way; ``leases``: as the store was opened."""
    elsewhere, arrived = set[Slot](), set[Slot]()
    for record in records:
        slot = Slot.parse(record.slot)
        lease = leases.get(slot)
        if record.owner != cell:
            elsewhere.add(slot)
        elif record.outcome == "committed" and cell not in record.told:
            arrived.add(slot)
        if not _fits(record, lease, cell):
            has = f"has it {lease.state} under epoch {lease.epoch}" if lease is not None else "does not have it"
            why = f"slot {slot} is {record.owner}'s under epoch {record.epoch} since move {record.move}, and it {has}"
            return RecordsWord(why, frozenset(elsewhere), frozenset(arrived))
    return RecordsWord("", frozenset(elsewhere), frozenset(arrived))


def evacuation_says(record: EvacuationRecord | None, leases: Mapping[Slot, Lease], cell: str) -> str:
    """What an evacuation or a return has against the rows as the store was opened; empty: nothing (seed 6177)."""
    if record is None:
        return ""
    for text, proof in record.slots.items():
        lease = leases.get(Slot.parse(text))
        if proof.cell == cell and lease is not None and lease.state in _OWNED and lease.epoch < proof.epoch:
            return f"slot {text} was under epoch {proof.epoch} in the last {record.action}, and it has {lease.epoch}"
    return ""


def _fits(record: SlotRecord, lease: Lease | None, cell: str) -> bool:
    """Whether a store that has lost nothing may have this row."""
    if lease is not None and lease.epoch >= record.epoch:
        return True  # of the two it is not the row that is behind
    if record.owner != cell:
        if lease is None or lease.state == "gone":
            return True  # a store that was made anew has no row, or one of its own, of what it does not own
        if cell in record.told or cell not in (record.source, record.target):
            return False
        if cell == record.source:  # a commit needs the freeze, on its disk
            return lease.state == "frozen" and lease.move == record.move
        return lease.state not in _OWNED
    if lease is None or cell in record.told:
        return False
    if record.outcome == "committed":
        return lease.state == "importing" and lease.move == record.move
    return lease.state in _OWNED and lease.epoch == record.epoch - 1
