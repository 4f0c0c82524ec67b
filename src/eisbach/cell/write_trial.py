"""Whether the disk of a store takes writes, found out by writing: a lease row as it is.

Promises: a refusal that anybody met is tried within the next look, and stands until a write has passed, whether a
viewer writes or not; a store that nobody writes to is tried now and then. At most one write a second, however many ask.
May not know: disks, who asks.
"""

import asyncio
from typing import Final, NamedTuple

from eisbach.kernel.errors import EisbachError, Overloaded, Rejected
from eisbach.kernel.slots import Slot
from eisbach.ports.clock import Clock
from eisbach.ports.store import Lease, Store

__all__ = ["Refusal", "WriteTrial"]

_EVERY_MS: Final = 1000
"""Between two tries; a region asks of every slot at once."""
_QUIET_MS: Final = 10_000
"""Without a commit, before a store is tried that has refused nothing: a page or two of its log."""


class Refusal(NamedTuple):
    """What the last try met."""

    since_ms: int
    """Wall clock: when a try met it first."""
    why: str
    """With what to do."""


class WriteTrial:
    """One a store."""

    def __init__(self, store: Store, *, clock: Clock, disk: str = "its disk") -> None:
        """``disk``: how to call it to whoever shall free space there."""
        self._store, self._clock, self._disk = store, clock, disk
        self.refusal: Refusal | None = None
        """None: the last try passed, or there was none."""
        self._trying, self._tried_ms = asyncio.Lock(), -_EVERY_MS
        self._commits = self._unwritten = 0
        self._in_doubt, self._quiet_since_ms = False, clock.monotonic_ms()

    async def look(self) -> None:
        """Try when somebody was refused since the last look, while it refuses, and when nobody has written for long."""
        now, told = self._clock.monotonic_ms(), self._store.statistics()
        if told.commits != self._commits:
            self._quiet_since_ms = now
        self._in_doubt = self._in_doubt or told.unwritten != self._unwritten
        self._commits, self._unwritten = told.commits, told.unwritten
        if self._in_doubt or self.refusal or now - self._quiet_since_ms >= _QUIET_MS:
            for slot, lease in list((await self._store.leases()).items())[:1]:
                await self.refuses(slot, lease)

    async def refuses(self, slot: Slot, lease: Lease) -> str:
        """Why no write gets to the disk, and what to do; empty: one did, a moment ago at most.

        The lease row is written as it is. Where it is another by now, somebody's write has passed.
        """
        async with self._trying:
            now = self._clock.monotonic_ms()
            if now - self._tried_ms >= _EVERY_MS:
                met = await self._met(slot, lease)
                since = self.refusal.since_ms if self.refusal else self._clock.wall_ms()
                self.refusal = Refusal(since, met) if met else None
                self._tried_ms, self._in_doubt, self._quiet_since_ms = now, False, now
                self._unwritten = self._store.statistics().unwritten
            return self.refusal.why if self.refusal else ""

    async def _met(self, slot: Slot, lease: Lease) -> str:
        try:
            await self._store.set_lease(slot, expected=lease, lease=lease)
        except (Overloaded, Rejected):
            return ""  # it has much to write, or the row has just been written
        except EisbachError as error:
            return f"a write was tried and refused: {error}; free space on {self._disk}, or mend it"
        return ""
