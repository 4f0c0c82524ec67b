"""Twins compare what they hold while they run: digests by bucket, a slot after the other, for ever.

Two stores whose vectors of a slot are equal, with nothing held back, have applied the same ops: then their digests are
equal too, or something is broken that no pull will mend (a bug in a merge, a damaged file). A slot that is written all
the time has no such moment while it is looked at; it is tried again, and its last comparison grows old in ``/status``.
Promises: a difference is told only when two comparisons in a row found it; costs a bounded share of the process, since
every slot is read once in ten minutes at most. May not know: HTTP, who is alarmed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from eisbach.cell.ownership import Ownership
from eisbach.cell.pull_messages import PeerTransport, PullRequest, SlotDigests
from eisbach.kernel.errors import EisbachError
from eisbach.kernel.slots import Slot
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store

__all__ = ["TwinComparison", "TwinDigests", "digests_now"]

_CYCLE_S: Final = 600.0
"""Over all slots."""
_PAUSE_MIN_S: Final = 0.5
_BUCKETS: Final = 16
_TRIES: Final = 5
"""Of one slot in a turn, while it is being written."""
_logger = structlog.get_logger(__name__)


async def digests_now(store: Store, slot: Slot) -> SlotDigests | None:
    """Digests of a slot with the vector they belong to; None when it was written meanwhile, or holds ops back."""
    before = dict(await store.vector(slot))
    if await store.applied(slot) != before:
        return None
    buckets = list(await store.digest(slot, buckets=_BUCKETS))
    if await store.vector(slot) != before or await store.applied(slot) != before:
        return None
    return SlotDigests(vector=before, buckets=buckets)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinComparison:
    """Since start; no I/O to read it."""

    region: str
    compared: int
    """Slots of which there was a comparison since the last start."""
    slots: int
    """That both regions serve, as far as known."""
    oldest_ms: int
    """Since the comparison that is longest ago, or since the start for slots that had none."""
    differing: list[str]
    """Slots whose digests differ though both applied the same ops, with the buckets that differ."""


class TwinDigests:
    """Compares with one other region; one per region and store."""

    def __init__(
        self,
        store: Store,
        ownership: Ownership,
        transport: PeerTransport,
        *,
        owner: Callable[[str], str | None],
        region: str,
        clock: Clock,
    ) -> None:
        """``owner``: slot -> its cell in ``region``, None when it is not known."""
        self._store, self._ownership, self._transport = store, ownership, transport
        self._owner, self._region, self._clock = owner, region, clock
        self._began_ms = clock.monotonic_ms()
        self._compared_ms: dict[str, int] = {}
        self._suspected: dict[str, int] = {}
        """Slot -> comparisons in a row that found it to differ."""
        self._differing: dict[str, list[int]] = {}
        """Slot -> buckets."""

    def statistics(self) -> TwinComparison:
        """How far the comparison is."""
        slots, now = self._slots(), self._clock.monotonic_ms()
        oldest = min((self._compared_ms.get(text, self._began_ms) for text in slots), default=now)
        return TwinComparison(
            region=self._region,
            compared=sum(text in self._compared_ms for text in slots),
            slots=len(slots),
            oldest_ms=now - oldest,
            differing=[f"{text} buckets {buckets}" for text, buckets in sorted(self._differing.items())],
        )

    @property
    def region(self) -> str:
        """The other one."""
        return self._region

    def differing(self, text: str) -> list[int]:
        """Buckets of a slot that differ, as ``statistics`` has it; empty: none is known to."""
        if text in self._differing:  # seldom; control asks of each slot in turn
            self._slots()
        return self._differing.get(text, [])

    async def run(self) -> None:
        """Slot after slot; ends only by cancellation."""
        while True:
            for text in self._slots():
                await self._clock.sleep(max(_PAUSE_MIN_S, _CYCLE_S / max(1, len(self._slots()))))
                try:
                    await self.compare(text)
                except EisbachError as error:  # the link is cut, the twin is down: later
                    _logger.debug("digests_not_compared", region=self._region, slot=text, error=str(error))
            await self._clock.sleep(_PAUSE_MIN_S)

    async def compare(self, text: str) -> bool | None:
        """Whether a slot is equal in both regions; None when that cannot be said now.

        Raises:
            Unavailable: the other region does not answer.
        """
        cell = self._owner(text)
        if cell is None:
            return None
        for _ in range(_TRIES):
            answer = await self._transport.pull(
                cell, PullRequest(slots={}, digests=[text], wait_ms=0, region=self._own)
            )
            theirs, ours = answer.digests.get(text), await digests_now(self._store, Slot.parse(text))
            if theirs is not None and ours is not None and theirs.vector == ours.vector:
                return self._judge(text, ours, theirs)
            await self._clock.sleep(_PAUSE_MIN_S)
        return None

    @property
    def _own(self) -> str:
        return self._store.region

    def _judge(self, text: str, ours: SlotDigests, theirs: SlotDigests) -> bool:
        self._compared_ms[text] = self._clock.monotonic_ms()
        buckets = [n for n, pair in enumerate(zip(ours.buckets, theirs.buckets, strict=True)) if pair[0] != pair[1]]
        if not buckets:
            self._suspected.pop(text, None)
            self._differing.pop(text, None)
            return True
        count = self._suspected[text] = self._suspected.get(text, 0) + 1
        if count == 2:
            _logger.error("twins_differ", region=self._region, slot=text, buckets=buckets, vector=dict(ours.vector))
        if count >= 2:
            self._differing[text] = buckets
        return False

    def _slots(self) -> list[str]:
        """What is compared. What was found of slots that went to another cell is forgotten: that one compares them now,
        and here they would be said to differ for ever.
        """
        followed = set(map(str, self._ownership.followed()))
        for found in (self._suspected, self._differing):
            for text in found.keys() - followed:
                del found[text]
        return sorted(text for text in followed if self._owner(text) is not None)
