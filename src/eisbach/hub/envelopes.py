"""From ops to envelopes of CloudEvents: pure.

Promises: every op with an event gives exactly one event, whatever its payload: one that is not a JSON object or is
too large is published as an event that says so, because a relay that stopped at it would hold up everything behind.
"""

import base64
import datetime as dt
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

import msgspec

from eisbach.kernel.events import Event
from eisbach.kernel.hlc import hlc_ms
from eisbach.kernel.limits import ENVELOPE_BYTES_MAX, ENVELOPE_EVENTS_MAX, EVENT_BYTES_MAX
from eisbach.kernel.ops import Op, op_id
from eisbach.ports.event_log import Envelope
from eisbach.ports.store import LogEntry

__all__ = ["INVALID_DATA", "envelopes_of", "event_of"]

INVALID_DATA: Final = "eisbach_invalid"
"""Key of the payload of an event whose own payload could not be published; strict handlers refuse it."""

_ATTRIBUTES_BYTES: Final = 768
"""More than the attributes of an event take beside subject, claim check and payload."""


def event_of(op: Op, *, cell: str) -> Event | None:
    """The delivered form of an op's event, None when it has none."""
    draft = op.event
    if draft is None:
        return None
    slot, origin, epoch, seq, hlc = op.slot, op.origin, op.epoch, op.seq, op.hlc
    ms, type_, after = hlc_ms(hlc), draft.type, draft.after
    return Event(
        id=op_id(slot, origin, epoch, seq),
        source=_source(origin, type_),
        type=type_,
        subject=draft.subject,
        time=f"{_rfc3339_second(ms // 1000)}.{ms % 1000:03d}Z",
        slot=slot,
        origin=origin,
        epoch=epoch,
        seq=seq,
        prev=draft.prev,
        hlc=hlc,
        data=msgspec.Raw(_payload(draft.data)),
        cell=cell,
        market=draft.market,
        traceparent=draft.traceparent,
        dataref=draft.dataref,
        after=f"{after.epoch}:{after.seq}" if after is not None else None,
    )


def envelopes_of(entries: Iterable[LogEntry], *, region: str, cell: str) -> Iterator[Envelope]:
    """Cut a run of the log into envelopes, in order; ops without an event only move ``last_lsn``."""
    source = f"{region}/{cell}"
    events: list[Event] = []
    size = first = last = 0
    for lsn, op in entries:
        event = event_of(op, cell=cell)
        if event is not None:
            cost = len(event.data) + len(event.subject) * 6 + len(event.dataref or "") * 6 + _ATTRIBUTES_BYTES
            if events and (len(events) >= ENVELOPE_EVENTS_MAX or size + cost > ENVELOPE_BYTES_MAX):
                yield Envelope(source=source, first_lsn=first, last_lsn=last, events=events)
                events, size = [], 0
            if not events:
                first = lsn
            events.append(event)
            size += cost
        last = lsn
    if events:
        yield Envelope(source=source, first_lsn=first, last_lsn=last, events=events)


_json_of: Final = msgspec.json.Decoder(msgspec.Raw).decode


def _payload(data: bytes) -> bytes:
    if len(data) > EVENT_BYTES_MAX:
        return msgspec.json.encode({INVALID_DATA: f"payload of {len(data)} bytes is over {EVENT_BYTES_MAX}"})
    try:
        if data[:1] == b"{":
            _json_of(data)
            if not data.isascii():
                data.decode()
            return data
        found = "not a JSON object"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        found = f"not JSON: {error}"
    return msgspec.json.encode({INVALID_DATA: found, "base64": base64.b64encode(data[:1024])})


@lru_cache(maxsize=1024)
def _source(origin: str, type_: str) -> str:
    """The region and, as its service, the second word of ``tv.catalog.title.published.v1``."""
    words = type_.split(".")
    return f"//{origin}/{words[1] if len(words) > 1 else type_}"


@lru_cache(maxsize=64)
def _rfc3339_second(second: int) -> str:
    return dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
