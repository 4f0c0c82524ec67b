"""Another region, asked for as much at once as the link carries in two seconds: for a cell that is made anew.

Promises: an answer that was given up because it was too large is asked for once more, smaller; every other failure is
the asker's. May not know: stores, HTTP.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from eisbach.cell.pace import Pace
from eisbach.cell.pull_messages import PeerTransport, PullAnswer, PullRequest, weight
from eisbach.kernel.errors import Unavailable
from eisbach.ports.clock import Clock
from eisbach.ports.moves import SlotChunk

__all__ = ["PacedPeer"]

_ROW_BYTES: Final = 64


class PacedPeer:
    """One for each region and restore; a ``PeerTransport`` itself."""

    def __init__(self, transport: PeerTransport, clock: Clock) -> None:
        """``clock``: of how long answers take."""
        self._transport, self._clock = transport, clock
        self.far_behind = transport.far_behind
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)

    async def owners(self) -> Mapping[str, Sequence[str]]:
        """See ``PeerTransport``."""
        return await self._transport.owners()

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        """See ``PeerTransport``; its ``bytes_max`` is the pace's."""
        most = self._paces[cell].bytes_max
        try:
            return await self._once(cell, request)
        except Unavailable:
            if most <= Pace.FIRST or self._paces[cell].bytes_max >= most:
                raise
            return await self._once(cell, request)

    async def _once(self, cell: str, request: PullRequest) -> PullAnswer:
        pace, began_ms = self._paces[cell], self._clock.monotonic_ms()
        try:
            answer = await self._transport.pull(cell, msgspec.structs.replace(request, bytes_max=pace.bytes_max))
        except Unavailable:
            pace.failed(self._clock.monotonic_ms() - began_ms - request.wait_ms)
            raise
        size = sum(weight(op) for batch in answer.batches.values() for op in batch.ops)
        size += sum(_weight(piece) for piece in answer.copies.values())
        pace.answered(size, self._clock.monotonic_ms() - began_ms - answer.waited_ms)
        return answer


def _weight(piece: SlotChunk) -> int:
    """Bytes of a piece, nearly."""
    values = [*(item.value for item in piece.items), *(lost.value for lost in piece.conflicts)]
    return sum(map(weight, piece.ops)) + sum(len(value or b"") + _ROW_BYTES for value in values)
