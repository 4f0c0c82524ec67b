"""What one commit will write, as it grows; and what it needs to have read. May not know: callers, the network."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from eisbach.engines.aws.slot_rows import HeldOp, SlotRows
from eisbach.engines.aws.tables import Put, Row, Tables, op_place
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.limits import CONFLICTS_KEPT
from eisbach.kernel.merge import NO_BASE, Stored
from eisbach.kernel.ops import Op, decode_op, encode_op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Version

__all__ = [
    "Group",
    "ItemPlace",
    "KeyRow",
    "Known",
    "LsnRow",
    "item_key",
    "key_key",
    "op_key",
    "slot_put",
    "stored_item",
]

_SECOND: Final = 1000
_CONFLICTS_KEPT_S: Final = int(CONFLICTS_KEPT.total_seconds())


class ItemPlace(NamedTuple):
    """Address of an item in a cell."""

    slot: str
    pk: str
    sk: str


class Known(NamedTuple):
    """An item with its value; a tombstone has none."""

    stored: Stored
    value: bytes | None


class KeyRow(NamedTuple):
    """An idempotency key's answer."""

    answer: bytes
    mark: Mark
    hlc: int
    expires_ms: int


class LsnRow(msgspec.Struct, array_like=True):
    """Where the ops of one commit are, in the order in which they came."""

    ops: list[tuple[int, str, str, int, int]]
    """(lsn, slot, origin, epoch, seq)."""


def item_key(place: ItemPlace) -> Row:
    """Items lie by slot, so that a slot can be read whole."""
    return {"pk": {"S": f"item#{place.slot}"}, "sk": {"S": f"{place.pk}\0{place.sk}"}}


def key_key(slot: str, scope: str, key: str) -> Row:
    """Row of an idempotency key."""
    return {"pk": {"S": f"key#{slot}"}, "sk": {"S": f"{scope}\0{key}"}}


def slot_put(tables: Tables, slot: SlotRows) -> Put:
    """The slot's own row, as memory has it."""
    return Put(tables.state, {"pk": {"S": "slot"}, "sk": {"S": slot.name}}, {"row": {"B": slot.encode()}})


def op_key(tables: Tables, *, region: str, slot: str, origin: str, mark: Mark) -> tuple[str, Row]:
    """(table, key): own ops lie in the global log, foreign ones in this region's own table."""
    if origin == region:
        return tables.log, {"pk": {"S": f"{slot}#{origin}"}, "sk": {"N": str(op_place(mark))}}
    return tables.state, {"pk": {"S": f"op#{slot}#{origin}"}, "sk": {"S": f"{op_place(mark):030d}"}}


def stored_item(row: Row) -> Known:
    """Read an item's row."""
    live = "value" in row
    stored = Stored(
        int(row["hlc"]["N"]), row["origin"]["S"], int(row["seq"]["N"]), int(row["bh"]["N"]), row["bo"]["S"], live
    )
    return Known(stored, row["value"]["B"] if live else None)


class Group:
    """One commit."""

    def __init__(self, *, region: str, now_ms: int, lsn: int, conflicts: int) -> None:
        self.region, self.now_ms, self.lsn = region, now_ms, lsn
        self.conflict_number = conflicts
        self.items: dict[ItemPlace, Known | None] = {}
        """What was read, then what will be written."""
        self.keys: dict[tuple[str, str, str], KeyRow | None] = {}
        self.bodies: dict[tuple[str, str, Mark], Op] = {}
        """Ops of the log that were looked for and are there, and those that this commit adds."""
        self.entries: list[tuple[int, Op]] = []
        self.touched: dict[str, SlotRows] = {}
        """Slots that readers will see otherwise."""
        self.saved: dict[str, SlotRows] = {}
        """Slots whose row is written with this commit: what changed is more than the log says."""
        self.conflicts = 0
        self.erased: set[tuple[Slot, str]] = set()
        """Accounts whose erasure begins with this commit."""
        self._dirty: dict[ItemPlace, Known] = {}
        self._keys: dict[tuple[str, str, str], KeyRow] = {}
        self._ends: dict[int, Mark] = {}
        self._rows: list[tuple[Row, Row | None]] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self._dirty or self._keys or self.entries or self.touched or self._rows)

    @property
    def items_written(self) -> int:
        """Items, whatever else lies in the tables."""
        return len(self._dirty)

    def put(self, place: ItemPlace, value: bytes | None, version: Version, base: Version | None) -> None:
        """An item becomes this."""
        known = Known(Stored(*version, *(base[:2] if base is not None else NO_BASE), value is not None), value)
        self.items[place] = self._dirty[place] = known

    def keep_answer(self, place: tuple[str, str, str], row: KeyRow) -> None:
        """An answer for repeats."""
        self.keys[place] = self._keys[place] = row

    def save(self, slot: SlotRows) -> None:
        """Its lease or its floors changed."""
        self.touched[slot.name] = self.saved[slot.name] = slot

    def log(self, slot: SlotRows, op: Op) -> int:
        """Append an op; its lsn."""
        self.lsn += 1
        if op.seq == 1:
            self._ends[self.lsn] = slot.marks.get(op.origin, Mark(0, 0))
        slot.logged(op, region=self.region)
        self.entries.append((self.lsn, op))
        self.touched[slot.name] = slot
        return self.lsn

    def hold(self, slot: SlotRows, held: HeldOp) -> None:
        """It is logged and waits for its time."""
        slot.held.append(held)
        where = {"slot": slot.name, "origin": held.origin}
        numbers = {"hlc": held.hlc, "epoch": held.mark.epoch, "seq": held.mark.seq}
        self._rows.append((_held_key(held.lsn), _strings(where) | _numbers(numbers)))

    def released(self, slot: SlotRows) -> None:
        """The first held op has been applied."""
        self._rows.append((_held_key(slot.held.popleft().lsn), None))
        self.touched[slot.name] = slot

    def lost(self, place: ItemPlace, loser: Version, value: bytes | None, winner: Version) -> None:
        """Keep the loser of two writes."""
        self.conflict_number += 1
        self.conflicts += 1
        row = _strings({"slot": place.slot, "ipk": place.pk, "isk": place.sk})
        row |= _strings({"lo": loser.origin, "wo": winner.origin})
        row |= _numbers({"lh": loser.hlc, "lq": loser.seq, "wh": winner.hlc, "wq": winner.seq, "at": self.now_ms})
        row |= _numbers({"expires": self.now_ms // _SECOND + _CONFLICTS_KEPT_S})
        if value is not None:
            row["value"] = {"B": value}
        self._rows.append(({"pk": {"S": "conflict"}, "sk": {"S": f"{self.conflict_number:020d}"}}, row))

    def erase(self, slot: SlotRows, pk: str) -> None:
        """The account is erased from this commit on; what is left of it is deleted after."""
        slot.erased.add(pk)
        self.erased.add((slot.slot, pk))
        self.touched[slot.name] = slot
        key = {"pk": {"S": "erased"}, "sk": {"S": f"{slot.name}\0{pk}"}}
        self._rows.append((key, _numbers({"open": 1})))
        for place in [p for p in self._dirty if (p.slot, p.pk) == (slot.name, pk) and p.sk != ERASED]:
            del self._dirty[place]
        for answer in [k for k in self._keys if k[:2] == (slot.name, pk)]:
            del self._keys[answer]

    def puts(self, tables: Tables) -> list[Put]:
        """Every row to write, each once."""
        state = tables.state
        found = [Put(state, item_key(place), _item_row(known)) for place, known in self._dirty.items()]
        found += [Put(state, key_key(*place), _key_row(answer)) for place, answer in self._keys.items()]
        found += [slot_put(tables, slot) for slot in self.saved.values()]
        found += [Put(state, key, row) for key, row in self._rows]
        if self.entries:
            found += [self._op_put(tables, lsn, op) for lsn, op in self.entries]
            refs = LsnRow([(lsn, op.slot, op.origin, op.epoch, op.seq) for lsn, op in self.entries])
            place = {"pk": {"S": "lsn"}, "sk": {"S": f"{self.lsn:020d}"}}
            found.append(Put(state, place, {"ops": {"B": msgspec.msgpack.encode(refs)}}))
        return found

    def _op_put(self, tables: Tables, lsn: int, op: Op) -> Put:
        mark = Mark(op.epoch, op.seq)
        table, key = op_key(tables, region=self.region, slot=op.slot, origin=op.origin, mark=mark)
        row: dict[str, Any] = {"body": {"B": encode_op(op)}, "lsn": {"N": str(lsn)}}
        if lsn in self._ends:
            row["behind"] = {"N": str(op_place(self._ends[lsn]))}
        return Put(table, key, row)

    def take_rows(self, rows: Iterable[Row]) -> None:
        """What was read for the works of this commit."""
        for row in rows:
            kind, _, slot = row["pk"]["S"].partition("#")
            one, _, other = row["sk"].get("S", "").partition("\0")
            if kind == "item":
                self.items[ItemPlace(slot, one, other)] = stored_item(row)
            elif kind == "key":
                mark = Mark(int(row["epoch"]["N"]), int(row["seq"]["N"]))
                told = KeyRow(row["answer"]["B"], mark, int(row["hlc"]["N"]), int(row["until_ms"]["N"]))
                self.keys[slot, one, other] = told
            else:
                op = decode_op(row["body"]["B"])
                self.bodies[op.slot, op.origin, Mark(op.epoch, op.seq)] = op


def _item_row(known: Known) -> Row:
    hlc, origin, seq, base_hlc, base_origin, live = known.stored
    row = _numbers({"hlc": hlc, "seq": seq, "bh": base_hlc}) | _strings({"origin": origin, "bo": base_origin})
    return row | {"value": {"B": known.value}} if live else row


def _key_row(row: KeyRow) -> Row:
    numbers = {
        "epoch": row.mark.epoch, "seq": row.mark.seq, "hlc": row.hlc, "until_ms": row.expires_ms,
        "expires": row.expires_ms // _SECOND + 60,
    }  # fmt: skip
    return _numbers(numbers) | {"answer": {"B": row.answer}}


def _held_key(lsn: int) -> Row:
    return {"pk": {"S": "held"}, "sk": {"S": f"{lsn:020d}"}}


def _numbers(values: dict[str, int]) -> dict[str, Any]:
    return {name: {"N": str(value)} for name, value in values.items()}


def _strings(values: dict[str, str]) -> dict[str, Any]:
    return {name: {"S": value} for name, value in values.items()}
