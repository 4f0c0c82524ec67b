"""The store of a cell on DynamoDB: a row a commit in a global table, and what it comes to, later, in a regional one.

Promises: ``ports.store``, with what docs/engines.md lists as different. Callers that wait at the same time share one
row, as they share an fsync in the embedded store. May not know: what the items mean.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from eisbach.engines.aws.cleaning import PruneWish, delete_below, is_young, prunable
from eisbach.engines.aws.clients import AwsPlace, AwsUsage, open_clients
from eisbach.engines.aws.flusher import Flusher
from eisbach.engines.aws.store_moves import DynamoMoves
from eisbach.engines.aws.tables import Tables
from eisbach.engines.aws.works import ApplyWork, FloorWork, LeaseWork, TransactWork, Work
from eisbach.engines.aws.writer import Writer
from eisbach.kernel.errors import EisbachError, Overloaded, Retryable, Unavailable
from eisbach.kernel.limits import CONFLICTS_KEPT
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Vector
from eisbach.ports.clock import Clock
from eisbach.ports.group_queue import GroupQueue
from eisbach.ports.store import (
    Applied,
    Lease,
    Receipt,
    StoreStatistics,
    Transaction,
)
from eisbach.ports.store_bounds import check_ops, check_transaction

__all__ = ["PROMPT", "DynamoStore", "Pace", "open_dynamo_store"]

QUERY_MAX: Final = 1000
_APPLIED_AT_ONCE: Final = 20
_CONFLICTS_KEPT_MS: Final = int(CONFLICTS_KEPT.total_seconds() * 1000)
_AGAIN_S: Final = 0.25
_COMPANY_MAX: Final = 16
"""Works that fill a transaction, or nearly: nobody waits for more."""
_COMPANY_STEP_MS: Final = 5
_FLUSH_SHARE: Final = 0.5
"""Of the time that it waited, a flush in the background takes: viewers go first, and what is written anew meanwhile is
not written by it at all."""
_LOOK_AGAIN_MS: Final = 3_600_000
"""For ops that are old enough to be forgotten, in a slot that had none."""
_ROWS_MAX: Final = 400
_BYTES_MAX: Final = 250_000
"""Of a commit of several callers: with what encoding adds, below what a row takes."""
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a store lets wait. Writes are durable when they are acknowledged, whatever this says."""

    company_ms: int = 0
    """From one commit to the next that nobody is in a hurry for; the queue's 50 ms come on top."""
    flush_ops: int = 256
    """In the log alone before the state is written: what a start replays at most, give or take a flush."""
    flush_every_s: float = 0.0
    """The same in time, in the background: an item that is written more often is written into the state once. 0: with
    the commit that makes it due, unless another process of the cell says that it keeps the state."""
    nudges: bool = False
    """Whether a commit with events touches the state table too, whose stream calls the relay's function."""


PROMPT: Final = Pace()


class DynamoStore(DynamoMoves):
    """Made by ``open_dynamo_store``."""

    def __init__(self, writer: Writer, flusher: Flusher, *, clock: Clock, pace: Pace) -> None:
        super().__init__(writer, clock=clock)
        self._flusher, self._flush_every_s = flusher, pace.flush_every_s
        self._flushing: asyncio.Task[None] | None = None
        self._flush_begun_ms = clock.monotonic_ms()
        self._not_before_ms: dict[Slot, int] = {}
        self._nudges, self._nudged = pace.nudges, 0
        self._queue: GroupQueue[Work] = GroupQueue("DynamoDB")
        self._draining: asyncio.Task[None] | None = None
        self._waking: asyncio.Task[None] | None = None
        self._erasing: asyncio.Task[None] | None = None
        self._transactions = 0
        self._company_ms, self._begun_ms = pace.company_ms, clock.monotonic_ms() - pace.company_ms
        self._after_commits()

    @property
    def region(self) -> str:
        """See ``ports.store``."""
        return self._writer.region

    @property
    def usage(self) -> AwsUsage:
        """What the bill counts, since start."""
        return self._tables.usage

    @property
    def overtaken(self) -> int:
        """Commits that were decided again because another process had committed."""
        return self._writer.overtaken

    # --- writing -------------------------------------------------------------------------------------------------

    async def transact(self, transaction: Transaction) -> Receipt:
        """See ``ports.store``."""
        check_transaction(transaction)
        if self._flusher.is_full:
            self._queue.refused += 1
            raise Overloaded("the state table takes nothing, and too much lies in the log alone; try again later")
        self._transactions += 1
        receipt: Receipt = await self._submit(TransactWork(transaction))
        return receipt

    async def set_lease(self, slot: Slot, *, expected: Lease | None, lease: Lease) -> None:
        """See ``ports.store``."""
        await self._submit(LeaseWork(slot, expected, lease))

    async def apply(self, slot: Slot, ops: Sequence[Op]) -> Applied:
        """See ``ports.store``. Over 20 ops are several commits: whole transactions each, and what is checked is
        checked before the first.
        """
        check_ops(ops)
        told: list[Applied] = [await self._submit(ApplyWork(slot, part, ops)) for part in _parts(ops) or [[]]]
        last = told[-1]
        return last._replace(changed=sum(t.changed for t in told), conflicts=sum(t.conflicts for t in told))

    async def refresh(self) -> None:
        """See ``ports.store``. One read unit when nothing is new."""
        await self._submit(Refresh())

    async def release_held(self) -> None:
        """Apply ops from the future whose time has come; every write and a timer do it too. Learns what other
        processes have committed: whoever calls this now and then is never further behind than that.
        """
        await self._submit(Refresh())

    async def not_ours(self) -> str:
        """Never: processes may share a cell's tables, each commit is compared with what is there."""
        return ""

    async def identify(self, candidate: str) -> str:
        """The tables' name for life: the first candidate that was ever given."""
        key = {"pk": {"S": "identity"}, "sk": {"S": "identity"}}
        row = await self._tables.first(key, {"name": {"S": candidate}})
        name: str = row["name"]["S"]
        return name

    async def is_unpublished_at(self, sequence: int, *, ours: bool = False) -> bool:
        """See ``hub.relay.RelayedStore``: tables do not say, and the relay does not ask."""
        del sequence, ours
        return False

    # --- the log's tail ---------------------------------------------------------------------------------------------

    async def prune_log(self, slot: Slot, *, acknowledged: Vector, relayed_lsn: int, limit: int = 256) -> int:
        """See ``ports.store``."""
        memory, now_ms = self._writer.memory, self._clock.wall_ms()
        rows = memory.slots.get(slot)
        if rows is None or now_ms < self._not_before_ms.get(slot, 0):
            return 0
        unflushed = memory.unflushed
        if any(not is_young(op, now_ms) for commit in unflushed.commits.get(str(slot), ()) for op in commit.ops[:1]):
            await self._flusher.flush()  # what is forgotten is looked for in the tables
        last_lsn = min(relayed_lsn, rows.held[0].lsn - 1) if rows.held else relayed_lsn
        wish = PruneWish(acknowledged, last_lsn, now_ms, limit)
        found = await prunable(self._writer, slot=slot, wish=wish)
        if found.floors:
            await self._submit(FloorWork(slot, found.floors))
        elif found.all_young:
            self._not_before_ms[slot] = now_ms + _LOOK_AGAIN_MS
        await delete_below(self._writer, slot=slot, numbers=found.numbers, last_lsn=last_lsn)
        unflushed.forget_flushed()
        return found.count

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
                waited_ms = await self._wait_for_company()
                if not (group := self._next_group(waited_ms)):
                    continue
                try:
                    results = await self._writer.run(group)
                except Exception as error:  # noqa: BLE001 - told to every caller of the group, whatever it is
                    results = [error] * len(group)
                self._note_commit()
                await self._nudge()
                if not self._flush_every_s and self._flusher.is_due:
                    await self._tried(self._flusher.flush_if_nobody_does)  # before the answers: then it may sleep
                self._queue.answer(group, results)
        finally:
            self._draining = None
        self._after_commits()

    async def _wait_for_company(self) -> int:
        """Between two commits that nobody is in a hurry for: a row of a commit costs what is shared by all in it. What
        comes to an idle store is committed at once; whoever is in a hurry takes along all who wait.

        Returns how long it was, in milliseconds: that says nothing of the store's load.
        """
        asked_ms, until_ms = self._clock.monotonic_ms(), self._begun_ms + self._company_ms
        while not self._closed and self._queue.every(_is_patient) and len(self._queue) < _COMPANY_MAX:
            if (left_ms := until_ms - self._clock.monotonic_ms()) <= 0:
                break
            await self._clock.sleep(min(left_ms, _COMPANY_STEP_MS) / 1000)
        self._begun_ms = self._clock.monotonic_ms()
        return self._begun_ms - asked_ms

    def _next_group(self, waited_ms: int) -> list[Work]:
        """As many waiting works as one row holds, and always one; ``waited_ms``: for company."""
        rows, size, none_yet = 0, 0, True

        def takes(work: Work) -> bool:
            nonlocal rows, size, none_yet
            rows, size = rows + work.rows, size + work.bytes
            fits, none_yet = none_yet or (rows <= _ROWS_MAX and size <= _BYTES_MAX), False
            return fits

        return self._queue.next_group(self._clock.monotonic_ms() - waited_ms, takes)

    # --- in the background ---------------------------------------------------------------------------------------

    def _after_commits(self) -> None:
        if self._closed:
            return
        if self._writer.held_for_ms is not None and self._waking is None:
            self._waking = asyncio.create_task(self._wake(), name="store-held")
        if self._writer.memory.erasures and self._erasing is None:
            self._erasing = asyncio.create_task(self._erase(), name="store-eraser")
        if self._flush_every_s and self._flushing is None and not self._writer.memory.unflushed.is_empty:
            idle_ms = self._flush_every_s * 1000
            if self._clock.monotonic_ms() - self._flush_begun_ms > idle_ms:
                self._flush_begun_ms = self._clock.monotonic_ms()
            self._flushing = asyncio.create_task(self._flush(), name="store-flusher")

    async def _wake(self) -> None:
        """See that held ops are applied in time even when nobody writes."""
        try:
            while (wait_ms := self._writer.held_for_ms) is not None and not self._closed:
                await self._clock.sleep((wait_ms + 1) / 1000)
                try:
                    await self._submit(Refresh())
                except Retryable:  # they stay held, and are tried again
                    await self._clock.sleep(_AGAIN_S)
        finally:
            self._waking = None

    async def _erase(self) -> None:
        """Until it is done: a store that nobody writes to has no commit that would begin it again."""
        try:
            while self._writer.memory.erasures and not self._closed:
                try:
                    await self._flusher.erase()
                except EisbachError as error:
                    _logger.warning("erasure_waits", cell=self._writer.cell, error=str(error))
                    await self._clock.sleep(_AGAIN_S)
        finally:
            self._erasing = None

    async def _flush(self) -> None:
        """Bring the state up to the log, when enough lies in the log alone or after a while."""
        begun_ms = self._flush_begun_ms
        try:
            while not self._closed:
                now_ms = self._clock.monotonic_ms()
                waited_s = (now_ms - begun_ms) / 1000
                left_s = self._flush_every_s - waited_s
                if self._flusher.is_due or left_s <= 0:
                    within_s = _FLUSH_SHARE * min(waited_s, self._flush_every_s)
                    if await self._tried(partial(self._flusher.flush, within_s=within_s)):
                        self._flush_begun_ms = now_ms  # the next one is due as long after this one's beginning
                        break
                    left_s = _AGAIN_S
                await self._clock.sleep(min(left_s, _AGAIN_S))
        finally:
            self._flushing = None

    async def _nudge(self) -> None:
        """Let the relay's function know of events; a schedule's call finds them anyhow."""
        told = self._writer.with_events
        if self._nudges and told > self._nudged:
            self._nudged = told
            with contextlib.suppress(EisbachError):
                await self._tables.nudge(self._writer.memory.head.number)

    async def flush(self) -> bool:
        """Write into the state what the log has come to: whether that was done."""
        return await self._tried(self._flusher.flush)

    async def _tried(self, flush: Callable[[], Awaitable[None]]) -> bool:
        try:
            await flush()
        except EisbachError as error:
            _logger.warning("flush_waits", cell=self._writer.cell, error=str(error))
            return False
        return True

    def statistics(self) -> StoreStatistics:
        """See ``ports.store``. Units of DynamoDB are in ``usage``."""
        writer = self._writer
        return StoreStatistics(
            transactions=self._transactions,
            refused=self._queue.refused,
            commits=writer.commits,
            queue=len(self._queue),
            items_read=self._items_read,
            items_written=writer.items_written,
            bytes_written=writer.bytes_written,
            conflicts=writer.conflicts,
            last_lsn=writer.memory.head.lsn,
            clock_jumped=writer.hlc is not None and writer.hlc.jumped,
            erasing=len(writer.memory.erasures),
        )

    async def aclose(self) -> None:
        """Finish what is queued; who keeps the state brings it up to the log."""
        self._closed = True
        while (task := self._draining) is not None:
            await asyncio.wait([task])
        for task in (self._waking, self._erasing, self._flushing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._flush_every_s:
            await self.flush()
        self._committed.set()


def _is_patient(work: Work) -> bool:
    return work.patient


class Refresh(Work):
    """Nothing of its own: every group first applies the held ops whose time has come."""

    rows = 0
    refreshes = True

    def decide(self, desk: Any, group: Any) -> None:
        """Done before."""


def _parts(ops: Sequence[Op]) -> list[list[Op]]:
    """Runs of about 20 ops that end where a transaction does."""
    parts: list[list[Op]] = []
    for op in ops:
        if not parts or (len(parts[-1]) >= _APPLIED_AT_ONCE and not parts[-1][-1].more):
            parts.append([])
        parts[-1].append(op)
    return parts


@asynccontextmanager
async def open_dynamo_store(
    place: AwsPlace, *, prefix: str, cell: str, region: str, clock: Clock, pace: Pace = PROMPT
) -> AsyncIterator[DynamoStore]:
    """Open a cell's tables, which exist, and close the store at the end.

    Args:
        place: AWS's region and how it is reached.
        prefix: of the tables' names: the deployment's.
        cell: the other part of their names.
        region: the origin of what is written here; tables never change it.
        clock: for stamps, and for the times at which held ops come due.
        pace: what waits, and for how long.

    Raises:
        Invalid: the tables are of another region.
        Unavailable: they do not exist, or cannot be reached.
    """
    async with open_clients(place) as clients:
        tables = Tables(clients, prefix=prefix, cell=cell)
        writer = Writer(tables, region=region, cell=cell, clock=clock)
        await writer.load()
        flusher = Flusher(writer, clock=clock, ops_max=pace.flush_ops)
        if pace.flush_every_s:
            await tables.keep(pace.flush_ops)
        store = DynamoStore(writer, flusher, clock=clock, pace=pace)
        try:
            yield store
        finally:
            await store.aclose()
