"""Two composed cells that are each other's twin over real HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from kit import GROUPS, OWNERS, REGIONS, beat, device_of, make_secrets, opened, peer, play, signed_in

from eisbach.bootstrap.cell import OpenCell
from eisbach.bootstrap.serve import serve
from eisbach.kernel.slotmap import CellEntry, SlotMap, encode_signed
from eisbach.testing.asgi_client import AsgiClient

pytestmark = pytest.mark.processes
HOSTS = {"eu-central": "127.0.21.1", "eu-west": "127.0.21.2"}
PORT = 8121


def door(app: Callable[..., Awaitable[None]], region: str) -> Callable[..., Awaitable[None]]:
    """The cell with its region's map before it, as the peer door shows them."""
    groups = {
        g: [next(c for c, o in OWNERS.items() if n in o.get(g, [])) for n in range(count)]
        for g, count in GROUPS.items()
    }
    slot_map = SlotMap(
        region=region,
        version=1,
        issued_ms=0,
        cells={c: CellEntry(address="x:1") for c in OWNERS},
        groups=groups,
        preferred={},
    )
    body = encode_signed(slot_map, b"")

    async def answer(scope: dict[str, str], receive: object, send: Callable[..., Awaitable[None]]) -> None:
        if scope["path"] != "/peer/map":
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return answer


@contextlib.asynccontextmanager
async def regions(folder: Path, *, up: tuple[str, ...] = REGIONS) -> AsyncIterator[dict[str, OpenCell]]:
    keys = make_secrets()
    async with contextlib.AsyncExitStack() as stack:
        cells = {}
        for region in up:
            other = REGIONS[1 - REGIONS.index(region)]
            peers = [peer(other, f"http://{HOSTS[other]}:{PORT}")]
            cells[region] = await stack.enter_async_context(opened(folder, region=region, peers=peers, keys=keys))
            task = asyncio.create_task(serve(door(cells[region].app, region), host=HOSTS[region], port=PORT))
            stack.push_async_callback(ended, task, cells[region])
        yield cells


async def ended(task: "asyncio.Task[None]", cell: OpenCell) -> None:
    cell.stop()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def caught_up(cell: OpenCell) -> bool:
    found = cell.status()["replication"]
    return bool(found) and found[0]["answers"] > 0 and found[0]["ops_behind"] == 0


async def test_what_is_written_in_one_region_is_read_in_the_other_at_once_or_the_caller_is_sent_back(
    tmp_path: Path,
) -> None:
    async with regions(tmp_path) as cells:
        viewer = await signed_in(cells["eu-central"])
        async with asyncio.timeout(20):
            while not all(map(caught_up, cells.values())):
                await asyncio.sleep(0.02)
        there = AsgiClient(cells["eu-west"].app, viewer.headers)
        seen = []
        for n in range(1, 11):
            put = await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 10 + n, "dur_s": 100})
            position = {"Eisbach-Position": put.headers["eisbach-position"]}
            rails = await there.send("GET", "/v1/me/rails", headers=position)
            if rails.status == 421:
                assert rails.headers["eisbach-owner"] == "eu-central"
                seen.append(10 + n)
            else:
                seen.append(rails.json()["resume"][0]["pos_s"])

    assert seen == list(range(11, 21))


async def test_a_session_begun_in_one_region_goes_on_in_the_other_that_never_heard_of_it(tmp_path: Path) -> None:
    keys = make_secrets()
    async with opened(tmp_path, keys=keys) as here, opened(tmp_path, region="eu-west", keys=keys) as there:
        viewer = await signed_in(here)
        session = (await play(viewer, "k1")).json()
        moved = AsgiClient(there.app, viewer.headers)

        answers = [await beat(moved, session, 7), await beat(moved, session, 8, state="paused", pos_s=55)]
        rails = (await moved.send("GET", "/v1/me/rails")).json()
        renewed = await moved.send("POST", session["token"]["renew_url"], {"session": session["session"]})

    assert [a["action"] for a in answers] == ["continue", "continue"]
    assert [r["pos_s"] for r in rails["resume"]] == [55]
    assert renewed.json()["endpoints"][0]["region"] == "eu-west"


async def test_after_a_hedge_both_regions_have_one_session_and_one_place(tmp_path: Path) -> None:
    async with regions(tmp_path) as cells:
        device = device_of([0, 1, 2, 3])
        here, there = [await signed_in(cells[r], device) for r in REGIONS]

        first, second = await asyncio.gather(play(here, "same-key"), play(there, "same-key"))
        async with asyncio.timeout(20):
            while not all(map(caught_up, cells.values())):
                await asyncio.sleep(0.02)
        going_on = await beat(there, first.json(), 5, state="paused")
        third = await play(AsgiClient(cells["eu-west"].app, here.headers), "another-key")

    assert first.json()["sid"] == second.json()["sid"]
    assert going_on["action"] == "continue"
    assert third.status == 201
