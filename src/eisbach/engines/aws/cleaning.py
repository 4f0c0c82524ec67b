"""What is deleted after a commit that allowed it: the rest of an erased account, and ops below a slot's floors.

Promises: every step may be repeated and may be lost; a note in the tables says what is left, so the next opening goes
on. What is being deleted here is already invisible to readers. A row of the log holds ops of several slots: it goes
when the last of them is below its slot's floor, and until then the slots' indexes name it, for an erasure to find it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from eisbach.engines.aws.group import erased_put, item_key
from eisbach.engines.aws.log_index import index_pk
from eisbach.engines.aws.log_row import decode_body, encode_body, is_of_account, without_account
from eisbach.engines.aws.unflushed import ItemPlace
from eisbach.engines.aws.writer import Writer
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.hlc import hlc_ms
from eisbach.kernel.limits import OPLOG_KEPT
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector

__all__ = ["Prunable", "PruneWish", "delete_below", "erase_account", "prunable"]

_LOG_KEPT_MS: Final = int(OPLOG_KEPT.total_seconds() * 1000)
_AT_ONCE: Final = 100
_TRIES: Final = 5
_NOTHING: Final = Mark(0, 0)


# --- an erased account -------------------------------------------------------------------------------------------


async def erase_account(writer: Writer, *, slot: Slot, pk: str, now_ms: int) -> None:
    """Blank everything of an erased account but its mark, then note that it is done."""
    number, tables, name = writer.memory.head.number, writer.tables, str(slot)
    unflushed = writer.memory.unflushed
    gone = {item_key(ItemPlace(name, *key)) for key in unflushed.forget_account(name, pk, keep=ERASED)}
    for kind in ("item", "key"):
        async for row in tables.query(tables.state, f"{kind}#{slot}", low=f"{pk}\0", high=f"{pk}\1"):
            if "gone" not in row and (kind == "key" or row["sk"]["S"] != f"{pk}\0{ERASED}"):
                gone.add((f"{kind}#{slot}", row["sk"]["S"]))
    async for row in tables.query(tables.state, "conflict"):
        if "gone" not in row and row["slot"]["S"] == name and row["ipk"]["S"] == pk:
            gone.add(("conflict", row["sk"]["S"]))
    gone |= {key for key, (_, laid) in unflushed.rows.items() if is_of_account((*key, laid), name, pk)}
    await tables.show([(*key, number, None) for key in sorted(gone)], now_ms=now_ms)
    for key in gone:
        unflushed.rows.pop(key, None)
    await _empty_rows(writer, name, pk)
    note, sk, done = erased_put(name, pk, is_open=False)
    await tables.show([(note, sk, number, done)], now_ms=now_ms)
    if (note, sk) in unflushed.rows:
        unflushed.rows[note, sk] = (number, done)


async def _empty_rows(writer: Writer, slot: str, pk: str) -> None:
    """Take what an account wrote out of the rows of the log, in which other accounts' ops lie too."""
    numbers = {commit.number for commit in writer.memory.unflushed.commits.get(slot, ())}
    async for index, _ in writer.reads.indexes_of(slot):
        numbers.update(index.numbers)
    rest = sorted(numbers)
    for _ in range(_TRIES):
        again: list[int] = []
        for start in range(0, len(rest), _AT_ONCE):
            for row in await writer.log.rows_at(rest[start : start + _AT_ONCE]):
                emptied = without_account(decode_body(row.body), slot, pk)
                if emptied is not None and not await writer.log.replace(row, encode_body(emptied)[0]):
                    again.append(row.number)  # another erasure, or pruning, was there at the same time
        if not again:
            return
        rest = again


# --- what everybody holds ----------------------------------------------------------------------------------------


class Prunable(msgspec.Struct):
    """What may be forgotten of a slot's log."""

    floors: dict[str, Mark]
    count: int
    numbers: list[int]
    """Rows that were looked at."""
    all_young: bool
    """Whether nothing there is old enough, whatever others hold."""


class PruneWish(NamedTuple):
    """What a caller allows to be forgotten."""

    acknowledged: Vector
    last_lsn: int
    now_ms: int
    limit: int


def is_young(op: Op, now_ms: int) -> bool:
    """Whether an op is to be kept whatever others hold."""
    return hlc_ms(op.hlc) + _LOG_KEPT_MS > now_ms


async def prunable(writer: Writer, *, slot: Slot, wish: PruneWish) -> Prunable:
    """Look at the tail of each origin; stop at the first op that somebody may still need."""
    name, floors = str(slot), writer.memory.views[slot].floors
    seen: dict[str, dict[Mark, tuple[int, Op]]] = {}
    numbers: list[int] = []
    async for index, _ in writer.reads.indexes_of(name):
        young = False
        for part in (index.numbers[:1], index.numbers[1:]):  # most often the first says that there is nothing to do
            for row in await writer.log.rows_at(part) if not young else ():
                body = decode_body(row.body)
                numbers.append(row.number)
                for n, op in enumerate(body.ops):
                    if op.slot == name and (mark := Mark(op.epoch, op.seq)) > floors.get(op.origin, _NOTHING):
                        seen.setdefault(op.origin, {})[mark] = (body.first_lsn + n, op)
                        young = is_young(op, wish.now_ms)
        if young or sum(map(len, seen.values())) > wish.limit:
            break
    every = [op for ops in seen.values() for _, op in ops.values()]
    found = Prunable({}, 0, numbers, all(is_young(op, wish.now_ms) for op in every))
    for origin, wanted in sorted(wish.acknowledged.items()):
        for mark, (lsn, op) in sorted(seen.get(origin, {}).items()):
            if found.count == wish.limit or lsn > wish.last_lsn or mark > wanted or is_young(op, wish.now_ms):
                break
            found.floors[origin] = mark
            found.count += 1
    return found


async def delete_below(writer: Writer, *, slot: Slot, numbers: Sequence[int], last_lsn: int) -> None:
    """Of these rows of the log, delete those of which nothing is left; then the slot's indexes that name none."""
    views, last = writer.memory.views, min(writer.memory.unflushed.flushed, writer.memory.head.number - 1)
    floors = {str(one.slot): one.floors for one in views.values()}

    def is_below(op: Op) -> bool:
        return Mark(op.epoch, op.seq) <= floors.get(op.slot, {}).get(op.origin, _NOTHING)

    there = set(numbers)
    for start in range(0, len(numbers), _AT_ONCE):
        rows = await writer.log.rows_at(numbers[start : start + _AT_ONCE])
        # The last row stays in any case: its number says where a process that slept has to read on.
        gone = [
            row for row in rows
            if row.number <= last and row.lsn <= last_lsn and all(map(is_below, decode_body(row.body).ops))
        ]  # fmt: skip
        await writer.log.delete(gone)
        there -= {row.number for row in gone} | (set(numbers[start : start + _AT_ONCE]) - {row.number for row in rows})
    empty: list[str] = []
    async for index, sk in writer.reads.indexes_of(str(slot)):
        if not set(index.numbers) <= set(numbers) or there & set(index.numbers):
            break
        empty.append(sk)
    tables = writer.tables
    await tables.delete([(index_pk(str(slot)), sk) for sk in empty])
