"""What is known of items without asking the file stays bounded, and is what the file holds."""

import pytest
from sqlite_stores import Stores

from eisbach.engines.embedded.item_cache import ItemCache, ReadCache
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.merge import Stored
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.versions import Version
from eisbach.ports.store import Item, ItemKey, Write
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


KEY = ItemKey("acc-1", "guard/streams")


def change(value: bytes | None) -> Write:
    return Write(ItemChange(*KEY, value))


def test_values_stay_bounded_and_large_ones_are_not_kept() -> None:
    cache = ReadCache(items_max=100)
    for number in range(1000):
        key = ItemKey("p", f"{number}")
        cache.keep((1, *key), Item(key, b"x" * (number if number == 999 else 5000 * (number % 2)), Version(1, "a", 1)))

    assert len(cache.known) <= 100
    assert (1, "p", "999") in cache.known
    assert not any(int(sk) % 2 for _, _, sk in cache.known if sk != "999")


async def test_what_was_read_once_is_read_as_the_last_commit_left_it(stores: Stores) -> None:
    store = await owned(stores)
    assert await store.read(SLOT, KEY) is None, "and that there was nothing is remembered"

    for value in (b"one", b"two", b"x" * 9000, b"three"):
        receipt = await write(store, change(value))
        found = await store.read(SLOT, KEY)
        assert found == Item(KEY, value, Version(receipt.hlc, "eu-central", receipt.mark.seq))
    await write(store, change(None))

    assert await store.read(SLOT, KEY) is None


async def test_what_was_read_once_is_erased_with_its_account(stores: Stores) -> None:
    store = await owned(stores)
    await write(store, change(b"secret"))
    assert await store.read(SLOT, KEY) is not None

    await write(store, Write(ItemChange(KEY.pk, ERASED, b"{}")))

    assert await store.read(SLOT, KEY) is None
    assert b"secret" not in str(store._reads._cache.known).encode()


async def test_what_a_group_wrote_that_failed_is_not_read(stores: Stores) -> None:
    store = await owned(stores)
    await write(store, change(b"one"))
    before = await store.read(SLOT, KEY)
    database = store._writer.database
    database.pragma("max_page_count", database.pragma("page_count"))
    with pytest.raises(Unavailable):
        await write(store, change(b"two"), *(put(f"big{n}", b"x" * 60_000) for n in range(19)))

    assert await store.read(SLOT, KEY) == before
