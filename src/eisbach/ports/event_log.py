"""The log under the hub: append envelopes, read them durably.

What an engine promises is held by ``eisbach.testing.event_log_promises``: an acknowledged append is on disk and is
delivered at least once, in order within its source, to every durable subscription.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import msgspec

from eisbach.kernel.errors import Corrupt, Invalid
from eisbach.kernel.events import Event
from eisbach.kernel.limits import ENVELOPE_BYTES_MAX, ENVELOPE_EVENTS_MAX

__all__ = [
    "Delivery",
    "DurableSubscription",
    "Envelope",
    "EventLog",
    "LastEnvelope",
    "PipelinedLog",
    "SubscriptionState",
    "UnreadableEnvelope",
    "decode_envelope",
    "encode_envelope",
    "read_envelope",
]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One hub message: 1 to 64 events of one cell, at most 192 KiB."""

    source: str
    """``{region}/{cell}``: order holds within it."""
    first_lsn: int
    last_lsn: int
    """Of the source's store; the relay resumes behind it, so a wiped hub refills itself."""
    events: Sequence[Event[msgspec.Raw]]


class UnreadableEnvelope(Envelope, frozen=True, kw_only=True):
    """What a subscription delivers in place of bytes that are no envelope; it has no events.

    Raising instead would have every reader stumble over the same bytes for ever.
    """

    reason: str
    body: bytes


_READ_KEPT: Final = 32
"""Envelopes of at most 192 KiB, which nobody changes."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


def encode_envelope(envelope: Envelope) -> bytes:
    """The stored and transmitted form, JSON (an event's payload is JSON and is embedded as it is).

    Raises:
        Invalid: over 64 events or 192 KiB, or empty.
    """
    count = len(envelope.events)
    if not 1 <= count <= ENVELOPE_EVENTS_MAX:
        raise Invalid(f"envelope of {envelope.source} has {count} events; send 1 to {ENVELOPE_EVENTS_MAX}")
    body = _encoder.encode(envelope)
    if len(body) > ENVELOPE_BYTES_MAX:
        raise Invalid(f"envelope of {envelope.source} has {len(body)} bytes; send at most {ENVELOPE_BYTES_MAX}")
    return body


def decode_envelope(body: bytes) -> Envelope:
    """Decode what ``encode_envelope`` of this or an earlier version wrote.

    Raises:
        Corrupt: not an envelope.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{len(body)} bytes in the event log are not an envelope: {error}") from error


@lru_cache(maxsize=_READ_KEPT)
def read_envelope(body: bytes) -> Envelope:
    """What an engine delivers for ``body``: the envelope, or one that says why it is none.

    Every spoke of a region is sent the same bytes: the last ones that were read are not read anew.
    """
    try:
        envelope = decode_envelope(body)
        if not 1 <= len(envelope.events) <= ENVELOPE_EVENTS_MAX or len(body) > ENVELOPE_BYTES_MAX:
            raise Corrupt(f"an envelope of {len(envelope.events)} events and {len(body)} bytes is out of bounds")
    except Corrupt as error:
        return UnreadableEnvelope(source="", first_lsn=0, last_lsn=0, events=(), reason=str(error), body=body)
    return envelope


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


class PipelinedLog(Protocol):
    """What an engine offers whose appends wait for a round trip and a disk: several under way, without a gap.

    A predicted sequence of the source alone would not do: another source's envelope in between shifts all numbers by
    one, and of ours then every second one would find the number it expects.
    """

    async def append_behind(self, envelope: Envelope, *, expected: int) -> int:
        """Append if the last envelope of the whole log is ``expected``, and is of this source.

        Appends whose expectations follow each other, asked for in order over one connection, are taken in that order;
        when one is refused, all behind it are.

        Raises:
            as ``EventLog.append``.
        """
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

    async def subscribe(
        self, name: str, *, from_start: bool = True, in_flight_max: int = 8, anew: bool = False
    ) -> DurableSubscription:
        """Open (or create) the durable subscription ``name``; several readers of one name share its deliveries.

        ``anew`` forgets the position of an earlier one: for a reader whose own memory of what it read is gone.
        """
        ...

    async def forget(self, name: str) -> None:
        """Delete a durable subscription, its position and what waits for it; nothing happens when there is none."""
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
