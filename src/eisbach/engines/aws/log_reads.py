"""The op log as it is read: by slot for pullers, by commit for the relay, and a twin's from this region's replica.

Promises: never cuts inside a transaction, never gives what comes after a gap; an op of an erased account is given
without its change, whether or not its row has been emptied yet. What memory still has costs no read unit.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from eisbach.engines.aws.log_index import SlotIndex, index_of, index_pk
from eisbach.engines.aws.log_row import CommitBody, decode_body
from eisbach.engines.aws.log_table import LogTable
from eisbach.engines.aws.memory import slot_named
from eisbach.engines.aws.unflushed import covers
from eisbach.kernel.erasure import erases, scrubbed
from eisbach.kernel.errors import Invalid, LogGap
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector
from eisbach.ports.store import LogEntry, OpBatch

if TYPE_CHECKING:
    from eisbach.engines.aws.writer import Writer

__all__ = ["LogReads"]

_NOTHING: Final = Mark(0, 0)
_ROWS_AT_ONCE: Final = 100


class LogReads:
    """Of one store."""

    def __init__(self, writer: "Writer") -> None:
        self._writer = writer
        self._replicas: dict[str, int] = {}
        """Region -> number of the first row of its log, as replicated, that may hold what was not applied here."""

    # --- by slot -------------------------------------------------------------------------------------------------

    async def ops_after(self, slot: Slot, vector: Vector, limit: int) -> OpBatch:
        """See ``ports.store``; ``limit`` is passed by at most the rest of one transaction."""
        if limit < 1:
            raise Invalid(f"asked for {limit} ops; ask for at least 1")
        view = self._writer.memory.views.get(slot)
        if view is None:
            return OpBatch([], {})
        have = {origin: vector.get(origin, _NOTHING) for origin in view.vector}
        have = {origin: mark for origin, mark in have.items() if mark < view.vector[origin]}
        for origin, mark in have.items():
            if mark < (floor := view.floors.get(origin, _NOTHING)):
                raise LogGap(
                    f"slot {slot} origin {origin}: asked for what follows {mark}, the log was pruned up to {floor};"
                    " seed the asker from a snapshot"
                )
        if not have:
            return OpBatch([], view.vector)
        found = await self._beyond(str(slot), have, limit)
        wanted = {
            (op.origin, op.epoch, op.seq): op
            for op in found
            if op.origin in have and have[op.origin] < (op.epoch, op.seq) <= view.vector[op.origin]
        }
        return OpBatch(self._dense(slot, [wanted[place] for place in sorted(wanted)], have, limit), view.vector)

    def _dense(self, slot: Slot, found: Iterable[Op], have: dict[str, Mark], limit: int) -> list[Op]:
        ops: list[Op] = []
        for op in found:
            last = have[op.origin]
            if op.seq != (last.seq + 1 if op.epoch == last.epoch else 1):
                at = Mark(op.epoch, op.seq)
                raise LogGap(f"slot {slot} origin {op.origin}: the log goes from {last} to {at}; seed from a snapshot")
            ops.append(self.shown(op))
            have[op.origin] = Mark(op.epoch, op.seq)
            if len(ops) >= limit and not op.more:
                break
        return ops

    async def _beyond(self, slot: str, have: dict[str, Mark], limit: int) -> list[Op]:
        """Ops of a slot that ``have`` may lack: from memory, or from rows of the log and then memory. Not all of them
        when they are more than ``limit``, but then without a hole.
        """
        unflushed = self._writer.memory.unflushed
        commits = unflushed.commits_of(slot, have)
        if commits is not None:
            return [op for commit in commits for op in commit.ops]
        indexes, ops = await self._indexes(slot, have), list[Op]()
        numbers = sorted({number for index in indexes for number in index.numbers})
        all_of_it = any(index.late for index in indexes)
        for start in range(0, len(numbers), _ROWS_AT_ONCE):
            for _, body in await self._bodies(self._writer.log, numbers[start : start + _ROWS_AT_ONCE]):
                ops += [op for op in body.ops if op.slot == slot]
            fresh = sum(1 for op in ops if op.origin in have and (op.epoch, op.seq) > have[op.origin])
            if fresh >= limit and not all_of_it and start + _ROWS_AT_ONCE < len(numbers) and not ops[-1].more:
                return ops
        return ops + [op for commit in unflushed.commits.get(slot, ()) for op in commit.ops]

    async def _indexes(self, slot: str, have: dict[str, Mark]) -> list[SlotIndex]:
        """Those that may name a commit with an op beyond ``have``."""
        found: list[SlotIndex] = []
        tables = self._writer.tables
        async for row in tables.query(tables.state, index_pk(slot), newest=True, page=32):
            index = index_of(row)
            if index is not None:
                found.append(index)
                if covers(index.before, have):
                    break
        return found

    async def _bodies(self, log: LogTable, numbers: Sequence[int]) -> list[tuple[int, CommitBody]]:
        return [(row.number, decode_body(row.body)) for row in await log.rows_at(numbers)]

    async def find(self, slot: str, marks: Sequence[tuple[str, Mark]]) -> list[Op]:
        """Those of a slot's ops that the log holds; ``marks``: (origin, place)."""
        wanted = set(marks)
        have: dict[str, Mark] = {}
        for origin, mark in marks:
            below = Mark(mark.epoch, mark.seq - 1)
            have[origin] = min(below, have.get(origin, below))
        found = await self._beyond(slot, have, 10**9)
        return [op for op in found if (op.origin, Mark(op.epoch, op.seq)) in wanted]

    # --- a twin's, from the replica ------------------------------------------------------------------------------

    async def replicated(self, slot: Slot, origin: str, have: Mark, *, limit: int) -> Sequence[Op]:
        """Ops of another region as this region's replica of its log has them: dense from ``have`` on, whole
        transactions only. Rows arrive in any order: what comes after one that is missing waits.
        """
        found: list[Op] = []
        expected = self._replicas.get(origin, 0)
        applied = True
        async for row in LogTable(self._writer.tables, region=origin).rows(expected):
            if expected and row.number != expected:
                break
            expected = row.number + 1
            ops = [op for op in decode_body(row.body).ops if op.origin == origin]
            applied = applied and all(self._is_applied(op) for op in ops)
            if applied:
                self._replicas[origin] = expected
            mine = [op for op in ops if op.slot == str(slot) and have < (op.epoch, op.seq)]
            found += map(self.shown, mine)
            if len(found) >= limit:
                break
        return found

    def _is_applied(self, op: Op) -> bool:
        view = self._writer.memory.views.get(slot_named(op.slot))
        return view is None or view.vector.get(op.origin, _NOTHING) >= (op.epoch, op.seq)

    # --- by commit -----------------------------------------------------------------------------------------------

    async def log_after(self, lsn: int, limit: int) -> Sequence[LogEntry]:
        """See ``ports.store``."""
        lsn, memory = max(0, lsn), self._writer.memory
        tail = memory.unflushed.tail
        if lsn >= memory.head.lsn:
            return []
        if tail and tail[0][0] <= lsn + 1:  # the relay reads what was just written: that costs no read unit
            start = lsn + 1 - tail[0][0]
            return [LogEntry(number, self.shown(op)) for number, op in islice(tail, start, start + limit)]
        entries: list[LogEntry] = []
        async for row in self._writer.log.rows(await self._number_of(lsn + 1)):
            body = decode_body(row.body)
            found = [LogEntry(body.first_lsn + n, self.shown(op)) for n, op in enumerate(body.ops)]
            entries += [entry for entry in found if entry.lsn > lsn]
            if len(entries) >= limit:
                break
        return entries[:limit]

    async def _number_of(self, lsn: int) -> int:
        """The first commit that may hold an op from ``lsn`` on: by halves, since both rise together."""
        low, high = 1, self._writer.memory.head.number
        while low < high:
            middle = (low + high) // 2
            row = await anext(aiter(self._writer.log.rows(middle, page=1)), None)
            if row is None or row.lsn >= lsn:
                high = middle
            else:
                low = max(middle + 1, row.number)
        return low

    async def indexes_of(self, slot: str) -> AsyncIterator[tuple[SlotIndex, str]]:
        """All that the tables have of a slot's index, oldest first, with the sort keys."""
        tables = self._writer.tables
        async for row in tables.query(tables.state, index_pk(slot), page=32):
            if (index := index_of(row)) is not None:
                yield index, row["sk"]["S"]

    def shown(self, op: Op) -> Op:
        """The op, without its change when the account is erased."""
        view = self._writer.memory.views.get(slot_named(op.slot))
        if view is None or op.change is None or op.change.pk not in view.erased or erases(op.change):
            return op
        return scrubbed(op)
