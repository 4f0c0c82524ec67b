"""The agent on a disk that is full: what it says of the map that it cannot put in force, and when it says no more."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from eisbach.edge.agent import Agent
from eisbach.kernel.errors import Unavailable

from .maps import slot_map
from .test_agent import HALF, Rig, signed

pytestmark = pytest.mark.processes  # nginx -t judges every configuration
NEWER = signed(6, groups={**slot_map().groups, "eu/de/main": HALF})


class Disk:
    """The machine's, as long as it has room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        sync = os.fsync

        def fsync(descriptor: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # without a path: it is a descriptor's
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def says(document: bytes) -> Callable[[], object]:
    async def fetch() -> bytes:
        return document

    return fetch


async def silent() -> bytes:
    raise Unavailable("nobody there")


async def refusing(rig: Rig, disk: Disk) -> Agent:
    agent = rig.agent()
    await agent.activate(says(signed(5)))
    disk.full = True
    await agent.activate(says(NEWER))
    return agent


async def test_an_agent_whose_disk_is_full_says_since_when_where_what_it_means_and_what_to_do(
    tmp_path: Path, disk: Disk
) -> None:
    """``status`` said that all was well, with every new slot map refused."""
    agent = await refusing(Rig(tmp_path), disk)
    since = agent._clock.wall_ms()
    await agent._clock.advance(60)
    await agent.activate(says(NEWER))

    status = agent.status()
    assert status["refuses"] == {
        "since_ms": since,
        "why": f"the disk refused {tmp_path}/edge/next/nginx.conf (No space left on device); free space on that disk,"
        " and it follows by itself; viewers go on by what edge and origin have, slots that move are not routed to their"
        " new cells",
        "unknown": False,
    }
    assert (status["map_version"], status["maps_refused"], agent.missing) == (5, 2, None)


async def test_what_it_refuses_stands_until_a_map_is_taken_again_and_is_logged_anew_another_day(
    tmp_path: Path, disk: Disk
) -> None:
    with structlog.testing.capture_logs() as logged:
        agent = await refusing(Rig(tmp_path), disk)
        await agent.activate(says(NEWER))
        disk.full = False
        await agent.activate(says(NEWER))
        taken = agent.status()
        disk.full = True
        await agent.activate(says(signed(7)))

    assert (taken["map_version"], taken["refuses"], taken["last_refusal"]) == (6, {}, "")
    assert agent.status()["refuses"]
    assert [line["event"] for line in logged].count("slot_map_refused") == 2


async def test_what_was_refused_is_taken_once_there_is_room_though_control_is_silent_by_then(
    tmp_path: Path, disk: Disk
) -> None:
    """It went back to the map in force, which needs no disk: so nothing seemed to be refused any more."""
    agent = await refusing(Rig(tmp_path), disk)
    await agent.activate(silent)
    still = agent.status()
    disk.full = False
    await agent.activate(silent)

    assert (still["map_version"], bool(still["refuses"])) == (5, True)
    assert (agent.status()["map_version"], agent.status()["refuses"]) == (6, {})


async def test_an_agent_that_begins_on_a_full_disk_says_which_path_and_what_to_do(tmp_path: Path, disk: Disk) -> None:
    """It said ``no configuration yet: [Errno 28] No space left on device``."""
    disk.full = True
    agent = Rig(tmp_path).agent()
    await agent.activate(says(signed(5)))

    assert agent.missing == (
        f"no configuration yet: the disk refused {tmp_path}/edge/next/nginx.conf (No space left on device); free"
        " space on that disk, and it follows by itself"
    )
    assert agent.status()["refuses"] == {}, "nothing is in force that viewers could go on by"


async def test_a_kept_map_that_is_refused_beside_a_silent_control_is_logged_once_each(tmp_path: Path) -> None:
    """Each took the place of the other in what was said last, and so both were said every two seconds."""
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "map.json").write_bytes(b"{")
    agent = Rig(tmp_path).agent()
    with structlog.testing.capture_logs() as logged:
        await agent.load()
        for _ in range(3):
            await agent.activate(silent)

    assert [line["event"] for line in logged] == ["slot_map_refused", "slot_map_unavailable"]
    assert (agent.missing or "").endswith("; nobody there")
