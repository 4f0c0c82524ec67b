"""P21 as a drill: a cell's disk burns; on a new one it is what it was, and what backups had not comes from the twin."""

import random
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from eisbach.bootstrap.restore_cell import NewStore, RestoredCell, Sources, restore_cell
from eisbach.cell.archive_reader import ArchiveReader
from eisbach.cell.archiver import Archiver
from eisbach.cell.ownership import Ownership
from eisbach.cell.pull_messages import FAR_BEHIND
from eisbach.cell.puller import PullAnswer, PullRequest, PullServer
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import Denied, Invalid, LogGap, Unavailable
from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.versions import Mark, Vector
from eisbach.ports.moves import CopyCursor
from eisbach.ports.store import IdempotencyKey, ItemKey, Lease, Transaction, Write
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_host import OTHER, SLOT, exchange

KEK = bytes(range(32))
SLOTS = [SLOT, OTHER]
COUNTS = {"eu/de/main": 64}
HERE, THERE = "eu-central", "eu-west"


class Twin:
    """The other region's cell, asked without a network."""

    far_behind = FAR_BEHIND

    def __init__(self, store: SqliteStore, clock: ManualClock) -> None:
        numbers = {"eu/de/main": [slot.number for slot in SLOTS]}
        self.ownership = Ownership(store, cell="c1", groups=COUNTS, owners={"c1": numbers})
        self.server = PullServer(
            store, self.ownership, clock=clock, may_send=lambda region, _: region == HERE, export=store.export
        )
        self.up = True

    async def owners(self) -> Mapping[str, Sequence[str]]:
        if not self.up:
            raise Unavailable("the link is cut")
        return {"eu/de/main": ["c1"] * 64}

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        assert cell == "c1"
        return await self.server.answer(request)


class World:
    """Two regions' stores, and the first one's backups."""

    def __init__(self, folder: Path, clock: ManualClock, here: SqliteStore, there: SqliteStore) -> None:
        self.folder, self.clock, self.here, self.there = folder, clock, here, there
        self.rng = random.Random(11)
        self.twin = Twin(there, clock)
        blobs = FileBlobs(folder / "backups")
        self.archiver = Archiver(here, blobs, cell="c1", kek=KEK, clock=clock, entropy=self.rng.randbytes)
        self.reader = ArchiveReader(blobs, kek=KEK, clock=clock)

    async def write(self, store: SqliteStore, count: int) -> None:
        for _ in range(count):
            await self.clock.advance(0.5)
            account, sk = f"acc-{self.rng.randrange(5)}", f"k{self.rng.randrange(9)}"
            value = None if self.rng.random() < 0.2 else b"%d" % self.rng.randrange(1000)
            change = ItemChange(account, sk, value)
            await store.transact(Transaction(slot=self.rng.choice(SLOTS), writes=[Write(change)]))

    async def exchange(self) -> None:
        for slot in SLOTS:
            await exchange(self.here, self.there, slot=slot)

    async def restore(self, name: str = "new.db") -> RestoredCell:
        sources = Sources(self.reader, {THERE: self.twin})
        return await restore_cell(self.new(name), SLOTS, sources)

    def new(self, name: str = "new.db") -> NewStore:
        return NewStore(path=self.folder / name, region=HERE, cell="c1", clock=self.clock)

    def opened(self, name: str = "new.db"):
        return open_store(self.folder / name, region=HERE, clock=self.clock, cell="c1", disk=inline)


async def pruned(store: SqliteStore, vector: Vector) -> None:
    while await store.prune_log(SLOT, acknowledged=vector, relayed_lsn=1 << 40):
        pass


async def pruned_up_to(world: World, end: Mark, *, in_part: bool = False) -> None:
    """600 items that both regions have and of whose ops this one's log has none; three writes after ``end`` since.

    ``in_part``: the log has the later ones yet.
    """
    for number in range(600):
        await world.here.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc", f"k{number}", b"1"))]))
    await world.exchange()
    await world.clock.advance(30 * 86_400)
    vector = await world.there.vector(SLOT)
    await pruned(world.here, {HERE: Mark(1, 256)} if in_part else vector)
    lease = await world.here.lease(SLOT)
    assert lease is not None
    if end.epoch > lease.epoch:
        await world.here.set_lease(SLOT, expected=lease, lease=lease._replace(epoch=end.epoch, seq=0))
    for number in range(3):
        await world.here.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc", f"new{number}", b"1"))]))
    assert await world.here.vector(SLOT) == {HERE: Mark(end.epoch, end.seq + 3)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        stores = []
        for region in (HERE, THERE):
            opening = open_store(tmp_path / f"{region}.db", region=region, clock=clock, cell="c1", disk=inline)
            stores.append(await stack.enter_async_context(opening))
            for slot in SLOTS:
                await stores[-1].set_lease(slot, expected=None, lease=Lease(1, "active", 0))
        found = World(tmp_path, clock, *stores)
        await found.twin.ownership.refresh()
        yield found


@pytest.mark.parametrize("based", [False, True])
async def test_a_cell_on_a_new_machine_has_all_that_was_acknowledged_and_converges_with_its_twin(
    world: World, based: bool
) -> None:
    """Part archived, part only at the twin; the twin wrote on; one account is erased. Both sides then write on."""
    await world.write(world.here, 60)
    await world.write(world.there, 20)
    await world.exchange()
    await world.archiver.archive()
    if based:
        await world.clock.advance(5)
        await world.archiver.rebase()
    await world.write(world.here, 30)
    await world.archiver.archive()
    await world.write(world.here, 25)  # not archived, but the twin has it
    await world.exchange()
    await world.write(world.there, 15)  # while here burned
    before = await world.here.vector(SLOT)

    restored = await world.restore()

    assert restored.slots == 2
    assert restored.ops >= 40
    async with world.opened() as again:
        for slot in SLOTS:
            assert await again.digest(slot) == await world.there.digest(slot)
        lease = await again.lease(SLOT)
        assert lease is not None
        assert (lease.state, lease.seq) == ("active", 0)
        assert lease.epoch > before[HERE].epoch
        world.here = again
        await world.write(again, 20)
        await world.write(world.there, 20)
        await world.exchange()
        for slot in SLOTS:
            assert await again.digest(slot) == await world.there.digest(slot)
            assert await again.vector(slot) == await world.there.vector(slot)


class InHand:
    """A puller of the twin that has taken in what its store does not hold yet."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self.ops = list(ops)

    def begin_anew(self, slots: Sequence[str], origin: str) -> Mapping[str, list[Op]]:
        assert origin == HERE
        return {str(SLOT): self.ops} if str(SLOT) in slots else {}


async def test_what_the_twin_has_received_and_not_written_yet_is_restored_too(world: World) -> None:
    """It would be written under an epoch that the new store never asks for again."""
    await world.write(world.here, 30)
    await world.exchange()
    held = await world.there.vector(SLOT)
    await world.write(world.here, 30)
    late = await world.here.ops_after(SLOT, held, limit=1000)
    assert len(late.ops) > 5
    world.twin.server.askers = [InHand(late.ops)]

    await world.restore()
    await world.there.apply(SLOT, late.ops)

    async with world.opened() as again:
        assert await again.digest(SLOT) == await world.there.digest(SLOT)
        assert (await again.vector(SLOT))[HERE] == late.heads[HERE]


@pytest.mark.parametrize("based", [False, True])
async def test_what_only_the_backups_have_is_restored_and_reaches_the_twin_at_last(world: World, based: bool) -> None:
    """The link was cut when the cell burned: the twin knows nothing of what was written since."""
    if based:
        await world.write(world.here, 40)
        await world.exchange()
        await world.archiver.archive()
        await world.clock.advance(5)
        await world.archiver.rebase()
        await world.clock.advance(120)
    await world.write(world.here, 40)
    await world.archiver.archive()
    digests = [await world.here.digest(slot) for slot in SLOTS]

    await world.restore()

    async with world.opened() as again:
        assert [await again.digest(slot) for slot in SLOTS] == digests
        world.here = again
        await world.exchange()
        assert [await world.there.digest(slot) for slot in SLOTS] == digests


async def test_an_account_that_was_erased_stays_erased(world: World) -> None:
    await world.write(world.here, 40)
    await world.archiver.archive()
    await world.here.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc-1", ERASED, b"{}"))]))
    await world.archiver.archive()

    await world.restore()

    async with world.opened() as again:
        assert [item.key.sk for item in await again.query(SLOT, "acc-1")] == [ERASED]
        with pytest.raises(Denied, match="erased"):
            await again.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc-1", "a", b"1"))]))


async def test_without_the_twin_nothing_appears_and_the_next_try_begins_anew(world: World) -> None:
    await world.write(world.here, 20)
    await world.archiver.archive()
    world.twin.up = False

    with pytest.raises(Unavailable, match="cut"):
        await world.restore()

    assert not (world.folder / "new.db").exists()
    world.twin.up = True
    assert (await world.restore()).slots == 2


async def test_a_slot_that_has_moved_away_since_is_not_taken_by_the_restored_cell(world: World) -> None:
    """Its document still names the slot: a start takes what no row speaks of."""
    await world.write(world.here, 20)
    await world.exchange()
    sources = Sources(world.reader, {THERE: world.twin}, {OTHER: "c2"})

    await restore_cell(world.new(), [SLOT], sources)

    async with world.opened() as again:
        ownership = Ownership(again, cell="c1", groups=COUNTS, owners={})
        await ownership.open([SLOT, OTHER])
        assert ownership.owned() == [SLOT]
        assert ownership.owner(OTHER) == "c2"


async def test_a_cell_without_backups_is_restored_from_its_twin(world: World) -> None:
    """The studio makes none: every region has all of it."""
    await world.write(world.here, 20)
    await world.write(world.there, 10)
    await world.exchange()
    sources = Sources(None, {THERE: world.twin})

    await restore_cell(world.new(), SLOTS, sources)

    async with world.opened() as again:
        for slot in SLOTS:
            assert await again.digest(slot) == await world.there.digest(slot)
            lease = await again.lease(slot)
            assert lease is not None
            assert lease.epoch > 1


@pytest.mark.parametrize("twin_away", [False, True])
@pytest.mark.parametrize("based", [False, True])
@pytest.mark.parametrize("end", [Mark(1, 600), Mark(2, 0)], ids=["in an epoch", "between two epochs"])
async def test_backups_that_were_switched_on_after_a_prune_hide_nothing_from_the_twin(
    world: World, end: Mark, based: bool, twin_away: bool
) -> None:
    """Their vector said that all was there, and 600 of 603 items were missing for ever, without a word."""
    await pruned_up_to(world, end)
    await world.exchange()
    await world.archiver.archive()
    if based:
        await world.clock.advance(5)
        await world.archiver.rebase()
        await world.clock.advance(120)
    if twin_away:  # it has left the slot to this region, and follows
        lease = await world.there.lease(SLOT)
        assert lease is not None
        await world.there.set_lease(SLOT, expected=lease, lease=Lease(2, "away", 0))
        await world.twin.ownership.refresh()

    await world.restore()

    async with world.opened() as again:
        assert await again.digest(SLOT) == await world.there.digest(SLOT)
        assert await again.vector(SLOT) == await world.there.vector(SLOT)


@pytest.mark.parametrize("twin_pruned", [False, True])
@pytest.mark.parametrize("end", [Mark(1, 600), Mark(2, 0)], ids=["in an epoch", "between two epochs"])
async def test_what_only_such_backups_have_reaches_the_twin_that_has_all_that_they_lack(
    world: World, end: Mark, twin_pruned: bool
) -> None:
    """A floor above what the twin has would be a gap that nothing closes."""
    await pruned_up_to(world, end)
    await world.archiver.archive()
    digest = await world.here.digest(SLOT)
    if twin_pruned:
        await pruned(world.there, await world.there.vector(SLOT))

    await world.restore()

    async with world.opened() as again:
        assert await again.digest(SLOT) == digest
        await exchange(again, world.there, slot=SLOT)
        assert await world.there.digest(SLOT) == digest
        if twin_pruned:
            with pytest.raises(LogGap):
                await again.ops_after(SLOT, {}, limit=1)


async def test_a_twin_that_holds_what_the_backups_hold_is_not_copied(world: World) -> None:
    await world.write(world.here, 30)
    await world.exchange()
    await world.archiver.archive()
    await world.clock.advance(5)
    await world.archiver.rebase()
    await world.clock.advance(120)

    assert (await world.restore()).ops == 0


@pytest.mark.parametrize("backed_up", [False, True])
async def test_a_region_that_burned_with_its_backups_is_made_anew_from_the_twin_whose_log_is_long_pruned(
    world: World, backed_up: bool
) -> None:
    """Thirty days: the twin forgot what both had; what is left of the backups, if anything, ends before that."""
    await world.write(world.here, 60)
    if backed_up:
        await world.archiver.archive()
    await world.write(world.here, 40)
    await world.write(world.there, 40)
    await world.here.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("gone", "a", b"1"))]))
    await world.exchange()
    await world.there.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("gone", ERASED, b"{}"))]))
    await world.clock.advance(30 * 86_400)
    await world.write(world.there, 10)
    for slot in SLOTS:
        vector = await world.there.vector(slot)
        assert await world.there.prune_log(slot, acknowledged=vector, relayed_lsn=1 << 40) > 0
    sources = Sources(world.reader if backed_up else None, {THERE: world.twin})

    done = await restore_cell(world.new(), SLOTS, sources)

    assert min(done.epochs.values()) > 100
    async with world.opened() as again:
        for slot in SLOTS:
            assert await again.digest(slot) == await world.there.digest(slot)
            assert await again.vector(slot) == await world.there.vector(slot)
        assert [item.key.sk for item in await again.query(SLOT, "gone")] == [ERASED]
        world.here = again
        await world.write(again, 20)
        await world.write(world.there, 20)
        await world.exchange()
        for slot in SLOTS:
            assert await again.digest(slot) == await world.there.digest(slot)


async def test_a_machine_whose_clock_is_behind_what_the_cell_wrote_makes_no_store(world: World) -> None:
    """P2: what is held back for its time would win over what is written under the new epoch."""
    await world.write(world.here, 5)
    await world.exchange()
    behind = ManualClock()

    with pytest.raises(Unavailable, match="set the clocks"):
        await restore_cell(replace(world.new(), clock=behind), SLOTS, Sources(None, {THERE: world.twin}))

    assert not (world.folder / "new.db").exists()


async def test_a_twin_gives_whole_slots_only_where_they_may_lie(world: World) -> None:
    await world.write(world.there, 5)
    request = PullRequest(slots={}, copies={str(SLOT): CopyCursor()}, wait_ms=0, region="us-east")

    assert (await world.twin.server.answer(request)).copies == {}
    with pytest.raises(Invalid):
        await world.twin.server.answer(
            PullRequest(slots={}, copies={str(s): CopyCursor() for s in SLOTS}, wait_ms=0, region=HERE)
        )


async def test_a_twin_keeps_its_idempotency_keys(world: World) -> None:
    key = IdempotencyKey("acc", "once")
    change = Write(ItemChange("acc", "k", b"1"))
    await world.there.transact(Transaction(slot=SLOT, writes=[change], key=key, answer=b"theirs"))
    assert (await world.there.export(SLOT, CopyCursor())).keys
    request = PullRequest(slots={}, copies={str(SLOT): CopyCursor()}, wait_ms=0, region=HERE)

    piece = (await world.twin.server.answer(request)).copies[str(SLOT)]

    assert piece.items
    assert not piece.keys
    assert not piece.more


async def test_a_store_that_is_there_is_never_overwritten(world: World) -> None:
    with pytest.raises(Invalid, match="move it away"):
        await world.restore(f"{HERE}.db")


async def test_an_older_copy_of_the_store_gives_what_only_it_still_holds_and_is_gone_afterwards(world: World) -> None:
    """The link was cut, and there are no backups: what the copy has is nowhere else."""
    await world.write(world.here, 20)
    await world.exchange()
    await world.write(world.here, 15)
    keyed = Transaction(slot=SLOT, writes=[Write(ItemChange("acc-9", "k", b"1"))], key=IdempotencyKey("acc-9", "once"))
    first = await world.here.transact(keyed)
    digests = [await world.here.digest(slot) for slot in SLOTS]
    for suffix in ("", "-wal"):
        shutil.copy(world.folder / f"{HERE}.db{suffix}", world.folder / f"new.db{suffix}")
    await world.write(world.here, 5)  # these alone are lost
    async with world.opened() as copy:
        await copy.condemn("the twin has more")
    sources = Sources(None, {THERE: world.twin})
    world.twin.up = False
    with pytest.raises(Unavailable, match="cut"):
        await restore_cell(world.new(), SLOTS, sources)
    world.twin.up = True

    restored = await restore_cell(world.new(), SLOTS, sources)

    assert restored.older >= 15
    assert sorted(path.name for path in world.folder.glob("new.db*")) == ["new.db", "new.db-opened"]
    async with world.opened() as again:
        assert [await again.digest(slot) for slot in SLOTS] == digests
        assert (await again.transact(keyed)).mark == first.mark, "a repeat under its key has its answer"
        await exchange(again, world.there, slot=SLOT)
        assert await again.digest(SLOT) == await world.there.digest(SLOT)


async def test_what_an_older_copy_held_back_is_shown_when_its_time_has_come_before_the_restore(world: World) -> None:
    """Seed 50685 of a world that puts back every machine: no restore was ever whole."""
    await world.write(world.there, 3)
    ahead = ItemChange("acc-1", "ahead", b"1")
    await world.there.transact(Transaction(slot=SLOT, writes=[Write(ahead)]))
    late = (await world.there.ops_after(SLOT, {}, limit=100)).ops
    future = (world.clock.wall_ms() + 2_000) << COUNTER_BITS
    ops = [*late[:-1], msgspec.structs.replace(late[-1], hlc=future)]
    await world.here.apply(SLOT, ops)
    assert await world.here.read(SLOT, ItemKey("acc-1", "ahead")) is None, "held back"
    for suffix in ("", "-wal"):
        shutil.copy(world.folder / f"{HERE}.db{suffix}", world.folder / f"new.db{suffix}")
    await world.here.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc-1", "own", b"1"))]))
    await world.there.apply(
        SLOT, [op for op in (await world.here.ops_after(SLOT, {}, limit=100)).ops if op.origin == HERE]
    )
    async with world.opened() as copy:
        await copy.condemn("the twin has more")
    await world.clock.advance(3)

    await restore_cell(world.new(), SLOTS, Sources(None, {THERE: world.twin}))

    async with world.opened() as again:
        for sk in ("ahead", "own"):
            item = await again.read(SLOT, ItemKey("acc-1", sk))
            assert item is not None
            assert item.value == b"1"


async def test_an_older_copy_gives_what_it_had_left_behind_in_a_move_when_the_slot_has_come_back(world: World) -> None:
    """P21; found by the simulated world (seed 1781 of one that put back machines where slots move)."""
    await world.write(world.here, 20)
    digests = [await world.here.digest(slot) for slot in SLOTS]
    await world.here.freeze(SLOT, move=1, epoch=1)
    await world.here.settle(SLOT, move=1, epoch=2, owner="c2")
    for suffix in ("", "-wal"):
        shutil.copy(world.folder / f"{HERE}.db{suffix}", world.folder / f"new.db{suffix}")
    async with world.opened() as copy:
        await copy.condemn("the twin has more")

    await restore_cell(world.new(), SLOTS, Sources(None, {THERE: world.twin}))

    async with world.opened() as again:
        assert [await again.digest(slot) for slot in SLOTS] == digests


async def test_an_older_copy_gives_the_ops_of_a_slot_that_was_on_its_way_to_it(world: World) -> None:
    """P21; what came since may be nowhere else (seeds 219, 569 and 771 of the world that puts back every cell)."""
    await world.write(world.here, 20)
    digest, piece = await world.here.digest(SLOT), await world.here.export(SLOT, CopyCursor())
    async with world.opened() as copy:
        await copy.begin_import(SLOT, move=1, epoch=1)
        await copy.import_chunk(SLOT, piece, move=1)
        await copy.condemn("a record says so")

    await restore_cell(world.new(), [SLOT], Sources(None, {THERE: world.twin}))

    async with world.opened() as again:
        assert await again.digest(SLOT) == digest


async def test_an_older_copy_of_a_restored_store_is_restored_under_epochs_of_its_own(world: World) -> None:
    """Slots that nobody wrote since the first restore have no op of its epochs that would tell of them."""
    await world.write(world.here, 20)
    await world.exchange()
    sources = Sources(None, {THERE: world.twin})
    first = await restore_cell(world.new(), SLOTS, sources)
    async with world.opened() as copy:
        await copy.condemn("the twin has more")

    second = await restore_cell(world.new(), SLOTS, sources)

    assert all(second.epochs[str(slot)] > first.epochs[str(slot)] for slot in SLOTS)
    async with world.opened() as again:
        assert {lease.state for lease in (await again.leases()).values()} == {"active"}
        await world.write(again, 3)
