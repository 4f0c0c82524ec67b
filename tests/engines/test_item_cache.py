"""The cache of item versions stays bounded and never outlives a group that failed."""

import pytest
from sqlite_stores import Stores

from eisbach.engines.embedded.item_cache import ItemCache
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.merge import Stored
from eisbach.testing.store_host import SLOT, owned, put, write


def test_it_stays_bounded_and_keeps_the_newest() -> None:
    cache = ItemCache(items_max=100)
    for number in range(1000):
        cache.keep({(1, "p", f"{number}"): Stored(number, "a", 1, 0, "", live=True)})

    assert len(cache.known) <= 100
    assert (1, "p", "999") in cache.known
    assert (1, "p", "0") not in cache.known


async def test_what_a_failed_group_wrote_is_forgotten(stores: Stores) -> None:
    """Else the next write would name a base that no store ever held."""
    store = await owned(stores)
    first = await write(store, put())
    database = store._writer.database
    database.pragma("max_page_count", database.pragma("page_count"))
    with pytest.raises(Unavailable):
        await write(store, put(), *(put(f"big{n}", b"x" * 60_000) for n in range(19)))
    database.pragma("max_page_count", 1_000_000)

    await write(store, put())

    last = (await store.ops_after(SLOT, {"eu-central": first.mark}, limit=9)).ops[0]
    assert last.change is not None
    assert last.change.base == (first.hlc, "eu-central", 1)
