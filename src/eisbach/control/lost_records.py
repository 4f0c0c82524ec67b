"""What cells know of a move whose record was lost with the control store.

A cell is told that a slot is gone only after the record said so, so a source that is gone under a move that the record
does not know proves that the record was lost; when the owner that it names says the same, the record is made anew.
Pure. May not know: who asks the cells.
"""

import msgspec

from eisbach.cell.moving import LeaseView
from eisbach.control.slot_record import SlotRecord

__all__ = ["made_anew"]


def made_anew(record: SlotRecord, source: LeaseView, owner: LeaseView, *, now_ms: int) -> SlotRecord | None:
    """The record of the move that both leases tell of; None when they do not agree, or it is known.

    Args:
        record: of a move that was just asked for.
        source: lease at the cell that the record takes for the owner.
        owner: lease at the cell that ``source`` says the slot is gone to.
        now_ms: from now on it is waited until what was left behind is let go of.
    """
    if source.state != "gone" or not source.owner or source.move <= record.move:
        return None
    if owner.state not in ("active", "away") or (owner.move, owner.epoch >= source.epoch) != (source.move, True):
        return None
    return msgspec.structs.replace(
        record,
        phase="settled",
        outcome="committed",
        owner=source.owner,
        target=source.owner,
        epoch=owner.epoch,
        move=source.move,
        ended_ms=now_ms,
        reason="the record was lost; both cells say so",
        told=tuple(sorted((record.source, source.owner))),
        discarded=False,
        kept={},
    )
