"""An event log whose deliveries may come late and out of order, as a broker's do; else the log that it wraps.

Promises: ``ports.event_log``, which says at least once and nothing of order across redeliveries.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final

from eisbach.ports.event_log import (
    Delivery,
    DurableSubscription,
    Envelope,
    EventLog,
    LastEnvelope,
    SubscriptionState,
)

__all__ = ["Redelivering"]

_LATE_S: Final = 0.2


class Redelivering:
    """``EventLog`` for spokes."""

    def __init__(
        self, log: EventLog, late: Callable[[], bool], acknowledging: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Wrap a log.

        Args:
            log: the production one.
            late: whether the next delivery is put back for a while instead of being handed over.
            acknowledging: around each acknowledgement, so that a fault can be aimed at it.
        """
        self._log, self._late, self._acknowledging = log, late, acknowledging

    async def last(self, source: str) -> LastEnvelope:
        """See ``EventLog``."""
        return await self._log.last(source)

    async def append(self, envelope: Envelope, *, expected: int) -> int:
        """See ``EventLog``."""
        return await self._log.append(envelope, expected=expected)

    async def subscribe(
        self, name: str, *, from_start: bool = True, anew: bool = False, in_flight_max: int = 8
    ) -> "_Late":
        """See ``EventLog``."""
        found = await self._log.subscribe(name, from_start=from_start, anew=anew, in_flight_max=in_flight_max)
        return _Late(found, self._late, self._acknowledging)

    async def tail(self) -> AsyncIterator[Envelope]:
        """See ``EventLog``."""
        return await self._log.tail()

    async def forget(self, name: str) -> None:
        """See ``EventLog``."""
        await self._log.forget(name)

    async def state(self) -> Mapping[str, SubscriptionState]:
        """See ``EventLog``."""
        return await self._log.state()

    async def aclose(self) -> None:
        """Whoever opened the log closes it."""


class _Late:
    def __init__(
        self,
        subscription: DurableSubscription,
        late: Callable[[], bool],
        acknowledging: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._subscription, self._late, self._acknowledging = subscription, late, acknowledging

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        async for delivery in self._subscription:
            if self._late():
                await delivery.nak(_LATE_S)
            else:
                yield _Noted(delivery, self._acknowledging)

    async def aclose(self) -> None:
        await self._subscription.aclose()


class _Noted:
    """A delivery whose acknowledgement is told."""

    def __init__(self, delivery: Delivery, acknowledging: Callable[[], AbstractContextManager[None]]) -> None:
        self._delivery, self._acknowledging = delivery, acknowledging
        self.envelope, self.sequence, self.attempt = delivery.envelope, delivery.sequence, delivery.attempt

    async def ack(self) -> None:
        with self._acknowledging():
            await self._delivery.ack()

    async def nak(self, delay_s: float) -> None:
        await self._delivery.nak(delay_s)

    async def in_progress(self) -> None:
        await self._delivery.in_progress()
