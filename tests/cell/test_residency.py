"""P19: restricted data never reach a region outside their residency, whatever that region asks for."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from kit import GROUPS, REGIONS, device_of, make_secrets, opened, peer, signed_in
from test_two_regions import HOSTS, PORT, door, ended

from eisbach.bootstrap.serve import serve
from eisbach.domain.accounts import account_of
from eisbach.kernel.slots import Group

pytestmark = pytest.mark.processes
GROUP = Group.parse("eu/de/main")


def _holding(folder: Path, needle: bytes) -> list[str]:
    """Files of a region, hub included, in which the bytes stand."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and needle in p.read_bytes())


@pytest.mark.parametrize(("residency", "reaches"), [("us", False), ("eu", True)])
async def test_a_region_that_asks_for_more_than_it_may_hold_gets_no_byte_of_it(
    tmp_path: Path, residency: str, *, reaches: bool
) -> None:
    """The asker believes that all is European; the sender knows better. The second case shows that the scan finds."""
    knows = {"eu-central": {"eu-central": "eu", "eu-west": residency}, "eu-west": dict.fromkeys(REGIONS, "eu")}
    keys, device = make_secrets(), device_of(list(range(GROUPS[str(GROUP)] // 2)))
    account = account_of(device, GROUP).encode()
    async with contextlib.AsyncExitStack() as stack:
        cells = {}
        for region in REGIONS:
            other = REGIONS[1 - REGIONS.index(region)]
            peers = [peer(other, f"http://{HOSTS[other]}:{PORT}")]
            opening = opened(tmp_path, region=region, peers=peers, keys=keys, residencies=knows[region])
            cells[region] = await stack.enter_async_context(opening)
            task = asyncio.create_task(serve(door(cells[region].app, region), host=HOSTS[region], port=PORT))
            stack.push_async_callback(ended, task, cells[region])
        viewer = await signed_in(cells["eu-central"], device)
        for n in range(5):
            await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 10 + n, "dur_s": 100})
        async with asyncio.timeout(20):
            while not any(twin["answers"] > 2 for twin in cells["eu-west"].status()["replication"]):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)

    assert _holding(tmp_path / "eu-central", account)
    found = _holding(tmp_path / "eu-west", account)
    assert bool(found) == reaches, found
