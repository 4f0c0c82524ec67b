"""Store files of every format open for ever; what is no store, newer, damaged or another region's is refused."""

from pathlib import Path

import apsw
import pytest
from sqlite_stores import Stores

from eisbach.engines.embedded.schema import FORMAT, MIGRATIONS
from eisbach.kernel.errors import Corrupt, Invalid
from eisbach.kernel.versions import Mark
from eisbach.ports.store import ItemKey, Lease
from eisbach.testing.store_host import KEY, SLOT, event, put, value, write

GOLDEN = Path(__file__).parents[1] / "golden"


def restore(path: Path, name: str) -> None:
    database = apsw.Connection(str(path))
    database.execute((GOLDEN / name).read_text())
    database.close()


@pytest.mark.parametrize("name", sorted(p.name for p in GOLDEN.glob("store-format-*.sql")))
async def test_a_file_of_an_earlier_format_opens_with_everything_in_it(stores: Stores, name: str) -> None:
    """The golden files were dumped by the versions that wrote them: two items, a tombstone, an event, a key."""
    restore(stores.path(), name)

    store = await stores.open()

    assert [await value(store, sk) for sk in ("a", "b", "gone")] == [b"1", b"2", None]
    assert await store.lease(SLOT) == Lease(3, "active", 4)
    assert await store.vector(SLOT) == {"eu-central": Mark(3, 4)}
    assert [e.lsn for e in await store.log_after(0, limit=9)] == [1, 2, 3, 4]
    assert (await store.ops_after(SLOT, {}, limit=9)).heads == {"eu-central": Mark(3, 4)}
    assert (await write(store, put("a", b"again"), key=KEY)).repeated
    receipt = await write(store, put("c"))
    assert (receipt.mark, store.statistics().last_lsn) == (Mark(3, 5), 5)
    item = await store.read(SLOT, ItemKey("acc-1", "a"))
    assert item is not None
    assert receipt.hlc > item.version.hlc


async def test_the_last_events_of_format_5_are_still_named_by_the_next_ones(stores: Stores) -> None:
    restore(stores.path(), "store-format-5.sql")
    saved = """INSERT INTO event_prev VALUES(1, 3, 'a', 2), (1, 2, 'a', 9), (1, 2, 'b', 7);
    INSERT OR REPLACE INTO vectors VALUES(1, 'eu-central', 3, 4); UPDATE leases SET seq = 4;
    UPDATE head SET rows_lsn = 4;"""
    database = apsw.Connection(str(stores.path()))
    database.execute(saved)
    database.close()

    store = await stores.open()
    await write(store, event("a"), event("b"))

    ops = (await store.ops_after(SLOT, {"eu-central": Mark(3, 4)}, limit=9)).ops
    assert [(op.event.prev, op.event.after) for op in ops if op.event] == [(2, None), (0, Mark(2, 7))]


def test_every_format_but_the_current_one_has_its_golden_file() -> None:
    assert [f"store-format-{n}.sql" for n in range(1, FORMAT + 1)] == sorted(
        p.name for p in GOLDEN.glob("store-format-*.sql")
    )
    assert len(MIGRATIONS) == FORMAT


async def test_a_file_of_a_newer_format_is_refused_untouched(stores: Stores) -> None:
    newer = apsw.Connection(str(stores.path()))
    newer.execute(f"PRAGMA user_version = {FORMAT + 1}")
    newer.close()

    with pytest.raises(Invalid, match=f"format {FORMAT + 1}"):
        await stores.open()


async def test_a_database_that_is_no_store_is_refused_untouched(stores: Stores) -> None:
    other = apsw.Connection(str(stores.path()))
    other.execute("CREATE TABLE precious(x)")

    with pytest.raises(Invalid, match="precious"):
        await stores.open()

    assert other.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (1,)
    other.close()


async def test_a_file_that_is_no_database_is_refused_untouched(stores: Stores) -> None:
    stores.path().write_bytes(b"a film, perhaps" * 1000)

    with pytest.raises(Corrupt, match="not a database"):
        await stores.open()

    assert stores.path().read_bytes().startswith(b"a film")


async def test_a_store_never_changes_its_region(stores: Stores) -> None:
    await stores.open()
    await stores.close()
    stores.path().rename(stores.path("eu-west"))

    with pytest.raises(Invalid, match="belongs to region 'eu-central'"):
        await stores.open("eu-west")
