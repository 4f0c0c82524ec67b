"""Playback: who may start, how many at once, who stops - decided in the viewer's favour.

Each account has one guard item that lists its streams; every rule over the set reads and writes that item, so two
starts at once cannot both take the last place. After a split each region has let somebody in: when a stream renews
and finds too many, the *newest* stops, never the one that was watching (Sky's rule, reference/streaming.md section 0).
May not know: tokens, HTTP, stores, which region it runs in.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec

from eisbach.domain import rights
from eisbach.domain.accounts import Identity
from eisbach.domain.catalog import Channel, Title
from eisbach.kernel.errors import Denied
from eisbach.kernel.ids import PlaybackSessionId, derived_id

__all__ = [
    "ENDED_KEPT_MS",
    "Renewed",
    "SessionStarted",
    "SessionStopped",
    "Started",
    "Stream",
    "StreamGuard",
    "TooManyStreams",
    "check_channel",
    "check_title",
    "end",
    "renew",
    "session_id",
    "start",
    "termination_code",
]

ENDED_KEPT_MS = 3_600_000
"""How long a stopped stream is remembered, so that a late heartbeat does not bring it back."""
ENDED_MAX = 32


class Stream(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place that is taken."""

    sid: str
    device: str
    platform: str
    asset: str
    """``vod:id`` or ``live:id``."""
    started_ms: int
    expires_ms: int
    """Durable lease: after this the place is free whatever memory says."""


class StreamGuard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The item ``guard/streams`` of an account."""

    streams: list[Stream] = []
    ended: dict[str, int] = {}
    """Stopped or taken-over sid -> when; kept an hour, at most 32."""


class SessionStarted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Data of ``tv.playback.session.started.v1``; a repeat in the other region has the same ``sid``."""

    event_type: ClassVar[str] = "tv.playback.session.started.v1"

    sid: str
    account: str
    profile: str
    device: str
    """Derived from account and device id; the device id itself never leaves the items."""
    asset: str
    platform: str


class SessionStopped(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Data of ``tv.playback.session.stopped.v1``."""

    event_type: ClassVar[str] = "tv.playback.session.stopped.v1"

    sid: str
    account: str
    asset: str
    pos_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Started:
    """The stream has its place: write ``guard``."""

    guard: StreamGuard
    stopped: tuple[str, ...] = ()
    """Streams that this start took over or whose lapsed place it took."""


@dataclass(frozen=True, slots=True)
class TooManyStreams:
    """Every place is taken by a stream that is alive; the viewer may take one over."""

    limit: int
    conflicts: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a heartbeat leads to: write ``guard`` and tell the player."""

    guard: StreamGuard
    action: Literal["continue", "stop"]
    reason: str = ""


def session_id(account: str, key: str) -> PlaybackSessionId:
    """The id of the session that ``key`` creates: the same at the twin, so a hedged call has one effect."""
    return PlaybackSessionId(derived_id("s", account, key))


def termination_code(sid: str) -> str:
    """What a viewer sends back as ``takeover`` to stop that stream of their own account."""
    return derived_id("stop", sid)


def check_title(title: Title, identity: Identity, *, at_ms: int) -> None:
    """Rights of a title for a viewer.

    Raises:
        NotFound, Denied: as ``rights.check_rights``; NotFound also when it has no packaged asset yet.
    """
    rights.check_rights(title, market=identity.market, tier=identity.tier, age_max=identity.age_max, at_ms=at_ms)


def check_channel(channel: Channel, identity: Identity) -> None:
    """Rights of a channel for a viewer.

    Raises:
        Denied: ``geo`` or ``entitlement``.
    """
    if identity.market not in channel.markets:
        raise Denied(f"channel {channel.id!r} may not be shown in market {identity.market!r}", code="geo")
    if channel.tier == "premium" and identity.tier != "premium":
        raise Denied(f"channel {channel.id!r} needs plan 'premium', this one is {identity.tier!r}", code="entitlement")


def start(
    guard: StreamGuard,
    stream: Stream,
    *,
    limit: int,
    now_ms: int,
    silent: Collection[str] = (),
    takeover: Collection[str] = (),
) -> Started | TooManyStreams:
    """Take a place for ``stream``.

    A place is free when its lease has run out, when memory knows its stream as ``silent``, or when it belongs to the
    same device (a crashed app reclaims its own). A lapsed stream whose place is needed is ended, not forgotten:
    when it comes back it must not push out the one that plays now.

    Args:
        guard: as read; the caller writes the result under the version it read.
        stream: the new one, with its lease.
        limit: of the account's plan.
        now_ms: milliseconds since 1970.
        silent: sids that have sent no heartbeat for the short lease.
        takeover: termination codes that the viewer chose from an earlier refusal.
    """
    others = [s for s in guard.streams if s.sid != stream.sid]
    gone = [s for s in others if s.device == stream.device or (takeover and termination_code(s.sid) in takeover)]
    rest = [s for s in others if s not in gone]
    alive = [s for s in rest if s.expires_ms > now_ms and s.sid not in silent]
    if len(alive) >= limit:
        return TooManyStreams(limit, tuple(alive))
    lapsed = sorted((s for s in rest if s not in alive), key=lambda s: -s.expires_ms)
    kept, evicted = lapsed[: limit - len(alive) - 1], lapsed[limit - len(alive) - 1 :]
    stopped = tuple(s.sid for s in (*gone, *evicted))
    streams = sorted([*alive, *kept, stream], key=lambda s: (s.started_ms, s.sid))
    return Started(StreamGuard(streams=streams, ended=_ended(guard, stopped, now_ms)), stopped)


def renew(guard: StreamGuard, stream: Stream, *, limit: int, now_ms: int) -> Renewed:
    """Extend a stream's lease, adopting a stream that this guard has never heard of.

    Args:
        guard: as read.
        stream: with its new lease; ``started_ms`` is since when it has played without a lapse.
        limit: of the account's plan.
        now_ms: milliseconds since 1970.
    """
    if stream.sid in guard.ended:
        return Renewed(guard, "stop", "taken_over")
    others = [s for s in guard.streams if s.sid != stream.sid and s.expires_ms > now_ms]
    ranked = sorted([*others, stream], key=lambda s: (s.started_ms, s.sid))
    if ranked.index(stream) >= limit:
        return Renewed(StreamGuard(streams=others, ended=_ended(guard, (stream.sid,), now_ms)), "stop", "concurrency")
    return Renewed(StreamGuard(streams=ranked, ended=_ended(guard, (), now_ms)), "continue")


def end(guard: StreamGuard, sid: str, *, now_ms: int) -> StreamGuard:
    """Free the place of a stream; a later heartbeat of it is told to stop."""
    return StreamGuard(streams=[s for s in guard.streams if s.sid != sid], ended=_ended(guard, (sid,), now_ms))


def _ended(guard: StreamGuard, more: Collection[str], now_ms: int) -> dict[str, int]:
    kept = {sid: at for sid, at in guard.ended.items() if at > now_ms - ENDED_KEPT_MS}
    kept.update(dict.fromkeys(more, now_ms))
    while len(kept) > ENDED_MAX:
        del kept[min(kept, key=kept.__getitem__)]
    return kept
