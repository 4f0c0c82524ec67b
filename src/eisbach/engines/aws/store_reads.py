"""What a DynamoDB store answers without committing anything. May not know: works, the queue.

Promises: a read of an item is consistent; lease, vector and the end of the log are as this process last read or wrote
them, so another process's commits are seen with the next own one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from eisbach.engines.aws.group import ItemPlace, item_key, stored_item
from eisbach.engines.aws.log_reads import LogReads
from eisbach.engines.aws.tables import Tables
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

    def __init__(self, writer: Writer, tables: Tables, *, clock: Clock) -> None:
        self._writer, self._tables, self._clock = writer, tables, clock
        self._reads = LogReads(tables, region=writer.region, views=writer.views)
        self._committed = asyncio.Event()
        self._items_read = 0
        self._closed = False

    def _note_commit(self) -> None:
        """Wake who waits; the writer may have read its memory anew."""
        self._reads.use(self._writer.views)
        self._committed.set()
        self._committed = asyncio.Event()

    async def read(self, slot: Slot, key: ItemKey) -> Item | None:
        """See ``ports.store``."""
        self._items_read += 1
        row = await self._tables.get(item_key(ItemPlace(str(slot), *key)))
        if row is None or self._hidden(slot, key):
            return None
        known = stored_item(row)
        return Item(key, known.value, known.stored.version) if known.value is not None else None

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
        async for row in self._tables.query(self._tables.state, f"item#{slot}", low=low, high=high, page=limit):
            key, known = ItemKey(*row["sk"]["S"].split("\0")), stored_item(row)
            if known.value is None or row["sk"]["S"] == high or self._hidden(slot, key):
                continue
            found.append(Item(key, known.value, known.stored.version))
            if len(found) == limit:
                break
        self._items_read += len(found)
        return found

    def _hidden(self, slot: Slot, key: ItemKey) -> bool:
        """Whether it is of an erased account, and only its row is still there."""
        view = self._writer.views.get(slot)
        return view is not None and key.pk in view.erased and key.sk != ERASED

    async def lease(self, slot: Slot) -> Lease | None:
        """See ``ports.store``; as this process last read or wrote it."""
        view = self._writer.views.get(slot)
        return view.lease if view is not None else None

    async def leases(self) -> Mapping[Slot, Lease]:
        """See ``ports.store``; as this process last read or wrote them."""
        return {slot: view.lease for slot, view in self._writer.views.items() if view.lease is not None}

    async def vector(self, slot: Slot) -> Vector:
        """See ``ports.store``; as this process last read or wrote it."""
        view = self._writer.views.get(slot)
        return dict(view.vector) if view is not None else {}

    async def applied(self, slot: Slot) -> Vector:
        """See ``ports.store``; as this process last read or wrote it."""
        view = self._writer.views.get(slot)
        return dict(view.applied) if view is not None else {}

    async def ops_after(self, slot: Slot, vector: Vector, *, limit: int) -> OpBatch:
        """See ``ports.store``."""
        return await self._reads.ops_after(slot, vector, limit)

    async def log_after(self, lsn: int, *, limit: int) -> Sequence[LogEntry]:
        """See ``ports.store``."""
        tail = self._writer.tail
        if tail and tail[0][0] <= lsn + 1:  # the relay reads what was just written: that costs no read unit
            start = lsn + 1 - tail[0][0]
            return [LogEntry(number, self._reads.shown(op)) for number, op in islice(tail, start, start + limit)]
        return await self._reads.log_after(lsn, limit)

    async def wait_for_commit(self, lsn: int) -> int:
        """See ``ports.store``; wakes for commits of this process."""
        while self._writer.head.lsn <= lsn:
            if self._closed:
                raise Unavailable("the store is closed; the process is stopping")
            await self._committed.wait()
        return self._writer.head.lsn

    async def digest(self, slot: Slot, *, buckets: int = 16) -> Sequence[str]:
        """See ``ports.store``; reads every item of the slot, and is not one state when others write meanwhile."""
        digest = SlotDigest(buckets)
        async for row in self._tables.query(self._tables.state, f"item#{slot}"):
            key, known = ItemKey(*row["sk"]["S"].split("\0")), stored_item(row)
            if not self._hidden(slot, key):
                digest.add(*key, known.stored.version, dead=not known.stored.live)
        return digest.hexadecimal()

    async def conflicts(self, *, limit: int = 100) -> Sequence[Conflict]:
        """See ``ports.store``."""
        found: list[Conflict] = []
        async for row in self._tables.query(self._tables.state, "conflict", page=limit, newest=True):
            if len(found) == limit:
                break
            slot, key = row["slot"]["S"], ItemKey(row["ipk"]["S"], row["isk"]["S"])
            at_ms = int(row["at"]["N"])
            if at_ms + _CONFLICTS_KEPT_MS <= self._clock.wall_ms() or self._hidden(Slot.parse(slot), key):
                continue
            loser, winner = (Version(int(row[h]["N"]), row[o]["S"], int(row[q]["N"])) for h, o, q in _VERSIONS)
            found.append(Conflict(slot, key, loser, row["value"]["B"] if "value" in row else None, winner, at_ms))
        return found

    async def replicated_ops(self, slot: Slot, origin: str, *, limit: int = 256) -> Sequence[Op]:
        """Ops of another region that this region's replica of the log holds and this store has not applied yet:
        give them to ``apply``.
        """
        have = (await self.vector(slot)).get(origin, Mark(0, 0))
        return await self._reads.replicated(slot, origin, have, limit=limit)
