"""What every store promises. Subclass, give ``open_store``, and pytest holds your engine to it.

A suite opens stores in pairs (two regions) on folders of its own; ``reopen`` closes and opens the same data again.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from eisbach.kernel.errors import EpochStale, Invalid, LogGap, SlotFrozen, SlotMoved, VersionConflict
from eisbach.kernel.events import EventDraft
from eisbach.kernel.hlc import hlc_ms
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.clock import Clock
from eisbach.ports.store import IdempotencyKey, ItemKey, Lease, Store, Transaction, Write
from eisbach.testing.manual_clock import ManualClock

__all__ = ["SLOT", "StorePromises", "change", "put"]

SLOT = Slot.parse("eu/de/main/17")
Opener = Callable[[Path, str, Clock], AbstractAsyncContextManager[Store]]


def change(sk: str, value: bytes | None = b"1") -> Write:
    return Write(ItemChange("acc", sk, value))


async def put(store: Store, sk: str, value: bytes | None = b"1") -> Mark:
    return (await store.transact(Transaction(slot=SLOT, writes=[change(sk, value)]))).mark


async def owned(store: Store, slot: Slot = SLOT) -> Store:
    """Make the store the owner of a slot at epoch 1."""
    await store.set_lease(slot, expected=None, lease=Lease(1, "active", 0))
    return store


async def pull(source: Store, target: Store) -> int:
    """Copy what the target lacks; the number of ops sent."""
    sent = 0
    while (batch := await source.ops_after(SLOT, await target.vector(SLOT), limit=7)).ops:
        await target.apply(SLOT, batch.ops)
        sent += len(batch.ops)
    return sent


async def value(store: Store, sk: str) -> bytes | None:
    item = await store.read(SLOT, ItemKey("acc", sk))
    return item.value if item else None


class StorePromises:
    """Subclass with ``open_store``."""

    open_store: Opener

    # --- transactions ------------------------------------------------------------------------------------------

    async def test_an_acknowledged_write_is_there_after_a_restart(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with self.open_store(tmp_path, "a", clock) as store:
            await put(await owned(store), "k", b"v")

        async with self.open_store(tmp_path, "a", clock) as store:
            assert await value(store, "k") == b"v"
            assert await put(store, "k2") == Mark(1, 2)

    async def test_a_store_without_the_lease_takes_no_write(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            with pytest.raises(SlotMoved):
                await put(store, "k")

            assert await value(store, "k") is None

    async def test_a_write_under_another_epoch_is_refused(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            with pytest.raises(EpochStale):
                await store.transact(Transaction(slot=SLOT, epoch=2, writes=[change("k")]))

    async def test_a_read_that_no_longer_holds_refuses_the_write(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await put(await owned(store), "guard", b"1")
            seen = await store.read(SLOT, ItemKey("acc", "guard"))
            assert seen
            await put(store, "guard", b"2")
            with pytest.raises(VersionConflict):
                await store.transact(
                    Transaction(slot=SLOT, reads={ItemKey("acc", "guard"): seen.version}, writes=[change("k")])
                )

            assert await value(store, "k") is None

    async def test_absence_is_a_precondition_too_and_a_tombstone_is_absent(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await put(await owned(store), "k", b"1")
            absent = Transaction(slot=SLOT, reads={ItemKey("acc", "k"): None}, writes=[change("k", b"new")])
            with pytest.raises(VersionConflict):
                await store.transact(absent)
            await put(store, "k", None)
            await store.transact(absent)

            assert await value(store, "k") == b"new"

    async def test_a_refused_caller_never_touches_its_neighbours_in_a_group(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            good = [Transaction(slot=SLOT, writes=[change(f"k{n}")]) for n in range(20)]
            bad = Transaction(slot=SLOT, reads={ItemKey("acc", "k3"): None}, writes=[change("bad")])
            calls = [*good[:10], bad, *good[10:]]

            results = await asyncio.gather(*map(store.transact, calls), return_exceptions=True)

            refused = [type(r) for r in results if isinstance(r, Exception)]
            assert refused == [VersionConflict]
            assert len(await store.query(SLOT, "acc", "k")) == 20
            assert await value(store, "bad") is None

    async def test_of_two_rivals_for_one_guard_item_exactly_one_wins(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            rival = Transaction(slot=SLOT, reads={ItemKey("acc", "guard"): None}, writes=[change("guard")])

            results = await asyncio.gather(*[store.transact(rival) for _ in range(8)], return_exceptions=True)

            assert sum(isinstance(r, VersionConflict) for r in results) == 7

    async def test_a_transaction_is_all_or_nothing_and_dense(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            receipt = await store.transact(Transaction(slot=SLOT, writes=[change("a"), change("b"), change("c")]))
            batch = await store.ops_after(SLOT, {}, limit=1)

            assert receipt.mark == Mark(1, 3)
            assert [(op.seq, op.more) for op in batch.ops] == [(1, True), (2, True), (3, False)]

    @pytest.mark.parametrize(
        "writes",
        [
            [],
            [Write()],
            [change("k")] * 21,
            [change("k", b"x" * 65_537)],
            [change("")],
            [change("s" * 513)],
            [Write(event=EventDraft("tv.x.v1", "s", b"x" * 65_537))],
        ],
    )
    async def test_a_transaction_out_of_bounds_is_refused_whole(self, tmp_path: Path, writes: list[Write]) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            with pytest.raises(Invalid):
                await store.transact(Transaction(slot=SLOT, writes=writes))

            assert (await store.vector(SLOT)).get("a", Mark(1, 0)) == Mark(1, 0)

    # --- keys --------------------------------------------------------------------------------------------------

    async def test_the_same_key_returns_the_first_answer_and_writes_once(self, tmp_path: Path) -> None:
        clock = ManualClock()
        keyed = Transaction(slot=SLOT, writes=[change("k", b"1")], key=IdempotencyKey("acc", "key"), answer=b"first")
        async with self.open_store(tmp_path, "a", clock) as store:
            await owned(store)
            first = await store.transact(keyed)
            again = Transaction(slot=SLOT, writes=[change("k", b"2")], key=keyed.key, answer=b"second")
            second = await store.transact(again)

            assert (second.repeated, second.answer, second.mark) == (True, b"first", first.mark)
            assert await value(store, "k") == b"1"

        async with self.open_store(tmp_path, "a", clock) as store:
            assert (await store.transact(keyed)).repeated

    async def test_repeats_within_one_group_have_one_effect(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            keyed = Transaction(slot=SLOT, writes=[change("k")], key=IdempotencyKey("acc", "key"))

            receipts = await asyncio.gather(*[store.transact(keyed) for _ in range(5)])

            assert [r.repeated for r in receipts] == [False, True, True, True, True]
            assert (await store.vector(SLOT))["a"] == Mark(1, 1)

    async def test_a_key_is_forgotten_after_48_hours_and_belongs_to_its_scope(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with self.open_store(tmp_path, "a", clock) as store:
            await owned(store)
            keyed = Transaction(slot=SLOT, writes=[change("k")], key=IdempotencyKey("acc", "key"))
            other = Transaction(slot=SLOT, writes=[change("k")], key=IdempotencyKey("other", "key"))
            await store.transact(keyed)
            await clock.advance(47 * 3600)

            assert (await store.transact(keyed)).repeated
            assert not (await store.transact(other)).repeated
            await clock.advance(2 * 3600)
            assert not (await store.transact(keyed)).repeated

    # --- lease -------------------------------------------------------------------------------------------------

    async def test_a_lease_is_compared_and_set_and_its_epoch_never_falls(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            await put(store, "k")
            with pytest.raises(VersionConflict):
                await store.set_lease(SLOT, expected=Lease(1, "active", 0), lease=Lease(2, "active", 0))
            await store.set_lease(SLOT, expected=Lease(1, "active", 1), lease=Lease(2, "active", 0))
            with pytest.raises(EpochStale):
                await store.set_lease(SLOT, expected=Lease(2, "active", 0), lease=Lease(1, "active", 0))

            assert await put(store, "k") == Mark(2, 1)
            assert await store.leases() == {SLOT: Lease(2, "active", 1)}

    @pytest.mark.parametrize(
        ("state", "error"), [("frozen", SlotFrozen), ("gone", SlotMoved), ("importing", SlotMoved)]
    )
    async def test_only_an_active_slot_is_written_but_reads_go_on(
        self, tmp_path: Path, state: str, error: type[Exception]
    ) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await put(await owned(store), "k", b"v")
            await store.set_lease(SLOT, expected=Lease(1, "active", 1), lease=Lease(1, state, 1, 7, "c2"))
            with pytest.raises(error):
                await put(store, "k", b"w")

            assert await value(store, "k") == b"v"

    # --- log and events ----------------------------------------------------------------------------------------

    async def test_the_log_is_dense_and_in_commit_order(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            await asyncio.gather(*[put(store, f"k{n}") for n in range(50)])
            entries = await store.log_after(0, limit=1000)

            assert [entry.op.seq for entry in entries] == list(range(1, 51))
            assert [e.lsn for e in entries] == sorted({e.lsn for e in entries})
            assert await store.log_after(entries[-1].lsn, limit=10) == []

    async def test_an_event_names_the_one_before_it_of_its_type(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            for kind in ("x", "y", "x", "x"):
                event = EventDraft(f"tv.{kind}.v1", "s", b"{}")
                await store.transact(Transaction(slot=SLOT, writes=[Write(event=event)]))
            events = [entry.op.event for entry in await store.log_after(0, limit=10)]

            assert [e.prev for e in events if e] == [0, 0, 1, 3]

    async def test_whoever_waits_for_a_commit_is_woken_by_it(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            waiting = asyncio.ensure_future(store.wait_for_commit(0))
            given_up = asyncio.ensure_future(store.wait_for_commit(0))
            await asyncio.sleep(0)
            given_up.cancel()
            await put(store, "k")

            assert await asyncio.wait_for(waiting, 5) >= 1

    async def test_queries_go_by_prefix_in_order_and_page(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path, "a", ManualClock()) as store:
            await owned(store)
            for sk in ("p/b", "p/a", "q/x", "p/c", "p/d"):
                await put(store, sk)
            await put(store, "p/b", None)
            first = await store.query(SLOT, "acc", "p/", limit=2)
            rest = await store.query(SLOT, "acc", "p/", after=first[-1].key.sk)

            assert [i.key.sk for i in (*first, *rest)] == ["p/a", "p/c", "p/d"]

    async def test_stamps_never_go_back_when_the_wall_clock_does(self, tmp_path: Path) -> None:
        late, early = ManualClock(wall_ms=1_800_000_100_000), ManualClock(wall_ms=1_800_000_000_000)
        async with self.open_store(tmp_path, "a", late) as store:
            await owned(store)
            first = await store.transact(Transaction(slot=SLOT, writes=[change("k")]))

        async with self.open_store(tmp_path, "a", early) as store:
            second = await store.transact(Transaction(slot=SLOT, writes=[change("k")]))

        assert second.hlc > first.hlc

    # --- twins -------------------------------------------------------------------------------------------------

    async def test_twins_converge_and_different_items_both_survive(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with (
            self.open_store(tmp_path / "a", "a", clock) as one,
            self.open_store(tmp_path / "b", "b", clock) as two,
        ):
            for store, name in ((await owned(one), "a"), (await owned(two), "b")):
                for number in range(10):
                    await put(store, f"{name}{number}", name.encode())
            await pull(one, two)
            await pull(two, one)

            assert await one.digest(SLOT) == await two.digest(SLOT)
            assert len(await one.query(SLOT, "acc")) == 20
            assert await one.vector(SLOT) == await two.vector(SLOT)
            assert [await s.conflicts() for s in (one, two)] == [[], []]

    async def test_of_one_item_the_higher_version_wins_and_the_loser_is_kept(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with (
            self.open_store(tmp_path / "a", "a", clock) as one,
            self.open_store(tmp_path / "b", "b", clock) as two,
        ):
            await owned(two)
            await put(await owned(one), "k", b"older")
            await clock.advance(1)
            await put(two, "k", b"newer")
            await pull(one, two)
            await pull(two, one)

            assert [await value(s, "k") for s in (one, two)] == [b"newer", b"newer"]
            assert [[c.value for c in await s.conflicts()] for s in (one, two)] == [[b"older"], [b"older"]]

    async def test_a_write_that_knew_the_other_is_no_conflict(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with (
            self.open_store(tmp_path / "a", "a", clock) as one,
            self.open_store(tmp_path / "b", "b", clock) as two,
        ):
            await owned(two)
            await put(await owned(one), "k", b"1")
            await pull(one, two)
            await put(two, "k", b"2")
            await put(two, "k", b"3")
            await pull(two, one)

            assert await value(one, "k") == b"3"
            assert await one.conflicts() == []

    async def test_a_deletion_beats_what_is_older_and_is_not_revived(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with (
            self.open_store(tmp_path / "a", "a", clock) as one,
            self.open_store(tmp_path / "b", "b", clock) as two,
        ):
            await owned(two)
            await put(await owned(one), "k", b"old")
            await clock.advance(1)
            await put(two, "k", None)
            await pull(one, two)
            await pull(two, one)

            assert [await value(s, "k") for s in (one, two)] == [None, None]

    async def test_repeats_are_dropped_and_a_gap_is_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with (
            self.open_store(tmp_path / "a", "a", clock) as one,
            self.open_store(tmp_path / "b", "b", clock) as two,
        ):
            await owned(one)
            await owned(two)
            for number in range(6):
                await put(one, f"k{number}")
            ops = (await one.ops_after(SLOT, {}, limit=100)).ops
            with pytest.raises(LogGap):
                await two.apply(SLOT, [*ops[:2], *ops[3:]])
            assert await two.vector(SLOT) == {}
            await two.apply(SLOT, ops[:4])
            again = await two.apply(SLOT, ops)

            assert (again.vector["a"], again.changed) == (Mark(1, 6), 2)
            assert len(await two.log_after(0, limit=100)) == 6

    async def test_an_op_from_the_future_is_logged_now_and_applied_when_time_reaches_it(self, tmp_path: Path) -> None:
        ahead, here = ManualClock(wall_ms=1_800_000_005_000), ManualClock(wall_ms=1_800_000_000_000)
        async with (
            self.open_store(tmp_path / "a", "a", ahead) as one,
            self.open_store(tmp_path / "b", "b", here) as two,
        ):
            await owned(two)
            await put(await owned(one), "k", b"future")
            await put(one, "k2", b"behind it")
            applied = await two.apply(SLOT, (await one.ops_after(SLOT, {}, limit=9)).ops)
            own = await two.transact(Transaction(slot=SLOT, writes=[change("own")]))

            assert (applied.vector["a"], applied.held) == (Mark(1, 2), 2)
            assert await value(two, "k") is None
            assert hlc_ms(own.hlc) < 1_800_000_001_000, "the remote clock was adopted"
            await here.advance(6)
            await put(two, "own")
            assert [await value(two, k) for k in ("k", "k2")] == [b"future", b"behind it"]

    async def test_inbound_ops_stop_at_a_frozen_slot(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with (
            self.open_store(tmp_path / "a", "a", clock) as one,
            self.open_store(tmp_path / "b", "b", clock) as two,
        ):
            await put(await owned(one), "k")
            await owned(two)
            await two.set_lease(SLOT, expected=Lease(1, "active", 0), lease=Lease(1, "frozen", 0, 3))
            with pytest.raises(SlotFrozen):
                await two.apply(SLOT, (await one.ops_after(SLOT, {}, limit=9)).ops)

            assert await two.vector(SLOT) == {}

    async def test_a_batch_that_ends_inside_a_transaction_is_refused(self, tmp_path: Path) -> None:
        async with self.open_store(tmp_path / "a", "a", ManualClock()) as store:
            await owned(store)
            half = Op(str(SLOT), "b", 1, 1, 5, ItemChange("acc", "k", b"v"), None, more=True)
            with pytest.raises(LogGap):
                await store.apply(SLOT, [half])
