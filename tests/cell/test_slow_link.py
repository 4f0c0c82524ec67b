"""A link that carries ten kilobytes a second: what was written comes at that rate, and never stops."""

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from test_twins import SLOTS, Twin, twin

from eisbach.cell.pace import Pace
from eisbach.cell.pull_messages import ANSWER_BYTES_MAX, FAR_BEHIND, PullAnswer, PullRequest
from eisbach.cell.puller import Puller
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.limits import ITEM_BYTES_MAX
from eisbach.kernel.ops import ItemChange
from eisbach.ports.store import Transaction, Write
from eisbach.testing.manual_clock import ManualClock

RATE = 10_000


class SlowLink:
    """Carries ``rate`` bytes a second; an answer that takes more than ``patience_s`` is given up when they are over."""

    far_behind = FAR_BEHIND

    def __init__(self, to: Twin, clock: ManualClock, *, patience_s: float) -> None:
        self.to, self.clock, self.patience_s, self.rate = to, clock, patience_s, RATE
        self.took_s: list[float] = []
        self.lost = self.carried = 0

    async def owners(self) -> Mapping[str, Sequence[str]]:
        return {"eu/de/main": ["c1"] * 4}

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        assert cell == "c1"
        answer = await self.to.server.answer(msgspec.structs.replace(request, wait_ms=0))
        size = len(msgspec.msgpack.encode(answer))
        seconds = size / self.rate
        await self.clock.sleep(min(seconds, self.patience_s))
        if seconds > self.patience_s:
            self.lost += 1
            raise Unavailable("given up")
        self.took_s.append(seconds)
        self.carried += size
        if not answer.batches:
            await self.clock.sleep(2)
        return answer


@contextlib.asynccontextmanager
async def behind(tmp_path: Path, *, ops: int, size: int, patience_s: float):  # type: ignore[no-untyped-def]
    """(the one that lacks everything, the other one, the link, its clock, the puller)."""
    clock = ManualClock()
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        for number in range(ops):
            await other.write(SLOTS[number % 4], f"item-{number}", bytes(size))
        link = SlowLink(other, clock, patience_s=patience_s)
        puller = Puller(one.store, one.ownership, link, region="eu-west", clock=clock, rng=random.Random(7))
        task = asyncio.create_task(puller.run())
        try:
            yield one, link, clock, puller
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def seconds_until(clock: ManualClock, puller: Puller, ops: int, *, at_most: int) -> int:
    for second in range(at_most):
        if puller.statistics().ops >= ops:
            return second
        await clock.advance(1)
    raise AssertionError(f"after {at_most} s {puller.statistics().ops} of {ops} ops are here")


@pytest.mark.parametrize("patience_s", [5, 8, 300])
async def test_a_backlog_comes_at_the_rate_of_the_link_however_long_an_answer_is_waited_for(
    tmp_path: Path, patience_s: int
) -> None:
    async with behind(tmp_path, ops=400, size=1_500, patience_s=patience_s) as (one, link, clock, puller):
        took = await seconds_until(clock, puller, 400, at_most=200)

        assert took <= 1.5 * link.carried / RATE + 30, "thirty seconds are for what was asked for in vain"
        assert max(link.took_s[3:]) <= 4, "each is small enough that the region does not look silent"
        assert {str(slot): await one.store.vector(slot) for slot in SLOTS} == {
            str(slot): await link.to.store.vector(slot) for slot in SLOTS
        }


async def test_how_much_is_still_to_come_is_known_although_no_answer_has_some_of_every_slot(tmp_path: Path) -> None:
    async with behind(tmp_path, ops=400, size=1_500, patience_s=8) as (_, link, clock, puller):
        await seconds_until(clock, puller, 200, at_most=60)
        for _ in range(5):
            await clock.advance(1)
            found = puller.statistics()
            assert len(link.took_s) > 8
            assert found.ops_behind == 400 - found.ops


async def test_a_free_link_is_asked_for_more_again(tmp_path: Path) -> None:
    async with behind(tmp_path, ops=900, size=1_500, patience_s=8) as (_, link, clock, puller):
        await seconds_until(clock, puller, 30, at_most=60)
        link.rate, before = 100_000_000, len(link.took_s)
        await seconds_until(clock, puller, 900, at_most=20)

        assert len(link.took_s) - before <= 12, "answers grow with a link that carries them"


async def test_the_largest_op_crosses_the_link_alone_and_brings_nothing_with_it(tmp_path: Path) -> None:
    async with behind(tmp_path, ops=8, size=ITEM_BYTES_MAX - 100, patience_s=8) as (_, link, clock, puller):
        await seconds_until(clock, puller, 8, at_most=120)

        assert max(link.took_s) < 7


async def test_a_sender_gives_whole_transactions_up_to_the_bytes_asked_for_and_says_that_it_was_not_all(
    tmp_path: Path,
) -> None:
    async with twin(tmp_path, "eu-west") as other:
        for number in range(3):
            writes = [Write(ItemChange("a", f"{number}-{part}", bytes(1_000))) for part in range(5)]
            await other.store.transact(Transaction(slot=SLOTS[0], writes=writes))
        await other.write(SLOTS[1], "small", b"")
        asked = PullRequest(slots={str(slot): {} for slot in SLOTS}, wait_ms=0)

        async def given(bytes_max: int) -> tuple[int, bool]:
            found = await other.server.answer(msgspec.structs.replace(asked, bytes_max=bytes_max))
            assert all(not batch.ops[-1].more for batch in found.batches.values()), "no transaction is cut"
            return sum(len(batch.ops) for batch in found.batches.values()), found.full

        first = [await given(1) for _ in range(8)]
        both = [await given(10_000) for _ in range(8)]

        assert set(first) == {(5, True), (1, True)}, "one transaction of the slot whose turn it is"
        assert set(both) <= {(10, True), (11, True)}
        assert await given(0) == (16, False)


def test_what_is_asked_for_follows_what_the_link_carries() -> None:
    pace = Pace()
    first = pace.bytes_max
    for _ in range(20):
        pace.answered(pace.bytes_max, 100)
    assert pace.bytes_max == ANSWER_BYTES_MAX
    pace.answered(1_000_000, 20_000)
    assert pace.bytes_max == ANSWER_BYTES_MAX // 2, "it was not full: it halves"
    pace.answered(2_000_000, 200_000)
    assert pace.bytes_max == 20_000, "what ten kilobytes a second carry in two seconds"
    pace.answered(20_000, 1_500)
    assert pace.bytes_max == 20_000
    pace.answered(10, 20)
    assert pace.bytes_max == 20_000, "little says nothing"
    for _ in range(9):
        pace.answered(pace.bytes_max, 20)
    for _ in range(9):
        pace.answered(0, 20)
    assert pace.bytes_max == first, "nor does what was long ago"
    pace.failed(30)
    assert pace.bytes_max == first, "a refusal says nothing of the link"
    pace.failed(8_000)
    assert pace.bytes_max == first // 2
    for _ in range(20):
        pace.failed(8_000)
    assert 0 < pace.bytes_max <= 4_096
