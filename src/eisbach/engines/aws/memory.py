"""What a process knows of its cell: the state of the slots, and the end of the log laid over the tables.

Promises: it follows from the rows of the log alone, whoever wrote them: own commits go the same way as another
process's, and as those of a start. May not know: works, callers, DynamoDB's calls.
"""

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from eisbach.engines.aws.group import key_of, stored_item
from eisbach.engines.aws.log_row import CommitBody, PutRow, known_of, slot_of_put
from eisbach.engines.aws.slot_rows import HeldOp, SlotRows, SlotView
from eisbach.engines.aws.tables import Head
from eisbach.engines.aws.unflushed import ItemPlace, SlotCommit, Unflushed
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark

__all__ = ["Desktop", "Memory", "slot_named"]

_NOTHING: Final = Mark(0, 0)


@lru_cache(maxsize=16_384)
def slot_named(name: str) -> Slot:
    """The slot of a name, as rows have it."""
    return Slot.parse(name)


class Desktop(dict[Slot, SlotRows]):
    """The slots as the works of one commit see and change them: copies, so that what is refused leaves no trace."""

    def __init__(self, slots: dict[Slot, SlotRows]) -> None:
        super().__init__()
        self._slots = slots

    def __missing__(self, slot: Slot) -> SlotRows:
        """Copied when it is first asked for."""
        found = self[slot] = self._slots[slot].copy()
        return found

    def get(self, slot: Slot, default: SlotRows | None = None) -> SlotRows | None:  # type: ignore[override]
        """Or ``default``."""
        return self[slot] if slot in self or slot in self._slots else default

    def with_held(self) -> Iterator[SlotRows]:
        """Those in which an op waits for its time."""
        return (self[slot] for slot, rows in self._slots.items() if rows.held)


class Memory:
    """Of one cell in one process."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.slots: dict[Slot, SlotRows] = {}
        self.views: dict[Slot, SlotView] = {}
        """For readers, as of the last ``seen``."""
        self._unseen: set[Slot] = set()
        self.erasures: set[tuple[Slot, str]] = set()
        """Whose items and op bodies are not all gone yet."""
        self.head = Head()
        """The last commit that is known."""
        self.unflushed = Unflushed()

    def begin(self, head: Head) -> None:
        """The slots are as the tables had them, at ``head`` or later; the log from there on is taken next."""
        self.head = head
        self.unflushed.flushed = head.number
        self._unseen.update(self.slots)

    def seen(self) -> None:
        """Readers see what was taken."""
        for slot in self._unseen:
            self.views[slot] = self.slots[slot].view()
        self._unseen.clear()

    def take(self, number: int, body: CommitBody, size: int) -> None:
        """Commit ``number`` of the log, which follows the last one that was taken; or was, when it began."""
        unflushed, touched = self.unflushed, dict[str, SlotCommit]()
        hidden = frozenset(body.hidden)
        for n, op in enumerate(body.ops):
            self._touch(touched, number, op.slot)
            self._take_op(touched, op)
            unflushed.tail.append((body.first_lsn + n, op))
            if n not in hidden and (known := known_of(op)) is not None and op.change is not None:
                unflushed.put(ItemPlace(op.slot, op.change.pk, op.change.sk), number, known)
        for put in body.puts:
            name = slot_of_put(put)
            if name is not None:
                self._touch(touched, number, name)
            self.take_put(put, number)
        for name, commit in touched.items():
            unflushed.logged(name, commit)
            self._unseen.add(slot_named(name))
        unflushed.ops, unflushed.bytes = unflushed.ops + len(body.ops), unflushed.bytes + size
        self.head = Head(
            number, max(self.head.hlc, body.hlc), max(self.head.lsn, body.last_lsn),
            max(self.head.conflicts, body.conflicts), self.region,
        )  # fmt: skip

    def _touch(self, touched: dict[str, SlotCommit], number: int, name: str) -> None:
        if name not in touched:
            touched[name] = SlotCommit(number, dict(self.slot(name).marks), late=False, ops=[])

    def _take_op(self, touched: dict[str, SlotCommit], op: Op) -> None:
        commit, slot = touched[op.slot], self.slots[slot_named(op.slot)]
        commit.ops.append(op)
        if op.epoch < slot.marks.get(op.origin, _NOTHING).epoch:
            touched[op.slot] = commit._replace(late=True)
        slot.logged(op, region=self.region)

    def take_put(self, put: PutRow, number: int) -> None:
        """A row beside the ops: from the log, or (``number`` 0) from the table at a start."""
        pk, sk, row = put
        kind, _, name = pk.partition("#")
        if kind == "item" and row is not None:
            known = stored_item(row)
            if known is not None:
                self.unflushed.put(ItemPlace(name, *sk.split("\0", 1)), number, known)
            return
        if kind == "slot" and row is not None:
            self._take_slot(sk, row["row"]["B"])
            return
        if kind == "held":
            self._take_held(put)
        elif kind == "erased" and row is not None:
            name, _, account = sk.partition("\0")
            slot = slot_named(name)
            self.slot(name).erased.add(account)
            (self.erasures.add if int(row["open"]["N"]) else self.erasures.discard)((slot, account))
        if number:
            self.unflushed.rows[pk, sk] = (number, row)

    def _take_slot(self, name: str, raw: bytes) -> None:
        slot, made = slot_named(name), SlotRows.decode(name, raw)
        old = self.slots.get(slot)
        if old is not None:
            made.held, made.erased = old.held, old.erased
        self.slots[slot] = made

    def _take_held(self, put: PutRow) -> None:
        _, sk, row = put
        lsn, _, name = sk.partition("\0")
        slot = self.slot(name)
        rest = [held for held in slot.held if held.lsn != int(lsn)]
        if row is not None and "gone" not in row:
            hlc, epoch, seq = (int(row[field]["N"]) for field in ("hlc", "epoch", "seq"))
            rest.append(HeldOp(int(lsn), hlc, row["origin"]["S"], Mark(epoch, seq)))
        slot.held = deque(sorted(rest))

    def slot(self, name: str) -> SlotRows:
        """The slot of this name; made when a row of it comes before its own, as after a flush that was broken off."""
        slot = slot_named(name)
        if slot not in self.slots:
            self.slots[slot] = SlotRows(slot)
        return self.slots[slot]

    def answer(self, pk: str, sk: str) -> tuple[bool, object]:
        """Whether memory knows the row of an answer, and what it is."""
        found = self.unflushed.rows.get((pk, sk))
        if found is None:
            return False, None
        return True, key_of(found[1]) if found[1] is not None else None
