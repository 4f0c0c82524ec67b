"""The works of the one writer: each decides against memory and the group, and refuses before it has changed anything.

Promises: a work that raises has left slot rows, group and clock as they were, except that a stamp may be used up.
May not know: threads, transactions of SQLite, callers.
"""

import asyncio
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final, Protocol

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.engines.embedded.group import Group, ItemPlace, KeyRow
from eisbach.engines.embedded.slot_rows import HeldOp, SlotRows
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import SlotMoved
from eisbach.kernel.events import EventDraft
from eisbach.kernel.hlc import hlc_ms
from eisbach.kernel.limits import OPLOG_KEPT
from eisbach.kernel.merge import Stored
from eisbach.kernel.ops import ItemChange, Op, decode_op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector, Version
from eisbach.ports.store import Lease, Receipt, Transaction
from eisbach.ports.store_rules import (
    KEY_KEPT_MS,
    WRITABLE,
    check_epoch,
    check_erased,
    check_frozen,
    check_lease,
    check_read,
    linked,
)

__all__ = ["Desk", "LeaseWork", "PruneWork", "ReleaseWork", "TransactWork", "Work", "new_rows", "owned"]

_LOG_KEPT_MS: Final = int(OPLOG_KEPT.total_seconds() * 1000)
_change_of: Final = attrgetter("change")


class Desk(Protocol):
    """What the writer lays before a work."""

    region: str
    cell: str
    database: apsw.Connection
    slots: dict[Slot, SlotRows]
    horizon: int
    """An op of this stamp or a later one must be held."""

    def stamp(self) -> int:
        """A new hybrid timestamp; raises Overloaded when the clock has run too far ahead."""
        ...

    def is_future(self, hlc: int) -> bool:
        """Whether an op of this stamp must be held."""
        ...

    def hold(self, slot: SlotRows) -> None:
        """The slot now has held ops."""
        ...

    def merge(
        self, group: Group, slot: SlotRows, op: Op, *, late: bool = False, keep: bool = True
    ) -> tuple[bool, bool]:
        """Merge an op's change: (item changed, loser told apart); ``keep``: the loser goes to the conflict log."""
        ...

    def release(self, group: Group, slot: SlotRows, may: Callable[[HeldOp], bool], *, keep: bool = True) -> None:
        """Merge what was held, in log order, as far as time has come and ``may`` allows."""
        ...

    def observe(self, hlc: int) -> None:
        """What is stamped from now on sorts after ``hlc``."""
        ...

    def number(self) -> int:
        """A number for a slot's rows that no other ever had in this file, one set aside included."""
        ...


class Work:
    """Something for the writer to do, and who waits for it."""

    __slots__ = ("future", "since_ms")

    limited = False
    """Whether it is refused after 50 ms in the queue."""
    future: "asyncio.Future[Any]"
    since_ms: int

    @property
    def weight(self) -> int:
        """How much of a group it takes."""
        return 1

    def places(self, desk: Desk) -> Iterable[ItemPlace]:
        """Items that it will ask for; loaded for the whole group at once."""
        del desk
        return ()

    def decide(self, desk: Desk, group: Group) -> Any:
        """Check, then change memory and group; the result is told after the commit."""
        raise NotImplementedError


def owned(desk: Desk, slot: Slot, *states: str) -> SlotRows:
    """The slot's rows when its lease is in one of ``states``."""
    found = desk.slots.get(slot)
    if found is None or not found.leased or found.state not in states:
        owner, epoch = (found.owner, found.epoch) if found else (None, 0)
        raise SlotMoved(str(slot), asked=desk.cell, owner=owner, epoch=epoch)
    return found


def new_rows(desk: Desk, group: Group, slot: Slot) -> SlotRows:
    """Rows for a slot that the file does not know, or no longer."""
    found = desk.slots[slot] = SlotRows(desk.number(), str(slot))
    group.rows["slots"].append((found.number, found.name))
    return found


class TransactWork(Work):
    """A viewer's write."""

    __slots__ = ("slot", "transaction")

    limited = True

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.slot: SlotRows | None = None

    def places(self, desk: Desk) -> Iterable[ItemPlace]:
        """What it writes and what it has read."""
        transaction = self.transaction
        self.slot = slot = desk.slots.get(transaction.slot)
        if slot is None:
            return ()
        number = slot.number
        wanted = [
            (number, change.pk, change.sk) for change in map(_change_of, transaction.writes) if change is not None
        ]
        if transaction.reads:
            wanted += [(number, *key) for key in transaction.reads]
        return wanted

    def decide(self, desk: Desk, group: Group) -> Receipt:
        """Lease, key, epoch, reads; then ops and items."""
        transaction, slot = self.transaction, self.slot
        if slot is None or not slot.leased or slot.state not in WRITABLE:
            slot = owned(desk, transaction.slot, *WRITABLE)
        if transaction.key is not None and (told := _told(desk, group, slot, transaction)) is not None:
            return told
        check_frozen(slot.name, slot.state, slot.move, "its writes")
        mark = slot.marks.get(desk.region)
        check_epoch(slot.name, epoch=slot.epoch, decided=transaction.epoch, mark=mark)
        if slot.erased:
            check_erased(slot.erased, transaction)
        for key, wanted in transaction.reads.items():
            stored = group.stored(desk.database, (slot.number, *key))
            check_read(slot.name, key, stored.version if stored is not None and stored.live else None, wanted)
        return self._write(desk, group, slot)

    def _write(self, desk: Desk, group: Group, slot: SlotRows) -> Receipt:
        transaction, epoch, region, seq = self.transaction, slot.epoch, desk.region, slot.seq
        hlc = desk.stamp()
        last = seq + len(transaction.writes)
        for write in transaction.writes:
            seq += 1
            change, event = write.change, write.event
            if change is not None:
                change = _put(desk, group, slot.number, change, Version(hlc, region, seq))
                if change.sk == ERASED:
                    group.erase(slot, change.pk)
            if event is not None:
                event = _chained(slot, event, seq)
            group.log(slot.number, Op(slot.name, region, epoch, seq, hlc, change, event, seq < last))
        slot.seq = seq
        mark = slot.marks[region] = Mark(epoch, seq)
        group.touched[slot.number] = slot
        if transaction.key is not None:
            expires = group.now_ms + KEY_KEPT_MS
            kept = KeyRow(transaction.answer, epoch, seq, hlc, expires)
            group.keys[slot.number, transaction.key.scope, transaction.key.key] = kept
        return Receipt(mark, hlc, repeated=False, answer=transaction.answer)


def _told(desk: Desk, group: Group, slot: SlotRows, transaction: Transaction) -> Receipt | None:
    """The answer that an earlier call under the same key got."""
    assert transaction.key is not None
    scope, key = transaction.key
    row = group.keys.get((slot.number, scope, key))
    if row is None:
        query = "SELECT answer, epoch, seq, hlc, expires_ms FROM keys WHERE slot=? AND scope=? AND key=?"
        found = rows(desk.database, query, (slot.number, scope, key))
        row = KeyRow(*found[0]) if found else None
    if row is None or row.expires_ms <= group.now_ms:
        return None
    return Receipt(Mark(row.epoch, row.seq), row.hlc, repeated=True, answer=row.answer)


def _put(desk: Desk, group: Group, number: int, change: ItemChange, version: Version) -> ItemChange:
    """Put an item and return the change with its base filled in."""
    pk, sk, value = change.pk, change.sk, change.value
    stored = group.stored(desk.database, (number, pk, sk))
    hlc, origin, seq = version
    if stored is None:
        group.put((number, pk, sk), value, Stored(hlc, origin, seq, 0, "", value is not None))
        return ItemChange(pk, sk, value)
    group.put((number, pk, sk), value, Stored(hlc, origin, seq, stored.hlc, stored.origin, value is not None))
    return ItemChange(pk, sk, value, Version(stored.hlc, stored.origin, stored.seq))


def _chained(slot: SlotRows, event: EventDraft, seq: int) -> EventDraft:
    """The event with what came before it filled in."""
    epoch, last = slot.epoch, slot.last_events.get(event.type)
    slot.last_events[event.type] = Mark(epoch, seq)
    return linked(event, last, epoch=epoch)


class LeaseWork(Work):
    """Compare and set a lease row."""

    __slots__ = ("expected", "lease", "slot")

    def __init__(self, slot: Slot, expected: Lease | None, lease: Lease) -> None:
        self.slot, self.expected, self.lease = slot, expected, lease

    def decide(self, desk: Desk, group: Group) -> None:
        """Refuse what would let an epoch fall or a seq be used twice."""
        lease, slot = self.lease, desk.slots.get(self.slot)
        found = slot.lease if slot is not None else None
        held = slot.marks.get(desk.region) if slot is not None else None
        check_lease(self.slot, lease, expected=self.expected, found=found, held=held)
        if slot is None:
            slot = new_rows(desk, group, self.slot)
        slot.set(lease)
        group.touched[slot.number] = slot
        group.save = True


class ReleaseWork(Work):
    """Nothing of its own: every group first applies the held ops whose time has come."""

    __slots__ = ()

    def decide(self, desk: Desk, group: Group) -> None:
        """Done before."""


class PruneWork(Work):
    """Forget ops at the tail of a slot's log, oldest first."""

    __slots__ = ("acknowledged", "limit", "relayed_lsn", "slot")

    def __init__(self, slot: Slot, acknowledged: Vector, relayed_lsn: int, limit: int) -> None:
        self.slot, self.acknowledged, self.relayed_lsn, self.limit = slot, acknowledged, relayed_lsn, limit

    def decide(self, desk: Desk, group: Group) -> int:
        """Stop at the first op of an origin that somebody may still need."""
        slot = desk.slots.get(self.slot)
        if slot is None:
            return 0
        last_lsn = min(self.relayed_lsn, slot.held[0].lsn - 1) if slot.held else self.relayed_lsn
        forgotten = 0
        query = "SELECT lsn, body FROM ops WHERE slot=? AND origin=? ORDER BY epoch, seq LIMIT ?"
        for origin, wanted in sorted(self.acknowledged.items()):
            floor: Mark | None = None
            for lsn, body in rows(desk.database, query, (slot.number, origin, self.limit - forgotten)):
                op = decode_op(body)
                mark = Mark(op.epoch, op.seq)
                young = hlc_ms(op.hlc) + _LOG_KEPT_MS > group.now_ms
                if lsn > last_lsn or mark > wanted or young:
                    break
                group.rows["forgotten"].append((lsn,))
                floor = mark
                forgotten += 1
            if floor is not None:
                group.save = True  # what is forgotten cannot be replayed
                group.rows["floors"].append((slot.number, origin, *floor))
        return forgotten
