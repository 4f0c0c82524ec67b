"""The store of a cell in one SQLite file: WAL, synchronous=FULL, one group-commit writer.

Promises: ``ports.store``, held by ``eisbach.testing.store_promises``. Callers that wait at the same time share one
fsync: 64 writes cost hardly more than one (reference/dataplane.md section 2). Reads have a connection of their own and
never wait for the writer. May not know: what the items mean.
"""

import asyncio
import hashlib
import zlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from eisbach.engines.embedded.disk import Disk, DiskThread, rows, sqlite_errors
from eisbach.engines.embedded.schema import migrate
from eisbach.engines.embedded.writer import Work, Writer
from eisbach.kernel.errors import EisbachError, Invalid, LogGap, Overloaded, Unavailable
from eisbach.kernel.limits import GROUP_COMMIT_MAX, WRITER_QUEUE_MAX, WRITER_QUEUE_WAIT_MAX
from eisbach.kernel.ops import Op, decode_op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector, Version
from eisbach.ports.clock import Clock
from eisbach.ports.store import (
    Applied,
    Conflict,
    Item,
    ItemKey,
    Lease,
    LogEntry,
    OpBatch,
    Receipt,
    StoreStatistics,
    Transaction,
)

__all__ = ["SqliteStore", "open_store"]

_QUERY_MAX: Final = 1000
_WAIT_MAX_MS: Final = int(WRITER_QUEUE_WAIT_MAX.total_seconds() * 1000)
_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "cache_size=-16384",
    "wal_autocheckpoint=4000",
    "foreign_keys=ON",
)


class _Waiting:
    """A work in the queue: since when, and whom to tell."""

    __slots__ = ("future", "limited", "since_ms", "work")

    def __init__(self, work: Work, future: "asyncio.Future[Any]", since_ms: int, *, limited: bool) -> None:
        self.work, self.future, self.since_ms, self.limited = work, future, since_ms, limited


class SqliteStore:
    """Made by ``open_store``."""

    def __init__(self, writer: Writer, reader: apsw.Connection, *, clock: Clock, disk: Disk) -> None:
        self._writer, self._reader, self._clock, self._disk = writer, reader, clock, disk
        self._queue: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._committed: asyncio.Future[None] | None = None
        self._last_lsn = writer.last_lsn
        self._transactions = self._refused = self._commits = self._items_read = 0
        self._closed = False

    @property
    def region(self) -> str:
        """See ``ports.store``."""
        return self._writer.region

    # --- writing -----------------------------------------------------------------------------------------------

    async def transact(self, transaction: Transaction) -> Receipt:
        """See ``ports.store``."""
        self._transactions += 1
        receipt: Receipt = await self._submit(lambda writer: writer.transact(transaction), limited=True)
        return receipt

    async def set_lease(self, slot: Slot, *, expected: Lease | None, lease: Lease) -> None:
        """See ``ports.store``."""
        await self._submit(lambda writer: writer.set_lease(slot, expected, lease), limited=False)

    async def apply(self, slot: Slot, ops: Sequence[Op]) -> Applied:
        """See ``ports.store``."""
        applied: Applied = await self._submit(lambda writer: writer.apply(slot, ops), limited=False)
        return applied

    async def release_held(self) -> None:
        """Apply ops from the future whose time has come; every write does it too, this is for quiet stores."""
        if self._writer.held:
            await self._submit(lambda _: None, limited=False)

    async def _submit(self, work: Work, *, limited: bool) -> Any:
        if self._closed:
            raise Unavailable("the store is closed; the process is stopping")
        if len(self._queue) >= WRITER_QUEUE_MAX:
            self._refused += 1
            raise Overloaded(
                f"{len(self._queue)} writes wait for the disk, at most {WRITER_QUEUE_MAX} may; try again later"
            )
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(work, future, self._clock.monotonic_ms(), limited=limited))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="store-writer")
        return await future

    async def _drain(self) -> None:
        """Commit groups until the queue is empty; at most one of these runs."""
        try:
            while self._queue:
                group = self._next_group()
                if not group:
                    continue
                works = [waiting.work for waiting in group]
                try:
                    results = await self._disk(lambda works=works: self._writer.run_group(works))  # type: ignore[misc]
                    self._commits += 1
                except Exception as error:  # noqa: BLE001 - told to every caller of the group, whatever it is
                    results = [error] * len(group)
                self._answer(group, results)
        finally:
            self._task = None

    def _next_group(self) -> list[_Waiting]:
        """Up to 256 waiting works; those that waited over 50 ms are refused now, before they cost anything."""
        group: list[_Waiting] = []
        now = self._clock.monotonic_ms()
        while self._queue and len(group) < GROUP_COMMIT_MAX:
            waiting = self._queue.popleft()
            if waiting.limited and now - waiting.since_ms > _WAIT_MAX_MS:
                late = now - waiting.since_ms
                self._answer(
                    [waiting], [Overloaded(f"the write waited {late} ms for the disk, at most {_WAIT_MAX_MS}")]
                )
            else:
                group.append(waiting)
        return group

    def _answer(self, group: Sequence[_Waiting], results: Sequence[Any]) -> None:
        for waiting, result in zip(group, results, strict=True):
            refused = isinstance(result, Exception)
            self._refused += isinstance(result, EisbachError)
            if not waiting.future.done():
                if refused:
                    waiting.future.set_exception(result)
                else:
                    waiting.future.set_result(result)
        if self._writer.last_lsn != self._last_lsn:
            self._last_lsn = self._writer.last_lsn
            if self._committed is not None and not self._committed.done():
                self._committed.set_result(None)
            self._committed = None

    # --- reading -----------------------------------------------------------------------------------------------

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with sqlite_errors("reading the store"):
            return rows(self._reader, query, values)

    def _slot(self, slot: Slot) -> int:
        return self._writer.slots.get(str(slot), -1)

    async def read(self, slot: Slot, key: ItemKey) -> Item | None:
        """See ``ports.store``."""
        query = "SELECT value, hlc, origin, seq FROM items WHERE slot=? AND pk=? AND sk=? AND value IS NOT NULL"
        self._items_read += 1
        for value, *version in self._rows(query, (self._slot(slot), *key)):
            return Item(ItemKey(*key), value, Version(*version))
        return None

    async def query(
        self, slot: Slot, pk: str, prefix: str = "", *, after: str | None = None, limit: int = 100
    ) -> Sequence[Item]:
        """See ``ports.store``."""
        if not 1 <= limit <= _QUERY_MAX:
            raise Invalid(f"a query for {limit} items; use 1 to {_QUERY_MAX}")
        # The upper bound is the prefix followed by the highest code point: an index range, whatever the prefix.
        query = (
            "SELECT sk, value, hlc, origin, seq FROM items WHERE slot=? AND pk=? AND sk>=? AND sk<? AND sk>?"
            " AND value IS NOT NULL ORDER BY sk LIMIT ?"
        )
        found = self._rows(query, (self._slot(slot), pk, prefix, prefix + "\U0010ffff", after or "", limit))
        self._items_read += len(found)
        return [Item(ItemKey(pk, sk), value, Version(*version)) for sk, value, *version in found]

    async def lease(self, slot: Slot) -> Lease | None:
        """See ``ports.store``."""
        found = self._rows("SELECT epoch, state, seq, move, owner FROM leases WHERE slot=?", (self._slot(slot),))
        return Lease(*found[0]) if found else None

    async def leases(self) -> Mapping[Slot, Lease]:
        """See ``ports.store``."""
        query = "SELECT name, epoch, state, seq, move, owner FROM leases JOIN slots ON slots.id = leases.slot"
        return {Slot.parse(name): Lease(*lease) for name, *lease in self._rows(query)}

    async def vector(self, slot: Slot) -> Vector:
        """See ``ports.store``."""
        return self._vector(self._slot(slot))

    def _vector(self, slot: int) -> dict[str, Mark]:
        found = self._rows("SELECT origin, epoch, seq FROM vectors WHERE slot=?", (slot,))
        return {origin: Mark(epoch, seq) for origin, epoch, seq in found}

    async def ops_after(self, slot: Slot, vector: Vector, *, limit: int) -> OpBatch:
        """See ``ports.store``."""
        number = self._slot(slot)
        heads = self._vector(number)
        ops: list[Op] = []
        query = (
            "SELECT body FROM oplog WHERE slot=? AND origin=? AND (epoch, seq) > (?, ?) AND (epoch, seq) <= (?, ?)"
            " ORDER BY epoch, seq LIMIT ?"
        )
        for origin, head in sorted(heads.items()):
            have = vector.get(origin, Mark(0, 0))
            while have < head and (len(ops) < limit or (ops and ops[-1].more)):
                wanted = max(1, limit - len(ops))
                page = [decode_op(body) for (body,) in self._rows(query, (number, origin, *have, *head, wanted))]
                if not page or page[0].seq != (have.seq + 1 if page[0].epoch == have.epoch else 1):
                    found = Mark(page[0].epoch, page[0].seq) if page else None
                    raise LogGap(
                        f"slot {slot} origin {origin}: asked for what follows {have}, the log goes on at {found};"
                        " seed the asker from a snapshot"
                    )
                ops += page
                have = Mark(page[-1].epoch, page[-1].seq)
            if len(ops) >= limit:
                break
        return OpBatch(ops, heads)

    async def log_after(self, lsn: int, *, limit: int) -> Sequence[LogEntry]:
        """See ``ports.store``."""
        found = self._rows("SELECT lsn, body FROM oplog WHERE lsn>? ORDER BY lsn LIMIT ?", (lsn, limit))
        return [LogEntry(number, decode_op(body)) for number, body in found]

    async def wait_for_commit(self, lsn: int) -> int:
        """See ``ports.store``."""
        while self._last_lsn <= lsn:
            if self._committed is None or self._committed.done():
                self._committed = asyncio.get_running_loop().create_future()
            # Shielded: one waiter's cancellation must not wake the others.
            await asyncio.shield(self._committed)
        return self._last_lsn

    async def digest(self, slot: Slot, *, buckets: int = 16) -> Sequence[str]:
        """See ``ports.store``."""
        sums = [0] * buckets
        query = "SELECT pk, sk, hlc, origin, seq, value IS NULL FROM items WHERE slot=?"
        for pk, sk, hlc, origin, seq, dead in self._rows(query, (self._slot(slot),)):
            entry = f"{pk}\0{sk}\0{hlc}\0{origin}\0{seq}\0{dead}".encode()
            value = int.from_bytes(hashlib.blake2b(entry, digest_size=16).digest(), "big")
            sums[zlib.crc32(f"{pk}\0{sk}".encode()) % buckets] ^= value
        return [f"{value:032x}" for value in sums]

    async def conflicts(self, *, limit: int = 100) -> Sequence[Conflict]:
        """See ``ports.store``."""
        query = (
            "SELECT name, pk, sk, hlc, origin, seq, value, winner_hlc, winner_origin, winner_seq, at_ms"
            " FROM conflicts JOIN slots ON slots.id = conflicts.slot ORDER BY conflicts.id DESC LIMIT ?"
        )
        return [
            Conflict(name, ItemKey(pk, sk), Version(h, o, s), value, Version(wh, wo, ws), at)
            for name, pk, sk, h, o, s, value, wh, wo, ws, at in self._rows(query, (limit,))
        ]

    def statistics(self) -> StoreStatistics:
        """See ``ports.store``."""
        return StoreStatistics(
            transactions=self._transactions,
            refused=self._refused,
            commits=self._commits,
            queue=len(self._queue),
            items_read=self._items_read,
            items_written=self._writer.items_written,
            bytes_written=self._writer.bytes_written,
            conflicts=self._writer.conflicts,
            last_lsn=self._last_lsn,
            clock_jumped=self._writer.hlc.jumped,
        )

    async def aclose(self) -> None:
        """Finish what is queued, then close the file."""
        self._closed = True
        while (task := self._task) is not None:
            await asyncio.wait([task])
        self._reader.close()
        await self._disk(self._writer.database.close)


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(2000)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


@asynccontextmanager
async def open_store(
    path: Path, *, region: str, clock: Clock, cell: str = "", disk: Disk | None = None
) -> AsyncIterator[SqliteStore]:
    """Open or create the store file of a cell, bring its format up to date, and close it at the end.

    Raises:
        Invalid: the file is of a newer format, or of another region.
        Unavailable: the disk refused.
    """
    thread = None
    if disk is None:
        disk = thread = DiskThread(f"store-{cell}")

    def opened() -> tuple[Writer, apsw.Connection]:
        with sqlite_errors(f"opening store {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            database = _connect(path)
            migrate(database, name=str(path))
            database.execute("INSERT OR IGNORE INTO meta VALUES('region', ?)", (region,))
            if (found := rows(database, "SELECT value FROM meta WHERE key='region'")[0][0]) != region:
                raise Invalid(f"store {path} belongs to region {found!r}, not {region!r}; a store never changes region")
            return Writer(database, region=region, cell=cell, clock=clock), _connect(path)

    try:
        store = SqliteStore(*(await disk(opened)), clock=clock, disk=disk)
        try:
            yield store
        finally:
            await store.aclose()
    finally:
        if thread is not None:
            thread.close()
