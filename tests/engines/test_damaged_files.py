"""A damaged projection or spoke store is told with its path, what was found and what to do; it is left as it is."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from sqlite_stores import Stores

from eisbach.bootstrap.followers import Followers
from eisbach.cell.projection import Projection
from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.projection_store import SqliteProjectionStore
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.engines.embedded.store import SqliteStore
from eisbach.hub.authoring import Effects
from eisbach.hub.host import SpokeHost
from eisbach.hub.runner import Surroundings
from eisbach.kernel.errors import FileDamaged
from eisbach.kernel.events import Event
from eisbach.ports.event_log import Envelope
from eisbach.ports.projection_store import Kept
from eisbach.ports.spoke import SpokeSpec
from eisbach.ports.spoke_store import InboxKey, InboxMark, Settlement
from eisbach.testing.event_log_promises import an_event
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_host import SLOT, items, owned, put, write

PAGE = 4096
CHAIN = InboxKey("any/all/studio/3", "eu-central", 2, "tv.catalog.title.published.v1")
TITLE = Kept("title", "t-1", (1, 1, "eu-central", 1), b'{"id":"t-1","revision":1,"names":{"en":"one"}}')
SETTLED = Settlement(spoke="publish", event_id="e1", subject="t-1", mark=InboxMark(CHAIN, 4, None), state={"k": b"v"})


def overwrite(path: Path, *, first: int) -> None:
    """From page ``first`` on; a schema that is whole makes it a damage that is found after the opening only."""
    content = path.read_bytes()
    damaged = content[: first * PAGE] + b"\xff" * (len(content) - first * PAGE)
    path.write_bytes(damaged)


async def a_projection(folder: Path) -> Path:
    path = folder / "projection.db"
    store = SqliteProjectionStore(path)
    await store.keep([TITLE])
    await store.aclose()
    return path


async def a_spoke_store(folder: Path) -> Path:
    path = folder / "spokes.db"
    store = await SqliteSpokeStore(path).open()
    await store.settle(SETTLED)
    await store.aclose()
    return path


def says(error: BaseException, path: Path, to_do: str) -> None:
    told = str(error)
    assert str(path) in told, "which file"
    assert "damaged (" in told, "what was found"
    assert to_do in told, "what to do"
    assert len(told) - len(str(path)) < 330, "the supervisor shows 500 characters"


async def test_a_projection_that_is_no_database_says_what_to_do_and_is_left_as_it_is(tmp_path: Path) -> None:
    path = await a_projection(tmp_path)
    overwrite(path, first=0)
    before = path.read_bytes()

    with pytest.raises(FileDamaged) as refused:
        SqliteProjectionStore(path)

    says(refused.value, path, "put another cell's projection.db in its place")
    assert path.read_bytes() == before


async def test_a_damage_inside_of_a_projection_is_told_by_the_read_or_write_that_meets_it(tmp_path: Path) -> None:
    path = await a_projection(tmp_path)
    overwrite(path, first=1)
    store = SqliteProjectionStore(path)

    with pytest.raises(FileDamaged) as reading:
        await store.load()
    with pytest.raises(FileDamaged) as writing:
        await store.keep([TITLE])

    for error in (reading.value, writing.value):
        says(error, path, "put another cell's projection.db in its place")
    await store.aclose()


async def test_a_document_that_cannot_be_read_is_a_damaged_projection_too(tmp_path: Path) -> None:
    store = SqliteProjectionStore(tmp_path / "projection.db")
    await store.keep([TITLE._replace(body=b"\xff\xfe")])
    log = await SqliteEventLog(tmp_path / "hub.db", clock=ManualClock()).open()
    projection = Projection(store, log, name="projection-c1", clock=ManualClock(), rng=random.Random(1))

    with pytest.raises(FileDamaged, match=r"title 't-1'.*put another cell's projection\.db"):
        await projection.open()

    await store.aclose()
    await log.aclose()


async def test_a_cell_that_meets_the_damage_while_it_follows_the_hub_is_told_to_end_with_its_sentence(
    tmp_path: Path,
) -> None:
    log = await SqliteEventLog(tmp_path / "hub.db", clock=ManualClock()).open()
    event = an_event(1, type_="tv.catalog.title.upserted.v1", data=b'{"id":"t-2","revision":1,"names":{"en":"two"}}')
    await log.append(Envelope(source="eu-central/studio", first_lsn=1, last_lsn=1, events=[event]), expected=0)
    path = await a_projection(tmp_path)
    overwrite(path, first=1)
    store = SqliteProjectionStore(path)
    followers = Followers(ManualClock())
    projection = Projection(store, log, name="projection-c1", clock=ManualClock(), rng=random.Random(1))
    followers.start("projection", projection.run)

    async with asyncio.timeout(5):
        while not followers.damage:
            await asyncio.sleep(0)

    says(FileDamaged(followers.damage), path, "put another cell's projection.db in its place")
    assert followers.restarts == {}, "it would only say so again"
    await followers.aclose()
    await store.aclose()
    await log.aclose()


async def test_a_spoke_store_that_is_no_database_says_what_to_do_and_is_left_as_it_is(tmp_path: Path) -> None:
    path = await a_spoke_store(tmp_path)
    overwrite(path, first=0)
    before = path.read_bytes()

    with pytest.raises(FileDamaged) as refused:
        await SqliteSpokeStore(path).open()

    says(refused.value, path, "loses retries, dead letters, unsent commands and spokes' state")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.inbox("publish"),
        lambda store: store.get("publish", "k"),
        lambda store: store.settle(SETTLED),
        lambda store: store.counts(),
    ],
    ids=["inbox", "get", "settle", "counts"],
)
async def test_a_damage_inside_of_a_spoke_store_is_told_by_every_call_after_the_one_that_meets_it(
    tmp_path: Path, call: Callable[[SqliteSpokeStore], Awaitable[Any]]
) -> None:
    path = await a_spoke_store(tmp_path)
    overwrite(path, first=1)
    store = await SqliteSpokeStore(path).open()

    async with asyncio.timeout(5):  # a settlement was never answered
        with pytest.raises(FileDamaged) as first:
            await call(store)
        with pytest.raises(FileDamaged) as later:
            await store.held("publish")

    says(first.value, path, "loses retries")
    assert str(later.value) == str(first.value), "and the file is touched no more"
    await store.aclose()


async def test_a_spoke_host_ends_when_its_store_is_damaged_and_no_event_loses_an_attempt_by_it(tmp_path: Path) -> None:
    clock, handled = ManualClock(), []

    async def handler(event: Event, effects: Effects) -> None:
        handled.append(event.id)
        await effects.get("k")

    path = await a_spoke_store(tmp_path)
    store = await SqliteSpokeStore(path).open()
    log = await SqliteEventLog(tmp_path / "hub.db", clock=clock).open()
    around = Surroundings(region="eu-central", log=log, store=store, clock=clock, rng=random.Random(1))
    spec = SpokeSpec(name="publish", types=frozenset({"tv.catalog.title.upserted.v1"}), handler=handler)
    host = SpokeHost([spec], around, transport=NoTransport())
    running = asyncio.create_task(host.run())
    for _ in range(100):
        await asyncio.sleep(0)
    store._damage = "read state: the file is damaged"  # what a read of a damaged page leaves behind
    event = an_event(1, type_="tv.catalog.title.upserted.v1")
    await log.append(Envelope(source="eu-central/studio", first_lsn=1, last_lsn=1, events=[event]), expected=0)

    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(5):
            await running

    assert all(isinstance(error, FileDamaged) for error in ended.value.exceptions)
    assert handled == [event.id]
    assert host.statistics()["spokes"]["publish"]["failures"] == 0
    await store.aclose()
    await log.aclose()


class NoTransport:
    async def post(self, path: str, body: bytes, *, key: str) -> None:
        raise AssertionError(path)


async def a_store(stores: Stores) -> Path:
    """Whose items are damaged, and nothing that an opening reads."""
    store = await owned(stores)
    for number in range(40):
        await write(store, put(f"k{number:02}", b"x" * 3000))
    await stores.aclose()
    path = stores.path()
    with closing(apsw.Connection(str(path))) as database:
        pages = [page for (page,) in database.execute("SELECT pageno FROM dbstat WHERE name = 'items' AND pageno > 20")]
    content = bytearray(path.read_bytes())
    for page in pages:
        content[(page - 1) * PAGE : page * PAGE] = b"\xff" * PAGE
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "call",
    [items, lambda store: write(store, put("new", b"y" * 3000)), lambda store: store.digest(SLOT)],
    ids=["read", "write", "digest"],
)
async def test_a_cells_store_that_meets_a_damage_ends_and_opens_no_more(
    tmp_path: Path, call: Callable[[SqliteStore], Awaitable[Any]]
) -> None:
    """It opened, served what lay on other pages, and answered 500 for what did not, for as long as nobody looked."""
    stores = Stores(tmp_path)
    path = await a_store(stores)
    store = await stores.open()
    assert await store.not_ours() == ""

    with pytest.raises(FileDamaged) as met:
        await call(store)
    with pytest.raises(FileDamaged) as ends:
        await store.not_ours()
    await stores.aclose()
    with pytest.raises(FileDamaged) as opens:
        await stores.open()

    says(met.value, path, "eisbach restore")
    assert str(met.value) == str(ends.value) == str(opens.value)


async def test_a_cells_store_that_is_no_database_says_what_to_do_and_is_left_as_it_is(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    path = await a_store(stores)
    overwrite(path, first=0)
    before = path.read_bytes()

    with pytest.raises(FileDamaged) as refused:
        await stores.open()

    says(refused.value, path, "eisbach restore")
    assert path.read_bytes() == before
