"""Serve an ASGI application on one address until cancelled: what every Python process of the platform does.

uvicorn with uvloop and httptools (reference/dataplane.md section 1), access log off, a bounded backlog. Cancelling the
task stops it gracefully: open requests have three seconds to finish.
"""

import asyncio
import contextlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

__all__ = ["authorised", "problem", "serve", "status_routes"]


class _Server(uvicorn.Server):
    """Signals are the process's business, not the server's: ``run_process`` cancels."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def serve(app: ASGIApp, *, host: str, port: int) -> None:
    """Serve until cancelled.

    Raises:
        SystemExit: the address is taken; uvicorn has said so.
    """
    config = uvicorn.Config(
        app, host=host, port=port, loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, log_level="warning", backlog=1024, timeout_keep_alive=75, timeout_graceful_shutdown=3,
        server_header=False, date_header=False,
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(task)
    finally:
        server.should_exit = True
        await task


def problem(status: int, code: str, detail: str) -> Response:
    """A problem+json answer (RFC 9457)."""
    body = {"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code, "detail": detail}
    return Response(msgspec.json.encode(body), status, media_type="application/problem+json")


def authorised(request: Request, *tokens: str) -> bool:
    """Whether the request bears one of the tokens."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return scheme == "Bearer" and any(hmac.compare_digest(token.encode(), known.encode()) for known in tokens)


def status_routes(
    status: Callable[[], Mapping[str, Any]], *, missing: Callable[[], str | None], tokens: tuple[str, ...]
) -> list[Route]:
    """``/healthz``, ``/readyz`` (503 with what is missing) and, for a token's bearer, ``/status``."""

    async def healthz(_: Request) -> Response:
        return Response("ok\n")

    async def readyz(_: Request) -> Response:
        lacking = missing()
        return Response("ready\n") if lacking is None else Response(lacking + "\n", 503)

    async def told(request: Request) -> Response:
        if not authorised(request, *tokens):
            return problem(401, "token_missing", "status needs the region's service token or the operator's token")
        return Response(msgspec.json.encode(status()), media_type="application/json")

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/status", told)]
