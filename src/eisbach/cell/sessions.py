"""Playback sessions in memory: who has reported lately, and when to write what they report.

A session lives in its signature, which the client carries; this table only saves disk: a heartbeat is remembered here
and becomes one durable op on pause, stop, seek and every two minutes. Losing it loses nothing but a little haste.
Bounded; the longest silent are forgotten first. May not know: stores, tokens, rights.
"""

import zlib
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from eisbach.kernel.limits import PROGRESS_DURABLE_EVERY, SESSION_LEASE, SESSION_LEASE_DURABLE

__all__ = ["LiveSession", "SessionStatistics", "Sessions"]

SESSIONS_MAX: Final = 100_000
"""Twice a cell's 50,000 viewers."""
_LEASE_MS: Final = int(SESSION_LEASE.total_seconds() * 1000)
_DURABLE_LEASE_MS: Final = int(SESSION_LEASE_DURABLE.total_seconds() * 1000)
_DURABLE_EVERY_MS: Final = int(PROGRESS_DURABLE_EVERY.total_seconds() * 1000)
_WRITTEN_STATES: Final = frozenset({"paused", "stopped", "seeking"})


@dataclass(slots=True)
class LiveSession:
    """What is known of one; monotonic milliseconds."""

    sid: str
    seq: int
    """Of the last heartbeat."""
    state: str
    seen_ms: int
    written_ms: int
    """When it was last written to disk."""
    lapsed: bool = False
    """It was silent for longer than its durable lease: it must not rank by when it first began."""
    stopped: str = ""
    """Why it was told to stop; every later heartbeat is told the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatistics:
    """Now, and since start."""

    playing: int
    """Reported within the lease of 90 s."""
    known: int
    heartbeats: int
    adopted: int
    """Heartbeats of sessions that this process had never heard of."""


class Sessions:
    """One a process."""

    def __init__(self) -> None:
        self._live: OrderedDict[str, LiveSession] = OrderedDict()
        self._heartbeats = self._adopted = 0

    def begin(self, sid: str, *, now_ms: int) -> None:
        """A start was written just now."""
        self._put(LiveSession(sid, 0, "playing", now_ms, now_ms))

    def stop(self, sid: str, reason: str) -> None:
        """Taken over, or over the limit: the next heartbeat is told."""
        if (live := self._live.get(sid)) is not None:
            live.stopped = reason

    def forget(self, sid: str) -> None:
        """It ended well."""
        self._live.pop(sid, None)

    def silent(self, sids: Collection[str], *, now_ms: int) -> set[str]:
        """Those of ``sids`` that this process knows and has not heard of for 90 s; unknown ones are not silent."""
        return {sid for sid in sids if (live := self._live.get(sid)) and now_ms - live.seen_ms > _LEASE_MS}

    def beat(self, sid: str, *, seq: int, state: str, now_ms: int) -> tuple[LiveSession, bool]:
        """Take a heartbeat; the session, and whether it is to be written to disk now.

        A seq that is not higher is a repeat: nothing changes, nothing is written. A session that this process never
        heard of is adopted; its first report ever (seq 0 or 1) is written at once, which is how a prefetched session
        takes its place, a later one at a moment derived from its id, so that a failover does not write all at once.
        """
        self._heartbeats += 1
        live = self._live.get(sid)
        if live is None:
            self._adopted += 1
            spread = 0 if seq > 1 else _DURABLE_EVERY_MS
            spread = spread or zlib.crc32(sid.encode()) % _DURABLE_EVERY_MS
            live = LiveSession(sid, seq, "", now_ms, now_ms - spread)
            self._put(live)
        elif seq <= live.seq:
            live.seen_ms = now_ms
            return live, False
        live.lapsed = live.lapsed or now_ms - live.seen_ms > _DURABLE_LEASE_MS
        due = now_ms - live.written_ms >= _DURABLE_EVERY_MS
        changed = state != live.state and state in _WRITTEN_STATES
        live.seq, live.state, live.seen_ms = seq, state, now_ms
        self._live.move_to_end(sid)
        return live, due or changed

    def statistics(self, *, now_ms: int) -> SessionStatistics:
        """Counts the table from its recent end; no I/O."""
        playing = 0
        for live in reversed(self._live.values()):
            if now_ms - live.seen_ms > _LEASE_MS:
                break
            playing += not live.stopped
        return SessionStatistics(
            playing=playing, known=len(self._live), heartbeats=self._heartbeats, adopted=self._adopted
        )

    def _put(self, live: LiveSession) -> None:
        self._live[live.sid] = live
        self._live.move_to_end(live.sid)
        if len(self._live) > SESSIONS_MAX:
            self._live.popitem(last=False)
