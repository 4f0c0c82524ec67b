"""Twins compare digests while they run: what differs is found, and nothing else is called a difference."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from test_peer_durability import Link
from test_twins import OWNERS, SLOTS, Twin, pulling, twin

from eisbach.cell.puller import PullRequest, PullServer
from eisbach.cell.twin_digests import TwinDigests, digests_now
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.ops import ItemChange, Op
from eisbach.testing.manual_clock import ManualClock

CLOCK = SystemClock()


class Two:
    """Two twins that pull from each other, and what the first says of the second."""

    def __init__(self, one: Twin, other: Twin, **rules: object) -> None:
        self.one, self.other = one, other
        self.link = Link(PullServer(other.store, other.ownership, clock=CLOCK, **rules))  # type: ignore[arg-type]
        self.clock = ManualClock()
        self.digests = TwinDigests(
            one.store, one.ownership, self.link, owner=lambda _: "c1", region="eu-west", clock=self.clock
        )

    async def compare(self, slot: int = 0) -> bool | None:
        comparing = asyncio.create_task(self.digests.compare(str(SLOTS[slot])))
        while not comparing.done():
            await self.clock.advance(0.5)
            await asyncio.sleep(0.001)
        return await comparing


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    rng = random.Random(4)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        found = Two(one, other)
        back = Link(PullServer(one.store, one.ownership, clock=CLOCK))
        async with pulling(one, found.link, "eu-west", rng), pulling(other, back, "eu-central", rng):  # type: ignore[arg-type]
            for n in range(20):
                await (one, other)[n % 2].write(SLOTS[0], f"k{n}", b"1")
            async with asyncio.timeout(10):
                while await one.store.vector(SLOTS[0]) != await other.store.vector(SLOTS[0]):
                    await asyncio.sleep(0.01)
        yield found


def damage(store: Twin, key: str) -> None:
    """What no code of ours does: an item that no op wrote."""
    database = store.store._writer.database
    database.execute("UPDATE items SET hlc = hlc + 1 WHERE sk = ?", (key,))


async def test_equal_twins_are_told_equal_and_nothing_is_called_a_difference(two: Two) -> None:
    assert await two.compare()

    found = two.digests.statistics()
    assert (found.differing, found.compared, found.slots) == ([], 1, 4)


async def test_an_item_that_differs_is_found_by_its_bucket_when_two_comparisons_agree(two: Two) -> None:
    damage(two.other, "k3")

    first = await two.compare()
    told_at_once = two.digests.statistics().differing
    second = await two.compare()

    assert (first, second) == (False, False)
    assert told_at_once == []
    (told,) = two.digests.statistics().differing
    assert told.startswith(f"{SLOTS[0]} buckets [")
    damage(two.one, "k3")
    assert await two.compare()
    assert two.digests.statistics().differing == []


async def test_while_one_side_lacks_ops_or_holds_them_back_nothing_is_said(two: Two) -> None:
    await two.other.write(SLOTS[0], "on its way", b"1")
    assert await two.compare() is None
    future = (CLOCK.wall_ms() + 60_000) << COUNTER_BITS
    op = Op(str(SLOTS[1]), "us-east", 1, 1, future, ItemChange("a", "x", b"1"), None)
    for side in (two.one, two.other):
        await side.store.apply(SLOTS[1], [op])

    assert await two.compare(1) is None
    assert two.digests.statistics().differing == []


async def test_digests_of_a_store_that_is_written_meanwhile_are_not_given(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = two.one.store
    whole = store.digest

    async def written_meanwhile(slot: object, *, buckets: int) -> object:
        found = await whole(SLOTS[0], buckets=buckets)
        await two.one.write(SLOTS[0], "meanwhile", b"1")
        return found

    monkeypatch.setattr(store, "digest", written_meanwhile)
    assert await digests_now(store, SLOTS[0]) is None


async def test_a_sender_keeps_the_residency_rule_and_its_bounds(two: Two) -> None:
    server = PullServer(
        two.other.store, two.other.ownership, clock=CLOCK, may_send=lambda region, _: region == "eu-central"
    )
    slots = [str(slot) for slot in SLOTS]

    told = await server.answer(PullRequest(slots={}, digests=slots, wait_ms=0, region="eu-central"))
    barred = await server.answer(PullRequest(slots={}, digests=slots, wait_ms=0, region="us-east"))

    assert sorted(told.digests) == sorted(slots)
    assert barred.digests == {}
    with pytest.raises(Invalid):
        await server.answer(PullRequest(slots={}, digests=slots * 3, wait_ms=0, region="eu-central"))


async def test_every_slot_has_its_turn_and_a_cut_link_only_makes_the_last_comparison_older(two: Two) -> None:
    running = asyncio.create_task(two.digests.run())
    async with asyncio.timeout(20):
        while two.digests.statistics().compared < len(OWNERS["c1"]["eu/de/main"]):
            await two.clock.advance(10)
            await asyncio.sleep(0.001)
        two.link.cut = True
        for _ in range(80):
            await two.clock.advance(10)
            await asyncio.sleep(0.001)

    assert not running.done()
    assert two.digests.statistics().oldest_ms > 200_000
    assert two.digests.statistics().differing == []
    running.cancel()
    with pytest.raises(Unavailable):
        await two.compare()


async def test_a_difference_in_a_slot_that_went_to_another_cell_is_not_told_for_ever(two: Two) -> None:
    """Its new cell compares it; what was found here is of the past, also when the slot comes back."""
    damage(two.other, "k3")
    for _ in range(2):
        await two.compare()
    assert two.digests.differing(str(SLOTS[0]))
    store, slot = two.one.store, SLOTS[0]

    await store.freeze(slot, move=1, epoch=1)
    await store.settle(slot, move=1, epoch=2, owner="c2")
    await two.one.ownership.refresh()

    assert two.digests.statistics().differing == []
    assert two.digests.differing(str(slot)) == []
