"""A write-ahead log that somebody removed while its process was dead is missed at the next opening."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eisbach.engines.embedded.store import open_store
from eisbach.testing.manual_clock import ManualClock

CRASH = """
import asyncio, os, sys
from pathlib import Path
from eisbach.engines.embedded.store import open_store
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Lease, Transaction, Write
from eisbach.testing.manual_clock import ManualClock

async def main():
    slot = Slot.parse("eu/de/main/0")
    async with open_store(Path(sys.argv[1]), region="eu-central", clock=ManualClock()) as store:
        if not await store.leases():
            await store.set_lease(slot, expected=None, lease=Lease(1, "active", 0))
        await store.transact(Transaction(slot=slot, writes=[Write(ItemChange("a", "k", b"1"))]))
        os._exit(9)  # as after kill -9

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a store whose process was killed twice."""
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", CRASH, str(tmp_path / "s.db")], check=False).returncode == 9
    return tmp_path / "s.db"


async def lost(path: Path) -> str:
    async with open_store(path, region="eu-central", clock=ManualClock()) as store:
        return store.beside.lost


async def test_after_a_kill_and_after_an_end_in_good_order_nothing_is_missed(path: Path) -> None:
    assert path.with_name("s.db-wal").exists()
    assert [await lost(path) for _ in range(2)] == ["", ""]
    assert not path.with_name("s.db-wal").exists()


async def test_of_a_new_file_nothing_is_missed(tmp_path: Path) -> None:
    assert await lost(tmp_path / "new.db") == ""


def remove(path: Path) -> None:
    path.unlink()


def put_a_copy(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("s.db-wal", remove, r"is not the write-ahead log that .*s\.db was opened with last"),
        ("s.db-wal", put_a_copy, "is not the write-ahead log"),
        ("s.db-opened", remove, r"nothing beside .*s\.db says which write-ahead log"),
    ],
)
async def test_a_log_that_is_not_the_one_is_told_until_the_store_is_proved(
    path: Path, name: str, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(path.with_name(name))

    assert re.search(told, await lost(path))
    assert re.search(told, await lost(path)), "a process that was killed before it had its answers is no proof"
    async with open_store(path, region="eu-central", clock=ManualClock()) as store:
        await store.stays_at("here")
    assert await lost(path) == ""
