"""The part of the embedded store that moves use: ``ports.moves``, held by ``eisbach.testing.store_move_promises``.

May not know: the coordinator, the network.
"""

import asyncio
from typing import Any

from eisbach.engines.embedded.move_works import (
    DiscardWork,
    FreezeWork,
    ImportWork,
    OpenImportWork,
    SettleWork,
    StandAsideWork,
    SweepWork,
)
from eisbach.engines.embedded.reads import Reads
from eisbach.engines.embedded.store_errors import StoreErrors
from eisbach.engines.embedded.works import Work
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Vector
from eisbach.ports.moves import COPY_BYTES_MAX, CopyCursor, Cut, SlotChunk
from eisbach.ports.store import Lease

__all__ = ["StoreMoves"]


class StoreMoves:
    """What ``SqliteStore`` inherits."""

    _reads: Reads
    _errors: StoreErrors
    unproved: str

    def _takes_part(self) -> None:
        """A store that may be an older copy of itself moves no slot and leaves none to a region, nor takes one back:
        its rows stay as they were opened (seed 452157).
        """
        if self.unproved:
            raise Unavailable(self.unproved)

    def _submit(self, work: Work) -> "asyncio.Future[Any]":
        raise NotImplementedError

    async def vector(self, slot: Slot) -> Vector:
        """See ``ports.store``."""
        raise NotImplementedError

    async def freeze(self, slot: Slot, *, move: int, epoch: int) -> Cut:
        """See ``ports.moves``."""
        self._takes_part()
        cut: Cut = await self._submit(FreezeWork(slot, move, epoch))
        return cut

    async def begin_import(self, slot: Slot, *, move: int, epoch: int) -> Lease:
        """See ``ports.moves``."""
        self._takes_part()
        lease: Lease = await self._submit(OpenImportWork(slot, move, epoch))
        self._reads.forget(slot)
        return lease

    async def export(self, slot: Slot, cursor: CopyCursor, bytes_max: int = COPY_BYTES_MAX) -> SlotChunk:
        """See ``ports.moves``."""
        with self._errors.reading():
            return self._reads.export(slot, cursor, bytes_max, heads=await self.vector(slot))

    async def import_chunk(self, slot: Slot, chunk: SlotChunk, *, move: int) -> Vector:
        """See ``ports.moves``."""
        self._takes_part()
        vector: Vector = await self._submit(ImportWork(slot, chunk, move))
        return vector

    async def complete_import(self, slot: Slot, chunk: SlotChunk, *, move: int) -> None:
        """A piece of an import that was committed, once more, before the store is proved: it may be half of it."""
        await self._submit(ImportWork(slot, chunk, move))

    async def settle(self, slot: Slot, *, move: int, epoch: int, owner: str | None) -> Lease:
        """See ``ports.moves``."""
        self._takes_part()
        lease: Lease = await self._submit(SettleWork(slot, move, epoch, owner))
        return lease

    async def stand_aside(self, slot: Slot, *, epoch: int, owner: str | None) -> Cut:
        """See ``ports.moves``."""
        self._takes_part()
        cut: Cut = await self._submit(StandAsideWork(slot, epoch, owner))
        return cut

    async def discard(self, slot: Slot, *, move: int) -> bool:
        """See ``ports.moves``."""
        done: bool = await self._submit(DiscardWork(slot, move))
        self._reads.forget(slot)
        return done

    async def sweep(self, *, limit: int = 1000) -> int:
        """See ``ports.moves``."""
        swept: int = await self._submit(SweepWork(limit))
        return swept
