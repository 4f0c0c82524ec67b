"""What every engine of ``ports.moves`` promises, as tests to inherit from.

Give a fixture ``cells`` that satisfies ``MoveHost``: stores of one region on one manual clock. What is promised of
cells whose clocks differ is in ``store_move_clock_promises``.
"""

from typing import Protocol

import pytest

from eisbach.kernel.errors import Denied, EpochStale, SlotFrozen, SlotMoved
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.moves import CopyCursor, SlotCopies
from eisbach.ports.store import IdempotencyKey, Lease, Store, Transaction
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_host import HERE, KEY, OTHER, SLOT, THERE, an_op, event, items, put, remove, value, write

__all__ = ["MovableStore", "MoveHost", "MovePromises", "copy_all"]

DAY_S = 86_400


class MovableStore(Store, SlotCopies, Protocol):
    """A store that slots can be moved out of and into."""


class MoveHost(Protocol):
    """Cells of one region."""

    clock: ManualClock

    async def open(self, cell: str) -> MovableStore:
        """The cell's store; the same one while it is open."""
        ...

    async def restart(self, cell: str) -> MovableStore:
        """Close it and open it again on the same files."""
        ...


async def copy_all(
    source: SlotCopies, target: SlotCopies, *, move: int, slot: Slot = SLOT, cursor: CopyCursor | None = None
) -> CopyCursor:
    """Copy until there is no more; every piece twice, as a network may."""
    cursor = cursor or CopyCursor()
    while True:
        chunk = await source.export(slot, cursor)
        await target.import_chunk(slot, chunk, move=move)
        await target.import_chunk(slot, chunk, move=move)
        cursor = chunk.cursor
        if not chunk.more:
            return cursor


async def _owner(cells: MoveHost, cell: str = "c1", *, slot: Slot = SLOT) -> MovableStore:
    store = await cells.open(cell)
    await store.set_lease(slot, expected=None, lease=Lease(1, "active", 0))
    return store


async def _moved(source: MovableStore, target: MovableStore, *, move: int = 1, epoch: int = 1) -> None:
    """A whole move, as the coordinator does it."""
    await target.begin_import(SLOT, move=move, epoch=epoch)
    cursor = await copy_all(source, target, move=move)
    await source.freeze(SLOT, move=move, epoch=epoch)
    await copy_all(source, target, move=move, cursor=cursor)
    await target.settle(SLOT, move=move, epoch=epoch + 1, owner=None)
    await source.settle(SLOT, move=move, epoch=epoch + 1, owner="target")


class MovePromises:
    """All of them."""

    async def test_items_tombstones_keys_conflicts_log_and_vector_travel_with_the_slot(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        now = cells.clock.wall_ms()
        await write(one, put("kept", b"1"), key=KEY)
        await write(one, put("deleted"))
        await write(one, remove("deleted"))
        await one.apply(SLOT, [an_op(1, b"theirs", at_ms=now - 10, sk="kept"), an_op(2, at_ms=now, sk="foreign")])

        await _moved(one, two)

        assert {item.key.sk: item.value for item in await items(two)} == {"kept": b"1", "foreign": b"theirs"}
        assert await two.vector(SLOT) == {HERE: Mark(1, 3), THERE: Mark(1, 2)}
        assert [op.id for op in (await two.ops_after(SLOT, {}, limit=99)).ops] == [
            op.id for op in (await one.ops_after(SLOT, {}, limit=99)).ops
        ]
        assert await two.digest(SLOT) == await one.digest(SLOT)
        assert [c.value for c in await two.conflicts()] == [c.value for c in await one.conflicts()] == [b"theirs"]
        told = await two.transact(Transaction(slot=SLOT, writes=[put("kept", b"again")], key=KEY, answer=b"second"))
        assert (told.repeated, told.answer) == (True, b"once")

    async def test_what_was_deleted_before_the_move_does_not_come_back_by_an_older_op(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        old = an_op(1, b"old", at_ms=cells.clock.wall_ms() - 1000)
        await write(one, put("a"))
        await write(one, remove("a"))
        await _moved(one, two)

        await two.apply(SLOT, [old])

        assert await value(two) is None

    async def test_writes_during_the_copy_are_in_it(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        for n in range(1500):
            await write(one, put(f"k{n:04}", b"old"), slot=SLOT)
        await two.begin_import(SLOT, move=1, epoch=1)
        cursor, rounds = CopyCursor(), 0
        while True:
            chunk = await one.export(SLOT, cursor)
            await write(one, put(f"k{rounds:04}", b"new"), put(f"k{1499 - rounds:04}", b"new"))
            await write(one, put("keyed"), key=IdempotencyKey("a", f"during-{rounds}"))
            await two.import_chunk(SLOT, chunk, move=1)
            cursor, rounds = chunk.cursor, rounds + 1
            if not chunk.more or rounds > 50:
                break
        await one.freeze(SLOT, move=1, epoch=1)
        await copy_all(one, two, move=1, cursor=cursor)

        assert await two.digest(SLOT) == await one.digest(SLOT)
        assert await two.vector(SLOT) == await one.vector(SLOT)
        await two.settle(SLOT, move=1, epoch=2, owner=None)
        for n in range(rounds):
            again = Transaction(slot=SLOT, writes=[put("x")], key=IdempotencyKey("a", f"during-{n}"), answer=b"other")
            assert (await two.transact(again)).repeated, f"key of round {n}"

    async def test_a_pruned_log_travels_as_items_and_goes_on_after_its_floor(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, put("old"))
        await cells.clock.advance(8 * DAY_S)
        await one.prune_log(SLOT, acknowledged={HERE: Mark(1, 1)}, relayed_lsn=99)
        await write(one, put("new"))

        await _moved(one, two)

        assert [item.key.sk for item in await items(two)] == ["new", "old"]
        assert await two.vector(SLOT) == {HERE: Mark(1, 2)}

    async def test_a_frozen_slot_is_read_and_takes_neither_writes_nor_the_twins_ops(self, cells: MoveHost) -> None:
        one = await _owner(cells)
        await write(one, put("a", b"1"))

        cut = await one.freeze(SLOT, move=1, epoch=1)

        with pytest.raises(SlotFrozen):
            await write(one, put("a", b"2"))
        with pytest.raises(SlotFrozen):
            await one.apply(SLOT, [an_op(1, at_ms=cells.clock.wall_ms())])
        assert await value(one) == b"1"
        assert cut.vector == await one.vector(SLOT) == {HERE: Mark(1, 1)}
        assert await one.freeze(SLOT, move=1, epoch=1) == cut

    async def test_no_time_and_no_restart_unfreezes_a_slot(self, cells: MoveHost) -> None:
        one = await _owner(cells)
        await one.freeze(SLOT, move=1, epoch=1)
        await cells.clock.advance(DAY_S)

        one = await cells.restart("c1")

        lease = await one.lease(SLOT)
        assert lease is not None
        assert (lease.state, lease.move) == ("frozen", 1)
        with pytest.raises(SlotFrozen):
            await write(one, put())

    async def test_a_late_freeze_of_an_ended_move_is_refused(self, cells: MoveHost) -> None:
        one = await _owner(cells)
        await one.settle(SLOT, move=1, epoch=2, owner=None)  # move 1 was given up before its FREEZE came

        with pytest.raises(EpochStale):
            await one.freeze(SLOT, move=1, epoch=1)

        await write(one, put())

    async def test_a_late_prepare_wipes_nothing(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, put("a", b"1"))
        await _moved(one, two)
        for move, epoch in ((1, 1), (2, 1)):
            with pytest.raises(EpochStale):
                await two.begin_import(SLOT, move=move, epoch=epoch)
        assert await value(two) == b"1"

        await two.freeze(SLOT, move=2, epoch=2)
        await one.begin_import(SLOT, move=2, epoch=2)
        await copy_all(two, one, move=2)
        with pytest.raises(EpochStale):
            await one.begin_import(SLOT, move=1, epoch=1)

        assert await value(one) == b"1"

    async def test_an_import_begins_empty_and_its_repeat_keeps_what_came(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, put("a"))
        await _moved(one, two)
        await write(two, remove("a"))
        await write(two, put("b"))

        await one.begin_import(SLOT, move=2, epoch=2)
        assert (await items(one), dict(await one.vector(SLOT))) == ([], {})
        await copy_all(two, one, move=2)
        await one.begin_import(SLOT, move=2, epoch=2)

        assert [item.key.sk for item in await items(one)] == ["b"]

    async def test_a_piece_of_another_move_is_refused(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, put("a"))
        chunk = await one.export(SLOT, CopyCursor())
        await two.begin_import(SLOT, move=2, epoch=1)

        for move in (1, 3):
            with pytest.raises(EpochStale):
                await two.import_chunk(SLOT, chunk, move=move)

        assert await items(two) == []

    async def test_an_importing_slot_takes_neither_writes_nor_the_twins_ops(self, cells: MoveHost) -> None:
        two = await cells.open("c2")
        await two.begin_import(SLOT, move=1, epoch=1)

        with pytest.raises(SlotMoved):
            await write(two, put())
        with pytest.raises(SlotMoved):
            await two.apply(SLOT, [an_op(1, at_ms=cells.clock.wall_ms())])

    async def test_a_slot_becomes_active_only_where_its_data_are(self, cells: MoveHost) -> None:
        two = await cells.open("c2")
        with pytest.raises(EpochStale):
            await two.settle(SLOT, move=1, epoch=2, owner=None)
        await two.begin_import(SLOT, move=1, epoch=1)
        with pytest.raises(EpochStale):
            await two.settle(SLOT, move=2, epoch=3, owner=None)

        assert (await two.settle(SLOT, move=1, epoch=2, owner=None)).state == "active"

    async def test_an_outcome_counts_once_and_only_upwards(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await _moved(one, two)
        await write(two, put())

        late = [await two.settle(SLOT, move=1, epoch=epoch, owner=owner) for epoch in (1, 2) for owner in (None, "c1")]

        assert {lease.state for lease in late} == {"active"}
        assert late[-1].seq == 1, "the sequence goes on"

    async def test_the_new_owner_writes_a_new_epoch_and_the_twin_gets_a_dense_log(self, cells: MoveHost) -> None:
        one, two, twin = await _owner(cells), await cells.open("c2"), await cells.open("twin")
        await twin.set_lease(SLOT, expected=None, lease=Lease(1, "active", 0))
        for n in range(3):
            await write(one, event(sk=f"k{n}"))
        await twin.apply(SLOT, (await one.ops_after(SLOT, {}, limit=2)).ops)
        await _moved(one, two)
        receipt = await write(two, event(sk="k3"))

        await twin.apply(SLOT, (await two.ops_after(SLOT, await twin.vector(SLOT), limit=99)).ops)

        assert receipt.mark == Mark(2, 1)
        assert await twin.vector(SLOT) == await two.vector(SLOT) == {HERE: Mark(2, 1)}
        assert await twin.digest(SLOT) == await two.digest(SLOT)

    async def test_the_new_owners_first_event_names_the_old_ones_last(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, event(sk="k1"), event("other"), event(sk="k2"))
        await _moved(one, two)
        await write(two, event(sk="k3"), event(sk="k4"))

        ops = (await two.ops_after(SLOT, {HERE: Mark(1, 3)}, limit=9)).ops
        named = [(op.event.prev, op.event.after) for op in ops if op.event is not None]
        assert named == [(0, Mark(1, 3)), (1, None)]

    async def test_the_relay_of_the_target_is_not_given_what_the_source_has_published(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, event(sk="a"))
        await _moved(one, two)
        await write(two, event(sk="b"))

        assert [entry.op.epoch for entry in await two.log_after(0, limit=9)] == [2]
        everything = await two.log_after(-(2**62), limit=9)
        assert [entry.op.epoch for entry in everything] == [1, 2], "a wiped hub gets all of it, in order"

    async def test_what_a_gone_slot_left_is_discarded_and_swept_and_no_other(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await one.set_lease(OTHER, expected=None, lease=Lease(1, "active", 0))
        await write(one, put("a"), slot=OTHER)
        await write(one, put("a"), key=KEY)
        assert not await one.discard(SLOT, move=0), "an active slot is nobody's to discard"
        await _moved(one, two)
        lease = await one.lease(SLOT)

        assert not await one.discard(SLOT, move=7)
        assert await one.discard(SLOT, move=1)
        while await one.sweep(limit=3):
            pass
        one = await cells.restart("c1")

        assert (await items(one), await one.lease(SLOT)) == ([], lease)
        assert await value(one, slot=OTHER) == b"1"
        assert len(await one.log_after(-(2**62), limit=9)) == 1

    async def test_an_account_erased_before_or_during_a_move_stays_erased(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, put("a"), put("a", pk="acc-2"), key=KEY)
        await write(one, put("erased", b"{}"))
        await two.begin_import(SLOT, move=1, epoch=1)
        cursor = await copy_all(one, two, move=1)
        await write(one, put("erased", b"{}", pk="acc-2"))
        await one.freeze(SLOT, move=1, epoch=1)
        await copy_all(one, two, move=1, cursor=cursor)
        await two.settle(SLOT, move=1, epoch=2, owner=None)

        for account in ("acc-1", "acc-2"):
            assert [item.key.sk for item in await items(two, pk=account)] == ["erased"]
            with pytest.raises(Denied):
                await write(two, put("a", pk=account))
        assert await two.digest(SLOT) == await one.digest(SLOT)

    async def test_what_an_import_has_kept_survives_a_restart(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, put("a", b"1"), put("b"))
        await two.begin_import(SLOT, move=1, epoch=1)
        await copy_all(one, two, move=1)

        two = await cells.restart("c2")

        assert await two.vector(SLOT) == {HERE: Mark(1, 2)}
        await two.settle(SLOT, move=1, epoch=2, owner=None)
        assert await value(two) == b"1"
        assert (await write(two, put("a", b"2"))).mark == Mark(2, 1)

    async def test_a_key_of_the_same_millisecond_travels_although_it_sorts_before_the_last_one_copied(
        self, cells: MoveHost
    ) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, put("a"), key=IdempotencyKey("acc-1", "z"))
        await two.begin_import(SLOT, move=1, epoch=1)
        cursor = await copy_all(one, two, move=1)
        first = await write(one, put("b"), key=IdempotencyKey("acc-1", "a"))
        await one.freeze(SLOT, move=1, epoch=1)
        await copy_all(one, two, move=1, cursor=cursor)
        await two.settle(SLOT, move=1, epoch=2, owner=None)

        assert await write(two, put("b"), key=IdempotencyKey("acc-1", "a")) == first._replace(repeated=True)

    async def test_an_account_whose_erasure_is_no_op_any_more_stays_erased_after_a_move(self, cells: MoveHost) -> None:
        """P22: after seven days the op of the mark is pruned, and only the item travels."""
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, put("erased", b"{}"))
        await cells.clock.advance(8 * DAY_S)
        await one.prune_log(SLOT, acknowledged=await one.vector(SLOT), relayed_lsn=one.statistics().last_lsn)

        await _moved(one, two)

        with pytest.raises(Denied):
            await write(two, put("a"))

    async def test_an_activation_of_an_earlier_move_activates_no_later_import(self, cells: MoveHost) -> None:
        one, two = await _owner(cells), await cells.open("c2")
        await write(one, put("a"))
        await two.begin_import(SLOT, move=1, epoch=1)
        await copy_all(one, two, move=1)
        await two.begin_import(SLOT, move=2, epoch=1)

        with pytest.raises(EpochStale):
            await two.settle(SLOT, move=1, epoch=2, owner=None)

        lease = await two.lease(SLOT)
        assert lease is not None
        assert lease.state == "importing"

    async def test_a_region_leaves_a_slot_and_takes_it_back_only_under_a_higher_epoch(self, cells: MoveHost) -> None:
        """P2: under one epoch a seq would be given twice."""
        one = await _owner(cells)
        await one.stand_aside(SLOT, epoch=2, owner="eu-west")

        with pytest.raises(EpochStale):
            await one.stand_aside(SLOT, epoch=2, owner=None)

        await one.stand_aside(SLOT, epoch=3, owner=None)
        assert (await write(one, put("a"))).mark == Mark(3, 1)
