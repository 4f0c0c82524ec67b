"""Read-your-writes by the position that a caller carries: in the same cell, at the twin, after a move, after a return."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from eisbach.cell.ownership import Ownership
from eisbach.cell.position import Positions
from eisbach.cell.routes import Call
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import SlotMoved
from eisbach.kernel.versions import Mark, encode_position
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_host import HERE, SLOT, THERE, an_op, exchange, put, write
from eisbach.testing.store_move_promises import copy_all


class World:
    """Two cells of one region, and the twin's."""

    def __init__(self, clock: ManualClock, c1: SqliteStore, c2: SqliteStore, twin: SqliteStore) -> None:
        self.clock, self.c1, self.c2, self.twin = clock, c1, c2, twin
        self.reachable = True

    async def read(self, store: SqliteStore, position: dict[str, Mark]) -> int | None:
        """The age of what is shown; None: it is what the caller has seen, or newer."""
        positions = Positions(
            store, cell="c", clock=self.clock, reachable=lambda _: self.reachable, age_ms=lambda _: 4_711
        )
        call = Call("r", {}, {}, {}, on=SLOT)
        return await positions.wait(call, encode_position(position), reading=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(
                open_store(tmp_path / f"{region}-{cell}.db", region=region, clock=clock, cell=cell, disk=inline)
            )
            for region, cell in ((HERE, "c1"), (HERE, "c2"), (THERE, "c1"))
        ]
        for store in (stores[0], stores[2]):
            await Ownership(store, cell="c1", groups={"eu/de/main": 64}, owners={}).open([SLOT])
        yield World(clock, *stores)


async def test_in_the_same_cell_what_was_answered_is_shown(world: World) -> None:
    mark = (await write(world.c1, put())).mark

    assert await world.read(world.c1, {HERE: mark}) is None


async def test_at_the_twin_it_is_shown_once_it_is_there_within_a_tenth_of_a_second(world: World) -> None:
    mark = (await write(world.c1, put())).mark
    reading = asyncio.create_task(world.read(world.twin, {HERE: mark}))
    await asyncio.sleep(0)

    await exchange(world.c1, world.twin)

    assert await reading is None


async def test_at_the_twin_that_lacks_it_the_caller_is_sent_to_the_region_that_has_it(world: World) -> None:
    mark = (await write(world.c1, put())).mark

    with pytest.raises(SlotMoved) as sent:
        await world.read(world.twin, {HERE: mark})

    assert (sent.value.owner, sent.value.epoch) == (HERE, 1)


async def test_after_a_failover_the_twin_says_how_old_what_it_shows_is(world: World) -> None:
    mark = (await write(world.c1, put())).mark
    world.reachable = False

    assert await world.read(world.twin, {HERE: mark}) == 4_711
    await exchange(world.c1, world.twin)
    assert await world.read(world.twin, {HERE: mark}) is None


async def test_a_position_that_neither_region_can_show_is_answered_and_not_sent_from_one_to_the_other(
    world: World,
) -> None:
    """Both were restored to an earlier second, or somebody made it up: it was 421 at each, for ever."""
    seen = {HERE: Mark(1, 99), THERE: Mark(1, 99)}

    assert await world.read(world.c1, seen) == 4_711
    assert await world.read(world.twin, seen) == 4_711


async def test_an_op_that_the_twin_holds_back_is_not_yet_shown_though_its_log_has_it(world: World) -> None:
    """Its clock is more than 500 ms behind."""
    world.reachable = False
    await world.twin.apply(SLOT, [msgspec.structs.replace(an_op(1, at_ms=world.clock.wall_ms() + 60_000), origin=HERE)])

    assert await world.read(world.twin, {HERE: Mark(1, 1)}) == 4_711
    await world.clock.advance(61)
    await world.twin.release_held()
    assert await world.read(world.twin, {HERE: Mark(1, 1)}) is None


async def test_after_a_move_the_new_owner_shows_what_the_old_one_answered_the_twins_writes_too(world: World) -> None:
    mine = (await write(world.c1, put())).mark
    theirs = (await write(world.twin, put("b"))).mark
    await exchange(world.twin, world.c1)

    await world.c2.begin_import(SLOT, move=1, epoch=1)
    cursor = await copy_all(world.c1, world.c2, move=1)
    last = (await write(world.c1, put("last"))).mark
    await world.c1.freeze(SLOT, move=1, epoch=1)
    await copy_all(world.c1, world.c2, move=1, cursor=cursor)
    await world.c2.settle(SLOT, move=1, epoch=2, owner=None)

    for seen in ({HERE: mine}, {HERE: last}, {THERE: theirs}, {HERE: last, THERE: theirs}):
        assert await world.read(world.c2, seen) is None
    after = (await write(world.c2, put("after"))).mark
    assert after == Mark(2, 1)
    assert await world.read(world.c2, {HERE: after}) is None


async def test_a_region_that_returns_shows_what_the_other_answered_meanwhile_and_what_it_had_answered_itself(
    world: World,
) -> None:
    before = (await write(world.c1, put())).mark
    await exchange(world.c1, world.twin)
    await world.c1.stand_aside(SLOT, epoch=2, owner=THERE)
    meanwhile = (await write(world.twin, put("b"))).mark
    seen = {HERE: before, THERE: meanwhile}

    await world.c1.stand_aside(SLOT, epoch=3, owner=None)
    with pytest.raises(SlotMoved):
        await world.read(world.c1, seen)
    await exchange(world.twin, world.c1)

    assert await world.read(world.c1, seen) is None
    again = (await write(world.c1, put("c"))).mark
    assert await world.read(world.c1, {**seen, HERE: again}) is None
