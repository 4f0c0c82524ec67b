"""The server's short way, on a socket: what is sent in any way that HTTP allows is answered as the long way answers it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from kit import opened, signed_in, until

from eisbach.bootstrap.cell import OpenCell
from eisbach.bootstrap.serve import serve
from eisbach.cell.app import CellApp
from eisbach.testing.asgi_client import AsgiClient

HOST = "127.0.21.77"


class Served(NamedTuple):
    cell: OpenCell
    viewer: AsgiClient
    port: int


@pytest.fixture
async def served(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Served]:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        serving = asyncio.create_task(serve(cell.app, host=HOST, port=unused_tcp_port))
        for _ in range(400):
            with contextlib.suppress(OSError):
                (await asyncio.open_connection(HOST, unused_tcp_port))[1].close()
                break
            await asyncio.sleep(0.01)
        yield Served(cell, viewer, unused_tcp_port)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def put(served: Served, body: bytes, *more: str, version: str = "1.1", path: str = "/v1/me/progress/tears") -> bytes:
    headers = [f"{name}: {value}" for name, value in served.viewer.headers.items()]
    if not any(line.lower().startswith("transfer-encoding") for line in more):
        headers.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([f"PUT {path} HTTP/{version}", "Host: x", *headers, *more])
    return head.encode() + b"\r\n\r\n" + body


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            assert head[0].startswith("HTTP/1.1 "), head[0]
            headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            return int(head[0].split()[1]), headers, body


@contextlib.asynccontextmanager
async def connected(served: Served) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(HOST, served.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def connected_soon(served: Served) -> AsyncIterator[Connection]:
    """To a server that is just starting."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                async with connected(served) as one:
                    yield one
                return
            await asyncio.sleep(0.01)


BODY = b'{"pos_s":12,"dur_s":100}'


async def test_a_request_in_single_bytes_is_one_request(served: Served) -> None:
    async with connected(served) as one:
        for byte in put(served, BODY):
            one.writer.write(bytes([byte]))
            await one.writer.drain()

        status, headers, _ = await one.answer()

    assert (status, headers["eisbach-cell"], headers["eisbach-durability"]) == (204, "c1", "local")
    assert "eisbach-position" in headers


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    async with connected(served) as one:
        wrong = put(served, b"{")
        one.writer.write(put(served, BODY) + wrong + put(served, BODY, "Eisbach-Request-Id: third"))
        answers = [await one.answer() for _ in range(3)]

    assert [status for status, _, _ in answers] == [204, 400, 204]
    assert answers[2][1]["eisbach-request-id"] == "third"


@pytest.mark.parametrize("more", [("Transfer-Encoding: chunked",), ("Expect: 100-continue",)])
async def test_other_ways_to_send_a_body_go_the_long_way(served: Served, more: tuple[str, ...]) -> None:
    body = BODY if "Expect" in more[0] else b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    async with connected(served) as one:
        one.writer.write(put(served, body, *more))
        status, _, _ = await one.answer()
        if status == 100:
            status, _, _ = await one.answer()

    assert status == 204


async def test_a_query_and_an_escaped_path_are_understood(served: Served) -> None:
    async with connected(served) as one:
        for path in ("/v1/me/progress/tears?x=1", "/v1/me/progress/t%65ars"):
            one.writer.write(put(served, BODY, path=path))
            assert (await one.answer())[0] == 204
        one.writer.write(put(served, BODY, path="/v1/me/progress/%2e%2e"))
        assert (await one.answer())[0] == 400


async def test_a_body_over_the_bound_is_refused_before_it_is_read(served: Served) -> None:
    async with connected(served) as one:
        one.writer.write(put(served, b"", "Content-Length: 99999999").replace(b"Content-Length: 0\r\n", b""))
        status, _, body = await one.answer()

    assert (status, b"body_too_large" in body) == (413, True)


@pytest.mark.parametrize(("version", "more"), [("1.0", ()), ("1.1", ("Connection: close",))])
async def test_who_wants_no_further_answer_is_hung_up_on(served: Served, version: str, more: tuple[str, ...]) -> None:
    async with connected(served) as one:
        one.writer.write(put(served, BODY, *more, version=version))
        status, headers, _ = await one.answer()
        async with asyncio.timeout(5):
            rest = await one.reader.read()

    assert (status, headers["connection"], rest) == (204, "close", b"")


async def test_a_head_above_the_bound_and_one_without_a_host_are_refused_on_the_short_way_too(served: Served) -> None:
    """Nothing else of them is out of the ordinary."""
    found = []
    for whole in (put(served, BODY, f"X-Long: {'x' * 66_000}"), put(served, BODY).replace(b"Host: x\r\n", b"")):
        async with connected(served) as one:
            one.writer.write(whole)
            found.append((await one.answer())[0])

    assert found == [431, 400]


async def test_another_method_and_an_unknown_path_are_problems(served: Served) -> None:
    async with connected(served) as one:
        one.writer.write(put(served, b"").replace(b"PUT", b"PATCH", 1))
        status, headers, _ = await one.answer()
        assert (status, headers["allow"], headers["eisbach-code"]) == (405, "GET, HEAD, PUT", "method")
        one.writer.write(put(served, b"", path="/v1/nothing/of/this"))
        assert (await one.answer())[0] == 404


async def test_head_answers_without_a_body(served: Served) -> None:
    async with connected(served) as one:
        one.writer.write(
            b"HEAD /v1/de/titles/tears HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/de/titles/tears HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        async with asyncio.timeout(10):
            head = await one.reader.readuntil(b"\r\n\r\n")
        _, headers, body = await one.answer()

    assert head.lower().count(b"content-length: %d" % len(body)) == 1, "and what follows is the next answer's head"
    assert int(headers["content-length"]) == len(body) > 0


async def test_who_hangs_up_before_the_answer_hurts_nobody(served: Served) -> None:
    for _ in range(20):
        async with connected(served) as one:
            one.writer.write(put(served, BODY))
            await one.writer.drain()
            one.writer.transport.abort()
    await until(lambda: served.cell.gate.in_work == 0)  # a slow disk under twenty at once may have the next one shed
    async with connected(served) as one:
        one.writer.write(put(served, BODY))
        assert (await one.answer())[0] == 204
    assert served.cell.metrics.bugs == 0
    assert served.cell.gate.in_work == 0


async def test_a_line_end_cannot_be_smuggled_into_an_answer(served: Served) -> None:
    async with connected(served) as one:
        one.writer.write(put(served, BODY, "Eisbach-Request-Id: a\rb"))
        answer = await one.reader.readuntil(b"\r\n\r\n")

    assert b"a\rb" not in answer


async def test_a_request_that_is_half_in_when_the_server_ends_is_not_carried_out_after_it(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    async with opened(tmp_path) as cell:
        served = Served(cell, await signed_in(cell), unused_tcp_port)
        serving = asyncio.create_task(serve(cell.app, host=HOST, port=unused_tcp_port, grace_s=0))
        async with connected_soon(served) as one:
            whole = put(served, BODY)
            one.writer.write(whole)
            assert (await one.answer())[0] == 204
            one.writer.write(whole[:-1])
            await until(lambda: cell.gate.in_work == 0)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            with contextlib.suppress(ConnectionError):
                one.writer.write(whole[-1:])
                assert await one.reader.read() == b"", "and the connection is gone"


async def test_requests_that_are_in_work_when_the_server_ends_are_answered_once(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    async with opened(tmp_path) as cell:
        served, goes_on, begun = Served(cell, await signed_in(cell), unused_tcp_port), asyncio.Event(), asyncio.Event()
        assert isinstance(cell.app, CellApp)
        found = cell.app.direct("PUT", "/v1/me/progress/tears")
        assert found is not None
        direct = found[0].direct

        async def held(headers: dict[bytes, bytes], params: dict[str, str], body: bytes) -> tuple[bytes, bytes]:
            answer = await direct(headers, params, body)
            begun.set()
            await goes_on.wait()
            return answer

        found[0].direct = held  # type: ignore[method-assign]
        serving = asyncio.create_task(serve(cell.app, host=HOST, port=unused_tcp_port))
        async with connected_soon(served) as one:
            one.writer.write(put(served, BODY) + put(served, BODY))
            await begun.wait()
            serving.cancel()
            async with asyncio.timeout(10):
                with contextlib.suppress(OSError):  # until it takes no more connections
                    while True:
                        async with connected(served):
                            await asyncio.sleep(0.01)
            goes_on.set()
            answers = [await one.answer() for _ in range(2)]
            rest = await one.reader.read()

        await asyncio.gather(serving, return_exceptions=True)
    assert [(status, headers.get("connection")) for status, headers, _ in answers] == [(204, None), (204, "close")]
    assert rest == b""
