"""Read-your-writes: a caller says what it has seen, and is never silently shown less.

Served when this store's items show it (in the log is not enough: an op from the future waits there); else after at
most 100 ms; else the caller is sent to the region that has it (421), if that region can be reached, and nothing of this
one's own is missing as well; else it is shown what there is, with its age (design section 3).
May not know: HTTP's details, what is read.
"""

import asyncio
from collections.abc import Callable

from eisbach.cell.routes import Call
from eisbach.kernel.errors import SlotMoved
from eisbach.kernel.limits import POSITION_WAIT_MAX
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, covers, decode_position
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store

__all__ = ["Positions"]


class Positions:
    """One a store."""

    def __init__(
        self,
        store: Store,
        *,
        cell: str,
        clock: Clock,
        reachable: Callable[[str], bool] = lambda _region: False,
        age_ms: Callable[[str], int] = lambda _region: 0,
    ) -> None:
        """``reachable``: whether a region answered the last pull; ``age_ms``: how old what we have of it is."""
        self._store, self._cell, self._clock = store, cell, clock
        self._reachable, self._age_ms = reachable, age_ms
        self.waited = self.sent_on = self.aged = 0

    async def wait(self, call: Call, text: str, *, reading: bool) -> int | None:
        """Note the caller's position and, for a read, wait until it is held; the age in ms when it is not.

        Raises:
            Invalid: not a position.
            SlotMoved: the region named as owner has it.
        """
        call.position = decode_position(text)
        if not reading or call.on is None:
            return None
        missing = await self._missing(call.on, call.position)
        if missing:
            self.waited += 1
            missing = await self._wait(call.on, call.position)
        if not missing:
            return None
        # What this region itself does not hold of its own nobody shows: each would send the caller on to the other.
        elsewhere = missing if self._store.region not in missing else []
        for region in elsewhere:
            if self._reachable(region):
                self.sent_on += 1
                raise SlotMoved(str(call.on), asked=self._cell, owner=region, epoch=call.position[region].epoch)
        self.aged += 1
        return max(self._age_ms(region) for region in missing)

    async def _missing(self, slot: Slot, wanted: dict[str, Mark]) -> list[str]:
        have = await self._store.applied(slot)
        return [origin for origin, mark in wanted.items() if not covers(have, {origin: mark})]

    async def _wait(self, slot: Slot, wanted: dict[str, Mark]) -> list[str]:
        lsn = self._store.statistics().last_lsn
        missing = await self._missing(slot, wanted)
        try:
            async with asyncio.timeout(POSITION_WAIT_MAX.total_seconds()):
                while missing:
                    lsn = await self._store.wait_for_commit(lsn)
                    missing = await self._missing(slot, wanted)
        except TimeoutError:  # held ops are applied without a new lsn, so look once more
            missing = await self._missing(slot, wanted)
        return missing
