"""What a group of works reads and wants to write: loaded at once, decided in memory, written at once.

Promises: nothing reaches the file before every work of the group has been decided; so a refused work needs no
savepoint (11 us each) and cannot touch a neighbour. ``known`` shows each work what those before it want to write.
May not know: what makes a work refuse.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.engines.embedded.item_cache import ItemCache
from eisbach.engines.embedded.slot_rows import SlotRows
from eisbach.kernel.limits import WRITES_PER_TRANSACTION_MAX
from eisbach.kernel.merge import Stored
from eisbach.kernel.ops import Op, encode_op
from eisbach.ports.store import IMPORTED_LSN_MIN

__all__ = ["Group", "ItemPlace", "KeyRow"]

ItemPlace = tuple[int, str, str]
"""(slot number, pk, sk)."""


class KeyRow(NamedTuple):
    """The answer kept under an idempotency key."""

    answer: bytes
    epoch: int
    seq: int
    hlc: int
    expires_ms: int


_PAGES: Final = (64, 16, 4, 1)
"""Rows per loading statement: few texts, so that all stay in apsw's statement cache."""
_LOAD: Final = {
    size: "WITH k(s, p, q) AS (VALUES "  # noqa: S608 - only question marks are joined in
    + ",".join(["(?,?,?)"] * size)
    + ") SELECT slot, pk, sk, hlc, origin, seq, base_hlc, base_origin, value IS NOT NULL"
    " FROM k CROSS JOIN items ON slot = s AND pk = p AND sk = q"
    for size in _PAGES
}
_AT_ONCE: Final = 8
"""Rows an inserting statement: each run of one gives the interpreter away and waits to have it back from a busy event
loop. With more, SQLite takes longer for a row than with one."""
_PUT_ITEM: Final = {
    size: "INSERT INTO items(slot, pk, sk, value, hlc, origin, seq, base_hlc, base_origin) VALUES "  # noqa: S608 - as above
    + ",".join(["(?,?,?,?,?,?,?,?,?)"] * size)
    + " ON CONFLICT DO UPDATE SET value = excluded.value, hlc = excluded.hlc, origin = excluded.origin,"
    " seq = excluded.seq, base_hlc = excluded.base_hlc, base_origin = excluded.base_origin"
    for size in (1, _AT_ONCE)
}
_LOG: Final = {
    size: "INSERT INTO ops(lsn, slot, origin, epoch, seq, body) VALUES "  # noqa: S608 - as above
    + ",".join(["(?,?,?,?,?,?)"] * size)
    for size in (1, _AT_ONCE)
}
_PUTS: Final = {
    "aside": "UPDATE slots SET name = name || '#' || id WHERE id = ?",
    "slots": "INSERT INTO slots(id, name) VALUES(?,?)",
    "held": "INSERT INTO held(slot, lsn, hlc) VALUES(?,?,?)",
    "released": "DELETE FROM held WHERE slot = ? AND lsn = ?",
    "conflicts": "INSERT INTO conflicts(slot, pk, sk, hlc, origin, seq, value, winner_hlc, winner_origin, winner_seq,"
    " at_ms) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
    "forgotten": "DELETE FROM ops WHERE lsn = ?",
    "floors": "INSERT OR REPLACE INTO floors VALUES(?,?,?,?)",
    "erased": "DELETE FROM items WHERE slot = ? AND pk = ? AND sk <> 'erased'",
    "erased_keys": "DELETE FROM keys WHERE slot = ? AND scope = ?",
    "erased_conflicts": "DELETE FROM conflicts WHERE slot = ? AND pk = ?",
    "scrubs": "INSERT OR REPLACE INTO scrubs VALUES(?,?,?,?)",
    "scrubbed": "UPDATE ops SET body = ? WHERE lsn = ?",
    "scrub_moved": "UPDATE scrubs SET lsn = ? WHERE slot = ? AND pk = ?",
    "scrub_ended": "DELETE FROM scrubs WHERE slot = ? AND pk = ?",
}


class Group:
    """One group of works on its way to one commit."""

    __slots__ = (
        "_cache", "bytes_written", "conflicts", "entries", "items_written", "keys", "known", "last_import", "last_lsn",
        "now_ms", "ops", "puts", "rows", "save", "swept", "touched",
    )  # fmt: skip

    def __init__(self, *, now_ms: int, last_lsn: int, cache: ItemCache, last_import: int = 0) -> None:
        """``now_ms``: wall clock, read once for the group."""
        self._cache = cache
        self.now_ms, self.last_lsn, self.last_import = now_ms, last_lsn, last_import
        self.known: dict[ItemPlace, Stored | None] = {}
        """Items as this group leaves them; None is an item that never was."""
        self.puts: dict[ItemPlace, tuple[Any, ...]] = {}
        self.keys: dict[tuple[int, str, str], KeyRow] = {}
        self.rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _PUTS}
        self.touched: dict[int, SlotRows] = {}
        """Slots whose small rows changed."""
        self.save = False
        """Whether the small rows must go to the file with this group."""
        self.swept: list[tuple[str, list[tuple[Any, ...]]]] = []
        """(DELETE, rows) of what a move set aside."""
        self.ops: list[tuple[Any, ...]] = []
        """Rows of the log."""
        self.entries: list[tuple[int, Op]] = []
        """The same as (lsn, op)."""
        self.items_written = self.bytes_written = self.conflicts = 0

    def load(self, database: apsw.Connection, places: Iterable[ItemPlace]) -> None:
        """Read the rows of these places, as they are in the file."""
        known, cached = self.known, self._cache.known
        wanted: list[ItemPlace] = []
        for place in dict.fromkeys(places):
            if place in cached:
                known.setdefault(place, cached[place])
            elif place not in known:
                wanted.append(place)
        for page in _paged(wanted):
            flat = [value for place in page for value in place]
            for slot, pk, sk, *stored in database.execute(_LOAD[len(page)], flat):
                known[slot, pk, sk] = Stored(*stored)
        for place in wanted:
            known.setdefault(place, None)

    def stored(self, database: apsw.Connection, place: ItemPlace) -> Stored | None:
        """What the work should see at ``place``."""
        if place not in self.known:
            self.load(database, (place,))
        return self.known[place]

    def value(self, database: apsw.Connection, place: ItemPlace) -> bytes | None:
        """The value at ``place``, None for a tombstone; asked for only when it loses a conflict."""
        if place in self.puts:
            put: bytes | None = self.puts[place][3]
            return put
        found = rows(database, "SELECT value FROM items WHERE slot=? AND pk=? AND sk=?", place)
        value: bytes | None = found[0][0] if found else None
        return value

    def put(self, place: ItemPlace, value: bytes | None, stored: Stored) -> None:
        """Write an item with this group; of several writes of one item only the last reaches the file."""
        self.known[place] = stored
        hlc, origin, seq, base_hlc, base_origin, _ = stored
        number, pk, sk = place
        self.puts[place] = (number, pk, sk, value, hlc, origin, seq, base_hlc, base_origin)
        self.items_written += 1

    def log(self, slot: int, op: Op) -> int:
        """Append an op to the log; its lsn."""
        self.last_lsn = lsn = self.last_lsn + 1
        body = encode_op(op)
        self.ops.append((lsn, slot, op.origin, op.epoch, op.seq, body))
        self.entries.append((lsn, op))
        self.bytes_written += len(body)
        return lsn

    def erase(self, slot: SlotRows, pk: str) -> None:
        """Take all that an account has with this group; its op bodies follow in steps (``erasing.ScrubWork``)."""
        slot.erased.add(pk)
        place = (slot.number, pk)
        for name in ("erased", "erased_keys", "erased_conflicts"):
            self.rows[name].append(place)
        self.rows["scrubs"].append((*place, IMPORTED_LSN_MIN, self.last_lsn + WRITES_PER_TRANSACTION_MAX))

    def log_imported(self, slot: int, op: Op) -> int:
        """Append an op that a move brought: numbered below zero, because the source's relay has published it."""
        self.last_import = lsn = self.last_import + 1
        body = encode_op(op)
        self.ops.append((lsn, slot, op.origin, op.epoch, op.seq, body))
        self.bytes_written += len(body)
        return lsn

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.puts or self.ops or self.keys or self.touched or self.swept or any(self.rows.values()))

    def flush(self, database: apsw.Connection) -> None:
        """Write everything, inside the caller's transaction."""
        many = database.executemany
        _insert(database, _PUT_ITEM, list(self.puts.values()))
        _insert(database, _LOG, self.ops)
        for statement, found in self.swept:
            many(statement, found)
        if self.keys:
            many(
                "INSERT OR REPLACE INTO keys(slot, scope, key, answer, epoch, seq, hlc, expires_ms)"
                " VALUES(?,?,?,?,?,?,?,?)",
                [(*place, *row) for place, row in self.keys.items()],
            )
        for name, statement in _PUTS.items():  # after items, ops and keys: an erasure takes those of its own group too
            if found := self.rows[name]:
                many(statement, found)


def _insert(database: apsw.Connection, texts: Mapping[int, str], found: Sequence[tuple[Any, ...]]) -> None:
    """Rows in order, eight a statement, and what is left one by one."""
    whole = len(found) - len(found) % _AT_ONCE
    if whole:
        pages = [tuple(chain.from_iterable(found[at : at + _AT_ONCE])) for at in range(0, whole, _AT_ONCE)]
        database.executemany(texts[_AT_ONCE], pages)
    if whole < len(found):
        database.executemany(texts[1], found[whole:])


def _paged(places: Collection[ItemPlace]) -> Iterator[Sequence[ItemPlace]]:
    """``places`` cut into pieces whose sizes are those of ``_PAGES``."""
    left = list(places)
    start = 0
    for size in _PAGES:
        while len(left) - start >= size:
            yield left[start : start + size]
            start += size
