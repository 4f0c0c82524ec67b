"""Writes into the state what the log has come to, now and then, and notes how far: a start replays only what is beyond.

Promises: every step may be repeated, may be lost, and may be done by two processes at once: a row of the state is put
only over one that shows an earlier commit, and the head, which says up to where the state is whole, is put last. An
item that was written ten times since the last flush is written once, and not at all while it goes on being written: the
log beyond the head has it then. May not know: callers, works.
"""

import asyncio
import uuid
from typing import Any, Final

from eisbach.engines.aws.cleaning import erase_account
from eisbach.engines.aws.group import item_key, item_row
from eisbach.engines.aws.log_index import index_put
from eisbach.engines.aws.unflushed import ItemPlace
from eisbach.engines.aws.writer import Writer
from eisbach.ports.clock import Clock

__all__ = ["Flusher"]

BYTES_MAX: Final = 32_000_000
"""Of the log, unflushed: a start replays at most about as much."""
_ROWS_AT_ONCE: Final = 32
OPS_MAX: Final = 200_000
_OVERFLOW: Final = 4
"""Times the bytes, or so many ops, may wait before writes are refused: the state takes nothing, and a start would take
for ever."""
_GIVEN_UP: Final = 2
"""Times what its keeper lets wait: then it keeps it no more."""

FlushRow = tuple[str, str, int, dict[str, Any] | None]
Rows = list[FlushRow]


class Flusher:
    """Of one store."""

    def __init__(self, writer: Writer, *, clock: Clock, ops_max: int) -> None:
        self._writer, self._clock = writer, clock
        self._ops_max = ops_max + uuid.uuid4().int % (ops_max // 4 + 1)  # not all processes of a cell at once
        self._lock = asyncio.Lock()
        self._due_at = self._ops_max

    @property
    def is_due(self) -> bool:
        """Whether enough lies in the log alone."""
        unflushed = self._writer.memory.unflushed
        return unflushed.ops >= self._due_at or unflushed.bytes >= BYTES_MAX

    @property
    def is_full(self) -> bool:
        """Whether it is so much that no more may come."""
        unflushed = self._writer.memory.unflushed
        return unflushed.ops >= OPS_MAX or unflushed.bytes >= _OVERFLOW * BYTES_MAX

    async def flush(self, *, within_s: float = 0.0) -> None:
        """Bring the state up to the last commit that this process knows; ``within_s``: not at once, viewers go first.

        Raises:
            Overloaded, Unavailable, OutcomeUnknown: it is not all there yet; nothing is lost, begin again.
        """
        async with self._lock:
            memory = self._writer.memory
            await self._let_go()
            head = memory.head
            if memory.unflushed.flushed >= head.number:
                return
            rows = self._rows(head.number)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                shown = [row for row in rows[start : start + _ROWS_AT_ONCE] if not self._is_written_anew(row)]
                await self._writer.tables.show(shown, now_ms=self._clock.wall_ms())
                if within_s:
                    await self._clock.sleep(within_s * _ROWS_AT_ONCE / len(rows))
            await self._writer.tables.show_head(head._replace(beyond=memory.head.number))
            memory.unflushed.flushed_up_to(head.number, head.lsn)
            self._due_at = self._ops_max

    async def flush_if_nobody_does(self) -> None:
        """For a process that sleeps between calls: where a task keeps the state, it is left to the task, which writes
        an item once in ten minutes and not with every call.

        Raises:
            Overloaded, Unavailable, OutcomeUnknown: as ``flush``.
        """
        await self._let_go()
        unflushed = self._writer.memory.unflushed
        if unflushed.ops < self._ops_max:
            self._due_at = self._ops_max
        elif unflushed.ops < _GIVEN_UP * await self._writer.tables.keeper():
            self._due_at = unflushed.ops + self._ops_max
        else:
            await self.flush()

    async def _let_go(self) -> None:
        """Forget what another process has flushed, once it is known here what that one found written anew."""
        shown = await self._writer.tables.head()
        if shown.beyond <= self._writer.memory.head.number:
            self._writer.memory.unflushed.flushed_up_to(shown.number, shown.lsn)

    def _is_written_anew(self, row: "FlushRow") -> bool:
        """Whether a later commit wrote it since this flush began: the log beyond the head has it, the next flush too,
        so nobody would ever read this.
        """
        pk, sk, number, _ = row
        kind, _, slot = pk.partition("#")
        unflushed = self._writer.memory.unflushed
        if kind == "item":
            one, other = sk.split("\0", 1)
            found: tuple[int, object] | None = unflushed.items.get(slot, {}).get((one, other))
        else:
            found = unflushed.rows.get((pk, sk))
        return found is not None and found[0] > number

    def _rows(self, last: int) -> Rows:
        """What the commits up to ``last`` have come to, where the state does not show it."""
        memory, rows = self._writer.memory, Rows()
        unflushed = memory.unflushed
        for slot, places in unflushed.items.items():
            rows += [
                (*item_key(ItemPlace(slot, *key)), number, item_row(known))
                for key, (number, known) in places.items()
                if number <= last
            ]
        rows += [(*key, number, row) for key, (number, row) in unflushed.rows.items() if number <= last]
        for slot, commits in unflushed.commits.items():
            fresh = [commit for commit in commits if unflushed.flushed < commit.number <= last]
            if not fresh:
                continue
            pk, sk, row = index_put(slot, fresh)
            rows.append((pk, sk, last, row))
            rows.append(("slot", slot, memory.head.number, {"row": {"B": memory.slot(slot).encode()}}))
        return rows

    async def erase(self) -> None:
        """Take away what is left of erased accounts, one after the other.

        Raises:
            EisbachError: the note is in the table; the next call, or the next start, begins here again.
        """
        while self._writer.memory.erasures:
            slot, pk = min(self._writer.memory.erasures)
            await erase_account(self._writer, slot=slot, pk=pk, now_ms=self._clock.wall_ms())
            self._writer.memory.erasures.discard((slot, pk))
