"""A control process that is stopped, killed or without disk in the middle of a move, with real processes.

What was asked of it is carried out when it goes on, once; a freeze ends with its successor.
"""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from test_moves_under_load import CONTROL, HOST, OPERATOR, PORTS, Region, Viewer, region

from eisbach.cli import cells
from eisbach.cli.cells import Control
from eisbach.kernel.errors import Unavailable

pytestmark = pytest.mark.processes
__all__ = ["region"]
SLOT = "eu/de/main/0"
TRIES = 6


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
    _, record = await ask("/region/evacuate", {"other": "eu-west", "wait_ms": 0, "force": True})
    _, told = await ask("/status")
    region.running["control"].kill()
    region.running["control"].wait(10)
    region.run("control")
    await region.ready(f"{CONTROL}/readyz")
    _, after = await ask("/status")

    assert before["unfinished"] == before["out"] == told["out"] == {}
    assert before["lost"] == []
    assert (told["unfinished"]["action"], told["unfinished"]["other"]) == ("evacuate", "eu-west")
    assert told["unfinished"]["open"] == len(record["slots"])
    assert "nothing was stopped" in told["unfinished"]["slots"][SLOT]
    assert after["unfinished"] == told["unfinished"]
    status, refused = await ask("/moves", {"slots": [SLOT], "to": "c2"})
    assert (status, (await ask("/cells"))[1]["moves"]) == (400, []), "it waited for three minutes, and in vain"
    assert "First: eisbach regions return" in refused["detail"]


async def lease(cell: str, slot: str = SLOT) -> str:
    service = {"Authorization": "Bearer service-eu-central"}
    async with (
        aiohttp.ClientSession(headers=service) as session,
        session.post(f"http://{HOST}:{PORTS[cell]}/moves/look", data=msgspec.msgpack.encode({"slot": slot})) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return str(msgspec.msgpack.decode(await answer.read())["state"])


async def stopped_in_a_freeze(region: Region) -> str:
    """Moves of the slot until one of them stands still between FREEZE and its outcome; the cell that is frozen."""
    source, target = "c1", "c2"
    for _ in range(20):
        await ask("/moves", {"slots": [SLOT], "to": target, "bulk": True})
        async with asyncio.timeout(20):
            while (state := await lease(source)) == "active":
                pass
        stop(region)
        await asyncio.sleep(0.2)
        if state == "frozen" == await lease(source):
            return source
        go_on(region)
        await ended(SLOT)
        if await lease(target) == "active":
            source, target = target, source
    raise AssertionError("no stop fell into a freeze")


@contextlib.asynccontextmanager
async def viewer(slot: str = SLOT) -> AsyncIterator[Viewer]:
    """One of the slot."""
    async with aiohttp.ClientSession() as session:
        for number in range(40):
            found = Viewer(number, session)
            await found.sign_in()
            if found.headers["Eisbach-Slot"] == slot:
                yield found
                return
    raise AssertionError(f"nobody of {slot}")


WRITE = ("PUT", "/v1/me/progress/tears", {"pos_s": 7, "dur_s": 43_200})


@pytest.mark.timeout(120)
@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_a_freeze_in_which_control_stops_or_dies_ends_with_control_and_reads_go_on_meanwhile(
    region: Region, *, killed: bool
) -> None:
    async with viewer() as one:
        assert (await one.send(*WRITE))[0] == 204
        source = await stopped_in_a_freeze(region)
        if killed:
            region.running["control"].kill()
            region.running["control"].wait(10)

        write, said = await one.send(*WRITE)
        read, _ = await one.send("GET", "/v1/me/rails")
        told = await status(source)
        assert (write, read) == (503, 200), said
        assert b"slot_frozen" in said
        assert told["frozen"] == [SLOT]
        await asyncio.sleep(1.5)
        assert await lease(source) == "frozen", "no cell unfreezes by itself"

        if killed:
            region.run("control")
            await region.ready(f"{CONTROL}/readyz")
        else:
            go_on(region)
        async with asyncio.timeout(20):
            while await lease("c1") != "active" and await lease("c2") != "active":
                await asyncio.sleep(0.05)
        assert (await one.send(*WRITE))[0] == 204
        assert (await ended(SLOT))["outcome"] in ("committed", "aborted")
        assert (await status(source))["frozen"] == []


async def status(cell: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(headers=OPERATOR) as session,
        session.get(f"http://{HOST}:{PORTS[cell]}/status") as answer,
    ):
        return dict(await answer.json())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("full", ["control", "c1", "c2"])
async def test_a_move_over_a_full_disk_waits_or_is_given_up_with_words_and_the_next_one_succeeds(
    region: Region, full: str
) -> None:
    async with viewer() as one:
        assert (await one.send(*WRITE))[0] == 204
        pid, free = region.running[full].pid, resource.RLIM_INFINITY
        asked = {"slots": [SLOT], "to": "c2", "bulk": True}
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, free))
        code, said = await ask("/moves", asked)
        await asyncio.sleep(2)
        _, found = await ask("/cells")
        read, _ = await one.send("GET", "/v1/me/rails")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (free, free))

        assert read == 200
        words = {"control": said.get("detail", ""), "c1": "".join(one["reason"] for one in found["moves"])}
        words["c2"] = found["waits"].get(SLOT, "")
        assert "nothing was written" in words[full] or "disk" in words[full], found
        if full == "control":
            assert (code, said["code"], found["moves"]) == (409, "unavailable", [])
        if full != "c2":  # told at once, or given up; else it waits and goes on by itself
            if found["moves"]:
                assert (await ended(SLOT))["owner"] == "c1"
            await ask("/moves", asked)
        while (last := await ended(SLOT))["owner"] != "c2":  # a busy machine: given up in time, then again
            assert last["reason"].endswith("within 800 ms of the freeze"), last["reason"]
            assert last["move"] < TRIES
            await ask("/moves", asked)
        assert (await one.send(*WRITE))[0] == 204
        assert region.running[full].poll() is None
