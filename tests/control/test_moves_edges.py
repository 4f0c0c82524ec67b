"""Narrow windows of moves and evacuations: each was a bug planted by somebody who did not know the tests, and unseen."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from eisbach.cell.moving import Freeze, LeaseView, Settle, StandAside, StoodAside
from eisbach.control.evacuation import Evacuation
from eisbach.control.slot_record import SlotRecord, SlotRecords
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import SlotMoved, Unavailable, VersionConflict
from eisbach.kernel.events import EventDraft
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Lease, Transaction, Write
from eisbach.testing.manual_clock import ManualClock, settle

from .test_moves import SLOT, Region


async def test_who_only_has_a_copy_serves_nobody(region: Region) -> None:
    """A target's items may be half of them, or old: readers are sent to the source until it is the owner."""
    await region.write(3)
    target = region.cells["c2"]
    await target.store.begin_import(SLOT, move=1, epoch=1)
    await target.ownership.refresh()

    with pytest.raises(SlotMoved):
        target.ownership.check(SLOT)


async def test_an_event_that_is_written_in_the_group_of_the_freeze_is_waited_for_too(region: Region) -> None:
    cell = region.cells["c1"]
    cell.relayed = cell.store.statistics().last_lsn
    event = Write(None, EventDraft("tv.test.thing.happened.v1", "thing", b"{}"))

    writing = asyncio.create_task(cell.store.transact(Transaction(slot=SLOT, writes=[event])))
    freezing = asyncio.create_task(cell.moving.freeze(Freeze(slot=str(SLOT), move=1, epoch=1, wait_ms=10)))
    await settle()
    await region.clock.advance(0.02)
    receipt, frozen = await asyncio.gather(writing, freezing)

    assert frozen.vector == {"eu-central": receipt.mark}
    assert not frozen.relayed, "the hub does not have that event"


async def test_a_slot_moves_on_only_when_both_cells_have_heard_of_the_last_move(region: Region) -> None:
    """Else its first owner, frozen, would never hear that it is gone: a third cell's move has other cells to tell."""
    ended = SlotRecord(
        slot=str(SLOT), owner="c2", epoch=2, move=1, phase="settled", source="c1", target="c2", began_ms=0,
        outcome="committed", told=("c2",),
    )  # fmt: skip
    await SlotRecords(region.control).put(ended, expected=0)

    with pytest.raises(VersionConflict, match="not all heard"):
        await region.mover().request(SLOT, owner="c2", target="c1")


async def test_of_two_moves_of_a_slot_to_two_cells_at_once_one_is_taken_and_the_other_hears_of_it(
    region: Region,
) -> None:
    await region.open("c3")
    mover = region.mover()

    found = await asyncio.gather(
        *(mover.request(SLOT, owner="c1", target=target) for target in ("c3", "c2")), return_exceptions=True
    )

    (taken,) = (one for one in found if isinstance(one, SlotRecord))
    (refused,) = (one for one in found if isinstance(one, VersionConflict))
    assert str(refused) == f"slot {SLOT} is on its way to {taken.target} (move 0); wait for its end"
    assert [(one.slot, one.target, one.phase) for one in await mover.records()] == [(str(SLOT), taken.target, "queued")]


async def test_what_a_move_waited_for_is_said_no_more_once_its_end_was_heard(region: Region) -> None:
    mover, settle = region.mover(), region.settle

    async def deaf(cell: str, asked: Settle) -> LeaseView:
        raise Unavailable(f"{cell} is dead")

    await mover.request(SLOT, owner="c1", target="c2")
    await mover.activate()
    await mover.abort(SLOT, "asked for")
    region.settle = deaf  # type: ignore[method-assign]
    await mover.activate()
    waited = dict(mover.waits)
    region.settle = settle  # type: ignore[method-assign]
    await mover.activate()

    assert waited == {str(SLOT): "c1 is dead"}
    assert mover.waits == {}


async def test_who_was_told_before_the_records_were_read_and_is_not_on_record_is_told_again(region: Region) -> None:
    """It may have been put back since, and has just been let believe that it is what it was (P21, seed 421709)."""
    await region.write(3)
    source = region.cells["c1"]
    await source.store.freeze(SLOT, move=1, epoch=1)
    ended = SlotRecord(
        slot=str(SLOT), owner="c1", epoch=2, move=1, phase="settled", source="c1", target="c2", began_ms=0,
        outcome="aborted",
    )  # fmt: skip
    await SlotRecords(region.control).put(ended, expected=0)
    mover, told, answered, tell = region.mover(), list[str](), asyncio.Event(), region.settle

    async def held(cell: str, asked: Settle) -> LeaseView:
        answer = await tell(cell, asked)
        told.append(cell)
        await answered.wait()
        return answer

    region.settle = held  # type: ignore[method-assign]
    telling = asyncio.create_task(mover.activate())
    await settle()
    assert (await mover.records())[0].told == ()
    answered.set()
    await telling
    assert (await mover.records())[0].told == ()

    await mover.activate()

    assert told == ["c1", "c2", "c1", "c2"]
    assert (await mover.records())[0].told == ("c1", "c2")


async def test_what_a_slot_left_behind_is_kept_until_its_new_owner_has_shown_it(region: Region) -> None:
    """An owner that is put back from before the move lacks it, and nobody else may have all of it (P21, seed 8517)."""
    source, target = region.cells["c1"], region.cells["c2"]
    await region.write(5)
    await source.store.freeze(SLOT, move=1, epoch=1)
    await source.store.settle(SLOT, move=1, epoch=2, owner="c2")
    ended = SlotRecord(
        slot=str(SLOT), owner="c2", epoch=2, move=1, phase="settled", source="c1", target="c2", began_ms=0,
        outcome="committed", told=("c1", "c2"),
    )  # fmt: skip
    await SlotRecords(region.control).put(ended, expected=0)
    mover = region.mover()
    await mover.activate()
    await region.clock.advance(61)

    before = None
    for lease in (None, Lease(1, "active", 0), Lease(1, "importing", 0, 1)):  # as an older copy may have it
        if lease is not None:
            await target.store.set_lease(SLOT, expected=before, lease=lease)
            before = lease
        await mover.activate()
        assert await source.store.vector(SLOT), "nothing is let go of"
    await target.store.settle(SLOT, move=1, epoch=2, owner=None)
    region.down.add("c2")
    await mover.activate()
    assert await source.store.vector(SLOT)
    region.down.clear()
    ending = asyncio.create_task(mover.activate())
    while not ending.done():
        await region.clock.advance(0.01)

    assert not await source.store.vector(SLOT)
    assert (await mover.records())[0].discarded


class Cells:
    """One cell that is written between the last question of the control process and the stop."""

    def __init__(self, *, state: str, mine: int, theirs: Mapping[str, Mark], written: int = 0) -> None:
        self.state, self.mine, self.theirs, self.written = state, mine, theirs, written
        self.asked: list[StandAside] = []

    def _told(self) -> StoodAside:
        vector = {"eu-central": Mark(1, self.mine)} if self.mine else {}
        return StoodAside(state=self.state, epoch=1, vector=vector, peer=dict(self.theirs), listening=True)

    async def vectors(self, _cell: str, _asked: StandAside) -> StoodAside:
        return self._told()

    async def stand_aside(self, _cell: str, asked: StandAside) -> StoodAside:
        self.asked.append(asked)
        self.mine += self.written
        self.state = "active" if asked.owner is None else "away"
        return self._told()


async def _performed(folder: Path, cells: Cells, action: str) -> Any:
    store = SqliteControlStore(folder / "control.db")
    evacuation = Evacuation(store, cells, region="eu-central", owners=lambda: {str(SLOT): "c1"}, clock=ManualClock())
    record = await evacuation.perform(action, "eu-west", wait_ms=0)
    await store.aclose()
    return record


async def test_a_slot_is_proved_by_what_it_held_after_its_writes_were_stopped(tmp_path: Path) -> None:
    """P12: a write between the last look and the stop is on no other disk."""
    cells = Cells(state="active", mine=5, theirs={"eu-central": Mark(1, 5)}, written=1)

    record = await _performed(tmp_path, cells, "evacuate")

    assert [asked.owner for asked in cells.asked] == ["eu-west"]
    assert not record.proved


async def test_a_region_that_has_heard_nothing_of_the_other_takes_nothing_back(tmp_path: Path) -> None:
    """P11: after a restart it does not know yet what the other one wrote meanwhile."""
    cells = Cells(state="away", mine=5, theirs={})

    record = await _performed(tmp_path, cells, "return")

    assert not cells.asked
    assert not record.proved
