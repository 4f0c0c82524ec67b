"""The spoke host's HTTP: dead letters, pause and resume, and the tail of the hub; for the region's own tokens only."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from eisbach.bootstrap.serve import authorised, problem
from eisbach.hub.backfill import BackfillWish
from eisbach.hub.host import SpokeHost
from eisbach.hub.replay import ReplayWish
from eisbach.kernel.cloudevents import to_structured
from eisbach.kernel.errors import EisbachError, Invalid, NotFound, Rejected
from eisbach.kernel.events import Event
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog
from eisbach.ports.spoke_store import DeadLetter, SpokeStore
from eisbach.spokes.audit import PAGE_MAX, entries_after, first_kept

__all__ = ["SpokeCalls"]

S = TypeVar("S", bound=msgspec.Struct)

_events: Final = msgspec.json.Decoder(Event[msgspec.Raw])
_LIST_MAX: Final = 1000
_BODY_BYTES_MAX: Final = 4096
_SHOWN_BYTES_MAX: Final = 256 * 1024


class _Drop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str


class SpokeCalls:
    """One a spoke host."""

    def __init__(
        self,
        host: SpokeHost,
        store: SpokeStore,
        log: EventLog,
        *,
        clock: Clock,
        tokens: tuple[str, ...],
        rehearsal: bool,
    ) -> None:
        """``tokens``: any of them may operate; without ``rehearsal`` there is no call that breaks a spoke."""
        self._rehearsal = rehearsal
        self._host, self._store, self._log, self._clock, self._tokens = host, store, log, clock, tokens

    def routes(self) -> list[Route]:
        """Every call."""
        number = "/dead-letters/{number:int}"
        return [
            Route("/dead-letters", self._known(self._list)),
            Route(number, self._known(self._show)),
            Route(f"{number}/redrive", self._known(self._redrive), methods=["POST"]),
            Route(f"{number}/drop", self._known(self._drop), methods=["POST"]),
            Route("/spokes/{spoke}/pause", self._known(self._pause), methods=["POST"]),
            Route("/spokes/{spoke}/resume", self._known(self._resume), methods=["POST"]),
            Route("/spokes/{spoke}/replay", self._known(self._replay), methods=["POST"]),
            Route("/spokes/{spoke}/backfill", self._known(self._backfill), methods=["POST"]),
            Route("/audit", self._known(self._audit)),
            Route("/events", self._known(self._tail)),
            *([
                Route("/spokes/{spoke}/fault/{kind}", self._known(self._fault), methods=["POST"]),
                Route("/spokes/{spoke}/heal", self._known(self._heal), methods=["POST"]),
            ] if self._rehearsal else []),
        ]  # fmt: skip

    def _known(self, act: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def call(request: Request) -> Response:
            if not authorised(request, *self._tokens):
                return problem(401, "token_missing", "this needs the region's service or operator token")
            try:
                return await act(request)
            except NotFound as error:
                return problem(404, error.code, str(error))
            except Rejected as error:
                return problem(400, error.code, str(error))
            except EisbachError as error:
                return problem(503, error.code, str(error))

        return call

    async def _fault(self, request: Request) -> Response:
        await self._host.fault(request.path_params["spoke"], request.path_params["kind"])
        return _json({"spoke": request.path_params["spoke"], "fault": request.path_params["kind"]})

    async def _heal(self, request: Request) -> Response:
        await self._host.heal(request.path_params["spoke"])
        return _json({"spoke": request.path_params["spoke"], "fault": None})

    async def _list(self, request: Request) -> Response:
        letters = await self._store.dead_letters(spoke=request.query_params.get("spoke"), limit=_LIST_MAX)
        return _json({"dead_letters": [_told(letter) for letter in letters]})

    async def _show(self, request: Request) -> Response:
        letter = await self._store.dead_letter(request.path_params["number"])
        shown: dict[str, Any] = _told(letter)
        shown["stacks"] = [attempt.stack for attempt in letter.history]
        if len(letter.body) <= _SHOWN_BYTES_MAX:
            shown["body"] = msgspec.Raw(_as_read(letter))
        return _json(shown)

    async def _redrive(self, request: Request) -> Response:
        letter = await self._host.redrive(request.path_params["number"])
        return _json({"redriven": letter.event_id, "spoke": letter.spoke})

    async def _drop(self, request: Request) -> Response:
        reason = (await _body(request, _Drop)).reason.strip()
        if not reason:
            raise Invalid("dropping an event for good needs a reason that the next person understands")
        letter = await self._store.drop(
            request.path_params["number"], reason=reason[:500], now_ms=self._clock.wall_ms()
        )
        return _json({"dropped": letter.event_id, "spoke": letter.spoke})

    async def _pause(self, request: Request) -> Response:
        await self._host.pause(request.path_params["spoke"])
        return _json({"paused": request.path_params["spoke"]})

    async def _resume(self, request: Request) -> Response:
        await self._host.resume(request.path_params["spoke"])
        return _json({"resumed": request.path_params["spoke"]})

    async def _replay(self, request: Request) -> Response:
        wish = await _body(request, ReplayWish)
        count = await self._host.replay(request.path_params["spoke"], wish)
        return _json({"chosen": count.chosen, "read": count.read, "dry_run": wish.dry_run})

    async def _backfill(self, request: Request) -> Response:
        wish = await _body(request, BackfillWish)
        count = await self._host.backfill(request.path_params["spoke"], wish)
        return _json({**asdict(count), "dry_run": wish.dry_run})

    async def _audit(self, request: Request) -> Response:
        after, limit = request.query_params.get("after", "0"), request.query_params.get("limit", str(PAGE_MAX))
        if not (after.isdecimal() and len(after) <= 12 and limit.isdecimal() and 1 <= int(limit[:4]) <= PAGE_MAX):
            raise Invalid(
                f"after is a number of an entry and limit 1 to {PAGE_MAX}, not {after[:20]!r}, {limit[:20]!r}"
            )
        first = await first_kept(self._store.get)
        entries = await entries_after(int(after), limit=int(limit), get=self._store.get)
        return _json({"entries": entries, "first": entries[0].number if entries and int(after) < first else first})

    async def _tail(self, _: Request) -> Response:
        envelopes = await self._log.tail()

        async def lines() -> AsyncIterator[bytes]:
            async for envelope in envelopes:
                for event in envelope.events:
                    yield to_structured(event) + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")


async def _body(request: Request, kind: type[S]) -> S:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _BODY_BYTES_MAX:
            raise Invalid(f"the body is over {_BODY_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the body is not what this call takes: {error}") from error


def _as_read(letter: DeadLetter) -> bytes:
    """An event as a CloudEvent, like everywhere outside: a browser would round its 64-bit numbers."""
    return to_structured(_events.decode(letter.body)) if letter.kind == "event" else letter.body


def _told(letter: DeadLetter) -> dict[str, Any]:
    return {
        "number": letter.number, "spoke": letter.spoke, "kind": letter.kind, "event": letter.event_id,
        "subject": letter.subject, "reason": letter.reason, "at_ms": letter.at_ms,
        "history": [{"at_ms": h.at_ms, "reason": h.reason} for h in letter.history],
    }  # fmt: skip


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
