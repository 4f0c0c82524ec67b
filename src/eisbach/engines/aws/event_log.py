"""The event log on SNS and SQS FIFO, with a table of its own as its memory.

Promises: ``ports.event_log``. An append is compared and on disk in the hub's table, then published; if a crash or a
lost answer comes between the two, the next ``last`` of its relay publishes it again (SNS drops the repeat within five
minutes, inboxes drop it after that). So the cursor lives at the destination, and a wiped hub refills itself. A queue
that was deleted is made and filled anew from the table. What it cannot promise stands in docs/engines.md.
May not know: hub, spokes, the domain.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final
from weakref import WeakSet

from botocore.exceptions import ClientError

from eisbach.engines.aws.archive_subscription import ArchiveSubscription
from eisbach.engines.aws.clients import AwsClients, AwsPlace, AwsUsage, open_clients
from eisbach.engines.aws.errors import aws_errors, code_of
from eisbach.engines.aws.hub_archive import Archived, HubArchive, SubscriptionRecord
from eisbach.engines.aws.messages import Arrived, Message, message_of, place_of, sequence_of, types_in
from eisbach.engines.aws.queues import RECEIVES_MAX, Queues
from eisbach.engines.aws.subscription import SqsSubscription
from eisbach.kernel.errors import EisbachError, Invalid, OutcomeUnknown, Unavailable
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import (
    Envelope,
    LastEnvelope,
    SubscriptionState,
    encode_envelope,
    read_envelope,
)

__all__ = ["SnsSqsEventLog"]

_COPIED_AT_ONCE: Final = 500
"""Envelopes that go from the archive to a new queue before its reader gets a turn."""
_BATCH_BYTES_MAX: Final = 240 * 1024
_BATCH_MAX: Final = 10
_TAIL_EVERY_S: Final = 0.5
_GENERATIONS_TRIED: Final = 5
_FORGOTTEN: Final = "forgotten"
"""Stage of a subscription whose queue is gone and whose next generation is not there yet."""


class SnsSqsEventLog:
    """The log of one region."""

    def __init__(
        self,
        place: AwsPlace,
        *,
        prefix: str,
        clock: Clock,
        types: Mapping[str, Sequence[str]] | None = None,
        only: Mapping[str, str] | None = None,
        receives_max: int = RECEIVES_MAX,
    ) -> None:
        """Opened by ``open``.

        Args:
            place: region and endpoint.
            prefix: of the names of topic, queues and table; 1 to 31 of a-z, 0-9, '-'.
            clock: for ages, and for the pauses of readers.
            types: subscription -> event types it reads; envelopes without any of them never reach its queue. The
                envelope comes whole: the runner filters again.
            only: subscription -> the one source it reads; each of its readers gets all of it, from the hub's table and
                from the beginning: for what every process must know whole.
            receives_max: deliveries of an envelope before it goes to the dead-letter queue.
        """
        self._place, self._prefix, self._clock = place, prefix, clock
        self._types, self._only, self._receives_max = dict(types or {}), dict(only or {}), receives_max
        self._stack = AsyncExitStack()
        self._clients: AwsClients | None = None
        self._published: dict[str, int] = {}
        """Source -> number of the last envelope that this object knows SNS to have."""
        self._subscriptions: dict[str, SqsSubscription] = {}
        self._followers: WeakSet[ArchiveSubscription] = WeakSet()

    async def open(self) -> "SnsSqsEventLog":
        """Make the clients; nothing is asked of AWS yet."""
        self._clients = await self._stack.enter_async_context(open_clients(self._place, hub=True))
        self._archive = HubArchive(self._clients, f"{self._prefix}-hub")
        self._queues = Queues(self._clients, self._prefix, receives_max=self._receives_max)
        return self

    @property
    def usage(self) -> AwsUsage:
        """What the bill counts, since start."""
        return self._open.usage

    @property
    def _open(self) -> AwsClients:
        if self._clients is None:
            raise Unavailable("the event log on AWS is not open; open it first")
        return self._clients

    async def last(self, source: str) -> LastEnvelope:
        """See ``EventLog``. Publishes what an earlier process left unpublished."""
        assert self._open
        number, last_lsn = await self._archive.recover(source)
        await self._publish_left(source, number)
        return LastEnvelope(sequence_of(source, number), last_lsn)

    async def append(self, envelope: Envelope, *, expected: int) -> int:
        """See ``EventLog``."""
        assert self._open
        source, body = envelope.source, encode_envelope(envelope)
        before = place_of(expected)
        if expected != sequence_of(source, before):
            raise Invalid(f"sequence {expected} is not one of {source}; ask for its last")
        await self._publish_left(source, before)
        await self._archive.append(source, before + 1, body, last_lsn=envelope.last_lsn, now_ms=self._clock.wall_ms())
        try:
            await self._publish(message_of(source, before + 1, body))
        except EisbachError as error:
            raise OutcomeUnknown(
                f"envelope {before + 1} of {source} is kept, but not published yet: {error}"
            ) from error
        self._published[source] = before + 1
        return sequence_of(source, before + 1)

    async def subscribe(
        self, name: str, *, from_start: bool = True, in_flight_max: int = 8, anew: bool = False
    ) -> SqsSubscription | ArchiveSubscription:
        """See ``EventLog``. The queue is made now, and filled from the archive as far as that is quick; its reader
        fills the rest. Of the joint between archive and topic, an envelope may come after a later one of its source.
        """
        assert self._open
        if (source := self._only.get(name)) is not None:
            follower = ArchiveSubscription(self._archive, source, in_flight_max=in_flight_max, clock=self._clock)
            self._followers.add(follower)
            return follower
        await self._ensure(await self._record(name, from_start=from_start, anew=anew))

        async def ensure() -> tuple[str, bool]:
            return await self._ensure(await self._record(name, from_start=from_start, anew=False))

        subscription = SqsSubscription(
            self._open, ensure=ensure, archived=self._archived, in_flight_max=in_flight_max, clock=self._clock
        )
        self._subscriptions[name] = subscription
        return subscription

    async def forget(self, name: str) -> None:
        """See ``EventLog``. Its row stays, so that its next queue has another name: SQS takes no deleted name back for
        a minute. So does its dead-letter queue, which people may still want to read.
        """
        assert self._open
        found = await self._archive.subscription(name)
        if found is not None and found.stage != _FORGOTTEN:
            await self._archive.save(found._replace(stage=_FORGOTTEN, copied={}))
            await self._queues.drop(name, found.generation)

    async def tail(self) -> AsyncIterator[Envelope]:
        """See ``EventLog``. Looks twice a second."""
        assert self._open
        seen = await self._archive.cursors()

        async def envelopes() -> AsyncIterator[Envelope]:
            while True:
                for source, number in (await self._archive.cursors()).items():
                    start = seen.get(source, 0)
                    seen[source] = number
                    if number > start:
                        async for kept in self._archive.after(source, start):
                            yield read_envelope(kept.body)
                await self._clock.sleep(_TAIL_EVERY_S)

        return envelopes()

    async def state(self) -> Mapping[str, SubscriptionState]:
        """See ``EventLog``. SQS's counts are approximate, up to a minute late on AWS; ages are those of what this
        process has in hand (SQS tells the age of the oldest to CloudWatch only).
        """
        assert self._open
        ends = await self._archive.cursors()
        records = [record for record in await self._archive.subscriptions() if record.stage != _FORGOTTEN]
        states = await asyncio.gather(*(self._state_of(record, ends) for record in records))
        return {state.name: state for state in states}

    async def aclose(self) -> None:
        """See ``EventLog``."""
        for subscription in self._subscriptions.values():
            await subscription.aclose()
        for follower in list(self._followers):
            await follower.aclose()
        self._subscriptions.clear()
        self._clients = None
        await self._stack.aclose()

    # --- publishing ----------------------------------------------------------------------------------------------

    async def _publish_left(self, source: str, number: int) -> None:
        """Envelope ``number`` is kept: see that SNS has it too."""
        if number == 0 or self._published.get(source) == number:
            return
        kept = await self._archive.get(source, number)
        if kept is not None:  # None: expired, so it was published days ago
            await self._publish(message_of(source, number, kept.body))
        self._published[source] = number

    async def _publish(self, message: Message) -> None:
        for last in (False, True):
            topic = await self._queues.topic()
            with aws_errors("publish an envelope"):
                try:
                    await self._open.sns.publish(
                        TopicArn=topic, Message=message.body, MessageAttributes=message.attributes,
                        MessageGroupId=message.group, MessageDeduplicationId=message.deduplication,
                    )  # fmt: skip
                    return  # noqa: TRY300 - the loop ends here
                except ClientError as error:
                    if last or code_of(error) not in ("NotFound", "NotFoundException"):
                        raise
            self._queues.forget_topic()

    # --- subscriptions -------------------------------------------------------------------------------------------

    async def _record(self, name: str, *, from_start: bool, anew: bool) -> SubscriptionRecord:
        """What is known of a subscription, made when it is new or wanted anew."""
        for _ in range(_GENERATIONS_TRIED):
            found = await self._archive.subscription(name)
            if found is not None and found.stage != _FORGOTTEN and not anew:
                return found
            generation = found.generation + 1 if found is not None else 0
            copied = {} if from_start or anew else await self._archive.cursors()
            made = SubscriptionRecord(name, generation, "new", copied)
            if await self._archive.save(made, new=True):
                if found is not None:
                    await self._queues.drop(name, found.generation)
                return made
            anew = False  # another reader made it anew just now
        raise Unavailable(f"subscription {name} was made anew by others {_GENERATIONS_TRIED} times; try again")

    async def _ensure(self, record: SubscriptionRecord) -> tuple[str, bool]:
        """The queue's URL, and whether everything due is in it: as much as is quick has been copied now."""
        name = record.name
        url = await self._queues.find(name, record.generation)
        if url is None and record.stage != "new":
            # Somebody deleted it. SQS takes no queue of the same name for a minute, and this one must be filled anew.
            record = await self._record(name, from_start=True, anew=True)
        if url is None:
            url = await self._queues.make(name, record.generation)
        if record.stage == "live":
            return url, True
        copied = await self._copy(url, record)
        filled = copied == {**copied, **await self._archive.cursors()}
        record = record._replace(stage="copying", copied=copied)
        if filled:
            await self._queues.subscribe(url, self._types.get(name))
            record = record._replace(stage="live", copied=await self._copy(url, record))
        if not await self._archive.save(record):
            raise Unavailable(f"subscription {name} was made anew elsewhere; subscribe again")
        return url, filled

    async def _copy(self, url: str, record: SubscriptionRecord) -> dict[str, int]:
        """Send the next envelopes of the archive to a queue; how far each source is then."""
        copied, left = dict(record.copied), _COPIED_AT_ONCE
        wanted = set(self._types.get(record.name, ()))
        for source in await self._archive.cursors():
            batch: list[tuple[int, Message]] = []
            async for kept in self._archive.after(source, copied.get(source, 0)):
                if not wanted or not wanted.isdisjoint(types_in(kept.body)):
                    size = sum(len(message.body) for _, message in batch)
                    if len(batch) == _BATCH_MAX or size + len(kept.body) > _BATCH_BYTES_MAX:
                        await self._send(url, batch)
                        batch = []
                    batch.append((kept.number, message_of(source, kept.number, kept.body)))
                    left -= 1
                copied[source] = kept.number
                if left == 0:
                    break
            await self._send(url, batch)
            if left == 0:
                break
        return copied

    async def _send(self, url: str, batch: Sequence[tuple[int, Message]]) -> None:
        entries: list[dict[str, Any]] = [
            {
                "Id": str(number), "MessageBody": message.body, "MessageAttributes": message.attributes,
                "MessageGroupId": message.group, "MessageDeduplicationId": message.deduplication,
            }
            for number, message in batch
        ]  # fmt: skip
        if not entries:
            return
        with aws_errors("fill a queue from the archive"):
            told = await self._open.sqs.send_message_batch(QueueUrl=url, Entries=entries)
        if told.get("Failed"):
            raise Unavailable(f"{len(told['Failed'])} of {len(batch)} envelopes were not taken: {told['Failed'][:3]}")

    async def _archived(self, came: Arrived) -> bytes:
        """The envelope whose place a message is; what is gone is delivered as unreadable."""
        kept: Archived | None = await self._archive.get(came.source, came.archived)
        return kept.body if kept is not None else f"envelope {came.archived} of {came.source} has expired".encode()

    async def _state_of(self, record: SubscriptionRecord, ends: Mapping[str, int]) -> SubscriptionState:
        waiting = 0
        if (url := await self._queues.find(record.name, record.generation)) is not None:
            counts = [f"ApproximateNumberOfMessages{count}" for count in ("", "NotVisible", "Delayed")]
            with aws_errors(f"count the backlog of {record.name}"):
                told = await self._open.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=counts)
            waiting = sum(int(told["Attributes"].get(count, 0)) for count in counts)
        if record.stage != "live":
            waiting += sum(max(0, end - record.copied.get(source, 0)) for source, end in ends.items())
        reader = self._subscriptions.get(record.name)
        sent = reader.oldest_sent_ms if reader is not None else None
        age = max(0, self._clock.wall_ms() - sent) if waiting and sent is not None else 0
        return SubscriptionState(name=record.name, backlog=waiting, oldest_ms=age)
