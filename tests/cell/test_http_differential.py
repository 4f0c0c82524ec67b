"""The same bytes to the server's short way and to its long way: the same answers, whatever the bytes are.

Both protocols are driven over a transport in memory, on one cell. No difference is known.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from kit import opened, signed_in
from uvicorn.server import ServerState

from eisbach.bootstrap.bounded_http import BoundedProtocol
from eisbach.bootstrap.cell import OpenCell
from eisbach.bootstrap.direct_http import direct_protocol

BODY: Final = b'{"pos_s":12,"dur_s":100}'
PATH: Final = "/v1/me/progress/tears"


class Wire(asyncio.Transport):
    """A connection's far end: keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: Any) -> None:
        assert not self.closed, "something was written after the end"
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Served(NamedTuple):
    runner: asyncio.Runner
    cell: OpenCell
    headers: tuple[str, ...]
    short: type[BoundedProtocol]

    def told(self, protocol: type[BoundedProtocol], pieces: Sequence[bytes]) -> tuple[list[tuple[int, str]], bool]:
        """(status and problem code of each answer, whether the connection was ended)."""
        return self.runner.run(told(self.cell, protocol, pieces))


async def told(
    cell: OpenCell, protocol: type[BoundedProtocol], pieces: Sequence[bytes]
) -> tuple[list[tuple[int, str]], bool]:
    config = uvicorn.Config(cell.app, http=protocol, ws="none", lifespan="off", access_log=False, log_level="critical")
    config.load()
    one, wire = protocol(config, ServerState(), {}, asyncio.get_running_loop()), Wire()
    one.connection_made(wire)
    for piece in pieces:
        if not wire.closed:
            one.data_received(piece)
            await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while not wire.closed and (one.pipeline or not (one.cycle is None or one.cycle.response_complete)):
            if one._phase == "body" and not one.pipeline:
                break  # the rest of its body never comes
            await asyncio.sleep(0.0005)
    for _ in range(30):  # who refuses without the body has done so by now
        await asyncio.sleep(0)
    closed = wire.closed
    wire.closed = True
    one.connection_lost(None)
    await asyncio.gather(*one.tasks, return_exceptions=True)
    return list(answers(wire.written)), closed


def answers(raw: bytes) -> Iterator[tuple[int, str]]:
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        length = int(found[1]) if (found := re.search(rb"(?i)\r\ncontent-length: (\d+)", head)) else 0
        code = re.search(rb'"code":"(\w+)"', rest[:length])
        assert head.startswith(b"HTTP/1.1 "), f"no head of an answer: {raw[:80]!r}"
        yield int(head.split()[1]), code[1].decode() if code else ""
        raw = rest[length:]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        opening = opened(tmp_path_factory.mktemp("cell"))
        cell = runner.run(opening.__aenter__())
        stack.callback(lambda: runner.run(opening.__aexit__(None, None, None)))
        viewer = runner.run(signed_in(cell))
        headers = tuple(f"{name}: {value}" for name, value in viewer.headers.items())
        yield Served(runner, cell, headers, direct_protocol(cell.app.direct))


TARGETS = (
    PATH, "/v1/me/progress", "/v1/me", "/v1/de/titles/tears", f"http://x{PATH}", f"{PATH}?a=1", f"{PATH}#a", f"/{PATH}",
    "/v1/me/../me/progress/tears", "/v1/me/progress/%2e%2e", "/v1/me/progress/t%65ars", "/v1/me/progress/a%2Fb",
    "/v1/me/progress/%zz", "/v1/me/progress/\xe9", '/v1/me/progress/"{}\\', f"{PATH}/", f"{PATH};a=b", "*", "x:1",
    "http://x", "/v1/auth/anonymous", "/healthz", "//", "/",
)  # fmt: skip
METHODS = ("PUT", "PUT", "GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "put")
EXTRA = (
    "Content-Length: 3", "Content-Length: 0", "Content-Length: -1", "Content-Length: +24", "Content-Length: 24, 24",
    "Content-Length: 99999999", "Content-Length:\r\n 24", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity", "Transfer-Encoding : chunked", "Authorization: Bearer x", "Eisbach-Slot: eu/de/main/1",
    "Idempotency-Key: a", "Idempotency-Key: b b", "Request-Intent: prefetch", "Eisbach-Position: nonsense",
    "Expect: 100-continue", "Expect: 200-ok", "Connection: close", "Connection: keep-alive",
    "Connection: Upgrade\r\nUpgrade: h2c", "X: a\r\n b", "X: a\nY: b", "X: a\0b", ": a", "colonless", "X: \xe9", "Host: y",
)  # fmt: skip
FRAMES = (
    "length", "length", "none", "%x\r\n%s\r\n0\r\n\r\n", "%x;a=b\r\n%s\r\n0\r\n\r\n", "%x;a\n%s\r\n0\r\n\r\n", "0x%x\r\n%s\r\n0\r\n\r\n",
    "-%x\r\n%s\r\n0\r\n\r\n", "ffffffffffffffff%x\r\n%s\r\n0\r\n\r\n", "%x\r\n%sxx0\r\n\r\n", "%x\r\n%s\r\n0\r\nEisbach-Slot: eu/de/main/9\r\n\r\n",
)  # fmt: skip
DUE: Final = "{headers}"
"""Where the viewer's own headers stand."""


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    frame, version = (
        draw(st.sampled_from(FRAMES)),
        draw(st.sampled_from(("1.1", "1.1", "1.1", "1.0", "0.9", "2.0", "3"))),
    )
    body = draw(st.sampled_from((BODY, BODY, b"", b"{", b"[1]", b"x" * 70_000)))
    lines = ["Host: x", *([DUE] if draw(st.booleans()) else []), *draw(st.lists(st.sampled_from(EXTRA), max_size=2))]
    if frame == "length":
        lines.append(f"Content-Length: {len(body)}")
    elif frame != "none":
        lines.append("Transfer-Encoding: chunked")
        body = (frame % (len(body), body.decode())).encode()
    lines = draw(st.permutations(lines))
    first = f"{draw(st.sampled_from(METHODS))} {draw(st.sampled_from(TARGETS))} HTTP/{version}"
    return "\r\n".join([first, *lines]).encode("latin-1") + b"\r\n\r\n" + body


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    raw = b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    if draw(st.booleans()):  # one byte of it is another
        at = draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + bytes([draw(st.integers(0, 255))]) + raw[at + draw(st.integers(0, 1)) :]
    cuts = sorted(draw(st.lists(st.integers(0, min(len(raw), 600)), max_size=4)))
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a != b]


def plain(*lines: str, method: str = "PUT", body: bytes = BODY) -> bytes:
    return "\r\n".join([f"{method} {PATH} HTTP/1.1", "Host: x", DUE, *lines]).encode() + b"\r\n\r\n" + body


def same(served: Served, pieces: Sequence[bytes]) -> None:
    own = "\r\n".join(served.headers).encode()
    sent = [piece.replace(DUE.encode(), own) for piece in pieces]

    assert served.told(served.short, sent) == served.told(BoundedProtocol, sent)
    assert served.cell.gate.in_work == 0
    assert served.cell.metrics.bugs == 0


@pytest.mark.timeout(900)  # the profile "many" has 5,000
@given(pieces=streams())
def test_both_ways_give_the_same_answers_to_the_same_bytes(served: Served, pieces: list[bytes]) -> None:
    same(served, pieces)


def test_both_ways_answer_each_oddity_alone_the_same(served: Served) -> None:
    """Every one of the lists above in a request that is good otherwise; chance seldom makes those."""
    length = f"Content-Length: {len(BODY)}"
    for target in TARGETS:
        same(served, [plain(length).replace(PATH.encode(), target.encode("latin-1"), 1)])
    for method in METHODS:
        same(served, [plain(length, method=method)])
    for line in EXTRA:
        same(served, [plain(length, line).replace(b"\xc3", b"")])
        same(served, [plain(line)])
    for frame in FRAMES[3:]:
        same(served, [plain("Transfer-Encoding: chunked", body=(frame % (len(BODY), BODY.decode())).encode())])
    same(served, [plain(length, "Connection: close") + plain(length)])
    same(served, [plain(length, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")])
    large = b"x" * 70_000
    same(served, [plain("Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large))])


def sent_by(served: Served, *requests: bytes) -> list[bytes]:
    return [request.replace(DUE.encode(), "\r\n".join(served.headers).encode()) for request in requests]


@pytest.fixture(params=["short", "long"])
def way(request: pytest.FixtureRequest, served: Served) -> type[BoundedProtocol]:
    return served.short if request.param == "short" else BoundedProtocol


def test_fields_after_the_body_are_no_headers(served: Served, way: type[BoundedProtocol]) -> None:
    chunks = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    anonymous = plain("Transfer-Encoding: chunked", body=chunks).replace(b"{headers}\r\n", b"")
    trailer = f"{DUE}\r\n\r\n".encode()

    assert served.told(way, [b"".join(sent_by(served, anonymous, trailer))]) == ([(401, "token_missing")], False)


def test_what_cannot_be_read_is_refused_after_the_answers_that_are_due(
    served: Served, way: type[BoundedProtocol]
) -> None:
    written = plain(f"Content-Length: {len(BODY)}")
    sent = sent_by(served, written + written + b"garbage\0\r\n\r\n" + written)

    assert served.told(way, sent) == ([(204, ""), (204, ""), (400, "")], True)


@pytest.mark.parametrize(
    "line", ["Authorization: Bearer x", "Eisbach-Slot: eu/de/main/1", "Idempotency-Key: a\r\nIdempotency-Key: b"]
)
def test_a_header_that_decides_is_refused_when_it_comes_twice(
    served: Served, way: type[BoundedProtocol], line: str
) -> None:
    sent = sent_by(served, plain(f"Content-Length: {len(BODY)}", line))

    assert served.told(way, sent) == ([(400, "invalid")], False)


def test_an_upgrade_with_a_body_is_refused_and_one_without_ends_the_connection(
    served: Served, way: type[BoundedProtocol]
) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: h2c"

    assert served.told(way, sent_by(served, plain(upgrade, f"Content-Length: {len(BODY)}"))) == ([(400, "")], True)
    assert served.told(way, sent_by(served, plain(upgrade, method="GET", body=b""))) == ([(200, "")], True)


def test_headers_without_end_and_framing_without_end_are_refused(served: Served, way: type[BoundedProtocol]) -> None:
    endless = sent_by(served, plain("X: ", body=b"")[:-4])
    assert served.told(way, [*endless, *[b"a" * 30_000] * 4]) == ([(431, "")], True)

    chunked = sent_by(served, plain("Transfer-Encoding: chunked", body=b"1;"))
    assert served.told(way, [*chunked, *[b"a" * 30_000] * 4]) == ([(400, "")], True)


def test_who_sends_a_body_slowly_counts_as_no_work(served: Served) -> None:
    seen: list[int] = []

    async def receive() -> dict[str, Any]:
        seen.append(served.cell.gate.in_work)
        return {"type": "http.request", "body": BODY if len(seen) == 2 else b"", "more_body": len(seen) < 3}

    async def send(message: Any) -> None:
        seen.append(message.get("status", 0))

    headers = [tuple(part.encode() for part in line.split(": ", 1)) for line in served.headers]
    scope = {
        "type": "http",
        "method": "PUT",
        "path": PATH,
        "query_string": b"",
        "headers": [(n.lower(), v) for n, v in headers],
    }
    served.runner.run(served.cell.app(scope, receive, send))  # type: ignore[arg-type]

    assert seen[:4] == [0, 0, 0, 204], "three pieces waited for, and the answer"
