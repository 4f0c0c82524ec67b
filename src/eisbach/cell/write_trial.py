"""Whether the disk of a store takes writes, found out by writing something that changes nothing.

Promises: a refusal that anybody met is tried within the next look, and stands until a write has passed, whether anybody
else writes or not; a store that nobody writes to is tried now and then. At most one write a second, however many ask.
May not know: disks, who asks.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from eisbach.kernel.errors import EisbachError, OutcomeUnknown, Overloaded, Rejected
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store

__all__ = ["Counts", "Refusal", "WriteTrial", "trial_of"]

_EVERY_MS: Final = 1000
"""Between two tries; a region asks of every slot at once."""
_QUIET_MS: Final = 10_000
"""Without a commit, before a store is tried that has refused nothing: a page or two of its log."""


class Counts(NamedTuple):
    """Of a store, since start."""

    commits: int
    unwritten: int
    """Groups that the disk refused whole."""


class Refusal(NamedTuple):
    """What the last try met."""

    since_ms: int
    """Wall clock: when a try met it first."""
    why: str
    """With what to do."""
    unknown: bool
    """Whether what became of a refused write is unknown: then no door sends it on to another region (P5)."""


class WriteTrial:
    """One a store."""

    def __init__(
        self, write: Callable[[], Awaitable[object]], counts: Callable[[], Counts], *, clock: Clock, cure: str
    ) -> None:
        """``write``: what is tried; ``cure``: what to do when it is refused."""
        self._write, self._counts, self._clock, self._cure = write, counts, clock, cure
        self.refusal: Refusal | None = None
        """None: the last try passed, or there was none."""
        self._trying, self._tried_ms = asyncio.Lock(), -_EVERY_MS
        self._seen, self._in_doubt, self._quiet_since_ms = counts(), False, clock.monotonic_ms()

    async def look(self) -> None:
        """Try when somebody was refused since the last look, while it refuses, and when nobody has written for long."""
        now, before, self._seen = self._clock.monotonic_ms(), self._seen, self._counts()
        if self._seen.commits != before.commits:
            self._quiet_since_ms = now
        self._in_doubt = self._in_doubt or self._seen.unwritten != before.unwritten
        if self._in_doubt or self.refusal or now - self._quiet_since_ms >= _QUIET_MS:
            await self.refuses()

    async def refuses(self) -> str:
        """Why no write gets to the disk, and what to do; empty: one did, a second ago at most."""
        async with self._trying:
            if self._clock.monotonic_ms() - self._tried_ms >= _EVERY_MS:
                # Before it: whom it refuses after the try, and before we hear of that, is not forgotten.
                self._seen, self._in_doubt = self._counts(), False
                await self._try()
                self._tried_ms = self._quiet_since_ms = self._clock.monotonic_ms()
            return self.refusal.why if self.refusal else ""

    async def _try(self) -> None:
        try:
            await self._write()
        except Overloaded:
            return  # it has much to write: nothing was learned
        except Rejected:
            self.refusal = None  # what is tried has just been written by somebody else
        except EisbachError as error:
            since = self.refusal.since_ms if self.refusal else self._clock.wall_ms()
            why = f"a write was tried and refused: {error}; {self._cure}"
            self.refusal = Refusal(since, why, isinstance(error, OutcomeUnknown))
        else:
            self.refusal = None


def trial_of(store: Store, *, clock: Clock, disk: str = "its disk") -> WriteTrial:
    """Of a cell's store: a lease row is written as it is. ``disk``: how to call it to whoever shall mend it."""

    async def write() -> None:
        for slot, lease in list((await store.leases()).items())[:1]:
            await store.set_lease(slot, expected=lease, lease=lease)

    def counts() -> Counts:
        told = store.statistics()
        return Counts(told.commits, told.unwritten)

    return WriteTrial(write, counts, clock=clock, cure=f"free space on {disk}, or mend it")
