"""The end of the log by slot and origin, in memory: what twins pull, and what is not in the index by id yet.

Only saves work: whoever asks for ops that begin before it, or of which it lacks any, is sent to the file.
May not know: SQL, the writer.
"""

from collections.abc import Sequence

from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark

__all__ = ["RecentOps"]


class RecentOps:
    """Of one store; grows by what is committed until the index has it (about 4,096 ops)."""

    def __init__(self) -> None:
        self._new: list[tuple[int, Op]] = []
        """Not sorted in yet: where nobody pulls, nobody pays."""
        self._by_id: dict[tuple[str, str], list[Op]] = {}

    def extend(self, entries: Sequence[tuple[int, Op]]) -> None:
        """Committed, in the order of the log."""
        self._new += entries

    def clear(self) -> None:
        """The index has them, or some were changed."""
        self._new.clear()
        self._by_id.clear()

    def after(self, slot: str, origin: str, have: Mark, *, limit: int) -> Sequence[Op]:
        """The ops that follow ``have`` directly, as far as they are here; within one epoch."""
        for _, op in self._new:
            known = self._by_id.setdefault((op.slot, op.origin), [])
            if known and (op.epoch, op.seq) != (known[-1].epoch, known[-1].seq + 1):
                known.clear()  # a new epoch, or the tail of an owner that was thought lost: the file has the order
            known.append(op)
        self._new.clear()
        found = self._by_id.get((slot, origin))
        if not found or found[0].epoch != have.epoch:
            return ()
        start = have.seq + 1 - found[0].seq
        return found[start : start + limit] if start >= 0 else ()
