"""The store of a cell on DynamoDB: a global table for the op log, a regional one for everything else.

Promises: ``ports.store``, with what docs/engines.md lists as different. Callers that wait at the same time share one
transaction, as they share an fsync in the embedded store. The twin's ops come from this region's replica of the log
(``replicated_ops``) and are merged by the same rules. May not know: what the items mean.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from eisbach.engines.aws.cleaning import PruneWish, delete_below, erase_account, prunable
from eisbach.engines.aws.clients import AwsPlace, AwsUsage, open_clients
from eisbach.engines.aws.lease_works import FreezeWork, SettleWork, StandAsideWork
from eisbach.engines.aws.store_reads import DynamoReads
from eisbach.engines.aws.tables import ACTIONS_MAX, BYTES_MAX, Conflicted, Tables
from eisbach.engines.aws.works import ApplyWork, FloorWork, LeaseWork, TransactWork, Work
from eisbach.engines.aws.writer import Writer
from eisbach.kernel.errors import EisbachError, Invalid, Retryable, Unavailable
from eisbach.kernel.limits import CONFLICTS_KEPT
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Vector
from eisbach.ports.clock import Clock
from eisbach.ports.group_queue import GroupQueue
from eisbach.ports.moves import CopyCursor, Cut, SlotChunk
from eisbach.ports.store import (
    Applied,
    Lease,
    Receipt,
    StoreStatistics,
    Transaction,
)
from eisbach.ports.store_bounds import check_ops, check_transaction

__all__ = ["DynamoStore", "open_dynamo_store"]

QUERY_MAX: Final = 1000
_APPLIED_AT_ONCE: Final = 20
_CONFLICTS_KEPT_MS: Final = int(CONFLICTS_KEPT.total_seconds() * 1000)
_AGAIN_S: Final = 0.25
_COMPANY_MAX: Final = 16
"""Works that fill a transaction, or nearly: nobody waits for more."""
_COMPANY_STEP_MS: Final = 5
_NOT_COPIED: Final = "slots do not move between such cells in this version (docs/engines.md)"
_LOADS: Final = 5

_logger = structlog.get_logger(__name__)


class DynamoStore(DynamoReads):
    """Made by ``open_dynamo_store``."""

    def __init__(self, writer: Writer, tables: Tables, *, clock: Clock, company_ms: int = 0) -> None:
        super().__init__(writer, tables, clock=clock)
        self._queue: GroupQueue[Work] = GroupQueue("DynamoDB")
        self._draining: asyncio.Task[None] | None = None
        self._waking: asyncio.Task[None] | None = None
        self._erasing: asyncio.Task[None] | None = None
        self._transactions = 0
        self._company_ms, self._begun_ms = company_ms, clock.monotonic_ms() - company_ms
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

    async def is_unpublished_at(self, sequence: int) -> bool:
        """See ``hub.relay.RelayedStore``: tables do not say, and the relay does not ask."""
        del sequence
        return False

    # --- whose a slot is -----------------------------------------------------------------------------------------

    async def freeze(self, slot: Slot, *, move: int, epoch: int) -> Cut:
        """See ``ports.moves``."""
        cut: Cut = await self._submit(FreezeWork(slot, move, epoch))
        return cut

    async def settle(self, slot: Slot, *, move: int, epoch: int, owner: str | None) -> Lease:
        """See ``ports.moves``."""
        lease: Lease = await self._submit(SettleWork(slot, move, epoch, owner))
        return lease

    async def stand_aside(self, slot: Slot, *, epoch: int, owner: str | None) -> Cut:
        """See ``ports.moves``."""
        cut: Cut = await self._submit(StandAsideWork(slot, epoch, owner))
        return cut

    async def begin_import(self, slot: Slot, *, move: int, epoch: int) -> Lease:
        """Refused: slots are not copied between cells on DynamoDB in this version.

        Raises:
            Invalid: always.
        """
        raise Invalid(f"slot {slot}: move {move} at epoch {epoch} into a cell on DynamoDB; {_NOT_COPIED}")

    async def export(self, slot: Slot, cursor: CopyCursor) -> SlotChunk:
        """Refused, as ``begin_import``.

        Raises:
            Invalid: always.
        """
        del cursor
        raise Invalid(f"slot {slot}: a copy out of a cell on DynamoDB; {_NOT_COPIED}")

    async def import_chunk(self, slot: Slot, chunk: SlotChunk, *, move: int) -> Vector:
        """Refused, as ``begin_import``.

        Raises:
            Invalid: always.
        """
        del chunk
        raise Invalid(f"slot {slot}: a piece of move {move} for a cell on DynamoDB; {_NOT_COPIED}")

    async def discard(self, slot: Slot, *, move: int) -> bool:
        """See ``ports.moves``; nothing is ever left behind here, since no slot was copied away."""
        del slot, move
        return False

    async def sweep(self, *, limit: int = 1000) -> int:
        """See ``ports.moves``; nothing is ever set aside here."""
        del limit
        return 0

    async def prune_log(self, slot: Slot, *, acknowledged: Vector, relayed_lsn: int, limit: int = 256) -> int:
        """See ``ports.store``."""
        rows = self._writer.slots.get(slot)
        if rows is None:
            return 0
        last_lsn = min(relayed_lsn, rows.held[0].lsn - 1) if rows.held else relayed_lsn
        wish = PruneWish(acknowledged, last_lsn, self._clock.wall_ms(), limit)
        found = await prunable(self._tables, region=self.region, view=self._writer.views[slot], wish=wish)
        if found.floors:
            await self._submit(FloorWork(slot, found.floors))
            self._writer.forget_tail()
            await delete_below(self._tables, region=self.region, views=self._writer.views, slot=slot, lsns=found.lsns)
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
        """As many waiting works as one transaction holds, and always one; ``waited_ms``: for company."""
        rows, size, none_yet = 2, 0, True

        def takes(work: Work) -> bool:
            nonlocal rows, size, none_yet
            rows, size = rows + work.rows, size + work.bytes
            fits, none_yet = none_yet or (rows <= ACTIONS_MAX and size <= BYTES_MAX), False
            return fits

        return self._queue.next_group(self._clock.monotonic_ms() - waited_ms, takes)

    # --- in the background ---------------------------------------------------------------------------------------

    def _after_commits(self) -> None:
        if self._closed:
            return
        if self._writer.held_for_ms is not None and self._waking is None:
            self._waking = asyncio.create_task(self._wake(), name="store-held")
        if self._writer.erasures and self._erasing is None:
            self._erasing = asyncio.create_task(self._erase(), name="store-eraser")

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
        try:
            while self._writer.erasures:
                slot, pk = min(self._writer.erasures)
                await erase_account(self._tables, region=self.region, view=self._writer.views[slot], pk=pk)
                self._writer.forget_tail()
                self._writer.erasures.discard((slot, pk))
        except EisbachError as error:
            # The note is in the table: the next commit, or the next start, begins here again.
            _logger.warning("erasure_waits", cell=self._writer.cell, error=str(error))
        finally:
            self._erasing = None

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
            last_lsn=writer.head.lsn,
            clock_jumped=writer.hlc is not None and writer.hlc.jumped,
            erasing=len(writer.erasures),
        )

    async def aclose(self) -> None:
        """Finish what is queued."""
        self._closed = True
        while (task := self._draining) is not None:
            await asyncio.wait([task])
        for task in (self._waking, self._erasing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
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
    place: AwsPlace, *, prefix: str, cell: str, region: str, clock: Clock, company_ms: int = 0
) -> AsyncIterator[DynamoStore]:
    """Open a cell's tables, which exist, and close the store at the end.

    Args:
        place: AWS's region and how it is reached.
        prefix: of the tables' names: the deployment's.
        cell: the other part of their names.
        region: the origin of what is written here; tables never change it.
        clock: for stamps, and for the times at which held ops come due.
        company_ms: from one commit to the next that nobody is in a hurry for; the 50 ms after which the queue refuses
            come on top.

    Raises:
        Invalid: the tables are of another region.
        Unavailable: they do not exist, or cannot be reached.
    """
    async with open_clients(place) as clients:
        tables = Tables(clients, prefix=prefix, cell=cell)
        writer = Writer(tables, region=region, cell=cell, clock=clock)
        for _ in range(_LOADS):
            try:
                await writer.load()
                break
            except Conflicted:
                continue
        else:
            raise Unavailable(f"cell {cell} is written too fast to be opened; try again")
        store = DynamoStore(writer, tables, clock=clock, company_ms=company_ms)
        try:
            yield store
        finally:
            await store.aclose()
