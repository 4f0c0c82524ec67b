"""The envelopes in hand of one spoke: none comes again while it waits for room or its events are at work.

Known by themselves, not by their place in the log: a wiped log counts anew. May not know: what is done with them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

import structlog

from eisbach.ports.clock import Clock
from eisbach.ports.event_log import Delivery, DurableSubscription, EventLog
from eisbach.ports.spoke_store import SpokeStore

__all__ = ["Intake", "open_subscription"]

_PROLONG_EVERY: Final = timedelta(seconds=3)

_logger = structlog.get_logger(__name__)


async def open_subscription(
    log: EventLog, store: SpokeStore, spoke: str, *, in_flight_max: int
) -> tuple[DurableSubscription, Callable[[], Awaitable[None]] | None]:
    """From the log's start if the store may be older than what the spoke has acknowledged.

    Then with what to call at the first delivery: a log that could not be reached was not asked yet.
    """
    doubt = await store.doubt(spoke)
    if doubt:
        _logger.warning("spoke_reads_anew", spoke=spoke, why=doubt)
    subscription = await log.subscribe(spoke, in_flight_max=in_flight_max, anew=bool(doubt))
    return subscription, (lambda: store.asked_anew(spoke)) if doubt else None


class Intake:
    """Of one subscription, whose ``in_flight_max`` bounds what is in hand."""

    def __init__(self, clock: Clock, *, at_first: Callable[[], Awaitable[None]] | None = None) -> None:
        """``at_first``: awaited before the first delivery is in hand."""
        self._clock, self._at_first = clock, at_first
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()
        self._in_hand: dict[Delivery, None] = {}

    async def read(self, subscription: DurableSubscription) -> None:
        """Take whatever comes into hand."""
        async for delivery in subscription:
            if self._at_first is not None:
                await self._at_first()
                self._at_first = None
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
