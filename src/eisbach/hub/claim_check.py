"""Claim check: a payload above 64 KiB lies in the blob store, its event carries a reference and the digest.

Promises: the blob is on disk before the event is written, so whoever reads the event finds it; it is fetched when a
handler is about to get the event, never before (a filter looks at attributes only); what is missing or is not what
the digest says is refused (``Invalid``, so a dead letter with that reason) and no handler ever sees a part of it.
A claim from another region is brought here once, at the latest when something that waits here names it. Claims are
swept when nothing can ask for them any more: after ``CLAIMS_KEPT``, and not while an event that waits or a dead letter
of this region names them.
Source: Hohpe and Woolf, Enterprise Integration Patterns (2003), "Claim Check". May not know: engines, HTTP.
"""

import datetime as dt
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Final, NamedTuple

import msgspec
import structlog

from eisbach.kernel.errors import DigestMismatch, Invalid, NotFound, Retryable
from eisbach.kernel.events import Event, EventDraft
from eisbach.kernel.limits import BACKUPS_KEPT, EVENT_BYTES_MAX, MIB
from eisbach.ports.blobs import Blobs
from eisbach.ports.clock import Clock
from eisbach.ports.spoke_store import WaitingClaim

__all__ = ["CLAIMS_KEPT", "CLAIM_BYTES_MAX", "ClaimChecks"]

CLAIM_BYTES_MAX: Final = 16 * MIB
CLAIMS_KEPT: Final = BACKUPS_KEPT
"""As long as an op log can be restored; hub and op logs keep events for seven days, or until a lost region is back."""
_PREFIX: Final = "claims/"
_REFERENCE: Final = re.compile(
    r"blobs:(?P<key>claims/(?P<day>\d{4}-\d\d-\d\d)/(?P<name>[0-9a-f]{64}))#sha256=(?P<sha256>[0-9a-f]{64})", re.ASCII
)

_logger = structlog.get_logger(__name__)


class _Claim(NamedTuple):
    key: str
    sha256: str


class ClaimChecks:
    """Of one region's blob store."""

    def __init__(
        self,
        blobs: Blobs,
        *,
        region: str,
        clock: Clock,
        elsewhere: Callable[[str, str], AsyncIterator[bytes]] | None = None,
    ) -> None:
        """``elsewhere``: (region, key) -> the claim as that region has it; None: there is no other region."""
        self._blobs, self._region, self._clock, self._elsewhere = blobs, region, clock, elsewhere
        self.redeemed = self.fetched = self.refused = 0
        """Since start: payloads handed to handlers, brought from other regions, missing or altered."""

    async def check_in(self, draft: EventDraft) -> EventDraft:
        """The draft as it may be written: itself up to 64 KiB, else with its payload in the blob store.

        Check the payload against its type first: nobody can once it is claimed.

        Raises:
            Invalid: over 16 MiB.
            Unavailable: the blob store refused; nothing was stored.
        """
        size = len(draft.data)
        if size <= EVENT_BYTES_MAX:
            return draft
        if size > CLAIM_BYTES_MAX:
            raise Invalid(f"event {draft.type} of {draft.subject!r} has {size} bytes; at most {CLAIM_BYTES_MAX}")
        sha256 = hashlib.sha256(draft.data).hexdigest()
        key = f"{_PREFIX}{_day(self._clock.wall_ms())}/{sha256}"
        stored = await self._blobs.put(key, draft.data, sha256=sha256, once=True)
        if stored.sha256 != sha256:  # its name is its digest: what is there is damaged
            await self._blobs.put(key, draft.data, sha256=sha256)
        summary = msgspec.json.encode({"eisbach_claim": {"bytes": size}})
        return msgspec.structs.replace(draft, data=summary, dataref=f"blobs:{key}#sha256={sha256}")

    async def redeem(self, event: Event) -> Event:
        """The event with its payload, as its publisher gave it; itself when it has it.

        Raises:
            Invalid: no reference of ours, or the blob is missing or altered.
            Unavailable: the blob store, or the other region that has it, cannot be reached now.
        """
        if event.dataref is None:
            return event
        try:
            named = f"of event {event.id}"
            claim = _parse(event.dataref, named)
            body = await self._here(claim) or await self._from_origin(claim, event.origin, named)
        except Invalid:
            self.refused += 1
            raise
        self.redeemed += 1
        return msgspec.structs.replace(event, data=msgspec.Raw(body))

    async def bring(self, waiting: Iterable[WaitingClaim]) -> int:
        """Bring here what something here waits for and only another region has; how many were brought.

        That region sweeps by what waits there, and knows nothing of what waits here. What cannot be brought now is
        left for the next time.
        """
        before = self.fetched
        for origin, dataref in sorted(waiting):
            try:
                claim = _parse(dataref, f"from {origin}")
                if origin != self._region and await self._here(claim) is None:
                    await self._from_origin(claim, origin, f"from {origin}")
            except (Invalid, Retryable) as error:
                _logger.warning("claim_not_brought", origin=origin, dataref=dataref[:200], error=str(error))
        return self.fetched - before

    async def tend(self, waiting: Collection[WaitingClaim]) -> int:
        """What has to be done within every hour: bring what waits here, then sweep; how many were swept."""
        await self.bring(waiting)
        swept = await self.sweep({claim.dataref for claim in waiting})
        if swept:
            _logger.info("claims_swept", count=swept)
        return swept

    async def sweep(self, keep: Collection[str]) -> int:
        """Delete claims that are older than ``CLAIMS_KEPT`` and not among ``keep`` (datarefs); how many."""
        last = _day(self._clock.wall_ms() - int(CLAIMS_KEPT.total_seconds() * 1000))
        kept = {match["key"] for dataref in keep if (match := _REFERENCE.fullmatch(dataref))}
        old = [key for key in await self._blobs.keys(_PREFIX) if key[len(_PREFIX) :][:10] < last and key not in kept]
        for key in old:
            await self._blobs.delete(key)
        return len(old)

    async def _here(self, claim: _Claim) -> bytes | None:
        """The blob when it is here and whole."""
        try:
            body = await self._blobs.read(claim.key)
        except NotFound:
            return None
        return body if hashlib.sha256(body).hexdigest() == claim.sha256 else None

    async def _from_origin(self, claim: _Claim, origin: str, named: str) -> bytes:
        """Bring it from where the event was written; also over a damaged copy that is here."""
        if origin == self._region or self._elsewhere is None:
            found = await self._blobs.info(claim.key)
            what = "is missing" if found is None else f"was altered: its sha256 is {found.sha256}"
            raise Invalid(
                f"claim check {claim.key} {named} {what}; put the blob with sha256 {claim.sha256} back and redrive, or"
                " drop the event"
            )
        try:
            await self._blobs.put(claim.key, _bounded(self._elsewhere(origin, claim.key), claim), sha256=claim.sha256)
        except NotFound as error:
            raise Invalid(f"claim check {claim.key} {named} is missing here and in {origin}: {error}") from error
        except DigestMismatch as error:
            raise Invalid(f"claim check {claim.key} {named} was altered in {origin}: {error}") from error
        self.fetched += 1
        return await self._blobs.read(claim.key)


def _parse(dataref: str, named: str) -> _Claim:
    match = _REFERENCE.fullmatch(dataref)
    if match is None or match["name"] != match["sha256"]:
        raise Invalid(f"dataref {dataref[:80]!r} {named} is no claim check of this platform")
    return _Claim(match["key"], match["sha256"])


async def _bounded(content: AsyncIterator[bytes], claim: _Claim) -> AsyncIterator[bytes]:
    size = 0
    async for piece in content:
        size += len(piece)
        if size > CLAIM_BYTES_MAX:
            raise Invalid(f"claim check {claim.key} is over {CLAIM_BYTES_MAX} bytes")
        yield piece


def _day(wall_ms: int) -> str:
    return dt.datetime.fromtimestamp(wall_ms / 1000, dt.UTC).strftime("%Y-%m-%d")
