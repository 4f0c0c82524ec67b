"""What a DynamoDB store answers without committing anything. May not know: works, the queue.

Promises: a read of items sees every commit that was acknowledged before it, whichever process wrote it: it first looks
whether the log has gone on, one read unit for all who ask at the same time. Lease, vector and the end of the log are as
this process last read or wrote them, so another process's commits are seen with the next own one.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from eisbach.engines.aws.group import item_key, stored_item
from eisbach.engines.aws.log_row import Known
from eisbach.engines.aws.tables import Row
from eisbach.engines.aws.unflushed import ItemPlace
from eisbach.engines.aws.writer import Writer
from eisbach.kernel.digests import SlotDigest
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.limits import CONFLICTS_KEPT
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.text_order import after_prefix
from eisbach.kernel.versions import Mark, Vector, Version
from eisbach.ports.clock import Clock
from eisbach.ports.store import Conflict, Item, ItemKey, Lease, LogEntry, OpBatch

__all__ = ["DynamoReads"]

QUERY_MAX: Final = 1000
_CONFLICTS_KEPT_MS: Final = int(CONFLICTS_KEPT.total_seconds() * 1000)
_VERSIONS: Final = (("lh", "lo", "lq"), ("wh", "wo", "wq"))


class DynamoReads:
    """The reading half of ``DynamoStore``."""

    def __init__(self, writer: Writer, *, clock: Clock) -> None:
        self._writer, self._tables, self._clock = writer, writer.tables, clock
        self._looking: asyncio.Task[None] | None = None
        self._looking_next: asyncio.Task[None] | None = None
        self._committed = asyncio.Event()
        self._items_read = 0
        self._closed = False

    def _note_commit(self) -> None:
        """Wake who waits."""
        self._committed.set()
        self._committed = asyncio.Event()

    async def refresh(self) -> None:
        """See ``ports.store``."""
        raise NotImplementedError

    async def _see(self) -> None:
        """Know every commit that was acknowledged before this call. All who call while one look is under way share the
        next one.
        """
        if self._looking_next is None:
            self._looking_next = asyncio.create_task(self._look(self._looking), name="store-look")
        await asyncio.shield(self._looking_next)

    async def _look(self, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait([before])
        self._looking, self._looking_next = self._looking_next, None
        log = self._writer.log
        row = await log.row(self._writer.memory.head.number + 1)
        if row is not None and row.token != log.own:  # what is our own and under way is acknowledged to nobody yet
            await self.refresh()

    async def read(self, slot: Slot, key: ItemKey) -> Item | None:
        """See ``ports.store``."""
        self._items_read += 1
        await self._see()
        place, unflushed = ItemPlace(str(slot), *key), self._writer.memory.unflushed
        is_known, known = unflushed.known(place)
        if not is_known:
            pk, sk = item_key(place)
            row = await self._tables.get({"pk": {"S": pk}, "sk": {"S": sk}})
            known = stored_item(row) if row is not None else None
        if known is None or known.value is None or self._hidden(slot, key):
            return None
        return Item(key, known.value, known.stored.version)

    async def query(
        self, slot: Slot, pk: str, prefix: str = "", *, after: str | None = None, limit: int = 100
    ) -> Sequence[Item]:
        """See ``ports.store``."""
        if not 1 <= limit <= QUERY_MAX:
            raise Invalid(f"a query for {limit} items; use 1 to {QUERY_MAX}")
        low = f"{pk}\0{max(prefix, after + chr(0)) if after is not None else prefix}"
        end = after_prefix(prefix)
        high = f"{pk}\0{end}" if end is not None else f"{pk}\1"
        found: list[Item] = []
        if low > high:
            return found
        await self._see()
        laid = self._laid_over(slot, low, high)
        rows = self._tables.query(self._tables.state, f"item#{slot}", low=low, high=high, page=limit)
        async for sk, known in _merged(rows, laid):
            key = ItemKey(*sk.split("\0"))
            if known.value is None or sk == high or self._hidden(slot, key):
                continue
            found.append(Item(key, known.value, known.stored.version))
            if len(found) == limit:
                break
        self._items_read += len(found)
        return found

    def _laid_over(self, slot: Slot, low: str = "", high: str = "\U0010ffff") -> list[tuple[str, Known]]:
        """What the log says of a slot's items beyond the table, by sort key."""
        places = self._writer.memory.unflushed.items.get(str(slot), {})
        found = [(item_key(ItemPlace("", *key))[1], known) for key, (_, known) in places.items()]
        return sorted((sk, known) for sk, known in found if low <= sk <= high)

    def _hidden(self, slot: Slot, key: ItemKey) -> bool:
        """Whether it is of an erased account, and only its row is still there."""
        view = self._writer.memory.views.get(slot)
        return view is not None and key.pk in view.erased and key.sk != ERASED

    async def lease(self, slot: Slot) -> Lease | None:
        """See ``ports.store``; as this process last read or wrote it."""
        view = self._writer.memory.views.get(slot)
        return view.lease if view is not None else None

    async def leases(self) -> Mapping[Slot, Lease]:
        """See ``ports.store``; as this process last read or wrote them."""
        return {slot: view.lease for slot, view in self._writer.memory.views.items() if view.lease is not None}

    async def vector(self, slot: Slot) -> Vector:
        """See ``ports.store``; as this process last read or wrote it."""
        view = self._writer.memory.views.get(slot)
        return dict(view.vector) if view is not None else {}

    async def applied(self, slot: Slot) -> Vector:
        """See ``ports.store``; as this process last read or wrote it."""
        view = self._writer.memory.views.get(slot)
        return dict(view.applied) if view is not None else {}

    async def ops_after(self, slot: Slot, vector: Vector, *, limit: int) -> OpBatch:
        """See ``ports.store``."""
        return await self._writer.reads.ops_after(slot, vector, limit)

    async def log_after(self, lsn: int, *, limit: int) -> Sequence[LogEntry]:
        """See ``ports.store``."""
        if lsn >= self._writer.memory.head.lsn:
            await self._see()  # a relay of another process finds what this one does not know of yet
        return await self._writer.reads.log_after(lsn, limit)

    async def wait_for_commit(self, lsn: int) -> int:
        """See ``ports.store``; wakes for commits of this process."""
        while self._writer.memory.head.lsn <= lsn:
            if self._closed:
                raise Unavailable("the store is closed; the process is stopping")
            await self._committed.wait()
        return self._writer.memory.head.lsn

    async def digest(self, slot: Slot, *, buckets: int = 16) -> Sequence[str]:
        """See ``ports.store``; reads every item of the slot, and is not one state when others write meanwhile."""
        digest, laid = SlotDigest(buckets), self._laid_over(slot)
        async for sk, known in _merged(self._tables.query(self._tables.state, f"item#{slot}"), laid):
            key = ItemKey(*sk.split("\0"))
            if not self._hidden(slot, key):
                digest.add(*key, known.stored.version, dead=not known.stored.live)
        return digest.hexadecimal()

    async def conflicts(self, *, limit: int = 100) -> Sequence[Conflict]:
        """See ``ports.store``."""
        found: list[Conflict] = []
        laid = {sk: row for (pk, sk), (_, row) in self._writer.memory.unflushed.rows.items() if pk == "conflict"}
        async for _, row in self._newest_conflicts(laid, limit):
            if len(found) == limit:
                break
            slot, key = row["slot"]["S"], ItemKey(row["ipk"]["S"], row["isk"]["S"])
            at_ms = int(row["at"]["N"])
            if at_ms + _CONFLICTS_KEPT_MS <= self._clock.wall_ms() or self._hidden(Slot.parse(slot), key):
                continue
            loser, winner = (Version(int(row[h]["N"]), row[o]["S"], int(row[q]["N"])) for h, o, q in _VERSIONS)
            found.append(Conflict(slot, key, loser, row["value"]["B"] if "value" in row else None, winner, at_ms))
        return found

    async def _newest_conflicts(self, laid: Mapping[str, Row | None], limit: int) -> AsyncIterator[tuple[str, Row]]:
        """Those that only the log has are newer than all that the table has, but for a flush that is under way."""
        for sk in sorted(laid, reverse=True):
            if (row := laid[sk]) is not None:
                yield sk, row
        async for row in self._tables.query(self._tables.state, "conflict", page=limit, newest=True):
            if row["sk"]["S"] not in laid and "gone" not in row:
                yield row["sk"]["S"], row

    async def replicated_ops(self, slot: Slot, origin: str, *, limit: int = 256) -> Sequence[Op]:
        """Ops of another region that this region's replica of the log holds and this store has not applied yet:
        give them to ``apply``.
        """
        have = (await self.vector(slot)).get(origin, Mark(0, 0))
        return await self._writer.reads.replicated(slot, origin, have, limit=limit)


async def _merged(rows: AsyncIterator[Row], laid: list[tuple[str, Known]]) -> AsyncIterator[tuple[str, Known]]:
    """Items of the table with what lies over them, by sort key."""
    at = 0
    async for row in rows:
        sk = row["sk"]["S"]
        while at < len(laid) and laid[at][0] < sk:
            yield laid[at]
            at += 1
        if at < len(laid) and laid[at][0] == sk:
            yield laid[at]
            at += 1
        elif (known := stored_item(row)) is not None:
            yield sk, known
    for one in laid[at:]:
        yield one
