"""The works of a move: freeze, open an import, take a piece in, settle, discard, sweep.

Promises: each is fenced by move id and epoch exactly as ``ports.moves`` says; a repeat changes nothing. Wiping is one
renaming: the slot's old rows are set aside under their number and swept in bounded steps, the new ones start empty; so
PREPARE never holds up the cell's other slots. May not know: who moves what, and why.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from eisbach.engines.embedded.apply_work import Way, sort_ops, take_in
from eisbach.engines.embedded.disk import rows
from eisbach.engines.embedded.group import Group, ItemPlace, KeyRow
from eisbach.engines.embedded.slot_rows import SlotRows
from eisbach.engines.embedded.works import Desk, Work, new_rows, owned
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import EpochStale, Unavailable
from eisbach.kernel.merge import Stored
from eisbach.kernel.ops import Op, op_id
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector, Version
from eisbach.ports.moves import CopiedItem, Cut, SlotChunk
from eisbach.ports.store import Lease

__all__ = ["DiscardWork", "FreezeWork", "ImportWork", "OpenImportWork", "SettleWork", "StandAsideWork", "SweepWork"]

_NOTHING: Final = Mark(0, 0)
_TABLES: Final = {
    "items": "pk, sk",
    "ops": "lsn",
    "keys": "scope, key",
    "conflicts": "id",
    "held": "lsn",
    "floors": "origin",
    "vectors": "origin",
    "scrubs": "pk",
    "last_events": "type",
    "leases": "slot",
}
"""Tables with rows of a slot, and what names a row beside the slot."""


class FreezeWork(Work):
    """FREEZE: every write before it is in the cut, every later one is refused; the one writer is the lock."""

    __slots__ = ("epoch", "move", "slot")

    def __init__(self, slot: Slot, move: int, epoch: int) -> None:
        self.slot, self.move, self.epoch = slot, move, epoch

    def decide(self, desk: Desk, group: Group) -> Cut:
        """Only what is active under this epoch, and only for a move that is newer than any before."""
        slot = owned(desk, self.slot, "active", "frozen")
        if slot.state == "frozen" and slot.move == self.move and slot.epoch == self.epoch:
            return _cut(slot)
        if slot.state != "active" or slot.epoch != self.epoch or self.move <= slot.move:
            raise _stale(slot, f"freeze by move {self.move} at epoch {self.epoch}")
        _change(group, slot, Lease(slot.epoch, "frozen", slot.seq, self.move))
        return _cut(slot)


class OpenImportWork(Work):
    """PREPARE at the target: an empty slot that nobody is served from."""

    __slots__ = ("epoch", "move", "slot")

    def __init__(self, slot: Slot, move: int, epoch: int) -> None:
        self.slot, self.move, self.epoch = slot, move, epoch

    def decide(self, desk: Desk, group: Group) -> Lease:
        """Fenced by move and epoch: a late PREPARE of an earlier move wipes nothing."""
        found = desk.slots.get(self.slot)
        if found is not None and found.leased:
            if found.state == "importing" and found.move == self.move:
                return _row(found)
            if found.state in ("active", "frozen") or self.move <= found.move or self.epoch < found.epoch:
                raise _stale(found, f"import by move {self.move} at epoch {self.epoch}")
        slot = _emptied(desk, group, self.slot)
        _change(group, slot, Lease(self.epoch, "importing", 0, self.move))
        return _row(slot)


class ImportWork(Work):
    """A piece of the slot, from ``export``."""

    __slots__ = ("chunk", "move", "slot")

    def __init__(self, slot: Slot, chunk: SlotChunk, move: int) -> None:
        self.slot, self.chunk, self.move = slot, chunk, move

    @property
    def weight(self) -> int:
        """Its rows."""
        chunk = self.chunk
        return max(1, len(chunk.ops) + len(chunk.items) + len(chunk.keys) + len(chunk.conflicts))

    def places(self, desk: Desk) -> Iterable[ItemPlace]:
        """The items that it brings or changes."""
        slot = desk.slots.get(self.slot)
        if slot is None:
            return ()
        changes = [op.change for op in self.chunk.ops if op.change is not None]
        wanted = [(slot.number, change.pk, change.sk) for change in changes]
        return wanted + [(slot.number, item.pk, item.sk) for item in self.chunk.items]

    def decide(self, desk: Desk, group: Group) -> Vector:
        """Check all of it, then log, merge, keep."""
        chunk, slot = self.chunk, desk.slots.get(self.slot)
        if slot is None or slot.state != "importing" or slot.move != self.move:
            raise _stale(slot, f"a piece of move {self.move}", self.slot)
        _refuse_ahead(desk, slot, chunk)
        before = dict(slot.marks)
        for origin, floor in chunk.floors.items():  # what was pruned at the source cannot come as ops
            slot.marks[origin] = max(floor, slot.marks.get(origin, _NOTHING))
        try:
            fresh, late = sort_ops(desk, slot, chunk.ops)
        except Exception:
            slot.marks = before
            raise
        for origin, floor in chunk.floors.items():
            if slot.marks[origin] == floor:
                group.rows["floors"].append((slot.number, origin, *floor))
        late_ids = {op.id for op in late}
        for op in (*late, *fresh):
            take_in(desk, group, slot, op, late=op.id in late_ids, way=_way(chunk, op))
        desk.release(group, slot, lambda held: _is_applied(chunk, held.origin, held.mark), keep=False)
        for item in chunk.items:
            _keep_item(desk, group, slot, item)
        for key in chunk.keys:
            if key.scope in slot.erased:
                continue
            row = KeyRow(key.answer, key.epoch, key.seq, key.hlc, key.expires_ms)
            group.keys[slot.number, key.scope, key.key] = row
        if chunk.conflicts:
            _keep_conflicts(desk, group, slot, chunk)
        group.touched[slot.number] = slot
        group.save = True  # what lies below zero is not replayed at a start
        return dict(slot.marks)


class SettleWork(Work):
    """ACTIVATE or GONE: what the control store has committed."""

    __slots__ = ("epoch", "move", "owner", "slot")

    def __init__(self, slot: Slot, move: int, epoch: int, owner: str | None) -> None:
        self.slot, self.move, self.epoch, self.owner = slot, move, epoch, owner

    def decide(self, desk: Desk, group: Group) -> Lease:
        """Only upwards; and active only where the data are."""
        slot = desk.slots.get(self.slot)
        if slot is not None and slot.leased and slot.epoch >= self.epoch:
            return _row(slot)
        if self.owner is None:
            whole = slot is not None and (
                slot.state in ("active", "frozen") or (slot.state == "importing" and slot.move == self.move)
            )
            if slot is None or not whole:
                raise _stale(slot, f"activation by move {self.move} at epoch {self.epoch}", self.slot)
        elif slot is None:
            slot = new_rows(desk, group, self.slot)
        state = "active" if self.owner is None else "gone"
        _change(group, slot, Lease(self.epoch, state, 0, max(self.move, slot.move), self.owner))
        return _row(slot)


class StandAsideWork(Work):
    """A region that is evacuated, and its return: ownership in the region stays, service does not."""

    __slots__ = ("epoch", "owner", "slot")

    def __init__(self, slot: Slot, epoch: int, owner: str | None) -> None:
        self.slot, self.epoch, self.owner = slot, epoch, owner

    def decide(self, desk: Desk, group: Group) -> Cut:
        """Only between active and away, and only upwards."""
        slot = owned(desk, self.slot, "active", "away", "frozen")
        state = "active" if self.owner is None else "away"
        if slot.epoch == self.epoch and slot.state == state and slot.owner == self.owner:
            return _cut(slot)
        if slot.state == "frozen" or self.epoch <= slot.epoch:
            raise _stale(slot, f"standing aside for {self.owner or 'nobody'} at epoch {self.epoch}")
        _change(group, slot, Lease(self.epoch, state, 0, slot.move, self.owner))
        return _cut(slot)


class DiscardWork(Work):
    """What a slot that left has left behind."""

    __slots__ = ("move", "slot")

    def __init__(self, slot: Slot, move: int) -> None:
        self.slot, self.move = slot, move

    def decide(self, desk: Desk, group: Group) -> bool:
        """Only while the slot is gone since this very move."""
        slot = desk.slots.get(self.slot)
        if slot is None or slot.state != "gone" or slot.move != self.move or not slot.marks:
            return False
        lease = _row(slot)
        slot = _emptied(desk, group, self.slot)
        slot.set(lease)
        group.touched[slot.number] = slot
        group.save = True
        return True


class SweepWork(Work):
    """Deletes what was set aside, a few rows a time."""

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def decide(self, desk: Desk, group: Group) -> int:
        """The rows go with this group's commit."""
        found = rows(desk.database, "SELECT id FROM slots WHERE instr(name, '#') > 0 LIMIT 1")
        if not found:
            return 0
        number, left = found[0][0], self.limit
        for table, names in _TABLES.items():
            if left <= 0:
                break
            query = f"SELECT {names} FROM {table} WHERE slot = ? LIMIT ?"  # noqa: S608 - our own names
            if places := rows(desk.database, query, (number, left)):
                marks = " AND ".join(f"{name} = ?" for name in names.split(", "))
                text = f"DELETE FROM {table} WHERE slot = ? AND {marks}"  # noqa: S608 - as above
                group.swept.append((text, [(number, *place) for place in places]))
                left -= len(places)
        if left == self.limit:
            group.swept.append(("DELETE FROM slots WHERE id = ?", [(number,)]))
            return 1
        return self.limit - left


def _row(slot: SlotRows) -> Lease:
    lease = slot.lease
    assert lease is not None
    return lease


def _cut(slot: SlotRows) -> Cut:
    return Cut(_row(slot), dict(slot.marks))


def _change(group: Group, slot: SlotRows, lease: Lease) -> None:
    slot.set(lease)
    group.touched[slot.number] = slot
    group.save = True


def _emptied(desk: Desk, group: Group, name: Slot) -> SlotRows:
    """Fresh rows for the slot; the old ones are set aside."""
    old = desk.slots.get(name)
    if old is not None:
        group.rows["aside"].append((old.number,))
        old.released(len(old.held))
    return new_rows(desk, group, name)


def _is_applied(chunk: SlotChunk, origin: str, mark: Mark) -> bool:
    """Whether the source has applied the op for certain."""
    return chunk.held is not None and (origin not in chunk.held or mark < chunk.held[origin])


def _way(chunk: SlotChunk, op: Op) -> Way:
    if chunk.held is None:
        return Way.COPIED
    return Way.SHOWN if _is_applied(chunk, op.origin, Mark(op.epoch, op.seq)) else Way.HELD


def _refuse_ahead(desk: Desk, slot: SlotRows, chunk: SlotChunk) -> None:
    """What the source shows and this cell's clock may not follow yet: held here, it would be overwritten by less."""
    ahead = [f"item {item.pk} {item.sk}" for item in chunk.items if desk.is_future(item.hlc)]
    future = [op for op in chunk.ops if desk.is_future(op.hlc)]
    ahead += [f"op {op.id}" for op in future if _is_applied(chunk, op.origin, Mark(op.epoch, op.seq))]
    both_held = [held for held in slot.held if _is_applied(chunk, held.origin, held.mark)]
    ahead += [f"op {op_id(slot.name, held.origin, *held.mark)}" for held in both_held if desk.is_future(held.hlc)]
    if ahead:
        raise Unavailable(
            f"{ahead[0]} of slot {slot.name} is stamped ahead of this cell's clock by more than 500 ms;"
            " set the clocks, the copy tries again"
        )


def _keep_item(desk: Desk, group: Group, slot: SlotRows, item: CopiedItem) -> None:
    place = (slot.number, item.pk, item.sk)
    stored = group.stored(desk.database, place)
    if stored is not None and stored.version >= Version(item.hlc, item.origin, item.seq):
        return
    is_mark = item.sk == ERASED
    if item.pk in slot.erased and not is_mark:
        return
    desk.observe(item.hlc)
    kept = Stored(item.hlc, item.origin, item.seq, item.base_hlc, item.base_origin, item.value is not None)
    group.put(place, item.value, kept)
    if is_mark and item.pk not in slot.erased:
        group.erase(slot, item.pk)


def _keep_conflicts(desk: Desk, group: Group, slot: SlotRows, chunk: SlotChunk) -> None:
    """Those that are not listed yet: a piece may come twice."""
    listed = set(rows(desk.database, "SELECT pk, sk, hlc, origin, seq FROM conflicts WHERE slot = ?", (slot.number,)))
    listed |= {row[1:6] for row in group.rows["conflicts"] if row[0] == slot.number}
    found = [msgspec.structs.astuple(one) for one in chunk.conflicts]
    group.rows["conflicts"] += [
        (slot.number, *row) for row in found if row[:5] not in listed and row[0] not in slot.erased
    ]


def _stale(slot: SlotRows | None, asked: str, name: Slot | None = None) -> EpochStale:
    found = slot.lease if slot is not None else None
    return EpochStale(f"slot {slot.name if slot else name}: {asked}, found {found}; ask the control store what holds")
