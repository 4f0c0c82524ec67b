"""The works of a commit: each decides against memory and the group, and refuses before it has changed anything.

The rules are those of ``ports.store_rules``. May not know: asyncio, DynamoDB, callers.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from eisbach.engines.aws.group import Group, KeyRow
from eisbach.engines.aws.memory import Desktop
from eisbach.engines.aws.slot_rows import HeldOp, SlotRows
from eisbach.engines.aws.unflushed import ItemPlace
from eisbach.kernel.erasure import erases, scrubbed
from eisbach.kernel.errors import SlotMoved
from eisbach.kernel.merge import judge
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector, Version
from eisbach.ports.store import Applied, Lease, Receipt, Transaction
from eisbach.ports.store_rules import (
    KEY_KEPT_MS,
    NOTHING,
    RELEASING,
    WRITABLE,
    check_epoch,
    check_erased,
    check_frozen,
    check_lease,
    check_read,
    linked,
    sort_ops,
)

__all__ = ["ApplyWork", "Desk", "FloorWork", "LeaseWork", "ReleaseWork", "TransactWork", "Work", "merge"]


class Desk(Protocol):
    """What the writer lays before a work."""

    region: str
    cell: str
    slots: Desktop

    def stamp(self) -> int:
        """A new hybrid timestamp; raises Overloaded when the clock has run too far ahead."""
        ...

    def observe(self, hlc: int) -> None:
        """What is stamped from now on sorts after ``hlc``."""
        ...

    def is_future(self, hlc: int) -> bool:
        """Whether an op of this stamp must be held."""
        ...


class Work:
    """Something to do in a commit, and who waits for it. May be decided again after a commit that was refused."""

    limited = False
    """Whether it is refused after 50 ms in the queue."""
    patient = False
    """Whether it may wait a little for others to share its commit."""
    refreshes = False
    """Whether memory is first compared with what is committed."""
    future: "asyncio.Future[Any]"
    since_ms: int
    rows = 1
    """Rows that it writes at most."""
    bytes = 0
    """That it writes at most, without names and keys."""

    def items(self, group: Group) -> Iterable[ItemPlace]:
        """Items that it will ask for; what ``ops`` named has been read."""
        del group
        return ()

    def answers(self) -> Iterable[tuple[str, str, str]]:
        """Keys that it will ask for."""
        return ()

    def ops(self, desk: Desk) -> Iterable[tuple[str, str, Mark]]:
        """Ops that it will ask for."""
        del desk
        return ()

    def decide(self, desk: Desk, group: Group) -> Any:
        """Check, then change memory and group; the result is told after the commit."""
        raise NotImplementedError


def owned(desk: Desk, slot: Slot, *states: str) -> tuple[SlotRows, Lease]:
    """The slot's rows and lease when that is in one of ``states``."""
    found = desk.slots.get(slot)
    lease = found.lease if found is not None else None
    if found is None or lease is None or lease.state not in states:
        owner, epoch = (lease.owner, lease.epoch) if lease else (None, 0)
        raise SlotMoved(str(slot), asked=desk.cell, owner=owner, epoch=epoch)
    return found, lease


class TransactWork(Work):
    """A viewer's write."""

    limited = True

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.patient = transaction.key is None  # what has a key is what a viewer waits for: a start, a purchase
        self.rows = 3 * len(transaction.writes) + 2
        self.bytes = 2 * sum(
            len(w.change.value or b"") if w.change else 0 for w in transaction.writes
        ) + sum(len(w.event.data) if w.event else 0 for w in transaction.writes) + len(transaction.answer)  # fmt: skip

    def items(self, group: Group) -> Iterable[ItemPlace]:
        """What it writes and what it has read."""
        del group
        slot = str(self.transaction.slot)
        yield from (ItemPlace(slot, w.change.pk, w.change.sk) for w in self.transaction.writes if w.change is not None)
        yield from (ItemPlace(slot, *key) for key in self.transaction.reads)

    def answers(self) -> Iterable[tuple[str, str, str]]:
        """Its own key."""
        return [(str(self.transaction.slot), *self.transaction.key)] if self.transaction.key is not None else ()

    def decide(self, desk: Desk, group: Group) -> Receipt:
        """Lease, key, epoch, reads; then ops and items."""
        transaction = self.transaction
        slot, lease = owned(desk, transaction.slot, *WRITABLE)
        for place in self.answers():
            told = group.keys.get(place)
            if told is not None and told.expires_ms > group.now_ms and place[1] not in slot.erased:
                return Receipt(told.mark, told.hlc, repeated=True, answer=told.answer)
        check_frozen(slot.name, lease.state, lease.move, "its writes")
        mark = slot.marks.get(desk.region)
        check_epoch(slot.name, epoch=lease.epoch, decided=transaction.epoch, mark=mark)
        check_erased(slot.erased, transaction)
        for key, wanted in transaction.reads.items():
            known = group.items.get(ItemPlace(slot.name, *key))
            check_read(
                slot.name, key, known.stored.version if known is not None and known.stored.live else None, wanted
            )
        return self._write(desk, group, slot, lease)

    def _write(self, desk: Desk, group: Group, slot: SlotRows, lease: Lease) -> Receipt:
        transaction, seq, hlc = self.transaction, lease.seq, desk.stamp()
        last = seq + len(transaction.writes)
        for write in transaction.writes:
            seq += 1
            change, event = write.change, write.event
            if change is not None:
                place, version = ItemPlace(slot.name, change.pk, change.sk), Version(hlc, desk.region, seq)
                known = group.items.get(place)
                base = known.stored.version if known is not None else None
                change = ItemChange(change.pk, change.sk, change.value, base)
                if erases(change) and change.pk not in slot.erased:
                    group.erase(slot, change.pk)
                group.put(place, change.value, version, base)
            if event is not None:
                event = linked(event, slot.last_events.get(event.type), epoch=lease.epoch)
            group.log(slot, Op(slot.name, desk.region, lease.epoch, seq, hlc, change, event, seq < last))
        mark = Mark(lease.epoch, seq)
        for place_of_key in self.answers():
            kept = KeyRow(transaction.answer, mark, hlc, group.now_ms + KEY_KEPT_MS)
            group.keep_answer(place_of_key, kept)
        return Receipt(mark, hlc, repeated=False, answer=transaction.answer)


class LeaseWork(Work):
    """Compare and set a lease row."""

    def __init__(self, slot: Slot, expected: Lease | None, lease: Lease) -> None:
        self.slot, self.expected, self.lease = slot, expected, lease

    def decide(self, desk: Desk, group: Group) -> None:
        """Refuse what would let an epoch fall or a seq be used twice."""
        lease, slot = self.lease, desk.slots.get(self.slot)
        found = slot.lease if slot is not None else None
        held = slot.marks.get(desk.region) if slot is not None else None
        check_lease(self.slot, lease, expected=self.expected, found=found, held=held)
        if slot is None:
            slot = desk.slots[self.slot] = SlotRows(self.slot)
        slot.lease = lease
        group.save(slot)


class ApplyWork(Work):
    """Ops that a twin sent, cut at the end of a transaction; ``batch`` is what is checked before the first is taken."""

    patient = True

    def __init__(self, slot: Slot, ops: Sequence[Op], batch: Sequence[Op]) -> None:
        self.slot, self._ops, self._batch = slot, ops, batch
        self.rows = 4 * len(ops) + 1
        self.bytes = sum(
            3 * len(op.change.value or b"") if op.change else 0 for op in ops
        ) + sum(len(op.event.data) if op.event else 0 for op in ops)  # fmt: skip

    def items(self, group: Group) -> Iterable[ItemPlace]:
        """The items that the ops change."""
        del group
        return [ItemPlace(str(self.slot), op.change.pk, op.change.sk) for op in self._ops if op.change is not None]

    def ops(self, desk: Desk) -> Iterable[tuple[str, str, Mark]]:
        """Those of epochs that the log has left: does it hold them?"""
        slot = desk.slots.get(self.slot)
        marks = slot.marks if slot is not None else {}
        for op in self._batch:
            if op.epoch < marks.get(op.origin, NOTHING).epoch:
                yield op.slot, op.origin, Mark(op.epoch, op.seq)

    def decide(self, desk: Desk, group: Group) -> Applied:
        """Check the whole batch, then log and merge these."""
        slot, lease = owned(desk, self.slot, "active", "importing", "frozen", "away")
        if lease.state == "importing" and lease.move:
            raise SlotMoved(slot.name, asked=desk.cell, owner=None, epoch=lease.epoch)
        check_frozen(slot.name, lease.state, lease.move, "inbound ops")
        self._sorted(group, slot, self._batch)
        fresh, late = self._sorted(group, slot, self._ops)
        changed = conflicts = 0
        for op, is_late in [*((op, True) for op in late), *((op, False) for op in fresh)]:
            one, other = _take_in(desk, group, slot, op, late=is_late)
            changed, conflicts = changed + one, conflicts + other
        return Applied(dict(slot.marks), changed, conflicts, len(slot.held))

    def _sorted(self, group: Group, slot: SlotRows, ops: Sequence[Op]) -> tuple[list[Op], list[Op]]:
        """See ``ports.store_rules.sort_ops``."""

        def is_logged(op: Op) -> bool:
            mark = Mark(op.epoch, op.seq)  # pruned: held once, and settled
            return mark <= slot.floors.get(op.origin, NOTHING) or (op.slot, op.origin, mark) in group.bodies

        return sort_ops(slot.name, slot.marks, ops, is_logged)


def _take_in(desk: Desk, group: Group, slot: SlotRows, op: Op, *, late: bool) -> tuple[bool, bool]:
    """Log an op, then merge it or hold it until its time comes: (item changed, conflict)."""
    if op.change is not None and op.change.pk in slot.erased and not erases(op.change):
        op = scrubbed(op)  # what is logged is what counts from here on
    lsn = group.log(slot, op)
    group.bodies[op.slot, op.origin, Mark(op.epoch, op.seq)] = op
    if slot.held or desk.is_future(op.hlc):
        group.hold(slot, HeldOp(lsn, op.hlc, op.origin, Mark(op.epoch, op.seq)))
        return False, False
    return merge(desk, group, slot, op, late=late)


def merge(desk: Desk, group: Group, slot: SlotRows, op: Op, *, late: bool = False) -> tuple[bool, bool]:
    """Merge an op's change into its item: (item changed, loser told apart)."""
    desk.observe(op.hlc)
    change, version = op.change, op.version
    if change is None:
        return False, False
    place = ItemPlace(slot.name, change.pk, change.sk)
    known = group.items.get(place)
    if change.pk in slot.erased or erases(change):
        if not erases(change):
            return False, False
        if change.pk not in slot.erased:
            group.erase(slot, change.pk)
        if known is not None and known.stored.version >= version:
            return False, False
        group.put(place, change.value, version, change.base)
        return True, False
    stored = known.stored if known is not None else None
    verdict = judge(stored, version, change.base, late=late, here=slot.serving(desk.region))
    if verdict.conflict and known is not None:
        mine = known.stored.version
        loser, value = (mine, known.value) if verdict.wins else (version, change.value)
        group.lost(place, loser, value, version if verdict.wins else mine)
    if verdict.wins:
        group.put(place, change.value, version, change.base)
    return verdict.wins, verdict.conflict


class ReleaseWork(Work):
    """Apply held ops whose time has come, in log order per slot."""

    _AT_ONCE: Final = 20

    def __init__(self) -> None:
        self.rows = 4 * self._AT_ONCE

    def ops(self, desk: Desk) -> Iterable[tuple[str, str, Mark]]:
        """The due ones."""
        for slot, held in self._due(desk):
            yield slot.name, held.origin, held.mark

    def items(self, group: Group) -> Iterable[ItemPlace]:
        """What they change."""
        changes = ((op.slot, op.change) for op in group.bodies.values())
        return [ItemPlace(slot, change.pk, change.sk) for slot, change in changes if change is not None]

    def _due(self, desk: Desk) -> list[tuple[SlotRows, HeldOp]]:
        found: list[tuple[SlotRows, HeldOp]] = []
        for slot in desk.slots.with_held():
            if slot.lease is None or slot.lease.state not in RELEASING:
                continue
            for held in slot.held:
                if desk.is_future(held.hlc) or len(found) == self._AT_ONCE:
                    break
                found.append((slot, held))
        return found

    def decide(self, desk: Desk, group: Group) -> int:
        """How many were applied."""
        due = self._due(desk)
        for slot, held in due:
            merge(desk, group, slot, group.bodies[slot.name, held.origin, held.mark])
            group.released(slot)
        return len(due)


class FloorWork(Work):
    """The log of a slot is pruned up to these marks; the rows are deleted afterwards."""

    def __init__(self, slot: Slot, floors: Vector) -> None:
        self.slot, self.floors = slot, floors

    def decide(self, desk: Desk, group: Group) -> None:
        """Floors only rise."""
        slot = desk.slots[self.slot]
        for origin, mark in self.floors.items():
            slot.floors[origin] = max(mark, slot.floors.get(origin, NOTHING))
        group.save(slot)
