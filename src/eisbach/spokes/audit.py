"""The audit log of a region: who-knows-what was published, taken down, uploaded, rejected, created, erased.

Append-only: entry n carries the digest of entry n - 1, so that one that was changed, taken out or put in is told by
``broken_at``; the newest digest, kept elsewhere, tells a cut at the end. An entry and the mark that its event is
handled are one transaction: each event is in the log once. Every region logs the events of all, so that the log
outlives a region. Ids and digests only, never a payload: what is erased is not kept here.
Bounded: entries older than ``AUDIT_KEPT``, and the oldest above ``AUDIT_ENTRIES_MAX``, go as new ones come; what is
left begins at ``first_kept`` and still follows entry by entry. Export what you must keep for longer.
May not know: stores, HTTP.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from eisbach.hub.authoring import spoke
from eisbach.hub.events import (
    AccountCreated,
    AccountDeleted,
    AssetReady,
    AssetReceived,
    AssetRejected,
    BatchFailed,
    ChannelUpserted,
    TitlePublished,
    TitleUnpublished,
    TitleUpserted,
)
from eisbach.kernel.event_types import names_of
from eisbach.kernel.events import Event
from eisbach.kernel.hlc import hlc_ms
from eisbach.ports.spoke import Effects

__all__ = [
    "AUDIT",
    "AUDIT_ENTRIES_MAX",
    "AUDIT_KEPT",
    "PAGE_MAX",
    "AuditEntry",
    "audit",
    "broken_at",
    "entries_after",
    "first_kept",
]

AUDIT: Final = "audit"
AUDIT_KEPT: Final = timedelta(days=400)
"""A year, and time to export it."""
AUDIT_ENTRIES_MAX: Final = 500_000
"""Some 300 MB."""
PAGE_MAX: Final = 500
_DROPPED_AT_ONCE: Final = 4
"""With each new entry: a log that is too long grows shorter, and no event waits for a great cleaning."""
_FIRST: Final = "first"
_HEAD: Final = "head"
_NOTHING: Final = "0" * 64
_TYPES: Final = [
    name
    for kind in (
        AccountCreated, AccountDeleted, AssetReady, AssetReceived, AssetRejected, BatchFailed, ChannelUpserted,
        TitlePublished, TitleUnpublished, TitleUpserted,
    )
    for name in names_of(kind)
]  # fmt: skip
_canonical: Final = msgspec.json.Encoder(order="sorted")


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    number: int
    """From 1, dense."""
    at_ms: int
    """When it was written, by its region's hybrid clock; entries stand in the order in which they came here."""
    event: str
    """Its id."""
    type: str
    subject: str
    origin: str
    """Region in which it was written."""
    market: str | None
    data_sha256: str
    """Of the payload as it was delivered."""
    previous: str
    """``digest`` of the entry before, 64 zeros for the first."""
    digest: str = ""
    """SHA-256 over everything above, as JSON with sorted keys and an empty ``digest``."""


@spoke(AUDIT, on=_TYPES, scope="everywhere", concurrency_max=1, attempts_max=30)
async def audit(event: Event, effects: Effects) -> None:
    """Append one entry."""
    raw = await effects.get(_HEAD)
    last = None if raw is None else msgspec.json.decode(raw, type=AuditEntry)
    entry = AuditEntry(
        number=1 if last is None else last.number + 1, at_ms=hlc_ms(event.hlc), event=event.id, type=event.type,
        subject=event.subject, origin=event.origin, market=event.market,
        data_sha256=hashlib.sha256(event.data).hexdigest(), previous=_NOTHING if last is None else last.digest,
    )  # fmt: skip
    written = msgspec.json.encode(msgspec.structs.replace(entry, digest=_digest(entry)))
    effects.put(_key(entry.number), written)
    effects.put(_HEAD, written)
    await _drop_oldest(entry, effects)


async def _drop_oldest(newest: AuditEntry, effects: Effects) -> None:
    """Age is told by the hybrid time of the newest entry, not by this machine's clock."""
    first = kept = int(await effects.get(_FIRST) or b"1")
    too_old_ms = newest.at_ms - AUDIT_KEPT // timedelta(milliseconds=1)
    while kept < min(newest.number, first + _DROPPED_AT_ONCE):
        raw = await effects.get(_key(kept))
        fits = newest.number - kept < AUDIT_ENTRIES_MAX
        if raw is not None and fits and msgspec.json.decode(raw, type=AuditEntry).at_ms >= too_old_ms:
            break
        effects.delete(_key(kept))
        kept += 1
    if kept > first:
        effects.put(_FIRST, str(kept).encode())


async def first_kept(get: Callable[[str, str], Awaitable[bytes | None]]) -> int:
    """Number of the oldest entry that is kept; 1 in a log of which nothing went yet."""
    return int(await get(AUDIT, _FIRST) or b"1")


async def entries_after(
    number: int, *, limit: int, get: Callable[[str, str], Awaitable[bytes | None]]
) -> list[AuditEntry]:
    """At most ``limit`` kept entries behind ``number``, in order; ``get``: of the spoke store."""
    found: list[AuditEntry] = []
    number = max(number, await first_kept(get) - 1)
    while len(found) < limit and (raw := await get(AUDIT, _key(number + len(found) + 1))) is not None:
        found.append(msgspec.json.decode(raw, type=AuditEntry))
    return found


def broken_at(entries: Sequence[AuditEntry], *, after: AuditEntry | None = None, first: int = 1) -> int | None:
    """Number of the first entry that does not follow from the one before it; None: all do.

    ``first``: the oldest that is kept; when it is not 1, what it follows from cannot be looked at.
    """
    number, previous = (0, _NOTHING) if after is None else (after.number, after.digest)
    if after is None and first > 1 and entries:
        number, previous = first - 1, entries[0].previous
    for entry in entries:
        if entry.number != number + 1 or entry.previous != previous or entry.digest != _digest(entry):
            return number + 1
        number, previous = entry.number, entry.digest
    return None


def _digest(entry: AuditEntry) -> str:
    return hashlib.sha256(_canonical.encode(msgspec.structs.replace(entry, digest=""))).hexdigest()


def _key(number: int) -> str:
    return f"entry/{number:012d}"
