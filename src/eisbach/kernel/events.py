"""Events: CloudEvents 1.0 with the extensions that Eisbach adds.

A draft is what a write says happened; it becomes an event when the store gives it its op id. ``source`` never names
the cell (it is an extension attribute): an event is the same event after its slot moved.
Order holds per (slot, origin); nothing is promised across.
"""

from typing import Annotated, Generic

import msgspec
from typing_extensions import TypeVar

from eisbach.kernel.versions import Mark

__all__ = ["EVENT_TYPES_PREFIX", "Event", "EventDraft"]

EVENT_TYPES_PREFIX = "tv."

Data = TypeVar("Data", default=msgspec.Raw)
"""Payload: raw JSON as it was delivered, or the type that a spoke asked for."""


class EventDraft(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a write says happened; stored inside its op."""

    type: str
    """Stable name with its version, e.g. ``tv.catalog.title.published.v1``."""
    subject: str
    """Id of the thing it happened to."""
    data: bytes
    """JSON object, at most 64 KiB; larger payloads go by claim check (``dataref``)."""
    prev: int = 0
    """Seq of the event before it of the same (slot, origin, epoch, type), 0 for the first; the store fills it in."""
    dataref: str | None = None
    """Claim check: ``blobs:key#sha256=digest``; ``data`` is then a summary."""
    market: str | None = None
    traceparent: str | None = None
    after: Mark | None = None
    """Where ``prev`` is 0: the last event of the same (slot, origin, type) in an earlier epoch, as far as the log of
    who wrote it knew one; the store fills it in. Since op format 2."""


class Event(msgspec.Struct, Generic[Data], frozen=True, kw_only=True, omit_defaults=True):
    """A delivered event: CloudEvents attributes, then extensions, then the payload."""

    id: str
    """The op id."""
    source: str
    """``//{region of origin}/{service}``."""
    type: str
    subject: str
    time: str
    """RFC 3339 UTC with milliseconds, from the op's hybrid clock."""
    slot: str
    origin: str
    epoch: int
    seq: int
    prev: int
    hlc: int
    data: Data
    """JSON object."""
    cell: str | None = None
    """Where the relay read it; may differ between two deliveries of one event."""
    market: str | None = None
    traceparent: str | None = None
    dataref: str | None = None
    after: Annotated[str, msgspec.Meta(pattern="^[0-9]{1,6}:[0-9]{1,12}$")] | None = None
    """``epoch:seq`` of the last event of the same (slot, origin, type) in an earlier epoch, where ``prev`` is 0."""
    specversion: str = "1.0"
    datacontenttype: str = "application/json"
