"""The calls: FastAPI, dependencies for who calls, msgspec for bodies, the same rules and documents as our cells.

Rules come from ``eisbach.domain``, tokens and the answers' documents from ``eisbach.cell``, so that both sides check
and sign the same; routing, dependencies, database and outbox are the monolith's own.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import asyncpg
import msgspec
from bench.monolith.database import SIGN_IN, STOP, Beat, Database, Progress
from fastapi import Depends, FastAPI, Header, Request, Response

from eisbach.cell.grants import SESSION_TTL_MS, Grants, Playable
from eisbach.cell.identity import Tokens
from eisbach.cell.places import Places
from eisbach.cell.problems import Refused, Unauthorized, problem_answer, problem_of
from eisbach.cell.public_calls import PublicCalls
from eisbach.cell.routes import Answer, Call
from eisbach.cell.streams import Grant
from eisbach.cell.surface import (
    Granted,
    Heartbeat,
    HeartbeatAnswer,
    PutProgress,
    Rails,
    Resume,
    SavedTitle,
    SignIn,
    StartPlayback,
    StopPlayback,
)  # fmt: skip
from eisbach.domain.accounts import (
    ANONYMOUS_AGE_MAX,
    DEFAULT_PROFILE,
    AccountCreated,
    Identity,
    account_of,
    age_band,
    streams_max,
)  # fmt: skip
from eisbach.domain.catalog import Asset, AssetAvailability, Catalogue, Channel, Title, title_card
from eisbach.domain.playback import (
    SessionStarted,
    SessionStopped,
    Stream,
    StreamGuard,
    TooManyStreams,
    session_id,
    start,
    termination_code,
)  # fmt: skip
from eisbach.domain.progress import (
    Position,
    ProgressRecorded,
    Saved,
    position,
    resume_rail,
    start_position,
    watchlist_rail,
)  # fmt: skip
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Denied, EisbachError, Invalid
from eisbach.kernel.ids import derived_id, parse_id
from eisbach.kernel.limits import HEARTBEAT_EVERY, PROGRESS_DURABLE_EVERY, SESSION_LEASE
from eisbach.kernel.slots import Group
from eisbach.kernel.tokens import SignedSession

__all__ = ["KINDS", "Service", "make_app"]

T = TypeVar("T")
HEARTBEAT_S = int(HEARTBEAT_EVERY.total_seconds())
LEASE_MS = int(SESSION_LEASE.total_seconds() * 1000)
DURABLE_EVERY_MS = int(PROGRESS_DURABLE_EVERY.total_seconds() * 1000)
WRITTEN_STATES = frozenset({"paused", "stopped", "seeking"})
KINDS: dict[str, type[msgspec.Struct]] = {"title": Title, "channel": Channel, "asset": Asset, "at": AssetAvailability}
TRIES = 3


@dataclass(slots=True)
class Service:
    """What the calls stand on."""

    database: Database
    tokens: Tokens
    grants: Grants
    places: Places
    group: Group
    region: str
    catalogue: Catalogue

    @property
    def slot(self) -> str:
        """A monolith has one; the documents want it named."""
        return f"{self.group}/0"


def event(kind: str, subject: str, data: msgspec.Struct, market: str) -> bytes:
    """A CloudEvent, as our relay makes them, less what only a cell has."""
    return msgspec.json.encode({
        "id": random.randbytes(12).hex(), "source": "//monolith/service", "type": kind, "subject": subject,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "market": market, "specversion": "1.0", "data": data,
    })  # fmt: skip


class Calls:
    """One a process."""

    def __init__(self, service: Service) -> None:
        self.s, self.clock = service, SystemClock()

    async def sign_in(self, body: SignIn) -> Granted:
        s = self.s
        if body.mkt not in (None, s.group.market):
            raise Denied(f"market {body.mkt!r} is not served here", code="market")
        account = account_of(body.device_id, s.group)
        created = AccountCreated(account=account, kind="anonymous", market=s.group.market)
        told = event("tv.account.created.v1", account, created, s.group.market)
        await s.database.write(SIGN_IN, account, s.group.market, ANONYMOUS_AGE_MAX, self.clock.wall_ms(), told)
        row = await s.database.pool.fetchrow("SELECT tier, entitlement, age_max FROM accounts WHERE id = $1", account)
        who = Identity(
            account=account, device=body.device_id, profile=DEFAULT_PROFILE, market=s.group.market, tier=row["tier"],
            platform=body.plat, age_max=row["age_max"], entitlement=row["entitlement"], slot=s.slot,
        )  # fmt: skip
        minted = s.tokens.mint(who)
        return Granted(
            access=minted.access, refresh=minted.refresh, expires_in=minted.expires_in, slot=s.slot, account=account,
            profile=who.profile, market=who.market, tier=who.tier, age=age_band(who.age_max), endpoints=[s.places.here],
        )  # fmt: skip

    async def put_progress(self, who: Identity, title: str, body: PutProgress) -> None:
        title = parse_id(title, what="title")
        found = position(title, pos_s=body.pos_s, dur_s=body.dur_s, at_ms=self.clock.wall_ms())
        await self.s.database.progress(self._progress(who.account, who.profile, found))

    async def rails(self, who: Identity) -> Rails:
        pool, catalogue = self.s.database.pool, self.s.catalogue
        query = (
            "SELECT title, pos_s, dur_s, updated_ms, done FROM progress WHERE account = $1 AND profile = $2 LIMIT 1000"
        )
        positions = [Position(**row) for row in await pool.fetch(query, who.account, who.profile)]
        query = "SELECT title, added_ms FROM watchlist WHERE account = $1 AND profile = $2 LIMIT 1000"
        saved = [Saved(**row) for row in await pool.fetch(query, who.account, who.profile)]
        return Rails(
            resume=[
                Resume(title=p.title, pos_s=p.pos_s, dur_s=p.dur_s, updated_ms=p.updated_ms, done=p.done,
                       card=_card(p.title, catalogue))
                for p in resume_rail(positions)
            ],
            watchlist=[
                SavedTitle(title=w.title, added_ms=w.added_ms, card=_card(w.title, catalogue)) for w in watchlist_rail(saved)
            ],
        )  # fmt: skip

    async def start(self, who: Identity, key: str, body: StartPlayback) -> Any:
        s, now_ms = self.s, self.clock.wall_ms()
        what = s.grants.playable(body.asset.type, body.asset.id, who=who, catalogue=s.catalogue, at_ms=now_ms)
        sid, expiry = session_id(who.account, key), s.grants.token_expiry(what, at_ms=now_ms)
        if body.intent == "prefetch":
            facts = await s.database.facts(who.account, who.profile, what.title)
            grant = Grant(now_ms, start_position(_position(what.title, facts)), expiry)
        else:
            grant = await self._place(who, body, what, sid=sid, now_ms=now_ms, expiry=expiry)
        signed = SignedSession(
            sid=sid, account=who.account, profile=who.profile, slot=who.slot, asset=what.asset, device=who.device,
            started_ms=grant.started_ms, expires_ms=grant.started_ms + SESSION_TTL_MS,
        )  # fmt: skip
        return s.grants.session(what, grant, signed=signed, degraded=[])

    async def _place(
        self, who: Identity, body: StartPlayback, what: Playable, *, sid: str, now_ms: int, expiry: int
    ) -> Grant:
        """Read, decide, write if nothing changed: two round trips, no lock held between them."""
        database = self.s.database
        stream = Stream(
            sid=sid, device=who.device, platform=who.platform, asset=what.asset, started_ms=now_ms,
            expires_ms=now_ms + LEASE_MS,
        )  # fmt: skip
        for _ in range(TRIES):
            facts = await database.facts(who.account, who.profile, what.title)
            if not facts:
                raise Unauthorized("there is no such account; sign in", code="token_invalid")
            playing = [Stream(**{f: row[f] for f in Stream.__struct_fields__}) for row in facts if row["sid"]]
            if any(other.sid == sid for other in playing):
                return await self._told(sid)
            decided = start(
                StreamGuard(streams=playing), stream, limit=streams_max(facts[0]["tier"]), now_ms=now_ms,
                takeover=body.takeover,
            )  # fmt: skip
            if isinstance(decided, TooManyStreams):
                raise _too_many(decided)
            grant = Grant(now_ms, start_position(_position(what.title, facts)), expiry)
            device = derived_id("d", who.account, who.device)
            begun = SessionStarted(
                sid=sid,
                account=who.account,
                profile=who.profile,
                device=device,
                asset=what.asset,
                platform=who.platform,
            )
            events = [event("tv.playback.session.started.v1", sid, begun, who.market)]
            for gone in (other for other in playing if other.sid in decided.stopped):
                stopped = SessionStopped(
                    sid=gone.sid, account=who.account, asset=gone.asset, pos_s=0, reason="taken_over"
                )
                events.append(event("tv.playback.session.stopped.v1", gone.sid, stopped, who.market))
            held, new = await database.start(
                sid, who.account, facts[0]["streams_version"], now_ms, list(decided.stopped), who.device, who.platform,
                what.asset, grant.start_pos_s, expiry, stream.expires_ms, events,
            )  # fmt: skip
            if held:
                return grant if new else await self._told(sid)
        raise Refused("other starts of this account came between; try again", code="busy", status=503, more={})

    async def _told(self, sid: str) -> Grant:
        query = "SELECT started_ms, start_pos_s, token_expiry FROM sessions WHERE sid = $1"
        return Grant(*await self.s.database.pool.fetchrow(query, sid))

    async def heartbeat(self, sid: str, body: Heartbeat) -> HeartbeatAnswer:
        session, now_ms = self._session(sid, body.session), self.clock.wall_ms()
        database = self.s.database
        was = await database.beat(Beat(sid, body.seq, body.state, now_ms + LEASE_MS))
        if was is None and await database.ended(sid):
            return HeartbeatAnswer(action="stop", heartbeat_s=HEARTBEAT_S, reason="stopped")
        due = was is not None and (
            now_ms - was.written_ms >= DURABLE_EVERY_MS or (body.state != was.state and body.state in WRITTEN_STATES)
        )
        if due:
            await self._positioned(session, body.pos_s)
            await database.written(sid, now_ms)
        if body.state == "stopped":
            await self._stopped(session, body.pos_s, "stopped", now_ms)
            return HeartbeatAnswer(action="stop", heartbeat_s=HEARTBEAT_S, reason="stopped", durable=True)
        return HeartbeatAnswer(action="continue", heartbeat_s=HEARTBEAT_S, durable=due)

    async def stop(self, sid: str, body: StopPlayback) -> None:
        session = self._session(sid, body.session)
        await self._positioned(session, body.pos_s)
        await self._stopped(session, body.pos_s, body.reason, self.clock.wall_ms())

    async def _stopped(self, session: SignedSession, pos_s: float, reason: str, now_ms: int) -> None:
        data = SessionStopped(sid=session.sid, account=session.account, asset=session.asset, pos_s=pos_s, reason=reason)
        told = event("tv.playback.session.stopped.v1", session.sid, data, self.s.group.market)
        await self.s.database.write(STOP, session.sid, now_ms, told)

    async def _positioned(self, session: SignedSession, pos_s: float) -> None:
        kind, _, title_id = session.asset.partition(":")
        title = self.s.catalogue.titles.get(title_id) if kind == "vod" else None
        asset = self.s.catalogue.assets.get(title.asset or "") if title else None
        if asset is not None:
            found = position(title_id, pos_s=pos_s, dur_s=asset.duration_ms / 1000, at_ms=self.clock.wall_ms())
            await self.s.database.progress(self._progress(session.account, session.profile, found))

    def _progress(self, account: str, profile: str, found: Position) -> Progress:
        data = ProgressRecorded(
            account=account, profile=profile, title=found.title, pos_s=found.pos_s, dur_s=found.dur_s, done=found.done
        )
        told = event("tv.playback.progress.recorded.v1", account, data, self.s.group.market)
        return Progress(account, profile, found, told)

    def _session(self, sid: str, text: str) -> SignedSession:
        session = self.s.grants.open(text)
        if session.sid != sid:
            raise Denied(f"the signed session is {session.sid!r}, the path says {sid[:64]!r}", code="session_mismatch")
        return session


def _card(title_id: str, catalogue: Catalogue) -> Any:
    title = catalogue.titles.get(title_id)
    return title_card(title, catalogue.assets.get(title.asset or "")) if title else None


def _position(title: str, facts: Sequence[asyncpg.Record]) -> Position | None:
    row = facts[0] if facts else None
    if row is None or row["pos_s"] is None:
        return None
    return Position(title=title, pos_s=row["pos_s"], dur_s=row["dur_s"], updated_ms=row["updated_ms"], done=row["done"])


def _too_many(found: TooManyStreams) -> Refused:
    conflicts = [
        {"asset": s.asset, "since_ms": s.started_ms, "termination_code": termination_code(s.sid)}
        for s in found.conflicts
    ]
    more = {"limit": found.limit, "conflicts": conflicts}
    return Refused(f"the plan allows {found.limit} streams", code="concurrency", status=409, more=more)


def body_of(kind: type[T]) -> Any:
    """A dependency that parses the body: msgspec where FastAPI would use pydantic, because it is several times cheaper."""
    decoder = msgspec.json.Decoder(kind)

    async def parse(request: Request) -> T:
        try:
            return decoder.decode(await request.body())
        except msgspec.DecodeError as error:
            raise Invalid(f"the body is not what this call takes: {error}") from error

    return Depends(parse)


def make_app(service: Service) -> FastAPI:
    """The application."""
    calls, rng = Calls(service), random.Random()
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    encode = msgspec.json.Encoder().encode
    public = PublicCalls(
        lambda: service.catalogue, service.places, markets=[service.group.market], clock=calls.clock, rng=rng
    )

    async def viewer(request: Request) -> Identity:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            raise Unauthorized("this call needs 'Authorization: Bearer TOKEN'; sign in first", code="token_missing")
        return service.tokens.verify(token)

    Who = Annotated[Identity, Depends(viewer)]  # noqa: N806 - a type

    def private(value: object, status: int = 200) -> Response:
        return Response(encode(value), status, media_type="application/json", headers={"Cache-Control": "no-store"})

    def sent(answer: Answer) -> Response:
        return Response(answer.body, answer.status, dict(answer.headers), media_type=answer.content_type)

    @app.exception_handler(EisbachError)
    async def refused(_: Request, error: EisbachError) -> Response:
        return sent(problem_answer(problem_of(error, rng=rng)))

    @app.get("/readyz")
    async def ready() -> Response:
        return Response("ready\n")

    @app.post("/v1/auth/anonymous")
    async def anonymous(body: Annotated[SignIn, body_of(SignIn)]) -> Response:
        return private(await calls.sign_in(body))

    @app.get("/v1/{mkt}/{tier}/{plat}/{age}/home")
    async def home(mkt: str, tier: str, plat: str, age: str) -> Response:
        return sent(await public.home(Call("", {"mkt": mkt, "tier": tier, "plat": plat, "age": age}, {}, {})))

    @app.put("/v1/me/progress/{title}")
    async def put_progress(title: str, who: Who, body: Annotated[PutProgress, body_of(PutProgress)]) -> Response:
        await calls.put_progress(who, title, body)
        return Response(status_code=204)

    @app.get("/v1/me/rails")
    async def rails(who: Who) -> Response:
        return private(await calls.rails(who))

    @app.post("/v1/playback/sessions/{sid}/heartbeat")
    async def heartbeat(sid: str, body: Annotated[Heartbeat, body_of(Heartbeat)]) -> Response:
        return private(await calls.heartbeat(sid, body))

    @app.post("/v1/playback/sessions")
    async def playback(
        who: Who, body: Annotated[StartPlayback, body_of(StartPlayback)], idempotency_key: Annotated[str, Header()] = ""
    ) -> Response:
        if not 1 <= len(idempotency_key) <= 64:
            raise Invalid("Idempotency-Key is missing or too long; send 1 to 64 characters")
        return private(await calls.start(who, idempotency_key, body), 201)

    @app.delete("/v1/playback/sessions/{sid}")
    async def stop(sid: str, body: Annotated[StopPlayback, body_of(StopPlayback)]) -> Response:
        await calls.stop(sid, body)
        return Response(status_code=204)

    return app
