"""uvicorn's HTTP protocol with bounds: on the bytes of a head and of a body's chunks, and on the time of every phase.

uvicorn with httptools has none: a head may grow for ever; half a request, a trickling body and an answer that nobody
reads keep their connection for ever. The edge takes that off a cell, but a cell in a container, the stage ``single``
and the console have no edge before them. Promised besides: what cannot be read is refused after the answers that are
still due, never in place of one; fields after a chunked body (trailers) are no headers; a request for an upgrade that
has a body is refused, because the parser would drop the body, and the connection ends after one that has none.
One timer a connection looks at the time, so a bound holds to within ``look_every_s`` and no request is timed. Who
closes his half gets no further answer, as uvicorn has it. May not know: what a call does.
"""

import asyncio
import json
from asyncio import TimerHandle
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import httptools
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BOUNDS", "BoundedProtocol", "HttpBounds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpBounds:
    """Of one connection."""

    head_bytes: int = 64 * 1024
    """More than the edge passes on (32 KiB), so that the edge's own refusal comes first."""
    framing_bytes: int = 64 * 1024
    framing_per_byte: int = 8
    """Sizes, extensions and trailers of a chunked body: so many, and so many more a byte of body."""
    head_s: float = 10
    body_s: float = 20
    body_bytes_per_s: int = 500
    """A body may take ``body_s``, and longer as long as it comes at this rate ..."""
    body_silence_s: float = 60
    """... and never says nothing for so long (uploads; the edge waits as long)."""
    unread_s: float = 30
    """An answer of which nothing is taken for so long is given up."""
    look_every_s: float = 5


BOUNDS: Final = HttpBounds()
_Phase = Literal["between", "head", "body"]
_WHY: Final = {
    400: ("Bad Request", "bad_request", "This is not an HTTP request that can be read."),
    408: ("Request Timeout", "slow_request", "The request did not arrive in time."),
    431: ("Request Header Fields Too Large", "headers_too_large", "The headers are larger than this server takes."),
}
"""Status -> (title, code, detail), in the words of the edge."""


class _Refused(Exception):
    """Raised in the parser's callbacks: stop here."""


class BoundedProtocol(HttpToolsProtocol):
    """One a connection."""

    bounds: ClassVar[HttpBounds] = BOUNDS
    cycle: Any
    _phase: _Phase = "between"
    _begun = 0
    """Messages so far: with the phase, what the timer compares."""
    _head_bytes = _framing_bytes = _body_bytes = 0
    _exact = False
    """Whether a head may be over its bound although its pieces are not."""
    _refusal: int | None = None
    """Why nothing more is read, a status or 0; said when its turn comes."""
    _refusing = False
    """There is one connection too many; what it asks is not for the process's own application."""

    def refuse(self, app: ASGIApp) -> None:
        """Let ``app`` answer in the place of the process's own, and do not wait long for the question."""
        self._refusing, self.app, self.timeout_keep_alive = True, app, 0

    # --- bytes ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse, within the bounds."""
        if self._refusal is not None:
            return
        bounds, before, body_before = self.bounds, (self._begun, self._phase), self._body_bytes
        self._exact = self._head_bytes > 0 or len(data) > bounds.head_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # what follows is no HTTP any more
            self.cycle.keep_alive = False
            self._end_after_answers(0)
        except httptools.HttpParserError as error:
            self._end_after_answers(error.__context__.args[0] if isinstance(error.__context__, _Refused) else 400)
        else:
            if self._phase == "between" or before != (self._begun, self._phase):
                self._head_bytes = 1 if self._phase == "head" else 0
                self._framing_bytes = 0
            elif self._phase == "head":
                self._head_bytes += len(data)
                if self._head_bytes > bounds.head_bytes:
                    self._end_after_answers(431)
            else:
                self._framing_bytes += len(data) - (self._body_bytes - body_before)
                if self._framing_bytes > bounds.framing_bytes + bounds.framing_per_byte * self._body_bytes:
                    self._end_after_answers(400)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin()
        super().on_message_begin()

    def _begin(self) -> None:
        self._phase, self._body_bytes = "head", 0
        self._begun += 1

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._check_head()
        super().on_headers_complete()
        self._end_head()

    def _check_head(self) -> None:
        """Stop the parser at a head that is not to be answered."""
        headers = self.headers
        if self._exact and len(self.url) + sum(len(n) + len(v) for n, v in headers) > self.bounds.head_bytes:
            raise _Refused(431)
        if [name for name, _ in headers].count(b"host") != 1 and self.parser.get_http_version() == "1.1":
            raise _Refused(400)  # RFC 9112, section 3.2
        if self.parser.should_upgrade() and any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" 0"))
            for name, value in headers
        ):
            raise _Refused(400)

    def _end_head(self) -> None:
        """Fields that come from here on are trailers, which nobody reads."""
        self._phase, self.headers = "body", []

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is whole."""
        self._phase = "between"
        super().on_message_complete()

    # --- the end, in order -----------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Answered: on with the next, or with the refusal that waited."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._refusal is not None:
            self._refuse()

    def _end_after_answers(self, refusal: int) -> None:
        """Read nothing more; refuse (0: say nothing) and close when all answers that are due were given."""
        self._refusal, cycle = refusal, self.cycle
        if self._phase != "body":
            due = cycle is not None and not cycle.response_complete
        else:  # the newest request is the broken one, and is handled no further; those before it are
            due = any(waiting is cycle for waiting, _ in self.pipeline)
            self.pipeline = deque(entry for entry in self.pipeline if entry[0] is not cycle)
            if cycle.response_complete or getattr(cycle, "response_started", False):
                self._refusal = 0
            cycle.disconnected = True
            cycle.message_event.set()
        if not due and not self.transport.is_closing():
            self._refuse()

    def _refuse(self) -> None:
        if self._refusal:
            status, (title, code, detail) = self._refusal, _WHY[self._refusal]
            told = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
            body = json.dumps(told).encode()
            head = (
                f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n"
                f"eisbach-code: {code}\r\ncontent-length: {len(body)}\r\n"
                "cache-control: no-store\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

    # --- time --------------------------------------------------------------------------------------------------------

    _timer: TimerHandle | None = None
    _idle_since = 0.0
    _seen: tuple[int, _Phase] = (0, "between")
    _seen_at = _heard_at = _taken_at = 0.0
    """When the phase was first seen, and body and taken answers last."""
    _heard_bytes = _untaken_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The timer begins."""
        super().connection_made(transport)
        self._idle_since = self._taken_at = self.loop.time()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """And ends."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def resume_writing(self) -> None:
        """Some of an answer was taken."""
        self._taken_at = self.loop.time()
        super().resume_writing()

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(self.bounds.look_every_s, self._look)

    def _look(self) -> None:
        now, bounds = self.loop.time(), self.bounds
        if self._unread_s(now) >= bounds.unread_s:
            self.transport.abort()
            return
        self._look_later()
        if self._refusal is not None or self.transport.is_closing():
            return
        if self._phase == "between":
            idle = self.cycle is None or self.cycle.response_complete
            if idle and now - self._idle_since >= self.timeout_keep_alive:
                self.transport.close()
        elif self._late(now):
            self._end_after_answers(408)

    def _unread_s(self, now: float) -> float:
        """For how long nothing has been taken of what was written."""
        untaken = self.transport.get_write_buffer_size()
        still_written = not self.flow.write_paused and self.cycle is not None and not self.cycle.response_complete
        if untaken == 0 or untaken < self._untaken_bytes or still_written:
            self._taken_at = now
        self._untaken_bytes = untaken
        return now - self._taken_at

    def _late(self, now: float) -> bool:
        """Whether the rest of this head or body takes too long; while we do not read, it does not."""
        bounds, seen = self.bounds, (self._begun, self._phase)
        if seen != self._seen or self.flow.read_paused:
            self._seen, self._seen_at, self._heard_at, self._heard_bytes = seen, now, now, self._body_bytes
        if self._phase == "head":
            return now - self._seen_at >= bounds.head_s
        if self._body_bytes != self._heard_bytes:
            self._heard_at, self._heard_bytes = now, self._body_bytes
        allowed_s = bounds.body_s + self._body_bytes / bounds.body_bytes_per_s
        return now - self._seen_at >= allowed_s or now - self._heard_at >= bounds.body_silence_s
