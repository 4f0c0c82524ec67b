"""P21: an account comes back as it was at a second; P22: what is erased is unreadable in backups too."""

import itertools
import random
import secrets
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from eisbach.cell.archive_reader import ArchiveReader
from eisbach.cell.archiver import Archiver
from eisbach.cell.backup_format import Book, book_key
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import Corrupt, Invalid, NotFound
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.versions import Mark
from eisbach.ports.store import ItemKey, Lease, Transaction, Write
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_host import SLOT, an_op

KEK = bytes(range(32))
DAY_S = 86_400


class Region:
    """A store, its archiver and a reader of its backups, on one clock; keys come from a seed."""

    def __init__(self, folder: Path, store: SqliteStore, clock: ManualClock, entropy: Callable[[int], bytes]) -> None:
        self.folder, self.store, self.clock = folder, store, clock
        self.blobs = FileBlobs(folder)
        self.archiver_again = partial(Archiver, store, self.blobs, cell="c1", kek=KEK, clock=clock, entropy=entropy)
        self.archiver = self.archiver_again()
        self.reader = ArchiveReader(self.blobs, kek=KEK, clock=clock)

    async def put(self, sk: str, value: bytes | None, *, account: str = "acc-1") -> int:
        """Write an item; the time at which it is so, in ms."""
        await self.clock.advance(1)
        await self.store.transact(Transaction(slot=SLOT, writes=[Write(ItemChange(account, sk, value))]))
        return self.clock.wall_ms()

    async def at(self, at_ms: int, *, account: str = "acc-1") -> dict[str, bytes | None]:
        """The account as backups say it was."""
        found = await self.reader.account(str(SLOT), account, at_ms=at_ms)
        return {item.sk: item.value for item in found}

    def files_with(self, needle: bytes) -> list[str]:
        return [p.name for p in self.folder.rglob("*") if p.is_file() and needle in p.read_bytes()]


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    clock = ManualClock()
    entropy = random.Random(7).randbytes
    opening = open_store(tmp_path / "store.db", region="eu-central", clock=clock, cell="c1", disk=inline)
    async with opening as store:
        await store.set_lease(SLOT, expected=None, lease=Lease(1, "active", 0))
        yield Region(tmp_path / "backups", store, clock, entropy)


async def test_an_account_is_found_as_it_was_at_any_second(region: Region) -> None:
    """Every second of an hour's edits, against a model that is a dictionary."""
    rng = random.Random(3)
    model: dict[str, bytes | None] = {}
    history = []
    for number in range(120):
        sk, value = f"progress/p1/t{rng.randrange(6)}", None if rng.random() < 0.2 else b"%d" % number
        model[sk] = value
        history.append((await region.put(sk, value), dict(model)))
        if rng.random() < 0.3:
            await region.archiver.archive()
    await region.archiver.archive()

    for at_ms, wanted in history:
        assert await region.at(at_ms) == wanted


async def days(region: Region, count: int) -> list[int]:
    """A write, an archive and a base a day; when the writes were."""
    moments = []
    for day in range(count):
        moments.append(await region.put("a", b"day %d" % day))
        await region.archiver.archive()
        await region.archiver.rebase()
        await region.clock.advance(DAY_S)
    return moments


async def test_a_base_changes_no_answer_and_shortens_the_way(region: Region) -> None:
    moments = await days(region, 4)

    assert [(await region.at(at_ms))["a"] for at_ms in moments] == [b"day 0", b"day 1", b"day 2", b"day 3"]
    assert (await region.at(region.clock.wall_ms()))["a"] == b"day 3"
    assert region.archiver.statistics().based_ms == moments[-1]


async def test_backups_are_kept_for_35_days_and_no_longer(region: Region) -> None:
    moments = await days(region, 50)

    for day in range(16, 50):
        assert (await region.at(moments[day]))["a"] == b"day %d" % day
    with pytest.raises(Invalid, match="35 days"):
        await region.at(moments[13])
    segments = await region.blobs.keys("log/c1/")
    assert 35 <= len(segments) <= 37
    assert 36 <= len(await region.blobs.keys("base/c1/")) / 2 <= 38


async def test_a_clock_that_jumps_ahead_has_nothing_forgotten(region: Region) -> None:
    moments = await days(region, 40)
    region.clock.shift_wall(60 * DAY_S * 1000)
    await region.put("b", b"in between")
    await region.archiver.archive()
    await region.archiver.rebase()
    region.clock.shift_wall(-60 * DAY_S * 1000)

    for day in range(6, 40):
        assert (await region.at(moments[day]))["a"] == b"day %d" % day


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("ahead_s", [7_200, 9 * DAY_S])
async def test_what_is_written_while_a_clock_is_ahead_and_after_is_found_once_it_is_set_right(
    region: Region, ahead_s: int, restarted: bool
) -> None:
    await region.put("a", b"before")
    await region.archiver.once()
    region.clock.shift_wall(ahead_s * 1000)
    await region.put("b", b"meanwhile")
    await region.archiver.once()
    region.clock.shift_wall(-ahead_s * 1000)
    if restarted:
        region.archiver = region.archiver_again()

    for day in range(20):
        at_ms = await region.put(f"day-{day}", b"after")
        await region.archiver.once()
        found = await region.at(at_ms)
        assert found == {"a": b"before", "b": b"meanwhile", **{f"day-{n}": b"after" for n in range(day + 1)}}, day
        assert region.archiver.statistics().archived_ms <= region.clock.wall_ms()
        await region.clock.advance(DAY_S)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("from_the_start", [False, True])
async def test_a_base_of_a_clock_that_was_ahead_hides_nothing_when_its_time_has_come(
    region: Region, restarted: bool, from_the_start: bool
) -> None:
    """Also where the clock was set right while no archiver ran, and where it was ahead from the first start on."""
    if not from_the_start:
        await region.put("a", b"before")
        await region.archiver.once()
    region.clock.shift_wall(9 * DAY_S * 1000)
    await region.put("a", b"meanwhile")
    await region.archiver.once()
    region.clock.shift_wall(-9 * DAY_S * 1000)
    if restarted:
        region.archiver = region.archiver_again()
    await region.put("a", b"after")
    await region.archiver.once()
    await region.clock.advance(9 * DAY_S + 600)

    assert await region.at(region.clock.wall_ms()) == {"a": b"after"}


@pytest.mark.parametrize("behind_days", [10, 300])
async def test_an_archiver_that_begins_with_a_clock_behind_forgets_nothing_that_cannot_be_told_otherwise(
    region: Region, behind_days: int
) -> None:
    await region.put("b", b"once")  # only bases have it by the end
    moments = await days(region, 40)
    ends = {region.store.region: Mark(1, 1 << 30)}
    while await region.store.prune_log(SLOT, acknowledged=ends, relayed_lsn=1 << 40):
        pass
    region.clock.shift_wall(-behind_days * DAY_S * 1000)
    region.archiver = region.archiver_again()
    await region.archiver.once()
    region.clock.shift_wall(behind_days * DAY_S * 1000)

    for day in range(6, 40):
        assert await region.at(moments[day]) == {"a": b"day %d" % day, "b": b"once"}


async def test_nothing_of_an_account_can_be_read_without_the_book(region: Region) -> None:
    await region.put("progress/p1/needle", b"Ludwig Needle")
    await region.archiver.archive()
    await region.archiver.rebase()

    assert [region.files_with(n) for n in (b"needle", b"Ludwig", b"acc-1")] == [[], [], []]
    with pytest.raises(Invalid, match="backup key"):
        await ArchiveReader(region.blobs, kek=bytes(32), clock=region.clock).account(
            str(SLOT), "acc-1", at_ms=region.clock.wall_ms()
        )


@pytest.mark.parametrize("based", [False, True])
async def test_an_erased_account_is_unreadable_in_every_backup_and_its_neighbour_is_not(
    region: Region, based: bool
) -> None:
    before = await region.put("a", b"mine")
    await region.put("a", b"theirs", account="acc-2")
    await region.archiver.archive()
    if based:
        await region.archiver.rebase()
        await region.clock.advance(120)
    book = region.folder / book_key(str(SLOT), "c1")
    keys = Book.decode(book.read_bytes(), KEK, key=book_key(str(SLOT), "c1"), entropy=bytes)
    assert keys.kid_of("acc-1") is not None

    await region.put(ERASED, b"{}")
    await region.archiver.archive()

    for at_ms in (before, region.clock.wall_ms()):
        with pytest.raises(NotFound, match="erased"):
            await region.at(at_ms)
    assert await region.at(region.clock.wall_ms(), account="acc-2") == {"a": b"theirs"}
    after = Book.decode(book.read_bytes(), KEK, key=book_key(str(SLOT), "c1"), entropy=bytes)
    assert after.kid_of("acc-1") is None


async def test_an_erasure_takes_the_key_out_of_the_books_of_cells_that_had_the_slot_before(region: Region) -> None:
    await region.put("a", b"mine")
    await region.archiver.archive()
    old, new = (book_key(str(SLOT), cell) for cell in ("c0", "c1"))
    moved = Book.decode((region.folder / new).read_bytes(), KEK, key=new, entropy=bytes)
    moved._entropy = random.Random(1).randbytes
    await region.blobs.put(old, moved.encode(KEK, key=old))

    await region.put(ERASED, b"{}")
    await region.archiver.archive()

    assert Book.decode((region.folder / old).read_bytes(), KEK, key=old, entropy=bytes).kid_of("acc-1") is None


class FailingBlobs(FileBlobs):
    """Refuses the n-th write."""

    def __init__(self, folder: Path, *, nth: int) -> None:
        super().__init__(folder)
        self.left = nth

    async def put(self, *values: object, **more: object) -> object:
        self.left -= 1
        if self.left == 0:
            raise NotFound("the disk of backups is gone")
        return await super().put(*values, **more)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
async def test_a_crash_between_any_two_writes_of_the_archiver_loses_nothing_and_keeps_no_erased_key(
    region: Region, nth: int
) -> None:
    """Keys and segment of a first pass, keys and segment of an erasure; the archiver that goes on knows nothing."""
    entropy = random.Random(nth).randbytes

    def archiver(blobs: FileBlobs) -> Archiver:
        return Archiver(region.store, blobs, cell="c1", kek=KEK, clock=region.clock, entropy=entropy)

    failing = archiver(FailingBlobs(region.folder, nth=nth))
    failed = False
    for step in itertools.count():
        if step == 0:
            await region.put("a", b"mine")
            await region.put("b", b"theirs", account="acc-2")
        elif step == 1:
            await region.put(ERASED, b"{}")
        else:
            break
        try:
            await failing.archive()
        except NotFound:
            failed = True
            failing = archiver(region.blobs)
            await failing.archive()

    assert failed
    with pytest.raises(NotFound, match="erased"):
        await region.at(region.clock.wall_ms())
    assert await region.at(region.clock.wall_ms(), account="acc-2") == {"b": b"theirs"}


async def test_a_restarted_archiver_goes_on_where_it_was_and_a_new_store_begins_a_new_incarnation(
    region: Region, tmp_path: Path
) -> None:
    first = await region.put("a", b"1")
    await region.archiver.archive()
    again = Archiver(region.store, region.blobs, cell="c1", kek=KEK, clock=region.clock)
    assert await again.archive() == 0

    opening = open_store(tmp_path / "new.db", region="eu-central", clock=region.clock, cell="c1", disk=inline)
    async with opening as store:
        await store.set_lease(SLOT, expected=None, lease=Lease(2, "active", 0))
        anew = Archiver(store, region.blobs, cell="c1", kek=KEK, clock=region.clock)
        assert await anew.archive() == 0
        await region.clock.advance(1)
        await store.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc-1", "a", b"2"))]))
        assert await anew.archive() == 1

    assert await region.at(first) == {"a": b"1"}
    assert await region.at(region.clock.wall_ms()) == {"a": b"2"}


async def test_what_a_new_store_had_before_its_archiver_began_is_archived_too(region: Region, tmp_path: Path) -> None:
    """P21: it was seeded from the twin, and its log is shorter than the archive of the one before it."""
    for n in range(3):
        await region.put(f"{n}", b"old")
    await region.archiver.archive()
    await region.clock.advance(1)
    opening = open_store(tmp_path / "new.db", region="eu-central", clock=region.clock, cell="c1", disk=inline)
    async with opening as store:
        await store.set_lease(SLOT, expected=None, lease=Lease(2, "active", 0))
        for n in range(2):
            await store.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("acc-1", f"{n}", b"new"))]))

        assert await Archiver(store, region.blobs, cell="c1", kek=KEK, clock=region.clock).archive() == 2

    await region.clock.advance(1)
    assert await region.at(region.clock.wall_ms()) == {"0": b"new", "1": b"new", "2": b"old"}


async def test_ops_of_the_twin_are_archived_and_the_higher_version_is_the_past(region: Region) -> None:
    await region.put("a", b"ours")
    await region.store.apply(SLOT, [an_op(1, b"theirs", at_ms=region.clock.wall_ms() + 10)])
    assert (await region.store.vector(SLOT))["eu-west"] == Mark(1, 1)
    await region.clock.advance(1)
    await region.archiver.archive()

    assert await region.at(region.clock.wall_ms()) == {"a": b"theirs"}


async def test_a_changed_backup_is_told_and_never_restored(region: Region) -> None:
    await region.put("a", b"mine")
    await region.archiver.archive()
    key = (await region.blobs.keys("log/c1/"))[0]
    raw = bytearray((region.folder / key).read_bytes())
    raw[-40] ^= 1  # in the body of the last op, before the names of the fields that follow it
    (region.folder / key).write_bytes(raw)

    with pytest.raises(Corrupt, match="changed"):
        await region.at(region.clock.wall_ms())


async def test_the_store_is_only_read(region: Region) -> None:
    await region.put("a", b"mine")
    before = region.store.statistics()

    await region.archiver.archive()
    await region.archiver.rebase()

    after = region.store.statistics()
    assert (after.transactions, after.commits, after.last_lsn) == (
        before.transactions,
        before.commits,
        before.last_lsn,
    )
    assert await region.store.read(SLOT, ItemKey("acc-1", "a")) is not None


async def test_no_two_ops_are_sealed_with_the_same_nonce() -> None:
    book = Book(entropy=secrets.token_bytes)
    sealed = [book.seal(Op("eu/de/main/7", "eu-central", 1, seq, seq, None, None)).body[:12] for seq in range(1, 300)]

    assert len(set(sealed)) == len(sealed)
