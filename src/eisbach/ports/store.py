"""The store of a cell: items and op log under one writer, one transaction for both.

What an engine promises is held by ``eisbach.testing.store_promises``. Reads never wait for writers; a returned
``Receipt`` means on disk (fsync). All bytes are the caller's own encoding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import msgspec

from eisbach.kernel.events import EventDraft
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector, Version

__all__ = [
    "IMPORTED_LSN_MIN",
    "Applied",
    "Conflict",
    "IdempotencyKey",
    "Item",
    "ItemKey",
    "Lease",
    "LogEntry",
    "OpBatch",
    "Receipt",
    "Store",
    "StoreStatistics",
    "Transaction",
    "Write",
]


IMPORTED_LSN_MIN: Final = -(2**62)
"""Ops that a move brought have numbers from here up to below zero, in the order in which they came."""


class ItemKey(NamedTuple):
    """Address of an item inside its slot."""

    pk: str
    """1 to 256 bytes of UTF-8."""
    sk: str
    """1 to 512 bytes of UTF-8."""


class IdempotencyKey(NamedTuple):
    """A client's key in the scope of its account; kept 48 hours, travels with the slot."""

    scope: str
    key: str


class Item(NamedTuple):
    """A live item (tombstones are never returned)."""

    key: ItemKey
    value: bytes
    version: Version


class Write(msgspec.Struct, frozen=True, gc=False):
    """One op: an item change, an event, or both; at least one."""

    change: ItemChange | None = None
    event: EventDraft | None = None


class Transaction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All or nothing, in one slot."""

    slot: Slot
    epoch: int | None = None
    """Epoch under which the caller decided; None trusts the lease row as it is at commit."""
    reads: Mapping[ItemKey, Version | None] = {}
    """Preconditions: the version that was read, or None for absent."""
    writes: Sequence[Write] = ()
    """1 to 20; applied in order, dense in seq."""
    key: IdempotencyKey | None = None
    """A repeat within 48 h returns the first answer and writes nothing."""
    answer: bytes = b""
    """Stored under ``key`` and returned to repeats; at most 64 KiB."""


class Receipt(NamedTuple):
    """Proof that a transaction is on disk."""

    mark: Mark
    """Place of its last op in the slot's own-region log."""
    hlc: int
    repeated: bool
    """Whether ``answer`` was stored by an earlier call under the same key."""
    answer: bytes


class Lease(NamedTuple):
    """The lease row of a slot: checked and advanced in every write transaction; no clock in it."""

    epoch: int
    """Only rises."""
    state: str
    """``active``, ``frozen``, ``importing``, ``gone``; ``away``: another region serves it, this store only follows."""
    seq: int
    """Last seq written in this epoch by this region."""
    move: int = 0
    """Id of the move that last touched the row, 0 for none."""
    owner: str | None = None
    """Where the slot went when ``gone``."""


class OpBatch(NamedTuple):
    """What a sender gives a puller; never cut inside a transaction."""

    ops: Sequence[Op]
    """Per origin in (epoch, seq) order; dense from the asker's vector on."""
    heads: Vector
    """How far the sender's log goes; lag is the distance."""


class Applied(NamedTuple):
    """What an apply did; durable when returned."""

    vector: Vector
    """Held in the log: this is what may be acknowledged to the sender."""
    changed: int
    """Items whose value became the incoming one."""
    conflicts: int
    """Concurrent writes of one item whose loser went to the conflict log."""
    held: int
    """Ops in the log but not yet applied: from the future, or behind such a one."""


class Conflict(NamedTuple):
    """The losing side of two writes of one item that did not know of each other."""

    slot: str
    key: ItemKey
    loser: Version
    value: bytes | None
    winner: Version
    at_ms: int


class LogEntry(NamedTuple):
    """An op with its place in this store's commit order."""

    lsn: int
    """Rises with every op in this store, foreign ones included; gaps are possible, reuse is not. Below zero for ops
    that a move brought: the relay of the cell they came from has published them, they matter to a wiped hub only."""
    op: Op


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """Counters since start; no I/O to read them. Units are what the bill counts."""

    transactions: int
    refused: int
    commits: int
    """Group commits: one fsync each."""
    queue: int
    """Transactions waiting for the writer now."""
    items_read: int
    items_written: int
    bytes_written: int
    conflicts: int
    last_lsn: int
    clock_jumped: bool
    erasing: int = 0
    """Erasures begun and not finished: op bodies or the engine's own log still hold the account."""
    unpublished: bool = False
    """Perhaps no relay has published from this store yet: then what a log knows of its cell, it knows from an earlier
    store."""
    unwritten: int = 0
    """Groups that the disk refused whole."""


class Store(Protocol):
    """Items and op log of one cell."""

    @property
    def region(self) -> str:
        """The region whose epoch numbers this store writes under."""
        ...

    async def transact(self, transaction: Transaction) -> Receipt:
        """Check lease, epoch, key and reads in the one writer, then write; a refusal touches no neighbour.

        Raises:
            SlotMoved, EpochStale, VersionConflict, SlotFrozen: nothing was written.
            Overloaded: the writer's queue is full or the wait was over 50 ms; nothing was written.
            Invalid: a bound is broken.
            Unavailable: the disk refused; nothing was written.
            OutcomeUnknown: the disk failed in the commit itself; repeat with the same key to learn the answer.
        Cancelling the call does not cancel the write: its outcome is then unknown to the caller.
        """
        ...

    # An account is erased by setting its item ``kernel.erasure.ERASED``: in that transaction, here and wherever the op
    # is applied, its other items, kept answers and lost conflicts go; its op bodies, free pages and the engine's log
    # follow within seconds (``StoreStatistics.erasing`` falls to 0). Later writes of the account are refused (Denied,
    # ``account_erased``), later ops are logged without their change; no order of arrival brings anything back.

    async def read(self, slot: Slot, key: ItemKey) -> Item | None:
        """The live item, or None. Sees every commit acknowledged before the call."""
        ...

    async def query(
        self, slot: Slot, pk: str, prefix: str = "", *, after: str | None = None, limit: int = 100
    ) -> Sequence[Item]:
        """Live items of ``pk`` whose sk starts with ``prefix`` and is greater than ``after``, by sk; at most 1000."""
        ...

    async def lease(self, slot: Slot) -> Lease | None:
        """The lease row, None when this store never had the slot."""
        ...

    async def leases(self) -> Mapping[Slot, Lease]:
        """Every lease row of the store."""
        ...

    async def set_lease(self, slot: Slot, *, expected: Lease | None, lease: Lease) -> None:
        """Compare and set.

        Raises:
            VersionConflict: the row is not ``expected``; the message has both.
            EpochStale: ``lease.epoch`` would fall.
        """
        ...

    async def vector(self, slot: Slot) -> Vector:
        """How far the log holds each origin's ops, this region's own included."""
        ...

    async def applied(self, slot: Slot) -> Vector:
        """How far the items show each origin's ops: ``vector``, less what is held because it is from the future."""
        ...

    async def ops_after(self, slot: Slot, vector: Vector, *, limit: int) -> OpBatch:
        """Ops of every origin that ``vector`` does not cover.

        Raises:
            LogGap: what the asker misses is no longer in the log; it must be seeded from a snapshot.
        """
        ...

    async def apply(self, slot: Slot, ops: Sequence[Op]) -> Applied:
        """Log and merge foreign ops in one transaction; repeats are dropped, order per origin is required.

        Raises:
            LogGap: an op is not the next of its origin; pull again from ``vector``.
            SlotFrozen, SlotMoved: inbound apply is stopped here.
        """
        ...

    async def prune_log(self, slot: Slot, *, acknowledged: Vector, relayed_lsn: int, limit: int = 256) -> int:
        """Forget ops older than 7 days from the tail of a slot's log; the number forgotten.

        Args:
            slot: whose log.
            acknowledged: what every other region holds (the least of their vectors); nothing beyond it is forgotten.
            relayed_lsn: the hub has every event up to here; nothing beyond it is forgotten.
            limit: ops forgotten at most; call again while the answer reaches it.
        """
        ...

    async def log_after(self, lsn: int, *, limit: int) -> Sequence[LogEntry]:
        """Ops in commit order, for the relay; committed ones only."""
        ...

    async def refresh(self) -> None:
        """Learn what other processes have committed, where an engine lets several share a store; what is not read from
        the store itself (leases, vectors, ``statistics``) is then as fresh as this call.

        Raises:
            Unavailable, Overloaded: it cannot be read now.
        """
        ...

    async def wait_for_commit(self, lsn: int) -> int:
        """Return the last lsn as soon as it is greater than ``lsn``; cancellable, loses nothing."""
        ...

    async def digest(self, slot: Slot, *, buckets: int = 16) -> Sequence[str]:
        """A digest per bucket over (key, version, tombstone); equal in two regions that have converged."""
        ...

    async def conflicts(self, *, limit: int = 100) -> Sequence[Conflict]:
        """Newest first."""
        ...

    def statistics(self) -> StoreStatistics:
        """What happened since start."""
        ...
