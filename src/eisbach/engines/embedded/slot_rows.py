"""The few small rows of a slot that every write needs: kept in memory by the writer, true to the file between groups.

May not know: SQL beyond reading itself at start, works, asyncio.
"""

from collections import deque

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Lease

__all__ = ["SlotRows", "load_slots"]


class SlotRows:
    """Lease row, vector, last events and held ops of one slot."""

    __slots__ = ("epoch", "held", "leased", "marks", "move", "name", "number", "owner", "prev", "seq", "state")

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.leased = False
        """Whether there is a lease row at all."""
        self.epoch = self.seq = self.move = 0
        self.state = "gone"
        self.owner: str | None = None
        self.marks: dict[str, Mark] = {}
        """The vector: how far the log holds each origin's ops."""
        self.prev: dict[tuple[int, str], int] = {}
        """(epoch, event type) -> seq of its last event written by this region."""
        self.held: deque[tuple[int, int]] = deque()
        """(lsn, hlc) of ops in the log that are not applied yet."""

    @property
    def lease(self) -> Lease | None:
        """The lease row as the port knows it."""
        return Lease(self.epoch, self.state, self.seq, self.move, self.owner) if self.leased else None

    def set(self, lease: Lease) -> None:
        """Replace the lease row."""
        self.leased = True
        self.epoch, self.state, self.seq, self.move, self.owner = lease


def load_slots(database: apsw.Connection) -> dict[Slot, SlotRows]:
    """Every slot of the file."""
    numbered = {n: SlotRows(n, name) for n, name in rows(database, "SELECT id, name FROM slots")}
    for number, *lease in rows(database, "SELECT slot, epoch, state, seq, move, owner FROM leases"):
        numbered[number].set(Lease(*lease))
    for number, origin, epoch, seq in rows(database, "SELECT slot, origin, epoch, seq FROM vectors"):
        numbered[number].marks[origin] = Mark(epoch, seq)
    for number, epoch, type_, seq in rows(database, "SELECT slot, epoch, type, seq FROM event_prev"):
        numbered[number].prev[epoch, type_] = seq
    for number, lsn, hlc in rows(database, "SELECT slot, lsn, hlc FROM held ORDER BY lsn"):
        numbered[number].held.append((lsn, hlc))
    return {Slot.parse(slot.name): slot for slot in numbered.values()}
