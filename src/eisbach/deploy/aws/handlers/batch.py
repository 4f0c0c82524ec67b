"""A batch of SQS as an event log: the hub's own runner reads it, and what it did not acknowledge is given back.

Promises: ``ports.event_log`` as far as a runner reads it; a delivery is handed out again to a runner that starts anew
within the call; bytes that are no envelope come as ``UnreadableEnvelope``. Behind the first message of a group that is
given back, all later ones of the group are given back too, as SQS wants it of a FIFO queue: what they did already is
not done again (inbox). A message whose envelope cannot be fetched is given back with what is behind it, and holds up no
other group.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from eisbach.engines.aws.messages import Arrived, arrived
from eisbach.kernel.errors import EisbachError, Invalid
from eisbach.ports.event_log import Delivery, Envelope, LastEnvelope, SubscriptionState, read_envelope

__all__ = ["BatchLog"]

_logger = structlog.get_logger(__name__)
_RECORDS_MAX: Final = 10_000
"""Of SQS's largest batch."""
Fetch = Callable[[Arrived], Awaitable[bytes]]
"""The envelope that was too large for a message."""


class _Delivery:
    """One message; its acknowledgement is only noted: the answer of the call deletes it."""

    def __init__(
        self, log: "BatchLog", message: tuple[str, str], envelope: Envelope, *, sequence: int, attempt: int
    ) -> None:
        """``message``: its id and its group."""
        self._log = log
        self.id, self.group = message
        self.envelope, self.sequence, self.attempt = envelope, sequence, attempt

    async def ack(self) -> None:
        """See ``Delivery``."""
        self._log.acknowledged(self)

    async def nak(self, delay_s: float) -> None:
        """See ``Delivery``: it comes again when SQS shows it again."""
        del delay_s

    async def in_progress(self) -> None:
        """See ``Delivery``: the queue hides it longer than a call may take."""


class _Subscription:
    def __init__(self, log: "BatchLog") -> None:
        self._log = log

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        for delivery in list(self._log.left):
            yield delivery
        await asyncio.Event().wait()  # nothing more comes in this call

    async def aclose(self) -> None:
        """See ``DurableSubscription``."""


class BatchLog:
    """One call's."""

    def __init__(self, deliveries: Sequence[_Delivery]) -> None:
        self.left: dict[_Delivery, None] = dict.fromkeys(deliveries)
        """What was not acknowledged yet, in order."""
        self._messages: list[tuple[str, str]] = [(one.id, one.group) for one in deliveries]
        """Id and group of every message, in order."""
        self._unread: set[str] = set()
        """Ids that were not handed out."""
        self.empty = asyncio.Event()
        if not deliveries:
            self.empty.set()

    @classmethod
    async def of(cls, event: Mapping[str, Any], fetch: Fetch) -> "BatchLog":
        """From an event of SQS.

        Raises:
            Invalid: it is none.
        """
        records = event.get("Records", [])
        if not isinstance(records, list) or len(records) > _RECORDS_MAX:
            raise Invalid(f"an event of SQS has a list of at most {_RECORDS_MAX} Records")
        log, held_up = cls(()), set[str]()
        for record in records:
            raw = _raw(record)
            came = arrived(raw)
            message = (raw["MessageId"], str(raw["Attributes"].get("MessageGroupId", raw["MessageId"])))
            log._messages.append(message)
            try:
                body = b"" if message[1] in held_up else await fetch(came) if came.archived else came.body
            except EisbachError as error:
                _logger.warning("envelope_not_fetched", message=message[0], error=str(error))
                held_up.add(message[1])
            if message[1] in held_up:
                log._unread.add(message[0])
                continue
            attempt = int(raw["Attributes"].get("ApproximateReceiveCount", "1"))
            delivery = _Delivery(log, message, read_envelope(body), sequence=came.sequence, attempt=attempt)
            log.left[delivery] = None
        if log.left:
            log.empty.clear()
        return log

    def acknowledged(self, delivery: _Delivery) -> None:
        """It has had its effects."""
        self.left.pop(delivery, None)
        if not self.left:
            self.empty.set()

    def failures(self) -> dict[str, Any]:
        """The answer: SQS keeps these, and deletes the rest of the batch."""
        failed = self._unread | {delivery.id for delivery in self.left}
        back, groups = [], set[str]()
        for id_, group in self._messages:
            if id_ in failed or group in groups:
                groups.add(group)
                back.append({"itemIdentifier": id_})
        return {"batchItemFailures": back}

    async def subscribe(
        self, name: str, *, from_start: bool = True, in_flight_max: int = 8, anew: bool = False
    ) -> _Subscription:
        """See ``EventLog``: the batch, whoever asks."""
        del name, from_start, in_flight_max, anew
        return _Subscription(self)

    async def state(self) -> Mapping[str, SubscriptionState]:
        """See ``EventLog``: SQS tells CloudWatch, not the function."""
        return {}

    async def last(self, source: str) -> LastEnvelope:
        """Not of a batch."""
        raise Invalid(f"a batch has no last envelope of {source}; it is read, never written")

    async def append(self, envelope: Envelope, *, expected: int) -> int:
        """Not of a batch."""
        del expected
        raise Invalid(f"a batch takes no envelope of {envelope.source}; it is read, never written")

    async def forget(self, name: str) -> None:
        """Refused, as ``append``: queues are the deployment's."""
        raise Invalid(f"a batch has no subscription {name!r} to forget")

    async def tail(self) -> AsyncIterator[Envelope]:
        """Not of a batch."""
        raise Invalid("a batch has no tail; it is read once")

    async def aclose(self) -> None:
        """See ``EventLog``."""


def _raw(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of the event as ``ReceiveMessage`` would have told it: the runtime writes the same in other cases."""
    try:
        attributes = {
            name: {"DataType": value.get("dataType", ""), "StringValue": value.get("stringValue", "")}
            for name, value in record.get("messageAttributes", {}).items()
        }
        return {
            "MessageId": record["messageId"],
            "Body": record["body"],
            "Attributes": record.get("attributes", {}),
            "MessageAttributes": attributes,
        }
    except (KeyError, AttributeError, TypeError) as error:
        raise Invalid(f"a record of SQS has messageId and body; {error} is wrong in {str(record)[:200]}") from error
