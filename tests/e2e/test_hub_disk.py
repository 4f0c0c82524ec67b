"""A hub whose disk is full for real, on a running platform: viewers notice nothing, and every event arrives (P16)."""

import json
import time
from pathlib import Path

import apsw
import pytest

from eisbach.testing.small_disk import SmallDisk

from .platform import Platform, call, running

SPOKE = """
from eisbach.hub.authoring import Effects, Event, spoke
from eisbach.hub.events import AccountCreated


@spoke("counted", on=AccountCreated, concurrency_max=64)
async def counted(event: Event[AccountCreated], effects: Effects) -> None:
    key = f"{event.data.account} {event.id}"
    effects.put(key, str(int(await effects.get(key) or b"0") + 1).encode())
"""


@pytest.mark.processes
@pytest.mark.timeout(180)
async def test_a_hub_whose_disk_is_full_is_started_anew_once_there_is_room_and_every_event_has_one_effect(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    (data / "spokes").mkdir(parents=True)
    (data / "spokes" / "counted.py").write_text(SPOKE)
    async with SmallDisk(data / "regions/eu-central/hub", megabytes=32) as disk:
        with running(data, stage="hub", network="127.0.48", arguments=("--no-demo",), inside=disk.inside) as platform:
            arrived = [_arrive(platform, n) for n in range(20)]
            platform.until("the first are counted", lambda: len(_counts(data)) == 20, 30)
            await disk.fill()
            arrived += [_arrive(platform, n) for n in range(20, 60)]
            platform.until("it is said", lambda: _hub(platform, "unready"), 60)
            counted_while_full = len(_counts(data))
            time.sleep(5)  # longer than the supervisor looks at it three times
            restarts_while_full = _hub(platform)["restarts"]
            arrived += [_arrive(platform, n) for n in range(60, 80)]
            await disk.make_room()
            platform.until("all are counted", lambda: len(_counts(data)) == 80, 60)
            platform.until("the hub is ready", lambda: _hub(platform, "ready"), 30)
            counts = _counts(data)
            changes = json.dumps(platform.eisbach("changes"))

    assert "no space left on device" in changes
    assert counted_while_full < 60
    assert restarts_while_full == 0
    assert {name.split()[0] for name in counts} == set(arrived)
    assert set(counts.values()) == {1}


def _arrive(platform: Platform, number: int) -> str:
    edge = f"http://{platform.network}.1:8080"
    body = {"device_id": f"device-{number:04d}", "plat": "web"}
    status, _, said = call("POST", f"{edge}/v1/auth/anonymous", body=body)
    assert status == 200, said
    return str(said["account"])


def _hub(platform: Platform, state: str = "") -> dict:
    row = next(p for p in platform.status()["processes"] if p["kind"] == "hub")
    return row if state in ("", row["state"]) else {}


def _counts(data: Path) -> dict[str, int]:
    path = data / "regions/eu-central/spokes/spokes.db"
    database = apsw.Connection(f"file:{path}?mode=ro", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    database.set_busy_timeout(5000)
    query = "SELECT key, value FROM state WHERE spoke='counted' AND key LIKE 'a-%'"
    found = {str(key): int(value) for key, value in database.execute(query)}
    database.close()
    return found
