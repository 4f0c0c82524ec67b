"""A control process that is stopped, killed or without disk in the middle of a move, with real processes.

What was asked of it is carried out when it goes on, once; a freeze ends with its successor.
"""

import asyncio
import os
import signal
from typing import Any

import aiohttp
import pytest
from test_moves_under_load import CONTROL, OPERATOR, Region, region

from eisbach.cli import cells
from eisbach.cli.cells import Control
from eisbach.kernel.errors import Unavailable

pytestmark = pytest.mark.processes
__all__ = ["region"]
SLOT = "eu/de/main/0"


class Platform:
    """What a supervisor says of the processes of these tests."""

    token = "operator"

    def get(self, _: str) -> Any:
        return {"processes": [{"target": "control/eu-central", "region": "eu-central", "url": CONTROL}]}


def stop(region: Region) -> None:
    os.kill(region.running["control"].pid, signal.SIGSTOP)


def go_on(region: Region) -> None:
    os.kill(region.running["control"].pid, signal.SIGCONT)


async def ask(path: str, body: Any = None) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(headers=OPERATOR) as session,
        session.request("GET" if body is None else "POST", f"{CONTROL}{path}", json=body) as answer,
    ):
        return answer.status, await answer.json()


async def ended(slot: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            moves = {move["slot"]: move for move in (await ask("/cells"))[1]["moves"]}
            if slot in moves and moves[slot]["phase"] == "settled" and len(moves[slot]["told"]) == 2:
                return dict(moves[slot])
            await asyncio.sleep(0.05)


async def test_a_move_asked_of_a_stopped_control_is_made_once_it_goes_on_and_asked_again_it_is_said_so(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "find", lambda _: Platform())
    monkeypatch.setattr(cells, "_ANSWER_S", 0.5)
    control, asked = Control("/d", ""), {"slots": [SLOT], "to": "c2", "bulk": True}

    stop(region)
    try:
        with pytest.raises(Unavailable, match="may carry the request out yet: eisbach cells list"):
            await asyncio.to_thread(control.call, "/moves", asked)
    finally:
        go_on(region)
    first = await ended(SLOT)
    status, again = await ask("/moves", asked)

    assert (first["owner"], first["outcome"], first["move"]) == ("c2", "committed", 1)
    assert (status, again["refused"], again["already"]) == (202, {}, {SLOT: "is c2's already"})
    assert [move["move"] for move in again["moves"]] == [1]


async def test_a_move_that_is_under_way_is_said_so_to_whoever_asks_again_and_another_is_refused(
    region: Region,
) -> None:
    os.kill(region.running["c2"].pid, signal.SIGSTOP)
    try:
        asked = {"slots": [SLOT], "to": "c2", "bulk": True}
        await ask("/moves", asked)
        status, again = await ask("/moves", asked)
        _, home = await ask("/moves", {**asked, "slots": ["eu/de/main/1"], "to": "c1"})
    finally:
        os.kill(region.running["c2"].pid, signal.SIGCONT)

    assert (status, again["already"]) == (202, {SLOT: "is on its way to c2 already (move 1)"})
    assert (home["moves"], home["already"]) == ([], {"eu/de/main/1": "is c1's already"})
    assert (await ended(SLOT))["move"] == 1


async def test_an_evacuation_that_left_slots_behind_is_told_by_control_and_by_its_successor(region: Region) -> None:
    _, before = await ask("/status")
    _, record = await ask("/region/evacuate", {"other": "eu-west", "wait_ms": 0})
    _, told = await ask("/status")
    region.running["control"].kill()
    region.running["control"].wait(10)
    region.run("control")
    await region.ready(f"{CONTROL}/readyz")
    _, after = await ask("/status")

    assert before["unfinished"] == {}
    assert (told["unfinished"]["action"], told["unfinished"]["other"]) == ("evacuate", "eu-west")
    assert told["unfinished"]["open"] == len(record["slots"])
    assert "nothing was stopped" in told["unfinished"]["slots"][SLOT]
    assert after["unfinished"] == told["unfinished"]
