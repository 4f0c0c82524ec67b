"""Wake-ups that carry no data: whoever wakes looks for itself, so a lost or doubled nudge is harmless."""

import asyncio

from eisbach.ports.clock import Clock

__all__ = ["Nudge"]


class Nudge:
    """One waiter, many who wake it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def nudge(self) -> None:
        """Wake the waiter, now or at its next wait."""
        self._event.set()

    async def wait(self, clock: Clock, seconds: float | None = None) -> bool:
        """Wait for a nudge, at most ``seconds``; whether there was one. Cancelling loses nothing."""
        if not self._event.is_set() and (seconds is None or seconds > 0):
            await _either(self._event, clock, seconds)
        nudged = self._event.is_set()
        self._event.clear()
        return nudged


async def _either(event: asyncio.Event, clock: Clock, seconds: float | None) -> None:
    if seconds is None:
        await event.wait()
        return
    waits: set[asyncio.Future[object]] = {
        asyncio.ensure_future(event.wait()),
        asyncio.ensure_future(clock.sleep(seconds)),
    }
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
