"""What another region's cell holds now, by its own word; one that hangs is not asked once a slot."""

import asyncio

import pytest
from test_twins import SLOTS

from eisbach.cell.last_word import LastWord
from eisbach.cell.pull_messages import Batch, PullAnswer, PullRequest
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.testing.manual_clock import ManualClock

SLOT = str(SLOTS[0])
HELD = {"eu-central": Mark(1, 3), "eu-west": Mark(2, 5)}


class Held:
    """A store, as far as it is asked."""

    region = "eu-central"

    def __init__(self) -> None:
        self.held = dict(HELD)

    async def vector(self, _slot: Slot) -> dict[str, Mark]:
        return self.held


class OtherRegion:
    """Its cell's answer; None: it hangs."""

    far_behind = 1

    def __init__(self, answer: PullAnswer | None) -> None:
        self.answer, self.asked = answer, 0

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        self.asked += 1
        assert (cell, request.wait_ms, len(request.slots)) == ("c1", 0, 1)
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer is not None
        return self.answer


class Asking:
    def __init__(self, answer: PullAnswer | None, *, owner: str | None = "c1") -> None:
        self.store, self.other, self.clock = Held(), OtherRegion(answer), ManualClock()
        self.last_word = LastWord(
            self.store, self.other, owner=lambda _: owner, region="eu-west", clock=self.clock  # type: ignore[arg-type]
        )  # fmt: skip

    async def after(self, seconds: float, *slots: Slot) -> list[dict[str, Mark] | BaseException]:
        asking = asyncio.gather(*(self.last_word.vector(slot) for slot in slots), return_exceptions=True)
        for _ in range(10):
            await asyncio.sleep(0)
        await self.clock.advance(seconds)
        return await asking


def answer(**more: object) -> PullAnswer:
    return PullAnswer(**{"batches": {}, "moved": {}, "wall_ms": 0, **more})  # type: ignore[arg-type]


async def test_where_it_has_nothing_that_is_not_here_it_holds_what_this_disk_held_when_it_was_asked() -> None:
    assert await Asking(answer()).after(0, SLOTS[0]) == [HELD]


async def test_what_is_not_here_yet_is_waited_for_a_second_and_told() -> None:
    """Under steady writes something is always on its way: what was asked for is what must have come."""
    asking = Asking(answer(batches={SLOT: Batch([], {"eu-west": Mark(2, 9), "us-east": Mark(1, 1)})}))
    waiting = asyncio.create_task(asking.last_word.vector(SLOTS[0]))
    for _ in range(10):
        await asyncio.sleep(0)
    await asking.clock.advance(0.5)
    assert not waiting.done()

    asking.store.held = {**HELD, "eu-west": Mark(2, 11), "us-east": Mark(1, 1)}
    await asking.clock.advance(0.01)

    assert await waiting == {**HELD, "eu-west": Mark(2, 9), "us-east": Mark(1, 1)}
    asking.store.held = dict(HELD)
    late = asyncio.create_task(asking.last_word.vector(SLOTS[0]))
    for _ in range(120):
        await asking.clock.advance(0.01)
    assert (await late)["eu-west"] == Mark(2, 9), "it is told all the same: it is not here, and no proof"


async def test_a_cell_that_hangs_is_asked_once_at_a_time_and_its_slots_wait_two_seconds_in_all() -> None:
    asking = Asking(None)

    (first,) = await asking.after(2, SLOTS[0])
    again = await asking.after(0, *SLOTS)

    assert isinstance(first, Unavailable)
    assert "cell c1 of region eu-west does not say what it has now: no answer within 2 s" in str(first)
    assert [str(one) for one in again] == [str(first)] * len(SLOTS)
    assert asking.other.asked == 1
    asking.other.answer = answer()
    assert [str(one) for one in await asking.after(1, SLOTS[0])] == [str(first)], "not within the second"
    assert await asking.after(0, SLOTS[0]) == [HELD]


@pytest.mark.parametrize(
    ("told", "owner", "says"),
    [
        (answer(moved={SLOT: "c2"}), "c1", "is just being moved in region eu-west"),
        (answer(failed={SLOT: "gap"}), "c1", "cannot say what it has now: gap"),
        (answer(doubt="it may be an older copy"), "c1", "cannot say what it has now: it may be an older copy"),
        (answer(), None, "is not known here yet"),
    ],
)
async def test_an_answer_that_is_none_proves_nothing(told: PullAnswer, owner: str | None, says: str) -> None:
    (refused,) = await Asking(told, owner=owner).after(0, SLOTS[0])
    assert isinstance(refused, Unavailable)
    assert says in str(refused)
