"""What the console and ``eisbach events`` do with spokes: the supervisor hands each call to the region's spoke host.

Promises: the operator only, reading included, since events carry account ids; one region that does not answer is named
and costs the others nothing. May not know: stores, event logs.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from eisbach.bootstrap.serve import problem
from eisbach.deploy.laptop.supervised import Supervised
from eisbach.kernel.limits import BODY_BYTES_MAX
from eisbach.settings import SingleProcess, SpokesProcess

__all__ = ["HubCalls"]

_LIMIT: Final = aiohttp.ClientTimeout(total=5.0)
_REPLAY_LIMIT: Final = aiohttp.ClientTimeout(total=25.0)
"""A replay or a backfill reads the whole log first."""
_TAIL_LIMIT: Final = aiohttp.ClientTimeout(total=None, connect=5.0)
_ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
_SINGLE: Final = "single"
"""In paths, where a region's name stands: the spokes of the single node."""


class HubCalls:
    """One a console."""

    def __init__(
        self, processes: Mapping[str, Supervised], *, token: str, is_operator: Callable[[Request], bool]
    ) -> None:
        """``token``: the operator's, which every spoke host knows."""
        self._processes, self._is_operator = processes, is_operator
        self._headers = {"Authorization": f"Bearer {token}"}

    def routes(self) -> list[Route]:
        """Every call."""
        letter = "/ops/dead-letters/{region}/{number:int}"
        return [
            Route("/ops/dead-letters", self._operators(self._all)),
            Route("/ops/spokes", self._operators(self._spokes)),
            Route("/ops/hub-events", self._operators(self._tail)),
            Route("/ops/audit/{region}", self._operators(self._pass_on("/audit"))),
            Route(letter, self._operators(self._pass_on("/dead-letters/{number}"))),
            Route(
                f"{letter}/redrive", self._operators(self._pass_on("/dead-letters/{number}/redrive")), methods=["POST"]
            ),
            Route(f"{letter}/drop", self._operators(self._pass_on("/dead-letters/{number}/drop")), methods=["POST"]),
            *(
                Route(
                    f"/ops/spokes/{{region}}/{{spoke}}/{act}",
                    self._operators(self._pass_on(f"/spokes/{{spoke}}/{act}")),
                    methods=["POST"],
                )
                for act in ("pause", "resume", "replay", "backfill")
            ),
        ]

    def _operators(self, act: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def call(request: Request) -> Response:
            if not self._is_operator(request):
                return problem(
                    401, "token_missing", "events carry account ids: open the link that eisbach status prints"
                )
            return await act(request)

        return call

    def _doors(self) -> dict[str, str]:
        """Region -> URL of its spoke host."""
        found: dict[str, str] = {}
        for process in self._processes.values():
            document = process.spec.document
            if isinstance(document, SpokesProcess):
                found[document.region] = f"http://{document.host}:{document.port}"
            elif isinstance(document, SingleProcess):
                found[_SINGLE] = f"http://{document.spokes.host}:{document.spokes.port}"
        return found

    async def _all(self, request: Request) -> Response:
        found, silent = await self._ask("/dead-letters", spoke=request.query_params.get("spoke"))
        letters = [{"region": region, **letter} for region, one in found.items() for letter in one["dead_letters"]]
        letters.sort(key=lambda letter: -letter["at_ms"])
        return _json({"dead_letters": letters, "silent": silent})

    async def _spokes(self, _: Request) -> Response:
        found, silent = await self._ask("/status")
        spokes = [{"region": region, **spoke} for region, one in found.items() for spoke in one["spokes"]]
        refused = [
            {"region": region, "file": file, "why": why}
            for region, one in found.items()
            for file, why in one["refused"].items()
        ]
        return _json({"spokes": spokes, "refused": refused, "silent": silent})

    async def _ask(self, path: str, *, spoke: str | None = None) -> tuple[dict[str, Any], dict[str, str]]:
        """Region -> what its spoke host answers; region -> why there is no answer."""
        found: dict[str, Any] = {}
        silent: dict[str, str] = {}

        async def one(region: str, door: str) -> None:
            try:
                status, raw = await self._call("GET", f"{door}{path}", spoke=spoke)
                if status == 200:
                    found[region] = msgspec.json.decode(raw)
                else:
                    silent[region] = f"its spoke host answers {status}"
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as error:
                silent[region] = f"its spoke host does not answer: {type(error).__name__}"

        await asyncio.gather(*(one(region, door) for region, door in self._doors().items()))
        return dict(sorted(found.items())), silent

    def _pass_on(self, path: str) -> Callable[[Request], Awaitable[Response]]:
        async def call(request: Request) -> Response:
            region = request.path_params["region"]
            door = self._doors().get(region)
            if door is None:
                there = ", ".join(sorted(self._doors()))
                return problem(404, "not_found", f"region {region[:40]!r} has no spoke host; there are {there}")
            spoke = str(request.path_params.get("spoke", "x"))
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", spoke):
                return problem(404, "not_found", f"spoke {spoke[:40]!r} is no name of a spoke")
            body = await _body(request)
            if body is None:
                return problem(413, "too_large", f"the body is over {BODY_BYTES_MAX} bytes")
            target = path.format(number=request.path_params.get("number"), spoke=spoke)
            try:
                query = f"?{request.url.query}" if request.url.query else ""
                status, raw = await self._call(request.method, f"{door}{target}{query}", body=body)
            except (aiohttp.ClientError, TimeoutError) as error:
                return problem(
                    503, "unavailable", f"the spoke host of {region} does not answer: {type(error).__name__}"
                )
            kind = "application/json" if status < 400 else "application/problem+json"
            return Response(raw, status, media_type=kind, headers={"Cache-Control": "no-store"})

        return call

    async def _call(self, method: str, url: str, *, spoke: str | None = None, body: bytes = b"") -> tuple[int, bytes]:
        query = {} if spoke is None else {"spoke": spoke}
        async with (
            aiohttp.ClientSession(
                timeout=_REPLAY_LIMIT if url.endswith(("/replay", "/backfill")) else _LIMIT, headers=self._headers
            ) as session,
            session.request("GET" if method == "HEAD" else method, url, params=query, data=body or None) as answer,
        ):
            return answer.status, await answer.content.read(_ANSWER_BYTES_MAX)

    async def _tail(self, request: Request) -> Response:
        doors = self._doors()
        region = request.query_params.get("region") or next(iter(doors), "")
        if region not in doors:
            return problem(404, "not_found", f"region {region[:40]!r} has no hub; there are {', '.join(sorted(doors))}")

        async def lines() -> AsyncIterator[bytes]:
            async with (
                aiohttp.ClientSession(timeout=_TAIL_LIMIT, headers=self._headers, read_bufsize=2**18) as session,
                session.get(f"{doors[region]}/events") as answer,
            ):
                async for chunk in answer.content.iter_any():
                    yield chunk

        return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})


async def _body(request: Request) -> bytes | None:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            return None
    return raw


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"Cache-Control": "no-store"})
