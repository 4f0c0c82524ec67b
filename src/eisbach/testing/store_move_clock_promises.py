"""What every engine of ``ports.moves`` promises when the clocks of two cells differ, as tests to inherit from.

The fixture ``cells`` is that of ``store_move_promises``. Its stores share a clock, so what a source with another one
would have written is stamped by hand.
"""

import msgspec
import pytest

from eisbach.kernel.errors import Unavailable
from eisbach.kernel.hlc import COUNTER_BITS, SKEW_MAX_MS, hlc_ms
from eisbach.kernel.versions import Mark
from eisbach.ports.moves import CopyCursor, SlotChunk
from eisbach.ports.store import Lease
from eisbach.testing.store_host import HERE, OTHER, SLOT, THERE, an_op, put, value, write
from eisbach.testing.store_memory_promises import until_applied
from eisbach.testing.store_move_promises import MovableStore, MoveHost, copy_all

__all__ = ["MoveClockPromises"]

_AHEAD_MS = 3_000


async def _preparing(cells: MoveHost) -> tuple[MovableStore, MovableStore]:
    """A source, and a target that takes in."""
    one, two = await cells.open("c1"), await cells.open("c2")
    await one.set_lease(SLOT, expected=None, lease=Lease(1, "active", 0))
    await two.begin_import(SLOT, move=1, epoch=1)
    return one, two


def _stamped(chunk: SlotChunk, at_ms: int) -> SlotChunk:
    """As a source would have written it whose clock showed ``at_ms``; its items come as ops only."""
    ops = [msgspec.structs.replace(op, hlc=at_ms << COUNTER_BITS) for op in chunk.ops]
    return msgspec.structs.replace(chunk, ops=ops, items=[])


async def _cut_with_a_held_op(cells: MoveHost) -> tuple[MovableStore, MovableStore]:
    """A frozen source and a target that holds the cut: both show ``ours``, both hold ``theirs``, which will beat it."""
    one, two = await _preparing(cells)
    await write(one, put("a", b"ours"))
    await one.apply(SLOT, [an_op(1, at_ms=cells.clock.wall_ms() + _AHEAD_MS)])
    for store in (one, two):
        await store.set_lease(OTHER, expected=None, lease=Lease(1, "active", 0))
    await one.freeze(SLOT, move=1, epoch=1)
    await copy_all(one, two, move=1)
    return one, two


async def _shown(cells: MoveHost, *stores: MovableStore) -> None:
    """The held op's time comes; any write applies what is due."""
    await cells.clock.advance(_AHEAD_MS / 1000)
    for store in stores:
        await write(store, put("b"), slot=OTHER)


class MoveClockPromises:
    """All of them."""

    async def test_an_item_from_the_future_is_not_imported_and_moves_no_clock(self, cells: MoveHost) -> None:
        """P10: the source's clock is no better than the twin's."""
        one, two = await _preparing(cells)
        await write(one, put("a"))
        chunk = await one.export(SLOT, CopyCursor())
        ahead = (cells.clock.wall_ms() + 60_000) << COUNTER_BITS
        items_ahead = [msgspec.structs.replace(item, hlc=ahead) for item in chunk.items]

        with pytest.raises(Unavailable, match="ahead of this cell's clock"):
            await two.import_chunk(SLOT, msgspec.structs.replace(chunk, items=items_ahead), move=1)

        assert await two.vector(SLOT) == {}
        await two.set_lease(OTHER, expected=None, lease=Lease(1, "active", 0))
        assert hlc_ms((await write(two, put("x"), slot=OTHER)).hlc) <= cells.clock.wall_ms() + SKEW_MAX_MS

    async def test_what_the_source_shows_is_not_taken_before_its_time_and_what_follows_is_stamped_later(
        self, cells: MoveHost
    ) -> None:
        """P2: held back at the target, the old owner's last write would win over the new owner's first."""
        one, two = await _preparing(cells)
        await write(one, put("a", b"old"))
        chunk = _stamped(await one.export(SLOT, CopyCursor()), cells.clock.wall_ms() + _AHEAD_MS)

        with pytest.raises(Unavailable, match=r"op .*:1:1 .* ahead of this cell's clock"):
            await two.import_chunk(SLOT, chunk, move=1)
        assert await two.vector(SLOT) == {}, "so no cut is proved with it"
        await cells.clock.advance((_AHEAD_MS - SKEW_MAX_MS) / 1000)
        await two.import_chunk(SLOT, chunk, move=1)
        await two.settle(SLOT, move=1, epoch=2, owner=None)

        assert (await write(two, put("a", b"new"))).hlc > chunk.ops[0].hlc
        assert await value(two) == b"new"

    async def test_what_the_source_shows_waits_behind_nothing_that_the_source_holds(self, cells: MoveHost) -> None:
        one, two = await _preparing(cells)
        await one.apply(SLOT, [an_op(1, at_ms=cells.clock.wall_ms() + _AHEAD_MS, sk="theirs")])
        await write(one, put("a", b"old"))
        held, own = (chunk := await one.export(SLOT, CopyCursor())).ops
        chunk = msgspec.structs.replace(chunk, items=[])
        slightly = (cells.clock.wall_ms() + SKEW_MAX_MS) << COUNTER_BITS
        ops = [held, own] if held.origin == THERE else [own, held]
        ops[1] = msgspec.structs.replace(ops[1], hlc=slightly)

        await two.import_chunk(SLOT, msgspec.structs.replace(chunk, ops=ops), move=1)
        await two.settle(SLOT, move=1, epoch=2, owner=None)

        assert await value(two) == b"old"
        assert await value(two, "theirs") is None
        assert (await write(two, put("a", b"new"))).hlc > slightly

    async def test_what_both_hold_is_shown_by_the_target_once_the_source_shows_it(self, cells: MoveHost) -> None:
        """Or their digests would differ until the move is given up."""
        one, two = await _preparing(cells)
        await write(one, put("a", b"ours"))
        await one.apply(SLOT, [an_op(1, at_ms=cells.clock.wall_ms() + _AHEAD_MS)])
        cursor = await copy_all(one, two, move=1)
        assert await value(two) == await value(one) == b"ours"
        await cells.clock.advance(_AHEAD_MS / 1000)
        await write(one, put("b"))
        assert await value(one) == b"theirs"

        await copy_all(one, two, move=1, cursor=cursor)

        assert await two.vector(SLOT) == {HERE: Mark(1, 2), THERE: Mark(1, 1)}
        assert await two.digest(SLOT) == await one.digest(SLOT)
        assert [c.value for c in await two.conflicts()] == [c.value for c in await one.conflicts()] == [b"ours"]

    async def test_a_loser_is_listed_once_though_the_time_of_what_beats_it_comes_after_the_cut(
        self, cells: MoveHost
    ) -> None:
        one, two = await _preparing(cells)
        await write(one, put("a", b"ours"))
        await one.apply(SLOT, [an_op(1, at_ms=cells.clock.wall_ms() + _AHEAD_MS)])
        cursor = await copy_all(one, two, move=1)
        await one.set_lease(OTHER, expected=None, lease=Lease(1, "active", 0))
        await one.freeze(SLOT, move=1, epoch=1)
        await copy_all(one, two, move=1, cursor=cursor)
        await cells.clock.advance(_AHEAD_MS / 1000)
        await write(one, put("b"), slot=OTHER)  # any write releases what is due
        await two.settle(SLOT, move=1, epoch=2, owner=None)
        await write(two, put("c"))

        assert await value(two) == b"theirs"
        assert [c.value for c in await two.conflicts()] == [b"ours"]

    @pytest.mark.parametrize("told", [False, True], ids=["frozen", "gone"])
    async def test_after_the_cut_the_source_lists_no_loser_that_the_new_owner_has_replaced(
        self, cells: MoveHost, *, told: bool
    ) -> None:
        """P9: what the source still shows is not what the op beats."""
        one, two = await _cut_with_a_held_op(cells)
        await two.settle(SLOT, move=1, epoch=2, owner=None)
        if told:
            await one.settle(SLOT, move=1, epoch=2, owner="c2")
        await write(two, put("a", b"newer"))

        await _shown(cells, one, two)

        assert await value(two) == b"theirs"
        assert [c.value for c in await two.conflicts()] == [b"newer"]
        assert await one.conflicts() == []

    async def test_the_copy_of_a_move_that_was_given_up_lists_no_loser(self, cells: MoveHost) -> None:
        """P9: its owner has written on since."""
        one, two = await _cut_with_a_held_op(cells)
        await one.settle(SLOT, move=1, epoch=2, owner=None)
        await write(one, put("a", b"newer"))
        await two.settle(SLOT, move=1, epoch=2, owner="c1")

        await _shown(cells, one, two)

        assert await value(one) == b"theirs"
        assert [c.value for c in await one.conflicts()] == [b"newer"]
        assert await two.conflicts() == []

    async def test_what_came_due_in_a_freeze_is_shown_by_itself_once_the_move_is_given_up(
        self, cells: MoveHost
    ) -> None:
        one, _ = await _cut_with_a_held_op(cells)
        await cells.clock.advance(_AHEAD_MS / 1000)
        assert await value(one) == b"ours"

        await one.settle(SLOT, move=1, epoch=2, owner=None)
        await cells.clock.advance(0.01)

        await until_applied(one, Mark(1, 1))
        assert await value(one) == b"theirs"
        assert [c.value for c in await one.conflicts()] == [b"ours"]

    async def test_what_only_the_source_holds_is_held_by_the_target_too_and_its_loser_is_listed_once(
        self, cells: MoveHost
    ) -> None:
        """P9: merged at once where the clock is ahead of the source's, it would beat a write that nobody lists."""
        one, two = await _preparing(cells)
        await write(one, put("a", b"ours"))
        await one.apply(SLOT, [an_op(1, at_ms=cells.clock.wall_ms() + _AHEAD_MS)])
        chunk = await one.export(SLOT, CopyCursor())
        await cells.clock.advance(_AHEAD_MS / 1000)  # only the target knows, as one whose clock is ahead

        await two.import_chunk(SLOT, chunk, move=1)
        assert await value(two) == b"ours"
        await two.settle(SLOT, move=1, epoch=2, owner=None)
        await write(two, put("b"))

        assert await value(two) == b"theirs"
        assert [c.value for c in await two.conflicts()] == [b"ours"]

    async def test_what_both_held_and_the_source_shows_is_waited_for_where_the_clock_is_behind(
        self, cells: MoveHost
    ) -> None:
        """P2: or what the new owner writes first would lose to what the old one had shown."""
        one, two = await _preparing(cells)
        await one.apply(SLOT, [an_op(1, at_ms=cells.clock.wall_ms() + _AHEAD_MS)])
        chunk = await one.export(SLOT, CopyCursor())
        await two.import_chunk(SLOT, chunk, move=1)
        nothing_new = msgspec.structs.replace(chunk, ops=[], items=[], held={})

        with pytest.raises(Unavailable, match=r"op .*:1:1 .* ahead of this cell's clock"):
            await two.import_chunk(SLOT, nothing_new, move=1)
        await cells.clock.advance(_AHEAD_MS / 1000)
        await two.import_chunk(SLOT, nothing_new, move=1)

        assert await value(two) == b"theirs"
