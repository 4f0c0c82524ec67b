"""What a source reads for a move: pieces of a slot, each one state of the file.

Promises: bounded in rows and bytes; after the freeze, a piece that says there is no more is the end of the slot.
May not know: the writer, asyncio, who asks.
"""

from typing import Final

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark, Vector, merged
from eisbach.ports.moves import COPY_ROWS_MAX, CopiedConflict, CopiedItem, CopiedKey, CopyCursor, SlotChunk

__all__ = ["read_chunk"]

_BYTES_MAX: Final = 2 * 1024 * 1024
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


def read_chunk(
    database: apsw.Connection, number: int, cursor: CopyCursor, *, ops: list[Op], floors: Vector, heads: Vector
) -> SlotChunk:
    """The piece after ``cursor``; ``ops`` are what its vector lacks. Inside the caller's reading transaction."""
    items, last_item = _items(database, number, cursor)
    keys = [CopiedKey(*row) for row in rows(database, _KEYS, (number, cursor.key[0], *cursor.key, COPY_ROWS_MAX))]
    conflicts = rows(database, _CONFLICTS, (cursor.conflict, number, COPY_ROWS_MAX))
    have: dict[str, Mark] = merged(cursor.vector, floors)
    for op in ops:
        have[op.origin] = max(have.get(op.origin, Mark(0, 0)), Mark(op.epoch, op.seq))
    key = (keys[-1].expires_ms, keys[-1].scope, keys[-1].key) if keys else cursor.key
    full = len(keys) == COPY_ROWS_MAX or len(conflicts) == COPY_ROWS_MAX
    behind = any(have.get(origin, Mark(0, 0)) < head for origin, head in heads.items())
    return SlotChunk(
        floors=dict(floors),
        ops=ops,
        items=items,
        keys=keys,
        conflicts=[CopiedConflict(*row[1:]) for row in conflicts],
        heads=dict(heads),
        cursor=CopyCursor(
            vector=have,
            item=last_item,
            key=key if len(keys) == COPY_ROWS_MAX else (max(0, key[0] - _KEY_OVERLAP_MS), "", ""),
            conflict=conflicts[-1][0] if conflicts else cursor.conflict,
        ),
        more=full or behind or last_item is not None,
        held={origin: Mark(epoch, seq) for origin, epoch, seq in rows(database, _HELD, (number,))},
    )


def _items(
    database: apsw.Connection, number: int, cursor: CopyCursor
) -> tuple[list[CopiedItem], tuple[str, str] | None]:
    """Items after the cursor's, and the last of them; None when they are all."""
    if cursor.item is None:
        return [], None
    items: list[CopiedItem] = []
    size = 0
    for row in database.execute(_ITEMS, (number, *cursor.item, COPY_ROWS_MAX + 1)):
        if len(items) == COPY_ROWS_MAX or (items and size + len(row[2] or b"") > _BYTES_MAX):
            return items, (items[-1].pk, items[-1].sk)
        items.append(CopiedItem(*row))
        size += len(items[-1].value or b"")
    return items, None
