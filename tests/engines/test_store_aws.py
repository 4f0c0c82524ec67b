"""DynamoDB keeps the promises of the store, in two emulated regions that lag, are cut off, throttle and go down."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from eisbach.engines.aws.clients import open_clients
from eisbach.engines.aws.log_row import decode_body
from eisbach.engines.aws.store import DynamoStore, Pace, open_dynamo_store
from eisbach.engines.embedded.clock import SystemClock
from eisbach.hub.relay import Relay
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import (
    EpochStale,
    Invalid,
    OutcomeUnknown,
    Overloaded,
    Retryable,
    SlotFrozen,
    SlotMoved,
    Unavailable,
)
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.versions import Mark
from eisbach.ports.moves import CopyCursor
from eisbach.ports.store import Lease, Transaction, Write
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.aws.hub_host import AwsHubHost
from eisbach.testing.aws.store_host import AwsStoreHost
from eisbach.testing.store_erase_promises import ErasePromises, until_erased
from eisbach.testing.store_host import (
    HERE,
    KEY,
    OTHER,
    SLOT,
    THERE,
    an_op,
    event,
    items,
    owned,
    put,
    remove,
    value,
    write,
)
from eisbach.testing.store_promises import StorePromises

# The largest transaction is over 1 MiB, and aiohttp warns that it is sent in one piece: it is rare, and takes 1 ms.
pytestmark = [pytest.mark.aws, pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")]


@pytest.fixture
async def host(aws: AwsEmulator) -> AsyncIterator[AwsStoreHost]:
    host = AwsStoreHost(aws)
    yield host
    await host.aclose()


class TestDynamoStore(StorePromises, ErasePromises):
    """All of them, for a process that replays the log and for one that finds all in the state."""

    @pytest.fixture(params=[False, True], ids=["replayed", "flushed"])
    async def host(self, aws: AwsEmulator, request: pytest.FixtureRequest) -> AsyncIterator[AwsStoreHost]:
        host = AwsStoreHost(aws, flushes=request.param)
        yield host
        await host.aclose()


# --- twins that meet through the replicated table only -----------------------------------------------------------


async def both_ways(*stores: DynamoStore) -> None:
    """Each takes what its region's replica of the log holds, until all hold the same."""
    async with asyncio.timeout(20):
        while True:
            for store in stores:
                for origin in {other.region for other in stores} - {store.region}:
                    if ops := await store.replicated_ops(SLOT, origin):
                        await store.apply(SLOT, ops)
            vectors = [await store.vector(SLOT) for store in stores]
            if all(vector == vectors[0] for vector in vectors):
                return


@pytest.mark.parametrize("seed", range(3))
async def test_twins_converge_though_the_items_of_a_transaction_arrive_apart_and_late(
    host: AwsStoreHost, seed: int
) -> None:
    here, there = await owned(host), await owned(host, THERE)
    host.aws.lag(0.01, spread=0.3, seed=seed)
    for n in range(6):
        await write(here, *(put(f"{n}-{m}") for m in range(4)), put("both", b"here %d" % n))
        await write(there, put("both", b"there %d" % n))
    seen: list[Sequence[int]] = []
    while (await there.vector(SLOT)).get(HERE, Mark(0, 0)).seq < 30:
        if ops := await there.replicated_ops(SLOT, HERE):
            seen.append([op.seq for op in ops])
            await there.apply(SLOT, ops)

    await both_ways(here, there)

    assert [seq for ops in seen for seq in ops] == list(range(1, 31))
    assert all(ops[-1] % 5 == 0 for ops in seen), "a transaction was cut"
    assert await here.digest(SLOT) == await there.digest(SLOT)
    assert await items(here) == await items(there)


async def test_regions_that_were_cut_off_converge_after_the_heal_and_no_key_had_two_writers(host: AwsStoreHost) -> None:
    here, there = await owned(host), await owned(host, THERE)
    host.aws.cut_link(*host.aws.regions)
    for n in range(5):
        await write(here, put("a", b"here %d" % n), put(f"h{n}"))
        await host.clock.advance(0.01)
        await write(there, put("a", b"there %d" % n), remove(f"h{n}"))
    apart = [await there.replicated_ops(SLOT, HERE), await here.replicated_ops(SLOT, THERE)]

    host.aws.heal_link(*host.aws.regions)
    await both_ways(here, there)

    assert apart == [[], []]
    assert await here.digest(SLOT) == await there.digest(SLOT)
    assert [await value(here), await value(there)] == [b"there 4", b"there 4"]
    assert len(await here.conflicts()) > 0
    replication = host.aws.statistics()["replication"]
    assert replication["sent"] >= 14  # a row a commit: the leases, the writes, what each took of the other
    assert replication["dropped"] == 0  # last writer wins had nothing to decide


async def test_what_comes_after_a_row_of_the_log_that_has_not_come_yet_waits(host: AwsStoreHost) -> None:
    here, there = await owned(host), await owned(host, THERE)
    await write(here, put("a"))
    await here.set_lease(SLOT, expected=Lease(1, "active", 1), lease=Lease(3, "active", 0))
    await write(here, put("b"))
    key = {"pk": {"S": HERE}, "sk": {"N": "2"}}
    async with open_clients(host.place(THERE)) as west:
        async with asyncio.timeout(10):
            while len(await there.replicated_ops(SLOT, HERE)) < 2:
                await asyncio.sleep(0.01)
        row = await west.dynamodb.get_item(TableName="eb-c1-log", Key=key)
        await west.dynamodb.delete_item(TableName="eb-c1-log", Key=key)  # as if it had not come yet

        missing = await there.replicated_ops(SLOT, HERE)
        await west.dynamodb.put_item(TableName="eb-c1-log", Item=row["Item"])
        whole = await there.replicated_ops(SLOT, HERE)

    assert list(missing) == []
    assert [(op.epoch, op.seq) for op in whole] == [(1, 1), (3, 1)]


async def everything_in(host: AwsStoreHost, region: str) -> bytes:
    """Every row of both tables, with what is deflated as it was."""
    found = b""
    async with open_clients(host.place(region)) as clients:
        for table in ("eb-c1-log", "eb-c1-state"):
            async for page in clients.dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
                assert page["Items"]
                found += repr(page["Items"]).encode()
                bodies = [row["b"]["B"] for row in page["Items"] if table.endswith("log") and "b" in row]
                found += b"".join(repr(decode_body(body)).encode() for body in bodies if body[:1] in b"\0\1")
    return found


@pytest.mark.parametrize("flushed", [True, False])
async def test_an_erased_accounts_bytes_are_in_no_table_of_either_region(host: AwsStoreHost, flushed: bool) -> None:
    here, there = await owned(host), await owned(host, THERE)
    await write(here, put("a", b"very-private"), put("b", b"very-private", pk="acc-2"), key=KEY)
    await write(there, put("a", b"very-private"))
    await both_ways(here, there)
    if flushed:
        assert await here.flush()
        assert await there.flush()
    assert b"very-private" in await everything_in(host, HERE)

    await write(here, Write(ItemChange("acc-1", ERASED, b"{}")), Write(ItemChange("acc-2", ERASED, b"{}")))
    await until_erased(here)
    await both_ways(here, there)
    await until_erased(there)
    async with asyncio.timeout(10):
        while host.aws.statistics()["replication"]["queued"]:
            await asyncio.sleep(0.01)

    for region in (HERE, THERE):
        assert b"very-private" not in await everything_in(host, region)


async def test_an_erasure_that_a_region_in_trouble_stopped_goes_on_when_nobody_writes(host: AwsStoreHost) -> None:
    """It waited for a next commit, and a store that nobody writes to has none."""
    here = await owned(host)
    await write(here, put("a", b"very-private"))
    host.aws.fault(host.regions[HERE], "error", operation="Query")
    await write(here, Write(ItemChange("acc-1", ERASED, b"{}")))
    async with asyncio.timeout(10):
        while not host.clock._sleepers:  # refused, it waits
            await asyncio.sleep(0.01)
    host.aws.heal()

    async with asyncio.timeout(10):
        while here.statistics().erasing:
            await host.clock.advance(1.0)

    assert b"very-private" not in await everything_in(host, HERE)


async def test_an_op_of_a_left_epoch_that_was_pruned_is_not_logged_again(host: AwsStoreHost) -> None:
    here = await owned(host)
    now = host.clock.wall_ms()
    old, new = an_op(1, b"old", at_ms=now), an_op(1, b"new", at_ms=now + 1, epoch=2)
    await here.apply(SLOT, [old, new])
    await host.clock.advance(8 * 86_400)
    assert await here.prune_log(SLOT, acknowledged={THERE: Mark(1, 1)}, relayed_lsn=9) == 1
    lsn = here.statistics().last_lsn

    again = await here.apply(SLOT, [old])

    assert (again.changed, again.conflicts, here.statistics().last_lsn) == (0, 0, lsn)


# --- several processes -------------------------------------------------------------------------------------------


async def test_two_processes_that_write_one_slot_leave_a_dense_log_and_lose_nothing(host: AwsStoreHost) -> None:
    one = await owned(host)
    async with host.another() as other:

        async def writes(store: DynamoStore, name: str) -> int:
            done = 0
            for n in range(15):
                try:
                    await write(store, put(f"{name}{n}"), event())
                    done += 1
                except Overloaded:  # the other was faster, twelve times in a row
                    continue
            return done

        done = sum(await asyncio.gather(writes(one, "x"), writes(other, "y")))

        assert one.overtaken + other.overtaken > 0
    ops = (await (await host.restart()).ops_after(SLOT, {}, limit=100)).ops
    assert [op.seq for op in ops] == list(range(1, 2 * done + 1))
    assert [op.event.prev for op in ops if op.event is not None] == [0, *range(2, 2 * done, 2)]
    assert len({op.change.sk for op in ops if op.change is not None}) == done


async def test_a_process_that_was_overtaken_decides_again_and_not_on_what_it_remembers(host: AwsStoreHost) -> None:
    one = await owned(host)
    await write(one, put(value=b"1"))
    read = await one.read(SLOT, (await items(one))[0].key)
    assert read is not None
    async with host.another() as other:
        await write(other, put(value=b"2"))

    results = await asyncio.gather(
        one.transact(Transaction(slot=SLOT, reads={read.key: read.version}, writes=[put(value=b"3")])),
        one.set_lease(OTHER, expected=None, lease=Lease(1, "active", 0)),
        return_exceptions=True,
    )

    assert [type(r).__name__ for r in results] == ["VersionConflict", "NoneType"]
    assert await value(one) == b"2"


async def test_a_process_that_refreshes_knows_what_others_committed(host: AwsStoreHost) -> None:
    one = await owned(host)
    await write(one, put("mine"))
    async with host.another() as other:
        receipt = await write(other, put("theirs"))
    waiting = asyncio.ensure_future(one.wait_for_commit(1))
    before = (await one.vector(SLOT), [entry.lsn for entry in await one.log_after(0, limit=9)])

    await one.refresh()

    assert before == ({HERE: Mark(1, 1)}, [1])
    assert await one.vector(SLOT) == {HERE: receipt.mark}
    assert await waiting == 2
    assert [entry.lsn for entry in await one.log_after(0, limit=9)] == [1, 2]


async def test_a_relay_of_another_process_does_not_publish_everything_again(
    host: AwsStoreHost, aws: AwsEmulator
) -> None:
    """Its memory ends before what the first has published: that is no store that was restored."""
    hub = AwsHubHost(aws)
    one = await owned(host)
    await write(one, event())
    clock = SystemClock()

    async def relayed(store: DynamoStore, up_to: int) -> Relay:
        log = await hub.open()
        relay = Relay(store, log, source=f"{HERE}/c1", clock=clock, rng=random.Random(1))
        running = asyncio.create_task(relay.run())
        async with asyncio.timeout(20):
            while (await log.last(f"{HERE}/c1")).last_lsn < up_to or relay.statistics().resumed == 0:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return relay

    async with host.another() as other:
        await relayed(one, 1)
        await write(one, event())
        await relayed(one, 2)
        late = await relayed(other, 2)
    await hub.aclose()

    assert (late.statistics().rewound, late.statistics().envelopes) == (0, 0)


# --- a region in trouble -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [1, 3], ids=["the SDK asks again", "the store looks whether it was done"])
async def test_a_commit_whose_answer_was_lost_is_acknowledged_and_done_once(host: AwsStoreHost, lost: int) -> None:
    store = await owned(host)
    host.aws.fault(host.regions[HERE], "mute", operation="PutItem", count=lost)

    receipt = await write(store, put())

    assert receipt.mark == Mark(1, 1)
    assert [op.seq for op in (await (await host.restart()).ops_after(SLOT, {}, limit=9)).ops] == [1]


async def test_a_commit_that_did_not_arrive_in_time_never_does(host: AwsStoreHost) -> None:
    """What was told as 'nothing was written' must not come true later."""
    await owned(host)
    async with host.another(tries=1, answer_s=0.3) as store:
        host.aws.fault(host.regions[HERE], "slow", operation="PutItem", count=1, seconds=1.0)

        with pytest.raises(Unavailable, match="nothing was written"):
            await write(store, put(value=b"late"))
        await asyncio.sleep(1.2)  # it arrives now

        assert await value(store) is None
        assert (await write(store, put(value=b"next"))).mark == Mark(1, 1)


@pytest.mark.parametrize("mode", ["throttle", "error", "cut"])
async def test_a_write_into_a_region_in_trouble_is_told_so_and_the_other_region_does_not_notice(
    host: AwsStoreHost, mode: str
) -> None:
    here, there = await owned(host), await owned(host, THERE)
    await write(here, put("before"))
    host.aws.fault(host.regions[HERE], mode)
    calls = _calls(host)

    with pytest.raises(Retryable) as told:
        await write(here, put("during"))
    tried = _calls(host) - calls
    await write(there, put("there"))
    host.aws.heal()
    await write(here, put("after"))

    kind = {"throttle": Overloaded}.get(mode, OutcomeUnknown | Unavailable)
    assert isinstance(told.value, kind)
    assert tried <= 9, "a storm of retries"  # three each: what the work needs, the commit, the look at the head
    assert {item.key.sk for item in await items(here)} == {"before", "after"}
    await both_ways(here, there)
    assert await here.digest(SLOT) == await there.digest(SLOT)


async def test_a_hanging_region_is_given_up_within_its_time(host: AwsStoreHost) -> None:
    await owned(host)
    async with host.another(tries=2, answer_s=0.2) as store:
        host.aws.fault(host.regions[HERE], "hang")
        calls = _calls(host)

        async with asyncio.timeout(8):
            with pytest.raises(Retryable):
                await write(store, put())
        assert _calls(host) - calls <= 6, "a storm of retries"  # two each: the work's, the commit, the look at the head
        host.aws.heal()

        assert (await write(store, put())).mark == Mark(1, 1)


async def test_a_store_opens_only_in_its_region_and_with_its_tables(host: AwsStoreHost) -> None:
    await owned(host)

    with pytest.raises(Invalid, match="belongs to region"):
        async with open_dynamo_store(host.place(HERE), prefix="eb", cell="c1", region=THERE, clock=host.clock):
            pass
    with pytest.raises(Unavailable, match="eb-c9-state"):
        async with open_dynamo_store(host.place(HERE), prefix="eb", cell="c9", region=HERE, clock=host.clock):
            pass


# --- the bill ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5])
async def test_a_write_costs_the_units_that_the_bill_will_have(host: AwsStoreHost, count: int) -> None:
    """A row of the log under 1 KB, which is written in both regions; nothing else before a flush."""
    store = await owned(host)
    await write(store, *(put(f"progress/p1/{n}", b"x" * 80) for n in range(count)))
    before, replicated = store.usage.write_units, store.usage.replicated_units

    await write(store, *(put(f"progress/p1/{n}", b"y" * 80) for n in range(count)))

    assert (store.usage.write_units - before, store.usage.replicated_units - replicated) == (1.0, 1.0)


async def test_an_item_that_was_written_ten_times_is_flushed_once(host: AwsStoreHost) -> None:
    store = await owned(host)
    assert await store.flush()
    for n in range(10):
        await write(store, put("progress/p1/tears", b"%d" % n))
    before, replicated = store.usage.write_units, store.usage.replicated_units

    assert await store.flush()

    assert store.usage.write_units - before == 4.0  # the item, the slot, its index, the head
    assert store.usage.replicated_units == replicated
    store = await host.restart()
    assert await value(store, "progress/p1/tears") == b"9"


async def test_writes_that_nobody_waits_for_share_a_commit_and_one_with_a_key_takes_them_along(
    host: AwsStoreHost,
) -> None:
    await owned(host)
    await host.aclose()
    opening = open_dynamo_store(
        host.place(), prefix="eb", cell="c1", region=HERE, clock=host.clock, pace=Pace(company_ms=20_000)
    )
    async with opening as store, asyncio.timeout(10):  # far below the company's 20 s, so that nothing waits for it
        await write(store, put("a"))
        before = store.statistics().commits
        patient = [asyncio.create_task(write(store, put(f"w{n}"))) for n in range(3)]
        await asyncio.sleep(0)
        assert store.statistics().queue == 3

        await write(store, put("b"), key=KEY)

        assert all([await one for one in patient])
        assert store.statistics().commits - before == 1


async def test_a_write_that_waited_for_company_is_not_refused_as_if_the_store_were_overloaded(
    host: AwsStoreHost,
) -> None:
    await owned(host)
    await host.aclose()
    opening = open_dynamo_store(
        host.place(), prefix="eb", cell="c1", region=HERE, clock=host.clock, pace=Pace(company_ms=60)
    )
    async with opening as store, asyncio.timeout(10):
        await write(store, put("a"))
        patient = asyncio.create_task(write(store, put("b")))
        await asyncio.sleep(0)
        assert store.statistics().queue == 1

        await host.clock.advance(0.06)

        assert await patient


async def test_a_start_replays_the_end_of_the_log_over_what_was_flushed(host: AwsStoreHost) -> None:
    """Ops of both regions, two slots, over a flush, and behind it."""
    here, there = await owned(host, slots=[SLOT, OTHER]), await owned(host, THERE)
    for n in range(30):
        await write(here, *(event("a", sk=f"{m}") for m in range(10)), slot=(SLOT, OTHER)[n % 2])
        await write(there, put(f"t{n}"))
        if n == 20:
            await both_ways(here, there)
            assert await here.flush()
    await both_ways(here, there)
    await write(here, event("b"))
    expected = [(await here.lease(s), await here.vector(s)) for s in (SLOT, OTHER)]
    log = await here.log_after(0, limit=1000)

    async with host.another() as again:
        assert [(await again.lease(s), await again.vector(s)) for s in (SLOT, OTHER)] == expected
        assert await again.log_after(0, limit=1000) == log
        await write(again, event("a"), event("b"))
        last = (await again.ops_after(SLOT, {HERE: Mark(1, 151)}, limit=9)).ops
        assert [op.event.prev for op in last if op.event is not None] == [150, 151]


async def test_a_read_of_a_small_item_costs_a_unit(host: AwsStoreHost) -> None:
    """Of larger ones and of batches the emulator reports one unit and none: they are not asserted."""
    store = await owned(host)
    await write(store, put())
    before = store.usage.read_units

    await value(store)

    assert store.usage.read_units - before == 1.0  # a look whether the log has gone on; the item is in memory


async def test_callers_who_wait_together_share_a_commit(host: AwsStoreHost) -> None:
    store = await owned(host)
    await write(store, put("warm"))
    before = store.statistics().commits

    await asyncio.gather(*(write(store, put(f"{n}")) for n in range(24)))

    assert store.statistics().commits - before <= 3


def _calls(host: AwsStoreHost) -> int:
    return sum(host.aws.statistics()["doors"][host.regions[HERE]]["calls"].values())


# --- whose a slot is ---------------------------------------------------------------------------------------------


async def test_a_slot_is_frozen_once_and_settled_upwards_only(host: AwsStoreHost) -> None:
    store = await owned(host)
    mark = (await write(store, put())).mark

    cut = await store.freeze(SLOT, move=1, epoch=1)
    again = await store.freeze(SLOT, move=1, epoch=1)
    with pytest.raises(SlotFrozen):
        await write(store, put())
    store = await host.restart()
    with pytest.raises(SlotFrozen):
        await write(store, put())
    settled = await store.settle(SLOT, move=1, epoch=2, owner=None)
    late = await store.settle(SLOT, move=1, epoch=2, owner="c2")

    assert cut == again
    assert (cut.lease, cut.vector) == (Lease(1, "frozen", 1, 1), {HERE: mark})
    assert settled == late == Lease(2, "active", 0, 1)
    assert (await write(store, put())).mark == Mark(2, 1)
    with pytest.raises(EpochStale):
        await store.freeze(SLOT, move=1, epoch=1)


async def test_a_slot_that_stands_aside_takes_the_twins_ops_and_no_writes_until_it_is_taken_back(
    host: AwsStoreHost,
) -> None:
    here, there = await owned(host), await owned(host, THERE)
    cut = await here.stand_aside(SLOT, epoch=2, owner=THERE)
    assert cut == await here.stand_aside(SLOT, epoch=2, owner=THERE)

    with pytest.raises(SlotMoved):
        await write(here, put())
    await write(there, put(value=b"meanwhile"))
    await both_ways(here, there)
    with pytest.raises(EpochStale):
        await here.stand_aside(SLOT, epoch=2, owner=None)
    await here.stand_aside(SLOT, epoch=3, owner=None)

    assert await value(here) == b"meanwhile"
    assert (await write(here, put())).mark == Mark(3, 1)


async def test_copies_of_a_slot_are_refused_with_a_reason(host: AwsStoreHost) -> None:
    store = await owned(host)

    with pytest.raises(Invalid, match="do not move between such cells"):
        await store.begin_import(OTHER, move=1, epoch=1)
    with pytest.raises(Invalid, match="do not move between such cells"):
        await store.export(SLOT, CopyCursor())


async def test_tables_have_one_name_for_life(host: AwsStoreHost) -> None:
    store = await owned(host)

    assert [await store.identify("first"), await (await host.restart()).identify("second")] == ["first", "first"]
