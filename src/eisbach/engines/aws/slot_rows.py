"""The small row of a slot that every write needs: kept in memory, written now and then.

A write moves the lease's seq, the vector and the last events of its slot. All three follow from the log, so the rows
are written by a flush (and a changed lease with its commit, into the log) and the log beyond is replayed at a start.

May not know: DynamoDB, asyncio.
"""

from collections import deque
from typing import NamedTuple

import msgspec

from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Lease

__all__ = ["HeldOp", "SlotRows", "SlotView"]

_NOTHING = Mark(0, 0)
_FORMAT = 2


class _Stored(msgspec.Struct, array_like=True):
    """The stored form; new fields come last, with a default."""

    lease: tuple[int, str, int, int, str | None] | None
    marks: dict[str, tuple[int, int]]
    prev: dict[str, int]
    """Of the lease's epoch only: what format 1 knew."""
    floors: dict[str, tuple[int, int]]
    format: int = 1
    last_events: dict[str, tuple[int, int]] = {}
    """Since format 2."""


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_Stored)


class SlotView(NamedTuple):
    """What readers see of a slot after a commit."""

    slot: Slot
    lease: Lease | None
    vector: dict[str, Mark]
    applied: dict[str, Mark]
    """The vector without held ops."""
    floors: dict[str, Mark]
    erased: frozenset[str]


class HeldOp(NamedTuple):
    """An op in the log that the items do not show yet."""

    lsn: int
    hlc: int
    origin: str
    mark: Mark


class SlotRows:
    """Lease, vector, last events, floors, held ops and erased accounts of one slot."""

    def __init__(self, slot: Slot) -> None:
        self.slot, self.name = slot, str(slot)
        self.lease: Lease | None = None
        self.marks: dict[str, Mark] = {}
        """The vector: how far the log holds each origin's ops."""
        self.last_events: dict[str, Mark] = {}
        """Event type -> its last event that this region wrote, in whatever epoch."""
        self.floors: dict[str, Mark] = {}
        """How far each origin's ops were pruned."""
        self.held: deque[HeldOp] = deque()
        self.erased: set[str] = set()

    @property
    def epoch(self) -> int:
        """Of the lease; 0 without one."""
        return self.lease.epoch if self.lease is not None else 0

    def serving(self, region: str) -> str:
        """``region``, unless the slot is being made anew: its own ops come back then, in any order."""
        return region if self.lease is None or self.lease.state != "importing" else ""

    def encode(self) -> bytes:
        """The stored form; held ops and erased accounts have rows of their own."""
        marks = {origin: tuple(mark) for origin, mark in self.marks.items()}
        floors = {origin: tuple(mark) for origin, mark in self.floors.items()}
        lease = tuple(self.lease) if self.lease is not None else None
        prev = {type_: mark.seq for type_, mark in self.last_events.items() if mark.epoch == self.epoch}
        events = {type_: tuple(mark) for type_, mark in self.last_events.items()}
        return _encoder.encode(_Stored(lease, marks, prev, floors, _FORMAT, events))  # type: ignore[arg-type]

    @classmethod
    def decode(cls, name: str, raw: bytes) -> "SlotRows":
        """Read ``encode``."""
        stored, made = _decoder.decode(raw), cls(Slot.parse(name))
        made.lease = Lease(*stored.lease) if stored.lease is not None else None
        made.marks = {origin: Mark(*mark) for origin, mark in stored.marks.items()}
        made.floors = {origin: Mark(*mark) for origin, mark in stored.floors.items()}
        made.last_events = {type_: Mark(made.epoch, seq) for type_, seq in stored.prev.items()}
        made.last_events |= {type_: Mark(*mark) for type_, mark in stored.last_events.items()}
        return made

    def copy(self) -> "SlotRows":
        """To be decided on: a commit that is refused leaves no trace."""
        made = SlotRows(self.slot)
        made.lease, made.marks, made.last_events = self.lease, dict(self.marks), dict(self.last_events)
        made.floors, made.held, made.erased = dict(self.floors), deque(self.held), set(self.erased)
        return made

    def view(self) -> SlotView:
        """A copy for readers."""
        marks, below = dict(self.marks), dict[str, Mark]()
        for held in self.held:
            below.setdefault(held.origin, Mark(held.mark.epoch, held.mark.seq - 1))
        return SlotView(self.slot, self.lease, marks, marks | below, dict(self.floors), frozenset(self.erased))

    def logged(self, op: Op, *, region: str) -> None:
        """The log now holds ``op``: move vector, seq and last events, so that no number is used twice."""
        mark = Mark(op.epoch, op.seq)
        self.marks[op.origin] = max(mark, self.marks.get(op.origin, _NOTHING))
        if op.origin == region and self.lease is not None and op.epoch == self.lease.epoch:
            self.lease = self.lease._replace(seq=max(self.lease.seq, op.seq))
        if op.origin == region and op.event is not None and mark > self.last_events.get(op.event.type, _NOTHING):
            self.last_events[op.event.type] = mark
