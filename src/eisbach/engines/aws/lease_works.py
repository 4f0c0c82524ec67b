"""Works that change whose a slot is, without copying it: freeze, settle, stand aside.

Promises: each is fenced by move id and epoch exactly as ``ports.moves`` says; a repeat changes nothing.
May not know: who moves what, and why.
"""

from eisbach.engines.aws.group import Group
from eisbach.engines.aws.slot_rows import SlotRows
from eisbach.engines.aws.works import Desk, Work, owned
from eisbach.kernel.errors import EpochStale
from eisbach.kernel.slots import Slot
from eisbach.ports.moves import Cut
from eisbach.ports.store import Lease

__all__ = ["FreezeWork", "SettleWork", "StandAsideWork"]


class FreezeWork(Work):
    """Every write before it is in the cut, every later one is refused."""

    def __init__(self, slot: Slot, move: int, epoch: int) -> None:
        self.slot, self.move, self.epoch = slot, move, epoch

    def decide(self, desk: Desk, group: Group) -> Cut:
        """Only what is active under this epoch, and only for a move that is newer than any before."""
        slot, lease = owned(desk, self.slot, "active", "frozen")
        if lease.state == "frozen" and lease.move == self.move and lease.epoch == self.epoch:
            return Cut(lease, dict(slot.marks))
        if lease.state != "active" or lease.epoch != self.epoch or self.move <= lease.move:
            raise _stale(self.slot, lease, f"freeze by move {self.move} at epoch {self.epoch}")
        return _changed(group, slot, Lease(lease.epoch, "frozen", lease.seq, self.move))


class SettleWork(Work):
    """Active here or gone: what the control store has committed."""

    def __init__(self, slot: Slot, move: int, epoch: int, owner: str | None) -> None:
        self.slot, self.move, self.epoch, self.owner = slot, move, epoch, owner

    def decide(self, desk: Desk, group: Group) -> Lease:
        """Only upwards; and active only where the data are."""
        slot = desk.slots.get(self.slot)
        lease = slot.lease if slot is not None else None
        if lease is not None and lease.epoch >= self.epoch:
            return lease
        if self.owner is None and (
            lease is None
            or not (lease.state in ("active", "frozen") or (lease.state == "importing" and lease.move == self.move))
        ):
            raise _stale(self.slot, lease, f"activation by move {self.move} at epoch {self.epoch}")
        if slot is None:
            slot = desk.slots[self.slot] = SlotRows(self.slot)
        state, move = "active" if self.owner is None else "gone", max(self.move, lease.move if lease else 0)
        return _changed(group, slot, Lease(self.epoch, state, 0, move, self.owner)).lease


class StandAsideWork(Work):
    """A region that is evacuated, and its return: ownership in the region stays, service does not."""

    def __init__(self, slot: Slot, epoch: int, owner: str | None) -> None:
        self.slot, self.epoch, self.owner = slot, epoch, owner

    def decide(self, desk: Desk, group: Group) -> Cut:
        """Only between active and away, and only upwards."""
        slot, lease = owned(desk, self.slot, "active", "away", "frozen")
        state = "active" if self.owner is None else "away"
        if lease.epoch == self.epoch and lease.state == state and lease.owner == self.owner:
            return Cut(lease, dict(slot.marks))
        if lease.state == "frozen" or self.epoch <= lease.epoch:
            raise _stale(self.slot, lease, f"standing aside for {self.owner or 'nobody'} at epoch {self.epoch}")
        return _changed(group, slot, Lease(self.epoch, state, 0, lease.move, self.owner))


def _changed(group: Group, slot: SlotRows, lease: Lease) -> Cut:
    slot.lease = lease
    group.save(slot)
    return Cut(lease, dict(slot.marks))


def _stale(slot: Slot, found: Lease | None, asked: str) -> EpochStale:
    return EpochStale(f"slot {slot}: {asked}, found {found}; ask the control store what holds")
