"""Serve an ASGI application on one address until cancelled: what every Python process of the platform does.

uvicorn with uvloop and httptools (reference/dataplane.md section 1), access log off, a bounded backlog, and as many
connections as leave it files of its own (``entrance``). Cancelling the task stops it gracefully: open requests have
three seconds to finish, and no connection outlives ``serve``.
"""

import asyncio
import contextlib
import gc
import hmac
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final

import msgspec
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from eisbach.bootstrap.bounded_http import BoundedProtocol
from eisbach.bootstrap.direct_http import direct_protocol
from eisbach.bootstrap.entrance import Entrance, overloaded
from eisbach.cell.app import CellApp
from eisbach.hub.failures import first_of
from eisbach.kernel.errors import EisbachError

__all__ = ["as_itself", "authorised", "problem", "serve", "settle_process", "status_routes", "together"]


class _Server(uvicorn.Server):
    """Signals are the process's business, not the server's: ``run_process`` cancels."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn passes it
        """Listen with an entrance of our own, in the place of the loop's server."""
        config, state = self.config, self.server_state
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        try:
            listener = socket.create_server((config.host, config.port), family=family, backlog=config.backlog)
        except OSError as error:
            sys.stderr.write(f"{config.host}:{config.port} cannot be listened on: {error.strerror or error}\n")
            raise SystemExit(STARTUP_FAILURE) from error
        await super().startup(sockets=[])
        make: Any = config.http_protocol_class

        def protocol(lacking: str) -> BoundedProtocol:
            made: BoundedProtocol = make(config=config, server_state=state, app_state=self.lifespan.state)
            if lacking:
                made.refuse(overloaded(lacking))
            return made

        entrance: Any = Entrance(listener, protocol, open_now=lambda: len(state.connections))
        self.servers.append(entrance)  # uvicorn asks for ``close`` and ``wait_closed``


_COLLECT_AFTER: Final = (20_000, 20, 50)
"""Objects more than freed before the youngest are looked at for cycles, and so on (``gc.set_threshold``). Python's own
700 looked every seventh call, and at every item and op that a cell remembers: 12 % of its CPU."""
_SWITCH_S: Final = 0.001
"""Python's own 5 ms are what the writer waits for the interpreter, several times a commit, when the loop is busy."""


def settle_process() -> None:
    """What has been composed stays: never look at it for garbage again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    sys.setswitchinterval(_SWITCH_S)


async def serve(app: ASGIApp, *, host: str, port: int, grace_s: int = 3) -> None:
    """Serve until cancelled; a cell's own application gets whole requests (``direct_http``).

    Args:
        app: what answers.
        host: to listen on.
        port: the same.
        grace_s: what requests in work have to finish.

    Raises:
        SystemExit: the address is taken; standard error says so.
    """
    protocol = direct_protocol(app.direct) if isinstance(app, CellApp) else BoundedProtocol
    config = uvicorn.Config(
        app, host=host, port=port, loop="uvloop", http=protocol, ws="none", lifespan="off",
        access_log=False, log_level="warning", backlog=1024, timeout_keep_alive=75, timeout_graceful_shutdown=grace_s,
        server_header=False, date_header=False, proxy_headers=False,
    )  # fmt: skip
    server = _Server(config)
    settle_process()
    task = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(task)
    finally:
        server.should_exit = True
        await task
        # uvicorn leaves who has sent half a request connected; the rest would come to a cell that is closing its store.
        for connection in list(server.server_state.connections):
            connection.transport.abort()


@contextlib.contextmanager
def as_itself() -> Iterator[None]:
    """What we expect of a group of tasks is told as itself: its sentence is what the log and ``status`` show."""
    try:
        yield
    except BaseExceptionGroup as group:
        first = first_of(group)
        if isinstance(first, EisbachError):
            raise first from group
        raise


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Run them until one fails, which ends the others; it is told as itself, a bug with its trace."""
    with as_itself():
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)


def problem(status: int, code: str, detail: str) -> Response:
    """A problem+json answer (RFC 9457)."""
    body = {"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code, "detail": detail}
    return Response(msgspec.json.encode(body), status, {"Eisbach-Code": code}, media_type="application/problem+json")


def authorised(request: Request, *tokens: str) -> bool:
    """Whether the request bears one of the tokens."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return (
        scheme == "Bearer"
        and token != ""
        and any(hmac.compare_digest(token.encode(), known.encode()) for known in tokens)
    )


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
