"""The supervisor's HTTP API and pages (docs/internals.md, "Console"): status, events, faults, demo.

Promises: reading needs a known ``Host``; whatever changes something needs the operator as well, and an origin of ours.
The routes call the same methods as the command line.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from eisbach.bootstrap.serve import problem
from eisbach.deploy.laptop.doors import COOKIE, Doors
from eisbach.deploy.laptop.front import FrontKeeper
from eisbach.deploy.laptop.hub_calls import HubCalls
from eisbach.deploy.laptop.observer import Observer
from eisbach.deploy.laptop.supervised import Change
from eisbach.deploy.laptop.supervisor import Supervisor
from eisbach.deploy.laptop.targets import UnknownTarget
from eisbach.deploy.laptop.why import explain
from eisbach.kernel.errors import EisbachError, Invalid, NotFound, Retryable
from eisbach.kernel.limits import BODY_BYTES_MAX

__all__ = ["Console"]

_TICK_S: Final = 0.5
_QUIET_TICKS: Final = 20
_LISTENERS_MAX: Final = 32
_PAGES: Final = ("console", "demo")


class _FaultCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    action: str
    target: str
    kind: str = ""
    other: str = ""


class _WeightCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    region: str
    weight: int


class _HealCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    target: str | None = None


class Console:
    """One per supervisor."""

    def __init__(
        self,
        supervisor: Supervisor,
        observer: Observer,
        doors: Doors,
        *,
        static: Path | None,
        demo: Callable[[], Mapping[str, Any]],
        front: FrontKeeper | None = None,
    ) -> None:
        """``static``: the built pages, None when there are none; ``demo``: the answer of ``/demo/config``."""
        self._supervisor, self._observer, self._doors, self._demo = supervisor, observer, doors, demo
        self._static, self._front = static, front
        self._closing = asyncio.Event()
        self._listeners: set[asyncio.Queue[Change]] = set()
        supervisor.listeners.append(self._heard)

    def close(self) -> None:
        """End every event stream, so that the server can stop."""
        self._closing.set()

    def app(self) -> ASGIApp:
        """The ASGI application."""
        routes: list[BaseRoute] = [
            Route("/healthz", self._healthz),
            Route("/ops/session", self._session),
            Route("/ops/status", self._status),
            Route("/ops/figures", self._figures),
            Route("/ops/events", self._events),
            Route("/ops/changes", self._changes),
            Route("/ops/why", self._why),
            Route("/ops/faults", self._faults, methods=["POST"]),
            Route("/ops/heal", self._heal, methods=["POST"]),
            Route("/ops/weights", self._weights),
            Route("/ops/weights", self._weigh, methods=["POST"]),
            Route("/ops/tickets", self._tickets, methods=["POST"]),
            Route("/demo/config", self._demo_config),
            *HubCalls(self._supervisor.processes, token=self._supervisor.token, is_operator=self._is_operator).routes(),
            *(Route(f"/{page}/", self._page(page)) for page in _PAGES),
            *(Route(f"/{page}", self._to_folder) for page in _PAGES),
        ]
        if self._static is not None:
            routes.append(Mount("/", StaticFiles(directory=self._static, html=True)))
        return self._guarded(Starlette(routes=routes))

    def _guarded(self, app: ASGIApp) -> ASGIApp:
        """Host, origin and operator, before any route; errors as problem+json; headers against framing and leaks."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return
            request = Request(scope, receive)

            async def with_headers(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] += [
                        (b"x-frame-options", b"DENY"), (b"referrer-policy", b"no-referrer"),
                        (b"x-content-type-options", b"nosniff"),
                    ]  # fmt: skip
                await send(message)

            refused = self._refusal(request)
            await (refused or app)(scope, receive, with_headers)

        return guarded

    def _refusal(self, request: Request) -> Response | None:
        if not self._doors.host_is_ours(request.headers.get("host")):
            return problem(421, "wrong_host", "this console answers only under the addresses that eisbach up printed")
        if request.method in ("GET", "HEAD"):
            return None
        if not self._doors.origin_is_ours(request.headers.get("origin")):
            return problem(403, "wrong_origin", "a page of another site may not operate this platform")
        if not self._is_operator(request):
            detail = "this needs the operator: open the link that eisbach status prints, or send the operator token"
            return problem(401, "token_missing", detail)
        return None

    def _is_operator(self, request: Request) -> bool:
        return self._doors.is_operator(
            authorization=request.headers.get("authorization"), cookie=request.cookies.get(COOKIE)
        )

    async def _healthz(self, _: Request) -> Response:
        return Response("ok\n")

    async def _session(self, request: Request) -> Response:
        return _json({"operator": self._is_operator(request), "rehearsal": self._supervisor.rehearsal})

    async def _status(self, _: Request) -> Response:
        return _json(await self._observer.fresh())

    async def _figures(self, _: Request) -> Response:
        return _json({"cells": await self._observer.counters()})

    async def _changes(self, request: Request) -> Response:
        since = request.query_params.get("since_ms", "0")
        if not since.isdecimal():
            return problem(400, "invalid", f"since_ms is {since[:40]!r}; use milliseconds since 1970")
        return _json({"changes": [as_json(c) for c in list(self._supervisor.changes) if c.at_ms >= int(since)]})

    async def _why(self, request: Request) -> Response:
        return await _answer(lambda: self._explained(request.query_params.get("target", "")))

    async def _explained(self, target: str) -> Any:
        return explain(target, self._supervisor, self._observer.status())

    async def _faults(self, request: Request) -> Response:
        async def act() -> Any:
            call = await _body(request, _FaultCall)
            if call.action == "cut":
                hit = await self._supervisor.cut(call.target, call.other)
            elif call.action == "fault":
                hit = await self._supervisor.fault(call.kind, call.target)
            else:
                raise Invalid(f"action {call.action[:40]!r} is not fault or cut")
            return {"faults": self._observer.status().faults, "targets": hit}

        if not self._supervisor.rehearsal:
            return problem(409, "no_rehearsal", "this platform runs without rehearsal; nothing may be broken")
        return await _answer(act)

    async def _heal(self, request: Request) -> Response:
        async def act() -> Any:
            call = await _body(request, _HealCall)
            return {"healed": await self._supervisor.heal(call.target)}

        return await _answer(act)

    async def _weights(self, _: Request) -> Response:
        return await _answer(self._weighed)

    async def _weighed(self) -> Any:
        front = self._keeper()
        return {"weights": front.weights(), "well": front.well()}

    async def _weigh(self, request: Request) -> Response:
        async def act() -> Any:
            call = await _body(request, _WeightCall)
            await self._keeper().weigh(call.region, call.weight)
            return await self._weighed()

        return await _answer(act)

    def _keeper(self) -> FrontKeeper:
        if self._front is None:
            raise NotFound("this stage has no front, so regions have no weights; use --stage regions")
        return self._front

    async def _tickets(self, _: Request) -> Response:
        return _json({"token": self._doors.ticket()})

    async def _demo_config(self, _: Request) -> Response:
        return _json(self._demo())

    async def _to_folder(self, request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{request.url.path}/{query}", 308)

    def _page(self, page: str) -> Callable[[Request], Awaitable[Response]]:
        async def show(request: Request) -> Response:
            if (ticket := request.query_params.get("token")) is not None:
                return self._let_in(page, ticket)
            index = self._static / page / "index.html" if self._static else None
            if index is None or not index.is_file():
                return problem(503, "not_built", "the pages are not built; run make web")
            return Response(index.read_bytes(), media_type="text/html", headers={"Cache-Control": "no-cache"})

        return show

    def _let_in(self, page: str, ticket: str) -> Response:
        answer = RedirectResponse(f"/{page}/", 303)
        answer.headers["Cache-Control"] = "no-store"
        if (session := self._doors.exchange(ticket)) is not None:
            answer.set_cookie(COOKIE, session, httponly=True, samesite="strict", path="/")
        return answer

    def _heard(self, change: Change) -> None:
        for queue in self._listeners:
            if not queue.full():  # a listener that does not read misses lines, not the platform its pace
                queue.put_nowait(change)

    async def _events(self, _: Request) -> Response:
        if len(self._listeners) >= _LISTENERS_MAX:
            return problem(503, "overloaded", f"{_LISTENERS_MAX} pages listen already; close some")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers=headers)

    async def _stream(self) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[Change] = asyncio.Queue(256)
        self._listeners.add(queue)
        try:
            known = _parts(await self._observer.fresh())
            yield b"event: status\ndata: " + msgspec.json.encode(known) + b"\n\n"
            quiet = 0
            while not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await self._closing.wait()
                while not queue.empty():
                    yield b"event: change\ndata: " + msgspec.json.encode(as_json(queue.get_nowait())) + b"\n\n"
                now = _parts(self._observer.status())
                patch = {key: raw for key, raw in now.items() if key != "now_ms" and raw != known.get(key)}
                known, quiet = now, quiet + 1
                if patch:
                    quiet = 0
                    yield b"event: patch\ndata: " + msgspec.json.encode({**patch, "now_ms": now["now_ms"]}) + b"\n\n"
                elif quiet >= _QUIET_TICKS:
                    quiet = 0
                    yield b": still here\n\n"
        finally:
            self._listeners.discard(queue)


def as_json(change: Change) -> dict[str, Any]:
    """A change in its contract form."""
    return {
        "at_ms": change.at_ms,
        "target": change.target,
        "from": change.before,
        "to": change.after,
        "why": change.why,
    }


def _parts(status: Any) -> dict[str, msgspec.Raw]:
    """Top-level key -> its JSON, so that a difference is a comparison of bytes."""
    return msgspec.json.decode(msgspec.json.encode(status), type=dict[str, msgspec.Raw])


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _body(request: Request, kind: type[Any]) -> Any:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            raise Invalid(f"the body is over {BODY_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the body is not what this call takes: {error}") from error


async def _answer(act: Callable[[], Awaitable[Any]]) -> Response:
    try:
        return _json(await act())
    except UnknownTarget as error:
        body = {"type": "about:blank", "title": "not found", "status": 404, "code": error.code, "detail": str(error)}
        body["nearest"] = error.nearest
        return Response(msgspec.json.encode(body), 404, media_type="application/problem+json")
    except NotFound as error:
        return problem(404, error.code, str(error))
    except Retryable as error:
        return problem(503, error.code, str(error))
    except EisbachError as error:
        return problem(400, error.code, str(error))
    except OSError as error:  # its own disk, most likely full: a bare 500 would not say so
        detail = f"the supervisor's machine refused: {error}; free space on the disk of the data folder, then try again"
        return problem(503, "unavailable", detail)
