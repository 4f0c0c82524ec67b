"""The log under the hub: append envelopes, read them durably.

What an engine promises is held by ``eisbach.testing.event_log_promises``: an acknowledged append is on disk and is
delivered at least once, in order within its source, to every durable subscription.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from eisbach.kernel.events import Event

__all__ = ["Delivery", "DurableSubscription", "Envelope", "EventLog", "LastEnvelope", "SubscriptionState"]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One hub message: 1 to 64 events of one cell, at most 192 KiB."""

    source: str
    """``{region}/{cell}``: order holds within it."""
    first_lsn: int
    last_lsn: int
    """Of the source's store; the relay resumes behind it, so a wiped hub refills itself."""
    events: Sequence[Event]


class LastEnvelope(NamedTuple):
    """The relay's cursor, as the destination knows it."""

    sequence: int
    """Of the last envelope of this source in the log; 0 for none. Compare-and-append against it."""
    last_lsn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionState:
    """What an operator wants to know of a subscription."""

    name: str
    backlog: int
    """Envelopes not yet acknowledged."""
    oldest_ms: int
    """Age of the oldest of them; 0 when there is none."""


class Delivery(Protocol):
    """One hand-over of an envelope."""

    envelope: Envelope
    sequence: int
    """Place in the log."""
    attempt: int
    """From 1."""

    async def ack(self) -> None:
        """Done: never delivered to this subscription again."""
        ...

    async def nak(self, delay_s: float) -> None:
        """Not done: deliver again after ``delay_s`` with the next attempt number."""
        ...

    async def in_progress(self) -> None:
        """Still at work: do not deliver again yet."""
        ...


class DurableSubscription(Protocol):
    """At least once, in order within a source, survives restarts of reader and log."""

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Deliveries, for ever.

        Raises:
            Unavailable: the position is kept; iterate again later.
        """
        ...

    async def aclose(self) -> None:
        """Stop; the position is kept."""
        ...


class EventLog(Protocol):
    """The event log of one region."""

    async def last(self, source: str) -> LastEnvelope:
        """The last envelope of a source.

        Raises:
            Unavailable: the log cannot be reached.
        """
        ...

    async def append(self, envelope: Envelope, *, expected: int) -> int:
        """Append if the source's last sequence is still ``expected``; return the new one, on disk.

        Raises:
            VersionConflict: somebody appended; call ``last`` again.
            Invalid: over 64 events or 192 KiB.
            Unavailable, OutcomeUnknown: call ``last`` again before the next try.
        """
        ...

    async def subscribe(self, name: str, *, from_start: bool = True, in_flight_max: int = 8) -> DurableSubscription:
        """Open (or create) the durable subscription ``name``; several readers of one name share its deliveries."""
        ...

    async def tail(self) -> AsyncIterator[Envelope]:
        """New envelopes from now on; may miss some: for dashboards only."""
        ...

    async def state(self) -> Mapping[str, SubscriptionState]:
        """Every durable subscription by name."""
        ...

    async def aclose(self) -> None:
        """Close the connection; nothing is lost."""
        ...
