"""A planned evacuation loses nothing and proves it (P12): slot by slot, on two stores that pull from each other."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from test_peer_durability import Link
from test_twins import GROUPS, SLOTS, Twin, digests, pulling, twin

from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.last_word import LastWord
from eisbach.cell.moving import Moving, StandAside, StoodAside, Surroundings
from eisbach.cell.puller import PullServer
from eisbach.cell.slot_imports import SlotImports
from eisbach.control.evacuation import Evacuation
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import SlotMoved
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, covers

CLOCK = SystemClock()


class NoHub:
    def last_lsn(self) -> int:
        return 0

    async def has(self, lsn: int) -> bool:
        return lsn == 0


class Side:
    """A region of one cell: the control process's way to it, too."""

    def __init__(self, it: Twin, *, region: str, other: str, folder: Path) -> None:
        self.twin, self.region, self.other = it, region, other
        acknowledged = Acknowledged(region=region, peers=[other], clock=CLOCK)
        self.link = Link(PullServer(it.store, it.ownership, clock=CLOCK, acknowledged=acknowledged))
        imports = SlotImports(it.store, it.ownership, self, clock=CLOCK, rng=random.Random(1))  # type: ignore[arg-type]
        self.moving = Moving(
            it.store, it.ownership, imports, relayed=NoHub(), clock=CLOCK, surroundings=self.surroundings(acknowledged)
        )
        self.control = SqliteControlStore(folder / f"{region}-control.db")
        self.evacuation = Evacuation(
            self.control, self, region=region, owners=lambda: {str(slot): "c1" for slot in SLOTS}, clock=CLOCK
        )

    def surroundings(self, acknowledged: Acknowledged) -> Surroundings:
        return Surroundings(acknowledged=acknowledged, last_word=self.asked)

    def meets(self, link: Link) -> None:
        """As the production's composition has it: the other region's cell is asked by the puller's way."""
        one = self.twin
        self.last_word = LastWord(one.store, link, owner=lambda _: "c1", region=self.other, clock=CLOCK)

    async def asked(self, peer: str, slot: Slot) -> dict[str, Mark]:
        assert peer == self.other
        return await self.last_word.vector(slot)

    async def stand_aside(self, cell: str, asked: StandAside) -> StoodAside:
        return await self.moving.stand_aside(asked)

    async def vectors(self, cell: str, asked: StandAside) -> StoodAside:
        return await self.moving.vectors(asked)


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    rng = random.Random(2)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as two:
        here = Side(one, region="eu-central", other="eu-west", folder=tmp_path)
        there = Side(two, region="eu-west", other="eu-central", folder=tmp_path)
        here.meets(there.link)
        there.meets(here.link)
        async with pulling(two, here.link, "eu-central", rng), pulling(one, there.link, "eu-west", rng):  # type: ignore[arg-type]
            for n in range(20):
                await one.write(SLOTS[n % 4], f"k{n}", b"1")
            async with asyncio.timeout(10):
                while await digests(one) != await digests(two):
                    await asyncio.sleep(0.01)
            yield here, there
        await here.control.aclose()
        await there.control.aclose()


async def _writing(it: Twin, name: str, acknowledged: list[str]) -> None:
    for n in range(100_000):
        await it.write(SLOTS[n % 4], f"{name}-{n}", b"1")
        acknowledged.append(f"{name}-{n}")
        await asyncio.sleep(0.001)


async def test_a_planned_evacuation_under_writes_loses_nothing_and_keeps_its_proof(sides: tuple[Side, Side]) -> None:
    here, there = sides
    acknowledged: list[str] = []
    writers = [asyncio.create_task(_writing(side.twin, side.region, acknowledged)) for side in sides]

    record = await here.evacuation.perform("evacuate", "eu-west", wait_ms=10_000)

    with pytest.raises(SlotMoved):
        await writers[0]
    writers[1].cancel()
    assert record.proved
    assert record.ended_ms
    assert await here.evacuation.last() == record, "the document is kept"
    assert here.evacuation.out() == {"other": "eu-west", "since_ms": record.began_ms, "slots": 4}
    for slot in SLOTS:
        proof = record.slots[str(slot)]
        assert proof.vector == dict(await here.twin.store.vector(slot)) or covers(
            await here.twin.store.vector(slot), proof.vector
        )
        assert covers(await there.twin.store.vector(slot), proof.vector)
    found = {item.key.sk for slot in SLOTS for item in await there.twin.store.query(slot, "a", limit=1000)}
    assert set(acknowledged) - found == set()


async def test_an_evacuated_region_sends_its_callers_to_the_other_and_goes_on_following(
    sides: tuple[Side, Side],
) -> None:
    here, there = sides
    assert (await here.evacuation.perform("evacuate", "eu-west", wait_ms=10_000)).proved

    with pytest.raises(SlotMoved) as refused:
        here.twin.ownership.check(SLOTS[0])
    assert refused.value.owner == "eu-west"
    await there.twin.write(SLOTS[0], "later", b"1")
    async with asyncio.timeout(10):
        while await digests(here.twin) != await digests(there.twin):
            await asyncio.sleep(0.01)


async def test_the_region_returns_with_everything_and_under_a_higher_epoch(sides: tuple[Side, Side]) -> None:
    here, there = sides
    await here.evacuation.perform("evacuate", "eu-west", wait_ms=10_000)
    for n in range(40):
        await there.twin.write(SLOTS[n % 4], f"meanwhile-{n}", b"1")

    record = await here.evacuation.perform("return", "eu-west", wait_ms=10_000)

    assert (record.proved, here.evacuation.out()) == (True, {})
    assert {proof.epoch for proof in record.slots.values()} == {3}
    await here.twin.write(SLOTS[0], "again", b"1")
    async with asyncio.timeout(10):
        while await digests(here.twin) != await digests(there.twin):
            await asyncio.sleep(0.01)
    found = [item.key.sk for slot in SLOTS for item in await here.twin.store.query(slot, "a", limit=1000)]
    assert sum(sk.startswith("meanwhile") for sk in found) == 40


async def test_what_the_other_region_took_while_it_was_not_heard_is_missing_in_no_return_that_is_called_proved(
    sides: tuple[Side, Side],
) -> None:
    """Its cells said last that they hold what is here; they have acknowledged more since, and then stood still."""
    here, there = sides
    assert (await here.evacuation.perform("evacuate", "eu-west", wait_ms=10_000)).proved
    here.link.cut = there.link.cut = True
    await there.twin.write(SLOTS[0], "unheard", b"1")

    in_the_cut = await here.evacuation.perform("return", "eu-west", wait_ms=0)
    here.link.cut = there.link.cut = False
    after_it = await here.evacuation.perform("return", "eu-west", wait_ms=10_000)

    assert [one.proved for one in in_the_cut.slots.values()] == [False] * 4
    assert "does not say what it has now" in in_the_cut.slots[str(SLOTS[0])].trouble
    assert after_it.proved
    assert "unheard" in {item.key.sk for item in await here.twin.store.query(SLOTS[0], "a", limit=1000)}


async def test_a_region_returns_though_the_other_one_goes_on_writing(sides: tuple[Side, Side]) -> None:
    here, there = sides
    await here.evacuation.perform("evacuate", "eu-west", wait_ms=10_000)
    acknowledged: list[str] = []
    writing = asyncio.create_task(_writing(there.twin, "meanwhile", acknowledged))
    while len(acknowledged) < 8:
        await asyncio.sleep(0)
    before = list(acknowledged)

    record = await here.evacuation.perform("return", "eu-west", wait_ms=10_000)

    writing.cancel()
    assert record.proved
    found = {item.key.sk for slot in SLOTS for item in await here.twin.store.query(slot, "a", limit=1000)}
    assert set(before) - found == set()


async def test_without_the_other_region_nothing_is_stopped_and_nothing_is_called_proved(tmp_path: Path) -> None:
    async with twin(tmp_path, "eu-central") as one:
        here = Side(one, region="eu-central", other="eu-west", folder=tmp_path)
        await one.write(SLOTS[0], "k", b"1")

        record = await here.evacuation.perform("evacuate", "eu-west", wait_ms=0)

        assert not record.proved
        assert "nothing was stopped" in record.slots[str(SLOTS[0])].trouble
        await one.write(SLOTS[0], "k", b"2")
        await here.control.aclose()


async def test_a_cut_in_the_middle_is_not_called_proved_and_the_next_call_goes_on(sides: tuple[Side, Side]) -> None:
    here, _ = sides
    here.link.cut = True
    await here.twin.write(SLOTS[0], "in flight", b"1")

    first = await here.evacuation.perform("evacuate", "eu-west", wait_ms=0)
    here.link.cut = False
    second = await here.evacuation.perform("evacuate", "eu-west", wait_ms=10_000)

    assert not first.slots[str(SLOTS[0])].proved
    assert second.proved
    assert {proof.epoch for proof in second.slots.values()} == {2}, "stopped once"
    assert GROUPS["eu/de/main"] == len(second.slots)
    with contextlib.suppress(SlotMoved):
        await here.twin.write(SLOTS[0], "late", b"1")
        raise AssertionError("an evacuated slot took a write")


async def test_an_evacuation_that_is_cut_short_by_a_crash_is_known_to_the_next_process(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the simulated world, seed 1801: slots were away, and nothing said so."""
    here, _ = sides

    async def dies(_cell: str, _asked: StandAside) -> StoodAside:
        raise asyncio.CancelledError

    monkeypatch.setattr(here, "stand_aside", dies)
    with pytest.raises(asyncio.CancelledError):
        await here.evacuation.perform("evacuate", "eu-west", wait_ms=1000)

    found = await here.evacuation.last()
    assert found is not None
    assert (found.action, found.proved) == ("evacuate", False)
