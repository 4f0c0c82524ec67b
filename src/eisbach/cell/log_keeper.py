"""Stores do not grow for ever: ops older than seven days and needed by nobody are forgotten, slot by slot, and what
moves have set aside is swept. A slot may come back to a cell before its old rows there are discarded, and nobody else
asks for them then: they would stay for ever, an erased account's among them (P22).

Needed by: a region that may hold the slot and has not said that it has the op; the hub; the backups. A region that has
not asked since this process started counts as having nothing, so that the log of a lost region's slots is kept until it
returns (P11). The studio's log is kept whole: it has no backups, and its twin is what it is restored from.
Promises: never more than a bounded piece a transaction; a crash anywhere forgets nothing that is needed.
May not know: how ops are stored.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.ownership import Ownership
from eisbach.kernel.slots import STUDIO_GROUP, Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store

__all__ = ["KeptStore", "LogKeeper"]

_EVERY_S: Final = 60.0
_PIECE: Final = 256
_PAUSE_S: Final = 0.05
"""Between pieces: viewers' writes go first."""
_NOTHING: Final = Mark(0, 0)


class KeptStore(Store, Protocol):
    """A store in which moves set rows aside."""

    async def sweep(self, *, limit: int = 1000) -> int:
        """See ``ports.moves``."""
        ...


class LogKeeper:
    """One a store."""

    def __init__(
        self,
        store: KeptStore,
        ownership: Ownership,
        acknowledged: Acknowledged | None,
        *,
        needed_by: Callable[[Slot], Sequence[str]],
        kept_elsewhere: Callable[[], int],
        clock: Clock,
    ) -> None:
        """Compose.

        Args:
            store: whose logs.
            ownership: which slots are here.
            acknowledged: what other regions hold; None where there are none.
            needed_by: the other regions that may hold a slot.
            kept_elsewhere: the lsn up to which hub and backups have the log.
            clock: of the pauses.
        """
        self._store, self._ownership, self._acknowledged = store, ownership, acknowledged
        self._needed_by, self._kept_elsewhere, self._clock = needed_by, kept_elsewhere, clock
        self.forgotten = 0
        """Ops, since start."""

    async def run(self) -> None:
        """Every minute; ends only by cancellation."""
        while True:
            await self._clock.sleep(_EVERY_S)
            for slot in self._ownership.followed():
                await self.keep(slot)
            await self.sweep()

    async def sweep(self) -> int:
        """Delete what moves have set aside; the number of rows."""
        total = 0
        while swept := await self._store.sweep():
            total += swept
            await self._clock.sleep(_PAUSE_S)
        return total

    async def keep(self, slot: Slot) -> int:
        """Forget what nobody needs of a slot; the number of ops forgotten."""
        if slot.group == STUDIO_GROUP:
            return 0
        needless = dict(await self._store.vector(slot))
        for region in self._needed_by(slot):
            held = self._acknowledged.vector(region, slot) if self._acknowledged is not None else {}
            needless = {origin: min(mark, held.get(origin, _NOTHING)) for origin, mark in needless.items()}
        total, last = 0, _PIECE
        while last == _PIECE:
            last = await self._store.prune_log(
                slot, acknowledged=needless, relayed_lsn=self._kept_elsewhere(), limit=_PIECE
            )
            total += last
            self.forgotten += last
            if last == _PIECE:
                await self._clock.sleep(_PAUSE_S)
        return total
