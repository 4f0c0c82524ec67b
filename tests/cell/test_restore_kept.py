"""A cell is made anew (P21): what another cell of its region keeps of a slot that moved comes back with it."""

import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from test_restore_cell import COUNTS, HERE, SLOTS, THERE, World, pruned_up_to, world

from eisbach.bootstrap.restore_cell import Sources, restore_cell
from eisbach.bootstrap.restore_kept import KeptSlots
from eisbach.bootstrap.restore_owners import Kept, kept_by_others
from eisbach.cell.moving import LeftBehind, Moving
from eisbach.cell.ownership import Ownership
from eisbach.cell.slot_imports import ExportRequest, SlotImports
from eisbach.control.moves import SlotRecord
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.versions import Mark
from eisbach.ports.moves import CopyCursor, SlotChunk
from eisbach.ports.store import IdempotencyKey, Transaction, Write
from eisbach.testing.store_host import OTHER, SLOT

__all__ = ["world"]

GIVEN = Kept("c0", move=1, whole=True)
HALF = Kept("c0", move=1, whole=False)
ERASURE = Transaction(slot=SLOT, writes=[Write(ItemChange("acc-1", ERASED, b"{}"))])


class Hub:
    def last_lsn(self) -> int:
        return 0

    async def has(self, lsn: int) -> bool:
        return lsn == 0


class Keeper:
    """The cell ``c0`` of the region, asked without a network; its store is ``world.here``."""

    def __init__(self, world: World) -> None:
        ownership = Ownership(world.here, cell="c0", groups=COUNTS, owners={})
        imports = SlotImports(world.here, ownership, None, clock=world.clock, rng=random.Random(1))  # type: ignore[arg-type]
        self.moving = Moving(world.here, ownership, imports, relayed=Hub(), clock=world.clock)
        self.up, self.asked, self.lets_go_at = True, 0, 0
        self.world = world

    async def left(self, cell: str, asked: ExportRequest) -> LeftBehind:
        assert cell == "c0"
        if not self.up:
            raise Unavailable("it is down")
        self.asked += 1
        if self.asked == self.lets_go_at:
            assert await self.world.here.discard(SLOT, move=1)
        sent = msgspec.msgpack.encode(
            await self.moving.left(msgspec.msgpack.decode(msgspec.msgpack.encode(asked), type=ExportRequest))
        )
        return msgspec.msgpack.decode(sent, type=LeftBehind)


async def given(world: World) -> None:
    """The slot has moved from ``c0``; ``c1``'s older copy, which is condemned, has nothing of it."""
    await world.here.freeze(SLOT, move=1, epoch=1)
    await world.here.settle(SLOT, move=1, epoch=2, owner="c1")
    async with world.opened() as copy:
        await copy.condemn("a record says so")


async def half_of_a_new_epoch(world: World, *, in_part: bool = False) -> SlotChunk:
    """The first piece of a slot whose log was pruned up to the very end of its first epoch, or ``in_part``."""
    await pruned_up_to(world, Mark(2, 0), in_part=in_part)
    await world.exchange()
    piece = await world.here.export(SLOT, CopyCursor())
    assert piece.more
    assert piece.floors == {HERE: Mark(1, 256 if in_part else 600)}
    return piece


def archiving(world: World) -> Callable[[], Awaitable[None]]:
    """An exchange with the twin after which all is in backups."""
    exchange = world.exchange

    async def both() -> None:
        await exchange()
        await world.archiver.archive()

    return both


def sources(world: World, keeper: Keeper, kept: Kept = GIVEN) -> Sources:
    return Sources(None, {THERE: world.twin}, kept=KeptSlots(keeper, {SLOT: kept}), epochs={SLOT: 2})


async def test_an_erasure_that_only_the_cell_which_gave_the_slot_still_has_is_not_lost(world: World) -> None:
    """Seed 8517 of the world that puts back every cell: the twin had not heard of it, and the account came back."""
    await world.write(world.here, 20)
    keyed = Transaction(slot=SLOT, writes=[Write(ItemChange("acc-2", "a", b"1"))], key=IdempotencyKey("acc-2", "k"))
    first = await world.here.transact(keyed)
    await world.exchange()
    await world.here.transact(ERASURE)
    digest = await world.here.digest(SLOT)
    await given(world)

    restored = await restore_cell(world.new(), SLOTS, sources(world, Keeper(world)))

    assert restored.older > 0
    async with world.opened() as again:
        assert await again.digest(SLOT) == digest
        assert [item.key.sk for item in await again.query(SLOT, "acc-1")] == [ERASED]
        assert (await again.transact(keyed)).mark == first.mark, "a repeat under its key has its answer"


async def test_without_the_cell_that_gave_a_slot_nothing_appears_unless_it_is_lost_too(world: World) -> None:
    await world.write(world.here, 20)
    await given(world)
    keeper = Keeper(world)
    keeper.up = False

    with pytest.raises(Unavailable, match="--without c0; nothing was restored"):
        await restore_cell(world.new(), SLOTS, sources(world, keeper))

    assert not (world.folder / "new.db").exists()
    assert (await restore_cell(world.new(), SLOTS, Sources(None, {THERE: world.twin}))).slots == 2


async def test_of_half_a_slot_that_a_given_up_move_brought_only_ops_that_follow_are_taken(world: World) -> None:
    """Its items are no state of the slot; its ops may be all that is left of them."""
    await world.write(world.here, 20)
    await world.exchange()
    await world.here.transact(ERASURE)
    await world.here.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc-2", "late", b"1"))]))
    digest = await world.here.digest(SLOT)
    await given(world)

    await restore_cell(world.new(), SLOTS, sources(world, Keeper(world), HALF))

    async with world.opened() as again:
        assert await again.digest(SLOT) == digest


async def test_half_a_slot_is_not_taken_for_the_whole_of_it(world: World) -> None:
    """It says that the pruned ops are in its items, and half of these are missing."""
    for number in range(600):
        await world.here.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc", f"k{number}", b"1"))]))
    await world.exchange()
    await world.clock.advance(30 * 86_400)
    vector = await world.there.vector(SLOT)
    assert await world.here.prune_log(SLOT, acknowledged=vector, relayed_lsn=1 << 40) > 0
    piece = await world.here.export(SLOT, CopyCursor())
    assert piece.more
    async with world.opened("half.db") as half:
        await half.begin_import(SLOT, move=1, epoch=1)
        await half.import_chunk(SLOT, piece, move=1)
        await half.settle(SLOT, move=1, epoch=2, owner="c1")
        world.here = half

        await restore_cell(world.new(), SLOTS, sources(world, Keeper(world), HALF))

    async with world.opened() as again:
        assert await again.digest(SLOT) == await world.there.digest(SLOT)


async def test_half_a_slot_that_a_given_up_move_left_in_an_older_copy_is_not_taken_for_the_whole_of_it(
    world: World,
) -> None:
    """Its row says no more than that the slot is gone."""
    for number in range(600):
        await world.here.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc", f"k{number}", b"1"))]))
    await world.exchange()
    await world.clock.advance(30 * 86_400)
    vector = await world.there.vector(SLOT)
    assert await world.here.prune_log(SLOT, acknowledged=vector, relayed_lsn=1 << 40) > 0
    piece = await world.here.export(SLOT, CopyCursor())
    async with world.opened() as copy:
        await copy.begin_import(SLOT, move=1, epoch=1)
        await copy.import_chunk(SLOT, piece, move=1)
        await copy.settle(SLOT, move=1, epoch=2, owner="c0")
        await copy.condemn("a record says so")

    await restore_cell(world.new(), SLOTS, Sources(None, {THERE: world.twin}))

    async with world.opened() as again:
        assert await again.digest(SLOT) == await world.there.digest(SLOT)


@pytest.mark.parametrize("in_part", [False, True])
@pytest.mark.parametrize("archived", ["never", "as written", "since the prune"])
@pytest.mark.parametrize("state", ["importing", "gone"])
async def test_the_first_op_of_an_epoch_does_not_follow_what_half_a_slot_in_an_older_copy_has_forgotten(
    world: World, state: str, archived: str, in_part: bool
) -> None:
    """A move or a return began the epoch: its ops alone were restored, and nobody was asked for what was before."""
    if archived == "as written":
        world.exchange = archiving(world)  # type: ignore[method-assign]
    piece = await half_of_a_new_epoch(world, in_part=in_part)
    if archived == "since the prune":
        await world.archiver.archive()
    async with world.opened() as copy:
        await copy.begin_import(SLOT, move=1, epoch=2)
        await copy.import_chunk(SLOT, piece, move=1)
        if state == "gone":
            await copy.settle(SLOT, move=1, epoch=3, owner="c0")
        await copy.condemn("a record says so")

    await restore_cell(world.new(), SLOTS, Sources(world.reader if archived != "never" else None, {THERE: world.twin}))

    async with world.opened() as again:
        assert await again.digest(SLOT) == await world.there.digest(SLOT)


@pytest.mark.parametrize("in_part", [False, True])
async def test_the_first_op_of_an_epoch_does_not_follow_what_half_a_slot_in_another_cell_has_forgotten(
    world: World, in_part: bool
) -> None:
    piece = await half_of_a_new_epoch(world, in_part=in_part)
    async with world.opened("half.db") as half:
        await half.begin_import(SLOT, move=1, epoch=2)
        await half.import_chunk(SLOT, piece, move=1)
        await half.settle(SLOT, move=1, epoch=3, owner="c1")
        world.here = half

        await restore_cell(world.new(), SLOTS, sources(world, Keeper(world), HALF))

    async with world.opened() as again:
        assert await again.digest(SLOT) == await world.there.digest(SLOT)


async def test_what_was_pruned_there_is_no_gap_once_the_twin_was_asked(world: World) -> None:
    await world.write(world.here, 20)
    await world.exchange()
    await world.clock.advance(30 * 86_400)
    await world.here.transact(ERASURE)
    vector = await world.there.vector(SLOT)
    assert await world.here.prune_log(SLOT, acknowledged=vector, relayed_lsn=1 << 40) > 0
    digest = await world.here.digest(SLOT)
    await given(world)

    await restore_cell(world.new(), SLOTS, sources(world, Keeper(world), HALF))

    async with world.opened() as again:
        assert await again.digest(SLOT) == digest


async def test_a_cell_that_was_made_anew_since_has_nothing_to_give(world: World) -> None:
    keeper = Keeper(world)
    await world.write(world.there, 20)
    kept = Kept("c0", move=7, whole=True)

    await restore_cell(world.new(), SLOTS, sources(world, keeper, kept))

    async with world.opened() as again:
        assert await again.digest(SLOT) == await world.there.digest(SLOT)


async def test_a_slot_that_is_let_go_of_while_it_is_read_is_not_taken_for_whole(world: World) -> None:
    """Half of its items, with floors that say that all of them are there, would never be mended."""
    for number in range(600):
        await world.here.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc", f"k{number}", b"1"))]))
    await given(world)
    keeper = Keeper(world)
    keeper.lets_go_at = 2

    with pytest.raises(Unavailable, match="just let go"):
        await restore_cell(world.new(), SLOTS, sources(world, keeper))

    assert not (world.folder / "new.db").exists()


async def test_epochs_are_above_those_that_moves_gave(world: World) -> None:
    found = await restore_cell(world.new(), SLOTS, Sources(None, {THERE: world.twin}, epochs={SLOT: 700}))

    assert found.epochs == {str(SLOT): 800, str(OTHER): 101}


def test_the_other_cell_of_the_last_move_is_asked_until_it_has_let_go() -> None:
    came = SlotRecord(
        slot=str(SLOT), owner="c1", epoch=2, move=3, phase="settled", source="c0", target="c1", began_ms=0,
        outcome="committed",
    )  # fmt: skip
    stayed = msgspec.structs.replace(came, slot=str(OTHER), source="c1", target="c2", outcome="aborted")
    done = msgspec.structs.replace(came, slot="eu/de/main/9", discarded=True)
    others = msgspec.structs.replace(came, slot="eu/de/main/10", owner="c0", outcome="aborted")

    assert kept_by_others([came, stayed, done, others], "c1") == {
        SLOT: Kept("c0", 3, whole=True),
        OTHER: Kept("c2", 3, whole=False),
    }
