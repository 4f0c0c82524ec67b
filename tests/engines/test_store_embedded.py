"""The embedded store keeps the promises of its port, and a few of its own: bounded queue, one writer, full disk."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest
from sqlite_stores import Stores

from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore
from eisbach.kernel.errors import OutcomeUnknown, Overloaded, Unavailable
from eisbach.ports.store import Lease, Transaction
from eisbach.testing.store_host import OTHER, SLOT, THERE, exchange, owned, put, value, write
from eisbach.testing.store_promises import StorePromises
from eisbach.testing.world.loop import SimLoop

T = TypeVar("T")


class TestSqliteStore(StorePromises):
    """All of them, with the writer in a thread of its own and inside the event loop."""

    @pytest.fixture(params=["thread", "inline"])
    async def host(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
        stores = Stores(tmp_path, disk=inline if request.param == "inline" else None)
        yield stores
        await stores.aclose()

    async def test_a_loser_is_kept_for_fourteen_days_and_then_swept(self, host: Stores) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(here, put(value=b"here"))
        await host.clock.advance(0.01)
        await write(there, put(value=b"there"))
        await exchange(here, there)
        kept = []
        for days in (13.9, 0.2):
            await host.clock.advance(days * 86_400)
            for _ in range(64):  # losers are swept once in so many commits
                await write(here, put("x"))
            kept.append(len(await here.conflicts()))

        assert kept == [1, 0]


class SlowDisk:
    """Holds work back until the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, work: Callable[[], T]) -> T:
        await self.gate.wait()
        return work()


class NoTemporaryFiles(apsw.VFS):
    """Of a process that may write in its folder only."""

    def __init__(self) -> None:
        super().__init__("no-temporary-files", "unix")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        if name is None:
            raise apsw.CantOpenError("no file beside the store's own")
        return super().xOpen(name, flags)


@pytest.fixture
def slow() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
async def slow_stores(tmp_path: Path, slow: SlowDisk) -> AsyncIterator[Stores]:
    stores = Stores(tmp_path, disk=slow)
    yield stores
    await stores.aclose()


async def test_more_waiting_writes_than_the_queue_holds_are_refused_at_once(stores: Stores) -> None:
    store = await owned(stores)

    results = await asyncio.gather(*(write(store, put(f"k{n}")) for n in range(1200)), return_exceptions=True)

    assert [isinstance(r, Overloaded) for r in results] == [False] * 1000 + [True] * 200
    assert len(await store.log_after(0, limit=2000)) == 1000


async def test_a_write_that_waited_over_50_ms_is_refused_and_an_apply_or_lease_is_not(
    slow_stores: Stores, slow: SlowDisk
) -> None:
    store = await owned(slow_stores)
    slow.gate.clear()
    first = asyncio.create_task(write(store, put("first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = asyncio.create_task(write(store, put("late")))
    lease = asyncio.create_task(store.set_lease(OTHER, expected=None, lease=Lease(1, "active", 0)))
    await slow_stores.clock.advance(0.051)
    slow.gate.set()

    results = await asyncio.gather(first, late, lease, return_exceptions=True)

    assert [type(r).__name__ for r in results] == ["Receipt", "Overloaded", "NoneType"]
    assert [await value(store, "first"), await value(store, "late")] == [b"1", None]


async def test_callers_who_wait_together_share_one_commit(slow_stores: Stores, slow: SlowDisk) -> None:
    store = await owned(slow_stores)
    before = store.statistics().commits

    await asyncio.gather(*(write(store, put(f"{n}")) for n in range(300)))

    assert store.statistics().commits - before == 2  # 256 and 44


def test_callers_who_were_answered_together_are_waited_for_and_share_the_next_commit(tmp_path: Path) -> None:
    async def disk(work: Callable[[], T]) -> T:
        await asyncio.sleep(0.005)
        return work()

    async def caller(store: SqliteStore, number: int) -> None:
        await asyncio.sleep(0 if number < 8 else 0.002)  # two halves, the second while the first is committed
        for turn in range(10):
            await write(store, put(f"k{number}-{turn}"))
            await asyncio.sleep(0.0001 * number)

    async def commits() -> int:
        stores = Stores(tmp_path, disk=disk)
        store = await owned(stores)
        before = store.statistics().commits
        await asyncio.gather(*(caller(store, number) for number in range(16)))
        await stores.aclose()
        return store.statistics().commits - before

    loop = SimLoop("company")
    try:
        assert loop.run_until_complete(commits()) <= 12  # 19 or 20 when nobody is waited for
    finally:
        loop.close()


async def test_many_rows_at_once_need_no_temporary_file_which_a_confined_cell_could_not_make(tmp_path: Path) -> None:
    vfs = NoTemporaryFiles()
    stores = Stores(tmp_path, vfs="no-temporary-files")
    store = await owned(stores)

    for turn in range(8):  # between each other, so that pages are full and split: a statement touches dozens
        await asyncio.gather(*(write(store, put(f"k{n * 37 % 64:02d}-{turn}", b"x" * 900)) for n in range(64)))

    assert await value(store, "k63-7") == b"x" * 900
    await stores.aclose()
    vfs.unregister()


async def test_a_cancelled_caller_does_not_cancel_the_write(slow_stores: Stores, slow: SlowDisk) -> None:
    store = await owned(slow_stores)
    slow.gate.clear()
    caller = asyncio.create_task(write(store, put()))
    await asyncio.sleep(0)
    caller.cancel()
    slow.gate.set()

    await write(store, put("b"))

    assert await value(store, "a") == b"1"


async def test_what_is_queued_is_written_before_the_store_closes(slow_stores: Stores, slow: SlowDisk) -> None:
    store = await owned(slow_stores)
    slow.gate.clear()
    caller = asyncio.create_task(write(store, put(value=b"last")))
    await asyncio.sleep(0)
    closing = asyncio.create_task(slow_stores.close())
    await asyncio.sleep(0)
    slow.gate.set()
    await asyncio.gather(caller, closing)

    with pytest.raises(Unavailable, match="closed"):
        await write(store, put())

    assert await value(await slow_stores.open()) == b"last"


async def test_closing_wakes_whoever_waits_for_a_commit(stores: Stores) -> None:
    store = await owned(stores)
    waiting = asyncio.create_task(store.wait_for_commit(0))
    await asyncio.sleep(0)

    await stores.close()

    with pytest.raises(Unavailable):
        await waiting


async def test_whoever_opened_the_file_last_is_its_one_writer(stores: Stores, tmp_path: Path) -> None:
    """A process that slept through its own replacement finds out at its next write."""
    old = await owned(stores)
    await write(old, put(value=b"old"))
    replacement = Stores(tmp_path)
    new = await replacement.open()
    await write(new, put(value=b"new"))

    with pytest.raises(Unavailable, match="opened by another process"):
        await write(old, put(value=b"zombie"))

    assert await value(old) == b"new"
    assert (await write(new, put("b"))).mark.seq == 3
    await replacement.aclose()


@pytest.mark.parametrize("how", ["store removed", "log removed", "folder moved away", "another in its place"])
async def test_nothing_is_acknowledged_into_a_file_that_has_lost_its_name(
    stores: Stores, tmp_path: Path, how: str
) -> None:
    """An open file takes commits until the process ends, and nobody will ever look for them."""
    store = await owned(stores)
    await write(store, put(value=b"kept"))
    assert await store.not_ours() == ""
    path = stores.path()
    if how == "store removed":
        path.unlink()
    elif how == "log removed":
        Path(f"{path}-wal").unlink()
    elif how == "folder moved away":
        tmp_path.rename(tmp_path.with_name("elsewhere"))
    else:
        shutil.copy(path, tmp_path / "other")
        (tmp_path / "other").rename(path)
    await stores.clock.advance(0.01)

    with pytest.raises(OutcomeUnknown, match="was removed or replaced"):
        await write(store, put(value=b"ghost"))
    with pytest.raises(Unavailable, match=r"was removed or replaced .* nothing was written"):
        await write(store, put("b"))
    assert "this process writes no more" in await store.not_ours()


async def test_a_bug_in_one_work_is_told_to_its_caller_and_spares_its_neighbours(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await owned(stores)
    monkeypatch.setattr("eisbach.engines.embedded.store.check_transaction", lambda _: None)
    bad = Transaction(slot=SLOT, writes=[put(value="not bytes")])  # type: ignore[arg-type]  # as if a check were missing

    results = await asyncio.gather(
        write(store, put("a")), store.transact(bad), write(store, put("b")), return_exceptions=True
    )

    assert [type(r).__name__ for r in results] == ["Receipt", "ConstraintError", "Receipt"]
    assert [op.seq for op in (await store.ops_after(SLOT, {}, limit=9)).ops] == [1, 2]


async def test_a_full_disk_refuses_the_write_and_the_store_goes_on_when_there_is_room(stores: Stores) -> None:
    store = await owned(stores)
    await write(store, put("before"))
    database = store._writer.database
    database.pragma("max_page_count", database.pragma("page_count"))
    with pytest.raises(Unavailable, match="nothing was written"):
        for number in range(200):
            await write(store, put(f"big{number}", b"x" * 60_000))
    seq = (await store.vector(SLOT))["eu-central"].seq
    database.pragma("max_page_count", 1_000_000)

    receipt = await write(store, put("after"))

    assert receipt.mark.seq == seq + 1
    assert [await value(store, "before"), await value(store, "after")] == [b"1", b"1"]
