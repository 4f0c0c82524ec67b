"""Promises of ``Store.apply``: merged by version, losers kept, the future held back, gaps refused."""

import msgspec
import pytest

from eisbach.kernel.errors import Invalid, LogGap, SlotFrozen, SlotMoved
from eisbach.kernel.hlc import COUNTER_BITS, SKEW_MAX_MS, hlc_ms
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Applied, ItemKey, Lease, Store
from eisbach.testing.store_host import (
    HERE,
    KEY,
    OTHER,
    SLOT,
    THERE,
    StoreHost,
    an_op,
    event,
    exchange,
    items,
    owned,
    put,
    remove,
    value,
    write,
)

__all__ = ["MergePromises"]


async def _losers(store: Store) -> list[tuple[bytes | None, str]]:
    return [(c.value, c.winner.origin) for c in await store.conflicts()]


class MergePromises:
    """Two regions write; both end equal, and nothing acknowledged is silently gone."""

    async def test_regions_that_exchanged_their_logs_have_equal_digests(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(here, put("a"), put("b"))
        await write(there, put("b"), remove("c"))
        assert await here.digest(SLOT) != await there.digest(SLOT)

        await exchange(here, there)

        assert await here.digest(SLOT) == await there.digest(SLOT)
        assert await items(here) == await items(there)
        assert await here.vector(SLOT) == await there.vector(SLOT)

    async def test_a_digest_sees_values_change_and_items_die(self, host: StoreHost) -> None:
        store = await owned(host)
        digests = []
        for one in (put("a"), put("a"), remove("a"), put("b")):
            await write(store, one)
            digests.append(tuple(await store.digest(SLOT, buckets=4)))

        assert len(set(digests)) == 4
        assert len(digests[0]) == 4

    async def test_edits_of_different_items_both_survive(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(here, put("a", b"here"))
        await write(there, put("b", b"there"))

        await exchange(here, there)

        assert [(i.key.sk, i.value) for i in await items(here)] == [("a", b"here"), ("b", b"there")]
        assert await _losers(here) == await _losers(there) == []

    async def test_of_two_edits_of_one_item_the_higher_wins_and_both_regions_keep_the_loser(
        self, host: StoreHost
    ) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(here, put(value=b"here"))
        await host.clock.advance(0.01)
        await write(there, put(value=b"there"))

        await exchange(here, there)

        assert [await value(here), await value(there)] == [b"there", b"there"]
        assert await _losers(here) == await _losers(there) == [(b"here", THERE)]
        assert here.statistics().conflicts == there.statistics().conflicts == 1

    async def test_a_deletion_that_loses_or_wins_is_a_conflict_too(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(here, remove("a"), put("b", b"kept"))
        await host.clock.advance(0.01)
        await write(there, put("a", b"later"), remove("b"))

        await exchange(here, there)

        assert [await value(here, "a"), await value(there, "b")] == [b"later", None]
        assert sorted(await _losers(here), key=str) == sorted([(None, THERE), (b"kept", THERE)], key=str)

    async def test_a_region_that_comes_back_overwrites_nothing_newer_and_revives_nothing(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(there, put("a", b"stale"), put("b", b"stale"))
        await host.clock.advance(3600)
        await write(here, put("a", b"new"), remove("b"))

        await exchange(here, there)

        assert [await value(there, "a"), await value(there, "b")] == [b"new", None]
        assert [loser for loser, _ in await _losers(here)] == [b"stale", b"stale"]

    async def test_a_repeat_changes_nothing(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(there, put(value=b"1"))
        ops = (await there.ops_after(SLOT, {}, limit=10)).ops
        first = await here.apply(SLOT, ops)
        lsn = here.statistics().last_lsn

        again = await here.apply(SLOT, ops)

        assert [first.changed, again.changed] == [1, 0]
        assert again.vector == first.vector
        assert here.statistics().last_lsn == lsn

    async def test_a_local_write_after_an_apply_sorts_after_it(self, host: StoreHost) -> None:
        here = await owned(host)
        ahead = host.clock.wall_ms() + SKEW_MAX_MS - 1
        await here.apply(SLOT, [an_op(1, at_ms=ahead)])

        receipt = await write(here, put(value=b"mine"))

        assert hlc_ms(receipt.hlc) >= ahead
        assert await value(here) == b"mine"

    async def test_a_gap_is_refused_and_nothing_of_the_batch_is_kept(self, host: StoreHost) -> None:
        here = await owned(host)
        now = host.clock.wall_ms()

        for batch in (
            [an_op(2, at_ms=now)],
            [an_op(1, at_ms=now), an_op(3, at_ms=now)],
            [an_op(2, at_ms=now, epoch=2)],
        ):
            with pytest.raises(LogGap):
                await here.apply(SLOT, batch)

        assert await here.vector(SLOT) == {}
        assert await value(here) is None

    async def test_a_batch_that_ends_inside_a_transaction_is_refused(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(there, put("a"), put("b"))
        ops = (await there.ops_after(SLOT, {}, limit=10)).ops

        with pytest.raises(LogGap, match="inside a transaction"):
            await here.apply(SLOT, ops[:1])

        assert await value(here) is None

    async def test_ops_of_another_slot_are_refused(self, host: StoreHost) -> None:
        here = await owned(host, slots=[SLOT, OTHER])

        with pytest.raises(Invalid):
            await here.apply(OTHER, [an_op(1, at_ms=host.clock.wall_ms())])

    async def test_inbound_apply_stops_while_frozen_and_when_gone(self, host: StoreHost) -> None:
        here = await owned(host)
        op = an_op(1, at_ms=host.clock.wall_ms())
        await here.set_lease(SLOT, expected=Lease(1, "active", 0), lease=Lease(1, "frozen", 0))
        with pytest.raises(SlotFrozen):
            await here.apply(SLOT, [op])
        await here.set_lease(SLOT, expected=Lease(1, "frozen", 0), lease=Lease(2, "gone", 0, 1, "c2"))

        with pytest.raises(SlotMoved):
            await here.apply(SLOT, [op])

        assert await here.vector(SLOT) == {}

    async def test_an_importing_slot_takes_ops_and_no_writes(self, host: StoreHost) -> None:
        here = await host.open()
        await here.set_lease(
            SLOT, expected=None, lease=Lease(2, "importing", 0)
        )  # a re-seeding; a move brings its own pieces
        with pytest.raises(SlotMoved):
            await write(here, put())

        await here.apply(SLOT, [an_op(1, at_ms=host.clock.wall_ms())])

        assert await value(here) == b"theirs"

    async def test_an_op_from_the_future_is_logged_at_once_and_applied_when_its_time_comes(
        self, host: StoreHost
    ) -> None:
        here = await owned(host)
        now = host.clock.wall_ms()
        future = an_op(1, b"future", at_ms=now + 60_000)
        behind = an_op(2, b"behind", at_ms=now + 60_001, sk="b")

        applied = await here.apply(SLOT, [future, behind])

        assert applied == Applied({THERE: Mark(1, 2)}, 0, 0, 2)
        assert [await value(here, "a"), await value(here, "b")] == [None, None]
        assert [op.seq for op in (await here.ops_after(SLOT, {}, limit=9)).ops] == [1, 2]

        here = await host.restart()
        await host.clock.advance(60)
        await write(here, put("tick"))

        assert [await value(here, "a"), await value(here, "b")] == [b"future", b"behind"]

    async def test_what_is_applied_leaves_out_held_ops_until_they_are_shown(self, host: StoreHost) -> None:
        here = await owned(host)
        now = host.clock.wall_ms()
        await here.apply(SLOT, [an_op(1, at_ms=now)])
        mine = (await write(here, put("mine"))).mark
        assert await here.applied(SLOT) == await here.vector(SLOT) == {HERE: mine, THERE: Mark(1, 1)}

        await here.apply(SLOT, [an_op(2, at_ms=now + 60_000), an_op(3, at_ms=now + 120_000)])

        assert await here.vector(SLOT) == {HERE: mine, THERE: Mark(1, 3)}
        assert await here.applied(SLOT) == {HERE: mine, THERE: Mark(1, 1)}
        here = await host.restart()
        assert await here.applied(SLOT) == {HERE: mine, THERE: Mark(1, 1)}
        await host.clock.advance(60)
        await write(here, put("tick"), slot=SLOT)
        assert (await here.applied(SLOT))[THERE] == Mark(1, 2)
        await host.clock.advance(60)
        await write(here, put("tick"))
        assert await here.applied(SLOT) == await here.vector(SLOT)

    async def test_held_ops_are_applied_in_time_though_nobody_writes(self, host: StoreHost) -> None:
        here = await owned(host)
        await here.apply(SLOT, [an_op(1, at_ms=host.clock.wall_ms() + 60_000)])
        lsn = here.statistics().last_lsn

        await host.clock.advance(61)
        await here.set_lease(OTHER, expected=None, lease=Lease(1, "active", 0))  # behind what the timer has queued

        assert await value(here) == b"theirs"
        assert here.statistics().last_lsn == lsn

    async def test_a_clock_is_not_adopted_from_the_future(self, host: StoreHost) -> None:
        here = await owned(host)
        await here.apply(SLOT, [an_op(1, at_ms=host.clock.wall_ms() + 60_000)])

        receipt = await write(here, put("mine"))

        assert hlc_ms(receipt.hlc) <= host.clock.wall_ms() + SKEW_MAX_MS

    async def test_a_write_under_a_held_op_loses_to_it_and_is_kept(self, host: StoreHost) -> None:
        here = await owned(host)
        await here.apply(SLOT, [an_op(1, b"future", at_ms=host.clock.wall_ms() + 60_000)])
        await write(here, put(value=b"mine"))

        await host.clock.advance(60)
        await write(here, put("tick"))

        assert await value(here) == b"future"
        assert await _losers(here) == [(b"mine", THERE)]

    async def test_stamps_rise_over_a_restart_though_the_clock_went_back(self, host: StoreHost) -> None:
        first = await write(await owned(host), put())
        host.clock.shift_wall(-3600_000)
        store = await host.restart()

        second = await write(store, put())

        assert second.hlc > first.hlc

    async def test_a_jump_of_the_wall_clock_is_not_followed_and_is_told(self, host: StoreHost) -> None:
        store = await owned(host)
        first = await write(store, put())
        host.clock.shift_wall(86_400_000)

        second = await write(store, put())

        assert hlc_ms(second.hlc) - hlc_ms(first.hlc) < SKEW_MAX_MS
        assert store.statistics().clock_jumped

    async def test_own_ops_that_come_back_are_not_numbered_again(self, host: StoreHost) -> None:
        """A store restored from a backup gets its own tail from the twin: no seq and no ``prev`` is used twice."""
        here, there = await owned(host), await owned(host, THERE)
        stamp = host.clock.wall_ms() << COUNTER_BITS
        lost = [
            Op(str(SLOT), HERE, 1, seq, stamp + seq, ItemChange("acc-1", f"{seq}", b"1"), event().event)
            for seq in (1, 2)
        ]
        await there.apply(SLOT, lost)
        await exchange(here, there)

        receipt = await write(here, event())

        last = (await here.ops_after(SLOT, {HERE: Mark(1, 2)}, limit=9)).ops[0]
        assert receipt.mark == Mark(1, 3)
        assert last.event is not None
        assert last.event.prev == 2

    async def test_a_new_epoch_names_the_last_event_of_its_own_log_and_none_that_is_lost(self, host: StoreHost) -> None:
        """A store restored without its tail: nobody waits for what only the lost disk knew of, should it never come."""
        here = await owned(host)
        await write(here, event())
        await here.set_lease(SLOT, expected=Lease(1, "active", 1), lease=Lease(2, "active", 0))
        await write(here, event())
        stamp = host.clock.wall_ms() << COUNTER_BITS
        draft = event().event
        assert draft is not None
        tail = Op(str(SLOT), HERE, 1, 2, stamp, None, msgspec.structs.replace(draft, prev=1))
        await here.apply(SLOT, [tail])
        await write(here, event())

        ops = (await here.ops_after(SLOT, {}, limit=9)).ops

        named = {op.id.partition(":")[2]: (op.event.prev, op.event.after) for op in ops if op.event is not None}
        assert named == {
            f"{HERE}:1:1": (0, None), f"{HERE}:1:2": (1, None), f"{HERE}:2:1": (0, Mark(1, 1)),
            f"{HERE}:2:2": (1, None),
        }  # fmt: skip

    async def test_a_tail_of_an_epoch_that_was_given_up_is_merged_and_not_discarded(self, host: StoreHost) -> None:
        here = await owned(host)
        now = host.clock.wall_ms()
        await here.apply(SLOT, [an_op(1, b"old", at_ms=now - 10), an_op(1, b"new", at_ms=now, epoch=2)])

        applied = await here.apply(SLOT, [an_op(2, b"late", at_ms=now - 5), an_op(3, b"alone", at_ms=now - 4, sk="b")])
        again = await here.apply(SLOT, [an_op(2, b"late", at_ms=now - 5)])

        assert [await value(here), await value(here, "b")] == [b"new", b"alone"]
        assert (applied.changed, applied.conflicts, again.changed, again.conflicts) == (1, 1, 0, 0)
        assert applied.vector == {THERE: Mark(2, 1)}
        assert await _losers(here) == [(b"late", THERE)]

    async def test_a_region_that_comes_back_after_thirty_days_revives_nothing_repeats_nothing_and_loses_nothing(
        self, host: StoreHost
    ) -> None:
        """Keys are long swept, logs are seven days old and pruned as far as both have them."""
        here, there = await owned(host), await owned(host, THERE)
        await write(there, put("kept"), put("deleted"), put("edited"))
        await write(there, put("keyed"), key=KEY)
        await exchange(here, there)
        both = await here.vector(SLOT)
        await write(there, put("unsent", b"theirs"), put("edited", b"theirs, unsent"))  # and the region is gone
        await host.clock.advance(86_400)
        await write(here, remove("deleted"), put("edited", b"ours"))
        for _ in range(3):
            await host.clock.advance(10 * 86_400)
            await write(here, put("tick"))
            await here.prune_log(SLOT, acknowledged=both, relayed_lsn=here.statistics().last_lsn)
        assert (await here.ops_after(SLOT, both, limit=99)).ops, "what the other lacks was kept"

        await exchange(here, there)
        marks = await here.vector(SLOT)
        await exchange(here, there)

        for store in (here, there):
            found = {item.key.sk: item.value for item in await items(store)}
            assert found == {"kept": b"1", "edited": b"ours", "keyed": b"1", "unsent": b"theirs", "tick": b"1"}
            assert [value for value, _ in await _losers(store)] == [b"theirs, unsent"]
            assert await store.vector(SLOT) == marks
        assert await here.digest(SLOT) == await there.digest(SLOT)

    async def test_conflicts_come_newest_first_with_everything_a_person_needs(self, host: StoreHost) -> None:
        here = await owned(host)
        for n in range(3):
            await write(here, put(f"{n}", b"mine"))
        now = host.clock.wall_ms()
        await here.apply(SLOT, [an_op(n + 1, b"theirs", at_ms=now - 100, sk=f"{n}") for n in range(3)])

        found = await here.conflicts(limit=2)

        assert [c.key for c in found] == [ItemKey("acc-1", "2"), ItemKey("acc-1", "1")]
        assert (found[0].slot, found[0].value, found[0].loser.origin, found[0].winner.origin, found[0].at_ms) == (
            str(SLOT), b"theirs", THERE, HERE, now,
        )  # fmt: skip
