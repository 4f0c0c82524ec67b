"""What a move's durations are measured by: the wall clock of control's machine jumps, and the process starts again."""

import asyncio

import pytest

from eisbach.cell.slot_imports import ImportProgress, PrepareImport
from eisbach.control.moves import DEADLINE_MS, DISCARD_AFTER_MS, Mover

from .test_moves import SLOT, Region, moved, record, run_to_end

HOURS_MS = 5 * 3_600_000


def never_ready(region: Region) -> None:
    async def copying(_: str, asked: PrepareImport) -> ImportProgress:
        return ImportProgress(state="importing", move=asked.move)

    region.prepare = copying  # type: ignore[method-assign]


async def begun(region: Region) -> Mover:
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c2")
    while (await record(mover)).phase != "moving":
        await mover.activate()
    await mover.activate()
    return mover


@pytest.mark.parametrize("jump_ms", [HOURS_MS, -HOURS_MS])
async def test_a_jump_of_the_wall_clock_gives_up_no_move(region: Region, jump_ms: int) -> None:
    await region.write(10)
    prepare = region.prepare
    never_ready(region)
    mover = await begun(region)

    region.clock.shift_wall(jump_ms)
    await region.clock.advance(1)
    await mover.activate()
    assert (await record(mover)).phase == "moving"

    region.prepare = prepare  # type: ignore[method-assign]
    assert (await run_to_end(region, mover, writing=False)).outcome == "committed"
    assert await region.check() == "c2"


async def test_a_jump_while_a_cell_does_not_answer_gives_up_no_move_either(region: Region) -> None:
    mover = await begun(region)
    region.down.add("c2")

    region.clock.shift_wall(HOURS_MS)
    await mover.activate()

    assert (await record(mover)).phase == "moving"


@pytest.mark.parametrize("jump_ms", [0, -HOURS_MS])
async def test_a_move_that_does_not_get_ready_is_given_up_in_its_time(region: Region, jump_ms: int) -> None:
    never_ready(region)
    mover = await begun(region)

    region.clock.shift_wall(jump_ms)
    await region.clock.advance(DEADLINE_MS / 1000 + 1)
    await mover.activate()

    found = await record(mover)
    assert (found.phase, found.outcome) == ("settled", "aborted")
    assert found.reason.startswith("not ready after 120 s")


async def test_the_deadline_counts_anew_from_a_restart_and_ends(region: Region) -> None:
    never_ready(region)
    await begun(region)
    await region.clock.advance(DEADLINE_MS / 1000 + 1)

    mover = region.mover()  # control was down meanwhile
    await mover.activate()
    assert (await record(mover)).phase == "moving"
    await region.clock.advance(DEADLINE_MS / 1000 + 1)
    await mover.activate()

    assert (await record(mover)).outcome == "aborted"


@pytest.mark.parametrize("jump_ms", [HOURS_MS, -HOURS_MS])
async def test_what_a_slot_left_behind_is_kept_for_its_time_whatever_the_wall_clock_says(
    region: Region, jump_ms: int
) -> None:
    await region.write(3)
    await moved(region, writing=False)
    mover = region.mover()
    await mover.activate()

    region.clock.shift_wall(jump_ms)
    await mover.activate()
    assert await region.cells["c1"].store.vector(SLOT), "reads may still be on their way"
    await region.clock.advance(DISCARD_AFTER_MS / 1000)
    sweep = asyncio.create_task(mover.activate())
    await region.clock.advance(1)
    await sweep

    assert not await region.cells["c1"].store.vector(SLOT)
