"""Durability class ``peer``: what is answered as such is on the other region's disk; what is not says so (P12)."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
from kit import signed_in
from test_twins import SLOTS, Twin, pulling, twin
from test_two_regions import caught_up, regions

from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.pull_messages import FAR_BEHIND
from eisbach.cell.puller import PullAnswer, PullRequest, PullServer
from eisbach.cell.writing import Writer
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import OutcomeUnknown, Unavailable
from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.store import IdempotencyKey, ItemKey, Transaction, Write
from eisbach.testing.manual_clock import ManualClock

SLOT = SLOTS[0]


class Link:
    """A faithful way to the other twin's server; may be cut."""

    far_behind = FAR_BEHIND

    def __init__(self, server: PullServer) -> None:
        self.server, self.cut, self.pulls = server, False, 0

    async def owners(self) -> Mapping[str, Sequence[str]]:
        return {"eu/de/main": ["c1"] * 4}

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        if self.cut:
            raise Unavailable("cut")
        answer = await self.server.answer(request)
        self.pulls += 1
        if self.cut:
            raise Unavailable("cut")
        return answer


class Pair:
    """A writing twin, and another that pulls from it."""

    def __init__(self, one: Twin, other: Twin, *, company_ms: int = 0) -> None:
        clock = SystemClock()
        self.one, self.other = one, other
        self.acknowledged = Acknowledged(region="eu-central", peers=["eu-west"], clock=clock)
        self.writer = Writer(one.store, one.ownership, clock=clock, acknowledged=self.acknowledged)
        server = PullServer(one.store, one.ownership, clock=clock, acknowledged=self.acknowledged)
        server.company_ms = company_ms
        self.link = Link(server)

    def write(self, sk: str, key: str) -> Transaction:
        change = Write(ItemChange("a", sk, b"1"))
        return Transaction(slot=SLOT, writes=[change], key=IdempotencyKey("a", key), answer=b"first")

    async def holds(self, sk: str) -> bool:
        return await self.other.store.read(SLOT, ItemKey("a", sk)) is not None


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        pair = Pair(one, other)
        async with pulling(other, pair.link, "eu-central", random.Random(1)):  # type: ignore[arg-type]
            async with asyncio.timeout(5):
                while not pair.link.pulls:
                    await asyncio.sleep(0.005)
                    await one.write(SLOTS[1], "x", b"1")
            yield pair


async def test_what_is_answered_as_peer_is_on_the_other_regions_disk(pair: Pair) -> None:
    for n in range(20):
        written = await pair.writer.transact(pair.write(f"k{n}", f"k{n}"), durability="peer")

        assert written.durability == "local" or await pair.holds(f"k{n}")
    assert pair.acknowledged.reached > 0


async def test_a_twin_that_is_given_ops_in_company_gets_few_answers_and_still_acknowledges_a_peer_write_in_time(
    tmp_path: Path,
) -> None:
    async with twin(tmp_path, "eu-central") as one, twin(tmp_path, "eu-west") as other:
        pair = Pair(one, other, company_ms=400)
        async with pulling(other, pair.link, "eu-central", random.Random(1)), asyncio.timeout(10):  # type: ignore[arg-type]
            await one.write(SLOT, "first", b"1")
            while not await pair.holds("first"):
                await asyncio.sleep(0.005)
            before = pair.link.pulls
            for n in range(40):
                await one.write(SLOT, f"w{n}", b"1")
                await asyncio.sleep(0.01)
            pulls = pair.link.pulls - before

            for n in range(3):
                written = await pair.writer.transact(pair.write(f"p{n}", f"p{n}"), durability="peer", policy="fail")
                assert written.durability == "peer"
            while not await pair.holds("w39"):
                await asyncio.sleep(0.005)

    assert pulls <= 3


async def test_policy_degrade_says_local_when_the_link_is_cut(pair: Pair) -> None:
    pair.link.cut = True

    written = await pair.writer.transact(pair.write("k", "k"), durability="peer", policy="degrade")

    assert written.durability == "local"
    assert not await pair.holds("k")


async def test_policy_fail_says_unknown_and_the_same_key_returns_the_real_answer_once_it_is_there(pair: Pair) -> None:
    pair.link.cut = True
    with pytest.raises(OutcomeUnknown, match="same key"):
        await pair.writer.transact(pair.write("k", "k"), durability="peer", policy="fail")
    with pytest.raises(OutcomeUnknown):
        await pair.writer.transact(pair.write("k", "k"), durability="peer", policy="fail")

    pair.link.cut = False
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OutcomeUnknown):
                again = await pair.writer.transact(pair.write("k", "k"), durability="peer", policy="fail")
                break
            await asyncio.sleep(0.01)

    assert (again.durability, again.receipt.repeated, again.receipt.answer) == ("peer", True, b"first")
    assert await pair.holds("k")
    assert again.receipt.mark.seq == 1, "one effect"


async def test_an_op_from_the_future_counts_once_it_is_in_the_log(pair: Pair) -> None:
    ahead = SystemClock().wall_ms() + 60_000
    op = Op(str(SLOT), "eu-central", 1, 1, ahead << COUNTER_BITS, ItemChange("a", "future", b"1"), None)

    applied = await pair.other.store.apply(SLOT, [op])
    pair.acknowledged.note("eu-west", {str(SLOT): applied.vector})

    assert applied.held == 1
    assert pair.acknowledged.holds(SLOT, Mark(1, 1))


async def test_nobody_waits_for_a_region_that_has_not_asked_for_ten_seconds() -> None:
    clock = ManualClock()
    acknowledged = Acknowledged(region="eu-central", peers=["eu-west"], clock=clock)
    acknowledged.note("eu-west", {})
    await clock.advance(11)

    assert not await acknowledged.wait(SLOT, Mark(1, 1)), "and no time had to pass for it"


async def test_what_a_stranger_claims_to_hold_counts_for_nothing() -> None:
    acknowledged = Acknowledged(region="eu-central", peers=["eu-west"], clock=ManualClock())

    acknowledged.note("us-east", {str(SLOT): {"eu-central": Mark(9, 9)}})

    assert not acknowledged.holds(SLOT, Mark(1, 1))


async def test_a_high_number_of_an_epoch_that_is_over_acknowledges_nothing_of_the_new_one() -> None:
    acknowledged = Acknowledged(region="eu-central", peers=["eu-west"], clock=ManualClock())

    acknowledged.note("eu-west", {str(SLOT): {"eu-central": Mark(1, 100)}})

    assert acknowledged.holds(SLOT, Mark(1, 100))
    assert not acknowledged.holds(SLOT, Mark(2, 1))


async def test_a_new_account_and_its_deletion_are_answered_with_what_was_reached(tmp_path: Path) -> None:
    async with regions(tmp_path) as cells:
        async with asyncio.timeout(20):
            while not all(map(caught_up, cells.values())):
                await asyncio.sleep(0.02)
        viewer = await signed_in(cells["eu-central"])
        erased = await viewer.send("DELETE", "/v1/me")

    assert erased.status == 204
    assert erased.headers["eisbach-durability"] in ("peer", "local")
    assert cells["eu-central"].status()["writes"]["reached_peer"] >= 1


@pytest.mark.parametrize(("region", "told"), [("eu-west", True), ("us-east", False), ("", False)])
async def test_the_sender_gives_a_slot_only_to_a_region_where_its_data_may_be(
    tmp_path: Path, region: str, *, told: bool
) -> None:
    async with twin(tmp_path, "eu-central") as one:
        await one.write(SLOT, "k", b"restricted")
        where = {"eu-central": "eu", "eu-west": "eu", "us-east": "us"}

        def may_send(to: str, slot: Slot) -> bool:
            return where.get(to) == slot.group.residency

        server = PullServer(one.store, one.ownership, clock=SystemClock(), may_send=may_send)
        answer = await server.answer(PullRequest(slots={str(SLOT): {}}, wait_ms=0, region=region))

    assert (str(SLOT) in answer.batches) == told
    assert answer.failed == ({} if told else {str(SLOT): "residency"})
