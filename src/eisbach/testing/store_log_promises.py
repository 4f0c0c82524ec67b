"""Promises of the op log: dense, in commit order, pulled by vector, never cut inside a transaction."""

import asyncio

import pytest

from eisbach.kernel.errors import LogGap
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Lease
from eisbach.testing.store_host import HERE, OTHER, SLOT, THERE, StoreHost, event, exchange, owned, put, write

__all__ = ["LogPromises"]

WEEK_S = 7 * 86_400


class LogPromises:
    """One log: outbox to the hub, stream to the twin, tail of a move."""

    async def test_the_log_is_dense_however_writers_crowd(self, host: StoreHost) -> None:
        store = await owned(host, slots=[SLOT, OTHER])

        await asyncio.gather(*(write(store, put(f"{n}"), slot=(SLOT, OTHER)[n % 2]) for n in range(100)))

        for slot in (SLOT, OTHER):
            ops = (await store.ops_after(slot, {}, limit=1000)).ops
            assert [op.seq for op in ops] == list(range(1, 51))
            assert [op.hlc for op in ops] == sorted({op.hlc for op in ops})

    async def test_log_entries_come_in_commit_order_across_slots(self, host: StoreHost) -> None:
        store = await owned(host, slots=[SLOT, OTHER])
        for slot in (SLOT, OTHER, OTHER, SLOT):
            await write(store, put(), slot=slot)

        entries = await store.log_after(0, limit=3)
        rest = await store.log_after(entries[-1].lsn, limit=3)

        assert [e.op.slot for e in (*entries, *rest)] == [str(s) for s in (SLOT, OTHER, OTHER, SLOT)]
        assert [e.lsn for e in (*entries, *rest)] == sorted({e.lsn for e in (*entries, *rest)})

    async def test_a_waiter_wakes_with_the_commit_and_a_cancelled_one_loses_nothing(self, host: StoreHost) -> None:
        store = await owned(host)
        waiting = [asyncio.ensure_future(store.wait_for_commit(0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()

        await write(store, put())

        assert await asyncio.gather(*waiting[1:]) == [1, 1]
        assert await store.wait_for_commit(0) == 1

    async def test_a_waiter_for_what_is_there_does_not_wait(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put(), put("b"))
        store = await host.restart()

        assert await store.wait_for_commit(1) == 2

    async def test_an_lsn_is_never_used_twice(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put())
        await host.clock.advance(WEEK_S + 1)
        await store.prune_log(SLOT, acknowledged={HERE: Mark(1, 1)}, relayed_lsn=1)
        store = await host.restart()

        await write(store, put())

        assert [entry.lsn for entry in await store.log_after(0, limit=9)] == [2]

    async def test_an_event_names_the_one_before_it_of_its_type(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, event("a"), put(), event("b"))
        await write(store, event("a", sk="x"), event("a"))
        store = await host.restart()
        await write(store, event("b"))
        await store.set_lease(SLOT, expected=Lease(1, "active", 6), lease=Lease(2, "active", 0))
        await write(store, event("a"))

        ops = (await store.ops_after(SLOT, {}, limit=100)).ops

        chain = [(op.event.type, op.epoch, op.seq, op.event.prev) for op in ops if op.event is not None]
        assert chain == [("a", 1, 1, 0), ("b", 1, 3, 0), ("a", 1, 4, 1), ("a", 1, 5, 4), ("b", 1, 6, 3), ("a", 2, 1, 0)]

    async def test_the_first_event_of_an_epoch_names_the_last_one_of_its_type_before(self, host: StoreHost) -> None:
        """Found by the simulated world: around a move, events of a new epoch overtook the last ones of the old."""
        store = await owned(host)
        await write(store, event("a"), event("b"), event("a"))
        await store.set_lease(SLOT, expected=Lease(1, "active", 3), lease=Lease(2, "active", 0))
        await write(store, event("a"), event("a"))
        await store.set_lease(SLOT, expected=Lease(2, "active", 2), lease=Lease(5, "active", 0))
        store = await host.restart()
        await write(store, event("b"), event("a"), event("new"), event("b"))

        ops = (await store.ops_after(SLOT, {HERE: Mark(1, 3)}, limit=100)).ops

        named = [(op.event.type, op.event.prev, op.event.after) for op in ops if op.event is not None]
        assert named == [
            ("a", 0, Mark(1, 3)), ("a", 1, None),
            ("b", 0, Mark(1, 2)), ("a", 0, Mark(2, 2)), ("new", 0, None), ("b", 1, None),
        ]  # fmt: skip

    async def test_a_puller_gets_what_its_vector_lacks_and_the_heads(self, host: StoreHost) -> None:
        store = await owned(host)
        for n in range(5):
            await write(store, put(f"{n}"))

        batch = await store.ops_after(SLOT, {HERE: Mark(1, 3)}, limit=100)

        assert [op.seq for op in batch.ops] == [4, 5]
        assert batch.heads == {HERE: Mark(1, 5)}
        assert (await store.ops_after(SLOT, batch.heads, limit=100)).ops == []

    async def test_a_batch_is_never_cut_inside_a_transaction(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put("a"), put("b"))
        await write(store, *(put(f"{n}") for n in range(20)))
        await write(store, put("z"))

        batches = [
            (await store.ops_after(SLOT, {HERE: Mark(1, seq)}, limit=limit)).ops for seq, limit in ((0, 1), (2, 3))
        ]

        assert [[op.seq for op in ops] for ops in batches] == [[1, 2], list(range(3, 23))]
        assert [op.more for op in batches[0]] == [True, False]

    async def test_ops_of_every_origin_are_passed_on_under_their_own_numbers(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE, epoch=4)
        await write(here, put("h"))
        await write(there, put("t"))
        await exchange(here, there)

        batch = await here.ops_after(SLOT, {}, limit=100)

        assert {(op.origin, op.epoch, op.seq) for op in batch.ops} == {(HERE, 1, 1), (THERE, 4, 1)}
        assert batch.heads == {HERE: Mark(1, 1), THERE: Mark(4, 1)}

    async def test_a_log_is_pruned_only_when_old_acknowledged_and_relayed(self, host: StoreHost) -> None:
        store = await owned(host)
        for n in range(4):
            await write(store, put(f"{n}"))
        everything = {HERE: Mark(1, 4)}
        assert await store.prune_log(SLOT, acknowledged=everything, relayed_lsn=4) == 0
        await host.clock.advance(WEEK_S + 1)
        await write(store, put("young"))

        pruned = [
            await store.prune_log(SLOT, acknowledged={}, relayed_lsn=4),
            await store.prune_log(SLOT, acknowledged={HERE: Mark(1, 1)}, relayed_lsn=4),
            await store.prune_log(SLOT, acknowledged=everything, relayed_lsn=2),
            await store.prune_log(SLOT, acknowledged={HERE: Mark(1, 5)}, relayed_lsn=5),
        ]

        assert pruned == [0, 1, 1, 2]
        assert [e.op.seq for e in await store.log_after(0, limit=9)] == [5]

    async def test_an_asker_who_misses_what_was_pruned_is_told(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put())
        await store.set_lease(SLOT, expected=Lease(1, "active", 1), lease=Lease(2, "active", 0))
        await write(store, put())
        await host.clock.advance(WEEK_S + 1)
        await store.prune_log(SLOT, acknowledged={HERE: Mark(1, 1)}, relayed_lsn=9)

        with pytest.raises(LogGap):
            await store.ops_after(SLOT, {}, limit=10)

        assert [op.epoch for op in (await store.ops_after(SLOT, {HERE: Mark(1, 1)}, limit=10)).ops] == [2]
