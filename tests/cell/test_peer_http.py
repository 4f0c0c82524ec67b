"""What is asked of another region over HTTP, which may be of the version before."""

import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest
from kit import opened, peer

from eisbach.bootstrap.serve import serve
from eisbach.cell.peer_http import HttpPeer
from eisbach.cell.pull_server import PullServer
from eisbach.cell.puller import PullAnswer, PullRequest
from eisbach.kernel.versions import Mark
from eisbach.ports.moves import CopyCursor

HOST = "127.0.21.78"
SLOT = "eu/de/main/2"


class Before(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``PullRequest`` of the version before ``anew``."""

    slots: dict[str, dict[str, Mark]]
    limit: int = 512
    wait_ms: int = 2_000
    wall_ms: int = 0
    region: str = ""
    digests: list[str] = []
    copies: dict[str, CopyCursor] = {}


@pytest.mark.parametrize("anew", [True, False])
async def test_a_question_that_begins_anew_is_understood_as_such_and_not_refused_by_the_version_before(
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
    asked = PullRequest(slots={SLOT: {"eu-west": Mark(1, 2)}}, limit=1, wait_ms=0, region="eu-west", anew=anew)
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
