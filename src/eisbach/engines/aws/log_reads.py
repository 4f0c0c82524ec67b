"""The op log as it is read: by slot for pullers, by commit for the relay, and a twin's from this region's replica.

Promises: never cuts inside a transaction, never gives what comes after a gap; an op of an erased account is given
without its change, whether or not its row has been emptied yet.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from eisbach.engines.aws.group import LsnRow, op_key
from eisbach.engines.aws.slot_rows import SlotView
from eisbach.engines.aws.tables import Row, Tables, op_place
from eisbach.kernel.erasure import erases, scrubbed
from eisbach.kernel.errors import Invalid, LogGap
from eisbach.kernel.ops import Op, decode_op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector
from eisbach.ports.store import LogEntry, OpBatch

__all__ = ["LogReads"]

_NOTHING: Final = Mark(0, 0)
_lsn_rows: Final = msgspec.msgpack.Decoder(LsnRow)


class LogReads:
    """Of one store."""

    def __init__(self, tables: Tables, *, region: str, views: "dict[Slot, SlotView]") -> None:
        self._tables, self._region, self._views = tables, region, views

    def use(self, views: "dict[Slot, SlotView]") -> None:
        """The writer has read its memory anew."""
        self._views = views

    async def ops_after(self, slot: Slot, vector: Vector, limit: int) -> OpBatch:
        """See ``ports.store``; ``limit`` is passed by at most the rest of one transaction."""
        if limit < 1:
            raise Invalid(f"asked for {limit} ops; ask for at least 1")
        view = self._views.get(slot)
        if view is None:
            return OpBatch([], {})
        ops: list[Op] = []
        for origin, head in sorted(view.vector.items()):
            have = vector.get(origin, _NOTHING)
            if have >= head:
                continue
            if have < (floor := view.floors.get(origin, _NOTHING)):
                raise LogGap(
                    f"slot {slot} origin {origin}: asked for what follows {have}, the log was pruned up to {floor};"
                    " seed the asker from a snapshot"
                )
            low, high = self._bounds(origin, have), self._bounds(origin, head, inclusive=True)
            table, pk = self._partition(slot, origin)
            async for row in self._tables.query(table, pk, low=low, high=high, page=max(2, limit - len(ops) + 1)):
                op = self._op(row)
                if op.seq != (have.seq + 1 if op.epoch == have.epoch else 1):
                    at = Mark(op.epoch, op.seq)
                    raise LogGap(f"slot {slot} origin {origin}: the log goes from {have} to {at}; seed from a snapshot")
                ops.append(op)
                have = Mark(op.epoch, op.seq)
                if len(ops) >= limit and not op.more:
                    return OpBatch(ops, view.vector)
        return OpBatch(ops, view.vector)

    async def replicated(self, slot: Slot, origin: str, have: Mark, *, limit: int) -> Sequence[Op]:
        """Ops of another region as this region's replica of the log has them: dense from ``have`` on, whole
        transactions only. Items of a transaction arrive one by one and in any order, so what is not whole waits.
        """
        found: list[Op] = []
        whole = 0
        pk, low = f"{slot}#{origin}", op_place(have) + 1
        async for row in self._tables.query(self._tables.log, pk, low=low, page=limit + 20):
            op = self._op(row)
            if op.epoch == have.epoch:
                follows = op.seq == have.seq + 1
            else:  # the first of an epoch says behind which op it comes
                follows = op.seq == 1 and int(row["behind"]["N"]) == op_place(have)
            if not follows:
                break
            found.append(op)
            have = Mark(op.epoch, op.seq)
            if not op.more:
                whole = len(found)
                if whole >= limit:
                    break
        return found[:whole]

    async def log_after(self, lsn: int, limit: int) -> Sequence[LogEntry]:
        """See ``ports.store``."""
        entries: list[LogEntry] = []
        refs: list[tuple[int, str, str, int, int]] = []
        async for row in self._tables.query(self._tables.state, "lsn", low=f"{max(0, lsn + 1):020d}", page=limit):
            refs += [ref for ref in _lsn_rows.decode(row["ops"]["B"]).ops if ref[0] > lsn]
            if len(entries) + len(refs) >= limit:
                entries, refs = [*entries, *await self._entries(refs)], []
                if len(entries) >= limit:
                    break
        return [*entries, *await self._entries(refs)][:limit]

    async def _entries(self, refs: Sequence[tuple[int, str, str, int, int]]) -> list[LogEntry]:
        """Those that are still in the log."""
        places = [
            op_key(self._tables, region=self._region, slot=slot, origin=origin, mark=Mark(epoch, seq))
            for _, slot, origin, epoch, seq in refs
        ]
        ops = [self._op(row) for row in await self._tables.get_all(places)]
        by_id = {(op.slot, op.origin, op.epoch, op.seq): op for op in ops}
        return [LogEntry(ref[0], by_id[ref[1:]]) for ref in refs if ref[1:] in by_id]

    def _op(self, row: Row) -> Op:
        return self.shown(decode_op(row["body"]["B"]))

    def shown(self, op: Op) -> Op:
        """The op, without its change when the account is erased."""
        view = self._views.get(Slot.parse(op.slot))
        if view is None or op.change is None or op.change.pk not in view.erased or erases(op.change):
            return op
        return scrubbed(op)

    def _partition(self, slot: Slot, origin: str) -> tuple[str, str]:
        if origin == self._region:
            return self._tables.log, f"{slot}#{origin}"
        return self._tables.state, f"op#{slot}#{origin}"

    def _bounds(self, origin: str, mark: Mark, *, inclusive: bool = False) -> Any:
        place = op_place(mark) + (0 if inclusive else 1)
        return place if origin == self._region else f"{place:030d}"
