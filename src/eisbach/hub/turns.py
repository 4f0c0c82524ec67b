"""At most so many at once, first come first served; and none at all while they are held.

``asyncio.Semaphore`` looks at every waiter that was woken and has not run yet at each release: when a group commit ends
for 64 events at once, these looks cost a tenth of all that is done for an event.
"""

import asyncio
import collections

__all__ = ["Turns"]


class Turns:
    """``async with turns:``; cancelling a wait loses no turn."""

    def __init__(self, at_once: int) -> None:
        self._at_once = self._free = at_once
        self._held = False
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    @property
    def taken(self) -> int:
        """Those who have one."""
        return self._at_once - self._free

    def hold(self) -> None:
        """Give no more; whoever has one keeps it."""
        self._held = True

    def release(self) -> None:
        """Go on: whoever waits gets what is free."""
        self._held = False
        while self._free > 0 and self._waiting:
            self._free -= 1
            self._pass_on()

    async def __aenter__(self) -> None:
        """Wait for a turn."""
        if self._free > 0 and not self._held:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it was given a turn and cancelled before it could run
            raise

    async def __aexit__(self, *_: object) -> None:
        """Give it to the one that waits longest."""
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting and not self._held:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
