"""uvicorn's HTTP protocol with a short way for whole small requests: parsed, handed over, answered by one write.

uvicorn checks every header of an answer with two regular expressions, writes head and body apart, and makes a
dictionary, an event and several messages a request: more than a heartbeat's own work (docs/figures.md). All else is
uvicorn's (parser, connections, pipelining, flow control, the graceful end) and ``bounded_http``'s; and what is not a
plain request of the table (HEAD, a query, an escaped path, a stream, chunks, an upgrade, a header twice, a pipelined
request) goes uvicorn's way.
May not know: what a call does.
"""

import asyncio
from typing import Final, Protocol

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from eisbach.bootstrap.bounded_http import BoundedProtocol

__all__ = ["Direct", "DirectEndpoint", "direct_protocol"]

_logger = structlog.get_logger(__name__)


class DirectEndpoint(Protocol):
    """A call that takes a whole request."""

    body_bytes_max: int

    async def direct(self, headers: dict[bytes, bytes], params: dict[str, str], body: bytes) -> tuple[bytes, bytes]:
        """(head with status line and headers but without its empty line, body)."""
        ...


class Direct(Protocol):
    """How the protocol asks for a call."""

    def __call__(self, method: str, path: str, /) -> tuple[DirectEndpoint, dict[str, str]] | None:
        """The endpoint and the path's parameters."""
        ...


class _Ignored:
    """Stands where uvicorn would wake a reader of messages; nobody reads."""

    def set(self) -> None: ...


_IGNORED: Final = _Ignored()


class _Exchange:
    """A request on the short way, in the place of uvicorn's cycle."""

    __slots__ = ("body", "disconnected", "endpoint", "headers", "keep_alive", "params", "response_complete", "task")

    message_event = _IGNORED

    def __init__(
        self, endpoint: DirectEndpoint, params: dict[str, str], headers: dict[bytes, bytes], *, keep_alive: bool
    ) -> None:
        self.endpoint, self.params, self.headers, self.keep_alive = endpoint, params, headers, keep_alive
        self.body = b""
        self.task: asyncio.Task[None]
        self.disconnected = self.response_complete = False


class _DirectProtocol(BoundedProtocol):
    """One a connection. ``direct`` is set by ``direct_protocol``."""

    direct: Direct

    def on_message_begin(self) -> None:
        self._begin()
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        if (self.cycle is None or self.cycle.response_complete) and (exchange := self._short()) is not None:
            self.cycle = exchange
            self._end_head()
            return
        self._check_head()
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)  # makes the scope that the long way needs
        self.url, self.headers, self.expect_100_continue = url, headers, expect
        self.scope["headers"] = headers
        HttpToolsProtocol.on_headers_complete(self)
        self._end_head()

    def _short(self) -> _Exchange | None:
        """None: not a plain request of the table, or one whose head the long way has to look at first."""
        url, headers, parser = self.url, dict(self.headers), self.parser
        if self._refusing or len(headers) != len(self.headers) or self._exact or b"host" not in headers:
            return None  # a name twice, a head that may be too long, or none to answer: the long way looks
        if b"transfer-encoding" in headers or self.expect_100_continue or parser.should_upgrade():
            return None
        if not url.startswith(b"/") or b"?" in url or b"%" in url or b"#" in url:
            return None
        method = parser.get_method()
        found = self.direct(method.decode("ascii"), url.decode("latin-1")) if method != b"HEAD" else None
        if found is None:
            return None
        endpoint, params = found
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > endpoint.body_bytes_max:
            return None
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        return _Exchange(endpoint, params, headers, keep_alive=keep_alive)

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, _Exchange):
            self._body_bytes += len(body)
            self.cycle.body += body  # as long as Content-Length says: the parser holds it to that
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if isinstance(self.cycle, _Exchange):
            self._phase = "between"
            self.cycle.task = task = self.loop.create_task(self._answer(self.cycle))
            self.tasks.add(task)
        else:
            super().on_message_complete()

    async def _answer(self, exchange: _Exchange) -> None:
        try:
            head, body = await exchange.endpoint.direct(exchange.headers, exchange.params, exchange.body)
            if self.flow.write_paused and not exchange.disconnected:
                await self.flow.drain()
        except BaseException as error:
            exchange.response_complete = True
            if not isinstance(error, asyncio.CancelledError):
                _logger.exception("bug", path=self.url.decode("latin-1"))
            self.transport.close()
            raise
        finally:  # not by a callback when it is done: that is a turn of the loop of its own
            self.tasks.discard(exchange.task)
        if exchange.disconnected:
            return
        end = b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((head, end, body)))
        exchange.response_complete = True
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()


def direct_protocol(direct: Direct) -> type[BoundedProtocol]:
    """The protocol class for ``uvicorn.Config(http=...)``."""
    return type("DirectProtocol", (_DirectProtocol,), {"direct": staticmethod(direct)})
