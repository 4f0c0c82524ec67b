"""What is asked of another region over HTTP, which may be of the version before."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from kit import opened, peer

from eisbach.bootstrap.serve import serve
from eisbach.cell import peer_http
from eisbach.cell.pace import Pace
from eisbach.cell.peer_http import HttpPeer
from eisbach.cell.pull_messages import ANSWER_BYTES_MAX
from eisbach.cell.pull_server import PullServer
from eisbach.cell.puller import PullAnswer, PullRequest
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.versions import Mark
from eisbach.ports.moves import CopyCursor

HOST = "127.0.21.78"
SLOT = "eu/de/main/2"


class Before(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``PullRequest`` of the version before ``anew`` and ``bytes_max``."""

    slots: dict[str, dict[str, Mark]]
    limit: int = 512
    wait_ms: int = 2_000
    wall_ms: int = 0
    region: str = ""
    digests: list[str] = []
    copies: dict[str, CopyCursor] = {}


@pytest.mark.parametrize("anew", [True, False])
async def test_what_the_version_before_does_not_know_is_understood_and_not_refused_by_it(
    tmp_path: Path, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    heard: list[PullRequest] = []
    bodies: list[bytes] = []
    send = HttpPeer._send

    async def answer(_self: PullServer, request: PullRequest) -> PullAnswer:
        heard.append(request)
        return PullAnswer(batches={}, moved={}, wall_ms=0)

    async def sent(self: HttpPeer, method: str, url: str, body: bytes | None, **more: object) -> bytes:
        bodies.extend([body] if body else [])  # the cell itself asks for the map meanwhile
        return await send(self, method, url, body, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(PullServer, "answer", answer)
    monkeypatch.setattr(HttpPeer, "_send", sent)
    vectors = {SLOT: {"eu-west": Mark(1, 2)}}
    asked = PullRequest(slots=vectors, limit=1, wait_ms=0, region="eu-west", anew=anew, bytes_max=5_000 * (not anew))
    async with opened(tmp_path, peers=[peer("eu-west")]) as cell:
        serving = asyncio.create_task(serve(cell.app, host=HOST, port=unused_tcp_port))
        there = HttpPeer(f"http://{HOST}:{unused_tcp_port}", token="peer")
        for _ in range(400):
            with contextlib.suppress(OSError):
                (await asyncio.open_connection(HOST, unused_tcp_port))[1].close()
                break
            await asyncio.sleep(0.01)
        await there.pull("c1", asked)
        await there.aclose()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    assert heard == [asked]
    assert msgspec.msgpack.decode(bodies[0], type=Before).slots == asked.slots


@contextlib.asynccontextmanager
async def far_away(port: int, *, pieces: int, every_s: float, then_hangs: bool = False) -> AsyncIterator[HttpPeer]:
    """A region that answers in so many pieces, one each ``every_s``."""

    serving = set[asyncio.Task[None]]()
    body = msgspec.msgpack.encode(PullAnswer(batches={}, moved={SLOT: "c" * 10_000}, wall_ms=0))
    step = len(body) // pieces + 1

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            for first in range(0, len(body), step):
                await asyncio.sleep(10 if then_hangs and first else every_s)
                writer.write(body[first : first + step])
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the asker has gone, or the test is over
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    there = HttpPeer(f"http://{HOST}:{port}", token="peer")
    async with await asyncio.start_server(answer, HOST, port):
        try:
            yield there
        finally:
            await there.aclose()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


async def test_an_answer_that_comes_slowly_is_waited_for_and_a_link_that_falls_silent_is_not(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_http, "ANSWER_S", 0.5)
    request = PullRequest(slots={SLOT: {}}, wait_ms=0)
    async with far_away(unused_tcp_port, pieces=12, every_s=0.1) as there:
        answer = await there.pull("c1", request)
    assert len(answer.moved[SLOT]) == 10_000, "after more than twice the time of silence"

    async with far_away(unused_tcp_port, pieces=12, every_s=0.1, then_hangs=True) as there:
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match="TimeoutError"):
                await there.pull("c1", request)


async def test_an_answer_that_would_never_end_is_given_up(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_http, "LONGEST_S", 0.5)
    async with far_away(unused_tcp_port, pieces=1_000, every_s=0.02) as there:
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match="TimeoutError"):
                await there.pull("c1", PullRequest(slots={SLOT: {}}, wait_ms=0))


async def test_a_link_that_turns_slow_costs_what_was_asked_for_and_not_five_minutes(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert peer_http._longest(ANSWER_BYTES_MAX) < 30
    assert peer_http._longest(Pace.FIRST) == peer_http.LONGEST_S == peer_http._longest(0)
    monkeypatch.setattr(peer_http, "PATIENCE", 0.1)
    large = PullRequest(slots={SLOT: {}}, wait_ms=0, bytes_max=ANSWER_BYTES_MAX)
    async with far_away(unused_tcp_port, pieces=12, every_s=0.1) as there:
        with pytest.raises(Unavailable, match="TimeoutError"):
            await there.pull("c1", large)
        answer = await there.pull("c1", msgspec.structs.replace(large, bytes_max=Pace.FIRST))
    assert len(answer.moved[SLOT]) == 10_000
