"""That a control store was lost and began from the edge's map, and how moves ended whose records went with it.

For people; the document ``lost-store``. A process that is killed between the beginning and this note leaves none.
May not know: who makes the records of such moves anew.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from eisbach.control.slot_record import RECORD_LOST, SlotRecord
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore

__all__ = ["LostStore"]

_KEY: Final = "lost-store"
_TOLD_FOR_MS: Final = 24 * 3600 * 1000
_NAMED: Final = 20


class _Lost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    at_ms: int
    began_from: str


class LostStore:
    """One a region, in its control process."""

    def __init__(self, store: ControlStore, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._lost: _Lost | None = None

    async def note(self, began_from: str) -> None:
        """It began just now."""
        lost = _Lost(at_ms=self._clock.wall_ms(), began_from=began_from)
        stored = await self._store.get(_KEY)
        await self._store.put(_KEY, msgspec.json.encode(lost), expected=stored.revision if stored else 0)

    async def look(self) -> None:
        """Read it; nobody writes it while a control process runs."""
        stored = await self._store.get(_KEY)
        self._lost = msgspec.json.decode(stored.value, type=_Lost) if stored else None

    def told(self, records: Sequence[SlotRecord]) -> dict[str, Any]:
        """For ``/status``, with the records as they are now; empty: it was not lost, or longer than a day ago."""
        if self._lost is None or self._clock.wall_ms() - self._lost.at_ms > _TOLD_FOR_MS:
            return {}
        anew = [one for one in records if one.reason.startswith(RECORD_LOST)]
        moves = {one.slot: f"{one.outcome}, {one.owner} has it" for one in anew[:_NAMED]}
        return {"at_ms": self._lost.at_ms, "from": self._lost.began_from, "moves": moves, "count": len(anew)}
