"""A store that may be an older copy of itself, and a slot that was on its way to it when the move was committed (P21)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from kit import document, peer, until
from test_older_copy import AWAY, KEYS, SLOT, Moves, Twin, started, twin

from eisbach.bootstrap import older_copy
from eisbach.bootstrap.cell import open_cell
from eisbach.bootstrap.cell_parts import OpenCell
from eisbach.bootstrap.host import system_host
from eisbach.cell.moving import LeaseView, LeftBehind
from eisbach.cell.slot_imports import ExportRequest
from eisbach.control.moves import SlotRecord
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Lease, Transaction, Write

__all__ = ["twin"]

OTHER = Slot.parse("eu/de/main/3")
CAME = msgspec.structs.replace(AWAY, owner="c1", epoch=3, move=2, source="c2", target="c1", told=())


class Addressed(Moves):
    """Waits with its answer, if it is told to."""

    def __init__(self, *records: SlotRecord) -> None:
        super().__init__(*records)
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.says_where, self.where = True, {"c2": "nowhere:1"}

    async def records(self) -> Sequence[SlotRecord]:
        await self.may_answer.wait()
        return await super().records()

    async def addresses(self) -> Mapping[str, str]:
        if not self.says_where:
            raise Unavailable("it died after the records")
        return self.where


class Giver:
    """The cell that gave the slot: frozen, with all of it."""

    def __init__(self, store: SqliteStore) -> None:
        self.store, self.up, self.anew, self.asked = store, True, False, 0

    async def left(self, cell: str, asked: ExportRequest) -> LeftBehind:
        assert (cell, asked.slot) == ("c2", str(SLOT))
        self.asked += 1
        if not self.up:
            raise Unavailable("it is down")
        lease = await self.store.lease(SLOT)
        assert lease is not None
        if self.anew:
            return LeftBehind(lease=LeaseView(), chunk=await self.store.export(OTHER, asked.cursor))
        return LeftBehind(lease=LeaseView(**lease._asdict()), chunk=await self.store.export(SLOT, asked.cursor))

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def rebooted(folder: Path, twin: Twin, moves: Moves, giver: Giver) -> AsyncIterator[OpenCell]:
    host = replace(
        system_host(), peer=lambda _door, _token: twin, moves=lambda _url, _token: moves, place=lambda _path: "second",
        keepers=lambda _addresses, _token: giver,
    )  # fmt: skip
    process = document(folder, peers=[peer("eu-west")], backups="")
    async with open_cell(process, KEYS["eu-central"], host=host) as cell:
        yield cell


@pytest.fixture
async def giver(tmp_path: Path, twin: Twin) -> AsyncIterator[Giver]:
    """The slot went to ``c2``, was written there, and was on its way back, nothing of it copied, when the disk was."""
    async with started(tmp_path, twin) as cell:
        await cell.store.freeze(SLOT, move=1, epoch=1)
        await cell.store.settle(SLOT, move=1, epoch=2, owner="c2")
        await cell.store.begin_import(SLOT, move=2, epoch=2)
    async with open_store(tmp_path / "c2.db", region="eu-central", clock=SystemClock(), cell="c2") as store:
        await store.set_lease(SLOT, expected=None, lease=Lease(2, "active", 0, 1))
        for number in range(3):
            await store.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("a", f"k{number}", b"1"))]))
        await store.freeze(SLOT, move=2, epoch=2)
        yield Giver(store)


async def test_a_committed_import_of_which_an_older_copy_has_a_part_is_completed_before_it_is_the_owner(
    tmp_path: Path, twin: Twin, giver: Giver
) -> None:
    """Neither hub nor twin know of what was acknowledged just before the move; activated, it would be lost for good."""
    giver.up = False
    async with rebooted(tmp_path, twin, Addressed(CAME), giver) as cell:
        await until(lambda: giver.asked >= 2)
        with pytest.raises(Unavailable, match="older copy"):
            await cell.store.settle(SLOT, move=2, epoch=3, owner=None)
        giver.up = True
        await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]
        await cell.store.settle(SLOT, move=2, epoch=3, owner=None)

        assert await cell.store.digest(SLOT) == await giver.store.digest(SLOT)
        assert await cell.store.vector(SLOT) == {"eu-central": Mark(2, 3)}


async def test_a_twin_is_asked_of_a_slot_that_has_arrived_also_when_that_is_told_while_it_answers(
    tmp_path: Path, twin: Twin, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 577 of the world that puts back every cell: of such a slot nobody was asked."""
    twin.heads, moves, says = {str(SLOT): Mark(2, 3)}, Addressed(CAME), older_copy.twin_says
    moves.may_answer.clear()

    async def slowly(*given: Any, **more: Any) -> dict[Slot, str]:
        moves.may_answer.set()
        await until(lambda: moves.asked)
        await asyncio.sleep(0.2)
        return await says(*given, **more)

    monkeypatch.setattr(older_copy, "twin_says", slowly)
    async with rebooted(tmp_path, twin, moves, giver) as cell, asyncio.timeout(5):
        while not (why := await cell.store.not_ours()):
            await asyncio.sleep(0.01)

    assert f"holds its op 2.3 in slot {SLOT}, and it ends at 0.0" in why


async def test_a_cell_that_gave_a_slot_and_was_put_back_from_before_its_freeze_is_not_taken_for_done(
    tmp_path: Path, twin: Twin, giver: Giver
) -> None:
    """It has the slot active: what it gave is not there, and half of it would be the owner at once, without a word."""
    lease = await giver.store.lease(SLOT)
    await giver.store.set_lease(SLOT, expected=lease, lease=Lease(2, "active", 3, 1))
    async with rebooted(tmp_path, twin, Addressed(CAME), giver) as cell:
        await until(lambda: giver.asked >= 2)
        assert cell.store.unproved  # type: ignore[attr-defined]
        await giver.store.freeze(SLOT, move=2, epoch=2)
        await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]

        assert await cell.store.digest(SLOT) == await giver.store.digest(SLOT)


async def test_what_a_cell_that_gave_a_slot_has_of_it_instead_is_in_the_log_when_the_wait_is_over(
    tmp_path: Path, twin: Twin, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(older_copy, "WORD_MAX_S", 0.0)
    lease = await giver.store.lease(SLOT)
    await giver.store.set_lease(SLOT, expected=lease, lease=Lease(2, "active", 3, 1))
    with structlog.testing.capture_logs() as said:
        async with rebooted(tmp_path, twin, Addressed(CAME), giver) as cell:
            await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]

    (told,) = [line for line in said if line["event"] == "older_copy_not_ruled_out" and "c2" in line["asked"]]
    assert f"slot {SLOT} as it gave it in move 2, and has it active by move 1 under epoch 2" in told["error"]


@pytest.mark.parametrize("gone", ["made anew", "no cell any more"])
async def test_a_giver_that_never_will_have_the_slot_is_not_waited_for_and_that_is_in_the_log(
    tmp_path: Path, twin: Twin, giver: Giver, gone: str
) -> None:
    moves = Addressed(CAME)
    if gone == "made anew":
        giver.anew = True
    else:
        moves.where = {}
    with structlog.testing.capture_logs() as said:
        async with rebooted(tmp_path, twin, moves, giver) as cell:
            await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]

    assert [line["asked"] for line in said if line["event"] == "older_copy_not_ruled_out"] == ["cell c2"]


async def test_a_control_process_that_dies_after_its_records_costs_no_condemnation(
    tmp_path: Path, twin: Twin, giver: Giver
) -> None:
    """What has arrived needs an address, and what speaks against the store does not."""
    moves = Addressed(CAME, msgspec.structs.replace(AWAY, slot=str(OTHER), told=("c1", "c2")))
    moves.says_where = False
    async with rebooted(tmp_path, twin, moves, giver) as cell, asyncio.timeout(5):
        while not (why := await cell.store.not_ours()):
            await asyncio.sleep(0.01)

    assert f"slot {OTHER} is c2's" in why
