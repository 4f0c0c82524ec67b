"""Twins: two stores that pull from each other converge, whatever the network does."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from eisbach.cell import pull_messages, pull_server
from eisbach.cell.ownership import Ownership, slots_in
from eisbach.cell.pull_messages import FAR_BEHIND
from eisbach.cell.puller import PullAnswer, Puller, PullerStatistics, PullRequest, PullServer, clock_is_ahead
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import LogGap, Overloaded, Unavailable
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Applied, ItemKey, Lease, OpBatch, Transaction, Write
from eisbach.testing.manual_clock import ManualClock

GROUPS = {"eu/de/main": 4}
OWNERS = {"c1": {"eu/de/main": [0, 1, 2, 3]}}
SLOTS = slots_in(OWNERS["c1"])


class HurriedClock(SystemClock):
    """Real time, but nobody waits long."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


class Twin:
    """A store with its lease rows, its answering side and its asking side."""

    def __init__(self, store: SqliteStore, ownership: Ownership) -> None:
        self.store, self.ownership = store, ownership
        self.server = PullServer(store, ownership, clock=SystemClock())
        self.puller: Puller | None = None

    async def write(self, slot: Slot, key: str, value: bytes) -> None:
        """Once; on a busy machine after some refusals that say that nothing was written."""
        transaction = Transaction(slot=slot, writes=[Write(ItemChange("a", key, value))])
        for _ in range(50):
            with contextlib.suppress(Overloaded):
                await self.store.transact(transaction)
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"the disk is too slow for {key} of {slot}")


class LossyLink:
    """Calls the other twin's server; drops, doubles, delays and cuts as its dice say."""

    far_behind = FAR_BEHIND

    def __init__(self, to: Twin, rng: random.Random, *, loss: float = 0.3) -> None:
        self.to, self.rng, self.loss = to, rng, loss
        self.cut = False
        self.owner = "c1"

    async def owners(self) -> Mapping[str, Sequence[str]]:
        await self._cross()
        return {"eu/de/main": [self.owner] * 4}

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        await self._cross()
        if cell != "c1":
            return PullAnswer(batches={}, moved=dict.fromkeys(request.slots, "c1"), wall_ms=0)
        answer = await self.to.server.answer(msgspec_replace(request, wait_ms=50, limit=7))
        if self.rng.random() < self.loss:
            answer = await self.to.server.answer(msgspec_replace(request, wait_ms=0, limit=3))
        await self._cross()
        return answer

    async def _cross(self) -> None:
        await asyncio.sleep(self.rng.random() / 500)
        if self.cut or self.rng.random() < self.loss:
            raise Unavailable("lost on the way")


def msgspec_replace(request: PullRequest, **fields: int | bool) -> PullRequest:
    import msgspec

    return msgspec.structs.replace(request, **fields)


@contextlib.asynccontextmanager
async def twin(folder: Path, region: str) -> AsyncIterator[Twin]:
    clock = SystemClock()
    async with open_store(folder / f"{region}.db", region=region, clock=clock, disk=inline) as store:
        ownership = Ownership(store, cell="c1", groups=GROUPS, owners=OWNERS)
        await ownership.open(SLOTS)
        yield Twin(store, ownership)


@contextlib.asynccontextmanager
async def pulling(one: Twin, link: LossyLink, region: str, rng: random.Random) -> AsyncIterator[Puller]:
    puller = Puller(one.store, one.ownership, link, region=region, clock=HurriedClock(), rng=rng)
    task = asyncio.create_task(puller.run())
    try:
        yield puller
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def digests(one: Twin) -> list[Sequence[str]]:
    return [await one.store.digest(slot) for slot in SLOTS]


async def converged(one: Twin, other: Twin, *, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while await digests(one) != await digests(other):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_over_a_link_that_loses_doubles_and_delays_both_end_equal_with_every_write(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        there, back = LossyLink(other, rng), LossyLink(one, rng)
        async with pulling(one, there, "eu-west", rng), pulling(other, back, "eu-central", rng):
            for n in range(150):
                side = rng.choice([one, other])
                await side.write(rng.choice(SLOTS), f"{side.store.region}/{n}", str(n).encode())
                there.cut = back.cut = 50 < n < 100
            await converged(one, other)

        found = [len(await twin_.store.query(slot, "a", limit=1000)) for twin_ in (one, other) for slot in SLOTS]

    assert sum(found) == 300, "150 different items in each region"


async def test_of_two_writes_of_one_item_in_a_split_the_higher_wins_in_both_and_the_loser_is_kept(
    tmp_path: Path,
) -> None:
    rng = random.Random(4)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        await one.write(SLOTS[0], "same", b"one")
        await other.write(SLOTS[0], "same", b"other")
        there, back = LossyLink(other, rng, loss=0), LossyLink(one, rng, loss=0)
        async with pulling(one, there, "eu-west", rng), pulling(other, back, "eu-central", rng):
            await converged(one, other)

        values = [(await t.store.read(SLOTS[0], ItemKey("a", "same"))) for t in (one, other)]
        losers = [c.value for t in (one, other) for c in await t.store.conflicts()]

    assert values[0] == values[1]
    assert losers
    assert set(losers) == {b"one"}


async def test_a_slot_whose_log_has_a_gap_does_not_hold_up_the_others(tmp_path: Path) -> None:
    rng = random.Random(5)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        whole = other.store.ops_after

        async def with_a_gap(slot: Slot, vector: object, *, limit: int) -> OpBatch:
            if slot == SLOTS[0]:
                raise LogGap("the archive has it")
            return await whole(slot, vector, limit=limit)  # type: ignore[arg-type]

        other.store.ops_after = with_a_gap  # type: ignore[method-assign]
        for slot in SLOTS:
            await other.write(slot, "item", b"x")
        async with pulling(one, LossyLink(other, rng, loss=0), "eu-west", rng) as puller, asyncio.timeout(5):
            while not all([await one.store.read(slot, ItemKey("a", "item")) for slot in SLOTS[1:]]):
                await asyncio.sleep(0.01)

            assert await one.store.read(SLOTS[0], ItemKey("a", "item")) is None
            assert puller.statistics().slots_failing == 1


async def test_what_a_full_disk_keeps_out_counts_as_behind_and_ages(tmp_path: Path) -> None:
    """The twin of a cell with a full disk was told as 0 ops and 13 ms behind, while no second copy was made."""
    rng = random.Random(5)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        apply = one.store.apply

        async def full(slot: Slot, ops: Sequence[Op]) -> Applied:
            if slot == SLOTS[0]:
                raise Unavailable("the disk refused (FullError)")
            return await apply(slot, ops)

        one.store.apply = full  # type: ignore[method-assign]
        for number in range(7):
            await other.write(SLOTS[0], f"item-{number}", b"x")
        async with pulling(one, LossyLink(other, rng, loss=0), "eu-west", rng) as puller, asyncio.timeout(5):
            while not (first := puller.statistics()).slots_failing:
                await asyncio.sleep(0.01)
            while (later := puller.statistics()).lag_ms <= first.lag_ms:
                await asyncio.sleep(0.01)
            one.store.apply = apply  # type: ignore[method-assign]
            while not await one.store.read(SLOTS[0], ItemKey("a", "item-6")):
                await asyncio.sleep(0.01)
            while (healed := puller.statistics()).ops_behind or healed.slots_failing:
                await asyncio.sleep(0.01)

    assert later.ops_behind == 7


async def test_a_slot_that_the_twin_could_not_tell_of_for_a_moment_is_not_behind_for_ever(tmp_path: Path) -> None:
    """Nothing was written to it since, so nothing ever said that it is well."""
    rng = random.Random(5)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        whole = other.store.ops_after

        async def refused(slot: Slot, vector: object, *, limit: int) -> OpBatch:
            if slot == SLOTS[0]:
                raise Unavailable("the disk refused")
            return await whole(slot, vector, limit=limit)  # type: ignore[arg-type]

        other.store.ops_after = refused  # type: ignore[method-assign]
        async with pulling(one, LossyLink(other, rng, loss=0), "eu-west", rng) as puller, asyncio.timeout(5):
            while not puller.statistics().slots_failing:
                await asyncio.sleep(0.01)
            other.store.ops_after = whole  # type: ignore[method-assign]
            while puller.statistics().slots_failing:
                await asyncio.sleep(0.01)

            assert puller.statistics().lag_ms == 0


async def test_a_slot_that_another_cell_follows_by_now_is_not_behind_here(tmp_path: Path) -> None:
    rng = random.Random(5)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:

        async def full(slot: Slot, ops: Sequence[Op]) -> Applied:
            raise Unavailable("the disk refused (FullError)")

        one.store.apply = full  # type: ignore[method-assign]
        await other.write(SLOTS[0], "item", b"x")
        async with pulling(one, LossyLink(other, rng, loss=0), "eu-west", rng) as puller, asyncio.timeout(5):
            while puller.statistics().ops_behind != 1:
                await asyncio.sleep(0.01)
            followed = [slot for slot in one.ownership.followed() if slot != SLOTS[0]]
            one.ownership.followed = lambda: followed  # type: ignore[method-assign]
            while puller.statistics().slots_failing:
                await asyncio.sleep(0.01)

            assert puller.statistics().ops_behind == 0


async def test_far_behind_the_next_answer_is_on_its_way_while_one_is_applied_and_acknowledges_only_what_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_server, "ANSWER_OPS_MAX", 6)
    rng = random.Random(8)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        for number in range(40):
            await other.write(SLOTS[number % 4], f"item-{number}", b"x")
        asked, overlapped = set[str](), 0
        apply, link = one.store.apply, LossyLink(other, rng, loss=0)
        pull, link.far_behind = link.pull, 6

        async def applied(slot: Slot, ops: Sequence[Op]) -> Applied:
            nonlocal overlapped
            await asyncio.sleep(0)
            overlapped += bool(asked)
            assert str(slot) not in asked, "asked for what is being applied"
            return await apply(slot, ops)

        async def pulled(cell: str, request: PullRequest) -> PullAnswer:
            for text, vector in request.slots.items():
                assert vector == await one.store.vector(Slot.parse(text)), "acknowledged what is not on disk"
            asked.update(request.slots)
            try:
                return await pull(cell, request)
            finally:
                asked.clear()

        one.store.apply, link.pull = applied, pulled  # type: ignore[method-assign]
        async with pulling(one, link, "eu-west", rng) as puller:
            await converged(one, other)

            assert puller.statistics().ops == 40, "each came once"
        assert overlapped >= 3


async def test_a_slot_frozen_here_takes_no_foreign_op_and_goes_on_afterwards(tmp_path: Path) -> None:
    rng = random.Random(6)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        active = Lease(epoch=1, state="active", seq=0)
        frozen = active._replace(state="frozen")
        await one.store.set_lease(SLOTS[0], expected=active, lease=frozen)
        for slot in SLOTS:
            await other.write(slot, "item", b"x")
        async with pulling(one, LossyLink(other, rng, loss=0), "eu-west", rng):
            async with asyncio.timeout(5):
                while not await one.store.read(SLOTS[3], ItemKey("a", "item")):
                    await asyncio.sleep(0.01)
            assert await one.store.read(SLOTS[0], ItemKey("a", "item")) is None

            await one.store.set_lease(SLOTS[0], expected=frozen, lease=active)
            await one.ownership.refresh()
            await converged(one, other)


async def test_a_puller_that_has_the_wrong_owner_is_told_and_follows(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        await other.write(SLOTS[1], "item", b"x")
        link = LossyLink(other, rng, loss=0)
        link.owner = "c9"
        async with pulling(one, link, "eu-west", rng):
            await converged(one, other)


def twin_found(**fields: int) -> PullerStatistics:
    given = dict.fromkeys(
        (
            "ops",
            "answers",
            "conflicts",
            "failures_in_a_row",
            "slots_failing",
            "silent_ms",
            "lag_ms",
            "ops_behind",
            "skew_ms",
            "ahead_ms",
        ),
        0,
    )
    return PullerStatistics(region="eu-west", **{**given, **fields})


class Slow:
    """A region whose clock is ``skew_ms`` off, behind a link of ``one_way_ms``; it holds a question for ``held_ms``."""

    far_behind = FAR_BEHIND

    def __init__(self, clock: ManualClock, *, skew_ms: int, one_way_ms: int, held_ms: int = 0) -> None:
        self.clock, self.skew_ms, self.one_way_ms, self.held_ms = clock, skew_ms, one_way_ms, held_ms

    async def owners(self) -> Mapping[str, Sequence[str]]:
        return {"eu/de/main": ["c1"] * 4}

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        await self.clock.sleep((self.one_way_ms + self.held_ms) / 1000)
        wall_ms = self.clock.wall_ms() + self.skew_ms
        await self.clock.sleep(self.one_way_ms / 1000)
        return PullAnswer(batches={}, moved={}, wall_ms=wall_ms, waited_ms=self.held_ms)


@pytest.mark.parametrize(
    ("skew_ms", "one_way_ms", "held_ms", "stopped"),
    [
        (-600, 10, 0, True), (-400, 10, 0, False), (600, 10, 0, False), (0, 800, 0, False), (-600, 800, 0, False),
        (-600, 10, 1900, True),
    ],
)  # fmt: skip
async def test_only_who_is_certainly_ahead_stops_writing_and_a_slow_link_is_no_skew(
    tmp_path: Path, skew_ms: int, one_way_ms: int, held_ms: int, stopped: bool
) -> None:
    """Nor is a question that was held because there was no news."""
    clock = ManualClock()
    async with twin(tmp_path, "eu-central") as one:
        puller = Puller(
            one.store,
            one.ownership,
            Slow(clock, skew_ms=skew_ms, one_way_ms=one_way_ms, held_ms=held_ms),
            region="eu-west",
            clock=clock,
            rng=random.Random(1),
        )
        task = asyncio.create_task(puller.run())
        for _ in range(40):
            await clock.advance(0.1)
        found = puller.statistics()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    assert found.answers > 0
    assert abs(found.skew_ms - skew_ms) <= 1
    assert bool(clock_is_ahead([found])) == stopped


async def test_how_far_behind_a_region_is_that_is_not_heard_nobody_says(tmp_path: Path) -> None:
    clock = ManualClock()
    async with twin(tmp_path, "eu-central") as one:
        link = Slow(clock, skew_ms=0, one_way_ms=10, held_ms=0)
        puller = Puller(one.store, one.ownership, link, region="eu-west", clock=clock, rng=random.Random(1))
        task = asyncio.create_task(puller.run())
        for _ in range(20):
            await clock.advance(0.1)
        heard = puller.statistics().ops_behind
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await clock.advance(10)

        assert (heard, puller.statistics().ops_behind) == (0, None)


def test_a_twin_that_has_long_been_silent_stops_nobody() -> None:
    reason = clock_is_ahead([twin_found(ahead_ms=900)])
    assert "900 ms ahead of region" in reason
    assert "chrony" in reason
    assert clock_is_ahead([twin_found(ahead_ms=900, silent_ms=60_000)]) == ""


class Held:
    """A way to the other region on which answers stay until they are let through."""

    far_behind = FAR_BEHIND

    def __init__(self, to: Twin) -> None:
        self.to, self.arrives, self.answered = to, asyncio.Event(), asyncio.Event()

    async def owners(self) -> Mapping[str, Sequence[str]]:
        return {"eu/de/main": ["c1"] * 4}

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        answer = await self.to.server.answer(msgspec_replace(request, wait_ms=0))
        self.answered.set()
        await self.arrives.wait()
        return answer


@pytest.mark.parametrize("arrived", [False, True], ids=["on its way", "here and not on disk yet"])
async def test_what_a_region_gave_before_it_asks_whether_it_is_an_older_copy_is_told_or_never_taken(
    tmp_path: Path, arrived: bool
) -> None:
    """Else it takes itself for whole, gives the number again, and meets its own op of old (seed 397370)."""
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        await other.write(SLOTS[0], "k", b"1")
        if arrived:
            one.store.unproved = "it waits for its own proof, and takes in nothing"
        way = Held(other)
        puller = Puller(one.store, one.ownership, way, region="eu-west", clock=HurriedClock(), rng=random.Random(1))
        one.server.askers = [puller]
        task = asyncio.create_task(puller.run())
        await way.answered.wait()
        if arrived:
            way.arrives.set()
            async with asyncio.timeout(5):
                while not puller.statistics().answers:
                    await asyncio.sleep(0)
        asked = PullRequest(slots={str(slot): {} for slot in SLOTS}, limit=1, wait_ms=0, region="eu-west", anew=True)
        told = await one.server.answer(asked)
        usual = await one.server.answer(msgspec_replace(asked, anew=False))
        other.server = PullServer(
            other.store, Ownership(other.store, cell="c9", groups=GROUPS, owners={}), clock=SystemClock()
        )
        way.arrives.set()
        for _ in range(200):
            await asyncio.sleep(0)
        vector = await one.store.vector(SLOTS[0])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert {text: dict(batch.heads) for text, batch in told.batches.items()} == (
        {str(SLOTS[0]): {"eu-west": Mark(1, 1)}} if arrived else {}
    )
    assert not usual.batches, "a puller is given ops, and no word of others"
    assert not vector


async def test_of_two_answers_in_hand_for_a_slot_that_has_moved_over_there_the_later_one_counts(tmp_path: Path) -> None:
    """The former owner's may come last: its numbers end earlier."""
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        for number in range(8):
            await other.write(SLOTS[0], f"k{number}", b"1")
        one.store.unproved = "it waits for its own proof, and takes in nothing"
        early = await other.server.answer(
            PullRequest(slots={str(SLOTS[0]): {}}, limit=5, wait_ms=0, region="eu-central")
        )
        late = await other.server.answer(PullRequest(slots={str(SLOTS[0]): {}}, wait_ms=0, region="eu-central"))
        there = {"c1": late, "c2": early}

        class Moving(Held):
            async def owners(self) -> Mapping[str, Sequence[str]]:
                owner = "c2" if self.answered.is_set() else "c1"
                return {"eu/de/main": [owner, "c2", "c1", "c1"]}

            async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
                self.answered.set()
                return there[cell]

        puller = Puller(
            one.store, one.ownership, Moving(other), region="eu-west", clock=HurriedClock(), rng=random.Random(1)
        )
        one.server.askers = [puller]
        task = asyncio.create_task(puller.run())
        async with asyncio.timeout(5):
            while puller.statistics().answers < 2:
                await asyncio.sleep(0)
        asked = PullRequest(slots={str(SLOTS[0]): {}}, limit=1, wait_ms=0, region="eu-west", anew=True)
        told = await one.server.answer(asked)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert told.batches[str(SLOTS[0])].heads["eu-west"] == Mark(1, 8)


async def test_two_handfuls_at_most_wait_before_the_writer_and_one_is_there_while_another_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_messages, "PULL_OPS_MAX", 3)
    rng = random.Random(9)
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        for slot in SLOTS:
            for number in range(3):
                await other.write(slot, f"item-{number}", b"x")
        apply, link = one.store.apply, LossyLink(other, rng, loss=0)
        inside, most = 0, 0

        async def applied(slot: Slot, ops: Sequence[Op]) -> Applied:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            try:
                return await apply(slot, ops)
            finally:
                inside -= 1

        one.store.apply = applied  # type: ignore[method-assign]
        async with pulling(one, link, "eu-west", rng):
            await converged(one, other)

    assert most == 2
