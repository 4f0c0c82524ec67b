"""A clock that tests turn by hand: five minutes pass in no time, and sleepers wake in order."""

import asyncio
import heapq
import itertools

__all__ = ["ManualClock"]


class ManualClock:
    """``ports.clock.Clock``; time stands still until ``advance``."""

    def __init__(self, *, wall_ms: int = 1_800_000_000_000) -> None:
        self._wall_ms, self._monotonic_ms = wall_ms, 0
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def wall_ms(self) -> int:
        """See ``Clock``."""
        return self._wall_ms

    def monotonic_ms(self) -> int:
        """See ``Clock``."""
        return self._monotonic_ms

    async def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic_ms + int(seconds * 1000), next(self._order), wake))
        await wake

    async def advance(self, seconds: float) -> None:
        """Let time pass; whoever wakes on the way runs, and may sleep again within it."""
        end = self._monotonic_ms + int(seconds * 1000)
        while True:
            await settle()
            if not self._sleepers or self._sleepers[0][0] > end:
                break
            due, _, wake = heapq.heappop(self._sleepers)
            self._to(max(due, self._monotonic_ms))
            if not wake.done():
                wake.set_result(None)
        self._to(end)
        await settle()

    def shift_wall(self, by_ms: int) -> None:
        """The wall clock jumps; the monotonic one does not, and nobody wakes."""
        self._wall_ms += by_ms

    def _to(self, monotonic_ms: int) -> None:
        self._wall_ms += monotonic_ms - self._monotonic_ms
        self._monotonic_ms = monotonic_ms


async def settle(turns: int = 50) -> None:
    """Let everything run that can run without time passing or I/O."""
    for _ in range(turns):
        await asyncio.sleep(0)
