"""A control store that is lost in the middle of a move leaves no slot read-only, and none with two owners."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.control.test_moves import SLOT, Crashed, Region, record, run_to_end

from eisbach.cell.moving import LeaseView, Settle
from eisbach.control import frozen_slots
from eisbach.control.frozen_slots import FrozenSlots
from eisbach.control.moves import Mover
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import EisbachError


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    found = Region(tmp_path)
    await found.open("c1", "c2", "c3")
    yield found
    await closed(found)


async def closed(region: Region) -> None:
    await region.stack.aclose()
    await region.control.aclose()


def frozen(region: Region) -> FrozenSlots:
    return FrozenSlots(
        region.control, region, names=lambda: sorted(region.cells), slots=lambda: [str(SLOT)], clock=region.clock
    )


async def lose_the_store(region: Region) -> None:
    await region.control.aclose()
    region.control = SqliteControlStore(region.folder / "control-new.db")


async def moved_until(region: Region, step: int) -> bool:
    """A move whose coordinator dies at this call, before (positive) or after (negative) a cell has it; whether it did.

    Crashed is what the coordinator's task ends with, as a process that is killed.
    """
    await region.write(20)
    region.crash_at = step
    mover = region.mover()
    with contextlib.suppress(Crashed):
        await mover.request(SLOT, owner="c1", target="c2")
        for _ in range(400):
            running = asyncio.create_task(mover.activate())
            while not running.done():
                await region.clock.advance(0.02)
            await running
            await region.write()
            if (found := await record(mover)).phase == "settled" and len(found.told) == 2:
                return False
        raise AssertionError("neither crashed nor ended")
    return True


async def mended(region: Region) -> Mover:
    """A new control process over an empty store, until it has nothing to do."""
    await asyncio.wait_for(frozen(region).run(), 5)
    mover = region.mover()
    for _ in range(3):
        await mover.activate()
    return mover


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_at_whatever_step_the_store_is_lost_one_cell_serves_all_and_the_slot_moves_on(
    tmp_path: Path, *, after: bool
) -> None:
    step, seen = 1, set[str]()
    while True:
        region = Region(tmp_path / str(step))
        await region.open("c1", "c2", "c3")
        crashed = await moved_until(region, -step if after else step)
        region.crash_at = 0
        before = {name: lease.state for name, lease in (await region.leases()).items() if lease is not None}
        seen.add(before["c1"])
        await region.write(3)
        await lose_the_store(region)

        mover = await mended(region)
        for late in region.late:  # what was on its way from the process that died
            with contextlib.suppress(EisbachError):
                await late()

        owner = await region.check()
        await region.write(5)
        await region.check()
        if before["c1"] == "frozen":
            found = await record(mover)
            assert (found.owner, set(found.told)) == (owner, {"c1", "c2"})
        await mover.request(SLOT, owner=region.published.get(str(SLOT), owner), target="c3")
        assert (await run_to_end(region, mover, seconds=30)).owner == "c3"
        assert await region.check() == "c3"
        await closed(region)
        if not crashed:
            break
        step += 1
    assert {"active", "frozen", "gone"} <= seen


async def freeze_first(region: Region) -> None:
    step = 1
    while (lease := (await region.leases())["c1"]) is None or lease.state != "frozen":
        region.calls = 0
        assert await moved_until(region, -step)
        step += 1
        region.crash_at = 0
        if (await region.leases())["c1"].state != "frozen":  # type: ignore[union-attr]
            await region.mover().abort(SLOT, "once more")
            await run_to_end(region, region.mover(), seconds=30, writing=False)


async def test_a_cell_that_does_not_answer_is_waited_for_it_may_be_the_one_that_serves(region: Region) -> None:
    await freeze_first(region)
    await lose_the_store(region)
    region.down = {"c3"}
    running = asyncio.create_task(frozen(region).run())
    await region.clock.advance(12)

    lease = (await region.leases())["c1"]
    assert lease is not None
    assert lease.state == "frozen"
    assert not running.done()

    region.down = set()
    await region.clock.advance(6)
    await asyncio.wait_for(running, 5)
    await region.mover().activate()
    assert await region.check() == "c1"


async def test_a_move_that_is_asked_for_before_it_is_known_waits(region: Region) -> None:
    """Given up at once it would have woken the source under the epoch that the target may serve under."""
    await freeze_first(region)
    await lose_the_store(region)
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c3")
    await mover.activate()
    lease = (await region.leases())["c1"]
    assert (await record(mover)).phase == "queued"
    assert lease is not None
    assert lease.state == "frozen"

    await mended(region)

    assert (await record(mover)).outcome == "aborted"
    assert await region.check() == "c1"


async def test_an_activation_that_comes_late_from_the_process_that_died_makes_no_second_owner(region: Region) -> None:
    await freeze_first(region)
    cut = (await region.leases())["c1"]
    assert cut is not None
    await lose_the_store(region)
    await asyncio.wait_for(frozen(region).run(), 5)

    await region.cells["c2"].moving.settle(Settle(slot=str(SLOT), move=cut.move, epoch=cut.epoch + 1))
    lease = (await region.leases())["c2"]
    assert lease is not None
    assert lease.state == "gone", "before anybody else was told"

    await region.mover().activate()
    assert await region.check() == "c1"


async def test_a_move_that_goes_on_is_left_alone(region: Region) -> None:
    await freeze_first(region)
    before = await record(region.mover())

    await asyncio.wait_for(frozen(region).run(), 5)

    assert await record(region.mover()) == before


FROZEN = LeaseView(state="frozen", epoch=3, move=5)


@pytest.mark.parametrize(
    ("others", "wanted"),
    [
        ({"c2": LeaseView(state="active", epoch=4, move=5), "c3": LeaseView()}, ("committed", "c2", 4, 5)),
        ({"c2": LeaseView(), "c3": LeaseView(state="away", epoch=5, move=5)}, ("committed", "c3", 5, 5)),
        ({"c2": LeaseView(), "c3": LeaseView(state="importing", epoch=3, move=5)}, ("aborted", "c1", 5, 5)),
        ({"c2": LeaseView(state="gone", epoch=6, move=4), "c3": LeaseView()}, ("aborted", "c1", 8, 5)),
    ],
)
def test_how_it_ended_is_what_the_other_cells_say(
    others: dict[str, LeaseView], wanted: tuple[str, str, int, int]
) -> None:
    found = frozen_slots._ended("a/b/0", "c1", FROZEN, others, now_ms=1)

    assert (found.outcome, found.owner, found.epoch, found.move) == wanted
