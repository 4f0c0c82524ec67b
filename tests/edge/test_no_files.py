"""An edge that may open nothing more says so as a problem; what a cell says of itself passes as it is."""

import asyncio
import json
import resource
from pathlib import Path

import pytest

from eisbach.edge.nginx_edge import PEER_TOKEN_FILE, EdgeSite, edge_config, peer_token_map

from .maps import CELLS, CENTRAL, DOOR, EDGE, HOST, PEER_DOOR, slot_map
from .nginx_host import PROCESS, Answering, Got, ask, nginx, stubs

pytestmark = pytest.mark.processes


SLOT = {"Eisbach-Slot": "eu/de/main/0"}
PROBLEM = b'{"status": 500, "code": "bug", "detail": "KeyError; \\u00fc \\"log\\""}'


async def lanes() -> list[Got]:
    return [
        await ask(EDGE, "/v1/me/rails", headers=SLOT),
        await ask(EDGE, "/v1/me/progress/t", headers=SLOT, method="PUT", body=b"{}"),
        await ask(EDGE, "/v1/me/profiles", headers=SLOT, method="POST", body=b"{}"),
        await ask(PEER_DOOR, "/v1/me/profiles", headers=SLOT, method="POST", body=b"{}"),
        await ask(EDGE, "/studio/titles"),
    ]


async def calls() -> list[Got]:
    return [
        await ask(EDGE, "/v1/de/titles/t-1"),
        await ask(EDGE, "/studio/uploads/u1/content", method="PUT", body=b"{}"),
    ]


async def test_without_files_an_edge_answers_a_problem_and_a_500_of_a_cell_stays_its_own(tmp_path: Path) -> None:
    (tmp_path / PEER_TOKEN_FILE).write_text(peer_token_map("peer"))
    site = EdgeSite(region=CENTRAL, host=HOST, port=EDGE, peer_port=PEER_DOOR, media="/nowhere", process=PROCESS)
    async with (
        stubs({**CELLS, "@eu-west": DOOR}) as cells,
        nginx(tmp_path, edge_config(site, slot_map()), port=EDGE) as host,
    ):
        for cell in cells.values():
            cell.behave = Answering(status=500, body=b"a cell's own")
        await ask(EDGE, "/healthz")
        await asyncio.sleep(0.2)  # until the worker has let go of those who asked
        [worker] = host.workers
        _, most = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        opened = {int(fd.name) for fd in Path(f"/proc/{worker}/fd").iterdir()}
        free = next(number for number in range(1000) if number not in opened)
        # Room for the caller's connection and for none beyond it.
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (free + 1, most))
        without = [*await lanes(), *await calls()]
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (most, most))
        own = await calls()
        for cell in cells.values():
            cell.behave = Answering(
                status=500, headers={"Eisbach-Problem": PROBLEM.decode(), "Eisbach-Code": "bug"}, body=b"a cell's own"
            )
        told = await lanes()
        cells["c1"].behave = Answering(status=421, headers={"Eisbach-Owner": "c2"})
        followed = await lanes()
        cells["c1"].behave, cells["@eu-west"].behave = Answering(drop=True), cells["c2"].behave
        behind = (await lanes())[1]
        for cell in cells.values():
            cell.behave = Answering(status=500, body=b"no word of ours")
        mute = await lanes()

    assert [(g.status, json.loads(g.body)["code"]) for g in without] == [(502, "unavailable")] * 7
    for got in (*told, *followed, behind):
        assert (got.status, got.body) == (500, PROBLEM)
        assert got.headers["content-type"] == "application/problem+json"
        assert got.headers["eisbach-code"] == "bug"
        assert got.headers["eisbach-cell"]
    assert [(g.status, json.loads(g.body)["code"]) for g in mute] == [(500, "internal")] * 5
    assert [(g.status, g.body) for g in own] == [(500, b"a cell's own")] * 2
