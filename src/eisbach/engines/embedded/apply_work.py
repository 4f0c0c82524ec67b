"""Foreign ops on their way into the log: logged under their own numbers, merged, or held until their time comes.

Promises: everything is checked before anything is changed; order per origin is required, repeats are dropped.
An op of an epoch that the log has left behind and that the log lacks is the tail of an owner that was thought lost:
it is logged and merged all the same (nothing acknowledged is discarded), without moving the vector.
"""

from collections.abc import Iterable, Sequence
from enum import Enum

from eisbach.engines.embedded.disk import rows
from eisbach.engines.embedded.group import Group, ItemPlace
from eisbach.engines.embedded.slot_rows import HeldOp, SlotRows
from eisbach.engines.embedded.works import Desk, Work, owned
from eisbach.kernel.erasure import erases, scrubbed
from eisbach.kernel.errors import SlotMoved
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports import store_rules
from eisbach.ports.store import Applied

__all__ = ["ApplyWork", "Way", "sort_ops", "take_in"]


class Way(Enum):
    """How an op came here."""

    PULLED = "from the twin"
    COPIED = "by a move: the source's relay has published it, the source's conflict log has its loser"
    HELD = "so too, and held at the source, which has listed no loser yet: whatever time it is, it waits here as well"
    SHOWN = "so too, applied at the source and not from the future here: it waits behind nothing"


class ApplyWork(Work):
    """A batch that a twin sent."""

    __slots__ = ("ops", "slot")

    def __init__(self, slot: Slot, ops: Sequence[Op]) -> None:
        self.slot, self.ops = slot, ops

    @property
    def weight(self) -> int:
        """Its ops."""
        return max(1, len(self.ops))

    def places(self, desk: Desk) -> Iterable[ItemPlace]:
        """The items that the ops change."""
        slot = desk.slots.get(self.slot)
        if slot is None:
            return ()
        return [(slot.number, op.change.pk, op.change.sk) for op in self.ops if op.change is not None]

    def decide(self, desk: Desk, group: Group) -> Applied:
        """Check the whole batch, then log and merge it."""
        slot = owned(desk, self.slot, "active", "importing", "frozen", "away")
        if slot.state == "importing" and slot.move:
            # Acknowledged here and lost with an abort: during a move only the source takes the twin's ops.
            raise SlotMoved(slot.name, asked=desk.cell, owner=None, epoch=slot.epoch)
        store_rules.check_frozen(slot.name, slot.state, slot.move, "inbound ops")
        fresh, late = sort_ops(desk, slot, self.ops)
        changed = conflicts = 0
        for op in late:
            one, other = take_in(desk, group, slot, op, late=True)
            changed, conflicts = changed + one, conflicts + other
        of_fresh, among_fresh = _take_in_all(desk, group, slot, fresh)
        return Applied(dict(slot.marks), changed + of_fresh, conflicts + among_fresh, len(slot.held))


def take_in(
    desk: Desk, group: Group, slot: SlotRows, op: Op, *, late: bool, way: Way = Way.PULLED
) -> tuple[bool, bool]:
    """Log an op, then merge it or hold it until its time comes: (item changed, conflict).

    Args:
        desk: what the writer lays before the work.
        group: gets the rows.
        slot: whose log it is.
        op: checked by ``sort_ops``.
        late: of an epoch that the log has left behind.
        way: how it came.
    """
    if op.change is not None and op.change.pk in slot.erased and not erases(op.change):
        op = scrubbed(op)  # what is logged is what counts from here on
    lsn = group.log(slot.number, op) if way is Way.PULLED else group.log_imported(slot.number, op)
    slot.logged(op, region=desk.region)
    group.touched[slot.number] = slot
    if way is Way.HELD or (way is not Way.SHOWN and (slot.held or desk.is_future(op.hlc))):
        slot.hold(HeldOp(lsn, op.hlc, op.origin, Mark(op.epoch, op.seq)))
        desk.hold(slot)
        group.rows["held"].append((slot.number, lsn, op.hlc))
        return False, False
    return desk.merge(group, slot, op, late=late, keep=way is Way.PULLED)


def _take_in_all(desk: Desk, group: Group, slot: SlotRows, fresh: Sequence[Op]) -> tuple[int, int]:
    """``take_in`` of all, with short cuts for what nearly all are after a cut: another region's, of now, with nothing
    held and nobody erased. Their marks move once, at the end.
    """
    changed = conflicts = 0
    number, region, horizon = slot.number, desk.region, desk.horizon
    log, merge = group.log, desk.merge
    last: dict[str, Op] = {}
    for op in fresh:
        if op.origin == region or op.hlc >= horizon or slot.held or slot.erased:
            one, other = take_in(desk, group, slot, op, late=False)
        else:
            log(number, op)
            last[op.origin] = op
            one, other = merge(group, slot, op)
        changed, conflicts = changed + one, conflicts + other
    for op in last.values():
        slot.logged(op, region=region)
        group.touched[number] = slot
    return changed, conflicts


def sort_ops(desk: Desk, slot: SlotRows, ops: Sequence[Op]) -> tuple[list[Op], list[Op]]:
    """See ``ports.store_rules.sort_ops``."""
    return store_rules.sort_ops(slot.name, slot.marks, ops, lambda op: _is_logged(desk, slot, op))


def _is_logged(desk: Desk, slot: SlotRows, op: Op) -> bool:
    """Whether the log holds the op, or held it before it was pruned."""
    query = (
        "SELECT EXISTS(SELECT 1 FROM ops WHERE slot=? AND origin=? AND epoch=? AND seq=?)"
        " OR EXISTS(SELECT 1 FROM floors WHERE slot=? AND origin=? AND (epoch, seq) >= (?, ?))"
    )
    place = (slot.number, op.origin, op.epoch, op.seq)
    return bool(rows(desk.database, query, place + place)[0][0])
