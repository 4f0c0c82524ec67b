"""Promises of a store that starts again, holds back, or is asked twice: what it must not forget, reuse or overtake.

Most were thought of by somebody who planted bugs without knowing the tests, and who saw that none failed.
"""

import asyncio

from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.versions import Mark
from eisbach.ports.store import ItemKey, Lease, Store, Transaction
from eisbach.testing.store_host import HERE, KEY, OTHER, SLOT, THERE, StoreHost, an_op, owned, put, value, write

__all__ = ["MemoryPromises", "until_applied"]


async def until_applied(store: Store, mark: Mark) -> None:
    """Bounded wait for the store's own timer; nothing is written meanwhile, since every write releases too."""
    async with asyncio.timeout(10):
        while (await store.applied(SLOT)).get(THERE) != mark:  # noqa: ASYNC110 - the store has no event for it
            await asyncio.sleep(0.001)


class MemoryPromises:
    """All of them."""

    async def test_what_two_starts_in_a_row_have_to_remember_is_remembered(self, host: StoreHost) -> None:
        """Between them another slot's lease changes: that saves small rows, and must save those of every slot."""
        store = await owned(host, slots=[SLOT, OTHER])
        for n in range(3):
            await write(store, put(f"{n}"))
        store = await host.restart()
        await store.set_lease(OTHER, expected=Lease(1, "active", 0), lease=Lease(2, "active", 0))
        store = await host.restart()

        assert await store.vector(SLOT) == {HERE: Mark(1, 3)}
        assert (await write(store, put("3"))).mark == Mark(1, 4)

    async def test_a_change_of_one_lease_saves_what_other_slots_have_written_since(self, host: StoreHost) -> None:
        store = await owned(host, slots=[SLOT, OTHER])
        await write(store, put("a"), put("b"))
        await store.set_lease(OTHER, expected=Lease(1, "active", 0), lease=Lease(2, "active", 0))
        store = await host.restart()

        assert await store.vector(SLOT) == {HERE: Mark(1, 2)}
        assert (await write(store, put("c"))).mark == Mark(1, 3)

    async def test_own_ops_of_an_epoch_that_was_left_make_no_gap_in_the_new_one(self, host: StoreHost) -> None:
        """P3: a store that was restored takes a new epoch, and then gets its lost tail back from the twin."""
        store = await owned(host, epoch=2)
        stamp = host.clock.wall_ms() << COUNTER_BITS
        await store.apply(
            SLOT, [Op(str(SLOT), HERE, 1, n, stamp + n, ItemChange("acc-1", f"{n}", b"1"), None) for n in (1, 2, 3)]
        )

        assert (await write(store, put("new"))).mark == Mark(2, 1)

    async def test_held_ops_that_a_timer_has_applied_are_told_as_applied(self, host: StoreHost) -> None:
        here = await owned(host)
        await here.apply(SLOT, [an_op(1, at_ms=host.clock.wall_ms() + 60_000)])

        await host.clock.advance(61)

        await until_applied(here, Mark(1, 1))
        assert await here.applied(SLOT) == await here.vector(SLOT) == {THERE: Mark(1, 1)}

    async def test_ops_that_are_held_a_second_time_are_applied_in_time_too(self, host: StoreHost) -> None:
        here = await owned(host)
        for seq in (1, 2):
            await here.apply(SLOT, [an_op(seq, b"%d" % seq, at_ms=host.clock.wall_ms() + 60_000)])
            await host.clock.advance(61)

            await until_applied(here, Mark(1, seq))
            assert await value(here) == b"%d" % seq

    async def test_ops_held_before_a_restart_are_applied_in_time_though_nobody_writes(self, host: StoreHost) -> None:
        here = await owned(host)
        await here.apply(SLOT, [an_op(1, at_ms=host.clock.wall_ms() + 60_000)])
        here = await host.restart()

        await host.clock.advance(61)

        await until_applied(here, Mark(1, 1))
        assert await value(here) == b"theirs"

    async def test_no_op_of_a_slot_is_shown_before_one_that_is_held(self, host: StoreHost) -> None:
        """A clock that was set back in between stamps what follows lower: it still happened later."""
        here = await owned(host)
        now = host.clock.wall_ms()
        await here.apply(SLOT, [an_op(1, at_ms=now + 60_000, sk="first")])

        await here.apply(SLOT, [an_op(2, at_ms=now, sk="second")])

        assert [await value(here, "first"), await value(here, "second")] == [None, None]
        await host.clock.advance(60)
        await write(here, put("tick"))
        assert [await value(here, "first"), await value(here, "second")] == [b"theirs", b"theirs"]

    async def test_after_a_jump_of_the_wall_clock_the_future_is_what_the_believed_time_says(
        self, host: StoreHost
    ) -> None:
        here = await owned(host)
        before = host.clock.wall_ms()
        host.clock.shift_wall(86_400_000)

        applied = await here.apply(SLOT, [an_op(1, at_ms=before + 60_000)])

        assert applied.held == 1

    async def test_a_repeat_under_a_key_is_answered_although_what_it_had_read_has_changed(
        self, host: StoreHost
    ) -> None:
        """P5: it changed it itself."""
        store = await owned(host)
        once = Transaction(
            slot=SLOT, reads={ItemKey("acc-1", "a"): None}, writes=[put("a")], key=KEY, answer=b"the first"
        )
        first = await store.transact(once)

        again = await store.transact(once)

        assert again == first._replace(repeated=True)
