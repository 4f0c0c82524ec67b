"""Between the log and the state of a store on DynamoDB: a process that dies, or wakes up late, loses and doubles nothing.

A process that dies at a call is one whose client raises at that call and at every one after it.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from eisbach.engines.aws.clients import open_clients
from eisbach.engines.aws.log_row import decode_body
from eisbach.engines.aws.store import DynamoStore, Pace, open_dynamo_store
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.versions import Mark
from eisbach.ports.store import IdempotencyKey, Lease, LogEntry, Write
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.aws.store_host import AwsStoreHost
from eisbach.testing.store_erase_promises import until_erased
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

pytestmark = pytest.mark.aws


@pytest.fixture
async def host(aws: AwsEmulator) -> AsyncIterator[AwsStoreHost]:
    host = AwsStoreHost(aws)
    yield host
    await host.aclose()


class Killed(BaseException):
    """The process is gone."""


def dies_at(store: DynamoStore, call: int) -> None:
    """Its ``call``-th write from now on is not made, and nothing after it."""
    client, left = store._tables.dynamodb, call

    class Dying:
        def __getattr__(self, name: str) -> Any:
            async def made(**asked: Any) -> Any:
                nonlocal left
                left -= name in ("put_item", "batch_write_item")
                if left < 0:
                    raise Killed
                return await getattr(client, name)(**asked)

            return made

    store._tables.dynamodb = Dying()


@asynccontextmanager
async def killed_in_the_end(host: AwsStoreHost) -> AsyncIterator[DynamoStore]:
    """A process that does not get to close its store."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(host.another())
        try:
            yield store
        finally:
            dies_at(store, 0)
            with suppress(Killed):
                await stack.aclose()


async def seen(store: DynamoStore) -> dict[str, Any]:
    """All that a reader can see."""
    log: list[LogEntry] = list(await store.log_after(0, limit=1000))
    return {
        "items": [list(await items(store, slot=slot)) for slot in (SLOT, OTHER)],
        "erased": [list(await items(store, pk=f"acc-e{turn}")) for turn in range(4)],
        "leases": dict(await store.leases()),
        "vectors": [await store.vector(SLOT), await store.applied(SLOT), await store.vector(OTHER)],
        "ops": [list((await store.ops_after(slot, {}, limit=1000)).ops) for slot in (SLOT, OTHER)],
        "log": log,
        "digests": [list(await store.digest(slot)) for slot in (SLOT, OTHER)],
        "conflicts": list(await store.conflicts()),
    }


async def a_bit_of_everything(store: DynamoStore, turn: int, now_ms: int) -> None:
    """Items over and over, answers, tombstones, losers, an op from the future, an erased account, a changed lease."""
    for n in range(3):
        await write(store, put("again", b"%d-%d" % (turn, n)), event(sk=f"e{turn}"))
    await write(store, put(f"kept-{turn}"), key=IdempotencyKey("acc-1", f"k{turn}"))
    await write(store, remove(f"kept-{turn - 1}"), put("other"), slot=OTHER)
    first = 3 * turn + 1
    theirs = [
        an_op(first, b"theirs", at_ms=now_ms + 1, sk="again"),
        an_op(first + 1, b"future", at_ms=now_ms + 5000, sk=f"f{turn}"),
        an_op(first + 2, b"behind it", at_ms=now_ms + 1, sk=f"g{turn}"),
    ]
    await store.apply(SLOT, theirs)
    await write(store, put("private", pk=f"acc-e{turn}"))
    await write(store, Write(ItemChange(f"acc-e{turn}", ERASED, b"{}")))
    await until_erased(store)
    lease = await store.lease(OTHER)
    assert lease is not None
    await store.set_lease(OTHER, expected=lease, lease=Lease(lease.epoch + 1, "active", 0))


@pytest.mark.timeout(300)  # some forty processes after each other
async def test_a_process_that_dies_at_any_step_of_a_flush_loses_nothing_and_shows_nothing_twice(
    host: AwsStoreHost,
) -> None:
    await owned(host, slots=[SLOT, OTHER])
    await host.aclose()
    turn, finished = 0, False
    while not finished:
        async with killed_in_the_end(host) as store:
            await a_bit_of_everything(store, turn, host.clock.wall_ms())
            before = await seen(store)
            dies_at(store, turn)
            with suppress(Killed):
                finished = await store.flush()

        async with killed_in_the_end(host) as after:
            assert await seen(after) == before
            again = await write(after, put("twice"), key=IdempotencyKey("acc-1", f"k{turn}"))
            assert again.repeated
            assert await seen(after) == before
        await host.clock.advance(0.001)
        turn += 1

    assert turn > 10  # several kinds of rows, each of which was the last one written once


async def test_ops_that_were_held_when_a_process_died_are_applied_once_by_the_next(host: AwsStoreHost) -> None:
    store = await owned(host)
    await store.apply(SLOT, [an_op(1, b"future", at_ms=host.clock.wall_ms() + 5000, sk="f")])
    assert await store.flush()
    await host.clock.advance(6)
    async with killed_in_the_end(host) as other:
        await other.release_held()
        assert await value(other, "f") == b"future"
        assert await other.applied(SLOT) == {THERE: Mark(1, 1)}
        rows = other._flusher._rows(other._writer.memory.head.number)
        assert ("held", None) in {(pk, row) for pk, _, _, row in rows if row is None}
        await other._writer.tables.show(rows, now_ms=host.clock.wall_ms())  # and then it dies, without a head

    async with host.another() as last:
        await last.release_held()
        assert await value(last, "f") == b"future"
        assert await last.conflicts() == []


async def test_a_process_that_stopped_in_a_flush_and_wakes_up_writes_nothing_old_over_new(host: AwsStoreHost) -> None:
    sleeper = await owned(host)
    await write(sleeper, put("a", b"old"), put("b", b"only"))
    asleep = sleeper._flusher._rows(sleeper._writer.memory.head.number)
    async with host.another() as other:
        await write(other, put("a", b"new"))
        assert await other.flush()

        await sleeper._writer.tables.show(asleep, now_ms=host.clock.wall_ms())

    async with host.another() as last:
        assert [item.value for item in await items(last)] == [b"new", b"only"]
    assert await value(sleeper) == b"new"


async def test_a_process_that_stopped_in_a_flush_brings_back_nothing_of_an_erased_account(host: AwsStoreHost) -> None:
    sleeper = await owned(host)
    await write(sleeper, put("a", b"very-private"), key=KEY)
    asleep = sleeper._flusher._rows(sleeper._writer.memory.head.number)
    async with killed_in_the_end(host) as other:
        await write(other, Write(ItemChange("acc-1", ERASED, b"{}")))
        await until_erased(other)

        await sleeper._writer.tables.show(asleep, now_ms=host.clock.wall_ms())

        async with open_clients(host.place(HERE)) as clients:
            state = (await clients.dynamodb.scan(TableName="eb-c1-state", ConsistentRead=True))["Items"]
            log = (await clients.dynamodb.scan(TableName="eb-c1-log", ConsistentRead=True))["Items"]
    assert b"very-private" not in repr(state).encode()
    assert b"once" not in repr(state).encode()  # the answer
    assert b"very-private" not in b"".join(repr(decode_body(row["b"]["B"])).encode() for row in log)


async def test_a_read_sees_what_another_process_acknowledged_and_has_not_flushed(host: AwsStoreHost) -> None:
    one = await owned(host)
    await write(one, put(value=b"1"), put("gone"))
    async with host.another() as other:
        await write(other, put(value=b"2"), remove("gone"), put("more"))

        assert await value(one) == b"2"
        assert [item.key.sk for item in await items(one)] == ["a", "more"]


@pytest.mark.parametrize("flushed", [True, False])
async def test_a_transaction_that_no_row_can_hold_lies_in_parts_and_is_whole_or_not_there(
    host: AwsStoreHost, flushed: bool
) -> None:
    here, there = await owned(host), await owned(host, THERE)
    large = {f"{n}": os.urandom(60_000) for n in range(20)}
    await write(here, *(put(sk, raw) for sk, raw in large.items()))
    if flushed:
        assert await here.flush()

    while not (ops := await there.replicated_ops(SLOT, HERE)):
        pass
    await there.apply(SLOT, ops)
    async with host.another() as again:
        assert {item.key.sk: item.value for item in await items(again)} == large
        assert len((await again.ops_after(SLOT, {}, limit=100)).ops) == 20
    assert {item.key.sk: item.value for item in await items(there)} == large

    await write(here, Write(ItemChange("acc-1", ERASED, b"{}")))
    await until_erased(here)
    async with open_clients(host.place(HERE)) as clients:
        log = (await clients.dynamodb.scan(TableName="eb-c1-log", ConsistentRead=True))["Items"]
        mine = [row for row in log if row["pk"]["S"].startswith(HERE)]
        assert [row for row in mine if "part" in row["pk"]["S"]] == []
        assert not any(
            raw[:100] in decode_body(row["b"]["B"]).__repr__().encode() for row in mine for raw in large.values()
        )


async def test_what_is_written_anew_while_a_flush_takes_its_time_is_not_written_by_it_and_never_lost(
    host: AwsStoreHost,
) -> None:
    store = await owned(host)
    async with host.another() as other:
        for start in (0, 16):
            await write(store, *(put(f"quiet-{n}") for n in range(start, start + 16)))
        await write(store, put("busy", b"before"))
        assert await value(other, "busy") == b"before"
        before = store.usage.written["state: item busy"]

        flushing = asyncio.create_task(store._flusher.flush(within_s=60))
        async with asyncio.timeout(20):
            while store.usage.written["state: item quiet-31"] < 1:
                await asyncio.sleep(0.01)
            await write(store, put("busy", b"after"))
            while not flushing.done():
                await host.clock.advance(10)
                await asyncio.sleep(0.01)
        await flushing

        assert store.usage.written["state: item busy"] == before
        unflushed = other._writer.memory.unflushed
        await other._flusher._let_go()
        assert unflushed.flushed == 0, "it does not know yet what the table lacks"
        assert await value(other, "busy") == b"after"
        await other._flusher._let_go()
        assert unflushed.flushed > 0
        assert await value(other, "busy") == b"after"
    async with killed_in_the_end(host) as again:
        assert await value(again, "busy") == b"after"
        assert await value(again, "quiet-31") == b"1"
        assert await again.flush()
    assert store.usage.written["state: item busy"] == before
    async with killed_in_the_end(host) as again:
        assert await value(again, "busy") == b"after"


async def test_what_lies_in_the_log_alone_is_read_from_there_when_memory_has_let_it_go(host: AwsStoreHost) -> None:
    store = await owned(host, slots=[SLOT, OTHER])
    for n in range(30):
        await write(store, put(f"{n}"), slot=(SLOT, OTHER)[n % 2])
        if n % 7 == 0:
            assert await store.flush()
    assert store._writer.memory.unflushed.tail[0][0] > 10

    ops = (await store.ops_after(SLOT, {HERE: Mark(1, 2)}, limit=100)).ops
    few = (await store.ops_after(SLOT, {}, limit=3)).ops
    entries = await store.log_after(4, limit=9)

    assert [op.seq for op in ops] == list(range(3, 16))
    assert [op.seq for op in few] == [1, 2, 3]
    assert [entry.lsn for entry in entries] == list(range(5, 14))


async def test_where_a_task_keeps_the_state_a_function_leaves_it_to_the_task(host: AwsStoreHost) -> None:
    """Otherwise a function would write with its call what the task writes once in ten minutes."""
    await owned(host)

    def opened(**pace: float) -> Any:
        return open_dynamo_store(
            host.place(),
            prefix="eb",
            cell="c1",
            region=HERE,
            clock=host.clock,
            pace=Pace(**pace),  # type: ignore[arg-type]
        )

    async with opened(flush_ops=8) as function:
        for n in range(11):
            await write(function, put("a", b"%d" % n))
        alone = function._writer.memory.unflushed.flushed
    async with opened(flush_ops=1000, flush_every_s=600.0) as task, opened(flush_ops=8) as function:
        for n in range(30):
            await write(function, put("a", b"%d" % n))
        beside = function._writer.memory.unflushed.flushed
        await task.refresh()  # as a cell does twice a second
        assert await task.flush()
        await function.refresh()
        for n in range(11):
            await write(function, put("b", b"%d" % n))

        assert alone >= 8
        assert beside < 15
        assert function._writer.memory.unflushed.flushed >= 30  # and it lets go of what the task has flushed


async def test_tables_of_the_form_before_are_refused_with_a_sentence(host: AwsStoreHost) -> None:
    await owned(host)
    await host.aclose()
    async with open_clients(host.place(HERE)) as clients:
        numbers = {name: {"N": "1"} for name in ("number", "hlc", "lsn", "conflicts", "saved")}
        old = {"pk": {"S": "head"}, "sk": {"S": "head"}, **numbers, "region": {"S": HERE}, "token": {"S": "x"}}
        await clients.dynamodb.put_item(TableName="eb-c1-state", Item=old)

    with pytest.raises(Exception, match="ADR 0022"):
        await host.open()
