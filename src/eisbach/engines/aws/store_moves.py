"""Whose a slot is, in a store on DynamoDB: freezing, settling, standing aside; copies are refused with a reason.

May not know: how works are committed, what the items mean.
"""

import asyncio
from typing import Any, Final

from eisbach.engines.aws.lease_works import FreezeWork, SettleWork, StandAsideWork
from eisbach.engines.aws.store_reads import DynamoReads
from eisbach.engines.aws.works import Work
from eisbach.kernel.errors import Invalid
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Vector
from eisbach.ports.moves import COPY_BYTES_MAX, CopyCursor, Cut, SlotChunk
from eisbach.ports.store import Lease

__all__ = ["DynamoMoves"]

_NOT_COPIED: Final = "slots do not move between such cells in this version (docs/engines.md)"


class DynamoMoves(DynamoReads):
    """``ports.moves``, as far as it goes."""

    def _submit(self, work: Work) -> "asyncio.Future[Any]":
        raise NotImplementedError

    async def freeze(self, slot: Slot, *, move: int, epoch: int) -> Cut:
        """See ``ports.moves``."""
        cut: Cut = await self._submit(FreezeWork(slot, move, epoch))
        return cut

    async def settle(self, slot: Slot, *, move: int, epoch: int, owner: str | None) -> Lease:
        """See ``ports.moves``."""
        lease: Lease = await self._submit(SettleWork(slot, move, epoch, owner))
        return lease

    async def stand_aside(self, slot: Slot, *, epoch: int, owner: str | None) -> Cut:
        """See ``ports.moves``."""
        cut: Cut = await self._submit(StandAsideWork(slot, epoch, owner))
        return cut

    async def begin_import(self, slot: Slot, *, move: int, epoch: int) -> Lease:
        """Refused: slots are not copied between cells on DynamoDB in this version.

        Raises:
            Invalid: always.
        """
        raise Invalid(f"slot {slot}: move {move} at epoch {epoch} into a cell on DynamoDB; {_NOT_COPIED}")

    async def export(self, slot: Slot, cursor: CopyCursor, bytes_max: int = COPY_BYTES_MAX) -> SlotChunk:
        """Refused, as ``begin_import``.

        Raises:
            Invalid: always.
        """
        del cursor, bytes_max
        raise Invalid(f"slot {slot}: a copy out of a cell on DynamoDB; {_NOT_COPIED}")

    async def import_chunk(self, slot: Slot, chunk: SlotChunk, *, move: int) -> Vector:
        """Refused, as ``begin_import``.

        Raises:
            Invalid: always.
        """
        del chunk
        raise Invalid(f"slot {slot}: a piece of move {move} for a cell on DynamoDB; {_NOT_COPIED}")

    async def discard(self, slot: Slot, *, move: int) -> bool:
        """See ``ports.moves``; nothing is ever left behind here, since no slot was copied away."""
        del slot, move
        return False

    async def sweep(self, *, limit: int = 1000) -> int:
        """See ``ports.moves``; nothing is ever set aside here."""
        del limit
        return 0
