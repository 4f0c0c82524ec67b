"""The SQLite store keeps the promises of its port, survives kill -9, and opens files of earlier formats."""

import asyncio
import random
import signal
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.engines.embedded.merge import ItemRow, judge
from eisbach.engines.embedded.schema import FORMAT, MIGRATIONS
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import Invalid, Overloaded, Unavailable
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.versions import Version
from eisbach.ports.clock import Clock
from eisbach.ports.store import ItemKey, Lease
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_promises import SLOT, StorePromises, owned, put, value


def opened(folder: Path, region: str, clock: Clock) -> AbstractAsyncContextManager[SqliteStore]:
    return open_store(folder / "store.db", region=region, clock=clock, cell="c1")


class TestSqliteStore(StorePromises):
    open_store = staticmethod(opened)


WRITER = """
import asyncio, sys
from pathlib import Path
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.store import open_store
from eisbach.testing.store_promises import SLOT, put
from eisbach.ports.store import Lease

async def main():
    async with open_store(Path(sys.argv[1]), region="a", clock=SystemClock(), cell="c1") as store:
        if await store.lease(SLOT) is None:
            await store.set_lease(SLOT, expected=None, lease=Lease(1, "active", 0))
        async def one(prefix, n):
            await put(store, f"{prefix}-{n}")
            print(f"{prefix}-{n}", flush=True)
        for n in range(100_000):
            await asyncio.gather(*[one(f"{sys.argv[2]}-{lane}", n) for lane in range(8)])
asyncio.run(main())
"""


@pytest.mark.processes
async def test_no_acknowledged_write_is_lost_by_kill_9_at_any_point(tmp_path: Path) -> None:
    seed = 20261124
    chance = random.Random(seed)
    acknowledged: set[str] = set()
    for round_number in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "store.db"), str(round_number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        for _ in range(chance.randint(1, 600)):
            acknowledged.add(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        acknowledged |= {
            line
            for line in process.stdout.read().splitlines(keepends=True)
            if line.endswith("\n")
            for line in [line.strip()]
        }
        process.wait(10)
        process.stdout.close()

    async with opened(tmp_path, "a", ManualClock()) as store:
        lost = {sk for sk in acknowledged if await store.read(SLOT, ItemKey("acc", sk)) is None}
        seqs = [e.op.seq for e in await store.log_after(0, limit=1_000_000)]

    assert lost == set(), f"seed {seed}"
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_file_of_the_first_format_opens_with_everything_in_it(tmp_path: Path) -> None:
    old = apsw.Connection(str(tmp_path / "store.db"))
    old.execute(MIGRATIONS[0])
    old.execute("PRAGMA user_version = 1")
    old.execute("INSERT INTO slots VALUES(1, 'eu/de/main/17')")
    old.execute("INSERT INTO leases VALUES(1, 3, 'active', 5, 0, NULL)")
    old.execute("INSERT INTO vectors VALUES(1, 'a', 3, 5)")
    old.execute("INSERT INTO items VALUES(1, 'acc', 'k', x'6f6c64', 99, 'a', 5)")
    old.close()

    async with opened(tmp_path, "a", ManualClock()) as store:
        assert await value(store, "k") == b"old"
        assert await store.lease(SLOT) == Lease(3, "active", 5)
        assert (await put(store, "k2")).seq == 6


async def test_a_file_of_a_newer_format_is_refused_untouched(tmp_path: Path) -> None:
    newer = apsw.Connection(str(tmp_path / "store.db"))
    newer.execute(f"PRAGMA user_version = {FORMAT + 1}")
    newer.close()

    with pytest.raises(Invalid, match=f"format {FORMAT + 1}"):
        await opened(tmp_path, "a", ManualClock()).__aenter__()


async def test_a_store_never_changes_its_region(tmp_path: Path) -> None:
    async with opened(tmp_path, "a", ManualClock()):
        pass

    with pytest.raises(Invalid, match="belongs to region 'a'"):
        await opened(tmp_path, "b", ManualClock()).__aenter__()


async def test_a_full_disk_refuses_the_write_and_the_store_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with opened(tmp_path, "a", ManualClock()) as store:
        await put(await owned(store), "before")
        pages = store._writer.database.pragma("page_count")
        store._writer.database.pragma("max_page_count", pages)
        with pytest.raises(Unavailable, match="nothing was written"):
            for number in range(200):
                await put(store, f"big{number}", b"x" * 60_000)
        seq = (await store.vector(SLOT))["a"].seq
        store._writer.database.pragma("max_page_count", 1_000_000)

        assert (await put(store, "after")).seq == seq + 1
        assert await value(store, "before") == b"1"


async def test_more_waiting_writes_than_the_queue_holds_are_refused_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, "a", ManualClock()) as store:
        await owned(store)
        results = await asyncio.gather(*[put(store, f"k{n}") for n in range(1200)], return_exceptions=True)

        assert sum(isinstance(r, Overloaded) for r in results) == 200
        assert len(await store.log_after(0, limit=2000)) == 1000


versions = st.builds(Version, hlc=st.integers(1, 5), origin=st.sampled_from("ab"), seq=st.integers(1, 3))


@given(st.lists(versions, min_size=1, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_merge_ends_at_the_same_item_in_any_order_and_with_repeats(found: list[Version], chance: random.Random) -> None:
    def after(order: list[Version]) -> ItemRow | None:
        row: ItemRow | None = None
        for version in order:
            change = ItemChange("p", "s", repr(version).encode())
            if judge(row, change, version).wins:
                row = ItemRow(change.value, version, (0, ""))
        return row

    shuffled = [*found, *chance.choices(found, k=3)]
    chance.shuffle(shuffled)

    assert after(shuffled) == after(found)
