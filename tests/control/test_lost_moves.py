"""A control store that is lost in or after a move leaves no slot read-only, none with two owners, and no wrong map."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eisbach.cell.moving import Freeze, LeaseView, Settle
from eisbach.cell.slot_imports import PrepareImport
from eisbach.control.lost_moves import LostMoves, how_it_ended
from eisbach.control.moves import Mover
from eisbach.control.slot_record import LOST
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import EisbachError, Unavailable, VersionConflict
from eisbach.ports.store import ItemKey, Lease

from .test_moves import SLOT, Crashed, Region, record, run_to_end


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    found = Region(tmp_path)
    await found.open("c1", "c2", "c3")
    yield found
    await found.aclose()


def lost(region: Region) -> LostMoves:
    return LostMoves(
        region.control, region, names=lambda: sorted(region.cells), slots=lambda: [str(SLOT)], clock=region.clock
    )


async def lose_the_store(region: Region) -> None:
    """With it what was published and the edge did not take yet: it still sends the slot to where it was at first."""
    await region.control.aclose()
    region.published.clear()
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
    await asyncio.wait_for(lost(region).run(), 5)
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
        assert region.published.get(str(SLOT), "c1") == owner, f"step {step}: the map is wrong for good"
        if before["c1"] in ("frozen", "gone"):
            found = await record(mover)
            assert (found.owner, set(found.told)) == (owner, {"c1", "c2"})
        await mover.request(SLOT, owner=region.published.get(str(SLOT), "c1"), target="c3")
        assert (await run_to_end(region, mover, seconds=30)).owner == "c3"
        assert await region.check() == "c3"
        await region.aclose()
        if not crashed:
            break
        step += 1
    assert {"active", "frozen", "gone"} <= seen


async def test_a_move_that_was_asked_for_before_it_is_known_whose_the_slot_is_finds_its_owner(region: Region) -> None:
    await moved_until(region, 0)
    await lose_the_store(region)
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c3")
    await mover.activate()
    assert "by move 1, whose record was lost" in mover.waits[str(SLOT)]

    await mended(region)

    found = await record(mover)
    assert (found.owner, found.outcome, found.told) == ("c2", "committed", ("c1", "c2"))
    assert region.published == {str(SLOT): "c2"}
    await mover.request(SLOT, owner="c2", target="c1")
    back = await run_to_end(region, mover, seconds=30, writing=False)
    assert (back.owner, back.outcome) == ("c1", "committed")
    assert back.epoch > found.epoch


async def test_what_a_slot_left_behind_before_the_store_was_lost_is_let_go_of_everywhere(region: Region) -> None:
    """P22: an account that is erased at its owner would stay for ever where the slot was before."""
    await moved_until(region, 0)
    mover = region.mover()
    await mover.request(SLOT, owner="c2", target="c3")
    await run_to_end(region, mover, seconds=30, writing=False)
    await lose_the_store(region)
    mover = await mended(region)
    assert await region.cells["c1"].store.read(SLOT, ItemKey("a", "k1")) is not None

    await region.clock.advance(61)
    sweep = asyncio.create_task(mover.activate())
    await region.clock.advance(1)
    await sweep

    assert (await record(mover)).done
    assert [await region.cells[name].store.read(SLOT, ItemKey("a", "k1")) for name in ("c1", "c2")] == [None, None]
    assert await region.check() == "c3"


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
    running = asyncio.create_task(lost(region).run())
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


async def test_a_cell_that_is_silent_is_waited_for_once_a_look_and_not_at_each_slot(region: Region) -> None:
    """Its time-out at every slot that ever moved: minutes, until status named the first."""
    await freeze_first(region)
    await lose_the_store(region)
    region.down = {"c3"}
    asked: list[str] = []
    look = region.look

    async def counted(cell: str, slot: str) -> LeaseView:
        asked.append(cell)
        return await look(cell, slot)

    region.look = counted  # type: ignore[method-assign]
    looking = lost(region)
    running = asyncio.create_task(looking.run())
    await region.clock.advance(12)

    assert set(asked) == {"c1", "c2"}
    assert "c3: " in looking.waits[str(SLOT)]
    running.cancel()


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
    await asyncio.wait_for(lost(region).run(), 5)

    await region.cells["c2"].moving.settle(Settle(slot=str(SLOT), move=cut.move, epoch=cut.epoch + 1))
    lease = (await region.leases())["c2"]
    assert lease is not None
    assert lease.state == "gone", "before anybody else was told"

    await region.mover().activate()
    assert await region.check() == "c1"


async def test_a_move_that_goes_on_is_left_alone(region: Region) -> None:
    await freeze_first(region)
    before = await record(region.mover())

    await asyncio.wait_for(lost(region).run(), 5)

    assert await record(region.mover()) == before


async def test_who_gives_up_a_move_that_never_began_wakes_no_source_whose_slot_is_served_elsewhere(
    region: Region,
) -> None:
    """It is frozen under the first epoch by a move that nobody remembers, and that was committed."""
    await region.cells["c1"].store.freeze(SLOT, move=1, epoch=1)
    cut = (await region.leases())["c1"]
    await region.cells["c2"].store.set_lease(SLOT, expected=None, lease=Lease(2, "active", 0, 1))
    await lose_the_store(region)
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c3")

    await mover.abort(SLOT, "an operator gave it up")
    await mover.activate()

    assert await region.check() == "c2"
    assert (await region.leases())["c1"] == cut
    await mended(region)
    assert (await record(mover)).owner == await region.check() == "c2"


async def test_a_move_that_is_given_up_unheard_leaves_the_map_with_the_owner_that_the_cells_named(
    region: Region,
) -> None:
    """Seed 875: it was asked for before the map had followed the record that was made anew, which it took the place of.

    Nor does it leave there for good what its target has kept since it gave the slot (P22).
    """
    await moved_until(region, 0)
    await lose_the_store(region)
    await asyncio.wait_for(lost(region).run(), 5)
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c1")

    await mover.abort(SLOT, "an operator gave it up")
    await mover.activate()

    assert region.published == {str(SLOT): await region.check()} == {str(SLOT): "c2"}
    assert await region.cells["c1"].store.read(SLOT, ItemKey("a", "k1")) is not None
    await region.clock.advance(61)
    sweep = asyncio.create_task(mover.activate())
    await region.clock.advance(1)
    await sweep
    assert (await record(mover)).done
    assert await region.cells["c1"].store.read(SLOT, ItemKey("a", "k1")) is None


async def test_an_activation_that_comes_after_the_look_and_before_the_import_is_let_go_of_has_committed_the_move(
    region: Region,
) -> None:
    """Seed 657419: it lay in the buffer of a cell that stood still; both were told of the same epoch, and both served."""
    await freeze_first(region)
    cut = (await region.leases())["c1"]
    assert cut is not None
    await lose_the_store(region)
    settle, target = region.settle, region.cells["c2"].moving

    async def late(cell: str, asked: Settle) -> LeaseView:
        if cell == "c2" and asked.owner is not None:
            await target.settle(Settle(slot=str(SLOT), move=cut.move, epoch=cut.epoch + 1))
        return await settle(cell, asked)

    await target.drain(Freeze(slot=str(SLOT), move=cut.move, epoch=cut.epoch, wait_ms=0))
    region.settle = late  # type: ignore[method-assign]
    mover = await mended(region)

    assert await region.check() == "c2"
    found = await record(mover)
    assert (found.owner, found.outcome, set(found.told)) == ("c2", "committed", {"c1", "c2"})


async def test_a_crash_after_the_end_is_on_record_and_before_an_import_is_let_go_of_goes_on(region: Region) -> None:
    await freeze_first(region)
    await lose_the_store(region)
    region.calls, settle = 0, region.settle

    async def dies(cell: str, asked: Settle) -> LeaseView:
        raise Crashed

    region.settle = dies  # type: ignore[method-assign]
    with pytest.raises(Crashed):
        await lost(region).run()
    mover = region.mover()
    await mover.activate()
    assert (await record(mover)).phase == LOST
    assert (await region.leases())["c1"].state == "frozen", "nobody was told"  # type: ignore[union-attr]
    with pytest.raises(VersionConflict, match="on its way"):
        await mover.request(SLOT, owner="c1", target="c3")
    with pytest.raises(VersionConflict, match=r"was lost, it ends by itself"):
        await mover.abort(SLOT, "impatient")

    region.settle = settle  # type: ignore[method-assign]
    await mended(region)

    assert await region.check() == "c1"


async def test_a_move_that_is_driven_meanwhile_ends_first(region: Region) -> None:
    """A cell that was silent tells of a later one; taken for the last word it would let go of the import of this."""
    await region.write(5)
    ghost = PrepareImport(slot=str(SLOT), move=9, epoch=1, source="c1")
    await region.cells["c3"].moving.prepare(ghost)
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c2")
    await mover.activate()
    looking = lost(region)
    running = asyncio.create_task(looking.run())
    await region.clock.advance(0.01)

    assert looking.waits == {str(SLOT): f"slot {SLOT} is on its way to c2 (move 1), which ends first"}
    assert (await run_to_end(region, mover, seconds=30)).outcome == "committed"

    await region.clock.advance(6)
    await asyncio.wait_for(running, 5)
    await mended(region)
    assert await region.check() == "c2"
    assert (await region.leases())["c3"].state == "gone"  # type: ignore[union-attr]


FROZEN = LeaseView(state="frozen", epoch=3, move=5)
GONE = LeaseView(state="gone", epoch=7, move=4, owner="c2")
ACTIVE = LeaseView(state="active", epoch=7, move=4)
NONE = LeaseView()


@pytest.mark.parametrize(
    ("found", "silent", "wanted"),
    [
        ({"c1": FROZEN, "c2": LeaseView(state="active", epoch=4, move=5), "c3": NONE}, "", ("committed", "c2", 4, 5)),
        ({"c1": FROZEN, "c2": NONE, "c3": LeaseView(state="away", epoch=5, move=5)}, "", ("committed", "c3", 5, 5)),
        ({"c1": FROZEN, "c2": NONE, "c3": LeaseView(state="importing", epoch=3, move=5)}, "", ("aborted", "c1", 4, 5)),
        ({"c1": GONE, "c2": ACTIVE, "c3": NONE}, "", ("committed", "c2", 7, 4)),
        ({"c1": GONE, "c2": ACTIVE}, "c3 is dead", ("committed", "c2", 7, 4)),
        # left to the other region and taken back since
        ({"c1": GONE, "c2": LeaseView(state="active", epoch=9, move=4)}, "c3", ("committed", "c2", 9, 4)),
        ({"c1": GONE, "c2": LeaseView(state="away", epoch=8, move=4, owner="eu-west")}, "", ("committed", "c2", 8, 4)),
        # given up before it froze
        (
            {"c1": ACTIVE, "c2": LeaseView(state="importing", epoch=7, move=6), "c3": GONE},
            "",
            ("aborted", "c1", 8, 6),
        ),
        # and its source left to the other region meanwhile, under an epoch of its own (seed 1689)
        (
            {"c1": LeaseView(state="away", epoch=8, move=4), "c2": LeaseView(state="importing", epoch=7, move=6)},
            "",
            ("aborted", "c1", 8, 6),
        ),
    ],
)
def test_how_it_ended_is_what_the_cells_say(
    found: dict[str, LeaseView], silent: str, wanted: tuple[str, str, int, int]
) -> None:
    record = how_it_ended("a/b/0", found, silent, now_ms=1)

    assert (record.outcome, record.owner, record.epoch, record.move) == wanted
    assert (record.owner in record.told) == (found[record.owner].epoch == record.epoch)


@pytest.mark.parametrize(
    ("found", "silent"),
    [
        ({"c1": FROZEN, "c2": NONE}, "c3 is dead"),  # it may be the one that serves
        ({"c1": GONE, "c2": LeaseView(state="active", epoch=6, move=4)}, ""),  # an older copy
        ({"c1": GONE, "c2": LeaseView(state="importing", epoch=6, move=4), "c3": NONE}, ""),
        ({"c1": GONE, "c2": NONE}, ""),
        ({"c2": ACTIVE}, "c1 is dead"),
        ({"c1": GONE, "c3": ACTIVE}, "c2 is dead"),
    ],
)
def test_what_the_cells_that_answered_cannot_know_is_waited_for(found: dict[str, LeaseView], silent: str) -> None:
    with pytest.raises(Unavailable, match=r"whose slot a/b/0 is cannot be known yet: .* under epoch"):
        how_it_ended("a/b/0", found, silent, now_ms=1)


async def test_cells_that_all_fall_silent_after_they_told_their_leases_are_asked_again(region: Region) -> None:
    """The process ended with a ValueError, over and over for as long as they were away."""
    await moved_until(region, 0)
    await lose_the_store(region)
    look = region.look

    async def silent(cell: str, slot: str) -> LeaseView:
        raise Unavailable(f"{cell} is dead")

    region.look = silent  # type: ignore[method-assign]
    looking = lost(region)
    running = asyncio.create_task(looking.run())
    await region.clock.advance(0.1)
    assert "no cell that answers has it; c1: c1 is dead; c2: c2 is dead" in looking.waits[str(SLOT)]

    region.look = look  # type: ignore[method-assign]
    await region.clock.advance(6)
    await asyncio.wait_for(running, 5)
    assert (await record(region.mover())).owner == "c2"


def test_what_every_cell_has_left_behind_is_let_go_of() -> None:
    older = LeaseView(state="gone", epoch=3, move=2, owner="c1")
    found = how_it_ended("a/b/0", {"c1": GONE, "c2": ACTIVE, "c3": older}, "", now_ms=1)

    assert (found.other, found.kept, found.discarded) == ("c1", {"c3": 2}, False)
