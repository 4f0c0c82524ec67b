"""The few small rows of a slot that every write needs: kept in memory by the writer, saved to the file now and then.

Every write moves the lease row's seq, the vector and the last events of its slot. All three follow from the op log, so
they are saved every 4,096 ops (and with every change of a lease) and replayed from the log at start: a busy cell would
otherwise write three rows more per write. A slot whose name ends in ``#number`` was set aside by a move: its rows wait
to be swept. May not know: works, asyncio.
"""

from collections import deque
from typing import NamedTuple

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.kernel.ops import Op, decode_op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Lease

__all__ = ["HeldOp", "SlotRows", "SlotView", "load_slots", "save_slots"]

_NOTHING = Mark(0, 0)


class SlotView(NamedTuple):
    """What readers see of a slot after a commit."""

    slot: Slot
    lease: Lease | None
    vector: dict[str, Mark]
    applied: dict[str, Mark]
    """The vector without held ops."""


class HeldOp(NamedTuple):
    """An op in the log that the items do not show yet."""

    lsn: int
    hlc: int
    origin: str
    mark: Mark


class SlotRows:
    """Lease row, vector, last events and held ops of one slot."""

    __slots__ = (
        "_below_held", "epoch", "erased", "held", "last_events", "leased", "marks", "move", "name", "number", "owner",
        "seq", "slot", "state",
    )  # fmt: skip

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name, self.slot = number, name, Slot.parse(name)
        self.leased = False
        """Whether there is a lease row at all."""
        self.epoch = self.seq = self.move = 0
        self.state = "gone"
        self.owner: str | None = None
        self.marks: dict[str, Mark] = {}
        """The vector: how far the log holds each origin's ops."""
        self.last_events: dict[str, Mark] = {}
        """Event type -> its last event written by this region, in whatever epoch."""
        self.erased: set[str] = set()
        """Accounts that are erased: nothing of theirs is written or merged."""
        self.held: deque[HeldOp] = deque()
        """Ops in the log that are not applied yet, in the order in which they will be; change it by ``hold`` and
        ``released`` only."""
        self._below_held: dict[str, Mark] = {}
        """Origin -> the mark before its first held op."""

    @property
    def lease(self) -> Lease | None:
        """The lease row as the port knows it."""
        return Lease(self.epoch, self.state, self.seq, self.move, self.owner) if self.leased else None

    @property
    def view(self) -> SlotView:
        """A copy for readers."""
        marks = dict(self.marks)
        return SlotView(self.slot, self.lease, marks, {**marks, **self._below_held} if self.held else marks)

    def serving(self, region: str) -> str:
        """``region``, unless the slot is being made anew: its own ops come back then, in any order."""
        return region if self.state != "importing" else ""

    def hold(self, held: HeldOp) -> None:
        """It is in the log and waits for its time."""
        self.held.append(held)
        self._below_held.setdefault(held.origin, Mark(held.mark.epoch, held.mark.seq - 1))

    def released(self, count: int) -> None:
        """The first ``count`` held ops have been applied."""
        held, self.held, self._below_held = self.held, deque(), {}
        for one in list(held)[count:]:
            self.hold(one)

    def logged(self, op: Op, *, region: str) -> None:
        """The log now holds ``op``: move vector, seq and last events, so that no number is used twice."""
        mark = Mark(op.epoch, op.seq)
        if mark > self.marks.get(op.origin, _NOTHING):
            self.marks[op.origin] = mark
        if op.origin == region:
            if op.epoch == self.epoch:
                self.seq = max(self.seq, op.seq)
            if op.event is not None and mark > self.last_events.get(op.event.type, _NOTHING):
                self.last_events[op.event.type] = mark

    def set(self, lease: Lease) -> None:
        """Replace the lease row."""
        self.leased = True
        self.epoch, self.state, self.seq, self.move, self.owner = lease


def load_slots(database: apsw.Connection, *, region: str, rows_lsn: int) -> dict[Slot, SlotRows]:
    """Every slot of the file, as the log's end leaves it."""
    names = rows(database, "SELECT id, name FROM slots")
    numbered = {n: SlotRows(n, name.partition("#")[0]) for n, name in names}
    for number, *lease in rows(database, "SELECT slot, epoch, state, seq, move, owner FROM leases"):
        numbered[number].set(Lease(*lease))
    for number, origin, epoch, seq in rows(database, "SELECT slot, origin, epoch, seq FROM vectors"):
        numbered[number].marks[origin] = Mark(epoch, seq)
    for number, type_, *mark in rows(database, "SELECT slot, type, epoch, seq FROM last_events"):
        numbered[number].last_events[type_] = Mark(*mark)
    for number, pk in rows(database, "SELECT slot, pk FROM items WHERE sk = 'erased'"):
        numbered[number].erased.add(pk)
    query = "SELECT slot, lsn, hlc, origin, epoch, seq FROM held JOIN ops USING(slot, lsn) ORDER BY lsn"
    for number, lsn, hlc, origin, *mark in rows(database, query):
        numbered[number].hold(HeldOp(lsn, hlc, origin, Mark(*mark)))
    for number, body in rows(database, "SELECT slot, body FROM ops WHERE lsn > ? ORDER BY lsn", (rows_lsn,)):
        numbered[number].logged(decode_op(body), region=region)
    return {numbered[n].slot: numbered[n] for n, name in names if "#" not in name}


def save_slots(database: apsw.Connection, slots: dict[int, SlotRows]) -> None:
    """Write these slots' rows, inside the caller's transaction."""
    leases, marks, events = [], [], []
    for number, slot in slots.items():
        if slot.leased:
            leases.append((number, slot.epoch, slot.state, slot.seq, slot.move, slot.owner))
        marks += [(number, origin, *mark) for origin, mark in slot.marks.items()]
        events += [(number, type_, *mark) for type_, mark in slot.last_events.items()]
    database.executemany("INSERT OR REPLACE INTO leases VALUES(?,?,?,?,?,?)", leases)
    database.executemany("INSERT OR REPLACE INTO vectors VALUES(?,?,?,?)", marks)
    database.executemany("INSERT OR REPLACE INTO last_events VALUES(?,?,?,?)", events)
