"""What the record of a return calls proved is what was looked at, and what the other region said when it was asked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from eisbach.cell.moving import StandAside, StoodAside
from eisbach.control.evacuation import Evacuation, SlotProof
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.versions import Mark, covers
from eisbach.testing.manual_clock import ManualClock

SLOT = "eu/de/main/0"


class BusyOtherRegion:
    """A cell whose slot is away; the other region acknowledges one more write while it is taken back."""

    def __init__(self) -> None:
        self.held, self.there = {"eu-west": Mark(1, 26)}, {"eu-west": Mark(1, 26)}
        self.state, self.epoch, self.silent = "away", 2, False
        self.listening = True
        self.dies = False
        """Whether control dies once the slot is here again."""
        self.said_first: list[Exception | str] = []
        """What the next questions get before it answers as it is: an error, or another state."""

    async def vectors(self, cell: str, asked: StandAside) -> StoodAside:
        first = self.said_first.pop(0) if self.said_first else self.state
        if isinstance(first, Exception):
            raise first
        if asked.last_word and self.silent:
            raise Unavailable("cell c1 of region eu-west does not say what it has now: no answer within 2 s")
        return StoodAside(
            state=first, epoch=self.epoch, vector=self.held, peer=self.there, listening=self.listening
        )  # fmt: skip

    async def stand_aside(self, cell: str, asked: StandAside) -> StoodAside:
        self.there = {"eu-west": Mark(1, 27)}
        self.state, self.epoch = "active", asked.epoch
        if self.dies:
            raise asyncio.CancelledError
        return await self.vectors(cell, msgspec.structs.replace(asked, last_word=False))


class Returning:
    """A region of one slot."""

    def __init__(self, store: SqliteControlStore) -> None:
        self.cells = BusyOtherRegion()
        self.clock = ManualClock()
        self.evacuation = Evacuation(
            store, self.cells, region="eu-central", owners=lambda: {SLOT: "c1"}, clock=self.clock
        )

    async def comes_back(self, *, force: bool = False) -> tuple[SlotProof, bool]:
        record = await self.evacuation.perform("return", "eu-west", wait_ms=0, force=force)
        return record.slots[SLOT], record.through


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Returning]:
    store = SqliteControlStore(tmp_path / "control.db")
    yield Returning(store)
    await store.aclose()


async def test_a_return_records_the_vectors_that_proved_it(region: Returning) -> None:
    proof, through = await region.comes_back()

    assert (proof.proved, proof.epoch, through) == (True, 3, True)
    assert covers(proof.vector, proof.other)


async def test_what_the_other_region_said_before_proves_nothing_of_a_cell_that_does_not_answer(
    region: Returning,
) -> None:
    """It stood still with acknowledged writes that nobody had pulled: "128 of 128 proved back", and they were 404."""
    region.cells.silent = True

    proof, through = await region.comes_back()

    assert (proof.proved, region.cells.state, through) == (False, "away", False)
    for said in ("what it has in region eu-west now is not known", "no answer within 2 s", "--force"):
        assert said in proof.trouble


async def test_with_force_such_a_slot_is_served_again_and_is_proved_only_once_the_other_region_answers(
    region: Returning,
) -> None:
    region.cells.silent = True

    forced, through = await region.comes_back(force=True)

    assert (forced.proved, region.cells.state, through) == (False, "active", True)
    assert forced.trouble.startswith("taken back by --force: what it has in region eu-west now is not known")
    region.cells.there = region.cells.held  # as it was last heard
    for _ in range(2):
        assert not (await region.comes_back())[0].proved, "it serves, but nobody has said what is missing here"
    region.cells.there = {"eu-west": Mark(1, 27)}
    region.cells.silent = False
    behind, _ = await region.comes_back()
    assert (behind.proved, behind.trouble) == (False, "it serves here: this region lacks ops of region eu-west")
    region.cells.held = region.cells.there
    assert (await region.comes_back())[0].proved


async def test_a_slot_that_never_left_is_back_without_the_other_region_and_is_not_called_proved(
    region: Returning,
) -> None:
    """An evacuation in a cut stopped nothing: the same cut does not bar the way back, and proves nothing either."""
    region.cells.state, region.cells.silent = "active", True

    proof, through = await region.comes_back()

    assert (proof.proved, through) == (False, True)
    assert proof.trouble.startswith("it serves here: what it has in region eu-west now is not known")
    assert "--force" not in proof.trouble, "there is nothing to force"


async def test_after_a_forced_return_and_an_evacuation_that_left_nothing_a_return_still_owes_the_proof(
    region: Returning,
) -> None:
    """A stranger's: what a record of the commands before said of the slot was what it was proved by."""
    region.cells.silent = True
    await region.comes_back(force=True)
    region.cells.there, region.cells.listening = region.cells.held, False  # as it was last heard
    left = await region.evacuation.perform("evacuate", "eu-west", wait_ms=0)

    assert "nothing was stopped" in left.slots[SLOT].trouble
    assert not (await region.comes_back())[0].proved


async def test_a_forced_return_that_control_did_not_live_to_record_is_proved_only_once_the_other_region_answers(
    region: Returning,
) -> None:
    """Its record had no slots: those that were here again were taken for such that never left."""
    region.cells.silent = region.cells.dies = True
    with pytest.raises(asyncio.CancelledError):
        await region.comes_back(force=True)
    region.cells.there = region.cells.held  # as it was last heard

    assert region.cells.state == "active"
    assert not (await region.comes_back())[0].proved
    region.cells.silent = False
    assert (await region.comes_back())[0].proved


@pytest.mark.parametrize("first", [Unavailable("connection refused"), "importing"], ids=["restarts", "on its way"])
async def test_a_slot_that_is_known_to_differ_is_not_left_though_its_cell_could_not_say_so_at_first(
    region: Returning, first: Exception | str
) -> None:
    """It was asked once; the next try left the slot, and its vectors were called a proof (0028)."""
    region.cells.state, region.cells.said_first = "active", [first]
    leaving = asyncio.create_task(
        region.evacuation.perform("evacuate", "eu-west", wait_ms=1_000, differing=[SLOT])
    )  # fmt: skip
    while not leaving.done():
        await region.clock.advance(0.1)
    proof = (await leaving).slots[SLOT]

    assert (region.cells.state, proof.proved) == ("active", False)
    assert "it differs from its twin in eu-west, as the cell in eu-west found" in proof.trouble
