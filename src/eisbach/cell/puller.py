"""Twins: pull the op logs of this cell's slots from their owners in another region, by vector, for ever.

The asker's vectors are its acknowledgements: what a vector covers is on this disk. Ops and vector move in one
transaction, so a crash anywhere repeats a pull and never skips one. A slot that fails is counted and asked again; the
others go on. Who owns a slot over there is learned from that region's map and from ``moved``.
May not know: HTTP (see ``PeerTransport``), what the items mean.
"""

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from operator import attrgetter
from typing import Final

import structlog

from eisbach.cell.ownership import Ownership
from eisbach.cell.pace import Pace
from eisbach.cell.pull_messages import (
    WAIT_MS,
    Batch,
    PeerTransport,
    PullAnswer,
    PullRequest,
    handfuls,
    last_mark,
    weight,
)
from eisbach.cell.pull_server import PullServer
from eisbach.hub.delays import delay_after
from eisbach.kernel.errors import EisbachError
from eisbach.kernel.hlc import SKEW_MAX_MS, hlc_ms
from eisbach.kernel.limits import PULL_OPS_MAX
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store

__all__ = [
    "Batch",
    "PeerTransport",
    "PullAnswer",
    "PullRequest",
    "PullServer",
    "Puller",
    "PullerStatistics",
    "clock_is_ahead",
]

_FIRST_DELAY: Final = timedelta(milliseconds=100)
_LONGEST_DELAY: Final = timedelta(seconds=2)
_MAP_EVERY_MS: Final = 10_000
_HANDFULS: Final = 2
"""Before the writer at once: a viewer's write waits for two groups at most, each of ``PULL_OPS_MAX`` ops."""

_hlc_of: Final = attrgetter("hlc")
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullerStatistics:
    """Since start; no I/O to read them."""

    region: str
    """The region pulled from."""
    ops: int
    answers: int
    conflicts: int
    failures_in_a_row: int
    slots_failing: int
    silent_ms: int
    """Since the last answer."""
    lag_ms: int
    """Age of the newest op when it was applied here; the silence, when that is longer than a held question, and for how
    long ops of a slot could not be applied, when that is longer."""
    ops_behind: int | None
    """None while the region is not heard: it may have written any number."""
    skew_ms: int
    """That region's wall clock minus ours, exact to half the round trip."""
    ahead_ms: int
    """How much this clock certainly runs ahead of that one: half the round trip is given to it."""


class Puller:
    """Pulls from one other region; one per region and store."""

    def __init__(
        self,
        store: Store,
        ownership: Ownership,
        transport: PeerTransport,
        *,
        region: str,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._store, self._ownership, self._transport = store, ownership, transport
        self.region, self._clock, self._rng = region, clock, rng
        self._owners: dict[str, str] = {}
        self._map_at_ms = -_MAP_EVERY_MS
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failing: dict[str, tuple[int, int, int]] = {}
        """Slot -> failures in a row, when it is tried again, since when; by the monotonic clock."""
        self._behind: dict[str, int] = {}
        self._heads: dict[str, Mark] = {}
        """Slot -> how far that region's own log went when it last said so."""
        self._questions = 0
        """``begin_anew``, so far."""
        self._begun: dict[str, int] = {}
        """Slot -> the last of them for it: what it gave before is not taken any more."""
        self._in_hand: dict[str, list[PullAnswer]] = {}
        """Cell over there -> its answers that are here and not on disk yet."""
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._heard_ms = clock.monotonic_ms()
        self._failures: dict[str, int] = {}
        self._ops = self._answers = self._conflicts = self._lag_ms = self._skew_ms = self._ahead_ms = 0

    def statistics(self) -> PullerStatistics:
        """What happened since start."""
        now = self._clock.monotonic_ms()
        silent = now - self._heard_ms
        lag_ms = silent if silent > WAIT_MS + 1000 else self._lag_ms
        return PullerStatistics(
            region=self.region,
            ops=self._ops,
            answers=self._answers,
            conflicts=self._conflicts,
            failures_in_a_row=max(self._failures.values(), default=0),
            slots_failing=len(self._failing),
            silent_ms=silent,
            lag_ms=max(lag_ms, *(now - since for _, _, since in self._failing.values()), 0),
            ops_behind=sum(self._behind.values()) if silent < 2 * WAIT_MS else None,
            skew_ms=self._skew_ms,
            ahead_ms=self._ahead_ms,
        )

    def reachable(self) -> bool:
        """Whether the region answered within the last two held questions."""
        return self._clock.monotonic_ms() - self._heard_ms < 2 * WAIT_MS

    def owner(self, slot: str) -> str | None:
        """Its cell over there, as far as known."""
        return self._owners.get(slot)

    def head(self, slot: str) -> Mark:
        """How far that region's own log of a slot goes at least, as far as heard since the start."""
        return self._heads.get(slot, Mark(0, 0))

    def begin_anew(self, slots: Sequence[str], origin: str) -> dict[str, list[Op]]:
        """A region that may be put back from an older copy, or is being restored, asks what is held of its own log.

        Given are the ops that are here and not on disk yet, of slots where some are its own; they follow what is on
        disk. What is still on its way is dropped when it comes, and asked for again: else it would appear after it was
        asked for, and numbers would be given twice (seed 397370), or what a restore has not seen would lie under an
        epoch that nobody asks for any more.
        """
        self._questions += 1
        self._begun |= dict.fromkeys(slots, self._questions)
        found: dict[str, list[Op]] = {}
        for answer in chain.from_iterable(self._in_hand.values()):
            for text, batch in answer.batches.items():
                # Of a slot that has moved over there, two cells' answers may be here: the later one counts.
                if last_mark(batch.ops, origin) > last_mark(found.get(text, ()), origin):
                    found[text] = batch.ops
        return found

    async def run(self) -> None:
        """Keep one asker per owner over there; ends only by cancellation, which loses nothing."""
        try:
            while True:
                await self._look()
                self._bury()
                wanted = set(self._owners.values())
                for cell in sorted(wanted - self._tasks.keys()):
                    self._tasks[cell] = asyncio.create_task(self._ask_for_ever(cell), name=f"pull-{self.region}-{cell}")
                await self._clock.sleep(1 if self._owners else 0.3)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _bury(self) -> None:
        """An asker whose cell has slots ends only by a bug: say so, and start it anew; the others have gone on."""
        for cell, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[cell]
                if not task.cancelled() and task.exception() is not None:
                    _logger.error("asker_died", region=self.region, cell=cell, exc_info=task.exception())

    async def _look(self) -> None:
        """Learn the owners from the map, now and then and whenever a slot has none."""
        mine = {str(slot) for slot in self._ownership.followed()}
        for gone in self._owners.keys() - mine:
            del self._owners[gone]
        for known in (self._failing, self._behind):
            for gone in known.keys() - mine:  # another cell follows it: here it would be behind for ever
                del known[gone]
        stale = self._clock.monotonic_ms() - self._map_at_ms >= _MAP_EVERY_MS
        if mine <= self._owners.keys() and not stale:
            return
        try:
            groups = await self._transport.owners()
        except EisbachError as error:
            _logger.info("peer_map_unavailable", region=self.region, error=str(error))
            return
        self._map_at_ms = self._clock.monotonic_ms()
        for text in sorted(mine):  # in an order of our own: a simulated run must be repeatable
            slot = Slot.parse(text)
            owners = groups.get(str(slot.group), ())
            if slot.number < len(owners):
                self._owners[text] = owners[slot.number]

    async def _ask_for_ever(self, cell: str) -> None:
        """Until it owns nothing; never cut off while an answer is applied, which would be neither held nor not."""
        while cell in self._owners.values():
            try:
                more = await self._ask(cell)
                self._failures[cell] = 0
            except EisbachError as error:
                count = self._failures[cell] = self._failures.get(cell, 0) + 1
                if count in (1, 100):
                    _logger.info("pull_failed", region=self.region, cell=cell, failures=count, error=str(error))
                await self._pause(count)
                continue
            if not more:
                await self._pause(1)

    async def _pause(self, failures: int) -> None:
        delay = delay_after(failures, first=_FIRST_DELAY, longest=_LONGEST_DELAY, rng=self._rng)
        await self._clock.sleep(delay.total_seconds())

    async def _ask(self, cell: str) -> bool:
        """One question; whether to ask again at once."""
        asked = self._askable(cell)
        if not asked:
            return False
        if sum(self._behind.get(text, 0) for text in asked) >= self._transport.far_behind:
            # Half of the slots that are behind, so that the other half is on its way while these are applied.
            behind = [text for text in asked if self._behind.get(text)]
            asked = behind[::2]
        try:
            return await self._follow(cell, asked)
        finally:
            self._in_hand.pop(cell, None)

    async def _follow(self, cell: str, asked: Sequence[str]) -> bool:
        answer = await self._fetch(cell, asked)
        moved = bool(answer.moved)
        # Far behind: while one answer is applied the next is on its way, for other slots, so that every vector that is
        # sent says what is on this disk, as ever.
        while sum(len(batch.ops) for batch in answer.batches.values()) >= self._transport.far_behind:
            others = [text for text in self._askable(cell) if text not in answer.batches]
            if not others:
                break
            fetching = asyncio.create_task(self._fetch(cell, others, wait_ms=0))
            try:
                await self._take_in(answer, asked)
                self._in_hand[cell].remove(answer)
                asked, answer = others, await fetching
            finally:
                fetching.cancel()
                await asyncio.gather(fetching, return_exceptions=True)
            moved = moved or bool(answer.moved)
        await self._take_in(answer, asked)
        return not moved

    def _askable(self, cell: str) -> list[str]:
        """The slots to ask a cell over there for now."""
        now = self._clock.monotonic_ms()
        return [
            text
            for text, owner in self._owners.items()
            if owner == cell and (text not in self._failing or now >= self._failing[text][1])
        ]

    async def _fetch(self, cell: str, slots: Sequence[str], *, wait_ms: int = WAIT_MS) -> PullAnswer:
        """What these slots lack here, as far as it is on disk here."""
        vectors = {text: dict(await self._store.vector(Slot.parse(text))) for text in slots}
        asked_ms = self._clock.monotonic_ms()
        wall_ms, pace, questions = self._clock.wall_ms(), self._paces[cell], self._questions
        request = PullRequest(
            slots=vectors, wait_ms=wait_ms, wall_ms=wall_ms, region=self._store.region, bytes_max=pace.bytes_max
        )
        try:
            answer = await self._transport.pull(cell, request)
        except EisbachError:
            pace.failed(self._clock.monotonic_ms() - asked_ms - wait_ms)
            raise
        self._heard(answer, asked_ms)
        size = sum(weight(op) for batch in answer.batches.values() for op in batch.ops)
        pace.answered(size, self._heard_ms - asked_ms - answer.waited_ms)
        if self._questions != questions:
            for text in [text for text in answer.batches if self._begun.get(text, 0) > questions]:
                del answer.batches[text]
        for text, batch in answer.batches.items():
            self._heads[text] = max(batch.heads.get(self.region, Mark(0, 0)), self.head(text))
        self._in_hand.setdefault(cell, []).append(answer)
        return answer

    async def _take_in(self, answer: PullAnswer, asked: Sequence[str]) -> None:
        """Apply an answer to the question for ``asked``."""
        for text, owner in answer.moved.items():
            if owner:
                self._owners[text] = owner
            else:
                self._owners.pop(text, None)
        for text, code in answer.failed.items():
            self._fail(text, code)
        # While one handful is committed the next one waits before the writer, so that it never waits for this loop.
        under_way: deque[asyncio.Future[list[None]]] = deque()
        try:
            for together in handfuls(answer.batches):
                under_way.append(asyncio.gather(*(self._apply(text, batch) for text, batch in together)))
                if len(under_way) == _HANDFULS:
                    await under_way.popleft()
            while under_way:
                await under_way.popleft()
        finally:
            for applying in under_way:
                applying.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        # A region of the version before does not say that its answer is full.
        if not answer.full and sum(len(batch.ops) for batch in answer.batches.values()) < PULL_OPS_MAX:
            for text in set(asked) - answer.batches.keys():
                self._behind.pop(text, None)
                if text not in answer.failed:  # it has nothing new
                    self._failing.pop(text, None)
        if not answer.batches:
            self._lag_ms = 0

    def _heard(self, answer: PullAnswer, asked_ms: int) -> None:
        """Measure the skew: Cristian's algorithm (1989), the time the question was held taken out."""
        self._heard_ms = self._clock.monotonic_ms()
        self._answers += 1
        half = max(0, self._heard_ms - asked_ms - answer.waited_ms) // 2
        self._skew_ms = answer.wall_ms + half - self._clock.wall_ms()
        self._ahead_ms = max(0, -self._skew_ms - half)

    def _fail(self, text: str, why: str) -> None:
        """Leave one slot out for a while; the others go on."""
        now = self._clock.monotonic_ms()
        count, _, since = self._failing.get(text, (0, 0, now))
        count += 1
        if count in (1, 100):
            _logger.warning("slot_not_pulled", region=self.region, slot=text, failures=count, error=why)
        delay = delay_after(count, first=_FIRST_DELAY, longest=_LONGEST_DELAY, rng=self._rng)
        self._failing[text] = (count, now + int(delay.total_seconds() * 1000), since)

    async def _apply(self, text: str, batch: Batch) -> None:
        """Apply one slot's ops; a failure is this slot's alone."""
        try:
            done = await self._store.apply(Slot.parse(text), batch.ops)
        except EisbachError as error:
            self._fail(text, str(error))
            self._behind[text] = _behind(batch.heads, await self._store.vector(Slot.parse(text)))
            return
        self._failing.pop(text, None)
        self._ops += len(batch.ops)
        self._conflicts += done.conflicts
        self._behind[text] = _behind(batch.heads, done.vector)
        self._lag_ms = max(0, self._clock.wall_ms() - hlc_ms(max(map(_hlc_of, batch.ops))))


def _behind(heads: Mapping[str, Mark], vector: Mapping[str, Mark]) -> int:
    """Ops over there that are not here; of an epoch that is not known here its own alone."""
    held = {origin: vector.get(origin, Mark(0, 0)) for origin in heads}
    return sum(
        head.seq - (held[origin].seq if head.epoch == held[origin].epoch else 0)
        for origin, head in heads.items()
        if head > held[origin]
    )


def clock_is_ahead(found: Sequence[PullerStatistics]) -> str:
    """Empty, or why this region must not stamp writes, and what to do: its clock is ahead of a twin's that answers."""
    for one in found:
        if one.silent_ms < 2 * WAIT_MS and one.ahead_ms > SKEW_MAX_MS:
            return (
                f"this clock is {one.ahead_ms} ms ahead of region {one.region}'s, at most {SKEW_MAX_MS} are allowed;"
                " set the clocks of both machines (chrony or another NTP client)"
            )
    return ""
