"""The relay: from a cell's op log to its region's event log.

Runs inside the cell's process, reads the store and never writes it. Its cursor is what the event log says was the
last lsn of this cell (design section 4): publish before advancing, so a crash in between repeats an envelope, which
the compare-and-append refuses or inboxes drop; the other order would lose it. A wiped log has no cursor, so all that
the op log still holds is published again.
Where the engine gains by it, several appends are under way at once, each expecting that the one before it is the last
of the whole log. When another cell's envelope comes between, or an append fails, all behind it are refused, so no gap
can arise; the relay then asks the log for its cursor and goes one by one until nobody interferes. One that was under
way on a connection that broke may still arrive; so a relay that knows how far it got without a gap goes on there, not
behind what such a latecomer says: that repeats a few envelopes, which inboxes drop.
What a relay remembers of its log is up to two seconds old: ``has`` asks the log. May not know: engines, spokes.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

import structlog

from eisbach.hub.delays import delay_after
from eisbach.hub.envelopes import envelopes_of
from eisbach.kernel.errors import Rejected, Retryable, VersionConflict
from eisbach.kernel.limits import ENVELOPE_EVENTS_MAX
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import Envelope, EventLog, PipelinedLog
from eisbach.ports.store import IMPORTED_LSN_MIN, Store

__all__ = ["COMPANY", "SNS_COMPANY", "Relay", "RelayStatistics", "RelayedStore"]

_READ_OPS: Final = 512
_AT_ONCE: Final = 8
"""Appends under way: round trip and disk of one are the time of the others."""
_LOOK_AGAIN: Final = timedelta(seconds=2)
"""An idle relay asks the log for its cursor this often: that is how it learns that the log was wiped."""
COMPANY: Final = timedelta(milliseconds=10)
"""Between two envelopes that are not full. An envelope costs the hub a message and an fsync, whatever is in it: a busy
cell that published at once sent 3 to 20 events in each, and hub and relay used three times the CPU an event."""
SNS_COMPANY: Final = timedelta(milliseconds=250)
"""The same where each envelope is billed: rows of the hub's table, a publication, requests of every queue."""
_FIRST_DELAY: Final = timedelta(milliseconds=50)
_LONGEST_DELAY: Final = timedelta(seconds=2)

_Flying = deque[tuple[Envelope, asyncio.Task[int]]]
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatistics:
    """Since start; no I/O to read them."""

    events: int
    """Published and acknowledged on disk."""
    envelopes: int
    last_lsn: int
    """Up to here the log has everything."""
    behind: int
    """Lsns between there and the store's end; ops without events count too."""
    failures_in_a_row: int
    resumed: int
    """Times the cursor was read from the log: at start, after failures, after a wipe."""
    rewound: int
    """Times the log was ahead of the store (the store was restored): everything was published again."""


class RelayedStore(Store, Protocol):
    """A store that knows whether anything of it was published."""

    async def is_unpublished_at(self, sequence: int, *, ours: bool = False) -> bool:
        """Whether the log's last envelope under this cell's name, ``sequence``, is what it was when first asked for.

        ``ours``: it is this store's own, acknowledged; from then on nothing in the log is of an earlier store. Until
        then it may be, also where the number has changed: an append of that store may have come late (seed 60666).
        """
        ...


class Relay:
    """One a cell."""

    def __init__(
        self,
        store: RelayedStore,
        event_log: EventLog,
        *,
        source: str,
        clock: Clock,
        rng: random.Random,
        pipelined: PipelinedLog | None = None,
    ) -> None:
        """Make one.

        Args:
            store: whose op log.
            event_log: of the region.
            source: ``{region}/{cell}``.
            clock: of the process.
            rng: for jitter.
            pipelined: the same log, where several appends may be under way; None: one by one.
        """
        self._store, self._log, self._pipelined = store, event_log, pipelined
        self.company = COMPANY
        """How long an envelope that is not full waits after the one before it."""
        self._acknowledged = False
        """Whether an append of this relay was: until then what the log has under this cell's name may be an earlier
        store's, whatever its number."""
        self._to_note = False
        """Whether the store does not know that yet."""
        self._window = 1
        """Appends that may be under way now."""
        self._whole: int | None = None
        """Up to here this relay has seen every append answered, without a gap."""
        self._region, _, self._cell = source.partition("/")
        self._clock, self._rng = clock, rng
        self._sequence = 0
        self._doubted = asyncio.Event()
        """The log did not say that it still has what this relay has published: it looks now, not when it is idle."""
        self._imported = IMPORTED_LSN_MIN
        """The last one of what moves brought that this relay has read."""
        self._lsn = -1
        """Below 0 until the cursor is known, and while what moves or a restore brought (``IMPORTED_LSN_MIN`` and on) is
        not all told: a store that holds nothing else has no lsn that could show it."""
        self._events = self._envelopes = self._failures = self._resumed = self._rewound = 0

    async def run(self) -> None:
        """Publish for ever; ends only by cancellation, which loses nothing."""
        while True:
            try:
                await self._resume()
                await self._follow()
            except VersionConflict:
                self._window = 1
                continue  # another writer of this source, or an append whose answer was lost: the log knows
            except (Retryable, Rejected) as error:
                self._failures, self._window = self._failures + 1, 1
                if self._failures in (1, 100):
                    _logger.warning("relay_waits", cell=self._cell, failures=self._failures, error=str(error))
                delay = delay_after(self._failures, first=_FIRST_DELAY, longest=_LONGEST_DELAY, rng=self._rng)
                await self._clock.sleep(delay.total_seconds())

    def last_lsn(self) -> int:
        """Up to here the log had everything when this relay last heard of it."""
        return max(-1, self._lsn)

    async def has(self, lsn: int) -> bool:
        """Whether the log has every event up to ``lsn``, by its own word: it may have been wiped a moment ago."""
        if self._lsn < lsn or self._doubted.is_set():
            return False
        believed = self._sequence
        try:
            last = await self._log.last(f"{self._region}/{self._cell}")
        except (Retryable, Rejected):
            last = None
        if last is None or last.sequence < believed:
            self._doubted.set()
        return not self._doubted.is_set() and self._lsn >= lsn

    def statistics(self) -> RelayStatistics:
        """What happened since start."""
        return RelayStatistics(
            events=self._events,
            envelopes=self._envelopes,
            last_lsn=self.last_lsn(),
            behind=max(0, self._store.statistics().last_lsn - max(0, self._lsn)) + (self._lsn < 0),
            failures_in_a_row=self._failures,
            resumed=self._resumed,
            rewound=self._rewound,
        )

    async def _resume(self) -> None:
        last = await self._log.last(f"{self._region}/{self._cell}")
        lsn, rewound = last.last_lsn, 0
        if self._pipelined is not None and self._whole is not None:
            lsn = min(lsn, self._whole)
        if self._store.statistics().unpublished:
            await self._store.is_unpublished_at(last.sequence)
        self._to_note = self._store.statistics().unpublished
        if last.sequence == 0 or (self._to_note and not self._acknowledged):
            # A wiped log also gets what moves brought here; a store made anew or restored has numbers of its own. When
            # the answer to its first append is lost that is told twice, which spokes know.
            rewound += last.sequence > 0
            lsn = IMPORTED_LSN_MIN
        if lsn > self._store.statistics().last_lsn:
            await self._store.refresh()  # another process of this cell may have written, and published, since
        if lsn > (end := self._store.statistics().last_lsn):
            # The store is younger than the log: put back from a copy. Its lsns say nothing about the log's.
            rewound += 1
            _logger.warning("relay_rewinds", cell=self._cell, log_lsn=lsn, store_lsn=end)
            lsn = IMPORTED_LSN_MIN
        # At once: who asks ``has`` meanwhile must not take the log's number for one of this store.
        self._doubted.clear()
        self._resumed, self._rewound = self._resumed + 1, self._rewound + rewound
        self._sequence, self._lsn = last.sequence, lsn

    async def _follow(self) -> None:
        """Publish until something goes wrong or the log no longer knows the cursor.

        What comes to an idle relay is published at once; what follows waits for company.
        """
        company_ms = int(self.company.total_seconds() * 1000)
        published_ms, read_lsn = self._clock.monotonic_ms() - company_ms, self._lsn
        flying: _Flying = deque()
        try:
            while True:
                if self._sequence == 0 and not flying and await self._was_brought_more():
                    self._lsn = read_lsn = self._imported
                entries = await self._store.log_after(read_lsn, limit=_READ_OPS)
                pause_ms = published_ms + company_ms - self._clock.monotonic_ms()
                if pause_ms > 0 and 0 < len(entries) < ENVELOPE_EVENTS_MAX:
                    await self._clock.sleep(pause_ms / 1000)
                    entries = await self._store.log_after(read_lsn, limit=_READ_OPS)
                await self._send(envelopes_of(entries, region=self._region, cell=self._cell), flying)
                read_lsn = entries[-1].lsn if entries else read_lsn
                self._imported = max((entry.lsn for entry in entries if entry.lsn < 0), default=self._imported)
                if len(entries) == _READ_OPS:
                    continue  # there is more, which is read and packed while the hub writes what is under way
                while flying:
                    await self._land(flying)
                self._failures, self._lsn = 0, max(self._lsn, read_lsn)
                if entries:
                    published_ms = self._clock.monotonic_ms()
                elif self._lsn < 0:
                    self._lsn = read_lsn = 0
                elif not await self._committed_soon():
                    last = await self._log.last(f"{self._region}/{self._cell}")
                    if last.sequence != self._sequence:
                        return
                    self._doubted.clear()
        finally:
            for _, append in flying:
                append.cancel()
            await asyncio.gather(*(append for _, append in flying), return_exceptions=True)

    async def _was_brought_more(self) -> bool:
        """Whether a move brought ops here since; a log that has nothing of this cell looks the same when it was wiped,
        and then lacks what their source had told it. Told once more they give this cell a place in the log.
        """
        following = await self._store.log_after(self._imported, limit=1)
        return bool(following) and following[0].lsn < 0

    async def _send(self, envelopes: Iterable[Envelope], flying: _Flying) -> None:
        """In order, each as soon as the window has room; the first that fails ends it, and those behind it come to
        nothing.
        """
        for envelope in envelopes:
            expected = self._sequence + len(flying)
            flying.append((envelope, asyncio.create_task(self._append(envelope, expected))))
            while len(flying) >= self._window:
                await self._land(flying)

    async def _land(self, flying: _Flying) -> None:
        """Wait for the oldest that is under way."""
        envelope, append = flying[0]
        self._arrived(envelope, await append)
        flying.popleft()
        self._acknowledged = True
        if self._to_note:
            with contextlib.suppress(Retryable):  # a full disk: at worst a next process tells it all once more
                await self._store.is_unpublished_at(self._sequence, ours=True)
                self._to_note = False

    def _append(self, envelope: Envelope, expected: int) -> Coroutine[Any, Any, int]:
        if self._pipelined is None or self._window == 1:
            return self._log.append(envelope, expected=expected)
        return self._pipelined.append_behind(envelope, expected=expected)

    def _arrived(self, envelope: Envelope, sequence: int) -> None:
        alone = self._pipelined is not None and sequence == self._sequence + 1
        self._window = min(_AT_ONCE, 2 * self._window) if alone else 1
        self._sequence, self._lsn = sequence, envelope.last_lsn
        self._whole, self._failures = envelope.last_lsn, 0
        self._doubted.clear()  # the log has what this append was to come behind
        self._envelopes += 1
        self._events += len(envelope.events)

    async def _committed_soon(self) -> bool:
        """Wait for the next commit, but not for ever, and not when it is doubted that the log has what it had."""
        commit = asyncio.ensure_future(self._store.wait_for_commit(self._lsn))
        pause = asyncio.ensure_future(self._clock.sleep(_LOOK_AGAIN.total_seconds()))
        doubt = asyncio.ensure_future(self._doubted.wait())
        try:
            await asyncio.wait({commit, pause, doubt}, return_when=asyncio.FIRST_COMPLETED)
            return commit.done() and commit.result() > self._lsn  # raises: a closed store answers at once, each time
        finally:
            for one in (commit, pause, doubt):
                one.cancel()
            await asyncio.gather(commit, pause, doubt, return_exceptions=True)
