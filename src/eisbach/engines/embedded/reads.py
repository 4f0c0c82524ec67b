"""What a store answers without its writer: a read-only connection of its own sees every commit that was acknowledged.

Promises: never waits for the writer (WAL); every call sees one state of the file, and leaves no transaction open.
May not know: the writer, asyncio.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import apsw

from eisbach.engines.embedded.copies import CopiedLog, read_chunk
from eisbach.engines.embedded.disk import rows
from eisbach.engines.embedded.item_cache import UNKNOWN, Place, ReadCache
from eisbach.kernel.digests import SlotDigest
from eisbach.kernel.errors import Invalid, LogGap
from eisbach.kernel.limits import PULL_OPS_MAX
from eisbach.kernel.ops import Op, decode_op
from eisbach.kernel.slots import Slot
from eisbach.kernel.text_order import after_prefix
from eisbach.kernel.versions import Mark, Vector, Version, merged
from eisbach.ports.moves import CopyCursor, SlotChunk
from eisbach.ports.store import Conflict, Item, ItemKey, LogEntry, OpBatch

__all__ = ["QUERY_MAX", "Reads"]

QUERY_MAX: Final = 1000
_DIGEST_STEP: Final = 512
_UNBOUNDED: Final = 1 << 62
_ITEM: Final = "SELECT value, hlc, origin, seq FROM items WHERE slot=? AND pk=? AND sk=? AND value IS NOT NULL"
_OPS: Final = (
    "SELECT body FROM ops WHERE slot=? AND origin=? AND (epoch, seq) > (?, ?) AND (epoch, seq) <= (?, ?)"
    " ORDER BY epoch, seq LIMIT ?"
)


class Reads:
    """Synchronous; microseconds each, except ``digest``, which comes in steps."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect, self._database = connect, connect()
        self._walker: apsw.Connection | None = None
        """For ``digest``; None while one walks, and before the first."""
        self._numbers: dict[Slot, int] = {}
        self._cache = ReadCache()
        self._closed = False
        self.items_read = 0

    def forget(self, slot: Slot) -> None:
        """The slot has other rows now."""
        self._numbers.pop(slot, None)
        self._cache.known.clear()

    def follow(self, committed: Sequence[Mapping[Place, tuple[Any, ...]]], *, anew: bool) -> None:
        """Rows of items that were committed; ``anew``: others may have gone."""
        if anew:
            self._cache.known.clear()
        for puts in committed:
            self._cache.follow(puts)

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._database.close()
        if self._walker is not None:
            self._walker.close()

    def _number(self, slot: Slot) -> int:
        """The interned slot, -1 for one that the file does not know (yet)."""
        number = self._numbers.get(slot)
        if number is None:
            found = rows(self._database, "SELECT id FROM slots WHERE name = ?", (str(slot),))
            if not found:
                return -1
            number = self._numbers[slot] = found[0][0]
        return number

    def opened(self) -> int:
        """The number of the last opening of the file."""
        return int(rows(self._database, "SELECT opened FROM head")[0][0])

    def read(self, slot: Slot, key: ItemKey) -> Item | None:
        """See ``ports.store``."""
        self.items_read += 1
        place = (self._number(slot), *key)
        item = self._cache.known.get(place, UNKNOWN)
        if item is UNKNOWN:
            found = rows(self._database, _ITEM, place)
            item = Item(key, found[0][0], Version(*found[0][1:])) if found else None
            if place[0] >= 0:
                self._cache.keep(place, item)
        return item

    def query(self, slot: Slot, pk: str, prefix: str, after: str | None, limit: int) -> Sequence[Item]:
        """See ``ports.store``."""
        if not 1 <= limit <= QUERY_MAX:
            raise Invalid(f"a query for {limit} items; use 1 to {QUERY_MAX}")
        end = after_prefix(prefix)
        query = "SELECT sk, value, hlc, origin, seq FROM items WHERE slot=? AND pk=? AND value IS NOT NULL AND sk>=?"
        values: list[Any] = [self._number(slot), pk, prefix]
        if after is not None:
            query, values = query + " AND sk>?", [*values, after]
        if end is not None:
            query, values = query + " AND sk<?", [*values, end]
        found = rows(self._database, query + " ORDER BY sk LIMIT ?", (*values, limit))
        self.items_read += len(found)
        return [Item(ItemKey(pk, sk), value, Version(*version)) for sk, value, *version in found]

    def ops_after(self, slot: Slot, vector: Vector, limit: int, *, heads: Vector) -> OpBatch:
        """See ``ports.store``; ``limit`` is passed by at most the rest of one transaction."""
        if limit < 1:
            raise Invalid(f"asked for {limit} ops; ask for at least 1")
        with self._database:  # one state of the file for floors and ops
            ops, _ = self._ops(slot, vector, limit, heads=heads)
        return OpBatch(ops, heads)

    def _ops(
        self, slot: Slot, vector: Vector, limit: int, *, heads: Vector, room: int = _UNBOUNDED
    ) -> tuple[list[Op], int]:
        """The ops, and the bytes of their bodies; ``room``, too, is passed by at most the rest of one transaction."""
        number = self._number(slot)
        floors = self._floors(number)
        ops: list[Op] = []
        used = 0
        for origin, head in sorted(heads.items()):
            have = vector.get(origin, Mark(0, 0))
            if have >= head:
                continue
            if have < (floor := floors.get(origin, Mark(0, 0))):
                raise LogGap(
                    f"slot {slot} origin {origin}: asked for what follows {have}, the log was pruned up to {floor};"
                    " seed the asker from a snapshot"
                )
            while have < head and ((len(ops) < limit and used < room) or ops[-1].more):
                values = (number, origin, *have, *head, max(1, limit - len(ops)))
                page, size = self._page(values, have, room - used)
                ops += page
                used += size
                have = Mark(page[-1].epoch, page[-1].seq)
            if len(ops) >= limit or used >= room:
                break
        return ops, used

    def export(self, slot: Slot, cursor: CopyCursor, bytes_max: int, *, heads: Vector) -> SlotChunk:
        """See ``ports.moves``; half of the bytes are for ops, so that no stream of them holds up the rest."""
        with self._database:
            number = self._number(slot)
            floors = self._floors(number)
            have = merged(cursor.vector, floors)
            ops, used = self._ops(slot, have, PULL_OPS_MAX, heads=heads, room=max(1, bytes_max // 2))
            log = CopiedLog(ops, floors, heads)
            found = read_chunk(self._database, number, cursor, log, room=bytes_max - used)
            self.items_read += len(found.items)
        return found

    def _floors(self, number: int) -> dict[str, Mark]:
        query = "SELECT origin, epoch, seq FROM floors WHERE slot=?"
        return {o: Mark(epoch, seq) for o, epoch, seq in rows(self._database, query, (number,))}

    def _page(self, values: tuple[Any, ...], have: Mark, room: int) -> tuple[list[Op], int]:
        page: list[Op] = []
        size = 0
        for (body,) in self._database.execute(_OPS, values):
            page.append(decode_op(body))
            size += len(body)
            if size >= room and not page[-1].more:
                break
        if not page or page[0].seq != (have.seq + 1 if page[0].epoch == have.epoch else 1):
            at = Mark(page[0].epoch, page[0].seq) if page else None
            raise LogGap(f"slot {values[0]} origin {values[1]}: the log goes from {have} to {at}; seed from a snapshot")
        return page, size

    def log_after(self, lsn: int, limit: int) -> Sequence[LogEntry]:
        """See ``ports.store``."""
        found = rows(self._database, "SELECT lsn, body FROM ops WHERE lsn>? ORDER BY lsn LIMIT ?", (lsn, limit))
        return [LogEntry(number, decode_op(body)) for number, body in found]

    def conflicts(self, limit: int) -> Sequence[Conflict]:
        """See ``ports.store``."""
        query = (
            "SELECT name, pk, sk, hlc, origin, seq, value, winner_hlc, winner_origin, winner_seq, at_ms"
            " FROM conflicts JOIN slots ON slots.id = conflicts.slot WHERE instr(name, '#') = 0"
            " ORDER BY conflicts.id DESC LIMIT ?"
        )
        return [
            Conflict(name, ItemKey(pk, sk), Version(h, o, s), value, Version(wh, wo, ws), at)
            for name, pk, sk, h, o, s, value, wh, wo, ws, at in rows(self._database, query, (limit,))
        ]

    def digest(self, slot: Slot, buckets: int) -> Iterator[list[str] | None]:
        """None after each step of 512 items, the digests at last; one state of the file however long it takes."""
        digest = SlotDigest(buckets)
        query = "SELECT pk, sk, hlc, origin, seq, value IS NULL FROM items WHERE slot=?"
        # A connection of its own: the statement stays open between steps, and the others must not wait for it. It is
        # kept for the next digest (opening one costs 150 us, a hundred slots' digests are one after the other).
        walker, self._walker = self._walker, None
        database = walker if walker is not None else self._connect()
        try:
            for place, (pk, sk, *version, dead) in enumerate(database.execute(query, (self._number(slot),)), 1):
                digest.add(pk, sk, version, dead=bool(dead))
                if place % _DIGEST_STEP == 0:
                    yield None
        except BaseException:
            database.close()
            raise
        if self._walker is None and not self._closed:
            self._walker = database
        else:
            database.close()
        yield digest.hexadecimal()
