"""What is deleted after a commit that allowed it: the rest of an erased account, and ops below a slot's floors.

Promises: every step may be repeated and may be lost; a note in the tables says what is left, so the next opening goes
on. What is being deleted here is already invisible to readers. The log has no index by account, so an erasure reads the
slot's whole log: its read units are the price (docs/decisions 0012).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from eisbach.engines.aws.group import LsnRow
from eisbach.engines.aws.slot_rows import SlotView
from eisbach.engines.aws.tables import Put, Row, Tables, op_place
from eisbach.kernel.erasure import ERASED, erases, scrubbed
from eisbach.kernel.hlc import hlc_ms
from eisbach.kernel.limits import OPLOG_KEPT
from eisbach.kernel.ops import decode_op, encode_op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector

__all__ = ["Prunable", "PruneWish", "delete_below", "erase_account", "prunable"]

_LOG_KEPT_MS: Final = int(OPLOG_KEPT.total_seconds() * 1000)
_DELETED_AT_ONCE: Final = 500
_lsn_rows: Final = msgspec.msgpack.Decoder(LsnRow)


def _partition(tables: Tables, region: str, slot: Slot, origin: str) -> tuple[str, str]:
    return (tables.log, f"{slot}#{origin}") if origin == region else (tables.state, f"op#{slot}#{origin}")


async def erase_account(tables: Tables, *, region: str, view: SlotView, pk: str) -> None:
    """Delete everything of an erased account but its mark, then note that it is done."""
    slot = view.slot
    for kind in ("item", "key"):
        gone: list[Put] = []
        async for row in tables.query(tables.state, f"{kind}#{slot}", low=f"{pk}\0", high=f"{pk}\1"):
            if kind == "key" or row["sk"]["S"] != f"{pk}\0{ERASED}":
                gone.append(Put(tables.state, _key(row), None))
            if len(gone) == _DELETED_AT_ONCE:
                await tables.write_all(gone)
                gone = []
        await tables.write_all(gone)
    lost = [
        Put(tables.state, _key(row), None)
        async for row in tables.query(tables.state, "conflict")
        if row["slot"]["S"] == str(slot) and row["ipk"]["S"] == pk
    ]
    await tables.write_all(lost)
    for origin in view.vector:
        table, partition = _partition(tables, region, slot, origin)
        async for row in tables.query(table, partition):
            op = decode_op(row["body"]["B"])
            if op.change is not None and op.change.pk == pk and not erases(op.change):
                await tables.replace_body(table, _key(row), encode_op(scrubbed(op)))
    note = {"pk": {"S": "erased"}, "sk": {"S": f"{slot}\0{pk}"}}
    await tables.write_all([Put(tables.state, note, {"open": {"N": "0"}})])


class Prunable(msgspec.Struct):
    """What may be forgotten of a slot's log."""

    floors: dict[str, Mark]
    count: int
    lsns: list[int]


class PruneWish(NamedTuple):
    """What a caller allows to be forgotten."""

    acknowledged: Vector
    last_lsn: int
    now_ms: int
    limit: int


async def prunable(tables: Tables, *, region: str, view: SlotView, wish: PruneWish) -> Prunable:
    """Look at the tail of each origin; stop at the first op that somebody may still need."""
    found = Prunable({}, 0, [])
    for origin, wanted in sorted(wish.acknowledged.items()):
        table, partition = _partition(tables, region, view.slot, origin)
        floor = view.floors.get(origin, Mark(0, 0))
        place = op_place(floor) + 1
        low = place if origin == region else f"{place:030d}"
        async for row in tables.query(table, partition, low=low, page=min(wish.limit, 100)):
            op, lsn = decode_op(row["body"]["B"]), int(row["lsn"]["N"])
            mark = Mark(op.epoch, op.seq)
            young = hlc_ms(op.hlc) + _LOG_KEPT_MS > wish.now_ms
            if found.count == wish.limit or lsn > wish.last_lsn or mark > wanted or young:
                break
            found.floors[origin] = mark
            found.count += 1
            found.lsns.append(lsn)
    return found


async def delete_below(
    tables: Tables, *, region: str, views: "dict[Slot, SlotView]", slot: Slot, lsns: Sequence[int]
) -> None:
    """Delete the op rows below a slot's floors, and the rows of commits of which nothing is left."""
    for origin, floor in views[slot].floors.items():
        table, partition = _partition(tables, region, slot, origin)
        low, high = (0, op_place(floor)) if origin == region else (f"{0:030d}", f"{op_place(floor):030d}")
        gone = [Put(table, _key(row), None) async for row in tables.query(table, partition, low=low, high=high)]
        await tables.write_all(gone)
    if not lsns:
        return
    floors = {str(one.slot): one.floors for one in views.values()}
    empty: list[Put] = []
    async for row in tables.query(tables.state, "lsn", low=f"{min(lsns):020d}", page=100):
        refs = _lsn_rows.decode(row["ops"]["B"]).ops
        if refs[0][0] > max(lsns):
            break
        if all(Mark(ref[3], ref[4]) <= floors.get(ref[1], {}).get(ref[2], Mark(0, 0)) for ref in refs):
            empty.append(Put(tables.state, _key(row), None))
    await tables.write_all(empty)


def _key(row: Row) -> Row:
    return {"pk": row["pk"], "sk": row["sk"]}
