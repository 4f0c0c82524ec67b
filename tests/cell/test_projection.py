"""The projection of a cell over a real event log and its real file: restarts, a deleted file, a poison document."""

import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from eisbach.cell.projection import Projection
from eisbach.domain.catalog import Title
from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.projection_store import SqliteProjectionStore
from eisbach.kernel.events import Event
from eisbach.ports.event_log import Envelope
from eisbach.testing.event_log_promises import an_event
from eisbach.testing.manual_clock import ManualClock

SOURCE = "eu-central/studio"


def upserted(seq: int, identity: str, *, data: bytes | None = None) -> Event:
    title = Title(id=identity, revision=1, names={"en": identity})
    return an_event(seq, type_="tv.catalog.title.upserted.v1", data=data or msgspec.json.encode(title))


async def tell(log: SqliteEventLog, event: Event) -> None:
    last = await log.last(SOURCE)
    await log.append(
        Envelope(source=SOURCE, first_lsn=event.seq, last_lsn=event.seq, events=[event]), expected=last.sequence
    )


@asynccontextmanager
async def projection(log: SqliteEventLog, path: Path) -> AsyncIterator[Projection]:
    store = SqliteProjectionStore(path)
    found = Projection(store, log, name="projection-c1", clock=ManualClock(), rng=random.Random(1))
    await found.open()
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await store.aclose()


async def has(found: Projection, *titles: str) -> None:
    async with asyncio.timeout(5):
        while set(found.snapshot().titles) != set(titles):
            await asyncio.sleep(0)


async def test_a_restart_knows_what_was_kept_and_goes_on_behind_it(tmp_path: Path) -> None:
    log = await SqliteEventLog(tmp_path / "hub.db", clock=ManualClock()).open()
    await tell(log, upserted(1, "one"))
    async with projection(log, tmp_path / "projection.db") as first:
        await has(first, "one")
    await tell(log, upserted(2, "two"))

    async with projection(log, tmp_path / "projection.db") as second:
        assert set(second.snapshot().titles) == {"one"}
        await has(second, "one", "two")
        assert second.statistics().events == 1
    await log.aclose()


async def test_a_deleted_file_is_filled_again_from_the_hub(tmp_path: Path) -> None:
    log = await SqliteEventLog(tmp_path / "hub.db", clock=ManualClock()).open()
    await tell(log, upserted(1, "one"))
    await tell(log, upserted(2, "two"))
    async with projection(log, tmp_path / "projection.db") as first:
        await has(first, "one", "two")
    for file in tmp_path.glob("projection.db*"):
        file.unlink()

    async with projection(log, tmp_path / "projection.db") as second:
        await has(second, "one", "two")
    await log.aclose()


KILLED = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_projection as told

async def main():
    folder = Path(sys.argv[1])
    log = await told.SqliteEventLog(folder / "hub.db", clock=told.ManualClock()).open()
    await told.tell(log, told.upserted(2, "two"))
    async with told.projection(log, folder / "projection.db") as found:
        await told.has(found, "one", "two")
        while (await log.state())["projection-c1"].backlog:
            await asyncio.sleep(0)
        await log.aclose()
        os._exit(9)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["its write-ahead log is removed", "an older copy is put in its place"])
async def test_what_a_killed_cell_kept_last_is_told_again_when_only_the_hub_still_has_it(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "projection.db"
    log = await SqliteEventLog(tmp_path / "hub.db", clock=ManualClock()).open()
    await tell(log, upserted(1, "one"))
    async with projection(log, path) as first:
        await has(first, "one")
    await log.aclose()
    shutil.copy2(path, tmp_path / "copy")
    run = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
    assert subprocess.run(run, check=False).returncode == 9
    if how.startswith("an older copy"):
        await SqliteProjectionStore(path).aclose()
        (tmp_path / "copy").replace(path)
    else:
        path.with_name("projection.db-wal").unlink()

    log = await SqliteEventLog(tmp_path / "hub.db", clock=ManualClock()).open()
    async with projection(log, path) as second:
        assert set(second.snapshot().titles) == {"one"}
        await has(second, "one", "two")
    await tell(log, upserted(3, "three"))
    async with projection(log, path) as third:
        await has(third, "one", "two", "three")
        assert third.statistics().events == 1, "what was told anew is told once"
    await log.aclose()


async def test_a_poison_document_is_counted_and_the_next_one_is_shown(tmp_path: Path) -> None:
    log = await SqliteEventLog(tmp_path / "hub.db", clock=ManualClock()).open()
    await tell(log, upserted(1, "bad", data=b'{"id": 7}'))
    await tell(log, upserted(2, "good"))

    async with projection(log, tmp_path / "projection.db") as found:
        await has(found, "good")
        assert found.statistics().poison == 1
    await log.aclose()
