"""P22 in files: after an erasure no byte of the account is left in the store's file or in its write-ahead log."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlite_stores import Stores

from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import open_store
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.ops import ItemChange
from eisbach.ports.store import IdempotencyKey, Lease, Transaction, Write
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_erase_promises import ErasePromises, erase, until_erased
from eisbach.testing.store_host import SLOT, exchange, owned, put, write
from eisbach.testing.store_move_promises import copy_all

NEEDLE = b"Ludwig van Needle"
SK_NEEDLE = "progress/p1/needle-title"


class TestSqliteErasure(ErasePromises):
    """All of them, with the writer in a thread of its own and inside the event loop."""

    @pytest.fixture(params=["thread", "inline"])
    async def host(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
        stores = Stores(tmp_path, disk=inline if request.param == "inline" else None)
        yield stores
        await stores.aclose()


def found_in(folder: Path) -> list[str]:
    """Files that hold a byte of it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files, "nothing was scanned"
    return sorted(
        path.name for path in files for raw in [path.read_bytes()] if NEEDLE in raw or SK_NEEDLE.encode() in raw
    )


@pytest.mark.parametrize("seed", range(5))
async def test_no_byte_of_an_erased_account_is_left_in_any_file(stores: Stores, seed: int) -> None:
    """Its rows lie between those of 40 others, were rewritten in sizes that split and free pages, lost a conflict, were
    answered under a key, and went to the twin."""
    rng = random.Random(seed)
    here, there = await owned(stores), await owned(stores, "eu-west")

    def mine(number: int) -> Write:
        return put(f"{SK_NEEDLE}{number}", NEEDLE * rng.choice([1, 3, 40, 700]))

    for turn in range(150):
        await write(here, put(f"k{rng.randrange(30)}", b"o" * rng.randrange(900), pk=f"other-{rng.randrange(40)}"))
        await write(here, mine(rng.randrange(12)))
        if turn % 10 == 0:
            # Both ways: the twin knew nothing of it in between, so there are losers.
            await write(there, mine(rng.randrange(12)))
            await exchange(here, there)
            key = IdempotencyKey("acc-1", f"k{turn}")
            await here.transact(Transaction(slot=SLOT, writes=[mine(1)], key=key, answer=NEEDLE))
    assert set(found_in(stores.folder)) >= {"eu-central.db-wal", "eu-west.db-wal"}
    assert await here.conflicts()

    await erase(here)
    await exchange(here, there)
    await until_erased(there)

    assert found_in(stores.folder) == []
    await stores.restart()
    assert found_in(stores.folder) == []


async def test_an_erasure_that_a_crash_cut_short_is_finished_at_the_next_start(stores: Stores) -> None:
    """The mark is committed and the store is closed before the log was searched."""
    store = await owned(stores)
    for number in range(50):
        await write(store, put(f"{SK_NEEDLE}{number}", NEEDLE))
    await write(store, Write(ItemChange("acc-1", ERASED, b"{}")))
    assert store.statistics().erasing == 1
    await stores.close()
    assert found_in(stores.folder) == ["eu-central.db"]

    store = await stores.open()
    await until_erased(store)

    assert found_in(stores.folder) == []


async def test_what_a_move_brought_is_erased_too(tmp_path: Path) -> None:
    """Its ops are numbered below zero: a search of the log from its beginning begins there."""
    clock = ManualClock()
    async with (
        open_store(tmp_path / "c1.db", region="eu-central", clock=clock, cell="c1", disk=inline) as one,
        open_store(tmp_path / "c2.db", region="eu-central", clock=clock, cell="c2", disk=inline) as two,
    ):
        await one.set_lease(SLOT, expected=None, lease=Lease(1, "active", 0))
        await write(one, put(SK_NEEDLE, NEEDLE))
        await two.begin_import(SLOT, move=1, epoch=1)
        await copy_all(one, two, move=1)
        await two.settle(SLOT, move=1, epoch=2, owner=None)

        await erase(two)

        ops = (await two.ops_after(SLOT, {}, limit=9)).ops
        assert [(op.epoch, op.change.sk if op.change else None) for op in ops] == [(1, None), (2, ERASED)]
