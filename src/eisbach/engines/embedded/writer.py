"""The one writer of a store file: takes a group of works, checks each in order, writes, commits once.

Promises: a refused work has written nothing and has touched no neighbour (checks come before the first write of a
work, so no savepoint is needed); what ``run_group`` returned is fsynced; after a failed commit memory equals the file.
Runs on the store's disk seam, never in two places at once. May not know: asyncio, callers, HTTP.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.engines.embedded.merge import ItemRow, judge
from eisbach.kernel.errors import (
    EisbachError,
    EpochStale,
    Invalid,
    LogGap,
    SlotFrozen,
    SlotMoved,
    Unavailable,
    VersionConflict,
)
from eisbach.kernel.hlc import HybridClock
from eisbach.kernel.limits import EVENT_BYTES_MAX, IDEMPOTENCY_KEPT, ITEM_BYTES_MAX, WRITES_PER_TRANSACTION_MAX
from eisbach.kernel.ops import ItemChange, Op, decode_op, encode_op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Version
from eisbach.ports.clock import Clock
from eisbach.ports.store import Applied, Lease, Receipt, Transaction, Write

__all__ = ["Work", "Writer"]

Work = Callable[["Writer"], Any]
"""A check-then-write against the writer; raises an EisbachError before its first write to refuse."""

_PUT_ITEM: Final = "INSERT OR REPLACE INTO items VALUES(?,?,?,?,?,?,?,?,?)"
_GET_ITEM: Final = "SELECT value, hlc, origin, seq, base_hlc, base_origin FROM items WHERE slot=? AND pk=? AND sk=?"
_PUT_OP: Final = "INSERT INTO oplog(slot, origin, epoch, seq, body) VALUES(?,?,?,?,?)"
_SWEEP_KEYS: Final = 64


class Writer:
    """Holds the writing connection and, in memory, the small rows that every write needs."""

    def __init__(self, database: apsw.Connection, *, region: str, cell: str, clock: Clock) -> None:
        self.database, self.region, self.cell, self.clock = database, region, cell, clock
        self.conflicts = self.items_written = self.bytes_written = 0
        self._load()

    def _load(self) -> None:
        """Memory from the file: at start, and after a group that could not be committed."""
        database = self.database
        self.slots: dict[str, int] = {name: number for number, name in rows(database, "SELECT id, name FROM slots")}
        self.leases: dict[int, Lease] = {
            s: Lease(epoch, state, seq, move, owner)
            for s, epoch, state, seq, move, owner in rows(
                database, "SELECT slot, epoch, state, seq, move, owner FROM leases"
            )
        }
        self.vectors: dict[int, dict[str, Mark]] = {}
        for slot, origin, epoch, seq in rows(database, "SELECT slot, origin, epoch, seq FROM vectors"):
            self.vectors.setdefault(slot, {})[origin] = Mark(epoch, seq)
        self.prev: dict[tuple[int, int, str], int] = {
            (s, e, t): seq for s, e, t, seq in rows(database, "SELECT slot, epoch, type, seq FROM event_prev")
        }
        self.held: dict[int, list[int]] = {}
        for slot, lsn in rows(database, "SELECT slot, lsn FROM held ORDER BY slot, lsn"):
            self.held.setdefault(slot, []).append(lsn)
        self.last_lsn: int = rows(database, "SELECT coalesce(max(lsn), 0) FROM oplog")[0][0]
        persisted = rows(database, "SELECT value FROM meta WHERE key='hlc'")
        self.hlc = HybridClock(
            wall_ms=self.clock.wall_ms(),
            monotonic_ms=self.clock.monotonic_ms(),
            persisted=int(persisted[0][0]) if persisted else 0,
        )
        self._dirty: set[int] = set()
        self._dirty_prev: set[tuple[int, int, str]] = set()

    def run_group(self, works: Sequence[Work]) -> list[Any]:
        """Results in order; an EisbachError in place of the result of a refused work.

        Raises:
            Unavailable: the disk refused; none of the group is written.
        """
        database = self.database
        counters = (self.conflicts, self.items_written, self.bytes_written)
        try:
            database.execute("BEGIN IMMEDIATE")
            self._release_held()
            results: list[Any] = []
            for work in works:
                try:
                    results.append(work(self))
                except EisbachError as refused:
                    results.append(refused)
            self._flush()
            database.execute("COMMIT")
        except BaseException as error:
            self.conflicts, self.items_written, self.bytes_written = counters
            if database.in_transaction:
                database.execute("ROLLBACK")
            self._load()
            if isinstance(error, apsw.Error):
                raise Unavailable(
                    f"store {self.region}/{self.cell}: the disk refused a commit ({error}); nothing was written"
                ) from error
            raise
        return results

    def _flush(self) -> None:
        """The rows kept in memory, once a group instead of once a write."""
        put = self.database.executemany
        if self._dirty:
            leases = [(s, *self.leases[s]) for s in self._dirty if s in self.leases]
            put("INSERT OR REPLACE INTO leases VALUES(?,?,?,?,?,?)", leases)
            marks = [(s, o, *mark) for s in self._dirty for o, mark in self.vectors.get(s, {}).items()]
            put("INSERT OR REPLACE INTO vectors VALUES(?,?,?,?)", marks)
            self.database.execute("INSERT OR REPLACE INTO meta VALUES('hlc', ?)", (str(self.hlc.last),))
        if self._dirty_prev:
            put("INSERT OR REPLACE INTO event_prev VALUES(?,?,?,?)", [(*k, self.prev[k]) for k in self._dirty_prev])
        self._dirty.clear()
        self._dirty_prev.clear()

    def slot_id(self, slot: Slot) -> int:
        """The interned slot; a new one is written with the group."""
        name = str(slot)
        if name not in self.slots:
            self.database.execute("INSERT INTO slots(name) VALUES(?)", (name,))
            self.slots[name] = self.database.last_insert_rowid()
        return self.slots[name]

    def item(self, slot: int, pk: str, sk: str) -> ItemRow | None:
        """The row as it is inside this group, tombstones included."""
        found = self.database.execute(_GET_ITEM, (slot, pk, sk)).fetchone()
        if found is None:
            return None
        value, hlc, origin, seq, base_hlc, base_origin = found
        return ItemRow(value, Version(hlc, origin, seq), (base_hlc, base_origin))

    # --- works -------------------------------------------------------------------------------------------------

    def transact(self, transaction: Transaction) -> Receipt:
        """Check lease, epoch, key and reads; then write items and ops."""
        bounds(transaction)
        name = str(transaction.slot)
        slot = self.slots.get(name, -1)
        lease = self.leases.get(slot)
        if lease is None or lease.state in ("gone", "importing"):
            owner = lease.owner if lease else None
            raise SlotMoved(name, asked=self.cell, owner=owner, epoch=lease.epoch if lease else 0)
        if key := transaction.key:
            query = "SELECT epoch, seq, hlc, answer FROM keys WHERE slot=? AND scope=? AND key=? AND expires_ms>?"
            if told := rows(self.database, query, (slot, *key, self.clock.wall_ms())):
                epoch, seq, hlc, answer = told[0]
                return Receipt(Mark(epoch, seq), hlc, repeated=True, answer=answer)
        if lease.state == "frozen":
            raise SlotFrozen(f"slot {name} is frozen by move {lease.move}; its writes wait for the move to end")
        if transaction.epoch is not None and transaction.epoch != lease.epoch:
            raise EpochStale(
                f"slot {name} is at epoch {lease.epoch}, the call decided under {transaction.epoch}; read again"
            )
        for item, expected in transaction.reads.items():
            row = self.item(slot, *item)
            found = row.version if row and row.value is not None else None
            if found != expected:
                raise VersionConflict(
                    f"item {item.pk} {item.sk} of slot {name} is at {found}, not {expected}; read again"
                )
        hlc = self.hlc.now(wall_ms=self.clock.wall_ms(), monotonic_ms=self.clock.monotonic_ms())
        return self._write(slot, name, lease, transaction, hlc)

    def _write(self, slot: int, name: str, lease: Lease, transaction: Transaction, hlc: int) -> Receipt:
        seq, region, epoch = lease.seq, self.region, lease.epoch
        last = len(transaction.writes) - 1
        for index, write in enumerate(transaction.writes):
            seq += 1
            self._log(slot, self._op(slot, name, Mark(epoch, seq), hlc, write, more=index < last))
        self.leases[slot] = lease._replace(seq=seq)
        self.vectors.setdefault(slot, {})[region] = Mark(epoch, seq)
        self._dirty.add(slot)
        if key := transaction.key:
            now = self.clock.wall_ms()
            kept = now + int(IDEMPOTENCY_KEPT.total_seconds() * 1000)
            self.database.execute(
                "INSERT OR REPLACE INTO keys VALUES(?,?,?,?,?,?,?,?)",
                (slot, *key, transaction.answer, epoch, seq, hlc, kept),
            )
            # Bounded: a write never pays for more than a few that have run out.
            self.database.execute(
                "DELETE FROM keys WHERE (slot, scope, key) IN"
                " (SELECT slot, scope, key FROM keys WHERE expires_ms<=? LIMIT ?)",
                (now, _SWEEP_KEYS),
            )
        return Receipt(Mark(epoch, seq), hlc, repeated=False, answer=transaction.answer)

    def _op(self, slot: int, name: str, mark: Mark, hlc: int, write: Write, *, more: bool) -> Op:
        change, event = write.change, write.event
        if change is not None:
            row = self.item(slot, change.pk, change.sk)
            change = ItemChange(change.pk, change.sk, change.value, row.version if row else None)
            self._put(slot, change, Version(hlc, self.region, mark.seq))
        if event is not None:
            place = (slot, mark.epoch, event.type)
            event = type(event)(
                event.type,
                event.subject,
                event.data,
                self.prev.get(place, 0),
                event.dataref,
                event.market,
                event.traceparent,
            )
            self.prev[place] = mark.seq
            self._dirty_prev.add(place)
        return Op(name, self.region, mark.epoch, mark.seq, hlc, change, event, more)

    def _put(self, slot: int, change: ItemChange, version: Version) -> None:
        base = (change.base.hlc, change.base.origin) if change.base else (0, "")
        self.database.execute(_PUT_ITEM, (slot, change.pk, change.sk, change.value, *version, *base))
        self.items_written += 1

    def _log(self, slot: int, op: Op) -> int:
        body = encode_op(op)
        self.database.execute(_PUT_OP, (slot, op.origin, op.epoch, op.seq, body))
        self.last_lsn = self.database.last_insert_rowid()
        self.bytes_written += len(body)
        return self.last_lsn

    def set_lease(self, slot: Slot, expected: Lease | None, lease: Lease) -> None:
        """Compare and set the lease row."""
        number = self.slots.get(str(slot), -1)
        found = self.leases.get(number)
        if found != expected:
            raise VersionConflict(f"lease of slot {slot} is {found}, not {expected}; read it again")
        if found is not None and lease.epoch < found.epoch:
            raise EpochStale(f"lease of slot {slot} is at epoch {found.epoch}; epoch {lease.epoch} would fall")
        number = self.slot_id(slot)
        self.leases[number] = lease
        self._dirty.add(number)

    def apply(self, slot: Slot, ops: Sequence[Op]) -> Applied:
        """Log foreign ops under their own numbers and merge them; repeats are dropped."""
        name = str(slot)
        number = self.slots.get(name, -1)
        lease = self.leases.get(number)
        if lease is None or lease.state == "gone":
            raise SlotMoved(
                name, asked=self.cell, owner=lease.owner if lease else None, epoch=lease.epoch if lease else 0
            )
        if lease.state == "frozen":
            raise SlotFrozen(f"slot {name} is frozen by move {lease.move}; inbound ops wait for the move to end")
        fresh = self._fresh(number, name, ops)
        changed = conflicts = 0
        for op in fresh:
            lsn = self._log(number, op)
            self.vectors.setdefault(number, {})[op.origin] = Mark(op.epoch, op.seq)
            self._dirty.add(number)
            if self.held.get(number) or self._is_future(op):
                self.held.setdefault(number, []).append(lsn)
                self.database.execute("INSERT INTO held VALUES(?,?)", (number, lsn))
                continue
            one, other = self._merge(number, op)
            changed, conflicts = changed + one, conflicts + other
        return Applied(dict(self.vectors.get(number, {})), changed, conflicts, len(self.held.get(number, ())))

    def _fresh(self, number: int, name: str, ops: Sequence[Op]) -> list[Op]:
        """The ops not yet in the log; refuses a gap before anything is written."""
        have = dict(self.vectors.get(number, {}))
        fresh: list[Op] = []
        for op in ops:
            mark, last = Mark(op.epoch, op.seq), have.get(op.origin, Mark(0, 0))
            if op.slot != name:
                raise Invalid(f"an op of slot {op.slot} was sent for slot {name}; pull again")
            if mark <= last:
                continue
            if mark.seq != (last.seq + 1 if mark.epoch == last.epoch else 1):
                raise LogGap(f"slot {name} origin {op.origin}: have {last}, got {mark}; pull again from the vector")
            have[op.origin] = mark
            fresh.append(op)
        if fresh and fresh[-1].more:
            raise LogGap(f"slot {name}: the batch ends inside a transaction at {fresh[-1].id}; pull again")
        return fresh

    def _is_future(self, op: Op) -> bool:
        return self.hlc.is_from_the_future(op.hlc, wall_ms=self.clock.wall_ms(), monotonic_ms=self.clock.monotonic_ms())

    def _merge(self, slot: int, op: Op) -> tuple[bool, bool]:
        """(whether the item changed, whether a loser went to the conflict log)."""
        self.hlc.observe(op.hlc)
        if op.change is None:
            return False, False
        stored = self.item(slot, op.change.pk, op.change.sk)
        verdict = judge(stored, op.change, op.version)
        if verdict.wins:
            self._put(slot, op.change, op.version)
        if verdict.loser is not None:
            value, loser, winner = verdict.loser
            self.conflicts += 1
            self.database.execute(
                "INSERT INTO conflicts(slot, pk, sk, hlc, origin, seq, value,"
                " winner_hlc, winner_origin, winner_seq, at_ms) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
                (slot, op.change.pk, op.change.sk, *loser, value, *winner, self.clock.wall_ms()),
            )
        return verdict.wins, verdict.loser is not None

    def _release_held(self) -> None:
        """Apply what was held back, in log order, as far as time has come."""
        for slot in list(self.held):
            waiting = self.held[slot]
            while waiting:
                lsn = waiting[0]
                op = decode_op(rows(self.database, "SELECT body FROM oplog WHERE lsn=?", (lsn,))[0][0])
                if self._is_future(op):
                    break
                self._merge(slot, op)
                self._dirty.add(slot)
                self.database.execute("DELETE FROM held WHERE slot=? AND lsn=?", (slot, lsn))
                waiting.pop(0)
            if not waiting:
                del self.held[slot]


def bounds(transaction: Transaction) -> None:
    """Refuse what breaks a bound of ``ports.store``."""
    if not 1 <= len(transaction.writes) <= WRITES_PER_TRANSACTION_MAX:
        raise Invalid(f"a transaction has {len(transaction.writes)} writes; use 1 to {WRITES_PER_TRANSACTION_MAX}")
    if len(transaction.answer) > ITEM_BYTES_MAX:
        raise Invalid(f"an answer has {len(transaction.answer)} bytes; at most {ITEM_BYTES_MAX} are kept under a key")
    for write in transaction.writes:
        if write.change is None and write.event is None:
            raise Invalid("a write has neither a change nor an event; give it one")
        if (change := write.change) is not None:
            if not 1 <= len(change.pk.encode()) <= 256 or not 1 <= len(change.sk.encode()) <= 512:
                raise Invalid(
                    f"item key {change.pk[:80]!r} {change.sk[:80]!r} is out of bounds: pk 1-256, sk 1-512 bytes"
                )
            if change.value is not None and len(change.value) > ITEM_BYTES_MAX:
                raise Invalid(f"item {change.pk} {change.sk} has {len(change.value)} bytes; at most {ITEM_BYTES_MAX}")
        if write.event is not None and len(write.event.data) > EVENT_BYTES_MAX:
            raise Invalid(
                f"event {write.event.type} has {len(write.event.data)} bytes; use a claim check above {EVENT_BYTES_MAX}"
            )
