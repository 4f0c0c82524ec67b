"""``eisbach run link``: TCP proxies that stand for the wide-area links between regions, so that they can be cut.

States: ``up``; ``cut`` (bytes stop, sockets stay: a black hole, what a broken route looks like; after ``up`` the bytes
flow on, as TCP would); ``refuse`` (connections are reset, new ones at once). ``delay_ms`` is added one way, without
narrowing the link; ``bytes_per_s`` narrows it, each way for itself, for all its connections together (0: not at all).
Buffers are bounded: a slow reader slows its writer. Only a rehearsal has links: a deployment's regions reach each other
directly.
"""

import asyncio
import contextlib
from typing import Final, NoReturn

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eisbach.bootstrap.serve import authorised, problem, serve, status_routes
from eisbach.engines.embedded.confinement import die_with_parent
from eisbach.settings import LinkProcess

__all__ = ["Link", "run"]

_CHUNK: Final = 64 * 1024
_CHUNKS_IN_FLIGHT_MAX: Final = 32
"""Per connection and direction: 2 MiB, enough for 80 MB/s at 25 ms."""
_CONNECTIONS_MAX: Final = 512
_PIECES_PER_S: Final = 20
"""On a narrow link, of each connection: silence is not what it looks like."""
_STATES: Final = ("up", "cut", "refuse")


class _Lane:
    """One way of a link, for all its connections."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def carry(self, size: int, bytes_per_s: int) -> None:
        """Return when so many bytes are across, after those that came before."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size / bytes_per_s
        await asyncio.sleep(self._free_at - now)


class Link:
    """One direction between two regions."""

    def __init__(self, source: str, target: str, *, host: str, port: int) -> None:
        """``host``, ``port``: where connections lead."""
        self.source, self.target = source, target
        self._host, self._port = host, port
        self.state, self.delay_ms, self.bytes_per_s, self.bytes = "up", 0, 0, 0
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._there, self._back = _Lane(), _Lane()

    def set(self, state: str, delay_ms: int, bytes_per_s: int = 0) -> None:
        """Change the state; a cut keeps the connections, a refusal resets them."""
        self.state, self.delay_ms, self.bytes_per_s = state, delay_ms, bytes_per_s
        if state == "up":
            self._open.set()
        else:
            self._open.clear()
        if state == "refuse":
            for connection in self._connections:
                connection.cancel()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways until one end closes."""
        task = asyncio.current_task()
        assert task is not None, "a connection is served in a task of its own"
        if self.state == "refuse" or len(self._connections) >= _CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._connections.add(task)
        outward: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            back, outward = await asyncio.open_connection(self._host, self._port)
            async with asyncio.TaskGroup() as both:
                for source, sink, lane in ((reader, outward, self._there), (back, writer, self._back)):
                    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_IN_FLIGHT_MAX)
                    both.create_task(self._take(source, queue))
                    both.create_task(self._give(queue, sink, lane))
        except* (OSError, _Ended):
            pass  # an end closed or was never there: the other is closed below, as a network would
        except* asyncio.CancelledError:
            if self.state != "refuse":
                raise
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            for end in (writer, outward):
                if end is not None:
                    end.close()

    async def _take(self, source: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        now = asyncio.get_running_loop().time
        chunk = b"-"
        while chunk:
            chunk = await source.read(_CHUNK)
            await queue.put((now() + self.delay_ms / 1000, chunk))

    async def _give(
        self, queue: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter, lane: _Lane
    ) -> NoReturn:
        now = asyncio.get_running_loop().time
        while True:
            due, chunk = await queue.get()
            if due > now():
                await asyncio.sleep(due - now())
            await self._open.wait()
            if not chunk:
                raise _Ended
            while chunk:
                rate = self.bytes_per_s
                piece = chunk[: rate // _PIECES_PER_S or 1] if rate else chunk
                chunk = chunk[len(piece) :]
                if rate:
                    await lane.carry(len(piece), rate)
                    await self._open.wait()
                sink.write(piece)
                self.bytes += len(piece)
                await sink.drain()

    def row(self) -> dict[str, object]:
        """For ``GET /links``."""
        return {
            "from": self.source, "to": self.target, "state": self.state, "delay_ms": self.delay_ms,
            "bytes_per_s": self.bytes_per_s, "bytes": self.bytes, "connections": len(self._connections),
        }  # fmt: skip


class _Ended(Exception):
    """One end closed."""


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    state: str = "up"
    delay_ms: int = 0
    bytes_per_s: int = 0


async def run(process: LinkProcess) -> None:
    """Serve the links and their control until cancelled."""
    die_with_parent()
    links: dict[tuple[str, str], Link] = {}
    servers = []
    for source, target, listen, address in process.links:
        host, _, port = address.rpartition(":")
        link = links[source, target] = Link(source, target, host=host, port=int(port))
        at, _, number = listen.rpartition(":")
        servers.append(await asyncio.start_server(link.accept, at, int(number), backlog=256))

    def table() -> list[dict[str, object]]:
        return [link.row() for link in links.values()]

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
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return problem(400, "invalid", f"a link's state: {error}")
        if wanted.state not in _STATES or not 0 <= wanted.delay_ms <= 10_000 or wanted.bytes_per_s < 0:
            return problem(
                400, "invalid", f"{wanted}: state is one of {_STATES}, delay_ms 0 to 10000, bytes_per_s 0 up"
            )
        link.set(wanted.state, wanted.delay_ms, wanted.bytes_per_s)
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
