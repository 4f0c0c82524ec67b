"""A cell whose disk refuses while it runs says so, since when, and again when it takes writes: by itself."""

import asyncio
import random
import resource
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest
from kit import GROUPS, OWNERS, document, make_secrets, until
from test_process import prepared, sign_in, started

from eisbach.bootstrap.cell import open_cell
from eisbach.bootstrap.cell_tending import tend
from eisbach.bootstrap.followers import Followers
from eisbach.bootstrap.host import system_host
from eisbach.cell.ownership import Ownership, slots_in
from eisbach.cell.write_trial import Counts, WriteTrial, trial_of
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import EisbachError, OutcomeUnknown, Overloaded, Unavailable
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Transaction, Write
from eisbach.testing.asgi_client import AsgiClient
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.world.disks import VFS_NAME, Volume, Volumes

SLOT = f"eu/de/main/{OWNERS['c1']['eu/de/main'][0]}"
HALF_A_SECOND, NINE_SECONDS = 0.5, 9.0


class Host(NamedTuple):
    store: SqliteStore
    trial: WriteTrial
    clock: ManualClock
    volume: Volume

    async def look(self, after: float = HALF_A_SECOND) -> None:
        await self.clock.advance(after)
        await self.trial.look()

    async def write(self) -> bool:
        try:
            change = ItemChange("a", f"k{random.random()}", b"1")
            await self.store.transact(Transaction(slot=Slot.parse(SLOT), writes=[Write(change)]))
        except EisbachError:
            return False
        return True


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """A cell's store on a simulated disk."""
    volumes = Volumes()
    volume, clock = volumes.make({}), ManualClock()
    path = Path(volume.folder) / "store.db"
    async with open_store(path, region="eu-central", clock=clock, cell="c1", disk=inline, vfs=VFS_NAME) as store:
        ownership = Ownership(store, cell="c1", groups=GROUPS, owners=OWNERS)
        await ownership.open(slots_in(OWNERS["c1"]))
        trial = trial_of(store, clock=clock, disk="the disk of /cells/c1")
        await trial.look()
        yield Host(store, trial, clock, volume)
        volume.full = False
    volumes.close()


async def test_a_refused_write_is_told_at_the_next_look_with_since_when_and_what_to_do(host: Host) -> None:
    host.volume.full = True
    assert not await host.write()
    await host.look()
    first = host.clock.wall_ms()
    for _ in range(6):
        await host.look()

    assert host.trial.refusal is not None
    assert host.trial.refusal.since_ms == first
    assert "FullError" in host.trial.refusal.why
    assert host.trial.refusal.why.endswith("; free space on the disk of /cells/c1, or mend it")


async def test_it_is_told_whether_it_is_known_what_became_of_a_refused_write(host: Host) -> None:
    """Then no door sends it on to the other region."""
    host.volume.full = True
    await host.write()
    await host.look()
    assert host.trial.refusal is not None
    assert not host.trial.refusal.unknown

    async def fails() -> None:
        raise OutcomeUnknown("the disk failed in a commit")

    failing = WriteTrial(fails, lambda: Counts(0, 0), clock=host.clock, cure="mend it")
    await failing.refuses()

    assert failing.refusal is not None
    assert failing.refusal.unknown


async def test_it_ends_within_two_seconds_of_the_disk_taking_writes_though_no_viewer_writes(host: Host) -> None:
    host.volume.full = True
    await host.write()
    await host.look()
    assert host.trial.refusal is not None
    host.volume.full = False

    for _ in range(4):
        await host.look()

    assert host.trial.refusal is None


async def test_a_cell_that_nobody_writes_to_finds_out_by_itself_that_its_disk_is_full(host: Host) -> None:
    host.volume.full = True

    await host.look(NINE_SECONDS)
    assert host.trial.refusal is None
    await host.look(NINE_SECONDS)

    assert host.trial.refusal is not None


async def test_while_viewers_write_a_cell_tries_nothing_of_its_own(host: Host) -> None:
    before = host.store.statistics().commits
    for _ in range(10):
        assert await host.write()
        await host.look(NINE_SECONDS)

    assert host.store.statistics().commits == before + 10


async def test_a_refusal_that_is_not_the_disks_makes_no_try(host: Host) -> None:
    await host.write()
    await host.look()
    before = host.store.statistics().commits
    gone = Transaction(slot=Slot.parse("eu/de/main/7"), writes=[Write(ItemChange("a", "k", b"1"))])
    with pytest.raises(EisbachError):
        await host.store.transact(gone)

    await host.look()

    assert host.store.statistics().commits == before


@pytest.mark.parametrize(
    ("tables", "unproved", "tries"),
    [("", "", 2), ("dynamodb:eisbach", "", 0), ("", "it may be an older copy", 0)],
    ids=["a file", "DynamoDB, which bills a write", "a store that may be an older copy"],
)
async def test_an_idle_store_is_tried_every_ten_seconds_where_it_is_a_file_that_may_be_written_to(
    host: Host, tables: str, unproved: str, tries: int, tmp_path: Path
) -> None:
    process = msgspec.structs.replace(document(tmp_path), store=tables)
    parts: Any = SimpleNamespace(process=process, clock=host.clock, followers=Followers(host.clock))
    host.store.unproved = unproved
    before = host.store.statistics().commits
    tend(parts, host.store, cell="c1")
    await host.clock.advance(21)
    await parts.followers.aclose()

    assert host.store.statistics().commits - before == tries


async def test_who_waits_for_a_slow_try_makes_none_of_his_own() -> None:
    """A region asks of every slot at once: eight made eight tries, one after the other, of a disk that takes long."""
    clock, tries = ManualClock(), 0

    async def slow() -> None:
        nonlocal tries
        tries += 1
        await clock.sleep(3)

    trial = WriteTrial(slow, lambda: Counts(0, 0), clock=clock, cure="mend it")
    asking = asyncio.gather(*(trial.refuses() for _ in range(8)))
    while not asking.done():
        await clock.advance(1)

    assert tries == 1


async def test_a_refusal_stands_while_so_much_waits_for_the_disk_that_no_try_gets_to_it() -> None:
    clock, answers = ManualClock(), [Unavailable("full"), Overloaded("256 writes wait"), None]

    async def write() -> None:
        if answer := answers.pop(0):
            raise answer

    trial = WriteTrial(write, lambda: Counts(0, 0), clock=clock, cure="mend it")
    said = []
    while answers:
        said.append(await trial.refuses())
        await clock.advance(1)

    full = "a write was tried and refused: full; mend it"
    assert said == [full, full, ""]


async def test_who_is_refused_right_after_a_try_has_passed_is_not_forgotten(host: Host) -> None:
    """The disk was full between the try and the moment at which the cell heard how it ended."""

    async def write_that_is_followed_by_a_refused_one() -> None:
        host.volume.full = True
        assert not await host.write()

    told = host.store.statistics
    trial = WriteTrial(
        write_that_is_followed_by_a_refused_one, lambda: Counts(told().commits, told().unwritten), clock=host.clock,
        cure="mend it",
    )  # fmt: skip
    await trial.refuses()
    tried = host.store.statistics().unwritten

    await host.clock.advance(1)
    await trial.look()

    assert host.store.statistics().unwritten > tried


async def test_a_cell_whose_disk_is_full_is_not_ready_and_its_status_has_why_until_there_is_room(
    tmp_path: Path,
) -> None:
    """Also one that nobody but this test's clock waits for: the trial is one of the cell's own followers."""
    volumes = Volumes()
    volume = volumes.make({})
    process = msgspec.structs.replace(document(tmp_path, backups=""), folder=volume.folder)
    on_it = replace(system_host(), vfs=VFS_NAME)
    async with open_cell(process, make_secrets()["eu-central"], host=on_it) as cell:
        asker = AsgiClient(cell.app)
        change = Write(ItemChange("a", "k", b"1"))
        assert cell.status()["refuses"] == {}
        volume.full = True
        with pytest.raises(EisbachError):
            await cell.store.transact(Transaction(slot=Slot.parse(SLOT), writes=[change]))

        await until(lambda: cell.status()["refuses"])
        ready = await asker.send("GET", "/readyz")

        assert ready.status == 503
        assert "writes are stopped: a write was tried and refused" in str(ready.json()["missing"])
        assert f"free space on the disk of {volume.folder}" in cell.status()["refuses"]["why"]
        volume.full = False
        await until(lambda: not cell.status()["refuses"])
        assert (await asker.send("GET", "/readyz")).status == 200
    volumes.close()


@pytest.mark.processes
@pytest.mark.timeout(90)
async def test_a_running_cell_whose_files_may_not_grow_says_so_until_they_may_and_knows_what_its_callers_hear(
    tmp_path: Path,
) -> None:
    """The kernel refuses by RLIMIT_FSIZE; nobody writes when it ends."""
    process, path = await prepared(tmp_path, port=8127)
    base, free = f"http://{process.host}:{process.port}", resource.RLIM_INFINITY
    service = {"Authorization": "Bearer operator"}

    async def got(path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        async with session.get(f"{base}{path}", headers=headers) as answer:
            return answer.status, await answer.json()

    async with started(path, process) as child, aiohttp.ClientSession() as session, asyncio.timeout(60):
        headers = await sign_in(session, base, 0)
        body = {"pos_s": 1, "dur_s": 9}
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (1, free))
        async with session.put(f"{base}/v1/me/progress/tears", json=body, headers=headers) as refused:
            heard = (refused.status, refused.headers["Eisbach-Code"])
        while not (told := (await got("/status", **service))[1]["refuses"]):
            await asyncio.sleep(0.05)
        not_ready, said = await got("/readyz")
        read, _ = await got("/v1/me/rails", **headers)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (free, free))
        while (await got("/status", **service))[1]["refuses"]:
            await asyncio.sleep(0.05)
        ready, _ = await got("/readyz")

    assert heard == (503, "outcome_unknown" if told["unknown"] else "unavailable")
    assert "mend it" in told["why"]
    assert told["why"] in said["missing"][0]
    assert (not_ready, read, ready) == (503, 200, 200)
