"""What a source reads for a move: pieces of a slot, each one state of the file.

Promises: bounded in rows and bytes; after the freeze, a piece that says there is no more is the end of the slot.
May not know: the writer, asyncio, who asks.
"""

from typing import Any, Final, NamedTuple

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark, Vector, merged
from eisbach.ports.moves import COPY_ROWS_MAX, CopiedConflict, CopiedItem, CopiedKey, CopyCursor, SlotChunk

__all__ = ["CopiedLog", "read_chunk"]

_ROW_BYTES: Final = 64
"""Of a row beside its texts and values."""
_KEY_OVERLAP_MS: Final = 1_001
"""The time that keys are stamped with may fall back by twice 500 ms (``kernel.hlc``): those of the last second are read
again, so that none is passed over."""
_ITEMS: Final = (
    "SELECT pk, sk, value, hlc, origin, seq, base_hlc, base_origin FROM items"
    " WHERE slot=? AND (pk, sk) > (?, ?) ORDER BY pk, sk LIMIT ?"
)
_KEYS: Final = (
    "SELECT scope, key, answer, epoch, seq, hlc, expires_ms FROM keys INDEXED BY keys_by_expiry"
    " WHERE slot=? AND expires_ms >= ? AND (expires_ms, scope, key) > (?, ?, ?) ORDER BY expires_ms, scope, key LIMIT ?"
)
_HELD: Final = (
    "SELECT origin, epoch, seq FROM held JOIN ops USING(slot, lsn) WHERE slot=? ORDER BY epoch DESC, seq DESC"
)
_CONFLICTS: Final = (
    "SELECT id, pk, sk, hlc, origin, seq, value, winner_hlc, winner_origin, winner_seq, at_ms FROM conflicts"
    " WHERE id > ? AND slot=? ORDER BY id LIMIT ?"
)


class CopiedLog(NamedTuple):
    """The log's part of a piece."""

    ops: list[Op]
    """What the cursor's vector lacks."""
    floors: Vector
    heads: Vector


def read_chunk(database: apsw.Connection, number: int, cursor: CopyCursor, log: CopiedLog, *, room: int) -> SlotChunk:
    """The piece after ``cursor``, ``room`` bytes beside the ops. Inside the caller's reading transaction."""
    items, last_item, room = _items(database, number, cursor, room)
    found, more_conflicts, room = _taken(database, _CONFLICTS, (cursor.conflict, number), room)
    conflict = found[-1][0] if found else cursor.conflict
    listed, more_keys, _ = _taken(database, _KEYS, (number, cursor.key[0], *cursor.key), room)
    keys = [CopiedKey(*row) for row in listed]
    have: dict[str, Mark] = merged(cursor.vector, log.floors)
    for op in log.ops:
        have[op.origin] = max(have.get(op.origin, Mark(0, 0)), Mark(op.epoch, op.seq))
    key = (keys[-1].expires_ms, keys[-1].scope, keys[-1].key) if keys else cursor.key
    behind = any(have.get(origin, Mark(0, 0)) < head for origin, head in log.heads.items())
    return SlotChunk(
        floors=dict(log.floors),
        ops=log.ops,
        items=items,
        keys=keys,
        conflicts=[CopiedConflict(*row[1:]) for row in found],
        heads=dict(log.heads),
        cursor=CopyCursor(
            vector=have,
            item=last_item,
            key=key if more_keys else (max(0, key[0] - _KEY_OVERLAP_MS), "", ""),
            conflict=conflict,
        ),
        more=more_conflicts or more_keys or behind or last_item is not None,
        held={origin: Mark(epoch, seq) for origin, epoch, seq in rows(database, _HELD, (number,))},
    )


def _items(
    database: apsw.Connection, number: int, cursor: CopyCursor, room: int
) -> tuple[list[CopiedItem], tuple[str, str] | None, int]:
    """Items after the cursor's, the last of them, None when they are all, and the room that is left."""
    if cursor.item is None:
        return [], None, room
    found, more, room = _taken(database, _ITEMS, (number, *cursor.item), room)
    items = [CopiedItem(*row) for row in found]
    return items, (items[-1].pk, items[-1].sk) if more else None, room


def _taken(
    database: apsw.Connection, query: str, values: tuple[Any, ...], room: int
) -> tuple[list[tuple[Any, ...]], bool, int]:
    """The first rows that the room has, at least one; whether there are more; the room that is left."""
    found: list[tuple[Any, ...]] = []
    for row in database.execute(query, (*values, COPY_ROWS_MAX + 1)):
        size = _ROW_BYTES + sum(len(value) for value in row if isinstance(value, str | bytes))
        if found and (len(found) == COPY_ROWS_MAX or size > room):
            return found, True, room
        found.append(row)
        room -= size
    return found, False, room
