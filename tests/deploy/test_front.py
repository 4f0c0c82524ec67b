"""The front's keeper over a real ``nginx -t``: health and weights change the order, nothing wrong ever does."""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from eisbach.bootstrap.tools import locate_tools
from eisbach.control.region_health import BAD_AFTER, GOOD_AFTER
from eisbach.deploy.laptop.addresses import REGIONS
from eisbach.deploy.laptop.documents import Documents
from eisbach.deploy.laptop.front import FrontKeeper
from eisbach.kernel.errors import Invalid, NotFound, Unavailable
from eisbach.settings import Settings
from eisbach.testing.manual_clock import ManualClock

pytestmark = pytest.mark.processes
CENTRAL, WEST = REGIONS[:2]


def keeper(root: Path, regions: int = 2) -> FrontKeeper:
    settings = Settings(network="127.0.26")
    documents = Documents(
        settings=settings, root=root, regions=REGIONS[:regions], tools=locate_tools(settings), operator_token="t"
    )
    found = FrontKeeper(documents, clock=ManualClock())
    found.prepare()
    return found


async def look(front: FrontKeeper, outcomes: Mapping[str, bool], times: int = 1) -> None:
    async def journey(region: str) -> bool:
        if not outcomes[region]:
            raise TimeoutError
        return True

    for _ in range(times):
        await front.look(journey)


def first(root: Path, place: str = "de") -> str:
    """The region that nginx is told to try first for a caller without an account."""
    rows = re.findall(rf'"?{place}:any:"? "?([a-z_-]+)"?;', (root / "front" / "nginx.conf").read_text())
    return rows[0].split("__")[0].replace("_", "-")


def configured(root: Path) -> bytes:
    return (root / "front" / "nginx.conf").read_bytes()


async def test_a_region_whose_journeys_fail_is_tried_last_and_first_again_when_it_is_well(tmp_path: Path) -> None:
    front = keeper(tmp_path)
    assert first(tmp_path) == CENTRAL

    await look(front, {CENTRAL: False, WEST: True}, BAD_AFTER)
    assert first(tmp_path) == WEST

    await look(front, {CENTRAL: True, WEST: True}, GOOD_AFTER)
    assert first(tmp_path) == CENTRAL


async def test_when_every_region_looks_bad_nothing_is_moved(tmp_path: Path) -> None:
    front = keeper(tmp_path)
    before = configured(tmp_path)

    await look(front, {CENTRAL: False, WEST: False}, BAD_AFTER * 2)

    assert configured(tmp_path) == before


async def test_a_region_without_weight_is_tried_last_also_after_a_restart(tmp_path: Path) -> None:
    await keeper(tmp_path).weigh(CENTRAL, 0)
    assert first(tmp_path) == WEST

    again = keeper(tmp_path)

    assert first(tmp_path) == WEST
    assert again.weights() == {CENTRAL: 0, WEST: 100}


async def test_nginx_is_told_of_changes_only(tmp_path: Path) -> None:
    front = keeper(tmp_path)
    before = (tmp_path / "front" / "nginx.conf").stat().st_mtime_ns

    await look(front, {CENTRAL: True, WEST: True}, 10)

    assert (tmp_path / "front" / "nginx.conf").stat().st_mtime_ns == before


async def test_the_last_region_with_weight_stays_in(tmp_path: Path) -> None:
    front = keeper(tmp_path)
    await front.weigh(CENTRAL, 0)

    with pytest.raises(Invalid, match=f"{WEST} is the last region"):
        await front.weigh(WEST, 0)

    assert front.weights()[WEST] == 100


@pytest.mark.parametrize(
    ("region", "weight", "error"), [("eu-north", 1, NotFound), (WEST, 101, Invalid), (WEST, -1, Invalid)]
)
async def test_what_cannot_be_weighed_is_refused(
    tmp_path: Path, region: str, weight: int, error: type[Exception]
) -> None:
    front = keeper(tmp_path)

    with pytest.raises(error):
        await front.weigh(region, weight)


async def test_a_damaged_document_of_weights_is_refused_with_its_name(tmp_path: Path) -> None:
    await keeper(tmp_path).weigh(CENTRAL, 50)
    (tmp_path / "front" / "weights.json").write_bytes(msgspec.json.encode(["none"]))

    with pytest.raises(Invalid, match=r"weights\.json"):
        keeper(tmp_path)


@pytest.mark.parametrize("writes", [0, 1])
async def test_a_full_disk_is_told_with_its_folder_and_what_counts_and_the_front_is_looked_after_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """``writes``: that still have room: none, or the weights and not the configuration."""
    front, room, synced = keeper(tmp_path), [writes], os.fsync

    def fsync(file: int) -> None:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= 1
        synced(file)

    monkeypatch.setattr(os, "fsync", fsync)
    said = "nothing was changed; free space on that disk" if not writes else "the front follows by itself"
    with pytest.raises(Unavailable, match=rf"weight 0 of {CENTRAL}.*{tmp_path}/front.*No space left.*{said}"):
        await front.weigh(CENTRAL, 0)
    assert front.weights()[CENTRAL] == (0 if writes else 100)
    await look(front, {CENTRAL: False, WEST: True}, BAD_AFTER)
    assert first(tmp_path) == CENTRAL

    monkeypatch.undo()
    await look(front, {CENTRAL: False, WEST: True})
    assert first(tmp_path) == WEST
