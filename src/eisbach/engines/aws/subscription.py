"""A durable subscription: one SQS FIFO queue, read by long polls, ten envelopes at a time.

Promises: ``ports.event_log.DurableSubscription``. What was fetched and is waiting is prolonged, and goes back when the
reader stops asking, so that another reader of the same name gets it: a FIFO queue gives nothing more of a source while
something of it is out. Acknowledgements that come together share a call; those that the service refuses one by one are
tried again one by one.
"""

import asyncio
import collections
import contextlib
import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import LONG_POLL_S, AwsClients
from eisbach.engines.aws.errors import aws_errors, code_of
from eisbach.engines.aws.messages import Arrived, arrived
from eisbach.engines.aws.queues import VISIBLE_AGAIN_S
from eisbach.kernel.errors import EisbachError, Unavailable
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import Delivery, Envelope, read_envelope

__all__ = ["SqsSubscription"]

_BATCH_MAX: Final = 10
"""SQS's bound on a receive and on a batch."""
_PROLONG_AFTER_S: Final = VISIBLE_AGAIN_S / 3
_IDLE_S: Final = 1.0
"""A reader that has asked for nothing for so long gives back what waits for it."""
_DELAY_S_MAX: Final = 43_200
_TRIES: Final = 3


class SqsSubscription:
    """Made by ``SnsSqsEventLog.subscribe``."""

    def __init__(
        self,
        clients: AwsClients,
        *,
        ensure: Callable[[], Awaitable[tuple[str, bool]]],
        archived: Callable[[Arrived], Awaitable[bytes]],
        in_flight_max: int,
        clock: Clock,
    ) -> None:
        """``ensure``: makes and fills the queue as far as is due; its URL, and whether that was all of it."""
        self._clients, self._ensure, self._archived, self._clock = clients, ensure, archived, clock
        self._in_flight_max = in_flight_max
        self._waiting: collections.deque[SqsDelivery] = collections.deque()
        self._out: dict[SqsDelivery, None] = {}
        self._receiving: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._asked_ms = 0
        self._batch = _BATCH_MAX
        self._url, self._filled = "", False
        self._settler = _Settler(clients)
        self._closed = False

    @property
    def oldest_sent_ms(self) -> int | None:
        """When the oldest of what is here was sent; None when nothing is."""
        return min((delivery.sent_ms for delivery in (*self._waiting, *self._out)), default=None)

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        """See ``DurableSubscription``."""
        while not self._closed:
            self._asked_ms = self._clock.monotonic_ms()
            if len(self._out) >= self._in_flight_max:
                await self._next_change()
            elif self._waiting:
                delivery = self._waiting.popleft()
                self._out[delivery] = None
                yield delivery
            else:
                await self._receive()

    async def aclose(self) -> None:
        """See ``DurableSubscription``. What is in hand goes back at once; when AWS is away, after 30 s."""
        self._closed = True
        for task in (self._receiving, self._keeping):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(EisbachError):
            await self._give_back([*self._out, *self._waiting])
        self._out.clear()
        self._waiting.clear()
        self._note_change()

    # --- fetching ------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        """Wait for the next messages; a caller that is cancelled loses none, the next one goes on waiting."""
        if self._receiving is None:
            self._receiving = asyncio.create_task(self._poll(), name="sqs-receive")
        task = self._receiving
        try:
            await asyncio.shield(task)
        finally:
            if task.done() and self._receiving is task:
                self._receiving = None

    async def _poll(self) -> None:
        if not self._filled:
            self._url, self._filled = await self._ensure()
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(), name="sqs-keep")
        try:
            told = await self._fetched()
        except EisbachError:
            self._filled = False  # the queue may be gone: look at the next call
            raise
        for raw in told.get("Messages", ()):
            came = arrived(raw)
            body = await self._archived(came) if came.archived else came.body
            self._waiting.append(SqsDelivery(self, raw, read_envelope(body), came.sequence, self._clock.monotonic_ms()))
        self._batch = min(_BATCH_MAX, self._batch * 2)

    async def _fetched(self) -> dict[str, Any]:
        with aws_errors("receive envelopes"):
            told: dict[str, Any] = await self._clients.polling.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=self._batch,
                WaitTimeSeconds=LONG_POLL_S if self._filled else 0,
                VisibilityTimeout=VISIBLE_AGAIN_S,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId"],
                # A try whose answer was lost is told the same messages again, instead of hiding them for 30 s.
                ReceiveRequestAttemptId=uuid.uuid4().hex,
            )
        return told

    async def _keep(self) -> None:
        """Prolong what waits; give it back when nobody asks for it."""
        while not self._closed:
            await self._clock.sleep(_IDLE_S / 2)
            now = self._clock.monotonic_ms()
            idle = len(self._out) < self._in_flight_max and now - self._asked_ms > _IDLE_S * 1000
            with contextlib.suppress(EisbachError):  # they come again by themselves
                if idle and self._waiting:
                    back, self._waiting = list(self._waiting), collections.deque()
                    self._batch = 1  # a slow reader: fetch for it what it takes
                    await self._give_back(back)
                for delivery in list(self._waiting):
                    await delivery.in_progress()

    async def _give_back(self, deliveries: "list[SqsDelivery]") -> None:
        """Last first, so that none of a source is visible before one that precedes it."""
        for delivery in reversed(deliveries):
            await self.prolong(delivery.receipt, 0)

    # --- settling ------------------------------------------------------------------------------------------------

    async def done(self, delivery: "SqsDelivery") -> None:
        """Delete it; a second call does nothing."""
        if delivery in self._out:
            del self._out[delivery]
            self._note_change()
            await self._settler.delete(self._url, delivery.receipt)

    async def again(self, delivery: "SqsDelivery", delay_s: float) -> None:
        """Show it again after a delay; a second call does nothing."""
        if delivery in self._out:
            del self._out[delivery]
            self._note_change()
            await self.prolong(delivery.receipt, min(_DELAY_S_MAX, math.ceil(delay_s)))

    async def prolong(self, receipt: str, seconds: int) -> None:
        """Keep it from other readers for so long."""
        with aws_errors("prolong an envelope"):
            try:
                await self._clients.sqs.change_message_visibility(
                    QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=seconds
                )
            except ClientError as error:
                if code_of(error) not in _OVERDUE:
                    raise

    def now_ms(self) -> int:
        """For deliveries."""
        return self._clock.monotonic_ms()

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _next_change(self) -> None:
        await self._changed.wait()


_OVERDUE: Final = frozenset({"ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"})
"""It took too long: the envelope is somebody else's by now, or comes again. Inboxes drop the repeat."""


class SqsDelivery:
    """One hand-over."""

    def __init__(
        self, subscription: SqsSubscription, raw: dict[str, Any], envelope: Envelope, sequence: int, now_ms: int
    ) -> None:
        self._subscription, self._kept_ms = subscription, now_ms
        self.envelope, self.sequence = envelope, sequence
        self.attempt = int(raw["Attributes"]["ApproximateReceiveCount"])
        self.sent_ms = int(raw["Attributes"]["SentTimestamp"])
        self.receipt: str = raw["ReceiptHandle"]

    async def ack(self) -> None:
        """See ``Delivery``. Waited for: until then the queue gives nothing more of the source."""
        await self._subscription.done(self)

    async def nak(self, delay_s: float) -> None:
        """See ``Delivery``. Whole seconds, rounded up; the source waits behind it."""
        await self._subscription.again(self, delay_s)

    async def in_progress(self) -> None:
        """See ``Delivery``. Asks AWS only when a third of the time is over: calls are billed."""
        now = self._subscription.now_ms()
        if now - self._kept_ms > _PROLONG_AFTER_S * 1000:
            self._kept_ms = now
            await self._subscription.prolong(self.receipt, VISIBLE_AGAIN_S)


class _Settler:
    """Deletes messages in batches: whoever comes while a call is out shares the next one."""

    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients
        self._wanted: collections.deque[tuple[str, asyncio.Future[None]]] = collections.deque()
        self._working: asyncio.Task[None] | None = None

    async def delete(self, url: str, receipt: str) -> None:
        """Until it is gone.

        Raises:
            Unavailable: it may come again.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted.append((receipt, future))
        if self._working is None:
            self._working = asyncio.create_task(self._work(url), name="sqs-delete")
        await future

    async def _work(self, url: str) -> None:
        try:
            while self._wanted:
                batch = [self._wanted.popleft() for _ in range(min(_BATCH_MAX, len(self._wanted)))]
                try:
                    await self._delete(url, batch)
                except EisbachError as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
        finally:
            self._working = None

    async def _delete(self, url: str, batch: list[tuple[str, asyncio.Future[None]]]) -> None:
        for _ in range(_TRIES):
            entries = [{"Id": str(n), "ReceiptHandle": receipt} for n, (receipt, _) in enumerate(batch)]
            with aws_errors("acknowledge envelopes"):
                told = await self._clients.sqs.delete_message_batch(QueueUrl=url, Entries=entries)
            failed = {int(f["Id"]): f["Code"] for f in told.get("Failed", ())}
            left = [one for n, one in enumerate(batch) if failed.get(n, "ReceiptHandleIsInvalid") not in _OVERDUE]
            for one in batch:
                if one not in left and not one[1].done():
                    one[1].set_result(None)
            if not left:
                return
            batch = left
        raise Unavailable(f"{len(batch)} envelopes could not be acknowledged: {failed}; they come again")
