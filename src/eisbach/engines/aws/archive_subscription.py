"""A subscription without a queue: every reader follows the hub's table by itself, one source, from the beginning.

For what each process must read whole (a cell's catalogue): readers of one queue would share its envelopes.
Promises: in order, at least once, every envelope of the source that the table still holds (seven days); a reader that
starts again begins at the beginning. Looks once a second: about 1 read unit a second and process.
"""

import asyncio
from collections.abc import AsyncIterator

from eisbach.engines.aws.hub_archive import Archived, HubArchive
from eisbach.engines.aws.messages import sequence_of
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import Delivery, read_envelope

__all__ = ["ArchiveSubscription"]

_LOOK_S = 1.0


class ArchiveSubscription:
    """Made by ``SnsSqsEventLog.subscribe``."""

    def __init__(self, archive: HubArchive, source: str, *, in_flight_max: int, clock: Clock) -> None:
        self._archive, self._source, self._clock = archive, source, clock
        self._in_flight_max = in_flight_max
        self._number = 0
        self._out: set[int] = set()
        self._again: list[ArchiveDelivery] = []
        self._settled = asyncio.Event()
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        """See ``DurableSubscription``."""
        while not self._closed:
            number, _ = await self._archive.cursor(self._source)
            if number < self._number:
                self._number = 0  # the hub was wiped
            async for kept in self._archive.after(self._source, self._number):
                self._number = kept.number
                async for delivery in self._due():
                    yield delivery
                yield self._handed(ArchiveDelivery(self, kept, 1))
                while len(self._out) >= self._in_flight_max and not self._closed:
                    await self._settled.wait()
                    async for delivery in self._due():
                        yield delivery
            async for delivery in self._due():
                yield delivery
            await self._clock.sleep(_LOOK_S)

    async def aclose(self) -> None:
        """See ``DurableSubscription``; there is no position to keep."""
        self._closed = True
        self._note()

    @property
    def source(self) -> str:
        """What it reads."""
        return self._source

    def settle(self, delivery: "ArchiveDelivery", *, again_ms: int | None) -> None:
        """Done (None), or again at a time; a second call does nothing."""
        if delivery.number in self._out:
            self._out.discard(delivery.number)
            if again_ms is not None:
                delivery.due_ms = again_ms
                self._again.append(delivery)
            self._note()

    def now_ms(self) -> int:
        """For deliveries."""
        return self._clock.monotonic_ms()

    def _handed(self, delivery: "ArchiveDelivery") -> "ArchiveDelivery":
        self._out.add(delivery.number)
        return delivery

    async def _due(self) -> AsyncIterator["ArchiveDelivery"]:
        for old in [one for one in self._again if one.due_ms <= self.now_ms()]:
            self._again.remove(old)
            yield self._handed(ArchiveDelivery(self, old.kept, old.attempt + 1))

    def _note(self) -> None:
        self._settled.set()
        self._settled = asyncio.Event()


class ArchiveDelivery:
    """One hand-over."""

    def __init__(self, subscription: ArchiveSubscription, kept: Archived, attempt: int) -> None:
        self._subscription, self.kept, self.attempt = subscription, kept, attempt
        self.number, self.due_ms = kept.number, 0
        self.envelope = read_envelope(kept.body)
        self.sequence = sequence_of(subscription.source, kept.number)

    async def ack(self) -> None:
        """See ``Delivery``."""
        self._subscription.settle(self, again_ms=None)

    async def nak(self, delay_s: float) -> None:
        """See ``Delivery``."""
        self._subscription.settle(self, again_ms=self._subscription.now_ms() + int(delay_s * 1000))

    async def in_progress(self) -> None:
        """Nothing to do: nobody else reads for this process."""
