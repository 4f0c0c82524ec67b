"""What a composed cell tells its region's control of a slot: also what speaks against leaving it, or being left to it."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from kit import GROUPS, OWNERS, opened, peer
from test_evacuation import NoHub

from eisbach.bootstrap.cell import OpenCell
from eisbach.cell.moving import Moving, StandAside, StoodAside
from eisbach.cell.ownership import Ownership, slots_in
from eisbach.cell.pull_messages import PullAnswer, PullRequest
from eisbach.cell.slot_imports import SlotImports
from eisbach.cell.twin_digests import TwinDigests
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Transaction, Write
from eisbach.testing.asgi_client import AsgiClient
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.world.disks import VFS_NAME, Volume, Volumes

SLOT = f"eu/de/main/{OWNERS['c1']['eu/de/main'][0]}"


async def told(cell: OpenCell) -> StoodAside:
    control = AsgiClient(cell.app, {"Authorization": "Bearer service-eu-central"})
    asked = msgspec.msgpack.encode(StandAside(slot=SLOT, epoch=0, peer=""))
    answer = await control.send("POST", "/moves/vectors", asked)
    return msgspec.msgpack.decode(answer.body, type=StoodAside)


async def test_control_is_told_in_which_regions_a_slot_is_known_to_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, peers=[peer("eu-west")], demo=False) as cell:
        assert (await told(cell)).differing == {}
        monkeypatch.setattr(TwinDigests, "differing", lambda _self, slot: [3] if slot == SLOT else [])
        assert (await told(cell)).differing == {"eu-west": [3]}


async def test_control_has_a_cell_ask_the_other_regions_cell_for_its_last_word(tmp_path: Path) -> None:
    async with opened(tmp_path, peers=[peer("eu-west")], demo=False) as cell:
        control = AsgiClient(cell.app, {"Authorization": "Bearer service-eu-central"})

        async def asked(region: str) -> tuple[int, bytes]:
            question = msgspec.msgpack.encode(StandAside(slot=SLOT, epoch=0, peer=region, last_word=True))
            answer = await control.send("POST", "/moves/vectors", question)
            return answer.status, answer.body

        status, body = await asked("eu-west")
        assert (status, b"which cell of region eu-west has slot" in body) == (503, True), "its map was not read yet"
        status, body = await asked("mars")
        assert (status, b"pulls from no region 'mars'" in body) == (400, True)


async def doubt(cell: OpenCell) -> str:
    twin = AsgiClient(cell.app, {"Authorization": "Bearer peer"})
    question = PullRequest(slots={SLOT: {}}, wait_ms=0, region="eu-west")
    answer = await twin.send("POST", "/peer/pull", msgspec.msgpack.encode(question))
    assert answer.status == 200, answer.body
    return msgspec.msgpack.decode(answer.body, type=PullAnswer).doubt


class Side(NamedTuple):
    store: SqliteStore
    moving: Moving
    clock: ManualClock

    async def stopped(self, *, peer: str = "") -> str:
        return (await self.moving.vectors(StandAside(slot=SLOT, epoch=0, peer=peer))).writes_stopped


@pytest.fixture
async def host() -> AsyncIterator[tuple[Side, Volume]]:
    """A cell's store on a simulated disk."""
    volumes = Volumes()
    volume, clock = volumes.make({}), ManualClock()
    path = Path(volume.folder) / "store.db"
    async with open_store(path, region="eu-central", clock=clock, cell="c1", disk=inline, vfs=VFS_NAME) as store:
        ownership = Ownership(store, cell="c1", groups=GROUPS, owners=OWNERS)
        await ownership.open(slots_in(OWNERS["c1"]))
        imports = SlotImports(store, ownership, None, clock=clock, rng=random.Random(1))  # type: ignore[arg-type]
        yield Side(store, Moving(store, ownership, imports, relayed=NoHub(), clock=clock), clock), volume
        volume.full = False
    volumes.close()


async def test_a_cell_whose_disk_is_full_says_that_it_takes_no_writes_and_again_once_there_is_room(
    host: tuple[Side, Volume],
) -> None:
    """Also an idle one, which nothing has told so far. Control asks it before another region is left to its region."""
    side, volume = host
    before = await side.store.leases()
    assert await side.stopped() == ""
    volume.full = True
    await side.clock.advance(1)

    said = await side.stopped()

    assert "a write was tried and refused" in said
    assert "FullError" in said
    assert "free space on its disk" in said
    with pytest.raises(Unavailable, match="FullError"):
        await side.store.transact(Transaction(slot=Slot.parse(SLOT), writes=[Write(ItemChange("a", "k", b"1"))]))
    assert await side.stopped(peer="eu-west") == "", "an evacuation under way tries nothing"
    volume.full = False
    await side.clock.advance(1)
    assert await side.stopped() == ""
    assert await side.store.leases() == before


async def test_a_region_that_asks_of_every_slot_costs_a_cell_one_write(host: tuple[Side, Volume]) -> None:
    side, _ = host
    before = side.store.statistics().commits

    await asyncio.gather(*(side.stopped() for _ in range(64)))

    assert side.store.statistics().commits == before + 1


async def test_a_cell_that_does_not_know_yet_whether_its_store_is_an_older_copy_takes_no_writes(tmp_path: Path) -> None:
    async with opened(tmp_path, demo=False) as cell:
        assert (await told(cell)).writes_stopped == ""
        cell.store.unproved = "it is being asked"  # type: ignore[attr-defined]
        assert (await told(cell)).writes_stopped == "it is being asked"
        assert await doubt(cell) == "it is being asked", "what it holds proves no region's return"
        cell.store.unproved = ""  # type: ignore[attr-defined]
        assert await doubt(cell) == ""
