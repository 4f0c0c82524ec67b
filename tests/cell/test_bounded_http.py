"""Time limits of a connection, with a clock turned by hand: every phase ends, and none is cut that goes on."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from eisbach.bootstrap.bounded_http import BOUNDS, BoundedProtocol
from eisbach.testing.manual_clock import settle

HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\n"


class Clock:
    """The loop's time and timers, by hand; everything else is the running loop's."""

    def __init__(self) -> None:
        self.now, self.due = 0.0, list[tuple[float, Callable[[], None]]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        entry = (self.now + seconds, call)
        self.due.append(entry)
        return type("Handle", (), {"cancel": lambda _: self.due.remove(entry) if entry in self.due else None})()


class Socket(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed, self.aborted, self.untaken = b"", False, False, 0

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.untaken

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class One:
    """A connection to an application that answers what it reads."""

    def __init__(self) -> None:
        self.clock, self.socket, self.hold = Clock(), Socket(), asyncio.Event()
        self.hold.set()
        config = uvicorn.Config(
            self.answer, ws="none", lifespan="off", log_level="critical", interface="asgi3", timeout_keep_alive=75
        )
        config.load()
        self.protocol = BoundedProtocol(config, ServerState(), {}, self.clock)  # type: ignore[arg-type]
        self.protocol.connection_made(self.socket)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        await self.hold.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def passes(self, seconds: float, *, every: Callable[[], None] = lambda: None) -> float:
        """Let time pass until it is over or the connection is; how long it took. ``every`` second, something happens."""
        start, end = self.clock.now, self.clock.now + seconds
        while self.clock.now < end and not self.socket.closed:
            self.clock.now += 1
            every()
            for entry in [e for e in self.clock.due if e[0] <= self.clock.now]:
                self.clock.due.remove(entry)
                entry[1]()
            await settle()
        return self.clock.now - start

    async def gets(self, data: bytes) -> None:
        self.protocol.data_received(data)
        await settle()


@pytest.fixture
async def one() -> AsyncIterator[One]:
    one = One()
    yield one
    one.hold.set()
    one.protocol.connection_lost(None)
    assert not one.clock.due, "the timer ends with the connection"
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*one.protocol.tasks)


SLACK = BOUNDS.look_every_s * 2


async def test_who_sends_nothing_keeps_a_connection_as_long_as_an_idle_one(one: One) -> None:
    assert 75 <= await one.passes(200) <= 75 + SLACK
    assert one.socket.written == b"", "nobody asked"


async def test_half_a_head_is_refused(one: One) -> None:
    await one.gets(HEAD)
    took = await one.passes(200, every=lambda: one.protocol.data_received(b"X: a\r\n"))

    assert BOUNDS.head_s <= took <= BOUNDS.head_s + SLACK
    assert one.socket.written.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_trickles_is_refused_and_one_that_comes_is_not(one: One) -> None:
    await one.gets(HEAD + b"Content-Length: 1000000\r\n\r\n")
    assert await one.passes(300, every=lambda: one.protocol.data_received(b"a" * 600)) == 300

    took = await one.passes(3000, every=lambda: one.protocol.data_received(b"a"))
    assert took <= BOUNDS.body_s + 300 * 600 / BOUNDS.body_bytes_per_s, "what came fast pays for what is slow"
    assert one.socket.written.startswith(b"HTTP/1.1 408 ")
    assert not one.protocol.tasks, "nobody waits for the rest"


async def test_a_body_that_stops_is_refused_however_fast_it_was(one: One) -> None:
    await one.gets(HEAD + b"Content-Length: 90000000\r\n\r\n")
    await one.gets(b"a" * 1_000_000)

    assert BOUNDS.body_silence_s <= await one.passes(3000) <= BOUNDS.body_silence_s + SLACK


async def test_a_body_that_we_do_not_read_is_not_slow(one: One) -> None:
    await one.gets(HEAD + b"Content-Length: 90000000\r\n\r\n")
    one.protocol.flow.pause_reading()

    assert await one.passes(3000) == 3000


async def test_a_long_answer_is_nobodys_fault(one: One) -> None:
    one.hold.clear()
    await one.gets(HEAD + b"Content-Length: 0\r\n\r\n")
    assert await one.passes(3000) == 3000

    one.hold.set()
    await settle()
    assert one.socket.written.startswith(b"HTTP/1.1 200 ")
    assert 75 <= await one.passes(3000) <= 75 + SLACK, "idle since the answer"


async def test_half_a_head_behind_an_answer_that_is_due_is_refused_after_it(one: One) -> None:
    one.hold.clear()
    await one.gets(HEAD + b"Content-Length: 0\r\n\r\n" + HEAD)
    await one.passes(100)
    assert one.socket.written == b""

    one.hold.set()
    await settle()
    first, _, second = one.socket.written.partition(b"\r\n\r\n")
    assert (first.split()[1], second.split()[1], one.socket.closed) == (b"200", b"408", True)


async def test_an_answer_that_nobody_reads_is_given_up_and_one_read_slowly_is_not(one: One) -> None:
    one.hold.clear()
    await one.gets(HEAD + b"Content-Length: 0\r\n\r\n")
    one.socket.untaken = 70_000
    one.protocol.pause_writing()

    def slowly() -> None:
        one.socket.untaken -= 100

    assert await one.passes(60, every=slowly) == 60
    assert await one.passes(300) <= BOUNDS.unread_s + SLACK
    assert one.socket.aborted, "closing would wait for the reader"


@pytest.mark.parametrize(
    ("head", "answered"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /x HTTP/1.0\r\n\r\n", 200),
    ],
)
async def test_a_request_of_http_1_1_names_one_host(head: bytes, answered: int) -> None:
    one = One()
    one.protocol.data_received(head)
    await settle()

    assert one.socket.written.startswith(b"HTTP/1.1 %d " % answered)


async def test_a_refusal_is_a_problem_like_those_of_the_edge() -> None:
    one = One()
    one.protocol.data_received(b"GARBAGE\r\n\r\n")
    await settle()
    head, _, body = one.socket.written.partition(b"\r\n\r\n")

    assert b"content-type: application/problem+json" in head
    assert b"eisbach-code: bad_request" in head
    assert json.loads(body) == {
        "type": "about:blank", "title": "Bad Request", "status": 400, "code": "bad_request",
        "detail": "This is not an HTTP request that can be read.",
    }  # fmt: skip


async def test_who_is_one_too_many_and_asks_nothing_is_let_go_at_the_first_look(one: One) -> None:
    one.protocol.refuse(one.answer)

    assert await one.passes(100) <= BOUNDS.look_every_s
