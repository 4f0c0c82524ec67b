"""Places for streams on disk: the guard item of an account, read, decided, written under the version that was read.

Fails in the viewer's favour: when the disk refuses, a start is let in and a heartbeat goes on, flagged
``concurrency``; only a decision that was reached says no. May not know: HTTP, tokens, rights.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from eisbach.cell.sessions import Sessions
from eisbach.cell.writing import Writer
from eisbach.domain.accounts import Identity, streams_max
from eisbach.domain.playback import (
    Renewed,
    SessionStarted,
    SessionStopped,
    Started,
    Stream,
    StreamGuard,
    TooManyStreams,
    end,
    renew,
    start,
)
from eisbach.domain.progress import PROGRESS_PREFIX, Position, ProgressRecorded
from eisbach.kernel.errors import EpochStale, Retryable, VersionConflict
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ids import derived_id
from eisbach.kernel.limits import HEARTBEAT_EVERY, PROGRESS_DURABLE_EVERY, SESSION_LEASE_DURABLE
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Slot
from eisbach.kernel.tokens import SignedSession
from eisbach.kernel.versions import Mark, Version
from eisbach.ports.clock import Clock
from eisbach.ports.store import IdempotencyKey, ItemKey, Store, Transaction, Write

__all__ = ["Grant", "Placed", "StreamPlaces", "progress_write"]

GUARD: Final = "guard/streams"
_TRIES: Final = 3
_LEASE_MS: Final = int(SESSION_LEASE_DURABLE.total_seconds() * 1000)
_KEPT_MS: Final = int((SESSION_LEASE_DURABLE - PROGRESS_DURABLE_EVERY - HEARTBEAT_EVERY / 2).total_seconds() * 1000)
"""A lease that still runs longer than this is extended by the next durable heartbeat, not by this one: it comes in two
minutes, in time. A guard item costs what a position costs (docs/decisions/0021)."""
_logger = structlog.get_logger(__name__)


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """What a start decided; stored under its key, so that a repeat gets the same answer."""

    started_ms: int
    start_pos_s: float
    token_expiry: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A start that was let in."""

    grant: Grant
    mark: Mark | None
    """None when nothing was written."""
    degraded: tuple[str, ...] = ()


def progress_write(account: str, profile: str, found: Position, market: str) -> Write:
    """The item and the event of a position."""
    data = ProgressRecorded(
        account=account, profile=profile, title=found.title, pos_s=found.pos_s, dur_s=found.dur_s, done=found.done
    )
    event = EventDraft(
        type="tv.playback.progress.recorded.v1", subject=account, data=msgspec.json.encode(data), market=market
    )
    key = f"{PROGRESS_PREFIX}{profile}/{found.title}"
    return Write(ItemChange(account, key, msgspec.json.encode(found)), event)


class StreamPlaces:
    """One a process."""

    def __init__(self, store: Store, writer: Writer, sessions: Sessions, *, clock: Clock) -> None:
        self._store, self._writer, self._sessions, self._clock = store, writer, sessions, clock
        self.failed_open = 0
        """Starts and heartbeats decided without the disk."""

    async def take(
        self, slot: Slot, stream: Stream, identity: Identity, *, key: str, grant: Grant, takeover: Collection[str]
    ) -> Placed | TooManyStreams:
        """Take a place for a new session, once per ``key``.

        Raises:
            SlotMoved: the slot is another cell's.
        """
        limit = streams_max(identity.tier)
        try:
            for _ in range(_TRIES):
                guard, version = await self._read(slot, identity.account)
                now_ms = self._clock.wall_ms()
                silent = self._sessions.silent([s.sid for s in guard.streams], now_ms=self._clock.monotonic_ms())
                decided = start(guard, stream, limit=limit, now_ms=now_ms, silent=silent, takeover=takeover)
                if isinstance(decided, TooManyStreams):
                    return decided
                writes = [self._write(identity.account, decided.guard, _started(stream, identity))]
                writes += [
                    Write(event=_stopped(gone, identity.account, identity.market, "taken_over"))
                    for gone in guard.streams
                    if gone.sid in decided.stopped
                ]
                transaction = Transaction(
                    slot=slot,
                    reads={ItemKey(identity.account, GUARD): version},
                    writes=writes,
                    key=IdempotencyKey(identity.account, f"play/{key}"),
                    answer=msgspec.msgpack.encode(grant),
                )
                try:
                    written = await self._writer.transact(transaction)
                except (VersionConflict, EpochStale):
                    continue  # another start of this account came between; decide again with it
                return self._placed(stream.sid, decided, written.receipt.answer, written.receipt.mark)
        except Retryable as error:
            self._tell("start_without_place", stream.sid, error)
        self.failed_open += 1
        return Placed(grant=grant, mark=None, degraded=("concurrency",))

    async def renew(
        self, session: SignedSession, slot: Slot, *, tier: str, lapsed: bool, progress: Sequence[Write]
    ) -> tuple[Renewed | None, Mark | None]:
        """Extend the durable lease and write ``progress`` with it; (None, None) when the disk refused."""
        now_ms = self._clock.wall_ms()
        stream = Stream(
            sid=session.sid,
            device=session.device,
            platform="",
            asset=session.asset,
            started_ms=session.started_ms,
            expires_ms=now_ms + _LEASE_MS,
        )

        def decide(guard: StreamGuard) -> tuple[Renewed, list[Write]]:
            known = next((s for s in guard.streams if s.sid == session.sid), stream)
            # After a lapse it ranks as if it began now: it must not push out who played meanwhile.
            started_ms = now_ms if lapsed else known.started_ms
            mine = msgspec.structs.replace(stream, platform=known.platform, started_ms=started_ms)
            if known is not stream and not lapsed and known.expires_ms - now_ms > _KEPT_MS:
                mine = known
            done = renew(guard, mine, limit=streams_max(tier), now_ms=now_ms)
            stopping = None
            if done.action == "stop" and done.guard is not guard:
                stopping = _stopped(stream, session.account, slot.group.market, done.reason)
            if done.guard == guard:
                return done, [*progress]
            return done, [self._write(session.account, done.guard, stopping), *progress]

        return await self._change(session, slot, decide)

    async def leave(
        self, session: SignedSession, slot: Slot, *, pos_s: float, reason: str, progress: Sequence[Write]
    ) -> Mark | None:
        """Free the place of a session that ends; None when the disk refused (its lease then runs out)."""

        def decide(guard: StreamGuard) -> tuple[Renewed, list[Write]]:
            left = end(guard, session.sid, now_ms=self._clock.wall_ms())
            data = SessionStopped(
                sid=session.sid, account=session.account, asset=session.asset, pos_s=pos_s, reason=reason
            )
            event = EventDraft(
                type="tv.playback.session.stopped.v1",
                subject=session.sid,
                data=msgspec.json.encode(data),
                market=slot.group.market,
            )
            known = session.sid in guard.ended
            writes = [] if known else [self._write(session.account, left, event)]
            return Renewed(left, "stop"), [*writes, *progress]

        return (await self._change(session, slot, decide))[1]

    async def _change(
        self, session: SignedSession, slot: Slot, decide: Callable[[StreamGuard], tuple[Renewed, list[Write]]]
    ) -> tuple[Renewed | None, Mark | None]:
        try:
            for _ in range(_TRIES):
                guard, version = await self._read(slot, session.account)
                done, writes = decide(guard)
                if not writes:
                    return done, None
                reads = {ItemKey(session.account, GUARD): version}
                try:
                    written = await self._writer.transact(Transaction(slot=slot, reads=reads, writes=writes))
                except (VersionConflict, EpochStale):
                    continue
                return done, written.receipt.mark
        except Retryable as error:
            self._tell("session_not_written", session.sid, error)
        self.failed_open += 1
        return None, None

    def _tell(self, what: str, sid: str, error: Retryable) -> None:
        """The first and every thousandth: in an outage a line per viewer would cost more than the call."""
        if self.failed_open % 1000 == 0:
            _logger.warning(what, sid=sid, error=str(error), failed_open=self.failed_open)

    async def _read(self, slot: Slot, account: str) -> tuple[StreamGuard, Version | None]:
        found = await self._store.read(slot, ItemKey(account, GUARD))
        if found is None:
            return StreamGuard(), None
        return msgspec.json.decode(found.value, type=StreamGuard), found.version

    def _write(self, account: str, guard: StreamGuard, event: EventDraft | None) -> Write:
        return Write(ItemChange(account, GUARD, msgspec.json.encode(guard)), event)

    def _placed(self, sid: str, decided: Started, answer: bytes, mark: Mark) -> Placed:
        self._sessions.begin(sid, now_ms=self._clock.monotonic_ms())
        for gone in decided.stopped:
            self._sessions.stop(gone, "taken_over")
        return Placed(grant=msgspec.msgpack.decode(answer, type=Grant), mark=mark)


def _started(stream: Stream, identity: Identity) -> EventDraft:
    data = SessionStarted(
        sid=stream.sid,
        account=identity.account,
        profile=identity.profile,
        # A device id is what an anonymous viewer proves themselves by: it never leaves items (P22). This tells one
        # device of an account from another, and no more.
        device=derived_id("d", identity.account, stream.device),
        asset=stream.asset,
        platform=stream.platform,
    )
    return EventDraft(
        type="tv.playback.session.started.v1",
        subject=stream.sid,
        data=msgspec.json.encode(data),
        market=identity.market,
    )


def _stopped(stream: Stream, account: str, market: str, reason: str) -> EventDraft:
    data = SessionStopped(sid=stream.sid, account=account, asset=stream.asset, pos_s=0, reason=reason)
    return EventDraft(
        type="tv.playback.session.stopped.v1", subject=stream.sid, data=msgspec.json.encode(data), market=market
    )
