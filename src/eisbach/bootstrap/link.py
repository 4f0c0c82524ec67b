"""``eisbach run link``: TCP proxies that stand for the wide-area links between regions, to be cut and slowed.

States: ``up``; ``cut`` (bytes stop, sockets stay: a black hole, what a broken route looks like); ``refuse`` (closed at
once). ``delay_ms`` is added one way. Only a rehearsal has these: a deployment's regions reach each other directly.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final, NoReturn

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eisbach.bootstrap.serve import authorised, problem, serve, status_routes
from eisbach.settings import LinkProcess

__all__ = ["run"]

_CHUNK: Final = 64 * 1024
_CONNECTIONS_MAX: Final = 512
_STATES: Final = ("up", "cut", "refuse")


@dataclass
class Link:
    """One direction between two regions."""

    source: str
    target: str
    host: str
    port: int
    state: str = "up"
    delay_ms: int = 0
    bytes: int = 0
    connections: set[asyncio.StreamWriter] = field(default_factory=set)
    healed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, state: str, delay_ms: int) -> None:
        """Change the state; a cut keeps its sockets, a refusal drops them."""
        self.state, self.delay_ms = state, delay_ms
        if state == "up":
            self.healed.set()
        else:
            self.healed.clear()
        if state == "refuse":
            for writer in list(self.connections):
                writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways."""
        if self.state == "refuse" or len(self.connections) >= _CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self.connections.add(writer)
        outward = None
        try:
            await self._gate()
            back, outward = await asyncio.open_connection(self.host, self.port)
            self.connections.add(outward)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, outward))
                both.create_task(self._carry(back, writer))
        except* (OSError, _Ended):
            pass  # one side closed: the other is closed below, as a network would
        finally:
            for end in (writer, outward):
                if end is not None:
                    self.connections.discard(end)
                    end.close()

    async def _gate(self) -> None:
        if self.state == "cut":
            self.healed.clear()
            await self.healed.wait()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
        while chunk := await reader.read(_CHUNK):
            if self.delay_ms:
                await asyncio.sleep(self.delay_ms / 1000)
            await self._gate()
            writer.write(chunk)
            self.bytes += len(chunk)
            await writer.drain()
        raise _Ended


class _Ended(Exception):
    """One end closed."""


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    state: str = "up"
    delay_ms: int = 0


async def run(process: LinkProcess) -> None:
    """Serve the links and their control until cancelled."""
    links: dict[tuple[str, str], Link] = {}
    servers = []
    for source, target, listen, address in process.links:
        host, _, port = address.rpartition(":")
        link = links[source, target] = Link(source, target, host, int(port))
        at, _, number = listen.rpartition(":")
        servers.append(await asyncio.start_server(link.accept, at, int(number), backlog=256))

    def table() -> list[dict[str, object]]:
        return [
            {"from": x.source, "to": x.target, "state": x.state, "delay_ms": x.delay_ms, "bytes": x.bytes,
             "connections": len(x.connections)}
            for x in links.values()
        ]  # fmt: skip

    async def listing(request: Request) -> Response:
        if not authorised(request, process.token):
            return problem(401, "token_missing", "links need the operator's token")
        return Response(msgspec.json.encode({"links": table()}), media_type="application/json")

    async def change(request: Request) -> Response:
        if not authorised(request, process.token):
            return problem(401, "token_missing", "links need the operator's token")
        source, target = request.path_params["source"], request.path_params["target"]
        link = links.get((source, target))
        if link is None:
            return problem(404, "not_found", f"no link from {source!r} to {target!r}; there are {sorted(links)}")
        try:
            wanted = msgspec.json.decode(await request.body(), type=_Change)
        except msgspec.DecodeError as error:
            return problem(400, "invalid", f"a link's state: {error}")
        if wanted.state not in _STATES or not 0 <= wanted.delay_ms <= 10_000:
            return problem(400, "invalid", f"{wanted}: state is one of {_STATES}, delay_ms 0 to 10000")
        link.set(wanted.state, wanted.delay_ms)
        return Response(msgspec.json.encode({"links": table()}), media_type="application/json")

    app = Starlette(
        routes=[
            *status_routes(lambda: {"links": table()}, missing=lambda: None, tokens=(process.token,)),
            Route("/links", listing),
            Route("/links/{source}/{target}", change, methods=["PUT"]),
        ]
    )
    async with contextlib.AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(server)
        await serve(app, host=process.host, port=process.port)
