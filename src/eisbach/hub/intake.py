"""The envelopes in hand of one spoke: none comes again while it waits for room or its events are at work.

Known by themselves, not by their place in the log: a wiped log counts anew. May not know: what is done with them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final

from eisbach.ports.clock import Clock
from eisbach.ports.event_log import Delivery, DurableSubscription

__all__ = ["Intake"]

_PROLONG_EVERY: Final = timedelta(seconds=3)


class Intake:
    """Of one subscription, whose ``in_flight_max`` bounds what is in hand."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()
        self._in_hand: dict[Delivery, None] = {}

    async def read(self, subscription: DurableSubscription) -> None:
        """Take whatever comes into hand."""
        async for delivery in subscription:
            self._in_hand[delivery] = None
            self._waiting.put_nowait(delivery)

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """In the order in which they came, for ever."""
        while True:
            yield await self._waiting.get()

    async def prolong(self) -> None:
        """For ever."""
        while True:
            await self._clock.sleep(_PROLONG_EVERY.total_seconds())
            for delivery in list(self._in_hand):
                await delivery.in_progress()

    async def acknowledge(self, delivery: Delivery, working: Sequence[asyncio.Task[None]] = ()) -> None:
        """Once all of ``working`` is done; not when one of them was not settled: then it must come again."""
        if working:
            done, _ = await asyncio.wait(working)
            if any(task.cancelled() or task.exception() for task in done):
                return
        del self._in_hand[delivery]
        await delivery.ack()
