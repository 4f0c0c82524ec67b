"""The store of a cell in one SQLite file: WAL, synchronous=FULL, one group-commit writer.

Promises: ``ports.store``, held by ``eisbach.testing.store_promises``. Callers that wait at the same time share one
fsync: 64 writes cost hardly more than one (reference/dataplane.md section 2). Reads have a connection of their own and
never wait for the writer. May not know: what the items mean.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw

from eisbach.engines.embedded.apply_work import ApplyWork
from eisbach.engines.embedded.company import Company
from eisbach.engines.embedded.disk import Disk, DiskThread
from eisbach.engines.embedded.eraser import Eraser
from eisbach.engines.embedded.gaps import PageGaps
from eisbach.engines.embedded.log_beside import LogBeside
from eisbach.engines.embedded.presence import Presence
from eisbach.engines.embedded.reads import Reads
from eisbach.engines.embedded.schema import claim, migrate
from eisbach.engines.embedded.store_errors import StoreErrors
from eisbach.engines.embedded.store_moves import StoreMoves
from eisbach.engines.embedded.whereabouts import StoreWhereabouts, refuse_damaged
from eisbach.engines.embedded.works import LeaseWork, PruneWork, ReleaseWork, TransactWork, Work
from eisbach.engines.embedded.writer import Writer
from eisbach.kernel.errors import Retryable, Unavailable
from eisbach.kernel.limits import GROUP_COMMIT_MAX, PULL_OPS_MAX
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Vector, covers
from eisbach.ports.clock import Clock
from eisbach.ports.group_queue import GroupQueue
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
from eisbach.ports.store_bounds import check_ops, check_transaction

__all__ = ["SqliteStore", "open_store"]

_GROUP_WEIGHT_MAX: Final = PULL_OPS_MAX + GROUP_COMMIT_MAX
"""Two full batches of a twin are two groups, so that who comes behind them does not wait for a third."""
_TAIL_OPS: Final = 2 * PULL_OPS_MAX
"""The end of the log that is kept in memory."""
_RELEASE_AGAIN_MS: Final = 250
"""Before held ops are tried again that a full disk refused."""
_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "cache_size=-16384",
    "wal_autocheckpoint=4000",
    # A statement of many rows may need a journal of its own, and a confined cell may write nowhere but in its folder.
    "temp_store=MEMORY",
    # What is deleted is overwritten: an erased account must not be found in free pages (P22).
    "secure_delete=ON",
)


class SqliteStore(StoreMoves, StoreWhereabouts):
    """Made by ``open_store``."""

    def __init__(
        self, writer: Writer, reads: Reads, eraser: Eraser, *, beside: LogBeside, clock: Clock, disk: Disk
    ) -> None:
        StoreWhereabouts.__init__(self, beside)
        self._eraser = eraser
        self._writer, self._reads, self._clock, self._disk = writer, reads, clock, disk
        self._errors = writer.errors
        self._queue: GroupQueue[Work] = GroupQueue("the disk")
        self._company = Company(clock)
        self._draining: asyncio.Task[None] | None = None
        self._waking: asyncio.Task[None] | None = None
        self._committed: asyncio.Future[None] | None = None
        self._last_lsn = writer.last_lsn
        self._views = {slot.slot: slot.view for slot in writer.slots.values()}
        self._tail: deque[tuple[int, Op]] = deque(maxlen=_TAIL_OPS)
        self._transactions = 0
        self._closed = False
        self._wake_when_due()
        eraser.start(self._submit)

    @property
    def region(self) -> str:
        """See ``ports.store``."""
        return self._writer.region

    # --- writing -----------------------------------------------------------------------------------------------

    async def transact(self, transaction: Transaction) -> Receipt:
        """See ``ports.store``."""
        check_transaction(transaction)
        if self.unproved:
            raise Unavailable(self.unproved)
        self._transactions += 1
        receipt: Receipt = await self._submit(TransactWork(transaction))
        return receipt

    async def set_lease(self, slot: Slot, *, expected: Lease | None, lease: Lease) -> None:
        """See ``ports.store``."""
        await self._submit(LeaseWork(slot, expected, lease))

    async def apply(self, slot: Slot, ops: Sequence[Op]) -> Applied:
        """See ``ports.store``."""
        check_ops(ops)
        await self.proved()
        applied: Applied = await self._submit(ApplyWork(slot, ops))
        return applied

    async def prune_log(self, slot: Slot, *, acknowledged: Vector, relayed_lsn: int, limit: int = 256) -> int:
        """See ``ports.store``."""
        forgotten: int = await self._submit(PruneWork(slot, acknowledged, relayed_lsn, limit))
        return forgotten

    async def release_held(self) -> None:
        """Apply ops from the future whose time has come; every write and a timer do it too."""
        if self._draining is None and self._writer.held_for_ms is None:
            return  # nothing is held, and nobody is at work who might hold something
        await self._submit(ReleaseWork())

    def _submit(self, work: Work) -> "asyncio.Future[Any]":
        if self._closed:
            raise Unavailable("the store is closed; the process is stopping")
        future = asyncio.get_running_loop().create_future()
        self._queue.put(work, self._clock.monotonic_ms(), future)
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="store-writer")
        return future

    async def _drain(self) -> None:
        """Commit groups until the queue is empty; at most one of these runs."""
        try:
            while self._queue:
                await self._company.wait(self._queue)
                if not (group := self._next_group()):
                    continue
                try:
                    results = await self._disk(lambda group=group: self._writer.run_group(group))  # type: ignore[misc]
                except Exception as error:  # noqa: BLE001 - told to every caller of the group, whatever it is
                    results = [error] * len(group)
                self._publish()
                self._queue.answer(group, results)
                self._company.answered(len(group), self._queue)
        finally:
            self._draining = None
        self._wake_when_due()
        if not self._closed:
            self._eraser.start(self._submit)

    def _next_group(self) -> list[Work]:
        """Up to 256 waiting works."""
        count = weight = 0

        def takes(work: Work) -> bool:
            nonlocal count, weight
            if count == GROUP_COMMIT_MAX or (count and weight + work.weight > _GROUP_WEIGHT_MAX):
                return False
            count, weight = count + 1, weight + work.weight
            return True

        return self._queue.next_group(self._clock.monotonic_ms(), takes)

    def _publish(self) -> None:
        """Show readers what the last group committed; comes before its callers hear of it."""
        writer = self._writer
        for view in writer.views:
            self._views[view.slot] = view
        self._tail.extend(writer.entries)
        if writer.forgot:
            self._tail.clear()
        self._reads.follow(writer.puts, anew=writer.removed)
        writer.views, writer.entries, writer.puts = [], [], []
        writer.forgot = writer.removed = False
        if writer.last_lsn != self._last_lsn:
            self._last_lsn = writer.last_lsn
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        if self._committed is not None and not self._committed.done():
            self._committed.set_result(None)
        self._committed = None

    def _wake_when_due(self) -> None:
        """See that held ops are applied in time even when nobody writes."""
        wait_ms = self._writer.held_for_ms
        if wait_ms is None or self._waking is not None or self._closed:
            return

        async def wake(pause_ms: int = wait_ms + 1) -> None:
            while not self._closed:
                await self._clock.sleep(pause_ms / 1000)
                try:
                    await self.release_held()
                except Retryable:  # a full disk, a full queue: they stay held, and are tried again
                    pause_ms = _RELEASE_AGAIN_MS
                else:
                    break
            self._waking = None
            self._wake_when_due()

        self._waking = asyncio.create_task(wake(), name="store-held")

    # --- reading -----------------------------------------------------------------------------------------------

    async def read(self, slot: Slot, key: ItemKey) -> Item | None:
        """See ``ports.store``."""
        with self._errors.reading():
            return self._reads.read(slot, key)

    async def query(
        self, slot: Slot, pk: str, prefix: str = "", *, after: str | None = None, limit: int = 100
    ) -> Sequence[Item]:
        """See ``ports.store``."""
        with self._errors.reading():
            return self._reads.query(slot, pk, prefix, after, limit)

    async def lease(self, slot: Slot) -> Lease | None:
        """See ``ports.store``."""
        view = self._views.get(slot)
        return view.lease if view is not None else None

    async def leases(self) -> Mapping[Slot, Lease]:
        """See ``ports.store``."""
        return {slot: view.lease for slot, view in self._views.items() if view.lease is not None}

    async def vector(self, slot: Slot) -> Vector:
        """See ``ports.store``."""
        view = self._views.get(slot)
        return dict(view.vector) if view is not None else {}

    async def applied(self, slot: Slot) -> Vector:
        """See ``ports.store``."""
        view = self._views.get(slot)
        return dict(view.applied) if view is not None else {}

    async def ops_after(self, slot: Slot, vector: Vector, *, limit: int) -> OpBatch:
        """See ``ports.store``."""
        heads = await self.vector(slot)
        if heads and limit > 0 and covers(vector, heads):  # most slots have no news: no need to ask the disk for it
            return OpBatch([], heads)
        with self._errors.reading():
            return self._reads.ops_after(slot, vector, limit, heads=heads)

    async def log_after(self, lsn: int, *, limit: int) -> Sequence[LogEntry]:
        """See ``ports.store``."""
        tail = self._tail
        if tail and tail[0][0] <= lsn + 1:  # the relay reads what was just written: no need to ask the disk for it
            start = lsn + 1 - tail[0][0]
            return [LogEntry(*entry) for entry in islice(tail, start, start + limit)]
        with self._errors.reading():
            return self._reads.log_after(lsn, limit)

    async def identify(self, candidate: str) -> str:
        """The file's name for life: the first candidate that was ever given."""
        try:
            return await self._disk(lambda: self._writer.identify(candidate))
        except apsw.Error as error:
            raise self._errors.refusal(error, "naming the store") from error

    async def is_unpublished_at(self, sequence: int, *, ours: bool = False) -> bool:
        """See ``hub.relay.RelayedStore``."""
        try:
            return await self._disk(lambda: self._writer.is_unpublished_at(sequence, ours=ours))
        except apsw.Error as error:
            raise self._errors.refusal(error, "noting where the relay begins") from error

    async def refresh(self) -> None:
        """See ``ports.store``: a file has one writer, so there is nothing to learn."""

    async def wait_for_commit(self, lsn: int) -> int:
        """See ``ports.store``."""
        while self._last_lsn <= lsn:
            if self._closed:
                raise Unavailable("the store is closed; the process is stopping")
            if self._committed is None:
                self._committed = asyncio.get_running_loop().create_future()
            # Shielded: one waiter's cancellation must not take the future from the others.
            await asyncio.shield(self._committed)
        return self._last_lsn

    async def digest(self, slot: Slot, *, buckets: int = 16) -> Sequence[str]:
        """See ``ports.store``; gives way to other tasks every 512 items."""
        with self._errors.reading():
            for step in self._reads.digest(slot, buckets):
                if step is not None:
                    return step
                await asyncio.sleep(0)
        raise AssertionError("unreachable: the last step is the digest")

    async def conflicts(self, *, limit: int = 100) -> Sequence[Conflict]:
        """See ``ports.store``."""
        with self._errors.reading():
            return self._reads.conflicts(limit)

    def statistics(self) -> StoreStatistics:
        """See ``ports.store``."""
        writer = self._writer
        return StoreStatistics(
            transactions=self._transactions, refused=self._queue.refused, commits=writer.commits,
            queue=len(self._queue), items_read=self._reads.items_read, items_written=writer.items_written,
            bytes_written=writer.bytes_written, conflicts=writer.conflicts, last_lsn=self._last_lsn,
            clock_jumped=writer.hlc.jumped, erasing=writer.erasing, unpublished=writer.unpublished,
            unwritten=writer.unwritten,
        )  # fmt: skip

    async def aclose(self) -> None:
        """Finish what is queued, then close the file."""
        self._closed = True
        while (task := self._draining) is not None:
            await asyncio.wait([task])
        if self._waking is not None:
            self._waking.cancel()
        self._eraser.cancel()
        self._wake_waiters()
        self._reads.close()
        await self._disk(self._writer.database.close)
        self._eraser.close()


def _connect(path: Path, vfs: str | None) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs=vfs)
    connection.set_busy_timeout(2000)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


@asynccontextmanager
async def open_store(
    path: Path, *, region: str, clock: Clock, cell: str = "", disk: Disk | None = None, vfs: str | None = None
) -> AsyncIterator[SqliteStore]:
    """Open or create the store file of a cell, bring its format up to date, and close it at the end.

    Whoever opened a file last is its one writer; an earlier opening gets Unavailable at its next commit.

    Args:
        path: the file; ``-wal``, ``-shm`` and ``-opened`` appear beside it.
        region: the origin of what is written here; a file never changes it.
        clock: read on the event loop and, once a group, where ``disk`` runs the writer.
        cell: for messages and names of threads.
        disk: where blocking work runs; by default a thread of the store's own.
        vfs: name of a registered apsw VFS, for simulated and faulty disks.

    Raises:
        Invalid: the file is of a newer format, of another region, or no store.
        FileDamaged: the file is, or was found to be.
        Unavailable: the disk refused.
    """
    thread, beside = None, LogBeside(path, real=vfs is None)
    if disk is None:
        disk = thread = DiskThread(f"store-{cell}")

    def opened() -> tuple[Writer, Reads, Eraser]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.look()
            database = _connect(path, vfs)
            migrate(database, name=str(path))
            refuse_damaged(database)
            number = claim(database, region=region, name=str(path))
            beside.opened()
            presence = Presence(path) if vfs is None else None
            writer = Writer(database, opened=number, region=region, cell=cell, clock=clock, presence=presence)
            gaps = PageGaps(path, page_bytes=int(database.pragma("page_size"))) if vfs is None else None
            return writer, Reads(lambda: _connect(path, vfs)), Eraser(writer, gaps, clock=clock, disk=disk)
        except apsw.Error as error:
            raise StoreErrors(str(path)).refusal(error, f"opening store {path}") from error
        except OSError as error:
            raise Unavailable(f"opening store {path}: {error}") from error

    try:
        store = SqliteStore(*(await disk(opened)), beside=beside, clock=clock, disk=disk)
        try:
            yield store
        finally:
            await store.aclose()
            await disk(beside.closed)
    finally:
        if thread is not None:
            thread.close()
