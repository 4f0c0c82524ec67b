"""What one commit will write, as it grows; and what it needs to have read. May not know: callers, the network."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from eisbach.engines.aws.log_row import CommitBody, Known, PutRow, known_of
from eisbach.engines.aws.slot_rows import HeldOp, SlotRows
from eisbach.engines.aws.tables import Row
from eisbach.engines.aws.unflushed import ItemPlace
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.limits import CONFLICTS_KEPT
from eisbach.kernel.merge import NO_BASE, Stored
from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark, Version

__all__ = ["Group", "KeyRow", "erased_put", "item_key", "item_row", "key_key", "key_of", "stored_item"]

_SECOND: Final = 1000
_CONFLICTS_KEPT_S: Final = int(CONFLICTS_KEPT.total_seconds())


class KeyRow(NamedTuple):
    """An idempotency key's answer."""

    answer: bytes
    mark: Mark
    hlc: int
    expires_ms: int


def item_key(place: ItemPlace) -> tuple[str, str]:
    """Items lie by slot, so that a slot can be read whole."""
    return f"item#{place.slot}", f"{place.pk}\0{place.sk}"


def key_key(slot: str, scope: str, key: str) -> tuple[str, str]:
    """Row of an idempotency key."""
    return f"key#{slot}", f"{scope}\0{key}"


def erased_put(slot: str, pk: str, *, is_open: bool) -> PutRow:
    """That an account is erased; ``is_open``: something of it may be left in the tables."""
    return "erased", f"{slot}\0{pk}", _numbers({"open": int(is_open)})


def stored_item(row: Row) -> Known | None:
    """Read an item's row; None for one that was blanked."""
    if "gone" in row:
        return None
    live = "value" in row
    stored = Stored(
        int(row["hlc"]["N"]), row["origin"]["S"], int(row["seq"]["N"]), int(row["bh"]["N"]), row["bo"]["S"], live
    )
    return Known(stored, row["value"]["B"] if live else None)


def key_of(row: Row) -> KeyRow | None:
    """Read the row of an answer."""
    if "gone" in row:
        return None
    mark = Mark(int(row["epoch"]["N"]), int(row["seq"]["N"]))
    return KeyRow(row["answer"]["B"], mark, int(row["hlc"]["N"]), int(row["until_ms"]["N"]))


class Group:
    """One commit."""

    def __init__(self, *, region: str, now_ms: int, lsn: int, conflicts: int) -> None:
        self.region, self.now_ms, self.lsn = region, now_ms, lsn
        self._first_lsn = lsn + 1
        self.conflict_number = conflicts
        self.items: dict[ItemPlace, Known | None] = {}
        """What was read, then what will be written."""
        self.keys: dict[tuple[str, str, str], KeyRow | None] = {}
        self.bodies: dict[tuple[str, str, Mark], Op] = {}
        """Ops of the log that were looked for and are there, and those that this commit adds."""
        self.conflicts = 0
        self._ops: list[Op] = []
        self._saved: dict[str, SlotRows] = {}
        """Slots whose row is written with this commit: what changed is more than the log says."""
        self._dirty: dict[ItemPlace, Known] = {}
        self._keys: dict[tuple[str, str, str], KeyRow] = {}
        self._puts: list[PutRow] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self._dirty or self._keys or self._ops or self._saved or self._puts)

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
        self._saved[slot.name] = slot

    def log(self, slot: SlotRows, op: Op) -> int:
        """Append an op; its lsn."""
        self.lsn += 1
        slot.logged(op, region=self.region)
        self._ops.append(op)
        return self.lsn

    def hold(self, slot: SlotRows, held: HeldOp) -> None:
        """It is logged and waits for its time."""
        slot.held.append(held)
        where = {"slot": slot.name, "origin": held.origin}
        numbers = {"hlc": held.hlc, "epoch": held.mark.epoch, "seq": held.mark.seq}
        self._puts.append((*_held_key(held.lsn, slot), _strings(where) | _numbers(numbers)))

    def released(self, slot: SlotRows) -> None:
        """The first held op has been applied."""
        self._puts.append((*_held_key(slot.held.popleft().lsn, slot), None))

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
        self._puts.append(("conflict", f"{self.conflict_number:020d}", row))

    def erase(self, slot: SlotRows, pk: str) -> None:
        """The account is erased from this commit on; what is left of it is deleted after."""
        slot.erased.add(pk)
        self._puts.append(erased_put(slot.name, pk, is_open=True))
        for place in [p for p in self._dirty if (p.slot, p.pk) == (slot.name, pk) and p.sk != ERASED]:
            del self._dirty[place]
        for answer in [k for k in self._keys if k[:2] == (slot.name, pk)]:
            del self._keys[answer]

    def body(self, hlc: int) -> CommitBody:
        """All of it."""
        shown: dict[ItemPlace, int] = {}
        changes = [(n, op.change) for n, op in enumerate(self._ops) if op.change is not None]
        for n, change in changes:
            place = ItemPlace(self._ops[n].slot, change.pk, change.sk)
            if place in self._dirty and self._dirty[place] == known_of(self._ops[n]):
                shown[place] = n
        seen = set(shown.values())
        hidden = [n for n, _ in changes if n not in seen]
        puts = [(*item_key(place), item_row(known)) for place, known in self._dirty.items() if place not in shown]
        puts += [(*key_key(*place), _key_row(answer)) for place, answer in self._keys.items()]
        puts += [("slot", slot.name, {"row": {"B": slot.encode()}}) for slot in self._saved.values()]
        return CommitBody(self._first_lsn, hlc, self.conflict_number, self._ops, hidden, [*puts, *self._puts])

    def take_rows(self, rows: Iterable[Row]) -> None:
        """What was read for the works of this commit."""
        for row in rows:
            kind, _, slot = row["pk"]["S"].partition("#")
            one, _, other = row["sk"]["S"].partition("\0")
            if kind == "item":
                self.items[ItemPlace(slot, one, other)] = stored_item(row)
            else:
                self.keys[slot, one, other] = key_of(row)

    def take_op(self, op: Op) -> None:
        """An op of the log that was looked for."""
        self.bodies[op.slot, op.origin, Mark(op.epoch, op.seq)] = op


def item_row(known: Known) -> dict[str, Any]:
    """Without its key."""
    hlc, origin, seq, base_hlc, base_origin, live = known.stored
    row = _numbers({"hlc": hlc, "seq": seq, "bh": base_hlc}) | _strings({"origin": origin, "bo": base_origin})
    return row | {"value": {"B": known.value}} if live else row


def _key_row(row: KeyRow) -> dict[str, Any]:
    numbers = {
        "epoch": row.mark.epoch, "seq": row.mark.seq, "hlc": row.hlc, "until_ms": row.expires_ms,
        "expires": row.expires_ms // _SECOND + 60,
    }  # fmt: skip
    return _numbers(numbers) | {"answer": {"B": row.answer}}


def _held_key(lsn: int, slot: SlotRows) -> tuple[str, str]:
    return "held", f"{lsn:020d}\0{slot.name}"


def _numbers(values: dict[str, int]) -> dict[str, Any]:
    return {name: {"N": str(value)} for name, value in values.items()}


def _strings(values: dict[str, str]) -> dict[str, Any]:
    return {name: {"S": value} for name, value in values.items()}
