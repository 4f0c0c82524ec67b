"""P22 for ``ports.store``: an erased account goes from items, answers, op log and conflicts, and stays gone.

Give a fixture ``host`` (``store_host.StoreHost``) and inherit ``ErasePromises``. That no byte is left in files is the
engine's own test.
"""

import asyncio

import pytest

from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import Denied
from eisbach.kernel.ops import ItemChange, Op
from eisbach.ports.store import ItemKey, Store, Write
from eisbach.testing.store_host import (
    KEY,
    SLOT,
    THERE,
    StoreHost,
    an_op,
    event,
    exchange,
    items,
    owned,
    put,
    value,
    write,
)

__all__ = ["ErasePromises", "erase", "until_erased"]


async def erase(store: Store, *, pk: str = "acc-1") -> None:
    """Set the mark and wait until the slow part is over."""
    await write(store, Write(ItemChange(pk, ERASED, b"{}")))
    await until_erased(store)


async def until_erased(store: Store) -> None:
    """Bounded wait; the work is the store's own."""
    async with asyncio.timeout(10):
        while store.statistics().erasing:  # noqa: ASYNC110 - the store has no event for it
            await asyncio.sleep(0.001)


async def _ops(store: Store) -> list[Op]:
    return [entry.op for entry in await store.log_after(0, limit=500)]


class ErasePromises:
    """All of them."""

    async def test_an_erased_account_keeps_nothing_but_its_mark(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put("a", b"mine"), put("b", b"mine"), put("x", b"theirs", pk="acc-2"))
        await write(store, put("c", b"mine"), key=KEY)

        await erase(store)

        assert [item.key.sk for item in await items(store)] == [ERASED]
        assert [item.value for item in await items(store, pk="acc-2")] == [b"theirs"]
        changes = [op.change for op in await _ops(store) if op.change is not None]
        assert [(c.pk, c.sk) for c in changes] == [("acc-2", "x"), ("acc-1", ERASED)]

    async def test_the_log_stays_dense_and_keeps_its_events(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, event(sk="a"))
        await write(store, put("b"))

        await erase(store)

        ops = await _ops(store)
        assert [op.seq for op in ops] == [1, 2, 3]
        assert [op.event is not None for op in ops] == [True, False, False]

    async def test_an_erased_account_takes_no_write_and_its_neighbours_do(self, host: StoreHost) -> None:
        store = await owned(host)
        await erase(store)

        results = await asyncio.gather(
            write(store, put("a")), write(store, put("a", pk="acc-2")), return_exceptions=True
        )

        assert [getattr(r, "code", "written") for r in results] == ["account_erased", "written"]

    async def test_the_answer_under_a_key_is_gone_too(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put("a"), key=KEY)
        await erase(store)

        with pytest.raises(Denied, match="erased"):
            await write(store, put("a"), key=KEY)

    async def test_an_erasure_reaches_the_twin_and_both_have_one_digest(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(here, put("a"), put("b"))
        await exchange(here, there)
        await write(there, put("c"))  # not known here when the account is erased

        await erase(here)
        await exchange(here, there)
        await until_erased(here)
        await until_erased(there)

        assert await here.digest(SLOT) == await there.digest(SLOT)
        assert [item.key.sk for item in await items(there)] == [ERASED]
        assert [op.change.sk for op in await _ops(there) if op.change is not None] == [ERASED]
        assert [op.change.sk for op in await _ops(here) if op.change is not None] == [ERASED]

    @pytest.mark.parametrize("later_ms", [-1000, 400])
    async def test_a_late_op_of_an_erased_account_revives_nothing(self, host: StoreHost, later_ms: int) -> None:
        """Neither an older one, nor one that was written over there after the erasure and before hearing of it."""
        store = await owned(host)
        await erase(store)
        op = an_op(1, b"mine", at_ms=host.clock.wall_ms() + later_ms, sk="late")

        await store.apply(SLOT, [op])

        assert await value(store, "late") is None
        assert [o.change.sk for o in await _ops(store) if o.change is not None] == [ERASED]
        assert (await store.vector(SLOT))[THERE].seq == 1

    async def test_two_erasures_of_one_account_in_two_regions_converge(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(here, put("a"))
        await exchange(here, there)
        await erase(here)
        await host.clock.advance(1)
        await erase(there)

        await exchange(here, there)

        assert await here.digest(SLOT) == await there.digest(SLOT)
        assert await here.conflicts() == await there.conflicts() == []

    async def test_the_loser_of_a_conflict_is_erased_too(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        await write(here, put("a", b"mine"))
        await write(there, put("a", b"mine too"))
        await exchange(here, there)
        assert len(await here.conflicts()) == 1

        await erase(here)

        assert await here.conflicts() == []

    async def test_an_erasure_survives_a_restart(self, host: StoreHost) -> None:
        store = await owned(host)
        await write(store, put("a"))
        await erase(store)

        store = await host.restart()

        with pytest.raises(Denied, match="erased"):
            await write(store, put("a"))
        assert await store.read(SLOT, ItemKey("acc-1", ERASED)) is not None
