"""A region is gone without having been evacuated (P12): what may be missing is recorded, and closed when it returns."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from test_evacuation import CLOCK, Side
from test_twins import SLOTS, digests, pulling, twin

from eisbach.cell.losses import AskHeard, AskReturned, Heard, Losses, Returned
from eisbach.cell.puller import Puller
from eisbach.control.losses import LossRange, RegionLosses
from eisbach.kernel.errors import Invalid, NotFound
from eisbach.kernel.hlc import hlc_ms
from eisbach.kernel.versions import Mark
from eisbach.ports.store import ItemKey
from eisbach.testing.manual_clock import ManualClock


class Survivor:
    """The region that is left: its control process's way to its one cell."""

    def __init__(self, side: Side) -> None:
        self.side, self.silent_ms, self.heads = side, 0, dict[str, Mark]()
        self.cell = Losses(
            side.twin.store, side.twin.ownership,
            heads=lambda _, slot: self.heads.get(slot, Mark(0, 0)), silent_ms=lambda _: self.silent_ms,
        )  # fmt: skip
        self.losses = RegionLosses(side.control, self, owners=lambda: {str(slot): "c1" for slot in SLOTS}, clock=CLOCK)

    async def heard(self, cell: str, asked: AskHeard) -> Heard:
        return await self.cell.heard(asked)

    async def returned(self, cell: str, asked: AskReturned) -> Returned:
        return await self.cell.returned(asked)


class World:
    """eu-central is lost, eu-west survives."""

    def __init__(self, lost: Side, there: Side) -> None:
        self.lost, self.survivor = lost, Survivor(there)

    async def end(self, slot: object) -> Mark:
        return (await self.lost.twin.store.vector(slot))["eu-central"]  # type: ignore[index,arg-type]

    async def ends(self) -> dict[str, Mark]:
        return {str(slot): await self.end(slot) for slot in SLOTS}

    def cut(self, state: bool = True) -> None:
        self.lost.link.cut = self.survivor.side.link.cut = state


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    rng = random.Random(3)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as two:
        here = Side(one, region="eu-central", other="eu-west", folder=tmp_path)
        there = Side(two, region="eu-west", other="eu-central", folder=tmp_path)
        async with pulling(two, here.link, "eu-central", rng), pulling(one, there.link, "eu-west", rng):  # type: ignore[arg-type]
            for n in range(20):
                await one.write(SLOTS[n % 4], f"k{n}", b"1")
            async with asyncio.timeout(10):
                while await digests(one) != await digests(two):
                    await asyncio.sleep(0.01)
            yield World(here, there)
        await here.control.aclose()
        await there.control.aclose()


async def test_what_a_lost_region_acknowledged_and_never_sent_lies_within_the_recorded_ranges_and_comes_back(
    world: World,
) -> None:
    lost, there = world.lost, world.survivor.side
    world.cut()
    for n in range(8):
        await lost.twin.write(SLOTS[n % 2], f"late-{n}", b"theirs")
    await lost.twin.write(SLOTS[0], "k0", b"theirs")
    world.survivor.heads[str(SLOTS[0])] = Mark(1, 7)
    world.survivor.silent_ms = 9_000

    record = await world.survivor.losses.declare("eu-central")
    theirs = await lost.twin.store.read(SLOTS[0], ItemKey("a", "k0"))
    assert theirs is not None
    while CLOCK.wall_ms() <= hlc_ms(theirs.version.hlc):  # in one millisecond, nothing is later
        await asyncio.sleep(0.001)
    await there.twin.write(SLOTS[0], "k0", b"ours, later")

    assert record.slots[str(SLOTS[0])] == LossRange(held=Mark(1, 5), head=Mark(1, 7))
    assert record.slots[str(SLOTS[2])] == LossRange(held=Mark(1, 5), head=Mark(1, 5))
    assert len(record.open) == 4
    told = [{"region": "eu-central", "since_ms": record.declared_ms, "open": 4}]
    assert world.survivor.losses.lost() == told
    assert [one.region for one in await world.survivor.losses.records()] == ["eu-central"]
    assert world.survivor.losses.lost() == told
    for slot in SLOTS:
        assert await world.end(slot) >= record.slots[str(slot)].held

    still = await world.survivor.losses.close("eu-central", await world.ends(), wait_ms=0)
    assert sorted(still.open) == [str(SLOTS[0]), str(SLOTS[1])]
    assert "held up to 1.5 of 1.10" in still.slots[str(SLOTS[0])].trouble

    world.cut(False)
    closed = await world.survivor.losses.close("eu-central", await world.ends(), wait_ms=10_000)

    assert (closed.open, world.survivor.losses.lost()) == ([], [])
    assert closed.closed_ms
    first = closed.slots[str(SLOTS[0])]
    assert first.until == Mark(1, 10)
    assert first.returned == Returned(ops=5, shown=4, overtaken=1, conflicts=1)
    assert closed.slots[str(SLOTS[1])].returned == Returned(ops=4, shown=4)
    assert closed.slots[str(SLOTS[3])].returned == Returned()
    found = {item.key.sk for slot in SLOTS for item in await there.twin.store.query(slot, "a", limit=1000)}
    assert {f"late-{n}" for n in range(8)} <= found


async def test_a_region_that_answered_a_moment_ago_is_not_lost(world: World) -> None:
    world.survivor.silent_ms = 4_999

    with pytest.raises(Invalid, match="Without --lost it is evacuated"):
        await world.survivor.losses.declare("eu-central")

    assert await world.survivor.losses.records() == []


async def test_a_second_declaration_widens_nothing_while_the_loss_is_open(world: World) -> None:
    world.cut()
    world.survivor.silent_ms = 9_000
    first = await world.survivor.losses.declare("eu-central")
    world.survivor.heads = {str(slot): Mark(1, 99) for slot in SLOTS}

    assert await world.survivor.losses.declare("eu-central") == first


async def test_a_region_that_was_never_lost_is_not_found_again(world: World) -> None:
    with pytest.raises(NotFound):
        await world.survivor.losses.close("eu-central", {}, wait_ms=0)


async def test_a_region_that_comes_back_with_an_older_disk_is_told_apart_from_one_that_brings_everything(
    world: World,
) -> None:
    """Its cells were restored: a higher epoch, and less than it had told before."""
    world.cut()
    world.survivor.silent_ms = 9_000
    world.survivor.heads = {str(slot): Mark(1, 9) for slot in SLOTS}
    await world.survivor.losses.declare("eu-central")
    lost, slot = world.lost, SLOTS[0]
    await lost.twin.store.settle(slot, move=0, epoch=101, owner=None)
    await lost.twin.write(slot, "new", b"1")
    world.cut(False)

    record = await world.survivor.losses.close("eu-central", {str(slot): Mark(101, 1)}, wait_ms=10_000)

    found = record.slots[str(slot)]
    assert found.until == Mark(101, 1)
    assert "without all up to 1.9" in found.trouble
    assert record.open == [str(one) for one in SLOTS[1:]], "the others did not say where their logs end"


async def test_a_region_that_was_made_anew_is_told_to_lack_perhaps_what_it_acknowledged_in_the_cut(
    world: World,
) -> None:
    """Nobody here had heard of it, so that nothing is known to be missing; one that only left and came back has all."""
    world.cut()
    world.survivor.silent_ms = 9_000
    await world.survivor.losses.declare("eu-central")
    lost, (restored, returned, *_) = world.lost.twin.store, SLOTS
    for slot, epoch in ((restored, 101), (returned, 3)):
        await lost.settle(slot, move=0, epoch=epoch, owner=None)
    epochs = {str(slot): lease.epoch for slot in SLOTS if (lease := await lost.lease(slot)) is not None}
    world.cut(False)

    record = await world.survivor.losses.close("eu-central", await world.ends(), epochs=epochs, wait_ms=10_000)

    troubles = {slot: one.trouble for slot, one in record.slots.items()}
    assert "was restored since: what it acknowledged last, class local, may be gone" in troubles.pop(str(restored))
    assert (record.open, set(troubles.values())) == ([], {""})
    assert record.slots[str(restored)].until == Mark(1, 5), "nothing was written under the new epoch"


async def test_a_puller_remembers_how_far_the_other_region_said_its_log_goes(world: World, tmp_path: Path) -> None:
    lost = world.lost
    ownership = world.survivor.side.twin.ownership
    puller = Puller(
        world.survivor.side.twin.store, ownership, lost.link, region="eu-central", clock=ManualClock(),
        rng=random.Random(1),
    )  # fmt: skip
    assert puller.head(str(SLOTS[0])) == Mark(0, 0)
    await puller._look()
    for n in range(30):
        await lost.twin.write(SLOTS[0], f"more-{n}", b"1")
        await puller._ask("c1")
        if puller.head(str(SLOTS[0])) > Mark(1, 5):
            break

    assert puller.head(str(SLOTS[0])) > Mark(1, 5)
