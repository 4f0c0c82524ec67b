"""Op logs are kept for seven days, and for whoever still needs them; then they are forgotten (P11)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.log_keeper import LogKeeper
from eisbach.cell.ownership import Ownership
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import LogGap
from eisbach.kernel.slots import Slot
from eisbach.ports.store import IMPORTED_LSN_MIN
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_host import HERE, SLOT, THERE, exchange, put, write

STUDIO = Slot.parse("any/all/studio/3")
DAY_S = 86_400


class World:
    """Two twins; ``here`` forgets."""

    def __init__(self, clock: ManualClock, here: SqliteStore, there: SqliteStore) -> None:
        self.clock, self.here, self.there = clock, here, there
        self.acknowledged = Acknowledged(region=HERE, peers=[THERE], clock=clock)
        self.kept_elsewhere = 1 << 40
        self.ownership = Ownership(here, cell="c1", groups={}, owners={})
        self.keeper = LogKeeper(
            here, self.ownership, self.acknowledged, needed_by=lambda _: [THERE],
            kept_elsewhere=lambda: self.kept_elsewhere, clock=clock,
        )  # fmt: skip

    async def twin_asks(self) -> None:
        self.acknowledged.note(THERE, {str(SLOT): dict(await self.there.vector(SLOT))})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        stores = []
        for region in (HERE, THERE):
            opening = open_store(tmp_path / f"{region}.db", region=region, clock=clock, cell="c1", disk=inline)
            stores.append(await stack.enter_async_context(opening))
            await Ownership(stores[-1], cell="c1", groups={}, owners={}).open([SLOT, STUDIO])
        found = World(clock, *stores)
        await found.ownership.refresh()
        for n in range(10):
            await write(found.here, put(f"old-{n}"))
        await exchange(found.here, found.there)
        yield found


async def test_what_is_seven_days_old_and_everybody_has_is_forgotten_and_the_twin_pulls_on(world: World) -> None:
    await world.twin_asks()
    assert await world.keeper.keep(SLOT) == 0, "young"
    await world.clock.advance(8 * DAY_S)
    await write(world.here, put("new"))

    assert await world.keeper.keep(SLOT) == 10
    assert await world.keeper.keep(SLOT) == 0
    await exchange(world.here, world.there)

    assert await world.here.digest(SLOT) == await world.there.digest(SLOT)
    with pytest.raises(LogGap):
        await world.here.ops_after(SLOT, {}, limit=9)


async def test_what_a_region_lacks_is_kept_for_it_however_old_and_so_is_all_of_it_while_it_has_not_asked(
    world: World,
) -> None:
    await world.clock.advance(40 * DAY_S)
    assert await world.keeper.keep(SLOT) == 0, "it has not asked since this process started"
    for n in range(5):
        await write(world.here, put(f"unsent-{n}"))
    await world.twin_asks()
    await world.clock.advance(40 * DAY_S)

    assert await world.keeper.keep(SLOT) == 10
    await exchange(world.here, world.there)

    assert await world.here.digest(SLOT) == await world.there.digest(SLOT)


async def test_what_hub_or_backups_lack_is_kept(world: World) -> None:
    await world.twin_asks()
    await world.clock.advance(8 * DAY_S)
    world.kept_elsewhere = 4

    assert await world.keeper.keep(SLOT) == 4


async def test_the_studios_log_is_kept_whole_and_a_region_alone_forgets_too(world: World) -> None:
    await write(world.here, put("title"), slot=STUDIO)
    await world.clock.advance(8 * DAY_S)
    alone = LogKeeper(
        world.here, world.ownership, None, needed_by=lambda _: [], kept_elsewhere=lambda: 1 << 40, clock=world.clock
    )

    assert await alone.keep(STUDIO) == 0
    assert await alone.keep(SLOT) == 10


async def test_long_logs_are_forgotten_in_pieces(world: World) -> None:
    for n in range(600):
        await write(world.here, put(f"more-{n % 7}"))
    await exchange(world.here, world.there)
    await world.twin_asks()
    await world.clock.advance(8 * DAY_S)
    await write(world.here, put("new"))
    running = asyncio.create_task(world.keeper.run())

    await world.clock.advance(62)

    running.cancel()
    assert world.keeper.forgotten == 610


async def test_what_a_move_set_aside_goes_within_a_minute_although_nobody_asks_for_it(world: World) -> None:
    """Found by the simulated world: a slot left and came back, and its old rows stayed for ever, an erased account's
    among them."""
    gone = await world.here.lease(SLOT)
    assert gone is not None
    await world.here.freeze(SLOT, move=1, epoch=gone.epoch)
    await world.here.settle(SLOT, move=1, epoch=gone.epoch + 1, owner="c2")
    await world.here.begin_import(SLOT, move=2, epoch=gone.epoch + 1)
    running = asyncio.create_task(world.keeper.run())

    await world.clock.advance(61)
    for _ in range(9):
        await world.clock.advance(0.1)

    running.cancel()
    assert (await world.here.log_after(IMPORTED_LSN_MIN, limit=99), await world.here.sweep()) == ([], 0)
