"""A slot that is known to differ from its twin is not called proved: vectors say what was applied, not what came of it."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_evacuation import Side
from test_peer_durability import Link
from test_twin_digests import damage
from test_twins import SLOTS, digests, pulling, twin

from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.moving import Surroundings
from eisbach.cell.twin_digests import TwinDigests
from eisbach.control.evacuation import EvacuationRecord
from eisbach.engines.embedded.clock import SystemClock
from eisbach.testing.manual_clock import ManualClock

CLOCK = SystemClock()
SLOT = str(SLOTS[0])


class Compared(Side):
    """A region whose cell compares with its twin, and says so to control as the production's composition has it."""

    def compares(self, link: Link) -> None:
        self.clock = ManualClock()
        self.digests = TwinDigests(
            self.twin.store, self.twin.ownership, link, owner=lambda _: "c1", region=self.other, clock=self.clock
        )

    def surroundings(self, acknowledged: Acknowledged) -> Surroundings:
        return replace(super().surroundings(acknowledged), differing=self.differing)

    def differing(self, slot: str) -> dict[str, list[int]]:
        return {self.other: found} if (found := self.digests.differing(slot)) else {}

    async def compare(self) -> None:
        comparing = asyncio.create_task(self.digests.compare(SLOT))
        while not comparing.done():
            await self.clock.advance(0.5)
            await asyncio.sleep(0.001)
        assert await comparing is not None

    async def perform(self, action: str, *, force: bool = False) -> EvacuationRecord:
        return await self.evacuation.perform(action, self.other, wait_ms=10_000, force=force)


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Compared, Compared]]:
    """``here`` has an item in slot 0 that the other one shows otherwise, and knows it."""
    rng = random.Random(2)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as two:
        here = Compared(one, region="eu-central", other="eu-west", folder=tmp_path)
        there = Compared(two, region="eu-west", other="eu-central", folder=tmp_path)
        here.compares(there.link)
        here.meets(there.link)
        async with pulling(two, here.link, "eu-central", rng), pulling(one, there.link, "eu-west", rng):  # type: ignore[arg-type]
            for n in range(20):
                await one.write(SLOTS[n % 4], f"k{n}", b"1")
            async with asyncio.timeout(10):
                while await digests(one) != await digests(two):
                    await asyncio.sleep(0.01)
            damage(two, "k0")
            for _ in range(2):
                await here.compare()
            yield here, there
        await here.control.aclose()
        await there.control.aclose()


async def test_a_slot_that_differs_from_its_twin_stays_and_serves_and_is_told_with_what_to_do(
    sides: tuple[Compared, Compared],
) -> None:
    here, _ = sides

    record = await here.perform("evacuate")

    assert (record.proved, record.through, record.ended_ms, here.evacuation.out()) == (False, False, 0, {})
    assert {slot: one.proved for slot, one in record.slots.items()} == {str(s): s != SLOTS[0] for s in SLOTS}
    trouble = record.slots[SLOT].trouble
    for said in (
        "differs from its twin in eu-west, as its cell found, though",
        "it is served here",
        "docs/backup.md",
        "--force",
    ):
        assert said in trouble
    assert here.evacuation.unfinished()["slots"] == {SLOT: trouble}
    await here.twin.write(SLOTS[0], "goes on", b"1")


async def test_once_the_twins_agree_again_the_next_call_proves_the_slot(sides: tuple[Compared, Compared]) -> None:
    here, _ = sides
    await here.perform("evacuate")

    damage(here.twin, "k0")  # both have the same again
    await here.compare()
    record = await here.perform("evacuate")

    assert (record.proved, here.evacuation.unfinished()) == (True, {})
    assert here.evacuation.out()["slots"] == 4


async def test_with_force_such_a_slot_goes_and_comes_back_and_neither_is_called_proved(
    sides: tuple[Compared, Compared],
) -> None:
    here, _ = sides

    left = await here.perform("evacuate", force=True)

    assert (left.proved, left.through, here.evacuation.unfinished()) == (False, True, {})
    assert {one.state for one in (await here.evacuation.states(answer_s=1)).values()} == {"away"}
    trouble = left.slots[SLOT].trouble
    assert trouble.startswith("it differs from its twin in eu-west, as its cell found, though")
    assert trouble.endswith("; --force left it all the same")
    assert {k: v for k, v in here.evacuation.out().items() if k != "since_ms"} == {
        "other": "eu-west", "slots": 3, "unproved": [SLOT],
    }  # fmt: skip
    refused = await here.perform("return")
    assert (refused.through, refused.slots[SLOT].proved) == (False, False)
    assert "region eu-west serves it" in refused.slots[SLOT].trouble
    back = await here.perform("return", force=True)
    assert (back.proved, back.through) == (False, True)
    assert {one.state for one in (await here.evacuation.states(answer_s=1)).values()} == {"active"}
