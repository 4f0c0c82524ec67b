"""Promises of ``Store.transact``, leases, keys and reads; inherit them through ``store_promises``."""

import asyncio

import pytest

from eisbach.kernel.errors import EpochStale, Invalid, SlotFrozen, SlotMoved, VersionConflict
from eisbach.kernel.events import EventDraft
from eisbach.kernel.limits import EVENT_BYTES_MAX, ITEM_BYTES_MAX, WRITES_PER_TRANSACTION_MAX
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.versions import Mark, Version
from eisbach.ports.store import ItemKey, Lease, Store, Transaction, Write
from eisbach.testing.store_host import HERE, KEY, OTHER, SLOT, StoreHost, event, items, owned, put, remove, value, write

__all__ = ["WritePromises"]

A = ItemKey("acc-1", "a")
DAY_S = 86_400


async def _refused(store: Store, transaction: Transaction, error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        await store.transact(transaction)
    return str(caught.value)


class WritePromises:
    """One transaction: checked, then whole and durable."""

    async def test_an_acknowledged_write_survives_a_restart(self, host: StoreHost) -> None:
        receipt = await write(await owned(host), put(value=b"kept"))

        store = await host.restart()

        assert await value(store) == b"kept"
        assert await store.vector(SLOT) == {HERE: receipt.mark}

    async def test_a_read_sees_every_write_acknowledged_before_it(self, host: StoreHost) -> None:
        store = await owned(host)
        for number in range(5):
            await write(store, put(value=b"%d" % number))

            assert await value(store) == b"%d" % number

    async def test_a_transaction_takes_dense_seqs_and_one_stamp(self, host: StoreHost) -> None:
        store = await owned(host)
        first = await write(store, put("a"), put("b"), put("c"))

        second = await write(store, put("a"))

        assert [first.mark, second.mark] == [Mark(1, 3), Mark(1, 4)]
        assert [op.seq for op in (await store.ops_after(SLOT, {}, limit=10)).ops] == [1, 2, 3, 4]
        assert second.hlc > first.hlc

    async def test_writes_of_one_transaction_apply_in_order(self, host: StoreHost) -> None:
        store = await owned(host)

        await write(store, put(value=b"1"), remove(), put(value=b"3"))

        assert await value(store) == b"3"

    async def test_a_precondition_that_holds_lets_the_write_pass(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put(value=b"1"))
        found = await store.read(SLOT, A)
        assert found is not None

        await store.transact(Transaction(slot=SLOT, reads={A: found.version}, writes=[put(value=b"2")]))

        assert await value(store) == b"2"

    async def test_a_stale_precondition_is_refused_with_both_versions(self, host: StoreHost) -> None:
        store = await owned(host)
        receipt = await write(store, put(value=b"1"))
        stale = Version(1, HERE, 1)

        message = await _refused(
            store, Transaction(slot=SLOT, reads={A: stale}, writes=[put(value=b"2")]), VersionConflict
        )

        assert str(receipt.hlc) in message
        assert str(stale) in message
        assert await value(store) == b"1"

    async def test_absent_is_a_precondition_that_a_tombstone_meets(self, host: StoreHost) -> None:
        store = await owned(host)
        absent = Transaction(slot=SLOT, reads={A: None}, writes=[put(value=b"new")])
        await store.transact(absent)
        await _refused(store, absent, VersionConflict)
        await write(store, remove())

        await store.transact(absent)

        assert await value(store) == b"new"

    async def test_of_two_writers_at_once_under_one_precondition_one_wins(self, host: StoreHost) -> None:
        store = await owned(host)
        tries = [Transaction(slot=SLOT, reads={A: None}, writes=[put(value=b"%d" % n)]) for n in range(20)]

        results = await asyncio.gather(*map(store.transact, tries), return_exceptions=True)

        assert [n for n, r in enumerate(results) if not isinstance(r, VersionConflict)] == [0]
        assert await value(store) == b"0"

    async def test_a_refused_caller_leaves_its_neighbours_of_the_group_alone(self, host: StoreHost) -> None:
        store = await owned(host, slots=[SLOT, OTHER])
        good = [Transaction(slot=slot, writes=[put(f"g{n}")]) for n in range(10) for slot in (SLOT, OTHER)]
        bad = [
            Transaction(slot=SLOT, reads={A: Version(1, HERE, 1)}, writes=[put("bad"), event()]),
            Transaction(slot=SLOT, epoch=7, writes=[put("bad")]),
        ]
        mixed = [t for n, one in enumerate(good) for t in (one, bad[n % 2])]

        results = await asyncio.gather(*map(store.transact, mixed), return_exceptions=True)

        assert all(isinstance(r, VersionConflict | EpochStale) for r in results[1::2])
        assert [r.mark.seq for r in results[::4] if not isinstance(r, BaseException)] == list(range(1, 11))
        assert [item.key.sk for item in await items(store)] == [f"g{n}" for n in range(10)]

    async def test_a_poisonous_value_hurts_its_caller_only(self, host: StoreHost) -> None:
        store = await owned(host)
        poison = Transaction(slot=SLOT, writes=[Write(ItemChange("acc-1", "p", "text"))])  # type: ignore[arg-type]
        lone = Transaction(slot=SLOT, writes=[put("\ud800")])
        good = [Transaction(slot=SLOT, writes=[put(f"g{n}")]) for n in range(4)]

        results = await asyncio.gather(
            *map(store.transact, [good[0], poison, good[1], lone, *good[2:]]), return_exceptions=True
        )

        assert [isinstance(r, Invalid) for r in results] == [False, True, False, True, False, False]
        assert len(await items(store)) == 4

    @pytest.mark.parametrize(
        "writes",
        [
            [],
            [put()] * (WRITES_PER_TRANSACTION_MAX + 1),
            [Write()],
            [put("")],
            [put("s" * 513)],
            [put(pk="p" * 257)],
            [put(value=b"x" * (ITEM_BYTES_MAX + 1))],
            [Write(event=EventDraft("tv.t.v1", "s", b"x" * (EVENT_BYTES_MAX + 1)))],
        ],
    )
    async def test_a_bound_that_is_broken_is_named(self, host: StoreHost, writes: list[Write]) -> None:
        store = await owned(host)

        await _refused(store, Transaction(slot=SLOT, writes=writes), Invalid)

        assert await store.vector(SLOT) == {}

    async def test_what_lies_on_the_bounds_passes(self, host: StoreHost) -> None:
        store = await owned(host)
        large = put("s" * 512, b"x" * ITEM_BYTES_MAX, pk="p" * 256)

        await write(store, *([large] * WRITES_PER_TRANSACTION_MAX))

        assert [len(item.value) for item in await items(store, pk="p" * 256)] == [ITEM_BYTES_MAX]

    # --- lease ---------------------------------------------------------------------------------------------------

    async def test_a_slot_never_had_is_refused_as_moved(self, host: StoreHost) -> None:
        store = await owned(host)

        await _refused(store, Transaction(slot=OTHER, writes=[put()]), SlotMoved)

        assert await store.lease(OTHER) is None
        assert await value(store, slot=OTHER) is None

    async def test_a_slot_that_is_gone_names_its_owner(self, host: StoreHost) -> None:
        store = await owned(host)
        await store.set_lease(SLOT, expected=Lease(1, "active", 0), lease=Lease(2, "gone", 0, 9, "c2"))

        with pytest.raises(SlotMoved) as caught:
            await write(store, put())

        assert (caught.value.owner, caught.value.epoch) == ("c2", 2)

    async def test_a_frozen_slot_refuses_writes_and_answers_reads(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put(value=b"1"))
        await store.set_lease(SLOT, expected=Lease(1, "active", 1), lease=Lease(1, "frozen", 1, 9))

        await _refused(store, Transaction(slot=SLOT, writes=[put(value=b"2")]), SlotFrozen)

        assert await value(store) == b"1"

    async def test_a_call_decided_under_another_epoch_is_refused(self, host: StoreHost) -> None:
        store = await owned(host, epoch=3)

        await _refused(store, Transaction(slot=SLOT, epoch=2, writes=[put()]), EpochStale)
        receipt = await store.transact(Transaction(slot=SLOT, epoch=3, writes=[put()]))

        assert receipt.mark == Mark(3, 1)

    async def test_the_lease_row_moves_with_every_write(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put(), put("b"))

        assert await store.lease(SLOT) == Lease(1, "active", 2)
        assert await (await host.restart()).leases() == {SLOT: Lease(1, "active", 2)}

    async def test_a_lease_is_compared_before_it_is_set(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put())

        with pytest.raises(VersionConflict, match="seq=1"):
            await store.set_lease(SLOT, expected=Lease(1, "active", 0), lease=Lease(2, "gone", 0))
        with pytest.raises(VersionConflict):
            await store.set_lease(SLOT, expected=None, lease=Lease(2, "active", 0))

        assert await store.lease(SLOT) == Lease(1, "active", 1)

    async def test_an_epoch_never_falls(self, host: StoreHost) -> None:
        store = await owned(host, epoch=5)

        with pytest.raises(EpochStale):
            await store.set_lease(SLOT, expected=Lease(5, "active", 0), lease=Lease(4, "active", 0))

    @pytest.mark.parametrize("lease", [Lease(1, "active", 9), Lease(2, "active", 1), Lease(2, "asleep", 0)])
    async def test_a_lease_cannot_reuse_or_skip_a_seq_or_name_a_state_that_is_none(
        self, host: StoreHost, lease: Lease
    ) -> None:
        store = await owned(host)
        await write(store, put())

        with pytest.raises(Invalid):
            await store.set_lease(SLOT, expected=Lease(1, "active", 1), lease=lease)

    async def test_a_new_epoch_starts_at_seq_one(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put())
        await store.set_lease(SLOT, expected=Lease(1, "active", 1), lease=Lease(2, "active", 0))

        assert (await write(store, put())).mark == Mark(2, 1)

    # --- keys ----------------------------------------------------------------------------------------------------

    async def test_a_repeat_under_a_key_gets_the_first_answer_and_writes_nothing(self, host: StoreHost) -> None:
        first = await write(await owned(host), put(value=b"1"), key=KEY)
        store = await host.restart()

        again = await store.transact(Transaction(slot=SLOT, writes=[put(value=b"2")], key=KEY, answer=b"twice"))

        assert again == first._replace(repeated=True)
        assert await value(store) == b"1"

    async def test_two_calls_at_once_under_one_key_have_one_effect(self, host: StoreHost) -> None:
        store = await owned(host)

        receipts = await asyncio.gather(*(write(store, put(value=b"%d" % n), key=KEY) for n in range(5)))

        assert [r.repeated for r in receipts] == [False, True, True, True, True]
        assert {r.mark for r in receipts} == {Mark(1, 1)}

    async def test_a_key_is_kept_for_48_hours_and_then_swept(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put(), key=KEY)
        await host.clock.advance(2 * DAY_S - 1)
        assert (await write(store, put(), key=KEY)).repeated

        await host.clock.advance(2)

        assert not (await write(store, put(), key=KEY)).repeated

    async def test_a_refused_call_leaves_its_key_free(self, host: StoreHost) -> None:
        store = await owned(host)
        await _refused(store, Transaction(slot=SLOT, epoch=2, writes=[put()], key=KEY), EpochStale)

        assert not (await write(store, put(), key=KEY)).repeated

    async def test_a_key_belongs_to_its_slot_and_scope(self, host: StoreHost) -> None:
        store = await owned(host, slots=[SLOT, OTHER])
        await write(store, put(), key=KEY)

        others = [
            await write(store, put(), slot=OTHER, key=KEY),
            await write(store, put(), key=KEY._replace(scope="acc-2")),
        ]

        assert [r.repeated for r in others] == [False, False]

    # --- reads ---------------------------------------------------------------------------------------------------

    async def test_a_query_gives_a_prefix_in_order_and_goes_on_behind_the_last(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, *(put(sk) for sk in ("w/c", "w/a", "w/b", "x/a", "v", "w/\U0010ffff", "w0")))

        first = await store.query(SLOT, "acc-1", "w/", limit=2)
        rest = await store.query(SLOT, "acc-1", "w/", after=first[-1].key.sk)

        assert [i.key.sk for i in first] == ["w/a", "w/b"]
        assert [i.key.sk for i in rest] == ["w/c", "w/\U0010ffff"]

    async def test_a_query_never_leaves_its_account_and_slot(self, host: StoreHost) -> None:
        store = await owned(host, slots=[SLOT, OTHER])
        await write(store, put(pk="acc-1"), put(pk="acc-10"), put(pk="acc-2"))
        await write(store, put("elsewhere"), slot=OTHER)

        assert [i.key for i in await store.query(SLOT, "acc-1")] == [A]

    async def test_tombstones_are_never_returned(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put("a"), put("b"))

        await write(store, remove("a"))

        assert await value(store, "a") is None
        assert [i.key.sk for i in await items(store)] == ["b"]

    async def test_units_are_counted(self, host: StoreHost) -> None:
        store = await owned(host)
        before = store.statistics()
        await write(store, put("a"), put("b"))
        await value(store)
        await _refused(store, Transaction(slot=SLOT, epoch=9, writes=[put()]), EpochStale)

        after = store.statistics()

        assert (after.items_written - before.items_written, after.items_read - before.items_read) == (2, 1)
        assert (after.refused - before.refused, after.commits - before.commits) == (1, 1)
        assert after.bytes_written > before.bytes_written
        assert after.last_lsn == 2
