"""The critical calls: start, heartbeat, renew, stop.

Only the start needs an access token; from then on the signed session is the credential, so that a player whose access
token ran out in an outage plays on, and any cell of the slot, in any region, goes on from what the client carries.
May not know: how places are kept, how tokens are signed.
"""

from collections.abc import Callable, Sequence

import msgspec

from eisbach.cell.grants import SESSION_TTL_MS, Grants, Playable
from eisbach.cell.ownership import Ownership
from eisbach.cell.problems import Refused
from eisbach.cell.routes import Answer, Call, Route, json_answer, no_content
from eisbach.cell.sessions import Sessions
from eisbach.cell.streams import Grant, Placed, StreamPlaces, progress_write
from eisbach.cell.surface import (
    Heartbeat,
    HeartbeatAnswer,
    RenewedToken,
    RenewToken,
    SessionAnswer,
    StartPlayback,
    StopPlayback,
)
from eisbach.domain.accounts import AGE_BANDS, Account, Identity
from eisbach.domain.catalog import Catalogue
from eisbach.domain.playback import Stream, TooManyStreams, session_id, termination_code
from eisbach.domain.progress import PROGRESS_PREFIX, Position, position, start_position
from eisbach.kernel.errors import Denied, Retryable
from eisbach.kernel.limits import HEARTBEAT_EVERY, SESSION_LEASE_DURABLE
from eisbach.kernel.slots import Slot
from eisbach.kernel.tokens import SignedSession
from eisbach.kernel.versions import Mark
from eisbach.ports.clock import Clock
from eisbach.ports.store import ItemKey, Store, Write

__all__ = ["PlaybackCalls"]

_HEARTBEAT_S = int(HEARTBEAT_EVERY.total_seconds())
_WRITTEN = (("Cache-Control", "no-store"), ("Eisbach-Durability", "local"))
"""Headers of a start that is on disk; of one that is not, the first."""
_LEASE_MS = int(SESSION_LEASE_DURABLE.total_seconds() * 1000)


class PlaybackCalls:
    """One a process."""

    def __init__(
        self,
        store: Store,
        places: StreamPlaces,
        *,
        sessions: Sessions,
        grants: Grants,
        ownership: Ownership,
        now: Callable[[], tuple[Catalogue, Clock]],
    ) -> None:
        """``now``: the catalogue of this moment, and the clock that says which moment it is."""
        self._store, self._streams, self._sessions = store, places, sessions
        self._grants, self._ownership, self._now = grants, ownership, now

    def routes(self) -> Sequence[Route]:
        """This feature's part of the table; heartbeats first, they are most."""
        base = "/v1/playback/sessions"
        return [
            Route(
                method="POST", path=base + "/{sid}/heartbeat", handler=self.heartbeat, importance="critical",
                caller="anyone", body=Heartbeat, answer=HeartbeatAnswer, codes=("session_signature",),
                summary="Still playing; any answer but 'stop' means play on",
            ),
            Route(
                method="POST", path=base, handler=self.start, importance="critical", body=StartPlayback,
                answer=SessionAnswer, status=201, keyed=True, summary="Start to play",
                codes=("geo", "rights_window", "entitlement", "age_pin", "concurrency", "not_found"),
            ),
            Route(
                method="POST", path=base + "/{sid}/token", handler=self.renew, importance="critical", caller="anyone",
                body=RenewToken, answer=RenewedToken, summary="A new media token for a session",
                codes=("session_signature", "rights_window"),
            ),
            Route(
                method="DELETE", path=base + "/{sid}", handler=self.stop, importance="critical", caller="anyone",
                body=StopPlayback, status=204, summary="Stop", codes=("session_signature",),
            ),
        ]  # fmt: skip

    async def start(self, call: Call) -> Answer:
        """Decide rights, place and start position; the answering region is listed first."""
        body: StartPlayback = call.body
        who, key = call.identity, call.idempotency_key()
        catalogue, clock = self._now()
        now_ms = clock.wall_ms()
        what = self._grants.playable(body.asset.type, body.asset.id, who=who, catalogue=catalogue, at_ms=now_ms)
        start_pos_s, degraded = await self._start_position(call.slot, who, what)
        grant = Grant(now_ms, start_pos_s, self._grants.token_expiry(what, at_ms=now_ms))
        sid = session_id(who.account, key)
        mark = None
        if body.intent == "user":
            placed = await self._place(call, what, grant=grant, sid=sid, key=key)
            grant, mark = placed.grant, placed.mark
            degraded += placed.degraded
        signed = SignedSession(
            sid=sid,
            account=who.account,
            profile=who.profile,
            slot=who.slot,
            asset=what.asset,
            device=who.device,
            started_ms=grant.started_ms,
            expires_ms=grant.started_ms + SESSION_TTL_MS,
        )
        document = self._grants.session(what, grant, signed=signed, degraded=degraded)
        headers = _WRITTEN if mark else _WRITTEN[:1]
        return Answer(201, bytes(document), headers, position=self._position(mark))

    async def heartbeat(self, call: Call) -> Answer:
        """Remember it; write it on pause, stop, seek and every two minutes."""
        body: Heartbeat = call.body
        session, slot = self._session(call, body.session)
        _, clock = self._now()
        now_ms = clock.monotonic_ms()
        live, write = self._sessions.beat(session.sid, seq=body.seq, state=body.state, now_ms=now_ms)
        if live.stopped:
            return json_answer(HeartbeatAnswer(action="stop", heartbeat_s=_HEARTBEAT_S, reason=live.stopped))
        if not write:
            return json_answer(HeartbeatAnswer(action="continue", heartbeat_s=_HEARTBEAT_S))
        progress = self._progress(session, slot, body.pos_s)
        if body.state == "stopped":
            mark = await self._streams.leave(session, slot, pos_s=body.pos_s, reason="stopped", progress=progress)
            live.stopped = "stopped"
            answer = HeartbeatAnswer(action="stop", heartbeat_s=_HEARTBEAT_S, reason="stopped", durable=bool(mark))
            return Answer(200, msgspec.json.encode(answer), position=self._position(mark))
        tier = await self._tier(slot, session.account)
        done, mark = await self._streams.renew(session, slot, tier=tier, lapsed=live.lapsed, progress=progress)
        if done is not None:
            live.written_ms, live.lapsed = now_ms, False
            live.stopped = done.reason if done.action == "stop" else ""
        answer = HeartbeatAnswer(
            action=done.action if done else "continue",
            heartbeat_s=_HEARTBEAT_S,
            reason=done.reason if done else "",
            durable=mark is not None,
        )
        return Answer(200, msgspec.json.encode(answer), position=self._position(mark))

    async def renew(self, call: Call) -> Answer:
        """A new media token; the rights window is looked at again, the plan is not (the viewer is watching)."""
        body: RenewToken = call.body
        session, slot = self._session(call, body.session)
        catalogue, clock = self._now()
        now_ms = clock.wall_ms()
        kind, _, identity = session.asset.partition(":")
        tier = await self._tier(slot, session.account)
        who = _watching(session, slot, tier)
        what = self._grants.playable(kind, identity, who=who, catalogue=catalogue, at_ms=now_ms)
        signed = msgspec.structs.replace(session, expires_ms=now_ms + SESSION_TTL_MS)
        renewed = self._grants.renewed(what, signed=signed, expiry=self._grants.token_expiry(what, at_ms=now_ms))
        return json_answer(renewed, headers=[("Cache-Control", "no-store")])

    async def stop(self, call: Call) -> Answer:
        """Free the place; a repeat changes nothing."""
        body: StopPlayback = call.body
        session, slot = self._session(call, body.session)
        progress = self._progress(session, slot, body.pos_s)
        mark = await self._streams.leave(session, slot, pos_s=body.pos_s, reason=body.reason, progress=progress)
        self._sessions.stop(session.sid, "stopped")
        return no_content(position=self._position(mark))

    async def _place(self, call: Call, what: Playable, *, grant: Grant, sid: str, key: str) -> Placed:
        body: StartPlayback = call.body
        who = call.identity
        stream = Stream(
            sid=sid,
            device=who.device,
            platform=who.platform,
            asset=what.asset,
            started_ms=grant.started_ms,
            expires_ms=grant.started_ms + _LEASE_MS,
        )
        placed = await self._streams.take(call.slot, stream, who, key=key, grant=grant, takeover=body.takeover)
        if isinstance(placed, TooManyStreams):
            raise _too_many(placed)
        return placed

    async def _start_position(self, slot: Slot, who: Identity, what: Playable) -> tuple[float, list[str]]:
        if not what.title:
            return 0.0, []
        try:
            found = await self._store.read(slot, ItemKey(who.account, f"{PROGRESS_PREFIX}{who.profile}/{what.title}"))
        except Retryable:
            return 0.0, ["resume"]
        return start_position(msgspec.json.decode(found.value, type=Position) if found else None), []

    def _session(self, call: Call, text: str) -> tuple[SignedSession, Slot]:
        """The signed session of a call, on a slot that is ours; its expiry is judged in the viewer's favour: not."""
        session = self._grants.open(text)
        if session.sid != call.params["sid"]:
            raise Denied(
                f"the signed session is {session.sid!r}, the path says {call.params['sid'][:64]!r}; send that one",
                code="session_mismatch",
            )
        slot = self._ownership.slot(session.slot)
        self._ownership.check(slot)
        return session, slot

    def _progress(self, session: SignedSession, slot: Slot, pos_s: float) -> list[Write]:
        """The position as a write; none for channels and for titles that this cell does not know."""
        kind, _, title_id = session.asset.partition(":")
        catalogue, clock = self._now()
        title = catalogue.titles.get(title_id) if kind == "vod" else None
        asset = catalogue.assets.get(title.asset or "") if title else None
        if asset is None:
            return []
        found = position(title_id, pos_s=pos_s, dur_s=asset.duration_ms / 1000, at_ms=clock.wall_ms())
        return [progress_write(session.account, session.profile, found, slot.group.market)]

    async def _tier(self, slot: Slot, account: str) -> str:
        try:
            found = await self._store.read(slot, ItemKey(account, "account"))
        except Retryable:
            found = None
        return msgspec.json.decode(found.value, type=Account).tier if found else "free"

    def _position(self, mark: Mark | None) -> dict[str, Mark] | None:
        return {self._store.region: mark} if mark else None


def _watching(session: SignedSession, slot: Slot, tier: str) -> Identity:
    """Who renews, as far as a session knows: age and plan were checked at the start."""
    return Identity(
        account=session.account,
        device=session.device,
        profile=session.profile,
        market=slot.group.market,
        tier=tier,
        platform="",
        age_max=AGE_BANDS[-1],
        entitlement=0,
        slot=session.slot,
    )


def _too_many(found: TooManyStreams) -> Refused:
    conflicts = [
        {
            "device_name": s.platform or "device",
            "asset": s.asset,
            "since_ms": s.started_ms,
            "termination_code": termination_code(s.sid),
        }
        for s in found.conflicts
    ]
    return Refused(
        f"{len(found.conflicts)} streams play already, the plan allows {found.limit}; stop one or take one over",
        code="concurrency",
        status=409,
        more={"limit": found.limit, "conflicts": conflicts},
    )
